//! Runs on a file server that behaves as NFS does, and fails as NFS fails.

#![expect(
    clippy::disallowed_methods,
    reason = "cp brings the volume back as it was, and other clients delete"
)]

use super::support::fleet::Fleet;
use super::support::fuse::{Call, Fault, Manners, Mounted};
use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{Ran, World, age, age_all, git, map, remove, same, until, write};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use treewarden::report::{RepoOutcome, RunOutcome, RunReport, TreeOutcome, VerdictName};

/// Returns the error of a call that must fail.
fn error<T>(done: std::io::Result<T>) -> Option<Errno> {
    done.err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
#[ignore = "needs FUSE"]
fn the_server_behaves_as_nfs_does() {
    for files in [usize::MAX, 2] {
        behaves_as_nfs_does(Manners {
            files,
            ..Manners::NFS
        });
    }
}

fn behaves_as_nfs_does(manners: Manners) {
    let world = World::unprepared();
    let server = Mounted::under(&world, manners);
    let directory = world.at("folder");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "text").unwrap();
    let mut open = fs::File::open(directory.join("file")).unwrap();
    fs::remove_file(directory.join("file")).unwrap();
    let names = || {
        fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    let silly = names().pop().unwrap();
    assert!(silly.starts_with(".nfs") && silly.len() == 28, "{silly}");
    assert_eq!(
        error(fs::remove_file(directory.join(&silly))),
        Some(Errno::BUSY)
    );
    assert_eq!(error(fs::remove_dir(&directory)), Some(Errno::NOTEMPTY));
    assert_eq!(std::io::read_to_string(&mut open).unwrap(), "text");
    drop(open);
    until("the silly name is gone", || names().is_empty());

    fs::write(directory.join("other"), "text").unwrap();
    let open = fs::File::open(directory.join("other")).unwrap();
    fs::remove_file(server.behind("folder/other")).unwrap();
    assert_eq!(error(open.metadata()), Some(Errno::STALE));
    assert!(!directory.join("other").exists());
    drop(open);
    fs::remove_dir(&directory).unwrap();

    let reads = |server: &Mounted| server.calls()[&Call::Opendir];
    let before = reads(&server);
    server.set(Fault::outage().on(&[Call::Opendir]).after(1).times(2));
    assert!(fs::read_dir(&world.root).is_ok());
    assert_eq!(error(fs::read_dir(&world.root)), Some(Errno::IO));
    assert_eq!(error(fs::metadata(&world.root)), Some(Errno::IO));
    assert!(fs::read_dir(&world.root).is_ok());
    assert_eq!(
        (reads(&server) - before, server.heal(), server.failed()),
        (3, 2, 0)
    );
    server.resize(1 << 30);
    let level = rustix::fs::statvfs(&world.root).unwrap();
    assert_eq!(level.f_blocks * level.f_frsize, 1 << 30);
    server.delay(Duration::from_millis(20));
    let began = std::time::Instant::now();
    fs::metadata(&world.root).unwrap();
    assert!(began.elapsed() > Duration::from_millis(20));
}

/// The kernel knows far more files than a process may have open.
#[test]
#[ignore = "needs FUSE"]
fn the_server_serves_more_files_than_it_has_open() {
    let world = World::unprepared();
    let manners = Manners {
        cache: Duration::from_mins(1),
        files: 5,
        ..Manners::LOCAL
    };
    let server = Mounted::under(&world, manners);
    let name = |number: usize| world.at(format!("file{number:03}"));
    for number in 0..200 {
        fs::write(name(number), number.to_string()).unwrap();
    }
    fs::rename(name(7), name(700)).unwrap();
    fs::remove_file(name(8)).unwrap();
    let read = |number: usize| fs::read_to_string(name(number)).unwrap();
    for number in (0..200).filter(|number| ![7, 8].contains(number)) {
        assert_eq!(read(number), number.to_string());
    }
    assert_eq!(read(700), "7");
    // Another client puts a file in the place of one.
    fs::rename(server.behind("file009"), server.behind("file900")).unwrap();
    fs::write(server.behind("file009"), "another").unwrap();
    assert_eq!(read(900), "9");
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let files = links.flat_map(|link| fs::read_link(link.path()));
    let open = files.filter(|file| file.starts_with(&server.backing));
    assert!(open.count() < 10);
}

/// Returns everything that a run may change, without times.
fn state(world: &World, repos: &[&str]) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (path, standing) in snapshot(&world.root) {
        let ours = path.starts_with(".treewarden")
            || path.components().any(|part| part.as_os_str() == ".git");
        if !ours {
            state.insert(
                path.display().to_string(),
                format!("{} {:o} {}", standing.kind, standing.mode, standing.content),
            );
        }
    }
    for name in repos {
        let repo = Repo::there(world, name);
        let mut tell = |what: &str, told: String| state.insert(format!("{name} {what}"), told);
        tell("registered", format!("{:?}", repo.registered()));
        tell("fsck", repo.fsck());
        for (name, commit) in repo.refs("refs") {
            match name
                .strip_prefix("refs/treewarden/rescue/")
                .and_then(|rescue| rescue.split('/').next())
            {
                Some(tree) => tell(
                    &format!("rescue of {tree}"),
                    repo.git(&["rev-parse", &format!("{commit}^{{tree}}")]),
                ),
                None => tell(&name, commit),
            };
        }
    }
    state.insert(
        "in the trash".into(),
        fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count()
            .to_string(),
    );
    state
}

