//! What a reflog shows about a tree: when its HEAD last moved, and whether anybody ever committed
//! there.
//!
//! An agent may have written the reflog, and `git reflog expire` shortens it, so it may only make a
//! tree stay longer.

use super::lines;
use super::reach::LOG_CAP;
use crate::facts::worktree::Worktree;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use std::fs::File;
use std::io;

/// What the reflog of a HEAD or a branch shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    /// The time of the log's own last line; none if it is empty.
    pub last: Option<DateTime<Utc>>,
    /// Whether a line records a new commit.
    pub worked: bool,
}

/// How messages of moves without a new commit begin: `checkout`, `switch`, `reset`, `branch`, a
/// rename, `clone`, `fetch`, our own `worktree add` (git's has none). `STEPS` are a rebase's start
/// and end.
const LEADING: [&str; 7] = [
    "worktree add",
    "checkout:",
    "reset:",
    "branch:",
    "Branch:",
    "clone:",
    "fetch",
];
const STEPS: [&str; 2] = [" (start): ", " (finish): "];
/// Bytes read of a line. A longer one counts as a commit unless its beginning shows a move.
const LONGEST: usize = 64 << 10;
/// The end of the message of a fast-forward, which only adds others' commits.
const FORWARD: &str = ": Fast-forward";

/// Reads an open reflog.
///
/// # Errors
/// It can't be read, or is larger than any well-formed one.
pub fn read(log: File, stop: &Stop) -> io::Result<Moves> {
    let mut moves = Moves {
        last: None,
        worked: false,
    };
    each_line(log, stop, |line| {
        moves.add(line);
        Ok(())
    })?;
    Ok(moves)
}

/// Calls `line` with each line of an open reflog, or with the beginning of a very long one.
///
/// # Errors
/// As [`read`]; any error of `line`.
pub fn each_line(
    log: File,
    stop: &Stop,
    line: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let length = log.metadata()?.len();
    if length > LOG_CAP {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes are more than the {LOG_CAP} expected here"),
        ));
    }
    lines::each(log, LONGEST, stop, line)
}

/// Checks whether the reflog of a registration's branch records a commit. That commit may have been
/// made in another tree, and this tree created for the rest of the work.
///
/// # Errors
/// It can't be read, or is larger than any well-formed one.
pub(super) fn worked_on_branch(tree: &Worktree, stop: &Stop) -> io::Result<bool> {
    let Some(branch) = &tree.branch else {
        return Ok(false);
    };
    let admin = &tree.admin;
    let above = if tree.clone_of.is_some() { 0 } else { 2 };
    let git_dir = admin
        .relative()
        .ancestors()
        .nth(above)
        .unwrap_or(admin.relative());
    let Ok(log) = VolumePath::new(admin.root(), &git_dir.join("logs").join(branch)) else {
        return Ok(false);
    };
    Ok(found(openat::file(&log))?
        .map(|log| read(log, stop))
        .transpose()?
        .is_some_and(|moves| moves.worked))
}

impl Moves {
    fn add(&mut self, line: &[u8]) {
        if !line.is_empty() {
            // A malformed time counts as just now.
            self.last =
                Some(line_time(&String::from_utf8_lossy(line)).unwrap_or(DateTime::<Utc>::MAX_UTC));
            self.worked = self.worked || makes_a_commit(line);
        }
    }
}

#[cfg(test)]
fn of(log: &[u8]) -> Moves {
    let mut moves = Moves {
        last: None,
        worked: false,
    };
    log.split(|&byte| byte == b'\n')
        .for_each(|line| moves.add(line));
    moves
}

fn makes_a_commit(line: &[u8]) -> bool {
    let message = line
        .splitn(2, |&byte| byte == b'\t')
        .nth(1)
        .unwrap_or_default();
    let message = String::from_utf8_lossy(message);
    let message = message.trim();
    // An empty message is from `worktree add`, which also makes `reset` write a line.
    let rebases = STEPS.iter().any(|step| message.contains(step))
        && ["rebase", "pull"]
            .iter()
            .any(|what| message.starts_with(what));
    let leads = message.is_empty()
        || message.ends_with(FORWARD)
        || LEADING.iter().any(|leading| message.starts_with(leading));
    !leads && !rebases
}

/// Returns when a reflog line was written: `<old> <new> <name> <mail> <seconds> <zone>\t<message>`.
pub fn line_time(line: &str) -> Option<DateTime<Utc>> {
    let mut words = line.split('\t').next()?.rsplit(' ');
    DateTime::from_timestamp(words.nth(1)?.parse().ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_head_moved() {
        let line =
            "0 1 A U Thor <a@example.com> 1700000000 +0200\tcheckout: moving from a to b 12 x";
        assert_eq!(line_time(line), DateTime::from_timestamp(1_700_000_000, 0));
        assert_eq!(line_time("nonsense"), None);
        assert_eq!(
            of(b""),
            Moves {
                last: None,
                worked: false
            }
        );
        assert_eq!(of(b"nonsense\n").last, Some(DateTime::<Utc>::MAX_UTC));
    }

    #[test]
    fn only_a_commit_is_work() {
        let worked = |messages: &[&str]| {
            let line = |message: &&str| {
                format!("0 1 A U Thor <a@example.com> 1700000000 +0200{message}\n")
            };
            of(messages.iter().map(line).collect::<String>().as_bytes()).worked
        };
        // As git 2.39 and 2.47 write them.
        let moves = [
            "",
            "\t",
            // As `treewarden worktree add` writes them.
            "\tworktree add",
            "\tbranch: created by treewarden worktree add",
            "\treset: moving to HEAD",
            "\tcheckout: moving from main to fix",
            "\tbranch: Created from refs/remotes/origin/main",
            "\tBranch: renamed refs/heads/a to refs/heads/b",
            "\tpull: Fast-forward",
            "\tmerge origin/main: Fast-forward",
            "\trebase (start): checkout origin/main",
            "\tpull --rebase (start): checkout 12",
            "\trebase (finish): returning to refs/heads/fix",
        ];
        assert!(!worked(&moves));
        for commit in [
            "\tcommit: Fix it",
            "\tcommit (amend): Fix it",
            "\tcommit (initial): First",
            "\tcommit (merge): Merge branch 'a'",
            "\tmerge a: Merge made by the 'ort' strategy.",
            "\trebase (pick): Fix it",
            "\tcherry-pick: Fix it",
            "\trevert: Revert \"Fix it\"",
            "\tam: Fix it",
            "\ta tool that nobody knows",
        ] {
            assert!(worked(&[&moves[..], &[commit]].concat()), "{commit}");
        }
    }
}
