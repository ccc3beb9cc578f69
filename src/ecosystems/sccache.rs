//! sccache: its cache of compilers' results on the local disk.
//!
//! | path | unit |
//! | --- | --- |
//! | `<x>/<y>/<hash>` | the file: a result |
//! | `preprocessor/<x>/<y>/<z>/<hash>` | the file: what a source includes |
//!
//! Observed with sccache 0.4.0 and 0.16.0: each hit sets both times. A server keeps a list of its
//! files and expects nobody else to delete any. It compiles what it can't read, so no build fails.
//! Before 0.10 it panics when it wants to delete a file that is gone, because it has reached its
//! own limit (`SCCACHE_CACHE_SIZE`): builds then go on without a cache until it is started again.

use super::ecosystem::Ecosystem;
use super::hex::is_hash;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Entry, Stands};
use super::shards::shards;
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use rayon::prelude::*;

pub(super) static SCCACHE: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("sccache"),
        unit: "a compiler's result, or what a source includes",
        stands: Stands::InDirectory,
        variables: |place| vec![("SCCACHE_DIR", place.to_owned())],
        usual: &[&[Usual::Variable("SCCACHE_DIR"), Usual::Cache("sccache")]],
        units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("sccache")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut directories = shards(lister, lister.place, 1, 2);
    if let Ok(preprocessor) = lister.place.join("preprocessor") {
        directories.extend(shards(lister, &preprocessor, 1, 3));
    }
    directories
        .par_iter()
        .flat_map_iter(|shard| lister.entries(&shard.place))
        .filter_map(|entry| unit(lister, entry))
        .collect()
}

fn unit(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    if entry.is_dir || !is_hash(&entry.name) {
        lister.odd(&entry);
        return None;
    }
    lister.unit(entry.name, vec![entry.place])
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};

    #[test]
    fn results_are_units_and_temporary_files_stay() {
        let field = Field::new();
        let (result, source) = ("ab".repeat(32), "cd".repeat(32));
        field.file(&format!("sccache/a/b/{result}"), 5);
        field.read(&format!("sccache/a/b/{result}"), 2);
        field.file(&format!("sccache/preprocessor/c/d/c/{source}"), 4);
        field.file("sccache/.sccachetmpAb12Cd", 9);
        field.file("sccache/notes/b/file", 9);
        let policy = field.policy("sccache", "sccache");
        assert_eq!(field.names(&policy), [result.as_str(), &source]);
        let units = field.survey(&policy).units;
        let used = units.iter().map(|unit| unit.last_used).collect::<Vec<_>>();
        assert!(used.contains(&ago(2)) && used.contains(&ago(4)), "{used:?}");
        field.file("sccache/a/b/README", 9);
        let problems = field.survey(&policy).problems;
        assert!(
            problems.len() == 1 && problems[0].contains("a/b/README"),
            "{problems:?}"
        );
    }
}
