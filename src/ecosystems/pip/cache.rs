//! pip's cache: the pairs of its HTTP cache, and the wheels that it built.
//!
//! `http-v2/a/b/c/d/e/<hash>` with `<hash>.body` is one unit, metadata first: without the metadata
//! pip ignores the body. Older pips keep one file in `http/` instead. If a body is a wheel, only
//! its last bytes name it. `wheels/aa/bb/cc/<rest>/` is a unit if it contains a wheel. Temporary
//! files, which have other names, are never touched: pip renames them over their targets in one
//! step.

use crate::ecosystems::hex::is_hex;
use crate::ecosystems::last_use::LastUse;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::ecosystems::python::lock_file::release_package;
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Hexadecimal digits of SHA-224, which names an HTTP entry.
const DIGEST: usize = 56;

/// Bytes at the end of a body that are read: a wheel's list of files ends there, with its own
/// `RECORD` as the last entry.
const TAIL: u64 = 4096;

/// Digits of a digest that a name shows: 64 bits distinguish any two.
const SHOWN: usize = 16;

/// For metadata, the access time counts too: pip opens it on every use. For bodies it doesn't,
/// because the survey itself reads their ends.
pub(super) const LAST_USE: LastUse = LastUse::of(|probe, path| {
    let is_body = path
        .place
        .relative()
        .extension()
        .is_some_and(|end| end == "body");
    probe.entries(path, probe.access_times() && !is_body)
});

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    for store in ["http-v2", "http"] {
        // There may be as many shards on the last level as units, so not all of them are in memory.
        let above = descend(lister, store, 1, 4);
        let shards = above
            .par_iter()
            .flat_map_iter(|above| shards(lister, above, 1));
        units.par_extend(shards.flat_map_iter(|shard| pairs(lister, store, &shard)));
    }
    let shards = descend(lister, "wheels", 2, 3);
    units.par_extend(
        shards
            .par_iter()
            .flat_map_iter(|shard| lister.directories(&shard.place))
            .filter_map(|folder| wheel(lister, &folder)),
    );
    units
}

/// Returns the directories `levels` below `store`, each level named by `digits` hexadecimal digits.
fn descend(lister: &CacheLister<'_>, store: &str, digits: usize, levels: usize) -> Vec<Entry> {
    let Ok(place) = lister.place.join(store) else {
        return Vec::new();
    };
    let mut level = vec![Entry {
        place,
        name: store.into(),
        is_dir: true,
    }];
    for _ in 0..levels {
        level = level
            .par_iter()
            .flat_map_iter(|folder| shards(lister, folder, digits))
            .collect();
    }
    level
}

fn shards(lister: &CacheLister<'_>, folder: &Entry, digits: usize) -> impl Iterator<Item = Entry> {
    lister
        .directories(&folder.place)
        .into_iter()
        .filter(move |folder| is_hex(&folder.name, digits))
}

fn pairs(lister: &CacheLister<'_>, store: &str, shard: &Entry) -> Vec<Unit> {
    let mut pairs: BTreeMap<String, Vec<VolumePath>> = BTreeMap::new();
    let mut entries = lister.entries(&shard.place);
    // `<hash>` sorts before `<hash>.body`: the metadata is removed first.
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
        let hash = entry.name.strip_suffix(".body").unwrap_or(&entry.name);
        if is_hex(hash, DIGEST) {
            pairs
                .entry(format!("{store}/{}", &hash[..SHOWN]))
                .or_default()
                .push(entry.place);
        }
    }
    pairs
        .into_iter()
        .filter_map(|(name, paths)| pair(lister, &name, paths))
        .collect()
}

/// Creates a unit of a pair, named by its wheel if the body is one.
fn pair(lister: &CacheLister<'_>, name: &str, paths: Vec<VolumePath>) -> Option<Unit> {
    let body = paths.iter().find(|path| {
        path.relative()
            .extension()
            .is_some_and(|extension| extension == "body")
    });
    match body.and_then(|body| release(&lister.probe.tail(body, TAIL).ok()?)) {
        Some((project, version)) => lister.unit_of(
            vec![release_package(&project, &version)],
            format!("{project} {version} ({name})"),
            paths,
        ),
        None => lister.unit(name.to_owned(), paths),
    }
}

