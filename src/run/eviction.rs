//! The eviction stage: compute what is wanted, list and order units, measure as many as needed,
//! evict them, report.
//!
//! Below the watermarks it costs nothing beyond the statvfs that the run made already, except for
//! caches with a budget of their own. A failure is a row, and the run goes on.

use crate::apply::evict::{Evictor, UnitOutcome};
use crate::apply::trash::Emptied;
use crate::config::policy::{self, InUse, Policy};
use crate::ecosystems::last_use::{LastUseProbe, keeps_access_times};
use crate::ecosystems::lister::{Inspection, UnitFilter};
use crate::facts::cache::{Cache, IdleTree, Size, Unit};
use crate::facts::locks::Names;
use crate::facts::volume::Usage;
use crate::fs::stop::Stop;
use crate::plan::evict::{self, AgeBucket, LruShortlist, Queue, Sifted, Wanted};
use crate::report::words::plain;
use crate::report::{self, rows};
use crate::run::context::{RepoResult, RunContext};
use crate::run::mode::Mode;
use crate::state::ledger::Ledger;
use crate::survey::caches::{self, sizing};
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::sync::Mutex;

mod explain;
pub use explain::SeenUnit;

/// Units in memory at once, of the many that a survey lists. A run that evicts more surveys again.
const AT_ONCE: usize = 70_000;

/// Returns the ledger with what this run saw of lock files, and lines about what it could not see.
pub fn remember<'a>(
    mut ledger: Ledger,
    context: &RunContext<'_>,
    results: impl Iterator<Item = &'a mut RepoResult>,
) -> (Ledger, Vec<String>) {
    let policy = context.policy;
    let mut lines = Vec::new();
    for result in results {
        if result.skipped {
            ledger.again(&result.row.name, context.now);
        }
        let Some(mut locks) = result.locks.take() else {
            continue;
        };
        // A tree that was removed needs nothing any more. One that was due and stays needs what it
        // needed.
        for tree in result.row.worktrees.iter().filter(|tree| tree.goes()) {
            let name = tree
                .path
                .strip_prefix(&policy.volume.root)
                .unwrap_or(&tree.path);
            locks.trees.remove(&*name.to_string_lossy());
        }
        lines.extend(
            locks
                .problems
                .iter()
                .map(|problem| format!("{}: {problem}", result.row.name)),
        );
        lines.extend(ledger.note(&result.row.name, locks, context.now));
    }
    let enrolled: BTreeSet<&str> = policy.repos.iter().map(|repo| repo.name.as_str()).collect();
    (ledger.tidied(&enrolled, context.now), lines)
}

/// Checks whether units may be wanted, so that trees and lock files must be surveyed: the volume is
/// too full, or a cache is over its own budget. Such caches are listed and measured only for this;
/// what is evicted is chosen later. Runs in the caller's rayon pool.
pub fn may_begin(policy: &Policy, usage: &Usage, stop: &Stop) -> bool {
    let budgeted: Vec<policy::Cache> = policy
        .caches
        .iter()
        .filter(|cache| cache.budget.is_some())
        .cloned()
        .collect();
    let wanted = evict::wanted(usage, &policy.eviction).is_some();
    if wanted || budgeted.is_empty() {
        return wanted;
    }
    // Caches in trees, and unreadable ones, are left to the eviction itself.
    let placed = budgeted.iter().all(|cache| cache.place.is_some());
    let Some(probe) = LastUseProbe::open(&policy.volume.root, false)
        .ok()
        .filter(|_| placed)
    else {
        return true;
    };
    let inspection = Inspection {
        probe: &probe,
        gate: &Some,
        stop,
    };
    let mut caches = caches::survey(&budgeted, &[], inspection);
    sizing::measure_whole(&mut caches, stop);
    evict::with_budgets(None, &caches).is_some()
}

/// Returns the report of a run that evicts nothing at this usage.
fn calm(policy: &Policy, usage: &Usage) -> report::Eviction {
    report::Eviction {
        reason: evict::calm(usage, &policy.eviction),
        ..report::Eviction::default()
    }
}

/// Returns the same if the volume is below its watermarks; else none.
pub fn none_wanted(policy: &Policy, usage: &Usage) -> Option<report::Eviction> {
    evict::wanted(usage, &policy.eviction)
        .is_none()
        .then(|| calm(policy, usage))
}

/// The inputs of an eviction.
pub struct Stage<'a> {
    /// The run.
    pub context: &'a RunContext<'a>,
    /// The volume's usage.
    pub usage: &'a Usage,
    /// Trees whose build output may be evicted.
    pub idle: &'a [IdleTree],
    /// What lock files name, or named earlier.
    pub ledger: &'a Ledger,
}

