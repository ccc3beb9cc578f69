//! `treewarden rescue`, and rescues in later runs: contents are restored unchanged, nothing is
//! restored where it doesn't belong, and each rescue is kept for its time.

use super::support::forge::{raw_blob, raw_commit, refer};
use super::support::repo::{Repo, Tree};
use super::support::snapshot::{Standing, snapshot};
use super::support::{
    Ran, World, age, age_all, ago, fifo, git, git_bytes, map, remove, same, try_git, write,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use treewarden::report::{RunReport, TreeOutcome};

/// Returns what must be restored of a tree: kind, mode, size and content of everything in it,
/// except `.git` and `node_modules`.
fn work(top: &Path) -> BTreeMap<PathBuf, (&'static str, u32, u64, u64)> {
    let told = |seen: Standing| {
        (
            seen.kind,
            if seen.kind == "link" { 0 } else { seen.mode },
            seen.size,
            seen.content,
        )
    };
    let stays = |path: &Path| !path.starts_with(".git") && !path.starts_with("node_modules");
    snapshot(top)
        .into_iter()
        .filter(|(path, _)| stays(path))
        .map(|(path, seen)| (path, told(seen)))
        .collect()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Does what an owner may do in the days after; none of it may lose a rescue.
fn tidy(repo: &Repo<'_>) {
    git(&repo.path, 0.0, &["pack-refs", "--all", "--prune"]);
    git(
        &repo.path,
        0.0,
        &[
            "reflog",
            "expire",
            "--expire=now",
            "--expire-unreachable=now",
            "--all",
        ],
    );
    git(&repo.path, 0.0, &["worktree", "prune"]);
    git(&repo.path, 0.0, &["gc", "-q", "--prune=now"]);
}

fn json(world: &World, code: i32, arguments: &[&str]) -> Value {
    let ran = world.treewarden(&[arguments, &["--format", "json"]].concat());
    assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

fn list(world: &World) -> Vec<Value> {
    json(world, 0, &["rescue", "list"])["rescues"]
        .as_array()
        .unwrap()
        .clone()
}

/// Returns the beginning of the only rescue's commit id.
fn only(world: &World) -> String {
    let rescues = list(world);
    assert_eq!(rescues.len(), 1, "{rescues:?}");
    rescues[0]["commit"].as_str().unwrap()[..10].to_owned()
}

fn restore(world: &World, arguments: &[&str]) -> Ran {
    world.treewarden(&[&["rescue", "restore"], arguments].concat())
}

#[track_caller]
fn restored(world: &World, arguments: &[&str]) -> String {
    let ran = restore(world, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran.out
}

#[track_caller]
fn refused(world: &World, code: i32, arguments: &[&str], why: &str) {
    let ran = restore(world, arguments);
    assert!(
        ran.code == code && ran.err.contains(why),
        "{arguments:?}: {why}: {ran:?}"
    );
}

/// Makes a tree dirty in every way that can be rescued.
fn nasty(tree: &Tree) {
    let at = |name: &[u8]| tree.path.join(OsStr::from_bytes(name));
    let names: [&[u8]; 10] = [
        b"new\nline",
        b"caf\xe9/\xff",
        b"-rf",
        "größe/文.md".as_bytes(),
        b" spaces ",
        b"back\\slash",
        b"\"q\"",
        b"a:b",
        b".env",
        b"esc\x1b[2J",
    ];
    for name in names {
        write(&at(name), name);
    }
    write(&at(b"windows.txt"), "one\r\ntwo\r\n");
    write(&at(b"empty"), "");
    write(
        &at(b"binary"),
        (0..=255).cycle().take(300_000).collect::<Vec<u8>>(),
    );
    for (name, mode) in [
        (&b"script"[..], 0o755),
        (b"secret", 0o600),
        (b"fixed", 0o444),
        (b"odd", 0o641),
        (b"others", 0o707),
    ] {
        write(&at(name), name);
        chmod(&at(name), mode);
    }
    symlink("README.md", at(b"link")).unwrap();
    symlink("/nowhere/at/all", at(b"dangling")).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9"), at(b"odd-link")).unwrap();
    std::fs::create_dir_all(at(b"hollow/inner/most")).unwrap();
    chmod(&at(b"hollow/inner"), 0o2750);
    write(&at(b"private/file"), "mine\n");
    write(&at(b"README.md"), "edited\n");
    remove(&at(b"gone.ts"));
    // Staged in every way: new, changed since, removed from the index alone, added with intent, and
    // with flags that hide edits.
    write(&at(b"both.ts"), "staged\n");
    write(&at(b"new.ts"), "new\n");
    tree.git(&["add", "both.ts", "new.ts"]);
    write(&at(b"both.ts"), "and edited since\n");
    tree.git(&["rm", "-q", "--cached", "package.json"]);
    write(&at(b"intended.ts"), "will be added\n");
    tree.git(&["add", "-N", "intended.ts"]);
    write(&at(b"assumed.ts"), "edited unseen\n");
    tree.git(&["update-index", "--assume-unchanged", "assumed.ts"]);
    write(&at(b"skipped.ts"), "edited unseen\n");
    tree.git(&["update-index", "--skip-worktree", "skipped.ts"]);
    tree.write("node_modules/.package-lock.json", "{}");
    chmod(&at(b"private"), 0o500);
    chmod(&tree.path, 0o750);
}

/// Creates a repo with the files on `main` that [`nasty`] changes.
fn shop(world: &World) -> Repo<'_> {
    let shop = world.repo("acme/shop");
    write(&shop.path.join(".gitattributes"), "*.txt text eol=lf\n");
    for name in ["gone.ts", "assumed.ts", "skipped.ts"] {
        shop.commit(60.0, name, "committed\n");
    }
    shop.push();
    shop
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let world = World::new();
    let shop = shop(&world);
    let tree = shop.tree("work");
    tree.commit("mine.ts", "committed\n");
    // Detached, so that the branch's own reflog doesn't keep them.
    tree.git(&["checkout", "-q", "--detach"]);
    for n in 0..3 {
        tree.commit("lost.ts", &format!("{n}\n"));
        tree.git(&["reset", "-q", "--hard", "HEAD~1"]);
    }
    tree.git(&["checkout", "-q", "work"]);
    let lost: Vec<String> = tree
        .git(&["reflog", "--format=%H"])
        .lines()
        .map(str::to_owned)
        .collect();
    nasty(&tree);
    let status = [
        "status",
        "--porcelain=v2",
        "-z",
        "--branch",
        "--ignored",
        "--untracked-files=all",
    ];
    // The first `git status` refreshes the index; from then on the answer is the same.
    git_bytes(&tree.path, &status);
    tree.age(31.0);
    let said = |tree: &Path| {
        String::from_utf8_lossy(&git_bytes(tree, &status))
            .replace("! node_modules/.package-lock.json\0", "")
    };
    let (before, index) = (
        work(&tree.path),
        std::fs::read(tree.admin.join("index")).unwrap(),
    );
    let told = [
        tree.git(&["ls-files", "-s", "-v", "-t"]),
        tree.git(&["rev-parse", "HEAD"]),
        tree.git(&["diff", "--cached"]),
    ];
    std::fs::write(tree.admin.join("index"), &index).unwrap();
    tree.age_admin(31.0);

    assert_eq!(world.night().totals.rescued, 1);
    assert!(!tree.path.exists() && !tree.admin.exists());
    tidy(&shop);
    let out = restored(&world, &[&only(&world)]);
    assert!(!out.contains("detached"), "{out}");
    same("the tree", &work(&tree.path), &before);
    // Equal except for the extensions after the entries, which git regenerates.
    let back = std::fs::read(tree.admin.join("index")).unwrap();
    assert!(
        index.starts_with(&back[..back.len() - 20]) && back.len() > 500,
        "the index is another one"
    );
    assert_eq!(
        [
            tree.git(&["ls-files", "-s", "-v", "-t"]),
            tree.git(&["rev-parse", "HEAD"]),
            tree.git(&["diff", "--cached"])
        ],
        told
    );
    assert_eq!(tree.git(&["symbolic-ref", "HEAD"]), "refs/heads/work");
    let status = said(&tree.path);
    assert!(
        status.contains("? new\nline\0") && status.contains("# branch.head work\0"),
        "{status}"
    );
    // The commits that only its reflog reached are in its reflog again, and survive the owner's gc.
    git(
        &shop.path,
        0.0,
        &[
            "update-ref",
            "-d",
            list(&world)[0]["rescue_ref"].as_str().unwrap(),
        ],
    );
    git(&shop.path, 0.0, &["gc", "-q", "--prune=now"]);
    let reflog = tree.git(&["reflog", "--format=%H"]);
    for commit in lost {
        assert_eq!(
            try_git(&tree.path, 0.0, &["cat-file", "-e", &commit]).0,
            Some(0),
            "{commit} is lost: {reflog}"
        );
    }
    assert_eq!(shop.fsck(), "");
    let registered = shop.registered();
    assert_eq!(
        registered
            .get("worktrees/acme__shop/work")
            .map(String::as_str),
        Some("work"),
        "{registered:?}"
    );
    assert_eq!(
        std::fs::read_dir(world.at(".treewarden/trash"))
            .unwrap()
            .count(),
        0
    );
    assert!(!world.at(".treewarden/making-acme__shop").exists());
    // The next run takes the tree for what it is: somebody's work.
    same(
        "fates",
        &world.fates(&world.night()),
        &map(&[("acme/shop worktrees/acme__shop/work", "keep recent")]),
    );
}

#[test]
fn status_says_the_same_before_and_after() {
    let world = World::new();
    let shop = shop(&world);
    let tree = shop.tree("work");
    nasty(&tree);
    let status = |tree: &Path| {
        let said = git_bytes(
            tree,
            &[
                "status",
                "--porcelain=v2",
                "-z",
                "--branch",
                "--ignored",
                "--untracked-files=all",
            ],
        );
        String::from_utf8_lossy(&said).replace("! node_modules/.package-lock.json\0", "")
    };
    let before = status(&tree.path);
    tree.age(31.0);
    world.night();
    restored(
        &world,
        &[
            &only(&world),
            "--to",
            world.at("elsewhere/deep").to_str().unwrap(),
        ],
    );
    assert_eq!(status(&world.at("elsewhere/deep")), before);
}

#[test]
fn single_files_and_directories_come_back() {
    let world = World::new();
    let shop = shop(&world);
    let tree = shop.tree("work");
    nasty(&tree);
    tree.age(31.0);
    let before = work(&tree.path);
    world.night();
    tidy(&shop);
    let id = only(&world);
    let out = world.beside("out");
    let to = out.to_str().unwrap();
    // Into another directory, which stands in for the tree's top.
    restored(&world, &[&id, "script", "--to", to]);
    restored(&world, &[&id, "./hollow/", "--to", to]);
    restored(&world, &[&id, "dangling", "--to", to]);
    restored(
        &world,
        &[
            &id,
            tree.path.join("größe/文.md").to_str().unwrap(),
            "--to",
            to,
        ],
    );
    let expected = [
        "script",
        "hollow",
        "hollow/inner",
        "hollow/inner/most",
        "dangling",
        "größe",
        "größe/文.md",
    ];
    let part = |all: &BTreeMap<PathBuf, _>| -> BTreeMap<PathBuf, (&str, u32, u64, u64)> {
        all.iter()
            .filter(|(path, _)| expected.iter().any(|one| path.as_path() == Path::new(one)))
            .map(|(path, seen)| (path.clone(), *seen))
            .collect()
    };
    let found = work(&out)
        .into_iter()
        .filter(|(path, _)| !path.as_os_str().is_empty())
        .collect();
    same("some of it", &found, &part(&before));
    // Into the tree's own directory, if somebody has recreated it; nothing is registered for it.
    refused(&world, 1, &[&id, "both.ts"], "is gone: give --to DIR");
    std::fs::create_dir_all(&tree.path).unwrap();
    restored(&world, &[&id, "both.ts"]);
    assert_eq!(
        std::fs::read(tree.path.join("both.ts")).unwrap(),
        b"and edited since\n"
    );
    assert_eq!(shop.registered().len(), 1);
    // An identical file needs no restore. A different one is left alone, with all the others.
    assert!(restored(&world, &[&id, "both.ts"]).contains("0 files, 1 file stood there already"));
    write(&tree.path.join("both.ts"), "somebody's\n");
    refused(&world, 1, &[&id, "."], "`both.ts`");
    assert_eq!(std::fs::read_dir(&tree.path).unwrap().count(), 1);
    assert_eq!(
        std::fs::read(tree.path.join("both.ts")).unwrap(),
        b"somebody's\n"
    );
    restored(&world, &[&id, ".", "--force"]);
    let found = work(&tree.path)
        .into_iter()
        .filter(|(path, _)| !path.as_os_str().is_empty())
        .collect();
    same(
        "all files",
        &found,
        &before
            .into_iter()
            .filter(|(path, _)| !path.as_os_str().is_empty())
            .collect(),
    );
    // A directory in place of a file, or the reverse, is never replaced.
    remove(&tree.path.join("script"));
    write(&tree.path.join("script/inside"), "precious\n");
    refused(
        &world,
        1,
        &[&id, "script", "--force"],
        "a directory stands there",
    );
    remove(&tree.path.join("hollow"));
    write(&tree.path.join("hollow"), "precious\n");
    refused(
        &world,
        1,
        &[&id, "hollow", "--force"],
        "failed to restore `hollow`",
    );
    assert_eq!(
        std::fs::read(tree.path.join("hollow")).unwrap(),
        b"precious\n"
    );
    refused(&world, 1, &[&id, "no/such"], "it holds no `no/such`");
    refused(&world, 2, &[&id, "--force"], "PATH");
    refused(&world, 1, &[&id], "something stands there");
}

#[test]
fn no_link_in_the_way_is_followed() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("deep/er/file", "mine\n")
        .write("top", "mine\n")
        .age(31.0);
    world.night();
    let id = only(&world);
    let outside = world.beside("outside");
    write(&outside.join("er/keep"), "precious\n");
    write(&outside.join("top"), "precious\n");
    let before = snapshot(&outside);
    std::fs::create_dir_all(&tree.path).unwrap();
    symlink(&outside, tree.path.join("deep")).unwrap();
    symlink(outside.join("top"), tree.path.join("top")).unwrap();
    refused(
        &world,
        1,
        &[&id, "deep/er/file", "--force"],
        "symbolic link",
    );
    refused(&world, 1, &[&id, "deep", "--force"], "symbolic link");
    refused(&world, 1, &[&id, "top"], "`top`");
    restored(&world, &[&id, "top", "--force"]);
    assert!(
        tree.path.join("top").symlink_metadata().unwrap().is_file(),
        "the link itself is replaced"
    );
    // A link in place of the tree isn't followed either.
    remove(&tree.path);
    symlink(&outside, &tree.path).unwrap();
    refused(&world, 1, &[&id, "top"], "symbolic link");
    refused(&world, 1, &[&id], "something stands there");
    same("outside", &snapshot(&outside), &before);
}

#[test]
fn a_branch_is_given_back_only_where_it_is_free() {
    type State<'a> = (&'a str, &'a dyn Fn(&Tree), &'a str, &'a str);
    let world = World::new();
    let shop = world.repo("acme/shop");
    let states: [State<'_>; 6] = [
        ("free", &|_| {}, "free", ""),
        (
            "gone",
            &|_| drop(shop.git(&["branch", "-q", "-D", "gone"])),
            "detached",
            "its branch is gone; `git switch -c gone`",
        ),
        (
            "moved",
            &|_| drop(shop.git(&["branch", "-q", "-f", "moved", "main"])),
            "detached",
            "the branch moved has moved on",
        ),
        (
            "taken",
            &|_| drop(shop.git(&["checkout", "-q", "taken"])),
            "detached",
            "the branch taken is checked out elsewhere",
        ),
        (
            "rebased",
            &|_| {
                write(
                    &shop.git_dir("rebase-merge/head-name"),
                    "refs/heads/rebased\n",
                );
            },
            "detached",
            "the branch rebased is checked out",
        ),
        (
            "packed",
            &|_| drop(shop.git(&["pack-refs", "--all"])),
            "packed",
            "",
        ),
    ];
    for (name, ..) in &states {
        let tree = shop.tree(name);
        tree.commit("mine.ts", name)
            .write("dirty.ts", name)
            .age(31.0);
    }
    let detached = shop.detached("detached");
    detached
        .commit("mine.ts", "detached")
        .write("dirty.ts", "detached")
        .age(31.0);
    assert_eq!(world.night().totals.rescued, 7);
    let id = |name: &str| {
        list(&world)
            .iter()
            .find(|row| row["worktree"] == name)
            .unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (name, change, head, note) in &states {
        let tree = world.at(format!("worktrees/acme__shop/{name}"));
        change(&Tree {
            path: tree.clone(),
            admin: tree.clone(),
        });
        let out = restored(&world, &[&id(name)]);
        assert!(
            if note.is_empty() {
                out.lines().count() == 1
            } else {
                out.contains(note)
            },
            "{name}: {out}"
        );
        let (_, on, _) = try_git(&tree, 0.0, &["symbolic-ref", "--short", "HEAD"]);
        assert_eq!(
            if on.is_empty() { "detached" } else { &on },
            *head,
            "{name}"
        );
        assert_eq!(git(&tree, 0.0, &["show", "HEAD:mine.ts"]), *name);
        assert_eq!(
            git(&tree, 0.0, &["status", "--porcelain"]),
            "?? dirty.ts",
            "{name}"
        );
        if *name == "rebased" {
            remove(&shop.git_dir("rebase-merge"));
        }
    }
    let out = restored(&world, &[&id("detached")]);
    assert_eq!(out.lines().count(), 1, "{out}");
    assert_eq!(
        git(&detached.path, 0.0, &["show", "HEAD:mine.ts"]),
        "detached"
    );
    assert_eq!(shop.fsck(), "");
}

#[test]
fn places_that_are_taken_are_refused() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    let shop = world.repo("acme/shop");
    world.repo("acme/web");
    shop.tree("work").write("new.ts", "new\n").age(31.0);
    world.night();
    let id = only(&world);
    let before = snapshot(&world.root);
    let at = |path: &str| world.at(path).to_str().unwrap().to_owned();
    for (to, why) in [
        (
            world.beside("outside").to_str().unwrap().to_owned(),
            "outside the volume",
        ),
        (at("../outside"), "outside the volume"),
        (at(""), "outside the volume"),
        (at(".treewarden/trash/x"), "the place of `.treewarden`"),
        (at("acme__web/x"), "the place of `acme__web`"),
        (at("acme__shop"), "the place of `acme__shop`"),
        (at("caches/models/x"), "the place of `caches/models`"),
        (at("acme__shop/.git/x"), "the place of `acme__shop/.git`"),
        (at("acme__shop/.gitignore"), "something stands there"),
        (at("worktrees"), "something stands there"),
        (at("acme__shop/README.md/x"), "failed to"),
    ] {
        refused(&world, 1, &[&id, "--to", &to], why);
    }
    let changed = |path: &PathBuf| {
        !path.starts_with(".treewarden/locks") && !path.starts_with(".treewarden/trash")
    };
    let after = snapshot(&world.root);
    let without = |all: BTreeMap<PathBuf, Standing>| {
        all.into_iter()
            .filter(|(path, seen)| changed(path) && seen.kind != "folder")
            .collect()
    };
    same("the volume", &without(after), &without(before));
    // A registration without its tree: git would not add another one either.
    write(
        &shop.git_dir("worktrees/half/gitdir"),
        format!("{}/.git\n", at("worktrees/acme__shop/work")),
    );
    refused(&world, 1, &[&id], "is registered for it already");
    remove(&shop.git_dir("worktrees/half"));
    // If somebody works in the repo, listing works, but restoring doesn't.
    let agent = world.hold("acme__shop");
    refused(&world, 1, &[&id], "failed to lock acme/shop: held by");
    assert_eq!(only(&world), id);
    drop(agent);
    // An empty directory may be used, and a name that is already registered gets a number.
    std::fs::create_dir(world.at("acme__shop/half")).unwrap();
    write(&shop.git_dir("worktrees/half/gitdir"), "/nowhere/.git\n");
    restored(&world, &[&id, "--to", &at("acme__shop/half")]);
    assert!(shop.git_dir("worktrees/half1").exists());
}

#[test]
fn ids_are_never_guessed() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["one", "two"] {
        shop.tree(name).write("new.ts", name).age(31.0);
    }
    world.night();
    let rescues = list(&world);
    let look = |id: &str| world.treewarden(&["rescue", "show", id]);
    for row in &rescues {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        for id in [
            text("id"),
            text("rescue_ref"),
            text("commit"),
            text("commit")[..10].to_uppercase(),
            text("id").replace("acme/shop:", ""),
        ] {
            let ran = look(&id);
            assert!(
                ran.code == 0 && ran.out.starts_with(&text("id")),
                "{id}: {ran:?}"
            );
        }
    }
    let (one, two) = (
        rescues[0]["commit"].as_str().unwrap(),
        rescues[1]["rescue_ref"].as_str().unwrap(),
    );
    // The same commit under a second name is ambiguous.
    git(&shop.path, 0.0, &["update-ref", &format!("{two}-9"), one]);
    let ran = look(&one[..10]);
    assert!(
        ran.code == 2 && ran.err.contains("give more of it"),
        "{ran:?}"
    );
    for unknown in [
        "",
        "one",
        "abc",
        "0000000000",
        "acme/shop:",
        "acme/none:one/20260101T000000Z",
        "refs/heads/main",
    ] {
        let ran = look(unknown);
        assert!(
            ran.code == 2 && ran.err.contains("there is no rescue"),
            "{unknown}: {ran:?}"
        );
    }
}

#[test]
fn list_and_show_tell_what_is_in_it() {
    let world = World::new();
    let shop = shop(&world);
    let tree = shop.tree("work");
    tree.git(&["checkout", "-q", "--detach"]);
    tree.commit("lonely.ts", "1\n");
    tree.git(&["checkout", "-q", "work"]);
    nasty(&tree);
    tree.age(31.0);
    let head = tree.git(&["rev-parse", "HEAD"]);
    let empty = world.treewarden(&["rescue", "list"]);
    assert_eq!((empty.code, empty.out.as_str()), (0, "No rescues.\n"));
    world.night();
    let before = snapshot(&world.root);
    let row = &list(&world)[0];
    let text = |key: &str| row[key].as_str().unwrap().to_owned();
    assert_eq!(
        [text("repo"), text("worktree"), text("branch"), text("head")],
        ["acme/shop", "work", "work", &head]
    );
    assert_eq!(
        (text("path"), text("stands")),
        (
            tree.path.display().to_string(),
            "expires in 4 weeks".to_owned()
        )
    );
    assert_eq!(
        text("id"),
        text("rescue_ref").replace("refs/treewarden/rescue/", "acme/shop:")
    );
    assert!(
        row["bytes"].as_u64().unwrap() > 300_000 && row["files"].as_u64().unwrap() > 20,
        "{row}"
    );
    let shown = json(&world, 0, &["rescue", "show", &text("id")]);
    let changes: BTreeMap<String, String> = shown["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["path"].as_str().unwrap().to_owned(),
                change["status"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let some = [
        ("README.md", "M"),
        ("gone.ts", "D"),
        ("both.ts", "A"),
        ("intended.ts", "A"),
        ("assumed.ts", "M"),
        (".env", "?"),
        ("link", "?"),
        ("new\nline", "?"),
        ("caf\u{fffd}/\u{fffd}", "?"),
    ];
    let found = changes
        .iter()
        .filter(|(path, _)| some.iter().any(|(one, _)| one == path))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    same("changes", &found, &map(&some));
    assert_eq!(
        shown["staged"],
        serde_json::json!(["both.ts", "intended.ts"])
    );
    let commits = shown["commits"].as_array().unwrap();
    assert!(
        commits.len() == 1 && commits[0]["subject"] == "Work on lonely.ts",
        "{commits:?}"
    );
    for ran in [
        world.treewarden(&["rescue", "list"]),
        world.treewarden(&["rescue", "show", &text("id")]),
    ] {
        assert!(
            ran.code == 0 && !ran.out.chars().any(|c| c.is_control() && c != '\n'),
            "{ran:?}"
        );
    }
    assert!(
        world
            .treewarden(&["rescue", "show", &text("id")])
            .out
            .contains("esc\\u{1b}[2J")
    );
    same("the volume", &snapshot(&world.root), &before);
    assert_eq!(
        world
            .treewarden(&["rescue", "list", "--repo", "acme/none"])
            .code,
        2
    );
}

/// Copies a rescue, as if it had been made so many days ago.
fn aged(repo: &Repo<'_>, rescue: &str, name: &str, days: f64) -> String {
    let ids = repo.git(&[
        "rev-parse",
        &format!("{rescue}^1"),
        &format!("{rescue}^2"),
        &format!("{rescue}^{{tree}}"),
    ]);
    let ids: Vec<&str> = ids.lines().collect();
    let at = ago(days).into();
    refer(repo, name, at, &raw_commit(repo, at, &ids[..2], ids[2]))
}

fn expired(report: &RunReport) -> BTreeMap<String, String> {
    let all = report.repos.iter().flat_map(|repo| &repo.rescues.expired);
    all.map(|rescue| {
        (
            rescue.rescue_ref.clone(),
            serde_json::to_string(&rescue.because)
                .unwrap()
                .replace('"', ""),
        )
    })
    .collect()
}

/// The volume exceeds its budget by less than an old rescue's size, so only the rescue is dropped.
#[test]
fn an_expired_rescue_goes_before_any_cache() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("large");
    // Incompressible.
    let noise: Vec<u8> = (0..3_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) ^ (n / 7).wrapping_mul(40_503)).to_le_bytes()[2])
        .collect();
    write(&tree.path.join("work.bin"), &noise);
    tree.age(40.0);
    let made = world
        .night()
        .worktrees()
        .find_map(|row| row.rescue_ref.clone())
        .unwrap();
    let old = aged(&shop, &made, "large", 31.0);
    shop.git(&["update-ref", "-d", &made]);
    let blob = shop.git(&["rev-parse", &format!("{old}:work.bin")]);
    // All objects, because those that an unreachable young object reaches are in its grace.
    age_all(&shop.git_dir("objects"), 31.0);
    let unit = world.at("caches/models/old");
    write(&unit, vec![b'x'; 2 << 20]);
    age(&unit, 99.0);
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() - (1 << 20)),
    );
    let before = snapshot(&world.root);
    let dry = world.pass(0, &["report"]);
    same("after a report", &snapshot(&world.root), &before);
    for report in [dry, world.night()] {
        assert_eq!(expired(&report).len(), 1);
        assert!(!report.eviction.triggered, "{:?}", report.eviction);
    }
    assert!(unit.exists() && shop.refs("refs/treewarden").is_empty());
    assert_ne!(
        try_git(&shop.path, 0.0, &["cat-file", "-e", &blob]).0,
        Some(0),
        "what it held is gone"
    );
    assert_eq!(shop.fsck(), "");
    // From now on nothing more is evicted.
    assert!(!world.night().eviction.triggered);
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn rescues_stand_for_their_time() {
    let world = World::new();
    world.set(
        "defaults",
        "worktrees: {rescue_keep: 20d, rescue_max: 1KiB, rescue_budget: 10KiB}",
    );
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("work.ts", &"x".repeat(1000)).age(31.0);
    let report = world.night();
    let made = report
        .worktrees()
        .find(|row| row.path == tree.path)
        .unwrap()
        .rescue_ref
        .clone()
        .unwrap();
    assert_eq!(expired(&report), BTreeMap::new());
    // The newest ten fit into the budget, including the one just made.
    let mut refs: Vec<String> = (1..=12)
        .map(|n| aged(&shop, &made, &format!("t{n}"), f64::from(n)))
        .collect();
    let ancient = aged(&shop, &made, "ancient", 20.01);
    let odd = [
        "refs/treewarden/rescue/odd/20200101T000000Z",
        "refs/treewarden/rescue/nonsense",
        "refs/treewarden/rescue/odd/tomorrow",
    ];
    for name in odd {
        shop.git(&["update-ref", name, &made]);
    }
    let tomorrow = aged(&shop, &made, "tomorrow", -2.0);
    shop.git(&[
        "symbolic-ref",
        "refs/treewarden/rescue/link/20200101T000000Z",
        "refs/heads/main",
    ]);
    let long_ago = ago(50.0).into();
    let no_rescue = refer(
        &shop,
        "commit",
        long_ago,
        &raw_commit(
            &shop,
            long_ago,
            &[],
            &shop.git(&["rev-parse", "main^{tree}"]),
        ),
    );
    shop.git(&["pack-refs", "--all", "--prune"]);
    let going = refs.split_off(9);
    let mut expected: BTreeMap<String, String> = going
        .iter()
        .map(|name| (name.clone(), "budget".to_owned()))
        .collect();
    expected.insert(ancient.clone(), "age".to_owned());
    let stay: Vec<String> = refs
        .into_iter()
        .chain(odd.map(str::to_owned))
        .chain([tomorrow, no_rescue, made])
        .collect();

    let before = shop.refs("refs");
    same(
        "a dry run",
        &expired(&world.pass(0, &["report"])),
        &expected,
    );
    same(
        "without reaping",
        &expired(&world.pass(0, &["run", "--only", "prune,gc"])),
        &BTreeMap::new(),
    );
    same("refs", &shop.refs("refs"), &before);
    let dry = world.treewarden(&["report"]).out;
    assert!(
        dry.contains("Old rescues to be dropped: 4 (of 3.9 KiB)")
            && dry.contains("acme/shop  ancient/"),
        "{dry}"
    );
    // Somebody may be at work in the repo.
    shop.set("busy_probe: [\"true\"]");
    same("a busy repo", &expired(&world.night()), &BTreeMap::new());
    shop.set("");
    let report = world.night();
    same("a night", &expired(&report), &expected);
    let gone: Vec<&str> = report.repos[0]
        .rescues
        .expired
        .iter()
        .map(|rescue| rescue.rescue_ref.as_str())
        .collect();
    assert_eq!(
        gone[..2],
        [ancient.as_str(), going[2].as_str()],
        "the oldest first"
    );
    let left = shop.refs("refs/treewarden/rescue");
    for name in &stay {
        assert!(left.contains_key(name), "{name} is gone");
    }
    assert_eq!(left.len(), stay.len() + 1, "{left:?}");
    same("the next run", &expired(&world.night()), &BTreeMap::new());
    assert_eq!(shop.fsck(), "");
    let stands: Vec<String> = list(&world)
        .iter()
        .map(|row| row["stands"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        stands
            .iter()
            .filter(|stands| stands.ends_with(": stays for good"))
            .count(),
        6,
        "{stands:?}"
    );
}

#[test]
fn a_tree_that_can_not_go_leaves_one_rescue() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("new.ts", "new\n").age(31.0);
    // The probe runs twice per run. The second time it removes the trash, so the tree can't be
    // reaped.
    let (count, trash) = (world.beside("asked"), world.at(".treewarden/trash"));
    let probe = format!(
        "if [ -e {0} ]; then rm {0}; rmdir {1}; else touch {0}; fi; exit 1",
        count.display(),
        trash.display()
    );
    shop.set(&format!("busy_probe: [sh, -c, '{probe}']"));
    let mut names = Vec::new();
    for _ in 0..3 {
        let report = world.pass(1, &["run"]);
        let row = report
            .worktrees()
            .find(|row| row.path == tree.path)
            .unwrap();
        assert!(matches!(row.outcome, TreeOutcome::Failed(_)), "{row:?}");
        let refs: Vec<String> = shop.refs("refs/treewarden/rescue").into_keys().collect();
        assert_eq!(refs.len(), 1, "{refs:?}");
        names.extend(refs);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    names.dedup();
    assert_eq!(names.len(), 3, "the newest stands: {names:?}");
    // Different work makes a different rescue.
    tree.write("new.ts", "newer\n").age(31.0);
    world.pass(1, &["run"]);
    assert_eq!(shop.refs("refs/treewarden/rescue").len(), 2);
    shop.set("");
    world.night();
    assert_eq!(shop.refs("refs/treewarden/rescue").len(), 2);
    assert!(!tree.path.exists());
}

#[test]
fn a_tree_that_goes_back_takes_its_rescue_along() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("new.ts", "new\n").age(31.0);
    let before = work(&tree.path);
    let (count, locked) = (world.beside("asked"), tree.admin.join("locked"));
    let probe = format!(
        "if [ -e {0} ]; then touch {1}; else touch {0}; fi; exit 1",
        count.display(),
        locked.display()
    );
    shop.set(&format!("busy_probe: [sh, -c, '{probe}']"));
    let report = world.night();
    same(
        "fates",
        &world.fates(&report),
        &map(&[("acme/shop worktrees/acme__shop/work", "spared unsaved busy")]),
    );
    same("the tree", &work(&tree.path), &before);
    assert_eq!(shop.refs("refs/treewarden"), BTreeMap::new());
}

