//! treewarden keeps a shared volume of persistent git checkouts, worktrees and package caches
//! healthy.
//!
//! One idea shapes it: **survey → plan → apply → report.** [`survey`] inspects, and changes
//! nothing. [`plan`] decides, without I/O and without a clock. [`apply`] does what the plan says
//! and decides nothing. [`report`] says what was done, what was kept, and why. A dry run is the
//! same run without `apply`.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`cli`] | the command line: arguments as typed, exit codes |
//! | [`commands`] | the commands besides the run: `check`, `init`, `enroll`, `worktree`, `exec`, `rescue`, … |
//! | [`run`] | one run over all repos, and the eviction that follows |
//! | [`notify`] | alert rules, and their delivery: metrics, Alertmanager, a webhook |
//! | [`report`] | the report of a run, its renderings, and the journal of past runs |
//! | [`apply`] | carries out a plan: rescues, the trash, repacks, eviction |
//! | [`lock`] | the lock that agents share; only a [`lock::LockedRepo`] can be changed |
//! | [`survey`] | surveys repos, worktrees, caches and the volume |
//! | [`plan`] | decides: worktrees, repacks, rescue expiry, eviction, guards |
//! | [`state`] | treewarden's own files: the volume's sentinel, the ledger |
//! | [`config`] | turns the file into a complete [`config::policy::Policy`], and reports every mistake at once |
//! | [`ecosystems`] | one file per tool: its caches, variables, lock files, and what it makes in a tree |
//! | [`facts`] | what was surveyed, as plain data |
//! | [`git`] | the one door to the git program, and the sanitised git dir that it works in |
//! | [`fs`] | paths that are proven to be on the volume, opening and walking beneath them, when to stop |
//!
//! Imports run down this table and never up; `tests/it/tidy.rs` has the list of what each room may
//! see. Per repo the order is lock → survey → plan → apply → unlock, so facts can't go stale
//! between survey and apply. `docs/design/architecture.md#a-run-in-types` shows a run.
//!
//! # Invariants
//!
//! Enforced by types, by `tests/it/tidy.rs` and by `clippy.toml`:
//!
//! 1. `plan` does no I/O and reads no clock: `now` is an argument.
//! 2. `survey` never changes anything; `apply` never decides.
//! 3. One function, [`plan::worktree::verdict`], decides a worktree's fate, for the dry run, the
//!    run, `worktree list` and the eviction alike. Unknown means keep.
//! 4. Two hands: what decides that objects can go is not what deletes them. A store loses nothing
//!    before an independent proof ([`apply::proof`], `docs/design/architecture.md#two-hands`).
//! 5. Trees are deleted only in [`apply::trash`], by file descriptor, never following a link.
//! 6. The git program is started only in [`git`]. It reaches its own repo and nothing else
//!    ([`git::confine`]).
//! 7. All memory that a repo's files take is counted against one budget ([`fs::budget`]), and every
//!    read that they can lengthen asks whether to stop ([`fs::stop`]).
//! 8. This crate has no unsafe code: the few calls that need some are in `unsafe/`.
//! 9. A failed item is a row in the report, never the end of the run.

pub mod apply;
pub mod cli;
pub mod commands;
pub mod config;
pub mod ecosystems;
pub mod facts;
pub mod fs;
pub mod git;
pub mod lock;
pub mod notify;
pub mod plan;
pub mod report;
pub mod run;
pub mod state;
pub mod survey;
