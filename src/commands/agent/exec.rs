//! `treewarden exec`: runs a command under its repo's lock, with the cache environment, in the
//! checkout or a worktree; where the caller stands, if that is in one of them.
//!
//! The command and all its children inherit the lock's descriptor, so the lock is held until the
//! last of them has ended. The volume's lock is not taken: agents and runs exclude each other only
//! repo by repo.

use super::checkout::{self, Asked, CheckoutError, Stand};
use super::{child, env};
use crate::commands::held::{HOLDS, held_above};
use crate::commands::here::Here;
use crate::commands::room::{self, NoRoom};
use crate::config::policy::{self, Policy};
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockError, LockedRepo, Purpose};
use crate::state::volume::{self, VolumeError};
use crate::survey::worktree::HEARTBEAT;
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The command, and where to run it.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The repo.
    pub repo: &'a policy::Repo,
    /// A worktree's name; none for where the caller stands, and else the checkout.
    pub worktree: Option<&'a str>,
    /// The program and its arguments.
    pub command: &'a [OsString],
    /// How long to wait for the lock.
    pub wait: Duration,
}

/// Why the command did not run, or was ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The volume is not the one that the config means.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The volume has no room for its work.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// A parent process holds a lock already.
    #[error("{0}")]
    Holds(String),
    /// The caller's own directory can't be inspected.
    #[error("failed to inspect the current directory: {0}; go to another, or give --worktree")]
    Nowhere(io::Error),
    /// The lock can't be taken.
    #[error("{0}: {1}")]
    Lock(String, Box<LockError>),
    /// The repo is refused.
    #[error("{0}: {1}")]
    Checkout(String, CheckoutError),
    /// The command can't be started.
    #[error("failed to run `{}`: {cause}; see that it is installed and on the PATH", program.display())]
    Start {
        /// The program.
        program: OsString,
        /// Why.
        cause: io::Error,
    },
    /// The lock was lost meanwhile.
    #[error("{0}: ended the command: {1}")]
    Lost(String, Box<LockError>),
}

/// How the command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    /// Whether processes that it started still run and hold the lock; at a terminal always false.
    pub goes_on: bool,
}

/// A command that is ready to run, with its repo's lock held.
#[derive(Debug)]
pub struct Ready<'a> {
    repo: &'a policy::Repo,
    lock: LockedRepo,
    stand: Stand,
    command: Command,
}

/// Makes room if too little is free, takes the lock, and prepares the command. `now` is called when the lock is taken.
///
/// # Errors
/// [`ExecError`].
pub fn prepare<'a>(
    policy: &Policy,
    request: &ExecRequest<'a>,
    now: impl Fn() -> DateTime<Utc>,
) -> Result<Ready<'a>, ExecError> {
    if let Some(why) = held_above() {
        return Err(ExecError::Holds(why));
    }
    volume::prove(&policy.volume)?;
    let repo = request.repo;
    let here = request.worktree.is_none().then(Here::now).transpose();
    let here = here.map_err(ExecError::Nowhere)?;
    let asked = match (request.worktree, &here) {
        (Some(name), _) => Asked::Worktree(name),
        (None, Some(here)) => match here.tree(repo).map_err(ExecError::Nowhere)? {
            Some(tree) => Asked::Here(here, tree),
            None => Asked::Checkout,
        },
        (None, None) => Asked::Checkout,
    };
    let locks = policy.volume.locks();
    let purpose = Purpose {
        name: "exec",
        command: request.command,
    };
    let busy = |error| ExecError::Lock(repo.name.clone(), Box::new(error));
    let stop = Stop::after(policy.run.deadline, Arc::default());
    let lock = room::under(policy, request.wait, &stop, || {
        LockedRepo::wait(&locks, &repo.name, &repo.place, purpose, &now, request.wait).map_err(busy)
    })?;
    let refused = |error| ExecError::Checkout(repo.name.clone(), error);
    let stand = checkout::find(repo, &asked).map_err(refused)?;
    Ok(Ready {
        command: command(policy, request, &stand),
        repo,
        lock,
        stand,
    })
}

impl Ready<'_> {
    /// Returns the directory that the command will run in.
    pub fn path(&self) -> &Path {
        &self.stand.path
    }

    /// Returns whether nothing is checked out there, because the repo is bare.
    pub fn is_empty(&self) -> bool {
        self.stand.is_empty
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn run(mut self) -> Result<Ended, ExecError> {
        let program = self.command.get_program().to_owned();
        let failed = |cause| ExecError::Start {
            program: program.clone(),
            cause,
        };
        self.lock.share().map_err(failed)?;
        sign_of_life(&self.stand);
        let ended = child::run(self.command, || {
            sign_of_life(&self.stand);
            self.lock.beat()
        });
        let ended = ended.map_err(failed)?;
        match ended.lost {
            Some(error) => Err(ExecError::Lost(self.repo.name.clone(), Box::new(error))),
            None => Ok(Ended {
                code: ended.code,
                goes_on: ended.goes_on,
            }),
        }
    }
}

fn command(policy: &Policy, request: &ExecRequest<'_>, stand: &Stand) -> Command {
    let (program, arguments) = request
        .command
        .split_first()
        .map_or((OsStr::new(""), &[][..]), |(program, rest)| {
            (program.as_os_str(), rest)
        });
    #[expect(clippy::disallowed_methods, reason = "the agent's own command")]
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(env::variables(policy))
        .env(HOLDS, &request.repo.name)
        .env("PWD", &stand.path);
    // By its descriptor: this is the directory that was checked, whatever replaces it meanwhile.
    command.current_dir(format!("/proc/self/fd/{}", stand.directory.as_raw_fd()));
    command
}

/// Marks a worktree as active while a command runs in it, whether it writes there or not. A mark
/// that can't be written is only logged.
fn sign_of_life(stand: &Stand) {
    if let Some(Err(error)) = stand.tree.admin.as_ref().map(touch) {
        tracing::debug!(%error, "failed to write the worktree's heartbeat");
    }
}

fn touch(admin: &VolumePath) -> io::Result<()> {
    let flags =
        OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(
        openat::dir(admin)?,
        HEARTBEAT,
        flags,
        Mode::from_raw_mode(0o644),
    )?;
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: now,
            last_modification: now,
        },
    )?)
}
