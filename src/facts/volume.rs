//! Facts about the volume: its usage, in the file system's own numbers. `plan` decides what is too
//! full.

use serde::{Deserialize, Serialize};

/// The result of statvfs, or a plan's projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that are available without being root.
    pub free_bytes: u64,
    /// Inodes of the whole file system; 0 if it has no fixed number.
    pub total_inodes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Bytes of everything below the root; measured only if a `budget` needs it.
    pub standing_bytes: Option<u64>,
}
