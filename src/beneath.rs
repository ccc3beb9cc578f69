//! Opening what lies inside the volume, without ever being led out of it.
//!
//! Every path is resolved by the kernel from a descriptor of the root (`openat2`), so a link planted anywhere on the way is an error
//! (`ELOOP`), not a detour, and so is another file system (`EXDEV`): nothing could be renamed from there into the trash. Files are opened without blocking and must be regular: a
//! FIFO where a file is expected must never hang a night.

use crate::inside::Inside;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
use std::collections::HashSet;
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// Opens the volume's root itself, which is the operator's and may be reached by a link.
///
/// # Errors
/// Whatever `open` says.
pub fn root(root: &Path) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::open(root, DIRECTORY, Mode::empty()))?)
}

/// Opens a folder inside the volume.
///
/// # Errors
/// `ELOOP` for a link on the way, `EXDEV` for a way out, or whatever `openat2` says.
pub fn dir(place: &Inside) -> io::Result<OwnedFd> {
    Ok(open(place, DIRECTORY)?)
}

/// Opens the folder that holds `place` as a place only, and gives its name there: what `renameat` and `unlinkat` want. It can't be listed or
/// synced by that, and the file server isn't asked to open it.
///
/// # Errors
/// As [`dir`].
pub fn parent(place: &Inside) -> io::Result<(OwnedFd, &OsStr)> {
    let name = place.relative().file_name().expect("an Inside is never empty and never ends in ..");
    let folder = place.relative().parent().filter(|path| !path.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let root = || retry_on_intr(|| rustix::fs::open(&**place.root(), flags | OFlags::CLOEXEC, Mode::empty()));
    let fd = folder.map_or_else(root, |folder| below(root()?, folder, flags))?;
    Ok((fd, name))
}

/// Reads a regular file of at most `cap` bytes.
///
/// # Errors
/// As [`dir`]; `InvalidData` when it is no regular file or larger than `cap`.
pub fn read(place: &Inside, cap: u64) -> io::Result<Vec<u8>> {
    let file = file(place)?;
    let length = file.metadata()?.len();
    if length > cap {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are more than the {cap} expected here")));
    }
    let mut bytes = Vec::new();
    file.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`dir`]; `InvalidData` when it is no regular file.
pub fn file(place: &Inside) -> io::Result<File> {
    let file = File::from(open(place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")) }
}

/// Looks at what stands at `place` itself, without following it.
///
/// # Errors
/// As [`dir`]; `NotFound` when nothing stands there.
pub fn stat(place: &Inside) -> io::Result<rustix::fs::Stat> {
    let (parent, name) = parent(place)?;
    Ok(rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens `place` with `flags`.
///
/// # Errors
/// `ELOOP` is a symbolic link on the way, `EXDEV` a way out or another file system.
pub fn open(place: &Inside, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags_of_root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = retry_on_intr(|| rustix::fs::open(&**place.root(), flags_of_root, Mode::empty()))?;
    below(root, place.relative(), flags)
}

/// Opens `path`, relative to `base`, with `flags`.
///
/// # Errors
/// Whatever the kernel says.
pub fn below(base: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    retry_on_intr(|| rustix::fs::openat2(base.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
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

/// The names that a folder inside the volume lists: one round trip tells what is there, where asking for each name would cost one a name.
///
/// # Errors
/// As [`dir`], or whatever the kernel says of the listing.
pub fn names(place: &Inside) -> io::Result<HashSet<OsString>> {
    Ok(list(dir(place)?)?.into_iter().map(|(name, _)| name).collect())
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

/// The same answer with "nothing there" as none, not as an error.
///
/// # Errors
/// All but `NotFound`.
pub fn found<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_or_a_fifo_on_the_way_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("real")).unwrap();
        std::fs::write(top.path().join("real/file"), "x").unwrap();
        symlink("real", top.path().join("link")).unwrap();
        symlink("file", top.path().join("real/alias")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, top.path().join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let root = std::sync::Arc::from(top.path());
        let at = |path: &str| Inside::new(&root, Path::new(path)).unwrap();

        assert_eq!(read(&at("real/file"), 10).unwrap(), b"x");
        assert!(dir(&at("link")).is_err());
        assert!(read(&at("link/file"), 10).is_err());
        assert!(read(&at("real/alias"), 10).is_err());
        assert_eq!(read(&at("fifo"), 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&at("real"), 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(found(read(&at("none"), 10)).unwrap().is_none());
        assert_eq!(parent(&at("real/alias")).unwrap().1, "alias");
        assert!(stat(&at("real/alias")).is_ok());
    }
}
