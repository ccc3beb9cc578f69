//! Restores a rescue: files and links, directories with their modes, and a worktree around them.
//!
//! Agents wrote the rescue's contents, and may own the destination: every directory is opened by
//! descriptor from its parent, no link is followed, and a file is created or replaced as a whole.
//! Nothing is written outside the given directory, and a file that differs is replaced only on
//! request.

use super::ownership::{directories, give, open_directory, owner_of};
use super::staging::{StagingDir, WorkshopError, free_id};
use super::trash::{Trash, TrashError};
use crate::fs::atomic::{put_where_none_is, remove_draft};
use crate::fs::humanize;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::sha1;
use crate::git::shadow::Shadow;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::survey::committed::Files;
use crate::survey::extensions;
use crate::survey::rescues::{Piece, Pieces, RescueContents};
use git2::{ObjectType, Oid, Repository};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a rescue could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git's store can't be read or written.
    #[error("failed to read the rescue: {}; see `git fsck`", .0.message())]
    Git(#[from] git2::Error),
    /// A file or directory can't be created.
    #[error("failed to restore `{path}`: {cause}")]
    Piece {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Files with other contents are in the way.
    #[error("nothing was restored, since these differ from what stands there: {}; give --force to replace them, or --to DIR for another place", named(.0))]
    Differs(Vec<PathBuf>),
    /// The worktree itself can't be created.
    #[error("failed to make a worktree at `{place}`: {cause}; give --to DIR for another place")]
    Place {
        /// Where.
        place: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A half-assembled worktree can't be removed.
    #[error(transparent)]
    Trash(#[from] TrashError),
}

fn named(paths: &[PathBuf]) -> String {
    let some: Vec<String> = paths
        .iter()
        .take(5)
        .map(|path| format!("`{}`", path.display()))
        .collect();
    humanize::of_all(&some, paths.len())
}

/// What was restored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files and links that were written.
    pub written: usize,
    /// Those that were there already, unchanged.
    pub same: usize,
}

/// What is needed to restore rescues.
pub struct Restore<'a> {
    /// The proof that nobody else works in the repo.
    pub lock: &'a LockedRepo,
    /// The repo behind its shadow.
    pub shadow: &'a Shadow,
    /// Where half-assembled directories are moved.
    pub trash: &'a Trash,
    /// When to stop.
    pub stop: &'a Stop,
}

/// The registration of a new worktree.
pub struct Registration<'a> {
    /// The text of its `HEAD`.
    pub head: &'a str,
    /// The text of its reflog.
    pub log: &'a str,
}

impl Restore<'_> {
    /// Writes `pieces` below the directory `base`. Existing files with the same contents and mode
    /// stay. If any file differs, nothing at all is written, unless `force`.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn files(
        &self,
        pieces: &Pieces,
        base: OwnedFd,
        owner: Option<(Uid, Gid)>,
        force: bool,
    ) -> Result<Restored, RestoreError> {
        self.lock.still_held()?;
        let repo = self.shadow.open()?;
        Writer {
            repo: &repo,
            shadow: self.shadow,
            stop: self.stop,
            base,
            owner,
        }
        .put(pieces, force)
    }

    /// Assembles the whole tree and registers it as a worktree at `place`: first the registration,
    /// then the tree, each with one rename.
    ///
    /// # Errors
    /// [`RestoreError`]: there is no new worktree, and no half of one.
    pub fn worktree(
        &self,
        saved: &RescueContents,
        place: &VolumePath,
        registration: &Registration<'_>,
    ) -> Result<Restored, RestoreError> {
        let made = StagingDir::with(self.lock, self.trash, self.stop, |staging| {
            self.assemble(staging, saved, place, registration)
        });
        made.map_err(|error| match error {
            Assembly::Io(cause) => RestoreError::Place {
                place: place.path(),
                cause,
            },
            Assembly::Restore(error) => error,
        })
    }

    fn assemble(
        &self,
        staging: &StagingDir<'_>,
        saved: &RescueContents,
        place: &VolumePath,
        registration: &Registration<'_>,
    ) -> Result<Restored, Assembly> {
        let git_dir = self.shadow.git_dir();
        let owner = owner_of(git_dir)?;
        let id = free_id(git_dir, place)?;
        let repo = self.shadow.open().map_err(RestoreError::from)?;

        let room = Writer {
            repo: &repo,
            shadow: self.shadow,
            stop: self.stop,
            base: staging.directory(Path::new(""))?,
            owner,
        };
        let admin = git_dir.path().join("worktrees").join(&id);
        let restored = room.below("tree", 0o700)?.tree(saved, &admin)?;
        room.below("admin", 0o700)?
            .registration(saved, place, registration)?;
        staging.put_worktree(git_dir, &id, place)?;
        Ok(restored)
    }
}

