//! Evicts a fifth of a volume's caches, with treewarden and with the script that a user would
//! write.
//!
//! `cargo bench --bench evict`, as root: each turn mounts a volume of its own. `EVICT_UNITS`
//! (50000) units with twenty files each, on average, on `EVICT_ON` (`ext4` in a file, or `tmpfs`),
//! `EVICT_ROUNDS` (3) rounds. A first run on a million units of one or two files (`EVICT_SMALL`, 0
//! for none) reports the memory it took. `EVICT_UNDER` is a command that treewarden runs under,
//! such as `perf record`. It must never be taken for a test: it fails on wrong results, not on slow
//! ones.

#![allow(
    clippy::disallowed_methods,
    reason = "what is timed are whole programs"
)]

#[path = "../common/mod.rs"]
mod common;
mod world;

use common::{Way, contest};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use world::{Shape, Volume};

/// What a user would write: by access time, until enough is freed, then the empty directories.
const SCRIPT: &str = include_str!("script.sh");

fn main() {
    let number =
        |name: &str, or: usize| std::env::var(name).map_or(or, |text| text.parse().expect(name));
    let on = std::env::var("EVICT_ON").unwrap_or_else(|_| "ext4".to_owned());
    let within = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let small = number("EVICT_SMALL", 1_000_000);
    if small > 0 {
        let volume = Volume::make(&within, &on, Shape::small(small / 1000));
        judged(&volume, 105, treewarden);
        // In kibibytes, of the largest child so far.
        let most = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
            .unwrap()
            .max_rss()
            >> 10;
        println!(
            "\nA fifth of {small} units of one or two files went; most memory held: {most} MiB"
        );
    }
    let rounds = number("EVICT_ROUNDS", 3);
    if rounds > 0 {
        let shape = Shape::mixed(number("EVICT_UNITS", 50_000) / 1000);
        let prepare = |_: &str| Volume::make(&within, &on, shape);
        let ways = vec![
            Way::new("treewarden run --only evict", |volume: &mut Volume| {
                judged(volume, 105, treewarden);
            }),
            // It doesn't count the directories, which have blocks of their own on ext4.
            Way::new("find | sort | awk | rm", |volume: &mut Volume| {
                judged(volume, 125, script);
            }),
        ];
        contest(
            &format!(
                "A fifth of {} units with {} files goes, on {on}",
                shape.units(),
                shape.files()
            ),
            rounds,
            prepare,
            ways,
        );
    }
}

/// Evicts a fifth of the bytes, and checks that at most `most` per cent of that is freed.
fn judged(volume: &Volume, most: u64, evict: impl FnOnce(&Volume, u64)) {
    let (before, _) = volume.level();
    let wanted = before / 5;
    evict(volume, wanted);
    let freed = before.saturating_sub(volume.level().0);
    assert!(
        (wanted * 99 / 100..wanted * most / 100).contains(&freed),
        "{freed} bytes freed, {wanted} wanted"
    );
}

fn treewarden(volume: &Volume, wanted: u64) {
    let config = volume.config(wanted);
    command(&["init", volume.root.to_str().unwrap()], &config);
    command(&["run", "--only", "evict"], &config);
}

fn command(arguments: &[&str], config: &Path) {
    let under = std::env::var("EVICT_UNDER").unwrap_or_else(|_| "env".to_owned());
    let mut under = under.split_whitespace();
    let mut command = Command::new(under.next().unwrap());
    command
        .args(under)
        .arg(env!("CARGO_BIN_EXE_treewarden"))
        .args(arguments)
        .arg("--config")
        .arg(config);
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "treewarden {arguments:?}: {status}");
}

fn script(volume: &Volume, wanted: u64) {
    let (caches, wanted) = (volume.root.join("caches"), wanted.to_string());
    let status = Command::new("bash")
        .args(["-c", SCRIPT, "evict"])
        .arg(caches)
        .arg(wanted)
        .env("LC_ALL", "C")
        .status()
        .unwrap();
    assert!(status.success());
}
