//! One run over all repos, on one screen: look, decide, act, tell.
//!
//! A run proves and locks the volume, maintains every repo in parallel, reaps stale worktrees once
//! it is known how many would go in all, empties the trash, and evicts. A dry run is the same run
//! in [`Mode::DryRun`].

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::apply::ballast;
use crate::apply::trash::{self, Emptied};
use crate::config::policy::Policy;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{self, LockedJournal, StillHeld};
use crate::notify::alert;
use crate::plan::limits::ResourceLimits;
use crate::plan::repo::Only;
use crate::report::journal;
use crate::report::{self, Level, RepoOutcome, RunOutcome, RunReport, SCHEMA};
use crate::state::ledger::Ledger;
use crate::state::trial;
use crate::survey;
use crate::survey::context::VolumeContext;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use std::io;
use std::path::PathBuf;

mod begin;
pub mod eviction;
mod job;
pub mod mode;
mod needs;
mod reaping;
mod reckoned;
pub mod repo;
pub mod shards;
pub mod unchanged;
pub mod usage;

pub use begin::Options;
use begin::{Begun, begin, measure};
use job::{DoneJob, jobs, maintain, missing, repack_again, rescan};
use mode::Mode;
use reaping::reap;
use reckoned::{free, reckon};
use repo::{RepoResult, RunContext};
use shards::Others;

/// What a run was asked for, and who watches it.
struct Request<'a> {
    policy: &'a Policy,
    options: &'a Options,
    /// The time that ages are measured by; a dry run may be asked for another than the clock's.
    now: DateTime<Utc>,
    stop: &'a Stop,
    bar: &'a ProgressBar,
}

/// A whole run. Whatever happens is in the report.
pub fn run(policy: &Policy, options: &Options, stop: &Stop, bar: &ProgressBar) -> RunReport {
    let started = clock::now();
    let mut report = blank(policy, options, started);
    let request = Request {
        policy,
        options: &options.of_this_shard(),
        now: options.as_of.unwrap_or(started),
        stop,
        bar,
    };
    let from_trash = match begin(policy, request.options, stop, request.now) {
        Ok(begun) => work(&request, begun, &mut report),
        Err(refusal) => {
            (report.run.outcome, report.run.reason) = (RunOutcome::Refused, Some(refusal));
            0
        }
    };
    finish(&request, from_trash, report)
}

/// The run itself, into the report. Returns the bytes that the trash of earlier runs freed.
fn work(request: &Request<'_>, begun: Begun, report: &mut RunReport) -> u64 {
    let Request {
        policy,
        options,
        stop,
        bar,
        ..
    } = *request;
    let Begun {
        mode,
        before,
        unmeasured,
        repos,
        io,
    } = begun;
    report.failures.extend(unmeasured);
    let (own, others) = shards::split(policy, options);
    bar.set_length(own.len() as u64);

    let trashed = trash::taken_from(&policy.volume.state);
    let jobs = io.install(|| jobs(request, own, &trashed));
    let missing = io.install(|| missing(request, &jobs, &trashed));
    let (ledger, mut unknown) = ledger(request, &mode);
    let context = RunContext {
        now: request.now,
        stop,
        policy,
        mode: &mode,
        around: VolumeContext {
            trashed,
            reserved: reserved(policy),
            missing,
            touched: clock::is_touched(),
            ..VolumeContext::default()
        },
        borrowers: std::sync::Arc::default(),
        only: options.only,
        free_bytes: before.free_bytes,
        ledger: ledger.as_ref(),
        io: &io,
        share: ResourceLimits::of(
            processors(),
            survey::memory::limit(),
            policy.run.repos_in_parallel,
        ),
    };

    let jobs = repos.install(|| maintain(&context, jobs, bar));
    let mut jobs = repos.install(|| reap(&context, jobs, options.shard, report));
    let still_at_work = wait_for_others(&context, options, report);
    let ends = options.ends_the_night() && still_at_work.is_empty();
    unknown.extend(still_at_work);

    let (mut results, mut evicts) = (Vec::new(), true);
    if options.only.evict && !policy.caches.is_empty() {
        // If no repo is skipped, the eviction finds out by itself.
        if jobs.iter().any(|job| job.result.skipped) {
            let expected = reckon(
                before,
                jobs.iter().map(|job| &job.result),
                &Emptied::default(),
            );
            evicts = io.install(|| eviction::may_begin(policy, &expected, stop));
            if evicts {
                repos.install(|| rescan(&context, &mut jobs));
            }
        }
        results = repos.install(|| shards::look(&context, &others));
    }
    let ledger = remember(
        &context,
        all_of(&mut jobs, &mut results),
        &mut unknown,
        report,
    );
    let in_trash = options.usage.then(|| used(request, &context, report));
    let emptied = if ends {
        empty_trash(&context, in_trash, report)
    } else {
        Emptied::default()
    };
    let results: Vec<&RepoResult> = jobs.iter().map(|job| &job.result).chain(&results).collect();
    let expected = reckon(before, results.iter().copied(), &emptied);
    let mut after = if options.waits() {
        measure_again(request, &context, report).unwrap_or(expected)
    } else {
        expected
    };
    if options.only.evict && stop.reached().is_none() {
        bar.set_message("caches");
        let idle: Vec<IdleTree> = results
            .iter()
            .flat_map(|result| result.idle())
            .cloned()
            .collect();
        let stage = eviction::Stage {
            context: &context,
            usage: &after,
            idle: &idle,
            ledger: &ledger,
        };
        let calm = eviction::none_wanted(policy, &after).filter(|_| !evicts);
        report.eviction = calm.unwrap_or_else(|| io.install(|| stage.evict(&mut report.failures)));
        free(
            &mut after,
            Size {
                bytes: report.eviction.freed_bytes,
                inodes: report.eviction.freed_inodes,
            },
        );
    }
    report.eviction.obstacles.extend(unknown);
    if mode.trash().is_some() {
        after = survey::volume::usage(&policy.volume.root).unwrap_or(after);
        let context = RunContext {
            only: Only {
                gc: true,
                ..Only::NONE
            },
            free_bytes: after.free_bytes,
            ledger: None,
            ..context
        };
        jobs = repos.install(|| repack_again(&context, jobs));
        after = survey::volume::usage(&policy.volume.root).unwrap_or(after);
        if let Err(error) = ballast::take_on(&policy.volume.state, &after) {
            tracing::warn!(%error, "failed to take on ballast; the next run tries again");
        }
    }
    describe(report, jobs, &before, &after);
    emptied.freed.bytes
}

