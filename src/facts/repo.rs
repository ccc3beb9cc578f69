//! Facts about a repo: its worktrees, its objects, and what others left behind.
//!
//! What could not be counted is an error of the survey. It must never stand here as zero.

use super::rescue::Rescue;
use super::worktree::{Stray, Worktree};
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Everything seen of one repo, under its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// The registered worktrees, by path.
    pub worktrees: Vec<Worktree>,
    /// What stands in the worktree roots beside them.
    pub strays: Vec<Stray>,
    /// What earlier runs rescued, by name.
    pub rescues: Vec<Rescue>,
    /// Objects and packs.
    pub store: Store,
    /// Lock and temporary files that a crashed git may have left: all that are there, with their
    /// age.
    pub leftovers: Vec<Leftover>,
    /// Why what nothing reaches here may yet be needed: somebody borrows its objects, or nobody can
    /// tell. Asked only where something would be dropped.
    pub lends: Option<String>,
    /// Of all registered trees of the volume.
    pub around: Missing,
    /// The operator's busy probe answered anything but "idle".
    pub busy: Option<String>,
}

/// How many trees went missing since the last run, but for those that are in our own trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    /// So many.
    pub missing: usize,
    /// Of so many that were there.
    pub of: usize,
}

/// Counts of the object store, as `git count-objects -v` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Store {
    /// Loose objects.
    pub loose_objects: u64,
    /// Bytes of blocks that loose objects occupy.
    pub loose_bytes: u64,
    /// Packs, without kept and cruft ones.
    pub packs: u64,
    /// Bytes of all packs with their indexes.
    pub pack_bytes: u64,
    /// Loose refs.
    pub loose_refs: u64,
    /// Size of `packed-refs`.
    pub packed_refs_bytes: u64,
    /// When the largest pack was written: the last full repack.
    pub last_full: Option<DateTime<Utc>>,
    /// Whether a commit-graph is there.
    pub commit_graph: bool,
}

/// A lock or temporary file in a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Which file.
    pub place: VolumePath,
    /// How long nobody wrote to it, by the server's clock.
    pub age: Duration,
    /// A lock, or a temporary file of a pack being written.
    pub kind: LeftoverKind,
}

/// Which rule a leftover falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// `index.lock`, `gc.pid`, ...
    Lock,
    /// The lock of a run's own git, which was killed: of a ref of ours, or made since that run
    /// wrote that it is at work.
    OwnLock,
    /// An `index.lock` while a process stands in its tree: `git commit -a` holds it for as long as
    /// its editor is open.
    HeldLock,
    /// An `index.lock` that somebody may hold whom we can't see: on another machine, or in another
    /// container.
    UnseenLock,
    /// `tmp_pack_*`, `tmp_idx_*`, `tmp_obj_*`.
    Temporary,
    /// A pack whose index a crashed git never wrote, or deleted first. It may hold what nothing
    /// else does: it is indexed, never deleted.
    PackWithoutIndex,
}
