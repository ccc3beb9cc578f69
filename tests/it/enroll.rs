//! `treewarden enroll`: a complete checkout or none. It honours the caller's git config, and
//! nothing that the remote's content asks for.
//!
//! The remotes are real: files, a command in place of ssh, a web server with a password.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{Ran, World, git, map, remove, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Creates an origin, and enrols its repo with this URL, in which `ORIGIN` stands for the origin's
/// path. The checkout still exists.
fn origin<'a>(world: &'a World, name: &str, url: &str) -> (Repo<'a>, PathBuf) {
    let repo = Repo::clone(world, name);
    let origin = world.beside(format!("origins/{}.git", repo.directory()));
    world.enrol(
        name,
        &format!("url: '{}'", url.replace("ORIGIN", origin.to_str().unwrap())),
    );
    (repo, origin)
}

pub(crate) fn unenrolled<'a>(world: &'a World, name: &str, url: &str) -> (Repo<'a>, PathBuf) {
    let (repo, path) = origin(world, name, url);
    remove(&repo.path);
    (repo, path)
}

/// Writes an executable script beside the volume.
pub(crate) fn script(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.beside(name);
    write(&path, format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

pub(crate) fn state_directory(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.at(".treewarden")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.starts_with("making-") || name.starts_with("kept-"));
    names
}

/// Whether any process has this path among its arguments.
fn runs(path: &Path) -> bool {
    let lines = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
    let path = path.to_str().unwrap();
    lines
        .into_iter()
        .any(|line| String::from_utf8_lossy(&line).contains(path))
}

pub(crate) fn said(ran: &Ran, code: i32, words: &[&str]) {
    assert!(
        ran.code == code
            && words
                .iter()
                .all(|words| ran.out.contains(words) || ran.err.contains(words)),
        "{words:?}: {ran:?}"
    );
}

#[test]
fn a_clone_is_a_checkout_as_git_would_make_it() {
    let world = World::new();
    let (shop, _) = unenrolled(&world, "acme/shop", "file://ORIGIN");
    unenrolled(&world, "acme/api", "ORIGIN");
    let there = world.repo("acme/there");
    said(
        &world.treewarden(&["enroll", "acme/shop"]),
        0,
        &["enrolled acme/shop at"],
    );
    assert_eq!(
        shop.git(&["status", "--porcelain", "--branch"]),
        "## main...origin/main"
    );
    assert_eq!(
        shop.git(&["ls-files"]),
        ".gitignore\nREADME.md\npackage.json"
    );
    assert_eq!(
        shop.git(&["symbolic-ref", "refs/remotes/origin/HEAD"]),
        "refs/remotes/origin/main"
    );
    for (key, value) in [("gc.auto", "0"), ("maintenance.auto", "false")] {
        assert_eq!(
            git(&shop.path, 0.0, &["config", "--file", ".git/config", key]),
            value
        );
    }
    assert_eq!(shop.fsck(), "");

    let before = snapshot(&shop.path);
    said(
        &world.treewarden(&["enroll", "acme/shop"]),
        0,
        &["acme/shop is enrolled already"],
    );
    same("the checkout", &snapshot(&shop.path), &before);
    // A checkout that was cloned by hand gets the settings as well.
    said(
        &world.treewarden(&["enroll", "acme/there"]),
        0,
        &["acme/there is enrolled already"],
    );
    assert_eq!(
        git(
            &there.path,
            0.0,
            &["config", "--file", ".git/config", "maintenance.auto"]
        ),
        "false"
    );

    let ran = world.treewarden(&["enroll"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    assert!(world.at("acme__api/README.md").exists());
    said(
        &world.treewarden(&["enroll"]),
        0,
        &["every repo with a `url` is enrolled already"],
    );
    let outcomes = world
        .night()
        .repos
        .into_iter()
        .map(|repo| (repo.name, format!("{:?}", repo.outcome)))
        .collect();
    same(
        "a night",
        &outcomes,
        &map(&[
            ("acme/shop", "Maintained"),
            ("acme/api", "Maintained"),
            ("acme/there", "Maintained"),
        ]),
    );
    assert_eq!(state_directory(&world), [""; 0]);
}

#[test]
fn what_can_not_be_enrolled_is_told_and_nothing_is_left() {
    let world = World::new();
    let (_, _) = unenrolled(&world, "acme/shop", "file:///nowhere/at/all.git");
    world.enrol("acme/none", "");
    world.enrol("acme/file", "url: 'file:///x'");
    write(&world.at("acme__file"), "x");
    world.enrol("acme/folder", "url: 'file:///x'");
    write(&world.at("acme__folder/precious"), "x");
    let (held, _) = unenrolled(&world, "acme/held", "file://ORIGIN");
    let lock = world.hold("acme__held");
    // Of the state directory, only staging and kept directories matter.
    let standing = || {
        let mut standing = snapshot(&world.root);
        standing.retain(|path, _| !path.starts_with(".treewarden"));
        (standing, state_directory(&world))
    };
    let before = standing();
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (
            &["acme/shop"],
            1,
            &[
                "failed to clone file:///nowhere/at/all.git",
                "git ls-remote",
            ],
        ),
        (&["acme/none"], 2, &["acme/none", "no `url`"]),
        (
            &["acme/unknown"],
            2,
            &["no repo `acme/unknown`", "acme/shop"],
        ),
        (&["acme/file"], 1, &["something stands at", "move it away"]),
        (
            &["acme/folder"],
            1,
            &["something stands at", "move it away"],
        ),
        (&["acme/held"], 1, &["failed to lock acme/held", "--wait"]),
        (
            &["acme/held", "--wait", "200ms"],
            1,
            &["failed to lock acme/held"],
        ),
    ];
    for (args, code, words) in cases {
        said(
            &world.treewarden(&[&["enroll"], args].concat()),
            code,
            words,
        );
    }
    let after = standing();
    same("the volume", &after.0, &before.0);
    assert_eq!(after.1, before.1);
    drop(lock);
    // A failed clone doesn't stop the others.
    said(
        &world.treewarden(&["enroll"]),
        1,
        &["enrolled acme/held", "failed to clone"],
    );
    assert_eq!(held.fsck(), "");
    let unprepared = World::unprepared();
    unprepared.enrol("acme/shop", "url: 'file:///x'");
    said(
        &unprepared.treewarden(&["enroll", "acme/shop"]),
        3,
        &["treewarden init"],
    );
}

#[test]
fn a_killed_clone_leaves_nothing_where_the_repo_is_to_stand() {
    let world = World::new();
    let (shop, origin) = unenrolled(&world, "acme/shop", "ssh://host/shop");
    // Too big for a pipe, and incompressible.
    let seed = Repo::clone(&world, "acme/seed");
    let mut random = fastrand::Rng::with_seed(7);
    write(
        &seed.path.join("big"),
        std::iter::repeat_with(|| random.u8(..))
            .take(3 << 20)
            .collect::<Vec<u8>>(),
    );
    seed.commit(1.0, "more", "x");
    seed.git(&["push", "-q", "--force", origin.to_str().unwrap(), "main"]);
    let begun = world.beside("begun");
    let text = format!(
        "git-upload-pack {} | (dd bs=1k count=1500 2>/dev/null; touch {}; sleep 60)",
        origin.display(),
        begun.display()
    );
    let stuck = script(&world, "stuck", &text);
    let whole = script(
        &world,
        "whole",
        &format!("exec git-upload-pack {}", origin.display()),
    );
    let [stuck, whole] = [stuck, whole].map(|path| path.to_str().unwrap().to_owned());
    let clone = |ssh: &str| {
        world.start_as(
            &[("GIT_SSH_COMMAND", ssh), ("GIT_SSH_VARIANT", "simple")],
            &["enroll", "acme/shop"],
        )
    };

    let mut killed = clone(&stuck);
    until("half of it is there", || begun.exists());
    killed.signal(Signal::KILL);
    assert_eq!(killed.end().code, 137);
    assert!(!shop.path.exists());
    assert_eq!(state_directory(&world), ["making-acme__shop"]);
    // Git and its children end with it: the lock is free, and nothing is still writing.
    until("the lock is free", || {
        world.try_hold("acme__shop").is_some()
    });
    until("its children are gone", || !runs(&origin));
    // A run clears what it left,
    world.pass(1, &["run"]);
    assert_eq!(state_directory(&world), [""; 0]);
    // and so does the next `enroll`. A signal that can be caught leaves nothing at all.
    remove(&begun);
    let mut killed = clone(&stuck);
    until("half of it is there again", || begun.exists());
    killed.signal(Signal::KILL);
    killed.end();
    until("the lock is free", || {
        world.try_hold("acme__shop").is_some()
    });
    remove(&begun);
    let mut ended = clone(&stuck);
    until("half of it is there once more", || begun.exists());
    ended.signal(Signal::TERM);
    said(&ended.end(), 4, &["a signal asked to stop"]);
    assert!(!shop.path.exists() && state_directory(&world).is_empty());
    for delay in [0, 5, 10, 20, 40, 60, 80, 100, 130, 160] {
        let mut killed = clone(&whole);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        killed.signal(Signal::KILL);
        killed.end();
        until("the lock is free", || {
            world.try_hold("acme__shop").is_some()
        });
        if shop.path.exists() {
            assert_eq!(
                (shop.fsck(), shop.git(&["status", "--porcelain"])),
                (String::new(), String::new()),
                "after {delay} ms"
            );
            remove(&shop.path);
        }
    }
    said(&clone(&whole).end(), 0, &["enrolled acme/shop"]);
    assert_eq!(
        (shop.fsck(), shop.git(&["status", "--porcelain"])),
        (String::new(), String::new())
    );
    assert_eq!(state_directory(&world), [""; 0]);
}

/// The words of `docs/design/contract.md#config`.
const CRYPT: &str = "encrypted files must not be edited from a worktree";

#[test]
fn a_git_crypt_repo_is_refused_before_it_stands() {
    let signs: [(&str, &str, &[u8]); 4] = [
        (
            "filter",
            ".gitattributes",
            b"*.key filter=git-crypt diff=git-crypt\n",
        ),
        (
            "nested",
            "deep/down/.gitattributes",
            b"secret diff=git-crypt\n",
        ),
        (
            "team",
            ".gitattributes",
            b"[attr]secret filter=git-crypt-team\n",
        ),
        ("blob", "config/secret", b"\0GITCRYPT\0nonce and so on"),
    ];
    let world = World::new();
    for (name, file, text) in signs {
        let name = format!("acme/{name}");
        let (repo, _) = origin(&world, &name, "file://ORIGIN");
        write(&repo.path.join(file), text);
        repo.commit(1.0, "plain", "x");
        repo.push();
        remove(&repo.path);
        said(&world.treewarden(&["enroll", &name]), 1, &[&name, CRYPT]);
        assert!(
            !repo.path.exists() && state_directory(&world).is_empty(),
            "{name}"
        );
    }
    // The same holds for a checkout cloned by hand, and for a run. The key's directory is a sign of
    // its own.
    let there = world.repo("acme/there");
    write(&there.git_dir("git-crypt/keys/default"), "key");
    let attributes = world.repo("acme/attributes");
    write(
        &attributes.git_dir("info/attributes"),
        "*.key filter=git-crypt\n",
    );
    for name in ["acme/there", "acme/attributes"] {
        said(&world.treewarden(&["enroll", name]), 1, &[name, CRYPT]);
        said(
            &world.treewarden(&["worktree", "add", name, "fix"]),
            1,
            &[name, CRYPT],
        );
        let report = world
            .treewarden(&["run", "--repo", name, "--format", "json"])
            .report();
        let row = report.repos.iter().find(|repo| repo.name == name).unwrap();
        assert!(
            row.reason.as_ref().is_some_and(|why| why.contains(CRYPT)),
            "{row:?}"
        );
    }
}

#[test]
fn a_repo_that_becomes_a_git_crypt_repo_is_refused_from_then_on() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let path = |tree: &str| world.at(format!("worktrees/acme__shop/{tree}"));
    said(
        &world.treewarden(&["worktree", "add", "acme/shop", "before"]),
        0,
        &[path("before").to_str().unwrap()],
    );
    // Somebody else encrypts the repo; this checkout doesn't know it yet.
    let other = Repo::clone(&world, "acme/other");
    other.git(&[
        "pull",
        "-q",
        "--allow-unrelated-histories",
        "--no-rebase",
        "-X",
        "theirs",
        shop.git(&["remote", "get-url", "origin"]).trim(),
        "main",
    ]);
    write(
        &other.path.join("sub/.gitattributes"),
        "*.key filter=git-crypt diff=git-crypt\n",
    );
    other.commit(0.0, "x", "x");
    other.git(&[
        "push",
        "-q",
        shop.git(&["remote", "get-url", "origin"]).trim(),
        "main",
    ]);
    assert_eq!(
        world.night().repos[0].outcome,
        treewarden::report::RepoOutcome::Maintained
    );
    said(
        &world.treewarden(&["worktree", "add", "acme/shop", "after"]),
        1,
        &["acme/shop", "sub/.gitattributes", CRYPT],
    );
    assert!(
        !path("after").exists()
            && shop.refs("refs/heads/after").is_empty()
            && state_directory(&world).is_empty()
    );
    let report = world.pass(1, &["run"]);
    assert!(
        report.repos[0]
            .reason
            .as_ref()
            .is_some_and(|why| why.contains(CRYPT)),
        "{:?}",
        report.repos[0]
    );
}

/// Starts a web server for one repo, by git's dumb protocol, that requires a name and a password.
pub(crate) fn serve(directory: PathBuf, password: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| answer(stream.unwrap(), &directory, password));
    });
    port
}

