//! The journal: one line of JSON per run, which shows later what each run removed.
//!
//! Runs are appended. A run that is killed while it writes leaves a torn line: the next one starts
//! on a line of its own, and the torn one is skipped. When the journal is too long, the oldest runs
//! are removed; the others stay unchanged. The caller ensures that there is one writer at a time: a
//! run holds the volume's lock, a shard the journal's.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::fs::atomic;
use crate::fs::volume_path::VolumePath;
use crate::report::{
    Eviction, RepoOutcome, RunReport, SCHEMA, TreeOutcome, UnitOutcome, VerdictName, Worktree, json,
};
use chrono::{DateTime, Utc};
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

/// Bytes. A longer line was not written by treewarden, and is skipped.
const LONGEST_LINE: u64 = 64 << 20;

/// The most bytes of a run's line. Few lines get that long: a thousand evicted units take a quarter
/// of a megabyte.
const LONG: usize = 8 << 20;

/// The most bytes of a line with the trees that stay: some seven hundred. A longer one leaves them
/// out, so that the journal holds at least four months of nightly runs.
const WHOLE: usize = 256 << 10;

/// More units than this don't fit in such a line, and are not even copied.
const MANY: usize = LONG / 128;

/// Bytes. A longer journal loses its oldest runs. At most half of this stays, which is years of
/// runs.
const FULL: u64 = 64 << 20;

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be appended to.
    #[error("failed to append to `{}`: {cause}; make the state directory writable for treewarden (`treewarden check` tells more)", path.display())]
    Append {
        /// The journal.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// It could not be read.
    #[error("failed to read `{}`: {cause}; make it readable for treewarden, or move it away to start anew", path.display())]
    Read {
        /// The journal.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// The past runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// Oldest first.
    pub runs: Vec<RunReport>,
    /// Lines that could not be read: torn, or of an unknown schema.
    pub skipped: u64,
}

/// Returns the journal's path in the volume's state directory.
pub fn file(state: &VolumePath) -> VolumePath {
    state
        .join("journal.jsonl")
        .expect("a fixed name stays inside")
}

/// Returns the run as the journal's line, without the line end. If it is long, kept trees are left
/// out; if it still is, all units but failed ones, too; at worst also repos, failures and obstacles.
/// `left_out` says so.
pub fn line(report: &RunReport) -> String {
    let mut small = if report.eviction.units.len() > MANY {
        without_units(report)
    } else {
        report.clone()
    };
    let mut line = json::line(&small);
    let mut most = WHOLE;
    for (leave_out, what) in [
        (what_stays as fn(&mut RunReport), STAYS),
        (what_went, "the units that went"),
        (all_but_the_sums, "repos and failures"),
    ] {
        if line.len() <= most {
            break;
        }
        leave_out(&mut small);
        small.left_out.push(what.to_owned());
        (line, most) = (json::line(&small), LONG);
    }
    line
}

/// What the journal leaves out first.
const STAYS: &str = "the trees that stay";

/// Copies the report without the units, except those that failed.
fn without_units(report: &RunReport) -> RunReport {
    let RunReport {
        schema,
        run,
        volume,
        repos,
        eviction,
        usage,
        totals,
        alerts,
        failures,
        notes,
        left_out,
    } = report;
    RunReport {
        schema: schema.clone(),
        run: run.clone(),
        volume: volume.clone(),
        repos: repos.clone(),
        eviction: failed_alone(eviction),
        usage: usage.clone(),
        totals: *totals,
        alerts: alerts.clone(),
        failures: failures.clone(),
        notes: notes.clone(),
        left_out: left_out.clone(),
    }
}

/// Copies what an eviction did, with the units that failed alone.
fn failed_alone(eviction: &Eviction) -> Eviction {
    let units = eviction
        .units
        .iter()
        .filter(|unit| matches!(unit.outcome, UnitOutcome::Failed(_)))
        .cloned()
        .collect();
    Eviction {
        units,
        reason: eviction.reason.clone(),
        obstacles: eviction.obstacles.clone(),
        rungs: eviction.rungs.clone(),
        held: eviction.held.clone(),
        could_go: eviction.could_go.clone(),
        ..*eviction
    }
}

fn what_stays(report: &mut RunReport) {
    let is_more =
        |tree: &Worktree| tree.verdict != VerdictName::Keep || tree.outcome != TreeOutcome::Kept;
    report
        .repos
        .iter_mut()
        .for_each(|repo| repo.worktrees.retain(is_more));
}

fn what_went(report: &mut RunReport) {
    report
        .eviction
        .units
        .retain(|unit| matches!(unit.outcome, UnitOutcome::Failed(_)));
}

fn all_but_the_sums(report: &mut RunReport) {
    (report.repos, report.failures) = (Vec::new(), Vec::new());
    report.eviction = Eviction {
        units: Vec::new(),
        obstacles: Vec::new(),
        ..std::mem::take(&mut report.eviction)
    };
}

/// Appends a run, in one write, and waits until it is on the disk.
///
/// # Errors
/// [`JournalError::Append`], which names the journal.
pub fn append(file: &VolumePath, report: &RunReport) -> Result<(), JournalError> {
    add(file, &line(report), FULL).map_err(|cause| JournalError::Append {
        path: file.path(),
        cause,
    })
}

fn add(place: &VolumePath, line: &str, full: u64) -> io::Result<()> {
    let mut file = atomic::open(place, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
    let length = file.seek(SeekFrom::End(0))?;
    if length > full {
        let newest = newest(&mut file, length, full / 2)?;
        return atomic::replace(
            place,
            &[&newest, end(&newest), line.as_bytes(), b"\n"].concat(),
        );
    }
    let last = tail(&mut file, length, 1)?;
    file.write_all(&[end(&last), line.as_bytes(), b"\n"].concat())?;
    file.sync_all()?;
    if length == 0 {
        atomic::sync_directory(place)
    } else {
        Ok(())
    }
}

/// Returns the line end that a torn last line lacks.
fn end(written: &[u8]) -> &'static [u8] {
    if written.last().is_none_or(|last| *last == b'\n') {
        b""
    } else {
        b"\n"
    }
}

/// Returns the last bytes of a file.
fn tail(file: &mut File, length: u64, wanted: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(wanted)))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the last whole lines of a file that is longer than `wanted`.
fn newest(file: &mut File, length: u64, wanted: u64) -> io::Result<Vec<u8>> {
    let bytes = tail(file, length, wanted)?;
    Ok(bytes
        .splitn(2, |byte| *byte == b'\n')
        .nth(1)
        .unwrap_or_default()
        .to_vec())
}

