//! Deletes what is in the trash: by descriptor, in parallel, directory by directory.
//!
//! It follows no link, enters no other mount, and bounds its open directories and its names in
//! memory, however deep or wide a tree is. What can't be deleted stays and is reported
//! (`docs/design/git.md#deleting-trees`); nothing more forceful is tried.

use super::note::{changed, shown};
use super::words::Hindrance;
use crate::facts::cache::Size;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::fs::walk::{Anchor, spread};
use rayon::Scope;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

mod list;
use list::{Listing, read};

/// Directories nested deeper than this are moved up before they are deleted, so that depth costs
/// neither descriptors nor time.
const DEEPEST: usize = 128;
/// Names of a directory that are kept in memory at a time.
const BATCH: usize = 1 << 15;
/// A directory with more files than this shares them with an idle thread.
const MANY: usize = 1 << 12;

/// Remaining files that are reported, at most.
const MOST_TOLD: usize = 20;

/// What all deletions in one call of [`empty`] share.
struct Job<'a> {
    stop: &'a Stop,
    /// Whether the run stopped: reported once, not for every directory that still waits.
    stopped: AtomicBool,
    device: u64,
    bytes: AtomicU64,
    inodes: AtomicU64,
    left: Mutex<Vec<Kept>>,
    /// The names at the top that stay.
    stay: &'a [&'a str],
    /// What was written since then stays: somebody may still be at work here.
    since: Option<(i64, i64)>,
    /// Inodes of files of which we deleted a link: that moves their change time, too.
    linked: Mutex<HashSet<u64>>,
    /// Inodes of open files that were met: what they hold isn't freed.
    open: Mutex<HashSet<u64>>,
    place: &'a VolumePath,
    /// The top directory, to which directories nested too deep are moved.
    top: OwnedFd,
    lifted: Mutex<Vec<CString>>,
}

/// A file that was not deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was written after the entry's note.
    Written(PathBuf),
    /// The file system refused.
    Refused {
        /// Its path.
        path: PathBuf,
        /// Its owner.
        owner: Option<u32>,
        /// Why.
        why: Hindrance,
    },
}

/// The result of [`empty`].
#[derive(Debug, Default)]
pub(super) struct Emptied {
    pub(super) freed: Size,
    pub(super) left: Vec<Kept>,
    /// The run stopped first.
    pub(super) stopped: bool,
    /// Nothing is left but the names that stay.
    pub(super) is_empty: bool,
}

/// A directory being deleted: it is removed when nothing below it is left.
struct Dir {
    above: Option<Arc<Dir>>,
    name: CString,
    anchor: Anchor,
    depth: usize,
    /// The bytes of its own blocks.
    bytes: u64,
    /// Directories of the batch that are still there, and one for each thread on the batch itself.
    pending: AtomicUsize,
    /// The directory has more names than the batch.
    more: AtomicBool,
    /// Something was removed since the batch was read.
    moved: AtomicBool,
}

/// Deletes what is in the directory `place`, except the names in `stay`, on the current rayon pool,
/// until done or asked to stop. A file written at `since` or later stays and is reported. If
/// `place` is not a directory, it is deleted itself.
pub(super) fn empty(
    place: &VolumePath,
    stop: &Stop,
    stay: &[&str],
    since: Option<(i64, i64)>,
) -> io::Result<Emptied> {
    let top = match openat::dir(place) {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOTDIR | Errno::LOOP)
            ) =>
        {
            return no_directory(place);
        }
        top => found(top)?,
    };
    let Some(top) = top else {
        return Ok(Emptied {
            is_empty: true,
            ..Emptied::default()
        });
    };
    let job = Job {
        stop,
        stopped: AtomicBool::new(false),
        device: rustix::fs::fstat(&top)?.st_dev,
        bytes: AtomicU64::new(0),
        inodes: AtomicU64::new(0),
        left: Mutex::default(),
        stay,
        since,
        linked: Mutex::default(),
        open: Mutex::default(),
        place,
        top,
        lifted: Mutex::default(),
    };
    job.delete_all()?;
    job.emptied()
}