#[test]
fn what_a_rescue_can_not_hold_keeps_the_tree() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let with = |name: &str, change: &dyn Fn(&Tree)| {
        let tree = shop.tree(name);
        tree.write("new.ts", "new\n");
        change(&tree);
        tree.age(31.0);
    };
    with("fifo", &|tree| fifo(&tree.path.join("pipe")));
    with("socket", &|tree| {
        drop(std::os::unix::net::UnixListener::bind(tree.path.join("s")).unwrap());
    });
    with("nested", &|tree| {
        drop(git(&tree.path, 60.0, &["init", "-q", "inner"]));
    });
    with("unmerged", &|tree| {
        let [a, b] = ["1\n", "2\n"].map(|text| raw_blob(&shop, text.as_bytes()));
        let info = world.beside("info");
        write(&info, format!("100644 {a} 1\tc.ts\n100644 {b} 3\tc.ts\n"));
        let command = format!("git update-index --index-info < {}", info.display());
        git(
            &tree.path,
            60.0,
            &["-c", &format!("alias.x=!{command}"), "x"],
        );
    });
    let report = world.night();
    let expected: Vec<(String, String)> = ["fifo", "socket", "nested", "unmerged"]
        .map(|name| {
            (
                format!("acme/shop worktrees/acme__shop/{name}"),
                "keep unsaved can't be rescued".to_owned(),
            )
        })
        .into();
    same(
        "fates",
        &world.fates(&report),
        &expected.into_iter().collect(),
    );
    assert_eq!(shop.refs("refs/treewarden"), BTreeMap::new());
    for tree in report.worktrees() {
        assert!(
            !tree.reasons[0].is_empty() && tree.path.join("new.ts").exists(),
            "{tree:?}"
        );
    }
}

