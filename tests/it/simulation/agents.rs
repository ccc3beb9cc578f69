//! What agents do in a day, drawn from the seed: they work in checkouts and worktrees, and leave
//! them as agents do.
//!
//! If git refuses something, they go on with something else. What they delete themselves needn't be
//! kept; otherwise they never undo what others made.

use super::super::support::{fifo, remove as remove_from_disk};
use super::days::{CRATES, SUBMODULE, Sim, Tree};
use super::oracle::Expected;
use super::record;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where an agent works.
#[derive(Clone)]
struct Spot {
    repo: usize,
    path: PathBuf,
    /// `None` in the checkout.
    tree: Option<usize>,
}

type Act = fn(&mut Sim, &Spot);

/// What is done in a tree or a checkout: its weight, and its name in the log.
const ANYWHERE: [(u32, &str, Act); 23] = [
    (14, "commit", commit),
    (10, "edit", edit),
    (8, "untracked files", untracked),
    (4, "ignored files", ignored),
    (4, "links", links),
    (4, "odd names", odd_names),
    (4, "modes", modes),
    (6, "stage", stage),
    (4, "stage and edit again", stage_and_edit),
    (3, "unstage", |sim, at| {
        drop(sim.git(&at.path, &["rm", "-q", "--cached", "-r", "src"]));
    }),
    (3, "intend to add", intend),
    (3, "flags in the index", flags),
    (2, "split index", split_index),
    (4, "amend", |sim, at| {
        drop(sim.git(&at.path, &["commit", "-q", "-a", "--amend", "-m", "Better"]));
    }),
    (3, "reset", |sim, at| {
        drop(sim.git(&at.path, &["reset", "-q", "--hard", "HEAD~1"]));
    }),
    (5, "stash", |sim, at| {
        drop(sim.git(&at.path, &["stash", "-q", "-u"]));
    }),
    (3, "stash pop", |sim, at| {
        drop(sim.git(&at.path, &["stash", "pop", "-q"]));
    }),
    (1, "stash drop", |sim, at| {
        drop(sim.git(&at.path, &["stash", "drop", "-q"]));
    }),
    (3, "tools", tools),
    (10, "fetch crates", fetch_crates),
    (2, "delete a file", |_, at| delete_file(at)),
    (2, "branch", branch),
    (3, "a conflict that is resolved from a stash", resolve_undo),
];

const IN_TREES: [(u32, &str, Act); 20] = [
    (6, "merge main", |sim, at| {
        conflict(sim, at, "merge", &["merge", "-q", "origin/main"]);
    }),
    (6, "rebase", |sim, at| {
        conflict(
            sim,
            at,
            "rebase",
            &["rebase", "-q", "--autostash", "origin/main"],
        );
    }),
    (3, "cherry-pick", |sim, at| {
        conflict(sim, at, "cherry-pick", &["cherry-pick", "origin/main"]);
    }),
    (6, "push", |sim, at| {
        drop(sim.git(
            &at.path,
            &["push", "-q", "-f", "origin", "HEAD:refs/heads/shared-work"],
        ));
    }),
    (8, "merge into main", land),
    (2, "detach", |sim, at| {
        drop(sim.git(&at.path, &["checkout", "-q", "--detach"]));
    }),
    (1, "bisect", |sim, at| {
        drop(sim.git(&at.path, &["bisect", "start", "HEAD", "HEAD~2"]));
    }),
    (2, "end of a bisect", |sim, at| {
        drop(sim.git(&at.path, &["bisect", "reset"]));
    }),
    (1, "lock", lock),
    (3, "unlock", |sim, at| {
        drop(sim.git(
            &sim.repos[at.repo].path,
            &["worktree", "unlock", at.path.to_str().unwrap()],
        ));
    }),
    (1, "a nested repo", |sim, at| {
        drop(sim.git(&at.path, &["init", "-q", "--template=", "nested"]));
    }),
    (2, "submodule", submodule),
    (1, "a pipe", pipe),
    (3, "work among tools' files", tool_work),
    (2, "notes in the registration", admin_notes),
    (2, "a dead git's lock", |sim, at| dead_lock(sim, at)),
    (4, "delete by hand", delete),
    (2, "git worktree remove", |sim, at| {
        drop(sim.git(
            &sim.repos[at.repo].path,
            &["worktree", "remove", "-f", at.path.to_str().unwrap()],
        ));
    }),
    (4, "worktree remove", remove),
    (3, "move", relocate),
];

