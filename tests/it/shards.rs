//! A run shared by several machines: every repo is maintained once, one shard evicts when the
//! others are done, and nobody waits for ever.
//!
//! Each shard is a process of its own. A repo's busy probe stops one where the test wants to look
//! around.

use super::dry_run::{deeds, everything};
use super::support::made::cargo;
use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{Running, World, age, map, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use treewarden::plan::shard::Shard;
use treewarden::report::{RepoOutcome, RunOutcome, RunReport};

const MIB: u64 = 1 << 20;

/// Creates so many repos, each with a tree to be reaped, and a cache with one unit to be evicted.
fn fleet(world: &World, repos: usize) -> Vec<Repo<'_>> {
    world.set("run", "io_threads: 2");
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    for (unit, days) in [("a", 50.0), ("b", 40.0), ("c", 30.0)] {
        write(&world.at("caches/models").join(unit), vec![b'x'; 8 << 20]);
        age(&world.at("caches/models").join(unit), days);
    }
    let repos: Vec<Repo<'_>> = (0..repos)
        .map(|number| world.repo(&format!("acme/repo-{number}")))
        .collect();
    for repo in &repos {
        repo.tree("landed").age(2.0);
    }
    world.set(
        "eviction",
        &format!("budget: {}", (world.standing() - 6 * MIB) * 10 / 9),
    );
    repos
}

fn units(world: &World) -> Vec<&'static str> {
    ["a", "b", "c"]
        .into_iter()
        .filter(|unit| world.at("caches/models").join(unit).exists())
        .collect()
}

fn shard(index: u32, count: u32) -> Shard {
    Shard::new(index, count).unwrap()
}

/// Returns a repo of this shard.
fn repo_of<'a, 'w>(repos: &'a [Repo<'w>], shard: Shard) -> &'a Repo<'w> {
    repos
        .iter()
        .find(|repo| shard.has(&repo.name))
        .expect("it has one")
}

fn start(world: &World, shard: Shard, more: &[&str]) -> Running {
    world.start(
        &[
            &["run", "--format", "json", "--shard", &shard.to_string()],
            more,
        ]
        .concat(),
    )
}

/// Makes the shard that reaches this repo stop there until the second file exists; the first says
/// that it has begun.
fn halt(repo: &Repo<'_>) -> (PathBuf, PathBuf) {
    let (begun, go) = (repo.world.beside("begun"), repo.world.beside("go"));
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.01; done; exit 1",
        begun.display(),
        go.display()
    );
    repo.set(&format!("busy_probe: [sh, -c, '{script}']"));
    (begun, go)
}

/// Returns each repo's outcome, and which shard maintained it.
fn looked_after(reports: &[RunReport]) -> BTreeMap<String, String> {
    let mut by = BTreeMap::new();
    for report in reports {
        for repo in &report.repos {
            let told = format!(
                "{:?} by {}",
                repo.outcome,
                report.run.shard.as_deref().unwrap_or("a plain run")
            );
            assert_eq!(
                by.insert(repo.name.clone(), told),
                None,
                "{} twice",
                repo.name
            );
        }
    }
    by
}

fn expected(repos: &[Repo<'_>], count: u32) -> BTreeMap<String, String> {
    let owner = |repo: &Repo<'_>| {
        (0..count)
            .map(|index| shard(index, count))
            .find(|shard| shard.has(&repo.name))
            .unwrap()
    };
    repos
        .iter()
        .map(|repo| (repo.name.clone(), format!("Maintained by {}", owner(repo))))
        .collect()
}

/// Checks that a run is refused; returns why.
fn refused(world: &World, typed: &[&str]) -> String {
    let report = world.pass(3, typed);
    assert_eq!(
        (report.run.outcome, report.repos.len()),
        (RunOutcome::Refused, 0),
        "{typed:?}"
    );
    report.run.reason.unwrap()
}