/// Returns the project and version of the wheel that ends with these bytes: a zip's directory is at
/// its end, and a wheel's `.dist-info` is last in it.
fn release(tail: &[u8]) -> Option<(String, String)> {
    let before = tail.get(..find_last(tail, b".dist-info/RECORD")?)?;
    // An entry's name follows 46 bytes of numbers, which begin with this.
    let entry = before.get(find_last(before, b"PK\x01\x02")?..)?;
    let (project, version) = std::str::from_utf8(entry.get(46..)?)
        .ok()?
        .split_once('-')?;
    (!version.is_empty() && !project.contains(['/', ' ']))
        .then(|| (project.to_owned(), version.to_owned()))
}

fn find_last(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).rposition(|window| window == what)
}

/// Returns the package of a wheel like `toml-0.10.2-py3-none-any.whl`.
fn wheel_package(name: &str) -> Option<Package> {
    let mut parts = name.split('-');
    Some(release_package(parts.next()?, parts.next()?))
}

fn wheel(lister: &CacheLister<'_>, folder: &Entry) -> Option<Unit> {
    let wheels = lister
        .entries(&folder.place)
        .into_iter()
        .filter(|entry| !entry.is_dir && entry.has_extension("whl"));
    if let Some(first) = wheels.map(|wheel| wheel.name).min() {
        let packages = wheel_package(&first).into_iter().collect();
        lister.unit_of(packages, first, vec![folder.place.clone()])
    } else {
        lister.odd(folder);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::release_package;
    use crate::ecosystems::testing::{Field, ago};

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
        let policy = field.policy("pip", "pip");
        assert_eq!(
            field.names(&policy),
            ["http-v2/c871039579d83b60", "http/c871039579d83b60"]
        );
        let seen = field.survey(&policy);
        let pair = seen
            .units
            .iter()
            .find(|unit| unit.name.starts_with("http-v2"))
            .unwrap();
        assert_eq!(
            (&pair.paths, pair.last_used),
            (&vec![metadata, body], ago(2))
        );
    }

    #[test]
    fn a_directory_with_a_wheel_is_a_unit() {
        let field = Field::new();
        field.file("pip/wheels/7f/18/6b/d405/toml-0.10.2-py3-none-any.whl", 3);
        field.file("pip/wheels/7f/18/6b/d405/origin.json", 3);
        field.file("pip/wheels/7f/18/6b/d406/origin.json", 3);
        let seen = field.survey(&field.policy("pip", "pip"));
        assert_eq!(seen.units[0].name, "toml-0.10.2-py3-none-any.whl");
        assert_eq!(seen.units[0].packages, [release_package("toml", "0.10.2")]);
        assert_eq!((seen.units.len(), seen.problems.len()), (1, 1));
    }

    #[test]
    fn a_body_says_which_wheel_it_is() {
        let entry = |name: &str| [b"PK\x01\x02".as_slice(), &[0; 42], name.as_bytes()].concat();
        let directory = [
            entry("unit/__init__.py"),
            entry("unit-1.0.dist-info/METADATA"),
            entry("unit-1.0.dist-info/RECORD"),
        ]
        .concat();
        let body = [
            vec![b'x'; 9000],
            directory.clone(),
            b"PK\x05\x06".to_vec(),
            vec![0; 18],
        ]
        .concat();
        let found = |bytes: &[u8]| super::release(bytes);
        assert_eq!(found(&body), Some(("unit".to_owned(), "1.0".to_owned())));
        for bad in [
            &b""[..],
            b".dist-info/RECORD",
            b"PK\x01\x02.dist-info/RECORD",
            b"<html>",
            &entry("a/b-1.dist-info/RECORD"),
        ] {
            assert_eq!(found(bad), None);
        }
        let field = Field::new();
        let path = format!("pip/http-v2/c/8/7/1/0/{HASH}");
        field.file(&path, 9);
        std::fs::write(field.file(&format!("{path}.body"), 9).path(), body).unwrap();
        // The survey reads the body's end, so the body's access time doesn't count.
        field.age(&format!("{path}.body"), 9);
        field.read(&format!("{path}.body"), 1);
        let seen = field.survey(&field.policy("pip", "pip"));
        assert_eq!(
            (seen.units[0].name.as_str(), seen.units[0].last_used),
            ("unit 1.0 (http-v2/c871039579d83b60)", ago(9))
        );
        assert_eq!(seen.units[0].packages, [release_package("Unit", "1.0")]);
        field.read(&path, 2);
        assert_eq!(
            field.survey(&field.policy("pip", "pip")).units[0].last_used,
            ago(2)
        );
    }
}
