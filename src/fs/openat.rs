//! Opens what is inside the volume, without ever being led out of it.
//!
//! The kernel resolves every path from a descriptor of the root (`openat2`), so a link planted
//! anywhere on the way is an error (`ELOOP`), and so is another file system (`EXDEV`): nothing
//! could be renamed from there into the trash. Files are opened without blocking and must be
//! regular: a FIFO in place of a file would hang a run.

use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
use std::collections::HashSet;
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::SystemTime;

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);
/// Bytes of all names in a directory that is [`Listed`]: git writes some thirty names there.
const LISTED: usize = 1 << 20;
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens the volume's root itself, which is the operator's and may be reached through a link.
///
/// # Errors
/// Any error of `open`.
pub fn root(root: &Path) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| {
        rustix::fs::open(root, DIRECTORY, Mode::empty())
    })?)
}

/// Opens a directory inside the volume.
///
/// # Errors
/// `ELOOP` for a link on the way, `EXDEV` for a way out, or any error of `openat2`.
pub fn dir(place: &VolumePath) -> io::Result<OwnedFd> {
    Ok(open(place, DIRECTORY)?)
}

/// Opens the directory that contains `place`, and returns the name in it, as `renameat` and
/// `unlinkat` need them. The descriptor can't be listed or synced, and the file server isn't asked
/// to open it.
///
/// # Errors
/// As [`dir`].
pub fn parent(place: &VolumePath) -> io::Result<(OwnedFd, &OsStr)> {
    let name = place
        .relative()
        .file_name()
        .expect("a VolumePath is never empty and never ends in ..");
    let folder = place
        .relative()
        .parent()
        .filter(|path| !path.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let root = || {
        retry_on_intr(|| rustix::fs::open(&**place.root(), flags | OFlags::CLOEXEC, Mode::empty()))
    };
    let fd = folder.map_or_else(root, |folder| below(root()?, folder, flags))?;
    Ok((fd, name))
}

/// Reads a regular file of at most `cap` bytes.
///
/// # Errors
/// As [`dir`]; `InvalidData` if it is no regular file or larger than `cap`.
pub fn read(place: &VolumePath, cap: u64) -> io::Result<Vec<u8>> {
    content(file(place)?, cap)
}

/// Reads an open file of at most `cap` bytes.
///
/// # Errors
/// `InvalidData` if it is larger.
pub fn content(file: File, cap: u64) -> io::Result<Vec<u8>> {
    let fits = |length: u64| {
        if length <= cap {
            return Ok(length);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes are more than the {cap} expected here"),
        ))
    };
    let length = fits(file.metadata()?.len())?;
    // One byte more than needed, so that the second read finds the end and the buffer needn't grow.
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(
        usize::try_from(length)
            .unwrap_or_default()
            .saturating_add(1),
    )?;
    // It may have grown meanwhile.
    file.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
    fits(bytes.len() as u64)?;
    Ok(bytes)
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`dir`]; `InvalidData` if it is no regular file.
pub fn file(place: &VolumePath) -> io::Result<File> {
    regular(open(place, FILE)?)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ))
    }
}