const IN_CHECKOUTS: [(u32, &str, Act); 9] = [
    (10, "commit and push", commit_and_push),
    (4, "fetch", |sim, at| {
        drop(sim.git(&at.path, &["fetch", "-q"]));
    }),
    (3, "repack", |sim, at| {
        drop(sim.git(&at.path, &["repack", "-q", "-d"]));
    }),
    (1, "gc", gc),
    (1, "pack refs", |sim, at| {
        drop(sim.git(&at.path, &["pack-refs", "--all"]));
    }),
    (3, "restore", restore),
    (2, "delete a branch", delete_branch),
    (1, "a copy of a tree", copy),
    (1, "fsck", |sim, at| drop(sim.git(&at.path, &["fsck"]))),
];

impl Sim {
    /// Does a day's work.
    pub(super) fn work(&mut self, operations: u32) {
        self.same_names();
        for repo in 0..self.repos.len() {
            if self.standing(repo).len() < 4 || self.rng.u32(..4) == 0 {
                self.new_tree(repo, None);
            }
        }
        for _ in 0..operations {
            let repo = self.rng.usize(..self.repos.len());
            let trees: Vec<usize> = self
                .standing(repo)
                .into_iter()
                .filter(|&tree| self.trees[tree].until >= self.day)
                .collect();
            let checkout = trees.is_empty() || self.rng.u32(..5) == 0;
            let tree = (!checkout).then(|| trees[self.rng.usize(..trees.len())]);
            let path = tree.map_or_else(
                || self.repos[repo].path.clone(),
                |tree| self.trees[tree].path.clone(),
            );
            let at = Spot { repo, path, tree };
            let special: &[(u32, &str, Act)] = if checkout { &IN_CHECKOUTS } else { &IN_TREES };
            let sum: u32 = ANYWHERE
                .iter()
                .chain(special)
                .map(|(weight, ..)| weight)
                .sum();
            let mut drawn = self.rng.u32(..sum);
            for &(weight, name, act) in ANYWHERE.iter().chain(special) {
                if drawn < weight {
                    self.say(format!("{}: {name}", self.short(&at.path)));
                    if let Some(tree) = tree {
                        self.trees[tree].active = self.day;
                    }
                    act(self, &at);
                    break;
                }
                drawn -= weight;
            }
        }
        self.trees
            .retain(|tree| tree.path.exists() || tree.is_registered());
    }

    /// Returns the repo's trees that exist on disk.
    pub(super) fn standing(&self, repo: usize) -> Vec<usize> {
        let stands = |tree: &Tree| {
            tree.repo == repo && tree.deleted.is_none() && tree.path.join(".git").exists()
        };
        (0..self.trees.len())
            .filter(|&tree| stands(&self.trees[tree]))
            .collect()
    }

    fn name(&mut self, stem: &str) -> String {
        self.next += 1;
        format!("{stem}-{}", self.next)
    }

    /// Recreates some of the trees below `worktrees` that the last run reaped, at the same place.
    fn same_names(&mut self) {
        for (repo, path) in std::mem::take(&mut self.taken) {
            if self.rng.bool()
                && !path.exists()
                && path.starts_with(self.world.root.join("worktrees"))
            {
                self.new_tree(repo, Some(&path));
            }
        }
    }

