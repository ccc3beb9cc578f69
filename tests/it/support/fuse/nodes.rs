//! The files that the kernel knows, by their inode on the backing disk, and the silly renames.
//!
//! Each is kept open until the kernel forgets it, so that its inode number names no other file
//! meanwhile. The kernel may know more files than a process may have open: beyond that, a file is
//! opened anew for each call, by the name that it was found by. If another has the name by then, it
//! is stale, as on NFS.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// FUSE's name for the top directory, whatever its inode.
const ROOT: u64 = 1;
/// A close reaches the server a little after it is done, so a deletion waits this long for it.
const CLOSING: Duration = Duration::from_millis(50);

/// A descriptor that serves several threads.
pub(super) type Fd = Arc<OwnedFd>;

struct Node {
    /// None if too many are open.
    fd: Option<Fd>,
    /// The directory that it was last found in, and its name there.
    found: (u64, OsString),
    lookups: u64,
    opens: u64,
    silly: Option<(Fd, OsString)>,
}

/// All files that the kernel knows.
pub(super) struct Nodes {
    top: PathBuf,
    known: Mutex<HashMap<u64, Node>>,
    /// How many files may be kept open. Directories, which are far fewer, always are.
    most: usize,
    number: AtomicU64,
}

impl Nodes {
    /// Returns the backing directory.
    pub(super) fn top(&self) -> &Path {
        &self.top
    }

    pub(super) fn new(top: &Path, most: usize) -> Self {
        let fd =
            rustix::fs::openat(CWD, top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let root = Node {
            fd: Some(Arc::new(fd)),
            found: (ROOT, OsString::new()),
            lookups: 1,
            opens: 0,
            silly: None,
        };
        Self {
            top: top.canonicalize().unwrap(),
            known: Mutex::new([(ROOT, root)].into()),
            most,
            number: AtomicU64::new(1),
        }
    }

    /// Returns a descriptor of the file itself, which is not opened.
    pub(super) fn fd(&self, node: u64) -> Result<Fd> {
        let (directory, name) = {
            let known = self.known.lock().unwrap();
            let found = known.get(&node).ok_or(Errno::STALE)?;
            if let Some(fd) = &found.fd {
                return Ok(fd.clone());
            }
            found.found.clone()
        };
        let fd = open(&self.fd(directory)?, &name).map_err(|_| Errno::STALE)?;
        if rustix::fs::fstat(&fd)?.st_ino != node {
            return Err(Errno::STALE);
        }
        Ok(Arc::new(fd))
    }

    /// Looks a name up, and counts it as known once more.
    pub(super) fn find(&self, directory: u64, name: &OsStr) -> Result<Stat> {
        let fd = open(&self.fd(directory)?, name)?;
        self.know(fd, (directory, name.to_owned()))
    }

    fn know(&self, fd: OwnedFd, found: (u64, OsString)) -> Result<Stat> {
        let stat = rustix::fs::fstat(&fd)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mut known = self.known.lock().unwrap();
        let is_kept = is_directory || known.len() < self.most;
        let node = known.entry(stat.st_ino).or_insert_with(|| Node {
            fd: is_kept.then(|| Arc::new(fd)),
            found: found.clone(),
            lookups: 0,
            opens: 0,
            silly: None,
        });
        node.found = found;
        node.lookups += 1;
        Ok(stat)
    }

    /// Notes the new name of a file that was renamed.
    pub(super) fn renamed(&self, directory: u64, name: &OsStr) -> Result<()> {
        let stat = rustix::fs::statat(self.fd(directory)?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(node) = self.known.lock().unwrap().get_mut(&stat.st_ino) {
            node.found = (directory, name.to_owned());
        }
        Ok(())
    }

    pub(super) fn forget(&self, node: u64, lookups: u64) {
        let mut known = self.known.lock().unwrap();
        if let Some(found) = known.get_mut(&node) {
            found.lookups = found.lookups.saturating_sub(lookups);
            if found.lookups == 0 && node != ROOT {
                known.remove(&node);
            }
        }
    }

    /// Returns its path relative to the top.
    pub(super) fn path(&self, node: u64) -> PathBuf {
        let Ok(path) = self
            .fd(node)
            .and_then(|fd| rustix::fs::readlink(link(&fd), Vec::new()))
        else {
            return PathBuf::new();
        };
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        path.strip_prefix(&self.top)
            .map(Path::to_owned)
            .unwrap_or_default()
    }

    pub(super) fn opened(&self, node: u64) {
        // It may be deleted while it is open, so it is not opened by its name again.
        let fd = self.fd(node).ok();
        if let Some(node) = self.known.lock().unwrap().get_mut(&node) {
            node.fd = node.fd.take().or(fd);
            node.opens += 1;
        }
    }

    /// Records a close. The last one deletes a file that has a silly name.
    pub(super) fn closed(&self, node: u64) {
        let mut known = self.known.lock().unwrap();
        let is_kept = known.len() < self.most;
        if let Some(node) = known.get_mut(&node) {
            node.opens -= 1;
            if node.opens == 0 && !is_kept {
                node.fd = None;
            }
            if node.opens == 0
                && let Some((directory, name)) = node.silly.take()
            {
                let gone = rustix::fs::unlinkat(directory, name, AtFlags::empty());
                assert!(matches!(gone, Ok(()) | Err(Errno::NOENT)), "{gone:?}");
            }
        }
    }

    /// Makes way for the name to be removed: an open file gets a silly name instead. Returns
    /// whether it did.
    pub(super) fn make_way(&self, directory: &Fd, name: &OsStr) -> Result<bool> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || stat.st_nlink > 1
            || !self.stays_open(stat.st_ino)
        {
            return Ok(false);
        }
        let mut known = self.known.lock().unwrap();
        let Some(node) = known.get_mut(&stat.st_ino).filter(|node| node.opens > 0) else {
            return Ok(false);
        };
        if node.silly.is_some() {
            return Err(Errno::BUSY);
        }
        let silly = OsString::from(format!(
            ".nfs{:016x}{:08x}",
            stat.st_ino,
            self.number.fetch_add(1, Ordering::Relaxed)
        ));
        rustix::fs::renameat(directory, name, directory, &silly)?;
        node.silly = Some((directory.clone(), silly));
        Ok(true)
    }

    fn stays_open(&self, node: u64) -> bool {
        let until = Instant::now() + CLOSING;
        while self
            .known
            .lock()
            .unwrap()
            .get(&node)
            .is_some_and(|node| node.opens > 0)
        {
            if Instant::now() > until {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

/// Opens a name as a descriptor of the file itself.
fn open(directory: &Fd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&**directory, name, flags, Mode::empty())
}

/// Returns a path by which the kernel opens, changes and links exactly the file of a descriptor.
pub(super) fn link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
