//! The first pass's steps in their order: leftovers of a crashed git, registrations, expired
//! rescues, marks, the repack. After a failed step only the steps that depend on it are left out.

use super::decide::Decided;
use crate::apply::at_work::settle;
use crate::apply::repo::{RepoExecutor, StepError};
use crate::apply::trash::{Emptied, Trash};
use crate::lock::LockedRepo;
use crate::plan::repo::Plan;
use crate::report::words::plain;
use crate::run::context::{RepoResult, RunContext};

impl RunContext<'_> {
    /// Executes the first pass, step by step; a failed step is a row.
    pub(super) fn apply(
        &self,
        result: &mut RepoResult,
        decided: &Decided,
        lock: &LockedRepo,
        trash: &Trash,
    ) {
        let executor = RepoExecutor {
            lock,
            shadow: &decided.shadow,
            trash,
            stop: &decided.stop,
            now: self.now,
        };
        let plan = &decided.plan;
        settle(&decided.facts.leftovers, &decided.stop);
        self.clear_leftovers(result, plan, &executor);
        let git_works =
            !plan.gc.steps.is_empty() || !plan.expire.is_empty() || !plan.drop.is_empty();
        if git_works {
            decided.note.begin(lock);
        }
        self.drop_registrations(result, plan, &executor);
        // Before the repack, which drops what only they contained.
        expire_rescues(result, plan, &executor);
        self.mark_missing(result, plan, &executor);
        self.repack(result, decided, &executor);
        // A failed step may be a killed git that left its locks, so the note stays.
        if (git_works || decided.note.killed().is_some()) && result.row.failures.is_empty() {
            decided.note.end();
        }
    }

    /// Clears what a crashed git left; the row names what was cleared.
    fn clear_leftovers(&self, result: &mut RepoResult, plan: &Plan, executor: &RepoExecutor<'_>) {
        result.row.gc.stale_locks.clear();
        for leftover in &plan.clear {
            if result.did(
                &leftover.path(),
                self.on_io(executor.stop, || executor.clear(leftover)),
            ) {
                result.row.gc.stale_locks.push(leftover.path());
            }
        }
    }

    /// Drops the registrations of worktrees that are gone; the row names what was dropped.
    fn drop_registrations(
        &self,
        result: &mut RepoResult,
        plan: &Plan,
        executor: &RepoExecutor<'_>,
    ) {
        result.row.prune.dropped.clear();
        for tree in &plan.drop {
            let path = plain(&tree.path.to_string_lossy());
            let dropped = self.on_io(executor.stop, || executor.drop_registration(tree));
            // As with a busy tree, this is not a failure.
            if let Err(error @ StepError::Returned) = dropped {
                tracing::info!(path, "{error}");
            } else if result.did(&tree.path, dropped) {
                tracing::info!(path, "dropped the registration of a worktree that is gone");
                result.row.prune.dropped.push(tree.path.clone());
            }
        }
    }

    /// Marks missing worktrees, and removes the mark from those that are back.
    fn mark_missing(&self, result: &mut RepoResult, plan: &Plan, executor: &RepoExecutor<'_>) {
        for admin in &plan.unmark {
            result.did(
                &admin.path(),
                self.on_io(executor.stop, || executor.unmark(admin)),
            );
        }
        for (admin, grace) in &plan.mark {
            result.did(
                &admin.path(),
                executor.mark(admin, *grace).map(|()| Emptied::default()),
            );
        }
    }
}

/// Drops the rescues that are due; the row keeps only those that were dropped.
fn expire_rescues(result: &mut RepoResult, plan: &Plan, executor: &RepoExecutor<'_>) {
    let due = std::mem::take(&mut result.row.rescues.expired);
    for ((rescue, _), row) in plan.expire.iter().zip(due) {
        match executor.expire(rescue) {
            Ok(()) => {
                tracing::info!(rescue = rescue.name, because = ?row.because, "expired a rescue");
                result.row.rescues.expired.push(row);
            }
            Err(error) => result.row.failures.push(error.to_string()),
        }
    }
}
