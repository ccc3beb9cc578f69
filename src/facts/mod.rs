//! What was surveyed, as plain data.
//!
//! Facts have no behaviour and import nothing of ours but [`crate::fs::volume_path`]. If a fact
//! could not be determined, its type says so, and no decision can mistake a failed inspection for a
//! good result.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod cache;
pub mod discovered;
pub mod locks;
pub mod package;
pub mod repo;
pub mod rescue;
pub mod volume;
pub mod worktree;
