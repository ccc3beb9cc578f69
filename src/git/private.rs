//! A private git dir, which the caller's git obeys.
//!
//! Config, HEAD, refs, `shallow` and alternates are in a private scratch directory outside the
//! volume, because agents can write anywhere on the volume while git works, even in the state
//! directory. Large data stays on the volume and is reached through descriptors (`/proc/PID/fd/N`),
//! so that no planted link leads git elsewhere: fetched packs go to one directory, and a repo's
//! objects are read from their directories, as data. So nothing here links to a path on the volume,
//! and git sees no other alternates file.

use super::GitError;
use super::caller::Caller;
use crate::fs::openat::{self, found};
use crate::fs::scratch::Scratch;
use crate::fs::stop::Stop;
use rustix::fs::OFlags;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIG: &str =
    "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tlogAllRefUpdates = false\n";

/// Settings that override the caller's config: everything fetched becomes one pack, and the index
/// has the plain format.
const SETTINGS: [(&str, &str); 8] = [
    ("fetch.unpackLimit", "1"),
    ("fetch.writeCommitGraph", "false"),
    ("core.bare", "false"),
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("core.sparseCheckout", "false"),
    ("index.sparse", "false"),
    ("index.version", "2"),
];

/// A ref and its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Its full name.
    pub name: String,
    /// The object's id.
    pub id: String,
    /// The object that an annotated tag peels to.
    pub peeled: Option<String>,
}

/// A private git dir: see the module.
pub struct Private {
    scratch: Scratch,
    held: Vec<OwnedFd>,
    alternates: Vec<u8>,
}

impl Private {
    /// Creates one that stores its packs in the directory `packs`.
    ///
    /// # Errors
    /// Scratch space can't be written.
    pub fn new(packs: OwnedFd) -> io::Result<Self> {
        let scratch = Scratch::caller()?;
        let mut private = Self {
            scratch,
            held: Vec::new(),
            alternates: Vec::new(),
        };
        let git_dir = private.git_dir();
        for directory in ["", "refs", "objects", "objects/info"] {
            std::fs::create_dir(git_dir.join(directory))?;
        }
        std::fs::create_dir(private.empty())?;
        std::fs::write(git_dir.join("config"), CONFIG)?;
        std::fs::write(git_dir.join("HEAD"), "ref: refs/heads/main\n")?;
        symlink(private.hold(packs), git_dir.join("objects/pack"))?;
        Ok(private)
    }

