//! Failures, each provoked for real: what somebody reads who sees only the alert and the text report.
//! Every message names cause and remedy, once; every alert has its heading in the runbook.

#![expect(
    clippy::disallowed_methods,
    reason = "tests break volumes with real tools"
)]

use super::busy_probe::a_day_goes_by;
use super::support::{World, age, is_root, remove, write};
use rayon::prelude::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use treewarden::report::look::Look;
use treewarden::report::{RunReport, text};

/// The user who owns the volume where permissions count: root may do everything.
const AGENT: u32 = 1600;

/// A volume on which a run fails, and all that must not end before it.
struct Broken {
    world: World,
    run: Vec<&'static str>,
    as_agent: bool,
    _held: Vec<Box<dyn std::any::Any>>,
}

impl Broken {
    fn new(world: World) -> Self {
        Self {
            world,
            run: vec!["run"],
            as_agent: false,
            _held: Vec::new(),
        }
    }

    /// Returns the exit code, the report and its text.
    fn run(&self) -> (i32, RunReport, String) {
        let arguments = [&self.run[..], &["--format", "json"]].concat();
        let agent = [
            format!("--reuid={AGENT}"),
            format!("--regid={AGENT}"),
            "--clear-groups".to_owned(),
            env!("CARGO_BIN_EXE_treewarden").to_owned(),
        ];
        let agent: Vec<&str> = agent.iter().map(String::as_str).collect();
        let ran = if self.as_agent {
            self.world
                .program("setpriv", &[&agent[..], &arguments].concat())
        } else {
            self.world.treewarden(&arguments)
        };
        assert!(!ran.out.is_empty(), "{ran:?}");
        let report = ran.report();
        // As wide as a page, and in one line, so that no line break is in the way.
        let text = text::render(&report, Look::PLAIN);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (ran.code, report, text)
    }
}

/// One failure, and how it reads.
struct Case {
    what: &'static str,
    broken: fn() -> Broken,
    code: i32,
    /// What the text says, each once; `UID` is the agent's, and `ROOT` the volume's root.
    says: &'static [&'static str],
    alert: Option<&'static str>,
    needs_root: bool,
}

fn case(
    what: &'static str,
    broken: fn() -> Broken,
    (code, alert): (i32, Option<&'static str>),
    says: &'static [&'static str],
) -> Case {
    Case {
        what,
        broken,
        code,
        says,
        alert,
        needs_root: false,
    }
}

