//! Caches that spread their files over directories named by the first digits of a hash.

use super::hex::is_hex;
use super::lister::{CacheLister, Entry};
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;

/// Returns the directories that are `levels` below `directory`, each named by `digits` hexadecimal
/// digits, and so are those on the way. Others are no shards.
pub(super) fn shards(
    lister: &CacheLister<'_>,
    directory: &VolumePath,
    digits: usize,
    levels: usize,
) -> Vec<Entry> {
    let below = |directory: &VolumePath| {
        let mut found = lister.directories(directory);
        found.retain(|entry| is_hex(&entry.name, digits));
        found
    };
    let mut level = below(directory);
    for _ in 1..levels {
        level = level
            .par_iter()
            .flat_map_iter(|entry| below(&entry.place))
            .collect();
    }
    level
}
