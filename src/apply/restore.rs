//! Bringing a rescue back: files and links, folders with their modes, and a worktree around them.
//!
//! What a rescue holds was written by agents, and where it goes may be theirs too: every folder is opened by descriptor from the one above,
//! no link is followed, and a file is made anew or replaced whole. It must never write outside the folder it was given, nor over a file that
//! differs, unless it was told to.

use super::trash::{Trash, TrashError};
use crate::beneath::{self, found};
use crate::inside::Inside;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::shadow::Shadow;
use crate::stop::Stop;
use crate::survey::rescues::{Held, Piece, Pieces};
use git2::{ObjectType, Oid, Repository};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A rescue could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git's store can't be read or written.
    #[error("failed to read the rescue: {}; see `git fsck`", .0.message())]
    Git(#[from] git2::Error),
    /// One file or folder can't be made.
    #[error("failed to restore `{path}`: {cause}")]
    Piece {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something else stands there.
    #[error("nothing was restored, since these differ from what stands there: {}; give --force to replace them, or --to DIR for another place", named(.0))]
    Differs(Vec<PathBuf>),
    /// The worktree itself can't be made.
    #[error("failed to make a worktree at `{place}`: {cause}; give --to DIR for another place")]
    Place {
        /// Where.
        place: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What was half made can't go.
    #[error(transparent)]
    Trash(#[from] TrashError),
}

fn named(paths: &[PathBuf]) -> String {
    let some: Vec<String> = paths.iter().take(5).map(|path| format!("`{}`", path.display())).collect();
    let more = if paths.len() > some.len() { format!(" and {} more", paths.len() - some.len()) } else { String::new() };
    some.join(", ") + &more
}

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files and links that were written.
    pub written: usize,
    /// Those that stood there already, the same.
    pub same: usize,
}

/// Who restores: the lock is the proof that nobody else works in the repo.
pub struct Restore<'a> {
    /// The proof.
    pub lock: &'a LockedRepo,
    /// The repo behind its shadow.
    pub shadow: &'a Shadow,
    /// Where what was half made goes.
    pub trash: &'a Trash,
    /// When to stop.
    pub stop: &'a Stop,
}

/// A worktree as it is to be registered.
pub struct Registration<'a> {
    /// The text of its `HEAD`.
    pub head: &'a str,
    /// The text of its reflog.
    pub log: &'a str,
    /// A folder of ours in which it is put together: on the same file system, and nobody else's.
    pub workshop: &'a Inside,
}

