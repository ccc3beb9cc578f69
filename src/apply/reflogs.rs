//! Keeps lines younger than the grace in reflogs during an expiry, even if git misreads a failing
//! disk.
//!
//! Git finds no reflog behind the sanitised git dir's link, so each one that is due is passed to it
//! by name. `git reflog expire` treats a log that it can't open as empty, and writes it back empty:
//! the only trace of a commit that was reset away would be lost. So each log is read before the
//! expiry, and compared after it. Only a few logs are in memory at a time.

use crate::fs::atomic::remove_draft;
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::plan::grace::{self, Cutoff};
use crate::survey::{moves, reach, registry};
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Write};

/// Logs that are passed to one git command, and their bytes in memory meanwhile.
const AT_ONCE: usize = 200;
const BYTES_AT_ONCE: usize = 64 << 20;

/// Reflogs to expire with one git command, with their earlier contents.
#[derive(Default)]
pub struct Batch {
    /// Their names in git.
    pub names: Vec<String>,
    logs: Vec<(VolumePath, Vec<u8>)>,
    bytes: usize,
    held: Reservation,
}

/// The reflogs after an expiry, for people.
#[derive(Debug, Default)]
pub struct Compared {
    /// Those that had lost a young line, and were restored.
    pub mended: Vec<String>,
    /// Those that could not be compared or restored, and why.
    pub failed: Vec<String>,
}

/// A line older than the first cutoff is dropped if it is reachable from the ref, a line older than
/// the second if it isn't.
pub type Cutoffs = (Cutoff, Cutoff);

/// The reflogs of a repo and its worktrees.
pub struct Reflogs<'a> {
    /// The repo behind its shadow.
    pub shadow: &'a Shadow,
    /// When to stop.
    pub stop: &'a Stop,
    /// The repo's own settings.
    pub settings: &'a [(String, String)],
    /// The run's time.
    pub now: DateTime<Utc>,
}

impl Reflogs<'_> {
    /// Calls `expire` for all reflogs that have a line to drop, a batch at a time.
    ///
    /// # Errors
    /// A reflog can't be read, or any error of `expire`: the rest stays.
    pub fn each_due<E: From<io::Error>>(
        &self,
        mut expire: impl FnMut(Cutoffs, Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let git_dir = self.shadow.git_dir();
        let mut due: BTreeMap<Cutoffs, Batch> = BTreeMap::new();
        let main = (git_dir.clone(), String::new());
        let trees = registry::admins(git_dir)?.into_iter().filter_map(|admin| {
            let id = admin.relative().file_name()?.to_str()?;
            let prefix = format!("worktrees/{id}/");
            Some((admin, prefix))
        });
        for (place, prefix) in [main].into_iter().chain(trees) {
            let logs = place.join("logs").map_err(io::Error::other)?;
            for log in reach::files_below(&logs, self.stop)?.all {
                let Some(name) = log
                    .relative()
                    .strip_prefix(logs.relative())
                    .ok()
                    .and_then(|name| name.to_str())
                else {
                    continue;
                };
                let cutoffs = grace::log(self.settings, name, self.now);
                let Some((text, held)) = self.due(&place, &log, name, cutoffs)? else {
                    continue;
                };
                let batch = due.entry(cutoffs).or_default();
                batch.add(format!("{prefix}{name}"), log, text, held);
                if batch.is_full() {
                    expire(cutoffs, std::mem::take(batch))?;
                }
            }
        }
        due.into_iter()
            .filter(|(_, batch)| !batch.names.is_empty())
            .try_for_each(|(cutoffs, batch)| expire(cutoffs, batch))
    }

    /// Returns a log's text and its memory if git knows the log and it has a line to drop.
    fn due(
        &self,
        place: &VolumePath,
        log: &VolumePath,
        name: &str,
        cutoffs: Cutoffs,
    ) -> io::Result<Option<(Vec<u8>, Reservation)>> {
        let Some(since) = since(cutoffs) else {
            return Ok(None);
        };
        if !stands(self.shadow, place, name) {
            return Ok(None);
        }
        let Some(file) = found(openat::file(log))? else {
            return Ok(None);
        };
        let length = file.metadata()?.len();
        let mut is_due = false;
        let of_line = |line: &[u8]| {
            is_due = is_due || time_of(line).is_some_and(|time| time < since);
            Ok(())
        };
        moves::each_line(file, self.stop, of_line)?;
        if is_due {
            self.text(log, length)
        } else {
            Ok(None)
        }
    }

    /// Returns a log's text, and the memory that it takes. None if it is gone, or its last line
    /// can't be ended.
    fn text(&self, log: &VolumePath, length: u64) -> io::Result<Option<(Vec<u8>, Reservation)>> {
        // Twice its length, for the text that it is compared with.
        let mut held = self.stop.hold();
        held.more(
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .saturating_mul(2),
        )?;
        let Some(mut text) = found(openat::read(log, reach::LOG_CAP))? else {
            return Ok(None);
        };
        // Git ignores a last line without a newline, and would drop it. A log that can't be
        // repaired is left unchanged.
        if !text.ends_with(b"\n") {
            if end_line(log).is_err() {
                return Ok(None);
            }
            text.push(b'\n');
        }
        Ok(Some((text, held)))
    }
}