/// Returns when the last run in the journal ended; none if no run can be read.
pub fn last(place: &VolumePath) -> Option<DateTime<Utc>> {
    #[derive(serde::Deserialize)]
    struct Line {
        run: Times,
    }
    #[derive(serde::Deserialize)]
    struct Times {
        finished: DateTime<Utc>,
    }
    let mut file = atomic::open(place, OFlags::RDONLY).ok()?;
    let length = file.seek(SeekFrom::End(0)).ok()?;
    let read = |line: &[u8]| {
        serde_json::from_slice::<Line>(line)
            .ok()
            .map(|line| line.run.finished)
    };
    // Most lines are short; the longest that we write is `LONG`, and a torn one may follow it.
    let mut within = |wanted: u64| {
        tail(&mut file, length, wanted)
            .ok()?
            .rsplit(|byte| *byte == b'\n')
            .find_map(read)
    };
    within(64 << 10).or_else(|| within((LONG as u64).saturating_mul(3)))
}

/// Returns every readable run, without the trees that stay: with them, years of runs would take much
/// memory. A missing journal is an empty past.
///
/// # Errors
/// [`JournalError::Read`], which names the journal.
pub fn read(file: &VolumePath) -> Result<Past, JournalError> {
    read_whole(file, &|_| false)
}

/// Returns the same, but runs that are `wanted` with all that the journal has of them.
///
/// # Errors
/// As [`read`].
pub fn read_whole(
    file: &VolumePath,
    wanted: &dyn Fn(&RunReport) -> bool,
) -> Result<Past, JournalError> {
    let past = match atomic::open(file, OFlags::RDONLY) {
        Ok(open) => read_end(open, wanted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Past::default()),
        Err(error) => Err(error),
    };
    past.map_err(|cause| JournalError::Read {
        path: file.path(),
        cause,
    })
}

/// Reads the end of a journal. Its beginning is left out only if it is longer than treewarden lets
/// it grow.
fn read_end(mut file: File, wanted: &dyn Fn(&RunReport) -> bool) -> io::Result<Past> {
    let from = file.metadata()?.len().saturating_sub(2 * FULL);
    file.seek(SeekFrom::Start(from))?;
    let mut lines = BufReader::new(file);
    if from > 0 {
        lines.skip_until(b'\n')?;
    }
    let past = parse_whole(lines, LONGEST_LINE, wanted)?;
    Ok(Past {
        skipped: past.skipped.saturating_add(u64::from(from > 0)),
        ..past
    })
}

/// Parses a journal's lines as [`read`] does, none longer than `longest` bytes. A duplicate run
/// counts once.
///
/// # Errors
/// Any error of reading.
pub fn parse(lines: impl BufRead, longest: u64) -> io::Result<Past> {
    parse_whole(lines, longest, &|_| false)
}

fn parse_whole(
    mut lines: impl BufRead,
    longest: u64,
    wanted: &dyn Fn(&RunReport) -> bool,
) -> io::Result<Past> {
    let (mut past, mut known) = (Past::default(), HashSet::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines.by_ref().take(longest).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(past);
        }
        if length as u64 == longest && !line.ends_with(b"\n") {
            lines.skip_until(b'\n')?;
            past.skipped = past.skipped.saturating_add(1);
            continue;
        }
        match serde_json::from_slice::<RunReport>(&line) {
            Ok(run) if run.schema != SCHEMA => past.skipped = past.skipped.saturating_add(1),
            Ok(mut run) if known.insert(run.run.id.clone()) => {
                if !wanted(&run) {
                    what_stays(&mut run);
                }
                past.runs.push(run);
            }
            Ok(_) => {}
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => past.skipped = past.skipped.saturating_add(1),
        }
    }
}

