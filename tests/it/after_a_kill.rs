//! After a killed run, the next one recognises its leftovers at once. Trees that can never be
//! reaped are reported.

use super::support::repo::Repo;
use super::support::{World, age, age_all, fifo, write};
use std::path::PathBuf;

/// Locks that a run's own git may leave behind.
const OWN: [&str; 7] = [
    "HEAD.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "refs/heads/main.lock",
    "logs/refs/heads/main.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "worktrees/fresh/HEAD.lock",
];
/// Locks that an agent's git may hold while its editor is open, or that something else left.
const THEIRS: [&str; 4] = [
    "index.lock",
    "config.lock",
    "worktrees/fresh/index.lock",
    "gc.pid",
];

fn with_locks<'a>(world: &'a World, name: &str) -> (Repo<'a>, Vec<PathBuf>, Vec<PathBuf>) {
    let repo = world.repo(name);
    repo.tree("fresh");
    let [own, theirs] = [&OWN[..], &THEIRS].map(|names| {
        names
            .iter()
            .map(|name| repo.git_dir(name))
            .collect::<Vec<_>>()
    });
    own.iter().chain(&theirs).for_each(|lock| write(lock, ""));
    (repo, own, theirs)
}

fn there(locks: &[PathBuf]) -> Vec<&PathBuf> {
    locks.iter().filter(|lock| lock.exists()).collect()
}

#[test]
fn a_killed_runs_locks_are_known_at_once() {
    let world = World::new();
    std::fs::create_dir(world.at(".treewarden/at-work")).unwrap();
    let note = |name: &str| world.at(format!(".treewarden/at-work/{name}"));
    // One run was killed while its git was at work, one ended well, and for the third repo there is
    // no note.
    write(
        &note("acme__killed"),
        "a run's git is at work in this repo, under its lock\n",
    );
    write(&note("acme__ended"), "");
    let [killed, ended, other] =
        ["acme/killed", "acme/ended", "acme/other"].map(|name| with_locks(&world, name));
    let rescue = "refs/treewarden/rescue/fresh/20261101T000000Z.lock";
    for (repo, ..) in [&killed, &ended, &other] {
        write(&repo.git_dir(rescue), "");
    }
    // Older than the note, so another git left it.
    let old = killed.0.git_dir("refs/heads/old.lock");
    write(&old, "");
    age(&old, 1.0 / 24.0 / 6.0);

    let report = world.night();
    let nothing: Vec<&PathBuf> = Vec::new();
    assert_eq!(
        (there(&killed.1), there(&killed.2).len(), old.exists()),
        (nothing, THEIRS.len(), true)
    );
    for (repo, own, theirs) in [&ended, &other] {
        assert_eq!(
            (there(own).len(), there(theirs).len()),
            (OWN.len(), THEIRS.len()),
            "{}",
            repo.name
        );
    }
    assert!(
        [&killed, &ended, &other]
            .iter()
            .all(|(repo, ..)| !repo.git_dir(rescue).exists()),
        "only a run writes there"
    );
    let cleared = report
        .repos
        .iter()
        .find(|repo| repo.name == "acme/killed")
        .unwrap()
        .gc
        .stale_locks
        .len();
    assert_eq!(
        (cleared, std::fs::read(note("acme__killed")).unwrap()),
        (OWN.len() + 1, Vec::new()),
        "the note says that it is done"
    );
}

#[test]
fn a_run_that_is_killed_at_work_leaves_its_note() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for n in 0..3000 {
        write(
            &shop.path.join(format!("src/{n}.ts")),
            format!("{n}\n").repeat(400),
        );
    }
    shop.commit(60.0, "last.ts", "1\n");
    let note = world.at(".treewarden/at-work/acme__shop");
    let mut running = world.start(&["run"]);
    super::support::until("git is at work", || {
        note.metadata().is_ok_and(|data| data.len() > 0)
    });
    running.signal(rustix::process::Signal::KILL);
    running.end();
    assert!(note.metadata().unwrap().len() > 0);
    world.night();
    assert_eq!(
        (note.metadata().unwrap().len(), shop.fsck()),
        (0, String::new())
    );
}

