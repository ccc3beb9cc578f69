//! A fleet: repos with trees in every class and for every reason to keep one, each with the fate
//! that a run must give it.
//!
//! Every function builds one repo with the commands that an agent would use, and notes the expected
//! fate beside each tree.

use super::made::{cargo, npm};
use super::repo::{Repo, Tree};
use super::{World, age, fifo, git, write};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A volume, and the expected fate of each of its trees.
pub(crate) struct Fleet {
    /// The volume.
    pub(crate) world: World,
    /// `REPO PATH` → fate, as [`World::fates`] returns them.
    pub(crate) fates: BTreeMap<String, String>,
}

/// One repo of the fleet while it is built.
struct Row<'a> {
    repo: Repo<'a>,
    fates: Vec<(String, &'static str)>,
}

/// Prepares a new tree as its name says.
type Make = fn(&Tree);

/// The repos of the fleet.
const REPOS: [fn(&mut Row<'_>); 10] = [
    landed, fresh, saved, unsaved, commits, held, odd, strays, made_again, never,
];

impl Fleet {
    /// Builds all of it.
    pub(crate) fn new() -> Self {
        let world = World::new();
        world.set("defaults", "worktrees: {presets: [afk, claude]}");
        let names = [
            "landed",
            "fresh",
            "saved",
            "unsaved",
            "commits",
            "held",
            "odd",
            "strays",
            "made_again",
            "never",
        ];
        let built = names.par_iter().zip(REPOS).map(|(name, build)| {
            let mut row = Row {
                repo: world.repo(&format!("acme/{name}")),
                fates: Vec::new(),
            };
            build(&mut row);
            row.fates
        });
        let fates = built
            .flatten()
            .map(|(tree, fate)| (tree, fate.to_owned()))
            .collect();
        Self { world, fates }
    }
}

impl Row<'_> {
    fn expect(&mut self, place: impl std::fmt::Display, fate: &'static str) {
        self.fates
            .push((format!("{} {place}", self.repo.name), fate));
    }

    /// Makes the tree look untouched for so many days, and expects this fate.
    fn idle(&mut self, tree: &Tree, days: f64, fate: &'static str) {
        tree.age(days);
        self.expect(self.repo.world.below(&tree.path), fate);
    }
}

/// Trees with work that is upstream, however it was merged.
fn landed(row: &mut Row<'_>) {
    const MERGED: &str = "reap landed squash-merged";
    let untouched = row.repo.tree("untouched");
    row.idle(&untouched, 2.0, "reap landed merged");
    let merged = row.repo.tree("merged");
    merged.commit("merged.ts", "1\n");
    row.repo.git(&["merge", "-q", "--no-ff", "merged"]);
    row.repo.push();
    row.idle(&merged, 2.0, "reap landed merged");

    let same_tree = row.repo.tree("same-tree");
    same_tree.commit("same.ts", "1\n").commit("same.ts", "2\n");
    squash(&row.repo, "same-tree");
    row.idle(&same_tree, 2.0, MERGED);

    let squashed = row.repo.tree("squashed");
    squashed
        .commit("squashed.ts", "1\n")
        .commit("other.ts", "2\n");
    row.repo.moves_on("meanwhile.ts");
    squash(&row.repo, "squashed");
    row.idle(&squashed, 2.0, MERGED);

    let rebased = row.repo.tree("rebased");
    rebased.commit("first.ts", "1\n").commit("second.ts", "2\n");
    let half = row.repo.tree("half-landed");
    half.commit("half.ts", "1\n").commit("rest.ts", "2\n");
    // A commit picked onto its own parent would be the very same.
    row.repo.moves_on("before-the-rebase.ts");
    for commit in ["rebased~1", "rebased", "half-landed~1"] {
        row.repo.git(&["cherry-pick", commit]);
        row.repo
            .moves_on(&format!("after-{}.ts", commit.replace('~', "-")));
    }
    row.idle(&rebased, 2.0, MERGED);
    row.idle(&half, 5.0, "keep saved recent");

    let nothing = row.repo.tree("no-changes");
    nothing.commit("new.ts", "1\n");
    nothing.git(&["revert", "--no-edit", "HEAD"]);
    row.idle(&nothing, 2.0, "reap landed no changes");
    let young = row.repo.tree("young");
    row.idle(&young, 0.5, "keep recent");
}

