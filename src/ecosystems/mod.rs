//! The tools that fill a volume: one file per tool, and one list of them all, [`ALL`].
//!
//! The config's kinds, the variables of `env`, the lock files that are read, and the owner of a
//! file in a tree all come from that list. [`README.md`](README.md) explains how to add a tool.

// Anybody may have written what is in a cache or a tree: no number in it may stop the run.
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod account;
mod bazel;
mod build_output;
mod bun;
mod bundlers;
mod cargo;
mod ccache;
mod compilers;
mod coverage;
mod deno;
pub mod directory;
pub mod ecosystem;
mod folder;
mod go;
mod gradle;
mod hex;
mod huggingface;
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
mod sccache;
mod shards;
#[cfg(test)]
pub(crate) mod testing;
mod turbo;
pub mod usual;
mod uv;
mod yarn;

use crate::facts::cache::CacheKind;
use account::Tool;
use ecosystem::{Ecosystem, Linked};
use lister::{CacheLayout, Stands};
use lock_file::LockFile;
use made_file::MadeFile;
use std::path::Path;

/// Every tool. npm comes last of those that fill a `node_modules`, because only npm may have to
/// read a package to recognise it.
pub static ALL: [&Ecosystem; 23] = [
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
    &ccache::CCACHE,
    &sccache::SCCACHE,
    &turbo::TURBO,
    &bazel::BAZEL,
    &huggingface::HUGGING_FACE,
    &gradle::GRADLE,
    &maven::MAVEN,
    &bundlers::BUNDLERS,
    &compilers::COMPILERS,
    &coverage::COVERAGE,
    &macos::MACOS,
    &folder::DIRECTORY,
    &build_output::BUILD_OUTPUT,
];

/// Returns the layouts of all caches.
pub fn layouts() -> impl Iterator<Item = &'static CacheLayout> {
    ALL.iter().flat_map(|ecosystem| ecosystem.caches)
}

/// Returns the kind of cache that the config calls `name`.
pub fn kind(name: &str) -> Option<CacheKind> {
    layouts()
        .map(|layout| layout.kind)
        .find(|kind| kind.name() == name)
}

/// Returns the layout of a kind; none if it isn't in [`ALL`].
pub fn layout(kind: CacheKind) -> Option<&'static CacheLayout> {
    layouts().find(|layout| layout.kind == kind)
}

/// Returns the kinds of caches that also stand inside of build output.
pub fn inside_output() -> impl Iterator<Item = CacheKind> {
    layouts()
        .filter(|layout| layout.stands == Stands::InDirectoryOrOutput)
        .map(|layout| layout.kind)
}

/// Returns the function that finds the links from trees into a cache of that kind.
pub fn linked(kind: CacheKind) -> Option<Linked> {
    let owns = |ecosystem: &&&Ecosystem| ecosystem.caches.iter().any(|layout| layout.kind == kind);
    ALL.iter().find(owns).and_then(|owner| owner.linked)
}

/// Returns the format of the lock file at a path in a tree; none if it is no lock file.
pub fn lock_file(path: &Path) -> Option<&'static LockFile> {
    // This runs for every file of every tree that is surveyed.
    let name = path.file_name()?.to_str()?;
    ALL.iter()
        .flat_map(|ecosystem| ecosystem.lock_files)
        .find(|known| (known.is_one)(name, path))
}

/// Returns the directories that tools create in trees.
pub fn output() -> impl Iterator<Item = &'static Tool> {
    ALL.iter().flat_map(|ecosystem| ecosystem.output)
}

/// Returns the single files that tools write among the sources.
pub fn made_files() -> impl Iterator<Item = &'static MadeFile> {
    ALL.iter().flat_map(|ecosystem| ecosystem.files)
}
