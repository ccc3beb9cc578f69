//! Eviction: least recently used first across caches, down to nine tenths of the budget, and never
//! what must stay.

use super::support::made::{cargo, npm};
use super::support::repo::Tree;
use super::support::snapshot::snapshot;
use super::support::{World, age, age_all, same, write};
use std::collections::BTreeMap;
use treewarden::report::{Eviction, RunReport, UnitOutcome};

const MIB: u64 = 1 << 20;

/// Creates a unit of so many MiB, last used so many days ago.
fn unit(world: &World, path: &str, mebibytes: usize, days: f64) {
    let path = world.at("caches").join(path);
    write(&path, vec![b'x'; mebibytes << 20]);
    age(&path, days);
}

/// Configures a plain directory as a cache.
fn cache(world: &World, name: &str, settings: &str) {
    world.set(
        "caches",
        &format!("{{kind: folder, name: {name}, path: caches/{name}{settings}}}"),
    );
}

/// Sets the budget so that this many MiB must be freed to reach nine tenths of it.
fn must_go(world: &World, mebibytes: u64) {
    // 10/9, because eviction stops at nine tenths. Half a MiB is for directories and the run's own
    // files.
    let budget = (world.standing() - mebibytes * MIB + MIB / 2) * 10 / 9;
    assert!(
        budget < world.standing(),
        "the volume is too small to be over its budget"
    );
    world.set("eviction", &format!("budget: {budget}"));
}

fn gone(eviction: &Eviction) -> Vec<String> {
    eviction
        .units
        .iter()
        .map(|unit| format!("{} {} {:?}", unit.cache, unit.unit, unit.outcome))
        .collect()
}

/// Returns the files below a directory.
fn left(world: &World, directory: &str) -> Vec<String> {
    let files = walkdir::WalkDir::new(world.at(directory))
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| world.below(entry.path()).to_string())
        .collect()
}

/// Creates two caches with units of many ages.
fn caches(world: &World) {
    for (path, days) in [
        ("models/a", 50.0),
        ("models/b", 10.0),
        ("models/c", 30.0),
        ("data/d", 40.0),
        ("data/e", 20.0),
        ("data/f", 5.0),
    ] {
        unit(world, path, 2, days);
    }
}

#[test]
fn the_least_recently_used_go_first_across_caches() {
    let world = World::new();
    caches(&world);
    unit(&world, "models/folder/deep/inside", 2, 45.0);
    age_all(&world.at("caches/models/folder"), 45.0);
    cache(&world, "models", "");
    cache(&world, "data", "");
    write(
        &world.at("caches/not-in-the-config/old"),
        vec![b'x'; 9 << 20],
    );
    age(&world.at("caches/not-in-the-config/old"), 999.0);
    must_go(&world, 7);
    let report = world.night();
    let eviction = &report.eviction;
    assert_eq!(
        gone(eviction),
        [
            "models a Evicted",
            "models folder Evicted",
            "data d Evicted",
            "models c Evicted"
        ]
    );
    assert_eq!(
        left(&world, "caches"),
        [
            "caches/data/e",
            "caches/data/f",
            "caches/models/b",
            "caches/not-in-the-config/old"
        ]
    );
    assert!(
        eviction.triggered && eviction.reason.contains("over the budget"),
        "{}",
        eviction.reason
    );
    assert!(
        (eviction.wanted_bytes..eviction.wanted_bytes + 2 * MIB).contains(&eviction.freed_bytes),
        "{eviction:?}"
    );
    assert_eq!(
        (eviction.shortfall_bytes, eviction.freed_bytes),
        (0, eviction.units.iter().map(|unit| unit.bytes).sum())
    );
    assert_eq!(
        (report.totals.evicted, report.totals.freed_by_evict),
        (4, eviction.freed_bytes)
    );
    assert!(report.alerts.iter().any(|alert| alert.name == "Evicted"));
    // That is enough: the next run evicts nothing.
    let again = world.night().eviction;
    assert!(!again.triggered && again.units.is_empty(), "{again:?}");
}

#[test]
fn below_its_budget_a_volume_is_left_alone() {
    let world = World::new();
    caches(&world);
    cache(&world, "models", "");
    world.set("eviction", &format!("budget: {}", world.standing() + MIB));
    let before = snapshot(&world.at("caches"));
    let eviction = world.night().eviction;
    assert!(
        !eviction.triggered && eviction.wanted_bytes == 0 && gone(&eviction).is_empty(),
        "{eviction:?}"
    );
    assert!(
        eviction.reason.contains("the high mark is 100 %"),
        "{}",
        eviction.reason
    );
    same("the caches", &snapshot(&world.at("caches")), &before);
}

