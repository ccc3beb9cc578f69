//! Borrowers of objects from the enrolled repos (git alternates), found by a walk of the whole
//! volume: nothing in the lender shows them.
//!
//! | a borrower | is known by |
//! | --- | --- |
//! | a clone with `--shared` or `--reference`, bare or not | `objects/info/alternates` |
//! | a submodule's repo below `modules` | the same |
//! | a `git-new-workdir` | `objects` that is a link |
//! | a worktree's admin directory that is in no registry | `commondir` |
//!
//! Lenders are compared by device and inode, so links, `..` and relative paths make no difference.
//! Every directory below the root is listed, including `node_modules` and caches, because somebody
//! may have cloned into them. Only other mounts and an object directory's fan-out and packs are
//! left out. An unreadable directory may borrow from any lender. The walk costs three round trips
//! per directory of the volume, so it runs only if something is to be dropped.

use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::fs::walk::{self, LISTING, Visitor, kind_of};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes. A line names one lender, so no well-formed list is longer.
const CAP: u64 = 1 << 20;
const LINES: usize = 1000;
/// The search gives up after a run's time limit divided by this: the run has more to do.
const PART: u32 = 4;
/// The depth to which git follows alternates of alternates.
const DEEPEST: usize = 5;

/// What is known about borrowers.
#[derive(Debug, Default)]
pub struct Borrowers {
    lenders: Vec<Lender>,
    found: Mutex<Found>,
}

/// An enrolled repo.
#[derive(Debug)]
struct Lender {
    /// Its object directory's path.
    objects: PathBuf,
    /// Its object directory's device and inode.
    id: Option<(u64, u64)>,
    /// The name by which paths to it are known: see [`called`].
    called: Option<std::ffi::OsString>,
}

#[derive(Debug, Default)]
struct Found {
    /// The alphabetically first borrower, by the lender's index in the list.
    borrowers: BTreeMap<usize, PathBuf>,
    /// Why there may be more borrowers: the alphabetically first reason.
    unknown: Option<String>,
    /// The lists outside the volume that were read, and how much deeper the search may go from
    /// each.
    lists: HashSet<((u64, u64), usize)>,
}

impl Borrowers {
    /// Searches the whole volume, in as many threads as the current rayon pool has. `repos` are the
    /// enrolled repos by name and git dir.
    pub fn find(root: &Arc<Path>, repos: &[(&str, VolumePath)], stop: &Stop) -> Self {
        let lender = |(_, git_dir): &(&str, VolumePath)| {
            let objects = git_dir.path().join("objects");
            let id = rustix::fs::stat(&objects).ok().map(|stat| id(&stat));
            Lender {
                objects,
                id,
                called: called(git_dir).map(ToOwned::to_owned),
            }
        };
        let all = Self {
            lenders: repos.iter().map(lender).collect(),
            found: Mutex::default(),
        };
        for (name, git_dir) in repos {
            // A missing repo may be back tomorrow, and still borrow.
            if git_dir
                .join("objects")
                .map_err(io::Error::from)
                .and_then(|objects| openat::dir(&objects))
                .is_err_and(|it| !is_odd(&it))
            {
                all.unknown(format!(
                    "it is unknown from which repos {name} borrows: fix it, or take it out of the config"
                ));
            }
        }
        match openat::root(root).and_then(|top| Ok((rustix::fs::fstat(&top)?.st_dev, top))) {
            Ok((device, top)) => {
                let walk = Walk {
                    root,
                    device,
                    stop,
                    began: Instant::now(),
                    all: &all,
                };
                walk::directories(top, &walk);
            }
            Err(error) => all.unreadable(root, &error),
        }
        all
    }

