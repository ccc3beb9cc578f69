//! The last use of a unit: inspected by the survey, and once more just before the unit is evicted.
//!
//! It is the newest of write time and access time. An access time counts only for files (listing a
//! directory moves its own, so our survey would keep it young for ever), only if the mount keeps
//! it, and only if it is newer than the write time. A directory shows little by itself, so a
//! bounded number of its entries is inspected. A failed stat is an error, and the unit stays.
//!
//! Linux mounts with `relatime` by default: a read moves an access time only if it is not newer
//! than the last write or change, or over 24 h old. So a file that is read every hour may look like
//! one that was last read, or written, yesterday. Whether the mount does better (`strictatime`)
//! makes too little difference to find out, so an access time must show a day more
//! (`Use::must_show`). Eviction orders by the times as seen (`docs/design/caches.md#last-use`).
//!
//! Each tool says in its [`LastUse`] what else shows use.

use crate::facts::cache::{Size, UsedFrom};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, OFlags, RawDir, StatVfsMountFlags, Statx, StatxFlags, StatxTimestamp,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The most entries inspected in one directory unit: enough for a wheel or a model, and one or two
/// round trips on a network mount.
const LOOK: usize = 100;

/// Of these, entries checked for hard links: a tool links all that it unpacked, or nothing.
const LINKS: usize = 20;

/// Bytes of a listing that are read at once: several hundred names. The buffer is on the stack,
/// because there may be a million directories to list.
const BUFFER: usize = 16 << 10;

/// Levels that are inspected: a Hugging Face model keeps its files at the second level.
const DEPTH: usize = 3;

/// A sign of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The time.
    pub at: DateTime<Utc>,
    /// The kind of the sign.
    pub from: UsedFrom,
}

/// How the last use of a kind's units is found.
#[derive(Clone, Copy)]
pub struct LastUse {
    /// Returns the newest sign of use of one path of a unit.
    pub of: fn(&LastUseProbe, &UnitPath<'_>) -> io::Result<Use>,
    /// How many of a unit's paths are inspected. If a unit has many, the first ones show as much.
    pub telling: usize,
}

impl LastUse {
    /// Inspects a file's write and access times; of a directory, the newest of its first entries, a
    /// few levels down.
    pub const ENTRIES: Self = Self::of(|probe, path| probe.entries(path, probe.access_times));

    /// Inspects all paths with `of`.
    pub const fn of(of: fn(&LastUseProbe, &UnitPath<'_>) -> io::Result<Use>) -> Self {
        Self {
            of,
            telling: usize::MAX,
        }
    }
}

/// A path of a unit, with its metadata.
pub struct UnitPath<'a> {
    /// The place.
    pub place: &'a VolumePath,
    /// The metadata.
    pub seen: Seen,
}

/// The metadata of a file or a directory.
pub struct Seen(Statx);

impl UnitPath<'_> {
    /// Returns whether it is a directory of that name, or below one.
    pub fn is_below(&self, name: &str) -> bool {
        self.place.relative().iter().any(|part| part == name)
    }
}

impl Seen {
    /// Returns the write time, or a file's access time if that is newer and `access_times` is set.
    ///
    /// # Errors
    /// It is out of range.
    pub fn times(&self, access_times: bool) -> io::Result<Use> {
        times(&self.0, access_times)
    }

    /// Returns the change time: adding or removing a hard link moves it.
    ///
    /// # Errors
    /// It is out of range.
    pub fn link_time(&self) -> io::Result<Use> {
        Ok(Use {
            at: moment(self.0.stx_ctime)?,
            from: UsedFrom::LinkTime,
        })
    }
}

/// How long `relatime` leaves an access time unchanged.
const STALE: Duration = Duration::from_hours(24);

impl Use {
    /// Returns how long ago the use must seem to be for the unit to count as unused for `min_age`.
    /// Zero if any age is enough.
    pub(super) fn must_show(&self, min_age: Duration) -> Duration {
        let may_be_stale = self.from == UsedFrom::AccessTime && min_age > Duration::ZERO;
        if may_be_stale {
            min_age.saturating_add(STALE)
        } else {
            min_age
        }
    }
}

/// Returns whether the mount of `path` keeps access times, judged by its options. It is for a dry
/// run on a volume that no run has probed yet. An NFS client can't see that the server doesn't keep
/// them, but then they stay older than the write times and don't count anyway.
pub fn keeps_access_times(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|volume| !volume.f_flag.contains(StatVfsMountFlags::NOATIME))
}

/// The metadata that shows a file's use, and what evicting it would free.
const TOLD: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::NLINK)
    .union(StatxFlags::ATIME)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::BLOCKS);

/// Inspects units, relative to the volume's root, which is opened once: resolving a path from `/` a
/// million times costs more than the inspection.
pub struct LastUseProbe {
    root: OwnedFd,
    device: (u32, u32),
    access_times: bool,
}

