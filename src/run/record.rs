//! What a run records: its report from the first line to the last, and the journal.

use super::job::DoneJob;
use super::{Options, Request};
use crate::config::policy::Policy;
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::lock::{self, LockError, LockedJournal};
use crate::notify::alert;
use crate::report::journal::{self, JournalError};
use crate::report::{self, Level, RepoOutcome, RunOutcome, RunReport, SCHEMA};
use chrono::{DateTime, Utc};

/// Returns a report with only its beginning.
pub(super) fn blank(policy: &Policy, options: &Options, now: DateTime<Utc>) -> RunReport {
    RunReport {
        schema: SCHEMA.to_owned(),
        run: report::Run {
            id: uuid::Uuid::new_v4().to_string(),
            started: now,
            finished: now,
            as_of: options.as_of,
            dry_run: options.dry_run,
            shard: options.shard.map(|shard| shard.to_string()),
            asked: options.asked(),
            host: lock::host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: RunOutcome::Ok,
            reason: None,
        },
        volume: report::Volume {
            root: policy.volume.root.to_path_buf(),
            total_bytes: 0,
            total_inodes: 0,
            before: Level::default(),
            after: Level::default(),
            high: policy.eviction.high.bytes,
            low: policy.eviction.low.bytes,
            budget_bytes: policy.eviction.budget,
        },
        repos: Vec::new(),
        eviction: report::Eviction {
            reason: left_to(options).unwrap_or_default(),
            ..report::Eviction::default()
        },
        usage: Vec::new(),
        totals: report::Totals::default(),
        alerts: Vec::new(),
        failures: Vec::new(),
        notes: Vec::new(),
        left_out: Vec::new(),
    }
}

/// Returns why a shard doesn't evict.
fn left_to(options: &Options) -> Option<String> {
    let shard = options
        .shard
        .filter(|shard| options.only.evict && !shard.is_last())?;
    Some(format!(
        "left to shard {}, when all others are done",
        shard.last()
    ))
}

fn level(usage: &Usage) -> Level {
    Level {
        used_bytes: usage.used_bytes,
        free_bytes: usage.free_bytes,
        used_inodes: usage.used_inodes,
        standing_bytes: usage.standing_bytes,
    }
}

/// Fills in the rows of the repos, and the volume's usage before and after.
pub(super) fn describe(
    report: &mut RunReport,
    jobs: Vec<DoneJob<'_>>,
    before: &Usage,
    after: &Usage,
) {
    let left = jobs.iter().flat_map(|job| &job.result.left);
    report
        .failures
        .extend(left.map(|left| format!("left in the trash: {left}; the next run tries again")));
    report.repos = jobs.into_iter().map(|job| job.result.row).collect();
    // What stands is projected, and repacks are not in that.
    let standing = after.standing_bytes;
    let after = Usage {
        standing_bytes: standing.map(|bytes| bytes.saturating_sub(freed_by_gc(report))),
        ..*after
    };
    fill(&mut report.volume, before, &after);
}

/// Fills in how full the volume was and is.
pub(super) fn fill(volume: &mut report::Volume, before: &Usage, after: &Usage) {
    (volume.before, volume.after) = (level(before), level(after));
    (volume.total_bytes, volume.total_inodes) = (before.total_bytes, before.total_inodes);
}

/// A hanging run that is being ended.
pub struct HungRun<'a> {
    /// What was done until then.
    pub report: RunReport,
    request: &'a Request<'a>,
    /// Whether the run had begun.
    begun: bool,
}

impl<'a> HungRun<'a> {
    pub(super) fn of(request: &'a Request<'a>) -> Self {
        let why = request.stop.due().unwrap_or("it was time to stop");
        let (mut report, begun) = request.so_far.cut_short(why);
        report.run.finished = clock::now();
        tally(&mut report, 0);
        Self {
            report,
            request,
            begun,
        }
    }

    /// Writes the journal's line. The journal is on the volume, which may be what hangs.
    pub fn write_down(&mut self) {
        let is_kept = self.begun && !self.request.options.dry_run;
        if is_kept && let Err(error) = write_down(self.request, &self.report) {
            self.report.failures.push(error.to_string());
            tally(&mut self.report, 0);
        }
    }
}

/// Fills in outcome, sums and alerts, and writes the journal's line.
pub(super) fn finish(request: &Request<'_>, from_trash: u64, mut report: RunReport) -> RunReport {
    if let Some(why) = request
        .stop
        .reached()
        .filter(|_| report.run.outcome == RunOutcome::Ok)
    {
        (report.run.outcome, report.run.reason) = (RunOutcome::Interrupted, Some(why.to_owned()));
    }
    let is_dry = request.options.dry_run;
    if !is_dry {
        count_busy_nights(request.policy, &mut report);
    }
    report.run.finished = clock::now();
    tally(&mut report, from_trash);
    if !is_dry
        && report.run.outcome != RunOutcome::Refused
        && let Err(error) = write_down(request, &report)
    {
        report.failures.push(error.to_string());
        tally(&mut report, from_trash);
    }
    report
}

fn freed_by_gc(report: &RunReport) -> u64 {
    let freed = |repo: &report::Repo| repo.gc.before.bytes.saturating_sub(repo.gc.after.bytes);
    report.repos.iter().map(freed).fold(0, u64::saturating_add)
}

fn tally(report: &mut RunReport, from_trash: u64) {
    report.tally(freed_by_gc(report), from_trash);
    report.alerts = alert::alerts(report);
}

/// Why the run is not in the journal.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    /// Another shard is writing there, and doesn't end.
    #[error("failed to write the journal: {0}")]
    Turn(#[from] LockError),
    /// The journal can't be written.
    #[error("{0}")]
    Journal(#[from] JournalError),
}

/// Writes the journal's line. Shards share the volume's lock, so they take turns.
fn write_down(request: &Request<'_>, report: &RunReport) -> Result<(), Unwritten> {
    let turn = request
        .options
        .shard
        .map(|_| LockedJournal::wait(&request.policy.volume.locks(), clock::now()))
        .transpose();
    let _turn = turn?;
    let file = journal::file(&request.policy.volume.state);
    Ok(journal::append(&file, report)?)
}

/// Counts for how many days in a row the busy repos have been busy.
fn count_busy_nights(policy: &Policy, report: &mut RunReport) {
    let started = report.run.started;
    let mut busy = report
        .repos
        .iter_mut()
        .filter(|repo| repo.outcome == RepoOutcome::Busy)
        .peekable();
    if busy.peek().is_none() {
        return;
    }
    // If the journal can't be read, writing this run to it reports that.
    let past = journal::read(&journal::file(&policy.volume.state)).unwrap_or_default();
    busy.for_each(|repo| {
        repo.lock.busy_nights = journal::busy_days(&past.runs, started, &repo.name);
    });
}
