//! cargo: downloaded crates, unpacked crates, git checkouts, and git databases.
//!
//! | unit | name | paths |
//! | --- | --- | --- |
//! | `registry/{src,cache}/<registry>/<n>-<v>` | `serde-1.0.0` | the unpacked directory, then the `.crate` |
//! | `git/checkouts/<x>/<rev>/` | `git checkout x/rev` | the directory |
//! | `git/db/<x>/` | `git db x` | its most recently used checkout, then the db |
//!
//! A crate's archive and its directory are one unit. cargo opens the archive on every use, even if
//! the crate is unpacked, and refuses to work offline without it; it reads only unpacked files, so
//! only those show use. Every path belongs to exactly one unit, so nothing counts twice: a db is
//! evicted with its last checkout, and LRU order evicts the older ones before. A db stays if one of
//! its checkouts could not be inspected. A checkout without its db is still a unit: cargo fetches
//! the db again when it needs it. cargo's locks are held while a unit is evicted. The locks and
//! `registry/index` are never touched.

use super::lock_file::{crate_package, git_package};
use crate::ecosystems::last_use::{LastUse, newer};
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// cargo holds these while it builds (shared) or downloads. On NFS cargo doesn't lock.
const LOCKS: [&str; 2] = [".package-cache-mutate", ".package-cache"];

/// cargo opens the first two whenever it uses an unpacked crate or a checkout, the third whenever
/// it uses a git db. The directory's other files show no more.
pub(super) const LAST_USE: LastUse = LastUse::of(|probe, path| {
    const READ: [&str; 3] = [".cargo-ok", "Cargo.toml", "FETCH_HEAD"];
    let of_git = path.is_below("git");
    let mut newest = path.seen.times(probe.access_times())?;
    for name in READ.into_iter().take(if of_git { 3 } else { 2 }) {
        if let Some(read) = probe.file_in(path, name)? {
            newest = newer(newest, read.times(probe.access_times())?);
        }
    }
    Ok(newest)
});

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut units = crates(lister);
    if let (Ok(databases), Ok(checkouts)) = (
        lister.place.join("git/db"),
        lister.place.join("git/checkouts"),
    ) {
        // Checkouts first: one that cargo adds meanwhile with its db is listed with the db, and not
        // as one without.
        let mut alone = lister.directories(&checkouts);
        let databases = lister.directories(&databases);
        alone.retain(|entry| databases.iter().all(|db| db.name != entry.name));
        let of_dbs = databases
            .par_iter()
            .flat_map_iter(|db| git(lister, &db.name, &db.place));
        let of_none = alone
            .par_iter()
            .flat_map_iter(|entry| checkouts_of(lister, &entry.name, &entry.place).0);
        units.par_extend(of_dbs.chain(of_none).filter_map(lister.gate));
    }
    units
}

/// Returns the locks that are held while a unit of the cache at `place` is evicted.
pub(super) fn locks(place: &VolumePath) -> Vec<VolumePath> {
    LOCKS
        .iter()
        .filter_map(|lock| beside_the_registry(place, lock))
        .collect()
}

/// Returns `name` in the `CARGO_HOME`. The config's `path` may be that, or the `registry` in it.
fn beside_the_registry(place: &VolumePath, name: &str) -> Option<VolumePath> {
    let home = if place.relative().ends_with("registry") {
        place.relative().parent()?
    } else {
        place.relative()
    };
    place.same_root(&home.join(name)).ok()
}

/// Returns a registry's `store`. The config's `path` may be a `CARGO_HOME`, or its `registry`.
fn registry(place: &VolumePath, store: &str) -> Option<VolumePath> {
    let below = if place.relative().ends_with("registry") {
        store.to_owned()
    } else {
        format!("registry/{store}")
    };
    place.join(below).ok()
}

fn crates(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut crates: BTreeMap<(String, String), Vec<VolumePath>> = BTreeMap::new();
    // Unpacked crates first: cargo unpacks a missing directory again.
    for (store, unpacked) in [("src", true), ("cache", false)] {
        let registries = registry(lister.place, store)
            .map(|store| lister.directories(&store))
            .unwrap_or_default();
        let found: Vec<(String, Vec<Entry>)> = registries
            .into_par_iter()
            .map(|registry| (registry.name, lister.entries(&registry.place)))
            .collect();
        for (registry, entry) in found
            .into_iter()
            .flat_map(|(name, entries)| entries.into_iter().map(move |entry| (name.clone(), entry)))
        {
            let name = if unpacked {
                Some(entry.name.as_str())
            } else {
                entry.name.strip_suffix(".crate")
            };
            match name.filter(|_| entry.is_dir == unpacked) {
                Some(name) => crates
                    .entry((registry, name.to_owned()))
                    .or_default()
                    .push(entry.place),
                None => lister.odd(&entry),
            }
        }
    }
    crates
        .into_par_iter()
        .filter_map(|((_, name), paths)| lister.unit_of(vec![crate_package(&name)], name, paths))
        .collect()
}

