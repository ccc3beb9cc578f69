//! The beginning of a run: the volume is proven, measured and locked, or the run is refused.
//!
//! If not even a lock could be written, the reserved space is deleted first. Nothing else is
//! touched before the volume is locked.

use super::locks;
use super::mode::Mode;
use crate::apply::ballast;
use crate::apply::trash::Trash;
use crate::config::policy::Policy;
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::fs::mount;
use crate::fs::scratch;
use crate::fs::stop::Stop;
use crate::lock::{LockError, LockedVolume};
use crate::plan;
use crate::plan::repo::Only;
use crate::plan::shard::Shard;
use crate::report::Asked;
use crate::report::journal;
use crate::state::volume;
use crate::survey;
use chrono::{DateTime, Utc};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::io;

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
    /// The same for one shard: only the last one evicts, for all.
    pub(super) fn of_this_shard(&self) -> Self {
        Self {
            only: Only {
                evict: self.only.evict && self.ends_the_night(),
                ..self.only
            },
            ..self.clone()
        }
    }

    /// Whether this shard ends the run for all: it empties the trash and evicts.
    pub(super) fn ends_the_night(&self) -> bool {
        self.shard.is_none_or(Shard::is_last)
    }

    /// What was requested; none for a whole run.
    pub(super) fn asked(&self) -> Option<Asked> {
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

    /// Whether to wait for other shards.
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
    /// What could not be measured against the budget.
    pub(super) unmeasured: Vec<String>,
    /// Threads that work on repos, and threads that wait on the network.
    pub(super) repos: ThreadPool,
    pub(super) io: ThreadPool,
}

/// Proves that the volume is the right one and locks it. An error is a refusal: nothing was
/// touched.
pub(super) fn begin(
    policy: &Policy,
    options: &Options,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Begun, String> {
    volume::prove(&policy.volume).map_err(|error| error.to_string())?;
    let unusable = |error: io::Error| {
        format!(
            "failed to use the volume's state folder `{}`: {error}",
            policy.volume.state
        )
    };
    let pool = |threads| {
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| format!("failed to start threads: {error}"))
    };
    let (repos, io) = (
        pool(policy.run.repos_in_parallel)?,
        pool(policy.run.io_threads)?,
    );
    let (before, mut unmeasured) =
        measure(policy, options.only.evict && !options.waits(), &io, stop).map_err(unusable)?;
    let mode = if options.dry_run {
        unmeasured.extend(
            implausible(policy, options, None).map(|why| format!("a run would be refused: {why}")),
        );
        Mode::DryRun
    } else {
        scratch::clear(now);
        // Checked here already, because the lock is taken only if it has room.
        if let Some(why) = mount::of(&policy.volume.root)
            .map(|facts| mount::local_locks(&facts))
            .map_err(unusable)?
        {
            return Err(format!("refused to lock the volume: {why}"));
        }
        ballast::drop_when_scarce(&policy.volume.state, &before, stop).map_err(unusable)?;
        let locks = locks(policy);
        let lock = options.shard.map_or_else(
            || LockedVolume::take(&locks, "run", now),
            |it| LockedVolume::take_shard(&locks, it, now),
        );
        let lock = lock.map_err(not_to_be_had)?;
        // The lock's file was written just now.
        if let Some(why) = implausible(policy, options, lock.server_clock()) {
            return Err(why);
        }
        Mode::Apply {
            lock,
            trash: Trash::of(&policy.volume.state).map_err(unusable)?,
        }
    };
    Ok(Begun {
        mode,
        before,
        unmeasured,
        repos,
        io,
    })
}

/// Why this machine's clock is not to be trusted.
fn implausible(
    policy: &Policy,
    options: &Options,
    server: Option<DateTime<Utc>>,
) -> Option<String> {
    let last = journal::last(&journal::file(&policy.volume.state.path()));
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
/// the lines are about what could not be measured.
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
    let told = |problem| format!("{problem}; it counts for nothing against the budget");
    Ok((usage, problems.into_iter().map(told).collect()))
}

fn not_to_be_had(error: LockError) -> String {
    match error {
        LockError::Busy(_) => format!("another run has the volume: {error}; wait for it to end"),
        error => error.to_string(),
    }
}
