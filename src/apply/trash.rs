//! The trash: the only place that deletes.
//!
//! Anything to delete is first renamed into the trash, in one step on the same file system, and
//! deleted from there, now or in a later run. So nobody works in a half-deleted tree. `delete`
//! deletes; `note` records where a tree came from, and its registration. A tree is deleted only
//! after a second look, and put back only if that registration proves to be its own.

use crate::facts::cache::Size;
use crate::fs::atomic;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockError, LockedRepo, StillHeld};
use delete::empty;
use note::{Note, State};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

mod delete;
mod note;
mod rename;
mod words;
pub(crate) use note::origin;
use rename::rename;
use words::{line, tell_once};

/// How long unproven trees and files newer than their entry's note are kept: as long as a rescue.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// The file in a trash entry with the reports made about it, so that no later run repeats them.
const TOLD: &str = "told.txt";

/// `<state>/trash`.
pub struct Trash {
    place: VolumePath,
}

/// Which trees in the trash are a repo's own.
pub struct Own<'a> {
    /// Its git dir, wherever that is: its worktrees are registered there.
    pub git_dir: &'a VolumePath,
    /// Says whether a worktree of the repo may be at a place.
    pub is_right: &'a (dyn Fn(&VolumePath) -> bool + Sync),
}

/// A trash entry, for one run or one tree: a directory in the trash with numbered items.
pub struct TrashEntry {
    place: VolumePath,
    next: AtomicUsize,
}

/// Where a tree comes from: its place, its registration, and for a clone, whose clone it is.
pub type Origin<'a> = (&'a VolumePath, &'a VolumePath, Option<&'a VolumePath>);

/// Why something could not be moved to the trash.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file system refused.
    #[error("failed to move `{path}` to the trash: {cause}; it was not moved{}", rename::remedy(.path, .cause))]
    Move {
        /// What should have been moved.
        path: VolumePath,
        /// Why it wasn't.
        cause: io::Error,
    },
    /// Something could not be put back in its place.
    #[error(
        "failed to put `{path}` back: {cause}; it is kept in `{place}`, and goes back with a later run when that place is free"
    )]
    Stranded {
        /// Where it was.
        path: VolumePath,
        /// Where it is.
        place: VolumePath,
        /// Why.
        cause: io::Error,
    },
    /// The contents of an earlier run's trash entry are unknown.
    #[error("failed to read the trash: {0}; look into the volume's state directory")]
    Unreadable(#[from] io::Error),
}

/// The result of emptying the trash.
#[derive(Debug, Default, Clone)]
pub struct Emptied {
    /// What was freed; a file counts when its last link is deleted.
    pub freed: Size,
    /// What is still there, and why, without what was reported before.
    pub left: Vec<String>,
}

impl Emptied {
    fn add(mut self, more: Self) -> Self {
        self.freed += more.freed;
        self.left.extend(more.left);
        self
    }

    /// Returns the result for a trash entry that can't be read or changed: it stays.
    fn none_of(place: &VolumePath, error: &io::Error) -> Self {
        Self {
            freed: Size::default(),
            left: vec![format!(
                "`{place}`: {error}; if it stays so, take from there what you need, then delete it"
            )],
        }
    }
}

impl Trash {
    /// Opens the trash in the state directory `state`, and creates it if it is missing.
    ///
    /// # Errors
    /// It can't be created.
    pub fn of(state: &VolumePath) -> io::Result<Self> {
        let place = state.join("trash")?;
        atomic::make_directory(&place)?;
        Ok(Self { place })
    }

    /// Creates an empty trash entry. For a tree, its place and its registration are noted durably
    /// before anything is moved there; for a clone, also whose clone it is.
    ///
    /// # Errors
    /// It can't be created.
    pub fn bin(&self, tree: Option<Origin<'_>>) -> io::Result<TrashEntry> {
        let place = self.place.join(uuid::Uuid::new_v4().to_string())?;
        atomic::make_new_directory(&place)?;
        if let Some(origin) = tree {
            Note::of(origin)?.write(&place)?;
        }
        Ok(TrashEntry {
            place,
            next: AtomicUsize::new(0),
        })
    }