    /// Creates a worktree as one of the tools does.
    fn new_tree(&mut self, repo: usize, place: Option<&Path>) {
        let name = self.name("fix");
        let (repo_name, checkout) = (self.repos[repo].name.clone(), self.repos[repo].path.clone());
        let directory = checkout.file_name().unwrap().to_str().unwrap().to_owned();
        let add = |sim: &Self, path: &Path, rest: &[&str]| {
            let arguments = [&["worktree", "add", "-q", path.to_str().unwrap()], rest].concat();
            sim.git(&checkout, &arguments).map(|_| path.to_owned())
        };
        let root = self.world.root.clone();
        let made = match (place, self.rng.u32(..8)) {
            (Some(place), _) => add(self, place, &["--no-track", "-b", &name, "origin/main"]),
            (None, 0..2) => {
                let ran = self.program(&["worktree", "add", &repo_name, &name, "--wait", "0s"]);
                if ran.code == 0 {
                    Ok(PathBuf::from(ran.out.trim_end()))
                } else {
                    Err(ran.err)
                }
            }
            (None, 2..4) => add(
                self,
                &root.join(format!("worktrees/{name}/{directory}")),
                &["--detach", "origin/main"],
            ),
            (None, 4) => {
                let path = checkout.join(format!(".claude/worktrees/{name}"));
                add(
                    self,
                    &path,
                    &["--no-track", "-b", &format!("claude/{name}"), "origin/main"],
                )
            }
            (None, 5) => add(
                self,
                &root.join(format!("worktrees/{directory}/{name}")),
                &["-b", &name, "HEAD"],
            ),
            (None, _) => add(
                self,
                &root.join(format!("worktrees/{directory}/{name}")),
                &["--no-track", "-b", &name, "origin/main"],
            ),
        };
        match made {
            Ok(path) => {
                self.say(format!("{}: a new worktree", self.short(&path)));
                self.adopt(repo, path);
            }
            Err(why) => self.say(format!("{repo_name}: no worktree {name}: {why}")),
        }
    }

    /// Lets somebody work in a tree that was just created or restored.
    fn adopt(&mut self, repo: usize, path: PathBuf) {
        let text = fs::read_to_string(path.join(".git")).unwrap();
        let admin = PathBuf::from(text.trim_end().strip_prefix("gitdir: ").unwrap());
        let until = self.day + self.rng.u32(..5);
        self.trees.retain(|tree| tree.path != path);
        self.trees.push(Tree {
            repo,
            path,
            admin,
            active: self.day,
            until,
            tools: BTreeSet::new(),
            deleted: None,
        });
    }

    /// Returns a text that has not been written before.
    fn text(&mut self) -> Vec<u8> {
        self.next += 1;
        format!("line {} of day {}\n", self.next, self.day)
            .repeat(self.rng.usize(1..20))
            .into_bytes()
    }
}

fn put(sim: &mut Sim, at: &Spot, file: &str) {
    let text = sim.text();
    sim.write(&at.path.join(file), &text);
}

/// Edits the same lines of a file that other agents edit.
fn edit_shared(sim: &mut Sim, at: &Spot) {
    let text = format!("first, as of {}\nsecond\nthird\n", sim.name("edit"));
    sim.write(&at.path.join("shared.txt"), text.as_bytes());
}

fn some_file(sim: &mut Sim) -> String {
    let directory = ["", "src/", "docs/deep/er/"][sim.rng.usize(..3)];
    format!("{directory}f{}.txt", sim.rng.u32(..8))
}

fn commit(sim: &mut Sim, at: &Spot) {
    if sim.rng.u32(..3) == 0 {
        edit_shared(sim, at);
    } else {
        let file = some_file(sim);
        put(sim, at, &file);
    }
    let all = ["add", "-A"];
    let _refused = sim
        .git(&at.path, &all)
        .and_then(|_| sim.git(&at.path, &["commit", "-q", "-m", "Work"]));
}