#[test]
fn a_mark_is_passed_by_what_the_volume_holds() {
    let world = World::new();
    caches(&world);
    cache(&world, "models", "");
    cache(&world, "data", "");
    // On any machine, some millionth of the disk is in use, and more must be freed than the caches
    // contain.
    let text = std::fs::read_to_string(world.config()).unwrap();
    let text = text.replace(
        "high: {bytes: 100%, inodes: 100%}, low: {bytes: 99%, inodes: 99%}",
        "high: {bytes: 0.0002%}, low: {bytes: 0.0001%}",
    );
    let config = world.beside("low.yaml");
    std::fs::write(&config, text).unwrap();
    let report = world.pass(1, &["run", "--config", config.to_str().unwrap()]);
    assert!(
        report.eviction.reason.contains("above the high mark of"),
        "{}",
        report.eviction.reason
    );
    assert_eq!(
        (report.eviction.units.len(), left(&world, "caches").len()),
        (6, 0)
    );
}

#[test]
fn what_must_stay_stays_and_the_shortfall_is_told() {
    let world = World::new();
    caches(&world);
    unit(&world, "precious/p", 2, 90.0);
    unit(&world, "precious/q", 2, 80.0);
    unit(&world, "data/future", 2, -2.0);
    world.set("eviction", "min_age: 8d");
    // b is too young for its cache, f for any; 3 MiB of `precious` are reserved.
    cache(&world, "models", ", min_age: 15d");
    cache(&world, "data", "");
    cache(&world, "precious", ", reserve: 3MiB");
    must_go(&world, 12);
    let before = snapshot(&world.root);
    let dry = world.pass(1, &["report"]);
    same("after a report", &snapshot(&world.root), &before);
    let report = world.pass(1, &["run"]);
    let eviction = &report.eviction;
    assert_eq!(
        gone(eviction),
        [
            "models a Evicted",
            "data d Evicted",
            "models c Evicted",
            "data e Evicted"
        ]
    );
    assert_eq!(
        left(&world, "caches"),
        ["b", "f", "future", "p", "q"]
            .map(|name| match name {
                "b" => "caches/models/b".to_owned(),
                "p" | "q" => format!("caches/precious/{name}"),
                _ => format!("caches/data/{name}"),
            })
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    let expected = [
        "1 unit of data: last used in the future, by their time stamps",
        "1 unit of data: younger than 8 d",
        "1 unit of models: younger than 15 d",
        "2 units of precious: held by its reserve of 3.0 MiB",
    ];
    assert_eq!(eviction.obstacles, expected);
    assert!(
        (3 * MIB..5 * MIB).contains(&eviction.shortfall_bytes),
        "{eviction:?}"
    );
    assert_eq!(
        eviction.wanted_bytes - eviction.freed_bytes,
        eviction.shortfall_bytes
    );
    assert_eq!(
        report.totals.failures, 0,
        "nothing failed, and still the run did: it fell short"
    );
    assert_eq!(report.alerts[0].name, "EvictionShortfall");
    assert_eq!(
        dry.eviction
            .units
            .iter()
            .map(|unit| &unit.unit)
            .collect::<Vec<_>>(),
        eviction
            .units
            .iter()
            .map(|unit| &unit.unit)
            .collect::<Vec<_>>()
    );
}

#[test]
fn links_are_no_units_and_nothing_behind_them_goes() {
    let world = World::new();
    caches(&world);
    cache(&world, "models", "");
    let outside = world.beside("precious");
    write(&outside.join("file"), vec![b'x'; 1 << 20]);
    std::os::unix::fs::symlink(&outside, world.at("caches/models/link")).unwrap();
    std::os::unix::fs::symlink(&outside, world.at("caches/linked")).unwrap();
    cache(&world, "linked", "");
    must_go(&world, 8);
    let before = snapshot(&outside);
    let report = world.pass(1, &["run"]);
    assert_eq!(
        gone(&report.eviction),
        ["models a Evicted", "models c Evicted", "models b Evicted"]
    );
    same("behind the links", &snapshot(&outside), &before);
    assert!(world.at("caches/models/link").is_symlink());
}

/// Creates a tree that stays, with 4 MiB that npm can regenerate.
fn with_modules(world: &World, name: &str, days: f64) -> Tree {
    let tree = world.repo(name).tree("stays");
    tree.commit("work.ts", "1\n")
        .write("node_modules/.package-lock.json", &npm(&["big"]))
        .write("node_modules/big/package.json", "{}")
        .write("node_modules/big/index.js", &"x".repeat(4 << 20))
        .write("mine.ts", "1\n");
    tree.age(days);
    tree
}

fn units(report: &RunReport) -> BTreeMap<String, UnitOutcome> {
    report
        .eviction
        .units
        .iter()
        .map(|unit| (unit.unit.clone(), unit.outcome.clone()))
        .collect()
}

#[test]
fn build_output_of_idle_trees_goes_under_their_repos_lock() {
    let world = World::new();
    let idle = with_modules(&world, "acme/idle", 20.0);
    let lately = with_modules(&world, "acme/lately", 0.2);
    let busy = with_modules(&world, "acme/busy", 20.0);
    let own = with_modules(&world, "acme/own", 20.0);
    own.write("node_modules/patch.js", "mine\n").age(20.0);
    let spared = with_modules(&world, "acme/spared", 20.0);
    world.enrol("acme/spared", "worktrees: {keep: [stays]}");
    world.set("caches", "{kind: build-output, min_age: 3d}");
    let agent = world.hold("acme__busy");
    // All of it would have to go, but only one may.
    must_go(&world, 12);
    let report = world.pass(1, &["run"]);
    assert_eq!(
        units(&report),
        [(
            "worktrees/acme__idle/stays/node_modules".to_owned(),
            UnitOutcome::Evicted
        )]
        .into()
    );
    assert!(!idle.path.join("node_modules").exists());
    assert_eq!(
        std::fs::read_to_string(idle.path.join("mine.ts")).unwrap(),
        "1\n"
    );
    for tree in [&lately, &busy, &own, &spared] {
        assert!(
            tree.path.join("node_modules/big/index.js").exists(),
            "{}",
            tree.path.display()
        );
    }
    assert!(
        report
            .eviction
            .obstacles
            .iter()
            .any(|why| why.contains("node_modules/patch.js")),
        "{:?}",
        report.eviction
    );
    drop(agent);
    let report = world.pass(1, &["run"]);
    assert_eq!(
        units(&report),
        [(
            "worktrees/acme__busy/stays/node_modules".to_owned(),
            UnitOutcome::Evicted
        )]
        .into()
    );
}

#[test]
fn build_output_of_a_repo_that_somebody_took_meanwhile_stays() {
    let world = World::new();
    let tree = with_modules(&world, "acme/shop", 20.0);
    let second = with_modules(&world, "acme/woken", 20.0);
    world.set("caches", "{kind: build-output}");
    let lock = world.at(".treewarden/locks/acme__shop.lock");
    // During the survey, an agent queues for the lock of acme/shop; acme/slow delays the eviction
    // until the agent has it. In acme/woken an agent works without any lock.
    let (agent, got) = (world.beside("agent"), world.beside("got"));
    let queue = format!(
        r#"flock {} sh -c "touch {}; sleep 60" & echo $! > {}; exit 1"#,
        lock.display(),
        got.display(),
        agent.display()
    );
    world.enrol("acme/shop", &format!("busy_probe: [sh, -c, '{queue}']"));
    world.repo("acme/slow").set(&format!(
        "busy_probe: [sh, -c, 'until [ -e {} ]; do sleep 0.01; done; exit 1']",
        got.display()
    ));
    let wake = format!("touch {}; exit 1", second.admin.join("index").display());
    world.enrol("acme/woken", &format!("busy_probe: [sh, -c, '{wake}']"));
    must_go(&world, 8);
    let report = world.pass(1, &["run"]);
    let agent: i32 = std::fs::read_to_string(agent)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let agent = rustix::process::Pid::from_raw(agent).unwrap();
    rustix::process::kill_process_group(
        rustix::process::getpgid(Some(agent)).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let skipped = |why: &str| UnitOutcome::Skipped(why.to_owned());
    let expected = [
        (
            "worktrees/acme__shop/stays/node_modules".to_owned(),
            skipped("acme/shop is busy"),
        ),
        (
            "worktrees/acme__woken/stays/node_modules".to_owned(),
            skipped("its worktree is in use again"),
        ),
    ];
    assert_eq!(units(&report), expected.into());
    assert!(
        [tree, second]
            .iter()
            .all(|tree| tree.path.join("node_modules/big/index.js").exists())
    );
    assert_eq!((report.totals.evicted, report.eviction.freed_bytes), (0, 0));
}

/// The directories of a tree that stays, and whether each is evicted. Tools' own output is; what
/// git tracks, somebody put there, or no structure identifies is kept.
#[test]
fn partial_reclaim_takes_what_tools_make_and_nothing_else() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("stays");
    tree.commit("package.json", "{}")
        .commit("py/pyproject.toml", "")
        .commit("rs/Cargo.toml", "")
        .commit("jvm/build.gradle", "");
    // Tracked, though it looks like a compiler's output.
    tree.commit("lib/package.json", "{}")
        .commit("lib/dist/x.js", "1\n")
        .write("lib/dist/x.js.map", "{}");
    let table: [(&str, &[&str], bool); 24] = [
        ("node_modules", &["big/package.json"], true),
        (".next", &["BUILD_ID"], true),
        (".nuxt", &["nuxt.d.ts"], true),
        (".turbo", &["turbo-build.log"], true),
        (".parcel-cache", &["data.mdb"], true),
        ("coverage", &["lcov-report/index.html", "lcov.info"], true),
        ("dist", &["app.js", "app.js.map"], true),
        ("out", &["build.ninja"], true),
        ("py/.venv", &["pyvenv.cfg"], true),
        ("py/pkg/__pycache__", &["a.cpython-311.pyc"], true),
        ("py/.pytest_cache", &["CACHEDIR.TAG"], true),
        ("py/.mypy_cache", &["CACHEDIR.TAG"], true),
        ("py/.ruff_cache", &["CACHEDIR.TAG"], true),
        ("py/dist", &["shop-1-py3-none-any.whl"], true),
        ("rs/target", &[], true),
        ("jvm/.gradle", &["8.5/fileHashes/fileHashes.bin"], true),
        (
            "jvm/build",
            &[
                "tmp/compileJava/previous-compilation-data.bin",
                "libs/shop.jar",
            ],
            true,
        ),
        ("lib/dist", &["x.js.map"], false),
        ("notes/target", &["todo.md"], false),
        ("notes/build", &["todo.md"], false),
        ("notes/dist", &["todo.md"], false),
        ("notes/coverage", &["todo.md"], false),
        ("notes/out", &["todo.md"], false),
        ("notes/.venv", &["todo.md"], false),
    ];
    for (directory, files, _) in table {
        for file in files {
            write(&tree.path.join(directory).join(file), vec![b'x'; 64 << 10]);
        }
    }
    tree.write("node_modules/.package-lock.json", &npm(&["big"]));
    cargo(&tree.path.join("rs/target"), "shop", &vec![b'x'; 64 << 10]);
    // A single note of somebody's keeps the whole directory.
    tree.write(".next/cache/webpack/0.pack", "x")
        .write("svc/.next/BUILD_ID", "x")
        .write("svc/.next/why.md", "mine\n");
    tree.write("svc/package.json", "{}");
    tree.age(20.0);
    // Everything is ignored, but that is only what the repo says, and proves nothing.
    write(&shop.path.join(".git/info/exclude"), "*\n");
    world.enrol(
        "acme/shop",
        "worktrees: {made_again: [{name: out, holds: build.ninja}]}",
    );
    world.set("caches", "{kind: build-output, min_age: 3d}");
    world.set("eviction", "budget: 1KiB");
    let names = |report: &RunReport| units(report).into_keys().collect::<Vec<_>>();
    let dry = world.pass(1, &["report"]);
    let report = world.pass(1, &["run"]);
    assert_eq!(names(&dry), names(&report));
    let found: BTreeMap<&str, bool> = table
        .iter()
        .map(|(directory, ..)| (*directory, !tree.path.join(directory).exists()))
        .collect();
    same(
        "which directories went",
        &found,
        &table
            .iter()
            .map(|(directory, _, goes)| (*directory, *goes))
            .collect(),
    );
    assert!(
        report
            .eviction
            .obstacles
            .iter()
            .any(|why| why.contains("svc/.next/why.md")),
        "{:?}",
        report.eviction.obstacles
    );
    for kept in [
        "package.json",
        "lib/dist/x.js",
        "notes/target/todo.md",
        "svc/.next/BUILD_ID",
        "svc/.next/why.md",
    ] {
        assert!(tree.path.join(kept).exists(), "{kept}");
    }
}
