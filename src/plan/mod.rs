//! The decisions: what goes, what stays, what kind of repack, which cache units.
//!
//! A plan is made of facts and policy alone: no I/O, no clock (`now` is an argument). So every
//! decision can be tested with literals, and a dry run decides exactly as the real run. A plan
//! leaves `apply` no choices. Unknown means keep.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod class;
pub mod clock;
pub mod evict;
pub mod fair;
pub mod gc;
pub mod grace;
pub mod limits;
pub mod reason;
pub mod repo;
pub mod rescue;
pub mod rest;
pub mod shard;
pub mod worktree;
