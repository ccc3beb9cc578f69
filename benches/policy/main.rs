//! Replays months of a fleet's nights under several eviction policies, and counts the bytes that jobs had to fetch again.
//!
//! `cargo bench --bench policy` prints the table that `benches/README.md` explains. Nothing here touches a disk: the fleet is made up,
//! from a seed, and the same for every policy. It must never let a policy see the future; only the optimum may.

mod fleet;
mod replay;

use fleet::{Fleet, Shape};
use replay::{Outcome, Policy, replay};

fn main() {
    for (title, shape, part) in scenes() {
        let outcomes: Vec<(u64, Vec<(Policy, Outcome)>)> = (1..=3)
            .map(|seed| {
                let fleet = Fleet::grow(seed, &shape);
                let room = fleet.room(part);
                (seed, Policy::ALL.map(|policy| (policy, replay(&fleet, policy, room))).to_vec())
            })
            .collect();
        println!("{title}");
        for (seed, outcomes) in outcomes {
            let best = outcomes.iter().find(|(policy, _)| *policy == Policy::Belady).map_or(0, |(_, best)| best.again);
            println!("  seed {seed}: first fetched {:.1} GiB", gib(outcomes[0].1.first));
            for (policy, outcome) in outcomes {
                println!(
                    "    {:12} again {:8.2} GiB  {:6.2} x optimum  hits {:5.1} %  evicted {:6}",
                    policy.name(),
                    gib(outcome.again),
                    outcome.again as f64 / best.max(1) as f64,
                    100.0 * outcome.hits as f64 / (outcome.hits + outcome.misses) as f64,
                    outcome.evicted
                );
            }
        }
    }
}

fn scenes() -> Vec<(&'static str, Shape, f64)> {
    vec![("60 % of everything fetched in 180 days", Shape::default(), 0.6)]
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
