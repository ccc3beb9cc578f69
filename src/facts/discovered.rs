//! What `init --discover` found below a directory: repos, caches, and what must be left out.

use super::cache::{CacheKind, Size};
use crate::fs::volume_path::VolumePath;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// All that was found, each list biggest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The directory that was looked through.
    pub root: Arc<Path>,
    /// Whether it is in the home directory of who looked.
    pub is_own: bool,
    /// How many directories were listed.
    pub directories: u64,
    /// Repos to maintain.
    pub repos: Vec<FoundRepo>,
    /// Other clones of their origins.
    pub clones: Vec<LooseClone>,
    /// Caches to evict from.
    pub caches: Vec<FoundCache>,
    /// What can't be maintained, or shouldn't be without being asked.
    pub left_out: Vec<LeftOut>,
    /// The config's presets for the runners whose places were found.
    pub presets: Vec<&'static str>,
    /// Whether there was time to measure everything: otherwise sizes are at least so much.
    pub is_measured: bool,
}

/// A repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRepo {
    /// Its name for the config.
    pub name: String,
    /// Its place.
    pub place: VolumePath,
    /// Its origin's address as its own config has it, without secrets.
    pub url: Option<String>,
    /// All of it, worktrees included.
    pub size: Size,
    /// Its worktrees.
    pub trees: FoundTrees,
}

/// The worktrees that a repo has registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundTrees {
    /// Those below the root.
    pub places: Vec<VolumePath>,
    /// How many are elsewhere.
    pub outside: u64,
    /// How many of the former are in the place of which runner, by its preset, or else elsewhere.
    pub by_runner: BTreeMap<&'static str, u64>,
    /// The size of those below the root.
    pub size: Size,
}

impl FoundTrees {
    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.outside == 0
    }
}

/// A clone of an origin that a found repo has, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseClone {
    /// Its place.
    pub place: VolumePath,
    /// The name of the repo with that origin.
    pub of: String,
    /// Its size.
    pub size: Size,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCache {
    /// Its kind.
    pub kind: CacheKind,
    /// Its name for the config, unless that is the kind's.
    pub name: Option<String>,
    /// Its place.
    pub place: VolumePath,
    /// Its size.
    pub size: Size,
}

/// Something that is left out of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What it would be.
    pub what: Kind,
    /// Its path, relative to the root if it is below it.
    pub path: String,
    /// Why it is left out.
    pub why: String,
}

/// What something that is left out would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A repo of this name.
    Repo(String),
    /// A cache.
    Cache(CacheKind),
    /// So many of the same, in one directory.
    Repos(u64),
    /// Something else.
    Other,
}