impl Restore<'_> {
    /// Puts `pieces` below the folder `base`. What stands there already and is the same stays as it is; where something differs, nothing at
    /// all is written, unless `force` says so.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn files(&self, pieces: &Pieces, base: OwnedFd, owner: Option<(Uid, Gid)>, force: bool) -> Result<Restored, RestoreError> {
        self.lock.still_held()?;
        let repo = self.shadow.open()?;
        Writer { repo: &repo, base, owner }.put(pieces, force)
    }

    /// Puts the whole tree together and registers it as a worktree at `place`: first the registration, then the tree, each with one rename.
    ///
    /// # Errors
    /// [`RestoreError`]: there is no new worktree, and no half of one.
    pub fn worktree(&self, held: &Held, place: &Inside, registration: &Registration<'_>) -> Result<Restored, RestoreError> {
        let failed = |cause| RestoreError::Place { place: place.path(), cause };
        // What a killed restore left there, for nobody else works in this repo.
        self.discard(registration.workshop)?;
        let made = self.assemble(held, place, registration).map_err(|error| match error {
            Assembly::Io(cause) => failed(cause),
            Assembly::Restore(error) => error,
        });
        if let Err(error) = self.discard(registration.workshop) {
            tracing::warn!(%error, "a workshop stays; the next restore clears it");
        }
        made
    }

    fn discard(&self, what: &Inside) -> Result<(), RestoreError> {
        if found(beneath::stat(what)).is_ok_and(|stat| stat.is_none()) {
            return Ok(());
        }
        let failed = |cause| RestoreError::Place { place: what.path(), cause };
        let bin = self.trash.bin(None).map_err(failed)?;
        bin.take(self.lock, what)?;
        // What can't be deleted now goes with the next night.
        bin.empty(self.stop).map(drop).map_err(failed)
    }

    fn assemble(&self, held: &Held, place: &Inside, registration: &Registration<'_>) -> Result<Restored, Assembly> {
        let git_dir = self.shadow.git_dir();
        let owner = owner_of(git_dir)?;
        let root = || beneath::root(place.root());
        let workshop = folders(root()?, registration.workshop.relative(), None, &|_| 0o700)?;
        let (tree, admin) = (Path::new("tree"), Path::new("admin"));
        let id = self.free_id(place)?;
        let repo = self.shadow.open().map_err(RestoreError::from)?;

        let pieces = held.pieces(Path::new(""))?;
        let top = folders(&workshop, tree, owner, &|_| 0o700)?;
        let writer = Writer { repo: &repo, base: top, owner };
        let restored = writer.put(&pieces, false)?;
        let admins = git_dir.path().join("worktrees");
        writer.text(".git", &[b"gitdir: ", admins.join(&id).as_os_str().as_bytes(), b"\n"].concat())?;
        writer.finish(held.manifest.mode.unwrap_or(0o755) & 0o7777)?;

        let desk = Writer { repo: &repo, base: folders(&workshop, admin, owner, &|_| 0o700)?, owner };
        desk.text("commondir", b"../..\n")?;
        desk.text("gitdir", &[place.path().join(".git").as_os_str().as_bytes(), b"\n"].concat())?;
        desk.text("HEAD", registration.head.as_bytes())?;
        if let Some(index) = &held.index {
            desk.text("index", index)?;
        }
        let logs = folders(&desk.base, Path::new("logs"), owner, &|_| 0o755)?;
        Writer { repo: &repo, base: logs, owner }.text("HEAD", registration.log.as_bytes())?;
        desk.finish(0o755)?;

        self.lock.still_held().map_err(RestoreError::from)?;
        let registry = folders(beneath::dir(git_dir)?, Path::new("worktrees"), owner, &|_| 0o755)?;
        let stands_in = match place.relative().parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => folders(root()?, parent, owner, &|_| 0o755)?,
            None => root()?,
        };
        rustix::fs::renameat(&workshop, admin, &registry, &id)?;
        let name = place.relative().file_name().unwrap_or_default();
        // A folder's rename replaces nothing but an empty folder.
        if let Err(error) = rustix::fs::renameat(&workshop, tree, &stands_in, name) {
            rustix::fs::renameat(&registry, &id, &workshop, admin)?;
            return Err(match error {
                Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => io::Error::other("something stands there").into(),
                error => io::Error::from(error).into(),
            });
        }
        Ok(restored)
    }

    /// A name in the registry that nobody has: the tree's own, with a number where that one is taken.
    fn free_id(&self, place: &Inside) -> io::Result<String> {
        let name = place.relative().file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
        for number in 0.. {
            let id = if number == 0 { name.clone() } else { format!("{name}{number}") };
            let taken = self.shadow.git_dir().join("worktrees").and_then(|admins| admins.join(&id)).map_err(io::Error::other)?;
            if found(beneath::stat(&taken))?.is_none() {
                return Ok(id);
            }
        }
        unreachable!("the loop returns")
    }
}

/// Why a worktree could not be put together.
enum Assembly {
    Io(io::Error),
    Restore(RestoreError),
}

impl<E: Into<io::Error>> From<E> for Assembly {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl From<RestoreError> for Assembly {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

/// Whom the repo belongs to: what root restores is for its agents.
///
/// # Errors
/// It can't be looked at.
pub fn owner_of(git_dir: &Inside) -> io::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let stat = beneath::stat(git_dir)?;
    Ok(Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))))
}

/// Opens the folder `path` below `base`, and makes what is missing on the way, without following a link.
///
/// # Errors
/// Something else stands on the way.
pub fn folders(base: impl AsFd, path: &Path, owner: Option<(Uid, Gid)>, mode: &dyn Fn(&Path) -> u32) -> io::Result<OwnedFd> {
    let mut fd = open_folder(base.as_fd(), Path::new("."))?;
    let mut above = PathBuf::new();
    for name in path {
        above.push(name);
        match rustix::fs::mkdirat(&fd, name, Mode::RWXU) {
            Ok(()) => {
                let made = open_folder(&fd, Path::new(name))?;
                give(&made, owner)?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(mode(&above)))?;
                fd = made;
            }
            Err(Errno::EXIST) => fd = open_folder(&fd, Path::new(name))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(fd)
}

fn open_folder(base: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    beneath::below(base, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| io::Error::other(beneath::cause(errno)))
}

fn give(fd: impl AsFd, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}

/// Writes below one folder.
struct Writer<'a> {
    repo: &'a Repository,
    base: OwnedFd,
    owner: Option<(Uid, Gid)>,
}

/// What stands where a piece is to go.
enum Standing {
    Nothing,
    Same,
    Other,
}

