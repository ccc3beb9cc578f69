//! Go: its module cache ([`module_cache`]) and its build cache ([`build_cache`]), the modules that
//! a `go.sum` names ([`sums`]), the toolchains that a `go.mod` names ([`toolchain`]), and what it
//! writes into a project ([`output`]).

mod build_cache;
mod module_cache;
mod output;
mod sums;
mod toolchain;

use super::ecosystem::Ecosystem;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, Parse};
use super::usual::Usual;
use crate::facts::cache::CacheKind;

pub(super) static GO: Ecosystem = Ecosystem {
    caches: &[
        CacheLayout {
            kind: CacheKind::new("go-mod"),
            unit: "a module at a version: its directory, its zip",
            stands: Stands::InDirectory,
            variables: |place| vec![("GOMODCACHE", place.to_owned())],
            usual: &[&[
                Usual::Variable("GOMODCACHE"),
                Usual::Below("GOPATH", "pkg/mod"),
                Usual::Home("go/pkg/mod"),
            ]],
            units: module_cache::units,
            last_use: module_cache::LAST_USE,
            // Each module has a lock of its own.
            locks: |_| Vec::new(),
        },
        CacheLayout {
            kind: CacheKind::new("go-build"),
            unit: "an action or an output",
            stands: Stands::InDirectory,
            variables: |place| vec![("GOCACHE", place.to_owned())],
            usual: &[&[Usual::Variable("GOCACHE"), Usual::Cache("go-build")]],
            units: build_cache::units,
            last_use: build_cache::LAST_USE,
            locks: |_| Vec::new(),
        },
    ],
    lock_files: &[
        LockFile {
            format: "go",
            is_one: |name, _| ["go.sum", "go.work.sum"].contains(&name),
            parse: Parse::Lines(|line| sums::package(line).into_iter().collect()),
        },
        LockFile {
            format: "go-toolchain",
            is_one: |name, _| ["go.mod", "go.work"].contains(&name),
            parse: Parse::Lines(|line| toolchain::named(line).into_iter().collect()),
        },
    ],
    output: &output::OUTPUT,
    files: &[output::PROGRAM],
    ..Ecosystem::named("Go")
};
