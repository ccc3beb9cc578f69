//! How full the volume is.
//!
//! It must never estimate: a `statvfs` that fails is an error.

use crate::facts::volume::Usage;
use std::io;
use std::path::Path;

/// One statvfs: all that a run below the marks costs the eviction.
///
/// # Errors
/// Whatever statvfs says.
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
