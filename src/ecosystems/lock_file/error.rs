//! Why nobody can tell what a lock file names.

use crate::fs::volume_path::Outside;
use rustix::io::Errno;
use std::io;

/// Why nobody can tell what a lock file names.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It holds a zero byte.
    #[error("it is no text")]
    NoText,
    /// What stands there is git-lfs' pointer.
    #[error("git-lfs keeps it elsewhere")]
    Lfs,
    /// This line is no JSON, or of another form. Its text stays out: a repo may have put anything
    /// there.
    #[error("line {0} is no JSON of its form")]
    Json(usize),
    /// It is no TOML, or of another form, in the parser's words.
    #[error("{0}")]
    Toml(String),
    /// A look at a repo takes in no more.
    #[error("more than {0} packages are too many for one night")]
    TooManyNew(usize),
    /// So many packages.
    #[error("it names {0} packages, more than any well-formed one")]
    TooMany(usize),
    /// So many bytes.
    #[error("{0} bytes are more than any well-formed one has")]
    TooLarge(usize),
    /// It can't be read from git.
    #[error("{}", .0.message())]
    Git(#[from] git2::Error),
    /// It can't be read from the disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The index names it outside of the volume.
    #[error("{0}")]
    Outside(#[from] Outside),
}

impl From<Errno> for LockFileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}
