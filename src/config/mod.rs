//! The configuration: what was typed ([`raw`]) becomes what the program sees ([`policy`]).
//!
//! It must never touch the volume: a bad config leaves everything as it was.

pub mod policy;
pub mod raw;
pub mod units;