    /// Creates an empty trash entry for a regenerable directory: what is written there from now on
    /// is kept in the entry, and reported.
    ///
    /// # Errors
    /// It can't be created.
    pub fn entry_since_now(&self, from: &VolumePath) -> io::Result<TrashEntry> {
        let bin = self.bin(None)?;
        Note::again(from).write(&bin.place)?;
        Ok(bin)
    }

    /// Moves one of our own directories here without creating a trash entry for it: a full volume
    /// may have no room for one.
    ///
    /// # Errors
    /// It stays; `NotFound` if it is missing.
    pub fn adopt(&self, ours: &VolumePath) -> io::Result<()> {
        rename(ours, &self.place.join(uuid::Uuid::new_v4().to_string())?)
    }

    /// Deletes what is in the trash, in parallel on the current rayon pool, until done or asked to
    /// stop.
    ///
    /// Agents and other shards may be at work here: a file that is written after its entry's note
    /// stays, and so does the trash entry of a registered tree, even before the tree is in it. Any
    /// other entry is renamed before it is trusted.
    ///
    /// # Errors
    /// The trash can't be read; what can't be deleted is in [`Emptied::left`].
    pub fn empty(&self, stop: &Stop) -> io::Result<Emptied> {
        let emptied = bins(&self.place)?.into_par_iter().map(|mut place| {
            // An entry that can't be read must not keep the others from being deleted.
            self.empty_one(&mut place, stop)
                .unwrap_or_else(|error| Emptied::none_of(&place, &error))
        });
        Ok(emptied.reduce(Emptied::default, Emptied::add))
    }

    /// Empties the entry at `place`, which it may rename.
    fn empty_one(&self, place: &mut VolumePath, stop: &Stop) -> io::Result<Emptied> {
        if note::state(place)?.is_plain() && !note::is_settled(place)? && stop.reached().is_none() {
            match found(self.aside(place)) {
                Ok(Some(aside)) => *place = aside,
                Ok(None) => return Ok(Emptied::default()),
                Err(_) => {}
            }
        }
        let place = &*place;
        let told = |line: String| tell_once(place, vec![line]);
        match note::state(place)? {
            State::Plain => {
                let stat = found(openat::stat(place))?
                    .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
                let mut emptied = TrashEntry::at(place.clone()).delete(stop)?;
                if let Some(stat) = stat
                    && found(openat::stat(place))?.is_none()
                {
                    emptied.freed += Size::of_blocks(stat.st_blocks.cast_unsigned());
                }
                Ok(emptied)
            }
            State::Coming(_) => Ok(Emptied::default()),
            State::Registered(taken) => {
                let waits = "it goes back with its repo's next run, if that place is free";
                Ok(told(format!(
                    "`{}` was taken by a run that did not finish, and waits in `{place}`: {waits}",
                    taken.from
                )))
            }
            State::Unproven(_) if is_older(place, KEPT)? => {
                Ok(TrashEntry::at(place.clone()).empty(stop))
            }
            State::Unproven(from) => Ok(told(format!(
                "`{}` was taken by a run that did not finish, and its registration is gone or another's since: it is kept in `{}` for 30 days; \
                 take from there what you need, then delete it",
                from.display(),
                place.path().join("0").display()
            ))),
        }
    }

    /// Renames a trash entry, so that nobody can put anything in it by its old name.
    fn aside(&self, bin: &VolumePath) -> io::Result<VolumePath> {
        let aside = self.place.join(uuid::Uuid::new_v4().to_string())?;
        rename(bin, &aside).map(|()| aside)
    }