#[test]
fn eight_machines_look_after_every_repo_once_and_one_evicts_when_all_are_done() {
    let world = World::new();
    let repos = fleet(&world, 24);
    let slow = shard(2, 8);
    let (begun, go) = halt(repo_of(&repos, slow));
    let mut shards: Vec<Running> = (0..8)
        .map(|index| start(&world, shard(index, 8), &[]))
        .collect();
    until("the slow one is there", || begun.exists());

    // A plain run, the same shard again, and another number of shards are all refused.
    for (typed, by) in [
        (&["run"][..], ""),
        (&["run", "--shard", "2/8"], "`run --shard 2/8`"),
        (&["run", "--shard", "0/4"], "of 8"),
    ] {
        let why = refused(&world, typed);
        let named = if by == "of 8" {
            why.contains("/8`")
        } else {
            why.contains(by)
        };
        assert!(
            why.contains("another run has the volume: held by")
                && why.contains("`run --shard ")
                && named,
            "{typed:?}: {why}"
        );
    }
    // A dry run needs no lock.
    assert_eq!(
        world
            .pass(0, &["report", "--shard", "7/8"])
            .run
            .shard
            .as_deref(),
        Some("7/8")
    );
    // The shard that evicts still waits, even when all but one are done.
    let last = shards.pop().unwrap();
    let waiting = shards.remove(2);
    let mut reports: Vec<RunReport> = shards.into_iter().map(|shard| ended(shard, 0)).collect();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(units(&world), ["a", "b", "c"]);
    assert!(world.treewarden(&["locks"]).out.contains("shard 7/8"));
    write(&go, "");
    reports.extend([ended(waiting, 0), ended(last, 0)]);

    same(
        "who looked after what",
        &looked_after(&reports),
        &expected(&repos, 8),
    );
    assert_eq!(units(&world), ["b", "c"]);
    let evicted: Vec<_> = reports
        .iter()
        .filter(|report| report.eviction.triggered)
        .map(|report| report.run.shard.clone().unwrap())
        .collect();
    assert_eq!(evicted, ["7/8"]);
    assert!(
        reports[0].eviction.reason.contains("left to shard 7/8"),
        "{}",
        reports[0].eviction.reason
    );
    assert_eq!(
        reports
            .iter()
            .map(|report| report.totals.reaped)
            .sum::<u64>(),
        24
    );
    assert!(repos.iter().all(|repo| {
        repo.registered().len() == 1
            && !world
                .at("worktrees")
                .join(repo.directory())
                .join("landed")
                .exists()
    }));
    assert_eq!(
        std::fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count(),
        0
    );

    // The journal has all shards, and the history shows them as the one run that they were.
    same(
        "the journal",
        &looked_after(&world.history()),
        &expected(&repos, 8),
    );
    let history = world.treewarden(&["history"]).out;
    assert!(
        history.lines().count() == 4 && !history.contains("shards"),
        "{history}"
    );
    assert!(
        history.contains("1 run since")
            && history.contains("24 trees reaped, 1 cache unit evicted. 1 ok."),
        "{history}"
    );

    // A plain run holds the whole volume, and meanwhile every shard is refused.
    assert_eq!(world.night().repos.len(), 24);
    let _night = world.hold("volume");
    assert!(refused(&world, &["run", "--shard", "0/8"]).contains("another run has the volume"));
}

fn ended(shard: Running, code: i32) -> RunReport {
    let ran = shard.end();
    assert_eq!(ran.code, code, "{}\n{}", ran.err, ran.troubles());
    ran.report()
}

