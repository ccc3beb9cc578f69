//! Decides what is removed and what stays, which repacks run, and which cache units are evicted.
//!
//! A plan depends on facts and policy alone: no I/O, no clock (`now` is an argument). So every
//! decision can be tested with literals, and a dry run decides exactly as the real run. A plan
//! leaves `apply` no choices. Unknown means keep.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod caps;
pub mod class;
pub mod clock;
pub mod evict;
pub mod fair;
pub mod gc;
pub mod grace;
pub mod ladder;
pub mod limits;
pub mod reason;
pub mod repo;
pub mod rescue;
pub mod rest;
pub mod shard;
pub mod when;
pub mod worktree;