impl Stage<'_> {
    /// Evicts, least recently used first, until the watermarks are reached. A dry run only reports
    /// what would be evicted.
    pub fn evict(&self, failures: &mut Vec<String>) -> report::Eviction {
        let root = &self.context.policy.volume.root;
        let access_times = self
            .ledger
            .access_times
            .unwrap_or_else(|| keeps_access_times(root));
        match LastUseProbe::open(root, access_times) {
            Ok(probe) => self.evict_seen(&probe, failures),
            Err(error) => {
                failures.push(format!(
                    "failed to open `{}`: {error}; see that it is mounted",
                    root.display()
                ));
                report::Eviction::default()
            }
        }
    }

    fn evict_seen(&self, probe: &LastUseProbe, failures: &mut Vec<String>) -> report::Eviction {
        let RunContext {
            policy, stop, now, ..
        } = *self.context;
        let wanted = evict::wanted(self.usage, &policy.eviction);
        let looked_at = |cache: &&policy::Cache| wanted.is_some() || cache.budget.is_some();
        let lister = Lister {
            caches: policy.caches.iter().filter(looked_at).cloned().collect(),
            names: &self.ledger.names(),
            in_use: policy.eviction.in_use,
            now,
            idle: self.idle,
            probe,
            stop,
        };
        let Some(mut queue) = lister.order(wanted) else {
            return calm(policy, self.usage);
        };
        let (mut rows, mut freed) = (Vec::new(), Size::default());
        loop {
            while let Some(batch) = queue.next_batch() {
                let (units, problems) = sizing::measure(batch, stop);
                queue.choose(units, problems);
            }
            // If the run is to stop, the listing or the measuring is incomplete, and so is the
            // plan.
            match stop.reached() {
                Some(why) if rows.is_empty() => return not_begun(why),
                Some(_) => break,
                None => {}
            }
            let chosen = queue.take_chosen();
            let (outcomes, gone) = self.apply(&chosen, probe, failures);
            freed += gone;
            let all_had_their_turn = outcomes.len() == chosen.len();
            rows.extend(rows::units(chosen, outcomes));
            let Some(after) = queue.wants_after().filter(|_| all_had_their_turn) else {
                break;
            };
            queue.add(lister.next(after, queue.wants()));
        }
        rows::eviction(queue.finish(), rows, freed)
    }

    fn apply(
        &self,
        units: &[Unit],
        probe: &LastUseProbe,
        failures: &mut Vec<String>,
    ) -> (Vec<UnitOutcome>, Size) {
        let RunContext {
            stop, now, mode, ..
        } = *self.context;
        let Mode::Apply { lock, trash } = mode else {
            return (vec![UnitOutcome::Planned; units.len()], expected(units));
        };
        let evictor = Evictor {
            lock,
            locks: &self.context.locks(),
            trash,
            stop,
            now,
            probe,
            one_at_a_time: Mutex::default(),
        };
        match evictor.evict(units) {
            Ok((outcomes, Emptied { freed, left })) => {
                for (unit, outcome) in units.iter().zip(&outcomes) {
                    log(unit, outcome);
                }
                failures
                    .extend(left.into_iter().map(|left| {
                        format!("left in the trash: {left}; the next run tries again")
                    }));
                (outcomes, freed)
            }
            Err(error) => {
                failures.push(format!(
                    "failed to evict: {error}; look into the volume's state directory"
                ));
                (Vec::new(), Size::default())
            }
        }
    }
}

/// Lists units, and puts them in the order in which they are evicted.
struct Lister<'a> {
    /// The caches to list.
    caches: Vec<policy::Cache>,
    names: &'a Names,
    in_use: InUse,
    now: DateTime<Utc>,
    idle: &'a [IdleTree],
    probe: &'a LastUseProbe,
    stop: &'a Stop,
}

impl Lister<'_> {
    /// Lists for the first time, with all units of caches that have a reserve or a budget. None if
    /// neither the volume nor a budget wants anything.
    fn order(&self, wanted: Option<Wanted>) -> Option<Queue> {
        let enough = wanted.as_ref().map_or_else(Size::default, Wanted::total);
        let shortlist = self.shortlist(None, enough);
        let mut caches = self.survey(&|unit| shortlist.sift(&self.caches, unit));
        sizing::measure_whole(&mut caches, self.stop);
        let wanted = evict::with_budgets(wanted, &caches)?;
        evict::name(&mut caches, self.names);
        let mut queue = evict::order(caches, wanted, self.in_use, self.now);
        queue.add(shortlist.sifted());
        Some(queue)
    }

    /// Lists again, for the units after the bucket `after`.
    fn next(&self, after: AgeBucket, wants: Size) -> Sifted {
        let shortlist = self.shortlist(Some(after), wants);
        // Caches with a reserve or a budget were listed whole before.
        self.survey(&|unit| shortlist.sift(&self.caches, unit).and(None));
        shortlist.sifted()
    }

    fn shortlist(&self, after: Option<AgeBucket>, enough: Size) -> LruShortlist<'_> {
        LruShortlist::new(self.names, self.in_use, self.now, AT_ONCE, after).enough(enough)
    }

    fn survey(&self, gate: UnitFilter<'_>) -> Vec<Cache> {
        let inspection = Inspection {
            probe: self.probe,
            gate,
            stop: self.stop,
        };
        caches::survey(&self.caches, self.idle, inspection)
    }
}

/// Logs what became of a unit, for readers of the log alone.
fn log(unit: &Unit, outcome: &UnitOutcome) {
    let Unit {
        cache,
        name,
        last_used,
        ..
    } = unit;
    match outcome {
        UnitOutcome::Evicted => tracing::info!(
            cache = &**cache,
            unit = plain(name),
            bytes = unit.size.map(|size| size.bytes),
            %last_used,
            last_used_from = ?unit.last_used_from,
            "evicted"
        ),
        outcome => tracing::debug!(
            cache = &**cache,
            unit = plain(name),
            ?outcome,
            "not evicted"
        ),
    }
}

fn not_begun(why: &str) -> report::Eviction {
    report::Eviction {
        reason: format!("not begun: {why}; the next run goes on here"),
        ..report::Eviction::default()
    }
}

fn expected(units: &[Unit]) -> Size {
    let mut sum = Size::default();
    units
        .iter()
        .filter_map(|unit| unit.size)
        .for_each(|size| sum += size);
    sum
}