#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn cases() -> Vec<Case> {
    let refused = (3, Some("RunRefused"));
    let failed = (1, Some("RunFailed"));
    let as_root = |case: Case| Case {
        needs_root: true,
        ..case
    };
    vec![
        case(
            "the volume is not mounted",
            not_mounted,
            refused,
            &[
                "Refused: nothing was touched",
                "volume.json",
                "not mounted here",
            ],
        ),
        case(
            "another run has the volume",
            another_run,
            refused,
            &["another run has the volume: held by", "wait for it to end"],
        ),
        case(
            "the clock ran back",
            clock_ran_back,
            refused,
            &["the clock ran back", "move `journal.jsonl`"],
        ),
        case(
            "a checkout is missing",
            missing_checkout,
            failed,
            &["Needs a look: 1", "acme__gone", "treewarden enroll"],
        ),
        case(
            "a git-crypt repo",
            git_crypt,
            failed,
            &[
                "Needs a look: 1",
                "encrypted files must not be edited from a worktree; take the repo out of the config",
            ],
        ),
        case(
            "a damaged repo",
            damaged,
            failed,
            &["Needs a look: 1", "damaged: ", "git fsck"],
        ),
        case(
            "more trees would go than anybody meant",
            too_many,
            failed,
            &[
                "3 trees would go, more than max_reaped (2)",
                "then raise max_reaped",
            ],
        ),
        case(
            "a hung agent",
            busy_for_days,
            (0, Some("RepoBusy")),
            &[
                "Needs a look: 1",
                "acme/shop: busy for 3 days in a row: held by",
                "for `exec sleep`",
                "end that if it hangs",
            ],
        ),
        case(
            "a shell holds a bare flock",
            bare_flock,
            (0, Some("RepoBusy")),
            &[
                "acme/shop: busy for 3 days in a row: held by",
                "for `flock sleep`",
            ],
        ),
        case(
            "too young, reserved and in use",
            shortfall,
            (1, Some("EvictionShortfall")),
            &[
                "Needs a look: 1",
                "eviction fell short by",
                "2 units of data are younger than min_age: lower it",
                "The reserve holds 1 unit of precious: lower it",
                "The largest that would go then: big (data, 3 MiB, min_age), p (precious, 2 MiB, reserve) and f (data, 1 MiB, min_age).",
            ],
        ),
        case(
            "half of the volume is missing",
            half_mounted,
            (0, Some("MissingTreesRefused")),
            &[
                "acme/shop: pruning was refused",
                "is the volume mounted whole?",
            ],
        ),
        case(
            "a tree that will never go",
            stuck,
            (0, Some("TreesStuck")),
            &["locked 1 worktrees/acme__shop/mine: for Ada"],
        ),
        case(
            "the deadline",
            deadline,
            (4, Some("RunInterrupted")),
            &[
                "Stopped early.",
                "not begun: the deadline has passed; the next run goes on here",
            ],
        ),
        case(
            "an address that nobody set",
            unset_address,
            (0, None),
            &[
                "Needs a look: 1",
                "the environment variable NOBODY is not set",
                "set it",
            ],
        ),
        as_root(case(
            "trees in another user's directory",
            anothers_directory,
            failed,
            &[
                "Needs a look: 1",
                "worktrees/acme__shop/one, worktrees/acme__shop/two and worktrees/acme__shop/three: failed to move it to the trash: Permission denied",
                "`ROOT/worktrees/acme__shop` belongs to uid 0, gid 0, with mode 0755, and this is uid 1600: run `sudo chown 1600 ROOT/worktrees/acme__shop`, or run treewarden as uid 0",
            ],
        )),
        as_root(case(
            "a repo that another user closed",
            anothers_repo,
            failed,
            &[
                "Needs a look: 1",
                "`ROOT/acme__shop/.git` belongs to uid 0, gid 0, with mode 0700, and this is uid 1600",
            ],
        )),
        as_root(case(
            "a state directory that another user owns",
            anothers_state,
            refused,
            &["belongs to uid 0", "sudo chown 1600 ROOT/.treewarden"],
        )),
        as_root(case(
            "a full disk without reserved space",
            full_disk,
            refused,
            &[
                "failed to lock `ROOT/.treewarden/locks/volume.lock`: the volume is full, and its reserved space is gone",
                "delete something there by hand",
            ],
        )),
    ]
}

fn with_trees(names: &[&str]) -> World {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in names {
        shop.tree(name).age(3.0);
    }
    world
}

fn not_mounted() -> Broken {
    let world = with_trees(&["one"]);
    remove(&world.at(".treewarden/volume.json"));
    Broken::new(world)
}

fn another_run() -> Broken {
    let world = with_trees(&["one"]);
    let held = world.hold("volume");
    Broken {
        _held: vec![Box::new(held)],
        ..Broken::new(world)
    }
}

fn clock_ran_back() -> Broken {
    let world = with_trees(&["one"]);
    world.night();
    let journal = world.at(".treewarden/journal.jsonl");
    let mut run: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&journal).unwrap()).unwrap();
    run["run"]["finished"] = "2999-01-01T00:00:00Z".into();
    fs::write(journal, format!("{run}\n")).unwrap();
    Broken::new(world)
}

fn missing_checkout() -> Broken {
    let world = World::new();
    world.enrol("acme/gone", "");
    Broken::new(world)
}

fn git_crypt() -> Broken {
    let world = World::new();
    let repo = world.repo("acme/infra");
    repo.git(&["config", "filter.git-crypt.smudge", "git-crypt smudge"]);
    Broken::new(world)
}

fn damaged() -> Broken {
    let world = World::new();
    let repo = world.repo("acme/shop");
    repo.git(&["repack", "-ad"]);
    let packs = fs::read_dir(repo.git_dir("objects/pack")).unwrap();
    let indexes: Vec<PathBuf> = packs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "idx"))
        .collect();
    for path in &indexes {
        remove(path);
    }
    Broken::new(world)
}