    /// Lets git read the objects of a store.
    ///
    /// # Errors
    /// It can't be opened or listed.
    pub fn borrow(&mut self, objects: &OwnedFd) -> io::Result<()> {
        let lent = self
            .scratch
            .path()
            .join(format!("lent-{}", self.held.len()));
        std::fs::create_dir_all(lent.join("objects"))?;
        for (name, _) in openat::list(openat::below(
            objects,
            Path::new("."),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )?)? {
            let is_loose = name.len() == 2
                && name
                    .to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit());
            if !is_loose && name != "pack" {
                continue;
            }
            // The descriptor keeps this directory: one that takes its name later is not used.
            if let Some(directory) = found(
                openat::below(objects, Path::new(&name), OFlags::PATH | OFlags::DIRECTORY)
                    .map_err(Into::into),
            )? {
                symlink(self.hold(directory), lent.join("objects").join(&name))?;
            }
        }
        self.alternates
            .extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(
                lent.join("objects").as_os_str(),
            ));
        self.alternates.push(b'\n');
        std::fs::write(
            self.git_dir().join("objects/info/alternates"),
            &self.alternates,
        )
    }

    /// Keeps a directory open, and returns a path by which other processes can open it, even if its
    /// name changes.
    fn hold(&mut self, directory: OwnedFd) -> PathBuf {
        let path = PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            directory.as_raw_fd()
        ));
        self.held.push(directory);
        path
    }

    /// Writes the existing refs, so that git fetches only what is new, and the commits at which
    /// history is cut off.
    ///
    /// # Errors
    /// Scratch space can't be written.
    pub fn know(&self, refs: &[Ref], shallow: Option<&[u8]>) -> io::Result<()> {
        let lines: Vec<String> = refs
            .iter()
            .map(|Ref { name, id, .. }| format!("{id} {name}\n"))
            .collect();
        std::fs::write(self.git_dir().join("packed-refs"), lines.concat())?;
        shallow.map_or(Ok(()), |shallow| {
            std::fs::write(self.git_dir().join("shallow"), shallow)
        })
    }

    /// Returns the directory in which git-lfs looks for large files before it fetches them. It
    /// trusts what it finds there.
    pub fn large_files(&self) -> PathBuf {
        self.git_dir().join("lfs/objects")
    }

    /// Moves git-lfs's directory into `room`, and returns the path of what it fetched; none if it
    /// fetched nothing. Until then the directory stays in its default place: git-lfs would apply a
    /// setting for it to a remote in a directory, too.
    ///
    /// # Errors
    /// It can't be moved.
    pub fn take_large_files(&self, room: &Path) -> io::Result<Option<PathBuf>> {
        let taken = room.join("lfs");
        Ok(found(std::fs::rename(self.git_dir().join("lfs"), &taken))?
            .map(|()| taken.join("objects")))
    }

    /// Returns the caller's git for this git dir and the worktree `tree`.
    pub fn caller<'a>(&'a self, tree: &'a Path, stop: &'a Stop, limit: Duration) -> Caller<'a> {
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let caller = Caller::new(tree, stop, limit).with(settings);
        caller
            .place("GIT_DIR", self.git_dir())
            .place("GIT_WORK_TREE", tree)
    }

    /// Returns all refs, sorted by name. With `peeled`, also what annotated tags peel to, for which
    /// git reads each tag.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn refs(&self, peeled: bool, stop: &Stop, limit: Duration) -> Result<Vec<Ref>, GitError> {
        let empty = self.empty();
        let format = format!(
            "--format=%(objectname) {} %(refname)",
            if peeled { "%(*objectname)" } else { "" }
        );
        let listed = self
            .caller(&empty, stop, limit)
            .run(&["for-each-ref", &format])?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let read = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (id, peeled, name) = (words.next()?, words.next()?, words.next()?);
            Some(Ref {
                name: name.to_owned(),
                id: id.to_owned(),
                peeled: Some(peeled.to_owned()).filter(|peeled| !peeled.is_empty()),
            })
        };
        Ok(listed.lines().filter_map(read).collect())
    }

    /// Returns the commits at which history is cut off; none if it is complete.
    ///
    /// # Errors
    /// It can't be read.
    pub fn shallow(&self) -> io::Result<Option<Vec<u8>>> {
        found(std::fs::read(self.git_dir().join("shallow")))
    }

    /// Returns the loose objects that a fetch by git's plain protocol leaves, as paths, and with
    /// their names below `objects`.
    ///
    /// # Errors
    /// The scratch directory is gone.
    pub fn loose(&self) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        let objects = self.git_dir().join("objects");
        let mut loose = Vec::new();
        for directory in std::fs::read_dir(&objects)? {
            let directory = directory?;
            if directory.file_name().len() == 2 {
                for file in std::fs::read_dir(directory.path())? {
                    let file = file?;
                    loose.push((
                        file.path(),
                        Path::new(&directory.file_name()).join(file.file_name()),
                    ));
                }
            }
        }
        Ok(loose)
    }

    /// Returns the mode that the caller's umask gives to a new directory.
    ///
    /// # Errors
    /// The scratch directory is gone.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(std::fs::metadata(self.empty())?.permissions().mode() & 0o777)
    }

    fn git_dir(&self) -> PathBuf {
        self.scratch.path().join("git")
    }

    /// Returns an empty directory, in which git may be started.
    pub fn empty(&self) -> PathBuf {
        self.scratch.path().join("empty")
    }
}
