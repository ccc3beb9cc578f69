//! Keeps the least recently used units of a listing, and counts those that must stay.
//!
//! A volume may have a million units, and a run evicts the oldest of them, so only these stay in
//! memory. If all of them had their turn and more is wanted, the next survey keeps those that come
//! after. If sizes are known already, no more are kept than needed. A unit is never kept if an
//! older one is passed over.

use super::{Held, held_back, less, used};
use crate::config::policy::{self, InUse};
use crate::facts::cache::{Size, Unit};
use crate::facts::locks::Names;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A unit's turn, to the hour: whether it is in use, and when it was last needed. Units of one
/// bucket are kept all together or not at all.
pub type AgeBucket = (bool, i64);

/// The shortlist of one survey.
pub struct LruShortlist<'a> {
    names: &'a Names,
    in_use: InUse,
    now: DateTime<Utc>,
    most: usize,
    enough: Option<Size>,
    after: Option<AgeBucket>,
    sifted: Mutex<Sifted>,
}

/// The result of a shortlist.
#[derive(Default)]
pub struct Sifted {
    pub(super) turns: BTreeMap<AgeBucket, Together>,
    pub(super) held: Held,
    /// The last bucket in it, if units of later ones were passed over.
    pub(super) until: Option<AgeBucket>,
    count: usize,
    known: Size,
}

/// The units of one bucket.
#[derive(Default)]
pub(super) struct Together {
    #[expect(
        clippy::vec_box,
        reason = "what a growing list has to spare should be small"
    )]
    pub(super) units: Vec<Box<Unit>>,
    /// What they free at least.
    known: Size,
}

impl<'a> LruShortlist<'a> {
    /// Creates a shortlist of about `most` units, of those after the bucket `after`.
    pub fn new(
        names: &'a Names,
        in_use: InUse,
        now: DateTime<Utc>,
        most: usize,
        after: Option<AgeBucket>,
    ) -> Self {
        Self {
            names,
            in_use,
            now,
            most: most.max(1),
            enough: None,
            after,
            sifted: Mutex::default(),
        }
    }

    /// Keeps fewer units if those are known to free this much.
    #[must_use]
    pub fn enough(self, wanted: Size) -> Self {
        Self {
            enough: Some(wanted),
            ..self
        }
    }

    /// Takes a unit, as a survey's filter. It returns the units of a cache with a reserve or a
    /// budget, because what may be evicted there depends on the total.
    pub fn sift(&self, caches: &[policy::Cache], mut unit: Unit) -> Option<Unit> {
        let limited = |cache: &policy::Cache| {
            *cache.name == *unit.cache
                && (cache.budget.is_some() || cache.reserve != Size::default())
        };
        if caches.iter().any(limited) {
            return Some(unit);
        }
        used::name_one(&mut unit, self.names);
        unit.packages = Vec::new();
        let (reason, turn) = (held_back(&unit, self.in_use, self.now), turn(&unit));
        let mut sifted = self.sifted.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => sifted.held.unit(unit, reason),
            None if self.after.is_none_or(|after| turn > after) => {
                sifted.take(turn, unit, self.most, self.enough);
            }
            None => {}
        }
        None
    }

    /// Returns the result.
    pub fn sifted(self) -> Sifted {
        self.sifted
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sifted {
    fn take(&mut self, turn: AgeBucket, unit: Unit, most: usize, enough: Option<Size>) {
        if self.until.is_some_and(|until| turn > until) {
            return;
        }
        // Files that it shares with others may never be freed, so they don't count.
        let known = unit.size.unwrap_or_default();
        self.count = self.count.saturating_add(1);
        self.known += known;
        let together = self.turns.entry(turn).or_default();
        together.known += known;
        together.units.push(Box::new(unit));
        while self.turns.len() > 1
            && let Some(last) = self.turns.last_entry()
        {
            let (count, known) = (
                self.count.saturating_sub(last.get().units.len()),
                less(self.known, last.get().known),
            );
            let will_do =
                |enough: Size| known.bytes >= enough.bytes && known.inodes >= enough.inodes;
            if count < most && !enough.is_some_and(will_do) {
                return;
            }
            last.remove();
            (self.count, self.known) = (count, known);
            self.until = self.turns.last_key_value().map(|(turn, _)| *turn);
        }
    }
}

/// Returns the bucket of a unit.
pub(super) fn turn(unit: &Unit) -> AgeBucket {
    (
        used::in_use(unit),
        used::needed(unit).timestamp().div_euclid(3600),
    )
}
