//! The volume's usage, from one `statvfs`. If that fails it is an error, never an estimate.

use crate::facts::volume::Usage;
use std::io;
use std::path::Path;

/// Calls statvfs once, which is all that eviction costs a run below the watermarks.
///
/// # Errors
/// Any error of statvfs.
pub fn usage(root: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::statvfs(root)?;
    // In units of f_frsize: on NFS f_bsize is the transfer size.
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Usage {
        total_bytes: bytes(stat.f_blocks),
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        free_bytes: bytes(stat.f_bavail),
        total_inodes: stat.f_files,
        used_inodes: stat.f_files.saturating_sub(stat.f_ffree),
        standing_bytes: None,
    })
}
