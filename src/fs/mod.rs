//! The file system layer: paths proven to be on the volume, opening and walking below them,
//! replacing a file atomically, and what reading may cost. It is the lowest room, so it also has
//! the words for sizes, ages and lists.
//!
//! It relies on nothing else of ours. The kernel resolves a path in one call that follows no link
//! and enters no other mount (`openat2`), so that a directory swapped by an agent leads nowhere.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod assigned;
pub mod atomic;
pub mod budget;
pub mod clock;
pub mod denied;
pub mod humanize;
pub mod mount;
pub mod openat;
pub mod scratch;
pub mod stop;
pub mod volume_path;
pub mod walk;
