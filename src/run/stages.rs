//! The stages of an eviction: one for each file system that has caches, the volume's first.
//!
//! The caches of a file system share one queue, wherever they stand. Only `eviction.budget` is the
//! volume's alone, so it has a stage of its own if the volume's file system has other caches, too.

use super::context::RunContext;
use super::eviction::Stage;
use super::eviction::explain::{IsUnit, SeenUnit};
use super::mode::Mode;
use super::outside::{self, Outside, Outsides};
use super::reckoned::free;
use crate::config::policy::{self, Eviction, Volume};
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::plan::evict::{self, Wanted};
use crate::report::{self, RunReport, UnitOutcome};
use crate::state::ledger::Ledger;
use std::collections::BTreeMap;

/// The inputs of all stages.
pub(super) struct Stages<'a> {
    pub(super) context: &'a RunContext<'a>,
    pub(super) outsides: &'a Outsides,
    /// The volume's usage.
    pub(super) usage: &'a Usage,
    /// Trees whose build output may be evicted.
    pub(super) idle: &'a [IdleTree],
    /// What lock files name, or named earlier.
    pub(super) ledger: &'a Ledger,
}

/// The rules of a stage, and the directories that its caches stand in.
type Scope<'a> = (Eviction, Vec<(&'a Volume, &'a Mode)>);

impl<'a> Stages<'a> {
    /// Evicts from all caches, and returns the volume's usage after that.
    pub(super) fn evict(&self, report: &mut RunReport) -> Usage {
        let mut after = *self.usage;
        let volume = self.on_the_volume();
        if let Some(alone) = self.budget_alone(&volume) {
            let standing = Usage {
                standing_bytes: after.standing_bytes,
                ..Usage::default()
            };
            report.eviction = self.run(&standing, alone, report);
            take(&mut after, &report.eviction);
        }
        let evicted = self.run(&after, volume, report);
        take(&mut after, &evicted);
        report.eviction.add(evicted, None);
        for group in self.elsewhere() {
            let Some(first) = group.first().copied() else {
                continue;
            };
            let evicted = self.run(&first.usage, self.marks(&group), report);
            report.eviction.add(evicted, Some(&first.volume.root));
        }
        after
    }

    /// Evicts build output of these trees alone, from these caches, until so much is freed.
    pub(super) fn output(
        &self,
        caches: Vec<policy::Cache>,
        idle: &[IdleTree],
        (usage, wanted): (&Usage, Size),
        report: &mut RunReport,
    ) -> report::Eviction {
        let policy = self.context.policy;
        let homes = vec![(&policy.volume, self.context.mode)];
        let stage = Stage {
            caches,
            idle,
            wanted: Some(Wanted {
                bytes: wanted.bytes,
                inodes: wanted.inodes,
                ..Wanted::default()
            }),
            ..self.stage(usage, (policy.eviction.clone(), homes), &report.eviction)
        };
        self.within(&stage, &mut report.failures)
    }

    /// Finds the unit of a cache that `is` recognises, and its part in its file system's eviction.
    pub(super) fn explain(&self, cache: &policy::Cache, is: IsUnit<'_>) -> SeenUnit {
        let stays = format!("{}: ", cache.name);
        let mut stay = self.outsides.stay.iter();
        if let Some(why) = stay.find(|why| why.starts_with(&stays)) {
            return SeenUnit {
                failures: vec![why.clone()],
                ..SeenUnit::default()
            };
        }
        let of_cache = |outside: &&Outside| Some(&outside.volume) == cache.outside.as_ref();
        let mut groups = self.elsewhere().into_iter();
        let group = groups.find(|group| group.iter().any(&of_cache));
        let none = report::Eviction::default();
        if let Some(group) = group
            && let Some(first) = group.first()
        {
            let stage = self.stage(&first.usage, self.marks(&group), &none);
            return stage.explain(cache, is);
        }
        let (mut eviction, homes) = self.on_the_volume();
        // The budget is a reason for what is on the volume, even if the queue is shared.
        if cache.outside.is_none() {
            eviction.budget = self.context.policy.eviction.budget;
        }
        self.stage(self.usage, (eviction, homes), &none)
            .explain(cache, is)
    }

