//! When a unit was last used, all signs taken together: its own, and the lock files that name what
//! it holds.
//!
//! A lock file of a live tree says what the next job needs, which no time stamp can. It must never
//! make a unit older than it looks.

use crate::facts::cache::{Cache, Unit, UsedFrom};
use crate::facts::locks::{Names, Naming};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;

/// Notes for each unit what lock files say of it: the strongest word where it holds several
/// packages.
pub fn name(caches: &mut [Cache], names: &Names) {
    for unit in caches.iter_mut().flat_map(|cache| &mut cache.units) {
        name_one(unit, names);
    }
}

pub(super) fn name_one(unit: &mut Unit, names: &Names) {
    let namings = unit
        .packages
        .iter()
        .filter_map(|package| names.get(package));
    unit.named = namings
        .max_by_key(|naming| (naming.in_use, naming.at, Reverse(&naming.by)))
        .cloned()
        .map(Box::new);
}

/// A unit's newest sign of use, and how it is known.
pub fn last_use(unit: &Unit) -> (DateTime<Utc>, UsedFrom) {
    match &unit.named {
        Some(named) if named.at > unit.last_used => (named.at, UsedFrom::Named),
        _ => (unit.last_used, unit.last_used_from),
    }
}

/// What decides which unit goes first. All that is in use was named in this run, by idle repos and
/// busy ones alike: there the work in the repos that name it counts, and the unit's own signs.
pub(super) fn needed(unit: &Unit) -> DateTime<Utc> {
    match &unit.named {
        Some(named) if named.in_use => named
            .worked
            .map_or(unit.last_used, |worked| worked.max(unit.last_used)),
        _ => last_use(unit).0,
    }
}

/// Whether a live tree's lock file names what it holds.
pub fn in_use(unit: &Unit) -> bool {
    unit.named
        .as_deref()
        .is_some_and(|Naming { in_use, .. }| *in_use)
}
