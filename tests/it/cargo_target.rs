//! Inside `target`, with the real Cargo: what newer builds replaced goes, and the next build finds
//! everything else fresh.

use super::support::at_work::{AtWork, SLEEP};
use super::support::repo::Tree;
use super::support::{World, write};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use treewarden::plan::ladder::Rung;
use treewarden::report::{RunReport, UnitOutcome};

/// Any machine's disk is fuller than this.
const ALWAYS: &str = "high: {bytes: 0.0002%, inodes: 100%}, low: {bytes: 0.0001%, inodes: 99%}";
const HOUR: Duration = Duration::from_hours(1);

/// A package with a library, a program, a build script, tests, and a dependency, whose feature
/// `old` changes all of them.
fn project(at: &Path) {
    let app = "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\
               [features]\nold = [\"dep-one/old\"]\nnever = []\n\
               [dependencies]\ndep-one = {path = \"dep\"}\n";
    let dep = "[package]\nname = \"dep-one\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\
               [features]\nold = []\n";
    let library = "#[cfg(feature = \"never\")] compile_error!(\"never\");\n\
                   pub fn is_old() -> bool { dep_one::IS_OLD }\n";
    for (file, text) in [
        ("Cargo.toml", app),
        (
            "build.rs",
            "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }\n",
        ),
        ("src/lib.rs", library),
        (
            "src/main.rs",
            "fn main() { println!(\"{}\", app::is_old()); }\n",
        ),
        ("tests/all.rs", "#[test] fn all() { app::is_old(); }\n"),
        ("dep/Cargo.toml", dep),
        (
            "dep/src/lib.rs",
            "pub const IS_OLD: bool = cfg!(feature = \"old\");\n",
        ),
    ] {
        write(&at.join(file), text);
    }
}

fn cargo(at: &Path, typed: &str) -> Output {
    let variables = ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_INCREMENTAL"];
    #[expect(clippy::disallowed_methods, reason = "cargo is this test's tool")]
    let mut cargo = Command::new(env!("CARGO"));
    for name in variables {
        cargo.env_remove(name);
    }
    let typed = typed.split(' ');
    cargo
        .args(typed)
        .arg("--offline")
        .current_dir(at)
        .output()
        .unwrap()
}

