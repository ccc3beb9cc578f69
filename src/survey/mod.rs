//! The survey of repos, worktrees, caches and the volume.
//!
//! It changes nothing, not even a timestamp that matters: it opens files only for reading, and git2
//! writes only to scratch space.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::fs::stop::Stop;
use std::io;

mod accounts;
mod attributes;
pub mod borrowers;
pub mod caches;
pub mod checkout;
pub mod clones;
pub mod committed;
pub mod context;
pub mod damage;
pub mod discover;
mod doubt;
mod elsewhere;
pub mod extensions;
pub mod fingerprint;
mod in_order;
pub(crate) mod index;
pub mod known;
pub mod landed;
mod lines;
pub mod lock_reason;
pub mod lockfiles;
pub mod memory;
pub mod missing;
pub mod moves;
mod nested;
pub mod objects;
pub mod packs;
mod place;
pub mod probe;
pub mod processes;
pub mod reach;
pub mod regenerable;
mod registration;
pub mod registry;
pub mod repo;
pub mod rescues;
pub mod roots;
pub mod size;
pub mod staged;
pub mod store;
pub mod tree;
mod unregistered;
pub mod volume;
pub mod worktree;
pub mod written;

/// Returns an error once the run is to stop. A survey that was stopped leads to no verdict, so it
/// can end at once.
fn go_on(stop: Option<&Stop>) -> io::Result<()> {
    stop.map_or(Ok(()), Stop::go_on)
}