impl LastUseProbe {
    /// Opens the volume at `root`. `access_times` says whether its mount keeps access times.
    ///
    /// # Errors
    /// Any error of `open`.
    pub fn open(root: &Path, access_times: bool) -> io::Result<Self> {
        let root = openat::root(root)?;
        let device = device(&look(root.as_fd(), ".")?);
        Ok(Self {
            root,
            device,
            access_times,
        })
    }

    /// Returns the newest sign of use of `paths`.
    ///
    /// # Errors
    /// One of them can't be inspected, is gone, or is neither a file nor a directory.
    pub fn last_use(&self, told: LastUse, paths: &[VolumePath]) -> io::Result<Use> {
        Ok(self.first_look(told, paths)?.0)
    }

    /// The same, with the size that evicting them would free. The size is known only if all of them
    /// are inspected, and are files on this volume with a single link.
    pub(super) fn first_look(
        &self,
        told: LastUse,
        paths: &[VolumePath],
    ) -> io::Result<(Use, Option<Size>)> {
        let telling = told.telling;
        let seen = paths
            .iter()
            .take(telling)
            .map(|place| self.use_of(told, place));
        let newest = seen.reduce(|one, other| {
            let ((one, size), (other, more)) = (one?, other?);
            let sum = size.zip(more).map(|(mut sum, more)| {
                sum += more;
                sum
            });
            Ok((newer(one, other), sum))
        });
        let (used, size) =
            newest.unwrap_or_else(|| Err(io::Error::other("a unit without paths")))?;
        Ok((used, size.filter(|_| telling >= paths.len())))
    }

    /// Returns the newest sign of use; none if one of the first files in their directories has
    /// other links, since then the tool handed it out and evicting it would free nothing.
    pub(super) fn last_use_unlinked(&self, paths: &[VolumePath]) -> io::Result<Option<Use>> {
        let seen = paths
            .iter()
            .map(|place| self.bounded(place, &self.look(place)?, self.access_times));
        let newest = seen.reduce(|one, other| {
            let ((one, linked), (other, linked_too)) = (one?, other?);
            Ok((newer(one, other), linked || linked_too))
        });
        newest
            .transpose()
            .map(|seen| seen.filter(|(_, linked)| !linked).map(|(used, _)| used))
    }

    /// Returns whether the file `place` has other links. A file that can't be inspected counts as
    /// linked, so that it is kept.
    pub(super) fn is_linked(&self, place: &VolumePath) -> bool {
        self.look(place).map_or(true, |seen| is_linked(&seen))
    }

    /// Calls `show` for each entry of a directory.
    pub(super) fn list(
        &self,
        directory: &VolumePath,
        mut show: impl FnMut(&OsStr, FileType),
    ) -> Result<(), Errno> {
        let folder = self.folder(directory)?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(folder, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !openat::is_dots(entry.file_name()) {
                show(
                    OsStr::from_bytes(entry.file_name().to_bytes()),
                    entry.file_type(),
                );
            }
        }
        Ok(())
    }

    /// Returns whether there is a directory. A path through a link is an error.
    pub(super) fn is_directory(&self, place: &VolumePath) -> io::Result<bool> {
        let there = openat::below(
            &self.root,
            place.relative(),
            OFlags::PATH | OFlags::NOFOLLOW,
        );
        let seen = openat::found(there.and_then(rustix::fs::fstat).map_err(Into::into))?;
        Ok(seen.is_some_and(|seen| FileType::from_raw_mode(seen.st_mode).is_dir()))
    }

