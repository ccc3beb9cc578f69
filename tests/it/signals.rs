//! A run that is asked to stop: it ends within seconds wherever it is, reports what it did, leaves
//! no process behind, and the next one goes on.

#![expect(
    clippy::disallowed_methods,
    reason = "cp brings the volume back as it was"
)]

use super::support::repo::Repo;
use super::support::{Ran, Running, World, age_all, git, map, remove, same, until, write};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use treewarden::report::{RepoOutcome, RunOutcome, RunReport};

/// How long a stopped run may take to end. Most take a tenth of a second, but other tests may keep
/// the machine busy.
const SOON: Duration = Duration::from_secs(10);

/// Creates a volume with so much of everything that each part of a run takes a while.
fn long_night(world: &World) -> Repo<'_> {
    world.set("run", "io_threads: 1");
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    world.set("eviction", "budget: 1MiB, min_age: 30d");
    world.repo("acme/quiet");
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    shop.tree("dirty").write("new.ts", "new\n").age(31.0);
    let gone = shop.tree("gone");
    remove(&gone.path);
    gone.age_admin(10.0);
    for number in 0..1500 {
        write(
            &shop.path.join(format!("many/{number}")),
            format!("{number}\n").repeat(500),
        );
    }
    shop.git(&["add", "."]);
    shop.git(&["commit", "--quiet", "--message", "many"]);
    for number in 0..2000 {
        write(&world.at(format!("caches/models/{number}/data")), "data");
        write(
            &world.at(format!(
                ".treewarden/trash/earlier/0/{}/{number}",
                number % 20
            )),
            "left",
        );
    }
    shop
}

/// Returns the result of a run, stopped or not.
fn state(world: &World, shop: &Repo<'_>) -> BTreeMap<String, String> {
    let mut state: BTreeMap<String, String> = shop
        .registered()
        .into_iter()
        .map(|(path, what)| (format!("tree {path}"), what))
        .collect();
    for (name, commit) in shop.refs("refs") {
        let rescue = name
            .strip_prefix("refs/treewarden/rescue/")
            .and_then(|rescue| rescue.split('/').next());
        match rescue {
            Some(tree) => state.insert(
                format!("rescue of {tree}"),
                shop.git(&["rev-parse", &format!("{name}^{{tree}}")]),
            ),
            None => state.insert(name, commit),
        };
    }
    for directory in ["worktrees/acme__shop", "caches/models", ".treewarden/trash"] {
        state.insert(directory.to_owned(), count(world, directory).to_string());
    }
    // A stopped repack may leave packed objects loose, too few for a later run to mind, so only
    // those in no pack count.
    let counts = git(&shop.path, 0.0, &["count-objects", "-v"]);
    let count = |what: &str| {
        counts
            .lines()
            .find_map(|line| line.strip_prefix(what))
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    state.insert(
        "objects in no pack".into(),
        (count("count: ") - count("prune-packable: ")).to_string(),
    );
    state.insert("fsck".into(), shop.fsck());
    state
}

fn count(world: &World, directory: &str) -> usize {
    std::fs::read_dir(world.at(directory)).map_or(0, Iterator::count)
}

/// Returns the processes of this world's runs, by id, with their commands.
fn processes(world: &World) -> BTreeMap<i32, String> {
    let scratch = world
        .beside("scratch")
        .into_os_string()
        .into_encoded_bytes();
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let ours = all.filter(|id: &i32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment
            .windows(scratch.len())
            .any(|window| window == scratch)
    });
    let named = ours.map(|id| {
        (
            id,
            std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default(),
        )
    });
    named
        .map(|(id, words)| (id, String::from_utf8_lossy(&words).replace('\0', " ")))
        .filter(|(_, words)| !words.is_empty())
        .collect()
}

fn packs(world: &World) -> bool {
    processes(world)
        .values()
        .any(|words| words.contains("pack-objects"))
}

/// Stops the whole program for a moment, so that the signal meets it exactly there.
fn interrupt(night: &mut Running, signal: Signal) {
    for signal in [Signal::STOP, signal, Signal::CONT] {
        night.signal(signal);
    }
}