/// The results of this run's repos, and of those that other shards have.
fn all_of<'a>(
    jobs: &'a mut [DoneJob<'_>],
    others: &'a mut [RepoResult],
) -> impl Iterator<Item = &'a mut RepoResult> {
    jobs.iter_mut().map(|job| &mut job.result).chain(others)
}

/// The rows of the repos, and how full the volume was and is.
fn describe(report: &mut RunReport, jobs: Vec<DoneJob<'_>>, before: &Usage, after: &Usage) {
    let left = jobs.iter().flat_map(|job| &job.result.left);
    report
        .failures
        .extend(left.map(|left| format!("left in the trash: {left}; the next run tries again")));
    report.repos = jobs.into_iter().map(|job| job.result.row).collect();
    (report.volume.before, report.volume.after) = (level(before), level(after));
    (report.volume.total_bytes, report.volume.total_inodes) =
        (before.total_bytes, before.total_inodes);
}

/// Outcome, sums, alerts, and the journal's line.
fn finish(request: &Request<'_>, from_trash: u64, mut report: RunReport) -> RunReport {
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
        report.failures.push(error);
        tally(&mut report, from_trash);
    }
    report
}

fn tally(report: &mut RunReport, from_trash: u64) {
    let from_gc = report
        .repos
        .iter()
        .map(|repo| repo.gc.before.bytes.saturating_sub(repo.gc.after.bytes))
        .fold(0, u64::saturating_add);
    report.tally(from_gc, from_trash);
    report.alerts = alert::alerts(report);
}

/// Shards share the volume's lock, so they write one after the other.
fn write_down(request: &Request<'_>, report: &RunReport) -> Result<(), String> {
    let turn = request
        .options
        .shard
        .map(|_| LockedJournal::wait(&locks(request.policy), clock::now()))
        .transpose();
    let _turn = turn.map_err(|error| format!("failed to write the journal: {error}"))?;
    journal::append(&journal::file(&request.policy.volume.state.path()), report)
        .map_err(|error| error.to_string())
}

/// What earlier runs tell of the repos that are busy.
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
    // A journal that can't be read is told of when this run is to be written there.
    let past = journal::read(&journal::file(&policy.volume.state.path())).unwrap_or_default();
    busy.for_each(|repo| {
        repo.lock.busy_nights = journal::busy_nights(&past.runs, started, &repo.name)
    });
}

