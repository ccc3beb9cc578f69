//! Which repo, and which of its trees, a directory belongs to.
//!
//! The config says where checkouts are, and each repo's registrations say where its worktrees are.
//! They are compared by device and inode with the directory and all that are above it. A `.git`
//! that lies about decides nothing, because anybody can write one: a worktree counts if it is
//! registered, and its `.git` file points back.

use crate::config::policy::{self, Policy};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use crate::survey::{registry, worktree};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory's device and inode.
type Identity = (u64, u64);

/// A directory that somebody stands in or names.
#[derive(Debug)]
pub struct Here {
    directory: OwnedFd,
    /// The path that the kernel has for it.
    path: PathBuf,
}

/// A repo's checkout, or one of its worktrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The directory.
    pub place: VolumePath,
    /// The worktree's admin directory; none for the checkout.
    pub admin: Option<VolumePath>,
}

impl Here {
    /// Opens the current directory.
    ///
    /// # Errors
    /// It is gone, or can't be inspected.
    pub fn now() -> io::Result<Self> {
        Self::at(Path::new("."))
    }

    /// Opens a directory that the caller names.
    ///
    /// # Errors
    /// As [`Here::now`].
    pub fn at(path: &Path) -> io::Result<Self> {
        let directory = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        if rustix::fs::fstat(&directory)?.st_nlink == 0 {
            return Err(Errno::NOENT.into());
        }
        let path = std::fs::read_link(itself(&directory))?;
        Ok(Self { directory, path })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns another descriptor of it.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn directory(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }

    /// Returns the innermost tree of any repo that it is in.
    ///
    /// # Errors
    /// The directories above it can't be inspected.
    pub fn repo<'a>(&self, policy: &'a Policy) -> io::Result<Option<(&'a policy::Repo, Tree)>> {
        let above = self.above()?;
        let found = policy
            .repos
            .iter()
            .filter_map(|repo| Some((repo, innermost(&above, repo)?)));
        let nearest = found.min_by_key(|(_, (depth, _))| *depth);
        Ok(nearest.map(|(repo, (_, tree))| (repo, tree)))
    }

    /// Returns the innermost tree of this repo that it is in.
    ///
    /// # Errors
    /// As [`Here::repo`].
    pub fn tree(&self, repo: &policy::Repo) -> io::Result<Option<Tree>> {
        Ok(innermost(&self.above()?, repo).map(|(_, tree)| tree))
    }

    /// Returns the directory and those above it, the nearest first. It ends below the first one
    /// that may not be passed.
    fn above(&self) -> io::Result<Vec<Identity>> {
        let mut above = vec![identity(&rustix::fs::fstat(&self.directory)?)];
        let mut directory = self.directory.try_clone()?;
        loop {
            directory = match rustix::fs::openat(&directory, "..", DIRECTORY, Mode::empty()) {
                Ok(parent) => parent,
                Err(Errno::ACCESS) => return Ok(above),
                Err(error) => return Err(error.into()),
            };
            let parent = identity(&rustix::fs::fstat(&directory)?);
            // The root is its own parent.
            if above.last() == Some(&parent) {
                return Ok(above);
            }
            above.push(parent);
        }
    }
}

/// Returns the path by which the kernel finds an open directory.
fn itself(directory: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

fn identity(stat: &rustix::fs::Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Returns the repo's tree that is nearest among these directories, and how far it is. What can't
/// be read or is malformed is no tree: a broken registration must not keep others from their work.
fn innermost(above: &[Identity], repo: &policy::Repo) -> Option<(usize, Tree)> {
    let depth = |place: &VolumePath| {
        let there = identity(&openat::stat(place).ok()?);
        above.iter().position(|known| *known == there)
    };
    let worktree = |admin: VolumePath| {
        let place = VolumePath::new(admin.root(), &worktree::place(&admin).ok()?).ok()?;
        let depth = depth(&place)?;
        worktree::tree_of(&admin).ok()??;
        let admin = Some(admin);
        Some((depth, Tree { place, admin }))
    };
    let checkout = depth(&repo.place).map(|depth| {
        let place = repo.place.clone();
        (depth, Tree { place, admin: None })
    });
    let admins = layout::find(&repo.place, &repo.assigned)
        .ok()
        .and_then(|layout| registry::admins(&layout.git_dir).ok());
    let worktrees = admins.into_iter().flatten().filter_map(worktree);
    worktrees.chain(checkout).min_by_key(|(depth, _)| *depth)
}
