//! Decides which units go: least recently used first, across all caches.
//!
//! Cost must follow what is evicted, not what is stored, so units are weighed as they go. Weighing is I/O and not this room's:
//! the queue hands out batches, the caller weighs them and hands them back.
//!
//! ```text
//! let Some(wanted) = evict::wanted(&usage, &policy) else { return };
//! sizing::weigh_reserved(&mut caches);
//! let mut queue = evict::order(caches, wanted, now);
//! while let Some(batch) = queue.next_batch() {
//!     let (units, problems) = sizing::weigh(batch);
//!     queue.choose(units, problems);
//! }
//! let eviction = queue.finish();
//! ```
//!
//! What comes out is the shortest run of the least recently used units that frees enough, without those that must stay: too young ones,
//! those a reserve holds, and those whose going frees nothing. It must never depend on the order in which units were listed.

mod wanted;

pub use wanted::{Wanted, calm, wanted};

use crate::facts::cache::{Cache, Size, Unit};
use bytesize::ByteSize;
use chrono::{DateTime, TimeDelta, Utc};
use lru::LruCache;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Units handed out at once: enough to keep 32 threads busy, and few to weigh for nothing at the end.
const BATCH: usize = 256;

/// Problems told in full; the rest is a number, so that an unreadable cache doesn't flood the report.
const TOLD: usize = 50;

/// Units in the order in which they go, and what was chosen of them.
pub struct Queue {
    wanted: Wanted,
    /// By number, in order of last use.
    waiting: LruCache<usize, Unit>,
    reserves: HashMap<String, Reserve>,
    chosen: Vec<Unit>,
    foreseen: Size,
    held: Held,
}

/// What goes, in order, and what stood in the way of more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// What was to be freed.
    pub wanted: Wanted,
    /// The units, least recently used first, each with its size.
    pub units: Vec<Unit>,
    /// What they free together.
    pub foreseen: Size,
    /// What is missing; zero when enough is foreseen.
    pub shortfall: Size,
    /// Units that must stay, by cache and reason, and what could not be read.
    pub obstacles: Vec<String>,
}

/// What a cache may still give without going below its reserve.
struct Reserve {
    /// Bytes that must stay.
    bytes: u64,
    /// Bytes that may go.
    spare: u64,
}

/// Units that must stay, by cache and reason, and what could not be read.
#[derive(Default)]
struct Held {
    units: BTreeMap<(String, String), usize>,
    problems: Vec<String>,
}

/// Puts the caches' units in order: least recently used first, and by cache, name and path where the times are the same, so that
/// the dry run and the run agree. Units that are too young, or used after `now`, are held back.
///
/// A cache with a reserve must come with all its units weighed; what isn't weighed counts as nothing, and so stays.
pub fn order(caches: Vec<Cache>, wanted: Wanted, now: DateTime<Utc>) -> Queue {
    let reserves = caches.iter().filter(|cache| cache.reserve > 0).map(|cache| (cache.name.clone(), reserve(cache))).collect();
    let (mut held, mut units) = (Held::default(), Vec::new());
    for cache in caches {
        held.problems.extend(cache.problems.into_iter().map(|problem| format!("{}: {problem}", cache.name)));
        for unit in cache.units {
            match too_young(&unit, now) {
                Some(reason) => held.unit(unit, reason),
                None => units.push(unit),
            }
        }
    }
    units.sort_unstable_by(|one, other| rank(one).cmp(&rank(other)));
    let mut waiting = LruCache::unbounded();
    for (number, unit) in units.into_iter().enumerate() {
        waiting.put(number, unit);
    }
    Queue { wanted, waiting, reserves, chosen: Vec::new(), foreseen: Size::default(), held }
}

impl Queue {
    /// The next units to weigh, in order; none when enough is chosen, or nothing is left.
    pub fn next_batch(&mut self) -> Option<Vec<Unit>> {
        if self.is_enough() {
            return None;
        }
        let batch: Vec<Unit> = std::iter::from_fn(|| self.waiting.pop_lru()).map(|(_, unit)| unit).take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes back a batch, weighed and in the same order, and chooses of it until enough is foreseen. `problems` tell of units that
    /// could not be weighed.
    pub fn choose(&mut self, batch: Vec<Unit>, problems: Vec<String>) {
        self.held.problems.extend(problems);
        for unit in batch {
            if self.is_enough() {
                return;
            }
            self.choose_one(unit);
        }
    }

    /// What goes.
    pub fn finish(self) -> Eviction {
        let shortfall = Size {
            bytes: self.wanted.bytes.saturating_sub(self.foreseen.bytes),
            inodes: self.wanted.inodes.saturating_sub(self.foreseen.inodes),
        };
        let obstacles = self.held.told();
        Eviction { wanted: self.wanted, units: self.chosen, foreseen: self.foreseen, shortfall, obstacles }
    }

    fn is_enough(&self) -> bool {
        self.foreseen.bytes >= self.wanted.bytes && self.foreseen.inodes >= self.wanted.inodes
    }

    fn choose_one(&mut self, unit: Unit) {
        let size = match unit.size {
            None => return self.held.unit(unit, "could not be weighed".into()),
            Some(size) if size == Size::default() => return self.held.unit(unit, "would free nothing: gone, or linked elsewhere".into()),
            Some(size) => size,
        };
        if let Some(reserve) = self.reserves.get_mut(&unit.cache) {
            if size.bytes > reserve.spare {
                let reserve = ByteSize(reserve.bytes).display().iec();
                return self.held.unit(unit, format!("held by its reserve of {reserve}"));
            }
            reserve.spare -= size.bytes;
        }
        self.foreseen.bytes += size.bytes;
        self.foreseen.inodes += size.inodes;
        self.chosen.push(unit);
    }
}

impl Held {
    fn unit(&mut self, unit: Unit, reason: String) {
        *self.units.entry((unit.cache, reason)).or_default() += 1;
    }

    /// `12 units of npm: younger than 24 h`.
    fn told(self) -> Vec<String> {
        let units = self.units.into_iter().map(|((cache, reason), count)| {
            let noun = if count == 1 { "unit" } else { "units" };
            format!("{count} {noun} of {cache}: {reason}")
        });
        let untold = self.problems.len().saturating_sub(TOLD);
        let more = (untold > 0).then(|| format!("{untold} more problems like these"));
        units.chain(self.problems.into_iter().take(TOLD)).chain(more).collect()
    }
}

fn reserve(cache: &Cache) -> Reserve {
    let standing: u64 = cache.units.iter().filter_map(|unit| unit.size).map(|size| size.bytes).sum();
    Reserve { bytes: cache.reserve, spare: standing.saturating_sub(cache.reserve) }
}

/// What decides which unit goes first.
fn rank(unit: &Unit) -> impl Ord + '_ {
    (unit.last_used, &unit.cache, &unit.name, &unit.paths)
}

/// Why the unit's age keeps it.
fn too_young(unit: &Unit, now: DateTime<Utc>) -> Option<String> {
    if unit.last_used > now {
        return Some("last used in the future, by their time stamps".into());
    }
    // A minimum beyond what time can express is never reached.
    let min_age = TimeDelta::from_std(unit.min_age).unwrap_or(TimeDelta::MAX);
    (now - unit.last_used < min_age).then(|| format!("younger than {}", in_words(unit.min_age)))
}

/// Hours, or days from the third on: `24 h`, `7 d`.
fn in_words(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds >= 3 * 86_400 && seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ => humantime::format_duration(age).to_string(),
    }
}

#[cfg(test)]
mod tests;
