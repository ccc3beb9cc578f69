//! Room for an agent's work: before `worktree add` and `exec`, `volume.floor` must be free.
//!
//! If it isn't, they make room as a run does that reaps and evicts, under the volume's lock. This
//! comes before any repo's lock is taken, since the order is volume, then repo.

use crate::commands::held::held_above;
use crate::config::policy::Policy;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::lock::{LockError, LockedVolume};
use crate::plan::evict;
use crate::plan::repo::Only;
use crate::report::{RunOutcome, RunReport};
use crate::run::{self, Options};
use crate::survey;
use indicatif::ProgressBar;
use std::time::{Duration, Instant};

/// The pause before another run is asked about again: it may be making the room.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The exit code if there is no room: sysexits' `EX_CANTCREAT`.
pub const CODE: u8 = 73;

/// Why there is no room for work.
#[derive(Debug, thiserror::Error)]
#[error("{short}, and no room could be made: {why}; free some, or lower volume.floor")]
pub struct NoRoom {
    /// What is free, and what should be.
    short: String,
    /// What prevented more.
    why: String,
}

/// Makes room and takes a lock, in turns, until there is room under the lock: while it is waited
/// for, others may fill the volume again.
///
/// # Errors
/// [`NoRoom`], or why the lock can't be taken.
pub fn under<L, E: From<NoRoom>>(
    policy: &Policy,
    wait: Duration,
    stop: &Stop,
    lock: impl Fn() -> Result<L, E>,
) -> Result<L, E> {
    let began = Instant::now();
    loop {
        make(policy, wait, stop)?;
        let lock = lock()?;
        let Some(short) = short(policy) else {
            return Ok(lock);
        };
        if began.elapsed() >= wait || stop.reached().is_some() {
            let why = "others fill it as fast as it is made".to_owned();
            return Err(NoRoom { short, why }.into());
        }
    }
}

/// Makes room if less than `volume.floor` is free. If another run has the volume, that run may be
/// making it, and is waited for this long.
///
/// # Errors
/// [`NoRoom`]: still less is free.
fn make(policy: &Policy, wait: Duration, stop: &Stop) -> Result<(), NoRoom> {
    if held_above().is_some() {
        // Who holds a repo takes no volume. The command itself says so.
        return Ok(());
    }
    let began = Instant::now();
    while let Some(short) = short(policy) {
        tracing::warn!("{short}; making room");
        let report = run::run(policy, &options(), stop, &ProgressBar::hidden());
        let Some(short) = self::short(policy) else {
            return Ok(());
        };
        let mut waited = false;
        while is_busy(policy, &report) && began.elapsed() < wait && stop.reached().is_none() {
            stop.sleep(ASK_AGAIN);
            waited = true;
        }
        if !waited {
            let why = why(report);
            return Err(NoRoom { short, why });
        }
    }
    Ok(())
}

/// Returns what is free and should be, if it is less than `volume.floor`. A volume that can't be
/// measured has room: whoever works on it says what is wrong.
fn short(policy: &Policy) -> Option<String> {
    let usage = survey::volume::usage(&policy.volume.root).ok()?;
    evict::below_floor(&usage, &policy.eviction)
}

/// Returns a run that makes room: by day nothing is repacked.
fn options() -> Options {
    Options {
        dry_run: false,
        repos: Vec::new(),
        only: Only {
            reap: true,
            evict: true,
            ..Only::NONE
        },
        as_of: None,
        usage: false,
        shard: None,
        after_pause: false,
    }
}

/// Checks whether a run was refused because another one has the volume.
fn is_busy(policy: &Policy, report: &RunReport) -> bool {
    let lock = || LockedVolume::take(&policy.volume.locks(), "make room", clock::now());
    report.run.outcome == RunOutcome::Refused && matches!(lock(), Err(LockError::Busy(_)))
}

/// Returns what prevented more.
fn why(report: RunReport) -> String {
    let refused = report.run.reason;
    let obstacles = report.eviction.obstacles.into_iter();
    let obstacles_and_failures = || {
        obstacles
            .chain(report.failures)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let message = refused.unwrap_or_else(obstacles_and_failures);
    if message.is_empty() {
        "nothing more may go".to_owned()
    } else {
        message
    }
}
