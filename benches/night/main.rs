//! A whole night against the script that a user would write, and against `git maintenance run` in each repo.
//!
//! `cargo bench --bench night`. `REPOS` (100), `TREES` of each (5), `TRACKED` files (200) and `INSTALLED` files in `node_modules` of each tree (400) make the
//! volume, in `TMPDIR` or in `AT`, where it stays with `KEEP`; `ROUNDS` (3). It must never run on a volume that it didn't make.

#![expect(clippy::disallowed_methods, reason = "the ways are other programs")]

#[path = "../common/mod.rs"]
mod common;
mod volume;

use common::{Way, contest, set};
use std::path::Path;
use std::process::Command;
use volume::{Shape, Volume, run};

fn main() {
    let shape = Shape {
        repos: set("REPOS", 100),
        trees: set("TREES", 5),
        tracked: set("TRACKED", 200),
        installed: set("INSTALLED", 400),
        idle: false,
    };
    let mut top = match std::env::var_os("AT") {
        Some(at) => tempfile::tempdir_in(at),
        None => tempfile::tempdir(),
    }
    .expect("a folder for the volume");
    top.disable_cleanup(std::env::var_os("KEEP").is_some());
    let volume = Volume::make(top.path(), shape);
    let treewarden = env!("CARGO_BIN_EXE_treewarden");
    run(Command::new(treewarden).arg("init").arg(&volume.root));
    let night = || run(Command::new(treewarden).args(["run", "--output", "/dev/null", "--config"]).arg(&volume.config));
    let script = |gc: &[&str]| {
        run(Command::new("sh").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/night/script.sh")).arg(&volume.root).args(gc))
    };
    let maintenance = |volume: &Volume| volume.repos().for_each(|repo| volume::git(&repo, &["maintenance", "run", "--quiet"]));
    // What the first nights find to do is done, and what was written lately is not trusted to stay as it is.
    let settle = |_: &str| {
        for _ in 0..3 {
            night();
        }
    };
    settle("");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let Shape { repos, trees, tracked, installed, .. } = shape;
    let ways = vec![
        Way::new("treewarden", |()| night()),
        Way::new("script, git gc", |()| script(&["gc", "--quiet"])),
        Way::new("script, git gc --auto", |()| script(&["gc", "--auto", "--quiet"])),
        Way::new("git maintenance run", |()| maintenance(&volume)),
    ];
    contest(
        &format!("An idle night: {repos} repos, {trees} worktrees each, {tracked} tracked and {installed} installed files in each"),
        set("ROUNDS", 3),
        settle,
        ways,
    );
}
