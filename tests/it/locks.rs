//! The lock that agents and runs share: a holder is never disturbed, and the next run finishes what
//! a killed one began.

use super::support::repo::{Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{World, age, map, remove, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use treewarden::report::{RepoOutcome, RunReport, TreeOutcome};

/// Creates a repo with something of each kind to do.
fn work<'a>(world: &'a World, name: &str) -> Repo<'a> {
    let repo = world.repo(name);
    repo.tree("landed").age(2.0);
    repo.tree("dirty").write("new.ts", "new\n").age(31.0);
    repo.tree("fresh");
    write(&repo.git_dir("shallow.lock"), "");
    age(&repo.git_dir("shallow.lock"), 1.0);
    let gone = repo.tree("gone");
    remove(&gone.path);
    gone.age_admin(10.0);
    repo
}

/// Makes a run stop in this repo, with its lock held, until the second file exists. The first file
/// says that it has begun.
fn halt(world: &World, repo: &str) -> (PathBuf, PathBuf) {
    let (begun, go) = (world.beside("begun"), world.beside("go"));
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.01; done; exit 1",
        begun.display(),
        go.display()
    );
    world.enrol(repo, &format!("busy_probe: [sh, -c, '{script}']"));
    (begun, go)
}

fn outcomes(report: &RunReport) -> BTreeMap<String, String> {
    report
        .repos
        .iter()
        .map(|repo| {
            // Only the kernel knows who left no name.
            let bare = repo
                .lock
                .holder
                .as_ref()
                .filter(|it| it.contains("for `flock "));
            let holder = bare.map_or(format!("{:?}", repo.lock.holder), |_| "by flock".to_owned());
            (repo.name.clone(), format!("{:?} {holder}", repo.outcome))
        })
        .collect()
}

#[test]
fn a_busy_repo_is_left_in_peace_and_its_holder_named() {
    let world = World::new();
    let busy = work(&world, "acme/busy");
    let nameless = work(&world, "acme/nameless");
    work(&world, "acme/free");
    let named = world.hold("acme__busy");
    write(
        &world.at(".treewarden/locks/acme__busy.lock"),
        r#"{"holder": "pod-7/node-1", "pid": 12, "purpose": "exec", "since": "2026-05-01T03:04:05Z", "token": "t"}"#,
    );
    let shell = world.hold("acme__nameless");
    let before = [
        snapshot(&busy.path),
        snapshot(&world.at("worktrees/acme__busy")),
        snapshot(&nameless.path),
    ];
    let lock = snapshot(&world.at(".treewarden/locks/acme__busy.lock"));
    let expected = |did: &str| {
        map(&[
            (
                "acme/busy",
                r#"Busy Some("pod-7/node-1 (pid 12) for `exec` since 2026-05-01 03:04 UTC")"#,
            ),
            ("acme/nameless", "Busy by flock"),
            ("acme/free", &format!("{did} None")),
        ])
    };
    same(
        "a dry run",
        &outcomes(&world.pass(0, &["report"])),
        &expected("Planned"),
    );
    let report = world.night();
    same("a night", &outcomes(&report), &expected("Maintained"));
    assert_eq!((report.totals.reaped, report.totals.failures), (2, 0));
    same("the busy repo", &snapshot(&busy.path), &before[0]);
    same(
        "its trees",
        &snapshot(&world.at("worktrees/acme__busy")),
        &before[1],
    );
    same("the other busy repo", &snapshot(&nameless.path), &before[2]);
    same(
        "its lock file",
        &snapshot(&world.at(".treewarden/locks/acme__busy.lock")),
        &lock,
    );
    // The locks are free again: the text in the lock file decides nothing.
    drop((named, shell));
    assert_eq!(world.night().totals.reaped, 4);
    assert_eq!(
        std::fs::read(world.at(".treewarden/locks/acme__busy.lock")).unwrap(),
        b"",
        "our own name goes when we do"
    );
}

