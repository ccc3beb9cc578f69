//! Git as the judge: a run keeps every object of a repo that `git gc` keeps.
//!
//! A seed determines a repo (`recipe.rs`): history, refs, reflogs, worktrees, indexes, operations
//! under way, packs of all kinds, borrowers, and age. `git gc` runs on a copy, and treewarden twice
//! on the volume, each time with a full repack due. Then every object that git kept must be there,
//! and git must say the same of both (`facts.rs`). All versions of git on `PATH` and in
//! `TREEWARDEN_GITS` take part.
//!
//! | to do | type |
//! | --- | --- |
//! | thousands of repos | `TREEWARDEN_LIKE_GIT=5000 cargo test --test it like_git -- --ignored --nocapture` |
//! | one again, shortened to what it takes | `TREEWARDEN_LIKE_GIT_SEED=17 cargo test --test it like_git -- --ignored --nocapture` |

#![expect(
    clippy::disallowed_methods,
    reason = "repos are made by scripts of a shell"
)]

mod facts;
mod recipe;

use super::support::World;
use facts::{Facts, Look, facts, holds};
use recipe::{DUE, Operation, PRELUDE, Recipe};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use treewarden::report::RepoOutcome as Outcome;

/// So many repos share a volume, and with it the cost of starting two runs.
const ON_A_VOLUME: u64 = 16;

/// Kinds of operations after which a run is known to fail. The list must stay empty.
const NOT_YET: &[&str] = &[];

/// How many seeds `cargo test` tries; CI takes the next ones, too.
const AT_ONCE: u64 = 16;
/// How many seeds CI tries besides; the test by name takes more.
const IN_CI: u64 = 48;

/// Returns the directories with a git of their own.
fn gits() -> &'static [PathBuf] {
    static GITS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    GITS.get_or_init(|| {
        let named = std::env::var_os("TREEWARDEN_GITS").unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut seen = BTreeSet::new();
        let directories = std::env::split_paths(&named).chain(std::env::split_paths(&path));
        let executable = |git: &Path| {
            git.metadata()
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        let real = directories.filter(|directory| executable(&directory.join("git")));
        real.filter(|directory| {
            std::fs::canonicalize(directory.join("git")).is_ok_and(|git| seen.insert(git))
        })
        .collect()
    })
}

/// Returns `PATH` with this git first.
fn path(git: &Path) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(git.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(directories)
        .unwrap()
        .into_string()
        .unwrap()
}

/// Returns one of the gits, chosen by a number.
fn some_git(seed: u64) -> &'static Path {
    &gits()[fastrand::Rng::with_seed(seed).usize(..gits().len())]
}

/// Returns the time in seconds, the same for all tests.
fn now() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    })
}

/// Runs a script on a volume; it may fail.
fn sh(world: &World, git: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .env_clear()
        .env("PATH", path(git))
        .env("T", now().to_string())
        .env("V", &world.root)
        .env("O", world.beside("."));
    command.current_dir(&world.root).stdin(Stdio::null());
    command
        .args(["-c", &format!("{PRELUDE}{script}")])
        .output()
        .unwrap()
}

/// Something that is wrong with a repo after two runs.
#[derive(Debug)]
struct Finding {
    seed: u64,
    text: String,
}

/// The verdict over some repos.
#[derive(Debug, Default)]
struct Judged {
    /// What is wrong.
    findings: Vec<Finding>,
    /// How often each feature of a repo occurred, and how often git or a run dropped something.
    seen: BTreeMap<&'static str, usize>,
}

