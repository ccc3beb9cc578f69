//! What is known of the tools that fill a volume: one file a tool, and one list that names them.
//!
//! The kinds that the config knows, the variables of `env`, the lock files that are read, and whose
//! a file in a tree is, all come from [`ALL`]. [`README.md`](README.md) leads through a new tool.

// What stands in a cache or a tree is anybody's: no number of theirs may stop the run.
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod account;
mod build_output;
mod bun;
mod bundlers;
mod cargo;
mod compilers;
mod coverage;
mod deno;
pub mod directory;
pub mod ecosystem;
mod folder;
mod go;
mod gradle;
mod hex;
mod keys;
pub mod last_use;
pub mod lister;
pub mod lock_file;
mod macos;
pub mod made_file;
mod maven;
mod node;
pub(crate) mod npm;
mod pip;
mod pnpm;
mod python;
#[cfg(test)]
pub(crate) mod testing;
mod uv;
mod yarn;

use crate::facts::cache::CacheKind;
use account::Tool;
use ecosystem::{Ecosystem, Linked};
use lister::CacheLayout;
use lock_file::LockFile;
use made_file::MadeFile;
use std::path::Path;

/// Every tool. Of those that fill a `node_modules` npm is the last: it alone may have to read a
/// package to know it.
pub static ALL: [&Ecosystem; 18] = [
    &pip::PIP,
    &uv::UV,
    &python::PYTHON,
    &go::GO,
    &pnpm::PNPM,
    &yarn::YARN,
    &bun::BUN,
    &deno::DENO,
    &npm::NPM,
    &cargo::CARGO,
    &gradle::GRADLE,
    &maven::MAVEN,
    &bundlers::BUNDLERS,
    &compilers::COMPILERS,
    &coverage::COVERAGE,
    &macos::MACOS,
    &folder::FOLDER,
    &build_output::BUILD_OUTPUT,
];

/// The layouts of all caches.
pub fn layouts() -> impl Iterator<Item = &'static CacheLayout> {
    ALL.iter().flat_map(|ecosystem| ecosystem.caches)
}

/// The kind of cache that the config calls `name`.
pub fn kind(name: &str) -> Option<CacheKind> {
    layouts()
        .map(|layout| layout.kind)
        .find(|kind| kind.name() == name)
}

/// The layout of a kind; none for one that isn't of this list.
pub fn layout(kind: CacheKind) -> Option<&'static CacheLayout> {
    layouts().find(|layout| layout.kind == kind)
}

/// What makes links from trees into a cache of that kind.
pub fn linked(kind: CacheKind) -> Option<Linked> {
    let owns = |ecosystem: &&&Ecosystem| ecosystem.caches.iter().any(|layout| layout.kind == kind);
    ALL.iter().find(owns).and_then(|owner| owner.linked)
}

/// The format of the lock file at a path in a tree; none for what is no lock file.
pub fn lock_file(path: &Path) -> Option<&'static LockFile> {
    ALL.iter()
        .flat_map(|ecosystem| ecosystem.lock_files)
        .find(|known| (known.is_one)(path))
}

/// The directories that tools make in trees.
pub fn output() -> impl Iterator<Item = &'static Tool> {
    ALL.iter().flat_map(|ecosystem| ecosystem.output)
}

/// The single files that tools write among the sources.
pub fn made_files() -> impl Iterator<Item = &'static MadeFile> {
    ALL.iter().flat_map(|ecosystem| ecosystem.files)
}
