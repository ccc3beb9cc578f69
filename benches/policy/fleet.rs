//! A made-up fleet: registries whose packages get releases, repos whose lock files follow them, and
//! the jobs of every day.
//!
//! Every number is a plausible one, named and explained where it is used. Nothing but the seed must
//! ever have an influence.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a made-up number is as good as its neighbour"
)]

use fastrand::Rng;
use std::collections::BTreeSet;

/// A package at a version.
pub(crate) type Unit = u32;

/// The size of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Days that are replayed.
    pub(crate) days: u32,
    /// Enrolled repos.
    pub(crate) repos: usize,
    /// Packages of each registry.
    pub(crate) packages: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            days: 180,
            repos: 60,
            packages: 2000,
        }
    }
}

/// A registry: the size and release pace of its packages, and how many a repo's lock file names.
///
/// Weights and paces are measured: `benches/README.md` says how. How many packages a lock file
/// names is not.
struct Registry {
    /// Median and spread (of the logarithm) of a package's bytes.
    weight: (f64, f64),
    /// Median days between releases of a much used package, and their spread.
    pace: (f64, f64),
    /// Median of the packages that a lock file names.
    names: f64,
}

/// npm, crates.io, `PyPI`, Go modules.
const REGISTRIES: [Registry; 4] = [
    Registry {
        weight: (51e3, 2.2),
        pace: (15.0, 1.5),
        names: 600.0,
    },
    // With the unpacked files, which are seven times as large.
    Registry {
        weight: (280e3, 1.3),
        pace: (69.0, 1.0),
        names: 250.0,
    },
    Registry {
        weight: (222e3, 2.2),
        pace: (60.0, 1.5),
        names: 70.0,
    },
    // Not measured: taken from crates, which are unpacked, too.
    Registry {
        weight: (280e3, 1.3),
        pace: (69.0, 1.0),
        names: 90.0,
    },
];

/// One installation: everything that a tree's lock file names is needed.
pub(crate) struct Job {
    pub(crate) repo: usize,
    pub(crate) needs: Vec<Unit>,
}

/// What happened on a day, and what lock files named at its end.
pub(crate) struct Day {
    pub(crate) jobs: Vec<Job>,
    /// By tree: its repo and the units that its lock file names. A repo's first is its default
    /// branch.
    pub(crate) named: Vec<(usize, Vec<Unit>)>,
}

pub(crate) struct Fleet {
    pub(crate) days: Vec<Day>,
    /// Bytes of each unit.
    pub(crate) weights: Vec<u64>,
}

struct Package {
    latest: Unit,
    /// Mean days between releases.
    pace: f64,
    weight: f64,
}

struct Repo {
    registry: usize,
    /// Each package, and the version that is locked.
    lock: Vec<(usize, Unit)>,
    /// Jobs a day while it is worked on.
    busy: f64,
    active: bool,
    trees: Vec<Tree>,
}

struct Tree {
    lock: Vec<(usize, Unit)>,
    ends: u32,
    merges: bool,
}

impl Fleet {
    pub(crate) fn grow(seed: u64, shape: &Shape) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut weights = Vec::new();
        let mut registries: Vec<Vec<Package>> = REGISTRIES
            .iter()
            .map(|registry| packages(&mut rng, registry, shape, &mut weights))
            .collect();
        let mut repos: Vec<Repo> = (0..shape.repos)
            .map(|rank| repo(&mut rng, rank, &registries))
            .collect();
        let days = (0..shape.days)
            .map(|day| {
                registries
                    .iter_mut()
                    .flatten()
                    .for_each(|package| release(&mut rng, package, &mut weights));
                let mut jobs = Vec::new();
                for (number, repo) in repos.iter_mut().enumerate() {
                    work(&mut rng, day, number, repo, &registries, &mut jobs);
                }
                let named = repos.iter().enumerate().flat_map(|(number, repo)| {
                    let trees = repo.trees.iter().map(|tree| &tree.lock);
                    [&repo.lock]
                        .into_iter()
                        .chain(trees)
                        .map(move |lock| (number, units(lock)))
                });
                Day {
                    jobs,
                    named: named.collect(),
                }
            })
            .collect();
        Self { days, weights }
    }

    /// Returns that part of all bytes that the jobs need.
    pub(crate) fn room(&self, part: f64) -> u64 {
        let needed: BTreeSet<Unit> = self
            .days
            .iter()
            .flat_map(|day| &day.jobs)
            .flat_map(|job| &job.needs)
            .copied()
            .collect();
        let all: u64 = needed.iter().map(|unit| self.weights[*unit as usize]).sum();
        (all as f64 * part) as u64
    }
}

fn units(lock: &[(usize, Unit)]) -> Vec<Unit> {
    lock.iter().map(|(_, unit)| *unit).collect()
}