/// Trees in which nobody has committed anything yet.
fn fresh(row: &mut Row<'_>) {
    const FRESH: &str = "reap fresh no commit yet";
    let made = row.repo.tree("made");
    row.idle(made.not_worked_in(), 6.5, "keep fresh recent");
    let forgotten = row.repo.tree("forgotten");
    row.idle(forgotten.not_worked_in(), 7.5, FRESH);
    let detached = row.repo.detached("detached");
    row.idle(detached.not_worked_in(), 6.5, "keep fresh recent");
    // Updated and renamed, but still without a commit.
    let moved = row.repo.tree("moved");
    moved.not_worked_in();
    row.repo.moves_on("meanwhile.ts");
    moved.git(&["merge", "-q", "--ff-only", "origin/main"]);
    moved.git(&["checkout", "-q", "-b", "other"]);
    moved.git(&["reset", "-q", "--hard", "origin/main~1"]);
    moved.git(&["rebase", "-q", "origin/main"]);
    moved.git(&["branch", "-m", "other", "feature/other"]);
    row.idle(&moved, 7.5, FRESH);
    let written = row.repo.tree("written");
    written.not_worked_in().write("new.ts", "new\n");
    row.idle(&written, 8.0, "keep unsaved recent");
    // Work that landed by a fast-forward was done here, or in an earlier tree.
    let forwarded = row.repo.tree("forwarded");
    forwarded.not_worked_in().commit("forwarded.ts", "1\n");
    forwarded.git(&["push", "-q", "origin", "HEAD:main"]);
    row.repo.git(&["pull", "-q", "--ff-only", "origin", "main"]);
    row.idle(&forwarded, 2.0, "reap landed merged");
    let first = row.repo.tree("first");
    first.not_worked_in().commit("first.ts", "1\n");
    first.git(&["push", "-q", "origin", "HEAD:main"]);
    row.repo
        .git(&["worktree", "remove", "-f", first.path.to_str().unwrap()]);
    let second = row.repo.world.at("worktrees/acme__fresh/second");
    row.repo
        .git(&["worktree", "add", "-q", second.to_str().unwrap(), "first"]);
    row.idle(&Tree::of(second), 2.0, "reap landed merged");
}

fn squash(repo: &Repo<'_>, branch: &str) {
    repo.git(&["merge", "-q", "--squash", branch]);
    repo.git(&["commit", "-q", "-m", "Squashed"]);
    repo.push();
}

/// Clean trees, with commits on a branch that stays, or on the remote.
fn saved(row: &mut Row<'_>) {
    const SAVED: &str = "reap saved saved on its branch";
    let on_branch = row.repo.tree("on-branch");
    on_branch.commit("a.ts", "1\n");
    row.idle(&on_branch, 8.0, SAVED);
    let pushed = row.repo.detached("pushed");
    pushed.commit("b.ts", "1\n");
    pushed.git(&["push", "-q", "origin", "HEAD:refs/heads/pushed"]);
    row.idle(&pushed, 8.0, SAVED);
    let tagged = row.repo.detached("tagged");
    tagged.commit("c.ts", "1\n").git(&["tag", "v1"]);
    row.idle(&tagged, 8.0, SAVED);
    let younger = row.repo.tree("three-days");
    younger.commit("d.ts", "1\n");
    row.idle(&younger, 3.0, "keep saved recent");

    let sparse = row.repo.tree("sparse");
    sparse
        .commit("docs/e.md", "1\n")
        .git(&["sparse-checkout", "set", "--no-cone", "/docs"]);
    assert!(
        !sparse.path.join("README.md").exists(),
        "nothing is left out"
    );
    row.idle(&sparse, 8.0, SAVED);
    let unborn = row.repo.tree("unborn");
    unborn.git(&["checkout", "-q", "--orphan", "nothing-yet"]);
    unborn.git(&["rm", "-qrf", "."]);
    row.idle(&unborn, 8.0, SAVED);
    // Neither time shows work: inspecting renews the one, and git the other.
    let touched = row.repo.tree("touched");
    touched.commit("f.ts", "1\n");
    row.idle(&touched, 8.0, SAVED);
    age(&touched.path, 0.0);
    age(&touched.admin, 0.0);
    let beating = row.repo.tree("beating");
    beating.commit("g.ts", "1\n");
    write(&beating.admin.join("treewarden-heartbeat"), "");
    row.idle(&beating, 8.0, "keep recent");
}

