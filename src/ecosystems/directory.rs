//! A directory that a tool created: its entries, and the tool's notes in it.
//!
//! Agents may have written what is read here, so sizes are capped and no link is followed. An
//! unreadable file is not an answer: the latest error is kept in `Trouble` until the whole
//! directory has been walked, and then the owner of every file in it is unknown.

use crate::fs::budget::Reservation;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// The most bytes of a note: ten times the largest lock file seen.
const NOTE_CAP: u64 = 16 << 20;
/// Bytes of memory that a parsed note takes, per byte of its text.
const UNDERSTOOD: usize = 6;
/// Bytes of memory that an entry takes besides its name.
const A_NAME: usize = 48;
/// Any of these in a directory makes it a repo or a worktree.
const REPO: [&str; 3] = [".git", ".hg", ".jj"];

/// A directory and its entries.
pub(crate) struct Directory {
    place: VolumePath,
    folder: OwnedFd,
    entries: Vec<(OsString, FileType)>,
    trouble: Trouble,
    stop: Stop,
    /// The memory that is counted for the entries, and for what was read here.
    held: RefCell<Reservation>,
}

/// The latest error of an account, shared by all directories of a walk.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Rc<Cell<Option<io::Error>>>);

impl Trouble {
    /// Takes the latest error, if there was one.
    ///
    /// # Errors
    /// An account couldn't be read.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        self.0.take().map_or(Ok(()), Err)
    }

    /// Returns what was found, or notes the error. "Not there" and "of another kind" are answers,
    /// not errors.
    fn but<T, E: Into<io::Error>>(&self, found: Result<T, E>) -> Option<T> {
        let answers = [
            Errno::NOENT,
            Errno::NOTDIR,
            Errno::LOOP,
            Errno::ISDIR,
            Errno::NXIO,
            Errno::NAMETOOLONG,
        ];
        found
            .map_err(|error| {
                let error: io::Error = error.into();
                if Errno::from_io_error(&error).is_none_or(|met| !answers.contains(&met)) {
                    self.0.set(Some(error));
                }
            })
            .ok()
    }
}

impl Directory {
    /// Lists a directory, sorted by name.
    pub(crate) fn open(place: &VolumePath, trouble: Trouble, stop: &Stop) -> io::Result<Self> {
        Self::of(place.clone(), openat::dir(place)?, trouble, stop)
    }

    /// Lists a directory in this one.
    pub(crate) fn below(&self, name: &OsStr) -> io::Result<Self> {
        let opened = openat::below(
            &self.folder,
            Path::new(name),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )?;
        Self::of(
            self.place.join(name)?,
            opened,
            self.trouble.clone(),
            &self.stop,
        )
    }

