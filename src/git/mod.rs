//! The one door to the git program.
//!
//! Git runs on a shadow git dir (see [`crate::git::shadow`]) with a fixed environment, in its own
//! process group, confined to its repo (see [`crate::git::confine`]) and under a time limit, and it
//! dies with its parent. Only fetches and checkouts use the caller's own git and environment: see
//! [`caller`]. Neither sees the config that a repo's agents wrote.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::fs::stop::Stop;
use crate::git::confine::Reach;
use crate::git::formats::Version;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

pub mod caller;
pub mod confine;
pub mod formats;
mod idle;
pub mod private;
pub mod sha1;
pub mod shadow;

/// The oldest git with which `repack --cruft` and `--geometric` were measured.
pub const OLDEST: Version = (2, 39);

/// Variables that keep git from reading foreign config, prompting and starting other programs:
/// `docs/design/git.md#hostile-repos`, step 4.
const ENVIRONMENT: [(&str, &str); 16] = [
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "/bin/false"),
    ("GIT_SSH_COMMAND", "/bin/false"),
    ("GIT_ALLOW_PROTOCOL", ""),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "/bin/false"),
];

/// Settings that override any config: same place, step 4. The ages are those of
/// `docs/design/git.md#grace`.
const SETTINGS: [&str; 11] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "gc.autoDetach=false",
    "gc.worktreePruneExpire=never",
    "gc.pruneExpire=14.days.ago",
    "gc.reflogExpire=90.days.ago",
    "gc.reflogExpireUnreachable=90.days.ago",
    "core.fsync=all",
];

/// Git, set up for one git dir.
pub struct Git<'a> {
    git_dir: &'a Path,
    reach: &'a Reach,
    stop: &'a Stop,
    limit: Duration,
    settings: Vec<String>,
}

/// Why a git command failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started.
    #[error("failed to start git: {0}; install git {major}.{minor} or newer", major = OLDEST.0, minor = OLDEST.1)]
    Start(#[source] io::Error),
    /// It exited with an error.
    #[error("failed to run `git {command}`: {status}: {message}")]
    Failed {
        /// The subcommand and its arguments.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// The last lines of its standard error.
        message: String,
    },
    /// It was ended: time was up or the run is to stop.
    #[error("ended `git {command}`: {why}; the next run tries again")]
    Ended {
        /// The subcommand and its arguments.
        command: String,
        /// Why.
        why: String,
    },
}

impl<'a> Git<'a> {
    /// Returns a git for `git_dir`, confined to `reach`. Each command is ended after `limit`, or
    /// when the run stops.
    pub fn new(git_dir: &'a Path, reach: &'a Reach, stop: &'a Stop, limit: Duration) -> Self {
        Self {
            git_dir,
            reach,
            stop,
            limit,
            settings: Vec::new(),
        }
    }

    /// Adds a `-c` setting for all commands.
    #[must_use]
    pub fn with(mut self, setting: String) -> Self {
        self.settings.push(setting);
        self
    }

