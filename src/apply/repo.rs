//! A repo's plan, carried out: leftovers cleared, registrations dropped, trees rescued and reaped.
//!
//! Each step stands alone: what fails is a row, and the tree or file stays as it was. A tree goes in an order in which a kill at any point
//! loses nothing: rescue, rename into the trash, drop the registration, delete. It must never change that order.

use super::rescue::{RescueError, rescue};
use super::trash::{Emptied, Trash, TrashError};
use crate::facts::worktree::{State, Worktree};
use crate::inside::Inside;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::shadow::Shadow;
use crate::stop::Stop;
use chrono::{DateTime, Utc};
use std::io;

/// One step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The lock is gone: the repo stops here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something could not go to the trash.
    #[error(transparent)]
    Trash(#[from] TrashError),
    /// The work could not be rescued.
    #[error(transparent)]
    Rescue(#[from] RescueError),
    /// The trash itself is out of order.
    #[error("failed to use the trash: {0}; look into the volume's state folder")]
    Io(#[from] io::Error),
    /// A plan asked for a tree that nobody looked at.
    #[error("failed to reap: the tree was not looked at; this is a mistake in treewarden, please report it")]
    NotLooked,
}

/// A tree that went.
#[derive(Debug)]
pub struct Reaped {
    /// The ref that holds its unsaved work.
    pub rescue_ref: Option<String>,
    /// What its deletion freed, and what is left of it in the trash.
    pub emptied: Emptied,
}

/// What all steps in a repo share.
pub struct Hands<'a> {
    /// The proof that nobody else works here.
    pub lock: &'a LockedRepo,
    /// The repo behind its shadow.
    pub shadow: &'a Shadow,
    /// Where things go.
    pub trash: &'a Trash,
    /// When to stop.
    pub stop: &'a Stop,
    /// The night's time, for names of rescues.
    pub now: DateTime<Utc>,
}

impl Hands<'_> {
    /// Clears a dead git's file.
    ///
    /// # Errors
    /// [`StepError`]: it stays.
    pub fn clear(&self, leftover: &Inside) -> Result<Emptied, StepError> {
        let bin = self.trash.bin(None)?;
        bin.take(self.lock, leftover)?;
        Ok(bin.empty(self.stop)?)
    }

    /// Drops the registration of a tree that is gone, after keeping the commits that only it reached, and its index where that holds work.
    ///
    /// # Errors
    /// [`StepError`]: it stays.
    pub fn drop_registration(&self, tree: &Worktree) -> Result<Emptied, StepError> {
        if let State::Missing { unreached, staged, .. } = &tree.state
            && (*staged || !unreached.is_empty())
        {
            rescue(self.shadow, tree, None, unreached, u64::MAX, self.now)?;
        }
        self.clear(&tree.admin)
    }

    /// Rescues the tree's work where `unsaved` says so, then removes the tree and its registration. The branch stays.
    ///
    /// # Errors
    /// [`StepError`]: the tree stays, unless only its registration could not be dropped; the next night does that.
    pub fn reap(&self, tree: &Worktree, unsaved: bool, rescue_max: u64) -> Result<Reaped, StepError> {
        let State::Looked(contents) = &tree.state else { return Err(StepError::NotLooked) };
        let Some(place) = &contents.place else { return Err(StepError::NotLooked) };
        self.lock.still_held()?;
        let saved = unsaved.then(|| rescue(self.shadow, tree, Some(place), &contents.unreached, rescue_max, self.now));
        let rescue_ref = saved.transpose()?;
        let bin = self.trash.bin(Some(place))?;
        bin.take(self.lock, place)?;
        bin.take(self.lock, &tree.admin)?;
        Ok(Reaped { rescue_ref, emptied: bin.empty(self.stop)? })
    }
}