    fn of(place: VolumePath, folder: OwnedFd, trouble: Trouble, stop: &Stop) -> io::Result<Self> {
        let mut held = stop.hold();
        let mut entries = listed(&folder)?;
        entries
            .iter()
            .try_for_each(|(name, _)| held.more(name.len().saturating_add(A_NAME)))?;
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Self {
            place,
            folder,
            entries,
            trouble,
            stop: stop.clone(),
            held: RefCell::new(held),
        })
    }

    /// Returns the directory's place.
    pub(crate) fn place(&self) -> &VolumePath {
        &self.place
    }

    /// Returns when to stop.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Returns the entries, sorted by name.
    pub(crate) fn entries(&self) -> &[(OsString, FileType)] {
        &self.entries
    }

    /// Returns whether it has a file or a directory of that name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let at = self
            .entries
            .binary_search_by(|(entry, _)| entry.as_os_str().cmp(OsStr::new(name)));
        let entry = at.ok().and_then(|at| self.entries.get(at));
        entry.is_some_and(|(_, kind)| matches!(kind, FileType::RegularFile | FileType::Directory))
    }

    /// Returns whether this is a repo or a worktree. A bare repo is recognised by its contents.
    pub(crate) fn is_repo(&self) -> bool {
        let marked = |(name, _): &(OsString, FileType)| {
            REPO.iter().any(|repo| name.eq_ignore_ascii_case(repo))
        };
        self.entries.iter().any(marked)
            || ["HEAD", "objects", "refs"]
                .iter()
                .all(|name| self.holds(name))
    }

    /// Reads a tool's note at a relative path; none if there is no readable one, or a file that is
    /// larger than any note.
    pub(crate) fn note(&self, path: &str) -> Option<Vec<u8>> {
        let file = self
            .trouble
            .but(open(self.folder.as_fd(), Path::new(path)))?;
        let length = self.trouble.but(file.metadata())?.len();
        if length > NOTE_CAP {
            return None;
        }
        let has_room = self.held.borrow_mut().more(
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_mul(UNDERSTOOD),
        );
        self.trouble.but(has_room)?;
        self.trouble.but(openat::content(file, NOTE_CAP))
    }

    /// Opens a file in this directory.
    pub(crate) fn file(&self, name: &str) -> Option<File> {
        self.trouble.but(open(self.folder.as_fd(), Path::new(name)))
    }

    /// Returns what was read from a file in this directory, or notes the error.
    pub(crate) fn read<T>(&self, read: io::Result<T>) -> Option<T> {
        self.trouble.but(read)
    }

    /// Reads a note as text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        String::from_utf8(self.note(path)?).ok()
    }

    /// Returns whether there is a file or a directory at a relative path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.stat(path).is_some_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::RegularFile | FileType::Directory
            )
        })
    }

    /// Returns the names in a directory below this one; none if it can't be listed.
    pub(crate) fn names(&self, path: &str) -> Vec<OsString> {
        let opened = openat::below(
            &self.folder,
            Path::new(path),
            OFlags::RDONLY | OFlags::DIRECTORY,
        );
        let entries = self
            .trouble
            .but(opened.and_then(openat::list))
            .unwrap_or_default();
        entries.into_iter().map(|(name, _)| name).collect()
    }

    /// Returns the metadata at a relative path, without following a link.
    pub(crate) fn stat(&self, path: &str) -> Option<Stat> {
        let opened = openat::below(
            &self.folder,
            Path::new(path),
            OFlags::PATH | OFlags::NOFOLLOW,
        );
        self.trouble.but(opened.and_then(rustix::fs::fstat))
    }

    /// Returns the directories above this one up to the worktree's root, the nearest first.
    pub(crate) fn above(&self) -> Vec<Self> {
        let mut above = Vec::new();
        for path in self
            .place
            .relative()
            .ancestors()
            .skip(1)
            .filter(|path| !path.as_os_str().is_empty())
        {
            let Ok(place) = VolumePath::new(self.place.root(), path) else {
                break;
            };
            let Some(directory) =
                self.trouble
                    .but(Self::open(&place, self.trouble.clone(), &self.stop))
            else {
                break;
            };
            let top = directory.entries.iter().any(|(name, _)| name == ".git");
            above.push(directory);
            if top {
                break;
            }
        }
        above
    }
}

/// Opens the directory of that name; none for a link, and on an error.
pub(crate) fn folder(parent: BorrowedFd<'_>, name: &str) -> Option<OwnedFd> {
    open_directory(parent, OsStr::new(name)).ok()
}

pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Returns whether `directory` contains a file or a directory of any of these names.
pub(crate) fn holds(directory: BorrowedFd<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| {
        let seen = rustix::fs::statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW);
        seen.is_ok_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::RegularFile | FileType::Directory
            )
        })
    })
}

/// Returns whether there is a file or a directory at `path` below `directory`.
pub(crate) fn holds_below(directory: &OwnedFd, path: &str) -> bool {
    let opened = openat::below(directory, Path::new(path), OFlags::PATH | OFlags::NOFOLLOW)
        .and_then(rustix::fs::fstat);
    opened.is_ok_and(|stat| {
        matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Directory
        )
    })
}

/// Returns whether any of `beside` is in `parent`, and any of `inside` in its directory `name`.
pub(crate) fn beside(parent: BorrowedFd<'_>, beside: &[&str], name: &str, inside: &[&str]) -> bool {
    holds(parent, beside)
        && folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), inside))
}

/// Reads a regular file by its path from `parent`.
pub(crate) fn read(parent: BorrowedFd<'_>, path: &Path) -> io::Result<Vec<u8>> {
    openat::content(open(parent, path)?, NOTE_CAP)
}

/// Opens a regular file by its path from `parent`.
pub(crate) fn open(parent: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let file = File::from(openat::below(
        parent,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        // "Of another kind", as the kernel says of a socket.
        Err(Errno::NXIO.into())
    }
}

/// Lists a directory, even if its file system's listings don't show the kinds of entries.
pub(crate) fn listed(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    // With a descriptor of its own: a listing moves the position of its descriptor.
    let mut entries = openat::list(open_directory(folder.as_fd(), OsStr::new("."))?)?;
    for (name, kind) in entries
        .iter_mut()
        .filter(|(_, kind)| *kind == FileType::Unknown)
    {
        *kind = FileType::from_raw_mode(
            rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode,
        );
    }
    Ok(entries)
}

/// Returns whether a name ends in one of these extensions.
pub(crate) fn ends_with(name: &str, extensions: &[&str]) -> bool {
    Path::new(name)
        .extension()
        .and_then(OsStr::to_str)
        .is_some_and(|found| extensions.contains(&found))
}
