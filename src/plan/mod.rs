//! Decides: which units go.
//!
//! It must never do I/O or read a clock: what was seen comes in as facts, and `now` is an argument. So the dry run and the run
//! decide alike, and every decision can be tried with literals. What was kept, and why, comes out beside what goes.

pub mod evict;
