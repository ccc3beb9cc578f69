//! Looking: repos, worktrees, caches and the volume.
//!
//! A survey never changes anything, not even a timestamp that matters: it opens files for reading only, and what git2 needs to write
//! stays in scratch space.

pub mod caches;
pub mod known;
pub mod landed;
pub mod lockfiles;
pub mod mount;
pub mod probe;
pub mod reach;
pub mod regenerable;
pub mod repo;
pub mod size;
pub mod store;
pub mod tree;
pub mod volume;
pub mod worktree;
