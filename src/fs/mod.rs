//! The file system beneath everything else: places proven to be on the volume, opening and walking
//! beneath them, replacing a file atomically, and what reading may cost. It is the lowest room, so
//! the words for sizes, ages and lists stand here, too.
//!
//! It relies on nothing else of ours. If the kernel allows it, a path is resolved in one call that
//! follows no link and enters no other mount (`openat2`), so that what an agent swaps meanwhile
//! leads nowhere.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod atomic;
pub mod budget;
pub mod clock;
pub mod humanize;
pub mod mount;
pub mod openat;
pub mod scratch;
pub mod stop;
pub mod volume_path;
pub mod walk;
