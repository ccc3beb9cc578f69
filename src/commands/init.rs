//! `treewarden init`: prepares a volume, so that runs accept it.

use crate::apply::reserved_space;
use crate::config::policy;
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