    /// Runs a command to its end and returns its standard output.
    ///
    /// # Errors
    /// [`GitError`]: not started, failed, or ended early.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<u8>, GitError> {
        let mut out = tempfile::tempfile().map_err(GitError::Start)?;
        let mut err = tempfile::tempfile().map_err(GitError::Start)?;
        self.finish(
            args,
            Stdio::null(),
            out.try_clone().map_err(GitError::Start)?.into(),
            &mut err,
        )?;
        read_all(&mut out).map_err(GitError::Start)
    }

    /// Runs a command to its end and writes its standard output to `out`. Nothing else is written
    /// except scratch space.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn write<S: AsRef<OsStr>>(&self, args: &[S], out: File) -> Result<(), GitError> {
        let mut err = tempfile::tempfile_in(self.git_dir).map_err(GitError::Start)?;
        self.finish(args, Stdio::null(), out.into(), &mut err)
            .map(drop)
    }

    /// Runs a command that changes the repo. If git can't open a directory or delete a lock file,
    /// it sometimes continues and reports success, so such a message counts as a failure. A message
    /// about something that git can do without, such as a malformed commit-graph, doesn't.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn change<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<(), GitError> {
        let mut err = tempfile::tempfile().map_err(GitError::Start)?;
        let status = self.finish(args, Stdio::null(), Stdio::null(), &mut err)?;
        let said = read_all(&mut err).map_err(GitError::Start)?;
        let passed_over = |line: &str| {
            ["error: unable to ", "warning: unable to unlink "]
                .iter()
                .any(|words| line.starts_with(words))
        };
        if !String::from_utf8_lossy(&said).lines().any(passed_over) {
            return Ok(());
        }
        let command = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        Err(GitError::Failed {
            command,
            status,
            message: tail(&mut err),
        })
    }

    /// Runs a command to its end on `input`, only for its exit status.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn feed<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<(), GitError> {
        self.fed(args, input, Stdio::null())
    }

    fn fed<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        input: &[u8],
        output: Stdio,
    ) -> Result<(), GitError> {
        let file = || {
            let mut file = tempfile::tempfile()?;
            file.write_all(input)?;
            file.rewind()?;
            io::Result::Ok(file)
        };
        let mut err = tempfile::tempfile().map_err(GitError::Start)?;
        self.finish(
            args,
            file().map_err(GitError::Start)?.into(),
            output,
            &mut err,
        )
        .map(drop)
    }

    /// Runs a command to its end on `input`, and returns its standard output.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub fn ask<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let mut out = tempfile::tempfile().map_err(GitError::Start)?;
        self.fed(
            args,
            input,
            out.try_clone().map_err(GitError::Start)?.into(),
        )?;
        read_all(&mut out).map_err(GitError::Start)
    }

    fn finish<S: AsRef<OsStr>>(
        &self,
        args: &[S],
        input: Stdio,
        output: Stdio,
        err: &mut File,
    ) -> Result<ExitStatus, GitError> {
        let complaint = err.try_clone().map_err(GitError::Start)?;
        let prepare = |command: &mut Command| {
            self.reach.enter().map_err(io::Error::other)?;
            command
                .env_clear()
                .envs(ENVIRONMENT)
                .env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command
                .env("GIT_DIR", self.git_dir)
                .current_dir(self.git_dir);
            for setting in SETTINGS
                .into_iter()
                .chain(self.settings.iter().map(String::as_str))
            {
                command.args(["-c", setting]);
            }
            command.stdin(input).stdout(output).stderr(complaint);
            // Twice the memory that we count for it, which is released by then: see `plan::limits`.
            if let Some(most) = self.stop.budget().most() {
                treewarden_unsafe::limit_memory(command, most.saturating_mul(2));
            }
            Ok(())
        };
        let (began, command) = (Instant::now(), words(args));
        let limit = Limit {
            all: self.limit,
            idle: Some(idle::patience()),
        };
        let ended = supervise(args, prepare, self.stop, limit, || tail(err));
        let (seconds, ok) = (began.elapsed().as_secs_f64(), ended.is_ok());
        tracing::debug!(command = %command.escape_debug(), seconds, ok, "git");
        ended
    }
}

/// Returns the arguments as text for messages.
fn words<S: AsRef<OsStr>>(args: &[S]) -> String {
    let words: Vec<_> = args
        .iter()
        .map(|arg| arg.as_ref().to_string_lossy())
        .collect();
    words.join(" ")
}

/// How long a git may take.
#[derive(Clone, Copy)]
struct Limit {
    all: Duration,
    /// How long it may only wait; for ever if it may ask somebody, or talks to a server.
    idle: Option<Duration>,
}

/// Runs git to its end, or until its time is up. `prepare` sets everything except its arguments,
/// and `complaint` returns the message of a failure.
fn supervise<S: AsRef<OsStr>>(
    args: &[S],
    prepare: impl FnOnce(&mut Command) -> io::Result<()> + Send,
    stop: &Stop,
    limit: Limit,
    complaint: impl FnOnce() -> String,
) -> Result<ExitStatus, GitError> {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    let command = words(&args);
    let (running, started) = mpsc::channel();
    let idle = OnceLock::new();
    // Confinement lasts as long as a thread, and a child dies with the thread that started it. So
    // each child gets its own thread.
    let child = || {
        let running = running;
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let mut git = Command::new("git");
        prepare(&mut git)?;
        let lifeline = treewarden_unsafe::die_with_parent(git.args(&args))?;
        let git = git.spawn()?;
        // Nobody listens if it may wait.
        running.send(Pid::from_child(&git)).ok();
        let why = |began: Instant| too_long(stop, limit.all, began, &idle);
        let ended = wait(git, why);
        drop(lifeline);
        ended
    };
    let ran = std::thread::scope(|scope| {
        let child = scope.spawn(child);
        if let Some(patience) = limit.idle
            && let Some(why) = idle::watch(&started, patience)
        {
            idle.get_or_init(|| why);
        }
        child.join()
    });
    let (status, ended) = ran
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .map_err(GitError::Start)?;
    match ended {
        Some(why) => Err(GitError::Ended { command, why }),
        None if status.success() => Ok(status),
        None => Err(GitError::Failed {
            command,
            status,
            message: complaint(),
        }),
    }
}

