//! Yarn, classic and berry: its caches ([`cache`]), its lock file ([`lock_file`]), the packages
//! that it installs ([`modules`]), and what else it writes into a project ([`project`]).

mod cache;
mod lock_file;
mod modules;
mod project;

use super::ecosystem::Ecosystem;
use super::last_use::LastUse;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, Parse};
use super::usual::Usual;
use crate::facts::cache::CacheKind;
use std::path::{Path, PathBuf};

pub(super) static YARN: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("yarn"),
        unit: "a zip and its package's metadata (berry), or a directory (classic)",
        stands: Stands::InDirectory,
        variables,
        usual: &[
            &[Usual::Variable("YARN_CACHE_FOLDER"), Usual::Cache("yarn")],
            &[
                Usual::Below("YARN_GLOBAL_FOLDER", "cache"),
                Usual::Below("XDG_DATA_HOME", "yarn/berry/cache"),
                Usual::Home(".yarn/berry/cache"),
            ],
        ],
        units: cache::units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    lock_files: &[LockFile {
        format: "yarn",
        is_one: |name, _| ["yarn.lock"].contains(&name),
        parse: Parse::Lines(lock_file::packages),
    }],
    output: &project::OUTPUT,
    files: &project::FILES,
    ..Ecosystem::named("Yarn")
};

/// Berry's cache is the directory `cache` in its global directory, and the config may name either.
/// The second variable is for classic, and for berry if a project sets `enableGlobalCache: false`.
fn variables(place: &Path) -> Vec<(&'static str, PathBuf)> {
    let above = place.parent().filter(|_| place.ends_with("cache"));
    vec![
        ("YARN_GLOBAL_FOLDER", above.unwrap_or(place).to_owned()),
        ("YARN_CACHE_FOLDER", place.to_owned()),
    ]
}
