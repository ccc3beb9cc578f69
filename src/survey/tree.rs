//! The files of a worktree, without its regenerable directories.
//!
//! Git's own view is not trusted here: flags in the index (`assume-unchanged`, `skip-worktree`),
//! ignore rules and `status.showUntrackedFiles` hide edits that would be lost with the tree. The
//! walk goes by descriptor, follows no link and enters no other mount. Nothing counts as disposable
//! because the repo says so.

use super::{go_on, regenerable};
use crate::facts::worktree::MadeAgain;
use crate::fs::budget::Reservation;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::sha1;
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use rustix::process::Uid;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The deepest directory that is walked: no tool nests so deep. If one is deeper, the tree stays.
const DEEPEST: usize = 256;
/// Bytes of the longest path that the kernel accepts, without the final zero.
const PATH_MAX: usize = 4095;
/// Bytes that a listed name takes besides its own.
const A_NAME: usize = 48;
/// Bytes. Larger files are hashed in pieces, so that this can stop with the run.
const AT_ONCE: u64 = 64 << 20;
/// Characters of a path that a reason shows, at most.
const NAMED: usize = 200;

/// A jj workspace is also recorded by jj, with commits that git may not know.
const ANNEX: &str = "its `.git` is a link, as git-annex makes it: it stays; put a file `gitdir: PATH` in its place, with the path that the link has, and it is like any other";
const JJ: &str = "it is a jj workspace: run `jj workspace forget` in it and delete its .jj, then it is like any other";

/// Returns whether a tree's root is a jj workspace: its `.jj` has a working copy, and a repo or the
/// path to one.
fn is_jj(root: BorrowedFd<'_>) -> bool {
    ["repo", "working_copy"]
        .iter()
        .all(|name| openat::below(root, &Path::new(".jj").join(name), OFlags::PATH).is_ok())
}

/// The files of a tree.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files and links by their path in the tree. One with an equal stamp in two listings did not
    /// change between them.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Directories by their path in the tree, with their permission bits.
    pub directories: BTreeMap<PathBuf, u32>,
    /// Regenerable directories: not walked, unless for somebody's files ([`Rules::whole`]).
    pub regenerable: Vec<PathBuf>,
    /// `.git` files below the root, not yet judged: of nested repos, submodules or copies.
    pub pointers: Vec<PathBuf>,
    /// What a git tree can't contain: nested repos, FIFOs, other mounts.
    pub blockers: Vec<String>,
    /// The first file that treewarden may not read, and why: no rescue can contain it.
    pub unreadable: Option<String>,
    /// Files in the registration that are not git's, by their path there.
    pub registration: BTreeMap<PathBuf, Stamp>,
    /// The memory counted for the listing.
    pub held: Reservation,
}

impl Listing {
    /// Returns whether both contain the same work, wherever they are, regenerable files aside.
    pub fn same_work(&self, other: &Self) -> bool {
        (
            &self.files,
            &self.directories,
            &self.blockers,
            &self.registration,
        ) == (
            &other.files,
            &other.directories,
            &other.blockers,
            &other.registration,
        )
    }
}

/// A file's metadata, which shows whether its content may have changed, without reading it. Git's
/// index records the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// `st_mode`, with the kind.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Seconds and nanoseconds of the last write.
    pub mtime: (i64, u32),
    /// Seconds and nanoseconds of the last change of the inode, which nobody can set.
    pub ctime: (i64, u32),
    /// The inode.
    pub inode: u64,
}

impl Stamp {
    /// Returns whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }

    /// Returns the mode that git records for it.
    pub fn git_mode(&self) -> u32 {
        match (self.is_link(), self.mode & 0o100) {
            (true, _) => 0o120_000,
            (false, 0) => 0o100_644,
            (false, _) => 0o100_755,
        }
    }
}

#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "sizes and nanoseconds are never negative or large"
)]
pub(super) fn stamp(stat: &Stat) -> Stamp {
    Stamp {
        mode: stat.st_mode,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
        inode: stat.st_ino,
    }
}

