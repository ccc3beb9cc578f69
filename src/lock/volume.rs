//! The volume's lock: a plain run holds `volume.lock` exclusively, shards hold it shared.
//!
//! Each shard also holds a lock of its own, which prevents duplicates and shows which shards are
//! still running. The volume's lock is no lock on a repo: each repo still has its own.

use super::ask::{self, ANSWER, failed, look_within};
use super::{Held, Holder, LockError, Seen, StillHeld, VOLUME, inside, look};
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::plan::shard::Shard;
use chrono::{DateTime, Utc};
use std::fs::File;
use std::time::Duration;

/// The wait for its own lock: waiting shards inspect it, and must not pass for a duplicate.
const OWN_WAIT: Duration = Duration::from_secs(3);

/// Shards that end together write the journal one after the other.
const JOURNAL: &str = "journal.lock";
const JOURNAL_WAIT: Duration = Duration::from_mins(2);

/// The volume, locked for a run or for one shard of it. Only its holder evicts; of several shards
/// only the last one does.
#[derive(Debug)]
pub struct LockedVolume {
    held: Held,
    /// A shard's shared lock on the volume.
    _share: Option<File>,
}

/// The locked journal, while shards may be at work.
#[derive(Debug)]
pub struct LockedJournal {
    _held: Held,
}

impl StillHeld for LockedVolume {
    fn still_held(&self) -> Result<(), LockError> {
        self.held.check()
    }
}

impl LockedVolume {
    /// Takes the volume's lock, or returns who holds it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(locks: &VolumePath, purpose: &str, now: DateTime<Utc>) -> Result<Self, LockError> {
        match Held::take(&inside(locks, VOLUME), purpose, now) {
            // Shards leave no record there.
            Err(LockError::Busy(_)) => Err(LockError::Busy(holder(locks)?)),
            held => Ok(Self {
                held: held?,
                _share: None,
            }),
        }
    }

    /// Returns the file server's time when the record was last written.
    pub fn server_clock(&self) -> Option<DateTime<Utc>> {
        self.held.server_clock()
    }

    /// Takes the lock shared as one of several shards, or returns who is in the way: a plain run,
    /// the same shard, or a run with another number of shards, which would distribute the repos
    /// differently.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take_shard(
        locks: &VolumePath,
        shard: Shard,
        now: DateTime<Utc>,
    ) -> Result<Self, LockError> {
        let part = ask::share_within(&inside(locks, VOLUME))?;
        let held = Held::wait(
            &own(locks, shard),
            &*format!("run --shard {shard}"),
            || now,
            OWN_WAIT,
        )?;
        // After ours is taken: of two shards that begin at once, at least one sees the other.
        for other in all(locks)?
            .into_iter()
            .filter(|other| other.count() != shard.count())
        {
            if let Seen {
                held: true, holder, ..
            } = self::shard(locks, other)?
            {
                return Err(LockError::Busy(holder));
            }
        }
        Ok(Self {
            held,
            _share: Some(part),
        })
    }
}

impl LockedJournal {
    /// Waits for the journal.
    ///
    /// # Errors
    /// [`LockError`]: `Busy` if it isn't free within 2 minutes.
    pub fn wait(locks: &VolumePath, now: DateTime<Utc>) -> Result<Self, LockError> {
        Ok(Self {
            _held: Held::wait(&inside(locks, JOURNAL), "journal", || now, JOURNAL_WAIT)?,
        })
    }
}

/// Returns the volume's holder: one of the running shards, or the one that its lock file names.
fn holder(locks: &VolumePath) -> Result<Option<Holder>, LockError> {
    let at_work = shards(locks)?.into_iter().find(|(_, seen)| seen.held);
    // A record that a dead run left in the file says nothing about shards.
    at_work.map_or_else(
        || Ok(look_within(&inside(locks, VOLUME), ANSWER, look)?.holder),
        |(_, seen)| Ok(seen.holder),
    )
}

/// Returns the state of a shard's lock.
///
/// # Errors
/// [`LockError::Io`] if the file exists and can't be inspected, or [`LockError::Silent`].
pub fn shard(locks: &VolumePath, shard: Shard) -> Result<Seen, LockError> {
    look_within(&own(locks, shard), ANSWER, look)
}

/// Returns the state of each shard lock that ever existed, of any number, in order.
///
/// # Errors
/// [`LockError::Io`].
pub fn shards(locks: &VolumePath) -> Result<Vec<(Shard, Seen)>, LockError> {
    all(locks)?
        .into_iter()
        .map(|it| Ok((it, shard(locks, it)?)))
        .collect()
}

fn all(locks: &VolumePath) -> Result<Vec<Shard>, LockError> {
    let Some(directory) = found(openat::dir(locks)).map_err(failed(locks))? else {
        return Ok(Vec::new());
    };
    let entries = openat::list(directory).map_err(|errno| failed(locks)(errno.into()))?;
    let mut shards: Vec<Shard> = entries
        .iter()
        .filter_map(|(name, _)| named(name.to_str()?))
        .collect();
    shards.sort_by_key(|shard| (shard.count(), shard.index()));
    Ok(shards)
}

fn own(locks: &VolumePath, shard: Shard) -> VolumePath {
    inside(locks, &called(shard))
}

fn called(shard: Shard) -> String {
    format!("shard-{}-of-{}.lock", shard.index(), shard.count())
}

/// Parses a shard lock's file name, only in its canonical spelling, so that no shard is reported
/// twice.
fn named(name: &str) -> Option<Shard> {
    let (index, count) = name
        .strip_prefix("shard-")?
        .strip_suffix(".lock")?
        .split_once("-of-")?;
    let shard = Shard::new(index.parse().ok()?, count.parse().ok()?)?;
    (called(shard) == name).then_some(shard)
}
