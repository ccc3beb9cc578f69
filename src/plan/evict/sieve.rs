//! Sifts units as they are listed: only those whose turn comes next are held.
//!
//! A volume may hold a million units, and a night takes the oldest of them. So of all that a survey lists only the least recently used stay in memory, and
//! those that must stay are counted. When all that were held had their turn and more is wanted, the next survey is sifted for those that come
//! after them. It must never hold a unit and let an older one go by.

use super::{Held, held_back, used};
use crate::config::policy::{self, InUse};
use crate::facts::cache::{Size, Unit};
use crate::facts::locks::Names;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A unit's turn, to the hour: whether it is in use, and when it was last needed. Units of one turn are held all together or not at all.
pub type Turn = (bool, i64);

/// One survey's sieve.
pub struct Sieve<'a> {
    names: &'a Names,
    in_use: InUse,
    now: DateTime<Utc>,
    most: usize,
    after: Option<Turn>,
    sifted: Mutex<Sifted>,
}

/// What stayed in a sieve.
#[derive(Default)]
pub struct Sifted {
    /// Those of each turn.
    pub(super) units: BTreeMap<Turn, Vec<Unit>>,
    pub(super) held: Held,
    /// The last turn that is here, where units of later ones went by.
    pub(super) until: Option<Turn>,
    count: usize,
}

impl<'a> Sieve<'a> {
    /// A sieve that holds about `most` units, of those that come after the turn `after`.
    pub fn new(names: &'a Names, in_use: InUse, now: DateTime<Utc>, most: usize, after: Option<Turn>) -> Self {
        Self { names, in_use, now, most: most.max(1), after, sifted: Mutex::default() }
    }

    /// Takes a unit, as a survey's gate. Those of a cache with a reserve or a budget are given back: what may go there depends on the whole.
    pub fn sift(&self, caches: &[policy::Cache], mut unit: Unit) -> Option<Unit> {
        let limited = |cache: &policy::Cache| cache.name == unit.cache && (cache.budget.is_some() || cache.reserve != Size::default());
        if caches.iter().any(limited) {
            return Some(unit);
        }
        used::name_one(&mut unit, self.names);
        let (reason, turn) = (held_back(&unit, self.in_use, self.now), turn(&unit));
        let mut sifted = self.sifted.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => sifted.held.unit(unit, reason),
            None if self.after.is_none_or(|after| turn > after) => sifted.take(turn, unit, self.most),
            None => {}
        }
        None
    }

    /// What stayed.
    pub fn sifted(self) -> Sifted {
        self.sifted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sifted {
    fn take(&mut self, turn: Turn, unit: Unit, most: usize) {
        if self.until.is_some_and(|until| turn > until) {
            return;
        }
        self.units.entry(turn).or_default().push(unit);
        self.count += 1;
        while let Some(last) = self.units.last_entry().filter(|last| self.count - last.get().len() >= most) {
            self.count -= last.remove().len();
            self.until = self.units.last_key_value().map(|(turn, _)| *turn);
        }
    }
}

/// When it is the unit's turn.
pub(super) fn turn(unit: &Unit) -> Turn {
    (used::in_use(unit), used::needed(unit).timestamp().div_euclid(3600))
}
