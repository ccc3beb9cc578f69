//! The commands of the agents' side, as typed: `exec`, `env` and `locks`. Only the command's own
//! output goes to standard output.

use super::{Exit, Format, print, refused, repo, usage, write_as};
use crate::commands::agent::checkout::CheckoutError;
use crate::commands::agent::env::{self, render, variables};
use crate::commands::agent::exec::{ExecError, ExecRequest, prepare};
use crate::commands::agent::locks::locks;
use crate::commands::room;
use crate::config::{policy::Policy, units};
use crate::fs::clock;
use crate::lock::LockError;
use crate::report;
use crate::report::look::Look;
use crate::report::words;
use anstream::eprintln;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::io;
use std::time::Duration;

/// The exit code if a repo's lock was not available in time: sysexits' `EX_TEMPFAIL`, which no
/// program of note uses for anything else.
const BUSY: u8 = 75;
/// The exit code of shells and `env`.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

#[derive(Debug, Subcommand)]
pub(super) enum Agents {
    /// Run a command under a repo's lock, with the cache environment set
    ///
    /// The lock is held until the command and all that it started have ended. Signals go to the
    /// command, and its exit code comes back; 128 and the signal's number when one ended it. 75:
    /// the lock could not be taken in time. 73: less than volume.floor is free, and no room could be
    /// made. 126 and 127: there is no such program.
    Exec(Exec),
    /// Print the cache environment: where package managers find their caches on the volume
    Env {
        /// How to write it
        #[arg(long, value_enum, default_value_t = env::Format::Shell)]
        format: env::Format,
    },
    /// Show who holds which repo: since when, from where, and what for
    Locks {
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

impl Agents {
    pub(super) fn run(&self, policy: &Policy) -> Result<u8, Exit> {
        match self {
            Self::Exec(asked) => under_lock(policy, asked),
            Self::Env { format } => environment(policy, *format),
            Self::Locks { format } => holders(policy, *format),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The repo's name in the config, or a last part that no other has [default: the repo that
    /// you stand in]
    repo: Option<String>,
    /// Run in this worktree [default: where you stand, if that is in a worktree or the checkout
    /// of the repo, else in the checkout]
    #[arg(long, value_name = "NAME")]
    worktree: Option<String>,
    /// How long to wait for the lock, as `30s` [default: the repo's `lock_wait`]
    #[arg(long, value_name = "TIME")]
    wait: Option<units::Time>,
    /// Don't wait for the lock
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn under_lock(policy: &Policy, asked: &Exec) -> Result<u8, Exit> {
    let repo = repo(policy, asked.repo.as_deref())?;
    let wait = if asked.no_wait {
        Duration::ZERO
    } else {
        asked.wait.map_or(repo.lock_wait, |time| time.0)
    };
    let request = ExecRequest {
        repo,
        worktree: asked.worktree.as_deref(),
        command: &asked.command,
        wait,
    };
    let ready = prepare(policy, &request, clock::now).map_err(told)?;
    if request.worktree.is_none() {
        let path = words::plain(&ready.path().display().to_string());
        let empty = if ready.is_empty() {
            "; nothing is checked out there: the repo is bare, and --worktree NAME runs in a worktree"
        } else {
            ""
        };
        eprintln!(
            "treewarden: running in `{path}`, with the lock of {}{empty}",
            repo.name
        );
    }
    let ended = ready.run().map_err(told)?;
    if ended.goes_on {
        tracing::warn!(
            repo = repo.name,
            "the command has ended; what it started goes on, and with it the lock"
        );
    }
    Ok(ended.code)
}

fn told(error: ExecError) -> Exit {
    let message = words::plain(&error.to_string());
    let code = match &error {
        ExecError::Holds(_)
        | ExecError::Nowhere(_)
        | ExecError::Checkout(_, CheckoutError::NoWorktree(..)) => 2,
        ExecError::NoRoom(_) => room::CODE,
        ExecError::Volume(_) | ExecError::Checkout(..) => 3,
        ExecError::Lock(_, error) if error.may_pass() => BUSY,
        ExecError::Lock(_, error) if matches!(**error, LockError::Local { .. }) => 3,
        ExecError::Start { cause, .. } if cause.kind() == io::ErrorKind::NotFound => NOT_FOUND,
        ExecError::Start { .. } => NOT_EXECUTABLE,
        ExecError::Lock(..) | ExecError::Lost(..) => 1,
    };
    Exit { code, message }
}

fn environment(policy: &Policy, format: env::Format) -> Result<u8, Exit> {
    print(&render(&variables(policy), format).map_err(usage)?)?;
    Ok(0)
}

fn holders(policy: &Policy, format: Format) -> Result<u8, Exit> {
    let locks = locks(policy).map_err(refused)?;
    print(&write_as(format, &locks, || {
        report::locks::render(&locks, Look::of_stdout())
    }))?;
    Ok(u8::from(
        locks.locks.iter().any(|lock| lock.error.is_some()),
    ))
}