/// Returns the later cutoff: no line written since may be dropped. None if no line may be dropped.
pub fn since((reachable, unreachable): Cutoffs) -> Cutoff {
    reachable.max(unreachable)
}

/// Checks whether the ref of this log exists: git ignores the log of a missing ref. Of a worktree's
/// own refs only HEAD is in use long enough.
fn stands(shadow: &Shadow, place: &VolumePath, name: &str) -> bool {
    let stands = |name: &str| {
        shadow
            .with(|repo| {
                repo.find_reference(name)
                    .and_then(|found| found.resolve())
                    .is_ok()
            })
            .unwrap_or(false)
    };
    if place == shadow.git_dir() {
        return stands(name);
    }
    let head = place
        .join("HEAD")
        .ok()
        .filter(|_| name == "HEAD")
        .and_then(|head| openat::read(&head, 4096).ok());
    head.and_then(|head| String::from_utf8(head).ok())
        .is_some_and(|head| {
            let head = head.trim();
            head.strip_prefix("ref: ")
                .map_or_else(|| git2::Oid::from_str(head).is_ok(), stands)
        })
}

impl Batch {
    fn add(&mut self, name: String, log: VolumePath, text: Vec<u8>, held: Reservation) {
        self.bytes = self.bytes.saturating_add(text.len());
        self.held.take_over(held);
        self.names.push(name);
        self.logs.push((log, text));
    }

    fn is_full(&self) -> bool {
        self.bytes > BYTES_AT_ONCE || self.names.len() >= AT_ONCE
    }

    /// Restores each log that has lost a line of `since` or later. One that can't be restored must
    /// not keep the others from coming back.
    pub fn put_back(self, since: DateTime<Utc>) -> Compared {
        let mut compared = Compared::default();
        for (log, before) in self.logs {
            match put_back(&log, &before, since) {
                Ok(true) => compared.mended.push(format!("`{log}`")),
                Ok(false) => {}
                Err(error) => compared.failed.push(format!("`{log}`: {error}")),
            }
        }
        compared
    }
}

/// Writes all lines of `before` and the new ones into the log if it has lost a line of `since` or
/// later. Returns whether it had.
fn put_back(log: &VolumePath, before: &[u8], since: DateTime<Utc>) -> io::Result<bool> {
    // The log was deleted with its branch, and not by the expiry.
    let Some(after) = found(openat::read(log, reach::LOG_CAP))? else {
        return Ok(false);
    };
    let there: HashSet<&[u8]> = lines(&after).collect();
    let lost =
        |line: &[u8]| !there.contains(line) && time_of(line).is_some_and(|time| time >= since);
    if !lines(before).any(lost) {
        return Ok(false);
    }
    let old: HashSet<&[u8]> = lines(before).collect();
    let new: Vec<&[u8]> = lines(&after).filter(|line| !old.contains(line)).collect();
    let all: Vec<&[u8]> = lines(before).chain(new).collect();
    write(log, &[all.join(&b"\n"[..]), b"\n".to_vec()].concat())?;
    Ok(true)
}

/// Returns the lines without trailing blanks, which git doesn't write consistently.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
}

fn time_of(line: &[u8]) -> Option<DateTime<Utc>> {
    moves::line_time(&String::from_utf8_lossy(line))
}

