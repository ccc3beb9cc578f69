//! A repo's part of a run, from the cached survey to its row in the report.

use super::Request;
use super::context::{RepoResult, RunContext};
use super::unchanged::{self, CachedSurvey};
use crate::config::policy;
use crate::facts::repo::Missing;
use crate::fs::stop::Stop;
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
            add_repack(&mut job.result, again, context.stop);
            context.so_far.row(&job.result.row);
        }
        job
    };
    jobs.into_par_iter().map(again).collect()
}

/// Adds a late repack to the result of the earlier passes. If it didn't happen, the row still says
/// that there was no room, and a failure says why not.
fn add_repack(result: &mut RepoResult, again: RepoResult, stop: &Stop) {
    let wrong = again
        .went_wrong(stop)
        .map(|why| format!("failed to repack it once there was room: {why}"));
    result.left.extend(again.left);
    let (row, again) = (&mut result.row, again.row);
    row.failures.extend(again.failures);
    row.failures.extend(wrong);
    if again.outcome == RepoOutcome::Maintained {
        let first = std::mem::replace(&mut row.gc, again.gc);
        row.gc.before = first.before;
        row.gc.stale_locks.splice(0..0, first.stale_locks);
    }
}

impl DoneJob<'_> {
    /// Returns how many of its trees went, or in a dry run would.
    pub(super) fn gone(&self) -> usize {
        let trees = self.result.row.worktrees.iter();
        trees.filter(|tree| tree.goes()).count()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{GcAction, RunReport};
    use std::path::PathBuf;
    use std::sync::Arc;

    /// Returns a repo's result after a pass with this outcome, and nothing else in its row.
    fn pass(outcome: RepoOutcome, why: Option<&str>) -> RepoResult {
        let text = include_str!("../../fuzz/seeds/journal/night.jsonl");
        let night: RunReport = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let mut row = night.repos.into_iter().next().unwrap();
        (row.outcome, row.reason) = (outcome, why.map(str::to_owned));
        row.failures.clear();
        row.gc.reason = "but it needs 2 GiB free".to_owned();
        row.gc.stale_locks = vec!["first.lock".into()];
        row.gc.before.loose_objects = 9;
        RepoResult::of(row)
    }

    #[test]
    fn a_late_repack_adds_to_what_the_first_pass_did() {
        let mut result = pass(RepoOutcome::Maintained, None);
        result.left = vec!["first".to_owned()];
        let mut again = pass(RepoOutcome::Maintained, None);
        again.left = vec!["second".to_owned()];
        again.row.failures = vec!["a step failed".to_owned()];
        (again.row.gc.action, again.row.gc.reason) = (GcAction::Full, "9 packs".to_owned());
        again.row.gc.stale_locks = vec!["second.lock".into()];
        again.row.gc.before.loose_objects = 4;
        add_repack(&mut result, again, &Stop::never());
        let gc = &result.row.gc;
        assert_eq!((gc.action, gc.reason.as_str()), (GcAction::Full, "9 packs"));
        let locks = ["first.lock", "second.lock"].map(PathBuf::from);
        assert_eq!(gc.stale_locks, locks);
        assert_eq!(gc.before.loose_objects, 9);
        assert_eq!(result.left, ["first", "second"]);
        assert_eq!(result.row.failures, ["a step failed"]);
    }

    #[test]
    fn a_late_repack_that_fails_is_told_and_one_that_is_not_due_is_not() {
        let message = |outcome, why, stop: &Stop| {
            let mut result = pass(RepoOutcome::Maintained, None);
            add_repack(&mut result, pass(outcome, why), stop);
            assert_eq!(result.row.outcome, RepoOutcome::Maintained);
            assert_eq!(result.row.gc.reason, "but it needs 2 GiB free");
            result.row.failures
        };
        let why = Some("its config is malformed");
        for outcome in [RepoOutcome::Failed, RepoOutcome::Refused] {
            assert_eq!(
                message(outcome, why, &Stop::never()),
                ["failed to repack it once there was room: its config is malformed"],
                "{outcome:?}"
            );
        }
        assert_eq!(message(RepoOutcome::Busy, why, &Stop::never()), [""; 0]);
        // The whole run is interrupted.
        let over = Stop::after(Duration::ZERO, Arc::default());
        assert_eq!(message(RepoOutcome::Refused, why, &over), [""; 0]);
    }
}
