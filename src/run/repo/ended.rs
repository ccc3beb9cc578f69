//! Why a pass over a repo ended early, for its row.

use crate::git::shadow::Refusal;
use crate::lock::LockError;

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

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Odd(why) => Self::Refused(why),
            refusal => Self::Failed(refusal.to_string()),
        }
    }
}
