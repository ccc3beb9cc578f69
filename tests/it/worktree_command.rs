//! `treewarden worktree`: what agents ask for, done as a run would do it.
//!
//! Each error must leave refs, registrations and files unchanged.

use super::enroll::{said, script, state_directory};
use super::support::repo::{Layout, Repo};
use super::support::snapshot::snapshot;
use super::support::{Ran, World, age, git, map, remove, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use treewarden::report::{ReasonName, VerdictName};

fn add(world: &World, args: &[&str]) -> Ran {
    world.treewarden(&[&["worktree", "add", "acme/shop"], args].concat())
}

fn drop_tree(world: &World, args: &[&str]) -> Ran {
    world.treewarden(&[&["worktree", "remove", "acme/shop"], args].concat())
}

/// Adds a worktree, which must succeed; only its path may be on standard output.
fn added(world: &World, args: &[&str]) -> PathBuf {
    let ran = add(world, args);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    PathBuf::from(ran.out.trim_end_matches('\n'))
}

/// Creates a clone from which others push, unknown to this checkout.
fn others<'a>(world: &'a World, shop: &Repo<'_>) -> Repo<'a> {
    let path = world.beside("others");
    git(
        &world.beside(""),
        0.0,
        &[
            "clone",
            "-q",
            &shop.git(&["remote", "get-url", "origin"]),
            path.to_str().unwrap(),
        ],
    );
    Repo {
        world,
        name: "others".into(),
        path,
        layout: Layout::Plain,
    }
}

fn head(tree: &Path) -> String {
    git(tree, 0.0, &["log", "-1", "--format=%D | %s"])
}

#[test]
fn a_worktree_starts_from_what_origin_has_now() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let others = others(&world, &shop);
    others.commit(0.0, "new", "x");
    others.push();
    let ran = add(&world, &["fix"]);
    let path = world.at("worktrees/acme__shop/fix");
    assert_eq!(
        (ran.code, ran.out),
        (0, format!("{}\n", path.display())),
        "{}",
        ran.err
    );
    assert_eq!(
        head(&path),
        "HEAD -> fix, origin/main, origin/HEAD | Work on new"
    );
    assert_eq!(
        (
            git(&path, 0.0, &["status", "--porcelain", "--ignored"]),
            shop.fsck()
        ),
        (String::new(), String::new())
    );
    assert_eq!(
        git(&path, 0.0, &["diff-files", "--name-only"]),
        "",
        "git's index knows every file"
    );
    let expected = map(&[("acme__shop", "main"), ("worktrees/acme__shop/fix", "fix")]);
    same("git worktree list", &shop.registered(), &expected);
    assert_eq!(
        git(&path, 0.0, &["reflog", "-1", "--format=%gs"]),
        "worktree add"
    );
    assert_eq!(
        (state_directory(&world), path.join("README.md").exists()),
        (Vec::new(), true)
    );
    // Origin's default branch changes.
    others.git(&["checkout", "-q", "-b", "trunk"]);
    others.commit(0.0, "newer", "x");
    others.git(&["push", "-q", "origin", "trunk"]);
    let origin = PathBuf::from(shop.git(&["remote", "get-url", "origin"]));
    git(&origin, 0.0, &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    assert_eq!(
        head(&added(&world, &["two"])),
        "HEAD -> two, origin/trunk, origin/HEAD | Work on newer"
    );
    // The run finds the trees just there.
    let found = world.fates(&world.night());
    let expected = ["fix", "two"].map(|name| {
        (
            format!("acme/shop worktrees/acme__shop/{name}"),
            "keep recent".to_owned(),
        )
    });
    same("fates", &found, &expected.into_iter().collect());
}

#[test]
fn a_worktree_starts_where_it_is_told_to() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let others = others(&world, &shop);
    let first = shop.git(&["rev-parse", "HEAD"]);
    others.commit(0.0, "one", "x");
    others.git(&["tag", "v1"]);
    others.git(&["checkout", "-q", "-b", "release/1"]);
    others.commit(0.0, "two", "x");
    others.git(&["push", "-q", "--tags", "origin", "main", "release/1"]);
    // Outdated in this checkout.
    shop.git(&["branch", "release/1", "main"]);
    assert_eq!(
        head(&added(&world, &["a", "--from", "release/1"])),
        "HEAD -> a, origin/release/1 | Work on two"
    );
    assert_eq!(
        head(&added(&world, &["b", "--from", "v1"])),
        "HEAD -> b, tag: v1, origin/main | Work on one"
    );
    assert_eq!(
        head(&added(
            &world,
            &["c", "--from", &first[..12], "--branch", "deep/c"]
        )),
        "HEAD -> deep/c, release/1, main | Work on README.md"
    );
    assert_eq!(
        head(&added(&world, &["d", "--from", "refs/heads/main"])),
        "HEAD -> d, release/1, main, deep/c | Work on README.md"
    );
    assert_eq!(
        head(&added(&world, &["e", "--from", "origin/main~1"])),
        "HEAD -> e, release/1, main, deep/c, d | Work on README.md"
    );
    // If origin has the branch, it is the same work; an existing local branch is used unchanged.
    others.git(&["push", "-q", "origin", "release/1:theirs"]);
    assert_eq!(
        head(&added(&world, &["theirs"])),
        "HEAD -> theirs, origin/theirs, origin/release/1, a | Work on two"
    );
    shop.git(&["branch", "mine", &first]);
    assert_eq!(
        head(&added(&world, &["again", "--branch", "mine"])),
        "HEAD -> mine, release/1, main, e, deep/c, d | Work on README.md"
    );
    // If a tree was deleted by hand, its branch stays, so nothing is lost with its registration.
    let gone = added(&world, &["gone"]);
    git(&gone, 0.0, &["commit", "-q", "--allow-empty", "-m", "Mine"]);
    remove(&gone);
    assert_eq!(head(&added(&world, &["gone"])), "HEAD -> gone | Mine");
    // As after a kill in the last moment: the branch exists, at its starting point.
    shop.git(&["branch", "killed", "refs/remotes/origin/main"]);
    added(&world, &["killed", "--from", "main"]);
    assert_eq!(shop.fsck(), "");
}

