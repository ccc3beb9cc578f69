//! Reflogs through an expiry: what is younger than the grace stays, whatever git makes of a disk that fails.
//!
//! `git reflog expire` takes a log that it can't open for an empty one, and writes it so: the only trace of a commit that was reset away
//! would be gone. So the logs are read before it, and compared after it. It must never drop a line.

use crate::beneath::{self, found};
use crate::inside::Inside;
use crate::survey::{reach, repo, worktree};
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};

/// Every reflog of a repo and its worktrees, as it was.
pub struct Logs(Vec<(Inside, Vec<u8>)>);

impl Logs {
    /// Reads them all.
    ///
    /// # Errors
    /// One of them can't be read: then nothing may be expired.
    pub fn read(git_dir: &Inside) -> io::Result<Self> {
        let mut logs = Vec::new();
        for place in [git_dir.clone()].into_iter().chain(repo::admins(git_dir)?) {
            for log in reach::files_below(&place.join("logs").map_err(io::Error::other)?)? {
                logs.extend(found(beneath::read(&log, reach::LOG_CAP))?.map(|text| (log, text)));
            }
        }
        Ok(Self(logs))
    }

    /// Puts lines of `since` and later back where they are missing by now, and tells from which logs they were.
    ///
    /// # Errors
    /// A log can't be read again or written: its old lines are in the error's logs only.
    pub fn put_back(self, since: DateTime<Utc>) -> io::Result<Vec<Inside>> {
        let mut mended = Vec::new();
        for (log, before) in self.0 {
            // It went with its branch: that was no expiry.
            let Some(after) = found(beneath::read(&log, reach::LOG_CAP))? else { continue };
            let there: HashSet<&[u8]> = lines(&after).collect();
            let lost = |line: &&[u8]| !there.contains(line) && time_of(line).is_some_and(|time| time >= since);
            if lines(&before).any(|line| lost(&line)) {
                let old: HashSet<&[u8]> = lines(&before).collect();
                let new: Vec<&[u8]> = lines(&after).filter(|line| !old.contains(line)).collect();
                let all: Vec<&[u8]> = lines(&before).chain(new).collect();
                write(&log, &[all.join(&b"\n"[..]), b"\n".to_vec()].concat())?;
                mended.push(log);
            }
        }
        Ok(mended)
    }
}

/// Without what git writes or leaves out as it pleases: blanks at a line's end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty())
}

fn time_of(line: &[u8]) -> Option<DateTime<Utc>> {
    worktree::log_line_time(&String::from_utf8_lossy(line))
}

/// Under git's own lock on the log, durably, in one step.
fn write(log: &Inside, text: &[u8]) -> io::Result<()> {
    let (folder, name) = beneath::parent(log)?;
    let mut lock = name.to_owned();
    lock.push(".lock");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let mut file = File::from(rustix::fs::openat(&folder, &lock, flags, mode)?);
    file.write_all(text)?;
    file.sync_all()?;
    Ok(rustix::fs::renameat(&folder, &lock, &folder, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn young_lines_come_back_and_nothing_else_changes() {
        let top = tempfile::tempdir().unwrap();
        let git_dir = Inside::new(&top.path().into(), Path::new("repo/.git")).unwrap();
        let line = |id: &str, time: i64| format!("{id} {id} A <a@b> {time} +0000\tcommit: {id}\n");
        let [old, young, new] = [line("old", 100), line("young", 300), line("new", 400)];
        let logs = git_dir.path().join("logs/refs/heads");
        std::fs::create_dir_all(&logs).unwrap();
        let write = |name: &str, text: String| std::fs::write(logs.join(name), text).unwrap();
        for name in ["emptied", "expired", "deleted"] {
            write(name, old.clone() + &young);
        }
        let read = Logs::read(&git_dir).unwrap();
        write("emptied", new.clone());
        write("expired", young.clone());
        std::fs::rename(logs.join("deleted"), top.path().join("deleted")).unwrap();
        let mended = read.put_back(DateTime::from_timestamp(200, 0).unwrap()).unwrap();
        assert_eq!(mended, [git_dir.join("logs/refs/heads/emptied").unwrap()]);
        let now = |name: &str| std::fs::read_to_string(logs.join(name)).unwrap();
        assert_eq!((now("emptied"), now("expired")), (old.clone() + &young + &new, young));
        assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 2);
    }
}
