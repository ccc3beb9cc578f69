//! Decides which units are evicted: least recently used first, across all caches.
//!
//! The cost must depend on what is evicted, not on what is stored, so units are measured when their
//! turn comes. Measuring is I/O, so the queue hands out batches, and the caller measures them and
//! hands them back.
//!
//! ```text
//! let list = LruShortlist::new(&names, policy.in_use, now, most, None).enough(wanted);
//! let mut caches = survey(&|unit| list.sift(&policies, unit));
//! sizing::measure_whole(&mut caches);
//! let Some(wanted) = evict::with_budgets(evict::wanted(&usage, &policy), &caches) else { return };
//! evict::name(&mut caches, &names);
//! let mut queue = evict::order(caches, wanted, policy.in_use, now);
//! queue.add(list.sifted());
//! while let Some(batch) = queue.next_batch() {
//!     let (units, problems) = sizing::measure(batch);
//!     queue.choose(units, problems);
//! }
//! let eviction = queue.finish();
//! ```
//!
//! The result is the shortest list of least recently used units that frees enough. Units that must
//! stay are left out: too young ones, those in a reserve, those that free nothing, and those in
//! use, unless the operator allows these to be evicted last. Caches over their own budget come
//! first, each by itself. The order in which units were listed makes no difference.

mod hold;
mod links;
mod shortlist;
mod used;
mod wanted;

pub use hold::{HeldBy, Hold};
pub use shortlist::{AgeBucket, LruShortlist, Sifted};
pub use used::{in_use, last_use, name, name_one};
pub use wanted::{GOAL, Mark, Wanted, below, below_floor, calm, urgent, wanted, with_budgets};

use crate::config::policy::InUse;
use crate::facts::cache::{Cache, Size, Unit};
use crate::fs::humanize;
use chrono::{DateTime, TimeDelta, Utc};
use links::{Links, standing};
use lru::LruCache;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Units handed out at once: enough to keep 32 threads busy, few enough that little is measured in
/// vain at the end.
const BATCH: usize = 256;

/// Problems that are reported; the rest is only counted, so that an unreadable cache doesn't flood
/// the report.
const TOLD: usize = 50;

/// How many units are named that could go.
const LARGEST: usize = 5;

/// How many repos are named as those that need most of the units that stay.
const REPOS_TOLD: usize = 3;

/// Units in order of eviction, and those chosen so far.
pub struct Queue {
    wanted: Wanted,
    /// Units not handed out yet, numbered in order of last use.
    waiting: LruCache<usize, Unit>,
    /// Units after this bucket wait for others that are not here yet; none if all are here.
    until: Option<AgeBucket>,
    limits: HashMap<String, Limits>,
    links: Links,
    chosen: Vec<Unit>,
    foreseen: Size,
    held: Held,
}

/// What is evicted, in order, and what prevented more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// What was to be freed.
    pub wanted: Wanted,
    /// The units to evict, in order.
    pub units: Vec<Unit>,
    /// What they free together, as projected.
    pub foreseen: Size,
    /// What is missing, for the volume or a cache's budget; zero if enough is projected.
    pub shortfall: Size,
    /// Units that must stay, by cache and reason, and what could not be read.
    pub obstacles: Vec<String>,
    /// How many units a setting holds, by cache.
    pub held: Vec<(HeldBy, Arc<str>, usize)>,
    /// The largest units that a reserve holds.
    pub could_go: Vec<CouldGo>,
}

/// How much of a cache with a reserve or a budget may be evicted, and should be.
struct Limits {
    /// What must stay.
    reserve: Size,
    /// What may be evicted.
    spare: Size,
    /// What should be evicted to get below its budget.
    over: Size,
}

/// Units that must stay, by cache and reason, and what could not be read.
#[derive(Default)]
struct Held {
    /// The largest units that a reserve holds.
    in_reserve: Vec<CouldGo>,
    units: BTreeMap<(Arc<str>, Hold), Count>,
    problems: Vec<String>,
}

