//! One repo's run: lock → survey → plan → apply → unlock, and its row in the report.
//!
//! There are two passes. [`RunContext::maintain`] surveys, prunes and repacks, and names the due
//! trees. If their number over all repos is plausible, [`RunContext::reap`] locks the repo again,
//! surveys again, decides again, and only then removes. One repo's failure, even a panic, is a row
//! and doesn't reach another repo.

use crate::config::policy;
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::lock::LockedRepo;
use crate::plan::repo::Plan;
use crate::plan::worktree::may_go_from;
use crate::report::{self, RepoOutcome, TreeOutcome, rows};
use crate::run::needs;
use crate::run::unchanged::{self, CachedSurvey, Seen};
use crate::survey;
use std::time::Instant;

pub(in crate::run) mod decide;
pub(in crate::run) mod ended;
mod reap;
mod repack;
mod row;
mod steps;
use super::context::{RepoResult, RunContext};
use decide::Decided;
use ended::Ended;
use reap::{reaps, to_write};
use row::blank;

/// The stage of a repo that is another shard's, or was skipped.
const LOOK: &str = "look";

impl RunContext<'_> {
    /// Runs the first pass.
    pub fn maintain(&self, repo: &policy::Repo) -> RepoResult {
        // Repos of other shards, and skipped ones, are surveyed without a lock.
        let only_looks = self.mode.trash().is_none() && !self.options.dry_run;
        let stage = if only_looks { LOOK } else { "maintain" };
        self.row(repo, stage, |row| {
            let decided = self.decide(repo, &self.around)?;
            let plan = &decided.plan;
            let expired = needs::expiring(&decided.shadow, plan, self.now);
            let mut result = RepoResult {
                idle: needs::idle(repo, plan),
                locks: decided.locks.clone(),
                short_of_space: plan.gc.short_of_space,
                freed: expired,
                expired,
                ..RepoResult::of(row)
            };
            result.row.worktrees = self.rows(repo, &decided);
            result.row.over_cap = rows::over_cap(plan);
            result.row.prune = rows::prune(plan);
            result.row.rescues = rows::rescues(plan, &decided.facts.rescues);
            result.row.gc = rows::gc(plan, &decided.facts.store);
            result.row.failures.extend(decided.unread.iter().cloned());
            if let Some(why) = &decided.facts.busy {
                (result.row.outcome, result.row.reason) = (RepoOutcome::Busy, Some(why.clone()));
            }
            match (&decided.lock, self.mode.trash()) {
                (Some(lock), Some(trash)) => {
                    self.apply(&mut result, &decided, lock, trash);
                    self.keep(repo, &decided, &result.row, lock);
                }
                _ => self.foresee(&mut result, plan),
            }
            Ok(result)
        })
    }

    /// Returns the rows of a repo's trees.
    fn rows(&self, repo: &policy::Repo, decided: &Decided) -> Vec<report::Worktree> {
        let busy = decided.facts.busy.as_deref();
        let goes_at = |tree: &Worktree| may_go_from(tree, &repo.worktrees, busy, self.now);
        let unregistered = &decided.facts.unregistered;
        rows::worktrees(&decided.plan, unregistered, self.now, goes_at)
    }

    /// Surveys a repo for the ladder: what is idle there, and which trees are due. Changes nothing.
    pub fn press(&self, repo: &policy::Repo) -> RepoResult {
        self.row(repo, LOOK, |row| {
            let decided = self.decide(repo, &self.around)?;
            let plan = &decided.plan;
            let due = reaps(plan).map(|(tree, class)| (tree.clone(), class));
            let mut result = RepoResult {
                idle: needs::idle(repo, plan),
                due: due.collect(),
                ..RepoResult::of(row)
            };
            result.row.worktrees = rows::worktrees(plan, &[], self.now, |_| None);
            Ok(result)
        })
    }

    /// Returns the result for an unchanged repo, from an earlier run's survey.
    pub fn skip(&self, repo: &policy::Repo, cached: CachedSurvey) -> RepoResult {
        self.row(repo, "skip", |row| {
            Ok(RepoResult {
                skipped: true,
                ..RepoResult::of(cached.row(row, self.now))
            })
        })
    }

    /// Keeps the survey for the next run, which may find nothing changed. A run with only a part of
    /// the work doesn't, because its row is incomplete.
    fn keep(&self, repo: &policy::Repo, decided: &Decided, row: &report::Repo, lock: &LockedRepo) {
        if let Some(clock) = lock
            .server_clock()
            .filter(|_| self.only.all_of_a_repo() && row.failures.is_empty())
        {
            let seen = Seen {
                facts: &decided.facts,
                row,
                now: self.now,
                clock,
                free_bytes: self.free_bytes,
            };
            self.on_io(&decided.stop, || {
                unchanged::keep(&self.policy.volume.state, repo, &seen, &decided.stop);
            });
        }
    }

    /// Runs a pass, and turns whatever ends it early, even a panic, into a row.
    fn row(
        &self,
        repo: &policy::Repo,
        stage: &'static str,
        pass: impl FnOnce(report::Repo) -> Result<RepoResult, Ended>,
    ) -> RepoResult {
        let began = Instant::now();
        let span = tracing::info_span!(parent: &self.span, "repo", repo = &*repo.name, stage);
        let _entered = span.enter();
        let blank = blank(
            repo,
            if self.mode.trash().is_some() {
                RepoOutcome::Maintained
            } else {
                RepoOutcome::Planned
            },
        );
        // A repo that is only surveyed for the eviction gets no row by that.
        self.so_far
            .enter(&repo.name, Some(&blank).filter(|_| stage != LOOK));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pass(blank.clone())));
        let done = done.unwrap_or_else(|_| {
            Err(Ended::Failed(
                "treewarden made a mistake here; its log says where, please report it".to_owned(),
            ))
        });
        let mut result = done.unwrap_or_else(|ended| RepoResult::of(ended_early(ended, blank)));
        result.row.seconds = began.elapsed().as_secs_f64();
        self.so_far.leave(&repo.name);
        result
    }

    /// Projects what a dry run's plan would free.
    fn foresee(&self, result: &mut RepoResult, plan: &Plan) {
        let size = |paths: &[VolumePath]| {
            self.on_io(self.stop, || survey::size::size(paths, self.stop))
                .unwrap_or_default()
        };
        for (tree, class) in reaps(plan) {
            let State::Inspected(contents) = &tree.state else {
                continue;
            };
            let Some(place) = &contents.place else {
                continue;
            };
            let mut rows = result
                .row
                .worktrees
                .iter_mut()
                .filter(|row| row.outcome == TreeOutcome::Planned);
            let row = rows
                .find(|row| row.path == tree.path)
                .expect("every tree of the plan has its row");
            let (size, written) = (size(&tree.directories(place)), to_write(tree, class));
            result.freed += size;
            result.written += written;
            row.bytes = Some(size.bytes.saturating_sub(written.bytes));
        }
        let small: Vec<VolumePath> = plan
            .clear
            .iter()
            .chain(plan.drop.iter().map(|tree| &tree.admin))
            .cloned()
            .collect();
        result.freed += size(&small);
    }
}

/// Returns the row of a pass that ended early.
fn ended_early(ended: Ended, blank: report::Repo) -> report::Repo {
    let (outcome, reason, holder) = match ended {
        Ended::Busy(holder) => (RepoOutcome::Busy, None, holder),
        Ended::Refused(why) => (RepoOutcome::Refused, Some(why), None),
        Ended::Failed(why) => (RepoOutcome::Failed, Some(why), None),
    };
    report::Repo {
        outcome,
        reason,
        lock: report::Lock {
            holder,
            ..blank.lock
        },
        ..blank
    }
}
