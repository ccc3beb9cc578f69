//! Runs an agent's command as a child: passes signals on to it, returns its exit code, and doesn't
//! let it outlive us.
//!
//! Without a terminal the command has its own process group, and the kernel kills the whole group
//! if we are killed: nobody works on under a lock that looks free. Processes that left the group
//! hold the lock themselves. At a terminal the command stays in our group, which receives Ctrl-C
//! and Ctrl-Z, and only the command itself dies with us. What the command leaves running is not
//! ended.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The interval of the lock's signs of life.
pub const BEAT: Duration = Duration::from_secs(5);

/// The time that a command has to clean up when its lock is lost.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The signals that people and schedulers send.
const PASSED_ON: [i32; 7] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM];

/// How a command ended.
#[derive(Debug)]
pub struct Ended<E> {
    /// Its exit code; 128 plus the signal's number if one ended it.
    pub code: u8,
    /// Whether processes that it started still run; at a terminal always false.
    pub goes_on: bool,
    /// Why it was ended early: `beat` failed.
    pub lost: Option<E>,
}

/// Runs a command to its end. `beat` is called every [`BEAT`]; if it fails, the command is ended.
///
/// # Errors
/// The command could not be started, and then the error is `spawn`'s, or not be waited for.
pub fn run<E: Display + Send>(
    mut command: Command,
    beat: impl Fn() -> Result<(), E> + Send,
) -> io::Result<Ended<E>> {
    let at_terminal = io::stdin().is_terminal();
    let ignored = ignored();
    let listened = PASSED_ON
        .into_iter()
        .filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(listened.chain([SIGCHLD]))?;
    let lifeline = if at_terminal {
        treewarden_unsafe::die_alone_with_parent(&mut command);
        None
    } else {
        Some(treewarden_unsafe::die_with_parent(&mut command)?)
    };
    let started = Started {
        pid: Pid::from_child(&command.spawn()?),
        at_terminal,
    };
    let (ended, lost) = std::thread::scope(|scope| {
        let (end, ending) = mpsc::channel();
        let heart = scope.spawn(move || started.beats(beat, &ending));
        let ended = started.wait(&mut signals);
        drop(end);
        (
            ended,
            heart
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    let goes_on = !at_terminal && rustix::process::test_kill_process_group(started.pid).is_ok();
    lifeline.map_or(Ok(()), treewarden_unsafe::Lifeline::let_live)?;
    Ok(Ended {
        code: code(ended?),
        goes_on,
        lost,
    })
}

/// Returns the signals that we were started to ignore, as by `nohup`, one bit each: the command
/// ignores them, too.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// A running command.
#[derive(Debug, Clone, Copy)]
struct Started {
    pid: Pid,
    at_terminal: bool,
}

impl Started {
    fn wait(self, signals: &mut Signals) -> io::Result<WaitStatus> {
        for signal in signals.forever() {
            match signal {
                SIGCHLD => {
                    if let Some(status) = self.reap()? {
                        return Ok(status);
                    }
                }
                signal => self.pass_on(signal),
            }
        }
        Err(io::Error::other("the signals ended"))
    }

    /// Returns its status, if it has ended. As a container's first process we inherit orphans, so
    /// those are reaped, too.
    fn reap(self) -> io::Result<Option<WaitStatus>> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => return Ok(Some(status)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Passes a signal on, except SIGINT and SIGQUIT at a terminal, which sends those to the whole
    /// group itself.
    fn pass_on(self, signal: i32) {
        let Some(known) = Signal::from_named_raw(signal) else {
            return;
        };
        match signal {
            SIGINT | SIGQUIT if self.at_terminal => {}
            SIGINT | SIGQUIT | SIGHUP if !self.at_terminal => self.to_all(known),
            _ => gone_already(rustix::process::kill_process(self.pid, known)),
        }
    }

    fn to_all(self, signal: Signal) {
        if self.at_terminal {
            gone_already(rustix::process::kill_process(self.pid, signal));
        } else {
            gone_already(rustix::process::kill_process_group(self.pid, signal));
        }
    }

    /// Waits until the command has ended, or until `beat` fails, and then ends the command.
    fn beats<E: Display>(
        self,
        beat: impl Fn() -> Result<(), E>,
        ending: &mpsc::Receiver<()>,
    ) -> Option<E> {
        let goes_on = |time| ending.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        while goes_on(BEAT) {
            if let Err(lost) = beat() {
                tracing::error!(error = %lost, "ending the command");
                self.to_all(Signal::TERM);
                if goes_on(LAST_WORDS) {
                    self.to_all(Signal::KILL);
                }
                return Some(lost);
            }
        }
        None
    }
}

/// Ignores that there is no process left to signal.
fn gone_already(sent: Result<(), Errno>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a signal came too late");
    }
}

fn code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| Some(128 + status.terminating_signal()?))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
