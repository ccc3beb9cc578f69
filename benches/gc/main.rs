//! Maintains a repo that grows day by day, with treewarden and with git's own commands, and reads
//! it afterwards.
//!
//! `cargo bench --bench gc`. `GC_COMMITS` (20000) commits to begin with, `GC_NIGHTS` (5) runs, each
//! after a day of 2,000 loose objects and 20 small packs. It counts the processor time and the
//! bytes written by the program and all that it starts, which load does not change. It must never
//! be taken for a test: it fails only if a program failed, or a repo is not whole.

#![allow(
    clippy::disallowed_methods,
    reason = "what is timed are whole programs"
)]
#![allow(clippy::cast_precision_loss, reason = "shown with two digits")]

#[path = "../common/mod.rs"]
mod common;
mod repo;

use common::{Way, contest};
use repo::{Repo, git, run};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A way to maintain a repo.
type Tend = fn(&Place);

/// A way's own copy of the repo.
struct Place {
    volume: PathBuf,
    config: PathBuf,
    repo: Repo,
}

const WAYS: [(&str, Tend); 4] = [
    ("treewarden run --only gc", treewarden),
    ("git gc", |place| {
        run(git(&place.repo.git_dir).args(["gc", "-q"]));
    }),
    ("git maintenance run", |place| {
        run(git(&place.repo.git_dir).args(["maintenance", "run", "--quiet"]));
    }),
    ("git maintenance, its incremental tasks", |place| {
        let tasks = [
            "loose-objects",
            "incremental-repack",
            "commit-graph",
            "pack-refs",
        ]
        .map(|task| format!("--task={task}"));
        run(git(&place.repo.git_dir)
            .args(["maintenance", "run", "--quiet"])
            .args(tasks));
    }),
];

fn main() {
    let number =
        |name: &str, or: usize| std::env::var(name).map_or(or, |text| text.parse().expect(name));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (commits, nights) = (number("GC_COMMITS", 20_000), number("GC_NIGHTS", 5));
    let origin = Repo::make(&directory.path().join("origin"), commits);
    let mut places: Vec<Place> = (0..WAYS.len())
        .map(|number| Place::of(directory.path(), number, &origin))
        .collect();

    println!("\n{nights} nights of a repo of {commits} commits, the sum of all nights\n");
    println!(
        "{:40} {:>10} {:>8} {:>10} {:>8} {:>10}",
        "", "processor", "ratio", "written", "ratio", "time"
    );
    let mut first = None;
    for (place, (name, tend)) in places.iter_mut().zip(WAYS) {
        let mut sum = Cost::default();
        for _ in 0..nights {
            place.repo.grow(20, 190);
            let before = Cost::of_children();
            let began = Instant::now();
            tend(place);
            sum = sum.and(
                Cost::of_children().less(before),
                began.elapsed().as_secs_f64(),
            );
        }
        let first = *first.get_or_insert(sum);
        let mib = sum.written / f64::from(1 << 20);
        let ratios = (sum.processor / first.processor, sum.written / first.written);
        println!(
            "{name:40} {:>8.2} s {:>8.2} {mib:>6.1} MiB {:>8.2} {:>8.2} s",
            sum.processor, ratios.0, ratios.1, sum.seconds
        );
        run(git(&place.repo.git_dir).args(["fsck", "--no-progress", "--connectivity-only"]));
    }
    let rounds = number("GC_ROUNDS", 7);
    for reads in [
        &["log"][..],
        &["log", "--", "dir3/sub0/file3.rs"],
        &["rev-list", "--objects", "--all"],
    ] {
        let read = |place: &Place| run(git(&place.repo.git_dir).args(reads));
        let ways = places
            .iter()
            .zip(WAYS)
            .map(|(place, (name, _))| Way::new(name, move |(): &mut ()| read(place)))
            .collect();
        contest(
            &format!("git {} afterwards", reads.join(" ")),
            rounds,
            |_| (),
            ways,
        );
    }
}

impl Place {
    fn of(directory: &Path, number: usize, origin: &Repo) -> Self {
        let volume = directory.join(format!("volume{number}"));
        std::fs::create_dir(&volume).unwrap();
        let repo = origin.copy(&volume.join("repo"));
        let config = directory.join(format!("config{number}.yaml"));
        let text = format!(
            "volume:\n  root: {}\nrepos:\n  - {{name: acme/shop, path: repo}}\n",
            volume.display()
        );
        std::fs::write(&config, text).unwrap();
        let place = Self {
            volume,
            config,
            repo,
        };
        place.treewarden(&["init", place.volume.to_str().unwrap()]);
        place
    }

    fn treewarden(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treewarden"));
        run(command
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null()));
    }
}

fn treewarden(place: &Place) {
    place.treewarden(&["run", "--only", "gc"]);
}

/// What programs used.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Seconds, of the user and of the system.
    processor: f64,
    /// Bytes.
    written: f64,
    /// Seconds on the clock.
    seconds: f64,
}

impl Cost {
    /// Returns the cost of all that was started and ended so far.
    fn of_children() -> Self {
        let usage =
            nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
        let seconds =
            |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let processor = seconds(usage.user_time()) + seconds(usage.system_time());
        Self {
            processor,
            written: usage.block_writes() as f64 * 512.0,
            seconds: 0.0,
        }
    }

    fn less(self, before: Self) -> Self {
        Self {
            processor: self.processor - before.processor,
            written: self.written - before.written,
            seconds: 0.0,
        }
    }

    fn and(self, more: Self, seconds: f64) -> Self {
        Self {
            processor: self.processor + more.processor,
            written: self.written + more.written,
            seconds: self.seconds + seconds,
        }
    }
}