/// Returns the index without its optional extensions, which may name missing objects. Resolved
/// conflicts stay if the rescue has them all; one of an earlier version doesn't.
fn sound(repo: &Repository, saved: &RescueContents, index: &[u8]) -> io::Result<Vec<u8>> {
    let resolved = extensions::resolved(index)?;
    let held = |stage: &Files, held: &Files| {
        stage
            .iter()
            .all(|(path, entry)| held.get(path) == Some(entry) && repo.find_blob(entry.1).is_ok())
    };
    let all = resolved
        .iter()
        .zip(&saved.resolved)
        .all(|(stage, kept)| held(stage, kept));
    extensions::with(index, if all { &[extensions::RESOLVED] } else { &[] })
}

/// Why a worktree could not be assembled.
enum Assembly {
    Io(io::Error),
    Restore(RestoreError),
}

impl<E: Into<io::Error>> From<E> for Assembly {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl From<WorkshopError> for Assembly {
    fn from(error: WorkshopError) -> Self {
        match error {
            WorkshopError::Lock(error) => Self::Restore(error.into()),
            WorkshopError::Trash(error) => Self::Restore(error.into()),
            WorkshopError::Io(cause) => Self::Io(cause),
        }
    }
}

impl From<RestoreError> for Assembly {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

/// Writes below one directory.
struct Writer<'a> {
    repo: &'a Repository,
    shadow: &'a Shadow,
    stop: &'a Stop,
    base: OwnedFd,
    owner: Option<(Uid, Gid)>,
}

/// What is in the place of a piece.
enum Standing {
    Nothing,
    Same,
    Other,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RestoreError {
    move |cause| RestoreError::Piece {
        path: path.to_owned(),
        cause,
    }
}

impl Writer<'_> {
    /// Returns a writer for the directory `name`, which is created with `mode` if it is missing.
    fn below(&self, name: &str, mode: u32) -> io::Result<Self> {
        let base = directories(&self.base, Path::new(name), self.owner, &|_| mode)?;
        Ok(Self { base, ..*self })
    }

    /// Writes a whole tree here, with its registration at `admin`.
    fn tree(&self, saved: &RescueContents, admin: &Path) -> Result<Restored, Assembly> {
        let restored = self.put(&saved.pieces(Path::new(""))?, false)?;
        self.text(
            ".git",
            &[b"gitdir: ", admin.as_os_str().as_bytes(), b"\n"].concat(),
        )?;
        self.finish(saved.manifest.mode.unwrap_or(0o755) & 0o7777)?;
        Ok(restored)
    }

    /// Writes the registration of a tree that will be at `place`.
    fn registration(
        &self,
        saved: &RescueContents,
        place: &VolumePath,
        registration: &Registration<'_>,
    ) -> Result<(), Assembly> {
        self.text("commondir", b"../..\n")?;
        self.text(
            "gitdir",
            &[place.path().join(".git").as_os_str().as_bytes(), b"\n"].concat(),
        )?;
        self.text("HEAD", registration.head.as_bytes())?;
        if let Some(index) = &saved.index {
            self.text("index", &sound(self.repo, saved, index)?)?;
        }
        self.put(&saved.registered()?, false)?;
        self.below("logs", 0o755)?
            .text("HEAD", registration.log.as_bytes())?;
        Ok(self.finish(0o755)?)
    }

    fn put(&self, pieces: &Pieces, force: bool) -> Result<Restored, RestoreError> {
        let mut standing = Vec::new();
        for piece in &pieces.files {
            standing.push(self.standing(piece).map_err(failed(&piece.path))?);
        }
        let others = || {
            pieces
                .files
                .iter()
                .zip(&standing)
                .filter(|(_, standing)| matches!(standing, Standing::Other))
        };
        if !force && others().next().is_some() {
            return Err(RestoreError::Differs(
                others().map(|(piece, _)| piece.path.clone()).collect(),
            ));
        }
        // Directories get their own modes last: one of them may forbid writing.
        let made = self.make_directories(pieces)?;
        let mut restored = Restored::default();
        for (piece, standing) in pieces.files.iter().zip(&standing) {
            if matches!(standing, Standing::Same) {
                restored.same = restored.same.saturating_add(1);
            } else {
                self.piece(piece, standing).map_err(failed(&piece.path))?;
                restored.written = restored.written.saturating_add(1);
            }
        }
        self.finish_directories(made)?;
        Ok(restored)
    }

