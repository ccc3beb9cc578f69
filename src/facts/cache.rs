//! Facts about caches: the units that can be evicted one by one.
//!
//! Eviction relies on sizes, so a size that was not measured is none, never a guess.

use super::locks::Naming;
use super::package::Package;
use super::worktree::MadeAgain;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The layout of a cache, by its name in the config, the report and the metrics: `npm`, `go-mod`.
/// Only `ecosystems::layouts` defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CacheKind(&'static str);

impl CacheKind {
    /// Creates the kind of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// The smallest part of a cache that can be removed in one step without breaking its tool. A run
/// may have a hundred thousand in memory, so common parts are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The cache's name in the config.
    pub cache: Arc<str>,
    /// The cache's kind.
    pub kind: CacheKind,
    /// Its name for people: `lodash-4.17.21`, `http-v2/3/1/…`.
    pub name: String,
    /// The paths to delete, in this order (a pointer before what it points to).
    pub paths: Vec<VolumePath>,
    /// The packages that it contains, as lock files name them; empty if unknown.
    pub packages: Vec<Package>,
    /// When a lock file last named one of them, as far as remembered.
    pub named: Option<Box<Naming>>,
    /// The newest sign of use of the unit itself.
    pub last_used: DateTime<Utc>,
    /// The kind of that sign.
    pub last_used_from: UsedFrom,
    /// Not evicted while younger than this.
    pub min_age: Duration,
    /// Its tool's lock files. Each is locked (`flock(2)`, exclusive) while the unit is removed; a
    /// missing one needs no lock.
    pub locks: Arc<[VolumePath]>,
    /// For build output, the idle tree that contains it: evicting it needs its repo's lock.
    pub tree: Option<Box<Tree>>,
    /// None until it is measured. Listing must stay cheap, so it knows only the sizes of units that
    /// are files without other links.
    pub size: Option<Size>,
    /// Its files that also have links elsewhere, so that deleting the unit alone doesn't free them;
    /// known once it is measured.
    pub shared: Vec<Shared>,
}

/// A file with several links, some of them in a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// Device and inode.
    pub file: (u64, u64),
    /// Links in the unit.
    pub here: u64,
    /// All links.
    pub links: u64,
    /// Bytes of its blocks, freed with the last link.
    pub bytes: u64,
}

/// The worktree that contains a piece of build output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The repo's name in the config.
    pub repo: String,
    /// The worktree.
    pub place: VolumePath,
    /// The worktree's admin directory, whose files show activity.
    pub admin: PathBuf,
    /// The worktree's last activity when it was surveyed.
    pub active: DateTime<Utc>,
    /// The operator's rules about regenerable paths.
    pub made_again: Arc<[MadeAgain]>,
    /// The build output that the unit is a part of; none if the unit is all of it.
    pub part_of: Option<VolumePath>,
}

/// An idle worktree that stays, and which parts of it may be evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTree {
    /// The repo's name in the config.
    pub repo: String,
    /// Where it stands.
    pub place: VolumePath,
    /// The worktree's admin directory.
    pub admin: PathBuf,
    /// Its last activity.
    pub active: DateTime<Utc>,
    /// The operator's rules about regenerable paths.
    pub made_again: Arc<[MadeAgain]>,
    /// Its regenerable directories.
    pub regenerable: Vec<VolumePath>,
}

/// The kind of a unit's last sign of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsedFrom {
    /// The tool refreshes it itself (`GOCACHE`).
    ToolRecord,
    /// The access time, if the mount keeps it.
    AccessTime,
    /// The last time that a hard link to it was created in a tree, or removed: its tool installs
    /// packages as hard links.
    LinkTime,
    /// The write time: no other sign is known.
    WriteTime,
    /// The activity of the worktree that contains it.
    WorktreeActivity,
    /// A lock file named it then.
    Named,
}

/// The size of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size {
    /// Bytes of the blocks that a deletion frees: a file counts at its last link.
    pub bytes: u64,
    /// Inodes that a deletion frees.
    pub inodes: u64,
}

impl Size {
    /// Returns the size of one inode with so many blocks of 512 bytes, the unit of `stat` on any
    /// file system. It saturates, because a file server can report any number.
    pub fn of_blocks(blocks: u64) -> Self {
        Self {
            bytes: blocks.saturating_mul(512),
            inodes: 1,
        }
    }
}

/// Saturates at the largest number; clippy.toml allows it for that reason.
impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.inodes = self.inodes.saturating_add(more.inodes);
    }
}

/// The survey of one configured cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The cache's name in the config.
    pub name: String,
    /// The cache's kind.
    pub kind: CacheKind,
    /// Its units, in no order.
    pub units: Vec<Unit>,
    /// What must not be evicted.
    pub reserve: Size,
    /// Its own budget; none if only the volume's limits apply.
    pub budget: Option<Size>,
    /// What could not be read: those units stay.
    pub problems: Vec<String>,
}