#[test]
fn scratch_directories_of_killed_runs_go_and_no_others() {
    let world = World::new();
    world.repo("acme/shop");
    let scratch = |name: &str| world.beside("scratch").join(name);
    let make = |name: &str, alive: bool| {
        write(&scratch(name).join("HEAD"), "ref: refs/heads/main\n");
        std::os::unix::fs::symlink(
            world.at("acme__shop/.git/objects"),
            scratch(name).join("objects"),
        )
        .unwrap();
        if alive {
            write(&scratch(name).join("treewarden-alive"), "");
        }
    };
    for (name, alive) in [
        ("shadow-dead", true),
        ("caller-dead", true),
        ("shadow-live", true),
        ("shadow-old", false),
    ] {
        make(&format!("treewarden-{name}"), alive);
    }
    make("treewarden-shadow-new", false);
    make("somebody-elses", true);
    age_all(&scratch("treewarden-shadow-old"), 2.0);
    std::os::unix::fs::symlink(world.at("acme__shop"), scratch("treewarden-shadow-link")).unwrap();
    let held = std::fs::File::options()
        .write(true)
        .open(scratch("treewarden-shadow-live/treewarden-alive"))
        .unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let names = || {
        let entries = std::fs::read_dir(world.beside("scratch")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let all = names();
    world.pass(0, &["report"]);
    assert_eq!(names(), all, "a dry run clears nothing");
    world.night();
    assert_eq!(
        names(),
        [
            "somebody-elses",
            "treewarden-shadow-link",
            "treewarden-shadow-live",
            "treewarden-shadow-new"
        ]
    );
    assert!(world.at("acme__shop/.git/objects").is_dir());
    // A killed run's own directory is removed as well, once nobody holds it.
    drop(held);
    world.night();
    assert_eq!(
        names(),
        [
            "somebody-elses",
            "treewarden-shadow-link",
            "treewarden-shadow-new"
        ]
    );
}

#[test]
fn trees_that_never_go_are_alerted_with_what_would_let_them_go() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let [locked, bisecting, piped, odd, young, fresh] =
        ["locked", "bisecting", "piped", "odd", "young", "fresh"].map(|name| shop.tree(name));
    shop.git(&["worktree", "lock", "--reason", "an agent's", "locked"]);
    shop.git(&["worktree", "lock", "young"]);
    bisecting.git(&["bisect", "start"]);
    fifo(&piped.path.join("pipe"));
    write(&odd.admin.join("index"), "garbage");
    for tree in [&locked, &bisecting, &piped, &odd] {
        tree.age(45.0);
    }
    young.age(20.0);
    let report = world.night();
    let alert = report
        .alerts
        .iter()
        .find(|alert| alert.name == "TreesStuck")
        .unwrap();
    assert!(
        alert
            .summary
            .starts_with("4 trees, idle for 30 days and more"),
        "{alert:?}"
    );
    assert_eq!(
        (alert.repo.as_deref(), alert.details.len()),
        (Some("acme/shop"), 4)
    );
    for (tree, remedy) in [
        ("locked", "git worktree unlock"),
        ("bisecting", "git bisect reset"),
        ("piped", "pipe"),
        ("odd", "index"),
    ] {
        let line = alert
            .details
            .iter()
            .find(|line| line.starts_with(&format!("worktrees/acme__shop/{tree}, idle")));
        assert!(
            line.is_some_and(|line| line.contains(remedy)),
            "{tree}: {alert:?}"
        );
    }
    assert!(fresh.path.exists());
    // Unknown trees are listed where a person looks, in plain words.
    let told = world.treewarden(&["report"]).out;
    let look = told.split("Needs a look:").nth(1).unwrap_or_default();
    assert!(
        look.contains("worktrees/acme__shop/odd: its contents are unknown, so it stays: ")
            && !look.contains("class="),
        "{told}"
    );
}
