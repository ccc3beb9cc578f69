//! Finds who holds a lock without having left a name: a bare `flock`, on this machine.
//!
//! `/proc/locks` names the process that took each lock, by its file. Only this machine's locks are
//! there. It informs people and decides nothing. Reading it keeps all of the machine from locking for
//! milliseconds, so it is read only if somebody does hold the lock.

use super::{Holder, command, host};
use chrono::{DateTime, Utc};
use rustix::fs::{major, minor};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

/// The kernel's ticks per second as it tells them, on every processor that Rust runs on.
const TICKS: i64 = 100;

/// Returns the process of this machine that holds an exclusive lock on the file.
pub(super) fn holder(file: &File) -> Option<Holder> {
    let data = file.metadata().ok()?;
    let (dev, ino) = (data.dev(), data.ino());
    let id = format!("{:02x}:{:02x}:{ino}", major(dev), minor(dev));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| pid(line, &id))?;
    let typed = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<OsString> = typed
        .split(|byte| *byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    Some(Holder {
        schema: Box::default(),
        holder: host(),
        pid,
        purpose: "flock".to_owned(),
        since: started(pid)?,
        token: Box::default(),
        command: Some(command(&words))
            .filter(|command| command != "flock")
            .map(Into::into),
    })
}

/// Reads `3: FLOCK  ADVISORY  WRITE 812 00:2f:1234 0 EOF`; a line with `->` only waits.
fn pid(line: &str, id: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [_, "FLOCK", _, "WRITE", pid, file, ..] if file == id => pid.parse().ok(),
        _ => None,
    }
}

/// Returns when a process began, in whole seconds, so that each look says the same: `stat` has the
/// ticks since the machine's start.
fn started(pid: u32) -> Option<DateTime<Utc>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in brackets, may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: i64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    let boot: i64 = boot.trim().parse().ok()?;
    DateTime::from_timestamp(boot.checked_add(ticks.checked_div(TICKS)?)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_holds_it_is_found() {
        let id = "00:2f:1234";
        let table = [
            ("3: FLOCK  ADVISORY  WRITE 812 00:2f:1234 0 EOF", Some(812)),
            ("3: -> FLOCK  ADVISORY  WRITE 813 00:2f:1234 0 EOF", None),
            ("4: FLOCK  ADVISORY  READ 812 00:2f:1234 0 EOF", None),
            ("5: FLOCK  ADVISORY  WRITE 812 00:2f:12345 0 EOF", None),
            ("6: POSIX  ADVISORY  WRITE 812 00:2f:1234 0 EOF", None),
            ("7: FLOCK  ADVISORY  WRITE -1 00:2f:1234 0 EOF", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(pid(line, id), expected, "{line}");
        }
    }
}
