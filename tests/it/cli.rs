//! The commands as a script sees them: exit codes, standard output and error, and what `--repo` and
//! `--only` leave alone.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age, fifo, map, remove, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use treewarden::report::{RepoOutcome, RunOutcome, RunReport};

/// Creates a repo with something for each part of a run: a tree, a registration without a tree, a
/// leftover and loose refs.
fn work<'a>(world: &'a World, name: &str) -> Repo<'a> {
    let repo = world.repo(name);
    repo.tree("landed").age(2.0);
    repo.tree("fresh");
    repo.tree("too");
    let gone = repo.tree("gone");
    remove(&gone.path);
    gone.age_admin(10.0);
    let branches: Vec<String> = (0..20).map(|n| format!("main:b{n}")).collect();
    repo.git(
        &[
            &["fetch", "-q", "."],
            &branches.iter().map(String::as_str).collect::<Vec<_>>()[..],
        ]
        .concat(),
    );
    write(&repo.git_dir("shallow.lock"), "");
    age(&repo.git_dir("shallow.lock"), 1.0);
    repo
}

/// Makes a run stop in this repo, with its lock held, until the second file exists. The first file
/// says that it has begun.
fn halt(world: &World, repo: &str) -> [std::path::PathBuf; 2] {
    let files = [world.beside("begun"), world.beside("go")];
    let [begun, go] = files.each_ref().map(|path| path.display());
    world.enrol(
        repo,
        &format!(
            "busy_probe: [sh, -c, 'touch {begun}; until [ -e {go} ]; do sleep 0.01; done; exit 1']"
        ),
    );
    files
}

#[test]
fn bad_usage_and_bad_config_touch_nothing() {
    let world = World::new();
    work(&world, "acme/shop");
    world.repo("acme/web");
    let before = snapshot(&world.root);
    let nowhere = world.beside("nowhere.yaml");
    let broken = world.beside("broken.yaml");
    write(&broken, "volume: {root: /data, rot: 1}\n");
    let [nowhere, broken] = [&nowhere, &broken].map(|path| path.to_str().unwrap());
    // What was typed, and what standard error says.
    let table: [(&[&str], &str); 11] = [
        (
            &["run", "--repo", "acme/sho"],
            "--repo: the config has no repo `acme/sho`; it has acme/shop, acme/web",
        ),
        (
            &["run", "--repo", "acme/shop", "--repo", "x"],
            "no repo `x`",
        ),
        (&["run", "--only", "gc,prun"], "prun"),
        (&["run", "--deadline", "soon"], "write a time such as"),
        (&["run", "--format", "xml"], "xml"),
        (&["run", "--no-such"], "--no-such"),
        (&["no-such"], "no-such"),
        (&[], "Usage:"),
        (&["run", "--config", nowhere], nowhere),
        (
            &["run", "--config", broken],
            "broken.yaml:1: volume.rot: unknown key",
        ),
        (&["init"], "ROOT"),
    ];
    for (typed, words) in table {
        let ran = world.treewarden(typed);
        assert!(
            ran.code == 2 && ran.err.contains(words) && ran.out.is_empty(),
            "{typed:?}: {ran:?}"
        );
    }
    same("the volume", &snapshot(&world.root), &before);
    for typed in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let ran = world.treewarden(typed);
        assert!(
            ran.code == 0 && ran.out.contains("treewarden") && ran.err.is_empty(),
            "{typed:?}: {ran:?}"
        );
    }
}

