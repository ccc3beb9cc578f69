//! Days of agents' work and nights of maintenance, drawn from a seed. An oracle outside the program
//! keeps every commit and every byte that agents made.
//!
//! A test of one thing finds only what its author thought of. Here trees grow old, runs are killed
//! and retried, names come back, people delete by hand; and each morning everything must be where
//! it was, or where the README says that it is now. A failure names its seed and night, and its log
//! has every step. `TREEWARDEN_SIMULATION` runs a single one.

mod agents;
mod days;
mod oracle;
mod record;
mod rescues;
mod sabotage;

use days::{Ended, Sim};
use oracle::Oracle;

/// How much is simulated.
#[derive(Debug, Clone, Copy)]
struct Size {
    repos: usize,
    nights: u32,
    operations: u32,
}

/// Runs a seed; returns a summary, or all problems of the first morning with any.
fn simulate(seed: u64, size: Size) -> Result<String, String> {
    let began = std::time::Instant::now();
    let mut sim = Sim::new(seed, size.repos);
    let mut oracle = Oracle::default();
    let mut early = 0;
    for night in 1..=size.nights {
        // Some nights have no run.
        sim.day += if sim.rng.u32(..12) == 0 { 4 } else { 1 };
        sim.work(size.operations);
        sim.evening();
        let problems = oracle.removed(&mut sim);
        if !problems.is_empty() {
            return Err(told(&sim, night, &problems));
        }
        sim.sweep();
        for _attempt in 0..2 {
            let evening = oracle.look(&sim);
            let (ran, ended) = sim.night();
            sim.sweep();
            let problems = oracle.compare(&mut sim, &evening, &ran, ended);
            sim.sweep();
            if !problems.is_empty() {
                return Err(told(&sim, night, &problems));
            }
            early += u32::from(ended == Ended::Early);
            // Retries at once, as a Job does, but not always.
            if ended == Ended::Whole || sim.rng.bool() {
                break;
            }
        }
    }
    let Oracle {
        reaped,
        rescues_seen,
        evicted,
        written_late,
        ..
    } = oracle;
    let steps = sim.log.len();
    Ok(format!(
        "seed {seed}: {} nights, {early} ended early; {steps} steps; {reaped} trees went, {rescues_seen} rescued, {written_late} written into meanwhile; \
         {evicted} crates evicted; {:?}",
        size.nights,
        began.elapsed()
    ))
}

fn told(sim: &Sim, night: u32, problems: &[String]) -> String {
    let log = std::env::temp_dir().join(format!("treewarden-simulation-{}.log", sim.seed));
    // The program's view of the volume as it is now, to help find the cause.
    let report = sim.program(&["report"]);
    std::fs::write(
        &log,
        format!("{}\n\n{}{}", sim.log.join("\n"), report.out, report.err),
    )
    .unwrap();
    let last: Vec<&str> = sim
        .log
        .iter()
        .rev()
        .take(30)
        .rev()
        .map(String::as_str)
        .collect();
    format!(
        "seed {}, night {night}, day {}: {} problems\n  {}\nthe last that was done (all of it: {}):\n  {}",
        sim.seed,
        sim.day,
        problems.len(),
        problems
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n  "),
        log.display(),
        last.join("\n  ")
    )
}

#[test]
fn twelve_nights_of_three_repos() {
    match simulate(
        1,
        Size {
            repos: 3,
            nights: 12,
            operations: 18,
        },
    ) {
        Ok(what) => eprintln!("{what}"),
        Err(what) => panic!("{what}"),
    }
}

/// `TREEWARDEN_SIMULATION=FIRST-LAST:NIGHTS:REPOS:OPERATIONS` chooses other values, with operations
/// per day.
#[test]
#[ignore = "takes minutes"]
fn ten_seeds_of_sixty_nights() {
    let asked = std::env::var("TREEWARDEN_SIMULATION").unwrap_or_else(|_| "1-10:60".to_owned());
    let asked: Vec<&str> = asked.split(':').collect();
    let (first, last) = asked[0].split_once('-').unwrap_or((asked[0], asked[0]));
    let [first, last]: [u64; 2] = [first, last].map(|number| number.parse().expect("a number"));
    let size = |place: usize, usual: u32| {
        asked
            .get(place)
            .map_or(usual, |number| number.parse().expect("a number"))
    };
    let size = Size {
        nights: size(1, 60),
        repos: size(2, 5) as usize,
        operations: size(3, 40),
    };
    let next = std::sync::atomic::AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed > last {
                        break;
                    }
                    match simulate(seed, size) {
                        Ok(what) => eprintln!("{what}"),
                        Err(what) => {
                            eprintln!("{what}");
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(*failed.lock().unwrap(), [0; 0]);
}