    /// Returns the stage of everything on the volume's file system.
    fn on_the_volume(&self) -> Scope<'a> {
        let policy = self.context.policy;
        let here = self.by_device().0;
        let mut eviction = policy.eviction.clone();
        if !here.is_empty() {
            eviction.budget = None;
        }
        let homes = here.into_iter().map(home);
        let volume = [(&policy.volume, self.context.mode)];
        (eviction, volume.into_iter().chain(homes).collect())
    }

    /// Returns the stage of the volume's budget, if that of its file system leaves it out.
    fn budget_alone(&self, volume: &Scope<'a>) -> Option<Scope<'a>> {
        let policy = &self.context.policy.eviction;
        let alone = || Eviction {
            budget: policy.budget,
            ..policy.elsewhere()
        };
        (policy.budget != volume.0.budget)
            .then(|| (alone(), volume.1.iter().take(1).copied().collect()))
    }

    /// Returns the stage of another file system.
    fn marks(&self, group: &[&'a Outside]) -> Scope<'a> {
        let eviction = self.context.policy.eviction.elsewhere();
        (eviction, group.iter().copied().map(home).collect())
    }

    /// Returns the directories outside of the volume, by file system, without the volume's.
    fn elsewhere(&self) -> Vec<Vec<&'a Outside>> {
        self.by_device().1.into_values().collect()
    }

    /// Returns the directories on the volume's file system, and the others by theirs.
    fn by_device(&self) -> (Vec<&'a Outside>, BTreeMap<u64, Vec<&'a Outside>>) {
        let volume = outside::device(&self.context.policy.volume.root).ok();
        let (mut here, mut elsewhere) = (Vec::new(), BTreeMap::<u64, Vec<_>>::new());
        for outside in &self.outsides.proven {
            if Some(outside.device) == volume {
                here.push(outside);
            } else {
                elsewhere.entry(outside.device).or_default().push(outside);
            }
        }
        (here, elsewhere)
    }

    fn run(&self, usage: &Usage, scope: Scope<'_>, report: &mut RunReport) -> report::Eviction {
        let stage = self.stage(usage, scope, &report.eviction);
        self.within(&stage, &mut report.failures)
    }

    fn within(&self, stage: &Stage<'_>, failures: &mut Vec<String>) -> report::Eviction {
        let evict = || self.context.span.in_scope(|| stage.evict(failures));
        self.context.io.install(evict)
    }

    /// Returns a stage, after what was evicted before.
    fn stage<'b>(
        &'b self,
        usage: &'b Usage,
        (policy, homes): Scope<'b>,
        before: &report::Eviction,
    ) -> Stage<'b> {
        let inside = |cache: &&policy::Cache| cache.outside.is_none();
        let all = self.context.policy.caches.iter().filter(inside);
        let all = all.chain(&self.outsides.caches);
        let stands = |cache: &&policy::Cache| {
            let root = cache
                .outside
                .as_ref()
                .unwrap_or(&self.context.policy.volume);
            homes.iter().any(|(volume, _)| volume.root == root.root)
        };
        let rows = before.units.iter();
        Stage {
            context: self.context,
            usage,
            wanted: evict::wanted(usage, &policy),
            policy,
            caches: all.filter(stands).cloned().collect(),
            homes,
            had_turn: rows
                .map(|row| (row.cache.clone(), row.unit.clone()))
                .collect(),
            planned: before.units.iter().filter_map(planned).collect(),
            idle: self.idle,
            ledger: self.ledger,
        }
    }
}

fn planned(row: &report::Unit) -> Option<(String, Size)> {
    let size = Size {
        bytes: row.bytes,
        inodes: row.inodes,
    };
    (row.outcome == UnitOutcome::Planned).then(|| (row.unit.clone(), size))
}

fn home(outside: &Outside) -> (&Volume, &Mode) {
    (&outside.volume, &outside.mode)
}

fn take(usage: &mut Usage, evicted: &report::Eviction) {
    let (bytes, inodes) = (evicted.freed_bytes, evicted.freed_inodes);
    free(usage, Size { bytes, inodes });
}
