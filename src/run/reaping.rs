//! The second pass over the repos: removes the due trees, unless so many are due that the plan is
//! more likely wrong than the trees stale.
//!
//! [`crate::plan::fair`] decides which repos' trees are kept back.

use super::context::{RepoResult, RunContext};
use super::job::DoneJob;
use super::phase::Phase;
use crate::fs::humanize;
use crate::plan::fair;
use crate::report::{ReasonName, RunReport, TreeOutcome};
use rayon::prelude::*;

/// How many of the repos that are kept back are named.
const NAMED: usize = 10;

/// Reaps every repo's due trees. Repos that are kept back are named in the report instead.
pub(super) fn reap<'a>(
    context: &RunContext<'_>,
    jobs: Vec<DoneJob<'a>>,
    report: &mut RunReport,
) -> Vec<DoneJob<'a>> {
    let (most, shard) = (context.policy.run.max_reaped, context.options.shard);
    let part = shard.map_or(most, |shard| shard.part(most));
    let limit = fair::most_of_one(jobs.iter().map(DoneJob::due), part);
    let (held, others): (Vec<&DoneJob<'_>>, Vec<&DoneJob<'_>>) =
        jobs.iter().partition(|job| job.due() > limit);
    if !held.is_empty() {
        let named: Vec<String> = held
            .iter()
            .take(NAMED)
            .map(|job| format!("{} ({})", job.policy.name, job.due()))
            .collect();
        let count: usize = jobs.iter().map(DoneJob::due).sum();
        let of = shard
            .map(|shard| format!("; shard {shard} has {part} of them"))
            .unwrap_or_default();
        let went = if others.iter().all(|job| job.due() == 0) {
            "none went"
        } else {
            "the others went, none of these did"
        };
        let whose = humanize::of_all(&named, held.len());
        let remedy = "look at a dry run, then raise max_reaped, or run with --repo";
        report.failures.push(format!("{count} trees would go, more than max_reaped ({most}{of}), of {whose}: {went}; {remedy}"));
    }
    let due = others.iter().filter(|job| job.due() > 0).count();
    if due > 0 {
        Phase::Worktrees(due).show(context.bar);
    }
    let one = |job: DoneJob<'a>| {
        let result = match job.due() {
            0 => job.result,
            due if due > limit => hold_back(job.result),
            _ => {
                context.bar.set_message(job.policy.name.clone());
                let result = context.reap(job.policy, job.result);
                context.bar.inc(1);
                result
            }
        };
        DoneJob { result, ..job }
    };
    jobs.into_par_iter().map(one).collect()
}

fn hold_back(mut result: RepoResult) -> RepoResult {
    for tree in result
        .row
        .worktrees
        .iter_mut()
        .filter(|tree| tree.outcome == TreeOutcome::Planned)
    {
        tree.outcome = TreeOutcome::Kept;
        tree.because = ReasonName::TooManyAtOnce;
        tree.reasons.insert(0, fair::TOO_MANY.to_owned());
    }
    result
}