impl Judged {
    fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        for (what, times) in other.seen {
            *self.seen.entry(what).or_default() += times;
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Prints the findings by seed.
    fn tell(&self, count: u64) {
        let mut seeds: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for finding in &self.findings {
            seeds.entry(finding.seed).or_default().push(&finding.text);
        }
        for (seed, texts) in &seeds {
            println!("seed {seed}:\n    {}", texts.join("\n    "));
        }
        println!("{:?}", self.seen);
        println!("{} of {count} repos are damaged", seeds.len());
    }
}

/// Builds a volume from these recipes and judges it. `meddle` may change it before the last look.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn judge(recipes: &[Recipe], meddle: impl Fn(&World)) -> Judged {
    let world = World::unprepared();
    let ran = world.treewarden(&["init", world.root.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    world.set(
        "defaults",
        "worktrees: {landed: never, saved: never, unsaved: never}",
    );
    let mut judged = Judged::default();
    let mut members = Vec::new();
    for recipe in recipes {
        let git = some_git(recipe.seed);
        let made = sh(&world, git, &recipe.script());
        assert!(
            world.at(&recipe.directory).join(".git").is_dir(),
            "seed {}: {}",
            recipe.seed,
            String::from_utf8_lossy(&made.stderr)
        );
        // A quarter of them is enrolled by its git dir, as a bare repo is.
        let path = format!("path: {}/.git", recipe.directory);
        let settings = match (recipe.seed % 4, recipe.settings) {
            (0, "") => path,
            (0, settings) => format!("{path}, {settings}"),
            (_, settings) => settings.to_owned(),
        };
        world.enrol(&recipe.directory.replace("__", "/"), &settings);
        let mut directories = vec![recipe.directory.clone()];
        for enrolled in ["b", "c"].map(|suffix| format!("{}{suffix}", recipe.directory)) {
            if world.at(&enrolled).is_dir() {
                world.enrol(&enrolled.replace("__", "/"), "");
                directories.push(enrolled);
            }
        }
        directories.extend(others(&world, &recipe.directory));
        members.push((recipe, git, directories));
    }
    let look = |look: Look| -> BTreeMap<String, Facts> {
        let all = members.iter().flat_map(|(_, git, directories)| {
            directories.iter().map(move |directory| (git, directory))
        });
        all.map(|(git, directory)| (directory.clone(), facts(&world, git, directory, look)))
            .collect()
    };
    // Worktrees and alternates are absolute, so both need the same paths.
    let aged = world.beside("aged");
    copy(&world.root, &aged);
    copy(&world.root, &world.beside("before"));
    let before = look(Look::First);
    for (recipe, ..) in &members {
        for what in holds(&world.at(&recipe.directory)) {
            judged.saw(what);
        }
    }
    let (mut collected, mut beyond_gc) = (BTreeMap::new(), BTreeSet::new());
    for (_, git, directories) in &members {
        // A borrower comes before its lender, because `git gc` in the lender keeps nothing for it.
        for directory in directories
            .iter()
            .rev()
            .filter(|directory| is_enrolled(directory))
        {
            let gc = sh(&world, git, &format!("cd {directory} && git gc -q"));
            // A run can't either: such a borrower lacks what its partial lender could fetch.
            if !gc.status.success() {
                beyond_gc.insert(directory.clone());
                judged.saw("git gc fails");
                continue;
            }
            collected.insert(
                directory.clone(),
                facts(&world, git, directory, Look::Whole),
            );
        }
    }
    std::fs::rename(&world.root, world.beside("collected")).unwrap();
    std::fs::rename(&aged, &world.root).unwrap();
    for run in [1, 2] {
        let git = some_git(recipes[0].seed / ON_A_VOLUME + run);
        let ran = world
            .start_as(&[("PATH", &path(git))], &["run", "--format", "json"])
            .end();
        let report = ran.report();
        let mut excused = false;
        for repo in &report.repos {
            if repo.outcome == Outcome::Maintained && repo.failures.is_empty() {
                continue;
            }
            let directory = repo.name.replace('/', "__");
            let recipe = members
                .iter()
                .find(|(_, _, directories)| directories.contains(&directory))
                .unwrap()
                .0;
            // A run leaves repos of an unknown format alone.
            if beyond_gc.contains(&directory)
                || (repo.outcome == Outcome::Refused && recipe.is_unknown_to_us())
            {
                excused = true;
                continue;
            }
            let text = format!(
                "{directory}: run {run} with {}: {:?} {:?} {:?}",
                git.display(),
                repo.outcome,
                repo.reason,
                repo.failures
            );
            judged.findings.push(Finding {
                seed: recipe.seed,
                text,
            });
        }
        for recipe in recipes {
            if recipe
                .operations
                .iter()
                .any(|operation| operation.script.ends_with(DUE))
            {
                sh(
                    &world,
                    some_git(recipe.seed),
                    &format!("R={}; D={run}; {DUE}", recipe.directory),
                );
            }
        }
        if ran.code != 0 && !excused && judged.findings.is_empty() {
            judged.findings.push(Finding {
                seed: recipes[0].seed,
                text: format!("run {run}: exit code {}: {}", ran.code, ran.troubles()),
            });
        }
    }
    meddle(&world);
    let after = look(Look::Whole);
    std::fs::rename(&world.root, world.beside("after")).unwrap();
    for (recipe, git, directories) in &members {
        for directory in directories {
            let enrolled = is_enrolled(directory);
            let mut lost = facts::lost(
                &before[directory],
                collected.get(directory),
                &after[directory],
            );
            if lost.told.iter().any(|text| text.starts_with("git clone")) {
                std::fs::rename(world.beside("before"), &world.root).unwrap();
                let whole = facts(&world, git, directory, Look::Whole);
                std::fs::rename(&world.root, world.beside("before")).unwrap();
                lost.told
                    .retain(|text| !text.starts_with("git clone") || !whole.fails_to_clone());
            }
            if collected
                .get(directory)
                .is_some_and(|collected| before[directory].dropped_by(collected))
            {
                judged.saw("git dropped something");
            }
            if enrolled && before[directory].dropped_by(&after[directory]) {
                judged.saw("a run dropped something");
            }
            if lost.told.is_empty() {
                continue;
            }
            // They are all still in this copy.
            std::fs::rename(world.beside("before"), &world.root).unwrap();
            let referrers = facts::referrers(&world, git, directory, &lost.objects);
            std::fs::rename(&world.root, world.beside("before")).unwrap();
            let texts = lost.told.into_iter().chain(referrers);
            judged.findings.extend(texts.map(|text| Finding {
                seed: recipe.seed,
                text: format!("{directory}: {text}"),
            }));
        }
    }
    judged
}

/// Whether the config names the repo in this directory of the volume.
fn is_enrolled(directory: &str) -> bool {
    !directory.contains('/')
}

/// Returns a recipe's repos that are not enrolled, submodules included, without worktrees.
fn others(world: &World, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for top in ["others".to_owned(), format!("{directory}/.git/modules")] {
        let below = walkdir::WalkDir::new(world.at(&top))
            .into_iter()
            .filter_map(Result::ok);
        let git_dirs = below.filter(|entry| {
            entry.file_name() == "HEAD" && entry.path().with_file_name("objects").is_dir()
        });
        for git_dir in git_dirs.map(|entry| entry.path().parent().unwrap().to_owned()) {
            let repo = if git_dir.ends_with(".git") {
                git_dir.parent().unwrap()
            } else {
                &git_dir
            };
            let name = world.below(repo).to_string();
            if top != "others" || name.starts_with(&format!("others/{directory}-")) {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

/// Judges so many seeds from this one on, on all processors.
fn sweep(from: u64, count: u64, without: &[&str]) -> Judged {
    let (next, all) = (
        AtomicU64::new(from / ON_A_VOLUME),
        Mutex::new(Judged::default()),
    );
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * ON_A_VOLUME;
            if first >= from + count {
                return;
            }
            let recipes: Vec<Recipe> = (first..first + ON_A_VOLUME)
                .map(|seed| Recipe::of(seed, without))
                .collect();
            let judged = judge(&recipes, |_| ());
            all.lock().unwrap().add(judged);
        }
    };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    all.into_inner().unwrap()
}

/// Returns a finding without its numbers and ids.
fn gist(text: &str) -> String {
    let is_id = |word: &str| word.chars().filter(char::is_ascii_hexdigit).count() >= 40;
    let words = text
        .split([' ', '/', '\'', '"'])
        .map(|word| if is_id(word) { "ID" } else { word })
        .collect::<Vec<_>>()
        .join(" ");
    let words = words
        .split_once(": nothing refers")
        .map_or(words.as_str(), |(_, _)| "object: nothing refers to it");
    words
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(120)
        .collect()
}

/// Drops every operation that the recipe's first finding doesn't need.
fn shorten(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    let gists = |recipe: &Recipe| -> BTreeSet<String> {
        judge(std::slice::from_ref(recipe), |_| ())
            .findings
            .iter()
            .map(|finding| gist(&finding.text))
            .collect()
    };
    let wanted = gists(&recipe);
    let Some(wanted) = wanted.first() else {
        return recipe;
    };
    for at in (1..recipe.operations.len()).rev() {
        let left_out = recipe.operations.remove(at);
        if !gists(&recipe).contains(wanted) {
            recipe.operations.insert(at, left_out);
        }
    }
    recipe
}

#[test]
fn a_run_keeps_what_git_gc_keeps() {
    keeps_what_git_gc_keeps(0, AT_ONCE);
}

#[test]
#[ignore = "needs half a minute"]
fn a_run_keeps_what_git_gc_keeps_in_more_repos() {
    keeps_what_git_gc_keeps(AT_ONCE, IN_CI);
}

fn keeps_what_git_gc_keeps(first: u64, count: u64) {
    let judged = sweep(first, count, NOT_YET);
    judged.tell(count);
    assert!(judged.findings.is_empty());
    // One list of alternates that can't be read keeps everything on its volume, so runs drop less.
    for (what, least) in [
        ("git dropped something", count / 5),
        ("a run dropped something", count / 16),
    ] {
        let times = judged.seen.get(what).copied().unwrap_or_default();
        assert!(times as u64 > least, "{what}: {times}");
    }
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn a_judge_sees_what_is_missing() {
    let objects =
        "mv .git/objects/pack p; for p in p/*.pack; do git unpack-objects -q <$p; done; rm -rf p";
    let rm = |id: &str| {
        format!(
            "{objects}; o=$({id}); rm -f .git/objects/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-)"
        )
    };
    let cases = [
        ("true".to_owned(), ""),
        (objects.to_owned(), ""),
        (
            rm("git rev-parse 'tagged^{}'"),
            "commit ID: R/.git/refs/tags/tagged:1",
        ),
        (rm("git rev-parse 'tagged^{}'"), "R: git fsck"),
        (rm("git rev-parse :f1"), "blob ID: the index of R (0 f1)"),
        (rm("git rev-parse main~1"), "R: git reflog"),
        (
            "git branch -q other $(git commit-tree -m x 'HEAD^{tree}')".to_owned(),
            "R: git log",
        ),
        (
            rm("git rev-parse main~1"),
            "R: git clone: now it says 1 lines `exit code",
        ),
        (
            rm("echo young | git hash-object --stdin"),
            "blob ID: nothing refers to it",
        ),
        ("git branch -q -D topic".to_owned(), "R: git for-each-ref"),
        (
            "git branch -q -D topic".to_owned(),
            "lines of R/.git/logs/refs/heads/topic are gone",
        ),
        (
            "sed -i 1d .git/logs/HEAD".to_owned(),
            "lines of R/.git/logs/HEAD are gone: 1 lines",
        ),
        (": >.git/logs/refs/stash".to_owned(), "R: git stash list"),
        (
            "git rm -q --cached f1".to_owned(),
            "R: git ls-files -s in R",
        ),
        ("git update-ref HEAD HEAD~1".to_owned(), "R: git status"),
        (
            "cd ../others/R-b; rm -rf .git/objects/??".to_owned(),
            "others/R-b: git fsck",
        ),
        (
            "cd ../others/R-b; rm -rf .git/objects/??".to_owned(),
            "others/R-b: 3 of ",
        ),
    ];
    let operations = Operation::all(&[
        "git init -q --template= \"$V/$R\"; in_main; c f0 1; c f0 2; git tag -a -m x tagged $(git commit-tree -m lonely 'HEAD^{tree}')",
        "in_main; echo 3 >f0; git stash -q; echo staged >f1; git add f1; git branch -q topic; blob young",
        "in_main; git clone -q --template= --shared . \"$V/others/$R-b\"; (cd \"$V/others/$R-b\" && c f0 theirs)",
        DUE,
    ]);
    let recipes: Vec<Recipe> = (0..)
        .zip(&cases)
        .map(|(seed, _)| Recipe {
            operations: operations.clone(),
            ..Recipe::of(seed, &[])
        })
        .collect();
    let judged = judge(&recipes, |world| {
        for (recipe, (sabotage, _)) in recipes.iter().zip(&cases) {
            let done = sh(
                world,
                some_git(0),
                &format!(
                    "cd {}; {}",
                    recipe.directory,
                    sabotage.replace("R-b", &format!("{}-b", recipe.directory))
                ),
            );
            assert!(
                done.status.success(),
                "{sabotage}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
    });
    let words = |text: &str| {
        text.split(' ')
            .map(|word| if word.len() == 41 { "ID:" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (recipe, (sabotage, told)) in recipes.iter().zip(&cases) {
        let texts = judged
            .findings
            .iter()
            .filter(|finding| finding.seed == recipe.seed);
        let texts: Vec<String> = texts
            .map(|finding| words(&finding.text.replace(&recipe.directory, "R")))
            .collect();
        let seen = if told.is_empty() {
            texts.is_empty()
        } else {
            texts.iter().any(|text| text.contains(told))
        };
        assert!(seen, "{sabotage}: not `{told}` but {texts:#?}");
    }
}

#[test]
#[ignore = "thousands of repos: `TREEWARDEN_LIKE_GIT=5000`, or one again: `TREEWARDEN_LIKE_GIT_SEED=17`"]
fn a_run_keeps_what_git_gc_keeps_by_name() {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| {
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} is no number"))
        })
    };
    if let Some(seed) = number("TREEWARDEN_LIKE_GIT_SEED") {
        let recipe = shorten(&Recipe::of(seed, &[]));
        println!("{PRELUDE}{}", recipe.script());
        let judged = judge(&[recipe], |_| ());
        judged.tell(1);
        assert!(judged.findings.is_empty());
        return;
    }
    let count = number("TREEWARDEN_LIKE_GIT").unwrap_or(300);
    let judged = sweep(0, count, &[]);
    judged.tell(count);
    // Only features that occurred have been judged.
    let unseen: Vec<&str> = facts::all()
        .filter(|what| count >= 300 && !judged.seen.contains_key(what))
        .collect();
    assert!(unseen.is_empty(), "nobody made {unseen:?}");
    // One finding of each sort.
    let mut gists: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    for finding in &judged.findings {
        gists
            .entry(gist(&finding.text))
            .or_insert((finding.seed, 0))
            .1 += 1;
    }
    for (gist, (seed, times)) in gists {
        println!("{times} times, as of seed {seed}: {gist}");
    }
    assert!(judged.findings.is_empty());
}
