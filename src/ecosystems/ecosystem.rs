//! What is known of one tool, or of a family of tools that share their files.

use super::account::Tool;
use super::lister::CacheLayout;
use super::lock_file::LockFile;
use super::made_file::MadeFile;
use crate::facts::package::Package;
use crate::fs::budget::Held;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use std::io;

/// All that is known of a tool. What it doesn't have is an empty list: [`Ecosystem::named`].
pub struct Ecosystem {
    /// What people call it.
    pub name: &'static str,
    /// Its caches: each is a `kind` in the config.
    pub caches: &'static [CacheLayout],
    /// The lock files that it reads and writes.
    pub lock_files: &'static [LockFile],
    /// The directories that it makes in a tree.
    pub output: &'static [Tool],
    /// The single files that it writes among the sources.
    pub files: &'static [MadeFile],
    /// What a live tree leads to in one of its caches, for as long as the tree stands; none where it
    /// copies, or makes hard links.
    pub linked: Option<Linked>,
}

/// Finds what the tree at a place leads to in a cache.
///
/// # Errors
/// Something can't be read, there is more to read than any well-formed tree has, or the run is to
/// stop.
pub type Linked = fn(&VolumePath, &Stop) -> io::Result<Links>;

/// What a tree leads to, in order.
pub struct Links {
    /// As units of the cache answer to it.
    pub packages: Vec<Package>,
    /// What they take of the repo's budget.
    _held: Held,
}

impl Links {
    /// Those to `packages`, which take what is `held`.
    pub(super) fn new(packages: Vec<Package>, held: Held) -> Self {
        Self {
            packages,
            _held: held,
        }
    }
}

impl Ecosystem {
    /// One of which nothing is known but its name.
    pub(super) const fn named(name: &'static str) -> Self {
        Self {
            name,
            caches: &[],
            lock_files: &[],
            output: &[],
            files: &[],
            linked: None,
        }
    }
}
