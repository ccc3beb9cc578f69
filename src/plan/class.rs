//! Classes of worktrees, by where else their work is saved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of a tree's work.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Clean, and in the upstream's default branch.
    Landed,
    /// Clean, and every commit is on a branch or a remote.
    Saved,
    /// It contains work that nothing else has.
    Unsaved,
    /// Clean, and nothing was ever committed in it: somebody created it to work there.
    Fresh,
}

impl Class {
    /// Returns its name, which is also the one on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Saved => "saved",
            Self::Unsaved => "unsaved",
            Self::Fresh => "fresh",
        }
    }
}