    /// Opens a regular file for reading, and returns its length in bytes.
    pub(super) fn file(&self, place: &VolumePath) -> io::Result<(File, u64)> {
        let file = File::from(openat::below(
            &self.root,
            place.relative(),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?);
        let seen = file.metadata()?;
        if seen.is_file() {
            Ok((file, seen.len()))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file",
            ))
        }
    }

    /// Returns the last bytes of a regular file, `most` at most. If the file is another user's, or
    /// on a network mount, this moves its access time, which must not count as use then.
    pub(super) fn tail(&self, place: &VolumePath, most: u64) -> io::Result<Vec<u8>> {
        let (file, length) = self.file(place)?;
        // Sized by the file's length when it was opened.
        let mut bytes = vec![0; usize::try_from(length.min(most)).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, length.saturating_sub(most))?;
        Ok(bytes)
    }

    /// Returns whether the volume's mount keeps access times.
    pub fn access_times(&self) -> bool {
        self.access_times
    }

    /// Returns the newest sign of use in the first entries of a directory, or of the file itself.
    /// Access times count only if `access_times` is set.
    ///
    /// # Errors
    /// One of them can't be inspected, or has a time that is out of range.
    pub fn entries(&self, path: &UnitPath<'_>, access_times: bool) -> io::Result<Use> {
        Ok(self.bounded(path.place, &path.seen.0, access_times)?.0)
    }

    /// Returns the metadata of the file `name` in a directory; none if there is no such file.
    ///
    /// # Errors
    /// It can't be inspected.
    pub fn file_in(&self, path: &UnitPath<'_>, name: &str) -> io::Result<Option<Seen>> {
        if !kind(&path.seen.0).is_dir() {
            return Ok(None);
        }
        let seen = look(self.root.as_fd(), path.place.relative().join(name));
        let seen = openat::found(seen.map_err(Into::into))?;
        Ok(seen.filter(|seen| kind(seen).is_file()).map(Seen))
    }

    fn use_of(&self, told: LastUse, place: &VolumePath) -> io::Result<(Use, Option<Size>)> {
        let path = UnitPath {
            place,
            seen: Seen(self.look(place)?),
        };
        Ok(((told.of)(self, &path)?, self.size(&path.seen.0)))
    }

    /// Returns the size that evicting a file would free; none if it has other links.
    fn size(&self, seen: &Statx) -> Option<Size> {
        let alone = kind(seen).is_file() && seen.stx_nlink == 1 && device(seen) == self.device;
        alone.then_some(Size::of_blocks(seen.stx_blocks))
    }

    /// Returns the newest sign of use in the first entries of a directory, or of the file itself,
    /// and whether one of the first few has other links.
    fn bounded(
        &self,
        place: &VolumePath,
        seen: &Statx,
        access_times: bool,
    ) -> io::Result<(Use, bool)> {
        let (mut newest, mut linked) = (times(seen, access_times)?, false);
        if kind(seen).is_dir() {
            within(
                self.folder(place)?.as_fd(),
                DEPTH,
                &mut 0,
                &mut |number, seen| {
                    linked |= number < LINKS && is_linked(seen);
                    newest = newer(newest, times(seen, access_times)?);
                    Ok(())
                },
            )?;
        }
        Ok((newest, linked))
    }

    fn folder(&self, place: &VolumePath) -> Result<OwnedFd, Errno> {
        openat::below(
            &self.root,
            place.relative(),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )
    }

    /// Returns the metadata of a unit's path. A link or a special file is an error.
    fn look(&self, place: &VolumePath) -> io::Result<Statx> {
        let seen = look(self.root.as_fd(), place.relative())?;
        let known = kind(&seen).is_file() || kind(&seen).is_dir();
        if known {
            Ok(seen)
        } else {
            Err(io::Error::other("neither a file nor a directory"))
        }
    }
}

/// Calls `show` with the first [`LOOK`] entries below `folder` and their numbers, in the order of
/// the listing: the entries of a directory follow it.
fn within(
    folder: BorrowedFd<'_>,
    levels: usize,
    seen: &mut usize,
    show: &mut impl FnMut(usize, &Statx) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER / 2];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        if openat::is_dots(entry.file_name()) {
            continue;
        }
        if *seen == LOOK {
            return Ok(());
        }
        let found = look(folder, entry.file_name())?;
        show(*seen, &found)?;
        *seen = seen.saturating_add(1);
        if kind(&found).is_dir() && levels > 1 {
            match openat::below(folder, name, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(below) => within(below.as_fd(), levels.saturating_sub(1), seen, show)?,
                // Another file system.
                Err(Errno::XDEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

fn look(folder: BorrowedFd<'_>, path: impl rustix::path::Arg) -> Result<Statx, Errno> {
    rustix::fs::statx(
        folder,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        TOLD,
    )
}

fn kind(seen: &Statx) -> FileType {
    FileType::from_raw_mode(seen.stx_mode.into())
}

fn is_linked(seen: &Statx) -> bool {
    kind(seen).is_file() && seen.stx_nlink > 1
}

fn times(seen: &Statx, access_times: bool) -> io::Result<Use> {
    let write = Use {
        at: moment(seen.stx_mtime)?,
        from: UsedFrom::WriteTime,
    };
    if !access_times || !kind(seen).is_file() {
        return Ok(write);
    }
    let read = Use {
        at: moment(seen.stx_atime)?,
        from: UsedFrom::AccessTime,
    };
    Ok(newer(write, read))
}

fn device(seen: &Statx) -> (u32, u32) {
    (seen.stx_dev_major, seen.stx_dev_minor)
}

/// Returns the newer of two; the first if they are equal.
pub(super) fn newer(first: Use, second: Use) -> Use {
    if second.at > first.at { second } else { first }
}

fn moment(time: StatxTimestamp) -> io::Result<DateTime<Utc>> {
    DateTime::from_timestamp(time.tv_sec, time.tv_nsec)
        .ok_or_else(|| io::Error::other("its time is out of range"))
}

#[cfg(test)]
mod tests;
