//! How a file differs from what HEAD would bring back.

use std::fmt;

/// How a file differs. If it differs in several ways, the first in this order is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::survey) enum Change {
    /// Another mode.
    Mode,
    /// It is missing from the tree.
    Deleted,
    /// Other content.
    Modified,
    /// It is in the registration, but git didn't put it there.
    NotGits,
    /// The index differs from HEAD.
    Staged,
    /// HEAD doesn't have it.
    Untracked,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mode => "has another mode",
            Self::Deleted => "is deleted",
            Self::Modified => "is modified",
            Self::NotGits => "was not written by git",
            Self::Staged => "is staged",
            Self::Untracked => "is untracked",
        })
    }
}
