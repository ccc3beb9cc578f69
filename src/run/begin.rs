//! The beginning of a run: the volume is proven, measured and locked, or the run is refused.
//!
//! If the volume is nearly full, the reserved space is deleted and the trash emptied first. Nothing
//! else on it is touched before it is locked.

use super::Request;
use super::mode::Mode;
use crate::apply::reserved_space;
use crate::apply::trash::Trash;
use crate::config::policy::Policy;
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::fs::denied::{self, Wanted};
use crate::fs::mount::{self, MountTrouble};
use crate::fs::scratch;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockError, LockedVolume};
use crate::plan;
use crate::plan::clock::ClockDoubt;
use crate::plan::repo::Only;
use crate::plan::shard::Shard;
use crate::report::Asked;
use crate::report::journal;
use crate::state::volume::{self, VolumeError};
use crate::survey;
use chrono::{DateTime, Utc};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::io;
use std::path::Path;

/// The run's options from the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Change nothing; report what would be done.
    pub dry_run: bool,
    /// The repos to maintain; all if empty.
    pub repos: Vec<String>,
    /// The parts of the work.
    pub only: Only,
    /// Report what would be done at this time; only for a dry run.
    pub as_of: Option<DateTime<Utc>>,
    /// Also report what fills the volume, by a walk over all of it.
    pub usage: bool,
    /// Which of several machines this is; none if it is the only one.
    pub shard: Option<Shard>,
    /// The operator's word that runs were missed, and that the clock is right.
    pub after_pause: bool,
}

impl Options {
    /// Returns the options for this shard: only the last one evicts, for all.
    pub(super) fn of_this_shard(&self) -> Self {
        Self {
            only: Only {
                evict: self.only.evict && self.ends_the_night(),
                ..self.only
            },
            ..self.clone()
        }
    }

    /// Checks whether this shard ends the run for all: it empties the trash and evicts.
    pub(super) fn ends_the_night(&self) -> bool {
        self.shard.is_none_or(Shard::is_last)
    }

    /// Returns what was requested; none for a whole run.
    pub fn asked(&self) -> Option<Asked> {
        let Only {
            prune,
            gc,
            reap,
            evict,
        } = self.only;
        let parts = [
            ("prune", prune),
            ("gc", gc),
            ("reap", reap),
            ("evict", evict),
        ];
        let only = if self.only == Only::ALL {
            Vec::new()
        } else {
            parts
                .iter()
                .filter(|part| part.1)
                .map(|part| part.0.to_owned())
                .collect()
        };
        let asked = Asked {
            repos: self.repos.clone(),
            only,
        };
        (!asked.repos.is_empty() || self.only != Only::ALL).then_some(asked)
    }

    /// Checks whether to wait for other shards.
    pub(super) fn waits(&self) -> bool {
        !self.dry_run
            && self
                .shard
                .is_some_and(|shard| shard.is_last() && shard.count() > 1)
    }
}

/// A run that may go ahead.
pub(super) struct Begun {
    pub(super) mode: Mode,
    pub(super) before: Usage,
    /// What could not be measured for the budget; in a dry run, also why a run would be refused.
    pub(super) unmeasured: Vec<String>,
    /// Threads that work on repos, and threads that wait for the network.
    pub(super) repos: ThreadPool,
    pub(super) io: ThreadPool,
}

/// Why a run is refused: the volume isn't what the config says, or isn't ours alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It is another volume, or none.
    #[error("{0}")]
    Volume(#[from] VolumeError),
    /// The state directory can't be used.
    #[error(
        "failed to use the volume's state directory `{state}`: {cause}{}",
        denied::message(&state.path(), Wanted::Read, cause)
    )]
    State {
        /// The directory.
        state: VolumePath,
        /// Why.
        cause: io::Error,
    },
    /// The machine has no threads for it.
    #[error("failed to start threads: {0}")]
    Threads(#[from] ThreadPoolBuildError),
    /// Its locks would not exclude other machines.
    #[error("refused to lock the volume: {0}")]
    LocalLocks(MountTrouble),
    /// Another run holds its lock.
    #[error("another run has the volume: {0}; wait for it to end")]
    Busy(LockError),
    /// The lock can't be taken.
    #[error("{0}")]
    Lock(LockError),
    /// The clock can't be trusted.
    #[error("{0}")]
    Clock(ClockDoubt),
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy(_) => Self::Busy(error),
            error => Self::Lock(error),
        }
    }
}