#[test]
fn flock_from_a_shell_is_the_same_lock() {
    let world = World::new();
    let shop = work(&world, "acme/shop");
    let lock = world.at(".treewarden/locks/acme__shop.lock");
    let run = format!(
        "{} run --format json > {}",
        env!("CARGO_BIN_EXE_treewarden"),
        world.beside("report.json").display()
    );
    let before = snapshot(&shop.path);
    let ran = world.program("flock", &[lock.to_str().unwrap(), "sh", "-c", &run]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: RunReport =
        serde_json::from_slice(&std::fs::read(world.beside("report.json")).unwrap()).unwrap();
    assert_eq!(report.repos[0].outcome, RepoOutcome::Busy);
    same("the repo", &snapshot(&shop.path), &before);
}

#[test]
fn a_busy_repo_is_waited_for() {
    let world = World::new();
    world.set("defaults", "worktrees: {landed: 1d}");
    let shop = work(&world, "acme/shop");
    shop.set("lock_wait: 1m");
    let agent = world.hold("acme__shop");
    let night = world.start(&["run", "--format", "json"]);
    until("the night begins", || {
        world
            .at(".treewarden/locks/volume.lock")
            .metadata()
            .is_ok_and(|data| data.len() > 0)
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(agent);
    let report = night.end().report();
    assert_eq!(
        (report.repos[0].outcome, report.totals.reaped),
        (RepoOutcome::Maintained, 2)
    );
    assert!(
        report.repos[0].lock.waited_seconds > 0.2,
        "{:?}",
        report.repos[0].lock
    );
}

#[test]
fn one_night_at_a_time() {
    let world = World::new();
    let shop = work(&world, "acme/shop");
    let (begun, go) = halt(&world, "acme/shop");
    let night = world.start(&["run", "--format", "json"]);
    until("the first night begins", || begun.exists());
    let before = snapshot(&world.root);
    let second = world.treewarden(&["run", "--format", "json"]);
    assert_eq!(second.code, 3, "{second:?}");
    let reason = second.report().run.reason.unwrap();
    assert!(
        reason.contains("another run has the volume: held by")
            && reason.contains(&format!("(pid {})", night.pid().as_raw_nonzero())),
        "{reason}"
    );
    same("after the second night", &snapshot(&world.root), &before);
    // A dry run still surveys, and sees that the repo is held.
    let dry = world.pass(0, &["report"]);
    assert_eq!(dry.repos[0].outcome, RepoOutcome::Busy);
    same("after a report", &snapshot(&world.root), &before);
    write(&go, "");
    let first = night.end();
    assert_eq!((first.code, first.report().totals.reaped), (0, 2));
    assert_eq!(shop.fsck(), "");
}

#[test]
fn a_killed_holder_leaves_the_lock_free() {
    let world = World::new();
    work(&world, "acme/shop");
    let (begun, go) = halt(&world, "acme/shop");
    let mut night = world.start(&["run"]);
    until("the night begins", || begun.exists());
    night.signal(Signal::KILL);
    assert_eq!(night.end().code, 128 + 9);
    let left = std::fs::read_to_string(world.at(".treewarden/locks/acme__shop.lock")).unwrap();
    assert!(left.contains("\"purpose\":\"run\""), "{left}");
    write(&go, "");
    assert_eq!(world.night().totals.reaped, 2);
}

#[test]
fn who_loses_the_lock_stops_at_once() {
    for theft in ["rm LOCK", "mv LOCK LOCK.old; touch LOCK", "echo {} > LOCK"] {
        let world = World::new();
        let shop = work(&world, "acme/shop");
        work(&world, "acme/fine");
        let lock = world.at(".treewarden/locks/acme__shop.lock");
        let theft = theft.replace("LOCK", lock.to_str().unwrap());
        world.enrol(
            "acme/shop",
            &format!("busy_probe: [sh, -c, '{theft}; exit 1']"),
        );
        let before = [
            snapshot(&shop.path),
            snapshot(&world.at("worktrees/acme__shop")),
        ];
        let report = world.pass(1, &["run"]);
        let repo = report
            .repos
            .iter()
            .find(|repo| repo.name == "acme/shop")
            .unwrap();
        let failures: Vec<&String> = repo.failures.iter().collect();
        assert!(
            !failures.is_empty() && failures.iter().all(|why| why.contains("lost the lock")),
            "{theft}: {failures:?}"
        );
        assert!(
            repo.worktrees
                .iter()
                .all(|tree| tree.outcome != TreeOutcome::Reaped),
            "{theft}: {:?}",
            repo.worktrees
        );
        same(&theft, &snapshot(&shop.path), &before[0]);
        same(
            &theft,
            &snapshot(&world.at("worktrees/acme__shop")),
            &before[1],
        );
        assert_eq!(report.totals.reaped, 2, "the other repo's trees go");
    }
}

/// Returns the result of a run, however often it was killed on the way: trees, registrations,
/// branches, and the rescued content.
fn end_state(repo: &Repo<'_>) -> BTreeMap<String, String> {
    let mut state = repo.registered();
    state.extend(
        repo.refs("refs")
            .into_iter()
            .filter(|(name, _)| !name.starts_with("refs/treewarden/")),
    );
    for (name, _) in repo.refs("refs/treewarden") {
        let tree = name.split('/').nth(3).unwrap().to_owned();
        state.insert(
            format!("rescue of {tree}"),
            repo.git(&["rev-parse", &format!("{name}^{{tree}}")]),
        );
    }
    for entry in std::fs::read_dir(repo.world.at("worktrees").join(repo.directory())).unwrap() {
        let path = entry.unwrap().path();
        state.insert(
            format!("stands {}", path.file_name().unwrap().display()),
            path.join(".git").exists().to_string(),
        );
    }
    state
}

fn many_trees(world: &World) -> Vec<Repo<'_>> {
    let repos: Vec<Repo<'_>> = ["acme/a", "acme/b"]
        .into_iter()
        .map(|name| work(world, name))
        .collect();
    for repo in &repos {
        let trees: Vec<Tree> = (0..3).map(|n| repo.tree(&format!("dirty-{n}"))).collect();
        for (n, tree) in trees.iter().enumerate() {
            for file in 0..20 {
                tree.write(&format!("folder-{file}/new-{n}.ts"), &format!("{file}\n"));
            }
            tree.age(31.0);
        }
        // Enough loose refs to be packed.
        let branches: Vec<String> = (0..20).map(|n| format!("main:b{n}")).collect();
        repo.git(
            &[
                &["fetch", "-q", "."],
                &branches.iter().map(String::as_str).collect::<Vec<_>>()[..],
            ]
            .concat(),
        );
    }
    repos
}

#[test]
fn a_night_that_is_killed_again_and_again_ends_like_one_that_is_not() {
    let whole = World::new();
    let expected: Vec<_> = {
        let repos = many_trees(&whole);
        assert_eq!(whole.night().totals.reaped, 10);
        repos.iter().map(end_state).collect()
    };
    let world = World::new();
    let repos = many_trees(&world);
    let mut codes = Vec::new();
    for delay in [5, 15, 25, 35, 45, 60, 75, 90, 110, 130, 160, 200, 250] {
        let mut night = world.start(&["run"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        night.signal(Signal::KILL);
        codes.push(night.end().code);
        // A child of the killed run that had not yet become git holds the lock a moment longer.
        for name in ["volume", "acme__a", "acme__b"] {
            until("the lock is free again", || world.try_hold(name).is_some());
        }
        // Ages what a killed git left by a day.
        for lock in walkdir::WalkDir::new(&world.root)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| is_lock(entry.path()))
        {
            age(lock.path(), 1.0);
        }
    }
    let kills = codes.iter().filter(|&&code| code == 137).count();
    assert!(
        kills > 2 && codes.iter().all(|code| [0, 1, 137].contains(code)),
        "{codes:?}"
    );
    world.night();
    for (repo, expected) in repos.iter().zip(&expected) {
        same(&repo.name, &end_state(repo), expected);
        assert_eq!(repo.fsck(), "");
    }
    world.night();
    assert_eq!(
        std::fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count(),
        0
    );
    let runs = world.history();
    assert!(
        runs.len() + kills >= codes.len() + 2,
        "{} runs in the journal, {codes:?}",
        runs.len()
    );
}

fn is_lock(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "lock" || ending == "new")
        && path.components().any(|part| part.as_os_str() == ".git")
}
