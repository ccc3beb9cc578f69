//! The second pass over a repo: removes its due trees.

use super::ended::Ended;
use crate::apply::repo::{Reaped, RepoExecutor, StepError};
use crate::apply::trash::{Emptied, Trash};
use crate::config::policy;
use crate::facts::cache::Size;
use crate::facts::rescue::Own;
use crate::facts::worktree::{State, Worktree};
use crate::fs::stop::Stop;
use crate::plan::repo::Plan;
use crate::plan::worktree::Verdict;
use crate::report::words::plain;
use crate::report::{self, Class, RepoOutcome, TreeOutcome, rows};
use crate::run::context::{RepoResult, RunContext};
use crate::run::needs;
use crate::survey::context::VolumeContext;
use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use super::row::{not_uncounted, only_then, tell};

/// Bytes of a file system's block.
const BLOCK: u64 = 4096;

impl RunContext<'_> {
    /// Runs the second pass, which removes the trees. `first` is the result of the first pass.
    pub fn reap(&self, repo: &policy::Repo, first: RepoResult) -> RepoResult {
        let Some(trash) = self.mode.trash() else {
            return first;
        };
        let began = Instant::now();
        let again = self.row(repo, "reap", |row| {
            self.reap_again(repo, &first, row, trash)
        });
        let both = if again.row.outcome == RepoOutcome::Maintained {
            joined(first, again, began)
        } else {
            not_reaped(first, &again, self.stop)
        };
        self.so_far.row(&both.row);
        both
    }

    /// Surveys again, decides again, and only then removes what the first pass counted.
    fn reap_again(
        &self,
        repo: &policy::Repo,
        first: &RepoResult,
        row: report::Repo,
        trash: &Trash,
    ) -> Result<RepoResult, Ended> {
        // Somebody may have begun to work meanwhile.
        let around = VolumeContext {
            processes: self.around.processes.anew(),
            ..self.around.clone()
        };
        let decided = self.decide(repo, &around)?;
        let lock = decided.lock.as_ref().ok_or(Ended::Busy(None))?;
        let mut result = RepoResult {
            idle: needs::idle(repo, &decided.plan),
            locks: decided.locks.clone(),
            ..RepoResult::of(row)
        };
        result.row.worktrees = self.rows(repo, &decided);
        result.row.over_cap = rows::over_cap(&decided.plan);
        let planned = |tree: &&report::Worktree| tree.outcome == TreeOutcome::Planned;
        let trees = first.row.worktrees.iter().filter(planned);
        let counted: HashSet<&Path> = trees.map(|tree| tree.path.as_path()).collect();
        for tree in &mut result.row.worktrees {
            not_uncounted(tree, &counted);
        }
        let executor = RepoExecutor {
            lock,
            shadow: &decided.shadow,
            trash,
            stop: &decided.stop,
            now: self.now,
        };
        decided.note.begin(lock);
        self.reap_trees(&mut result, repo, &decided.plan, &executor);
        if self.stop.reached().is_none() {
            decided.note.end();
        }
        Ok(result)
    }

    fn reap_trees(
        &self,
        result: &mut RepoResult,
        repo: &policy::Repo,
        plan: &Plan,
        executor: &RepoExecutor<'_>,
    ) {
        for (tree, class) in reaps(plan) {
            // Only planned rows, because a second registration may claim the same path.
            let row = result
                .row
                .worktrees
                .iter_mut()
                .find(|row| row.path == tree.path && row.outcome == TreeOutcome::Planned);
            let Some(row) = row else { continue };
            let reaped = match self.stop.reached() {
                Some(_) => continue,
                None => self.on_io(executor.stop, || {
                    executor.reap(tree, class == Class::Unsaved, repo.worktrees.rescue_max)
                }),
            };
            log(tree, class, &reaped);
            let written = to_write(tree, class);
            if let Some(Emptied { freed, left }) = tell(row, reaped, written) {
                result.freed += freed;
                result.written += written;
                result.left.extend(left);
            }
        }
        keep_unreached(&mut result.row.worktrees);
    }
}

/// Logs what became of a tree, for readers of the log alone.
fn log(tree: &Worktree, class: Class, reaped: &Result<Reaped, StepError>) {
    let path = plain(&tree.path.to_string_lossy());
    match reaped {
        Ok(Reaped {
            rescue_ref,
            emptied,
        }) => tracing::info!(
            path,
            ?class,
            rescue = rescue_ref,
            freed_bytes = emptied.freed.bytes,
            "reaped a worktree"
        ),
        Err(error) => tracing::warn!(
            path,
            error = plain(&error.to_string()),
            "failed to reap a worktree"
        ),
    }
}

