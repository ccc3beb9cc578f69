//! The mode of a run: whether it changes anything.

use crate::apply::trash::Trash;
use crate::lock::LockedVolume;

/// The mode of a run. A dry run has neither a lock nor a trash, so it can't change anything.
pub enum Mode {
    /// It reports what would be done.
    DryRun,
    /// It holds the volume's lock, and has a trash to put things in.
    Apply {
        /// The volume's lock.
        lock: LockedVolume,
        /// Where trees and cache units are moved.
        trash: Trash,
    },
}

impl Mode {
    /// Returns the trash, unless it is a dry run.
    pub fn trash(&self) -> Option<&Trash> {
        match self {
            Self::DryRun => None,
            Self::Apply { trash, .. } => Some(trash),
        }
    }
}