/// A unit that stays, and would go if the operator allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouldGo {
    /// Its cache.
    pub cache: Arc<str>,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub bytes: u64,
    /// What would have to be allowed.
    pub by: HeldBy,
}

impl CouldGo {
    /// Returns the unit, if it was measured, frees something and a setting holds it.
    pub fn of(unit: &Unit, hold: Hold) -> Option<Self> {
        let bytes = unit
            .size
            .map(|size| size.bytes)
            .filter(|&bytes| bytes > 0)?;
        Some(Self {
            cache: unit.cache.clone(),
            name: unit.name.clone(),
            bytes,
            by: hold.by()?,
        })
    }
}

/// Keeps the five largest, in order.
pub fn largest(units: &mut Vec<CouldGo>) {
    units.sort_by(|a, b| (b.bytes, &a.cache, &a.name).cmp(&(a.bytes, &b.cache, &b.name)));
    units.truncate(LARGEST);
}

/// A number of units, and how many of them each repo needs.
#[derive(Default)]
struct Count {
    units: usize,
    by: BTreeMap<String, usize>,
}

/// Puts the caches' units in order: least recently used first, then by cache, name and path, so
/// that the dry run and the run agree. Units that are too young, or used after `now`, are kept
/// back.
///
/// All units of a cache with a reserve or a budget must be measured. A unit that isn't stays. What
/// is over a cache's budget is chosen at once.
pub fn order(caches: Vec<Cache>, wanted: Wanted, in_use: InUse, now: DateTime<Utc>) -> Queue {
    let limited = caches
        .iter()
        .filter(|cache| cache.budget.is_some() || cache.reserve != Size::default());
    let limits = limited
        .map(|cache| (cache.name.clone(), limits(cache, &wanted)))
        .collect();
    let (mut held, mut units) = (Held::default(), Vec::new());
    for cache in caches {
        held.problems.extend(
            cache
                .problems
                .into_iter()
                .map(|problem| format!("{}: {problem}", cache.name)),
        );
        for unit in cache.units {
            match held_back(&unit, in_use, now) {
                Some(why) => held.unit(unit, why),
                None => units.push(unit),
            }
        }
    }
    units.sort_unstable_by(|one, other| rank(one).cmp(&rank(other)));
    let (waiting, links) = (LruCache::unbounded(), Links::default());
    let mut queue = Queue {
        wanted,
        waiting,
        until: None,
        limits,
        links,
        chosen: Vec::new(),
        foreseen: Size::default(),
        held,
    };
    let mut waiting = Vec::new();
    for unit in units {
        if queue.is_over_budget(&unit.cache) {
            queue.choose_one(unit);
        } else {
            waiting.push(unit);
        }
    }
    queue.wait(waiting);
    queue
}

impl Queue {
    /// Adds the units of a shortlist: the first or, after [`Self::wants_after`], the next.
    pub fn add(&mut self, sifted: Sifted) {
        // Every survey finds the same units that must stay, so only the first survey's count.
        if self.until.is_none() {
            self.held.units.extend(sifted.held.units);
        }
        self.until = sifted.until;
        let waiting = std::iter::from_fn(|| self.waiting.pop_lru()).map(|(_, unit)| unit);
        let mut all: Vec<Unit> = waiting
            .chain(
                sifted
                    .turns
                    .into_values()
                    .flat_map(|together| together.units)
                    .map(|unit| *unit),
            )
            .collect();
        all.sort_unstable_by(|one, other| rank(one).cmp(&rank(other)));
        self.wait(all);
    }

    /// Returns the bucket after which more is wanted, if all up to it is not enough.
    pub fn wants_after(&self) -> Option<AgeBucket> {
        self.until.filter(|_| !self.is_enough())
    }