fn edit(sim: &mut Sim, at: &Spot) {
    if sim.rng.u32(..3) == 0 {
        edit_shared(sim, at);
    } else {
        let file = some_file(sim);
        put(sim, at, &file);
    }
}

fn untracked(sim: &mut Sim, at: &Spot) {
    let file = sim.name("notes/new");
    put(sim, at, &file);
    let empty = sim.name("empty");
    sim.write(&at.path.join(empty), b"");
    let _there = fs::create_dir_all(at.path.join("an/empty/folder"));
}

fn ignored(sim: &mut Sim, at: &Spot) {
    let file = [".env", "x.log", "ignored/data.csv"][sim.rng.usize(..3)];
    put(sim, at, file);
}

fn links(sim: &mut Sim, at: &Spot) {
    let name = sim.name("link");
    let to = [
        "README.md",
        "../elsewhere",
        "src",
        "/etc/hostname",
        "nowhere at all",
    ][sim.rng.usize(..5)];
    let _there = symlink(to, at.path.join(name));
}

fn odd_names(sim: &mut Sim, at: &Spot) {
    let mut names: Vec<OsString> = [
        "sp ace",
        "-dash",
        "tab\tand\nline",
        "ünï",
        "'quote\"",
        "back\\slash",
        "*",
        "git~1",
        ".git ",
        ".git.",
    ]
    .map(OsString::from)
    .into();
    names.push(OsString::from_vec(b"not-utf8-\xff\xfe".to_vec()));
    let name = &names[sim.rng.usize(..names.len())];
    let text = sim.text();
    sim.write(&at.path.join(name), &text);
}

fn modes(sim: &mut Sim, at: &Spot) {
    let mode = [0o755, 0o600, 0o444, 0o640, 0o711][sim.rng.usize(..5)];
    let file = at
        .path
        .join(["bin/run", "src/main.rs", "shared.txt", "own.sh"][sim.rng.usize(..4)]);
    if !file.exists() {
        let text = sim.text();
        sim.write(&file, &text);
    }
    let _gone = fs::set_permissions(file, fs::Permissions::from_mode(mode));
}

fn delete_file(at: &Spot) {
    let file = at.path.join("package.json");
    if file.is_file() {
        remove_from_disk(&file);
    }
}

fn stage(sim: &mut Sim, at: &Spot) {
    let file = some_file(sim);
    put(sim, at, &file);
    let _refused = sim.git(&at.path, &["add", &file]);
}

fn stage_and_edit(sim: &mut Sim, at: &Spot) {
    let file = some_file(sim);
    put(sim, at, &file);
    let _refused = sim.git(&at.path, &["add", &file]);
    put(sim, at, &file);
}

fn intend(sim: &mut Sim, at: &Spot) {
    let file = sim.name("intended");
    put(sim, at, &file);
    let _refused = sim.git(&at.path, &["add", "-N", &file]);
}

fn flags(sim: &mut Sim, at: &Spot) {
    let flag = if sim.rng.bool() {
        "--assume-unchanged"
    } else {
        "--skip-worktree"
    };
    let _refused = sim.git(&at.path, &["update-index", flag, "src/main.rs"]);
    put(sim, at, "src/main.rs");
}

fn pipe(_: &mut Sim, at: &Spot) {
    let place = at.path.join("pipe");
    if !place.exists() {
        fifo(&place);
    }
}

/// Splits an index into two files, or joins it again.
fn split_index(sim: &mut Sim, at: &Spot) {
    let which = ["--split-index", "--no-split-index"][sim.rng.usize(..2)];
    let _refused = sim.git(&at.path, &["update-index", which]);
}

