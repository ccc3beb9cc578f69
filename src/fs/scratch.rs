//! The scratch directories in which a shadow is laid or the caller's git works, and those that
//! killed runs and commands left.
//!
//! Each holds a file that its run keeps locked for as long as it lives: what nobody locks is a
//! crashed run's. It must never clear what is another user's, or a living run's.

use crate::fs::openat;
use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use tempfile::TempDir;

/// What each is called, before what tells it from others.
const SHADOW: &str = "treewarden-shadow-";
const CALLER: &str = "treewarden-caller-";
/// The file that says that somebody lives here. Git finds nothing of its own by this name.
const ALIVE: &str = "treewarden-alive";
/// One without that file is just being made, or was left by an earlier version.
const YOUNG: TimeDelta = TimeDelta::hours(24);

/// A scratch directory. It goes with the value.
pub struct Scratch {
    directory: TempDir,
    _alive: File,
}

impl Scratch {
    /// For a shadow.
    ///
    /// # Errors
    /// There is no room.
    pub fn shadow() -> io::Result<Self> {
        Self::new(SHADOW)
    }

    /// For the caller's git.
    ///
    /// # Errors
    /// There is no room.
    pub fn caller() -> io::Result<Self> {
        Self::new(CALLER)
    }

    fn new(prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
        // It has its name only once it is locked, or a run that clears at this moment would take it
        // for a dead one's.
        let unnamed = directory.path().join("treewarden-born");
        let alive = File::create_new(&unnamed)?;
        rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive)?;
        std::fs::rename(unnamed, directory.path().join(ALIVE))?;
        Ok(Self {
            directory,
            _alive: alive,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Clears what runs that were killed before `now` left, as far as it can. Gives how many went.
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

/// Into a directory that goes with its value: whoever deletes those follows no link.
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
