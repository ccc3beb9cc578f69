//! Atomic writes of our own files in the state directory: a crash leaves the old file or the new
//! one, never half of one.
//!
//! Agents can write there too: through a link of either kind in a file's place we would overwrite
//! what it leads to, a FIFO would block for ever, and a directory swapped for a link would lead us
//! out of the volume. So the directory is opened below the volume's root, following no link, and
//! all steps of one change use that descriptor. Only regular files are opened, and a file that a
//! reader may have open is replaced, not changed. Files that the operator names outside of the
//! volume are written by [`outside`].

pub mod outside;

use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode of a new file, before the umask.
const ANYBODY: Mode = Mode::from_raw_mode(0o666);
/// The mode of a draft: whoever can access its directory may read it.
const READABLE: Mode = Mode::from_raw_mode(0o644);
const NO_FILE: &str = "it is no file of its own; remove it";

/// Opens a file of ours with these flags, which may create it but not truncate it: a file is not
/// known to be ours before it is open.
///
/// # Errors
/// `InvalidData` if it is no regular file, has other names, or is reached through a link; or any
/// error of the kernel.
pub fn open(place: &VolumePath, flags: OFlags) -> io::Result<File> {
    debug_assert!(!flags.contains(OFlags::TRUNC), "nobody's file yet");
    let (directory, name) = openat::parent(place).map_err(|error| with_remedy(&error))?;
    let mode = if flags.contains(OFlags::CREATE) {
        ANYBODY
    } else {
        Mode::empty()
    };
    let careful = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat::make(directory, Path::new(name), careful, mode)
        .map_err(|errno| with_remedy(&errno.into()))?;
    own(file.into())
}

/// Reads a file of ours of at most `cap` bytes.
///
/// # Errors
/// As [`open`]; `InvalidData` if it is larger.
pub fn read(place: &VolumePath, cap: u64) -> io::Result<Vec<u8>> {
    openat::content(open(place, OFlags::RDONLY)?, cap)
}

/// Returns the file if it is a regular one with no other name.
fn own(file: File) -> io::Result<File> {
    let seen = file.metadata()?;
    if seen.is_file() && seen.nlink() <= 1 {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, NO_FILE))
    }
}

/// Adds what to do about an error, if something else is in the place of a file of ours.
fn with_remedy(error: &io::Error) -> io::Error {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    match Errno::from_io_error(error) {
        Some(errno @ Errno::LOOP) => invalid(format!("{}; remove the link", openat::cause(errno))),
        Some(errno @ Errno::XDEV) => invalid(openat::cause(errno)),
        // A socket or a FIFO, and a directory.
        Some(Errno::NXIO | Errno::ISDIR) => invalid(NO_FILE.to_owned()),
        Some(errno) => errno.into(),
        None => io::Error::other(error.to_string()),
    }
}

/// Creates a file with these bytes.
///
/// # Errors
/// `AlreadyExists`, or it can't be written and doesn't exist, or it may not survive a crash.
pub fn create(place: &VolumePath, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = holder(place)?;
    let mut draft = Draft::below(directory, READABLE)?;
    draft.file.write_all(bytes)?;
    draft.file.sync_all()?;
    draft.put_where_none_is(name)?;
    let directory = draft.directory.try_clone()?;
    // If it was linked, its other name is removed before the directory is synced.
    drop(draft);
    Ok(rustix::fs::fsync(directory)?)
}

/// Replaces a file by these bytes, or creates it.
///
/// # Errors
/// It can't be written and the old file is unchanged, or the new one may not survive a crash.
pub fn replace(place: &VolumePath, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = holder(place)?;
    let mut draft = Draft::below(directory, READABLE)?;
    draft.file.write_all(bytes)?;
    draft.file.sync_all()?;
    let directory = draft.directory.try_clone()?;
    draft.rename(&directory, name)?;
    Ok(rustix::fs::fsync(directory)?)
}