    /// Puts back the repo's trees that an earlier run moved here and did not inspect again:
    /// somebody may have gone on working in them.
    ///
    /// Anybody may have written a note. So only a directory is put back, only in a free place, and
    /// only if the registration proves to be its own. Everything else stays in the trash, also what
    /// can't be read, and whoever empties the trash reports it: it may be another repo's.
    ///
    /// # Errors
    /// [`TrashError`]: they stay in the trash.
    pub fn undo(&self, lock: &LockedRepo, own: &Own<'_>, stop: &Stop) -> Result<(), TrashError> {
        let git_dir = own.git_dir.relative();
        let admins = git_dir.join("worktrees");
        for place in bins(&self.place)? {
            let taken = match note::state(&place) {
                Ok(State::Coming(taken) | State::Registered(taken)) => taken,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!("failed to read `{place}`: {error}; it stays there");
                    continue;
                }
            };
            let is_own = match &taken.clone_of {
                Some(repo) => repo.relative() == git_dir,
                None => taken.admin.relative().parent() == Some(&admins),
            };
            if !is_own {
                continue;
            }
            lock.still_held()?;
            let bin = TrashEntry::at(place);
            let stands = bin.entry(0)?;
            if found(openat::stat(&stands))?.is_some() {
                let is_git = |part: &OsStr| part.eq_ignore_ascii_case(".git");
                let back =
                    if taken.from.relative().iter().any(is_git) || !(own.is_right)(&taken.from) {
                        Err(io::Error::other("no worktree of this repo may stand there"))
                    } else {
                        rename::directory(&stands, &taken.from)
                    };
                if let Err(cause) = back {
                    // The repo is maintained all the same. Whoever empties the trash reports the
                    // entry.
                    tracing::warn!(
                        "{}",
                        TrashError::Stranded {
                            path: taken.from,
                            place: stands,
                            cause
                        }
                    );
                    continue;
                }
            }
            bin.empty(stop);
        }
        Ok(())
    }

    /// Returns the place of the repo's [staging directory](super::staging).
    pub(super) fn staging(&self, lock: &LockedRepo) -> io::Result<VolumePath> {
        let state = self
            .place
            .relative()
            .parent()
            .unwrap_or(self.place.relative());
        let name = [OsStr::new("making-"), lock.stem()]
            .into_iter()
            .collect::<OsString>();
        self.place
            .same_root(&state.join(name))
            .map_err(io::Error::from)
    }

    /// Removes the repo's staging directory, with what a killed command left there: also where the
    /// repo itself does not exist yet.
    ///
    /// # Errors
    /// [`TrashError`]: it stays.
    pub fn sweep(&self, lock: &LockedRepo, stop: &Stop) -> Result<(), TrashError> {
        let staging = self.staging(lock)?;
        if found(openat::stat(&staging))?.is_none() {
            return Ok(());
        }
        let bin = self.bin(None)?;
        bin.take(lock, &staging)?;
        // The next run deletes what can't be deleted now.
        bin.empty(stop);
        Ok(())
    }
}

impl TrashEntry {
    fn at(place: VolumePath) -> Self {
        Self {
            place,
            next: AtomicUsize::new(1),
        }
    }

    fn entry(&self, number: usize) -> io::Result<VolumePath> {
        self.place.join(number.to_string()).map_err(io::Error::from)
    }

