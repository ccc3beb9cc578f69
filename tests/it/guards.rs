//! Guards against a run on the wrong or a half-mounted volume, and against more reaps than anybody
//! intended.

#![expect(
    clippy::disallowed_methods,
    reason = "tests build and break volumes with real tools"
)]

use super::support::snapshot::snapshot;
use super::support::{World, age_all, is_root, map, remove, same, until, write};
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use treewarden::report::{RepoOutcome, RunOutcome};

/// Checks that a run is refused with these words, and changes nothing below the root.
fn refused(world: &World, words: &[&str]) {
    let before = snapshot(&world.root);
    let report = world.pass(3, &["run"]);
    let reason = report.run.reason.unwrap();
    assert!(
        report.run.outcome == RunOutcome::Refused && words.iter().all(|word| reason.contains(word)),
        "{reason}"
    );
    assert_eq!(
        report
            .alerts
            .iter()
            .map(|alert| alert.name.as_str())
            .collect::<Vec<_>>(),
        ["RunRefused"]
    );
    same("the volume", &snapshot(&world.root), &before);
}

fn with_a_tree() -> World {
    let world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    world
}

#[test]
fn an_empty_mount_point_is_refused() {
    let world = with_a_tree();
    std::fs::rename(&world.root, world.beside("unmounted")).unwrap();
    std::fs::create_dir(&world.root).unwrap();
    refused(&world, &["volume.json", "is missing", "not mounted here"]);
    assert_eq!(std::fs::read_dir(&world.root).unwrap().count(), 0);
}

#[test]
fn the_sentinel_of_another_volume_is_refused() {
    let (world, other) = (with_a_tree(), World::new());
    std::fs::copy(
        other.at(".treewarden/volume.json"),
        world.at(".treewarden/volume.json"),
    )
    .unwrap();
    refused(&world, &["prepared for", other.root.to_str().unwrap()]);
}

#[test]
fn a_state_directory_that_is_a_link_is_refused() {
    for elsewhere in ["../elsewhere", "within"] {
        let world = with_a_tree();
        let state = world.at(".treewarden");
        std::fs::rename(&state, world.at(elsewhere)).unwrap();
        symlink(elsewhere, &state).unwrap();
        refused(&world, &["failed to read", "volume.json"]);
    }
}

/// A mount, until the test ends.
struct Mounted(PathBuf);