/// The shard that ends the run for all begins to do so when the others are done. Returns who is
/// still at work.
fn wait_for_others(
    context: &RunContext<'_>,
    options: &Options,
    report: &mut RunReport,
) -> Vec<String> {
    let Some(shard) = options.shard.filter(|_| options.waits()) else {
        return Vec::new();
    };
    // What can't be asked may be at work.
    let others = shards::wait(context, shard).unwrap_or_else(|error| Others {
        at_work: vec![error.to_string()],
        missing: Vec::new(),
    });
    report.failures.extend(others.missing);
    others.at_work
}

/// What earlier runs know of lock files, where a cache asks for it, and why it is less than it was.
/// Only a run may try how the volume treats access times.
fn ledger(request: &Request<'_>, mode: &Mode) -> (Option<Ledger>, Vec<String>) {
    let policy = request.policy;
    if !request.options.only.evict || policy.caches.is_empty() {
        return (None, Vec::new());
    }
    let (mut ledger, why) = Ledger::read(&policy.volume.state);
    if mode.trash().is_some() {
        ledger.access_times = trial::keeps_access_times(&policy.volume.state).ok();
    }
    (Some(ledger), why.into_iter().collect())
}

/// The ledger with what this run saw; a run keeps it for the next one.
fn remember<'a>(
    context: &RunContext<'_>,
    results: impl Iterator<Item = &'a mut RepoResult>,
    unknown: &mut Vec<String>,
    report: &mut RunReport,
) -> Ledger {
    let Some(ledger) = context.ledger else {
        return Ledger::default();
    };
    let (ledger, lines) = eviction::remember(ledger.clone(), context, results);
    unknown.extend(lines);
    if context.mode.trash().is_some()
        && let Err(error) = ledger.write(&context.policy.volume.state)
    {
        report.failures.push(format!("failed to write the ledger of lock files: {error}; see that the volume's state folder is writable"));
    }
    ledger
}

/// What fills the volume, into the report. Returns what is in the trash.
fn used(request: &Request<'_>, context: &RunContext<'_>, report: &mut RunReport) -> Size {
    request.bar.set_message("usage");
    let usage = context
        .io
        .install(|| usage::usage(request.policy, request.stop));
    report.usage = usage.used;
    report.failures.extend(usage.problems);
    usage.trash
}

/// What other shards did to the volume, only a new look tells.
fn measure_again(
    request: &Request<'_>,
    context: &RunContext<'_>,
    report: &mut RunReport,
) -> Option<Usage> {
    match measure(
        request.policy,
        request.options.only.evict,
        context.io,
        request.stop,
    ) {
        Ok((usage, unmeasured)) => {
            report.failures.extend(unmeasured);
            Some(usage)
        }
        Err(error) => {
            report.failures.push(format!(
                "failed to measure the volume again: {error}; see that it is mounted"
            ));
            None
        }
    }
}

/// Directories that the config gives to somebody; a repo's own `.git` among them, for it must never
/// be taken for one of its trees.
pub(crate) fn reserved(policy: &Policy) -> Vec<VolumePath> {
    let repos = policy
        .repos
        .iter()
        .flat_map(|repo| [Some(repo.place.clone()), repo.place.join(".git").ok()]);
    let caches = policy.caches.iter().map(|cache| cache.place.clone());
    repos
        .chain(caches)
        .chain([Some(policy.volume.state.clone())])
        .flatten()
        .collect()
}

fn locks(policy: &Policy) -> PathBuf {
    policy.volume.state.path().join("locks")
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What earlier runs left. A dry run measures it, unless it is known already.
fn empty_trash(context: &RunContext<'_>, known: Option<Size>, report: &mut RunReport) -> Emptied {
    let emptied = match context.mode {
        // If the lock was lost, the trash is another run's by now.
        Mode::Apply { lock, trash } => lock
            .still_held()
            .map_err(io::Error::other)
            .and_then(|()| context.io.install(|| trash.empty(context.stop))),
        Mode::DryRun => {
            let measure = || {
                let waiting = trash::waiting(&context.policy.volume.state)?;
                context
                    .io
                    .install(|| survey::size::size(&waiting, context.stop))
            };
            known.map_or_else(measure, Ok).map(|freed| Emptied {
                freed,
                left: Vec::new(),
            })
        }
    };
    let emptied = emptied.unwrap_or_else(|error| Emptied {
        freed: Size::default(),
        left: vec![error.to_string()],
    });
    report.failures.extend(
        emptied
            .left
            .iter()
            .map(|left| format!("failed to empty the trash: {left}; the next run tries again")),
    );
    emptied
}

/// A report of which only the beginning is known.
fn blank(policy: &Policy, options: &Options, now: DateTime<Utc>) -> RunReport {
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
    }
}

/// Why a shard does not evict.
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
    }
}
