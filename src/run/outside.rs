//! Caches outside of the volume: each directory that some stand in is proven, locked and measured
//! by itself, and its trash is emptied, before anything is evicted there.
//!
//! What can't be proven is left alone, and a line says why. It is no failure: a disk may be away.
//! If a proven one can't be locked or emptied, it is.

use super::begin;
use super::context::RunContext;
use super::mode::Mode;
use super::reckoned::free;
use crate::apply::reserved_space;
use crate::apply::trash::{self, Emptied, Trash};
use crate::config::policy::{self, Volume};
use crate::facts::volume::Usage;
use crate::lock::{LockError, LockedVolume};
use crate::report::RunReport;
use crate::state::outside::{self, OutsideError};
use crate::survey;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A directory outside of the volume, proven, and locked unless it is a dry run.
pub(super) struct Outside {
    /// Its root and its state directory.
    pub(super) volume: Volume,
    /// Its lock and its trash.
    pub(super) mode: Mode,
    /// The file system that it is on.
    pub(super) device: u64,
    /// The usage of that file system, once the trash is empty.
    pub(super) usage: Usage,
}

/// What is known of all of them.
#[derive(Default)]
pub(super) struct Outsides {
    /// Those where something may be evicted.
    pub(super) proven: Vec<Outside>,
    /// The caches in them that are there.
    pub(super) caches: Vec<policy::Cache>,
    /// Why nothing is evicted from the others.
    pub(super) stay: Vec<String>,
}

/// Why nothing is evicted there.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Place(#[from] OutsideError),
    #[error("{0}")]
    Locks(#[from] crate::fs::mount::MountTrouble),
    #[error("another run evicts there")]
    Busy,
    #[error(transparent)]
    Lock(LockError),
    #[error("failed to use `{}`: {cause}", root.display())]
    Io { root: Arc<Path>, cause: io::Error },
}

/// Returns the file system of a directory.
pub(super) fn device(root: &Path) -> io::Result<u64> {
    Ok(rustix::fs::stat(root)?.st_dev)
}

/// Proves and locks all of them, and empties their trash.
pub(super) fn enter(context: &RunContext<'_>, report: &mut RunReport) -> Outsides {
    let mut all = Outsides::default();
    for volume in context.policy.outside() {
        let caches = || {
            let there = |cache: &&policy::Cache| cache.outside.as_ref() == Some(volume);
            context.policy.caches.iter().filter(there)
        };
        match enter_one(context, volume, report) {
            Ok(outside) => all.proven.push(outside),
            // The disk is there, and yet nothing can be evicted.
            Err(why @ (Refusal::Lock(_) | Refusal::Io { .. })) => {
                report.failures.push(format!(
                    "failed to evict below `{}`: {why}",
                    volume.root.display()
                ));
                continue;
            }
            Err(why) => {
                let stays = |cache: &policy::Cache| format!("{}: {why}; it stays", cache.name);
                all.stay.extend(caches().map(stays));
                continue;
            }
        }
        for cache in caches() {
            let proven = cache
                .place
                .as_ref()
                .map(|place| outside::prove_cache(place, &context.policy.volume.root));
            match proven {
                Some(Err(why)) => all.stay.push(format!("{}: {why}; it stays", cache.name)),
                _ => all.caches.push(cache.clone()),
            }
        }
    }
    all
}

fn enter_one(
    context: &RunContext<'_>,
    volume: &Volume,
    report: &mut RunReport,
) -> Result<Outside, Refusal> {
    let unusable = |cause| Refusal::Io {
        root: volume.root.clone(),
        cause,
    };
    outside::prove(volume)?;
    let device = device(&volume.root).map_err(unusable)?;
    let mut usage = survey::volume::usage(&volume.root).map_err(unusable)?;
    let mode = match context.mode {
        Mode::DryRun => Mode::DryRun,
        Mode::Apply { .. } => lock(context, volume, &usage)?,
    };
    let emptied = empty_trash(context, volume, &mode).map_err(unusable)?;
    report.failures.extend(emptied.left.iter().map(|left| {
        format!(
            "failed to empty the trash in `{}`: {left}; the next run tries again",
            volume.state
        )
    }));
    free(&mut usage, emptied.freed);
    Ok(Outside {
        volume: volume.clone(),
        mode,
        device,
        usage,
    })
}

fn lock(context: &RunContext<'_>, volume: &Volume, usage: &Usage) -> Result<Mode, Refusal> {
    let unusable = |cause| Refusal::Io {
        root: volume.root.clone(),
        cause,
    };
    begin::refuse_local_locks(&volume.root).map_err(unusable)??;
    reserved_space::drop_when_scarce(&volume.state, usage, context.stop).map_err(unusable)?;
    let lock =
        LockedVolume::take(&volume.locks(), "run", context.now).map_err(|error| match error {
            LockError::Busy(_) => Refusal::Busy,
            error => Refusal::Lock(error),
        })?;
    let trash = Trash::of(&volume.state).map_err(unusable)?;
    Ok(Mode::Apply { lock, trash })
}

/// Empties the trash of what killed runs left there. A dry run measures it.
fn empty_trash(context: &RunContext<'_>, volume: &Volume, mode: &Mode) -> io::Result<Emptied> {
    if let Some(trash) = mode.trash() {
        return context.io.install(|| trash.empty(context.stop));
    }
    let waiting = trash::waiting(&volume.state)?;
    let freed = context
        .io
        .install(|| survey::size::size(&waiting, context.stop))?;
    Ok(Emptied {
        freed,
        left: Vec::new(),
    })
}

/// Reserves space again, where there is room.
pub(super) fn leave(outsides: &[Outside]) {
    for outside in outsides.iter().filter(|it| it.mode.trash().is_some()) {
        let taken = survey::volume::usage(&outside.volume.root)
            .and_then(|usage| reserved_space::take_on(&outside.volume.state, &usage));
        if let Err(error) = taken {
            tracing::warn!(%error, "failed to reserve space; the next run tries again");
        }
    }
}
