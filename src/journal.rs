//! The journal: one line of JSON a run, so that tomorrow's person can ask what went on which night.
//!
//! It is only ever appended to. A run that is killed while it writes leaves a torn line: the next one starts on a line of its
//! own, and the torn one is skipped. One writer at a time is the caller's promise: a run holds the volume's lock. What a run
//! wrote must never be changed.

use crate::report::{RunReport, TreeOutcome, VerdictName, json};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A longer line was not written by us: it is skipped, not read.
const LONGEST_LINE: u64 = 64 << 20;

/// The journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be added to.
    #[error("failed to append to `{}`: {cause}; make the state folder writable for treewarden (`treewarden check` tells more)", path.display())]
    Append {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It could not be read.
    #[error("failed to read `{}`: {cause}; make it readable for treewarden, or move it away to start anew", path.display())]
    Read {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// The past runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// Oldest first.
    pub runs: Vec<RunReport>,
    /// Lines that could not be read: torn, or of no schema that is known.
    pub skipped: u64,
}

/// Where the journal stands, in the volume's state folder.
pub fn file(state: &Path) -> PathBuf {
    state.join("journal.jsonl")
}

/// The run as the journal's line, without the line's end: what stays as it was is left out, so that the line stays small.
pub fn line(report: &RunReport) -> String {
    let mut small = report.clone();
    for repo in &mut small.repos {
        repo.worktrees.retain(|tree| tree.verdict != VerdictName::Keep || tree.outcome != TreeOutcome::Kept);
    }
    json::line(&small)
}

/// Adds a run, in one write, and waits until it is on the disk.
///
/// # Errors
/// [`JournalError::Append`], which names the journal.
pub fn append(file: &Path, report: &RunReport) -> Result<(), JournalError> {
    add(file, &line(report)).map_err(|cause| JournalError::Append { path: file.to_owned(), cause })
}

fn add(path: &Path, line: &str) -> io::Result<()> {
    // Agents can write to this volume: a link planted here must not lead the line elsewhere.
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).append(true).create(true).custom_flags(nofollow).open(path)?;
    let start = if is_torn(&mut file)? { "\n" } else { "" };
    file.write_all(format!("{start}{line}\n").as_bytes())?;
    file.sync_all()
}

/// Whether the last line lacks its end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Every run that can be read; a journal that isn't there yet is an empty past.
///
/// # Errors
/// [`JournalError::Read`], which names the journal.
pub fn read(file: &Path) -> Result<Past, JournalError> {
    let past = match open(file) {
        Ok(open) => parse(BufReader::new(open), LONGEST_LINE),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Past::default()),
        Err(error) => Err(error),
    };
    past.map_err(|cause| JournalError::Read { path: file.to_owned(), cause })
}

/// A FIFO in its place would wait for a writer for ever.
fn open(file: &Path) -> io::Result<File> {
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(file)?;
    if open.metadata()?.is_file() { Ok(open) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")) }
}

fn parse(mut lines: impl BufRead, longest: u64) -> io::Result<Past> {
    let mut past = Past::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines.by_ref().take(longest).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(past);
        }
        if length as u64 == longest && !line.ends_with(b"\n") {
            lines.skip_until(b'\n')?;
            past.skipped += 1;
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(run) => past.runs.push(run),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => past.skipped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let past = parse(&b"{\"x\": 1234567890}\n\n{}\nxxxxxxxxxxxxxxxxxxxx"[..], 10).unwrap();
        assert_eq!((past.runs.len(), past.skipped), (0, 3));
    }
}