/// Returns the units of one git dependency: its db with the last checkout, and the older checkouts.
fn git(lister: &CacheLister<'_>, name: &str, db: &VolumePath) -> Vec<Unit> {
    let Ok(directory) = lister
        .place
        .join("git/checkouts")
        .and_then(|checkouts| checkouts.join(name))
    else {
        return Vec::new();
    };
    let (mut checkouts, all) = checkouts_of(lister, name, &directory);
    if checkouts.len() < all {
        return checkouts;
    }
    checkouts.sort_unstable_by(|one, other| {
        (one.last_used, &one.name).cmp(&(other.last_used, &other.name))
    });
    let mut paths = checkouts
        .last()
        .map(|last| last.paths.clone())
        .unwrap_or_default();
    paths.push(db.clone());
    // The commits of all its checkouts: cargo recreates each of them from the db.
    let packages = checkouts
        .iter()
        .flat_map(|checkout| checkout.packages.clone())
        .collect();
    if let Some(whole) = lister.seen(packages, format!("git db {name}"), paths) {
        checkouts.pop();
        checkouts.push(whole);
    }
    checkouts
}

/// Returns the checkouts in a directory that can be inspected, and the number of all of them.
fn checkouts_of(
    lister: &CacheLister<'_>,
    name: &str,
    directory: &VolumePath,
) -> (Vec<Unit>, usize) {
    let found = lister.directories(directory);
    let all = found.len();
    // `tools-0123456789abcdef`: the repo's name, and a hash of its address.
    let repo = name.rsplit_once('-').map_or(name, |(repo, _)| repo);
    let named = found.into_iter().map(|entry| {
        let packages = vec![git_package(repo, &entry.name)];
        lister.seen(
            packages,
            format!("git checkout {name}/{}", entry.name),
            vec![entry.place],
        )
    });
    (named.flatten().collect(), all)
}

#[cfg(test)]
mod tests {
    use super::{crate_package, git_package};
    use crate::ecosystems::testing::{Field, ago};

    #[test]
    fn crates_packed_and_unpacked_are_units_and_the_index_is_not() {
        let field = Field::new();
        field.file(
            "cargo/registry/cache/index.crates.io-1949/itoa-1.0.18.crate",
            3,
        );
        field.file(
            "cargo/registry/src/index.crates.io-1949/itoa-1.0.18/.cargo-ok",
            3,
        );
        field.file("cargo/registry/index/index.crates.io-1949/config.json", 3);
        field.file("cargo/registry/CACHEDIR.TAG", 3);
        field.file("cargo/.package-cache", 3);
        let names = ["itoa-1.0.18"];
        assert_eq!(field.names(&field.policy("cargo", "cargo")), names);
        assert_eq!(field.names(&field.policy("cargo", "cargo/registry")), names);
        let seen = field.survey(&field.policy("cargo", "cargo"));
        assert!(
            seen.units
                .iter()
                .all(|unit| unit.packages == [crate_package("itoa-1.0.18")]),
            "{seen:?}"
        );
    }

    #[test]
    fn a_db_goes_with_its_last_checkout() {
        let field = Field::new();
        for (path, days) in [
            ("checkouts/x-1/old", 9),
            ("checkouts/x-1/new", 2),
            ("checkouts/z-3/alone", 9),
            ("db/x-1", 9),
            ("db/y-2", 5),
        ] {
            field.file(&format!("cargo/git/{path}/FETCH_HEAD"), days);
            field.age(&format!("cargo/git/{path}"), days);
        }
        let policy = field.policy("cargo", "cargo");
        assert_eq!(
            field.names(&policy),
            [
                "git checkout x-1/old",
                "git checkout z-3/alone",
                "git db x-1",
                "git db y-2"
            ]
        );
        let seen = field.survey(&policy);
        let db = seen
            .units
            .iter()
            .find(|unit| unit.name == "git db x-1")
            .unwrap();
        assert_eq!(
            db.paths,
            [
                field.at("cargo/git/checkouts/x-1/new"),
                field.at("cargo/git/db/x-1")
            ]
        );
        assert_eq!(db.last_used, ago(2));
        assert_eq!(
            db.packages,
            ["old", "new"].map(|commit| git_package("x", commit))
        );
    }
}
