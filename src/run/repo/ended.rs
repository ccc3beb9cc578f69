//! Why a pass over a repo ended early, for its row.

use crate::git::shadow::Refusal;
use crate::lock::LockError;
use std::path::Path;

/// Why a pass over a repo ended early.
pub(in crate::run) enum Ended {
    Busy(Option<String>),
    Refused(String),
    Failed(String),
}

impl From<LockError> for Ended {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy(holder) => Self::Busy(holder.as_ref().map(ToString::to_string)),
            error @ LockError::Silent(..) => Self::Busy(Some(error.to_string())),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Ended {
    /// Returns why a repo of the volume at `root` is not maintained.
    pub(super) fn refused(refusal: &Refusal, root: &Path) -> Self {
        let why = refusal.message(root);
        match refusal {
            Refusal::Malformed(_) => Self::Refused(why),
            _ => Self::Failed(why),
        }
    }
}