/// Proves that the volume is the right one, measures it, and locks it.
pub(super) fn begin(request: &Request<'_>) -> Result<Begun, Refusal> {
    let Request {
        policy,
        options,
        stop,
        ..
    } = *request;
    volume::prove(&policy.volume)?;
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build();
    let (repos, io) = (
        pool(policy.run.repos_in_parallel)?,
        pool(policy.run.io_threads)?,
    );
    let (before, mut unmeasured) =
        measure(policy, options.only.evict && !options.waits(), &io, stop)
            .map_err(|cause| unusable(policy, cause))?;
    let mode = if options.dry_run {
        unmeasured.extend(
            implausible(policy, options, None).map(|why| format!("a run would be refused: {why}")),
        );
        Mode::DryRun
    } else {
        lock(request, &before)?
    };
    Ok(Begun {
        mode,
        before,
        unmeasured,
        repos,
        io,
    })
}

/// Makes room for the volume's lock and takes it. From here on the run may change things.
fn lock(request: &Request<'_>, before: &Usage) -> Result<Mode, Refusal> {
    let Request {
        policy,
        options,
        now,
        stop,
        ..
    } = *request;
    let unusable = |cause| unusable(policy, cause);
    scratch::clear(now);
    // Checked before anything is deleted to make room for the lock.
    refuse_local_locks(&policy.volume.root)
        .map_err(unusable)?
        .map_err(Refusal::LocalLocks)?;
    reserved_space::drop_when_scarce(&policy.volume.state, before, stop).map_err(unusable)?;
    let locks = policy.volume.locks();
    let lock = options.shard.map_or_else(
        || LockedVolume::take(&locks, "run", now),
        |it| LockedVolume::take_shard(&locks, it, now),
    );
    let lock = lock?;
    // The lock file was just written, so its time is the server's.
    if let Some(why) = implausible(policy, options, lock.server_clock()) {
        return Err(Refusal::Clock(why));
    }
    Ok(Mode::Apply {
        lock,
        trash: Trash::of(&policy.volume.state).map_err(unusable)?,
    })
}

/// Refuses a mount whose locks would not exclude other machines.
pub(super) fn refuse_local_locks(root: &Path) -> io::Result<Result<(), MountTrouble>> {
    let why = mount::of(root).map(|facts| mount::local_locks(&facts))?;
    Ok(why.map_or(Ok(()), Err))
}

fn unusable(policy: &Policy, cause: io::Error) -> Refusal {
    Refusal::State {
        state: policy.volume.state.clone(),
        cause,
    }
}

/// Returns why this machine's clock can't be trusted.
fn implausible(
    policy: &Policy,
    options: &Options,
    server: Option<DateTime<Utc>>,
) -> Option<ClockDoubt> {
    let last = journal::last(&journal::file(&policy.volume.state));
    plan::clock::implausible(
        plan::clock::Clocks {
            now: clock::now(),
            server,
            last,
        },
        options.after_pause || clock::is_moved(),
    )
}

/// Returns the volume's usage. If there is a budget, everything on the volume is measured, too, and
/// the lines say what could not be.
pub(super) fn measure(
    policy: &Policy,
    evicts: bool,
    io: &ThreadPool,
    stop: &Stop,
) -> io::Result<(Usage, Vec<String>)> {
    let mut usage = survey::volume::usage(&policy.volume.root)?;
    if policy.eviction.budget.is_none() || !evicts {
        return Ok((usage, Vec::new()));
    }
    let (standing, problems) = io.install(|| survey::size::standing(&policy.volume.root, stop))?;
    usage.standing_bytes = Some(standing.bytes);
    let message = |problem| format!("{problem}; it counts for nothing against the budget");
    Ok((usage, problems.into_iter().map(message).collect()))
}
