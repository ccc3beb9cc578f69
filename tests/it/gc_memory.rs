//! Parallel repacks stay below their memory limit, whatever is in the repos.
//!
//! One test samples the memory of its git processes while they work; it finds them by the settings
//! in their environment. In the other, the kernel enforces the limit on a whole run. If it can't,
//! the test says that it proved nothing.

use super::support::group::Group;
use super::support::repo::Repo;
use super::support::{World, same, write};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use treewarden::apply::gc::gc;
use treewarden::apply::repo::RepoExecutor;
use treewarden::apply::trash::Trash;
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::git::shadow::Shadow;
use treewarden::git::shadow::layout::Layout;
use treewarden::lock::LockedRepo;
use treewarden::plan::gc::{Gc, GcAction, Step};
use treewarden::plan::limits::ResourceLimits;
use treewarden::report::RunReport;

const REPOS: [&str; 2] = ["acme/one", "acme/two"];
/// In bytes: a large file, and the limit.
const LARGE: usize = 24 << 20;
const LIMIT: u64 = 256 << 20;

/// Commits versions of a large file that differ a little: git likes to find deltas between them.
fn grow(world: &World, name: &str) {
    let repo = world.repo(name);
    let mut dice = fastrand::Rng::with_seed(5);
    let mut bytes = vec![0; LARGE];
    dice.fill(&mut bytes);
    for _ in 0..6 {
        dice.fill(&mut bytes[..1 << 20]);
        write(&repo.path.join("model.bin"), &bytes);
        repo.git(&["-c", "core.looseCompression=0", "add", "model.bin"]);
        repo.git(&["commit", "-q", "-m", "model"]);
    }
}

/// Returns the bytes of memory that git processes with this setting use.
fn held(setting: &str) -> u64 {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let ours = processes.filter(|process| {
        let told = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        let said = |text: Vec<u8>| {
            text.windows(setting.len())
                .any(|part| part == setting.as_bytes())
        };
        said(told("cmdline")) || said(told("environ"))
    });
    let resident = |process: std::path::PathBuf| {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.trim().strip_suffix("kB"));
        line.and_then(|number| number.trim().parse::<u64>().ok())
            .unwrap_or(0)
            << 10
    };
    ours.map(resident).sum()
}

#[test]
#[ignore = "needs half a minute and a gigabyte of disk"]
fn repacks_side_by_side_stay_below_the_memory_limit() {
    let world = World::on_disk();
    for name in REPOS {
        grow(&world, name);
    }
    let share = ResourceLimits::of(1, Some(LIMIT), REPOS.len());
    let setting = share
        .settings()
        .into_iter()
        .find(|setting| setting.contains("bigFileThreshold"))
        .unwrap();
    // git has the settings on its command line, and passes them on in the environment.
    let setting = setting.split_once('=').unwrap().1.to_owned();
    let root: Arc<Path> = world.root.canonicalize().unwrap().into();
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(held(&setting));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let repacks: Vec<_> = REPOS
            .iter()
            .map(|name| scope.spawn(|| repack(&world, &root, name, share)))
            .collect();
        let repacked: Vec<_> = repacks
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        for repacked in repacked {
            repacked.unwrap();
        }
        sampler.join().unwrap()
    });
    println!(
        "most memory held: {} MiB of {} MiB",
        most >> 20,
        LIMIT >> 20
    );
    assert!(most > 4 << 20, "nothing was sampled");
    assert!(most < LIMIT, "{} MiB", most >> 20);
    for name in REPOS {
        let repo = Repo::there(&world, name);
        assert_eq!(repo.fsck(), "");
        assert!(repo.git(&["count-objects"]).starts_with("0 "));
    }
}

fn repack(world: &World, root: &Arc<Path>, name: &str, share: ResourceLimits) {
    let place =
        VolumePath::new(root, &Repo::there(world, name).path.canonicalize().unwrap()).unwrap();
    let (stop, now) = (Stop::never(), treewarden::fs::clock::now());
    let locks = VolumePath::new(root, &root.join(".treewarden/locks")).unwrap();
    let lock = LockedRepo::take(&locks, name, &place, "run", now).unwrap();
    let shadow = Shadow::of(&Layout::plain(&place), &stop).unwrap();
    let plan = Gc {
        action: GcAction::Full,
        steps: vec![Step::Geometric, Step::PackRefs, Step::Full],
        ..Gc::none("test")
    };
    let state = VolumePath::new(root, &root.join(".treewarden")).unwrap();
    let trash = Trash::of(&state).unwrap();
    let executor = RepoExecutor {
        lock: &lock,
        shadow: &shadow,
        trash: &trash,
        stop: &stop,
        now,
    };
    assert_eq!(gc(&executor, &plan, share).unwrap().left, [""; 0]);
}

#[test]
#[ignore = "needs root's right to make a control group, and two gigabytes of disk"]
fn a_night_within_an_enforced_limit_repacks_all_and_nothing_is_killed() {
    let group = match Group::make(LIMIT) {
        Ok(group) => group,
        Err(error) => {
            return eprintln!(
                "SKIPPED: no control group with a limit can be made here ({error}): nothing was proven"
            );
        }
    };
    let names: Vec<String> = (0..4)
        .map(|number| format!("acme/number-{number}"))
        .collect();
    let world = World::on_disk();
    world.set("defaults", "gc: {strategy: git-gc}");
    for name in &names {
        grow(&world, name);
    }
    let mut night = group.command(env!("CARGO_BIN_EXE_treewarden"));
    night
        .args(["run", "--only", "gc", "--format", "json", "--config"])
        .arg(world.config());
    let ran = night
        .env("TMPDIR", world.beside("scratch"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    println!(
        "of {} MiB: {:?} MiB at most, with files; killed: {}",
        LIMIT >> 20,
        group.peak().map(|peak| peak >> 20),
        group.killed()
    );
    assert_eq!(group.killed(), 0, "{told}");
    let report: RunReport =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let found: BTreeMap<String, String> = report
        .repos
        .iter()
        .map(|repo| {
            (
                repo.name.clone(),
                format!(
                    "{:?} {:?} {} packs",
                    repo.outcome, repo.failures, repo.gc.after.packs
                ),
            )
        })
        .collect();
    same(
        "repos",
        &found,
        &names
            .iter()
            .map(|name| (name.clone(), "Maintained [] 1 packs".to_owned()))
            .collect(),
    );
    assert!(
        group.peak().is_none_or(|peak| peak > LIMIT / 2),
        "the group was not theirs"
    );
    for name in &names {
        let repo = Repo::there(&world, name);
        assert_eq!(repo.fsck(), "");
        assert!(repo.git(&["count-objects"]).starts_with("0 "));
    }
}