#[test]
fn a_chosen_repo_is_all_that_is_touched() {
    let world = World::new();
    let [shop, web] = ["acme/shop", "acme/web"].map(|name| work(&world, name));
    let before = [
        snapshot(&web.path),
        snapshot(&world.at("worktrees/acme__web")),
    ];
    let report = world.pass(0, &["run", "--repo", "acme/shop"]);
    assert_eq!(
        report
            .repos
            .iter()
            .map(|repo| repo.name.as_str())
            .collect::<Vec<_>>(),
        ["acme/shop"]
    );
    assert_eq!((report.totals.reaped, shop.registered().len()), (1, 3));
    same("the other repo", &snapshot(&web.path), &before[0]);
    same(
        "its trees",
        &snapshot(&world.at("worktrees/acme__web")),
        &before[1],
    );
    let report = world.pass(0, &["run", "--repo", "acme/web", "--repo", "acme/shop"]);
    assert_eq!((report.repos.len(), report.totals.reaped), (2, 1));
}

#[test]
fn a_chosen_part_is_all_that_is_done() {
    let world = World::new();
    let shop = work(&world, "acme/shop");
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    write(&world.at("caches/models/old"), vec![b'x'; 2 << 20]);
    age(&world.at("caches/models/old"), 30.0);
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() - (1 << 20)),
    );
    let seen = || {
        [
            ("evict", world.at("caches/models/old").exists()),
            ("prune", shop.git_dir("worktrees/gone").exists()),
            ("gc: leftovers", shop.git_dir("shallow.lock").exists()),
            ("gc: refs", shop.git_dir("refs/heads/b7").exists()),
            ("reap", world.at("worktrees/acme__shop/landed").exists()),
        ]
    };
    let mut left = seen().to_vec();
    assert!(left.iter().all(|(_, there)| *there), "{left:?}");
    for part in ["evict", "prune", "gc", "reap"] {
        world.pass(0, &["run", "--dry-run", "--only", part]);
        world.pass(0, &["run", "--only", part]);
        left.iter_mut()
            .filter(|(what, _)| what.starts_with(part))
            .for_each(|(_, there)| *there = false);
        assert_eq!(seen().to_vec(), left, "after --only {part}");
    }
    assert_eq!(shop.fsck(), "");
}

#[test]
fn a_night_without_time_begins_nothing() {
    let world = World::new();
    let shop = work(&world, "acme/shop");
    let before = [snapshot(&shop.path), snapshot(&world.at("worktrees"))];
    let report = world.pass(4, &["run", "--deadline", "0s"]);
    assert_eq!(
        (report.run.outcome, report.run.reason.as_deref()),
        (RunOutcome::Interrupted, Some("the deadline has passed"))
    );
    assert!(
        report.repos[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("the next run goes on here"),
        "{:?}",
        report.repos[0]
    );
    assert_eq!(report.totals.failures, 0, "being stopped is no failure");
    assert!(
        report
            .alerts
            .iter()
            .any(|alert| alert.name == "RunInterrupted")
    );
    same("the repo", &snapshot(&shop.path), &before[0]);
    same("its trees", &snapshot(&world.at("worktrees")), &before[1]);
    assert_eq!(world.night().totals.reaped, 1);
}

#[test]
fn a_signal_ends_a_night_between_two_steps() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::new();
        world.set("run", "deadline: 1h");
        let shop = work(&world, "acme/shop");
        let [begun, go] = halt(&world, "acme/shop");
        let mut night = world.start(&["run", "--format", "json"]);
        until("the night begins", || begun.exists());
        night.signal(signal);
        write(&go, "");
        let ran = night.end();
        assert_eq!(ran.code, 4, "{ran:?}");
        let report = ran.report();
        assert_eq!(
            (report.run.outcome, report.run.reason.as_deref()),
            (RunOutcome::Interrupted, Some("a signal asked to stop"))
        );
        assert_eq!(report.totals.reaped, 0);
        assert!(world.at("worktrees/acme__shop/landed").exists() && shop.fsck().is_empty());
        // Nothing is left behind: no name in a lock, nothing in the scratch space.
        for lock in ["volume", "acme__shop"] {
            assert_eq!(
                std::fs::read(world.at(format!(".treewarden/locks/{lock}.lock"))).unwrap(),
                b"",
                "{lock}"
            );
        }
        assert_eq!(
            std::fs::read_dir(world.beside("scratch")).unwrap().count(),
            0
        );
        assert_eq!(world.night().totals.reaped, 1);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let world = World::new();
    work(&world, "acme/shop");
    let [begun, go] = halt(&world, "acme/shop");
    // Nobody reads the pipe, so the run never finishes by itself.
    let pipe = world.beside("pipe");
    fifo(&pipe);
    let mut night = world.start(&["run", "--output", pipe.to_str().unwrap()]);
    until("the night begins", || begun.exists());
    night.signal(Signal::INT);
    until("the night is over", || {
        world.at(".treewarden/journal.jsonl").exists()
    });
    night.signal(Signal::INT);
    assert_eq!(night.end().code, 130);
    write(&go, "");
    assert_eq!(world.night().totals.reaped, 1);
}