fn too_many() -> Broken {
    let world = with_trees(&["one", "two", "three"]);
    world.set("run", "max_reaped: 2");
    Broken::new(world)
}

/// Two nights with the lock held; the run is the third.
fn busy_with(world: &World) {
    for _ in 0..2 {
        world.night();
        a_day_goes_by(world);
    }
}

/// A process that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn busy_for_days() -> Broken {
    let world = with_trees(&["one"]);
    let agent = world.start(&["exec", "acme/shop", "--", "sleep", "30"]);
    super::support::until("the agent has the lock", || {
        world.try_hold("acme__shop").is_none()
    });
    busy_with(&world);
    Broken {
        _held: vec![Box::new(agent)],
        ..Broken::new(world)
    }
}

fn bare_flock() -> Broken {
    let world = with_trees(&["one"]);
    drop(world.hold("acme__shop"));
    let file = world.at(".treewarden/locks/acme__shop.lock");
    let shell = Command::new("flock")
        .arg("--no-fork")
        .arg(file)
        .args(["sleep", "30"])
        .spawn();
    let shell = Child(shell.unwrap());
    super::support::until("the shell has the lock", || {
        world.try_hold("acme__shop").is_none()
    });
    busy_with(&world);
    Broken {
        _held: vec![Box::new(shell)],
        ..Broken::new(world)
    }
}

fn shortfall() -> Broken {
    const MIB: usize = 1 << 20;
    let world = World::new();
    world.repo("acme/shop");
    world.set(
        "caches",
        "{kind: folder, name: data, path: caches/data}, \
         {kind: folder, name: precious, path: caches/precious, reserve: 2MiB}",
    );
    for (unit, mebibytes, days) in [
        ("data/big", 3, 1.0),
        ("data/f", 1, 0.5),
        ("data/old", 1, 90.0),
        ("precious/p", 2, 90.0),
    ] {
        let path = world.at("caches").join(unit);
        write(&path, vec![b'x'; mebibytes * MIB]);
        age(&path, days);
    }
    world.set("eviction", "budget: 1MiB, min_age: 8d");
    Broken::new(world)
}

fn half_mounted() -> Broken {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let [_here, two, three] = ["one", "two", "three"].map(|name| shop.tree(name));
    for tree in [two, three] {
        tree.age(10.0);
        remove(&tree.path);
    }
    Broken::new(world)
}

fn stuck() -> Broken {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let mine = shop.tree("mine");
    shop.git(&[
        "worktree",
        "lock",
        "--reason",
        "for Ada",
        mine.path.to_str().unwrap(),
    ]);
    mine.age(40.0);
    Broken::new(world)
}

fn deadline() -> Broken {
    Broken {
        run: vec!["run", "--deadline", "0s"],
        ..Broken::new(with_trees(&["one"]))
    }
}

fn unset_address() -> Broken {
    let world = with_trees(&[]);
    world.set("alerts", "ping: {url_env: NOBODY}");
    Broken::new(world)
}

/// Gives all of the volume to the agent.
fn given_away(world: World) -> Broken {
    for entry in walkdir::WalkDir::new(world.beside("")) {
        lchown(entry.unwrap().path(), Some(AGENT), Some(AGENT)).unwrap();
    }
    Broken {
        as_agent: true,
        ..Broken::new(world)
    }
}

fn anothers_directory() -> Broken {
    let broken = given_away(with_trees(&["one", "two", "three"]));
    let directory = broken.world.at("worktrees/acme__shop");
    lchown(&directory, Some(0), Some(0)).unwrap();
    broken
}

