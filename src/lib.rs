//! treewarden keeps a shared volume of persistent git checkouts, worktrees and package caches healthy.
//!
//! One idea shapes it: **look → decide → act → tell.**
//!
//! | room | does | never |
//! | --- | --- | --- |
//! | [`facts`] | holds what was seen, as plain data | behaves |
//! | [`config`] | turns the file into a complete [`config::policy::Policy`] | touches the volume |
//! | [`survey`] | looks at repos, worktrees, caches and the volume | changes anything |
//! | [`plan`] | decides | does I/O or reads a clock: `now` is an argument |
//! | [`apply`] | does what a plan says | decides |
//! | [`agent`] | runs an agent's command under the same lock | changes a repo itself |
//! | [`report`] | tells what was done, what was kept, and why | leaves out a failure |
//! | [`tell`] | sends metrics and alerts to others | changes how a run ended |
//!
//! Imports run one way: `facts` imports nothing of ours but [`inside`]; `survey` and `plan` see `facts` and
//! `config::policy`; `apply` sees `plan`, `facts` and `lock`, never `config`; only [`run`] sees them all.
//! Per repo the order is lock → survey → plan → apply → unlock, so facts can't go stale between look and act.
//!
//! # Invariants
//!
//! Enforced by `tests/it/tidy.rs` and by `clippy.toml`:
//!
//! 1. `plan` does no I/O and reads no clock.
//! 2. `survey` never mutates; `apply` never decides; a dry run is one `if` in `run.rs`.
//! 3. One function, [`plan::worktree::verdict`], decides a worktree's fate, for the dry run and the real run alike.
//!    Unknown means keep.
//! 4. Trees are deleted only in [`apply::trash`], by file descriptor, never following a link.
//! 5. The git program is started only in [`git`].
//! 6. Git reaches its own repo and nothing else ([`confine`]), and this crate has no unsafe code: the few calls that need some stand in
//!    `unsafe/`.
//! 7. A failed item is a row in the report, never the end of the run.

pub mod agent;
pub mod alert;
pub mod apply;
pub mod beneath;
pub mod budget;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confine;
pub mod demo;
pub mod durable;
pub mod enroll;
pub mod eviction;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
pub mod git;
pub mod inside;
pub mod journal;
pub mod ledger;
pub mod lock;
pub mod night;
pub mod plan;
pub mod report;
pub mod rescues;
pub mod rest;
pub mod run;
pub mod scratch;
pub mod sha1;
pub mod shadow;
pub mod shards;
pub mod stop;
pub mod survey;
pub mod tell;
pub mod usage;
pub mod volume;
pub mod walk;
pub mod worktrees;