#[test]
fn what_can_not_be_added_is_told_and_nothing_is_made() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    world.repo("acme/lost").set("url: ~");
    world.repo("acme/gone").set("url: /nowhere/at/all.git");
    let ext = world.repo("acme/ext");
    ext.git(&["remote", "set-url", "origin", "ext::sh -c touch% canary"]);
    ext.set("url: ~");
    world.repo("acme/globs");
    world.enrol(
        "acme/globs",
        "worktrees: {presets: [custom], roots: ['a/*/*', 'b']}",
    );
    shop.tree("taken");
    let missing = shop.tree("missing");
    remove(&missing.path);
    write(&missing.admin.join("locked"), "on another disk");
    shop.tree_at("elsewhere/tree", "branch-of-another");
    shop.git(&["branch", "old"]);
    write(&world.at("worktrees/acme__shop/file"), "x");
    write(&world.at("worktrees/acme__shop/folder/x"), "x");
    shop.moves_on("more.ts");
    let rebasing = shop.tree("rebasing");
    rebasing.git(&["checkout", "-q", "--detach"]);
    write(
        &rebasing.admin.join("rebase-merge/head-name"),
        "refs/heads/rebasing\n",
    );
    let bisecting = shop.tree("bisecting");
    bisecting.git(&["checkout", "-q", "--detach"]);
    write(&bisecting.admin.join("BISECT_START"), "bisecting\n");
    shop.git(&["fetch", "-q"]);
    let lock = world.at(".treewarden/locks/acme__shop.lock");
    let state = || {
        let standing = snapshot(&world.root);
        let standing = standing
            .into_iter()
            .filter(|(path, _)| !path.starts_with(".treewarden"))
            .collect();
        (standing, state_directory(&world))
    };
    let _warm = added(&world, &["warm"]);
    let before: (BTreeMap<_, _>, Vec<String>) = state();
    let cases: [(&[&str], i32, &[&str]); 24] = [
        (&["acme/none", "x"], 2, &["no repo `acme/none`"]),
        (
            &["acme/shop", "a/b"],
            2,
            &["`a/b` is no worktree's name", "--branch"],
        ),
        (&["acme/shop", ".."], 2, &["`..` is no worktree's name"]),
        (&["acme/shop", ".hidden"], 2, &["no worktree's name"]),
        (
            &["acme/shop", "x", "--branch", "a..b"],
            2,
            &["`a..b` is no branch's name"],
        ),
        (
            &["acme/shop", "x", "--branch=-b"],
            2,
            &["`-b` is no branch's name"],
        ),
        (
            &["acme/shop", "x", "--branch", "HEAD"],
            2,
            &["`HEAD` is no branch's name"],
        ),
        (
            &["acme/shop", "x.lock"],
            2,
            &["`x.lock` is no branch's name"],
        ),
        (
            &["acme/shop", "taken", "--branch", "other"],
            1,
            &[
                "`taken` is in use by the worktree",
                "treewarden worktree remove acme/shop taken",
            ],
        ),
        (
            &["acme/shop", "missing", "--branch", "other"],
            1,
            &[
                "`missing` is in use",
                "treewarden worktree remove acme/shop missing",
            ],
        ),
        (
            &["acme/shop", "file"],
            1,
            &["something stands at", "choose another"],
        ),
        (&["acme/shop", "folder"], 1, &["something stands at"]),
        (
            &["acme/shop", "x", "--branch", "main"],
            1,
            &["`main` is checked out at", "acme__shop`", "--branch"],
        ),
        (
            &["acme/shop", "x", "--branch", "branch-of-another"],
            1,
            &["is checked out at", "elsewhere/tree`"],
        ),
        (
            &["acme/shop", "x", "--branch", "rebasing"],
            1,
            &["`rebasing` is checked out at"],
        ),
        (
            &["acme/shop", "x", "--branch", "bisecting"],
            1,
            &["`bisecting` is checked out at"],
        ),
        (
            &["acme/shop", "x", "--from", "nowhere"],
            1,
            &["no branch, tag or commit `nowhere`", "git ls-remote"],
        ),
        (
            &["acme/shop", "x", "--from", "--upload-pack=x"],
            2,
            &["'--upload-pack'"],
        ),
        (
            &["acme/shop", "x", "--from=-x"],
            1,
            &["no branch, tag or commit `-x`"],
        ),
        (
            &["acme/shop", "x", "--branch", "old", "--from", "main"],
            1,
            &["`old` is there already", "leave --from out"],
        ),
        (
            &["acme/lost", "x"],
            1,
            &["acme/lost: the config has no `url`", "its origin says /"],
        ),
        (
            &["acme/gone", "x"],
            1,
            &[
                "failed to fetch acme/gone",
                "/nowhere/at/all.git",
                "nothing was made",
            ],
        ),
        (
            &["acme/ext", "x"],
            1,
            &["acme/ext: the config has no `url`"],
        ),
        (&["acme/globs", "x"], 2, &["worktrees.roots"]),
    ];
    for (args, code, words) in cases {
        said(
            &world.treewarden(&[&["worktree", "add"], args].concat()),
            code,
            words,
        );
    }
    let held = world.hold("acme__shop");
    write(
        &lock,
        r#"{"holder": "pod-7", "pid": 12, "purpose": "exec", "since": "2026-05-01T03:04:05Z", "token": "t"}"#,
    );
    said(
        &add(&world, &["x", "--no-wait"]),
        1,
        &[
            "failed to lock acme/shop",
            "held by pod-7 (pid 12)",
            "--wait",
        ],
    );
    said(
        &add(&world, &["x", "--wait", "1s", "--no-wait"]),
        2,
        &["--no-wait"],
    );
    let after = state();
    same("the volume", &after.0, &before.0);
    assert_eq!(after.1, before.1);
    let waiting = world.start(&["worktree", "add", "acme/shop", "x", "--wait", "1m"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(held);
    said(&waiting.end(), 0, &["worktrees/acme__shop/x"]);
}

#[test]
fn the_layout_says_where_a_tree_stands() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for (presets, place) in [
        ("presets: [afk]", "worktrees/acme__shop/a"),
        ("presets: [claude]", "acme__shop/.claude/worktrees/b"),
        ("presets: [codex]", "worktrees/c/acme__shop"),
        (
            "presets: [custom], roots: ['trees/<repo-basename>/*']",
            "trees/acme__shop/d",
        ),
    ] {
        shop.set(&format!("worktrees: {{{presets}}}"));
        let name = ["a", "b", "c", "d"]
            .into_iter()
            .find(|name| place.split('/').any(|part| part == *name))
            .unwrap();
        assert_eq!(added(&world, &[name]), world.at(place));
        let row = |tree: &treewarden::report::Worktree| {
            tree.path == world.at(place) && tree.because == ReasonName::Recent
        };
        assert!(world.pass(0, &["report"]).worktrees().any(row), "{presets}");
        said(
            &drop_tree(&world, &[name]),
            0,
            &["removed", place, "its branch"],
        );
    }
    assert_eq!(shop.registered().len(), 1);
}

