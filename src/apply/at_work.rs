//! A note in the state directory that a run's git is at work in a repo. If a run finds one under
//! the repo's lock, an earlier run was killed, and any newer locks of git are its own.
//!
//! Without it a crashed git's lock looks like a living one's, and blocks for [`STALE_LOCK`]: a run
//! that follows a killed one, such as a Job's retry, would fail. The file is named after the repo,
//! and only emptied, never deleted. Its write time, by the server's clock, is when the work began.
//! It is written only after the leftovers of an earlier note are cleared.
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

/// Git holds a ref's lock only for an instant: nobody is still writing to one older than this.
const SETTLED: Duration = Duration::from_secs(2);

/// A repo's note.
pub struct AtWork {
    directory: VolumePath,
    name: String,
    killed: Option<DateTime<Utc>>,
}

impl AtWork {
    /// Reads the note of the repo named `repo`. An unreadable one counts as none: then locks are
    /// judged by their age.
    pub fn of(state: &VolumePath, repo: &str) -> Self {
        let directory = state.join("at-work").expect("a fixed name stays inside");
        let mut note = Self {
            directory,
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

    /// Opens the note's file if it is a regular file: anything else that agents put there is left
    /// alone.
    fn open(&self, flags: OFlags) -> io::Result<File> {
        let place = self.directory.join(&self.name).map_err(io::Error::other)?;
        atomic::open(&place, flags)
    }

    /// Returns when a killed run began its work; none if no run was killed.
    pub fn killed(&self) -> Option<DateTime<Utc>> {
        self.killed
    }

    /// Notes that git is at work. If that fails, a run after a kill has to wait, and nothing worse.
    pub fn begin(&self, lock: &LockedRepo) {
        let write = || -> io::Result<()> {
            lock.still_held().map_err(io::Error::other)?;
            atomic::make_directory(&self.directory)?;
            let mut file = self.open(OFlags::WRONLY | OFlags::CREATE)?;
            file.set_len(0)?;
            file.write_all(b"a run's git is at work in this repo, under its lock\n")
        };
        if let Err(error) = write() {
            tracing::warn!(
                "failed to note that git is at work in `{}/{}`: {error}",
                self.directory,
                self.name
            );
        }
    }

    /// Notes that the work ended.
    pub fn end(&self) {
        match self.open(OFlags::WRONLY).and_then(|file| file.set_len(0)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(note = self.name, %error, "failed to note that git's work is done");
            }
            _ => {}
        }
    }
}

/// Waits until a killed run's locks are older than any living git's.
pub fn settle(leftovers: &[Leftover], stop: &Stop) {
    let own = leftovers
        .iter()
        .filter(|leftover| leftover.kind == LeftoverKind::OwnLock);
    if let Some(youngest) = own.map(|leftover| leftover.age).min() {
        stop.sleep(SETTLED.saturating_sub(youngest));
    }
}
