//! What becomes of each worktree, against `git status` in each of them, one after another.
//!
//! `cargo bench --bench verdicts`. `REPOS` (10), `TREES` of each (50), `TRACKED` files (200) and `INSTALLED` files in `node_modules` of each tree (2,000), all of them idle
//! for three days, so that each has to be looked at; `ROUNDS` (3). It must never count a night in which a repo rested.

#![expect(clippy::disallowed_methods, reason = "the ways are other programs")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../night/volume.rs"]
mod volume;

use common::{Way, contest, set};
use std::process::Command;
use volume::{Shape, Volume, git, run};

fn main() {
    let shape = Shape {
        repos: set("REPOS", 10),
        trees: set("TREES", 50),
        tracked: set("TRACKED", 200),
        installed: set("INSTALLED", 2000),
        idle: true,
    };
    let mut top = tempfile::tempdir().expect("a folder for the volume");
    top.disable_cleanup(std::env::var_os("KEEP").is_some());
    let volume = Volume::make(top.path(), shape);
    let treewarden = env!("CARGO_BIN_EXE_treewarden");
    run(Command::new(treewarden).arg("init").arg(&volume.root));
    // A dry run keeps nothing in mind, so each of them looks.
    let verdicts = || run(Command::new(treewarden).args(["run", "--dry-run", "--output", "/dev/null", "--config"]).arg(&volume.config));
    let status = || volume.trees().for_each(|tree| git(&tree, &["status", "--porcelain"]));
    let Shape { repos, trees, tracked, installed, .. } = shape;
    contest(
        &format!("Verdicts: {repos} repos, {trees} idle worktrees each, {tracked} tracked and {installed} installed files in each"),
        set("ROUNDS", 3),
        |_| (),
        vec![Way::new("treewarden run --dry-run", |()| verdicts()), Way::new("git status in each", |()| status())],
    );
}