impl Writer<'_> {
    fn put(&self, pieces: &Pieces, force: bool) -> Result<Restored, RestoreError> {
        let mut standing = Vec::new();
        for piece in &pieces.files {
            standing.push(self.standing(piece).map_err(|cause| RestoreError::Piece { path: piece.path.clone(), cause })?);
        }
        let others = || pieces.files.iter().zip(&standing).filter(|(_, standing)| matches!(standing, Standing::Other));
        if !force && others().next().is_some() {
            return Err(RestoreError::Differs(others().map(|(piece, _)| piece.path.clone()).collect()));
        }
        // Folders get their own modes last: one of them may forbid writing.
        let mut made = BTreeMap::new();
        let mut restored = Restored::default();
        for (path, mode) in &pieces.folders {
            let failed = |cause| RestoreError::Piece { path: path.clone(), cause };
            let parent = self.parent(path).map_err(failed)?;
            match rustix::fs::mkdirat(&parent, name(path), Mode::RWXU) {
                Ok(()) => drop(made.insert(path, *mode)),
                Err(Errno::EXIST) => drop(open_folder(&parent, Path::new(name(path))).map_err(failed)?),
                Err(error) => return Err(failed(error.into())),
            }
        }
        for (piece, standing) in pieces.files.iter().zip(&standing) {
            if matches!(standing, Standing::Same) {
                restored.same += 1;
            } else {
                self.piece(piece, standing).map_err(|cause| RestoreError::Piece { path: piece.path.clone(), cause })?;
                restored.written += 1;
            }
        }
        for (path, mode) in made.into_iter().rev() {
            let closed = self.folder(path).and_then(|fd| {
                give(&fd, self.owner)?;
                Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?)
            });
            closed.map_err(|cause| RestoreError::Piece { path: path.clone(), cause })?;
        }
        Ok(restored)
    }

    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        open_folder(&self.base, if path.as_os_str().is_empty() { Path::new(".") } else { path })
    }

    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        self.folder(path.parent().unwrap_or(Path::new("")))
    }

    fn standing(&self, piece: &Piece) -> io::Result<Standing> {
        let folder = piece.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = match beneath::below(&self.base, folder, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            parent => parent.map_err(|errno| io::Error::other(beneath::cause(errno)))?,
        };
        let stat = match rustix::fs::statat(&parent, name(&piece.path), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            stat => stat?,
        };
        let same = match (FileType::from_raw_mode(stat.st_mode), piece.mode) {
            (FileType::Directory, _) => return Err(io::Error::other("a folder stands there; move it away")),
            (FileType::RegularFile, Some(mode)) => stat.st_mode & 0o7777 == mode && hash(&parent, name(&piece.path))? == piece.blob,
            (FileType::Symlink, None) => {
                let target = rustix::fs::readlinkat(&parent, name(&piece.path), Vec::new())?;
                Oid::hash_object(ObjectType::Blob, target.as_bytes()).map_err(io::Error::other)? == piece.blob
            }
            _ => false,
        };
        Ok(if same { Standing::Same } else { Standing::Other })
    }

    fn piece(&self, piece: &Piece, standing: &Standing) -> io::Result<()> {
        let parent = self.parent(&piece.path)?;
        if matches!(standing, Standing::Nothing) {
            return self.make(&parent, name(&piece.path), piece);
        }
        // Written whole beside it first: whoever reads it sees the old one or the new one.
        let beside = format!(".treewarden-{}", uuid::Uuid::new_v4());
        self.make(&parent, OsStr::new(&beside), piece)?;
        Ok(rustix::fs::renameat(&parent, &beside, &parent, name(&piece.path))?)
    }

    fn make(&self, parent: &OwnedFd, name: &OsStr, piece: &Piece) -> io::Result<()> {
        let blob = self.repo.find_blob(piece.blob).map_err(io::Error::other)?;
        let Some(mode) = piece.mode else {
            rustix::fs::symlinkat(OsStr::from_bytes(blob.content()), parent, name)?;
            if let Some((uid, gid)) = self.owner {
                rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            return Ok(());
        };
        self.write(parent, name, blob.content(), mode)
    }

    /// A new file: one that stands there is never opened.
    fn write(&self, parent: &OwnedFd, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        give(&file, self.owner)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()
    }

    fn text(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(&self.base, OsStr::new(name), bytes, 0o644)
    }

    fn finish(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.base, Mode::from_raw_mode(mode))?)
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn hash(parent: &OwnedFd, name: &OsStr) -> io::Result<Oid> {
    let file = beneath::below(parent, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Oid::hash_file(ObjectType::Blob, through).map_err(io::Error::other)
}
