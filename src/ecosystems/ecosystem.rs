//! One tool, or a family of tools that share their files, as a record of all that is known of it.

use super::account::Tool;
use super::lister::CacheLayout;
use super::lock_file::LockFile;
use super::made_file::MadeFile;
use crate::facts::package::Package;
use crate::fs::budget::Held;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use std::io;

/// All that is known of a tool. Start from `Ecosystem::named`: what a tool doesn't have is an
/// empty list.
pub struct Ecosystem {
    /// Its name, for people.
    pub name: &'static str,
    /// Its caches: each is a `kind` in the config.
    pub caches: &'static [CacheLayout],
    /// The lock files that it reads and writes.
    pub lock_files: &'static [LockFile],
    /// The directories that it makes in a tree.
    pub output: &'static [Tool],
    /// The single files that it writes among the sources.
    pub files: &'static [MadeFile],
    /// Finds what a live tree links to in one of the tool's caches; none if the tool copies, or
    /// makes hard links.
    pub linked: Option<Linked>,
}

/// Finds what the tree at a place leads to in a cache.
///
/// # Errors
/// Something can't be read, there is more to read than any well-formed tree has, or the run is to
/// stop.
pub type Linked = fn(&VolumePath, &Stop) -> io::Result<Links>;

/// The packages that a tree links to, in order.
pub struct Links {
    /// The names of the cache's units.
    pub packages: Vec<Package>,
    /// Their share of the repo's budget.
    _held: Held,
}

impl Links {
    /// Links to `packages`, which are counted in `held`.
    pub(super) fn new(packages: Vec<Package>, held: Held) -> Self {
        Self {
            packages,
            _held: held,
        }
    }
}

impl Ecosystem {
    /// A tool of which only the name is known.
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
