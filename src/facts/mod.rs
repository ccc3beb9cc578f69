//! What was seen, as plain data.
//!
//! Facts have no behaviour and import nothing of ours but [`crate::fs::volume_path`]. A fact that
//! could not be determined says so in its type, so that a decision can't mistake "could not look"
//! for "looked, and it was fine".

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod cache;
pub mod locks;
pub mod package;
pub mod repo;
pub mod rescue;
pub mod volume;
pub mod worktree;
