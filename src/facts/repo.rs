//! Facts about a repo: its worktrees, its objects, and what others left behind.
//!
//! If something can't be counted, the survey fails, so a zero here was counted.

use super::rescue::Rescue;
use super::worktree::{Unregistered, Worktree};
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// The survey of one repo, under its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// The registered worktrees, by path.
    pub worktrees: Vec<Worktree>,
    /// The unregistered directories in its worktree roots.
    pub unregistered: Vec<Unregistered>,
    /// What earlier runs rescued, by name.
    pub rescues: Vec<Rescue>,
    /// Objects and packs.
    pub store: Store,
    /// Lock and temporary files that a crashed git may have left: all of them, with their age.
    pub leftovers: Vec<Leftover>,
    /// Why unreachable objects here may still be needed: another repo borrows them, or may.
    /// Determined only if something would be dropped.
    pub lends: Option<String>,
    /// The missing trees of the whole volume.
    pub around: Missing,
    /// Why the repo counts as busy: the operator's busy probe didn't answer "idle".
    pub busy: Option<String>,
}

/// How many trees have gone missing since the last run, not counting those in our own trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    /// How many went missing.
    pub missing: usize,
    /// How many there were.
    pub of: usize,
}

/// Counts of the object store, as in `git count-objects -v`.
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
    /// Whether there is a commit-graph.
    pub commit_graph: bool,
}

/// A lock or temporary file in a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path.
    pub place: VolumePath,
    /// The time since it was last written to, by the server's clock.
    pub age: Duration,
    /// A lock, or a temporary file of a pack being written.
    pub kind: LeftoverKind,
}

/// The rule that applies to a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// `index.lock`, `gc.pid`, ...
    Lock,
    /// The lock of a crashed run's own git: on a ref of ours, or created after that run noted that
    /// it is at work.
    OwnLock,
    /// An `index.lock` while a process is in its tree: `git commit -a` holds it for as long as its
    /// editor is open.
    HeldLock,
    /// An `index.lock` that a process we can't see may hold: on another machine, or in another
    /// container.
    UnseenLock,
    /// `tmp_pack_*`, `tmp_idx_*`, `tmp_obj_*`.
    Temporary,
    /// A pack whose index a crashed git never wrote, or deleted first. It may contain objects that
    /// nothing else has, so it is indexed, never deleted.
    PackWithoutIndex,
}
