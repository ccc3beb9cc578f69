//! Replays a volume under a policy, run after run.
//!
//! By day jobs fetch what is missing. At night, above the high watermark, units are evicted in the
//! policy's order until the low watermark is reached. It must never evict by day, never go below
//! the watermark, and never keep more than the volume has room for: what doesn't fit is fetched all
//! the same.

use crate::fleet::{Day, Fleet, Unit};
use crate::ours::Ours;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// The watermarks of `config/treewarden.yaml`.
const HIGH: f64 = 0.85;
const LOW: f64 = 0.75;

/// What decides the order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Belady's offline optimum: what is needed again last is evicted first. Only this one sees the
    /// future.
    Optimum,
    /// treewarden's own plan and ledger.
    Treewarden,
    /// The same on a mount that keeps no access times.
    TreewardenNoAtime,
    /// What was read longest ago.
    AtimeLru,
    /// What was fetched longest ago.
    MtimeLru,
    /// What is largest.
    SizeFirst,
    /// What was fetched for the first time longest ago.
    Fifo,
}

impl Policy {
    pub(crate) const ALL: [Self; 7] = [
        Self::Optimum,
        Self::Treewarden,
        Self::TreewardenNoAtime,
        Self::AtimeLru,
        Self::MtimeLru,
        Self::SizeFirst,
        Self::Fifo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Optimum => "optimum (Belady)",
            Self::Treewarden => "treewarden",
            Self::TreewardenNoAtime => "treewarden, noatime",
            Self::AtimeLru => "atime LRU",
            Self::MtimeLru => "mtime LRU",
            Self::SizeFirst => "size first",
            Self::Fifo => "FIFO",
        }
    }
}

/// The result of a replay.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// Bytes fetched for the first time, which no policy can avoid.
    pub(crate) first: u64,
    /// Bytes fetched again.
    pub(crate) again: u64,
    /// Units that a job found.
    pub(crate) hits: u64,
    /// Units that a job had to fetch.
    pub(crate) misses: u64,
    /// Runs that evicted something.
    pub(crate) nights: u64,
}

impl Outcome {
    /// Bytes fetched.
    pub(crate) fn fetched(&self) -> u64 {
        self.first + self.again
    }
}

/// A unit in the cache; days.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) written: u32,
    pub(crate) read: u32,
    first_written: u32,
}

/// Replays the fleet's days on a volume of `room` bytes.
pub(crate) fn replay(fleet: &Fleet, policy: Policy, room: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut volume = Volume {
        fleet,
        room,
        there: BTreeMap::new(),
        first: HashMap::new(),
        used: 0,
    };
    let (needs, mut ours) = (needs(fleet), Ours::default());
    for (day, events) in (0..).zip(&fleet.days) {
        volume.work(day, events, &mut outcome);
        if matches!(policy, Policy::Treewarden | Policy::TreewardenNoAtime) {
            ours.looks(day, events);
        }
        if volume.used <= share(room, HIGH) {
            continue;
        }
        outcome.nights += 1;
        let wanted = volume.used - share(room, LOW);
        let order = match policy {
            Policy::Treewarden => {
                ours.order(day, fleet, &volume.there, wanted, |standing| standing.read)
            }
            Policy::TreewardenNoAtime => {
                ours.order(day, fleet, &volume.there, wanted, |standing| {
                    standing.written
                })
            }
            Policy::Optimum => volume.order(|unit, _| Reverse(next(&needs[&unit], day))),
            Policy::AtimeLru => volume.order(|_, standing| standing.read),
            Policy::MtimeLru => volume.order(|_, standing| standing.written),
            Policy::SizeFirst => volume.order(|unit, _| Reverse(fleet.weights[unit as usize])),
            Policy::Fifo => volume.order(|_, standing| standing.first_written),
        };
        volume.evict(order, share(room, LOW));
    }
    outcome
}

struct Volume<'a> {
    fleet: &'a Fleet,
    room: u64,
    there: BTreeMap<Unit, Standing>,
    /// The day of each unit's first fetch.
    first: HashMap<Unit, u32>,
    used: u64,
}

impl Volume<'_> {
    fn work(&mut self, day: u32, events: &Day, outcome: &mut Outcome) {
        for unit in events.jobs.iter().flat_map(|job| &job.needs) {
            if let Some(standing) = self.there.get_mut(unit) {
                outcome.hits += 1;
                standing.read = day;
                continue;
            }
            let weight = self.fleet.weights[*unit as usize];
            let is_first = !self.first.contains_key(unit);
            let first_written = *self.first.entry(*unit).or_insert(day);
            *(if is_first {
                &mut outcome.first
            } else {
                &mut outcome.again
            }) += weight;
            outcome.misses += 1;
            if self.used + weight <= self.room {
                self.used += weight;
                self.there.insert(
                    *unit,
                    Standing {
                        written: day,
                        read: day,
                        first_written,
                    },
                );
            }
        }
    }

    fn order<K: Ord>(&self, key: impl Fn(Unit, &Standing) -> K) -> Vec<Unit> {
        let mut order: Vec<(&Unit, &Standing)> = self.there.iter().collect();
        order.sort_by_key(|(unit, standing)| key(**unit, standing));
        order.into_iter().map(|(unit, _)| *unit).collect()
    }

    fn evict(&mut self, order: Vec<Unit>, low: u64) {
        for unit in order {
            if self.used <= low {
                return;
            }
            self.there.remove(&unit).expect("it stands there");
            self.used -= self.fleet.weights[unit as usize];
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of some gibibytes"
)]
fn share(room: u64, part: f64) -> u64 {
    (room as f64 * part) as u64
}

/// Returns the days on which each unit is needed.
fn needs(fleet: &Fleet) -> HashMap<Unit, Vec<u32>> {
    let mut needs: HashMap<Unit, Vec<u32>> = HashMap::new();
    for (day, events) in (0..).zip(&fleet.days) {
        for unit in events.jobs.iter().flat_map(|job| &job.needs) {
            let days = needs.entry(*unit).or_default();
            if days.last() != Some(&day) {
                days.push(day);
            }
        }
    }
    needs
}

/// Returns the next of these days after `day`.
fn next(days: &[u32], day: u32) -> u32 {
    days.get(days.partition_point(|needed| *needed <= day))
        .copied()
        .unwrap_or(u32::MAX)
}