    /// Moves `what` into this entry in one step, and returns its new place.
    ///
    /// # Errors
    /// [`TrashError`]: it is where it was.
    pub fn take(&self, lock: &impl StillHeld, what: &VolumePath) -> Result<VolumePath, TrashError> {
        lock.still_held()?;
        let failed = |cause| TrashError::Move {
            path: what.clone(),
            cause,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let to = self
            .place
            .join(number)
            .map_err(|error| failed(io::Error::other(error)))?;
        rename(what, &to).map_err(failed)?;
        Ok(to)
    }

    /// Moves `what` back to `from`, its earlier place. If something else is there by now, it stays
    /// in the trash entry. Nobody deletes it, because its registration still exists.
    ///
    /// # Errors
    /// [`TrashError::Stranded`] says where it is.
    pub fn give_back(&self, what: &VolumePath, from: &VolumePath) -> Result<(), TrashError> {
        let stranded = |cause| TrashError::Stranded {
            path: from.clone(),
            place: what.clone(),
            cause,
        };
        rename::directory(what, from).map_err(stranded)
    }

    /// Moves a file of a store back to where it was taken from. It may replace one that was written
    /// meanwhile: the name is derived from the content, so both are the same.
    ///
    /// # Errors
    /// [`TrashError::Stranded`] says where it is.
    pub fn give_back_object(&self, what: &VolumePath, from: &VolumePath) -> Result<(), TrashError> {
        rename(what, from).map_err(|cause| TrashError::Stranded {
            path: from.clone(),
            place: what.clone(),
            cause,
        })
    }

    /// Deletes the trash entry. All of it was inspected, or its tree was put back. What can't be
    /// deleted is in [`Emptied::left`].
    pub fn empty(self, stop: &Stop) -> Emptied {
        let place = self.place.clone();
        // Recorded first, in the note's name: otherwise the next run could not distinguish the
        // tree's remains from a tree that nobody inspected.
        note::settle(&place)
            .and_then(|()| self.delete(stop))
            .unwrap_or_else(|error| Emptied::none_of(&place, &error))
    }

    fn delete(self, stop: &Stop) -> io::Result<Emptied> {
        let from = note::settled(&self.place)?;
        let old = from.is_some() && is_older(&self.place, KEPT)?;
        let since = from.as_ref().map(|(_, since)| *since).filter(|_| !old);
        let mut freed = Size::default();
        // The next pass finds what is written while its directory is being deleted.
        for _ in 0..3 {
            let emptied = empty(&self.place, stop, &[note::GONE, TOLD], since)?;
            freed += emptied.freed;
            if emptied.stopped {
                return Ok(Emptied {
                    freed,
                    left: vec![format!("{}: the run stopped first", self.place)],
                });
            }
            if !emptied.left.is_empty() {
                let from = from.as_ref().map(|(from, _)| from.as_path());
                let left = tell_once(
                    &self.place,
                    emptied.left.iter().map(|kept| line(kept, from)).collect(),
                )
                .left;
                return Ok(Emptied { freed, left });
            }
            if emptied.is_empty {
                break;
            }
        }
        let left = self
            .remove()
            .err()
            .map(|error| format!("{}: {error}", self.place));
        Ok(Emptied {
            freed,
            left: left.into_iter().collect(),
        })
    }

    /// Removes the empty trash entry, with the files beside its contents.
    fn remove(&self) -> io::Result<()> {
        let (parent, name) = openat::parent(&self.place)?;
        if let Some(directory) = found(openat::dir(&self.place))? {
            for name in [TOLD, note::GONE] {
                found(
                    rustix::fs::unlinkat(&directory, name, AtFlags::empty())
                        .map_err(io::Error::from),
                )?;
            }
        }
        found(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(io::Error::from))
            .map(drop)
    }
}

/// Checks whether the entry's note is older than `age`, by the file server's clock alone.
fn is_older(bin: &VolumePath, age: Duration) -> io::Result<bool> {
    let trash = bin.relative().parent().unwrap_or(bin.relative());
    let trash = bin.same_root(trash).map_err(io::Error::other)?;
    let now = atomic::nameless(&trash)?.metadata()?.modified()?;
    let written = note::written(bin)?.unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(now.duration_since(written).is_ok_and(|since| since > age))
}

/// Returns the original places of the trees in the trash that their repo's next run will put back.
/// Changes nothing.
pub fn taken_from(state: &VolumePath) -> HashSet<VolumePath> {
    let bins = state
        .join("trash")
        .map_err(io::Error::from)
        .and_then(|trash| bins(&trash))
        .unwrap_or_default();
    let taken = bins.iter().filter_map(|bin| match note::state(bin) {
        Ok(State::Registered(taken)) => Some(taken.from),
        _ => None,
    });
    taken.collect()
}

/// Returns the trash entries that earlier runs left, without those that were reported already.
/// Changes nothing.
///
/// # Errors
/// The trash can't be read.
pub fn waiting(state: &VolumePath) -> io::Result<Vec<VolumePath>> {
    let trash = state.join("trash")?;
    let mut bins = bins(&trash)?;
    bins.retain(|bin| !bin.join(TOLD).is_ok_and(|told| openat::stat(&told).is_ok()));
    Ok(bins)
}

fn bins(trash: &VolumePath) -> io::Result<Vec<VolumePath>> {
    let Some(directory) = found(openat::dir(trash))? else {
        return Ok(Vec::new());
    };
    openat::list(directory)?
        .into_iter()
        .map(|(name, _)| Ok(trash.join(name)?))
        .collect()
}

#[cfg(test)]
mod tests;
