//! The staging directory, where a checkout or a worktree is assembled before one rename puts it in
//! its place.
//!
//! It is in the state directory, on the same file system, one for each repo. Only the holder of the
//! repo's lock uses it, and the next command or run moves what a killed holder left there to the
//! trash. So half a clone or half a tree is never in its final place, and only an empty directory
//! is replaced.

use super::ownership::{directories, give, owner_of};
use super::trash::{Trash, TrashError};
use crate::fs::atomic::remove_draft;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockError, LockedRepo, StillHeld};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What is assembled: a checkout, or a worktree's files.
const TREE: &str = "tree";
/// A worktree's registration.
const ADMIN: &str = "admin";

/// Why something could not be assembled or put in place.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What a crashed run left there can't be removed.
    #[error(transparent)]
    Trash(#[from] TrashError),
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for WorkshopError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A repo's staging directory, cleared of leftovers.
pub struct StagingDir<'a> {
    lock: &'a LockedRepo,
    place: VolumePath,
}

impl<'a> StagingDir<'a> {
    /// Calls `work` with the repo's staging directory, which is cleared before and after.
    ///
    /// # Errors
    /// [`WorkshopError`], or any error of `work`.
    pub fn with<T, E: From<WorkshopError>>(
        lock: &'a LockedRepo,
        trash: &Trash,
        stop: &Stop,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        trash.sweep(lock, stop).map_err(WorkshopError::from)?;
        let staging = Self {
            lock,
            place: trash.staging(lock).map_err(WorkshopError::from)?,
        };
        staging
            .directory(Path::new(""))
            .map_err(WorkshopError::from)?;
        let done = work(&staging);
        if let Err(error) = trash.sweep(lock, stop) {
            tracing::warn!(%error, "a staging stays; the next command or run in this repo clears it");
        }
        done
    }

    /// Returns the place of what is assembled.
    pub fn tree(&self) -> VolumePath {
        self.place.join(TREE).expect("a fixed name stays inside")
    }

    /// Opens a directory in the staging directory, and creates missing ones for our user alone.
    ///
    /// # Errors
    /// Something else is there.
    pub fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        directories(
            openat::root(self.place.root())?,
            &self.place.relative().join(path),
            None,
            &|_| 0o700,
        )
    }

    /// Puts the checkout at `place`.
    ///
    /// # Errors
    /// [`WorkshopError`]: nothing new is there, unless only the last sync failed.
    pub fn put_checkout(&self, place: &VolumePath) -> Result<(), WorkshopError> {
        self.lock.still_held()?;
        let to = stands_in(place, None)?;
        self.put_tree(&to, place)?;
        Ok(rustix::fs::fsync(to)?)
    }

    /// Puts the worktree at `place`, registered as `id` in `git_dir`: first the registration, then
    /// the tree.
    ///
    /// # Errors
    /// [`WorkshopError`]: there is no new worktree, and no half of one.
    pub fn put_worktree(
        &self,
        git_dir: &VolumePath,
        id: &str,
        place: &VolumePath,
    ) -> Result<(), WorkshopError> {
        self.lock.still_held()?;
        let owner = owner_of(git_dir)?;
        let registry = directories(
            openat::dir(git_dir)?,
            Path::new("worktrees"),
            owner,
            &|_| 0o755,
        )?;
        let to = stands_in(place, owner)?;
        let staging = self.directory(Path::new(""))?;
        rustix::fs::renameat(&staging, ADMIN, &registry, id)?;
        if let Err(error) = self.put_tree(&to, place) {
            rustix::fs::renameat(&registry, id, &staging, ADMIN)?;
            return Err(error);
        }
        Ok(())
    }

    /// Renames the tree to its place. The rename of a directory replaces only an empty directory.
    fn put_tree(&self, to: impl AsFd, place: &VolumePath) -> Result<(), WorkshopError> {
        let name = place.relative().file_name().unwrap_or_default();
        match rustix::fs::renameat(self.directory(Path::new(""))?, TREE, to, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {
                Err(io::Error::other("something stands there").into())
            }
            moved => Ok(moved?),
        }
    }
}

/// The name, owner and permissions of a new file.
#[derive(Clone, Copy)]
pub struct NewFile<'a> {
    /// Its name in its directory.
    pub name: &'a OsStr,
    /// None for our own user.
    pub owner: Owner,
    /// Its permissions.
    pub mode: u32,
}

