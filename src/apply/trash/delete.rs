//! Deleting what is in the trash: by descriptor, in parallel, folder by folder.
//!
//! It follows no link, leaves no mount, and holds one descriptor per open folder, not per level of somebody's making. What can't be deleted is
//! left and told. It must never fall back to anything more forceful, and never be called for a place outside the trash.

use super::Emptied;
use crate::beneath::{self, found};
use crate::facts::cache::Size;
use crate::inside::Inside;
use crate::stop::Stop;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Folders nested deeper than this are moved up before they are deleted, so that depth costs neither descriptors nor time.
const DEEPEST: usize = 128;

/// What all deletions of one emptying share.
struct Job<'a> {
    stop: &'a Stop,
    /// It is told once that the run stopped, not for every folder that still waits.
    stopped: AtomicBool,
    device: u64,
    bytes: AtomicU64,
    inodes: AtomicU64,
    left: Mutex<Vec<String>>,
    /// The names at the top that go; none is all.
    names: Option<&'a HashSet<OsString>>,
    /// The trash, to which folders nested too deep are moved.
    top: OwnedFd,
    lifted: Mutex<Vec<CString>>,
}

/// A folder being deleted: it goes when nothing below it is left.
struct Folder {
    above: Option<Arc<Folder>>,
    name: CString,
    fd: OwnedFd,
    depth: usize,
    /// Folders below that still stand, and one for the reading of this one.
    pending: AtomicUsize,
}

/// Deletes what is in the folder `place`, of these names where there are any given, on the current rayon pool, until done or told to stop.
pub(super) fn empty(place: &Inside, stop: &Stop, names: Option<&HashSet<OsString>>) -> io::Result<Emptied> {
    let Some(top) = found(beneath::dir(place))? else { return Ok(Emptied::default()) };
    let device = rustix::fs::fstat(&top)?.st_dev;
    let job = Job {
        stop,
        stopped: AtomicBool::new(false),
        device,
        bytes: AtomicU64::new(0),
        inodes: AtomicU64::new(0),
        left: Mutex::default(),
        names,
        top: top.try_clone()?,
        lifted: Mutex::default(),
    };
    let root = Arc::new(Folder { above: None, name: c".".into(), fd: top, depth: 0, pending: AtomicUsize::new(1) });
    rayon::scope(|scope| job.folder(scope, root));
    loop {
        let lifted = std::mem::take(&mut *job.lifted.lock().expect("no deletion panics"));
        if lifted.is_empty() {
            break;
        }
        let root = Arc::new(Folder {
            above: None,
            name: c".".into(),
            fd: job.top.try_clone()?,
            depth: 0,
            pending: AtomicUsize::new(lifted.len() + 1),
        });
        rayon::scope(|scope| lifted.into_iter().for_each(|name| job.descend(scope, &root, &name)));
    }
    if job.stopped.load(Ordering::Relaxed) {
        job.leave(c"the rest", "the run stopped first");
    }
    let freed = Size { bytes: job.bytes.into_inner(), inodes: job.inodes.into_inner() };
    Ok(Emptied { freed, left: job.left.into_inner().expect("no deletion panics") })
}

