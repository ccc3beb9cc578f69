//! Rescues that agents forge are listed and refused, and none of their files is written where it
//! doesn't belong.

use super::support::forge::{forge, raw_blob, raw_tree};
use super::support::snapshot::{Standing, snapshot};
use super::support::{Ran, World, same, write};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const OUT: &str = "leads out of the tree or into a `.git`";
const BOTH: &str = "is a file and a directory at once";
const FAILED: &str = "failed to restore `";
const UNREADABLE: &str = "failed to read the rescue";

fn list(world: &World) -> Vec<Value> {
    let ran = world.treewarden(&["rescue", "list", "--format", "json"]);
    let all: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    all["rescues"].as_array().unwrap().clone()
}

fn restore(world: &World, arguments: &[&str]) -> Ran {
    world.treewarden(&[&["rescue", "restore"], arguments].concat())
}

/// A manifest for a tree that was at `worktrees/acme__shop/target`.
fn manifest(world: &World, files: Value, directories: Value) -> Value {
    json!({
        "schema": "treewarden.rescue/1", "worktree": "x", "path": world.at("worktrees/acme__shop/target"), "branch": null, "head": null,
        "rescued": "2026-01-01T00:00:00Z", "files": files, "folders": directories,
    })
}

/// As many files as the forged trees have.
fn some() -> Value {
    json!([["a", 0o644, 0], ["b", 0o644, 0], ["c", 0o644, 0]])
}

