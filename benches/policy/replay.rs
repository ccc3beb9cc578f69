//! A volume under a policy, night after night.
//!
//! By day jobs fetch what isn't there; at night, above the high mark, units go in the policy's order until the low mark is reached. It must
//! never evict by day, and never more than down to the mark.

use crate::fleet::{Fleet, Unit};
use std::collections::{BTreeMap, HashMap};

/// The marks of `config/treewarden.yaml`.
const HIGH: f64 = 0.85;
const LOW: f64 = 0.75;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The offline optimum: what is needed again last goes first.
    Belady,
    Treewarden,
    /// In-use by lock files, then by age of the name alone.
    AccessTime,
    WriteTime,
    SizeFirst,
    Fifo,
}

impl Policy {
    pub const ALL: [Self; 6] = [Self::Belady, Self::Treewarden, Self::AccessTime, Self::WriteTime, Self::SizeFirst, Self::Fifo];

    pub fn name(self) -> &'static str {
        match self {
            Self::Belady => "optimum",
            Self::Treewarden => "treewarden",
            Self::AccessTime => "atime LRU",
            Self::WriteTime => "mtime LRU",
            Self::SizeFirst => "size first",
            Self::Fifo => "FIFO",
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Bytes fetched for the first time: no policy can help it.
    pub first: u64,
    /// Bytes fetched again.
    pub again: u64,
    pub hits: u64,
    pub misses: u64,
    pub evicted: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    written: u32,
    first_written: u32,
    read: u32,
}

pub fn replay(fleet: &Fleet, policy: Policy, room: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut there: BTreeMap<Unit, Entry> = BTreeMap::new();
    let mut ever: HashMap<Unit, u32> = HashMap::new();
    let mut ledger: HashMap<Unit, u32> = HashMap::new();
    let mut worked: HashMap<usize, u32> = HashMap::new();
    let needs = needs(fleet);
    let mut used = 0;
    for (day, events) in fleet.days.iter().enumerate() {
        let day = u32::try_from(day).expect("few days");
        for job in &events.jobs {
            worked.insert(job.repo, day);
            for unit in &job.needs {
                let weight = fleet.weights[*unit as usize];
                if let Some(entry) = there.get_mut(unit) {
                    outcome.hits += 1;
                    entry.read = day;
                    continue;
                }
                outcome.misses += 1;
                used += weight;
                let first_written = *ever.entry(*unit).or_insert(day);
                if first_written == day {
                    outcome.first += weight
                } else {
                    outcome.again += weight
                }
                there.insert(*unit, Entry { written: day, first_written, read: day });
            }
        }
        for (repo, units) in &events.named {
            let active = worked.get(repo).copied().unwrap_or(0);
            for unit in units {
                let last = ledger.entry(*unit).or_default();
                *last = (*last).max(active);
            }
        }
        if used as f64 <= room as f64 * HIGH {
            continue;
        }
        let in_use: std::collections::HashSet<Unit> = events.named.iter().flat_map(|(_, units)| units).copied().collect();
        let mut order: Vec<(Unit, Entry)> = there.iter().map(|(unit, entry)| (*unit, *entry)).collect();
        order.sort_by_key(|(unit, entry)| match policy {
            Policy::Belady => (0, u64::from(u32::MAX - next(&needs, *unit, day)), *unit),
            Policy::Treewarden => {
                (u64::from(in_use.contains(unit)), u64::from(entry.read.max(ledger.get(unit).copied().unwrap_or(0))), *unit)
            }
            Policy::AccessTime => (0, u64::from(entry.read), *unit),
            Policy::WriteTime => (0, u64::from(entry.written), *unit),
            Policy::SizeFirst => (0, u64::MAX - fleet.weights[*unit as usize], *unit),
            Policy::Fifo => (0, u64::from(entry.first_written), *unit),
        });
        for (unit, _) in order {
            if used as f64 <= room as f64 * LOW {
                break;
            }
            used -= fleet.weights[unit as usize];
            there.remove(&unit);
            outcome.evicted += 1;
        }
    }
    outcome
}

/// The days on which each unit is needed.
fn needs(fleet: &Fleet) -> HashMap<Unit, Vec<u32>> {
    let mut needs: HashMap<Unit, Vec<u32>> = HashMap::new();
    for (day, events) in fleet.days.iter().enumerate() {
        let day = u32::try_from(day).expect("few days");
        for unit in events.jobs.iter().flat_map(|job| &job.needs) {
            let days = needs.entry(*unit).or_default();
            if days.last() != Some(&day) {
                days.push(day);
            }
        }
    }
    needs
}

/// The next day after `day` on which a unit is needed.
fn next(needs: &HashMap<Unit, Vec<u32>>, unit: Unit, day: u32) -> u32 {
    let days = &needs[&unit];
    days.get(days.partition_point(|needed| *needed <= day)).copied().unwrap_or(u32::MAX - 1)
}
