//! Opens a path inside the volume for looking.
//!
//! It must never follow a symbolic link and never leave the file system that the root is on: what lies behind a link or on
//! another mount is not the volume's, whatever its path says. The kernel refuses both (`openat2`), so there is no gap
//! between a check and its use.

use crate::inside::Inside;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Opens `place` with `flags`. `ELOOP` is a symbolic link on the way, `EXDEV` another file system.
///
/// # Errors
/// Whatever the kernel says.
pub fn place(place: &Inside, flags: OFlags) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::open(&**place.root(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    below(root, place.relative(), flags)
}

/// Opens `path`, relative to `base`, with `flags`.
///
/// # Errors
/// Whatever the kernel says.
pub fn below(base: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// What a directory lists, without `.` and `..`. The type may be [`FileType::Unknown`]: some file systems don't say.
///
/// # Errors
/// Whatever the kernel says.
pub fn list(directory: OwnedFd) -> Result<Vec<(OsString, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            entries.push((OsString::from_vec(entry.file_name().to_bytes().to_vec()), entry.file_type()));
        }
    }
    Ok(entries)
}

/// Whether a listed name is `.` or `..`, which every listing holds.
pub fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// The cause in words that tell what to do about it.
pub fn cause(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "it is reached through a symbolic link, which is never followed".into(),
        Errno::XDEV => "it lies on another file system than the volume's root".into(),
        other => std::io::Error::from(other).to_string(),
    }
}
