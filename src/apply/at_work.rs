//! A note in the state folder that a run's git is at work in a repo: one that is found under the repo's lock is a killed run's, and so are the locks
//! that git left since.
//!
//! Without it nobody can tell a dead git's lock from that of a living one, and it stands in the way for [`STALE_LOCK`]: a run that follows a killed
//! one, as a Job's retry does, failed there. The file is never deleted, only emptied: its name is the repo's, and its write time, by the server's
//! clock, says since when. It must never be written while what an earlier one stands for is not cleared yet.
//!
//! [`STALE_LOCK`]: crate::plan::repo::STALE_LOCK

use crate::durable;
use crate::facts::repo::{Leftover, LeftoverKind};
use crate::inside::Inside;
use crate::lock::{LockedRepo, StillHeld};
use crate::stop::Stop;
use chrono::{DateTime, Utc};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Git holds a ref's lock for an instant: one that is older has nobody who still writes to it, whoever took it.
const SETTLED: Duration = Duration::from_secs(2);

/// A repo's note.
pub struct AtWork {
    file: PathBuf,
    killed: Option<DateTime<Utc>>,
}

impl AtWork {
    /// The note of a repo by its name, as it was found. What can't be read says nothing: then locks are judged by their age.
    pub fn of(state: &Inside, repo: &str) -> Self {
        let file = state.path().join("at-work").join(repo.replace('/', "__"));
        let data = durable::open(&file, OpenOptions::new().read(true)).and_then(|file| file.metadata()).ok();
        let written = data.filter(|data| data.len() > 0).and_then(|data| data.modified().ok());
        Self { file, killed: written.map(DateTime::from) }
    }

    /// Since when a run that was killed was at work; none when none was.
    pub fn killed(&self) -> Option<DateTime<Utc>> {
        self.killed
    }

    /// Writes that git is at work. Without the note a run that follows a kill has to wait, and no more.
    pub fn begin(&self, lock: &LockedRepo) {
        let write = || -> io::Result<()> {
            lock.still_held().map_err(io::Error::other)?;
            durable::make_folder(self.file.parent().unwrap_or(Path::new("/")))?;
            let mut file = durable::open(&self.file, OpenOptions::new().write(true).create(true).truncate(true))?;
            file.write_all(b"a run's git is at work in this repo, under its lock\n")
        };
        if let Err(error) = write() {
            tracing::warn!(note = %self.file.display(), %error, "failed to note that git is at work");
        }
    }

    /// Says that it ended, with all that it began.
    pub fn end(&self) {
        match durable::open(&self.file, OpenOptions::new().write(true).truncate(true)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(note = %self.file.display(), %error, "failed to note that git's work is done");
            }
            _ => {}
        }
    }
}

/// Waits until a killed run's locks are as old as no living git's.
pub fn settle(leftovers: &[Leftover], stop: &Stop) {
    let own = leftovers.iter().filter(|leftover| leftover.kind == LeftoverKind::OwnLock);
    if let Some(youngest) = own.map(|leftover| leftover.age).min() {
        stop.sleep(SETTLED.saturating_sub(youngest));
    }
}
