//! A plain directory: every entry at the configured depth is a unit, named by its path.
//!
//! Entries higher up are never units, and hidden names (locks, temporary files) are left alone.

use super::ecosystem::Ecosystem;
use super::last_use::LastUse;
use super::lister::{CacheLayout, CacheLister, Entry, Stands};
use crate::facts::cache::CacheKind;
use crate::facts::cache::Unit;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;

pub(super) static DIRECTORY: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("folder"),
        unit: "whatever stands at the given depth of a directory of yours",
        stands: Stands::AtDepth,
        variables: |_| Vec::new(),
        usual: &[],
        units,
        last_use: LastUse::ENTRIES,
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("plain directories")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut level = vec![lister.place.clone()];
    for _ in 1..lister.depth {
        level = level
            .par_iter()
            .flat_map_iter(|directory| lister.directories(directory))
            .map(|entry| entry.place)
            .collect();
    }
    level
        .par_iter()
        .flat_map(|directory| lister.entries(directory))
        .filter_map(|entry| unit(lister, entry))
        .collect()
}

fn unit(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    lister.unit(name(lister.place, &entry.place), vec![entry.place])
}

/// Returns the readable path below the cache.
fn name(cache: &VolumePath, entry: &VolumePath) -> String {
    let below = entry
        .relative()
        .strip_prefix(cache.relative())
        .unwrap_or(entry.relative());
    below.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::Field;

    #[test]
    fn units_stand_at_the_depth() {
        let field = Field::new();
        for path in ["f/top", "f/a/one/x", "f/a/two", "f/b/.lock", "f/b/three"] {
            field.file(path, 3);
        }
        field.link("f/a/one", "f/b/link");
        assert_eq!(field.names(&field.policy("folder", "f")), ["a", "b", "top"]);
        let mut deeper = field.policy("folder", "f");
        deeper.depth = 2;
        assert_eq!(field.names(&deeper), ["a/one", "a/two", "b/three"]);
    }
}