#[test]
fn endless_rescues_are_not_counted() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let directory = raw_tree(&shop, &[("100644", b"file", &raw_blob(&shop, b"x"))]);
    let deep = (0..1100).fold(directory.clone(), |tree, _| {
        raw_tree(&shop, &[("40000", b"d", &tree)])
    });
    let fork = |tree: String, _| {
        raw_tree(
            &shop,
            &[
                ("40000", b"a", &tree),
                ("40000", b"b", &tree),
                ("40000", b"c", &tree),
            ],
        )
    };
    let bomb = (0..40).fold(directory, fork);
    for (name, tree) in [("deep", &deep), ("bomb", &bomb)] {
        forge(
            &shop,
            name,
            100.0,
            tree,
            &manifest(&world, some(), json!([])),
        );
    }
    let report = world.night();
    assert!(report.repos[0].rescues.expired.is_empty(), "{report:?}");
    for row in list(&world) {
        assert!(
            row["bytes"].is_null() && row["stands"] == "it can't be read: stays for good",
            "{row}"
        );
        let ran = restore(&world, &[row["id"].as_str().unwrap()]);
        assert!(
            ran.code == 1 && ran.err.contains("failed to read the rescue"),
            "{ran:?}"
        );
    }
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn hostile_rescues_lead_nowhere() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let evil = raw_blob(&shop, b"#!/bin/sh\ntouch canary\n");
    let out = raw_blob(&shop, world.beside("outside").to_str().unwrap().as_bytes());
    write(&world.beside("outside/keep"), "precious\n");
    let directory = raw_tree(&shop, &[("100755", b"evil", &evil)]);
    let empty = raw_tree(&shop, &[]);
    let target = world.at("worktrees/acme__shop/target");
    let plain = || manifest(&world, some(), json!([]));
    let directories = |names: &[&str]| {
        let names: Vec<Value> = names.iter().map(|name| json!([name, 0o777])).collect();
        manifest(&world, some(), names.into())
    };
    let tree = |entries: &[(&str, &[u8], &str)]| raw_tree(&shop, entries);
    let cases = [
        ("climb", OUT, tree(&[("40000", b"..", &directory)]), plain()),
        (
            "climb-by-name",
            OUT,
            tree(&[("100755", b"../evil", &evil)]),
            plain(),
        ),
        (
            "absolute",
            OUT,
            tree(&[("100755", b"/tmp/evil", &evil)]),
            plain(),
        ),
        ("dot", OUT, tree(&[("40000", b".", &directory)]), plain()),
        (
            "git",
            OUT,
            tree(&[("40000", b".git", &tree(&[("40000", b"hooks", &directory)]))]),
            plain(),
        ),
        (
            "git-file",
            OUT,
            tree(&[("100644", b".git", &evil)]),
            plain(),
        ),
        (
            "git-case",
            OUT,
            tree(&[("40000", b".GiT", &directory)]),
            plain(),
        ),
        (
            "git-deep",
            OUT,
            tree(&[("40000", b"a", &tree(&[("40000", b".git", &directory)]))]),
            plain(),
        ),
        ("git-link", OUT, tree(&[("120000", b".git", &out)]), plain()),
        (
            "through-link",
            BOTH,
            tree(&[("120000", b"a", &out), ("40000", b"a", &directory)]),
            plain(),
        ),
        (
            "through-link-by-name",
            BOTH,
            tree(&[("120000", b"a", &out), ("100755", b"a/evil", &evil)]),
            plain(),
        ),
        (
            "through-file",
            BOTH,
            tree(&[("100644", b"a", &evil), ("40000", b"a", &directory)]),
            plain(),
        ),
        (
            "folder-climbs",
            OUT,
            empty.clone(),
            directories(&["../evil"]),
        ),
        (
            "folder-absolute",
            OUT,
            empty.clone(),
            directories(&["/tmp/evil"]),
        ),
        (
            "folder-git",
            OUT,
            empty.clone(),
            directories(&[".git", ".git/hooks"]),
        ),
        ("folder-empty", OUT, empty.clone(), directories(&[""])),
        ("folder-dots", OUT, empty.clone(), directories(&["a/./b"])),
        ("folder-nul", FAILED, empty.clone(), directories(&["a\0b"])),
        (
            "folder-through-link",
            BOTH,
            tree(&[("120000", b"a", &out)]),
            directories(&["a/b"]),
        ),
        (
            "missing-blob",
            FAILED,
            tree(&[("100644", b"a", &"1".repeat(40))]),
            plain(),
        ),
        (
            "blob-is-tree",
            FAILED,
            tree(&[("100644", b"a", &directory)]),
            plain(),
        ),
        (
            "tree-is-blob",
            UNREADABLE,
            tree(&[("40000", b"a", &evil)]),
            plain(),
        ),
        (
            "long-name",
            FAILED,
            tree(&[("100644", &[b'x'; 300], &evil)]),
            plain(),
        ),
        (
            "no-manifest",
            UNREADABLE,
            empty.clone(),
            json!({"schema": "treewarden.rescue/1"}),
        ),
        (
            "other-version",
            UNREADABLE,
            empty.clone(),
            json!({"schema": "treewarden.rescue/2"}),
        ),
    ];
    for (name, _, tree, manifest) in &cases {
        forge(&shop, name, 1.0, tree, manifest);
    }
    let mut elsewhere = Vec::new();
    for (name, path) in [
        ("to-root", "/".to_owned()),
        ("to-etc", "/etc/cron.d/evil".to_owned()),
        (
            "to-state",
            world.at(".treewarden/locks").display().to_string(),
        ),
        ("to-checkout", world.at("acme__shop").display().to_string()),
        (
            "to-git",
            world.at("acme__shop/.git/hooks").display().to_string(),
        ),
        ("to-relative", "worktrees/evil".to_owned()),
        ("to-climb", world.at("a/../../evil").display().to_string()),
    ] {
        let mut manifest = plain();
        manifest["path"] = path.into();
        forge(&shop, name, 1.0, &directory, &manifest);
        elsewhere.push(name);
    }
    let ours = |path: &PathBuf| {
        !path.starts_with("volume/.treewarden/locks")
            && !path.starts_with("volume/.treewarden/trash")
    };
    let beside = || -> BTreeMap<PathBuf, Standing> {
        let all = snapshot(world.root.parent().unwrap());
        let settled = |path: &PathBuf, seen: &Standing| {
            ours(path)
                && !path.starts_with("scratch")
                && seen.kind != "folder"
                && !path.ends_with("treewarden.yaml")
        };
        all.into_iter()
            .filter(|(path, seen)| settled(path, seen))
            .collect()
    };
    // Restoring single files needs an existing tree.
    std::fs::create_dir_all(&target).unwrap();
    let before = beside();
    let rescues = list(&world);
    let id = |name: &str| {
        rescues
            .iter()
            .find(|row| row["id"].as_str().unwrap().contains(&format!(":{name}/")))
            .unwrap()["id"]
            .as_str()
            .unwrap()
    };
    for (name, why, ..) in &cases {
        for arguments in [vec![id(name)], vec![id(name), ".", "--force"]] {
            let ran = restore(&world, &arguments);
            assert!(
                ran.code == 1 && ran.err.contains(why),
                "{arguments:?}: {ran:?}"
            );
            assert!(
                !ran.err.chars().any(|c| c.is_control() && c != '\n'),
                "{ran:?}"
            );
        }
        world.treewarden(&["rescue", "show", id(name)]);
    }
    for name in elsewhere {
        for arguments in [vec![id(name)], vec![id(name), "evil"]] {
            let ran = restore(&world, &arguments);
            assert!(
                ran.code == 1 && ran.err.contains("nothing can be restored to"),
                "{arguments:?}: {ran:?}"
            );
        }
    }
    same("everything", &beside(), &before);
    assert!(!target.join("evil").exists());
}

#[test]
fn no_set_id_bit_comes_back() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let shell = raw_tree(
        &shop,
        &[("100755", b"shell", &raw_blob(&shop, b"#!/bin/sh\n"))],
    );
    forge(
        &shop,
        "set-id",
        1.0,
        &shell,
        &manifest(&world, json!([["shell", 0o6755, 0]]), json!([])),
    );
    let ran = restore(&world, &[list(&world)[0]["id"].as_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mode = world
        .at("worktrees/acme__shop/target/shell")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o7777,
        0o755,
        "it would lend whoever restores it to whoever forged it"
    );
}
