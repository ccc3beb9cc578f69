//! pnpm: its store ([`cache`]), its lock file ([`lock_file`]), and the packages that it installs
//! ([`modules`]).

mod cache;
mod index;
mod lock_file;
mod modules;

use super::ecosystem::Ecosystem;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, Parse};
use super::usual::Usual;
use crate::facts::cache::CacheKind;
use std::path::{Path, PathBuf};

pub(super) static PNPM: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("pnpm"),
        unit: "a package with the files that it alone has (store v10), or one file (v11); nothing that a worktree has as hard links",
        stands: Stands::InDirectory,
        variables,
        usual: &[&[
            Usual::Variable("pnpm_config_store_dir"),
            Usual::Variable("npm_config_store_dir"),
            Usual::Below("PNPM_HOME", "store"),
            Usual::Data("pnpm/store"),
        ]],
        units: cache::units,
        last_use: cache::LAST_USE,
        locks: |_| Vec::new(),
    }],
    lock_files: &[LockFile {
        format: "pnpm",
        is_one: |name, _| ["pnpm-lock.yaml"].contains(&name),
        parse: Parse::Lines(lock_file::packages),
    }],
    output: &[modules::MODULES],
    ..Ecosystem::named("pnpm")
};

/// pnpm 11 and newer read the first variable. Older versions read the second, which npm 11 reports
/// as unknown. The config may name the directory of one version (`v10`), which pnpm adds by itself.
fn variables(place: &Path) -> Vec<(&'static str, PathBuf)> {
    let is_version = place.file_name().is_some_and(|name| {
        let digits = name.as_encoded_bytes().strip_prefix(b"v");
        digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
    });
    let above = place.parent().filter(|_| is_version);
    let store = above.unwrap_or(place);
    ["pnpm_config_store_dir", "npm_config_store_dir"]
        .map(|name| (name, store.to_owned()))
        .into()
}
