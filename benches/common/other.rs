//! What several benches need: a place to work, settings from the environment, and programs, ours
//! and others'.
//!
//! Each contestant is a process of its own, ours too: the bench starts itself again. It must never
//! skip a contestant that failed.

#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// Returns a setting from the environment, or its default.
pub(crate) fn setting<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().expect("a setting is a number"))
}

/// Creates a directory for the bench's work, in `BENCH_FOLDER` or else in cargo's target directory:
/// a disk, not memory.
pub(crate) fn directory() -> tempfile::TempDir {
    let default = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let base = std::env::var_os("BENCH_FOLDER").map_or(default, PathBuf::from);
    std::fs::create_dir_all(&base)
        .and_then(|()| tempfile::tempdir_in(base))
        .expect("a folder to work in")
}

/// Returns whether a program is on the `PATH`, and prints where to get it if it isn't.
pub(crate) fn is_there(program: &str, from: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !there {
        println!("left out: {program} ({from})");
    }
    there
}

/// Runs a program to its end, and returns its standard output.
#[expect(clippy::disallowed_methods, reason = "the contestants are programs")]
pub(crate) fn run(program: impl AsRef<Path>, arguments: &[&str], path: &Path) -> String {
    let done = Command::new(program.as_ref())
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(
        done.status.success(),
        "{} failed: {}",
        program.as_ref().display(),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Runs this bench as the contestant.
pub(crate) fn ourselves(work: &str, path: &Path) -> String {
    run(
        std::env::current_exe().expect("a bench is a file"),
        &[work],
        path,
    )
}

/// Returns the path to work on as the contestant; none if the bench is to hold the contest.
pub(crate) fn asked(work: &str) -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == work).then(|| arguments.next().expect("a path").into())
}

/// Returns a pool with as many threads as a run has for the network.
pub(crate) fn io_pool() -> rayon::ThreadPool {
    let threads = setting("BENCH_THREADS", treewarden::config::policy::IO_THREADS);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads start")
}

/// Returns the most memory that this process ever had, in MiB.
pub(crate) fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<f64>()
        .expect("a number")
        / 1024.0
}

/// Lists what the server was asked for, the most frequent first.
pub(crate) fn calls<Call: Debug>(calls: BTreeMap<Call, u64>) -> impl Display {
    let mut calls: Vec<_> = calls.into_iter().filter(|(_, count)| *count > 0).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told: Vec<_> = calls
        .iter()
        .map(|(call, count)| format!("{count} {}", format!("{call:?}").to_lowercase()))
        .collect();
    told.join(", ")
}