/// Keeps the trees whose turn didn't come, and says so in their rows.
fn keep_unreached(rows: &mut [report::Worktree]) {
    for row in rows
        .iter_mut()
        .filter(|row| row.outcome == TreeOutcome::Planned)
    {
        row.outcome = TreeOutcome::Kept;
        row.reasons
            .insert(0, "the run stopped before its turn came".to_owned());
    }
}

/// Combines both passes.
fn joined(first: RepoResult, mut again: RepoResult, began: Instant) -> RepoResult {
    let only_then = only_then(&first.row.worktrees, &again.row.worktrees);
    let failures: Vec<String> = first.row.failures.into_iter().chain(only_then).collect();
    again.row.failures.splice(0..0, failures);
    again.row.prune = first.row.prune;
    again.row.rescues = first.row.rescues;
    again.row.gc = first.row.gc;
    again.row.lock = first.row.lock;
    again.row.seconds = first.row.seconds + began.elapsed().as_secs_f64();
    again.short_of_space = first.short_of_space;
    again.freed += first.freed;
    again.expired = first.expired;
    again.written += first.written;
    again.left.extend(first.left);
    again
}

/// Returns the first pass's result, with the reason why nothing was reaped. If the second pass
/// failed, each due tree failed. Otherwise they stay: the repo was busy, or time was over, or the
/// repo is refused by now, which is one failure.
fn not_reaped(mut first: RepoResult, again: &RepoResult, stop: &Stop) -> RepoResult {
    let failed = again.row.outcome == RepoOutcome::Failed;
    let refused = again.went_wrong(stop).filter(|_| !failed);
    let refused = refused.map(|why| format!("failed to reap its due trees: {why}"));
    first.row.failures.extend(refused);
    let why = again
        .row
        .reason
        .as_deref()
        .or(again.row.lock.holder.as_deref());
    let why = why.unwrap_or_default();
    let planned = |tree: &&mut report::Worktree| tree.outcome == TreeOutcome::Planned;
    for tree in first.row.worktrees.iter_mut().filter(planned) {
        tree.outcome = if failed {
            TreeOutcome::Failed(why.to_owned())
        } else {
            TreeOutcome::Kept
        };
        let reason =
            format!("not reaped, because when its turn came the repo was not available: {why}");
        tree.reasons.insert(0, reason);
    }
    first
}

/// Returns what a rescue of the tree writes at most: each file becomes an object that is no larger,
/// in blocks of its own.
pub(super) fn to_write(tree: &Worktree, class: Class) -> Size {
    match &tree.state {
        State::Inspected(contents) if class == Class::Unsaved => {
            let Own { files, bytes } = contents.rescue;
            Size {
                bytes: bytes.saturating_add(files.saturating_mul(BLOCK)),
                inodes: files,
            }
        }
        _ => Size::default(),
    }
}

pub(super) fn reaps(plan: &Plan) -> impl Iterator<Item = (&Worktree, Class)> {
    plan.trees
        .iter()
        .filter_map(|(tree, verdict)| match verdict {
            Verdict::Reap(work) => Some((tree, work.class)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RunReport;
    use std::sync::Arc;
    use std::time::Duration;

    /// Returns what becomes of a due tree, and the repo's failures, if the second pass ends so.
    fn message(outcome: RepoOutcome, stop: &Stop) -> (TreeOutcome, Vec<String>) {
        let text = include_str!("../../../fuzz/seeds/journal/night.jsonl");
        let night: RunReport = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let mut row = night.repos.into_iter().next().unwrap();
        row.failures.clear();
        row.worktrees.truncate(1);
        row.worktrees[0].outcome = TreeOutcome::Planned;
        let mut again = RepoResult::of(row.clone());
        (again.row.outcome, again.row.reason) = (outcome, Some("a hook".to_owned()));
        let both = not_reaped(RepoResult::of(row), &again, stop).row;
        let tree = &both.worktrees[0];
        assert!(tree.reasons[0].ends_with("not available: a hook"));
        (tree.outcome.clone(), both.failures)
    }

    #[test]
    fn a_repo_that_is_refused_by_now_is_told_and_a_busy_one_is_not() {
        let (never, over) = (Stop::never(), Stop::after(Duration::ZERO, Arc::default()));
        let failure = vec!["failed to reap its due trees: a hook".to_owned()];
        let failed = TreeOutcome::Failed("a hook".to_owned());
        for (outcome, stop, expected) in [
            (RepoOutcome::Refused, &never, (TreeOutcome::Kept, failure)),
            (RepoOutcome::Refused, &over, (TreeOutcome::Kept, vec![])),
            (RepoOutcome::Busy, &never, (TreeOutcome::Kept, vec![])),
            (RepoOutcome::Failed, &never, (failed, vec![])),
        ] {
            assert_eq!(message(outcome, stop), expected, "{outcome:?}");
        }
    }
}