/// Work that `git worktree remove`, or even `git status`, doesn't notice.
fn unsaved(row: &mut Row<'_>) {
    const DIRTY: &str = "reap unsaved uncommitted work";
    row.repo
        .git(&["config", "extensions.worktreeConfig", "true"]);
    write(&row.repo.git_dir("info/exclude"), "notes/\n");
    let makers: [(&str, Make); 13] = [
        ("modified", |tree| {
            tree.write("README.md", "edited\n");
        }),
        ("same-size", |tree| {
            tree.write("README.md", "# a repo\n");
        }),
        ("untracked", |tree| {
            tree.write("new.ts", "new\n");
        }),
        ("deleted", |tree| {
            fs::remove_file(tree.path.join("README.md")).unwrap();
        }),
        ("mode", |tree| {
            fs::set_permissions(
                tree.path.join("README.md"),
                fs::Permissions::from_mode(0o755),
            )
            .unwrap();
        }),
        ("link", |tree| {
            symlink("nowhere", tree.path.join("link")).unwrap();
        }),
        ("staged-only", |tree| {
            tree.write("README.md", "staged\n")
                .git(&["add", "README.md"]);
            tree.write("README.md", "# A repo\n");
        }),
        ("assume-unchanged", |tree| {
            tree.git(&["update-index", "--assume-unchanged", "README.md"]);
            tree.write("README.md", "edited\n");
        }),
        ("skip-worktree", |tree| {
            tree.git(&["update-index", "--skip-worktree", "README.md"]);
            tree.write("README.md", "edited\n");
        }),
        ("excluded", |tree| {
            tree.write("notes/excluded.md", "mine\n");
        }),
        ("env", |tree| {
            tree.write("deep/down/.env", "KEY=only-here\n");
        }),
        ("log", |tree| {
            tree.write("run.log", "a day's measurement\n");
        }),
        ("hidden", |tree| {
            tree.git(&["config", "--worktree", "status.showUntrackedFiles", "no"]);
            tree.write("new.ts", "new\n");
        }),
    ];
    for (name, make) in makers {
        let tree = row.repo.tree(name);
        make(&tree);
        let unseen = [
            "assume-unchanged",
            "skip-worktree",
            "excluded",
            "env",
            "log",
            "hidden",
        ]
        .contains(&name);
        assert_eq!(
            tree.git(&["status", "--porcelain"]).is_empty(),
            unseen,
            "{name}: what git status sees"
        );
        row.idle(&tree, 31.0, DIRTY);
    }
    let not_yet = row.repo.tree("twenty-days");
    not_yet.write("README.md", "edited\n");
    row.idle(&not_yet, 20.0, "keep unsaved recent");
    let edited = row.repo.tree("edited-since");
    edited.write("new.ts", "new\n");
    row.idle(&edited, 40.0, "keep unsaved recent");
    age(&edited.path.join("new.ts"), 10.0);
}

