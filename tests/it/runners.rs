//! Volumes with the layouts of agent runners: a run finds their trees, keeps their refs, and
//! respects their locks.
//!
//! Each runner's preset is tested twice: configured to work on the volume, and with the volume as
//! its home.

use super::support::repo::{Repo, Tree};
use super::support::{World, remove, same, write};
use std::collections::BTreeMap;

/// Where each runner's trees are, by preset: in the template, `REPO` is the checkout's directory
/// and `NAME` the tree's.
const LAYOUTS: [(&str, &str); 17] = [
    ("afk", "worktrees/REPO/NAME"),
    ("afk", "REPO/.worktrees/NAME"),
    ("t3", "worktrees/REPO/NAME"),
    ("t3", ".t3/worktrees/REPO/NAME"),
    ("claude", "REPO/.claude/worktrees/NAME"),
    ("codex", "worktrees/NAME/REPO"),
    ("codex", ".codex/worktrees/NAME/REPO"),
    ("cursor", "worktrees/REPO/NAME"),
    ("cursor", ".cursor/worktrees/REPO/NAME"),
    ("grok", "worktrees/REPO/NAME"),
    ("vibe-kanban", "worktrees/NAME/REPO"),
    ("vibe-kanban", "vibe-kanban/worktrees/NAME/REPO"),
    ("superset", "worktrees/REPO/feat/NAME"),
    ("superset", ".superset/worktrees/REPO/me/feat/NAME"),
    ("conductor", "workspaces/REPO/NAME"),
    ("conductor", "conductor/workspaces/REPO/NAME"),
    ("crystal", "REPO/worktrees/NAME"),
];

/// Refs that runners keep in a repo.
const REFS: [&str; 3] = [
    "refs/t3/checkpoints/1/turn/0",
    "refs/codex/snapshots/1",
    "refs/openclaw/keep",
];

/// The fates of the trees that [`trees`] creates, and whether they are still there after a run.
const FATES: [(&str, &str, bool); 6] = [
    ("landed", "reap landed merged", false),
    ("renamed", "reap landed merged", false),
    ("dirty", "reap unsaved uncommitted work", false),
    ("fresh", "keep recent", true),
    ("locked", "keep locked", true),
    ("lost", "keep dangling", true),
];

fn place(repo: &Repo<'_>, layout: &str, name: &str) -> String {
    layout
        .replace("REPO", &repo.directory())
        .replace("NAME", name)
}

/// Creates one tree of each kind, in a runner's layout; codex has no branches.
fn trees(repo: &Repo<'_>, number: usize, preset: &str, layout: &str) {
    let tree = |name: &str| -> Tree {
        let tree = repo.tree_at(&place(repo, layout, name), &format!("{number}/{name}"));
        if preset == "codex" {
            tree.git(&["checkout", "-q", "--detach"]);
        }
        tree
    };
    tree("landed").age(2.0);
    tree("dirty").write("new.ts", "new\n").age(31.0);
    tree("fresh");
    let locked = tree("locked");
    locked.age(60.0);
    // Claude locks it like this while it runs.
    repo.git(&[
        "worktree",
        "lock",
        "--reason",
        &format!("claude session 7 (pid {})", std::process::id()),
        locked.path.to_str().unwrap(),
    ]);
    // T3 renames the branch after the first turn, but not the directory.
    let renamed = tree("renamed");
    if preset != "codex" {
        renamed.git(&[
            "branch",
            "-q",
            "-m",
            &format!("t3code/fix-the-cart-{number}"),
        ]);
    }
    renamed.age(2.0);
    // Not registered any more; only the layout leads to it.
    remove(&tree("lost").admin);
    if preset == "superset" {
        write(
            &repo
                .world
                .at(place(repo, layout, ".superset-delete-1"))
                .join("src/x"),
            "x",
        );
    }
}

#[test]
fn the_night_finds_the_trees_of_every_runner_keeps_their_refs_and_respects_their_locks() {
    let world = World::new();
    world.set("run", "max_reaped: 60");
    let (mut fates, mut standing, mut repos) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (number, (preset, layout)) in LAYOUTS.into_iter().enumerate() {
        let name = format!("acme/{preset}");
        let repo = repos.entry(preset).or_insert_with(|| {
            let repo = world.repo(&name);
            repo.set(&format!("worktrees: {{presets: [{preset}]}}"));
            for name in REFS {
                repo.git(&["update-ref", name, "main"]);
            }
            repo
        });
        trees(repo, number, preset, layout);
        for (tree, fate, stands) in FATES {
            let place = place(repo, layout, tree);
            fates.insert(format!("{name} {place}"), fate.to_owned());
            standing.insert(place, stands);
        }
    }
    let refs = |repo: &Repo<'_>| {
        let mut refs = repo.refs("refs");
        refs.retain(|name, _| !name.starts_with("refs/treewarden/"));
        refs
    };
    let before: BTreeMap<_, _> = repos
        .iter()
        .map(|(preset, repo)| (*preset, refs(repo)))
        .collect();
    assert!(
        before
            .values()
            .all(|refs| REFS.iter().all(|name| refs.contains_key(*name))),
        "{before:?}"
    );
    same(
        "a dry run",
        &world.fates(&world.pass(0, &["report"])),
        &fates,
    );
    same("a night", &world.fates(&world.night()), &fates);
    // Branches are kept as well: a runner recreates a tree from its branch.
    same(
        "refs",
        &repos
            .iter()
            .map(|(preset, repo)| (*preset, refs(repo)))
            .collect(),
        &before,
    );
    same(
        "trees",
        &standing
            .keys()
            .map(|place| (place.clone(), world.at(place).exists()))
            .collect(),
        &standing,
    );
    for repo in repos.values() {
        assert_eq!(repo.fsck(), "", "{}", repo.name);
    }
}
