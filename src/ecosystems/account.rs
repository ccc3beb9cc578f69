//! A tool's account: which files in the directories that the tool creates are its own. Every other
//! file is somebody's work (`docs/design/worktrees.md#whose-file-is-it`).
//!
//! An account reads the tool's notes, and believes them only about the tool's own directory.
//! Neither its location nor an error makes a file the tool's. `survey/accounts.rs` walks the
//! directories and asks the accounts.

use super::directory::{Directory, ends_with};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use std::rc::Rc;

/// A directory that a tool creates in a tree.
pub struct Tool {
    /// Files that the tool leaves in each of its directories, if people choose the directory's
    /// name; empty if the tool chooses it.
    pub(crate) signs: &'static [&'static str],
    /// Whether the directory of that name in `parent` is the tool's, judged by what is in it and
    /// beside it. False for a link, and on an error.
    pub(crate) made: fn(BorrowedFd<'_>, &str) -> bool,
    /// Returns the opinion on the entries of the tool's directory.
    pub(crate) account: fn(&Directory) -> Opinion,
}

/// A tool's opinion on an entry of one of its directories: a file or a directory, by its name.
pub(crate) type Opinion = Rc<dyn Fn(&Directory, &str, FileType) -> Says>;

/// What a tool says about an entry.
pub(crate) enum Says {
    /// The tool wrote it, and everything in it if it is a directory.
    Mine,
    /// It is one of the tool's directories; the opinion decides on its entries.
    Below(Opinion),
    /// The tool knows nothing about it.
    Nothing,
}

/// Turns a function into an opinion.
pub(super) fn opinion(says: impl Fn(&Directory, &str, FileType) -> Says + 'static) -> Opinion {
    Rc::new(says)
}

/// Returns an opinion that claims files by name, in any directory.
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

/// Returns an opinion that claims files with these extensions.
pub(super) fn extensions(all: &'static [&'static str]) -> Opinion {
    files(move |name| ends_with(name, all))
}

impl From<bool> for Says {
    fn from(mine: bool) -> Self {
        if mine { Self::Mine } else { Self::Nothing }
    }
}
