//! A repo's part of a run, from the cached survey to its row in the report.

use super::Request;
use super::context::{RepoResult, RunContext};
use super::unchanged::{self, CachedSurvey};
use crate::config::policy;
use crate::facts::repo::Missing;
use crate::fs::volume_path::VolumePath;
use crate::report::{RepoOutcome, TreeOutcome};
use crate::survey;
use rayon::prelude::*;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The pause before a busy repo is tried again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A repo to be maintained.
pub(super) struct RepoJob<'a> {
    pub(super) policy: &'a policy::Repo,
    /// The survey of an earlier run, if the repo is unchanged since then and nothing is due.
    pub(super) cached: Option<CachedSurvey>,
}

/// A repo that was maintained, or skipped.
pub(super) struct DoneJob<'a> {
    pub(super) policy: &'a policy::Repo,
    pub(super) result: RepoResult,
}

/// Creates a job for each repo. None is skipped while a crashed run's trees wait in the trash,
/// because any repo may own them.
pub(super) fn jobs<'a>(
    request: &Request<'a>,
    repos: Vec<&'a policy::Repo>,
    trashed: &HashSet<VolumePath>,
) -> Vec<RepoJob<'a>> {
    let may_skip = trashed.is_empty() && request.options.only.all_of_a_repo();
    let cached = |policy| {
        may_skip
            .then(|| unchanged::holds(request.policy, policy, request.now, request.stop))
            .flatten()
    };
    repos
        .into_par_iter()
        .map(|policy| RepoJob {
            policy,
            cached: cached(policy),
        })
        .collect()
}

/// Counts the missing trees of the whole volume; a repo that is skipped has none.
pub(super) fn missing(
    request: &Request<'_>,
    jobs: &[RepoJob<'_>],
    trashed: &HashSet<VolumePath>,
) -> Missing {
    let skipped: HashSet<&str> = jobs
        .iter()
        .filter(|job| job.cached.is_some())
        .map(|job| job.policy.name.as_str())
        .collect();
    let others: Vec<&policy::Repo> = request
        .policy
        .repos
        .iter()
        .filter(|repo| !skipped.contains(repo.name.as_str()))
        .collect();
    let found = survey::missing::missing(&others, trashed, request.stop);
    let present: usize = jobs
        .iter()
        .filter_map(|job| job.cached.as_ref())
        .map(CachedSurvey::trees)
        .sum();
    Missing {
        of: found.of.saturating_add(present),
        ..found
    }
}

/// Maintains every repo in parallel, and tries busy ones again until their `lock_wait` is over.
pub(super) fn maintain<'a>(context: &RunContext<'_>, jobs: Vec<RepoJob<'a>>) -> Vec<DoneJob<'a>> {
    let began = Instant::now();
    let first = |RepoJob { policy, cached }: RepoJob<'a>| {
        let result = cached.map_or_else(
            || context.maintain(policy),
            |cached| context.skip(policy, cached),
        );
        context.so_far.row(&result.row);
        context.bar.inc(1);
        context.bar.set_message(result.row.name.clone());
        DoneJob { policy, result }
    };
    let first: Vec<DoneJob<'a>> = jobs.into_par_iter().map(first).collect();
    first
        .into_par_iter()
        .map(|job| logged(context, wait(context, job, began)))
        .collect()
}

fn logged<'a>(context: &RunContext<'_>, job: DoneJob<'a>) -> DoneJob<'a> {
    let row = &job.result.row;
    context.so_far.row(row);
    let (repo, outcome, seconds) = (&*row.name, &row.outcome, row.seconds);
    tracing::info!(parent: &context.span, repo, ?outcome, seconds, "finished a repo");
    job
}

/// Waits for a busy repo. A dry run doesn't: it only surveys.
fn wait<'a>(context: &RunContext<'_>, mut job: DoneJob<'a>, began: Instant) -> DoneJob<'a> {
    if job.result.row.outcome != RepoOutcome::Busy || context.mode.trash().is_none() {
        return job;
    }
    let patience = job.policy.lock_wait;
    while job.result.row.outcome == RepoOutcome::Busy && began.elapsed() < patience {
        context
            .stop
            .sleep(ASK_AGAIN.min(patience.saturating_sub(began.elapsed())));
        if context.stop.reached().is_some() {
            break;
        }
        job.result = context.maintain(job.policy);
    }
    job.result.row.lock.waited_seconds = began.elapsed().as_secs_f64();
    job
}

/// Surveys the skipped repos, because what may be evicted depends on what is idle and in use there.
pub(super) fn rescan(context: &RunContext<'_>, jobs: &mut [DoneJob<'_>]) {
    jobs.par_iter_mut()
        .filter(|job| job.result.skipped)
        .for_each(|job| {
            let seen = super::shards::look(context, &[job.policy]).pop();
            (job.result.idle, job.result.locks) =
                seen.map(|seen| (seen.idle, seen.locks)).unwrap_or_default();
        });
}

/// Repacks the repos for which there was no room before the eviction.
pub(super) fn repack_again<'a>(
    context: &RunContext<'_>,
    jobs: Vec<DoneJob<'a>>,
) -> Vec<DoneJob<'a>> {
    let again = |mut job: DoneJob<'a>| {
        if job.result.short_of_space {
            let again = context.maintain(job.policy);
            if again.row.outcome == RepoOutcome::Maintained {
                job.result.row.gc = again.row.gc;
                job.result.row.failures.extend(again.row.failures);
                context.so_far.row(&job.result.row);
            }
        }
        job
    };
    jobs.into_par_iter().map(again).collect()
}

impl DoneJob<'_> {
    /// Returns how many of its trees are still due.
    pub(super) fn due(&self) -> usize {
        self.result
            .row
            .worktrees
            .iter()
            .filter(|tree| tree.outcome == TreeOutcome::Planned)
            .count()
    }
}
