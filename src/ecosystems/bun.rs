//! Bun: its cache, its lock file, and the packages that it installs.
//!
//! | path | unit | name |
//! | --- | --- | --- |
//! | `<name>@<version>@@@1/`, in a scope's directory or not | the directory | `left-pad@1.3.0` |
//! | `@GH@…@@@1/`, `@G@…/`, `@T@…@@@1/` | the directory: a package from git or an address | the same |
//! | `<hash>.npm` | the file: the registry's metadata of a package | the same |
//!
//! Observed with Bun 1.4.5: each may be evicted alone, and is fetched again. Bun fills a
//! `node_modules` with hard links, which moves the change time of every file. A package that a tree
//! has as hard links is no unit, since evicting it would free nothing. The links in `<name>/` point
//! to the cached versions and are kept: Bun works without their targets. `.lockb`, its older lock
//! file, isn't read.

use super::account::Tool;
use super::directory::Directory;
use super::ecosystem::Ecosystem;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Entry, Stands};
use super::lock_file::{LockFile, Parse};
use super::node::{self, MANIFEST, Manager, name_of};
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::facts::package::Package;
use rayon::prelude::*;

pub(super) static BUN: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("bun"),
        unit: "a package, or a page of the registry; nothing that a worktree has as hard links",
        stands: Stands::InDirectory,
        variables: |place| vec![("BUN_INSTALL_CACHE_DIR", place.to_owned())],
        usual: &[&[
            Usual::Variable("BUN_INSTALL_CACHE_DIR"),
            Usual::Below("BUN_INSTALL", "install/cache"),
            Usual::Home(".bun/install/cache"),
        ]],
        units,
        last_use: LastUse::of(node::last_use),
        locks: |_| Vec::new(),
    }],
    lock_files: &[LockFile {
        format: "bun",
        is_one: |name, _| ["bun.lock"].contains(&name),
        parse: Parse::Lines(|line| spec(line).and_then(package).into_iter().collect()),
    }],
    output: &[MODULES],
    ..Ecosystem::named("Bun")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let entries = lister.entries(lister.place).into_par_iter();
    entries.flat_map(|entry| top(lister, entry)).collect()
}

/// Returns the units of an entry of the cache itself, or of a scope's directory.
fn top(lister: &CacheLister<'_>, entry: Entry) -> Vec<Unit> {
    let is_package = |entry: &Entry| entry.is_dir && entry.name.get(1..).is_some_and(has_version);
    if is_package(&entry) {
        return unit(lister, "", entry).into_iter().collect();
    }
    if !entry.is_dir {
        if !entry.has_extension("npm") {
            lister.odd(&entry);
            return Vec::new();
        }
        return lister
            .unit(entry.name, vec![entry.place])
            .into_iter()
            .collect();
    }
    if !entry.name.starts_with('@') {
        // This directory contains links to the versions of one package.
        return Vec::new();
    }
    let scoped = lister
        .directories(&entry.place)
        .into_iter()
        .filter(is_package);
    scoped
        .filter_map(|package| unit(lister, &entry.name, package))
        .collect()
}

/// Returns whether a name has a version, or what replaces one, after its first character.
fn has_version(rest: &str) -> bool {
    rest.contains('@')
}

fn unit(lister: &CacheLister<'_>, scope: &str, entry: Entry) -> Option<Unit> {
    if lister.probe.is_linked(&entry.place.join(MANIFEST).ok()?) {
        return None;
    }
    let version = entry.name.split("@@").next()?;
    let name = match (scope, version) {
        // A package from an address: `@T@sha512-…@@@1`.
        ("", version) if version.starts_with('@') => entry.name.clone(),
        ("", version) => version.to_owned(),
        (scope, version) => format!("{scope}/{version}"),
    };
    let package = package(&name);
    lister.unit_of(package.into_iter().collect(), name, vec![entry.place])
}

/// Returns the package `@scope/name@1.0.0`. The cache replaces what follows the three numbers of a
/// version with a hash, so versions that differ only there count as the same.
fn package(spec: &str) -> Option<Package> {
    let name = name_of(spec)?;
    let version = spec.get(name.len().checked_add(1)?..)?;
    let numbers = version.split(['-', '+']).next()?;
    let is_release = numbers.starts_with(|first: char| first.is_ascii_digit());
    let more = if numbers == version { "" } else { "-" };
    is_release.then(|| Package::new("bun", &format!("{name}@{numbers}{more}")))
}

