//! One verdict for all: the dry run, the run, the list and the eviction alike keep a tree that
//! can't be rescued. A tree that should have been reaped but stays still needs its packages.

use super::support::made::npm;
use super::support::repo::{Repo, Tree};
use super::support::{Ran, World, age, map, same, write};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use treewarden::report::{RunReport, TreeOutcome};

const MIB: usize = 1 << 20;

/// Returns incompressible bytes.
fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..))
        .take(bytes)
        .collect()
}

/// Counts the loose objects in the store.
fn loose(shop: &Repo<'_>) -> usize {
    let files = walkdir::WalkDir::new(shop.git_dir("objects"))
        .into_iter()
        .map(Result::unwrap);
    files
        .filter(|entry| {
            entry.file_type().is_file()
                && entry.path().parent().unwrap().file_name().unwrap().len() == 2
        })
        .count()
}

/// Writes a crate's archive of 1 MiB that nobody has read for years.
fn krate(world: &World, name: &str) -> PathBuf {
    let path = world.at(format!("caches/cargo/registry/cache/index/{name}.crate"));
    write(&path, vec![b'x'; MIB]);
    age(&path, 900.0);
    path
}

/// Creates a tree with a `Cargo.lock` that alone names the crate, and 1 MiB of installed packages.
fn needing(shop: &Repo<'_>, name: &str, krate: &str) -> Tree {
    let tree = shop.tree(name);
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"{krate}\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
    );
    tree.commit("Cargo.lock", &lock)
        .write("node_modules/.package-lock.json", &npm(&["left-pad"]));
    write(&tree.path.join("node_modules/left-pad/package.json"), "{}");
    write(
        &tree.path.join("node_modules/left-pad/index.js"),
        vec![b'x'; MIB],
    );
    tree
}

/// Puts the volume over its budget by far more than can be evicted.
fn wanting(world: &World) {
    world.set(
        "caches",
        "{kind: cargo, path: caches/cargo}, {kind: build-output}",
    );
    world.set("eviction", "budget: 1MiB, min_age: 1h");
}

fn outcome(report: &RunReport, tree: &Tree) -> TreeOutcome {
    report
        .worktrees()
        .find(|row| row.path == tree.path)
        .unwrap()
        .outcome
        .clone()
}

fn evicted(report: &RunReport) -> Vec<String> {
    report
        .eviction
        .units
        .iter()
        .filter(|unit| unit.outcome.goes())
        .map(|unit| unit.unit.clone())
        .collect()
}

/// Returns what `worktree list` says of it: verdict and reasons.
fn listed(world: &World, tree: &Tree) -> (String, String) {
    let ran = world.treewarden(&["worktree", "list", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let row = list["worktrees"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["path"] == tree.path.to_str().unwrap())
        .unwrap();
    (
        row["verdict"].as_str().unwrap().to_owned(),
        row["reasons"].to_string(),
    )
}

#[test]
fn a_tree_that_is_too_large_to_rescue_is_a_tree_that_stays() {
    let world = World::new();
    world.set("defaults", "worktrees: {rescue_max: 2MiB}");
    let shop = world.repo("acme/shop");
    let large = needing(&shop, "large", "needed");
    // Many small files, each of which would fit.
    for number in 0..6 {
        write(&large.path.join(format!("data/{number}")), noise(MIB / 2));
    }
    large.age(40.0);
    let needed = krate(&world, "needed-1.0.0");
    wanting(&world);
    let before = loose(&shop);

    let dry = world.pass(1, &["report"]);
    same(
        "dry run",
        &world.fates(&dry),
        &map(&[(
            "acme/shop worktrees/acme__shop/large",
            "keep unsaved can't be rescued",
        )]),
    );
    let (verdict, reasons) = listed(&world, &large);
    assert_eq!(verdict, "keep");
    assert!(
        reasons.contains("3.0 MiB, more than rescue_max (2.0 MiB)"),
        "{reasons}"
    );
    for night in 0..2 {
        let report = world.pass(1, &["run"]);
        same("run", &world.fates(&report), &world.fates(&dry));
        assert_eq!(
            report.totals.failures, dry.totals.failures,
            "night {night}: {:?}",
            report.failures
        );
        if night == 0 {
            assert_eq!(evicted(&report), evicted(&dry), "the same units");
            assert!(
                evicted(&report)
                    .iter()
                    .any(|unit| unit.contains("node_modules")),
                "its build output is offered: {:?}",
                evicted(&report)
            );
        }
        assert!(needed.exists(), "what it needs is in use");
        assert!(large.path.join("data/5").exists());
        assert_eq!(
            loose(&shop),
            before,
            "night {night}: nothing is written for a rescue that is refused"
        );
    }
}

#[test]
fn what_can_not_be_rescued_costs_no_exit_code_and_promises_nothing() {
    let world = World::new();
    world.set("defaults", "worktrees: {rescue_max: 1MiB}");
    let shop = world.repo("acme/shop");
    let large = shop.tree("large");
    write(&large.path.join("data"), noise(2 * MIB));
    large.age(40.0);
    let dry = world.pass(0, &["report"]);
    assert_eq!((dry.totals.freed_bytes, dry.totals.reaped), (0, 0));
    let report = world.pass(0, &["run"]);
    assert_eq!(
        (report.totals.freed_by_reap, outcome(&report, &large)),
        (0, TreeOutcome::Kept)
    );
    let ran = world.treewarden(&["worktree", "remove", "acme/shop", "large", "--rescue"]);
    assert!(
        ran.code == 1 && ran.err.contains("more than rescue_max"),
        "{ran:?}"
    );
}

/// Runs the program as a user who owns the volume but may not read everything in it.
fn as_agent(world: &World, arguments: &[&str]) -> Ran {
    let top = world.beside("");
    for entry in walkdir::WalkDir::new(&top).into_iter().map(Result::unwrap) {
        std::os::unix::fs::lchown(entry.path(), Some(1600), Some(1600)).unwrap();
    }
    let program = [
        &[
            "--reuid=1600",
            "--regid=1600",
            "--clear-groups",
            env!("CARGO_BIN_EXE_treewarden"),
        ],
        arguments,
    ]
    .concat();
    world.program("setpriv", &program)
}

#[test]
fn root_rescues_nobody_elses_file() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let shop = world.repo("acme/shop");
    let [shared, own] = ["shared", "own"].map(|name| shop.tree(name));
    for tree in [&shared, &own] {
        tree.write("notes", "private\n");
    }
    std::os::unix::fs::lchown(shared.path.join("notes"), Some(1600), Some(1600)).unwrap();
    for tree in [&shared, &own] {
        tree.age(40.0);
    }
    let report = world.night();
    assert_eq!(
        [outcome(&report, &shared), outcome(&report, &own)],
        [TreeOutcome::Kept, TreeOutcome::Reaped]
    );
    let row = report.repos[0]
        .worktrees
        .iter()
        .find(|tree| tree.path == shared.path)
        .unwrap();
    assert!(
        row.reasons
            .iter()
            .any(|why| why.contains("belongs to user 1600")),
        "{row:?}"
    );
    assert_eq!(
        std::fs::read_to_string(shared.path.join("notes")).unwrap(),
        "private\n"
    );
}

#[test]
fn a_file_that_can_not_be_read_keeps_the_tree_that_needs_a_rescue() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let shop = world.repo("acme/shop");
    let sealed = needing(&shop, "sealed", "needed");
    sealed.write("secret", "mine\n");
    std::fs::set_permissions(sealed.path.join("secret"), Permissions::from_mode(0o000)).unwrap();
    sealed.age(40.0);
    let needed = krate(&world, "needed-1.0.0");
    wanting(&world);
    let of = |arguments: &[&str]| {
        as_agent(&world, &[arguments, &["--format", "json"]].concat()).report()
    };
    let dry = of(&["report"]);
    let fates = [(
        "acme/shop worktrees/acme__shop/sealed",
        "keep unsaved can't be rescued",
    )];
    same("dry run", &world.fates(&dry), &map(&fates));
    let report = of(&["run"]);
    same("run", &world.fates(&report), &map(&fates));
    let row = report
        .worktrees()
        .find(|row| row.path == sealed.path)
        .unwrap();
    assert!(
        row.reasons[0].contains("secret: Permission denied"),
        "{row:?}"
    );
    assert!(needed.exists() && sealed.path.join("secret").exists());
}

