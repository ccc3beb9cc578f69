//! The lock under load: 64 processes, and never two holders at once. A million acquisitions with
//! `TREEWARDEN_SWEEP=all`, else 64,000.
//!
//! The test doesn't trust the lock but counts for itself, in a file for each repo. A holder finds
//! no number there, writes its own, finds it still there, and increments a count that two holders
//! at once would corrupt.

#![expect(clippy::disallowed_methods, reason = "it starts itself")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use treewarden::fs::volume_path::VolumePath;
use treewarden::lock::{LockError, LockedRepo};

const PROCESSES: u64 = 64;
/// With fewer repos than processors, processes only wait; with many more, they seldom meet.
const REPOS: u64 = 4;

/// What one of the processes is given: the directory, and its number.
const PART: &str = "TREEWARDEN_CONTENDS";

/// Returns how often all processes together acquire the lock.
fn acquisitions() -> u64 {
    if std::env::var("TREEWARDEN_SWEEP").is_ok_and(|sweep| sweep == "all") {
        1_000_000
    } else {
        64_000
    }
}

#[test]
#[ignore = "needs some seconds of both processors"]
fn two_never_hold_a_repo_at_once() {
    if let Ok(part) = std::env::var(PART) {
        let (directory, number) = part.rsplit_once(':').unwrap();
        return contend(Path::new(directory), number.parse().unwrap());
    }
    // Preferably in memory, because each acquisition syncs what it wrote.
    let directory = super::support::temporary();
    fs::create_dir(directory.path().join("locks")).unwrap();
    for repo in 0..REPOS {
        fs::write(directory.path().join(format!("witness-{repo}")), [0; 16]).unwrap();
    }
    let processes: Vec<_> = (1..=PROCESSES)
        .map(|number| {
            let mut process = Command::new(std::env::current_exe().unwrap());
            process.args([
                "contention::two_never_hold_a_repo_at_once",
                "--exact",
                "--ignored",
                "--nocapture",
            ]);
            process
                .env(PART, format!("{}:{number}", directory.path().display()))
                .spawn()
                .unwrap()
        })
        .collect();
    let failed = processes
        .into_iter()
        .map(|mut process| process.wait().unwrap())
        .filter(|status| !status.success())
        .count();
    let counts = |at| {
        (0..REPOS)
            .map(|repo| read(&witness(directory.path(), repo), at))
            .collect::<Vec<_>>()
    };
    assert_eq!(failed, 0, "processes that failed");
    assert_eq!(counts(0), vec![0; 4], "who is still in");
    assert_eq!(counts(8).iter().sum::<u64>(), acquisitions());
    let refused: u64 = fs::read_dir(directory.path().join("refused"))
        .unwrap()
        .map(|file| number_in(&file.unwrap().path()))
        .sum();
    println!(
        "{} acquisitions by {PROCESSES} processes, {refused} refused: never two at once",
        acquisitions()
    );
    assert!(
        refused > acquisitions() / 100,
        "they seldom met: {refused} times"
    );
}

/// Runs one process' part of the acquisitions.
fn contend(directory: &Path, number: u64) {
    let root: Arc<Path> = directory.into();
    let [place, locks] =
        ["checkout", "locks"].map(|name| VolumePath::new(&root, Path::new(name)).unwrap());
    let witnesses: Vec<File> = (0..REPOS).map(|repo| witness(directory, repo)).collect();
    let share = acquisitions() / PROCESSES;
    let (mut had, mut refused) = (0, 0_u64);
    let mut random = fastrand::Rng::with_seed(number);
    while had < share {
        let repo = random.u64(..REPOS);
        let lock = match LockedRepo::take(
            &locks,
            &format!("acme/{repo}"),
            &place,
            "contend",
            chrono::Utc::now(),
        ) {
            Ok(lock) => lock,
            Err(LockError::Busy(_)) => {
                refused += 1;
                std::thread::yield_now();
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let witness = &witnesses[usize::try_from(repo).unwrap()];
        assert_eq!(read(witness, 0), 0, "somebody is in already");
        write(witness, 0, number);
        let count = read(witness, 8);
        // Sometimes lets another process run here.
        if random.u8(..16) == 0 {
            std::thread::yield_now();
        }
        write(witness, 8, count + 1);
        assert_eq!(read(witness, 0), number, "somebody came in");
        write(witness, 0, 0);
        drop(lock);
        had += 1;
    }
    fs::create_dir_all(directory.join("refused")).unwrap();
    fs::write(
        directory.join(format!("refused/{number}")),
        refused.to_string(),
    )
    .unwrap();
}

fn witness(directory: &Path, repo: u64) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(directory.join(format!("witness-{repo}")))
        .unwrap()
}

fn read(witness: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    witness.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

fn write(witness: &File, at: u64, number: u64) {
    witness.write_all_at(&number.to_le_bytes(), at).unwrap();
}

fn number_in(file: &Path) -> u64 {
    fs::read_to_string(file).unwrap().parse().unwrap()
}
