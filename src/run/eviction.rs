//! The eviction stage: compute what is wanted, list and order units, measure as many as needed,
//! evict them, report.
//!
//! Each file system has its own watermarks, and its caches share one queue: those of the volume, and
//! those outside of it. Below the watermarks it costs nothing beyond the statvfs that the run made already, except for
//! caches with a budget of their own. A failure is a row, and the run goes on.

use crate::apply;
use crate::apply::evict::{Evictor, UnitOutcome};
use crate::apply::trash::Emptied;
use crate::config::policy::{self, InUse, Policy};
use crate::ecosystems::last_use::{LastUseProbe, keeps_access_times};
use crate::ecosystems::lister::{Inspection, UnitFilter};
use crate::facts::cache::{Cache, IdleTree, Size, Unit};
use crate::facts::locks::Names;
use crate::facts::volume::Usage;
use crate::fs::stop::Stop;
use crate::plan::evict::{self, AgeBucket, CouldGo, LruShortlist, Queue, Sifted, Wanted};
use crate::report::words::plain;
use crate::report::{self, rows};
use crate::run::context::{RepoResult, RunContext};
use crate::run::mode::Mode;
use crate::state::ledger::Ledger;
use crate::survey;
use crate::survey::caches::{self, sizing};
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::iter;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) mod explain;
pub use explain::SeenUnit;

/// Units in memory at once, of the many that a survey lists. A run that evicts more surveys again.
const AT_ONCE: usize = 70_000;

/// Units that are measured only to name the largest that could go.
const MEASURED: usize = 20_000;

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
    let wanted = evict::wanted(usage, &policy.eviction).is_some() || wanted_outside(policy);
    if wanted || budgeted.is_empty() {
        return wanted;
    }
    // Caches in trees, and unreadable ones, are left to the eviction itself.
    let placed = budgeted.iter().all(|cache| cache.place.is_some());
    let outside = policy.outside().into_iter().map(|volume| &volume.root);
    let roots = iter::once(&policy.volume.root).chain(outside);
    let probes: io::Result<Vec<_>> = roots
        .map(|root| Ok((root.clone(), LastUseProbe::open(root, false)?)))
        .collect();
    let Some(probes) = probes.ok().filter(|_| placed) else {
        return true;
    };
    let mut caches = Vec::new();
    for (root, probe) in &probes {
        let here = of_root(&budgeted, root, policy);
        let inspection = Inspection {
            probe,
            gate: &Some,
            stop,
        };
        caches.extend(caches::survey(&here, &[], inspection));
    }
    sizing::measure_whole(&mut caches, stop);
    evict::with_budgets(None, &caches).is_some()
}

/// Returns the caches that stand below a root. Build output is on the volume.
fn of_root(caches: &[policy::Cache], root: &Arc<Path>, policy: &Policy) -> Vec<policy::Cache> {
    let stands = |cache: &&policy::Cache| match &cache.outside {
        Some(outside) => outside.root == *root,
        None => policy.volume.root == *root,
    };
    caches.iter().filter(stands).cloned().collect()
}

/// Checks whether one of the file systems of caches outside of the volume is too full.
fn wanted_outside(policy: &Policy) -> bool {
    let rules = policy.eviction.elsewhere();
    policy.outside().into_iter().any(|outside| {
        survey::volume::usage(&outside.root)
            .is_ok_and(|usage| evict::wanted(&usage, &rules).is_some())
    })
}

/// Returns the report of a run that evicts nothing at this usage.
fn calm(policy: &policy::Eviction, usage: &Usage) -> report::Eviction {
    report::Eviction {
        reason: evict::calm(usage, policy),
        ..report::Eviction::default()
    }
}

/// Returns the same if the volume is below its watermarks; else none.
pub fn none_wanted(policy: &Policy, usage: &Usage) -> Option<report::Eviction> {
    evict::wanted(usage, &policy.eviction)
        .is_none()
        .then(|| calm(&policy.eviction, usage))
}

/// The inputs of an eviction: one for each file system, with all caches on it.
pub struct Stage<'a> {
    /// The run.
    pub context: &'a RunContext<'a>,
    /// The file system's usage.
    pub usage: &'a Usage,
    /// What is to be freed there, whatever the caches' own budgets say.
    pub wanted: Option<Wanted>,
    /// When and how far its caches are evicted.
    pub policy: policy::Eviction,
    /// The caches on it.
    pub caches: Vec<policy::Cache>,
    /// The directories that these stand in, each with its lock and trash.
    pub homes: Vec<(&'a policy::Volume, &'a Mode)>,
    /// Units that had their turn in an earlier stage, by cache and name.
    pub had_turn: HashSet<(String, String)>,
    /// Units that a dry run would have evicted by now, by name.
    pub planned: Vec<(String, Size)>,
    /// Trees whose build output may be evicted.
    pub idle: &'a [IdleTree],
    /// What lock files name, or named earlier.
    pub ledger: &'a Ledger,
}

