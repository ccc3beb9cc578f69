//! Carries out what a plan says, and nothing else.
//!
//! Every step first checks that the lock is still held. A failed step becomes a row of the report,
//! and the others go on. Nothing is decided here: what isn't in the plan isn't done.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod at_work;
pub mod evict;
pub mod fill;
pub mod gc;
pub mod ownership;
pub mod proof;
pub mod reflogs;
pub mod repo;
pub mod rescue;
pub mod reserved_space;
pub mod restore;
pub mod staging;
pub mod trash;