fn answer(mut stream: TcpStream, directory: &Path, password: &str) {
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .collect();
    let path = lines[0]
        .split(' ')
        .nth(1)
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .trim_start_matches("/shop.git/")
        .to_owned();
    let known = lines
        .iter()
        .any(|line| line.eq_ignore_ascii_case(&format!("authorization: Basic {password}")));
    let (status, body) = match std::fs::read(directory.join(path)) {
        _ if !known => (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
            Vec::new(),
        ),
        Err(_) => ("404 Not Found", Vec::new()),
        Ok(body) => ("200 OK", body),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .unwrap();
}

#[test]
fn a_secret_of_an_address_is_gits_alone() {
    let world = World::new();
    let (shop, origin) = unenrolled(&world, "acme/shop", "file://ORIGIN");
    git(&origin, 0.0, &["update-server-info"]);
    // me:SECRET
    let port = serve(origin.clone(), "bWU6U0VDUkVU");
    let with = |user: &str| format!("url: 'http://{user}127.0.0.1:{port}/shop.git'");
    let traces = || {
        let files = walkdir::WalkDir::new(&world.root)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file());
        let named = |path: &Path| {
            std::fs::read(path)
                .unwrap()
                .windows(6)
                .any(|bytes| bytes == b"SECRET" || bytes == b"WRONG!")
        };
        files
            .map(walkdir::DirEntry::into_path)
            .filter(|path| named(path))
            .collect::<Vec<_>>()
    };
    let quiet = |ran: &Ran| {
        assert!(
            ![&ran.out, &ran.err]
                .iter()
                .any(|text| text.contains("SECRET") || text.contains("WRONG!")),
            "{ran:?}"
        );
    };
    for wrong in ["me:WRONG!@", ""] {
        world.enrol("acme/shop", &with(wrong));
        let ran = world.treewarden(&["enroll", "acme/shop"]);
        said(&ran, 1, &["failed to clone http://127.0.0.1"]);
        quiet(&ran);
    }
    world.enrol("acme/shop", &with("me:SECRET@"));
    let ran = world.treewarden(&["enroll", "acme/shop"]);
    said(&ran, 0, &["enrolled acme/shop"]);
    quiet(&ran);
    assert_eq!(
        shop.git(&["remote", "get-url", "origin"]),
        format!("http://127.0.0.1:{port}/shop.git")
    );
    assert_eq!(
        (shop.fsck(), shop.git(&["status", "--porcelain"])),
        (String::new(), String::new())
    );
    // Fetching works too, also with a password from the caller's credential helper.
    let ran = world.treewarden(&["worktree", "add", "acme/shop", "one"]);
    said(&ran, 0, &["worktrees/acme__shop/one"]);
    quiet(&ran);
    world.enrol("acme/shop", &with(""));
    said(
        &world.treewarden(&["worktree", "add", "acme/shop", "two"]),
        1,
        &["failed to fetch acme/shop"],
    );
    write(
        &world.beside("home/.gitconfig"),
        "[credential]\n\thelper = \"!f() { echo username=me; echo password=SECRET; }; f\"\n",
    );
    let home = world.beside("home");
    let ran = world
        .start_as(
            &[("HOME", home.to_str().unwrap())],
            &["worktree", "add", "acme/shop", "two"],
        )
        .end();
    said(&ran, 0, &["worktrees/acme__shop/two"]);
    quiet(&ran);
    for typed in [
        &["report"][..],
        &["run"],
        &["check"],
        &["worktree", "list"],
        &["enroll"],
    ] {
        quiet(&world.treewarden(typed));
    }
    world.enrol("acme/shop", &with("me:SECRET@").replace("http:", "htp:"));
    let ran = world.treewarden(&["enroll", "acme/shop"]);
    said(&ran, 2, &["repos[0].url", "no address"]);
    quiet(&ran);
    assert_eq!(traces(), [""; 0].map(PathBuf::from));
}

