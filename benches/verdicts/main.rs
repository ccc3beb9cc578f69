//! Times treewarden's verdicts on all worktrees against `git status` in each of them, one after
//! another: on the local disk, and on a slow file server.
//!
//! `cargo bench --bench verdicts`. `VERDICTS_REPOS` (10), `VERDICTS_TREES` of each (50),
//! `VERDICTS_TRACKED` files (200) and `VERDICTS_INSTALLED` files in `node_modules` of each tree
//! (2,000), all of them idle for three days, so that each has to be surveyed; `VERDICTS_ROUNDS`
//! (3). On the server there are `VERDICTS_REMOTE_REPOS` (2) with as many trees, and a call takes
//! `VERDICTS_DELAY` (500) µs. It must never count a run that skipped a repo as unchanged.

#![expect(clippy::disallowed_methods, reason = "the ways are other programs")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/it/support/fuse/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "the tests' server, of which this bench needs little"
)]
mod fuse;
#[path = "../common/other.rs"]
mod other;
#[path = "../night/volume.rs"]
#[allow(dead_code, reason = "this bench needs a part of it")]
mod volume;

use common::{Way, contest};
use other::setting;
use std::process::Command;
use volume::{Served, Shape, Volume, git, run};

fn main() {
    let shape = Shape {
        repos: setting("VERDICTS_REPOS", 10),
        trees: setting("VERDICTS_TREES", 50),
        tracked: setting("VERDICTS_TRACKED", 200),
        installed: setting("VERDICTS_INSTALLED", 2000),
        idle: true,
    };
    let top = other::directory();
    let volume = Volume::make(&top.path().join("local"), shape);
    verdicts(
        &volume,
        &format!("Verdicts on the local disk: {shape}"),
        || (),
    );

    let remote = Shape {
        repos: setting("VERDICTS_REMOTE_REPOS", 2),
        ..shape
    };
    let delay = setting("VERDICTS_DELAY", 500);
    let slow = Served::make(top.path(), remote, delay);
    verdicts(
        &slow.volume,
        &format!("The same on a server, {delay} µs a call: {remote}"),
        || slow.mount(),
    );
    let server = slow.mount();
    look(&slow.volume);
    println!(
        "\ntreewarden asked the server for {}",
        other::calls(server.calls())
    );
}

/// Makes a dry run, which records nothing, so that the next one surveys everything again.
fn look(volume: &Volume) {
    run(Command::new(env!("CARGO_BIN_EXE_treewarden"))
        .args(["run", "--dry-run", "--output", "/dev/null", "--config"])
        .arg(&volume.config));
}

fn verdicts<Server>(volume: &Volume, title: &str, serve: impl Fn() -> Server) {
    {
        let _server = serve();
        run(Command::new(env!("CARGO_BIN_EXE_treewarden"))
            .arg("init")
            .arg(&volume.root));
    }
    let status = || {
        volume
            .trees()
            .for_each(|tree| git(&tree, &["status", "--porcelain"]));
    };
    let ways = vec![
        Way::new("treewarden run --dry-run", |_: &mut Server| look(volume)),
        Way::new("git status in each", |_| status()),
    ];
    contest(title, setting("VERDICTS_ROUNDS", 3), |_| serve(), ways);
}
