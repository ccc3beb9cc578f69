//! The one integration test binary: a module for each behaviour.

mod bad_input;
mod busy_caches;
mod caches;
mod cli;
mod config;
mod confined;
mod cronjobs;
mod dry_run;
mod eviction;
mod gc;
mod in_use;
mod kills;
mod lenders;
mod locks;
mod night;
mod prune;
mod real_night;
mod report;
mod rescue;
mod support;
mod tidy;