#[test]
fn the_callers_filters_run_and_the_contents_do_not() {
    let world = World::new();
    let (shop, _) = origin(&world, "acme/shop", "file://ORIGIN");
    write(
        &shop.path.join(".gitattributes"),
        "*.up filter=upper\n*.evil filter=evil\n",
    );
    write(
        &shop.path.join(".gitmodules"),
        "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c 'touch canary'\n",
    );
    write(&shop.path.join("a.evil"), "text\n");
    shop.commit(1.0, "a.up", "text\n");
    shop.push();
    remove(&shop.path);
    let canary = world.beside("canary");
    let hook = format!("touch {}", canary.display());
    for name in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
    ] {
        script(&world, &format!("home/template/hooks/{name}"), &hook);
        script(&world, &format!("home/hooks/{name}"), &hook);
    }
    let home = world.beside("home");
    let config = format!(
        "[filter \"upper\"]\n\tsmudge = tr a-z A-Z\n\tclean = tr A-Z a-z\n[init]\n\ttemplateDir = {0}/template\n[core]\n\thooksPath = {0}/hooks\n\
         [submodule]\n\trecurse = true\n[clone]\n\tdefaultRemoteName = elsewhere\n",
        home.display()
    );
    write(&home.join(".gitconfig"), config);
    let run = |args: &[&str]| {
        world
            .start_as(
                &[("HOME", home.to_str().unwrap()), ("GIT_DIR", "/nowhere")],
                args,
            )
            .end()
    };
    said(&run(&["enroll", "acme/shop"]), 0, &["enrolled"]);
    said(&run(&["worktree", "add", "acme/shop", "fix"]), 0, &["fix"]);
    for directory in ["acme__shop", "worktrees/acme__shop/fix"] {
        let read = |name: &str| std::fs::read_to_string(world.at(directory).join(name)).unwrap();
        let found = ["a.up", "a.evil"]
            .map(|name| (name.to_owned(), read(name)))
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        same(
            directory,
            &found,
            &map(&[("a.up", "TEXT\n"), ("a.evil", "text\n")]),
        );
    }
    assert!(!canary.exists() && !world.at("acme__shop/.git/hooks").exists());
    assert_eq!(shop.git(&["remote"]), "origin");
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
#[ignore = "needs git-lfs"]
fn large_files_come_with_the_checkout_and_are_kept_for_the_next_tree() {
    let world = World::new();
    let (shop, origin) = origin(&world, "acme/shop", "file://ORIGIN");
    let home = world.beside("home");
    write(
        &home.join(".gitconfig"),
        "[user]\n\tname = a\n\temail = a@example.com\n",
    );
    let with_lfs = |directory: &Path, args: &[&str]| {
        let ran = world
            .start_program_as(
                &[("HOME", home.to_str().unwrap())],
                "git",
                &[&["-C", directory.to_str().unwrap()], args].concat(),
            )
            .end();
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    };
    with_lfs(&world.root, &["lfs", "install", "--skip-repo"]);
    write(
        &shop.path.join(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    );
    let mut random = fastrand::Rng::with_seed(7);
    let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(300_000)
        .collect();
    write(&shop.path.join("sub/large.bin"), &large);
    with_lfs(&shop.path, &["add", "-A"]);
    with_lfs(&shop.path, &["commit", "-q", "-m", "x"]);
    with_lfs(
        &shop.path,
        &["push", "-q", origin.to_str().unwrap(), "main"],
    );
    with_lfs(&shop.path, &["lfs", "push", "origin", "main"]);
    remove(&shop.path);
    let run = |args: &[&str]| {
        world
            .start_as(&[("HOME", home.to_str().unwrap())], args)
            .end()
    };
    said(&run(&["enroll", "acme/shop"]), 0, &["enrolled"]);
    assert!(std::fs::read(shop.path.join("sub/large.bin")).unwrap() == large);
    // `worktree add` needs no server.
    remove(&origin.join("lfs"));
    said(&run(&["worktree", "add", "acme/shop", "fix"]), 0, &["fix"]);
    assert!(std::fs::read(world.at("worktrees/acme__shop/fix/sub/large.bin")).unwrap() == large);
    with_lfs(&shop.path, &["diff-index", "--quiet", "HEAD"]);
    with_lfs(
        &world.at("worktrees/acme__shop/fix"),
        &["diff-index", "--quiet", "HEAD"],
    );

    // Nothing that an agent committed or left in the repo's store reaches anybody else's files:
    // neither a link in place of a large file, nor another server.
    let secret = world.beside("secret");
    write(
        &secret.join("lfs/objects/cd/cd").join("cd".repeat(32)),
        "the caller's own\n",
    );
    for (branch, digits, lfsconfig) in [
        ("link", "ab", String::new()),
        (
            "server",
            "cd",
            format!("[lfs]\n\turl = file://{}\n", secret.display()),
        ),
    ] {
        let oid = digits.repeat(32);
        let place = shop.git_dir(format!("lfs/objects/{digits}/{digits}/{oid}"));
        if branch == "link" {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(
                secret.join("lfs/objects/cd/cd").join("cd".repeat(32)),
                &place,
            )
            .unwrap();
        }
        write(
            &shop.path.join(".lfsconfig"),
            format!("{lfsconfig}[lfs]\n\tskipdownloaderrors = true\n"),
        );
        write(
            &shop.path.join("trap.bin"),
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 17\n"),
        );
        shop.git(&[
            "-c",
            "filter.lfs.clean=cat",
            "-c",
            "filter.lfs.process=",
            "checkout",
            "-q",
            "-B",
            branch,
        ]);
        shop.git(&[
            "-c",
            "filter.lfs.clean=cat",
            "-c",
            "filter.lfs.process=",
            "add",
            "-A",
        ]);
        shop.git(&[
            "-c",
            "filter.lfs.clean=cat",
            "-c",
            "filter.lfs.process=",
            "commit",
            "-q",
            "-m",
            branch,
        ]);
        shop.git(&[
            "-c",
            "filter.lfs.smudge=cat",
            "-c",
            "filter.lfs.process=",
            "checkout",
            "-q",
            "main",
        ]);
        let _whatever = run(&["worktree", "add", "acme/shop", branch]);
        let trap =
            std::fs::read_to_string(world.at(format!("worktrees/acme__shop/{branch}/trap.bin")))
                .unwrap_or_default();
        assert!(!trap.contains("the caller's own"), "{branch}: {trap}");
    }
}
