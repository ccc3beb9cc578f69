//! What a worktree's work is known to be.

use serde::{Deserialize, Serialize};

/// The class of a tree's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Clean, and in the upstream's default branch.
    Landed,
    /// Clean, and every commit is on a branch or a remote.
    Saved,
    /// It contains what nothing else has.
    Unsaved,
    /// Clean, and nothing was ever committed in it: somebody made it to work there.
    Fresh,
}

impl Class {
    /// The name that it has on the wire, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Saved => "saved",
            Self::Unsaved => "unsaved",
            Self::Fresh => "fresh",
        }
    }
}
