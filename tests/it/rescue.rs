//! The contents of a rescue: every byte, bit and commit that would be lost with the tree, for as
//! long as its ref exists.

use super::support::made::npm;
use super::support::repo::{Repo, Tree};
use super::support::{World, git, git_bytes, map, remove, same, try_git, write};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use treewarden::report::{Class, RunReport, TreeOutcome};

/// Every file's git mode, and its content or link target, by path.
type Files = BTreeMap<PathBuf, (String, Vec<u8>)>;

fn standing(top: &Path) -> Files {
    let mut files = Files::new();
    for entry in walkdir::WalkDir::new(top)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "node_modules")
        .map(Result::unwrap)
    {
        let path = entry.path().strip_prefix(top).unwrap().to_owned();
        if entry.file_type().is_symlink() {
            files.insert(
                path,
                (
                    "120000".into(),
                    std::fs::read_link(entry.path())
                        .unwrap()
                        .into_os_string()
                        .into_vec(),
                ),
            );
        } else if entry.file_type().is_file() && path != Path::new(".git") {
            let exec = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let mode = if exec { "100755" } else { "100644" };
            files.insert(path, (mode.into(), std::fs::read(entry.path()).unwrap()));
        }
    }
    files
}

/// Returns everything in a commit or tree, read by the real git.
fn stored(repo: &Repo<'_>, tree: &str) -> Files {
    let list = git_bytes(&repo.path, &["ls-tree", "-r", "-z", tree]);
    let entries = list
        .split(|&byte| byte == 0)
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let tab = entry.iter().position(|&byte| byte == b'\t').unwrap();
            let words: Vec<&str> = std::str::from_utf8(&entry[..tab])
                .unwrap()
                .split(' ')
                .collect();
            let content = git_bytes(&repo.path, &["cat-file", "blob", words[2]]);
            (
                PathBuf::from(OsStr::from_bytes(&entry[tab + 1..])),
                (words[0].to_owned(), content),
            )
        })
        .collect()
}

fn rescue_of(report: &RunReport, tree: &Tree) -> String {
    let row = report
        .worktrees()
        .find(|row| row.path == tree.path)
        .unwrap();
    assert_eq!(
        (row.outcome.clone(), row.class),
        (TreeOutcome::Reaped, Some(Class::Unsaved)),
        "{row:?}"
    );
    row.rescue_ref.clone().unwrap()
}

