//! When a unit was last used, by all signs together: its own, and the lock files that name what it
//! contains.
//!
//! A lock file of a live tree shows what the next job needs, which no time stamp can. It can only
//! make a unit younger.

use crate::facts::cache::{Cache, Unit, UsedFrom};
use crate::facts::locks::{Names, Naming};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;

/// Notes on each unit what lock files say about it: the strongest sign if it contains several
/// packages.
pub fn name(caches: &mut [Cache], names: &Names) {
    for unit in caches.iter_mut().flat_map(|cache| &mut cache.units) {
        name_one(unit, names);
    }
}

/// Notes it on one unit.
pub fn name_one(unit: &mut Unit, names: &Names) {
    let namings = unit
        .packages
        .iter()
        .filter_map(|package| names.get(package));
    unit.named = namings
        .max_by_key(|naming| (naming.in_use, naming.at, Reverse(&naming.by)))
        .cloned()
        .map(Box::new);
}

/// Returns a unit's newest sign of use, and its kind.
pub fn last_use(unit: &Unit) -> (DateTime<Utc>, UsedFrom) {
    match &unit.named {
        Some(named) if named.at > unit.last_used => (named.at, UsedFrom::Named),
        _ => (unit.last_used, unit.last_used_from),
    }
}

/// Returns the time that decides which unit is evicted first. Idle repos name units in every run,
/// as busy ones do, so for a unit in use it is the last work in the repos that name it, or its own
/// last use if that is later.
pub(super) fn needed(unit: &Unit) -> DateTime<Utc> {
    match &unit.named {
        Some(named) if named.in_use => named
            .worked
            .map_or(unit.last_used, |worked| worked.max(unit.last_used)),
        _ => last_use(unit).0,
    }
}

/// Checks whether a lock file names what it contains.
pub fn in_use(unit: &Unit) -> bool {
    unit.named
        .as_deref()
        .is_some_and(|Naming { in_use, .. }| *in_use)
}