/// Adds a submodule, which can be fetched again like packages; or work in it, which can't.
fn submodule(sim: &mut Sim, at: &Spot) {
    let (Some(tree), place) = (at.tree, at.path.join(SUBMODULE)) else {
        return;
    };
    if place.join(".git").exists() {
        return put(sim, at, "sub/work.txt");
    }
    // By URL, because a clone by path would share the origin's files.
    let origin = format!("file://{}", sim.submodule().display());
    let added = sim.git(&at.path, &["submodule", "add", "-q", &origin, SUBMODULE]);
    if added
        .or_else(|_| sim.git(&at.path, &["submodule", "update", "-q", "--init"]))
        .is_ok()
    {
        let _nothing = sim.git(&at.path, &["commit", "-q", "-a", "-m", "A submodule"]);
        let files = record::files(&place, &BTreeSet::new())
            .into_keys()
            .chain([".git".into()]);
        sim.trees[tree]
            .tools
            .extend(files.map(|file| Path::new(SUBMODULE).join(file)));
    }
}

fn branch(sim: &mut Sim, at: &Spot) {
    let name = sim.name("topic");
    let _refused = sim.git(&at.path, &["checkout", "-q", "-b", &name]);
}

/// Resolves a stash's conflict by hand: only the index remembers the versions that went into it.
fn resolve_undo(sim: &mut Sim, at: &Spot) {
    edit_shared(sim, at);
    if sim.git(&at.path, &["stash", "-q"]).is_err() {
        return;
    }
    edit_shared(sim, at);
    let _refused = sim.git(&at.path, &["commit", "-q", "-a", "-m", "Meanwhile"]);
    if sim.git(&at.path, &["stash", "pop", "-q"]).is_err() {
        edit_shared(sim, at);
        let _done = sim
            .git(&at.path, &["add", "shared.txt"])
            .and_then(|_| sim.git(&at.path, &["stash", "drop", "-q"]));
    }
}

/// Runs a command that may end in a conflict, which is then left, aborted or resolved.
fn conflict(sim: &mut Sim, at: &Spot, what: &str, arguments: &[&str]) {
    if sim.git(&at.path, arguments).is_ok() {
        return;
    }
    match sim.rng.u32(..6) {
        0 => sim.say("a conflict is left"),
        1..3 => drop(sim.git(&at.path, &[what, "--abort"])),
        _ => {
            edit_shared(sim, at);
            let _refused = sim.git(&at.path, &["add", "-A"]);
            if sim
                .git(&at.path, &["-c", "core.editor=true", what, "--continue"])
                .is_err()
            {
                let _refused = sim.git(&at.path, &[what, "--abort"]);
            }
        }
    }
}

/// Sweeps first: a cruft pack stores when each object was written, and that can't be moved into the
/// simulation's time later.
fn gc(sim: &mut Sim, at: &Spot) {
    sim.sweep();
    let _refused = sim.git(&at.path, &["gc", "-q"]);
}

/// Lands the tree's work in main, in one of the usual ways.
fn land(sim: &mut Sim, at: &Spot) {
    let checkout = sim.repos[at.repo].path.clone();
    let Ok(commit) = sim.git(&at.path, &["rev-parse", "HEAD"]) else {
        return;
    };
    if sim
        .git(&checkout, &["symbolic-ref", "-q", "HEAD"])
        .as_deref()
        != Ok("refs/heads/main")
    {
        return;
    }
    let squash = sim.rng.bool();
    let merged = if squash {
        sim.git(&checkout, &["merge", "-q", "--squash", &commit])
            .and_then(|_| sim.git(&checkout, &["commit", "-q", "-m", "Squashed"]))
    } else {
        sim.git(&checkout, &["merge", "-q", "--no-edit", &commit])
    };
    match merged {
        Ok(_) => drop(sim.git(&checkout, &["push", "-q", "origin", "main"])),
        Err(_) => drop(sim.git(&checkout, &["reset", "-q", "--merge"])),
    }
}

fn commit_and_push(sim: &mut Sim, at: &Spot) {
    commit(sim, at);
    let _refused = sim.git(&at.path, &["push", "-q", "origin", "HEAD:main"]);
}