/// Checks how a stopped run ended, however far it got.
fn stopped(world: &World, what: &str, night: Running, asked: Instant) -> RunReport {
    let ran = night.end();
    let took = asked.elapsed();
    println!(
        "{what}: {:.2} s from the signal to the end",
        took.as_secs_f64()
    );
    assert!(ran.code == 4 && took < SOON, "{what}: {took:?}, {ran:?}");
    same(what, &processes(world), &BTreeMap::new());
    let report = ran.report();
    assert_eq!(
        (report.run.outcome, report.run.reason.as_deref()),
        (RunOutcome::Interrupted, Some("a signal asked to stop")),
        "{what}"
    );
    assert_eq!(report.repos.len(), 2, "{what}: every repo has its row");
    let journal = std::fs::read_to_string(world.at(".treewarden/journal.jsonl")).unwrap();
    assert!(
        journal.ends_with('\n')
            && journal
                .lines()
                .next_back()
                .unwrap()
                .contains(&report.run.id),
        "{what}: {journal}"
    );
    for lock in std::fs::read_dir(world.at(".treewarden/locks")).unwrap() {
        assert_eq!(
            std::fs::read(lock.unwrap().path()).unwrap(),
            b"",
            "{what}: a free lock names nobody"
        );
    }
    assert_eq!(
        std::fs::read_dir(world.beside("scratch")).unwrap().count(),
        0,
        "{what}: scratch space is left"
    );
    report
}

/// A moment of a run, and how to recognise it.
type Moment = (&'static str, fn(&World) -> bool);

const MOMENTS: [Moment; 5] = [
    ("before the first repo", |world| holds(world, "volume")),
    ("in the survey", |world| holds(world, "acme__shop")),
    ("in git's repack", packs),
    ("in the trash", |world| {
        (0..20).any(|directory| {
            count(world, &format!(".treewarden/trash/earlier/0/{directory}")) < 100
        })
    }),
    ("in the eviction", |world| {
        count(world, "caches/models") < 2000
    }),
];

fn holds(world: &World, lock: &str) -> bool {
    world
        .at(format!(".treewarden/locks/{lock}.lock"))
        .metadata()
        .is_ok_and(|data| data.len() > 0)
}

fn copy(from: &Path, to: &Path) {
    let removed = std::fs::remove_dir_all(to);
    assert!(removed.is_ok() || !to.exists());
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
#[ignore = "needs a minute"]
fn wherever_it_is_a_night_stops_at_once_and_the_next_one_goes_on() {
    let world = World::new();
    let shop = long_night(&world);
    copy(&world.root, &world.beside("before"));
    let bring_back = || {
        copy(&world.beside("before"), &world.root);
        // Copying reads the files, and reading counts as use.
        age_all(&world.at("caches/models"), 40.0);
    };
    bring_back();
    world.pass(1, &["run"]);
    let undisturbed = state(&world, &shop);
    let some = map(&[
        ("worktrees/acme__shop", "0"),
        ("caches/models", "0"),
        (".treewarden/trash", "0"),
        ("fsck", ""),
    ]);
    same(
        "an undisturbed night",
        &undisturbed
            .clone()
            .into_iter()
            .filter(|(what, _)| some.contains_key(what))
            .collect(),
        &some,
    );

    for (what, come) in MOMENTS {
        bring_back();
        let mut night = world.start(&["run", "--format", "json"]);
        until(what, || come(&world));
        let asked = Instant::now();
        interrupt(&mut night, Signal::TERM);
        let report = stopped(&world, what, night, asked);
        assert_ne!(
            state(&world, &shop),
            undisturbed,
            "{what}: the signal came too late to matter"
        );
        let early = report
            .repos
            .iter()
            .filter(|repo| repo.outcome == RepoOutcome::Refused);
        assert!(
            early.into_iter().all(|repo| repo
                .reason
                .as_ref()
                .unwrap()
                .contains("the next run goes on here")),
            "{what}"
        );
        world.pass(1, &["run"]);
        same(what, &state(&world, &shop), &undisturbed);
    }
}

#[test]
fn a_night_that_waits_for_a_busy_repo_stops_waiting() {
    let world = World::new();
    world.repo("acme/quiet");
    world.repo("acme/shop").set("lock_wait: 10m");
    let agent = world.hold("acme__shop");
    let mut night = world.start(&["run", "--format", "json"]);
    until("the other repo is done", || {
        world.at(".treewarden/locks/acme__quiet.lock").exists() && !holds(&world, "acme__quiet")
    });
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    // Signals the process and then its group, as `timeout` and containers' inits do.
    interrupt(&mut night, Signal::TERM);
    std::thread::sleep(Duration::from_millis(20));
    night.signal(Signal::TERM);
    let report = stopped(&world, "waiting for a busy repo", night, asked);
    let shop = report
        .repos
        .iter()
        .find(|repo| repo.name == "acme/shop")
        .unwrap();
    assert_eq!(shop.outcome, RepoOutcome::Busy);
    drop(agent);
    assert!(
        world
            .night()
            .repos
            .iter()
            .all(|repo| repo.outcome == RepoOutcome::Maintained)
    );
}

#[test]
fn a_killed_night_leaves_no_git_behind() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // Git needs some seconds to pack incompressible data.
    let mut noise = vec![0; 48 << 20];
    std::io::Read::read_exact(
        &mut std::fs::File::open("/dev/urandom").unwrap(),
        &mut noise,
    )
    .unwrap();
    for (number, part) in noise.chunks(16 << 10).enumerate() {
        write(&shop.path.join(format!("many/{number}")), part);
    }
    shop.git(&["add", "."]);
    shop.git(&["commit", "--quiet", "--message", "many"]);
    for signal in [Signal::KILL, Signal::HUP] {
        // The tests themselves may have been started by `nohup`.
        let program = env!("CARGO_BIN_EXE_treewarden");
        let mut night = world.start_program("env", &["--default-signal=HUP", program, "run"]);
        until("git packs", || packs(&world));
        night.signal(signal);
        assert_eq!(night.end().code, 128 + signal.as_raw());
        let killed = Instant::now();
        while !processes(&world).is_empty() {
            assert!(
                killed.elapsed() < Duration::from_millis(500),
                "{signal:?}: {:?}",
                processes(&world)
            );
        }
        assert!(
            world.try_hold("acme__shop").is_some(),
            "{signal:?}: the lock is free"
        );
    }
    assert_eq!(world.night().totals.failures, 0);
    assert_eq!(shop.fsck(), "");
}

#[test]
fn nohup_is_obeyed() {
    let world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    let (begun, go) = (world.beside("begun"), world.beside("go"));
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.01; done; exit 1",
        begun.display(),
        go.display()
    );
    world.enrol("acme/shop", &format!("busy_probe: [sh, -c, '{script}']"));
    let night = world.start_program(
        "nohup",
        &[env!("CARGO_BIN_EXE_treewarden"), "run", "--format", "json"],
    );
    until("the night begins", || begun.exists());
    kill_process(
        Pid::from_raw(night.pid().as_raw_nonzero().get()).unwrap(),
        Signal::HUP,
    )
    .unwrap();
    write(&go, "");
    assert_eq!(night.end().report().totals.reaped, 1);
}

