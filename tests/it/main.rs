//! The one integration test binary: a module for each behaviour.

mod cronjobs;