/// Resolves the conflict of a popped stash: the index remembers the three versions, and nothing
/// else has the stash's version any more.
fn resolved(tree: &Tree) -> String {
    tree.write("shared.ts", "stashed\n").git(&["stash", "-q"]);
    tree.commit("shared.ts", "meanwhile\n");
    let (code, ..) = try_git(&tree.path, 60.0, &["stash", "pop", "-q"]);
    assert_eq!(code, Some(1), "there is no conflict");
    tree.write("shared.ts", "both\n").git(&["add", "shared.ts"]);
    tree.git(&["stash", "drop", "-q"]);
    let listed = tree.git(&["ls-files", "--resolve-undo"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    tree.write("later.ts", "new\n")
        .git(&["add", "-N", "later.ts"]);
    tree.git(&["write-tree"]);
    listed
}

#[test]
fn what_the_index_remembers_of_resolved_conflicts_comes_back_and_git_is_content() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.commit(60.0, "shared.ts", "base\n");
    shop.push();
    let tree = shop.tree("work");
    let listed = resolved(&tree);
    tree.age(31.0);
    let before = work(&tree.path);
    world.night();
    assert!(!tree.path.exists());
    tidy(&shop);
    let id = only(&world);
    restored(&world, &[&id]);
    tidy(&shop);
    same("the work", &work(&tree.path), &before);
    assert_eq!(tree.git(&["ls-files", "--resolve-undo"]), listed);
    assert_eq!(
        tree.git(&["show", &listed.lines().nth(2).unwrap()[7..47]]),
        "stashed"
    );
    for arguments in [
        &["fsck", "--full", "--no-progress"][..],
        &["gc", "-q", "--prune=now"],
        &["status"],
        &["fsck", "--full", "--no-progress"],
    ] {
        let (code, _, said) = try_git(&tree.path, 0.0, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    assert_eq!(tree.git(&["ls-files", "--resolve-undo"]), listed);
    // A rescue by an earlier version lacks these objects, so the restored index doesn't name them.
    let older = raw_older(&shop, &list(&world)[0]);
    for (name, _) in shop.refs("refs/treewarden") {
        shop.git(&["update-ref", "-d", &name]);
    }
    shop.git(&["worktree", "remove", "--force", tree.path.to_str().unwrap()]);
    shop.git(&["update-ref", &older.0, &older.1]);
    tidy(&shop);
    restored(&world, &[&older.1[..10]]);
    assert_eq!(tree.git(&["ls-files", "--resolve-undo"]), "");
    for arguments in [
        &["fsck", "--full", "--no-progress"][..],
        &["gc", "-q", "--prune=now"],
    ] {
        let (code, _, said) = try_git(&tree.path, 0.0, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
}

/// Returns the same rescue as earlier versions made it: its ref and its commit.
fn raw_older(shop: &Repo<'_>, rescue: &Value) -> (String, String) {
    let commit = rescue["commit"].as_str().unwrap();
    let extras = shop.git(&["ls-tree", &format!("{commit}^2")]);
    let fewer: Vec<&str> = extras
        .lines()
        .filter(|line| !line.contains("\tresolved"))
        .collect();
    let fewer = fewer.join("\n") + "\n";
    assert_ne!(
        fewer.trim_end(),
        extras.trim_end(),
        "nothing of it was held"
    );
    let list = shop.world.beside("tree-list");
    write(&list, fewer);
    let tree = shop
        .world
        .program(
            "sh",
            &[
                "-c",
                &format!(
                    "cd '{}' && git mktree <'{}'",
                    shop.path.display(),
                    list.display()
                ),
            ],
        )
        .out;
    let time = shop.git(&["show", "-s", "--format=%ct", commit]);
    let at = chrono::DateTime::from_timestamp(time.trim().parse().unwrap(), 0).unwrap();
    let raw = |tree: &str, parents: &[&str]| raw_commit(shop, at, parents, tree.trim_end());
    let second = raw(&tree, &[]);
    let head = shop.git(&["rev-parse", &format!("{commit}^1")]);
    let whole = raw(
        &shop.git(&["rev-parse", &format!("{commit}^{{tree}}")]),
        &[&head, &second],
    );
    (rescue["rescue_ref"].as_str().unwrap().to_owned(), whole)
}

#[test]
fn files_of_a_tree_that_is_gone_want_a_place() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("new.ts", "new\n").age(31.0);
    world.night();
    let id = only(&world);
    refused(&world, 1, &[&id, "new.ts"], "is gone: give --to DIR");
    assert!(!tree.path.exists(), "not even an empty directory");
    restored(
        &world,
        &[
            &id,
            "new.ts",
            "--to",
            world.beside("there").to_str().unwrap(),
        ],
    );
    assert!(world.beside("there/new.ts").exists());
}

#[test]
fn a_large_file_takes_no_memory_on_its_way_there_and_back() {
    const SIZE: usize = 32 << 20;
    let world = World::new();
    world.set("defaults", "worktrees: {rescue_max: 1GiB}");
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    // Compressible content is written quickly, but takes its full size if held in memory.
    write(&tree.path.join("model.bin"), vec![b'x'; SIZE]);
    tree.age(31.0);
    let peak = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_treewarden");
        let script = format!(
            "{program} {arguments} >/dev/null & pid=$!; peak=0; while read -r _ kb _ < <(grep VmHWM /proc/$pid/status 2>/dev/null); do peak=$kb; sleep 0.02; done; wait $pid; echo $peak"
        );
        let ran = world.program("bash", &["-c", &script]);
        ran.out
            .trim()
            .parse::<usize>()
            .unwrap_or_else(|_| panic!("{ran:?}"))
            >> 10
    };
    let night = peak("run");
    assert!(!tree.path.exists());
    let id = only(&world);
    let back = peak(&format!("rescue restore {id}"));
    shop.git(&["worktree", "remove", "--force", tree.path.to_str().unwrap()]);
    git(&shop.path, 0.0, &["repack", "-q", "-a", "-d"]);
    let packed = peak(&format!("rescue restore {id}"));
    println!("MiB at most: {night} to rescue, {back} to restore, {packed} from a pack");
    assert_eq!(
        std::fs::metadata(tree.path.join("model.bin"))
            .unwrap()
            .len(),
        SIZE as u64
    );
    assert!(
        night < 48 && back < 40 && packed < 40,
        "MiB: {night} to rescue, {back} to restore, {packed} from a pack"
    );
}

#[test]
fn a_patch_brings_the_files_back() {
    let world = World::new();
    let shop = shop(&world);
    let tree = shop.tree("nasty");
    nasty(&tree);
    tree.age(31.0);
    world.night();
    let id = only(&world);
    let before = snapshot(&world.root);
    let program = env!("CARGO_BIN_EXE_treewarden");
    let patch = world.beside("work.patch");
    let typed = format!(
        "exec {program} rescue show {id} --patch >{}",
        patch.display()
    );
    let ran = world.program("sh", &["-c", &typed]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    same("the volume", &snapshot(&world.root), &before);
    // Applied to what was checked out, it is the very tree that was rescued.
    let at = world.beside("again");
    let head = git(&shop.path, 0.0, &["rev-parse", &format!("{id}^1")]);
    git(
        &shop.path,
        0.0,
        &[
            "worktree",
            "add",
            "-q",
            "--detach",
            at.to_str().unwrap(),
            head.trim(),
        ],
    );
    let apply = [
        "apply",
        "--cached",
        "--whitespace=nowarn",
        patch.to_str().unwrap(),
    ];
    git(&at, 0.0, &apply);
    let written = git(&at, 0.0, &["write-tree"]);
    assert_eq!(
        written,
        git(&at, 0.0, &["rev-parse", &format!("{id}^{{tree}}")])
    );
    // A reader that has seen enough is no failure.
    let typed = format!("{program} rescue show {id} --patch | head -c 1");
    let ran = world.program("sh", &["-c", &typed]);
    assert!(
        ran.code == 0 && ran.out == "d" && ran.err.is_empty(),
        "{ran:?}"
    );
    let ran = world.treewarden(&["rescue", "show", &id, "--patch", "--format", "json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
