//! How full the volume is, reckoned from how full it was and from what a run did since.
//!
//! It must never measure: a dry run has nothing to measure, and the run must decide as its dry run
//! did.

use crate::apply::trash::Emptied;
use crate::facts::cache::Size;
use crate::facts::volume::Usage;
use crate::run::context::RepoResult;

/// How full the volume is once trees and trash are gone, reckoned from how full it was: the dry run
/// has nothing better, and a run must decide as its dry run did. What a repack gained is not
/// foreseen, and comes on top.
pub(super) fn reckon<'a>(
    mut usage: Usage,
    results: impl Iterator<Item = &'a RepoResult>,
    emptied: &Emptied,
) -> Usage {
    free(&mut usage, emptied.freed);
    for result in results {
        free(&mut usage, result.freed);
        take(&mut usage, result.written);
    }
    usage
}

/// So much came.
fn take(usage: &mut Usage, size: Size) {
    usage.used_bytes = usage.used_bytes.saturating_add(size.bytes);
    usage.free_bytes = usage.free_bytes.saturating_sub(size.bytes);
    usage.used_inodes = usage.used_inodes.saturating_add(size.inodes);
    usage.standing_bytes = usage
        .standing_bytes
        .map(|bytes| bytes.saturating_add(size.bytes));
}

/// So much went.
pub(super) fn free(usage: &mut Usage, size: Size) {
    usage.used_bytes = usage.used_bytes.saturating_sub(size.bytes);
    usage.free_bytes = usage.free_bytes.saturating_add(size.bytes);
    usage.used_inodes = usage.used_inodes.saturating_sub(size.inodes);
    usage.standing_bytes = usage
        .standing_bytes
        .map(|bytes| bytes.saturating_sub(size.bytes));
}
