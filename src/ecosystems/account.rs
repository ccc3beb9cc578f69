//! Whose file is it? In the directories that tools make, the tool's own account says which files
//! are its own; every other file is somebody's work
//! (`docs/design/worktrees.md#whose-file-is-it`).
//!
//! What a tool notes is read, and believed about its own directory alone. No account may call a
//! file a tool's only because of where it stands, nor on an error: what no account speaks for is
//! somebody's. `survey/accounts.rs` walks the directories and asks.

use super::directory::{Directory, ends_with};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use std::rc::Rc;

/// A directory that a tool makes in a tree.
pub struct Tool {
    /// What the tool leaves in each of its directories, where they are called as anybody likes;
    /// none where it gives them a name.
    pub(crate) signs: &'static [&'static str],
    /// Whether the directory of that name in `parent` is one, by what stands in it and beside it.
    /// It says no for a link, and on an error.
    pub(crate) made: fn(BorrowedFd<'_>, &str) -> bool,
    /// What it says of the entries, where the directory is one.
    pub(crate) account: fn(&Directory) -> Opinion,
}

/// What a tool says of an entry of one of its directories: a file or a directory, by its name.
pub(crate) type Opinion = Rc<dyn Fn(&Directory, &str, FileType) -> Says>;

/// What a tool says of an entry.
pub(crate) enum Says {
    /// The tool wrote it. Of a directory: also all that is in it.
    Mine,
    /// It is a directory of the tool's, which says the rest of what is in it.
    Below(Opinion),
    /// The tool knows nothing of it.
    Nothing,
}

/// An opinion from a function.
pub(super) fn opinion(says: impl Fn(&Directory, &str, FileType) -> Says + 'static) -> Opinion {
    Rc::new(says)
}

/// One that says only which files are its own, in whatever directories.
pub(super) fn files(mine: impl Fn(&str) -> bool + 'static) -> Opinion {
    fn of(mine: Rc<dyn Fn(&str) -> bool>) -> Opinion {
        opinion(move |_, name, kind| {
            if kind.is_dir() {
                Says::Below(of(mine.clone()))
            } else {
                mine(name).into()
            }
        })
    }
    of(Rc::new(mine))
}

/// One of files with these extensions.
pub(super) fn extensions(all: &'static [&'static str]) -> Opinion {
    files(move |name| ends_with(name, all))
}

impl From<bool> for Says {
    fn from(mine: bool) -> Self {
        if mine { Self::Mine } else { Self::Nothing }
    }
}
