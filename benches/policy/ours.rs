//! treewarden's own choice: the program's ledger and plan, fed with the replay's days.
//!
//! A run here sees what a real one sees: the lock files of the default branches and the existing
//! trees, and each unit's last use. It must never rank units by itself.

use crate::fleet::{Day, Fleet, Unit};
use crate::replay::Standing;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use treewarden::config::policy::InUse;
use treewarden::facts::cache::{self, Cache, CacheKind, Size, UsedFrom};
use treewarden::facts::locks::Locks;
use treewarden::facts::package::Package;
use treewarden::plan::evict::{self, Wanted};
use treewarden::state::ledger::Ledger;

const HOUR: i64 = 3600;

/// What the runs remember.
#[derive(Default)]
pub(crate) struct Ours(Ledger);

impl Ours {
    /// Surveys every repo's lock files, as a run does.
    pub(crate) fn looks(&mut self, day: u32, events: &Day) {
        let mut repos: BTreeMap<usize, Vec<&[Unit]>> = BTreeMap::new();
        for (repo, units) in &events.named {
            repos.entry(*repo).or_default().push(units);
        }
        for (repo, trees) in &repos {
            let mut locks = Locks {
                worked: events
                    .jobs
                    .iter()
                    .any(|job| job.repo == *repo)
                    .then(|| noon(day)),
                ..Locks::default()
            };
            for (number, units) in trees.iter().enumerate() {
                let content = content(units);
                if !self.0.knows(&content) {
                    locks
                        .contents
                        .entry(content.clone())
                        .or_insert_with(|| units.iter().copied().map(package).collect());
                }
                locks.trees.insert(
                    number.to_string(),
                    Some(BTreeMap::from([("lock".to_owned(), Some(content))])),
                );
            }
            let too_much = self.0.note(&repo.to_string(), locks, night(day));
            assert_eq!(too_much, None);
        }
        let names: Vec<String> = repos.keys().map(ToString::to_string).collect();
        let enrolled: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        self.0 = std::mem::take(&mut self.0).tidied(&enrolled, night(day));
    }

    /// Returns what the day's run evicts, in order. `used` returns the day of a unit's last use, as
    /// far as its time stamps show it.
    pub(crate) fn order(
        &self,
        day: u32,
        fleet: &Fleet,
        there: &BTreeMap<Unit, Standing>,
        wanted: u64,
        used: impl Fn(&Standing) -> u32,
    ) -> Vec<Unit> {
        let units = there
            .iter()
            .map(|(unit, standing)| {
                facts(*unit, fleet.weights[*unit as usize], noon(used(standing)))
            })
            .collect();
        let cache = Cache {
            name: "all".into(),
            kind: CacheKind::new("npm"),
            units,
            reserve: Size::default(),
            budget: None,
            problems: Vec::new(),
        };
        let mut caches = vec![cache];
        evict::name(&mut caches, &self.0.names());
        let wanted = Wanted {
            bytes: wanted,
            ..Wanted::default()
        };
        let mut queue = evict::order(caches, wanted, InUse::Last, night(day));
        while let Some(batch) = queue.next_batch() {
            queue.choose(batch, Vec::new());
        }
        queue
            .finish()
            .units
            .iter()
            .map(|unit| unit.name.parse().expect("its number"))
            .collect()
    }
}

fn facts(unit: Unit, bytes: u64, last_used: DateTime<Utc>) -> cache::Unit {
    cache::Unit {
        cache: "all".into(),
        kind: CacheKind::new("npm"),
        name: unit.to_string(),
        paths: Vec::new(),
        packages: vec![package(unit)],
        named: None,
        last_used,
        last_used_from: UsedFrom::AccessTime,
        min_age: Duration::from_hours(24),
        locks: std::sync::Arc::default(),
        tree: None,
        size: Some(Size { bytes, inodes: 1 }),
        shared: Vec::new(),
    }
}

fn package(unit: Unit) -> Package {
    Package::new("cargo", &unit.to_string())
}

fn content(units: &[Unit]) -> String {
    let mut hasher = DefaultHasher::new();
    units.hash(&mut hasher);
    format!("lock {:x}", hasher.finish())
}

/// Returns when a day's jobs run.
fn noon(day: u32) -> DateTime<Utc> {
    night(day) - chrono::TimeDelta::hours(14)
}

/// Returns when a day's treewarden run starts: at two in the morning.
fn night(day: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + i64::from(day) * 24 * HOUR, 0)
        .expect("a time of this century")
}