/// Commits that only the tree keeps alive.
fn commits(row: &mut Row<'_>) {
    const LONELY: &str = "reap unsaved unsaved commits";
    let detached = row.repo.detached("detached");
    detached.commit("a.ts", "1\n");
    row.idle(&detached, 31.0, LONELY);
    let twenty = row.repo.detached("twenty-days");
    twenty.commit("b.ts", "1\n");
    row.idle(&twenty, 20.0, "keep unsaved recent");
    let in_reflog = row.repo.tree("in-reflog");
    in_reflog.git(&["checkout", "-q", "--detach"]);
    in_reflog
        .commit("c.ts", "1\n")
        .git(&["checkout", "-q", "in-reflog"]);
    row.idle(&in_reflog, 31.0, LONELY);
    let private = row.repo.tree("private-ref");
    let commit = private.git(&[
        "commit-tree",
        "-p",
        "HEAD",
        "-m",
        "Only here",
        "HEAD^{tree}",
    ]);
    private.git(&["update-ref", "refs/worktree/mine", &commit]);
    row.idle(&private, 31.0, LONELY);
    let stashed = row.repo.tree("stashed");
    stashed
        .write("README.md", "put aside\n")
        .git(&["stash", "-q"]);
    row.idle(&stashed, 31.0, LONELY);
    // The branch's own reflog keeps this one, and the branch stays.
    let reset = row.repo.tree("reset");
    reset
        .commit("d.ts", "1\n")
        .git(&["reset", "-q", "--hard", "HEAD~1"]);
    row.idle(&reset, 8.0, "reap landed merged");
    let at_main = row.repo.detached("at-main");
    row.idle(&at_main, 2.0, "reap landed merged");
}

/// Trees that are locked, or in which a git operation is under way.
fn held(row: &mut Row<'_>) {
    const UNDER_WAY: &str = "keep in progress";
    for (name, arguments) in [
        ("locked", &["--reason", "at the fair"][..]),
        ("locked-silently", &[]),
    ] {
        let tree = row.repo.tree(name);
        row.repo.git(
            &[
                &["worktree", "lock"],
                arguments,
                &[tree.path.to_str().unwrap()],
            ]
            .concat(),
        );
        row.idle(&tree, 99.0, "keep locked");
    }
    let names = ["rebase", "merge", "cherry-pick", "revert", "bisect", "am"];
    let trees = names.map(|name| row.repo.tree(name));
    for tree in &trees {
        tree.commit("README.md", "mine\n")
            .commit("README.md", "mine again\n");
    }
    row.repo.moves_on("README.md");
    let patch = row
        .repo
        .git(&["format-patch", "-1", "--stdout", "origin/main"]);
    write(&row.repo.world.beside("am.patch"), patch + "\n");
    let patch = row.repo.world.beside("am.patch");
    let commands: [&[&str]; 6] = [
        &["rebase", "origin/main"],
        &["merge", "origin/main"],
        &["cherry-pick", "origin/main"],
        &["revert", "--no-edit", "HEAD~1"],
        &["bisect", "start"],
        &["am", patch.to_str().unwrap()],
    ];
    for (tree, command) in trees.iter().zip(commands) {
        let (code, _, said) = super::try_git(&tree.path, 60.0, command);
        assert_eq!(
            code == Some(0),
            command[0] == "bisect",
            "{command:?} was to stop half-way: {said}"
        );
        row.idle(tree, 99.0, UNDER_WAY);
    }
    let writing = row.repo.tree("writing");
    write(&writing.admin.join("index.lock"), "");
    row.idle(&writing, 99.0, UNDER_WAY);
    // A git that crashed the day before blocks nothing, not even on a file server, where it could
    // be alive on another machine.
    let crashed = row.repo.tree("crashed");
    write(&crashed.admin.join("index.lock"), "");
    age(&crashed.admin.join("index.lock"), 1.1);
    row.idle(&crashed, 99.0, "reap landed merged");
}

