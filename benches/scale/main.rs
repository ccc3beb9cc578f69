//! Simulates how long a run takes on a fleet that no machine here could hold, from measured costs:
//! on one pod and on many.
//!
//! `cargo bench --bench scale`, a second. Each pod has its shard of the repos, by the program's own
//! rendezvous hash, and goes through the stages of a run. All pods share one budget of file server
//! calls a second. Every cost is a constant below, with its source; `SCALE_SERVER` (50000) is the
//! server's calls a second, `SCALE_CALL` (500) the µs that one takes. It must never be taken for a
//! measurement.

#[path = "../common/other.rs"]
mod other;

use other::setting;
use treewarden::plan::shard::Shard;

/// The fleet: repos, and worktrees of each; 10^9 files are 9,000 a worktree, and a tenth of them in
/// caches.
const REPOS: usize = 10_000;
const TREES: f64 = 10.0;
/// One repo in so many was worked in that day, and has one tree to reap.
const WORKED_IN: usize = 5;
const FILES_OF_A_TREE: f64 = 9_000.0;
/// Files in a directory, as in `node_modules` here (`benches/README.md#scan`).
const FILES_A_DIRECTORY: f64 = 8.0;
/// Cache units, the files of each, and the part of the units that a run evicts.
const UNITS: f64 = 5_000_000.0;
const FILES_OF_A_UNIT: f64 = 20.0;
const EVICTED: f64 = 0.02;

/// Calls for an unchanged repo, and for each of its trees: measured on the FUSE server
/// (`benches/README.md#night`).
const REST: (f64, f64) = (70.0, 14.0);
/// Calls for a repo that is surveyed, and for each tree: measured there
/// (`benches/README.md#verdicts`).
const LOOK: (f64, f64) = (200.0, 195.0);
/// Seconds of a core for a repo that is surveyed (two processes of git), and for a day's repack
/// (`benches/README.md#gc`).
const CPU: f64 = 0.03 + 1.0;
/// Calls to delete a file, and a directory: a name each, and the directory's listing
/// (`docs/design/nfs.md#cost`).
const DELETE: (f64, f64) = (1.0, 4.0);
/// Calls to list a unit, and to measure one before it goes.
const LIST_UNIT: f64 = 0.2;
/// A pod: threads that wait on the network, cores.
const THREADS: f64 = 32.0;
const CORES: f64 = 4.0;

/// What a pod has to do in a stage: calls, and seconds of a core.
#[derive(Clone, Copy, Default)]
struct Work {
    calls: f64,
    cpu: f64,
}

/// The stages of a run, in their order. The last is done by one pod alone, when all others are
/// done.
const STAGES: [&str; 4] = ["rest", "look, repack", "reap", "evict"];

fn main() {
    let server: f64 = setting("SCALE_SERVER", 50_000.0);
    let call: f64 = setting("SCALE_CALL", 500.0) / 1e6;
    println!(
        "{REPOS} repos, {:.0} worktrees, 10^9 files; a server of {server} calls a second, {:.1} ms each\n",
        TREES * 1e4,
        1e3 * call
    );
    println!(
        "{:>4} {:>9} {:>13} {:>9} {:>9} {:>9}   {:>7}   {:>7}",
        "pods", STAGES[0], STAGES[1], STAGES[2], STAGES[3], "night", "full", "largest"
    );
    for pods in [1, 2, 4, 8, 16, 32, 64] {
        let shards: Vec<[Work; 3]> = (0..pods).map(|index| shard(index, pods)).collect();
        let mut ends = vec![vec![0.0; pods]; 3];
        let busy = simulate(&shards, server, call, &mut ends);
        let last = |stage: usize| ends[stage].iter().copied().fold(0.0, f64::max);
        let evict = evict() / (THREADS / call).min(server);
        let night = last(2) + evict;
        let most = (0..pods)
            .map(|index| repos(index, pods).count())
            .max()
            .unwrap_or(0);
        println!(
            "{pods:>4} {:>9} {:>13} {:>9} {:>9} {:>9}   {:>5.0} %   {most:>7}",
            told(last(0)),
            told(last(1) - last(0)),
            told(last(2) - last(1)),
            told(evict),
            told(night),
            100.0 * busy / last(2)
        );
    }
}

fn told(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

fn repos(index: usize, pods: usize) -> impl Iterator<Item = usize> {
    let number = |number: usize| u32::try_from(number).expect("a few");
    let shard = Shard::new(number(index), number(pods)).expect("a shard");
    (0..REPOS).filter(move |number| shard.has(&format!("fleet/repo{number}")))
}

fn shard(index: usize, pods: usize) -> [Work; 3] {
    let mut stages = [Work::default(); 3];
    for number in repos(index, pods) {
        if number % WORKED_IN == 0 {
            stages[1].calls += LOOK.0 + LOOK.1 * TREES;
            stages[1].cpu += CPU;
            stages[2].calls += delete(FILES_OF_A_TREE);
        } else {
            stages[0].calls += REST.0 + REST.1 * TREES;
        }
    }
    stages
}

fn delete(files: f64) -> f64 {
    files * DELETE.0 + files / FILES_A_DIRECTORY * DELETE.1
}

fn evict() -> f64 {
    UNITS * LIST_UNIT + UNITS * EVICTED * delete(FILES_OF_A_UNIT)
}

/// Simulates in small steps of time: every pod makes calls as fast as its threads can, and the
/// server shares out its capacity. Records when each pod ended each stage, and returns the seconds
/// in which the server was at its limit.
fn simulate(shards: &[[Work; 3]], server: f64, call: f64, ends: &mut [Vec<f64>]) -> f64 {
    const STEP: f64 = 0.1;
    let (mut left, mut at) = (shards.to_vec(), vec![0; shards.len()]);
    let (mut now, mut busy) = (0.0, 0.0);
    while at.iter().any(|stage| *stage < 3) {
        let asking = (0..left.len())
            .filter(|pod| at[*pod] < 3 && left[*pod][at[*pod]].calls > 0.0)
            .count();
        let wanted = THREADS / call;
        #[expect(clippy::cast_precision_loss, reason = "some pods")]
        let given = wanted.min(server / asking.max(1) as f64);
        now += STEP;
        busy += if given < wanted { STEP } else { 0.0 };
        for (pod, stage) in at.iter_mut().enumerate().filter(|(_, stage)| **stage < 3) {
            let work = &mut left[pod][*stage];
            work.calls -= given * STEP;
            work.cpu -= CORES * STEP;
            if work.calls <= 0.0 && work.cpu <= 0.0 {
                ends[*stage][pod] = now;
                *stage += 1;
            }
        }
    }
    busy
}