    /// Returns why unreachable objects of the repo with this git dir may still be needed; none if
    /// they aren't.
    pub fn need(&self, git_dir: &VolumePath) -> Option<String> {
        let objects = git_dir.path().join("objects");
        let found = self.found();
        let place = self
            .lenders
            .iter()
            .position(|lender| lender.objects == objects);
        // A repo that was not asked about is unknown.
        let Some(place) = place else {
            return Some("its borrowers were not searched for".to_owned());
        };
        let borrower = found
            .borrowers
            .get(&place)
            .map(|path| format!("`{}` borrows its objects", path.display()));
        borrower.or_else(|| found.unknown.clone())
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unknown(&self, why: String) {
        let mut found = self.found();
        if found.unknown.as_ref().is_none_or(|first| why < *first) {
            found.unknown = Some(why);
        }
    }

    fn unreadable(&self, path: &Path, error: &io::Error) {
        self.unknown(format!(
            "it may be borrowed from by what stands in `{}`, which can't be read: {error}; fix or remove it",
            path.display()
        ));
    }

    fn borrows(&self, lender: usize, borrower: &Path) {
        let mut found = self.found();
        let first = found
            .borrowers
            .entry(lender)
            .or_insert_with(|| borrower.to_owned());
        if borrower < first.as_path() {
            borrower.clone_into(first);
        }
    }

    /// Records that `borrower` uses `objects`, under whatever path. Returns whether that is a
    /// directory.
    fn reaches(&self, borrower: &Path, objects: &Path) -> io::Result<bool> {
        let plain = plain(objects);
        let looked = rustix::fs::statat(CWD, objects, AtFlags::NO_AUTOMOUNT);
        for (number, lender) in self.lenders.iter().enumerate() {
            // A directory that is missing here may be on the volume, under a path that only agents
            // have.
            let named = match &looked {
                Ok(stat) => lender.id == Some(id(stat)),
                Err(_) => lender
                    .called
                    .as_deref()
                    .is_some_and(|called| plain.iter().any(|part| part == called)),
            };
            if named || plain == lender.objects {
                self.borrows(number, borrower);
            }
        }
        match looked {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode).is_dir()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Returns the name of the directory around a git dir, or of a git dir with a name of its own.
fn called(git_dir: &VolumePath) -> Option<&OsStr> {
    let own = git_dir.relative();
    let around = own
        .parent()
        .filter(|_| own.ends_with(".git") || own.ends_with(".bare"));
    around.unwrap_or(own).file_name()
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Checks whether something other than a directory of this volume is there. Git borrows nothing
/// there either, and the walk sees whatever else there is.
fn is_odd(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidData, NotADirectory};
    matches!(error.kind(), NotADirectory | InvalidData | CrossesDevices)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// The path without `.` and `..`, resolved lexically.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn text_of(file: File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    openat::content(file, CAP)
}

struct Walk<'a> {
    root: &'a Path,
    device: u64,
    stop: &'a Stop,
    began: Instant,
    all: &'a Borrowers,
}

impl Visitor for Walk<'_> {
    fn visit(&self, directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        if let Some(why) = self.late() {
            self.all
                .unknown(format!("the search for its borrowers is incomplete: {why}"));
            return Ok(Vec::new());
        }
        self.list(directory, path)
    }

    fn failed(&self, path: &Path, errno: Errno) {
        // It was removed meanwhile, or something is mounted there.
        if !matches!(errno, Errno::NOENT | Errno::XDEV) {
            self.all.unreadable(path, &errno.into());
        }
    }
}

impl Walk<'_> {
    /// Lists a directory, records what borrows there, and returns the directories to walk next.
    fn list(&self, directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        if rustix::fs::fstat(directory)?.st_dev != self.device {
            return Err(Errno::XDEV);
        }
        let mut below = Vec::new();
        let mut buffer = Vec::with_capacity(LISTING);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if openat::is_dots(name) {
                continue;
            }
            let Some(kind) = kind_of(directory, &entry)? else {
                continue;
            };
            let name = OsStr::from_bytes(name.to_bytes());
            if kind.is_dir() {
                below.push(path.join(name));
            }
            let taken = self.take_in(directory, path, name, kind);
            if let Err(error) = taken {
                self.all.unreadable(&path.join(name), &error);
            }
        }
        let is_store = path.ends_with("objects")
            && ["pack", "info"]
                .iter()
                .all(|name| below.iter().any(|directory| directory.ends_with(name)));
        below.retain(|directory| !is_store || !is_full_of_objects(directory));
        Ok(below)
    }

    /// Records a borrower, if an entry of a directory shows one.
    fn take_in(
        &self,
        directory: &OwnedFd,
        path: &Path,
        name: &OsStr,
        kind: FileType,
    ) -> io::Result<()> {
        match (name.as_bytes(), kind) {
            (_, FileType::Directory) => Ok(()),
            (b"alternates", _) if path.file_name() == Some(OsStr::new("info")) => {
                self.alternates(directory, path)
            }
            (b"objects", FileType::Symlink) => self
                .all
                .reaches(path, &self.root.join(path).join(name))
                .map(drop),
            (b"commondir", FileType::RegularFile) => self.commondir(directory, path),
            _ => Ok(()),
        }
    }

    /// Reads the lenders of an object directory, which `info/alternates` lists.
    fn alternates(&self, info: &OwnedFd, path: &Path) -> io::Result<()> {
        let list = openat::below(
            info,
            Path::new("alternates"),
            OFlags::RDONLY | OFlags::NONBLOCK,
        )?;
        let text = text_of(File::from(list))?;
        let objects = path.parent().unwrap_or(Path::new(""));
        let borrower = if objects.ends_with("objects") {
            objects.parent().unwrap_or(objects)
        } else {
            objects
        };
        self.lines(borrower, &self.root.join(objects), &text, DEEPEST)
    }

    /// Records the repo that an admin directory's `commondir` names: the worktree's HEAD, index and
    /// reflog need that repo's objects. Git itself knows the worktrees in the repo's own registry.
    fn commondir(&self, admin: &OwnedFd, path: &Path) -> io::Result<()> {
        let text = text_of(File::from(openat::below(
            admin,
            Path::new("commondir"),
            OFlags::RDONLY | OFlags::NONBLOCK,
        )?))?;
        let common = self
            .root
            .join(path)
            .join(OsStr::from_bytes(text.trim_ascii_end()));
        let registered = path
            .parent()
            .filter(|above| above.ends_with("worktrees"))
            .and_then(Path::parent);
        if registered.is_some_and(|git_dir| plain(&common) == self.root.join(git_dir)) {
            return Ok(());
        }
        self.all.reaches(path, &common.join("objects")).map(drop)
    }

    /// Records the lenders that a list in `objects` names. Follows the lists of lenders outside the
    /// volume, which the walk doesn't reach. Each of those is read once per depth, because they may
    /// name one another, and the volume under another path.
    fn lines(&self, borrower: &Path, objects: &Path, text: &[u8], deep: usize) -> io::Result<()> {
        let lines = text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        for (number, line) in lines.enumerate() {
            if number == LINES {
                return Err(io::Error::other(format!(
                    "it names more than {LINES} lenders"
                )));
            }
            if line.starts_with(b"\"") {
                return Err(io::Error::other(
                    "it names a lender in quotes; write the path as it is",
                ));
            }
            if let Some(why) = self.late() {
                return Err(io::Error::other(why));
            }
            let lender = objects.join(OsStr::from_bytes(line));
            let outside = !plain(&lender).starts_with(self.root);
            if self.all.reaches(borrower, &lender)? && outside && deep > 0 {
                let list = lender.join("info/alternates");
                let open = || {
                    Ok(File::from(rustix::fs::open(
                        &list,
                        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?))
                };
                if let Some(file) = found(open())?
                    && self
                        .all
                        .found()
                        .lists
                        .insert((id(&rustix::fs::fstat(&file)?), deep))
                {
                    self.lines(borrower, &lender, &text_of(file)?, deep.saturating_sub(1))?;
                }
            }
        }
        Ok(())
    }

    /// Returns why the search must end early; none if it need not.
    fn late(&self) -> Option<&'static str> {
        self.stop.reached().or_else(|| {
            (self.began.elapsed().saturating_mul(PART) > self.stop.limit())
                .then_some("it took too long, raise `run.deadline`")
        })
    }
}

/// Checks whether it is `pack` or a fan-out directory, which git fills with files alone.
fn is_full_of_objects(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().as_bytes();
    name == b"pack" || (name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit))
}