fn close(path: &Path) {
    lchown(path, Some(0), Some(0)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

fn anothers_repo() -> Broken {
    let broken = given_away(with_trees(&[]));
    close(&broken.world.at("acme__shop/.git"));
    broken
}

fn anothers_state() -> Broken {
    let broken = given_away(with_trees(&["one"]));
    close(&broken.world.at(".treewarden"));
    broken
}

/// A file system of its own, until the test ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _left_to_the_machine = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk() -> Broken {
    let world = World::unprepared();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=20m", "tmpfs"])
        .arg(&world.root)
        .status();
    assert!(mounted.unwrap().success());
    let mounted = Mounted(world.root.clone());
    let ran = world.treewarden(&["init", world.root.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    world.night();
    remove(&world.at(".treewarden/ballast"));
    write(&world.at("theirs"), "");
    let filled = fs::write(world.at("theirs"), vec![b'x'; 30 << 20]);
    assert!(filled.is_err(), "the disk is full");
    let checked = world.treewarden(&["check"]);
    assert!(
        checked.code == 3
            && checked
                .out
                .contains("the volume is full; its reserved space is gone"),
        "{checked:?}"
    );
    Broken {
        _held: vec![Box::new(mounted)],
        ..Broken::new(world)
    }
}

/// Returns the runbook's headings.
fn headings() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cronjobs/README.md");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect()
}

/// Provokes a failure, and returns what does not read as it should.
fn wrong(case: &Case) -> Vec<String> {
    let broken = (case.broken)();
    let (code, report, text) = broken.run();
    let root = broken.world.root.to_str().unwrap();
    let alerts: Vec<&str> = report.alerts.iter().map(|alert| &*alert.name).collect();
    let mut wrong = Vec::new();
    if (code, alerts.first().copied()) != (case.code, case.alert) {
        wrong.push(format!("exit code {code}, alerts {alerts:?}"));
    }
    for says in case.says {
        let said = text.matches(&says.replace("ROOT", root)).count();
        if said != 1 {
            wrong.push(format!("{said} times: {says}"));
        }
    }
    let headings = headings();
    let unknown = |alert: &&str| !headings.iter().any(|heading| heading == alert);
    wrong.extend(
        alerts
            .into_iter()
            .filter(unknown)
            .map(|it| format!("no heading: {it}")),
    );
    if wrong.is_empty() {
        return wrong;
    }
    wrong.push(text);
    wrong
        .iter()
        .map(|line| format!("{}: {line}", case.what))
        .collect()
}

fn read_well(cases: &[Case]) {
    let wrong: Vec<String> = cases.par_iter().flat_map_iter(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_failure_says_cause_and_remedy_once() {
    let (with_root, cases): (Vec<Case>, _) = cases().into_iter().partition(|it| it.needs_root);
    assert!(cases.len() + with_root.len() >= 18);
    read_well(&cases);
}

#[test]
#[ignore = "needs root, to be another user and to mount a file system"]
fn every_failure_of_permissions_and_of_a_full_disk_says_cause_and_remedy_once() {
    assert!(is_root());
    let (with_root, _): (Vec<Case>, Vec<_>) = cases().into_iter().partition(|it| it.needs_root);
    read_well(&with_root);
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn reserved_space_is_laid_again_as_soon_as_a_few_mebibytes_are_free() {
    let broken = full_disk();
    let world = &broken.world;
    let ballast = world.at(".treewarden/ballast");
    fs::write(world.at("theirs"), vec![b'x'; 11 << 20]).unwrap();
    world.night();
    assert_eq!(fs::read_dir(&ballast).unwrap().count(), 64);
    // Full again: the run gives it up, and has room for what it writes.
    let _full = fs::write(world.at("more"), vec![b'x'; 30 << 20]);
    let report = world.night();
    assert_eq!(report.notes, [""; 0]);
    assert!(!ballast.exists(), "nothing is free");
}

/// Returns the rows of the drill's table: the symptom and the command of each.
fn drill() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("| symptom |").unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].to_owned(), cells[1].trim_matches('`').to_owned())
    };
    let rows = table.lines().skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(row)
        .collect()
}

#[test]
fn the_drill_has_a_row_for_every_heading_of_the_runbook_and_its_commands_run() {
    let rows = drill();
    let symptoms: String = rows.iter().map(|(symptom, _)| &**symptom).collect();
    // What stands above the runbook are no alerts.
    let is_alert = |heading: &String| !heading.contains(' ');
    for heading in headings().iter().filter(|heading| is_alert(heading)) {
        assert!(symptoms.contains(&format!("`{heading}`")), "{heading}");
    }
    let world = with_trees(&["one"]);
    world.night();
    for (symptom, command) in rows {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[0], "treewarden", "{symptom}");
        let ran = world.treewarden(&words[1..]);
        assert!(ran.code == 0 && !ran.out.is_empty(), "{symptom}: {ran:?}");
    }
}
