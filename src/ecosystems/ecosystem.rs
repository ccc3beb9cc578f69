//! A record of all that is known of one tool, or of a family of tools that share their files.

use super::account::Tool;
use super::lister::CacheLayout;
use super::lock_file::LockFile;
use super::made_file::MadeFile;
use crate::facts::package::Package;
use crate::fs::budget::Reservation;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use std::io;

/// All that is known of a tool. Start from `Ecosystem::named`, in which every list is empty.
pub struct Ecosystem {
    /// Its name, for people.
    pub name: &'static str,
    /// Its caches: each is a `kind` in the config.
    pub caches: &'static [CacheLayout],
    /// The lock files that it reads and writes.
    pub lock_files: &'static [LockFile],
    /// The directories that it creates in a tree.
    pub output: &'static [Tool],
    /// The single files that it writes among the sources.
    pub files: &'static [MadeFile],
    /// Finds what a live tree links to in one of the tool's caches; none if the tool fills trees
    /// with copies or hard links.
    pub linked: Option<Linked>,
}

/// Finds the packages of a cache that the tree at a place links to.
///
/// # Errors
/// Something can't be read, there is more to read than any well-formed tree has, or the run is to
/// stop.
pub type Linked = fn(&VolumePath, &Stop) -> io::Result<Links>;

/// The packages that a tree links to, sorted.
pub struct Links {
    /// The packages, as the cache's units name them.
    pub packages: Vec<Package>,
    /// Their share of the repo's budget.
    _held: Reservation,
}

impl Links {
    /// Returns links to `packages`, which are counted in `held`.
    pub(super) fn new(packages: Vec<Package>, held: Reservation) -> Self {
        Self {
            packages,
            _held: held,
        }
    }
}

impl Ecosystem {
    /// Returns a tool of which only the name is known.
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