/// Does what an owner may do in the days after; none of it may lose a rescue.
fn tidy(repo: &Repo<'_>) {
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

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn every_byte_is_held() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // Git's conversions on the way into a commit must not happen to these files.
    write(
        &shop.path.join(".gitattributes"),
        "*.txt text eol=lf\n*.id ident\n",
    );
    shop.commit(60.0, "gone.ts", "deleted later\n");
    shop.push();
    let tree = shop.tree("work");
    tree.commit("mine.ts", "committed\n");
    let at = |name: &[u8]| tree.path.join(OsStr::from_bytes(name));
    write(&at(b"README.md"), "edited\n");
    remove(&at(b"gone.ts"));
    for name in [
        &b"new\nline"[..],
        b"caf\xe9",
        b"-rf",
        "größe/文.md".as_bytes(),
        b" spaces ",
        b"back\\slash",
        b"\"quoted\"",
        b"a:b",
        b".env",
        b"deep/.env",
    ] {
        write(&at(name), name);
    }
    write(&at(b"windows.txt"), "one\r\ntwo\r\n");
    write(&at(b"keyword.id"), "$Id$ $Id: kept $\n");
    write(&at(b"empty"), "");
    write(
        &at(b"binary"),
        (0..=255).cycle().take(300_000).collect::<Vec<u8>>(),
    );
    write(&at(b"script"), "#!/bin/sh\n");
    std::fs::set_permissions(at(b"script"), PermissionsExt::from_mode(0o755)).unwrap();
    write(&at(b"secret"), "0600\n");
    std::fs::set_permissions(at(b"secret"), PermissionsExt::from_mode(0o600)).unwrap();
    symlink("README.md", at(b"link")).unwrap();
    symlink("/nowhere/at/all", at(b"dangling")).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9"), at(b"odd-link")).unwrap();
    std::fs::create_dir_all(at(b"hollow/inner")).unwrap();
    write(&at(b"both.ts"), "staged\n");
    tree.git(&["add", "both.ts"]);
    write(&at(b"both.ts"), "and edited since\n");
    tree.write("node_modules/.package-lock.json", "{}");
    tree.age(31.0);

    let files = standing(&tree.path);
    assert!(
        files.len() > 20 && files.contains_key(OsStr::from_bytes(b"caf\xe9").as_ref() as &Path),
        "{files:?}"
    );
    let index = std::fs::read(tree.admin.join("index")).unwrap();
    let head = tree.git(&["rev-parse", "HEAD"]);
    let staged: BTreeSet<String> = tree
        .git(&["ls-files", "-s"])
        .lines()
        .map(|line| line.replace(" 0\t", "\t"))
        .collect();

    let report = world.night();
    let rescue = rescue_of(&report, &tree);
    assert!(!tree.path.exists() && !tree.admin.exists());
    tidy(&shop);
    same("the rescue", &stored(&shop, &rescue), &files);
    assert_eq!(shop.git(&["rev-parse", &format!("{rescue}^1")]), head);
    assert_eq!(shop.git(&["rev-parse", "work"]), head, "the branch stays");
    assert!(
        git_bytes(
            &shop.path,
            &["cat-file", "blob", &format!("{rescue}^2:index")]
        ) == index,
        "the index is another one"
    );
    let listed = shop.git(&["ls-tree", "-r", &format!("{rescue}^2:staged")]);
    assert_eq!(
        listed
            .lines()
            .map(|line| line.replace(" blob ", " "))
            .collect::<BTreeSet<_>>(),
        staged
    );
    assert_eq!(
        shop.git(&["show", &format!("{rescue}^2:staged/both.ts")]),
        "staged"
    );

    let manifest = git_bytes(
        &shop.path,
        &["cat-file", "blob", &format!("{rescue}^2:manifest.json")],
    );
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["path"], tree.path.to_str().unwrap());
    assert_eq!(
        (&manifest["branch"], &manifest["head"]),
        (&"refs/heads/work".into(), &head.into())
    );
    let told = |list: &str, path: serde_json::Value| {
        let rows = manifest[list].as_array().unwrap();
        rows.iter()
            .find(|row| row[0] == path)
            .unwrap_or_else(|| panic!("{path} is not among {rows:?}"))[1]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        (
            told("files", "script".into()) & 0o777,
            told("files", "secret".into()) & 0o777
        ),
        (0o755, 0o600)
    );
    assert_eq!(manifest["files"].as_array().unwrap().len(), files.len());
    told("files", serde_json::json!(b"caf\xe9"));
    assert_eq!(told("folders", "hollow/inner".into()) & 0o700, 0o700);
    assert_eq!(shop.fsck(), "");
}

#[test]
fn commits_that_only_the_tree_reached_are_held() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let detached = shop.detached("detached");
    detached.commit("a.ts", "1\n").commit("a.ts", "2\n");
    let in_reflog = shop.tree("in-reflog");
    in_reflog.git(&["checkout", "-q", "--detach"]);
    let mut lonely = vec![detached.git(&["rev-parse", "HEAD"])];
    for n in 0..3 {
        in_reflog.commit("b.ts", &format!("{n}\n"));
        lonely.push(in_reflog.git(&["rev-parse", "HEAD"]));
        in_reflog.git(&["reset", "-q", "--hard", "HEAD~1"]);
    }
    in_reflog.git(&["checkout", "-q", "in-reflog"]);
    let bisecting = shop.tree("private");
    let commit = bisecting.git(&[
        "commit-tree",
        "-p",
        "HEAD",
        "-m",
        "Only here",
        "HEAD^{tree}",
    ]);
    bisecting.git(&["update-ref", "refs/worktree/mine", &commit]);
    lonely.push(commit);
    // With untracked work as well: both kinds in one rescue.
    in_reflog.write("new.ts", "new\n");
    for tree in [&detached, &in_reflog, &bisecting] {
        tree.age(31.0);
    }
    let report = world.night();
    let rescues = [&detached, &in_reflog, &bisecting].map(|tree| rescue_of(&report, tree));
    tidy(&shop);
    for (commit, rescue) in lonely.iter().zip([0, 1, 1, 1, 2]) {
        let (code, _, said) = try_git(
            &shop.path,
            0.0,
            &["merge-base", "--is-ancestor", commit, &rescues[rescue]],
        );
        assert_eq!(
            code,
            Some(0),
            "{commit} is not held by {}: {said}",
            rescues[rescue]
        );
    }
    assert_eq!(shop.git(&["show", &format!("{}:a.ts", rescues[0])]), "2");
    assert_eq!(
        shop.git(&["show", &format!("{}:new.ts", rescues[1])]),
        "new"
    );
    assert_eq!(shop.fsck(), "");
}