/// Trees that a rescue can't save, and damaged ones.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn odd(row: &mut Row<'_>) {
    const BLOCKED: &str = "keep landed can't be rescued";
    let world = row.repo.world;
    let nested = row.repo.tree("nested-repo");
    git(&nested.path, 60.0, &["init", "-q", "ignored/inner"]);
    row.idle(&nested, 99.0, BLOCKED);
    let pipe = row.repo.tree("pipe");
    fifo(&pipe.path.join("ignored.log"));
    row.idle(&pipe, 99.0, BLOCKED);
    let submodule = row.repo.tree("submodule");
    let origin = world.beside("origins/acme__odd.git");
    for name in ["filled", "emptied"] {
        submodule.git(&[
            "submodule",
            "--quiet",
            "add",
            origin.to_str().unwrap(),
            name,
        ]);
    }
    submodule.git(&["commit", "-q", "-m", "Submodules"]);
    submodule.write("filled/notes.md", "mine\n");
    row.idle(&submodule, 99.0, "keep unsaved can't be rescued");
    // An emptied submodule leaves a clean tree. Its repo is in the admin directory, with commits
    // that exist nowhere else.
    let emptied = row.repo.tree("submodule-emptied");
    emptied.git(&[
        "submodule",
        "--quiet",
        "add",
        origin.to_str().unwrap(),
        "sub",
    ]);
    git(
        &emptied.path.join("sub"),
        60.0,
        &["commit", "-q", "--allow-empty", "-m", "Only here"],
    );
    emptied
        .commit("more.ts", "1\n")
        .git(&["submodule", "--quiet", "deinit", "-f", "sub"]);
    assert!(emptied.admin.join("modules/sub/HEAD").exists());
    row.idle(&emptied, 99.0, "keep saved can't be rescued");
    // A tree within a tree is reaped by itself, and never with the outer one.
    let outer = row.repo.tree("outer");
    let inner = row
        .repo
        .tree_at("worktrees/acme__odd/outer/ignored/inner", "inner");
    row.idle(&outer, 99.0, "keep unsaved can't be rescued");
    row.idle(&inner, 99.0, "reap landed merged");

    let broken: [(&str, Make); 7] = [
        ("index-garbage", |tree| {
            write(&tree.admin.join("index"), "garbage");
        }),
        ("index-cut", |tree| {
            let index = fs::read(tree.admin.join("index")).unwrap();
            write(&tree.admin.join("index"), &index[..index.len() / 2]);
        }),
        ("head-garbage", |tree| {
            write(&tree.admin.join("HEAD"), "garbage\n");
        }),
        ("git-file-gone", |tree| {
            fs::remove_file(tree.path.join(".git")).unwrap();
        }),
        ("git-file-astray", |tree| {
            write(
                &tree.path.join(".git"),
                "gitdir: /elsewhere/.git/worktrees/x\n",
            );
        }),
        ("is-a-file", |tree| {
            fs::remove_dir_all(&tree.path).unwrap();
            write(&tree.path, "not a folder\n");
        }),
        ("is-a-link", |tree| {
            fs::rename(&tree.path, tree.path.with_file_name("../moved")).unwrap();
            symlink("../moved", &tree.path).unwrap();
        }),
    ];
    for (name, break_it) in broken {
        let tree = row.repo.tree(name);
        tree.age(99.0);
        break_it(&tree);
        row.expect(world.below(&tree.path), "unknown");
        if tree.path.is_dir() {
            tree.age(99.0)
        } else {
            tree.age_admin(99.0)
        };
    }

    let truncated = row.repo.tree("gitdir-cut");
    truncated.age(99.0);
    write(&truncated.admin.join("gitdir"), "");
    row.expect(world.below(&truncated.admin), "unknown");
    row.expect(world.below(&truncated.path), "keep dangling");
    let outside = world.beside("outside");
    row.repo.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "outside",
        outside.to_str().unwrap(),
    ]);
    row.expect(outside.display(), "unknown");
}