/// Builds, tests and checks, and returns what Cargo said. Arguments are added to each.
fn build(at: &Path, more: &str) -> String {
    let each = ["build -v", "test --no-run -v", "check -v"].map(|typed| {
        let ran = cargo(at, format!("{typed} {more}").trim_end());
        assert!(ran.status.success(), "{typed} {more}: {ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    });
    each.concat()
}

/// Makes everything below a directory older, each inode once: Cargo compares their times.
fn shift(at: &Path, by: Duration) {
    let mut seen = BTreeSet::new();
    for entry in walkdir::WalkDir::new(at).contents_first(true) {
        let entry = entry.unwrap();
        if !entry.file_type().is_symlink() {
            let stat = entry.metadata().unwrap();
            if !seen.insert(stat.ino()) {
                continue;
            }
            let times = FileTimes::new()
                .set_modified(stat.modified().unwrap() - by)
                .set_accessed(stat.accessed().unwrap() - by);
            File::open(entry.path()).unwrap().set_times(times).unwrap();
        }
    }
}

/// Returns all that a profile has, two levels deep.
fn parts(target: &Path) -> BTreeSet<String> {
    let directories = [".fingerprint", "deps", "build", "examples", "incremental"];
    let of = |directory: &str| {
        let entries = fs::read_dir(target.join("debug").join(directory)).unwrap();
        let name = move |entry: fs::DirEntry| {
            format!("{directory}/{}", entry.file_name().to_str().unwrap())
        };
        entries
            .map(|entry| name(entry.unwrap()))
            .collect::<Vec<_>>()
    };
    directories.into_iter().flat_map(of).collect()
}

/// Adds a tree with unsaved work, in which two variants were built: 10 h and 3 h ago. A note among
/// the artifacts keeps the whole directory from going. Returns what a build of the newer variant
/// alone makes.
fn built(world: &World) -> (Tree, BTreeSet<String>) {
    let tree = world.repo("acme/shop").tree("work");
    project(&tree.path);
    shift(&tree.path, 20 * HOUR);
    build(&tree.path, "--features old");
    shift(&tree.path, 7 * HOUR);
    build(&tree.path, "");
    tree.write("target/notes.md", "mine\n");
    shift(&tree.path, 3 * HOUR);
    let fresh = world.beside("fresh");
    build(&tree.path, &format!("--target-dir {}", fresh.display()));
    tree.age_admin(0.1);
    world.set("caches", "{kind: build-output}");
    world.set("eviction", ALWAYS);
    (tree, parts(&fresh))
}

fn rung(report: &RunReport, rung: Rung) -> u64 {
    let mut rungs = report.eviction.rungs.iter();
    rungs.find(|step| step.rung == rung).unwrap().freed_bytes
}

fn units(report: &RunReport) -> BTreeSet<&str> {
    let units = report.eviction.units.iter();
    let goes = |unit: &&treewarden::report::Unit| {
        matches!(unit.outcome, UnitOutcome::Planned | UnitOutcome::Evicted)
    };
    units.filter(goes).map(|unit| unit.unit.as_str()).collect()
}

#[test]
fn what_newer_builds_replaced_goes_and_the_next_build_is_fresh() {
    let world = World::new();
    let (tree, newest) = built(&world);
    let target = tree.path.join("target");
    let before = parts(&target);
    assert!(
        before.is_superset(&newest) && before.len() > newest.len() + 20,
        "{before:?}"
    );

    // Somebody is in the tree.
    let agent = AtWork::new(&tree.path, None, SLEEP);
    assert_eq!(units(&world.pass(1, &["run"])), BTreeSet::new());
    drop(agent);
    assert_eq!(parts(&target), before);

    let dry = world.pass(1, &["run", "--dry-run"]);
    assert_eq!(parts(&target), before);
    let report = world.pass(1, &["run"]);
    let after = parts(&target);
    let odd: Vec<&String> = after.symmetric_difference(&newest).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(units(&report), units(&dry));
    for report in [&dry, &report] {
        assert!(
            rung(report, Rung::Artifacts) > 1 << 20,
            "{:?}",
            report.eviction
        );
        assert_eq!(rung(report, Rung::BuildOutput), 0);
    }
    let rung = report
        .eviction
        .rungs
        .iter()
        .find(|step| step.rung == Rung::Artifacts);
    assert!(rung.unwrap().freed_inodes > 50, "{rung:?}");
    let said = build(&tree.path, "");
    let fresh = said.lines().filter(|line| line.trim().starts_with("Fresh"));
    assert!(fresh.count() >= 6 && !said.contains("Compiling"), "{said}");
    assert_eq!(
        fs::read_to_string(target.join("notes.md")).unwrap(),
        "mine\n"
    );
    // The variant that went can be built again.
    build(&tree.path, "--features old");
}

#[test]
fn a_build_that_never_succeeded_keeps_all() {
    let world = World::new();
    let (tree, _) = built(&world);
    let failed = cargo(&tree.path, "build --features never");
    assert!(!failed.status.success(), "{failed:?}");
    shift(&tree.path, 2 * HOUR);
    let before = parts(&tree.path.join("target"));
    let report = world.pass(1, &["run"]);
    assert_eq!(units(&report), BTreeSet::new());
    let told = "the last build of app there failed; it stays";
    let obstacles = report.eviction.obstacles.join("\n");
    assert!(obstacles.contains(told), "{obstacles}");
    assert_eq!(parts(&tree.path.join("target")), before);
}

#[test]
fn a_file_among_the_artifacts_keeps_what_it_is_in() {
    let world = World::new();
    let (tree, newest) = built(&world);
    let target = tree.path.join("target");
    let is_old = |part: &&String| part.starts_with(".fingerprint/") && !newest.contains(*part);
    let all = parts(&target);
    let old = all.iter().find(is_old).unwrap();
    let place = target.join("debug").join(old);
    let written = fs::metadata(&place).unwrap().modified().unwrap();
    let own = place.join("results.csv");
    write(&own, "mine");
    for path in [&own, &place] {
        File::open(path).unwrap().set_modified(written).unwrap();
    }
    let report = world.pass(1, &["run"]);
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
    let hash = old.rsplit('-').next().unwrap();
    let after = parts(&target);
    let mut odd = after.symmetric_difference(&newest);
    assert!(odd.all(|part| part.contains(hash)), "{after:?}");
    assert_eq!(after.is_superset(&newest), after.len() > newest.len());
    let outcomes = format!("{:?}", report.eviction.units);
    assert!(
        outcomes.contains("results.csv` is somebody's"),
        "{outcomes}"
    );
}

/// Builds of two variants in a shared directory, one after the other, while everything that is not
/// in use goes.
#[test]
fn a_build_during_an_eviction_never_fails() {
    let world = World::new();
    let (app, shared) = (world.beside("app"), world.at("shared"));
    project(&app);
    world.set("caches", "{kind: cargo-target, path: shared}");
    world.set("eviction", "budget: 1, min_age: 0s");
    let into = format!("--target-dir {}", shared.display());
    for features in [" --features old", ""] {
        let ran = cargo(&app, &format!("build -q {into}{features}"));
        assert!(ran.status.success(), "{ran:?}");
    }
    // A build holds Cargo's lock.
    let before = parts(&shared);
    let lock = File::open(shared.join("debug/.cargo-lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let busy = world.pass(1, &["run", "--only", "evict"]);
    let outcomes = format!("{:?}", busy.eviction.units);
    assert!(outcomes.contains("its tool is at work"), "{outcomes}");
    assert_eq!((units(&busy), parts(&shared)), (BTreeSet::new(), before));
    drop(lock);
    let is_done = AtomicBool::new(false);
    let evicted = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..8 {
                let features = ["", " --features old"][number % 2];
                let ran = cargo(&app, &format!("run -q {into}{features}"));
                let said = String::from_utf8_lossy(&ran.stdout);
                assert!(ran.status.success(), "{ran:?}");
                assert_eq!(said.trim() == "true", number % 2 == 1, "{ran:?}");
            }
            is_done.store(true, Ordering::Release);
        });
        let mut evicted = 0;
        while !is_done.load(Ordering::Acquire) {
            let ran = world.treewarden(&["run", "--only", "evict", "--format", "json"]);
            assert!([0, 1].contains(&ran.code), "{ran:?}");
            let report: RunReport = serde_json::from_str(&ran.out).unwrap();
            evicted += units(&report).len();
        }
        evicted
    });
    assert!(evicted > 0);
    // What was built last is in use.
    let ran = cargo(&app, &format!("build -v {into} --features old"));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        ran.status.success() && !said.contains("Compiling"),
        "{said}"
    );
}