#[test]
fn the_report_goes_where_it_was_sent() {
    let world = World::new();
    work(&world, "acme/shop");
    let file = world.beside("reports/report.json");
    write(&file, "the old one");
    let mut old = std::fs::File::open(&file).unwrap();
    let ran = world.treewarden(&[
        "run",
        "--format",
        "json",
        "--output",
        file.to_str().unwrap(),
    ]);
    assert!(ran.code == 0 && ran.out.is_empty(), "{ran:?}");
    let told = [
        ": Freed ",
        &format!("The report is in `{}`.\n", file.display()),
    ];
    assert!(told.iter().all(|told| ran.err.contains(told)), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    let report: RunReport = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (report.schema.as_str(), report.totals.reaped),
        ("treewarden.report/1", 1)
    );
    // A reader that has the old file open still reads all of it.
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the old one");
    assert_eq!(
        std::fs::read_dir(world.beside("reports")).unwrap().count(),
        1,
        "nothing half written is left"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644, "others may read it");
    let json: serde_json::Value =
        serde_json::from_str(&world.treewarden(&["report", "--format", "json"]).out).unwrap();
    assert_eq!(json["schema"], "treewarden.report/1");
}

/// A link's target stays as it is; what a shell opened is written to; a pipe waits for its reader.
#[test]
fn what_stands_where_the_report_goes_is_not_followed() {
    let world = World::new();
    let (victim, link) = (world.beside("victim"), world.beside("report.html"));
    write(&victim, "precious");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    let ran = world.treewarden(&["report", "--output", link.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(link.symlink_metadata().unwrap().is_file());

    let file = world.beside("stdout");
    write(&file, "before\n");
    let script = "exec \"$0\" report --output /dev/stdout >>\"$1\"";
    let program = env!("CARGO_BIN_EXE_treewarden");
    let ran = world
        .start_program("sh", &["-c", script, program, file.to_str().unwrap()])
        .end();
    assert_eq!(ran.code, 0, "{ran:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("before\nDry run."), "{text}");
    assert!(Path::new("/dev/stdout").is_symlink());

    let pipe = world.beside("pipe");
    fifo(&pipe);
    let late = world.start(&["report", "--output", pipe.to_str().unwrap()]);
    std::thread::sleep(Duration::from_millis(300));
    let text = std::fs::read_to_string(&pipe).unwrap();
    assert!(text.starts_with("Dry run."), "{text}");
    assert_eq!(late.end().code, 0);
}

#[test]
fn a_report_that_can_not_be_written_is_noticed_before_the_run() {
    let world = World::new();
    work(&world, "acme/shop");
    let before = snapshot(&world.root);
    let file = world.beside("file");
    write(&file, "a file");
    for bad in [
        "nowhere/report.txt",
        "scratch",
        "file/report.txt",
        "scratch/..",
    ] {
        let path = world.beside(bad);
        for typed in ["run", "report"] {
            let ran = world.treewarden(&[typed, "--output", path.to_str().unwrap()]);
            let told = format!("failed to write `{}`: ", path.display());
            assert!(ran.code == 2 && ran.err.contains(&told), "{ran:?}");
            assert!(
                ran.err.contains("; nothing was done: give --output"),
                "{ran:?}"
            );
        }
    }
    same("the volume", &snapshot(&world.root), &before);
    // A file that is there stays as it is until the report replaces it.
    write(&file, "the old one");
    let ran = world.treewarden(&["run", "--repo", "x", "--output", file.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the old one");
}

#[test]
fn short_names_do_as_the_long_ones() {
    let world = World::new();
    let shop = work(&world, "acme/shop");
    let before = [snapshot(&shop.path), snapshot(&world.at("worktrees"))];
    let report = world.pass(0, &["run", "-n"]);
    assert!(report.run.dry_run);
    same("the repo", &snapshot(&shop.path), &before[0]);
    same("its trees", &snapshot(&world.at("worktrees")), &before[1]);
    for (short, long) in [
        (["worktree", "ls"], ["worktree", "list"]),
        (["rescue", "ls"], ["rescue", "list"]),
    ] {
        let [short, long] = [short, long].map(|typed| world.treewarden(&typed));
        assert_eq!((short.code, &short.out), (0, &long.out));
    }
    let ran = world.treewarden(&["worktree", "rm", "acme/shop", "fresh"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!world.at("worktrees/acme__shop/fresh").exists());
}

#[test]
fn the_past_is_told_and_a_torn_line_is_skipped() {
    let world = World::new();
    work(&world, "acme/shop");
    let history = || {
        world
            .history()
            .into_iter()
            .map(|run| (run.run.id, run.totals.reaped))
            .collect::<Vec<_>>()
    };
    assert_eq!(history(), []);
    let mut expected = Vec::new();
    for _ in 0..2 {
        let run = world.night();
        expected.push((run.run.id, run.totals.reaped));
    }
    world.pass(0, &["report"]);
    assert_eq!(history(), expected);
    assert_eq!(
        expected
            .iter()
            .map(|(_, reaped)| *reaped)
            .collect::<Vec<_>>(),
        [1, 0]
    );
    let journal = world.at(".treewarden/journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(whole.lines().count(), 2);
    write(&journal, format!("{whole}{}", &whole[..whole.len() / 3]));
    assert_eq!(history(), expected);
    let run = world.night();
    expected.push((run.run.id, run.totals.reaped));
    assert_eq!(history(), expected);
    let text = world.treewarden(&["history"]).out;
    assert!(text.contains("1 line"), "{text}");
    let last = world
        .treewarden(&["history", "--format", "json", "--last", "1"])
        .history();
    assert_eq!((last.len(), &last[0].run.id), (1, &expected[2].0));
    let all = world.treewarden(&["history", "--format", "json", "--last", "0"]);
    assert_eq!(all.history().len(), 3, "0 is all");
}

#[test]
fn a_pipe_gets_no_colours() {
    let world = World::new();
    work(&world, "acme/shop");
    let crypt = world.repo("acme/crypt");
    crypt.git(&["config", "filter.git-crypt.clean", "x"]);
    for typed in [
        &["report"][..],
        &["run"],
        &["history"],
        &["check"],
        &["--help"],
        &["run", "--repo", "x"],
        &["run", "--config", "/nowhere"],
    ] {
        let ran = world.treewarden(typed);
        assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{typed:?}");
        assert!(
            !ran.out.contains('\x1b') && !ran.err.contains('\x1b'),
            "{typed:?}: {ran:?}"
        );
    }
}

#[test]
fn what_a_repo_says_can_not_paint_on_a_terminal() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("odd");
    write(&tree.path.join("\x1b[2Jcleared\nOK: all fine"), "x");
    tree.age(31.0);
    shop.tree_at("worktrees/acme__shop/\x1b[31mred", "red")
        .age(2.0);
    world
        .repo("acme/crypt")
        .git(&["config", "filter.git-crypt.smudge", "\x1b[1mgit-crypt"]);
    let locked = shop.tree("locked");
    shop.git(&[
        "worktree",
        "lock",
        "--reason",
        "\x1b]0;title\x07\nsecond line",
        locked.path.to_str().unwrap(),
    ]);
    for typed in [&["report"][..], &["run"], &["history"]] {
        let ran = world.treewarden(typed);
        assert!(
            ran.out.chars().all(|c| c == '\n' || !c.is_control()),
            "{typed:?}: {ran:?}"
        );
        assert!(
            !ran.out
                .lines()
                .any(|line| line.starts_with("OK: all fine") || line.starts_with("second line")),
            "{}",
            ran.out
        );
    }
}

#[test]
fn check_says_what_a_night_would_stumble_over() {
    let world = World::new();
    work(&world, "acme/shop");
    let before = snapshot(&world.root);
    let ran = world.treewarden(&["check"]);
    assert!(ran.code == 0 && !ran.out.contains("!!"), "{ran:?}");
    world.enrol("acme/none", "");
    let ran = world.treewarden(&["check"]);
    assert!(
        ran.code == 3
            && ran
                .out
                .lines()
                .filter(|line| line.starts_with("!!"))
                .count()
                == 1,
        "{ran:?}"
    );
    assert!(
        ran.out.contains("acme/none") && ran.out.contains("no git checkout"),
        "{ran:?}"
    );
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn the_demo_shows_a_whole_night() {
    let world = World::unprepared();
    let place = world.beside("demo");
    let ran = world.treewarden(&["demo", "--at", place.to_str().unwrap()]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    for words in [
        "acme/shop",
        "encrypted files must",
        "rescued as refs/treewarden/rescue/",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let config = place.join("treewarden.yaml");
    let config = ["--config", config.to_str().unwrap()];
    let runs = world
        .treewarden(&[&["history", "--format", "json"][..], &config].concat())
        .history();
    let found = runs[0]
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), format!("{:?}", repo.outcome)))
        .collect();
    let expected = [
        ("acme/shop", "Maintained"),
        ("acme/api", "Maintained"),
        ("acme/mobile", "Busy"),
        ("acme/infra", "Refused"),
    ];
    same("the demo's repos", &found, &map(&expected));
    // The commands that the demo suggests work. Its agent has ended by then.
    let ran = world.treewarden(&[&["report", "--format", "json"][..], &config].concat());
    let report: BTreeMap<_, _> = ran
        .report()
        .repos
        .into_iter()
        .map(|repo| (repo.name, repo.outcome))
        .collect();
    assert_eq!(report["acme/mobile"], RepoOutcome::Planned);
    assert_eq!(
        super::support::git(
            &place.join("volume/acme__shop"),
            0.0,
            &["for-each-ref", "refs/treewarden"]
        )
        .lines()
        .count(),
        1
    );
}

#[test]
fn the_demo_replaces_nothing() {
    let world = World::unprepared();
    write(&world.beside("mine/treewarden.yaml"), "precious\n");
    write(&world.beside("mine.txt"), "precious\n");
    std::fs::create_dir(world.beside("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.beside("link")).unwrap();
    let before = snapshot(&world.beside(""));
    for there in ["mine", "mine.txt", "empty", "link"] {
        let place = world.beside(there);
        let ran = world.treewarden(&["demo", "--at", place.to_str().unwrap()]);
        assert!(
            ran.code == 2 && ran.err.contains("is there already"),
            "{there}: {ran:?}"
        );
    }
    let mut after = snapshot(&world.beside(""));
    let is_top = |path: &std::path::Path| path.as_os_str().is_empty();
    after.retain(|path, _| before.contains_key(path) && !is_top(path));
    let before = before
        .into_iter()
        .filter(|(path, _)| !is_top(path))
        .collect();
    same("everything", &after, &before);
    assert!(!world.beside("nowhere").exists());
}
