//! The one integration test binary: a file a behaviour.

mod report;
