//! `treewarden init`: prepares a volume, or the directories of caches outside of it, so that runs
//! accept them.

use crate::apply::reserved_space;
use crate::config::policy;
use crate::state::outside::{self, OutsideError};
use crate::state::volume::{self, Sentinel, VolumeError};
use crate::survey::volume::usage;
use chrono::{DateTime, Utc};

/// Creates the state directory, its sentinel and the reserved space.
///
/// # Errors
/// [`VolumeError`]; a prepared volume is left unchanged.
pub fn init(volume: &policy::Volume, now: DateTime<Utc>) -> Result<Sentinel, VolumeError> {
    let sentinel = volume::prepare(volume, now)?;
    let taken =
        usage(&volume.root).and_then(|usage| reserved_space::take_on(&volume.state, &usage));
    taken.map_err(|cause| VolumeError::Prepare {
        path: volume.state.path(),
        cause,
    })?;
    Ok(sentinel)
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