/// Returns for how many days in a row, including this one, the repo has been busy; 0 if it isn't
/// busy in this run. Runs of one day (UTC) count once. A run that was stopped before the repo's
/// turn, or that didn't include it, doesn't count.
pub fn busy_days(past: &[RunReport], now: DateTime<Utc>, repo: &str) -> u64 {
    let mut days = HashSet::from([now.date_naive()]);
    for run in past.iter().rev() {
        match run
            .repos
            .iter()
            .find(|row| row.name == repo)
            .map(|row| row.outcome)
        {
            Some(RepoOutcome::Busy) => days.extend([run.run.started.date_naive()]),
            None | Some(RepoOutcome::Refused) => {}
            Some(_) => break,
        }
    }
    days.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a run with this id: runs are identified by their ids.
    fn night(id: &str) -> RunReport {
        let text = include_str!("../../fuzz/seeds/journal/night.jsonl");
        let mut night: RunReport = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        id.clone_into(&mut night.run.id);
        night
    }

    fn ids(past: &Past) -> Vec<&str> {
        past.runs.iter().map(|run| run.run.id.as_str()).collect()
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let past = parse(&b"{\"x\": 1234567890}\n\n{}\nxxxxxxxxxxxxxxxxxxxx"[..], 10).unwrap();
        assert_eq!((past.runs.len(), past.skipped), (0, 3));
    }

    #[test]
    fn a_full_journal_loses_its_oldest_runs_and_no_part_of_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::sync::Arc::from(directory.path());
        let journal = VolumePath::new(&root, std::path::Path::new("journal.jsonl")).unwrap();
        let full = line(&night("00")).len() as u64 * 6;
        let mut longest = 0;
        for number in 10..99 {
            add(&journal, &line(&night(&number.to_string())), full).unwrap();
            let past = read(&journal).unwrap();
            let expected: Vec<String> = (number + 1 - past.runs.len()..=number)
                .map(|number| number.to_string())
                .collect();
            assert_eq!(
                (ids(&past), past.skipped),
                (expected.iter().map(String::as_str).collect(), 0)
            );
            longest = longest.max(past.runs.len());
            assert!(
                past.runs.len() >= 3.min(number - 9),
                "{number}: only {} are left",
                past.runs.len()
            );
        }
        assert!((6..9).contains(&longest), "{longest}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// What stays is in the line, unless it would be long; what is `wanted` is read back with it.
    #[test]
    fn what_stays_is_told_only_of_the_run_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::sync::Arc::from(directory.path());
        let journal = VolumePath::new(&root, std::path::Path::new("journal.jsonl")).unwrap();
        let mut runs = ["few", "many", "wanted"].map(night);
        let stays = Worktree {
            verdict: VerdictName::Keep,
            outcome: TreeOutcome::Kept,
            ..runs[0].repos[0].worktrees[0].clone()
        };
        for (run, trees) in runs.iter_mut().zip([3, 2000, 3]) {
            run.repos[0].worktrees = vec![stays.clone(); trees];
            append(&journal, run).unwrap();
        }
        let trees = |past: Past| {
            let trees = |run: RunReport| (run.repos[0].worktrees.len(), run.left_out);
            past.runs.into_iter().map(trees).collect::<Vec<_>>()
        };
        let left_out = vec![STAYS.to_owned()];
        assert_eq!(
            trees(read(&journal).unwrap()),
            [(0, vec![]), (0, left_out.clone()), (0, vec![])]
        );
        assert_eq!(
            trees(read_whole(&journal, &|run| run.run.id != "few").unwrap()),
            [(0, vec![]), (0, left_out), (3, vec![])]
        );
    }

    #[test]
    fn a_line_is_never_long() {
        let mut many = night("many");
        let unit = |outcome: UnitOutcome| crate::report::Unit {
            cache: "npm".into(),
            kind: "npm".to_owned(),
            unit: "a".repeat(1000),
            bytes: 1,
            inodes: 1,
            last_used: chrono::DateTime::UNIX_EPOCH,
            last_used_from: crate::facts::cache::UsedFrom::WriteTime,
            named_by: None,
            in_use: false,
            outcome,
        };
        many.eviction.units = vec![unit(UnitOutcome::Evicted); 10_000];
        many.eviction
            .units
            .push(unit(UnitOutcome::Failed("why".into())));
        let again: RunReport = serde_json::from_str(&line(&many)).unwrap();
        assert_eq!(
            (again.eviction.units.len(), again.run, again.totals),
            (1, many.run.clone(), many.totals)
        );
        many.eviction.units = vec![unit(UnitOutcome::Failed("why".into())); 10_000];
        let again: RunReport = serde_json::from_str(&line(&many)).unwrap();
        assert_eq!(
            (again.eviction.units.len(), again.run, again.totals),
            (0, many.run, many.totals)
        );
    }
}
