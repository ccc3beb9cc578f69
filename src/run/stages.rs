//! The stages of an eviction: one for each file system that has caches, the volume's first.
//!
//! The caches of a file system share one queue, wherever they stand. Only `eviction.budget` is the
//! volume's alone, so it has a stage of its own if the volume's file system has other caches, too.

use super::context::RunContext;
use super::eviction::{self, Stage};
use super::mode::Mode;
use super::outside::{self, Outside, Outsides};
use super::reckoned::free;
use crate::config::policy::{self, Eviction, Volume};
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::report::{self, RunReport};
use crate::state::ledger::Ledger;
use std::collections::BTreeMap;

/// The inputs of all stages.
pub(super) struct Stages<'a> {
    pub(super) context: &'a RunContext<'a>,
    pub(super) outsides: &'a Outsides,
    /// Trees whose build output may be evicted.
    pub(super) idle: &'a [IdleTree],
    /// What lock files name, or named earlier.
    pub(super) ledger: &'a Ledger,
}

impl<'a> Stages<'a> {
    /// Evicts from all caches. `after` is the volume's usage, from which is taken what was freed
    /// there.
    pub(super) fn evict(&self, after: &mut Usage, evicts: bool, report: &mut RunReport) {
        let policy = self.context.policy;
        self.context.bar.set_message("caches");
        if let Some(calm) = eviction::none_wanted(policy, after).filter(|_| !evicts) {
            report.eviction = calm;
            return;
        }
        let (here, elsewhere) = self.by_device();
        let volume = [(&policy.volume, self.context.mode)];
        let mut marks = policy.eviction.clone();
        if !here.is_empty() && policy.eviction.budget.is_some() {
            let standing = Usage {
                standing_bytes: after.standing_bytes,
                ..Usage::default()
            };
            marks.budget = None;
            let only = (policy.eviction.clone(), volume.to_vec());
            report.eviction = self.stage(&standing, only, report);
            take(after, &report.eviction);
        }
        let homes = volume.into_iter().chain(here.into_iter().map(home));
        let evicted = self.stage(after, (marks.clone(), homes.collect()), report);
        take(after, &evicted);
        report.eviction.add(evicted, None);
        marks.budget = None;
        for group in elsewhere.into_values() {
            let Some(first) = group.first().copied() else {
                continue;
            };
            let homes = group.into_iter().map(home).collect();
            let evicted = self.stage(&first.usage, (marks.clone(), homes), report);
            report.eviction.add(evicted, Some(&first.volume.root));
        }
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

    fn stage(
        &self,
        usage: &Usage,
        (policy, homes): (Eviction, Vec<(&'a Volume, &'a Mode)>),
        report: &mut RunReport,
    ) -> report::Eviction {
        let context = self.context;
        let inside = |cache: &&policy::Cache| cache.outside.is_none();
        let all = context.policy.caches.iter().filter(inside);
        let rows = report.eviction.units.iter();
        let stage = Stage {
            context,
            usage,
            policy,
            caches: all.chain(&self.outsides.caches).cloned().collect(),
            homes,
            had_turn: rows
                .map(|row| (row.cache.clone(), row.unit.clone()))
                .collect(),
            idle: self.idle,
            ledger: self.ledger,
        };
        let failures = &mut report.failures;
        let evict = || context.span.in_scope(|| stage.evict(failures));
        context.io.install(evict)
    }
}

fn home(outside: &Outside) -> (&Volume, &Mode) {
    (&outside.volume, &outside.mode)
}

fn take(usage: &mut Usage, evicted: &report::Eviction) {
    let (bytes, inodes) = (evicted.freed_bytes, evicted.freed_inodes);
    free(usage, Size { bytes, inodes });
}
