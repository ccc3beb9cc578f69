//! The one integration test binary: a module for each behaviour.

#![expect(
    clippy::too_many_lines,
    reason = "a test is one world and what becomes of it, read from top to bottom"
)]

mod accounts;
mod after_a_kill;
mod at_work;
mod bad_input;
mod busy_caches;
mod busy_probe;
mod caches;
mod cli;
mod config;
mod confined;
mod contention;
mod cronjobs;
mod damage;
mod doors;
mod dry_run;
mod enroll;
mod env;
mod eviction;
mod exec;
#[cfg(target_arch = "x86_64")]
mod faults;
mod forged_rescues;
mod fuse;
mod fuzz_seeds;
mod gc;
mod gc_memory;
mod guards;
mod holders;
mod hostile;
mod html;
mod in_use;
mod judgement;
#[cfg(target_arch = "x86_64")]
mod kills;
#[cfg(target_arch = "x86_64")]
mod kills_of_commands;
mod lenders;
mod like_git;
mod locks;
mod logs;
mod many_nights;
mod night;
mod protocol;
mod prune;
mod real_night;
mod report;
mod rescue;
mod rescues;
mod rest;
mod rules;
mod runners;
mod shards;
mod signals;
#[cfg(target_arch = "x86_64")]
mod simulation;
mod state_files;
mod stores;
mod support;
mod t3;
mod taken;
mod taking_part;
mod tell;
mod tidy;
mod upstreams;
mod usage;
mod verdicts;
mod worktree_command;