/// A temporary file to be moved to its place. It is removed on drop, unless it was put there.
#[derive(Debug)]
pub struct Draft {
    directory: OwnedFd,
    /// Random, so that nobody can plant anything at it.
    name: String,
    file: File,
    is_put: bool,
}

impl Draft {
    /// Creates one in a directory on the volume. Anybody may read it.
    ///
    /// # Errors
    /// It can't be created.
    pub fn readable(directory: &VolumePath) -> io::Result<Self> {
        Self::below(
            openat::dir(directory).map_err(|error| with_remedy(&error))?,
            READABLE,
        )
    }

    /// Creates one that only our own user may read.
    ///
    /// # Errors
    /// It can't be created.
    pub fn private(directory: &VolumePath) -> io::Result<Self> {
        let private = Mode::RUSR | Mode::WUSR;
        Self::below(
            openat::dir(directory).map_err(|error| with_remedy(&error))?,
            private,
        )
    }

    fn below(directory: OwnedFd, mode: Mode) -> io::Result<Self> {
        let name = format!(".tmp-{}", uuid::Uuid::new_v4());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = openat::make(&directory, Path::new(&name), flags, mode)?;
        Ok(Self {
            directory,
            name,
            file: file.into(),
            is_put: false,
        })
    }

    /// Returns the file to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Moves it to `place`, over any file there. Doesn't wait for the disk.
    ///
    /// # Errors
    /// It can't be moved, and the old file is unchanged.
    pub fn put(self, place: &VolumePath) -> io::Result<()> {
        let (directory, name) = openat::parent(place).map_err(|error| with_remedy(&error))?;
        self.rename(directory, name)
    }

    /// Does the same, and waits until it is on the disk.
    ///
    /// # Errors
    /// The old file is unchanged, or the new one may not survive a crash.
    pub fn put_durably(self, place: &VolumePath) -> io::Result<()> {
        let (directory, name) = holder(place)?;
        self.file.sync_all()?;
        self.rename(&directory, name)?;
        Ok(rustix::fs::fsync(directory)?)
    }

    fn rename(mut self, directory: impl AsFd, name: &OsStr) -> io::Result<()> {
        rustix::fs::renameat(&self.directory, &self.name, directory, name)
            .map_err(|errno| with_remedy(&errno.into()))?;
        self.is_put = true;
        Ok(())
    }

    fn put_where_none_is(&mut self, name: &OsStr) -> io::Result<()> {
        put_where_none_is(&self.directory, OsStr::new(&self.name), name)?;
        self.is_put = true;
        Ok(())
    }
}

/// Moves a temporary file to a free name. NFS has no rename that spares an existing file, but a
/// link does.
///
/// # Errors
/// It can't be moved, and stays where it is; `AlreadyExists` if the name is taken.
pub fn put_where_none_is(directory: &OwnedFd, draft: &OsStr, name: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(directory, draft, directory, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(directory, draft, directory, name, AtFlags::empty())?;
            remove_draft(directory, draft);
            Ok(())
        }
        moved => Ok(moved?),
    }
}

/// Removes a temporary file of ours that could not be put in its place: nobody else knows it.
pub fn remove_draft(directory: impl AsFd, name: &OsStr) {
    if let Err(error) = rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        tracing::debug!(?name, %error, "failed to remove a temporary file");
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_put {
            remove_draft(&self.directory, OsStr::new(&self.name));
        }
    }
}

/// Returns a file without a name in a directory on the volume. It is gone when it is closed.
///
/// # Errors
/// It can't be created.
pub fn nameless(directory: &VolumePath) -> io::Result<File> {
    let private = Mode::RUSR | Mode::WUSR;
    let directory = openat::dir(directory).map_err(|error| with_remedy(&error))?;
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    match openat::make(&directory, Path::new("."), flags, private) {
        // NFS, among others, doesn't support this.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            Draft::below(directory, private)?.file.try_clone()
        }
        made => Ok(made?.into()),
    }
}

