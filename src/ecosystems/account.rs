//! The account of a tool: which files in the directories that it makes are its own. Every other
//! file is somebody's work (`docs/design/worktrees.md#whose-file-is-it`).
//!
//! An account reads the tool's notes, and believes them only about the tool's own directory. A file
//! is not a tool's merely because of where it stands, nor because of an error. `survey/accounts.rs`
//! walks the directories and asks.

use super::directory::{Directory, ends_with};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use std::rc::Rc;

/// A directory that a tool makes in a tree.
pub struct Tool {
    /// Files that the tool leaves in each of its directories, if the directory's name is free;
    /// empty if the tool gives it a name.
    pub(crate) signs: &'static [&'static str],
    /// Whether the directory of that name in `parent` is one, judged by what is in it and beside
    /// it. False for a link and on an error.
    pub(crate) made: fn(BorrowedFd<'_>, &str) -> bool,
    /// Returns the opinion on the entries of such a directory.
    pub(crate) account: fn(&Directory) -> Opinion,
}

/// A tool's opinion on an entry of one of its directories: a file or a directory, by its name.
pub(crate) type Opinion = Rc<dyn Fn(&Directory, &str, FileType) -> Says>;

/// What a tool says about an entry.
pub(crate) enum Says {
    /// The tool wrote it. For a directory: everything in it, too.
    Mine,
    /// It is one of the tool's directories; the opinion decides on its entries.
    Below(Opinion),
    /// The tool knows nothing about it.
    Nothing,
}

/// Makes an opinion of a function.
pub(super) fn opinion(says: impl Fn(&Directory, &str, FileType) -> Says + 'static) -> Opinion {
    Rc::new(says)
}

/// An opinion that claims files by name, in whatever directory.
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

/// An opinion that claims files with these extensions.
pub(super) fn extensions(all: &'static [&'static str]) -> Opinion {
    files(move |name| ends_with(name, all))
}

impl From<bool> for Says {
    fn from(mine: bool) -> Self {
        if mine { Self::Mine } else { Self::Nothing }
    }
}
