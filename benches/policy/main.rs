//! Replays months of a fleet's runs under several eviction policies, and counts the bytes that jobs
//! had to fetch again.
//!
//! `cargo bench --bench policy` prints the tables that `benches/README.md` explains. Nothing here
//! touches a disk: the fleet is made up, from a seed, and the same for every policy. It fails if
//! treewarden's own policy is worse than promised. It must never let a policy see the future; only
//! the optimum may.

mod fleet;
mod ours;
mod replay;

use fleet::{Fleet, Shape};
use rayon::prelude::*;
use replay::{Outcome, Policy, replay};
use std::process::ExitCode;

/// Each fleet is grown from one of these.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Parts of all bytes that the fleet's jobs fetch in these months; the promise is made for the
/// first.
const ROOMS: [f64; 3] = [0.6, 0.4, 0.3];

/// The promise: bytes fetched, at most, as ratios to those of the optimum and of LRU by write time.
const AT_MOST: (f64, f64) = (1.5, 0.7);

fn main() -> ExitCode {
    let mut kept = true;
    let fleets = SEEDS.map(|seed| Fleet::grow(seed, &Shape::default()));
    for (number, part) in ROOMS.into_iter().enumerate() {
        let rooms = fleets.each_ref().map(|fleet| fleet.room(part));
        println!(
            "\nRoom for {:.0} % of what is fetched in {} days: {}\n",
            100.0 * part,
            Shape::default().days,
            gib(rooms.iter().sum::<u64>() / 3)
        );
        println!(
            "{:20} {:>11} {:>9} {:>7} {:>11} {:>9} {:>9} {:>6}",
            "policy", "fetched", "x optimum", "x mtime", "again", "x optimum", "hits", "nights"
        );
        let outcomes = Policy::ALL.map(|policy| (policy, sum(&fleets, rooms, policy)));
        let of = |policy| {
            outcomes
                .iter()
                .find(|(found, _)| *found == policy)
                .map_or_else(Outcome::default, |(_, outcome)| *outcome)
        };
        let (optimum, mtime) = (of(Policy::Optimum), of(Policy::MtimeLru));
        let ours = of(Policy::Treewarden).fetched();
        if number == 0 {
            kept = ratio(ours, optimum.fetched()) <= AT_MOST.0
                && ratio(ours, mtime.fetched()) <= AT_MOST.1;
        }
        for (policy, outcome) in outcomes {
            println!(
                "{:20} {:>11} {:>9.2} {:>7.2} {:>11} {:>9.2} {:>7.2} % {:>6}",
                policy.name(),
                gib(outcome.fetched()),
                ratio(outcome.fetched(), optimum.fetched()),
                ratio(outcome.fetched(), mtime.fetched()),
                gib(outcome.again),
                ratio(outcome.again, optimum.again),
                100.0 * ratio(outcome.hits, outcome.hits + outcome.misses),
                outcome.nights,
            );
        }
    }
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the sum over all fleets.
fn sum(fleets: &[Fleet; 3], rooms: [u64; 3], policy: Policy) -> Outcome {
    let outcomes = fleets
        .par_iter()
        .zip(rooms)
        .map(|(fleet, room)| replay(fleet, policy, room));
    outcomes.reduce(Outcome::default, |one, other| Outcome {
        first: one.first + other.first,
        again: one.again + other.again,
        hits: one.hits + other.hits,
        misses: one.misses + other.misses,
        nights: one.nights + other.nights,
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", ratio(bytes, 1 << 30))
}