/// Ends the last line. Git appends to a log without locking it, so this appends as well; at worst
/// that adds an empty line, which git skips.
fn end_line(log: &VolumePath) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    File::from(openat::open(log, flags)?).write_all(b"\n")
}

/// Replaces a log by a synced file in one step, under git's own lock on the log.
fn write(log: &VolumePath, text: &[u8]) -> io::Result<()> {
    let (directory, name) = openat::parent(log)?;
    let mut lock = name.to_owned();
    lock.push(".lock");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode =
        Mode::from_raw_mode(openat::stat(log)?.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
    let mut file = File::from(rustix::fs::openat(&directory, &lock, flags, mode)?);
    let mut put = || -> io::Result<()> {
        rustix::fs::fchmod(&file, mode)?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(rustix::fs::renameat(&directory, &lock, &directory, name)?)
    };
    put().inspect_err(|_| remove_draft(&directory, &lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn young_lines_come_back_and_nothing_else_changes() {
        let top = tempfile::tempdir().unwrap();
        let git_dir = VolumePath::new(&top.path().into(), Path::new("repo/.git")).unwrap();
        let line = |id: &str, time: i64| format!("{id} {id} A <a@b> {time} +0000\tcommit: {id}\n");
        let [old, young, new] = [line("old", 100), line("young", 300), line("new", 400)];
        let logs = git_dir.path().join("logs/refs/heads");
        std::fs::create_dir_all(&logs).unwrap();
        let write = |name: &str, text: String| std::fs::write(logs.join(name), text).unwrap();
        for name in ["emptied", "expired", "deleted"] {
            write(name, old.clone() + &young);
        }
        let logs_of = |name: &str| {
            (
                git_dir.join(format!("logs/refs/heads/{name}")).unwrap(),
                std::fs::read(logs.join(name)).unwrap(),
            )
        };
        let read = Batch {
            logs: ["emptied", "expired", "deleted"].map(logs_of).to_vec(),
            ..Batch::default()
        };
        write("emptied", new.clone());
        write("expired", young.clone());
        std::fs::rename(logs.join("deleted"), top.path().join("deleted")).unwrap();
        let compared = read.put_back(DateTime::from_timestamp(200, 0).unwrap());
        assert_eq!(
            (compared.mended, compared.failed),
            (
                vec!["`repo/.git/logs/refs/heads/emptied`".to_owned()],
                Vec::new()
            )
        );
        let now = |name: &str| std::fs::read_to_string(logs.join(name)).unwrap();
        assert_eq!(
            (now("emptied"), now("expired")),
            (old.clone() + &young + &new, young)
        );
        assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 2);
    }

    #[test]
    fn a_log_that_can_not_be_restored_keeps_no_other_from_coming_back() {
        let top = tempfile::tempdir().unwrap();
        let root: std::sync::Arc<Path> = top.path().into();
        let log = |name: &str| VolumePath::new(&root, Path::new(name)).unwrap();
        let young = b"young young A <a@b> 300 +0000\tcommit: young\n";
        let read = Batch {
            logs: ["first", "odd", "last"]
                .map(|name| (log(name), young.to_vec()))
                .to_vec(),
            ..Batch::default()
        };
        std::fs::create_dir(log("odd").path()).unwrap();
        for name in ["first", "last"] {
            std::fs::write(log(name).path(), "").unwrap();
        }
        let compared = read.put_back(DateTime::from_timestamp(200, 0).unwrap());
        assert_eq!(compared.mended, ["`first`", "`last`"]);
        assert!(
            compared.failed.len() == 1 && compared.failed[0].starts_with("`odd`: "),
            "{:?}",
            compared.failed
        );
        for name in ["first", "last"] {
            assert_eq!(std::fs::read(log(name).path()).unwrap(), young);
        }
    }

    #[test]
    fn a_log_that_can_not_be_replaced_is_not_left_locked() {
        let top = tempfile::tempdir().unwrap();
        let log = VolumePath::new(&top.path().into(), Path::new("log")).unwrap();
        std::fs::create_dir(log.path()).unwrap();
        write(&log, b"text\n").unwrap_err();
        assert!(!top.path().join("log.lock").exists());
    }
}