fn lock(sim: &mut Sim, at: &Spot) {
    let checkout = sim.repos[at.repo].path.clone();
    let reason = ["claude agent fix (pid 4299)", "mine"][sim.rng.usize(..2)];
    let _refused = sim.git(
        &checkout,
        &[
            "worktree",
            "lock",
            "--reason",
            reason,
            at.path.to_str().unwrap(),
        ],
    );
}

fn dead_lock(sim: &mut Sim, at: &Spot) {
    if let Some(tree) = at.tree {
        let admin = sim.trees[tree].admin.clone();
        sim.write(&admin.join("index.lock"), b"");
    }
}

/// Writes what package managers and compilers leave.
fn tools(sim: &mut Sim, at: &Spot) {
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n".as_slice();
    let lock = br#"{"name":"x","lockfileVersion":3,"packages":{"node_modules/left-pad":{"version":"1.3.0"}}}"#.as_slice();
    let made: &[(&str, &[u8])] = if sim.rng.bool() {
        &[
            ("node_modules/.package-lock.json", lock),
            (
                "node_modules/left-pad/package.json",
                br#"{"name":"left-pad","version":"1.3.0","main":"index.js"}"#,
            ),
            ("node_modules/left-pad/index.js", b"module.exports = 1\n"),
        ]
    } else {
        &[
            ("target/CACHEDIR.TAG", tag),
            (
                "target/.rustc_info.json",
                br#"{"rustc_fingerprint":1,"outputs":{},"successes":{}}"#,
            ),
            ("target/debug/.cargo-lock", b""),
            (
                "target/debug/.fingerprint/x-0123456789abcdef/lib-x",
                b"0123456789abcdef",
            ),
            (
                "target/debug/.fingerprint/x-0123456789abcdef/invoked.timestamp",
                b"This file has an mtime of when this was started.",
            ),
        ]
    };
    for (file, bytes) in made {
        sim.write(&at.path.join(file), bytes);
        if let Some(tree) = at.tree {
            sim.trees[tree].tools.insert(file.into());
        }
    }
}

/// Adds crates to the cache, and some of them to the lock file.
fn fetch_crates(sim: &mut Sim, at: &Spot) {
    let mut names = Vec::new();
    for _ in 0..4 {
        let name = sim.name("krate");
        sim.write(
            &sim.world.at(CRATES).join(format!("{name}-1.0.0.crate")),
            &vec![b'x'; 256 << 10],
        );
        names.push(name);
    }
    let source = "registry+https://github.com/rust-lang/crates.io-index";
    let entry = |name: &String| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n")
    };
    let entries: String = names[..2].iter().map(entry).collect();
    sim.write(
        &at.path.join("Cargo.lock"),
        format!("version = 4\n{entries}").as_bytes(),
    );
}

/// Puts somebody's file into a tool's directory.
fn tool_work(sim: &mut Sim, at: &Spot) {
    tools(sim, at);
    let places = [
        "target/experiments/results.csv",
        "target/debug/dev.sqlite",
        "node_modules/.notes.md",
        "node_modules/mine/src/work.js",
    ];
    let place = places[sim.rng.usize(..places.len())];
    put(sim, at, place);
}

fn admin_notes(sim: &mut Sim, at: &Spot) {
    if let Some(tree) = at.tree {
        let (admin, text) = (sim.trees[tree].admin.clone(), sim.text());
        sim.write(&admin.join("agent-notes.md"), &text);
    }
}

/// Deletes like `rm -rf`, but only one tree per repo in two days: half of a repo's trees at once
/// would look like a broken mount.
fn delete(sim: &mut Sim, at: &Spot) {
    let Some(tree) = at.tree else { return };
    let recently = |other: &Tree| {
        other.repo == at.repo
            && other.deleted.is_some_and(|day| day + 1 >= sim.day)
            && other.is_registered()
    };
    if !sim.trees.iter().any(recently) && sim.standing(at.repo).len() > 2 {
        remove_from_disk(&at.path);
        sim.trees[tree].deleted = Some(sim.day);
    }
}

