//! The volume's usage as projected from its first measurement and what the run did since.
//!
//! It is not measured again: a dry run has nothing to measure, and the run must decide as its dry
//! run did.

use crate::apply::trash::Emptied;
use crate::facts::cache::Size;
use crate::facts::volume::Usage;
use crate::run::context::RepoResult;

/// Projects the volume's usage once trees and trash are gone. What a repack frees is not projected,
/// and comes on top.
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

/// Adds a size to the usage.
fn take(usage: &mut Usage, size: Size) {
    usage.used_bytes = usage.used_bytes.saturating_add(size.bytes);
    usage.free_bytes = usage.free_bytes.saturating_sub(size.bytes);
    usage.used_inodes = usage.used_inodes.saturating_add(size.inodes);
    usage.standing_bytes = usage
        .standing_bytes
        .map(|bytes| bytes.saturating_add(size.bytes));
}

/// Removes a size from the usage.
pub(super) fn free(usage: &mut Usage, size: Size) {
    usage.used_bytes = usage.used_bytes.saturating_sub(size.bytes);
    usage.free_bytes = usage.free_bytes.saturating_add(size.bytes);
    usage.used_inodes = usage.used_inodes.saturating_sub(size.inodes);
    usage.standing_bytes = usage
        .standing_bytes
        .map(|bytes| bytes.saturating_sub(size.bytes));
}