#[test]
fn a_path_that_is_too_long_to_be_opened_keeps_the_tree() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let deep = shop.tree("deep");
    let mut directory = rustix::fs::open(
        &deep.path,
        rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let name = "d".repeat(200);
    for _ in 0..22 {
        rustix::fs::mkdirat(&directory, &name, rustix::fs::Mode::RWXU).unwrap();
        directory = rustix::fs::openat(
            &directory,
            &name,
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    drop(rustix::fs::openat(&directory, "notes.md", flags, rustix::fs::Mode::RUSR).unwrap());
    deep.age_admin(40.0);
    let dry = world.pass(0, &["run", "--dry-run"]);
    let report = world.pass(0, &["run"]);
    for report in [&dry, &report] {
        let row = report
            .worktrees()
            .find(|row| row.path == deep.path)
            .unwrap();
        assert_eq!(
            (row.outcome.clone(), row.because.as_str()),
            (TreeOutcome::Kept, "can't be rescued"),
            "{row:?}"
        );
        assert!(
            row.reasons[0].contains("too long to be opened") && row.reasons[0].len() < 400,
            "{:?}",
            row.reasons
        );
    }
}

#[test]
fn trees_that_were_to_go_and_stay_need_what_they_needed() {
    let world = World::new();
    world.set("run", "max_reaped: 1");
    let shop = world.repo("acme/shop");
    for name in ["one", "two"] {
        needing(&shop, name, name).age(40.0);
    }
    let needed = ["one-1.0.0", "two-1.0.0"].map(|name| krate(&world, name));
    wanting(&world);
    for report in [world.pass(1, &["report"]), world.pass(1, &["run"])] {
        assert_eq!(report.totals.reaped, 0);
        let evicted = evicted(&report);
        assert!(
            !evicted.iter().any(|unit| unit.ends_with("1.0.0")),
            "{evicted:?}"
        );
        assert_eq!(
            evicted
                .iter()
                .filter(|unit| unit.contains("node_modules"))
                .count(),
            2,
            "{evicted:?}"
        );
    }
    assert!(needed.iter().all(|krate| krate.exists()));
}

#[test]
fn what_a_rescue_writes_is_not_free() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("data");
    write(&tree.path.join("measured"), noise(20 * MIB));
    tree.age(40.0);
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    write(&world.at("caches/models/one"), vec![b'x'; 12 * MIB]);
    age(&world.at("caches/models/one"), 90.0);
    // Over the budget, and only the cache can be freed: the tree's bytes move into the store.
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() - 5 * MIB as u64),
    );
    let dry = world.pass(0, &["report"]);
    let report = world.pass(0, &["run"]);
    for report in [&dry, &report] {
        assert_eq!(evicted(report), ["one"], "{:?}", report.eviction);
        assert!(
            report.totals.freed_by_reap < MIB as u64,
            "{}",
            report.totals.freed_by_reap
        );
    }
    assert_eq!(outcome(&report, &tree), TreeOutcome::Reaped);
}
