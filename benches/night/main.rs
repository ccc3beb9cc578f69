//! Times an idle run against the script that a user would write, and against `git maintenance run`
//! in each repo: on the local disk, and on a slow file server.
//!
//! `cargo bench --bench night`. `NIGHT_REPOS` (100), `NIGHT_TREES` of each (5), `NIGHT_TRACKED`
//! files (200) and `NIGHT_INSTALLED` files in `node_modules` of each tree (400) make up the volume,
//! in `BENCH_FOLDER`; `NIGHT_ROUNDS` (3). On the server there are `NIGHT_REMOTE_REPOS` (10), and a
//! call takes `NIGHT_DELAY` (500) µs. It must never run on a volume that it didn't create.

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
#[allow(dead_code, reason = "another bench needs the rest")]
mod volume;

use common::{Way, contest};
use other::setting;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use volume::{Served, Shape, Volume, run};

fn main() {
    let shape = Shape {
        repos: setting("NIGHT_REPOS", 100),
        trees: setting("NIGHT_TREES", 5),
        tracked: setting("NIGHT_TRACKED", 200),
        installed: setting("NIGHT_INSTALLED", 400),
        idle: false,
    };
    let top = other::directory();
    let rounds = setting("NIGHT_ROUNDS", 3);
    let volume = Volume::make(&top.path().join("local"), shape);
    nights(
        &volume,
        &format!("An idle night on the local disk: {shape}"),
        rounds,
        || (),
    );

    let remote = Shape {
        repos: setting("NIGHT_REMOTE_REPOS", 10),
        ..shape
    };
    let delay = setting("NIGHT_DELAY", 500);
    let slow = Served::make(top.path(), remote, delay);
    let (volume, serve) = (&slow.volume, || slow.mount());
    nights(
        volume,
        &format!("The same on a server, {delay} µs a call: {remote}"),
        rounds,
        serve,
    );
    the_night_before(volume, &serve);
    let server = serve();
    let before: u64 = server.calls().values().sum();
    treewarden(volume);
    println!(
        "\ntreewarden asked the server {} times",
        server.calls().values().sum::<u64>() - before
    );
}

/// Makes a run, and returns how many repos it skipped as unchanged.
fn treewarden(volume: &Volume) -> usize {
    let report = volume.config.with_extension("json");
    run(Command::new(env!("CARGO_BIN_EXE_treewarden"))
        .arg("run")
        .args(["--format", "json", "--output"])
        .arg(&report)
        .arg("--config")
        .arg(&volume.config));
    std::fs::read_to_string(report)
        .expect("a report")
        .matches("unchanged_since")
        .count()
}

/// Makes a run after a pause: what changed a moment ago is not taken as unchanged.
fn the_night_before<Server>(volume: &Volume, serve: &impl Fn() -> Server) {
    let _server = serve();
    std::thread::sleep(Duration::from_secs(3));
    treewarden(volume);
}

/// `serve` is called before each way, and its result is dropped after it.
fn nights<Server>(volume: &Volume, title: &str, rounds: usize, serve: impl Fn() -> Server) {
    {
        let _server = serve();
        run(Command::new(env!("CARGO_BIN_EXE_treewarden"))
            .arg("init")
            .arg(&volume.root));
        treewarden(volume);
    }
    let script = |gc: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/night/script.sh");
        run(Command::new("sh").arg(script).arg(&volume.root).args(gc));
    };
    let maintenance = || {
        volume
            .repos()
            .for_each(|repo| volume::git(&repo, &["maintenance", "run", "--quiet"]));
    };
    let prepare = |way: &str| {
        // The others change what our last run recorded.
        if way == "treewarden" {
            the_night_before(volume, &serve);
        }
        serve()
    };
    let ways = vec![
        Way::new("treewarden", |_: &mut Server| {
            assert_eq!(
                treewarden(volume),
                volume.repos().count(),
                "all of them rest"
            );
        }),
        Way::new("script, git gc", |_| script(&["gc", "--quiet"])),
        Way::new("script, git gc --auto", |_| {
            script(&["gc", "--auto", "--quiet"]);
        }),
        Way::new("git maintenance run", |_| maintenance()),
    ];
    contest(title, rounds, prepare, ways);
}