/// Trees about which the registry and the disk disagree.
fn strays(row: &mut Row<'_>) {
    let world = row.repo.world;
    let dangling = row.repo.tree("dangling");
    fs::remove_dir_all(&dangling.admin).unwrap();
    row.expect(world.below(&dangling.path), "keep dangling");
    let place = |name: &str| format!("worktrees/acme__strays/{name}");
    fs::create_dir_all(world.at(place("empty"))).unwrap();
    row.expect(place("empty"), "keep empty");
    write(&world.at(place("notes/todo.md")), "mine\n");
    row.expect(place("notes"), "keep not git");
    // A clone is a repo of its own: not mentioned, never touched.
    git(
        &world.at("worktrees/acme__strays"),
        60.0,
        &["clone", "-q", row.repo.path.to_str().unwrap(), "clone"],
    );

    let nested = row
        .repo
        .tree_at("acme__strays/.worktrees/in-checkout", "in-checkout");
    row.idle(&nested, 2.0, "reap landed merged");
    let agent = row
        .repo
        .tree_at("acme__strays/.claude/worktrees/agent", "agent");
    row.idle(&agent, 2.0, "reap landed merged");
    // T3 renames a branch and keeps the path.
    let renamed = row.repo.tree("renamed");
    renamed.git(&["branch", "-m", "renamed", "feature/renamed"]);
    row.idle(&renamed, 2.0, "reap landed merged");
    for (name, days, fate) in [
        ("gone-lately", 1.0, Some("keep missing")),
        ("gone-long-ago", 10.0, None),
        ("gone-locked", 10.0, Some("keep missing")),
    ] {
        let tree = row.repo.tree(name);
        fs::remove_dir_all(&tree.path).unwrap();
        if name == "gone-locked" {
            row.repo
                .git(&["worktree", "lock", tree.path.to_str().unwrap()]);
        }
        tree.age_admin(days);
        if let Some(fate) = fate {
            row.expect(world.below(&tree.path), fate);
        }
    }
    for name in ["one", "two"] {
        let tree = row.repo.tree(name);
        row.idle(&tree, 0.1, "keep recent");
    }
}

/// Directories that tools can regenerate are no work; others of that name are.
fn made_again(row: &mut Row<'_>) {
    const DIRTY: &str = "reap unsaved uncommitted work";
    const LANDED: &str = "reap landed merged";
    let makers: [(&str, f64, &'static str, Make); 7] = [
        ("npm", 2.0, LANDED, |tree| {
            tree.write("node_modules/.package-lock.json", &npm(&["react"]))
                .write("node_modules/react/package.json", "{}")
                .write("node_modules/react/index.js", "x");
        }),
        ("cargo", 2.0, LANDED, |tree| {
            cargo(&tree.path.join("target"), "app", b"x");
        }),
        ("npm-fresh", 2.0, LANDED, |tree| {
            tree.write("node_modules/.bin/tsc", "#!/bin/sh\nbasedir=x\n");
        }),
        ("target-of-mine", 31.0, DIRTY, |tree| {
            tree.write("ignored/target/notes.md", "mine\n");
        }),
        ("dist", 31.0, DIRTY, |tree| {
            tree.write("ignored/dist/app.js", "x");
        }),
        ("modules-tracked", 31.0, DIRTY, |tree| {
            tree.write("node_modules/mine.js", "1\n")
                .git(&["add", "-f", "node_modules/mine.js"]);
            tree.write("node_modules/.package-lock.json", "{}");
        }),
        ("modules-link", 2.0, LANDED, |tree| {
            symlink("../npm/node_modules", tree.path.join("node_modules")).unwrap();
        }),
    ];
    row.repo.commit(60.0, "Cargo.toml", "[package]\n");
    row.repo.push();
    for (name, days, fate, make) in makers {
        let tree = row.repo.tree(name);
        make(&tree);
        row.idle(&tree, days, fate);
    }
    age(
        &row.repo
            .world
            .at("worktrees/acme__made_again/npm-fresh/node_modules/.bin/tsc"),
        0.0,
    );
}

/// The config keeps landed trees for ever here, and reaps unsaved ones after two days.
fn never(row: &mut Row<'_>) {
    row.repo.set("worktrees: {landed: never, unsaved: 2d}");
    let landed = row.repo.tree("landed");
    row.idle(&landed, 99.0, "keep landed switched off");
    let dirty = row.repo.tree("dirty");
    dirty.write("new.ts", "new\n");
    row.idle(&dirty, 3.0, "reap unsaved uncommitted work");
    // A saved tree keeps its own age, even if that is longer than an unsaved one's.
    let saved = row.repo.tree("saved");
    saved.commit("a.ts", "1\n");
    row.idle(&saved, 5.0, "keep saved recent");
}