#[test]
fn what_can_not_be_rescued_stays() {
    let world = World::new();
    world.set("defaults", "worktrees: {rescue_max: 10KiB}");
    let shop = world.repo("acme/shop");
    let large = shop.tree("large");
    large.write("large", &"x".repeat(20_000)).age(31.0);
    // Neither regenerable files nor what HEAD already has count as too large.
    let fits = shop.tree("fits");
    fits.commit("committed", &"x".repeat(20_000))
        .write("node_modules/.package-lock.json", &npm(&["big"]));
    fits.write("node_modules/big/index.js", &"x".repeat(20_000))
        .write("small", "x")
        .age(31.0);
    let files = standing(&large.path);
    let before = shop.registered();

    let report = world.night();
    let expected = [
        (
            "acme/shop worktrees/acme__shop/large",
            "keep unsaved can't be rescued",
        ),
        (
            "acme/shop worktrees/acme__shop/fits",
            "reap unsaved uncommitted work",
        ),
    ];
    same("fates", &world.fates(&report), &map(&expected));
    let why = &report
        .worktrees()
        .find(|row| row.path == large.path)
        .unwrap()
        .reasons[0];
    assert!(
        why.contains("more than rescue_max (10.0 KiB): raise rescue_max"),
        "{why}"
    );
    same("the tree", &standing(&large.path), &files);
    let left = before
        .into_iter()
        .filter(|(path, _)| !path.ends_with("/fits"))
        .collect();
    same("git worktree list", &shop.registered(), &left);
    let refs: Vec<String> = shop.refs("refs/treewarden").into_keys().collect();
    assert!(
        refs.len() == 1 && refs[0].starts_with("refs/treewarden/rescue/fits/"),
        "{refs:?}"
    );
}

#[test]
fn names_that_windows_would_mistake_for_git_are_names() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    for name in [".git ", ".git.", "git~1", "below/GIT~1", "below/.git. ."] {
        tree.write(name, name);
    }
    tree.age(31.0);
    let files = standing(&tree.path);
    let report = world.night();
    let rescue = rescue_of(&report, &tree);
    same("the rescue", &stored(&shop, &rescue), &files);
    let ran = world.treewarden(&["rescue", "restore", &rescue]);
    assert_eq!(ran.code, 0, "{ran:?}");
    same("the restored tree", &standing(&tree.path), &files);
}

#[test]
fn content_that_is_damaged_in_the_store_is_not_put_in_place() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("work");
    tree.write("mine.ts", "mine\n")
        .write("other.ts", "other\n")
        .age(31.0);
    let rescue = rescue_of(&world.night(), &tree);
    let object = |name: &str| {
        let id = shop.git(&["rev-parse", &format!("{rescue}:{name}")]);
        shop.git_dir(format!("objects/{}/{}", &id[..2], &id[2..]))
    };
    let [mine, other] = ["mine.ts", "other.ts"].map(object);
    let whole = std::fs::read(&mine).unwrap();
    remove(&mine);
    std::fs::copy(&other, &mine).unwrap();
    let out = world.beside("out");
    let to = out.to_str().unwrap();
    let restore = || world.treewarden(&["rescue", "restore", &rescue, "mine.ts", "--to", to]);
    let ran = restore();
    assert!(
        ran.code == 1 && ran.err.contains("is damaged; see `git fsck`"),
        "{ran:?}"
    );
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    remove(&mine);
    write(&mine, whole);
    let ran = restore();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read(out.join("mine.ts")).unwrap(), b"mine\n");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
}
