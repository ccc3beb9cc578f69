//! Deletes a rescue that has expired, or that a later rescue contains as well. The ref is deleted
//! only if it still names what was read.

use super::Rescued;
use crate::facts::rescue::Rescue;
use crate::fs::stop::Stop;
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::survey::rescues;
use git2::Oid;
use std::io;

/// Why a rescue's ref could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git's store failed.
    #[error("failed to drop the rescue `{0}`: {why}; it stays, the next run tries again", why = .1.message())]
    Git(String, #[source] git2::Error),
    /// The work could not be confined.
    #[error(transparent)]
    Confine(#[from] Refusal),
    /// The ref no longer names what was read.
    #[error("failed to drop the rescue `{0}`: it names another commit by now; it stays")]
    Moved(String),
}

/// Deletes the ref `name`, if it still names `commit`. A missing ref counts as deleted.
///
/// # Errors
/// [`DropError`]: it stays.
pub fn forget(
    lock: &LockedRepo,
    shadow: &Shadow,
    name: &str,
    commit: &str,
) -> Result<(), DropError> {
    lock.still_held()?;
    let failed = |error| DropError::Git(name.to_owned(), error);
    shadow.confined(|| {
        let repo = shadow.open().map_err(failed)?;
        let mut reference = match repo.find_reference(name) {
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(()),
            found => found.map_err(failed)?,
        };
        if reference
            .target()
            .is_none_or(|target| target.to_string() != commit)
        {
            return Err(DropError::Moved(name.to_owned()));
        }
        // libgit2 compares once more, under the ref's own lock.
        reference.delete().map_err(failed)
    })?
}

/// Deletes rescues of the same worktree with the contents of `made`, apart from their time. They
/// are left by runs that failed after their rescue, or were killed. `made` contains each of them,
/// so nothing is lost. A rescue that can't be compared or deleted stays until it expires.
pub fn supersede(lock: &LockedRepo, shadow: &Shadow, made: &Rescued, stop: &Stop) {
    let equal = || -> io::Result<Vec<Rescue>> {
        let repo = shadow.open().map_err(io::Error::other)?;
        let mut held = stop.hold();
        let mine = rescues::read(&repo, made.commit, stop, &mut held)?;
        let directory = made
            .name
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let beside = |other: &Rescue| {
            other.name != made.name
                && other
                    .name
                    .rsplit_once('/')
                    .is_some_and(|(beside, _)| beside == directory)
        };
        let tree = repo
            .find_commit(made.commit)
            .map_err(io::Error::other)?
            .tree_id();
        let same = |other: &Rescue| {
            // Most differ in their files already, and reading a whole rescue takes time.
            let other = Oid::from_str(&other.commit)
                .and_then(|commit| repo.find_commit(commit))
                .ok();
            let other = other
                .filter(|other| other.tree_id() == tree)
                .and_then(|other| rescues::read(&repo, other.id(), stop, &mut stop.hold()).ok());
            other.is_some_and(|other| mine.same_work(&other))
        };
        let all = rescues::all(&repo).map_err(io::Error::other)?;
        Ok(all
            .into_iter()
            .filter(|other| other.taken.is_some() && beside(other) && same(other))
            .collect())
    };
    for older in equal().unwrap_or_default() {
        if let Err(error) = forget(lock, shadow, &older.name, &older.commit) {
            tracing::warn!(%error, "failed to delete a superseded rescue");
        }
    }
}
