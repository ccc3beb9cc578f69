//! A note in the state directory that a run's git is at work in a repo: one that is found under the
//! repo's lock is a killed run's, and so are the locks that git left since.
//!
//! Without it nobody can tell a crashed git's lock from that of a living one, and it stands in the
//! way for [`STALE_LOCK`]: a run that follows a killed one, as a Job's retry does, failed there.
//! The file is never deleted, only emptied: its name is the repo's, and its write time, by the
//! server's clock, says since when. It must never be written while what an earlier one stands for
//! is not cleared yet.
//!
//! [`STALE_LOCK`]: crate::plan::repo::STALE_LOCK

use crate::facts::repo::{Leftover, LeftoverKind};
use crate::fs::atomic;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockedRepo, StillHeld};
use chrono::{DateTime, Utc};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

/// Git holds a ref's lock for an instant: one that is older has nobody who still writes to it,
/// whoever took it.
const SETTLED: Duration = Duration::from_secs(2);

/// A repo's note.
pub struct AtWork {
    folder: VolumePath,
    name: String,
    killed: Option<DateTime<Utc>>,
}

impl AtWork {
    /// The note of a repo by its name, as it was found. What can't be read says nothing: then locks
    /// are judged by their age.
    pub fn of(state: &VolumePath, repo: &str) -> Self {
        let folder = state.join("at-work").expect("a fixed name stays inside");
        let mut note = Self {
            folder,
            name: repo.replace('/', "__"),
            killed: None,
        };
        let data = note
            .open(OFlags::RDONLY)
            .and_then(|file| file.metadata())
            .ok();
        note.killed = data
            .filter(|data| data.len() > 0)
            .and_then(|data| data.modified().ok())
            .map(openat::time);
        note
    }

    /// The note's file, where it is one of its own: whatever agents put there instead is left
    /// alone.
    fn open(&self, flags: OFlags) -> io::Result<File> {
        let place = self.folder.join(&self.name).map_err(io::Error::other)?;
        atomic::open(&place, flags)
    }

    /// Since when a run that was killed was at work; none when none was.
    pub fn killed(&self) -> Option<DateTime<Utc>> {
        self.killed
    }

    /// Writes that git is at work. Without the note a run that follows a kill has to wait, and no
    /// more.
    pub fn begin(&self, lock: &LockedRepo) {
        let write = || -> io::Result<()> {
            lock.still_held().map_err(io::Error::other)?;
            atomic::make_folder(&self.folder)?;
            let mut file = self.open(OFlags::WRONLY | OFlags::CREATE)?;
            file.set_len(0)?;
            file.write_all(b"a run's git is at work in this repo, under its lock\n")
        };
        if let Err(error) = write() {
            tracing::warn!(
                "failed to note that git is at work in `{}/{}`: {error}",
                self.folder,
                self.name
            );
        }
    }

    /// Says that it ended, with all that it began.
    pub fn end(&self) {
        match self.open(OFlags::WRONLY).and_then(|file| file.set_len(0)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(note = self.name, %error, "failed to note that git's work is done");
            }
            _ => {}
        }
    }
}

/// Waits until a killed run's locks are as old as no living git's.
pub fn settle(leftovers: &[Leftover], stop: &Stop) {
    let own = leftovers
        .iter()
        .filter(|leftover| leftover.kind == LeftoverKind::OwnLock);
    if let Some(youngest) = own.map(|leftover| leftover.age).min() {
        stop.sleep(SETTLED.saturating_sub(youngest));
    }
}
