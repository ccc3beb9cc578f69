//! cargo: downloaded crates, unpacked crates, git checkouts, and git databases.
//!
//! | unit | name | paths |
//! | --- | --- | --- |
//! | `registry/cache/<registry>/<n>-<v>.crate` | `serde-1.0.0.crate` | the file |
//! | `registry/src/<registry>/<n>-<v>/` | `src serde-1.0.0` | the directory |
//! | `git/checkouts/<x>/<rev>/` | `git checkout x/rev` | the directory |
//! | `git/db/<x>/` | `git db x` | its most recently used checkout, then the db |
//!
//! Every path belongs to exactly one unit, so nothing counts twice: a db goes with its last checkout, and LRU order takes
//! the older ones before. A db whose checkouts could not all be told stays. cargo's locks are held while a unit goes; they and `registry/index` are never touched.

use super::look::Look;
use crate::facts::cache::Unit;
use crate::inside::Inside;
use rayon::prelude::*;

/// Held by a cargo that builds (shared) or downloads; on NFS cargo goes without.
const LOCKS: [&str; 2] = [".package-cache-mutate", ".package-cache"];

pub(super) fn units(look: &Look<'_>) -> Vec<Unit> {
    let mut units = crates(look);
    if let Ok(databases) = look.place.join("git/db") {
        units.par_extend(look.folders(&databases).par_iter().flat_map_iter(|db| git(look, &db.name, &db.place)));
    }
    let locks: Vec<Inside> = LOCKS.iter().filter_map(|lock| beside_the_registry(look.place, lock)).collect();
    units.iter_mut().for_each(|unit| unit.locks.clone_from(&locks));
    units
}

/// `name` in the `CARGO_HOME`, which `path` in the config may be, or the `registry` in it.
fn beside_the_registry(place: &Inside, name: &str) -> Option<Inside> {
    let home = if place.relative().ends_with("registry") { place.relative().parent()? } else { place.relative() };
    Inside::new(place.root(), &home.join(name)).ok()
}

/// `path` in the config may be a `CARGO_HOME`, or the `registry` in it.
fn registry(place: &Inside, store: &str) -> Option<Inside> {
    let below = if place.relative().ends_with("registry") { store.to_owned() } else { format!("registry/{store}") };
    place.join(below).ok()
}

fn crates(look: &Look<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    for (store, prefix, unpacked) in [("cache", "", false), ("src", "src ", true)] {
        let registries = registry(look.place, store).map(|store| look.folders(&store)).unwrap_or_default();
        let entries = registries.par_iter().flat_map_iter(|registry| look.entries(&registry.place));
        units.par_extend(entries.filter_map(|entry| {
            if entry.is_dir != unpacked || !(unpacked || entry.has_extension("crate")) {
                look.odd(&entry);
                return None;
            }
            look.unit(format!("{prefix}{}", entry.name), vec![entry.place])
        }));
    }
    units
}

/// The units of one git dependency: its db with the last checkout, and each older checkout.
fn git(look: &Look<'_>, name: &str, db: &Inside) -> Vec<Unit> {
    let Ok(folder) = look.place.join("git/checkouts").and_then(|checkouts| checkouts.join(name)) else { return Vec::new() };
    let found = look.folders(&folder);
    let all = found.len();
    let named = found.into_iter().map(|entry| look.unit(format!("git checkout {name}/{}", entry.name), vec![entry.place]));
    let mut checkouts: Vec<Unit> = named.flatten().collect();
    if checkouts.len() < all {
        return checkouts;
    }
    checkouts.sort_unstable_by(|one, other| (one.last_used, &one.name).cmp(&(other.last_used, &other.name)));
    let mut paths = checkouts.last().map(|last| last.paths.clone()).unwrap_or_default();
    paths.push(db.clone());
    if let Some(whole) = look.unit(format!("git db {name}"), paths) {
        checkouts.pop();
        checkouts.push(whole);
    }
    checkouts
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Field, ago};
    use crate::facts::cache::CacheKind;

    #[test]
    fn crates_packed_and_unpacked_are_units_and_the_index_is_not() {
        let field = Field::new();
        field.file("cargo/registry/cache/index.crates.io-1949/itoa-1.0.18.crate", 3);
        field.file("cargo/registry/src/index.crates.io-1949/itoa-1.0.18/.cargo-ok", 3);
        field.file("cargo/registry/index/index.crates.io-1949/config.json", 3);
        field.file("cargo/registry/CACHEDIR.TAG", 3);
        field.file("cargo/.package-cache", 3);
        let names = ["itoa-1.0.18.crate", "src itoa-1.0.18"];
        assert_eq!(field.names(&field.policy(CacheKind::Cargo, "cargo")), names);
        assert_eq!(field.names(&field.policy(CacheKind::Cargo, "cargo/registry")), names);
    }

    #[test]
    fn a_db_goes_with_its_last_checkout() {
        let field = Field::new();
        for (path, days) in [("checkouts/x-1/old", 9), ("checkouts/x-1/new", 2), ("db/x-1", 9), ("db/y-2", 5)] {
            field.file(&format!("cargo/git/{path}/FETCH_HEAD"), days);
            field.age(&format!("cargo/git/{path}"), days);
        }
        let policy = field.policy(CacheKind::Cargo, "cargo");
        assert_eq!(field.names(&policy), ["git checkout x-1/old", "git db x-1", "git db y-2"]);
        let seen = field.survey(&policy);
        let db = seen.units.iter().find(|unit| unit.name == "git db x-1").unwrap();
        assert_eq!(db.paths, [field.at("cargo/git/checkouts/x-1/new"), field.at("cargo/git/db/x-1")]);
        assert_eq!(db.last_used, ago(2));
    }
}
