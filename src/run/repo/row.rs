//! What became of a repo's trees, for its row.

use crate::apply::repo::{Reaped, StepError};
use crate::apply::trash::Emptied;
use crate::config::policy;
use crate::facts::cache::Size;
use crate::report::{self, ReasonName, RepoOutcome, TreeOutcome};
use std::collections::HashSet;
use std::path::Path;

/// Keeps a tree that became due after the run counted the due ones: with it, more than `max_reaped`
/// could be removed.
pub(super) fn not_uncounted(row: &mut report::Worktree, counted: &HashSet<&Path>) {
    if row.outcome == TreeOutcome::Planned && !counted.contains(row.path.as_path()) {
        row.outcome = TreeOutcome::Kept;
        row.reasons.insert(
            0,
            "due only since the run counted what would go; the next run takes it".to_owned(),
        );
    }
}

/// Returns the failures of trees that failed only in the first pass: what that pass would have done
/// there was left out all the same.
pub(super) fn only_then(first: &[report::Worktree], again: &[report::Worktree]) -> Vec<String> {
    let failed = |tree: &report::Worktree| matches!(tree.outcome, TreeOutcome::Failed(_));
    let twice = |path: &Path| again.iter().any(|tree| tree.path == path && failed(tree));
    let failures = first.iter().filter_map(|tree| match &tree.outcome {
        TreeOutcome::Failed(why) if !twice(&tree.path) => {
            Some(format!("{}: {why}", tree.path.display()))
        }
        _ => None,
    });
    failures.collect()
}

/// Puts the outcome of a tree into its row, which counts what was freed less what the rescue has
/// `written`. Returns what its deletion freed and left.
pub(super) fn tell(
    row: &mut report::Worktree,
    reaped: Result<Reaped, StepError>,
    written: Size,
) -> Option<Emptied> {
    match reaped {
        Ok(Reaped {
            rescue_ref,
            emptied,
        }) => {
            let freed = emptied.freed.bytes.saturating_sub(written.bytes);
            (row.outcome, row.bytes, row.rescue_ref) =
                (TreeOutcome::Reaped, Some(freed), rescue_ref);
            Some(emptied)
        }
        // A busy tree is no more a failure than a busy repo.
        Err(error @ StepError::Changed) => {
            row.outcome = TreeOutcome::Kept;
            row.because = ReasonName::Busy;
            row.reasons.insert(0, error.to_string());
            None
        }
        Err(error) => {
            row.outcome = TreeOutcome::Failed(error.to_string());
            None
        }
    }
}

pub(super) fn blank(repo: &policy::Repo, outcome: RepoOutcome) -> report::Repo {
    report::Repo {
        name: repo.name.clone(),
        path: repo.place.path(),
        outcome,
        reason: None,
        unchanged_since: None,
        seconds: 0.0,
        lock: report::Lock::default(),
        prune: report::Prune::default(),
        rescues: report::Rescues::default(),
        gc: report::Gc::default(),
        over_cap: None,
        worktrees: Vec::new(),
        failures: Vec::new(),
    }
}
