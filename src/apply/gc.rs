//! Repacking, judged by what it changed and not by git's word.
//!
//! A stale `objects/maintenance.lock` makes git exit 0 having done nothing, so the counts before and after decide (`git.md`). It must never
//! choose a step: the plan lists them.

use crate::facts::repo::Store;
use crate::git::GitError;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::plan::gc::{Gc, GcAction, Step};
use crate::shadow::Shadow;
use crate::stop::Stop;
use std::time::Duration;

/// A step that takes longer is ended: the next night goes on, from fewer objects.
const LIMIT: Duration = Duration::from_hours(1);

/// A repack failed.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git said no.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Git said yes and did nothing.
    #[error(
        "failed to repack: git reported success, but {loose} loose objects and {packs} packs are still there; look for a stale lock in `.git/objects`"
    )]
    NothingDone {
        /// Loose objects afterwards.
        loose: u64,
        /// Packs afterwards.
        packs: u64,
    },
}

/// Does the plan's steps, with `threads` for each pack.
///
/// # Errors
/// [`GcError`] at the first step that fails: those after it rest on it.
pub fn gc(lock: &LockedRepo, shadow: &Shadow, plan: &Gc, threads: usize, stop: &Stop) -> Result<(), GcError> {
    let git = shadow.git(stop, LIMIT).with(format!("pack.threads={threads}"));
    for step in &plan.steps {
        lock.still_held()?;
        git.run(arguments(*step))?;
    }
    Ok(())
}

/// The ages are `git.md`'s grace, whatever the repo's own config says.
fn arguments(step: Step) -> &'static [&'static str] {
    match step {
        Step::ExpireReflogs => &["reflog", "expire", "--all", "--expire=90.days.ago", "--expire-unreachable=90.days.ago"],
        Step::Geometric => &["repack", "-d", "-l", "--quiet", "--geometric=2", "--write-midx"],
        Step::Full => &["repack", "-a", "-d", "-l", "--quiet", "--cruft", "--cruft-expiration=14.days.ago"],
        Step::GitGc => &["gc", "--quiet", "--no-detach"],
        Step::PackRefs => &["pack-refs", "--all", "--prune"],
        Step::CommitGraph => &["commit-graph", "write", "--reachable", "--changed-paths"],
    }
}

/// Whether the counts show what the plan was for.
///
/// # Errors
/// [`GcError::NothingDone`].
pub fn judge(plan: &Gc, before: &Store, after: &Store) -> Result<(), GcError> {
    let shrunk = after.loose_objects < before.loose_objects || after.packs < before.packs || after.loose_refs < before.loose_refs;
    let needless = plan.action == GcAction::None || plan.steps == [Step::GitGc];
    if needless || shrunk { Ok(()) } else { Err(GcError::NothingDone { loose: after.loose_objects, packs: after.packs }) }
}