#[test]
fn a_hostile_config_and_its_hooks_run_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    write(
        &shop.path.join(".gitattributes"),
        "* filter=evil diff=evil merge=evil\n",
    );
    shop.commit(1.0, "x", "x");
    shop.push();
    let canary = world.beside("canary");
    let evil = script(
        &world,
        "evil",
        &format!("touch {}; exit 1", canary.display()),
    );
    let evil = evil.to_str().unwrap();
    let origin = shop.git(&["remote", "get-url", "origin"]);
    for (key, value) in [
        ("core.sshCommand", evil),
        ("core.fsmonitor", evil),
        ("core.gitProxy", evil),
        ("core.askPass", evil),
        ("core.hooksPath", "../hooks"),
        ("core.pager", evil),
        ("core.alternateRefsCommand", evil),
        ("credential.helper", evil),
        ("filter.evil.smudge", evil),
        ("filter.evil.clean", evil),
        ("filter.evil.process", evil),
        ("filter.evil.required", "true"),
        ("remote.origin.uploadpack", evil),
        ("remote.origin.vcs", "evil"),
        ("remote.origin.proxy", "http://127.0.0.1:1"),
        ("protocol.ext.allow", "always"),
        ("protocol.allow", "never"),
        ("include.path", "more"),
        ("hook.evil.command", evil),
        ("hook.evil.event", "reference-transaction"),
        ("url.ext::evil.insteadOf", &origin),
    ] {
        shop.git(&["config", "--file", ".git/config", key, value]);
    }
    write(
        &shop.git_dir("more"),
        format!("[url \"ext::{evil} \"]\n\tinsteadOf = {origin}\n"),
    );
    for name in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
        "post-merge",
        "pre-auto-gc",
    ] {
        script(
            &world,
            &format!("volume/acme__shop/hooks/{name}"),
            &format!("touch {}", canary.display()),
        );
        script(
            &world,
            &format!("volume/acme__shop/.git/hooks/{name}"),
            &format!("touch {}", canary.display()),
        );
    }
    let path = added(&world, &["fix"]);
    assert!(!canary.exists());
    assert_eq!(std::fs::read_to_string(path.join("x")).unwrap(), "x");
    said(
        &world.treewarden(&["enroll", "acme/shop"]),
        0,
        &["enrolled already"],
    );
    said(&world.treewarden(&["worktree", "list"]), 0, &["fix"]);
    said(&drop_tree(&world, &["fix", "--rescue"]), 0, &["removed"]);
    assert!(!canary.exists());
    // An ordinary git command does run the hooks.
    super::support::try_git(
        &shop.path,
        0.0,
        &["worktree", "add", "-q", world.at("plain").to_str().unwrap()],
    );
    assert!(canary.exists());
}

