//! The scratch directories of shadows and of the caller's git, and those that killed runs and
//! commands left.
//!
//! Each contains a file that its run keeps locked as long as it lives: if it isn't locked, the run
//! crashed. Directories of other users and of living runs are not cleared.

use crate::fs::openat;
use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use tempfile::TempDir;

/// The beginnings of their names.
const SHADOW: &str = "treewarden-shadow-";
const CALLER: &str = "treewarden-caller-";
/// The file whose lock shows that the owner lives. Git has no file of this name.
const ALIVE: &str = "treewarden-alive";
/// A younger directory without that file is still being created; an older one was left by an
/// earlier version.
const YOUNG: TimeDelta = TimeDelta::hours(24);

/// A scratch directory, removed when the value is dropped.
pub struct Scratch {
    directory: TempDir,
    _alive: File,
}

impl Scratch {
    /// Creates one for a shadow.
    ///
    /// # Errors
    /// Scratch space can't be written.
    pub fn shadow() -> io::Result<Self> {
        Self::new(SHADOW)
    }

    /// Creates one for the caller's git.
    ///
    /// # Errors
    /// Scratch space can't be written.
    pub fn caller() -> io::Result<Self> {
        Self::new(CALLER)
    }

    fn new(prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
        // The file gets its name only once it is locked: otherwise a run that clears at this moment
        // would take the directory for a crashed run's.
        let unnamed = directory.path().join("treewarden-born");
        let alive = File::create_new(&unnamed)?;
        rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive)?;
        std::fs::rename(unnamed, directory.path().join(ALIVE))?;
        Ok(Self {
            directory,
            _alive: alive,
        })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes what killed runs left, as far as possible, and returns how many directories these were.
/// Their age is measured at `now`.
pub fn clear(now: DateTime<Utc>) -> usize {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return 0;
    };
    let is_ours = |name: &[u8]| {
        [SHADOW, CALLER]
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
    };
    let ours = entries
        .filter_map(Result::ok)
        .filter(|entry| is_ours(entry.file_name().as_encoded_bytes()));
    ours.filter(|entry| is_dead(&entry.path(), now) && remove(&entry.path()).is_ok())
        .count()
}

fn is_dead(directory: &Path, now: DateTime<Utc>) -> bool {
    let Ok(seen) = directory.symlink_metadata() else {
        return false;
    };
    if !seen.is_dir() || seen.uid() != rustix::process::geteuid().as_raw() {
        return false;
    }
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match OpenOptions::new()
        .write(true)
        .custom_flags(careful.bits().cast_signed())
        .open(directory.join(ALIVE))
    {
        Ok(alive) => rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => seen
            .modified()
            .is_ok_and(|made| now.signed_duration_since(openat::time(made)) > YOUNG),
        Err(_) => false,
    }
}

/// Removes a directory as a dropped value does, which follows no link.
fn remove(directory: &Path) -> io::Result<()> {
    let bin = tempfile::Builder::new().prefix(SHADOW).tempdir()?;
    std::fs::rename(directory, bin.path().join("dead"))?;
    bin.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_being_made_is_nobodys_leftover() {
        std::thread::scope(|scope| {
            let making = scope.spawn(|| {
                for _ in 0..300 {
                    let scratch = Scratch::caller().unwrap();
                    std::fs::write(scratch.path().join("content"), "").unwrap();
                }
            });
            while !making.is_finished() {
                let _ours_and_others = clear(crate::fs::clock::now());
            }
        });
    }
}