/// Runs the program in a shell that reads only the first line of its output.
fn headed(world: &World, typed: &str) -> Ran {
    let script = format!(
        "set -o pipefail; {} {typed} | head -n 1",
        env!("CARGO_BIN_EXE_treewarden")
    );
    world.program("bash", &["-c", &script])
}

#[test]
fn who_reads_only_the_beginning_ends_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for number in 0..40 {
        shop.tree(&format!("fresh-{number}"));
    }
    // More than fits into a pipe.
    let long = format!("{}/{}", "a".repeat(200), "b".repeat(200));
    for number in 0..300 {
        write(
            &world.at(format!("worktrees/acme__shop/{long}{number}/file")),
            "",
        );
    }
    shop.tree("landed").age(2.0);
    let ran = headed(&world, "report --format json");
    assert!(
        ran.code == 0 && ran.out.lines().count() == 1 && ran.err.is_empty(),
        "{ran:?}"
    );
    // Unread logs end nothing either.
    let ran = headed(&world, "run --output report.txt --log-format json 2>&1");
    assert!(
        ran.code == 0 && ran.out.starts_with("{\"timestamp\""),
        "{ran:?}"
    );
    let script = format!(
        "exec 2>&1; {} run --config /nowhere | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_treewarden")
    );
    assert_eq!(world.program("bash", &["-c", &script]).code, 2);
    assert!(!world.at("worktrees/acme__shop/landed").exists());
}
