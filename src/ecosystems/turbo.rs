//! Turborepo: its local cache of tasks' output.
//!
//! | path | what it is |
//! | --- | --- |
//! | `<hash>-manifest.json`, `<hash>-meta.json` | what a task wrote, and how long it took |
//! | `<hash>.tar.zst`, or `.tar` | the output itself and the log |
//!
//! A unit is all that there is of a hash, the archive last. Observed with Turborepo 2.11.11: a task
//! without archive or times runs again, and one without a manifest doesn't miss it. A hit reads all
//! of them and writes the manifest that is there. Nothing is locked. The usual place, `.turbo/cache`, is in the checkout, where it counts as build
//! output; this kind is for a cache that trees share.

use super::ecosystem::Ecosystem;
use super::hex::is_hash;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Stands};
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// What follows the hash, in the order of removal.
const PARTS: [&str; 4] = ["-manifest.json", "-meta.json", ".tar.zst", ".tar"];

pub(super) static TURBO: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("turbo"),
        unit: "the output of a task, with its metadata",
        stands: Stands::InDirectory,
        variables: |place| vec![("TURBO_CACHE_DIR", place.to_owned())],
        usual: &[&[Usual::Variable("TURBO_CACHE_DIR")]],
        units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("Turborepo")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut tasks: BTreeMap<String, [Option<VolumePath>; PARTS.len()]> = BTreeMap::new();
    for entry in lister.entries(lister.place) {
        let part = PARTS
            .iter()
            .enumerate()
            .find_map(|(number, part)| Some((entry.name.strip_suffix(part)?, number)))
            .filter(|(hash, _)| !entry.is_dir && is_hash(hash));
        let Some((hash, number)) = part else {
            lister.odd(&entry);
            continue;
        };
        if let Some(path) = tasks.entry(hash.to_owned()).or_default().get_mut(number) {
            *path = Some(entry.place);
        }
    }
    tasks
        .into_par_iter()
        .filter_map(|(hash, paths)| lister.unit(hash, paths.into_iter().flatten().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};

    #[test]
    fn a_task_goes_with_its_metadata_and_the_archive_last() {
        let field = Field::new();
        let (hash, lone) = ("1e1260cd66bf1fd3", "477383f3f6700305");
        for part in [".tar.zst", "-meta.json", "-manifest.json"] {
            field.file(&format!("turbo/{hash}{part}"), 9);
        }
        field.age(&format!("turbo/{hash}-manifest.json"), 1);
        field.file(&format!("turbo/{lone}.tar.zst"), 7);
        field.file("turbo/notes.json", 9);
        let mut seen = field.survey(&field.policy("turbo", "turbo"));
        assert!(seen.problems.len() == 1 && seen.problems[0].contains("notes.json"));
        seen.units.sort_by(|one, other| one.name.cmp(&other.name));
        let [first, second] = &seen.units[..] else {
            panic!("{:?}", seen.units)
        };
        let parts = ["-manifest.json", "-meta.json", ".tar.zst"];
        let paths = parts.map(|part| field.at(&format!("turbo/{hash}{part}")));
        assert_eq!((&first.paths[..], first.last_used), (&paths[..], ago(1)));
        let lone = [field.at(&format!("turbo/{lone}.tar.zst"))];
        assert_eq!((&second.paths[..], second.last_used), (&lone[..], ago(7)));
    }
}
