//! cargo: its home ([`cache`]), its lock file ([`lock_file`]), and its target directory as a whole
//! ([`target`]) and by its parts ([`artifacts`]).

mod artifacts;
mod cache;
mod in_use;
mod lock_file;
mod target;

use super::ecosystem::Ecosystem;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, Parse};
use super::usual::Usual;
use crate::facts::cache::CacheKind;

pub(super) static CARGO: Ecosystem = Ecosystem {
    caches: &[HOME, artifacts::LAYOUT],
    lock_files: &[LockFile {
        format: "cargo",
        is_one: |name, _| ["Cargo.lock"].contains(&name),
        parse: Parse::Whole(lock_file::packages),
    }],
    output: &[target::TARGET],
    ..Ecosystem::named("cargo")
};

const HOME: CacheLayout = CacheLayout {
    kind: CacheKind::new("cargo"),
    unit: "a crate, packed and unpacked; a git checkout or database",
    stands: Stands::InDirectory,
    // No variable moves the caches alone: cargo's config, credentials and installed programs
    // move with them. Tokens can be set by `CARGO_REGISTRIES_<NAME>_TOKEN`, and config by a
    // `.cargo/config.toml` above the checkouts.
    variables: |place| vec![("CARGO_HOME", place.to_owned())],
    usual: &[&[Usual::Variable("CARGO_HOME"), Usual::Home(".cargo")]],
    units: cache::units,
    last_use: cache::LAST_USE,
    locks: cache::locks,
};
