//! `treewarden init`: prepares a volume, so that runs accept it. With `--discover` it first looks
//! for [what is there](discover), and writes a config of it.

mod caches;
pub mod discover;
mod names;
mod repos;
mod text;

use crate::apply::reserved_space;
use crate::config::{ConfigError, policy};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::state::outside::{self, OutsideError};
use crate::state::volume::{self, Sentinel, VolumeError};
use crate::survey::discover::standing;
use crate::survey::volume::usage;
use chrono::{DateTime, Utc};
use rayon::ThreadPoolBuildError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a volume was not prepared.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The volume is not what it should be.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// It can't be looked through.
    #[error("failed to look through `{}`: {cause}; name a directory that is there", root.display())]
    Look {
        /// The root.
        root: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// No threads.
    #[error("failed to start threads: {0}; try again")]
    Threads(#[from] ThreadPoolBuildError),
    /// Somebody asked to stop.
    #[error("stopped early: {0}; nothing was changed")]
    Stopped(&'static str),
    /// What was found makes no config.
    #[error("failed to write a config that treewarden would read: {0}; write one by hand")]
    Config(#[from] ConfigError),
}

/// Creates the state directory, its sentinel and the reserved space, unless another volume is
/// inside or around this one.
///
/// # Errors
/// [`InitError`]; a prepared volume is left unchanged.
pub fn init(
    volume: &policy::Volume,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Sentinel, InitError> {
    volume::prove_unprepared(volume)?;
    let found = pool()?.install(|| standing(&volume.root, &[&volume.state], stop, &|| {}));
    let found = found.map_err(|cause| InitError::Look {
        root: volume.root.to_path_buf(),
        cause,
    })?;
    go_on(stop)?;
    prove_alone(volume, &found.states)?;
    Ok(prepare(volume, now)?)
}

/// Does the same without looking for other volumes.
///
/// # Errors
/// As [`init`].
pub fn prepare(volume: &policy::Volume, now: DateTime<Utc>) -> Result<Sentinel, VolumeError> {
    let sentinel = volume::prepare(volume, now)?;
    let taken =
        usage(&volume.root).and_then(|usage| reserved_space::take_on(&volume.state, &usage));
    taken.map_err(|cause| VolumeError::Prepare {
        path: volume.state.path(),
        cause,
    })?;
    Ok(sentinel)
}

fn go_on(stop: &Stop) -> Result<(), InitError> {
    stop.reached()
        .map_or(Ok(()), |why| Err(InitError::Stopped(why)))
}

fn pool() -> Result<rayon::ThreadPool, ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(policy::IO_THREADS)
        .build()
}

/// Proves that no other volume is in this one, given the state directories found there, or around
/// it. A copy of a volume, whose sentinel names another place, is none.
fn prove_alone(volume: &policy::Volume, states: &[PathBuf]) -> Result<(), VolumeError> {
    let root: &Arc<Path> = &volume.root;
    for state in states {
        let Ok(state) = VolumePath::new(root, state) else {
            continue;
        };
        match volume::sentinel(&state).map(|sentinel| sentinel.root) {
            Some(same) if same == **root => return Err(VolumeError::PreparedBy(state)),
            Some(other) if state.path().starts_with(&other) => return Err(nested(other, &state)),
            _ => {}
        }
    }
    for above in root.ancestors().skip(1) {
        let root: &Arc<Path> = &above.into();
        for state in [policy::STATE, policy::STATE_OF_A_HOME].map(Path::new) {
            let state = VolumePath::new(root, state).expect("a fixed name stays inside");
            if volume::sentinel(&state).is_some_and(|sentinel| sentinel.root == above) {
                return Err(nested(above.to_owned(), &state));
            }
        }
    }
    Ok(())
}

fn nested(volume: PathBuf, state: &VolumePath) -> VolumeError {
    VolumeError::Nested {
        volume,
        state: state.path(),
    }
}

/// Prepares a directory outside of the volume, and returns whether that was still to be done.
///
/// # Errors
/// [`OutsideError`].
pub fn init_outside(directory: &policy::Volume, now: DateTime<Utc>) -> Result<bool, OutsideError> {
    match outside::prepare(directory, now) {
        Err(OutsideError::Volume(VolumeError::Prepared(_))) => {
            outside::prove(directory)?;
            return Ok(false);
        }
        prepared => prepared?,
    };
    let taken =
        usage(&directory.root).and_then(|usage| reserved_space::take_on(&directory.state, &usage));
    taken.map_err(|cause| VolumeError::Prepare {
        path: directory.state.path(),
        cause,
    })?;
    Ok(true)
}
