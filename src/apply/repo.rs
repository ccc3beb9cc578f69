//! Carries out a repo's plan: clears leftovers, drops registrations, rescues and reaps trees.
//!
//! Each step is independent: a failed one becomes a row, and its tree or file stays unchanged. A
//! reap's order ensures that a kill at any point loses nothing: rescue, rename into the trash, drop
//! the registration, delete (`docs/design/worktrees.md#rescue-then-remove`).

use super::rescue::{DropError, RescueError, Rescued, Unsaved, forget, rescue, supersede};
use super::trash::{Emptied, Trash, TrashError};
use crate::facts::rescue::Rescue;
use crate::facts::worktree::{State, Worktree};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::plan::repo::Grace;
use crate::survey::clones::{Keeper, Opened};
use crate::survey::processes::Processes;
use crate::survey::tree::{self, Listing};
use crate::survey::{known, worktree};
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The lock is gone: the repo stops here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something could not be moved to the trash.
    #[error(transparent)]
    Trash(#[from] TrashError),
    /// The work could not be rescued.
    #[error(transparent)]
    Rescue(#[from] RescueError),
    /// A rescue could not be dropped.
    #[error(transparent)]
    Drop(#[from] DropError),
    /// The trash itself failed.
    #[error("failed to use the trash: {0}; look into the volume's state directory")]
    Io(#[from] io::Error),
    /// The tree changed after the decision.
    #[error("somebody worked in it while it was being reaped; it was put back")]
    Changed,
    /// The tree of the registration is back, or its lock changed.
    #[error("somebody locked it or brought its tree back meanwhile; its registration stays")]
    Returned,
    /// Whether the tree changed is unknown.
    #[error("failed to look at the tree again: {0}; it stays as it was")]
    LookAgain(#[source] io::Error),
    /// A plan asked for a tree that nobody inspected.
    #[error(
        "failed to reap: the tree was not surveyed; this is a mistake in treewarden, please report it"
    )]
    NotLooked,
}

/// A tree that was removed.
#[derive(Debug)]
pub struct Reaped {
    /// The ref of the rescue of its unsaved work.
    pub rescue_ref: Option<String>,
    /// What its deletion freed, and what is left of it in the trash.
    pub emptied: Emptied,
}

/// What all steps in a repo share.
pub struct RepoExecutor<'a> {
    /// The proof that nobody else works here.
    pub lock: &'a LockedRepo,
    /// The repo behind its shadow.
    pub shadow: &'a Shadow,
    /// Where things are moved.
    pub trash: &'a Trash,
    /// When to stop.
    pub stop: &'a Stop,
    /// The run's time, for names of rescues.
    pub now: DateTime<Utc>,
}

impl RepoExecutor<'_> {
    /// Clears a leftover of a crashed git.
    ///
    /// # Errors
    /// [`StepError`]: it stays.
    pub fn clear(&self, leftover: &VolumePath) -> Result<Emptied, StepError> {
        let bin = self.trash.bin(None)?;
        bin.take(self.lock, leftover)?;
        Ok(bin.empty(self.stop))
    }

    /// Marks a tree as missing in its admin directory, for later runs.
    ///
    /// # Errors
    /// [`StepError`]: its grace begins with a later run.
    pub fn mark(&self, admin: &VolumePath, grace: Grace) -> Result<(), StepError> {
        self.lock.still_held()?;
        let mark = admin
            .join(if grace == Grace::Begins {
                worktree::MISSING
            } else {
                worktree::MISSING_AT_ONCE
            })
            .map_err(io::Error::from)?;
        let (directory, name) = openat::parent(&mark)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    /// Removes that mark: the tree is back.
    ///
    /// # Errors
    /// [`StepError`]: it stays, and the next run tries again.
    pub fn unmark(&self, admin: &VolumePath) -> Result<Emptied, StepError> {
        let mut emptied = Emptied::default();
        for mark in [worktree::MISSING, worktree::MISSING_AT_ONCE] {
            let mark = admin.join(mark).map_err(io::Error::from)?;
            if found(openat::stat(&mark))?.is_some() {
                let Emptied { freed, left } = self.clear(&mark)?;
                emptied.freed += freed;
                emptied.left.extend(left);
            }
        }
        Ok(emptied)
    }

    /// Drops the registration of a missing tree, after a rescue of the commits that only it reached
    /// and of an index with work. Its lock and its place are inspected once more.
    ///
    /// # Errors
    /// [`StepError`]: it stays.
    pub fn drop_registration(&self, tree: &Worktree) -> Result<Emptied, StepError> {
        let unsaved = match &tree.state {
            State::Missing {
                unreached, staged, ..
            } if *staged || !unreached.is_empty() => Some(Unsaved {
                worktree: tree,
                place: None,
                unreached,
                most: u64::MAX,
                now: self.now,
            }),
            _ => None,
        };
        let saved = self.save(unsaved)?;
        still_gone(tree)
            .and_then(|()| self.clear(&tree.admin))
            .inspect_err(|error| self.withdraw(saved.as_ref(), error))
    }

    /// Rescues the work, if there is any.
    fn save(&self, unsaved: Option<Unsaved<'_>>) -> Result<Option<Rescued>, StepError> {
        let saved = unsaved
            .map(|unsaved| rescue(self.shadow, &unsaved, self.stop))
            .transpose()?;
        if let Some(saved) = &saved {
            supersede(self.lock, self.shadow, saved, self.stop);
        }
        Ok(saved)
    }

    /// Deletes an expired rescue.
    ///
    /// # Errors
    /// [`StepError`]: it stays.
    pub fn expire(&self, rescue: &Rescue) -> Result<(), StepError> {
        Ok(forget(
            self.lock,
            self.shadow,
            &rescue.name,
            &rescue.commit,
        )?)
    }

    /// Rescues the tree's work if `unsaved`, then removes the tree and its registration. The branch
    /// stays.
    ///
    /// Once in the trash, the tree is inspected again, and put back if it changed: agents that
    /// don't know the lock may have worked in it since the survey, and may go on after the rename,
    /// by their working directory.
    ///
    /// # Errors
    /// [`StepError`]: the tree stays.
    pub fn reap(
        &self,
        tree: &Worktree,
        unsaved: bool,
        rescue_max: u64,
    ) -> Result<Reaped, StepError> {
        let State::Inspected(contents) = &tree.state else {
            return Err(StepError::NotLooked);
        };
        let Some(place) = &contents.place else {
            return Err(StepError::NotLooked);
        };
        self.lock.still_held()?;
        let unsaved = unsaved.then(|| Unsaved {
            worktree: tree,
            place: Some(place),
            unreached: &contents.unreached,
            most: rescue_max,
            now: self.now,
        });
        let saved = self.save(unsaved)?;
        let emptied = self
            .remove(tree, place, saved.as_ref())
            .inspect_err(|error| self.withdraw(saved.as_ref(), error))?;
        Ok(Reaped {
            rescue_ref: saved.map(|saved| saved.name),
            emptied,
        })
    }

    fn remove(
        &self,
        tree: &Worktree,
        place: &VolumePath,
        saved: Option<&Rescued>,
    ) -> Result<Emptied, StepError> {
        let bin = self
            .trash
            .bin(Some((place, &tree.admin, tree.clone_of.as_ref())))?;
        let taken = bin.take(self.lock, place)?;
        let unchanged = self.unchanged(tree, &taken, saved.map(|saved| &saved.listing));
        // A clone's git dir is in the trash by now.
        let unregister = || match tree.clone_of {
            Some(_) => Ok(()),
            None => Ok(bin.take(self.lock, &tree.admin).map(drop)?),
        };
        if let Err(error) = unchanged.and_then(|()| unregister()) {
            bin.give_back(&taken, place)?;
            bin.empty(self.stop);
            return Err(error);
        }
        Ok(bin.empty(self.stop))
    }

    /// Drops the rescue if the tree was put back because somebody works in it, or if a missing tree
    /// returned: the rescue isn't, or soon won't be, the tree's content. After any other failure
    /// the rescue stays, and the next one supersedes it.
    fn withdraw(&self, saved: Option<&Rescued>, error: &StepError) {
        if let (Some(saved), StepError::Changed | StepError::Returned) = (saved, error)
            && let Err(error) = forget(
                self.lock,
                self.shadow,
                &saved.name,
                &saved.commit.to_string(),
            )
        {
            tracing::warn!(%error, "failed to delete a rescue that is no longer needed");
        }
    }

    /// Checks that the tree still equals its rescue or, without one, is still clean, and that its
    /// lock and activity are as surveyed.
    fn unchanged(
        &self,
        tree: &Worktree,
        taken: &VolumePath,
        rescued: Option<&Listing>,
    ) -> Result<(), StepError> {
        // The tree is in the trash by now, so a stop ends this step only if it takes long.
        let stop = &self.stop.for_a_step();
        let look = || -> io::Result<bool> {
            if tree.clone_of.is_none() {
                let repo = self.shadow.open().map_err(io::Error::other)?;
                return SecondLook { repo: &repo, stop }.same(tree, taken, rescued);
            }
            let keeper = Keeper::of(self.shadow, stop)?;
            let opened = Opened::of(taken, &keeper, stop).map_err(io::Error::other)?;
            let repo = opened.open().map_err(io::Error::other)?;
            let moved = Worktree {
                admin: opened.git_dir().clone(),
                ..tree.clone()
            };
            Ok(opened.is_unchanged(&repo, &moved)?
                && SecondLook { repo: &repo, stop }.same(&moved, taken, rescued)?)
        };
        if look().map_err(StepError::LookAgain)? {
            Ok(())
        } else {
            Err(StepError::Changed)
        }
    }
}

/// The second look at a tree, in the trash.
struct SecondLook<'a> {
    repo: &'a git2::Repository,
    stop: &'a Stop,
}

