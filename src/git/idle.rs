//! Notices a git that only waits: for the writer of a FIFO, which somebody put in a file's place
//! after it was inspected. It would wait until its time is up, and the run with it.
//!
//! Git has no other reason to sleep for minutes. A file server that is gone makes it wait
//! uninterruptibly, which is not meant here.

use rustix::process::Pid;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long a git may only wait.
const PATIENCE: Duration = Duration::from_mins(3);
/// The same in seconds for a test, in debug builds only.
const TEST_SILENT: &str = "TREEWARDEN_TEST_SILENT";
/// How many times it is inspected until then. Each lists all processes of the machine.
const LOOKS: u32 = 30;

/// Returns how long a git of a run may only wait.
pub(super) fn patience() -> Duration {
    let given = std::env::var(TEST_SILENT).ok();
    given
        .filter(|_| cfg!(debug_assertions))
        .and_then(|seconds| seconds.parse().ok())
        .map_or(PATIENCE, Duration::from_secs)
}

/// Watches a group of processes, which `started` names, until its other end is dropped. Returns why
/// the group is to be ended: at so many inspections in a row it had done nothing since the one
/// before. It counts inspections, because this process may itself have been suspended.
///
/// Not for a confined thread, which can't read `/proc`: there it sees nothing, and ends nothing.
pub(super) fn watch(started: &Receiver<Pid>, patience: Duration) -> Option<String> {
    let group = started.recv().ok()?;
    let between = patience.checked_div(LOOKS)?;
    let (mut before, mut idle) = (None, 0_u32);
    while started.recv_timeout(between) == Err(RecvTimeoutError::Timeout) {
        let done = done_by(group);
        idle = if done.is_some() && done == before {
            idle.saturating_add(1)
        } else {
            0
        };
        before = done;
        if idle >= LOOKS {
            return Some(format!(
                "it only waited, for {} s; look for a FIFO in the repo",
                patience.as_secs()
            ));
        }
    }
    None
}

/// Returns a number that grows with whatever the group does; none if it is at work right now.
fn done_by(group: Pid) -> Option<u64> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut done = 0_u64;
    for process in processes {
        let name = process.file_name();
        if !name
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
        {
            continue;
        }
        let Some(whole) = Stat::of(&process.path()) else {
            continue;
        };
        if whole.group != i64::from(group.as_raw_nonzero().get()) {
            continue;
        }
        for thread in std::fs::read_dir(process.path().join("task"))
            .ok()?
            .flatten()
        {
            let stat = Stat::of(&thread.path())?;
            // Interruptible sleep, or its end. All else is work, or a wait for a disk or server.
            if !matches!(stat.state, b'S' | b'Z' | b'X') {
                return None;
            }
            done = done.saturating_add(stat.done);
        }
        done = done.saturating_add(1);
    }
    Some(done)
}

/// The part of `/proc/N/stat` that is needed here.
struct Stat {
    state: u8,
    group: i64,
    /// Page faults and ticks of the processor.
    done: u64,
}

impl Stat {
    fn of(process: &std::path::Path) -> Option<Self> {
        let text = std::fs::read(process.join("stat")).ok()?;
        // The name before that may contain anything.
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let text = String::from_utf8_lossy(text.get(end..)?.get(2..)?);
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            group: fields.get(2)?.parse().ok()?,
            done: [7, 9, 11, 12]
                .into_iter()
                .filter_map(number)
                .fold(0, u64::saturating_add),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::sync::mpsc;

    #[expect(clippy::disallowed_methods, reason = "somebody has to wait")]
    fn is_ended(script: &str) -> bool {
        let mut command = std::process::Command::new("sh");
        let mut child = command
            .args(["-c", script])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        let (running, started) = mpsc::channel();
        running.send(group).unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(6));
            drop(running);
        });
        let ended = watch(&started, Duration::from_secs(2)).is_some();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
        ended
    }

    #[test]
    fn who_only_waits_is_noticed_and_who_works_is_not() {
        assert!(is_ended("sleep 100; true"));
        assert!(!is_ended("(while :; do :; done) & wait"));
    }
}
