//! Why it is unknown which packages a lock file names.

use crate::fs::volume_path::Outside;
use rustix::io::Errno;
use std::io;

/// Why it is unknown which packages a lock file names.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It contains a zero byte.
    #[error("it contains a zero byte")]
    NoText,
    /// It is a pointer of git-lfs.
    #[error("it is a git-lfs pointer")]
    Lfs,
    /// This line is not JSON, or not of the expected form. Its text isn't quoted: a repo may have
    /// put anything there.
    #[error("line {0} is no JSON of its form")]
    Json(usize),
    /// This line is not TOML, or not of the expected form. Its text isn't quoted either.
    #[error("line {0} is no TOML of its form")]
    Toml(usize),
    /// The survey of a repo takes in no more new packages than this.
    #[error("more than {0} packages are too many for one run")]
    TooManyNew(usize),
    /// It names this many packages, too many.
    #[error("it names {0} packages, more than any well-formed one")]
    TooMany(usize),
    /// It has this many bytes, too many.
    #[error("{0} bytes are more than any well-formed one has")]
    TooLarge(usize),
    /// It can't be read from git.
    #[error("{}", .0.message())]
    Git(#[from] git2::Error),
    /// It can't be read from the disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The index gives it a path outside the volume.
    #[error("{0}")]
    Outside(#[from] Outside),
}

impl From<Errno> for LockFileError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}