/// Returns the metadata of `place` itself, without following it.
///
/// # Errors
/// As [`dir`]; `NotFound` if nothing is there.
pub fn stat(place: &VolumePath) -> io::Result<rustix::fs::Stat> {
    let (parent, name) = parent(place)?;
    Ok(rustix::fs::statat(
        &parent,
        name,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Opens `place` with `flags`.
///
/// # Errors
/// `ELOOP` for a symbolic link on the way, `EXDEV` for a way out or another file system.
pub fn open(place: &VolumePath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags_of_root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = retry_on_intr(|| rustix::fs::open(&**place.root(), flags_of_root, Mode::empty()))?;
    below(root, place.relative(), flags)
}

/// Opens `path`, relative to `base`, with `flags`.
///
/// # Errors
/// Any error of the kernel.
pub fn below(base: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = |flags| make(&base, path, flags, Mode::empty());
    // Listing and reading must not change access times: a local disk would write each change.
    if flags.contains(OFlags::PATH) {
        return open(flags);
    }
    match open(flags | OFlags::NOATIME) {
        // Another user's file, or a file system without that flag.
        Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => open(flags),
        opened => opened,
    }
}

/// Does the same for writing. A file that the flags create gets `mode`, which is empty if they
/// create none.
///
/// # Errors
/// Any error of the kernel.
pub fn make(base: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat2(base.as_fd(), path, flags, mode, resolve))
}

/// Returns a directory's entries, without `.` and `..`. The type may be [`FileType::Unknown`]: some
/// file systems don't report it.
///
/// # Errors
/// Any error of the kernel.
pub fn list(directory: OwnedFd) -> Result<Vec<(OsString, FileType)>, Errno> {
    entries(&mut Dir::new(directory)?)
}

fn entries(directory: &mut Dir) -> Result<Vec<(OsString, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in directory {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            entries.push((
                OsString::from_vec(entry.file_name().to_bytes().to_vec()),
                entry.file_type(),
            ));
        }
    }
    Ok(entries)
}

/// A directory inside the volume, open and listed. One round trip shows what is there, instead of
/// one per name, and its entries are opened from here, not from the root again.
pub struct Listed {
    folder: Dir,
    names: HashSet<OsString>,
}

impl Listed {
    /// Opens and lists it.
    ///
    /// # Errors
    /// As [`dir`], or any error of the listing.
    pub fn of(place: &VolumePath) -> io::Result<Self> {
        let mut folder = Dir::new(dir(place)?)?;
        let mut names = HashSet::new();
        let mut left = LISTED;
        for entry in &mut folder {
            let entry = entry?;
            let name = entry.file_name();
            if !is_dots(name) {
                let too_many = || {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("`{place}` lists more files than any well-formed one"),
                    )
                };
                left = left
                    .checked_sub(name.to_bytes().len())
                    .ok_or_else(too_many)?;
                names.insert(OsString::from_vec(name.to_bytes().to_vec()));
            }
        }
        Ok(Self { folder, names })
    }

    /// Returns the names in it, in no order.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.names.iter().map(OsString::as_os_str)
    }

    /// Returns whether it lists `name`, or the directory that a path below it begins with.
    pub fn holds(&self, name: &str) -> bool {
        self.names
            .contains(OsStr::new(name.split('/').next().unwrap_or(name)))
    }

    /// Returns an entry's metadata, without following it; none if it isn't listed.
    ///
    /// # Errors
    /// Any error of the kernel.
    pub fn stat(&self, name: &str) -> io::Result<Option<rustix::fs::Stat>> {
        debug_assert!(!name.contains('/'), "a link on the way would be followed");
        if !self.holds(name) {
            return Ok(None);
        }
        self.stat_of(OsStr::new(name))
    }

    /// Returns the metadata of one of its names, without following it; none if it is gone.
    ///
    /// # Errors
    /// Any error of the kernel.
    pub fn stat_of(&self, name: &OsStr) -> io::Result<Option<rustix::fs::Stat>> {
        found(
            rustix::fs::statat(
                self.folder.fd()?,
                name,
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(io::Error::from),
        )
    }

    /// Opens the regular file at a path below it; none if it isn't listed.
    ///
    /// # Errors
    /// As [`file()`].
    pub fn file(&self, path: &str) -> io::Result<Option<File>> {
        if !self.holds(path) {
            return Ok(None);
        }
        found(self.open(path))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        regular(below(self.folder.fd()?, Path::new(path), FILE)?)
    }

    /// Reads the regular file at a path below it, of at most `cap` bytes; none if it isn't listed.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self, path: &str, cap: u64) -> io::Result<Option<Vec<u8>>> {
        self.file(path)?.map(|file| content(file, cap)).transpose()
    }

    /// Does the same for a file that should exist, listed or not: a listing may miss a file that is
    /// renamed meanwhile.
    ///
    /// # Errors
    /// As [`read`].
    pub fn insist(&self, path: &str, cap: u64) -> io::Result<Option<Vec<u8>>> {
        found(self.open(path).and_then(|file| content(file, cap)))
    }
}