    /// Returns what is still wanted.
    pub fn wants(&self) -> Size {
        less(
            Size {
                bytes: self.wanted.bytes,
                inodes: self.wanted.inodes,
            },
            self.foreseen,
        )
    }

    /// Returns what was chosen since the last call, in order.
    pub fn take_chosen(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.chosen)
    }

    fn wait(&mut self, units: Vec<Unit>) {
        for (number, unit) in units.into_iter().enumerate() {
            self.waiting.put(number, unit);
        }
    }

    fn next_due(&mut self) -> Option<Unit> {
        let (_, next) = self.waiting.peek_lru()?;
        if self
            .until
            .is_some_and(|until| shortlist::turn(next) > until)
        {
            return None;
        }
        self.waiting.pop_lru().map(|(_, unit)| unit)
    }

    /// Returns the next units to measure, in order; none if enough is chosen, or nothing is left.
    pub fn next_batch(&mut self) -> Option<Vec<Unit>> {
        if self.is_enough() {
            return None;
        }
        let batch: Vec<Unit> = std::iter::from_fn(|| self.next_due()).take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes back a batch, measured and in the same order, and chooses from it until enough is
    /// projected. `problems` are about units that could not be measured.
    pub fn choose(&mut self, batch: Vec<Unit>, problems: Vec<String>) {
        self.held.problems.extend(problems);
        for unit in batch {
            if self.is_enough() {
                return;
            }
            self.choose_one(unit);
        }
    }

    /// Returns the result.
    pub fn finish(mut self) -> Eviction {
        for unit in self.links.left() {
            self.held.unit(unit, Hold::Nothing);
        }
        let mut over = Size::default();
        self.limits.values().for_each(|limits| over += limits.over);
        let shortfall = Size {
            bytes: self
                .wanted
                .bytes
                .saturating_sub(self.foreseen.bytes)
                .max(over.bytes),
            inodes: self
                .wanted
                .inodes
                .saturating_sub(self.foreseen.inodes)
                .max(over.inodes),
        };
        let held = self.held.by_setting();
        let could_go = std::mem::take(&mut self.held.in_reserve);
        let obstacles = self.held.told();
        Eviction {
            wanted: self.wanted,
            units: self.chosen,
            foreseen: self.foreseen,
            shortfall,
            obstacles,
            held,
            could_go,
        }
    }

    fn is_enough(&self) -> bool {
        self.foreseen.bytes >= self.wanted.bytes && self.foreseen.inodes >= self.wanted.inodes
    }

    fn is_over_budget(&self, cache: &str) -> bool {
        self.limits
            .get(cache)
            .is_some_and(|limits| limits.over != Size::default())
    }

    fn choose_one(&mut self, mut unit: Unit) {
        if unit.size.is_none() {
            return self.held.unit(unit, Hold::Unmeasured);
        }
        let gain = self.links.gain(&unit);
        if gain == Size::default() {
            return if unit.shared.is_empty() {
                self.held.unit(unit, Hold::Nothing);
            } else {
                self.links.wait(unit);
            };
        }
        if let Some(limits) = self.limits.get_mut(&*unit.cache) {
            if gain.bytes > limits.spare.bytes || gain.inodes > limits.spare.inodes {
                let hold = Hold::Reserve(limits.reserve);
                unit.size = Some(gain);
                return self.held.unit(unit, hold);
            }
            limits.spare = less(limits.spare, gain);
            limits.over = less(limits.over, gain);
        }
        self.chosen.extend(self.links.go(&unit));
        self.foreseen += gain;
        unit.size = Some(gain);
        self.chosen.push(unit);
    }
}

impl Held {
    fn unit(&mut self, unit: Unit, hold: Hold) {
        if matches!(hold, Hold::Reserve(_)) {
            self.in_reserve.extend(CouldGo::of(&unit, hold));
            largest(&mut self.in_reserve);
        }
        let named = unit.named.filter(|_| hold == Hold::InUse);
        let count = self.units.entry((unit.cache, hold)).or_default();
        count.units = count.units.saturating_add(1);
        if let Some(named) = named {
            let by = count.by.entry(named.by).or_default();
            *by = by.saturating_add(1);
        }
    }