#[test]
fn a_shard_that_dies_is_not_waited_for_and_the_next_night_goes_on_there() {
    let world = World::new();
    let repos = fleet(&world, 6);
    let dies = shard(0, 3);
    let held = repo_of(&repos, dies);
    let (begun, go) = halt(held);
    let mut dead = start(&world, dies, &[]);
    until("it is there", || begun.exists());
    let others = [1, 2].map(|index| start(&world, shard(index, 3), &[]));
    // As if a run was killed between two steps: the tree is in the trash, and still registered.
    let (tree, admin) = (
        world.at("worktrees").join(held.directory()).join("landed"),
        held.git_dir("worktrees/landed"),
    );
    let bin = world.at(".treewarden/trash/half");
    let note = format!(
        r#"{{"schema": "treewarden.taken/1", "from": "{}", "admin": "{}"}}"#,
        tree.display(),
        admin.display()
    );
    write(&bin.join("note.json"), note);
    std::fs::rename(&tree, bin.join("0")).unwrap();
    let taken = snapshot(&bin.join("0"));
    dead.signal(Signal::KILL);
    assert_eq!(dead.end().code, 137);
    write(&go, "");
    let [one, last] = others;
    ended(one, 0);
    let last = ended(last, 1);
    assert!(
        last.failures
            .iter()
            .any(|why| why.starts_with("shard 0/3 died without releasing its lock")),
        "{:?}",
        last.failures
    );
    assert_eq!((last.totals.evicted, units(&world)), (1, vec!["b", "c"]));
    same("what the dead one took", &snapshot(&bin.join("0")), &taken);
    assert!(world.treewarden(&["history"]).out.contains("2 of 3 shards"));

    world.enrol(&held.name, "");
    let next: Vec<RunReport> = [0, 1, 2]
        .map(|index| start(&world, shard(index, 3), &[]))
        .into_iter()
        .map(|shard| ended(shard, 0))
        .collect();
    same("the next run", &looked_after(&next), &expected(&repos, 3));
    assert!(
        repos
            .iter()
            .all(|repo| repo.registered().len() == 1 && repo.fsck().is_empty())
    );
    assert_eq!(
        std::fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
#[ignore = "needs a quarter of a minute"]
fn a_shard_that_never_begins_or_never_ends_is_not_waited_for_for_ever() {
    let world = World::new();
    let repos = fleet(&world, 6);
    let (begun, go) = halt(repo_of(&repos, shard(0, 3)));
    let slow = start(&world, shard(0, 3), &[]);
    until("it is there", || begun.exists());
    // This may belong to the slow shard, so it is left alone.
    write(&world.at(".treewarden/trash/earlier/0/file"), "x");
    let asked = Instant::now();
    let last = ended(start(&world, shard(2, 3), &["--deadline", "12s"]), 1);
    assert!(
        asked.elapsed() >= Duration::from_secs(9),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(last.run.outcome, RunOutcome::Failed);
    assert!(
        last.failures
            .iter()
            .any(|why| why.starts_with("shard 1/3 did not begin")),
        "{:?}",
        last.failures
    );
    assert!(
        last.eviction
            .obstacles
            .iter()
            .any(|why| why.starts_with("shard 0/3 was still at work")),
        "{:?}",
        last.eviction
    );
    assert_eq!((last.totals.evicted, units(&world)), (1, vec!["b", "c"]));
    assert!(world.at(".treewarden/trash/earlier/0/file").exists());
    write(&go, "");
    ended(slow, 0);
}

/// Their lock files were written within the time that a run may take, but for the run before.
#[test]
fn a_run_soon_after_another_waits_for_its_own_shards() {
    let world = World::new();
    fleet(&world, 6);
    for index in [0, 1] {
        world.pass(0, &["run", "--shard", &shard(index, 2).to_string()]);
    }
    let last = start(&world, shard(1, 2), &["--deadline", "60s"]);
    std::thread::sleep(Duration::from_secs(2));
    let first = world.pass(0, &["run", "--shard", "0/2"]);
    let last = ended(last, 0);
    assert!(
        first.run.finished < last.run.finished,
        "{:?} and {:?}",
        first.run,
        last.run
    );
    assert_eq!(last.failures, [""; 0]);
}

#[test]
fn an_indexed_job_needs_no_argument() {
    let world = World::new();
    let repos = fleet(&world, 6);
    let job = |index: u32| {
        let environment = [
            ("TREEWARDEN_SHARDS", "2".to_owned()),
            ("JOB_COMPLETION_INDEX", index.to_string()),
        ];
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        world.start_as(&environment, &["run", "--format", "json"])
    };
    let reports: Vec<RunReport> = [job(0), job(1)]
        .into_iter()
        .map(|shard| ended(shard, 0))
        .collect();
    same(
        "who looked after what",
        &looked_after(&reports),
        &expected(&repos, 2),
    );
    // An incomplete configuration is refused, because it would mean all repos.
    for (environment, word) in [
        (
            &[("TREEWARDEN_SHARDS", "2")][..],
            "JOB_COMPLETION_INDEX is not",
        ),
        (
            &[("TREEWARDEN_SHARDS", "2"), ("JOB_COMPLETION_INDEX", "2")],
            "counted from 0",
        ),
        (
            &[("TREEWARDEN_SHARDS", ""), ("JOB_COMPLETION_INDEX", "0")],
            "counted from 0",
        ),
    ] {
        let ran = world.start_as(environment, &["run"]).end();
        assert!(
            ran.code == 2 && ran.err.contains(word),
            "{environment:?}: {ran:?}"
        );
    }
    // A Job indexed for other reasons, without shards; and `--shard`, which has precedence.
    let ran = world.start_as(
        &[("JOB_COMPLETION_INDEX", "1")],
        &["run", "--format", "json"],
    );
    assert_eq!(ended(ran, 0).run.shard, None);
    let ran = world.start_as(
        &[("TREEWARDEN_SHARDS", "2")],
        &["report", "--format", "json", "--shard", "0/1"],
    );
    assert_eq!(ended(ran, 0).repos.len(), 6);
}

#[test]
fn a_shards_dry_run_names_what_its_run_does() {
    let world = everything();
    // Each shard's part of `max_reaped` must be enough for the repo with the most trees.
    world.set("run", "max_reaped: 150");
    let all = [0, 1, 2].map(|index| shard(index, 3));
    let before = snapshot(&world.root);
    let told = all.map(|shard| deeds(&world.pass(0, &["report", "--shard", &shard.to_string()])));
    same("after the dry runs", &snapshot(&world.root), &before);
    let done = all
        .map(|it| start(&world, it, &[]))
        .map(|shard| deeds(&ended(shard, 0)));
    for (shard, (done, told)) in all.into_iter().zip(done.iter().zip(&told)) {
        same(&format!("dry run and run of shard {shard}"), done, told);
    }
    let said = told
        .iter()
        .flat_map(BTreeMap::values)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    for deed in [
        "goes ",
        "clear ",
        "drop ",
        "Incremental",
        "evict true models models-4",
    ] {
        assert!(said.contains(deed), "{deed}\n{said}");
    }
    assert!(
        told[..2]
            .iter()
            .all(|told| told.values().all(|deed| !deed.starts_with("evict")))
    );
}

#[test]
fn together_shards_take_no_more_trees_than_one_run_may() {
    let world = World::new();
    world.set("run", "max_reaped: 5");
    let repos: Vec<Repo<'_>> = (0..4)
        .map(|number| world.repo(&format!("acme/repo-{number}")))
        .collect();
    let count = |shard: Shard| repos.iter().filter(|repo| shard.has(&repo.name)).count();
    for repo in &repos {
        for tree in ["a", "b"] {
            repo.tree(tree).age(2.0);
        }
    }
    for index in [0, 1] {
        let shard = shard(index, 2);
        let (due, part) = (2 * count(shard), shard.part(5));
        let report = world.pass(
            i32::from(due > part),
            &[
                "run",
                "--shard",
                &shard.to_string(),
                "--only",
                "reap",
                "--deadline",
                "4s",
            ],
        );
        assert_eq!(
            report.totals.reaped,
            if due > part { 0 } else { due as u64 },
            "{shard}: {due} due"
        );
        if due > part {
            assert!(
                report.failures[0]
                    .contains(&format!("max_reaped (5; shard {shard} has {part} of them)")),
                "{:?}",
                report.failures
            );
        }
    }
    assert!(
        repos
            .iter()
            .map(|repo| repo.registered().len())
            .sum::<usize>()
            > 4,
        "not all went"
    );
}

#[test]
fn build_output_goes_in_the_repos_of_all_shards_and_what_their_lock_files_name_stays() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: build-output}, {kind: cargo, path: caches/cargo}",
    );
    world.set("run", "io_threads: 2");
    let repos: Vec<Repo<'_>> = (0..4)
        .map(|number| world.repo(&format!("acme/repo-{number}")))
        .collect();
    assert!(
        (0..2).all(|index| repos.iter().any(|repo| shard(index, 2).has(&repo.name))),
        "each has some"
    );
    let target = |repo: &Repo<'_>| {
        world
            .at("worktrees")
            .join(repo.directory())
            .join("idle/target")
    };
    for repo in &repos {
        repo.commit(60.0, "Cargo.toml", "[package]\n");
        repo.commit(60.0, ".gitignore", "target\n");
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"p{}\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
            repo.directory()
        );
        repo.commit(60.0, "Cargo.lock", &lock);
        repo.push();
        let tree = repo.tree("idle");
        cargo(&target(repo), "shop", &vec![b'x'; 2 << 20]);
        tree.write("new.rs", "work\n").age(20.0);
        let package = world
            .at("caches/cargo/registry/cache/index.crates.io-1949cf8c6b5b557f")
            .join(format!("p{}-1.0.0.crate", repo.directory()));
        write(&package, vec![b'x'; 2 << 20]);
        age(&package, 90.0);
    }
    world.set("eviction", &format!("budget: {}", world.standing() / 4));
    for index in [0, 1] {
        world.pass(index, &["run", "--shard", &format!("{index}/2")]);
    }
    same(
        "build output and crates",
        &repos
            .iter()
            .map(|repo| (repo.name.clone(), target(repo).exists().to_string()))
            .collect(),
        &map(
            &["acme/repo-0", "acme/repo-1", "acme/repo-2", "acme/repo-3"]
                .map(|name| (name, "false")),
        ),
    );
    let crates = walkdir::WalkDir::new(world.at("caches/cargo"))
        .into_iter()
        .filter(|entry| entry.as_ref().unwrap().file_type().is_file());
    assert_eq!(crates.count(), 4, "crates that lock files name");
    assert!(
        world
            .history()
            .iter()
            .flat_map(|report| &report.repos)
            .all(|repo| repo.outcome == RepoOutcome::Maintained)
    );
}
