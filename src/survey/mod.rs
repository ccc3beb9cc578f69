//! Looks at the volume: repos, worktrees, caches, and how full it is.
//!
//! It must never change anything, and never decides: what can't be read is said so, and stays.

pub mod caches;
pub mod open;
pub mod regenerable;
pub mod size;
