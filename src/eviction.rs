//! The eviction stage: reckon what is wanted, list and order units, weigh as many as needed, evict them, tell.
//!
//! Below the marks it costs nothing beyond the statvfs that the run made already. It must never end the run: what fails is a row.

use crate::apply::evict::{Evictor, UnitOutcome};
use crate::apply::trash::Emptied;
use crate::config::policy::Policy;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::lock::LockedVolume;
use crate::night::Night;
use crate::plan::evict::{self, Eviction};
use crate::report::{self, rows};
use crate::survey::caches::{self, sizing};
use std::sync::Mutex;

/// Least recently used first, until the marks are reached. Without a lock on the volume, it only tells what would go.
pub fn evict(
    night: &Night<'_>,
    policy: &Policy,
    lock: Option<&LockedVolume>,
    usage: &Usage,
    idle: &[IdleTree],
    failures: &mut Vec<String>,
) -> report::Eviction {
    let Some(wanted) = evict::wanted(usage, &policy.eviction) else {
        return report::Eviction { reason: evict::calm(usage, &policy.eviction), ..report::Eviction::default() };
    };
    let mut caches = caches::survey(&policy.caches, idle);
    sizing::weigh_reserved(&mut caches);
    let mut queue = evict::order(caches, wanted, night.now);
    while let Some(batch) = queue.next_batch() {
        let (units, problems) = sizing::weigh(batch);
        queue.choose(units, problems);
    }
    let plan = queue.finish();
    let (outcomes, freed) = match lock {
        Some(lock) => apply(night, lock, &plan, failures),
        None => (vec![UnitOutcome::Planned; plan.units.len()], plan.foreseen),
    };
    rows::eviction(plan, outcomes, freed)
}

fn apply(night: &Night<'_>, lock: &LockedVolume, plan: &Eviction, failures: &mut Vec<String>) -> (Vec<UnitOutcome>, Size) {
    let Some(trash) = &night.trash else { return (Vec::new(), Size::default()) };
    let evictor = Evictor { lock, locks: &night.locks, trash, stop: night.stop, now: night.now, one_at_a_time: Mutex::default() };
    match evictor.evict(&plan.units) {
        Ok((outcomes, Emptied { freed, left })) => {
            failures.extend(left.into_iter().map(|left| format!("left in the trash: {left}; the next night tries again")));
            (outcomes, freed)
        }
        Err(error) => {
            failures.push(format!("failed to evict: {error}; look into the volume's state folder"));
            (Vec::new(), Size::default())
        }
    }
}
