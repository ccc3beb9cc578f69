//! Facts about caches: the units that can go one by one.
//!
//! A size that nobody measured is none. It must never be a guess: eviction counts on it.

use super::locks::Naming;
use super::package::Package;
use super::worktree::MadeAgain;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who owns a cache's layout, by the name that the config, the report and the metrics have for it:
/// `npm`, `go-mod`. Each is one of `ecosystems::layouts`, which alone makes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CacheKind(&'static str);

impl CacheKind {
    /// The kind of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// The smallest thing that can vanish in one step while its owner goes on working. A run may hold a
/// hundred thousand, so what many have alike is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The cache's name in the config.
    pub cache: Arc<str>,
    /// The cache's kind.
    pub kind: CacheKind,
    /// What people read: `lodash-4.17.21`, `http-v2/3/1/…`.
    pub name: String,
    /// What goes, in this order (a pointer before what it points to).
    pub paths: Vec<VolumePath>,
    /// What lock files call what it holds; none where nobody can tell.
    pub packages: Vec<Package>,
    /// When a lock file last named one of them, as far as anybody remembers.
    pub named: Option<Box<Naming>>,
    /// The newest sign of use that the unit itself gives.
    pub last_used: DateTime<Utc>,
    /// How that is known.
    pub last_used_from: UsedFrom,
    /// Not evicted while younger than this.
    pub min_age: Duration,
    /// Its tool's lock files: each is held while it goes (`flock(2)`, exclusive). One that isn't
    /// there is held by nobody.
    pub locks: Arc<[VolumePath]>,
    /// The idle tree that holds it, for build output: its repo's lock is needed.
    pub tree: Option<Box<Tree>>,
    /// None until somebody sized it: listing must stay cheap, and tells it only of units that are
    /// files without other links.
    pub size: Option<Size>,
    /// Its files that have links elsewhere too, and so free nothing by themselves; known once it is
    /// sized.
    pub shared: Vec<Shared>,
}

/// A file with several links, of which a unit holds some.
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

/// The worktree that a piece of build output stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The repo's name in the config.
    pub repo: String,
    /// The worktree's admin directory, whose files tell of activity.
    pub admin: PathBuf,
    /// What the operator says that tools make again.
    pub made_again: Arc<[MadeAgain]>,
}

/// An idle worktree that stays, and what of it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleTree {
    /// The repo's name in the config.
    pub repo: String,
    /// The worktree's admin directory.
    pub admin: PathBuf,
    /// Its last activity.
    pub active: DateTime<Utc>,
    /// What the operator says that tools make again.
    pub made_again: Arc<[MadeAgain]>,
    /// Directories that tools make again.
    pub regenerable: Vec<VolumePath>,
}

/// How a unit's last use is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsedFrom {
    /// The tool refreshes it itself (`GOCACHE`).
    ToolRecord,
    /// The access time, where the mount keeps it.
    AccessTime,
    /// The last time it was linked into a tree, or a link of it went: its tool hands it out as hard
    /// links.
    LinkTime,
    /// The write time: all there is.
    WriteTime,
    /// The activity of the worktree it stands in.
    WorktreeActivity,
    /// A lock file named it then.
    Named,
}

/// What something occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Bytes of the blocks that a deletion frees: a file counts at its last link.
    pub bytes: u64,
    /// Inodes that a deletion frees.
    pub inodes: u64,
}

impl Size {
    /// One inode with so many blocks, of 512 bytes as `stat` counts them, whatever the file
    /// system's own are. A file server can tell any number.
    pub fn of_blocks(blocks: u64) -> Self {
        Self {
            bytes: blocks.saturating_mul(512),
            inodes: 1,
        }
    }
}

/// What is too much to be counted stays at the most that can be: clippy.toml lets it pass for that.
impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.inodes = self.inodes.saturating_add(more.inodes);
    }
}

/// Everything seen of one configured cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The cache's name in the config.
    pub name: String,
    /// The cache's kind.
    pub kind: CacheKind,
    /// Its units, in no order.
    pub units: Vec<Unit>,
    /// What must stay.
    pub reserve: Size,
    /// What it may hold; none where only the volume counts.
    pub budget: Option<Size>,
    /// What could not be read: those units stay.
    pub problems: Vec<String>,
}
