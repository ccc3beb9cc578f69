//! Walks trees that somebody else made, on many threads and in little memory.
//!
//! If every call waits on the network, a walk is as fast as the number of calls under way.
//! Descriptors and tasks are bounded, however deep or wide a tree is.

use crate::fs::openat;
use rayon::Scope;
use rustix::fs::{AtFlags, FileType, OFlags, RawDirEntry};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a directory's listing to request at once: most listings fit, and larger ones take fewer
/// calls.
pub const LISTING: usize = 64 << 10;
/// Half of the 1024 descriptors that a process may have at least. The rest is for everything else.
const ANCHORS: usize = 512;
/// Bytes of the longest path that the kernel resolves.
const LONGEST: usize = 4096;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// An open directory. Its entries are opened from here, so that the kernel resolves a name and not
/// a whole path.
///
/// Anchors are counted in the whole process: none should be created while they [are
/// scarce](Self::are_scarce).
pub struct Anchor {
    directory: OwnedFd,
    depth: usize,
}

impl Anchor {
    /// Keeps a directory open. `depth` is the length of its path in bytes, from where the walk
    /// began.
    pub fn new(directory: OwnedFd, depth: usize) -> Self {
        HELD.fetch_add(1, Ordering::Relaxed);
        Self { directory, depth }
    }

    /// Returns whether as many are open as may be.
    pub fn are_scarce() -> bool {
        HELD.load(Ordering::Relaxed) >= ANCHORS
    }

    /// Opens this directory or one below it; `path` begins with this one's path.
    ///
    /// # Errors
    /// As [`openat::below`]; `ENAMETOOLONG` if the path is too long for the kernel, though
    /// descriptors lead there: no well-formed tree is that deep.
    pub fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = path.as_os_str().as_bytes();
        if path.len() > LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        let rest = path.get(self.depth..).ok_or(Errno::INVAL)?;
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let rest = if rest.is_empty() { b"." } else { rest };
        openat::below(
            self,
            Path::new(OsStr::from_bytes(rest)),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )
    }
}

impl AsFd for Anchor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `work` for each of these numbers on any free thread.
///
/// Half of the rest is handed out each time, and what is handed out first waits longest. So each
/// thread goes down before it goes on, and few tasks wait.
pub fn spread<'a>(
    scope: &Scope<'a>,
    numbers: Range<usize>,
    work: impl Fn(&Scope<'a>, usize) + Send + Sync + 'a,
) {
    share(scope, numbers, Arc::new(work));
}

fn share<'a>(
    scope: &Scope<'a>,
    mut numbers: Range<usize>,
    work: Arc<impl Fn(&Scope<'a>, usize) + Send + Sync + 'a>,
) {
    if numbers.is_empty() {
        return;
    }
    scope.spawn(move |scope| {
        while numbers.len() > 1 {
            let middle = usize::midpoint(numbers.start, numbers.end);
            share(scope, middle..numbers.end, work.clone());
            numbers.end = middle;
        }
        work(scope, numbers.start);
    });
}

/// What a walk over directories does with each of them.
pub trait Visitor: Sync {
    /// Takes in an open directory, whose path is relative to the top. Returns the paths of those
    /// directories in it that the walk is to enter.
    ///
    /// # Errors
    /// Any error of the kernel.
    fn visit(&self, directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, Errno>;

    /// Notes a directory that could not be opened or taken in. It may also have been removed
    /// (`NOENT`), or be on another file system (`XDEV`).
    fn failed(&self, path: &Path, errno: Errno);
}

/// Walks over directories, beginning with `top`, in the caller's rayon pool.
pub fn directories(top: OwnedFd, visitor: &impl Visitor) {
    let top = Directories {
        anchor: Arc::new(Anchor::new(top, 0)),
        paths: vec![PathBuf::new()],
    };
    rayon::scope(|scope| enter(scope, visitor, &top, 0));
}

/// Directories to enter next, and the descriptor that they are opened from.
struct Directories {
    anchor: Arc<Anchor>,
    paths: Vec<PathBuf>,
}

fn enter<'a>(scope: &Scope<'a>, visitor: &'a impl Visitor, above: &Directories, number: usize) {
    let Some(path) = above.paths.get(number) else {
        return;
    };
    let opened = above.anchor.open(path);
    match opened.and_then(|directory| Ok((visitor.visit(&directory, path)?, directory))) {
        Ok((paths, _)) if paths.is_empty() => {}
        Ok((paths, directory)) => {
            let length = path.as_os_str().len();
            let anchor = if Anchor::are_scarce() {
                above.anchor.clone()
            } else {
                Arc::new(Anchor::new(directory, length))
            };
            let (all, below) = (0..paths.len(), Directories { anchor, paths });
            spread(scope, all, move |scope, number| {
                enter(scope, visitor, &below, number);
            });
        }
        Err(errno) => visitor.failed(path, errno),
    }
}

/// Returns the type of a directory's entry; none if the entry was removed meanwhile. Only a file
/// system that doesn't list the types is asked for it.
///
/// # Errors
/// Any error of the kernel.
pub fn kind_of(directory: &OwnedFd, entry: &RawDirEntry<'_>) -> Result<Option<FileType>, Errno> {
    if entry.file_type() != FileType::Unknown {
        return Ok(Some(entry.file_type()));
    }
    match rustix::fs::statat(
        directory,
        entry.file_name(),
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
    ) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{ANCHORS, Anchor};
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    /// Anchors are counted in the whole process, so a test that uses all of them runs alone.
    static ALL: RwLock<()> = RwLock::new(());

    /// Opens so many anchors that they are scarce.
    pub(crate) fn all_held() -> (Vec<Anchor>, RwLockWriteGuard<'static, ()>) {
        let alone = ALL.write().unwrap_or_else(PoisonError::into_inner);
        let anchors = (0..ANCHORS)
            .map(|_| Anchor::new(std::fs::File::open("/dev/null").unwrap().into(), 0))
            .collect();
        assert!(Anchor::are_scarce());
        (anchors, alone)
    }

    /// Keeps other tests from making anchors scarce.
    pub(crate) fn enough() -> RwLockReadGuard<'static, ()> {
        ALL.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn each_number_comes_once() {
        for many in [0, 1, 2, 1000] {
            let seen = Mutex::new(Vec::new());
            rayon::scope(|scope| {
                spread(scope, 0..many, |_, number| {
                    seen.lock().unwrap().push(number);
                });
            });
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, (0..many).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_directory_is_opened_from_any_above_it() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b/c")).unwrap();
        let root = Anchor::new(openat::root(top.path()).unwrap(), 0);
        let same = |one: OwnedFd, path: &str| {
            let stat = rustix::fs::stat(top.path().join(path)).unwrap();
            assert_eq!(
                rustix::fs::fstat(one).unwrap().st_ino,
                stat.st_ino,
                "{path}"
            );
        };
        let inner = Anchor::new(root.open(Path::new("a")).unwrap(), 1);
        for path in ["a", "a/b", "a/b/c"] {
            same(root.open(Path::new(path)).unwrap(), path);
            same(inner.open(Path::new(path)).unwrap(), path);
        }
        same(root.open(Path::new("")).unwrap(), "");
        assert_eq!(
            root.open(Path::new(&"a/".repeat(3000))).unwrap_err(),
            Errno::NAMETOOLONG
        );
    }
}