fn packages(
    rng: &mut Rng,
    registry: &Registry,
    shape: &Shape,
    weights: &mut Vec<u64>,
) -> Vec<Package> {
    let mut package = |rng: &mut Rng, rank: usize| {
        let weight = log_normal(rng, registry.weight.0, registry.weight.1);
        // The long tail is released up to five times as slowly.
        let pace = log_normal(
            rng,
            registry.pace.0 * (1.0 + 4.0 * rank as f64 / shape.packages as f64),
            registry.pace.1,
        )
        .max(1.0);
        let mut package = Package {
            latest: 0,
            pace,
            weight,
        };
        package.latest = publish(rng, &package, weights);
        package
    };
    (0..shape.packages).map(|rank| package(rng, rank)).collect()
}

fn publish(rng: &mut Rng, package: &Package, weights: &mut Vec<u64>) -> Unit {
    weights.push((package.weight * (0.9 + 0.2 * rng.f64())) as u64 + 1);
    Unit::try_from(weights.len() - 1).expect("few enough units")
}

fn release(rng: &mut Rng, package: &mut Package, weights: &mut Vec<u64>) {
    if rng.f64() < 1.0 / package.pace {
        package.latest = publish(rng, package, weights);
    }
}

fn repo(rng: &mut Rng, rank: usize, registries: &[Vec<Package>]) -> Repo {
    let registry = rng.usize(..registries.len());
    let packages = &registries[registry];
    let wanted =
        (log_normal(rng, REGISTRIES[registry].names, 0.6) as usize).clamp(5, packages.len() / 2);
    let mut chosen = BTreeSet::new();
    while chosen.len() < wanted {
        chosen.insert(popular(rng, packages.len()));
    }
    let lock = chosen
        .into_iter()
        .map(|package| (package, packages[package].latest))
        .collect();
    // Zipf: the busiest repo has 40 jobs a day, the 60th less than one.
    Repo {
        registry,
        lock,
        busy: 40.0 / (rank as f64 + 1.0),
        active: rng.f64() < 0.6,
        trees: Vec::new(),
    }
}

/// Simulates a repo's day. It is idle for weeks or is worked on; issues begin, each in a tree; some
/// change what is locked.
fn work(
    rng: &mut Rng,
    day: u32,
    number: usize,
    repo: &mut Repo,
    registries: &[Vec<Package>],
    jobs: &mut Vec<Job>,
) {
    let packages = &registries[repo.registry];
    // Worked on for three weeks, idle for two, on average.
    if rng.f64() < if repo.active { 1.0 / 21.0 } else { 1.0 / 14.0 } {
        repo.active = !repo.active;
    }
    if repo.active && rng.f64() < 1.0 / 7.0 {
        // The weekly update of dependencies: a fifth of them, to their latest.
        for (package, unit) in &mut repo.lock {
            if rng.f64() < 0.2 {
                *unit = packages[*package].latest;
            }
        }
    }
    let ended: Vec<Tree> = repo.trees.extract_if(.., |tree| tree.ends <= day).collect();
    if let Some(merged) = ended.into_iter().rfind(|tree| tree.merges) {
        repo.lock = merged.lock;
    }
    let busy = if repo.active {
        repo.busy
    } else {
        repo.busy * 0.03
    };
    for _ in 0..poisson(rng, busy) {
        // Three jobs of four continue in an existing tree; the others begin an issue.
        if repo.trees.is_empty() || rng.f64() < 0.25 {
            let tree = issue(rng, day, repo, packages);
            repo.trees.push(tree);
        }
        let tree = rng.choice(&repo.trees).expect("one was just made");
        jobs.push(Job {
            repo: number,
            needs: units(&tree.lock),
        });
    }
}

fn issue(rng: &mut Rng, day: u32, repo: &Repo, packages: &[Package]) -> Tree {
    let mut lock = repo.lock.clone();
    // One of six is an experiment: it tries packages, popular or not, and is seldom merged.
    let experiment = rng.f64() < 0.16;
    if experiment {
        for _ in 0..rng.usize(1..12) {
            let package = rng.usize(..packages.len());
            if lock.iter().all(|(locked, _)| *locked != package) {
                lock.push((package, packages[package].latest));
            }
        }
    }
    Tree {
        lock,
        ends: day + 1 + rng.u32(..6),
        merges: experiment && rng.f64() < 0.2,
    }
}

/// Returns a package's rank by Zipf's law.
fn popular(rng: &mut Rng, packages: usize) -> usize {
    ((packages as f64).powf(rng.f64()) as usize)
        .saturating_sub(1)
        .min(packages - 1)
}

fn log_normal(rng: &mut Rng, median: f64, spread: f64) -> f64 {
    // Box and Muller.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    median * (spread * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
}

fn poisson(rng: &mut Rng, mean: f64) -> u32 {
    let (mut count, mut left) = (0, rng.f64().ln() + mean);
    while left > 0.0 {
        count += 1;
        left += rng.f64().ln();
    }
    count
}