/// The rules for listing a tree.
pub struct Rules<'a> {
    /// Whether git tracks this path, or something below it: then neither this file nor this
    /// directory as a whole is regenerable, whatever the operator says.
    pub tracked: &'a dyn Fn(&Path) -> bool,
    /// The operator's rules about regenerable paths.
    pub made_again: &'a [MadeAgain],
    /// Whether regenerable directories are walked, to list somebody's files in them.
    pub whole: bool,
    /// When to stop.
    pub stop: &'a Stop,
}

/// Lists the tree at `place`.
///
/// # Errors
/// Something can't be read, or the run is to stop: the contents are unknown.
pub fn list(place: &VolumePath, rules: &Rules<'_>) -> io::Result<Listing> {
    let top = openat::dir(place)?;
    let longest = PATH_MAX.saturating_sub(place.path().as_os_str().len().saturating_add(1));
    let (files, directories, regenerable, pointers, blockers) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let held = rules.stop.hold();
    let mut walk = Walk {
        longest,
        rules,
        files,
        directories,
        regenerable,
        pointers,
        blockers,
        unreadable: None,
        held,
    };
    walk.directory(top, Path::new(""), 0, None)?;
    let named = walk.regenerable.len();
    // A directory of somebody's in one of them may contain another one.
    let mut next = 0_usize;
    while let Some(path) = walk.regenerable.get(next).filter(|_| rules.whole).cloned() {
        walk.look_through(place, &path).map_err(|error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        })?;
        next = next.saturating_add(1);
    }
    let Walk {
        files,
        directories,
        mut regenerable,
        pointers,
        blockers,
        unreadable,
        held,
        ..
    } = walk;
    regenerable.truncate(named);
    Ok(Listing {
        files: files.into_iter().collect(),
        directories: directories.into_iter().collect(),
        regenerable,
        pointers,
        blockers,
        unreadable,
        registration: BTreeMap::new(),
        held,
    })
}

struct Walk<'a> {
    /// The most bytes of a path in the tree, since the kernel limits the length of the whole path.
    longest: usize,
    rules: &'a Rules<'a>,
    files: Vec<(PathBuf, Stamp)>,
    directories: Vec<(PathBuf, u32)>,
    regenerable: Vec<PathBuf>,
    pointers: Vec<PathBuf>,
    blockers: Vec<String>,
    unreadable: Option<String>,
    held: Reservation,
}

/// An entry of a directory.
#[derive(Clone, Copy)]
struct Entry<'a> {
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Its path in the tree, and the depth of the directory.
    path: &'a Path,
    depth: usize,
}

