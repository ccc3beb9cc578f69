//! Whether a run changes anything.

use crate::apply::trash::Trash;
use crate::lock::LockedVolume;

/// A dry run has neither a lock nor a trash, so it can only look.
pub enum Mode {
    /// It tells what would be done.
    DryRun,
    /// It holds the volume's lock, and has a trash to put things in.
    Apply {
        /// The volume's lock.
        lock: LockedVolume,
        /// Where trees and cache entries go.
        trash: Trash,
    },
}

impl Mode {
    /// The trash, where things may go.
    pub fn trash(&self) -> Option<&Trash> {
        match self {
            Self::DryRun => None,
            Self::Apply { trash, .. } => Some(trash),
        }
    }
}