/// Writes `what` as JSON and flushes it: a buffer that is merely dropped hides the error of its
/// last write.
///
/// # Errors
/// Any error of `to`.
pub fn json(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut buffer = io::BufWriter::new(to);
    serde_json::to_writer(&mut buffer, what)?;
    buffer.flush()
}

/// Creates a directory if it is missing; its parents exist.
///
/// # Errors
/// Something else is there, or it can't be created or inspected.
pub fn make_directory(place: &VolumePath) -> io::Result<()> {
    match make_new_directory(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let stat = openat::stat(place).map_err(|error| with_remedy(&error))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                Ok(())
            } else {
                Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("`{place}` is no directory; make it one"),
                ))
            }
        }
        made => made,
    }
}

/// Creates a directory at a free name; its parents exist.
///
/// # Errors
/// `AlreadyExists`, or it can't be created.
pub fn make_new_directory(place: &VolumePath) -> io::Result<()> {
    let (directory, name) = openat::parent(place).map_err(|error| with_remedy(&error))?;
    let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
    Ok(rustix::fs::mkdirat(directory, name, mode)?)
}

/// Waits until the names in the directory that contains `place` are on the disk: a new name is
/// durable only once its directory is.
///
/// # Errors
/// The directory can't be opened or synced.
pub fn sync_directory(place: &VolumePath) -> io::Result<()> {
    Ok(rustix::fs::fsync(holder(place)?.0)?)
}

/// Opens the directory that contains `place`, also to sync it, and returns the name in it.
fn holder(place: &VolumePath) -> io::Result<(OwnedFd, &OsStr)> {
    let (directory, name) = openat::parent(place).map_err(|error| with_remedy(&error))?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    Ok((openat::below(directory, Path::new("."), flags)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::Arc;

    #[test]
    fn a_full_disk_is_told() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(
            json(&mut full, &"short").unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }

    #[test]
    fn only_a_file_of_its_own_is_opened() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        let at = |name: &str| top.path().join(name);
        let place = |name: &str| VolumePath::new(&root, Path::new(name)).unwrap();
        fs::write(at("victim"), "precious").unwrap();
        fs::hard_link(at("victim"), at("hard")).unwrap();
        std::os::unix::fs::symlink("victim", at("soft")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("loose")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("folder", at("detour")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["hard", "soft", "loose", "folder", "fifo", "detour/new"] {
            for flags in [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR] {
                let opened = open(&place(name), flags | OFlags::CREATE);
                let error = opened.unwrap_err().to_string();
                assert!(error.contains("; remove "), "{name}: {error}");
            }
            let made = create(&place(name), b"new").unwrap_err();
            let expected = match name {
                "detour/new" => io::ErrorKind::InvalidData,
                _ => io::ErrorKind::AlreadyExists,
            };
            assert_eq!(made.kind(), expected, "{name}");
        }
        assert!(!at("nowhere").exists());
        assert_eq!(
            make_directory(&place("soft")).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(make_directory(&place("detour/new")).is_err());
        assert!(nameless(&place("detour")).is_err() && Draft::readable(&place("detour")).is_err());
        make_directory(&place("folder")).unwrap();
        // A file that has another name elsewhere is replaced, not overwritten.
        replace(&place("hard"), b"new").unwrap();
        replace(&place("soft"), b"new").unwrap();
        assert_eq!(
            [at("victim"), at("hard"), at("soft")].map(|path| fs::read_to_string(path).unwrap()),
            ["precious", "new", "new"]
        );
        // Only a file is replaced by one.
        let refused = replace(&place("folder"), b"new").unwrap_err().to_string();
        assert!(refused.contains("; remove it"), "{refused}");
        create(&place("folder/new"), b"new").unwrap();
        assert_eq!(read(&place("folder/new"), 3).unwrap(), b"new");
        assert!(read(&place("folder/new"), 2).is_err());
        drop(nameless(&place("folder")).unwrap());
        assert_eq!(
            [top.path(), &at("folder")].map(|directory| fs::read_dir(directory).unwrap().count()),
            [7, 1],
            "no draft is left"
        );
    }
}
