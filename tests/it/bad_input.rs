//! Broken or unexpected volumes and repos: the message is clear, nothing is lost, nothing hangs,
//! and the other repos are maintained.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{Ran, World, fifo, is_root, remove, same, write};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use treewarden::report::{RepoOutcome, RunReport};

/// Checks that a run and a report are refused, with these words.
fn refused(world: &World, words: &[&str]) {
    for arguments in [
        &["run", "--format", "json"][..],
        &["report", "--format", "json"],
    ] {
        let ran = world.treewarden(arguments);
        assert_eq!(ran.code, 3, "{ran:?}");
        let report = ran.report();
        let reason = report.run.reason.clone().unwrap();
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        assert!(
            report.repos.is_empty() && report.totals.freed_bytes == 0,
            "{report:?}"
        );
    }
}

fn said(ran: &Ran, code: i32, words: &[&str]) {
    assert!(
        ran.code == code && words.iter().all(|word| ran.err.contains(word)),
        "{ran:?}"
    );
}

#[test]
fn a_volume_that_is_not_there() {
    let world = World::unprepared();
    world.enrol("acme/shop", "");
    remove(&world.root);
    refused(&world, &["failed to open the volume", "is it mounted?"]);
    assert!(!world.root.exists(), "nobody may make the mount point");
    said(
        &world.treewarden(&["init", world.root.to_str().unwrap()]),
        3,
        &["failed to open the volume"],
    );
    assert!(!world.root.exists());
}