impl Job<'_> {
    /// Deletes the files of a folder, and sends its folders on their way.
    fn folder<'scope>(&'scope self, scope: &rayon::Scope<'scope>, folder: Arc<Folder>) {
        match read(&folder.fd) {
            Ok(mut names) => {
                if let Some(due) = self.names.filter(|_| folder.above.is_none()) {
                    names.retain(|(name, _)| due.contains(OsStr::from_bytes(name.to_bytes())));
                }
                // Folders first: while this thread deletes files, others can start on them.
                for (name, is_folder) in
                    names.iter().filter(|(_, is_folder)| *is_folder).chain(names.iter().filter(|(_, is_folder)| !is_folder))
                {
                    if self.stopped() {
                        break;
                    }
                    if *is_folder {
                        folder.pending.fetch_add(1, Ordering::AcqRel);
                        let (folder, name) = (folder.clone(), name.clone());
                        scope.spawn(move |scope| self.descend(scope, &folder, &name));
                    } else {
                        self.file(&folder, name);
                    }
                }
            }
            Err(error) => self.leave(&folder.name, &error.to_string()),
        }
        self.done(folder);
    }

    fn descend<'scope>(&'scope self, scope: &rayon::Scope<'scope>, above: &Arc<Folder>, name: &CStr) {
        if self.stopped() {
            return;
        }
        if above.depth >= DEEPEST {
            match self.lift(above, name) {
                Ok(()) => self.done(above.clone()),
                Err(error) => self.leave(name, &error.to_string()),
            }
            return;
        }
        match self.open(above, name) {
            Ok(fd) => {
                let folder =
                    Folder { above: Some(above.clone()), name: name.to_owned(), fd, depth: above.depth + 1, pending: AtomicUsize::new(1) };
                self.folder(scope, Arc::new(folder));
            }
            Err(Errno::NOENT) => self.done(above.clone()),
            Err(error) => self.leave(name, &error.to_string()),
        }
    }

    fn lift(&self, above: &Folder, name: &CStr) -> io::Result<()> {
        let new = CString::new(uuid::Uuid::new_v4().to_string())?;
        rustix::fs::renameat(&above.fd, name, &self.top, &new)?;
        self.lifted.lock().expect("no deletion panics").push(new);
        Ok(())
    }

    /// Opens a folder on the same device, giving its owner back the right to read and change it where it was taken (Go's module cache).
    fn open(&self, above: &Folder, name: &CStr) -> Result<OwnedFd, Errno> {
        // The kernel refuses any mount on the way: one of the same file system has the same device, so that alone would not tell.
        let name = Path::new(OsStr::from_bytes(name.to_bytes()));
        let fd = match beneath::below(&above.fd, name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::ACCESS) => {
                let handle = beneath::below(&above.fd, name, OFlags::PATH | OFlags::DIRECTORY)?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
                beneath::below(&above.fd, name, OFlags::RDONLY | OFlags::DIRECTORY)?
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
        Ok(fd)
    }

    fn file(&self, folder: &Folder, name: &CStr) {
        let size = rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        match rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty()) {
            Ok(()) => {
                if let Ok(stat) = size
                    && stat.st_nlink == 1
                {
                    self.freed(stat.st_blocks.cast_unsigned() * 512);
                }
            }
            Err(Errno::NOENT) => {}
            Err(error) => self.leave(name, &error.to_string()),
        }
    }

    /// One thing below the folder is gone, or its reading is done; the last one takes the folder along, and so on upwards.
    fn done(&self, mut folder: Arc<Folder>) {
        while folder.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Some(above) = folder.above.clone() else { return };
            let blocks = rustix::fs::fstat(&folder.fd).map_or(0, |stat| stat.st_blocks.cast_unsigned());
            match rustix::fs::unlinkat(&above.fd, &folder.name, AtFlags::REMOVEDIR) {
                Ok(()) => self.freed(blocks * 512),
                Err(Errno::NOENT) => {}
                // What was left in it has been reported where it was left, but for what NFS put there when it was deleted.
                Err(Errno::NOTEMPTY | Errno::EXIST) => return self.still_open(&folder),
                Err(error) => return self.leave(&folder.name, &error.to_string()),
            }
            folder = above;
        }
    }

    /// On NFS a file that somebody has open gets another name when it is deleted (`.nfs...`), and is there, with its bytes, until it is closed.
    fn still_open(&self, folder: &Folder) {
        for (name, _) in read(&folder.fd).unwrap_or_default().iter().filter(|(name, _)| name.to_bytes().starts_with(b".nfs")) {
            let told = self.left.lock().expect("no deletion panics").iter().any(|line| line.starts_with(&*name.to_string_lossy()));
            if let Ok(stat) = rustix::fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                && !told
            {
                self.bytes.fetch_sub(stat.st_blocks.cast_unsigned() * 512, Ordering::Relaxed);
                self.inodes.fetch_sub(1, Ordering::Relaxed);
                self.leave(name, "somebody has this file open, it goes when it is closed");
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

    fn leave(&self, name: &CStr, why: &str) {
        let mut left = self.left.lock().expect("no deletion panics");
        // Every level of what can't be deleted would say the same.
        let line = format!("{}: {why}", OsStr::from_bytes(name.to_bytes()).display());
        if left.len() < 20 {
            left.push(line);
        }
    }
}

/// A folder's entries, each with whether it is a folder.
fn read(folder: &OwnedFd) -> io::Result<Vec<(CString, bool)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let kind = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
                kind => kind,
            };
            names.push((name.to_owned(), kind == FileType::Directory));
        }
    }
    Ok(names)
}
