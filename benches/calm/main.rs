//! Times `run --when high` on a calm volume against a dry run and `df`: on the local disk, and on a
//! slow file server. Counts the system calls and the server's calls of each.
//!
//! `cargo bench --bench calm`. `CALM_REPOS` (5) with `CALM_TREES` (5) each; `CALM_ROUNDS` (9). On
//! the server a call takes `CALM_DELAY` (500) µs. System calls are counted by `strace`. It fails if
//! a calm run asks the server five times or more: it may come every hour, from every machine.

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
use other::{is_there, setting};
use std::path::Path;
use std::process::{Command, Stdio};
use volume::{Served, Shape, Volume, run};

/// The most that a calm run may ask of a server.
const MOST_CALLS: u64 = 4;

fn main() {
    let shape = Shape {
        repos: setting("CALM_REPOS", 5),
        trees: setting("CALM_TREES", 5),
        tracked: 50,
        installed: 0,
        idle: false,
    };
    let top = other::directory();
    // Nobody has it on the volume.
    let config = top.path().join("calm.yaml");
    let local = Volume::make(&top.path().join("local"), shape);
    calm(
        (&local, &config),
        &format!("A calm volume on the local disk: {shape}"),
        || (),
    );
    system_calls((&local, &config), top.path());

    let delay = setting("CALM_DELAY", 500);
    let slow = Served::make(top.path(), shape, delay);
    let title = format!("The same on a server, {delay} µs a call");
    calm((&slow.volume, &config), &title, || slow.mount());
    println!();
    for (name, mut way) in ways(&slow.volume, &config) {
        let server = slow.mount();
        let before = server.calls();
        run(&mut way);
        let mut calls = server.calls();
        for (call, count) in &mut calls {
            *count -= before[call];
        }
        let sum: u64 = calls.values().sum();
        println!(
            "{name:34} asked the server {sum} times: {}",
            other::calls(calls)
        );
        let is_ours = name.contains("--when");
        assert!(!is_ours || sum <= MOST_CALLS, "it asks too often");
    }
}

/// Returns the programs that are compared.
fn ways(volume: &Volume, config: &Path) -> [(&'static str, Command); 3] {
    let ours = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treewarden"));
        command.args(arguments).arg("--config").arg(config);
        command
    };
    let mut df = Command::new("df");
    df.arg(&volume.root);
    let mut all = [
        (
            "treewarden run --when high",
            ours(&["run", "--when", "high"]),
        ),
        (
            "treewarden run --dry-run",
            ours(&["run", "--dry-run", "--output", "/dev/null"]),
        ),
        ("df", df),
    ];
    for (_, command) in &mut all {
        command.stdout(Stdio::null());
    }
    all
}

/// `serve` is called before each way, and its result is dropped after it.
fn calm<Server>((volume, config): (&Volume, &Path), title: &str, serve: impl Fn() -> Server) {
    {
        let _server = serve();
        run(Command::new(env!("CARGO_BIN_EXE_treewarden"))
            .arg("init")
            .arg(&volume.root));
        std::fs::copy(&volume.config, config).expect("the config is copied");
    }
    let ways = ways(volume, config).map(|(name, mut command)| {
        Way::new(name, move |_: &mut Server| {
            run(&mut command);
        })
    });
    contest(
        title,
        setting("CALM_ROUNDS", 9),
        |_| serve(),
        Vec::from(ways),
    );
}

/// Prints how many system calls each makes, with those of its threads and children.
fn system_calls((volume, config): (&Volume, &Path), directory: &Path) {
    if !is_there("strace", "Debian: strace") {
        return;
    }
    println!();
    for (name, way) in ways(volume, config) {
        let counts = directory.join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(&counts);
        strace.arg(way.get_program()).args(way.get_args());
        run(strace.stdout(Stdio::null()));
        let counts = std::fs::read_to_string(&counts).expect("strace wrote it");
        println!("{name:34} {:>7} system calls", total(&counts));
    }
}

/// Returns the number of calls in the last line of `strace -c`.
fn total(counts: &str) -> u64 {
    let line = counts.lines().rev().find(|line| line.ends_with(" total"));
    let number = line.and_then(|line| line.split_whitespace().nth(3));
    number
        .and_then(|number| number.parse().ok())
        .expect("a sum")
}