/// Returns `@scope/name@1.0.0` from a package's line: `"nested/@scope/name": ["@scope/name@1.0.0",
/// ...`.
fn spec(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_start().strip_prefix('"')?.split_once("\": [\"")?;
    rest.split('"').next()
}

/// The packages that it installs.
const MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &MANAGER),
    account: |modules| node::account(modules, &MANAGER),
};

/// Bun writes no notes into `node_modules`; its account is the lock file beside it.
const MANAGER: Manager = Manager {
    signs: &[".bun"],
    notes: &[".bun-tag"],
    store: Some(".bun"),
    packages,
    tells: |_, _| false,
};

fn packages(_: &Directory, project: &Directory) -> Vec<String> {
    let lock = project.text("bun.lock").unwrap_or_default();
    // `"nested/@scope/name": ["@scope/name@1.0.0", ...`
    let lines = lock
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\": [\""));
    lines
        .flat_map(|(path, spec)| [Some(last(path)), name_of(spec)])
        .flatten()
        .collect()
}

fn last(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (name, above) = (parts.next().unwrap_or_default(), parts.next());
    above
        .filter(|above| above.starts_with('@'))
        .map_or_else(|| name.to_owned(), |scope| format!("{scope}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::{Field, ago};
    use std::fs;

    #[test]
    fn every_sort_of_unit_and_what_stays() {
        let field = Field::new();
        for path in [
            "bun/left-pad@1.3.0@@@1/package.json",
            "bun/react@19.0.0-6b6f27d79dec3201@@@1/package.json",
            "bun/@acme/ui@2.0.0@@npm.acme.example__0123@@@1/package.json",
            "bun/@T@sha512-e85973b9b4cb646d@@@1/package.json",
            "bun/783a115f68ac0488.npm",
            "bun/linked@1.0.0@@@1/package.json",
            "bun/linked@1.0.0@@@1/index.js",
            "bun/.tmp/x",
        ] {
            field.file(path, 40);
        }
        fs::create_dir(field.at("bun/left-pad").path()).unwrap();
        field.link("bun/left-pad@1.3.0@@@1", "bun/left-pad/1.3.0@@@1");
        let manifest = field.at("bun/linked@1.0.0@@@1/package.json").path();
        fs::hard_link(manifest, field.at("elsewhere").path()).unwrap();
        let policy = field.policy("bun", "bun");
        let expected = [
            "783a115f68ac0488.npm",
            "@T@sha512-e85973b9b4cb646d@@@1",
            "@acme/ui@2.0.0",
            "left-pad@1.3.0",
            "react@19.0.0-6b6f27d79dec3201",
        ];
        assert_eq!(field.names(&policy), expected);
        let units = field.survey(&policy).units;
        // By their change time, packages were just created. A page's write time counts.
        assert!(units.iter().all(|unit| {
            let is_page = unit.paths[0]
                .path()
                .extension()
                .is_some_and(|end| end == "npm");
            is_page == (unit.last_used == ago(40))
        }));
    }

    #[test]
    fn a_lock_file_names_what_the_cache_has() {
        let lock = r#"{
  "packages": {
    "left-pad": ["left-pad@1.3.0", "", {}, "sha512-AA=="],
    "x/@acme/ui": ["@acme/ui@2.0.0", "", { "dependencies": { "react": "^19" } }, "sha512-AA=="],
    "react": ["react@19.0.0-rc.1", "", {}, "sha512-AA=="],
    "shop": ["shop@workspace:packages/shop"],
  }
}"#;
        let named: Vec<Package> = lock.lines().filter_map(spec).filter_map(package).collect();
        let cached = ["left-pad@1.3.0", "@acme/ui@2.0.0", "react@19.0.0-6b6f27"];
        assert_eq!(named, cached.map(|name| package(name).unwrap()));
        assert_ne!(package("a@1.0.0"), package("a@1.0.0-rc.1"));
    }
}
