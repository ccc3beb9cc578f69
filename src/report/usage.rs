//! What fills the volume, in a report: repos, worktrees, caches, biggest first.
//!
//! Only `treewarden report` measures it, because it costs a walk over everything. Bytes of files
//! with links elsewhere are counted separately, since they may belong to another part as well; all
//! of them together are a part of their own. So the parts add up to what stands below the root.

use super::lossy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A part of the volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// What it is.
    pub what: Part,
    /// The repo it belongs to, or the cache's name; none if it belongs to neither.
    pub name: Option<String>,
    /// Its path.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
    /// Bytes that its deletion would free.
    pub bytes: u64,
    /// Inodes that its deletion would free.
    pub inodes: u64,
    /// Bytes of files that have links elsewhere, too: in a cache, or in a tree that was installed
    /// from one.
    pub shared_bytes: u64,
    /// Of `bytes`, those in directories right below a tree that its tools make again.
    #[serde(default)]
    pub output_bytes: u64,
}

/// The kind of a part.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A repo's common dir: its objects and refs.
    Store,
    /// The files of a repo's main checkout.
    Checkout,
    /// A registered worktree.
    Worktree,
    /// A cache of the config.
    Cache,
    /// treewarden's own directory: locks, journal, ledger, trash.
    State,
    /// All else below the root.
    Other,
    /// Files that have links in several parts, or outside of the root, each counted once.
    Shared,
}
