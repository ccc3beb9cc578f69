//! pip: the pairs of its HTTP cache, and the wheels that it built.
//!
//! `http-v2/a/b/c/d/e/<hash>` with `<hash>.body` is one unit, metadata first: without it pip takes the body for absent. Older pips keep
//! one file in `http/` instead. `wheels/aa/bb/cc/<rest>/` is a unit when it holds a wheel. Temporary files (another name
//! than a hash) are never touched: pip replaces its target with them in one step.

use super::is_hex;
use super::look::{Entry, Look};
use crate::facts::cache::Unit;
use crate::inside::Inside;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Hexadecimal digits of SHA-224, which names an HTTP entry.
const DIGEST: usize = 56;

/// Digits of a digest that a name shows: 64 bits tell any two apart.
const SHOWN: usize = 16;

pub(super) fn units(look: &Look<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    for store in ["http-v2", "http"] {
        let shards = descend(look, store, 1, 5);
        units.par_extend(shards.par_iter().flat_map_iter(|shard| pairs(look, store, shard)));
    }
    let shards = descend(look, "wheels", 2, 3);
    units.par_extend(shards.par_iter().flat_map_iter(|shard| look.folders(&shard.place)).filter_map(|folder| wheel(look, &folder)));
    units
}

/// The folders `levels` below `store`, each level named by `digits` hexadecimal digits.
fn descend(look: &Look<'_>, store: &str, digits: usize, levels: usize) -> Vec<Entry> {
    let Ok(place) = look.place.join(store) else { return Vec::new() };
    let mut level = vec![Entry { place, name: store.into(), is_dir: true }];
    for _ in 0..levels {
        let below = level.par_iter().flat_map_iter(|folder| look.folders(&folder.place));
        level = below.filter(|folder| is_hex(&folder.name, digits)).collect();
    }
    level
}

fn pairs(look: &Look<'_>, store: &str, shard: &Entry) -> Vec<Unit> {
    let mut pairs: BTreeMap<String, Vec<Inside>> = BTreeMap::new();
    let mut entries = look.entries(&shard.place);
    // `<hash>` sorts before `<hash>.body`: the metadata goes first.
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        let hash = entry.name.strip_suffix(".body").unwrap_or(&entry.name);
        if is_hex(hash, DIGEST) {
            pairs.entry(format!("{store}/{}", &hash[..SHOWN])).or_default().push(entry.place);
        }
    }
    pairs.into_iter().filter_map(|(name, paths)| look.unit(name, paths)).collect()
}

fn wheel(look: &Look<'_>, folder: &Entry) -> Option<Unit> {
    let wheels = look.entries(&folder.place).into_iter().filter(|entry| !entry.is_dir && entry.has_extension("whl"));
    if let Some(first) = wheels.map(|wheel| wheel.name).min() {
        look.unit(first, vec![folder.place.clone()])
    } else {
        look.odd(folder);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Field, ago};
    use crate::facts::cache::CacheKind;

    const HASH: &str = "c871039579d83b60ae15cb8ea580e9d925d278687e922c78b15a218e";

    #[test]
    fn a_pair_is_one_unit_and_the_metadata_goes_first() {
        let field = Field::new();
        let shard = "pip/http-v2/c/8/7/1/0";
        let body = field.file(&format!("{shard}/{HASH}.body"), 2);
        let metadata = field.file(&format!("{shard}/{HASH}"), 9);
        field.file(&format!("{shard}/{HASH}k3x9.tmp"), 9);
        field.file(&format!("pip/http/c/8/7/1/0/{HASH}"), 9);
        field.file("pip/selfcheck/0a1b", 9);
        let policy = field.policy(CacheKind::Pip, "pip");
        assert_eq!(field.names(&policy), ["http-v2/c871039579d83b60", "http/c871039579d83b60"]);
        let seen = field.survey(&policy);
        let pair = seen.units.iter().find(|unit| unit.name.starts_with("http-v2")).unwrap();
        assert_eq!((&pair.paths, pair.last_used), (&vec![metadata, body], ago(2)));
    }

    #[test]
    fn a_folder_with_a_wheel_is_a_unit() {
        let field = Field::new();
        field.file("pip/wheels/7f/18/6b/d405/toml-0.10.2-py3-none-any.whl", 3);
        field.file("pip/wheels/7f/18/6b/d405/origin.json", 3);
        field.file("pip/wheels/7f/18/6b/d406/origin.json", 3);
        let seen = field.survey(&field.policy(CacheKind::Pip, "pip"));
        assert_eq!(seen.units[0].name, "toml-0.10.2-py3-none-any.whl");
        assert_eq!((seen.units.len(), seen.problems.len()), (1, 1));
    }
}
