//! Facts about the volume: how full it is.
//!
//! The numbers are the file system's own. It must never judge them: what is too full is for `plan`.

use serde::{Deserialize, Serialize};

/// What statvfs said, or what a plan foresees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that can be had without being root.
    pub free_bytes: u64,
    /// Inodes of the whole file system; 0 where it has no fixed number.
    pub total_inodes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Bytes that stand below the root; measured only when a `budget` or a report asks for it.
    pub standing_bytes: Option<u64>,
}
