//! Facts about a worktree.
//!
//! A tree that could not be read is unknown, with the cause. It must never pass for missing or
//! clean.

use super::rescue::Own;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use std::path::PathBuf;
use std::sync::Arc;

/// A worktree that the repo's registry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// The admin directory's name below `worktrees/`.
    pub id: String,
    /// The admin directory.
    pub admin: VolumePath,
    /// Where the registry says that the tree stands; may lie outside the volume.
    pub path: PathBuf,
    /// The full ref name HEAD points to; none when detached or unreadable.
    pub branch: Option<String>,
    /// The commit that HEAD names, in hex; none for an unborn branch.
    pub head: Option<String>,
    /// The reason of `git worktree lock`, which may be empty.
    pub locked: Option<String>,
    /// The lock's reason names a process of this machine that is dead.
    pub dead_lock: Option<DeadLock>,
    /// What is under way: `rebase`, `merge`, `index.lock`, ...
    pub in_progress: Vec<&'static str>,
    /// The newest sign of activity in the admin directory and, once looked at, of the dirty files.
    pub active: DateTime<Utc>,
    /// Whether the reflogs of its HEAD and its branch tell of a commit that somebody made.
    pub worked_in: bool,
    /// Who is at work in it on this machine, by the kernel's word.
    pub in_use: Option<String>,
    /// Since when runs have found no tree at `path`, by the mark that the first of them left.
    pub missing_since: Option<DateTime<Utc>>,
    /// That mark says that it went missing with many others at once: no grace runs for it.
    pub missing_at_once: bool,
    /// What the operator says that tools make again, besides what is known of them.
    pub made_again: Arc<[MadeAgain]>,
    /// What was found at `path`.
    pub state: State,
}

/// The operator's word that directories of a name are made again by a tool, where structure shows
/// that they are that tool's. At least one of the two signs is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MadeAgain {
    /// The directory's name.
    pub name: String,
    /// A file or directory that stands beside it.
    pub beside: Option<String>,
    /// A file or directory that it holds.
    pub holds: Option<String>,
}

/// A lock whose reason names a process that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLock {
    /// The process.
    pub pid: u32,
    /// When the lock was made.
    pub since: DateTime<Utc>,
}

/// What was found where a worktree should stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is there, and the admin directory alone shows that it is too young to matter, or locked:
    /// nobody walked it.
    NotLooked,
    /// It is there, and this is what it holds.
    Looked(Box<Contents>),
    /// Its parent could be read and doesn't list it.
    Missing {
        /// Our own trash says that a run took it there: the registration is a leftover of that run.
        trashed: bool,
        /// What only this registration keeps alive: it is rescued before the entry goes.
        unreached: Vec<String>,
        /// Its index holds what HEAD doesn't, or its registration what isn't git's: with the files
        /// gone, that is all that is left of the work.
        staged: bool,
    },
    /// It isn't what it should be: nobody may touch it.
    Unknown(String),
    /// The file system failed when it was looked at: nobody may touch it, and somebody should look
    /// into that.
    Unreadable(String),
}

/// What a tree holds that matters for its fate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The place, proven to be inside the volume.
    pub place: Option<VolumePath>,
    /// Files that differ from HEAD, untracked, staged or missing ones: the first few, for people.
    pub dirty: Vec<String>,
    /// How many there are in all.
    pub dirty_count: usize,
    /// Commits that only this tree's HEAD, reflog or private refs reach, in hex.
    pub unreached: Vec<String>,
    /// A stash was made on this branch.
    pub stashed: bool,
    /// How HEAD is known to be in the upstream's default branch.
    pub landed: Option<Landed>,
    /// The repo has no default branch that is known, so nobody can tell whether it landed.
    pub no_default_branch: bool,
    /// What a rescue can't hold (a nested repo, a FIFO, a submodule): the tree stays.
    pub blockers: Vec<String>,
    /// The files that a rescue would have to write, if the tree holds unsaved work.
    pub rescue: Own,
    /// A file that a rescue would have to read and can't, and why.
    pub unreadable: Option<String>,
    /// Why a rescue couldn't hold the index as it is: the tree stays, if it has to be rescued.
    pub unholdable_index: Option<String>,
    /// Directories that tools make again, which no rescue keeps.
    pub regenerable: Vec<VolumePath>,
    /// Files that name packages: those that git tracks, and all in the tree's root.
    pub lock_files: Vec<LockFile>,
}

/// A lock file that stands in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFile {
    /// Its path in the tree.
    pub path: PathBuf,
    /// The blob that git's index vouches for, in hex; none when the file has to be read.
    pub blob: Option<String>,
}

/// How HEAD is known to be in the upstream's default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// HEAD is an ancestor of it.
    Ancestor,
    /// A commit there has the same tree.
    SameTree,
    /// HEAD changed nothing since it branched off.
    EmptyDiff,
    /// The same patch stands there (a squash or rebase merge).
    SamePatch,
}

/// Something on the disk, in a worktree root, that the registry doesn't know. Never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Where it stands.
    pub path: PathBuf,
    /// What it is.
    pub kind: StrayKind,
}

/// What a stray is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayKind {
    /// A worktree whose admin directory is gone.
    Dangling,
    /// A worktree of a repo that is not this one.
    Foreign,
    /// An empty directory.
    Empty,
    /// A directory that is no worktree.
    NotGit,
}