    /// Creates the missing directories. Returns them, with their final modes.
    fn make_directories<'b>(
        &self,
        pieces: &'b Pieces,
    ) -> Result<BTreeMap<&'b PathBuf, u32>, RestoreError> {
        let mut made = BTreeMap::new();
        for (path, mode) in &pieces.directories {
            let failed = failed(path);
            let parent = self.parent(path).map_err(&failed)?;
            match rustix::fs::mkdirat(&parent, name(path), Mode::RWXU) {
                Ok(()) => drop(made.insert(path, *mode)),
                Err(Errno::EXIST) => {
                    drop(open_directory(&parent, Path::new(name(path))).map_err(failed)?);
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(made)
    }

    /// Sets the owner and modes of the created directories, the innermost first.
    fn finish_directories(&self, made: BTreeMap<&PathBuf, u32>) -> Result<(), RestoreError> {
        for (path, mode) in made.into_iter().rev() {
            let closed = self.directory(path).and_then(|fd| {
                give(&fd, self.owner)?;
                Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?)
            });
            closed.map_err(failed(path))?;
        }
        Ok(())
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        open_directory(
            &self.base,
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            },
        )
    }

    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        self.directory(path.parent().unwrap_or(Path::new("")))
    }

    fn standing(&self, piece: &Piece) -> io::Result<Standing> {
        let directory = piece
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let parent = match openat::below(&self.base, directory, OFlags::RDONLY | OFlags::DIRECTORY)
        {
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            parent => parent.map_err(|errno| io::Error::other(openat::cause(errno)))?,
        };
        let stat = match rustix::fs::statat(&parent, name(&piece.path), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            stat => stat?,
        };
        let same = match (FileType::from_raw_mode(stat.st_mode), piece.mode) {
            (FileType::Directory, _) => {
                return Err(io::Error::other("a directory stands there; move it away"));
            }
            (FileType::RegularFile, Some(mode)) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
                let open = || openat::below(&parent, Path::new(name(&piece.path)), flags);
                stat.st_mode & 0o7777 == mode && self.is_blob(&File::from(open()?), piece)?
            }
            (FileType::Symlink, None) => {
                let target = rustix::fs::readlinkat(&parent, name(&piece.path), Vec::new())?;
                Oid::hash_object(ObjectType::Blob, target.as_bytes()).map_err(io::Error::other)?
                    == piece.blob
            }
            _ => false,
        };
        Ok(if same {
            Standing::Same
        } else {
            Standing::Other
        })
    }

    /// Checks whether a file has the piece's content. It is read only if it has the blob's size.
    fn is_blob(&self, file: &File, piece: &Piece) -> io::Result<bool> {
        let odb = self.repo.odb().map_err(io::Error::other)?;
        let (size, _) = odb.read_header(piece.blob).map_err(io::Error::other)?;
        let (size, stands) = (size as u64, file.metadata()?);
        if !stands.is_file() || stands.len() != size {
            return Ok(false);
        }
        match sha1::blob(size, file.take(size), self.stop) {
            Ok(id) => Ok(id == piece.blob),
            // It was shortened meanwhile.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn piece(&self, piece: &Piece, standing: &Standing) -> io::Result<()> {
        let parent = self.parent(&piece.path)?;
        // Written beside it first, as a whole: a reader sees what was there or the new file, and
        // never damaged content.
        let beside = format!(".treewarden-{}", uuid::Uuid::new_v4());
        let (beside, name) = (OsStr::new(&beside), name(&piece.path));
        let put = || -> io::Result<()> {
            self.make(&parent, beside, piece)?;
            match standing {
                Standing::Nothing => put_where_none_is(&parent, beside, name),
                Standing::Same | Standing::Other => {
                    Ok(rustix::fs::renameat(&parent, beside, &parent, name)?)
                }
            }
        };
        put().inspect_err(|_| remove_draft(&parent, beside))
    }

    fn make(&self, parent: &OwnedFd, name: &OsStr, piece: &Piece) -> io::Result<()> {
        let Some(mode) = piece.mode else {
            let blob = self.repo.find_blob(piece.blob).map_err(io::Error::other)?;
            rustix::fs::symlinkat(OsStr::from_bytes(blob.content()), parent, name)?;
            if let Some((uid, gid)) = self.owner {
                rustix::fs::chownat(
                    parent,
                    name,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            return Ok(());
        };
        let mut blob = self.shadow.blob(self.repo, piece.blob, self.stop)?;
        let mut file = self.write(parent, name, &mut blob, mode)?;
        file.rewind()?;
        // Content that is damaged in the store is an error.
        if self.is_blob(&file, piece)? {
            Ok(())
        } else {
            Err(io::Error::other(
                "its content in the store is damaged; see `git fsck`",
            ))
        }
    }

    /// Writes a new file: an existing one is never opened.
    fn write(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        content: &mut dyn Read,
        mode: u32,
    ) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        io::copy(content, &mut file)?;
        give(&file, self.owner)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        Ok(file)
    }

    fn text(&self, name: &str, mut bytes: &[u8]) -> io::Result<()> {
        self.write(&self.base, OsStr::new(name), &mut bytes, 0o644)
            .map(drop)
    }

    fn finish(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.base, Mode::from_raw_mode(mode))?)
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}
