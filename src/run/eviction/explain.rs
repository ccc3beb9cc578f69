//! One unit's part in an eviction: what holds it, and how many units go before it.

use super::{Home, Lister, Stage};
use crate::config::policy;
use crate::facts::cache::{Size, Unit};
use crate::plan::evict;
use crate::plan::when;
use crate::report;
use crate::survey::caches::sizing;
use chrono::{DateTime, Utc};
use std::sync::{Mutex, PoisonError};

/// Units that are named if a path belongs to none.
const OTHERS: usize = 10_000;

/// A unit, and its part in an eviction.
#[derive(Default)]
pub struct SeenUnit {
    /// The unit with its size, and what lock files say about it; none if there is no such unit.
    pub unit: Option<Unit>,
    /// Names of other units of its cache.
    pub others: Vec<String>,
    /// Why it stays, whatever is wanted.
    pub held: Option<String>,
    /// From when nothing holds it, if nobody uses it until then.
    pub free_from: Option<DateTime<Utc>>,
    /// How many units go before it, of all caches.
    pub ahead: u64,
    /// What is known of their size without measuring them.
    pub ahead_size: Size,
    /// The eviction that a run would do now.
    pub eviction: report::Eviction,
    /// What could not be read.
    pub failures: Vec<String>,
}

/// Recognises the unit that is to be explained.
pub(in crate::run) type IsUnit<'a> = &'a (dyn Fn(&Unit) -> bool + Sync);

impl Stage<'_> {
    /// Finds the unit that `is` recognises, and its part in this eviction.
    pub(in crate::run) fn explain(&self, cache: &policy::Cache, is: IsUnit<'_>) -> SeenUnit {
        let mut seen = SeenUnit::default();
        let homes = self.open(true, &mut seen.failures);
        if !homes.is_empty() {
            self.explain_seen(&homes, (cache, is), &mut seen);
        }
        seen
    }

    fn explain_seen(
        &self,
        homes: &[Home<'_>],
        (cache, is): (&policy::Cache, IsUnit<'_>),
        seen: &mut SeenUnit,
    ) {
        let (in_use, now) = (self.policy.in_use, self.context.now);
        let names = self.ledger.names();
        let lister = self.lister(homes, &names);
        let Some(unit) = find(&lister, cache, is, seen) else {
            return;
        };
        let (mut units, problems) = sizing::measure(vec![unit.clone()], self.context.stop);
        let mut unit = units.pop().unwrap_or(unit);
        seen.failures.extend(problems);
        evict::name_one(&mut unit, &names);
        let held = |then| evict::held_back(&unit, in_use, then);
        seen.held = held(now).map(|hold| hold.to_string());
        seen.free_from = when::first(now, |then| held(then).is_none());
        (seen.ahead, seen.ahead_size) = ahead(&lister, &unit);
        seen.eviction = self.evict(&mut seen.failures);
        seen.unit = Some(unit);
    }
}

/// Finds the unit in a cache, and notes the names of others there.
fn find(
    lists: &Lister<'_>,
    cache: &policy::Cache,
    is: IsUnit<'_>,
    seen: &mut SeenUnit,
) -> Option<Unit> {
    let found = Mutex::new((None, Vec::new()));
    let caches = lists.survey(&|unit| {
        if *unit.cache != *cache.name {
            return None;
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if is(&unit) {
            found.0 = Some(unit);
        } else if found.1.len() < OTHERS {
            found.1.push(unit.name);
        }
        None
    });
    let ours = caches.into_iter().filter(|seen| seen.name == cache.name);
    let problems = ours.flat_map(|cache| cache.problems);
    seen.failures.extend(problems);
    let (unit, others) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.others = others;
    unit
}

/// Counts the units that go before this one, and what is known of their size.
fn ahead(lists: &Lister<'_>, unit: &Unit) -> (u64, Size) {
    let ahead = Mutex::new((0_u64, Size::default()));
    lists.survey(&|mut other| {
        evict::name_one(&mut other, lists.names);
        let may_go = evict::held_back(&other, lists.in_use, lists.now).is_none();
        if may_go && evict::precedes(&other, unit) {
            let mut ahead = ahead.lock().unwrap_or_else(PoisonError::into_inner);
            ahead.0 = ahead.0.saturating_add(1);
            ahead.1 += other.size.unwrap_or_default();
        }
        None
    });
    ahead.into_inner().unwrap_or_else(PoisonError::into_inner)
}