/// Returns why a git that began then is to be ended; none if it may go on.
fn too_long(
    stop: &Stop,
    limit: Duration,
    began: Instant,
    idle: &OnceLock<String>,
) -> Option<String> {
    let late = || format!("it took more than {} s", limit.as_secs());
    let stopped = stop.reached().map(ToOwned::to_owned);
    stopped
        .or_else(|| (began.elapsed() > limit).then(late))
        .or_else(|| idle.get().cloned())
}

/// Waits for the child without polling: its pidfd becomes readable when it ends. `why` says why it
/// is to be ended before.
fn wait(
    mut child: Child,
    why: impl Fn(Instant) -> Option<String>,
) -> io::Result<(ExitStatus, Option<String>)> {
    let pid = Pid::from_child(&child);
    let ended =
        watch(pid, why).unwrap_or_else(|error| Some(format!("failed to watch it: {error}")));
    // Kill the whole group: git's own children must not continue when the lock is released, nor
    // after a crash of git. Usually they have ended. Git has not been waited for yet, so its
    // process id can't have been reused.
    let _may_be_gone = rustix::process::kill_process_group(pid, Signal::KILL);
    Ok((child.wait()?, ended))
}

/// Returns why the child must be ended; none if it ended by itself.
fn watch(pid: Pid, why: impl Fn(Instant) -> Option<String>) -> io::Result<Option<String>> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let began = Instant::now();
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    loop {
        match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&tick)) {
            // Timed out, or a signal handler ran: whether to stop is asked below.
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if let Some(why) = why(began) {
            return Ok(Some(why));
        }
    }
}

fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns git's last error messages, or else the last lines of its output: enough to understand,
/// short enough for a row of the report. Git prints its hints after the errors.
fn tail(file: &mut File) -> String {
    let text = read_all(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let complaints: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with("fatal: ") || line.starts_with("error: "))
        .collect();
    let telling = if complaints.is_empty() {
        lines
    } else {
        complaints
    };
    let told = telling.rchunks(3).next().unwrap_or_default().join("; ");
    let is_short = [
        "Out of memory",
        "out of memory",
        "malloc failed",
        "mmap failed: Cannot allocate",
    ]
    .iter()
    .any(|words| told.contains(words));
    if is_short {
        format!("{told}; raise the memory limit, or lower `run.repos_in_parallel`")
    } else {
        told
    }
}

/// Returns the version of the git on the path: major and minor; none if its answer isn't
/// understood.
///
/// # Errors
/// [`GitError`] if git can't be started.
pub fn version(stop: &Stop) -> Result<Option<Version>, GitError> {
    let scratch = tempfile::tempdir().map_err(GitError::Start)?;
    let reach = Reach::of(scratch.path()).map_err(GitError::Start)?;
    let answer =
        Git::new(scratch.path(), &reach, stop, Duration::from_secs(10)).run(&["version"])?;
    Ok(parse_version(&String::from_utf8_lossy(&answer)))
}

fn parse_version(answer: &str) -> Option<Version> {
    let mut numbers = answer.strip_prefix("git version ")?.split('.');
    Some((
        numbers.next()?.parse().ok()?,
        numbers.next()?.trim().parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(
            parse_version("git version 2.39.5 (Apple Git-154)"),
            Some((2, 39))
        );
        assert_eq!(parse_version("git version 3.0\n"), Some((3, 0)));
        assert_eq!(parse_version("nonsense"), None);
    }

    /// Runs git in a scratch directory, under a short limit.
    fn ask(prepare: impl FnOnce(&Path), setting: &str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let scratch = tempfile::tempdir().unwrap();
        prepare(scratch.path());
        let stop = Stop::after(Duration::from_mins(1), std::sync::Arc::default());
        let reach = Reach::of(scratch.path()).unwrap();
        Git::new(scratch.path(), &reach, &stop, Duration::from_millis(300))
            .with(setting.to_owned())
            .run(args)
    }

    #[test]
    fn a_git_that_takes_too_long_is_ended() {
        let fifo = |scratch: &Path| {
            let path = scratch.join("fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        };
        let began = Instant::now();
        assert!(matches!(
            ask(fifo, "core.x=y", &["hash-object", "--no-filters", "fifo"]),
            Err(GitError::Ended { .. })
        ));
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn git_can_start_nothing_but_git() {
        let alias = |command| ask(|_| (), command, &["other"]);
        assert!(alias("alias.other=!exit 0").is_err() || !crate::git::confine::held());
        assert!(alias("alias.other=version").is_ok());
    }
}