    /// Counts the units that a setting holds, the most first.
    fn by_setting(&self) -> Vec<(HeldBy, Arc<str>, usize)> {
        let by = |((cache, hold), count): (&(Arc<str>, Hold), &Count)| {
            Some((hold.by()?, cache.clone(), count.units))
        };
        let mut held: Vec<_> = self.units.iter().filter_map(by).collect();
        held.sort_by_key(|(_, _, units)| Reverse(*units));
        held
    }

    /// Describes them: `12 units of npm: younger than 24 h`.
    fn told(self) -> Vec<String> {
        let units = self
            .units
            .into_iter()
            .map(|((cache, hold), Count { units, by })| {
                let units = humanize::plural(units as u64, "unit");
                format!("{units} of {cache}: {hold}{}", whose(by))
            });
        let untold = self.problems.len().saturating_sub(TOLD);
        let more = (untold > 0).then(|| format!("{untold} more problems like these"));
        units
            .chain(self.problems.into_iter().take(TOLD))
            .chain(more)
            .collect()
    }
}

/// Returns `, most of them by acme/shop (12)`: one repo can keep a whole cache from being evicted,
/// and the report must show which.
fn whose(by: BTreeMap<String, usize>) -> String {
    let mut repos: Vec<(String, usize)> = by.into_iter().collect();
    repos.sort_by_key(|(_, units)| Reverse(*units));
    let told: Vec<String> = repos
        .iter()
        .take(REPOS_TOLD)
        .map(|(repo, units)| format!("{repo} ({units})"))
        .collect();
    if told.is_empty() {
        String::new()
    } else {
        format!(", most of them by {}", told.join(", "))
    }
}

fn limits(cache: &Cache, wanted: &Wanted) -> Limits {
    let over = wanted.caches.get(&cache.name).copied().unwrap_or_default();
    Limits {
        reserve: cache.reserve,
        spare: less(standing(cache), cache.reserve),
        over,
    }
}

fn less(from: Size, size: Size) -> Size {
    Size {
        bytes: from.bytes.saturating_sub(size.bytes),
        inodes: from.inodes.saturating_sub(size.inodes),
    }
}

fn rank(unit: &Unit) -> impl Ord + '_ {
    (
        in_use(unit),
        used::needed(unit),
        &unit.cache,
        &unit.name,
        &unit.paths,
    )
}

/// Returns whether one unit goes before another.
pub fn precedes(one: &Unit, other: &Unit) -> bool {
    rank(one).lt(&rank(other))
}

/// Returns why the unit stays, whatever is wanted: somebody needs it, or may.
pub fn held_back(unit: &Unit, policy: InUse, now: DateTime<Utc>) -> Option<Hold> {
    if in_use(unit) && policy == InUse::Keep {
        return Some(Hold::InUse);
    }
    if unit.last_used > now {
        return Some(Hold::Future);
    }
    let used = if in_use(unit) {
        unit.last_used
    } else {
        last_use(unit).0
    };
    // A minimum age that is out of range is never reached.
    let min_age = TimeDelta::from_std(unit.min_age).unwrap_or(TimeDelta::MAX);
    (now.signed_duration_since(used) < min_age).then_some(Hold::Younger(unit.min_age))
}

/// Formats a size: `3.0 MiB`, `3.0 MiB and 20 inodes`, `20 inodes`.
fn in_amounts(size: Size) -> String {
    let bytes = (size.bytes > 0).then(|| humanize::bytes(size.bytes));
    let inodes = (size.inodes > 0).then(|| format!("{} inodes", size.inodes));
    bytes
        .into_iter()
        .chain(inodes)
        .collect::<Vec<_>>()
        .join(" and ")
}

#[cfg(test)]
mod tests;