#[test]
fn a_killed_add_leaves_a_whole_tree_or_none() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for n in 0..300 {
        write(
            &shop.path.join(format!("folder-{}/{n}.ts", n % 20)),
            format!("{n}\n"),
        );
    }
    shop.commit(1.0, "x", "x");
    shop.push();
    let began = std::time::Instant::now();
    added(&world, &["undisturbed"]);
    let took = began.elapsed();
    let mut outcomes = [0, 0];
    // Later and later, until some kills came too late: beside other tests, `add` can take many
    // times as long as undisturbed.
    for n in 0..80 {
        if n >= 24 && outcomes.iter().all(|count| *count > 1) {
            break;
        }
        let name = format!("tree-{n}");
        let mut adding = world.start(&["worktree", "add", "acme/shop", &name]);
        std::thread::sleep(took * (n * n) / 400);
        adding.signal(Signal::KILL);
        adding.end();
        until("the lock is free", || {
            world.try_hold("acme__shop").is_some()
        });
        let path = world.at("worktrees/acme__shop").join(&name);
        // Between its two renames there is a registration without a tree. If it stays, a run drops
        // it.
        let whole = path.exists();
        outcomes[usize::from(whole)] += 1;
        if whole {
            assert_eq!(git(&path, 0.0, &["status", "--porcelain"]), "", "{name}");
        } else if shop
            .registered()
            .contains_key(&format!("worktrees/acme__shop/{name}"))
        {
            said(&drop_tree(&world, &[&name]), 0, &["removed"]);
        }
        // A crashed git's locks are only cleared when they are old; here they are still young.
        for entry in walkdir::WalkDir::new(shop.git_dir(""))
            .into_iter()
            .map(Result::unwrap)
        {
            if entry
                .path()
                .extension()
                .is_some_and(|ending| ending == "lock")
            {
                remove(entry.path());
            }
        }
        if !whole {
            added(&world, &[&name]);
        }
    }
    assert!(
        outcomes.iter().all(|count| *count > 1),
        "{outcomes:?}: the kills came too early or too late"
    );
    assert_eq!(
        (
            shop.fsck(),
            state_directory(&world),
            shop.registered().len()
        ),
        (
            String::new(),
            Vec::new(),
            outcomes.iter().sum::<usize>() + 2
        )
    );
}