fn copy(from: &Path, to: &Path) {
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
#[ignore = "needs FUSE"]
fn a_night_on_the_file_server_equals_one_on_the_local_disk() {
    let Fleet { world, fates } = Fleet::new();
    copy(&world.root, &world.beside("before"));
    let bring_back = || {
        fs::remove_dir_all(&world.root).unwrap();
        copy(&world.beside("before"), &world.root);
    };
    bring_back();
    let local = world.night();
    let names: Vec<&str> = local.repos.iter().map(|repo| repo.name.as_str()).collect();
    let after = state(&world, &names);
    bring_back();
    let server = Mounted::under(
        &world,
        Manners {
            cache: Duration::from_secs(1),
            ..Manners::NFS
        },
    );

    let report = world.night();

    same("fates", &world.fates(&report), &fates);
    let rows = |report: &RunReport| {
        let told = report.repos.iter().map(|repo| {
            format!(
                "{:?} {:?} {:?}",
                repo.outcome, repo.prune.dropped, repo.gc.action
            )
        });
        names.iter().map(ToString::to_string).zip(told).collect()
    };
    same(
        "what the report says of repos",
        &rows(&report),
        &rows(&local),
    );
    same("the volume after the night", &state(&world, &names), &after);
    assert!(
        server.calls()[&Call::Unlink] > 500,
        "the server was not asked: {:?}",
        server.calls()
    );
}

#[test]
#[ignore = "needs FUSE"]
fn a_report_opens_each_directory_once() {
    let world = World::new();
    for number in 0..50 {
        write(&world.at(format!("backups/{number}/file")), "kept");
        write(
            &world.at(format!(".treewarden/trash/bin/{number}/file")),
            "not kept",
        );
    }
    let server = Mounted::under(
        &world,
        Manners {
            cache: Duration::from_mins(1),
            ..Manners::NFS
        },
    );
    let opened = || server.calls()[&Call::Opendir];
    let before = opened();
    world.pass(0, &["report"]);
    let more = opened() - before;
    assert!(
        (100..130).contains(&more),
        "{more} directories were opened, of which there are hardly more than 100"
    );
}

#[test]
#[ignore = "needs FUSE"]
fn a_night_asks_for_its_ballast_once() {
    let world = World::new();
    world.night();
    let server = Mounted::under(&world, Manners::NFS);
    world.night();
    let looked_up = server.calls()[&Call::Lookup];
    assert!(
        looked_up < 64,
        "{looked_up} names were looked up in a volume without repos; the ballast alone has 64 files"
    );
}

/// A small volume on which a run has to prune, repack, rescue, reap and evict, in two repos and a
/// cache.
struct Small {
    world: World,
}

impl Small {
    fn new() -> Self {
        let world = World::new();
        for name in ["acme/a", "acme/b"] {
            let repo = world.repo(name);
            repo.tree("landed").age(2.0);
            let dirty = repo.tree("dirty");
            dirty
                .write(".env", "only here\n")
                .write("README.md", "half done\n");
            dirty
                .write("staged.ts", "staged\n")
                .git(&["add", "staged.ts"]);
            dirty.write("staged.ts", "and changed\n").age(31.0);
            repo.detached("lonely")
                .commit("lonely.ts", "lonely\n")
                .age(31.0);
            repo.tree("fresh");
            let gone = repo.tree("gone");
            remove(&gone.path);
            gone.age_admin(10.0);
            write(&gone.admin.join("treewarden-missing"), "");
            age(&gone.admin.join("treewarden-missing"), 10.0);
            repo.git(&["repack", "-q", "-d"]);
            repo.commit(60.0, "more.ts", "more\n");
            repo.git(&["repack", "-q", "-d"]);
            age_all(&repo.git_dir("objects/pack"), 20.0);
        }
        for number in 0..4_u8 {
            write(
                &world.at(format!("caches/models/{number}/data")),
                vec![number; 4 << 20],
            );
        }
        world.set(
            "caches",
            "{kind: folder, name: models, path: caches/models}",
        );
        // Eviction goes down to nine tenths of the budget, so three units must go. As long as any
        // of the three is left, the budget is exceeded.
        world.set(
            "eviction",
            &format!(
                "budget: {}, min_age: 30d",
                (world.standing() - (5 << 21)) * 10 / 9
            ),
        );
        fs::rename(&world.root, world.beside("before")).unwrap();
        Self { world }
    }

    /// Puts the volume, as it was built, on the file server.
    fn mounted(&self, manners: Manners) -> Mounted {
        let Self { world } = self;
        [&world.root, &world.beside("backing")]
            .into_iter()
            .filter(|directory| directory.exists())
            .for_each(|directory| remove(directory));
        copy(&world.beside("before"), &world.root);
        // Copying reads the files, and reading counts as use.
        (0..4_u8).for_each(|number| {
            age_all(
                &world.at(format!("caches/models/{number}")),
                f64::from(40 * number),
            );
        });
        Mounted::under(world, manners)
    }

    /// Returns each unsaved file's content, from its tree or its rescue.
    fn work(&self) -> BTreeMap<String, String> {
        let mut work = BTreeMap::new();
        for name in ["acme/a", "acme/b"] {
            let repo = Repo::there(&self.world, name);
            let rescues = repo.refs("refs/treewarden/rescue/dirty");
            for file in [".env", "README.md", "staged.ts"] {
                let place = self
                    .world
                    .at(format!("worktrees/{}/dirty/{file}", repo.directory()));
                let saved = || {
                    rescues
                        .keys()
                        .map(|rescue| repo.git(&["show", &format!("{rescue}:{file}")]))
                        .next()
                };
                let text = fs::read_to_string(place)
                    .ok()
                    .or_else(saved)
                    .unwrap_or_default();
                work.insert(format!("{name} {file}"), text.trim().to_owned());
            }
        }
        work
    }
}

const REPOS: [&str; 2] = ["acme/a", "acme/b"];
/// Calls that change something; below, calls that only read.
const CHANGES: &[Call] = &[
    Call::Setattr,
    Call::Mkdir,
    Call::Unlink,
    Call::Rmdir,
    Call::Rename,
    Call::Link,
    Call::Create,
    Call::Write,
    Call::Fsync,
    Call::Fsyncdir,
];
const LOOKS: &[Call] = &[
    Call::Lookup,
    Call::Getattr,
    Call::Open,
    Call::Read,
    Call::Opendir,
    Call::Readdir,
];

/// Returns the fates that a run reports on the small volume.
fn fates() -> BTreeMap<String, String> {
    let of = |name: &str| {
        let place = format!("acme/{name} worktrees/acme__{name}");
        [
            ("dirty", "reap unsaved uncommitted work"),
            ("fresh", "keep recent"),
            ("landed", "reap landed merged"),
        ]
        .into_iter()
        .chain([("lonely", "reap unsaved unsaved commits")])
        .map(move |(tree, fate)| (format!("{place}/{tree}"), fate.to_owned()))
    };
    of("a").chain(of("b")).collect()
}

fn outcomes(report: &RunReport) -> Vec<RepoOutcome> {
    report.repos.iter().map(|repo| repo.outcome).collect()
}

/// Returns the outcome of the last run in the journal.
fn last_night(world: &World) -> RunOutcome {
    let journal = fs::read_to_string(world.at(".treewarden/journal.jsonl")).unwrap();
    serde_json::from_str::<RunReport>(journal.lines().last().unwrap())
        .unwrap()
        .run
        .outcome
}

/// Runs the program while the server fails; checks that it exits with 1, and returns the result.
fn bad_night(world: &World, server: &Mounted) -> Ran {
    let ran = world.treewarden(&["run", "--format", "json"]);
    let failed = server.heal();
    assert!(failed > 0, "nothing went wrong");
    assert!(
        ran.code == 1 && !ran.err.contains("panicked"),
        "{}: {}\n{}",
        ran.code,
        ran.err,
        ran.troubles()
    );
    ran
}

/// Ages what a crashed git left by a day.
fn a_day_later(server: &Mounted) {
    let old = |path: &Path| {
        let in_the_way = path.extension().is_some_and(|ending| ending == "lock")
            || path.ends_with("packed-refs.new");
        in_the_way || path.parent().is_some_and(|above| above.ends_with("shield"))
    };
    let files = walkdir::WalkDir::new(&server.backing)
        .into_iter()
        .map(|entry| entry.unwrap().into_path());
    files
        .filter(|path| old(path))
        .for_each(|path| age(&path, 1.0));
}

/// Checks that after a failed run all work is still there, and that the next run ends where an
/// undisturbed one would have.
fn recovers(
    what: &str,
    small: &Small,
    server: &Mounted,
    unsaved: &BTreeMap<String, String>,
    undisturbed: &BTreeMap<String, String>,
) {
    same(&format!("work after {what}"), &small.work(), unsaved);
    a_day_later(server);
    small.world.night();
    same(
        &format!("the volume after {what} and a night"),
        &state(&small.world, &REPOS),
        undisturbed,
    );
    same(
        &format!("work after {what} and a night"),
        &small.work(),
        unsaved,
    );
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
#[ignore = "needs FUSE"]
fn a_server_that_vanishes_in_the_night_and_returns_costs_nothing_but_time() {
    const MANNERS: Manners = Manners {
        cache: Duration::from_secs(1),
        ..Manners::NFS
    };
    let small = Small::new();
    let world = &small.world;
    let server = small.mounted(MANNERS);
    let (unsaved, begin) = (small.work(), server.calls());
    same("fates", &world.fates(&world.night()), &fates());
    let (undisturbed, end) = (state(world, &REPOS), server.calls());
    drop(server);

    let phases = [
        (
            "the survey",
            Fault::outage()
                .on(&[Call::Open])
                .at("worktrees/acme__a/dirty/.git"),
        ),
        (
            "a repack",
            Fault::outage()
                .on(&[Call::Create])
                .at("acme__b/.git/objects/pack")
                .times(100),
        ),
        (
            "a rescue",
            Fault::outage()
                .on(&[Call::Create])
                .at("refs/treewarden/rescue/dirty")
                .times(30),
        ),
        (
            "a move to the trash",
            Fault::outage()
                .on(&[Call::Rename])
                .at("worktrees/acme__a/dirty -> .treewarden/trash"),
        ),
        (
            "the emptying of the trash",
            Fault::outage()
                .on(&[Call::Unlink])
                .at(".treewarden/trash")
                .after(20)
                .times(60),
        ),
        (
            "an eviction",
            Fault::outage().on(&[Call::Rename]).at("caches/models/2 ->"),
        ),
        (
            "the writing of the journal",
            Fault::outage()
                .on(&[Call::Open, Call::Create])
                .at("journal.jsonl"),
        ),
    ];
    for (what, fault) in phases {
        let server = small.mounted(MANNERS);
        server.set(fault);
        bad_night(world, &server);
        recovers(what, &small, &server, &unsaved, &undisturbed);
    }

    // A few points spread over all calls; the whole sweep is
    // `TREEWARDEN_POINTS=500 cargo test --test it fuse::a_server -- --ignored --nocapture`.
    let points: u64 =
        std::env::var("TREEWARDEN_POINTS").map_or(1, |points| points.parse().unwrap());
    let once = |error| Fault::of(error).times(1);
    let kinds = [
        ("an outage at a change", CHANGES, Fault::outage()),
        (
            "an outage of 40 calls at a change",
            CHANGES,
            Fault::outage().times(40),
        ),
        ("an outage at a look", LOOKS, Fault::outage()),
        ("EIO at a change", CHANGES, once(Errno::IO)),
        ("ESTALE at a look", LOOKS, once(Errno::STALE)),
        ("EDQUOT at a change", CHANGES, once(Errno::DQUOT)),
    ];
    for (what, calls, fault) in kinds {
        let all = calls
            .iter()
            .map(|kind| end[kind] - begin[kind])
            .sum::<u64>();
        for point in 0..points {
            let after = u32::try_from((2 * point + 1) * all / (2 * points)).unwrap();
            let server = small.mounted(MANNERS);
            server.set(fault.clone().on(calls).after(after));
            let ran = world.treewarden(&["run", "--format", "json"]);
            let what = format!(
                "{what}, {after} of {all}: {} calls failed, exit code {}",
                server.heal(),
                ran.code
            );
            println!("{what}");
            assert!(
                [0, 1].contains(&ran.code) && !ran.err.contains("panicked"),
                "{what}: {}\n{}",
                ran.err,
                ran.troubles()
            );
            recovers(&what, &small, &server, &unsaved, &undisturbed);
        }
    }
}

#[test]
#[ignore = "needs FUSE"]
fn a_server_that_vanishes_before_the_night_or_for_good_is_told_at_once() {
    let small = Small::new();
    let world = &small.world;
    let server = small.mounted(Manners::NFS);
    server.set(Fault::outage());
    let ran = world.treewarden(&["run"]);
    assert_eq!((ran.code, server.heal() > 0), (3, true), "{ran:?}");
    assert!(
        ran.out.contains("Input/output error") && ran.out.contains(world.root.to_str().unwrap()),
        "{ran:?}"
    );
    // It also vanishes for good during a run: the report is still on standard output, which needs
    // no server.
    server.set(
        Fault::outage()
            .on(&[Call::Rename])
            .at("-> .treewarden/trash"),
    );
    let began = std::time::Instant::now();
    let ran = world.treewarden(&["run", "--format", "json"]);
    assert!(
        ran.code == 1 && !ran.err.contains("panicked") && began.elapsed() < Duration::from_secs(30),
        "{ran:?}"
    );
    let failures = ran.report().failures;
    assert!(
        failures
            .iter()
            .any(|failure| failure.contains("failed to append to")
                && failure.contains("journal.jsonl")),
        "{failures:?}"
    );
}

#[test]
#[ignore = "needs FUSE"]
fn what_somebody_has_open_stays_in_the_trash_until_it_is_closed() {
    let small = Small::new();
    let world = &small.world;
    let server = small.mounted(Manners::NFS);
    let open = ["worktrees/acme__a/landed/README.md", "caches/models/3/data"]
        .map(|file| fs::File::open(world.at(file)).unwrap());
    // Hides all processes from the run: if it saw who has the file open, it would keep the tree.
    let run = || {
        let unseen = [
            "--pid",
            "--fork",
            "--mount-proc",
            env!("CARGO_BIN_EXE_treewarden"),
            "run",
            "--format",
            "json",
        ];
        let ran = world.start_program("unshare", &unseen).end();
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.report()
    };
    let report = run();
    same("fates", &world.fates(&report), &fates());
    let told = |report: &RunReport, what: &str| {
        let open = report.failures.iter().filter(|line| {
            line.starts_with(what)
                && line.contains(".nfs")
                && line.contains("somebody has this file open")
        });
        (
            open.count(),
            report
                .failures
                .iter()
                .filter(|line| !line.contains(".nfs"))
                .cloned()
                .collect::<Vec<_>>(),
        )
    };
    let (count, others) = told(&report, "left in the trash: ");
    // The trash entries that contain them stay as well.
    assert!(
        count == 2 && others.iter().all(|line| line.contains("not empty")),
        "{:?}",
        report.failures
    );
    // The bytes of open files are not free yet.
    assert!(
        (8 << 20..9 << 20).contains(&report.eviction.freed_bytes),
        "{:?}",
        report.eviction
    );
    // It is reported once.
    let second = run();
    assert!(
        !second.failures.iter().any(|line| line.contains("trash")),
        "{:?}",
        second.failures
    );
    assert_eq!(std::io::read_to_string(&open[0]).unwrap(), "# A repo\n");
    drop(open);
    let silly = || {
        walkdir::WalkDir::new(server.behind(".treewarden/trash"))
            .into_iter()
            .flatten()
    };
    until("the files are closed", || {
        !silly().any(|entry| entry.file_name().to_string_lossy().starts_with(".nfs"))
    });
    world.night();
    assert_eq!(
        fs::read_dir(world.at(".treewarden/trash")).unwrap().count(),
        0
    );
}

#[test]
#[ignore = "needs FUSE"]
fn what_the_server_does_not_answer_for_is_left_alone() {
    let small = Small::new();
    let world = &small.world;
    // One tree, and the place of a missing one: both are unknown.
    let server = small.mounted(Manners::NFS);
    let registered = Repo::there(world, "acme/a").registered();
    server.set(Fault::of(Errno::IO).at("worktrees/acme__a/gone"));
    server.set(Fault::of(Errno::STALE).at("worktrees/acme__a/landed"));
    let report = world.treewarden(&["run", "--format", "json"]).report();
    assert!(server.heal() > 0);
    let unknown = report
        .worktrees()
        .filter(|tree| tree.verdict == VerdictName::Unknown)
        .map(|tree| tree.path.clone());
    assert_eq!(
        unknown.collect::<Vec<_>>(),
        ["gone", "landed"].map(|tree| world.at("worktrees/acme__a").join(tree))
    );
    let left: BTreeMap<_, _> = registered
        .into_iter()
        .filter(|(path, _)| !path.ends_with("dirty") && !path.ends_with("lonely"))
        .collect();
    same(
        "git worktree list",
        &Repo::there(world, "acme/a").registered(),
        &left,
    );
    drop(server);

    // One repo fails; the other is maintained.
    let server = small.mounted(Manners::NFS);
    let unsaved = small.work();
    server.set(Fault::of(Errno::IO).at("acme__b/"));
    let report = bad_night(world, &server).report();
    assert_eq!(
        outcomes(&report),
        [RepoOutcome::Maintained, RepoOutcome::Failed]
    );
    assert!(
        report.repos[1]
            .reason
            .as_ref()
            .unwrap()
            .contains("Input/output error"),
        "{:?}",
        report.repos[1]
    );
    let first = fates()
        .into_iter()
        .filter(|(tree, _)| tree.starts_with("acme/a"))
        .collect();
    same("fates", &world.fates(&report), &first);
    assert_eq!(last_night(world), RunOutcome::Failed);
    same("work", &small.work(), &unsaved);
    let report = world.night();
    let both = fates()
        .into_iter()
        .filter(|(tree, fate)| tree.starts_with("acme/b") || fate.starts_with("keep"))
        .collect();
    same("fates of the next run", &world.fates(&report), &both);
    drop(server);

    // A unit of a cache, and a registration.
    let server = small.mounted(Manners::NFS);
    server.set(
        Fault::of(Errno::STALE)
            .on(&[Call::Opendir])
            .at("caches/models/3"),
    );
    server.set(Fault::of(Errno::STALE).at("acme__b/.git/worktrees/dirty/"));
    let ran = world.treewarden(&["run", "--format", "json"]);
    assert!(server.heal() > 0);
    let report = ran.report();
    assert!(world.at("caches/models/3/data").exists());
    assert!(
        report.eviction.triggered && report.eviction.units.iter().all(|unit| unit.unit != "3"),
        "{:?}",
        report.eviction
    );
    let obstacles = &report.eviction.obstacles;
    assert!(
        obstacles.is_empty()
            || obstacles
                .iter()
                .any(|line| line.contains("Stale file handle")),
        "{obstacles:?}"
    );
    assert!(
        world.at("worktrees/acme__b/dirty/.env").exists()
            && world.at("acme__b/.git/worktrees/dirty/index").exists()
    );
    same("work", &small.work(), &unsaved);
    assert!([0, 1].contains(&ran.code), "{ran:?}");
}

#[test]
#[ignore = "needs FUSE"]
fn a_half_mounted_volume_loses_no_registration() {
    let small = Small::new();
    let world = &small.world;
    let server = small.mounted(Manners::NFS);
    let registered = REPOS.map(|name| Repo::there(world, name).registered());
    let admins = || REPOS.map(|name| Repo::there(world, name).registered());
    // Another client unmounts `worktrees`, which leaves an empty directory, or none.
    fs::rename(server.behind("worktrees"), world.beside("unmounted")).unwrap();
    fs::create_dir(server.behind("worktrees")).unwrap();
    world.night();
    assert_eq!(admins(), registered, "with an empty directory");
    fs::remove_dir(server.behind("worktrees")).unwrap();
    let report = world.night();
    // Except the trees that had already been missing for days.
    let left = registered.map(|mut trees| {
        trees.retain(|path, _| !path.ends_with("/gone"));
        trees
    });
    assert_eq!(admins(), left, "without the directory");
    assert!(
        report.repos.iter().all(|repo| repo.prune.refused.is_some()),
        "{:?}",
        report.repos
    );
    fs::rename(world.beside("unmounted"), server.behind("worktrees")).unwrap();
    same("fates", &world.fates(&world.night()), &fates());
}

#[test]
#[ignore = "needs FUSE"]
fn a_rescue_that_the_server_does_not_take_keeps_the_tree() {
    let small = Small::new();
    let world = &small.world;
    let faults = [
        (
            "fsync of an object",
            Fault::of(Errno::DQUOT)
                .on(&[Call::Fsync])
                .at("acme__a/.git/objects"),
        ),
        (
            "close of an object",
            Fault::of(Errno::IO)
                .on(&[Call::Flush])
                .at("acme__a/.git/objects/"),
        ),
        (
            "write of an object",
            Fault::of(Errno::NOSPC)
                .on(&[Call::Write])
                .at("acme__a/.git/objects"),
        ),
        (
            "write of the ref",
            Fault::of(Errno::IO)
                .on(&[Call::Write, Call::Fsync])
                .at("refs/treewarden/rescue"),
        ),
    ];
    for (what, fault) in faults {
        let server = small.mounted(Manners::NFS);
        server.set(fault);
        let ran = world.treewarden(&["run", "--only", "reap", "--format", "json"]);
        assert!(server.heal() > 0, "{what}");
        let mut expected = fates();
        for tree in ["dirty", "lonely"] {
            let fate = expected
                .get_mut(&format!("acme/a worktrees/acme__a/{tree}"))
                .unwrap();
            *fate = fate.replace("reap", "failed");
        }
        let report = ran.report();
        expected.insert(
            "acme/a worktrees/acme__a/gone".into(),
            "keep missing".into(),
        );
        let of_a = |fates: BTreeMap<String, String>| {
            fates
                .into_iter()
                .filter(|(tree, _)| tree.starts_with("acme/a"))
                .collect()
        };
        same(what, &of_a(world.fates(&report)), &of_a(expected));
        assert_eq!(ran.code, 1, "{what}");
        let dirty = world.at("worktrees/acme__a/dirty");
        assert_eq!(
            fs::read_to_string(dirty.join(".env")).unwrap(),
            "only here\n",
            "{what}"
        );
        world.night();
        assert!(
            !dirty.exists() && Repo::there(world, "acme/a").fsck().is_empty(),
            "{what}"
        );
    }
}

#[test]
#[ignore = "needs FUSE"]
fn work_that_goes_on_in_the_trash_while_the_server_is_away_comes_back() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // FUSE releases a lock some time after its file was closed.
    shop.set("lock_wait: 3s");
    shop.tree("dirty").write(".env", "before\n").age(31.0);
    let server = Mounted::under(&world, Manners::NFS);
    // The server vanishes when the tree is in the trash, before the second look.
    server.set(
        Fault::outage()
            .on(&[Call::Opendir])
            .at(".treewarden/trash/")
            .after(1),
    );
    let report = bad_night(&world, &server).report();
    assert!(
        report
            .worktrees()
            .any(|tree| matches!(tree.outcome, TreeOutcome::Failed(_))),
        "{report:?}"
    );
    let bins: Vec<_> = fs::read_dir(world.at(".treewarden/trash"))
        .unwrap()
        .map(|bin| bin.unwrap().path())
        .collect();
    assert_eq!(bins.len(), 1);
    assert!(
        bins[0].join("0/README.md").exists(),
        "the tree waits in the trash"
    );
    // An agent in the tree goes on writing there.
    write(&bins[0].join("0/.env"), "after\n");
    // While the repo is busy, the tree stays in the trash.
    let agent = world.hold("acme__shop");
    let report = world.pass(1, &["run"]);
    assert!(
        report.failures[0]
            .contains("`worktrees/acme__shop/dirty` was taken by a run that did not finish"),
        "{:?}",
        report.failures
    );
    drop(agent);
    let report = world.night();
    same(
        "fates",
        &world.fates(&report),
        &map(&[(
            "acme/shop worktrees/acme__shop/dirty",
            "keep unsaved recent",
        )]),
    );
    assert_eq!(
        fs::read_to_string(world.at("worktrees/acme__shop/dirty/.env")).unwrap(),
        "after\n"
    );
    assert_eq!(
        fs::read_dir(world.at(".treewarden/trash")).unwrap().count(),
        0
    );
}

#[test]
#[ignore = "needs FUSE"]
fn a_lender_whose_borrower_can_not_be_asked_keeps_everything() {
    let world = World::new();
    let lender = world.repo("acme/lender");
    lender.set("gc: {strategy: git-gc}");
    lender.git(&["checkout", "-q", "-b", "topic"]);
    lender.commit(60.0, "topic.ts", "topic\n");
    world.enrol("acme/borrower", "");
    git(
        &world.root,
        60.0,
        &[
            "clone",
            "-q",
            "--shared",
            "--template=",
            "acme__lender",
            "acme__borrower",
        ],
    );
    lender.git(&["checkout", "-q", "main"]);
    lender.git(&["branch", "-q", "-D", "topic"]);
    lender.git(&["reflog", "expire", "--expire=now", "--all"]);
    age_all(&lender.git_dir("objects"), 60.0);
    let server = Mounted::under(&world, Manners::NFS);
    server.set(
        Fault::of(Errno::IO)
            .at("acme__borrower/.git/objects/info/alternates")
            .times(1),
    );
    world.treewarden(&["run"]);
    assert_eq!(server.heal(), 1);
    assert_eq!(Repo::there(&world, "acme/borrower").fsck(), "");
}

#[test]
#[ignore = "needs FUSE"]
fn git_itself_drops_nothing_when_it_can_not_list_the_refs() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.git(&["repack", "-q", "-d"]);
    shop.git(&["checkout", "-q", "-b", "topic"]);
    shop.commit(60.0, "topic.ts", "topic\n");
    shop.git(&["checkout", "-q", "main"]);
    shop.git(&["reflog", "expire", "--expire=now", "--all"]);
    shop.git(&["repack", "-q", "-d"]);
    age_all(&shop.git_dir("objects"), 60.0);
    copy(&world.root, &world.beside("before"));
    for after in 0..7 {
        remove(&world.root);
        copy(&world.beside("before"), &world.root);
        let server = Mounted::under(&world, Manners::NFS);
        server.set(
            Fault::of(Errno::IO)
                .on(&[Call::Opendir])
                .at(".git/refs/heads")
                .after(after)
                .times(1),
        );
        let ran = world.treewarden(&["run", "--format", "json"]);
        let failed = server.heal();
        assert_eq!(
            shop.fsck(),
            "",
            "the {after}. reading of the branches failed: {}",
            ran.troubles()
        );
        println!("{after} {failed} {}", ran.code);
        drop(server);
        remove(&world.beside("backing"));
    }
}
