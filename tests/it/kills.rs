//! Runs that are killed anywhere: the next one ends where an undisturbed run would have, and no
//! work is lost on the way.
//!
//! The tracer kills the real program before each system call of its own or its git children's that
//! changes the volume. The sample takes half a minute;
//! `TREEWARDEN_SWEEP=all cargo test --test it kills:: -- --ignored --nocapture` takes some ten.

use super::support::calls::Call;
use super::support::sweep::{Sweep, all_well, sample, sweep};
use super::support::tracer::{Act, Point, points};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The kernel kills git when the program dies, but not git's own children. They finish, but their
/// files are temporary until the parent renames them. In a container they die with the program
/// anyway.
const OUTLIVE: [&str; 2] = ["git pack-objects", "git multi-pack-index"];

/// The kills that the whole sweep consists of.
enum Kill {
    /// Of everything at once; with a number, also of the next run before its change with that
    /// number.
    All(Point, Option<usize>),
    /// Of the program alone, while git is at work.
    Alone(Point),
}

impl Kill {
    fn point(&self) -> &Point {
        match self {
            Self::All(point, _) | Self::Alone(point) => point,
        }
    }
}

fn kills() -> Vec<Kill> {
    let sweep = Sweep::new();
    sweep.bring_back();
    let night = sweep.night(Act::Watch);
    let changes: Vec<Point> = points(&night.calls)
        .into_iter()
        .filter(|point| point.call.kind.changes())
        .collect();
    let total = changes.len();
    let kills = changes.into_iter().enumerate().flat_map(|(number, point)| {
        let alone = point
            .call
            .who
            .starts_with("git ")
            .then(|| Kill::Alone(point.clone()));
        // Some are killed twice. The second kills spread over all that the next run still has to
        // do, in no order.
        let again = (number / 3 % 4 == 1).then_some(1 + number * 7919 % (total - number + 20));
        [Some(Kill::All(point, again)), alone]
    });
    kills.flatten().collect()
}

#[test]
#[ignore = "slow"]
fn a_killed_night_loses_nothing_and_the_next_one_finishes_it() {
    let all = kills();
    let total = all.len();
    let chosen = sample(all, 60, |kill| kill.point().to_string());
    let [missed, again] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let wrong = sweep(&chosen, |sweep, kill| {
        sweep.bring_back();
        let (point, night) = match kill {
            Kill::All(point, _) => (point, sweep.night(Act::KillAll(point))),
            Kill::Alone(point) => (point, sweep.night(Act::Kill(point))),
        };
        let mut wrong = Vec::new();
        match night.hit {
            // The lock's heartbeat follows the clock: a traced run on a busy machine writes more of
            // them.
            None if point.call.path.starts_with(".treewarden/locks/") => {}
            None => {
                eprintln!("never reached: {point}");
                missed.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) if night.ran.code != 137 => wrong.push(format!(
                "it ended with {} and not by the kill",
                night.ran.code
            )),
            Some(hit) => {
                let outlived = |call: &&Call| {
                    matches!(kill, Kill::Alone(_))
                        && call.kind.changes()
                        && !OUTLIVE.contains(&&*call.who)
                };
                let later = night.calls[hit + 1..].iter().filter(outlived);
                wrong.extend(later.map(|call| {
                    format!(
                        "{} outlived the program: {} {}",
                        call.who, call.name, call.path
                    )
                }));
            }
        }
        wrong.extend(sweep.lost());
        // An interrupted eviction may have freed enough: then the next run keeps units that an
        // undisturbed run would have evicted.
        let evicted = |call: &Call| call.path.starts_with("caches/") && call.kind.changes();
        let mut began = night
            .hit
            .is_some_and(|hit| night.calls[..hit].iter().chain([&point.call]).any(evicted));
        if let Kill::All(_, Some(number)) = kill {
            sweep.a_week_passes();
            let second = sweep.night(Act::KillAllBefore(*number));
            again.fetch_add(usize::from(second.hit.is_some()), Ordering::Relaxed);
            began |= second
                .hit
                .is_some_and(|hit| second.calls[..=hit].iter().any(evicted));
            wrong.extend(sweep.lost());
        }
        wrong.extend(sweep.recover(began));
        wrong
            .iter()
            .map(|what| format!("killed before {point}: {what}"))
            .collect()
    });
    let (missed, again) = (missed.into_inner(), again.into_inner());
    println!(
        "{} of {total} points tried, {} hit, {again} of them killed once more the night after",
        chosen.len(),
        chosen.len() - missed
    );
    all_well(&wrong, missed, chosen.len());
}