impl SecondLook<'_> {
    /// Returns whether the tree is as surveyed, and equals its rescue or else HEAD.
    fn same(
        &self,
        tree: &Worktree,
        taken: &VolumePath,
        rescued: Option<&Listing>,
    ) -> io::Result<bool> {
        let Self { repo, stop } = *self;
        let same = match rescued {
            Some(rescued) => {
                Some(known::list(repo, tree, taken, stop)?).filter(|now| now.same_work(rescued))
            }
            None => known::list_clean(repo, tree, taken, stop)?,
        };
        let Some(same) = same else { return Ok(false) };
        if !tree::still_so(taken, &same)? {
            return Ok(false);
        }
        // The plan has decided about a dead process's lock; another one is new.
        let locked = lock_of(tree)? != tree.locked;
        // The kernel reports the tree by its present place.
        let in_use = Processes::but_callers().at_work(taken, stop);
        Ok(!locked && in_use.is_none() && worktree::activity(&tree.admin, stop)? <= tree.active)
    }
}

/// Checks once more that the tree is missing, and that its lock is as surveyed.
fn still_gone(tree: &Worktree) -> Result<(), StepError> {
    let look = || {
        let is_back = match VolumePath::new(tree.admin.root(), &tree.path) {
            Ok(place) => found(openat::stat(&place))?.is_some(),
            // A path outside the volume can't be inspected, and counts as missing.
            Err(_) => false,
        };
        Ok(!is_back && lock_of(tree)? == tree.locked)
    };
    if look().map_err(StepError::LookAgain)? {
        Ok(())
    } else {
        Err(StepError::Returned)
    }
}

/// Returns the reason in the tree's `locked` file; none if it isn't locked.
fn lock_of(tree: &Worktree) -> io::Result<Option<String>> {
    let reason = found(openat::read(
        &tree.admin.join("locked")?,
        worktree::LINE_CAP,
    ))?;
    let text = |reason: Vec<u8>| String::from_utf8_lossy(&reason).into_owned();
    Ok(reason.map(|reason| text(reason).trim_end_matches('\n').to_owned()))
}
