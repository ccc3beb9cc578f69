//! Integration tests of the whole crate, in one binary.
//!
//! One file per behaviour. It must never hold a test itself.

mod config;