#[test]
fn a_list_tells_what_the_night_would_do() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    world.repo("acme/api").tree("only").age(9.0);
    shop.tree("landed").age(2.0);
    shop.tree("saved").commit("a.ts", "x").age(3.0);
    shop.tree("dirty").write("new.ts", "x").age(31.0);
    shop.tree("young");
    let locked = shop.tree("locked");
    shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
    let odd = shop.tree("odd");
    write(&odd.path.join(".git"), "gitdir: /elsewhere\n");
    odd.age(9.0);
    write(&world.at("worktrees/acme__shop/stray/x"), "x");
    let expected = world.fates(&world.pass(0, &["report"]));
    // Listing needs no lock.
    let held = world.hold("acme__shop");
    let before = snapshot(&world.root);
    let json = world.treewarden(&["worktree", "list", "--quick", "--format", "json"]);
    let listing: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (json.code, &listing["schema"]),
        (0, &"treewarden.worktrees/1".into()),
        "{json:?}"
    );
    let mut found = BTreeMap::new();
    for row in listing["worktrees"].as_array().unwrap() {
        let tree: treewarden::report::Worktree = serde_json::from_value(row.clone()).unwrap();
        let verdict = match tree.verdict {
            VerdictName::Keep => "keep ",
            VerdictName::Reap => "reap ",
            VerdictName::Unknown => "unknown",
        };
        let class = row["class"]
            .as_str()
            .map_or(String::new(), |class| format!("{class} "));
        let because = if tree.verdict == VerdictName::Unknown {
            ""
        } else {
            tree.because.as_str()
        };
        let name = format!(
            "{} {}",
            row["repo"].as_str().unwrap(),
            world.below(&tree.path)
        );
        found.insert(name, format!("{verdict}{class}{because}"));
    }
    same("the list", &found, &expected);
    let text = world.treewarden(&["worktree", "list", "acme/shop", "--quick"]);
    let line = text
        .out
        .lines()
        .find(|line| line.contains("/landed "))
        .unwrap_or_else(|| panic!("{text:?}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let path = world.at("worktrees/acme__shop/landed");
    assert_eq!(
        words,
        [
            path.to_str().unwrap(),
            "acme/shop",
            "landed",
            "landed",
            "-",
            "2",
            "days",
            "goes",
            "with",
            "the",
            "next",
            "run:",
            "merged"
        ]
    );
    assert!(!text.out.contains("acme/api"), "{text:?}");
    same("the volume", &snapshot(&world.root), &before);
    drop(held);
    world.enrol("acme/none", "");
    said(
        &world.treewarden(&["worktree", "list"]),
        1,
        &["failed to list the worktrees of acme/none", "/landed"],
    );
    said(
        &world.treewarden(&["worktree", "list", "acme/unknown"]),
        2,
        &["no repo `acme/unknown`"],
    );
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn a_tree_goes_by_the_nights_own_verdict_and_rescue() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let path = |name: &str| world.at(format!("worktrees/acme__shop/{name}"));
    // Young, clean, on its branch: it is removed at once, and the branch stays.
    shop.tree("clean").commit("a.ts", "x");
    said(
        &drop_tree(&world, &["clean"]),
        0,
        &["removed", "its branch clean stays"],
    );
    assert!(!path("clean").exists() && shop.refs("refs/heads").contains_key("refs/heads/clean"));

    let dirty = shop.tree("dirty");
    dirty
        .write("new.ts", "new\n")
        .write("README.md", "edited\n");
    let lonely = shop.detached("lonely");
    lonely.commit("a.ts", "lonely");
    for (name, words) in [
        ("dirty", "new.ts is untracked"),
        ("lonely", "only this tree reaches 1 commit"),
    ] {
        let before = snapshot(&path(name));
        said(
            &drop_tree(&world, &[name]),
            1,
            &["stays: it holds unsaved work", words, "--rescue"],
        );
        same(name, &snapshot(&path(name)), &before);
        said(
            &drop_tree(&world, &[name, "--rescue"]),
            0,
            &["removed", "its work is rescued"],
        );
        assert!(!path(name).exists());
    }
    let list = world.treewarden(&["rescue", "list", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    let dirty = list["rescues"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rescue| rescue["worktree"] == "dirty")
        .unwrap();
    said(
        &world.treewarden(&["rescue", "restore", dirty["id"].as_str().unwrap()]),
        0,
        &["restored"],
    );
    assert_eq!(
        git(&path("dirty"), 0.0, &["status", "--porcelain"]),
        " M README.md\n?? new.ts"
    );
    said(
        &drop_tree(&world, &[path("dirty").to_str().unwrap(), "--rescue"]),
        0,
        &["removed"],
    );

    // What a run keeps for good stays, with `--rescue` or without.
    let locked = shop.tree("locked");
    shop.git(&[
        "worktree",
        "lock",
        "--reason",
        "mine",
        locked.path.to_str().unwrap(),
    ]);
    write(&shop.tree("rebasing").admin.join("rebase-merge/x"), "x");
    write(&shop.tree("nested").path.join("repo/.git/HEAD"), "x");
    write(
        &shop.tree("unknown").path.join(".git"),
        "gitdir: /elsewhere\n",
    );
    let before = snapshot(&world.at("worktrees"));
    for (name, words) in [
        ("locked", "mine"),
        ("rebasing", "rebase under way"),
        ("nested", "is a nested repo"),
        ("unknown", "its contents are unknown"),
    ] {
        said(
            &drop_tree(&world, &[name, "--rescue"]),
            1,
            &["stays", words],
        );
    }
    same("the trees", &snapshot(&world.at("worktrees")), &before);
    said(
        &drop_tree(&world, &["none"]),
        2,
        &["no worktree `none`", "it has"],
    );
    said(&drop_tree(&world, &["acme__shop"]), 2, &["no worktree"]);
    let held = world.hold("acme__shop");
    said(
        &drop_tree(&world, &["locked"]),
        1,
        &["failed to lock acme/shop"],
    );
    drop(held);

    // A tree deleted by hand in the middle of a rebase: its state is only in its registration.
    let gone = shop.tree("gone");
    write(&gone.admin.join("rebase-merge/x"), "x");
    remove(&gone.path);
    said(
        &drop_tree(&world, &["gone", "--rescue"]),
        1,
        &["stays", "rebase under way"],
    );
    remove(&gone.admin.join("rebase-merge"));
    // And one whose registration is dropped, after a rescue of what only it has.
    said(&drop_tree(&world, &["gone"]), 0, &["removed"]);
    let gone = shop.detached("gone-with-work");
    gone.commit("b.ts", "x");
    remove(&gone.path);
    said(
        &drop_tree(&world, &["gone-with-work"]),
        1,
        &["unsaved work"],
    );
    said(
        &drop_tree(&world, &["gone-with-work", "--rescue"]),
        0,
        &["rescued"],
    );
    let left: Vec<String> = shop.registered().into_keys().collect();
    let expected = [
        "acme__shop",
        "worktrees/acme__shop/locked",
        "worktrees/acme__shop/nested",
        "worktrees/acme__shop/rebasing",
    ];
    assert_eq!(
        left.iter()
            .filter(|path| !path.ends_with("unknown"))
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(shop.fsck(), "");
}

#[test]
fn a_name_that_could_mean_two_trees_means_none() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for place in ["one", "two"] {
        shop.tree_at(&format!("trees/{place}/same"), place);
    }
    said(
        &drop_tree(&world, &["same"]),
        2,
        &["could be any of these", "trees/one/same", "trees/two/same"],
    );
    said(
        &drop_tree(&world, &[world.at("trees/two/same").to_str().unwrap()]),
        0,
        &["removed"],
    );
    // A tree where the layout puts it takes precedence.
    shop.tree("same");
    said(
        &drop_tree(&world, &["same"]),
        0,
        &["worktrees/acme__shop/same"],
    );
    age(&world.at("trees/one/same"), 1.0);
    assert!(world.at("trees/one/same").exists());
}

#[test]
fn many_at_once_take_turns() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let names = ["a", "b", "c", "d", "same", "same"];
    // Each start would rewrite the config while the others read it.
    let config = world.beside("fixed.yaml");
    std::fs::copy(world.config(), &config).unwrap();
    let start =
        |args: &[&str]| world.start(&[args, &["--config", config.to_str().unwrap()]].concat());
    let adding: Vec<_> = names
        .iter()
        .map(|name| start(&["worktree", "add", "acme/shop", name, "--wait", "1m"]))
        .collect();
    let night = start(&["run", "--format", "json"]);
    let mut codes: Vec<i32> = adding.into_iter().map(|adding| adding.end().code).collect();
    assert_eq!(codes.drain(..4).collect::<Vec<_>>(), [0; 4]);
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "one of two gets the name");
    assert!([0, 1].contains(&night.end().code));
    assert_eq!(
        (
            shop.registered().len(),
            shop.fsck(),
            state_directory(&world)
        ),
        (6, String::new(), Vec::new())
    );
    for name in ["a", "b", "c", "d", "same"] {
        assert_eq!(
            git(
                &world.at("worktrees/acme__shop").join(name),
                0.0,
                &["status", "--porcelain"]
            ),
            "",
            "{name}"
        );
    }
}