impl Mounted {
    fn new(arguments: &[&str], at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        assert!(
            Command::new("mount")
                .args(arguments)
                .arg(at)
                .status()
                .unwrap()
                .success(),
            "{arguments:?}"
        );
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _left_to_the_machine = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root, to mount file systems"]
fn mounts_in_the_wrong_place() {
    assert!(is_root(), "only root may mount");
    // If the state directory is another file system, nothing can be renamed into its trash.
    let world = with_a_tree();
    let state = world.at(".treewarden");
    std::fs::rename(&state, world.beside("state")).unwrap();
    {
        let _state = Mounted::new(&["-t", "tmpfs", "tmpfs"], &state);
        for entry in std::fs::read_dir(world.beside("state"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                std::fs::create_dir(state.join(entry.file_name().unwrap())).unwrap();
            } else {
                std::fs::copy(&entry, state.join(entry.file_name().unwrap())).unwrap();
            }
        }
        refused(&world, &["failed to read", "volume.json"]);
    }
    // A bind mount of the same file system has the same device, but is another mount all the same.
    {
        let _state = Mounted::new(&["--bind", world.beside("state").to_str().unwrap()], &state);
        refused(&world, &["failed to read", "volume.json"]);
    }
    remove(&state);
    std::fs::rename(world.beside("state"), &state).unwrap();

    // An empty file system over the trees: all are missing, and none is forgotten.
    let repo = super::support::repo::Repo::there(&world, "acme/shop");
    let before = snapshot(&repo.git_dir("worktrees"));
    {
        let _trees = Mounted::new(&["-t", "tmpfs", "tmpfs"], &world.at("worktrees"));
        let report = world.night();
        assert_eq!(
            (report.totals.reaped, report.repos[0].prune.dropped.len()),
            (0, 0)
        );
    }
    same(
        "the registry",
        &snapshot(&repo.git_dir("worktrees")),
        &before,
    );
    assert_eq!(world.night().totals.reaped, 1);
}

#[test]
fn a_repo_that_is_gone_is_told_and_the_others_get_their_night() {
    let world = with_a_tree();
    let gone = world.repo("acme/gone");
    let tree = gone.tree("dirty");
    tree.write("new.ts", "only here\n").age(99.0);
    std::fs::rename(&gone.path, world.beside("gone")).unwrap();
    let before = snapshot(&tree.path);
    let report = world.pass(1, &["run"]);
    let outcomes: Vec<_> = report
        .repos
        .iter()
        .map(|repo| (repo.name.as_str(), repo.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("acme/gone", RepoOutcome::Refused),
            ("acme/shop", RepoOutcome::Maintained)
        ]
    );
    assert_eq!(
        (report.totals.reaped, report.alerts[0].name.as_str()),
        (1, "RunFailed")
    );
    assert!(
        report.alerts[0].summary.contains("acme/gone"),
        "{:?}",
        report.alerts
    );
    same("its tree", &snapshot(&tree.path), &before);
    std::fs::rename(world.beside("gone"), &gone.path).unwrap();
    assert_eq!(world.night().totals.rescued, 1);
}

#[test]
fn what_comes_due_after_the_count_waits() {
    let world = World::new();
    world.set("run", "max_reaped: 1");
    let shop = world.repo("acme/shop");
    let [counted, locked] = ["counted", "locked"].map(|name| shop.tree(name));
    shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
    counted.age(2.0);
    locked.age(2.0);
    // The probe runs when the first pass has surveyed the trees.
    shop.set(&format!(
        "busy_probe: [sh, -c, 'rm -f {}; exit 1']",
        locked.admin.join("locked").display()
    ));
    let report = world.night();
    let expected = [
        (
            "acme/shop worktrees/acme__shop/counted",
            "reap landed merged",
        ),
        (
            "acme/shop worktrees/acme__shop/locked",
            "spared landed merged",
        ),
    ];
    same("fates", &world.fates(&report), &map(&expected));
    assert!(locked.path.exists() && report.totals.reaped == 1);
    assert_eq!(world.night().totals.reaped, 1);
}

#[test]
fn too_many_reaps_are_alerted() {
    let world = World::new();
    world.set("run", "max_reaped: 2");
    // No single repo has too many.
    for name in ["acme/one", "acme/two", "acme/three"] {
        world.repo(name).tree("landed").age(2.0);
    }
    let report = world.pass(1, &["run"]);
    assert_eq!(
        (report.totals.reaped, report.alerts[0].name.as_str()),
        (0, "RunFailed")
    );
    assert!(
        report.alerts[0].summary.contains("max_reaped (2)"),
        "{:?}",
        report.alerts
    );
}

#[test]
fn a_repo_with_too_many_trees_keeps_no_other_from_its_own() {
    let world = World::new();
    world.set("run", "max_reaped: 2");
    let greedy = world.repo("acme/greedy");
    for name in ["a", "b", "c"] {
        greedy.tree(name).age(2.0);
    }
    for name in ["acme/one", "acme/two"] {
        world.repo(name).tree("landed").age(2.0);
    }
    let foreseen = world.fates(&world.pass(1, &["report"]));
    let report = world.pass(1, &["run"]);
    let mut expected = map(&[
        ("acme/one worktrees/acme__one/landed", "reap landed merged"),
        ("acme/two worktrees/acme__two/landed", "reap landed merged"),
    ]);
    expected.extend(["a", "b", "c"].map(|name| {
        (
            format!("acme/greedy worktrees/acme__greedy/{name}"),
            "spared landed too many at once".to_owned(),
        )
    }));
    same("fates", &world.fates(&report), &expected);
    same("the dry run", &foreseen, &expected);
    assert!(
        report.failures.len() == 1 && report.failures[0].contains("acme/greedy (3)"),
        "{:?}",
        report.failures
    );
    assert!(
        !report.failures[0].contains("acme/one"),
        "{:?}",
        report.failures
    );
    assert_eq!((report.totals.reaped, greedy.registered().len()), (2, 4));
}

/// Makes the journal's last run look as if it had ended so many hours ago.
fn last_run(world: &World, hours: i64) {
    let journal = world.at(".treewarden/journal.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    let mut run: treewarden::report::RunReport =
        serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    run.run.finished = chrono::Utc::now() - chrono::Duration::hours(hours);
    write(&journal, serde_json::to_string(&run).unwrap() + "\n{torn");
}

#[test]
fn a_clock_that_is_not_to_be_believed_takes_nothing() {
    const YEAR: i64 = 365 * 86_400;
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("fresh").write("new.ts", "1\n");
    let landed = shop.tree("landed");
    landed.age(2.0);
    let rescued = shop.tree("rescued");
    rescued.write("mine.ts", "1\n").age(40.0);
    assert_eq!(world.night().totals.rescued, 1);
    landed.age(2.0);
    let standing = || {
        let mut standing = snapshot(&world.root);
        standing.retain(|path, _| !path.starts_with(".treewarden/locks") && path != ".treewarden");
        standing
    };
    let before = standing();
    let refused = |seconds: i64, words: &str| {
        let ran = world
            .start_as(
                &[("TREEWARDEN_TEST_CLOCK_WRONG", &seconds.to_string())],
                &["run", "--format", "json"],
            )
            .end();
        let report = ran.report();
        assert!(
            report
                .run
                .reason
                .as_ref()
                .is_some_and(|why| why.contains(words)),
            "{seconds}: {:?}",
            report.run
        );
        assert_eq!(
            (ran.code, report.run.outcome, report.alerts[0].name.as_str()),
            (3, RunOutcome::Refused, "RunRefused")
        );
        same("the volume", &standing(), &before);
    };
    for seconds in [YEAR, -YEAR, 2 * 3600, -2 * 3600] {
        refused(seconds, "the volume's file server");
    }
    // Both clocks are wrong, or runs were missed: only the journal shows it, and only the operator
    // knows which.
    let journal = world.at(".treewarden/journal.jsonl");
    let honest = std::fs::read(&journal).unwrap();
    for (hours, words) in [(-24, "ran back"), (8 * 24, "--after-pause")] {
        last_run(&world, hours);
        let report = world.pass(3, &["run"]);
        assert!(
            report
                .run
                .reason
                .as_ref()
                .is_some_and(|why| why.contains(words)),
            "{hours}: {:?}",
            report.run
        );
        let report = world.pass(1, &["report"]);
        assert!(
            report.failures.len() == 1 && report.failures[0].contains(words),
            "{hours}: {:?}",
            report.failures
        );
    }
    world.pass(0, &["run", "--after-pause"]);
    world.night();
    write(&journal, honest);
    world.night();
}

/// Comparing this upstream's patches takes a debug build a minute.
#[test]
fn a_look_ends_when_the_run_is_to_stop() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("odd");
    tree.commit("mine.ts", "1\n").age(9.0);
    let mut stream = String::new();
    for commit in 0..300 {
        writeln!(
            stream,
            "commit refs/heads/upstream\ncommitter A <a@example.com> {} +0000\ndata 1\nx",
            1_700_000_000 + commit
        )
        .unwrap();
        if commit == 0 {
            stream += "from refs/heads/main^0\n";
        }
        for file in 0..40 {
            let text = (0..60)
                .map(|line| format!("{} {line}\n", commit * 7 + file))
                .collect::<Vec<_>>()
                .concat();
            writeln!(stream, "M 644 inline f{file}\ndata {}\n{text}", text.len()).unwrap();
        }
    }
    write(&world.beside("stream"), stream);
    let input = std::fs::File::open(world.beside("stream")).unwrap();
    let import = Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(&shop.path)
        .stdin(input)
        .status();
    assert!(import.unwrap().success());
    shop.git(&["push", "-q", "origin", "upstream:main"]);
    age_all(&shop.git_dir("objects"), 60.0);

    let mut running = world.start(&["run", "--format", "json"]);
    let holds = world.at(".treewarden/locks/acme__shop.lock");
    until("the repo is looked at", || {
        std::fs::read_to_string(&holds).is_ok_and(|text| text.contains("\"run\""))
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    let asked = std::time::Instant::now();
    running.signal(rustix::process::Signal::TERM);
    let ran = running.end();
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let report = ran.report();
    assert_eq!(
        (ran.code, report.run.outcome),
        (4, RunOutcome::Interrupted),
        "{}",
        ran.err
    );
    assert!(
        report.repos[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("survey stopped early"),
        "{:?}",
        report.repos[0]
    );
    assert!(tree.path.exists() && report.worktrees().count() == 0);
}