#[test]
fn a_volume_that_nobody_prepared() {
    let world = World::unprepared();
    let shop = Repo::clone(&world, "acme/shop");
    world.enrol("acme/shop", "");
    shop.tree("landed").age(2.0);
    let before = snapshot(&world.root);
    refused(&world, &["volume.json", "is missing", "treewarden init"]);
    said(&world.treewarden(&["history"]), 0, &[]);
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn a_volume_that_is_mounted_elsewhere() {
    let mut world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    let elsewhere = world.beside("elsewhere");
    std::fs::rename(&world.root, &elsewhere).unwrap();
    let prepared = std::mem::replace(&mut world.root, elsewhere);
    let before = snapshot(&world.root);
    refused(
        &world,
        &[
            "prepared for",
            prepared.to_str().unwrap(),
            "mounted at",
            world.root.to_str().unwrap(),
        ],
    );
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn a_sentinel_that_makes_no_sense() {
    for text in ["", "{}", "[]", "{\"schema\": \"treewarden.volume/1\""] {
        let world = World::new();
        world.repo("acme/shop").tree("landed").age(2.0);
        write(&world.at(".treewarden/volume.json"), text);
        let before = snapshot(&world.root);
        refused(&world, &["volume.json", "treewarden init"]);
        same(text, &snapshot(&world.root), &before);
    }
    let world = World::new();
    world.repo("acme/shop");
    remove(&world.at(".treewarden/volume.json"));
    fifo(&world.at(".treewarden/volume.json"));
    refused(&world, &["volume.json"]);
}

#[test]
fn a_second_init() {
    let world = World::new();
    let before = snapshot(&world.root);
    said(
        &world.treewarden(&["init", world.root.to_str().unwrap()]),
        3,
        &["prepared already", "nothing was changed"],
    );
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn a_state_directory_that_can_not_be_used() {
    // Wrong file types stop root as well; permissions don't.
    for locks in [true, false] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        shop.tree("landed").age(2.0);
        let place = world.at(if locks {
            ".treewarden/locks"
        } else {
            ".treewarden/trash"
        });
        remove(&place);
        write(&place, "");
        let before = snapshot(&shop.path);
        let ran = world.treewarden(&["run", "--format", "json"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(
            ran.report().run.reason.unwrap().contains(".treewarden"),
            "{ran:?}"
        );
        same("the repo", &snapshot(&shop.path), &before);
    }
    let world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    std::fs::create_dir(world.at(".treewarden/journal.jsonl")).unwrap();
    let report = world.pass(1, &["run"]);
    assert_eq!(report.totals.reaped, 1, "the work is done even so");
    assert!(
        report.failures.len() == 1 && report.failures[0].contains("journal.jsonl"),
        "{:?}",
        report.failures
    );

    if is_root() {
        return eprintln!(
            "skipped for root, whom no permission stops: a read-only state directory"
        );
    }
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    let modes = |mode| {
        for place in [".treewarden/locks", ".treewarden"] {
            std::fs::set_permissions(world.at(place), PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    modes(0o555);
    let before = snapshot(&world.root);
    let ran = world.treewarden(&["run", "--format", "json"]);
    assert!(
        ran.code == 3
            && ran
                .report()
                .run
                .reason
                .unwrap()
                .contains("check that the volume is mounted with locks and writable"),
        "{ran:?}"
    );
    let ran = world.treewarden(&["check"]);
    assert!(
        ran.code == 3 && ran.out.contains("failed to write to `.treewarden`"),
        "{ran:?}"
    );
    // A dry run only reads, so it works.
    assert_eq!(world.pass(0, &["report"]).totals.reaped, 1);
    same("the volume", &snapshot(&world.root), &before);
    modes(0o755);
}

/// Breaks a repo.
type Break = fn(&Repo<'_>);
use RepoOutcome::{Failed, Maintained, Refused};

/// Returns the path of a loose object.
fn object(repo: &Repo<'_>, name: &str) -> PathBuf {
    let id = repo.git(&["rev-parse", name]);
    repo.git_dir(format!("objects/{}/{}", &id[..2], &id[2..]))
}

fn replace_by_fifo(path: PathBuf) {
    if path.symlink_metadata().is_ok() {
        remove(&path);
    }
    fifo(&path);
}

fn packed(repo: &Repo<'_>, ending: &str) -> PathBuf {
    repo.git(&["repack", "-q", "-a", "-d"]);
    let mut files = std::fs::read_dir(repo.git_dir("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|found| found == ending))
        .unwrap()
}

fn set(repo: &Repo<'_>, key: &str, value: &str) {
    repo.git(&["config", key, value]);
}

/// Each repo: how it is broken, its outcome, and words that its row must contain.
const BROKEN: &[(&str, Break, RepoOutcome, &str)] = &[
    (
        "gone",
        |repo| remove(&repo.path),
        Refused,
        "no git checkout",
    ),
    (
        "empty",
        |repo| {
            remove(&repo.path);
            std::fs::create_dir(&repo.path).unwrap();
        },
        Refused,
        "no git checkout",
    ),
    (
        "file",
        |repo| {
            remove(&repo.path);
            write(&repo.path, "");
        },
        Refused,
        "no git checkout",
    ),
    (
        "a-worktree",
        |repo| {
            let tree = repo.tree("other");
            remove(&repo.path);
            std::fs::rename(tree.path, &repo.path).unwrap();
        },
        Refused,
        "which is missing; restore it",
    ),
    (
        "git-link",
        |repo| {
            std::fs::rename(repo.path.join(".git"), repo.path.join("real")).unwrap();
            symlink("real", repo.path.join(".git")).unwrap();
        },
        Refused,
        "put a file in its place",
    ),
    (
        "objects-link",
        |repo| {
            remove(&repo.git_dir("objects"));
            symlink(
                repo.world.at("acme__victim/.git/objects"),
                repo.git_dir("objects"),
            )
            .unwrap();
        },
        Refused,
        "`acme__objects-link/.git/objects` is no directory",
    ),
    (
        "refs-link",
        |repo| {
            remove(&repo.git_dir("refs"));
            symlink(
                repo.world.at("acme__victim/.git/refs"),
                repo.git_dir("refs"),
            )
            .unwrap();
        },
        Refused,
        "refs` is no directory",
    ),
    (
        "pack-link",
        |repo| {
            remove(&repo.git_dir("objects/pack"));
            symlink(
                repo.world.at("acme__victim/.git/objects/pack"),
                repo.git_dir("objects/pack"),
            )
            .unwrap();
        },
        Refused,
        "pack` is no directory",
    ),
    (
        "ref-link",
        |repo| {
            symlink(
                repo.world.at("acme__victim/.git/refs/heads/main"),
                repo.git_dir("refs/heads/x"),
            )
            .unwrap();
        },
        Refused,
        "neither file nor directory",
    ),
    (
        "is-a-link",
        |repo| {
            std::fs::rename(&repo.path, repo.world.at("moved")).unwrap();
            symlink("moved", &repo.path).unwrap();
        },
        Failed,
        "symbolic link",
    ),
    (
        "commondir",
        |repo| write(&repo.git_dir("commondir"), "../../acme__victim/.git\n"),
        Refused,
        "leads to another repo",
    ),
    (
        "alternates",
        |repo| {
            write(
                &repo.git_dir("objects/info/alternates"),
                "/elsewhere/objects\n",
            );
        },
        Refused,
        "outside the volume",
    ),
    (
        "fifo-head",
        |repo| replace_by_fifo(repo.git_dir("HEAD")),
        Refused,
        "HEAD` is no regular file",
    ),
    (
        "fifo-packed-refs",
        |repo| replace_by_fifo(repo.git_dir("packed-refs")),
        Refused,
        "packed-refs` is no regular file",
    ),
    (
        "fifo-ref",
        |repo| fifo(&repo.git_dir("refs/heads/x")),
        Refused,
        "neither file nor directory",
    ),
    (
        "fifo-index",
        |repo| replace_by_fifo(repo.git_dir("index")),
        Refused,
        "index` is no regular file",
    ),
    (
        "fifo-config",
        |repo| replace_by_fifo(repo.git_dir("config")),
        Refused,
        "config` is no regular file",
    ),
    (
        "fifo-alternates",
        |repo| fifo(&repo.git_dir("objects/info/alternates")),
        Refused,
        "alternates` is no regular file",
    ),
    (
        "fifo-stash-log",
        |repo| {
            std::fs::create_dir_all(repo.git_dir("logs/refs")).unwrap();
            fifo(&repo.git_dir("logs/refs/stash"));
        },
        Refused,
        "neither file nor directory",
    ),
    (
        "fifo-object",
        |repo| replace_by_fifo(object(repo, "HEAD")),
        Refused,
        "objects",
    ),
    (
        "fifo-pack",
        |repo| replace_by_fifo(packed(repo, "pack")),
        Refused,
        "objects/pack",
    ),
    (
        "fifo-pack-index",
        |repo| replace_by_fifo(packed(repo, "idx")),
        Refused,
        "objects/pack",
    ),
    (
        "fifo-midx",
        |repo| fifo(&repo.git_dir("objects/pack/multi-pack-index")),
        Refused,
        "multi-pack-index",
    ),
    (
        "fifo-graph",
        |repo| fifo(&repo.git_dir("objects/info/commit-graph")),
        Refused,
        "commit-graph",
    ),
    (
        "fifo-branch-log",
        |repo| replace_by_fifo(repo.git_dir("logs/refs/heads/main")),
        Refused,
        "logs",
    ),
    (
        "head-garbage",
        |repo| write(&repo.git_dir("HEAD"), "garbage\n"),
        Refused,
        "names neither a branch nor a commit",
    ),
    (
        "head-large",
        |repo| write(&repo.git_dir("HEAD"), vec![b'x'; 100_000]),
        Failed,
        "100000 bytes are more than the",
    ),
    (
        "config-garbage",
        |repo| write(&repo.git_dir("config"), "[core\n"),
        Refused,
        "config` is malformed: fatal: bad config line 1 in file it",
    ),
    (
        "git-crypt",
        |repo| set(repo, "filter.git-crypt.smudge", "git-crypt smudge"),
        Refused,
        "encrypted files must not be edited from a worktree",
    ),
    (
        "git-crypt-key",
        |repo| set(repo, "filter.git-crypt.required", "true"),
        Refused,
        "encrypted files must not be edited from a worktree",
    ),
    (
        "elsewhere",
        |repo| set(repo, "core.worktree", "/elsewhere"),
        Refused,
        "core.worktree",
    ),
    (
        "too-new",
        |repo| set(repo, "core.repositoryFormatVersion", "9"),
        Refused,
        "unknown to treewarden",
    ),
    (
        "reftable",
        |repo| {
            set(repo, "core.repositoryFormatVersion", "1");
            set(repo, "extensions.refStorage", "reftable");
        },
        Refused,
        "sets extensions.refstorage = reftable: the repo has reftables; ",
    ),
    (
        "tables-beside-files",
        |repo| write(&repo.git_dir("reftable/tables.list"), ""),
        Refused,
        "reftable/tables.list` is there, and by `acme__tables-beside-files/.git/config` the refs",
    ),
    (
        "refs-elsewhere",
        |repo| {
            set(repo, "core.repositoryFormatVersion", "1");
            set(repo, "extensions.refStorage", "files:///elsewhere");
        },
        Refused,
        "sets extensions.refstorage = files:///elsewhere: treewarden 0.",
    ),
    (
        "sha-256",
        |repo| {
            set(repo, "core.repositoryFormatVersion", "1");
            set(repo, "extensions.objectFormat", "sha256");
        },
        Refused,
        "the repo has SHA-256 objects; libgit2 1.",
    ),
    (
        "two-names",
        |repo| {
            set(repo, "core.repositoryFormatVersion", "1");
            set(repo, "extensions.compatObjectFormat", "sha256");
        },
        Refused,
        "git itself calls this unfinished: make the repo anew without it",
    ),
    (
        "precious",
        |repo| set(repo, "extensions.preciousObjects", "true"),
        Refused,
        "the repo has objects that must not be deleted; unset it if that is no longer meant",
    ),
    (
        "unknown-extension",
        |repo| {
            set(repo, "core.repositoryFormatVersion", "1");
            set(repo, "extensions.fromTheFuture", "7");
        },
        Refused,
        "sets extensions.fromthefuture = 7: treewarden 0.",
    ),
];

fn words_of(report: &RunReport, name: &str) -> String {
    let repo = report.repos.iter().find(|repo| repo.name == name).unwrap();
    format!(
        "{:?} {} {:?}",
        repo.outcome,
        repo.reason.clone().unwrap_or_default(),
        repo.failures
    )
}

#[test]
fn a_repo_that_is_no_honest_one_is_left_alone_and_the_others_are_maintained() {
    let world = World::new();
    world.repo("acme/victim").tree("landed").age(2.0);
    world.repo("acme/zebra").tree("landed").age(2.0);
    for (name, break_it, ..) in BROKEN {
        let repo = world.repo(&format!("acme/{name}"));
        repo.tree("landed").age(2.0);
        break_it(&repo);
    }
    let before = snapshot(&world.root);
    let dry = world.pass(1, &["report"]);
    same("after a report", &snapshot(&world.root), &before);
    let report = world.pass(1, &["run"]);
    let found: BTreeMap<_, _> = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), repo.outcome))
        .collect();
    let mut expected: BTreeMap<_, _> = BROKEN
        .iter()
        .map(|(name, _, outcome, _)| (format!("acme/{name}"), *outcome))
        .collect();
    expected.extend(["acme/victim", "acme/zebra"].map(|name| (name.to_owned(), Maintained)));
    same("outcomes", &found, &expected);
    let wordless: Vec<String> = BROKEN
        .iter()
        .map(|(name, _, _, words)| (words, words_of(&report, &format!("acme/{name}"))))
        .filter(|(words, said)| !said.contains(**words))
        .map(|(words, said)| format!("\n  {words}: {said}"))
        .collect();
    assert!(wordless.is_empty(), "{}", wordless.concat());
    let planned = |report: &RunReport| {
        report
            .repos
            .iter()
            .map(|repo| (repo.name.clone(), repo.reason.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    same("the dry run said so too", &planned(&dry), &planned(&report));
    // Nothing of a broken repo has changed; the other repos lost only their trees.
    let touched = |path: &PathBuf| {
        path.starts_with(".treewarden")
            || ["acme__victim", "acme__zebra"]
                .iter()
                .any(|repo| path.components().any(|part| part.as_os_str() == *repo))
    };
    let rest = |seen: BTreeMap<PathBuf, _>| {
        seen.into_iter()
            .filter(|(path, _)| !touched(path))
            .collect::<BTreeMap<_, _>>()
    };
    same(
        "the broken repos",
        &rest(snapshot(&world.root)),
        &rest(before),
    );
    assert_eq!(report.totals.reaped, 2);
    assert_eq!(Repo::there(&world, "acme/victim").fsck(), "");
}

#[test]
fn what_can_not_be_read_stays() {
    if is_root() {
        return eprintln!("skipped for root, whom no permission stops: unreadable directories");
    }
    let world = World::new();
    let shop = world.repo("acme/shop");
    let [open, shut] = ["open", "shut"].map(|name| shop.tree(name));
    shut.write("deep/down/file", "x\n");
    for tree in [&open, &shut] {
        tree.age(99.0);
    }
    let [registry, store] = ["acme/registry", "acme/store"].map(|name| world.repo(name));
    let trees = [&registry, &store].map(|repo| repo.tree("landed"));
    for tree in &trees {
        tree.age(2.0);
    }
    let closed = [
        shut.path.join("deep"),
        trees[0].admin.join("logs"),
        store.git_dir("objects/pack"),
    ];
    let modes = |mode| {
        for place in &closed {
            std::fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    modes(0o000);
    let report = world.pass(1, &["run"]);
    modes(0o755);
    let expected = [
        ("acme/shop worktrees/acme__shop/open", "reap landed merged"),
        ("acme/shop worktrees/acme__shop/shut", "unknown"),
    ];
    same(
        "fates",
        &world.fates(&report),
        &super::support::map(&expected),
    );
    assert!(
        shut.path.join("deep/down/file").exists() && trees.iter().all(|tree| tree.path.exists())
    );
    for (name, words) in [
        ("acme/registry", "acme__registry/.git/worktrees"),
        ("acme/store", "acme__store/.git/objects"),
    ] {
        let said = words_of(&report, name);
        assert!(
            said.starts_with("Failed") && said.contains(words) && said.contains("ermission denied"),
            "{said}"
        );
    }
}

#[test]
fn an_index_that_claims_more_than_it_holds_costs_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("landed");
    let mut index = std::fs::read(tree.admin.join("index")).unwrap();
    index[8..12].fill(0xff);
    write(&tree.admin.join("index"), &index);
    tree.age(40.0);
    let report = world.night();
    let told = report.worktrees().next().unwrap();
    assert!(
        told.reasons
            .iter()
            .any(|why| why.contains("`index` claims to hold 4294967295 files")),
        "{told:?}"
    );
    assert!(tree.path.exists());
}

#[test]
fn no_time_of_a_file_makes_a_run_stumble() {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    // On tmpfs a file keeps any time; a disk's file system would truncate it.
    let world = World::unprepared();
    assert_eq!(
        world
            .treewarden(&["init", world.root.to_str().unwrap()])
            .code,
        0
    );
    world.set(
        "caches",
        "{kind: pip, path: pip}, {kind: npm, path: npm}, {kind: build-output}",
    );
    let shop = world.repo("acme/shop");
    shop.tree("dirty")
        .write("new.ts", "1\n")
        .write("target/x", "1\n");
    shop.tree("landed").age(2.0);
    shop.git(&["stash", "list"]);
    write(&world.at("pip/wheels/a/b/c/x.whl"), "x");
    write(&world.at("npm/_cacache/content-v2/sha512/aa/bb/cc"), "x");
    write(&shop.git_dir("index.lock"), "");
    world.pass(0, &["report"]);
    for seconds in [1 << 62, -(1 << 62), i64::MAX, i64::MIN, 1 << 40, -(1 << 40)] {
        for entry in walkdir::WalkDir::new(&world.root).contents_first(true) {
            let then = Timespec {
                tv_sec: seconds,
                tv_nsec: 999_999_999,
            };
            utimensat(
                CWD,
                entry.unwrap().path(),
                &Timestamps {
                    last_access: then,
                    last_modification: then,
                },
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .unwrap();
        }
        for typed in [
            &["run"][..],
            &["report"],
            &["report", "--as-of", "40d"],
            &["check"],
            &["locks"],
            &["worktree", "list"],
            &["history"],
        ] {
            let ran = world.treewarden(typed);
            let told = format!("{}{}", ran.out, ran.err);
            assert!(
                [0, 1].contains(&ran.code)
                    && !told.contains("made a mistake")
                    && !told.contains("panicked"),
                "{seconds} {typed:?}: {told}"
            );
        }
    }
}
