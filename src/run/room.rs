//! Makes room on the volume after the repos are done: empties the trash, projects how much will be
//! free, and evicts.
//!
//! The usage is projected, not measured: a dry run has nothing to measure, and a run must decide as
//! its dry run did.

use super::context::{RepoResult, RunContext};
use super::eviction;
use super::job::{DoneJob, rescan};
use super::ladder::Ladder;
use super::mode::Mode;
use super::outside::{self, Outsides};
use super::phase::Phase;
use super::reckoned::reckon;
use super::shards::{self, Others};
use super::stages::Stages;
use super::{Request, begin, usage};
use crate::apply::trash::{self, Emptied};
use crate::config::policy;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::lock::StillHeld;
use crate::plan::ladder::Rung;
use crate::report::{self, RunReport};
use crate::state::ledger::Ledger;
use crate::state::trial;
use crate::survey;
use std::io;

/// The inputs for making room.
pub(super) struct Room<'a> {
    pub(super) context: &'a RunContext<'a>,
    /// The volume's usage at the beginning.
    pub(super) before: Usage,
    /// Repos of other shards.
    pub(super) others: Vec<&'a policy::Repo>,
    /// Why less is known of lock files than before.
    pub(super) unknown: Vec<String>,
}

/// What an eviction starts from.
pub(super) struct Ready {
    /// The volume's projected usage.
    usage: Usage,
    /// Trees whose build output may be evicted.
    idle: Vec<IdleTree>,
    ledger: Ledger,
    /// Whether units may be wanted.
    evicts: bool,
    /// Why less is known of lock files than before.
    unknown: Vec<String>,
    /// What emptying the trash freed.
    from_trash: Size,
    /// What expired rescues have, as projected.
    from_rescues: Size,
}

impl Ready {
    /// Notes in the report what the rungs of every run freed on the volume, if room was wanted.
    fn tell_lower_rungs(&self, now: &Usage, report: &mut RunReport) {
        if !report.eviction.triggered {
            return;
        }
        let caches = Size {
            bytes: self.usage.used_bytes.saturating_sub(now.used_bytes),
            inodes: self.usage.used_inodes.saturating_sub(now.used_inodes),
        };
        let trash = sum([self.from_trash, self.from_rescues].into_iter());
        let rungs = [(Rung::Trash, trash), (Rung::Caches, caches)];
        let rungs = rungs.map(|(rung, freed)| report::Rung::of(rung, freed));
        report.eviction.rungs.extend(rungs);
    }

    /// Returns the eviction's inputs.
    pub(super) fn stages<'a>(
        &'a self,
        context: &'a RunContext<'a>,
        outsides: &'a Outsides,
    ) -> Stages<'a> {
        Stages {
            context,
            outsides,
            usage: &self.usage,
            idle: &self.idle,
            ledger: &self.ledger,
        }
    }
}

impl Room<'_> {
    /// Empties the trash and evicts. Returns the volume's projected usage, and the bytes that
    /// emptying the trash freed.
    pub(super) fn make(self, jobs: &mut [DoneJob<'_>], report: &mut RunReport) -> (Usage, u64) {
        let context = self.context;
        let mut ready = self.prepare(jobs, report);
        if context.options.only.evict && context.stop.reached().is_none() {
            Phase::Eviction.show(context.bar);
            let outsides = outside::enter(context, report);
            let stages = ready.stages(context, &outsides);
            let after = match eviction::none_wanted(context.policy, &ready.usage) {
                Some(calm) if !ready.evicts => {
                    report.eviction = calm;
                    ready.usage
                }
                _ => {
                    let now = stages.evict(report);
                    ready.tell_lower_rungs(&now, report);
                    let ladder = Ladder {
                        context,
                        stages: &stages,
                        before: ready.usage,
                        now,
                    };
                    ladder.climb(jobs, report)
                }
            };
            outside::leave(&outsides.proven);
            ready.usage = after;
            ready.unknown.extend(outsides.stay);
        }
        report.eviction.obstacles.extend(ready.unknown);
        (ready.usage, ready.from_trash.bytes)
    }

    /// Empties the trash, and returns what the eviction starts from.
    pub(super) fn prepare(self, jobs: &mut [DoneJob<'_>], report: &mut RunReport) -> Ready {
        let context = self.context;
        let (options, mut unknown) = (context.options, self.unknown.clone());
        let still_at_work = wait_for_others(context, report);
        let ends = options.ends_the_night() && still_at_work.is_empty();
        unknown.extend(still_at_work);
        let (mut others, evicts) = self.look(jobs);
        let ledger = remember(context, all_of(jobs, &mut others), &mut unknown, report);
        let in_trash = options.usage.then(|| used(context, report));
        let emptied = if ends {
            empty_trash(context, in_trash, report)
        } else {
            Emptied::default()
        };
        let results: Vec<&RepoResult> = jobs.iter().map(|job| &job.result).chain(&others).collect();
        let mut usage = reckon(self.before, results.iter().copied(), &emptied);
        if options.waits() {
            usage = measure_again(context, report).unwrap_or(usage);
        }
        Ready {
            usage,
            idle: results
                .iter()
                .flat_map(|result| result.idle())
                .cloned()
                .collect(),
            ledger,
            evicts,
            unknown,
            from_trash: emptied.freed,
            from_rescues: sum(results.iter().map(|result| result.expired)),
        }
    }

    /// Surveys the repos of other shards, and returns whether units may be wanted at all. If so,
    /// skipped repos are surveyed, too.
    fn look(&self, jobs: &mut [DoneJob<'_>]) -> (Vec<RepoResult>, bool) {
        let context = self.context;
        if !context.options.only.evict || context.policy.caches.is_empty() {
            return (Vec::new(), true);
        }
        let mut evicts = true;
        // If no repo is skipped, none has to be surveyed again, so the eviction decides.
        if jobs.iter().any(|job| job.result.skipped) {
            let results = jobs.iter().map(|job| &job.result);
            let expected = reckon(self.before, results, &Emptied::default());
            let may_begin = || eviction::may_begin(context.policy, &expected, context.stop);
            evicts = context.io.install(may_begin);
            if evicts {
                context.repos.install(|| rescan(context, jobs));
            }
        }
        (
            context
                .repos
                .install(|| shards::look(context, &self.others)),
            evicts,
        )
    }
}

fn sum(sizes: impl Iterator<Item = Size>) -> Size {
    let mut sum = Size::default();
    sizes.for_each(|size| sum += size);
    sum
}

/// Returns the results of this run's repos, and of other shards' repos.
fn all_of<'a>(
    jobs: &'a mut [DoneJob<'_>],
    others: &'a mut [RepoResult],
) -> impl Iterator<Item = &'a mut RepoResult> {
    jobs.iter_mut().map(|job| &mut job.result).chain(others)
}

