//! ccache: its cache of compilers' results.
//!
//! | path | what it is |
//! | --- | --- |
//! | `<x>/<y>/…/<key>` | a result, or a manifest (the results of a source), two to four levels down |
//! | `<key>_00`, `<key>_01`, … | the files of a result that aren't in it (`hard_link`, `file_clone`) |
//! | `<key>R`, `<key>M`, `<key>0W`, … | the same, until 4.10 |
//! | `stats`, `CACHEDIR.TAG`, `ccache.conf`, `lock`, `tmp` | stay |
//!
//! A unit is a result with its files, the result first, or a manifest. Observed with ccache 4.7.5
//! and 4.14.2: each may be evicted alone, and a result whose file is gone is compiled again. A hit
//! sets the write time of manifest and result. ccache locks only its counters and its own cleanup.
//! Its counters stay as they were until that cleanup counts again. A result with a file that a tree
//! has as a hard link is no unit, since evicting it would free nothing.

use super::ecosystem::Ecosystem;
use super::hex::is_hex;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Stands};
use super::shards::shards;
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Levels of shards below the first two: ccache adds some as the cache grows.
const MORE_LEVELS: usize = 2;

/// The least digits of a key without its shards: 20 bytes in hexadecimal, or in base 32.
const SHORTEST: usize = 26;

pub(super) static CCACHE: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("ccache"),
        unit: "a compiler's result with its files, or a manifest; nothing that a worktree has as hard links",
        stands: Stands::InDirectory,
        variables: |place| vec![("CCACHE_DIR", place.to_owned())],
        usual: &[
            &[Usual::Variable("CCACHE_DIR"), Usual::Cache("ccache")],
            &[Usual::Home(".ccache")],
        ],
        units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("ccache")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    shards(lister, lister.place, 1, 2)
        .par_iter()
        .flat_map(|shard| shard_units(lister, &shard.place, MORE_LEVELS))
        .collect()
}

/// Returns the units of a shard, and of the shards in it.
fn shard_units(lister: &CacheLister<'_>, directory: &VolumePath, levels: usize) -> Vec<Unit> {
    let mut results: BTreeMap<String, Vec<VolumePath>> = BTreeMap::new();
    let mut units = Vec::new();
    for entry in lister.entries(directory) {
        if entry.is_dir && levels > 0 && is_hex(&entry.name, 1) {
            units.extend(shard_units(lister, &entry.place, levels.saturating_sub(1)));
        } else if let Some(key) = key(&entry.name).filter(|_| !entry.is_dir) {
            results.entry(key).or_default().push(entry.place);
        } else if !stays(&entry.name) {
            lister.odd(&entry);
        }
    }
    units.extend(results.into_iter().filter_map(|(key, mut paths)| {
        // `<key>` sorts before `<key>_00`, and `<key>R` before none of its files.
        paths.sort_unstable_by_key(|path| (is_file_of(path), path.path()));
        let linked = |path: &VolumePath| is_file_of(path) && lister.probe.is_linked(path);
        (!paths.iter().any(linked)).then(|| lister.unit(key, paths))?
    }));
    units
}

/// Returns whether an entry is none of a result: counters, locks and temporary files.
fn stays(name: &str) -> bool {
    name == "stats" || name.contains('.')
}

/// Returns the result or the manifest that a file belongs to, as its own file is called.
fn key(name: &str) -> Option<String> {
    let of_result = || {
        if let Some((key, number)) = name.rsplit_once('_') {
            return is_hex(number, 2).then(|| key.to_owned());
        }
        let key = name.strip_suffix('W')?;
        let (end, _) = key.char_indices().next_back()?;
        Some(format!("{}R", key.get(..end)?))
    };
    let own = of_result().unwrap_or_else(|| name.to_owned());
    let digits = own.strip_suffix(['R', 'M']).unwrap_or(&own);
    let known = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'v');
    (digits.len() >= SHORTEST && digits.bytes().all(known)).then_some(own)
}

/// Returns whether a path is a file of a result, by its name.
fn is_file_of(path: &VolumePath) -> bool {
    let name = path.relative().file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with('W') || name.contains('_'))
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};
    use std::fs;

    #[test]
    fn a_result_goes_before_its_files_and_counters_stay() {
        let field = Field::new();
        let new = "893075f440aabd1f43c3f57fb1510060329d89";
        let old = "3chdignnmqnleokv7jbdnjftvd5psf0";
        for path in [
            format!("ccache/3/7/{new}"),
            format!("ccache/3/7/{new}_00"),
            format!("ccache/3/7/{new}_0a"),
            format!("ccache/9/b/c/{old}R"),
            format!("ccache/9/b/c/{old}0W"),
            format!("ccache/9/b/c/{old}M"),
            format!("ccache/1/2/{new}"),
            format!("ccache/1/2/{new}_00"),
        ] {
            field.file(&path, 9);
        }
        for path in [
            "3/stats",
            "3/7/stats",
            "3/CACHEDIR.TAG",
            "ccache.conf",
            "tmp/x",
            "lock/y",
        ] {
            field.file(&format!("ccache/{path}"), 9);
        }
        field.file(&format!("ccache/3/7/{new}.tmp.Ab12Cd"), 9);
        let linked = field.at(&format!("ccache/1/2/{new}_00")).path();
        fs::hard_link(linked, field.at("main.o").path()).unwrap();
        field.age(&format!("ccache/3/7/{new}"), 2);
        let policy = field.policy("ccache", "ccache");
        let manifest = format!("{old}M");
        assert_eq!(
            field.names(&policy),
            [&format!("{old}M"), &format!("{old}R"), new]
        );
        for unit in field.survey(&policy).units {
            let (paths, days) = match unit.name.as_str() {
                name if name == new => (
                    vec![new.to_owned(), format!("{new}_00"), format!("{new}_0a")],
                    2,
                ),
                name if name == manifest => (vec![manifest.clone()], 9),
                _ => (vec![format!("{old}R"), format!("{old}0W")], 9),
            };
            let names = unit
                .paths
                .iter()
                .map(|path| path.relative().file_name().unwrap());
            assert!(
                names.eq(paths.iter().map(String::as_str)),
                "{:?}",
                unit.paths
            );
            assert_eq!(unit.last_used, ago(days));
        }
        field.file("ccache/3/7/notes", 9);
        assert_eq!(field.survey(&policy).problems.len(), 1);
    }
}
