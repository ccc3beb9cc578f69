//! Facts about a worktree or a loose clone. A tree that could not be read is unknown, with the cause, and so neither
//! missing nor clean.

use super::rescue::Own;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use std::path::PathBuf;
use std::sync::Arc;

/// A worktree in the repo's registry, or a loose clone of its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// The admin directory's name below `worktrees/`; a clone's own name.
    pub id: String,
    /// The admin directory; a clone's git dir.
    pub admin: VolumePath,
    /// If it is a loose clone: the git dir of the enrolled repo with the same origin.
    pub clone_of: Option<VolumePath>,
    /// The repo's main checkout, whose files a tree may have copies of.
    pub checkout: Option<VolumePath>,
    /// The tree's registered path, which may be outside the volume.
    pub path: PathBuf,
    /// The full ref name HEAD points to; none when detached or unreadable.
    pub branch: Option<String>,
    /// The commit that HEAD names, in hex; none for an unborn branch.
    pub head: Option<String>,
    /// The reason of `git worktree lock`, which may be empty.
    pub locked: Option<String>,
    /// Set if the lock's reason names a dead process of this machine.
    pub dead_lock: Option<DeadLock>,
    /// An operation under way: `rebase`, `merge`, `index.lock`, ...
    pub in_progress: Vec<&'static str>,
    /// The newest sign of activity in the admin directory and, once inspected, in the tree.
    pub active: DateTime<Utc>,
    /// The kind of that sign.
    pub active_from: ActiveFrom,
    /// Whether the reflog of its HEAD or its branch records a commit that somebody made.
    pub worked_in: bool,
    /// The process of this machine that is at work in it, if one is seen.
    pub in_use: Option<String>,
    /// When a run first found no tree at `path`, by the mark that it left.
    pub missing_since: Option<DateTime<Utc>>,
    /// The mark says that it went missing with many others at once, so its grace doesn't run.
    pub missing_at_once: bool,
    /// What deleting it would free, in bytes; none if that wasn't asked for or can't be measured.
    pub bytes: Option<u64>,
    /// The operator's rules about regenerable paths, besides the known ones.
    pub made_again: Arc<[MadeAgain]>,
    /// What was found at `path`.
    pub state: State,
}

impl Worktree {
    /// Returns the directories that go with it if it is at `place`. A clone's git dir is in it.
    pub fn directories(&self, place: &VolumePath) -> Vec<VolumePath> {
        let admin = Some(&self.admin).filter(|_| self.clone_of.is_none());
        std::iter::once(place).chain(admin).cloned().collect()
    }
}

/// The kind of a tree's newest sign of activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActiveFrom {
    /// There is no sign.
    Nothing,
    /// The write time of this file in the admin directory.
    Registration(&'static str),
    /// HEAD's reflog: when HEAD last moved.
    Reflog,
    /// The write time of this file, which is work.
    Written(PathBuf),
    /// The change time of this file: when it came to be there.
    Arrived(PathBuf),
}

/// The operator's rule that directories of this name are regenerable if they have its signs of a
/// tool. At least one of the two signs is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MadeAgain {
    /// The directory's name.
    pub name: String,
    /// A file or directory beside it.
    pub beside: Option<String>,
    /// A file or directory in it.
    pub holds: Option<String>,
}

/// A lock whose reason names a dead process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLock {
    /// The process.
    pub pid: u32,
    /// When the lock was made.
    pub since: DateTime<Utc>,
}

/// What was found at the place of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is there, but was not walked: the admin directory shows that it is young, locked or under
    /// an operation, or a process is in it.
    NotInspected,
    /// It is there, with these contents.
    Inspected(Box<Contents>),
    /// Its parent could be read and doesn't list it.
    Missing {
        /// A run moved it to our own trash: the registration is a leftover of that run.
        trashed: bool,
        /// Commits that only this registration keeps alive: they are rescued before it is dropped.
        unreached: Vec<String>,
        /// Its index contains changes that HEAD lacks, or its registration files that aren't git's.
        /// With the tree gone, that is all that is left of the work.
        staged: bool,
    },
    /// It isn't what it should be, so it must not be touched.
    Unknown(String),
    /// The file system failed when the tree was inspected. It must not be touched, and somebody
    /// should check the file system.
    Unreadable(String),
}

/// The contents of a tree that matter for its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The place, proven to be inside the volume.
    pub place: Option<VolumePath>,
    /// Files that differ from HEAD, including untracked, staged or missing ones: the first 20, for
    /// people.
    pub dirty: Vec<String>,
    /// The number of all of them.
    pub dirty_count: usize,
    /// Commits that only this tree's HEAD, reflog or private refs reach, in hex.
    pub unreached: Vec<String>,
    /// A stash was made on this branch.
    pub stashed: bool,
    /// How HEAD has landed in the upstream's default branch.
    pub landed: Option<Landed>,
    /// The repo has no known default branch, so it is unknown whether it landed.
    pub no_default_branch: bool,
    /// What a rescue can't contain (a nested repo, a FIFO, a submodule): the tree stays.
    pub blockers: Vec<String>,
    /// The files that a rescue would have to write, if the tree contains unsaved work.
    pub rescue: Own,
    /// A file that a rescue would have to read and can't, and why.
    pub unreadable: Option<String>,
    /// Why a rescue can't contain the index; if the tree needs a rescue, it then stays.
    pub unholdable_index: Option<String>,
    /// Regenerable directories, which no rescue keeps.
    pub regenerable: Vec<VolumePath>,
    /// Files that name packages: the tracked ones, and all in the tree's root.
    pub lock_files: Vec<LockFile>,
}

/// A lock file in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// Its path in the tree.
    pub path: PathBuf,
    /// The blob that git's index vouches for, in hex; none if the file has to be read.
    pub blob: Option<String>,
}

/// How HEAD has landed in the upstream's default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// HEAD is an ancestor of it.
    Ancestor,
    /// A commit there has the same tree.
    SameTree,
    /// HEAD changed nothing since it branched off.
    EmptyDiff,
    /// The same patch is there (a squash or rebase merge).
    SamePatch,
}

/// An unregistered directory in a worktree root. Never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unregistered {
    /// Its path.
    pub path: PathBuf,
    /// Its kind.
    pub kind: UnregisteredKind,
}

/// The kind of an unregistered directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnregisteredKind {
    /// A worktree whose admin directory is gone.
    Dangling,
    /// A worktree of another repo.
    Foreign,
    /// An empty directory.
    Empty,
    /// A directory that isn't a worktree.
    NotGit,
}