/// Waits until the other shards are done, if this one ends the run for all. Returns who is still at
/// work.
fn wait_for_others(context: &RunContext<'_>, report: &mut RunReport) -> Vec<String> {
    let Some(shard) = context.options.shard.filter(|_| context.options.waits()) else {
        return Vec::new();
    };
    // If a lock can't be read, its shard may be at work.
    let others = shards::wait(context, shard).unwrap_or_else(|error| Others {
        at_work: vec![error.to_string()],
        missing: Vec::new(),
    });
    report.failures.extend(others.missing);
    others.at_work
}

/// Returns what earlier runs know of lock files, if there are caches, and why that may be less than
/// before. Only a real run probes how the volume treats access times.
pub(super) fn ledger(request: &Request<'_>, mode: &Mode) -> (Option<Ledger>, Vec<String>) {
    let policy = request.policy;
    if !request.options.only.evict || policy.caches.is_empty() {
        return (None, Vec::new());
    }
    let (mut ledger, why) = Ledger::read(&policy.volume.state);
    if let Some(why) = &why {
        tracing::warn!("{why}");
    }
    if mode.trash().is_some() {
        ledger.access_times = trial::keeps_access_times(&policy.volume.state).ok();
    }
    (Some(ledger), why.into_iter().collect())
}

/// Returns the ledger with what this run saw. A real run writes it for the next one.
fn remember<'a>(
    context: &RunContext<'_>,
    results: impl Iterator<Item = &'a mut RepoResult>,
    unknown: &mut Vec<String>,
    report: &mut RunReport,
) -> Ledger {
    let Some(ledger) = context.ledger else {
        return Ledger::default();
    };
    let (ledger, lines) = eviction::remember(ledger.clone(), context, results);
    unknown.extend(lines);
    if context.mode.trash().is_some()
        && let Err(error) = ledger.write(&context.policy.volume.state)
    {
        report.failures.push(format!("failed to write the ledger of lock files: {error}; see that the volume's state directory is writable"));
    }
    ledger
}

/// Reports what fills the volume. Returns the size of the trash.
fn used(context: &RunContext<'_>, report: &mut RunReport) -> Size {
    Phase::Usage.show(context.bar);
    let usage = context
        .io
        .install(|| usage::usage(context.policy, context.stop));
    report.usage = usage.used;
    report.failures.extend(usage.problems);
    usage.trash
}

/// Measures again after other shards worked on the volume.
fn measure_again(context: &RunContext<'_>, report: &mut RunReport) -> Option<Usage> {
    let evicts = context.options.only.evict;
    match begin::measure(context.policy, evicts, context.io, context.stop) {
        Ok((usage, unmeasured)) => {
            report.failures.extend(unmeasured);
            Some(usage)
        }
        Err(error) => {
            report.failures.push(format!(
                "failed to measure the volume again: {error}; see that it is mounted"
            ));
            None
        }
    }
}

/// Empties the trash of what earlier runs left. A dry run measures it, unless its size is known
/// already.
fn empty_trash(context: &RunContext<'_>, known: Option<Size>, report: &mut RunReport) -> Emptied {
    Phase::Trash.show(context.bar);
    let emptied = match context.mode {
        // If the lock was lost, the trash is another run's by now.
        Mode::Apply { lock, trash } => lock
            .still_held()
            .map_err(io::Error::other)
            .and_then(|()| context.io.install(|| trash.empty(context.stop))),
        Mode::DryRun => {
            let measure = || {
                let waiting = trash::waiting(&context.policy.volume.state)?;
                context
                    .io
                    .install(|| survey::size::size(&waiting, context.stop))
            };
            known.map_or_else(measure, Ok).map(|freed| Emptied {
                freed,
                left: Vec::new(),
            })
        }
    };
    let emptied = emptied.unwrap_or_else(|error| Emptied {
        freed: Size::default(),
        left: vec![error.to_string()],
    });
    report.failures.extend(
        emptied
            .left
            .iter()
            .map(|left| format!("failed to empty the trash: {left}; the next run tries again")),
    );
    emptied
}