/// Converts a file's time, which may be out of range.
pub fn time(stamp: SystemTime) -> DateTime<Utc> {
    let (seconds, nanos) = match stamp.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).ok(), since.subsec_nanos()),
        // A second is exact enough before the epoch.
        Err(before) => (
            i64::try_from(before.duration().as_secs())
                .ok()
                .and_then(i64::checked_neg),
            0,
        ),
    };
    let far = if stamp < SystemTime::UNIX_EPOCH {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    };
    seconds
        .and_then(|seconds| DateTime::from_timestamp(seconds, nanos))
        .unwrap_or(far)
}

/// Returns whether a listed name is `.` or `..`, which every listing contains.
pub fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// Returns an error's cause in words for people.
pub fn cause(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "it is reached through a symbolic link, which is never followed".into(),
        Errno::XDEV => "it lies on another file system than the volume's root".into(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// Turns "not found" from an error into none.
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
        rustix::fs::mknodat(
            rustix::fs::CWD,
            top.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let root = std::sync::Arc::from(top.path());
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();

        assert_eq!(read(&at("real/file"), 10).unwrap(), b"x");
        assert!(dir(&at("link")).is_err());
        assert!(read(&at("link/file"), 10).is_err());
        assert!(read(&at("real/alias"), 10).is_err());
        assert_eq!(
            read(&at("fifo"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            read(&at("real"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(found(read(&at("none"), 10)).unwrap().is_none());
        assert_eq!(parent(&at("real/alias")).unwrap().1, "alias");
        assert!(stat(&at("real/alias")).is_ok());
    }

    #[test]
    fn a_file_that_grows_past_its_cap_is_refused() {
        // Files of procfs are empty until they are read.
        let grown = File::open("/proc/self/status").unwrap();
        let error = content(grown, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_look_moves_no_access_time() {
        let top = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::create_dir(top.path().join("folder")).unwrap();
        std::fs::write(top.path().join("folder/file"), "x").unwrap();
        for path in ["folder", "folder/file"] {
            File::open(top.path().join(path))
                .unwrap()
                .set_times(std::fs::FileTimes::new().set_accessed(old))
                .unwrap();
        }
        let root = std::sync::Arc::from(top.path());
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        let listed = Listed::of(&at("folder")).unwrap();

        assert_eq!(listed.read("file", 10).unwrap().unwrap(), b"x");
        assert_eq!(read(&at("folder/file"), 10).unwrap(), b"x");
        assert!(
            !listed.holds("other")
                && listed.read("other", 10).unwrap().is_none()
                && listed.stat("other").unwrap().is_none()
        );
        for path in ["folder", "folder/file"] {
            assert_eq!(
                std::fs::metadata(top.path().join(path))
                    .unwrap()
                    .accessed()
                    .unwrap(),
                old,
                "{path}"
            );
        }
    }

    #[test]
    fn any_time_of_a_file_is_one() {
        use std::time::Duration;
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 62);
        let long_ago = SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 62);
        assert_eq!(
            (time(far), time(long_ago)),
            (DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC)
        );
        assert_eq!(crate::fs::clock::of_server(far), DateTime::<Utc>::MAX_UTC);
        let plain = SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 5);
        assert_eq!(
            time(plain),
            DateTime::from_timestamp(1_800_000_000, 5).unwrap()
        );
        assert_eq!(
            time(SystemTime::UNIX_EPOCH - Duration::from_secs(5)),
            DateTime::from_timestamp(-5, 0).unwrap()
        );
    }
}