/// A directory that caches stand in.
struct Home<'a> {
    root: &'a Arc<Path>,
    mode: &'a Mode,
    probe: LastUseProbe,
    caches: Vec<policy::Cache>,
}

impl<'a> Stage<'a> {
    /// Evicts, least recently used first, until the watermarks are reached. A dry run only reports
    /// what would be evicted.
    pub fn evict(&self, failures: &mut Vec<String>) -> report::Eviction {
        let homes = self.open(self.wanted.is_some(), failures);
        if homes.is_empty() {
            return report::Eviction::default();
        }
        self.evict_seen(&homes, self.wanted.clone(), failures)
    }

    /// Opens the directories; one that can't be opened is left out.
    fn open(&self, wanted: bool, failures: &mut Vec<String>) -> Vec<Home<'a>> {
        let mut homes = Vec::new();
        for (volume, mode) in &self.homes {
            match self.home(volume, mode, wanted) {
                Ok(home) => homes.push(home),
                Err(error) => failures.push(format!(
                    "failed to open `{}`: {error}; see that it is mounted",
                    volume.root.display()
                )),
            }
        }
        homes
    }

    fn lister<'b>(&'b self, homes: &'b [Home<'b>], names: &'b Names) -> Lister<'b> {
        Lister {
            homes,
            caches: &self.caches,
            had_turn: &self.had_turn,
            planned: &self.planned,
            names,
            in_use: self.policy.in_use,
            now: self.context.now,
            idle: self.idle,
            stop: self.context.stop,
        }
    }

    /// Opens a directory. If nothing is wanted, only the caches with a budget are listed.
    fn home(
        &self,
        volume: &'a policy::Volume,
        mode: &'a Mode,
        wanted: bool,
    ) -> io::Result<Home<'a>> {
        let (root, whole) = (&volume.root, self.context.policy);
        let probed = self.ledger.access_times;
        let access_times = probed
            .filter(|_| *root == whole.volume.root)
            .unwrap_or_else(|| keeps_access_times(root));
        let mut caches = of_root(&self.caches, root, whole);
        caches.retain(|cache| wanted || cache.budget.is_some());
        Ok(Home {
            root,
            mode,
            probe: LastUseProbe::open(root, access_times)?,
            caches,
        })
    }

    fn evict_seen(
        &self,
        homes: &[Home<'_>],
        wanted: Option<Wanted>,
        failures: &mut Vec<String>,
    ) -> report::Eviction {
        let (stop, names) = (self.context.stop, self.ledger.names());
        let lister = self.lister(homes, &names);
        let Some(mut queue) = lister.order(wanted) else {
            return calm(&self.policy, self.usage);
        };
        let (mut rows, mut freed) = (Vec::new(), Size::default());
        loop {
            while let Some(batch) = queue.next_batch() {
                let (mut units, problems) = sizing::measure(batch, stop);
                for unit in &mut units {
                    self.leave_out_planned(unit);
                }
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
            let (outcomes, gone) = self.apply(&chosen, homes, failures);
            freed += gone;
            let all_had_their_turn = outcomes.len() == chosen.len();
            rows.extend(rows::units(chosen, outcomes));
            let Some(after) = queue.wants_after().filter(|_| all_had_their_turn) else {
                break;
            };
            queue.add(lister.next(after, queue.wants()));
        }
        let mut plan = queue.finish();
        if plan.shortfall != Size::default() {
            plan.could_go.extend(lister.could_go());
            evict::largest(&mut plan.could_go);
        }
        rows::eviction(plan, rows, freed)
    }

    /// In a dry run, parts of build output that are to go first don't count again with the whole.
    fn leave_out_planned(&self, unit: &mut Unit) {
        let is_whole = unit
            .tree
            .as_ref()
            .is_some_and(|tree| tree.part_of.is_none());
        let Some(size) = unit.size.as_mut().filter(|_| is_whole) else {
            return;
        };
        let of_it = |name: &str| Path::new(name).starts_with(&unit.name);
        for (_, part) in self.planned.iter().filter(|(name, _)| of_it(name)) {
            size.bytes = size.bytes.saturating_sub(part.bytes);
            size.inodes = size.inodes.saturating_sub(part.inodes);
        }
    }

    fn apply(
        &self,
        units: &[Unit],
        homes: &[Home<'_>],
        failures: &mut Vec<String>,
    ) -> (Vec<UnitOutcome>, Size) {
        let RunContext { stop, now, .. } = *self.context;
        if self.context.mode.trash().is_none() {
            return (vec![UnitOutcome::Planned; units.len()], expected(units));
        }
        let evictor = Evictor {
            homes: homes.iter().filter_map(Home::locked).collect(),
            locks: &self.context.locks(),
            stop,
            now,
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

impl Home<'_> {
    /// Returns it for the eviction; none in a dry run.
    fn locked(&self) -> Option<apply::evict::Home<'_>> {
        let Mode::Apply { lock, trash } = self.mode else {
            return None;
        };
        Some(apply::evict::Home {
            root: self.root,
            lock,
            trash,
            probe: &self.probe,
        })
    }
}

/// Lists units, and puts them in the order in which they are evicted.
struct Lister<'a> {
    /// The directories that caches stand in.
    homes: &'a [Home<'a>],
    /// All caches in them.
    caches: &'a [policy::Cache],
    /// Units that had their turn before.
    had_turn: &'a HashSet<(String, String)>,
    /// Units that a dry run would have evicted by now, by name.
    planned: &'a [(String, Size)],
    names: &'a Names,
    in_use: InUse,
    now: DateTime<Utc>,
    idle: &'a [IdleTree],
    stop: &'a Stop,
}

impl Lister<'_> {
    /// Lists for the first time, with all units of caches that have a reserve or a budget. None if
    /// neither the volume nor a budget wants anything.
    fn order(&self, wanted: Option<Wanted>) -> Option<Queue> {
        let enough = wanted.as_ref().map_or_else(Size::default, Wanted::total);
        let shortlist = self.shortlist(None, enough);
        let mut caches = self.survey(&|unit| shortlist.sift(self.caches, unit));
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
        self.survey(&|unit| shortlist.sift(self.caches, unit).and(None));
        shortlist.sifted()
    }

    /// Lists once more, for the largest units that a setting holds. A run that falls short can afford
    /// that, up to [`MEASURED`] units whose size isn't known yet.
    fn could_go(&self) -> Vec<CouldGo> {
        let (found, left) = (Mutex::new(Vec::new()), AtomicUsize::new(MEASURED));
        let one_less = |left: usize| left.checked_sub(1);
        self.survey(&|mut unit| {
            evict::name_one(&mut unit, self.names);
            let hold = evict::held_back(&unit, self.in_use, self.now)?;
            hold.by()?;
            if unit.size.is_none() {
                left.fetch_update(Relaxed, Relaxed, one_less).ok()?;
                unit = sizing::measure(vec![unit], self.stop).0.pop()?;
            }
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(CouldGo::of(&unit, hold));
            evict::largest(&mut found);
            None
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn shortlist(&self, after: Option<AgeBucket>, enough: Size) -> LruShortlist<'_> {
        LruShortlist::new(self.names, self.in_use, self.now, AT_ONCE, after).enough(enough)
    }

    fn survey(&self, gate: UnitFilter<'_>) -> Vec<Cache> {
        let is_new = |unit: &Unit| {
            self.had_turn.is_empty()
                || !self
                    .had_turn
                    .contains(&(unit.cache.to_string(), unit.name.clone()))
        };
        // In a dry run, what is to go as a whole is still there.
        let goes_with_the_whole = |unit: &Unit| {
            let tree = unit.tree.as_ref();
            let whole = tree.and_then(|tree| tree.part_of.as_ref());
            whole.is_some_and(|whole| {
                let whole = (unit.cache.to_string(), whole.to_string());
                !self.planned.is_empty() && self.had_turn.contains(&whole)
            })
        };
        let gate = |unit: Unit| {
            let wanted = is_new(&unit) && !goes_with_the_whole(&unit);
            wanted.then_some(unit).and_then(gate)
        };
        let mut caches = Vec::new();
        for home in self.homes {
            let inspection = Inspection {
                probe: &home.probe,
                gate: &gate,
                stop: self.stop,
            };
            caches.extend(caches::survey(&home.caches, self.idle, inspection));
        }
        caches
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