fn no_directory(place: &VolumePath) -> io::Result<Emptied> {
    let (parent, name) = openat::parent(place)?;
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    let bytes = if stat.st_nlink == 1 { bytes(&stat) } else { 0 };
    Ok(Emptied {
        freed: Size {
            bytes,
            inodes: u64::from(stat.st_nlink == 1),
        },
        is_empty: true,
        ..Emptied::default()
    })
}

impl Dir {
    fn new(above: Option<Arc<Self>>, name: &CStr, fd: OwnedFd, bytes: u64) -> Self {
        let depth = above
            .as_ref()
            .map_or(0, |above| above.depth.saturating_add(1));
        let anchor = Anchor::new(fd, 0);
        let no = || AtomicBool::new(false);
        Self {
            above,
            name: name.to_owned(),
            anchor,
            depth,
            bytes,
            pending: AtomicUsize::new(1),
            more: no(),
            moved: no(),
        }
    }
}

impl Job<'_> {
    /// Deletes what is at the top, and then what was lifted there.
    fn delete_all(&self) -> io::Result<()> {
        let root = || io::Result::Ok(Arc::new(Dir::new(None, c".", self.top.try_clone()?, 0)));
        let all = root()?;
        rayon::scope(|scope| self.batch(scope, all));
        loop {
            let lifted = std::mem::take(&mut *self.lifted.lock().expect("no deletion panics"));
            if lifted.is_empty() {
                return Ok(());
            }
            let root = root()?;
            root.pending
                .store(lifted.len().saturating_add(1), Ordering::Release);
            rayon::scope(|scope| self.dirs(scope, root, lifted));
        }
    }

    /// Returns the result.
    fn emptied(self) -> io::Result<Emptied> {
        // Below zero if somebody wrote to an open file since it was counted.
        let freed = |all: AtomicU64| u64::try_from(all.into_inner().cast_signed()).unwrap_or(0);
        let freed = Size {
            bytes: freed(self.bytes),
            inodes: freed(self.inodes),
        };
        let entries = openat::list(openat::dir(self.place)?)?;
        let is_empty = entries
            .iter()
            .all(|(name, _)| self.stay.iter().any(|stays| name == stays));
        Ok(Emptied {
            freed,
            left: self.left.into_inner().expect("no deletion panics"),
            stopped: self.stopped.into_inner(),
            is_empty,
        })
    }

    /// Deletes a batch of a directory's names: its files here, its directories wherever a thread is
    /// free.
    fn batch<'scope>(&'scope self, scope: &Scope<'scope>, dir: Arc<Dir>) {
        match read(&dir.anchor, BATCH) {
            Ok(Listing {
                mut files,
                dirs,
                more,
            }) => {
                if dir.above.is_none() {
                    files.retain(|name| {
                        !self
                            .stay
                            .iter()
                            .any(|stays| stays.as_bytes() == name.to_bytes())
                    });
                }
                dir.more.store(more, Ordering::Relaxed);
                // Directories first: while this thread deletes files, others can start on them.
                dir.pending.fetch_add(dirs.len(), Ordering::AcqRel);
                self.dirs(scope, dir.clone(), dirs);
                // A file's blocks are freed without its directory's lock, so two threads are faster
                // than one.
                if files.len() > MANY {
                    let (half, dir) = (files.split_off(files.len() / 2), dir.clone());
                    dir.pending.fetch_add(1, Ordering::AcqRel);
                    scope.spawn(move |scope| {
                        self.files(&dir, &half);
                        self.done(scope, dir);
                    });
                }
                self.files(&dir, &files);
            }
            Err(error) => self.leave(dir.above.as_deref(), &dir.name, error.into()),
        }
        self.done(scope, dir);
    }

    fn files(&self, dir: &Dir, names: &[CString]) {
        names
            .iter()
            .take_while(|_| !self.stopped())
            .for_each(|name| self.file(dir, name));
    }

    fn dirs<'scope>(&'scope self, scope: &Scope<'scope>, above: Arc<Dir>, names: Vec<CString>) {
        let all = 0..names.len();
        spread(scope, all, move |scope, number| {
            if let Some(name) = names.get(number) {
                self.descend(scope, &above, name);
            }
        });
    }

    fn descend<'scope>(&'scope self, scope: &Scope<'scope>, above: &Arc<Dir>, name: &CStr) {
        if self.stopped() {
            return;
        }
        if above.depth >= DEEPEST || above.depth > 0 && Anchor::are_scarce() {
            match self.lift(above, name) {
                Ok(()) => self.done(scope, above.clone()),
                Err(error) => self.give_up(scope, name, error.into(), above.clone()),
            }
            return;
        }
        match self.open(above, name) {
            Ok((fd, bytes)) => self.batch(
                scope,
                Arc::new(Dir::new(Some(above.clone()), name, fd, bytes)),
            ),
            Err(Errno::NOENT) => self.done(scope, above.clone()),
            Err(error) => self.give_up(scope, name, error.into(), above.clone()),
        }
    }

    /// Leaves a directory and its parents, which would only be reported for the same reason. A
    /// parent with more names than this batch goes on.
    fn give_up<'scope>(
        &'scope self,
        scope: &Scope<'scope>,
        name: &CStr,
        why: Hindrance,
        above: Arc<Dir>,
    ) {
        self.leave(Some(&above), name, why);
        if above.more.load(Ordering::Relaxed) {
            self.done(scope, above);
        }
    }

    fn lift(&self, above: &Dir, name: &CStr) -> io::Result<()> {
        let new = CString::new(uuid::Uuid::new_v4().to_string())?;
        rustix::fs::renameat(&above.anchor, name, &self.top, &new)?;
        above.moved.store(true, Ordering::Relaxed);
        self.lifted.lock().expect("no deletion panics").push(new);
        Ok(())
    }

    /// Opens a directory on the same device, and returns the bytes of its own blocks. If its owner
    /// may not read or change it (Go's module cache), that right is restored.
    fn open(&self, above: &Dir, name: &CStr) -> Result<(OwnedFd, u64), Errno> {
        // The kernel refuses any mount on the way. Comparing devices alone is not enough: a mount
        // of the same file system has the same one.
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let fd = match openat::below(&above.anchor, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::ACCESS) => {
                let handle = openat::below(&above.anchor, name, OFlags::PATH | OFlags::DIRECTORY)?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
                openat::below(&above.anchor, name, OFlags::RDONLY | OFlags::DIRECTORY)?
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        if stat.st_dev != self.device {
            return Err(Errno::XDEV);
        }
        if stat.st_mode & 0o300 != 0o300 {
            rustix::fs::fchmod(&fd, Mode::RWXU)?;
        }
        Ok((fd, bytes(&stat)))
    }

    fn file(&self, dir: &Dir, name: &CStr) {
        let stat = match rustix::fs::statat(&dir.anchor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return,
            // A file that can't be measured stays: what deleting it frees would be unknown.
            Err(error) => return self.leave(Some(dir), name, error.into()),
            Ok(stat) => stat,
        };
        if is_open(name) {
            self.is_first_met(&stat);
        }
        if self.is_new(&stat) {
            return self.keep(dir, name);
        }
        if stat.st_nlink > 1 {
            self.linked
                .lock()
                .expect("no deletion panics")
                .insert(stat.st_ino);
        }
        match rustix::fs::unlinkat(&dir.anchor, name, AtFlags::empty()) {
            Ok(()) => {
                dir.moved.store(true, Ordering::Relaxed);
                if stat.st_nlink == 1 {
                    self.freed(bytes(&stat));
                }
            }
            Err(Errno::NOENT) => {}
            Err(Errno::BUSY) if is_open(name) => self.leave(Some(dir), name, Hindrance::Open),
            Err(error) => self.leave(Some(dir), name, error.into()),
        }
    }

    /// Checks whether the file was written or moved here at `since` or later, by the inode's change
    /// time, which nobody can set. If another link to it was deleted, that moved this time too;
    /// then the write time has to be as late.
    fn is_new(&self, stat: &Stat) -> bool {
        let Some(since) = self.since else {
            return false;
        };
        #[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below 10^9")]
        let written = (stat.st_mtime, stat.st_mtime_nsec as i64);
        let linked = || stat.st_nlink > 1 || self.is_linked(stat);
        changed(stat) >= since && (!linked() || written >= since)
    }

    fn is_linked(&self, stat: &Stat) -> bool {
        let linked = self.linked.lock().expect("no deletion panics");
        linked.contains(&stat.st_ino)
    }

    fn is_first_met(&self, stat: &Stat) -> bool {
        let mut open = self.open.lock().expect("no deletion panics");
        open.insert(stat.st_ino)
    }

    fn keep(&self, dir: &Dir, name: &CStr) {
        if is_open(name) {
            return self.leave(Some(dir), name, Hindrance::Open);
        }
        self.note(Kept::Written(self.path(Some(dir), name)));
    }

    /// Counts one part of the batch as finished. The last one removes the directory, and so on
    /// upwards.
    fn done<'scope>(&'scope self, scope: &Scope<'scope>, mut dir: Arc<Dir>) {
        while dir.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            // List again from the beginning, as long as that helps: some file systems leave out
            // names when others are removed.
            if dir.more.load(Ordering::Relaxed)
                && dir.moved.swap(false, Ordering::Relaxed)
                && !self.stopped()
            {
                dir.pending.store(1, Ordering::Release);
                return scope.spawn(move |scope| self.batch(scope, dir));
            }
            let Some(above) = dir.above.clone() else {
                return;
            };
            match rustix::fs::unlinkat(&above.anchor, &dir.name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    above.moved.store(true, Ordering::Relaxed);
                    self.freed(dir.bytes);
                }
                Err(Errno::NOENT) => {}
                Err(error) => {
                    match error {
                        // What is left in it was reported already, except files that NFS renamed
                        // instead of deleting.
                        Errno::NOTEMPTY | Errno::EXIST => self.still_open(&dir),
                        error => self.leave(Some(&above), &dir.name, error.into()),
                    }
                    if !above.more.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
            dir = above;
        }
    }

    /// Reports files that somebody has open: when one is deleted, NFS renames it to `.nfs...`, and
    /// its bytes stay until it is closed.
    fn still_open(&self, dir: &Dir) {
        let files = read(&dir.anchor, BATCH).map_or_else(|_| Vec::new(), |listing| listing.files);
        for name in files.iter().filter(|name| is_open(name)) {
            if let Ok(stat) = rustix::fs::statat(&dir.anchor, name, AtFlags::SYMLINK_NOFOLLOW)
                && self.is_first_met(&stat)
            {
                // One of several links was not counted.
                if !self.is_linked(&stat) {
                    self.bytes.fetch_sub(bytes(&stat), Ordering::Relaxed);
                    self.inodes.fetch_sub(1, Ordering::Relaxed);
                }
                self.leave(Some(dir), name, Hindrance::Open);
            }
        }
    }

    fn freed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inodes.fetch_add(1, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        let stopped = self.stop.reached().is_some();
        self.stopped.fetch_or(stopped, Ordering::Relaxed);
        stopped
    }

    fn leave(&self, dir: Option<&Dir>, name: &CStr, why: Hindrance) {
        // The directory's owner decides what may be removed from it.
        let owners = dir.into_iter().flat_map(|dir| {
            let entry = || rustix::fs::statat(&dir.anchor, name, AtFlags::SYMLINK_NOFOLLOW);
            [rustix::fs::fstat(&dir.anchor), entry()]
        });
        let owner = owners
            .flatten()
            .map(|stat| stat.st_uid)
            .find(|owner| *owner != rustix::process::geteuid().as_raw());
        self.note(Kept::Refused {
            path: self.path(dir, name),
            owner,
            why,
        });
    }

    fn note(&self, kept: Kept) {
        let mut left = self.left.lock().expect("no deletion panics");
        if left.len() < MOST_TOLD && !left.contains(&kept) {
            left.push(kept);
        }
    }

    /// Returns the path of a name; for one that was nested too deep, its path after the move.
    fn path(&self, dir: Option<&Dir>, name: &CStr) -> PathBuf {
        let mut names = vec![name];
        let mut at = dir;
        while let Some(dir) = at.filter(|dir| dir.above.is_some()) {
            names.push(&dir.name);
            at = dir.above.as_deref();
        }
        let below: PathBuf = names
            .iter()
            .rev()
            .map(|name| OsStr::from_bytes(name.to_bytes()))
            .collect();
        shown(self.place, &below)
    }
}

fn bytes(stat: &Stat) -> u64 {
    Size::of_blocks(stat.st_blocks.cast_unsigned()).bytes
}

/// Checks whether NFS gave this name to a deleted file that somebody still has open.
fn is_open(name: &CStr) -> bool {
    name.to_bytes().starts_with(b".nfs")
}