fn remove(sim: &mut Sim, at: &Spot) {
    let Some(tree) = at.tree else { return };
    let repo = sim.repos[at.repo].name.clone();
    let roots = record::roots(&sim.repos[at.repo].git_dir());
    let before = Expected::of(sim, at.repo, &sim.trees[tree].admin, &at.path, &roots);
    let ran = sim.program(&[
        "worktree",
        "remove",
        &repo,
        at.path.to_str().unwrap(),
        "--rescue",
        "--wait",
        "0s",
    ]);
    sim.say(format!(
        "exit {}: {}{}",
        ran.code,
        ran.out.trim_end(),
        ran.err.trim_end()
    ));
    if !at.path.exists() {
        record::keep(&sim.repos[at.repo].git_dir(), &sim.repos[at.repo].vault);
        sim.removed.push(before);
    }
}

fn relocate(sim: &mut Sim, at: &Spot) {
    let Some(tree) = at.tree else { return };
    let (name, checkout) = (sim.name("moved"), sim.repos[at.repo].path.clone());
    let directory = checkout.file_name().unwrap().to_str().unwrap().to_owned();
    let to = sim.world.root.join(format!("worktrees/{directory}/{name}"));
    if sim
        .git(
            &checkout,
            &[
                "worktree",
                "move",
                at.path.to_str().unwrap(),
                to.to_str().unwrap(),
            ],
        )
        .is_ok()
    {
        sim.say(format!("to {}", sim.short(&to)));
        sim.trees[tree].path = to;
    }
}

/// Restores a rescued tree, in its old place or elsewhere, and goes on working in it.
fn restore(sim: &mut Sim, at: &Spot) {
    let repo = sim.repos[at.repo].name.clone();
    let ids = sim.rescues(&repo);
    if ids.is_empty() {
        return;
    }
    let (id, place) = ids[sim.rng.usize(..ids.len())].clone();
    let name = sim.name("back");
    let directory = sim.repos[at.repo]
        .path
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let elsewhere = sim.world.root.join(format!("worktrees/{directory}/{name}"));
    let to = if sim.rng.bool() && !place.exists() {
        place
    } else {
        elsewhere
    };
    let ran = sim.program(&["rescue", "restore", &id, "--to", to.to_str().unwrap()]);
    sim.say(format!(
        "restore {id} to {}: exit {} {}",
        sim.short(&to),
        ran.code,
        ran.err.trim_end()
    ));
    if ran.code == 0 {
        sim.adopt(at.repo, to);
    }
}

fn delete_branch(sim: &mut Sim, at: &Spot) {
    let Ok(list) = sim.git(
        &at.path,
        &["for-each-ref", "--format=%(refname:short)", "refs/heads"],
    ) else {
        return;
    };
    let names: Vec<&str> = list.lines().filter(|name| *name != "main").collect();
    if !names.is_empty() {
        let name = names[sim.rng.usize(..names.len())];
        // Git refuses to delete a branch that is checked out.
        let _refused = sim.git(&at.path, &["branch", "-q", "-D", name]);
    }
}

/// Copies a tree like `cp -a`: the copy's `.git` names the original's registration.
fn copy(sim: &mut Sim, at: &Spot) {
    let trees = sim.standing(at.repo);
    if trees.is_empty() || sim.strays.len() >= 3 {
        return;
    }
    let from = sim.trees[trees[sim.rng.usize(..trees.len())]].path.clone();
    let (name, directory) = (
        sim.name("copy"),
        sim.repos[at.repo]
            .path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
    );
    let to = sim.world.root.join(format!("worktrees/{directory}/{name}"));
    let copied = sim
        .world
        .program("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
    if copied.code == 0 {
        sim.strays.insert(to);
    }
}