/// Puts a file in a directory as a whole, replacing any other of its name.
///
/// # Errors
/// It can't be written.
pub fn put_file(
    directory: impl AsFd,
    NewFile { name, owner, mode }: NewFile<'_>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let beside = format!(".treewarden-{}", uuid::Uuid::new_v4());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(
        &directory,
        &beside,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    let put = || -> io::Result<()> {
        write(&mut file)?;
        give(&file, owner)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        Ok(rustix::fs::renameat(&directory, &beside, &directory, name)?)
    };
    put().inspect_err(|_| remove_draft(&directory, OsStr::new(&beside)))
}

/// Sets the owner and mode that a staged directory has in its final place.
///
/// # Errors
/// The file system refuses.
pub fn hand_over(directory: &OwnedFd, owner: Owner, mode: u32) -> io::Result<()> {
    give(directory, owner)?;
    Ok(rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))?)
}

/// Moves the packs that a fetch left in `from` to `to`. For git a pack exists when its index does,
/// so the index comes last.
///
/// # Errors
/// Some packs may have been moved, and git sees each of them whole or not at all.
pub fn put_packs(from: &OwnedFd, to: &OwnedFd, owner: Owner) -> io::Result<()> {
    let listed = openat::list(openat::below(
        from,
        Path::new("."),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )?)?;
    let mut names: Vec<OsString> = listed.into_iter().map(|(name, _)| name).collect();
    names.retain(|name| {
        name.as_encoded_bytes().starts_with(b"pack-")
            && extension(name).is_some_and(|ending| ending != "keep")
    });
    names.sort_by_key(|name| {
        (
            extension(name).is_some_and(|ending| ending == "idx"),
            name.clone(),
        )
    });
    for name in names {
        // A link is not followed.
        let file = openat::below(from, Path::new(&name), OFlags::RDONLY | OFlags::NONBLOCK)?;
        give(&file, owner)?;
        rustix::fs::renameat(from, &name, to, &name)?;
    }
    Ok(rustix::fs::fsync(to)?)
}

/// Copies the loose objects that a fetch left in scratch space below `objects`. An existing one is
/// replaced by the same content.
///
/// # Errors
/// Some may have been copied, each as a whole.
pub fn put_loose(loose: &[(PathBuf, PathBuf)], objects: &OwnedFd, owner: Owner) -> io::Result<()> {
    for (from, to) in loose {
        let directory = directories(
            objects,
            to.parent().unwrap_or(Path::new("")),
            owner,
            &|_| 0o755,
        )?;
        let file = NewFile {
            name: to.file_name().unwrap_or_default(),
            owner,
            mode: 0o444,
        };
        put_file(directory, file, |file| {
            io::copy(&mut File::open(from)?, file).map(drop)
        })?;
    }
    Ok(())
}

fn extension(name: &OsStr) -> Option<&OsStr> {
    Path::new(name).extension()
}

type Owner = Option<(Uid, Gid)>;

/// Opens the directory that will contain `place`, and creates it if it is missing.
fn stands_in(place: &VolumePath, owner: Owner) -> io::Result<OwnedFd> {
    let root = openat::root(place.root())?;
    match place
        .relative()
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => directories(root, parent, owner, &|_| 0o755),
        None => Ok(root),
    }
}

/// Returns a free name in the registry of `git_dir`: the tree's own, with a number if that one is
/// taken.
///
/// # Errors
/// The registry can't be read.
pub fn free_id(git_dir: &VolumePath, place: &VolumePath) -> io::Result<String> {
    let name = place
        .relative()
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                c
            } else {
                '-'
            }
        })
        .collect();
    for number in 0.. {
        let id = if number == 0 {
            name.clone()
        } else {
            format!("{name}{number}")
        };
        let taken = git_dir
            .join("worktrees")
            .and_then(|admins| admins.join(&id))
            .map_err(io::Error::other)?;
        if found(openat::stat(&taken))?.is_none() {
            return Ok(id);
        }
    }
    unreachable!("the loop returns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_can_not_be_put_in_its_place_leaves_nothing() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("taken")).unwrap();
        let file = |name: &'static str| NewFile {
            name: OsStr::new(name),
            owner: None,
            mode: 0o644,
        };
        let directory = openat::root(top.path()).unwrap();
        put_file(&directory, file("new"), |_| Err(Errno::NOSPC.into())).unwrap_err();
        put_file(&directory, file("taken"), |_| Ok(())).unwrap_err();
        let left = fs::read_dir(top.path()).unwrap();
        assert_eq!(left.count(), 1, "only what was there");
    }
}