impl Walk<'_> {
    /// Lists a directory. If git tracks nothing in it, `above` is its parent, and its name there:
    /// then it may be a tool's.
    fn directory(
        &mut self,
        directory: OwnedFd,
        path: &Path,
        depth: usize,
        above: Option<(BorrowedFd<'_>, &OsStr)>,
    ) -> io::Result<()> {
        let mut entries = Dir::new(directory)?;
        let (mut names, mut listed) = (Vec::new(), self.rules.stop.hold());
        for entry in entries.by_ref() {
            let name = entry?.file_name().to_owned();
            listed.more(name.as_bytes().len().saturating_add(A_NAME))?;
            names.push(name);
        }
        if above.is_some_and(|(parent, name)| regenerable::is_signed(parent, name, &names)) {
            self.directories.pop();
            self.regenerable.push(path.to_owned());
            return Ok(());
        }
        // In the order of paths, so that nothing has to be sorted later.
        names.sort_unstable();
        let directory = entries.fd()?;
        for name in names.iter().filter(|name| !openat::is_dots(name)) {
            go_on(Some(self.rules.stop))?;
            let name = OsStr::from_bytes(name.to_bytes());
            let path = path.join(name);
            let entry = Entry {
                parent: directory,
                name,
                path: &path,
                depth,
            };
            self.entry(entry).map_err(|error| {
                io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let Entry {
            parent,
            name,
            path,
            depth,
        } = entry;
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // The listing or a blocker will contain its path.
        self.held.path(path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if name == ".git" && depth == 0 => {
                self.blockers.push(ANNEX.to_owned());
            }
            _ if name == ".git" && depth == 0 => {}
            FileType::RegularFile if name == ".git" => self.pointers.push(path.to_owned()),
            // In upper or lower case: git accepts no path with such a part.
            _ if name.eq_ignore_ascii_case(".git") => self.block(path, "is a nested repo"),
            _ if path.as_os_str().len() > self.longest => {
                self.block(path, "is reached by a path that is too long to be opened");
            }
            FileType::RegularFile | FileType::Symlink if self.is_made(entry) => {}
            kind @ (FileType::RegularFile | FileType::Symlink) => {
                if kind == FileType::RegularFile && self.unreadable.is_none() {
                    self.unreadable = unreadable(parent, name, &stat)
                        .map(|why| format!("{}: {why}", path.display()));
                }
                self.files.push((path.to_owned(), stamp(&stat)));
            }
            FileType::Directory if name == ".jj" && depth == 0 && is_jj(parent) => {
                self.blockers.push(JJ.to_owned());
            }
            FileType::Directory if depth >= DEEPEST => self.block(path, "is nested too deep"),
            FileType::Directory => {
                match openat::below(parent, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY) {
                    // The kernel also refuses a mount of the same file system, which has the same
                    // device number.
                    Err(Errno::XDEV) => self.block(path, "is another mount"),
                    opened => self.below(entry, opened?, &stat)?,
                }
            }
            _ => self.block(path, "is neither file, link nor directory"),
        }
        Ok(())
    }

    /// Returns whether a file or link is regenerable, and git doesn't track it.
    fn is_made(&self, entry: Entry<'_>) -> bool {
        let rules = self.rules;
        regenerable::recognise_file(entry.parent, entry.name, rules.made_again, rules.stop)
            && !(rules.tracked)(entry.path)
    }

    fn below(&mut self, entry: Entry<'_>, directory: OwnedFd, stat: &Stat) -> io::Result<()> {
        let Entry {
            parent,
            name,
            path,
            depth,
        } = entry;
        let tracked = (self.rules.tracked)(path);
        if tracked || !regenerable::recognise(parent, name, self.rules.made_again) {
            self.directories
                .push((path.to_owned(), stat.st_mode & 0o7777));
            return self.directory(
                directory,
                path,
                depth.saturating_add(1),
                (!tracked).then_some((parent, name)),
            );
        }
        self.regenerable.push(path.to_owned());
        Ok(())
    }

    /// Lists somebody's files in a regenerable directory, with the directories above them.
    fn look_through(&mut self, top: &VolumePath, path: &Path) -> io::Result<()> {
        let place = top.join(path)?;
        let found = regenerable::look_through(&place, self.rules.made_again, self.rules.stop)?;
        for repo in found.repos {
            self.block(&path.join(repo), "is a nested repo");
        }
        let mut above = BTreeMap::new();
        for somebodys in found.somebodys {
            let path = path.join(somebodys);
            for directory in path
                .ancestors()
                .skip(1)
                .filter(|directory| !directory.as_os_str().is_empty())
            {
                if !above.contains_key(directory) {
                    let stat = openat::stat(&top.join(directory)?)?;
                    above.insert(directory.to_owned(), stat.st_mode & 0o7777);
                }
            }
            let (parent, name) =
                openat::parent(&top.join(&path)?).map(|(fd, name)| (fd, name.to_owned()))?;
            self.entry(Entry {
                parent: parent.as_fd(),
                name: &name,
                path: &path,
                depth: path.components().count(),
            })?;
        }
        self.directories.extend(above);
        Ok(())
    }

    fn block(&mut self, path: &Path, what: &str) {
        self.blockers.push(format!("{} {what}", shortened(path)));
    }
}

/// Formats a path for a reason, shortened if it would fill a screen.
fn shortened(path: &Path) -> String {
    let path = path.to_string_lossy();
    match path.char_indices().nth(NAMED) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.into_owned(),
    }
}

/// The user that this process runs as. It never changes, and asking for each file adds up.
static ME: LazyLock<Uid> = LazyLock::new(rustix::process::geteuid);

/// Returns why a file can't be read; none if it can. The kernel is asked only if the file's mode
/// doesn't show it.
fn unreadable(parent: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Option<io::Error> {
    if let Some(why) = anothers(stat.st_uid) {
        return Some(why);
    }
    let plain = if stat.st_uid == ME.as_raw() {
        stat.st_mode & 0o400 != 0
    } else {
        stat.st_mode & 0o044 == 0o044
    };
    if plain {
        return None;
    }
    rustix::fs::accessat(parent, name, rustix::fs::Access::READ_OK, AtFlags::empty())
        .err()
        .map(|errno| unread(errno.into(), stat))
}

/// Adds whose file it is to why it can't be read.
fn unread(cause: io::Error, stat: &Stat) -> io::Error {
    if cause.kind() != io::ErrorKind::PermissionDenied {
        return cause;
    }
    let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
    let me = ME.as_raw();
    let is =
        format!("{cause}: it belongs to uid {owner}, with mode {mode:04o}, and this is uid {me}");
    io::Error::new(cause.kind(), is)
}

/// Returns why this user's file is not read: root may read everybody's files, and a rescue would
/// hand them to whoever may read the repo. If we aren't root, the kernel decides.
pub fn anothers(user: u32) -> Option<io::Error> {
    let message = || {
        format!(
            "it belongs to user {user}, and root rescues nobody else's files: `chown` it, or run as that user"
        )
    };
    (ME.is_root() && user != ME.as_raw())
        .then(|| io::Error::new(io::ErrorKind::PermissionDenied, message()))
}

/// Returns whether the file server still has these files as they were listed. A stat alone may come
/// from an NFS client's cache, seconds to a minute old, and another machine may have written since.
/// Costs two round trips per file, on the current rayon pool.
///
/// # Errors
/// A file can't be inspected.
pub fn still_so(place: &VolumePath, listing: &Listing) -> io::Result<bool> {
    let so = |(path, listed): (&PathBuf, &Stamp)| {
        let place = place.join(path)?;
        let (parent, name) = openat::parent(&place)?;
        match rustix::fs::statx(
            &parent,
            name,
            AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC,
            StatxFlags::BASIC_STATS,
        ) {
            Ok(_) | Err(Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(stamp(&rustix::fs::statat(
            &parent,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?) == *listed)
    };
    listing
        .files
        .par_iter()
        .map(so)
        .try_reduce(|| true, |one, other| Ok(one && other))
}

/// Returns the git blob id of a file of the tree, without any filter.
///
/// # Errors
/// It can't be read.
pub fn hash(place: &VolumePath, file: &Path, stamp: &Stamp, stop: &Stop) -> io::Result<git2::Oid> {
    let place = place.join(file)?;
    if stamp.is_link() {
        return git2::Oid::hash_object(git2::ObjectType::Blob, &link_target(&place)?)
            .map_err(io::Error::other);
    }
    let open = openat::file(&place)?;
    // If its length has changed since it was listed, it is another file, and `sha1::blob` fails.
    if stamp.size > AT_ONCE || open.metadata()?.len() != stamp.size {
        return sha1::blob(stamp.size, open.take(stamp.size.saturating_add(1)), stop);
    }
    stop.read(stamp.size)?;
    // By descriptor: the path could be another file by now.
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    git2::Oid::hash_file(git2::ObjectType::Blob, through).map_err(io::Error::other)
}

/// Returns the target of a link, as bytes.
///
/// # Errors
/// It can't be read.
pub fn link_target(place: &VolumePath) -> io::Result<Vec<u8>> {
    let (parent, name) = openat::parent(place)?;
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// Converts git's bytes to a path.
pub fn path_of(bytes: impl Into<Vec<u8>>) -> PathBuf {
    std::ffi::OsString::from_vec(bytes.into()).into()
}
