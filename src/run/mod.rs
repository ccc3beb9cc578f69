//! The nightly pass, on one screen: prove the volume, tend every repo, reap, empty the trash, evict, tell.
//!
//! Only this room sees all the others. It must never let a failed item end the run, and a dry run differs by one `if`: whether there is
//! a lock on the volume and a trash to put things in.

use crate::apply::trash::{self, Emptied};
use crate::config::policy::{self, Policy};
use crate::facts::cache::CacheKind;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{self, LockedJournal, LockedVolume, StillHeld};
use crate::notify::alert;
use crate::plan::repo::Only;
use crate::plan::share::Share;
use crate::report::journal;
use crate::report::{self, Level, RepoOutcome, RunOutcome, RunReport, SCHEMA};

use crate::apply::ballast;
use crate::state::ledger::Ledger;
use crate::state::trial;
use crate::survey;
use crate::survey::repo::Around;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

mod begin;
pub mod eviction;
mod reaping;
mod reckoned;
pub mod repo;
pub mod rest;
mod resting;
pub mod shards;
pub mod usage;

use repo::{ASK_AGAIN, Night, Tended};
use rest::Look;
use shards::Others;

pub use begin::Options;
use begin::{Begun, begin, measure};
use reaping::reap;
use reckoned::{free, reckon};
use resting::{missing, resting, wake};

/// A whole night. Whatever happens is in the report.
pub fn run(policy: &Policy, options: &Options, stop: &Stop, bar: &ProgressBar) -> RunReport {
    let now = clock::now();
    let mut report = blank(policy, options, now);
    let now = options.as_of.unwrap_or(now);
    let options = &Options { only: Only { evict: options.only.evict && options.ends_the_night(), ..options.only }, ..options.clone() };
    let from_trash = match begin(policy, options, stop, now) {
        Ok(begun) => work(policy, options, begun, now, stop, bar, &mut report),
        Err(refusal) => {
            (report.run.outcome, report.run.reason) = (RunOutcome::Refused, Some(refusal));
            0
        }
    };
    if let Some(why) = stop.reached().filter(|_| report.run.outcome == RunOutcome::Ok) {
        (report.run.outcome, report.run.reason) = (RunOutcome::Interrupted, Some(why.to_owned()));
    }
    count_busy_nights(policy, options, &mut report);
    report.run.finished = clock::now();
    report.tally(from_gc(&report), from_trash);
    report.alerts = alert::alerts(&report);
    if !options.dry_run
        && report.run.outcome != RunOutcome::Refused
        && let Err(error) = write_down(policy, options, &report)
    {
        report.failures.push(error);
        report.tally(from_gc(&report), from_trash);
        report.alerts = alert::alerts(&report);
    }
    report
}

/// Shards share the volume's lock, so they write one after the other.
fn write_down(policy: &Policy, options: &Options, report: &RunReport) -> Result<(), String> {
    let turn = options.shard.map(|_| LockedJournal::wait(&locks(policy), clock::now())).transpose();
    let _turn = turn.map_err(|error| format!("failed to write the journal: {error}"))?;
    journal::append(&journal::file(&policy.volume.state.path()), report).map_err(|error| error.to_string())
}

/// What earlier nights tell of the repos that are busy.
fn count_busy_nights(policy: &Policy, options: &Options, report: &mut RunReport) {
    let started = report.run.started;
    let mut busy = report.repos.iter_mut().filter(|repo| repo.outcome == RepoOutcome::Busy).peekable();
    if options.dry_run || busy.peek().is_none() {
        return;
    }
    // A journal that can't be read is told of when this run is to be written there.
    let past = journal::read(&journal::file(&policy.volume.state.path())).unwrap_or_default();
    busy.for_each(|repo| repo.lock.busy_nights = journal::busy_nights(&past.runs, started, &repo.name));
}

fn from_gc(report: &RunReport) -> u64 {
    report.repos.iter().map(|repo| repo.gc.before.bytes.saturating_sub(repo.gc.after.bytes)).sum()
}

/// The night itself, into the report. Gives the bytes that earlier nights' trash freed.
fn work(
    policy: &Policy,
    options: &Options,
    begun: Begun,
    now: DateTime<Utc>,
    stop: &Stop,
    bar: &ProgressBar,
    report: &mut RunReport,
) -> u64 {
    let Begun { lock, trash, before, unweighed, repos, io } = begun;
    report.failures.extend(unweighed);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = Share::of(processors, survey::memory::limit(), policy.run.repos_in_parallel);
    let (chosen, others) = shards::split(policy, options);
    bar.set_length(chosen.len() as u64);
    let trashed = trash::taken_from(&policy.volume.state);
    let resting = io.install(|| resting(policy, options, &chosen, &trashed, now, stop));
    let missing = io.install(|| missing(policy, &chosen, &resting, &trashed));
    let around = Around { trashed, reserved: reserved(policy), missing, touched: clock::is_touched(), ..Around::default() };
    let (ledger, mut told) = ledger(policy, options, trash.is_some());
    let night = Night {
        now,
        stop,
        state: &policy.volume.state,
        locks: locks(policy),
        trash,
        around,
        repos: &policy.repos,
        borrowers: std::sync::Arc::default(),
        only: options.only,
        free_bytes: before.free_bytes,
        ledger: ledger.as_ref(),
        links: policy.caches.iter().any(|cache| cache.kind == CacheKind::Uv),
        io: &io,
        share,
    };

    let tended = repos.install(|| tend(&night, &chosen, resting, bar));
    let mut tended = repos.install(|| reap(&night, &chosen, tended, policy.run.max_reaped, options.shard, report));
    let awaited = wait_for_others(&night, options, &mut told, report);
    let mut begins = true;
    if options.only.evict && !policy.caches.is_empty() {
        // Where nobody rests, the eviction finds out by itself.
        if tended.iter().any(|tended| tended.rests) {
            begins = io.install(|| eviction::may_begin(policy, &reckon(before, &tended, &Emptied::default()), stop));
            if begins {
                repos.install(|| wake(&night, &chosen, &mut tended));
            }
        }
        tended.extend(repos.install(|| shards::look(&night, &others)));
    }
    let remembered = remember(&night, policy, &mut tended, &mut told, report);
    let ends = options.ends_the_night() && awaited.at_work.is_empty();
    let foreseen = options.usage.then(|| {
        bar.set_message("usage");
        let usage = io.install(|| usage::usage(policy, stop));
        report.usage = usage.used;
        report.failures.extend(usage.problems);
        usage.trash
    });
    let emptied = if ends { empty_trash(&night, policy, lock.as_ref(), foreseen, report) } else { Emptied::default() };
    let mut after = reckon(before, &tended, &emptied);
    if options.waits() {
        match measure(policy, options.only.evict, &io, stop) {
            Ok((usage, unweighed)) => {
                after = usage;
                report.failures.extend(unweighed);
            }
            Err(error) => report.failures.push(format!("failed to measure the volume again: {error}; see that it is mounted")),
        }
    }
    if options.only.evict && stop.reached().is_none() {
        bar.set_message("caches");
        let idle: Vec<IdleTree> = tended.iter().flat_map(Tended::idle).cloned().collect();
        let evict = || eviction::evict(&night, policy, lock.as_ref(), &after, &idle, &remembered, &mut report.failures);
        let evicted = eviction::none_wanted(policy, &after).filter(|_| !begins).unwrap_or_else(|| io.install(evict));
        free(&mut after, Size { bytes: evicted.freed_bytes, inodes: evicted.freed_inodes });
        report.eviction = evicted;
    }
    report.eviction.obstacles.extend(told);
    // The others tell of their repos themselves.
    tended.truncate(chosen.len());
    if !options.dry_run {
        after = survey::volume::usage(&policy.volume.root).unwrap_or(after);
        let night = Night { only: Only { gc: true, ..Only::NONE }, free_bytes: after.free_bytes, ledger: None, ..night };
        tended = repos.install(|| gc_again(&night, &chosen, tended));
        after = survey::volume::usage(&policy.volume.root).unwrap_or(after);
        if let Err(error) = ballast::take_on(&policy.volume.state, &after) {
            tracing::warn!(%error, "failed to take on ballast; the next night tries again");
        }
    }
    let left = tended.iter().flat_map(|tended| &tended.left);
    report.failures.extend(left.map(|left| format!("left in the trash: {left}; the next night tries again")));
    report.repos = tended.into_iter().map(|tended| tended.row).collect();
    (report.volume.before, report.volume.after) = (level(&before), level(&after));
    (report.volume.total_bytes, report.volume.total_inodes) = (before.total_bytes, before.total_inodes);
    emptied.freed.bytes
}

/// The shard that ends the night begins to do so when the others are done.
fn wait_for_others(night: &Night<'_>, options: &Options, told: &mut Vec<String>, report: &mut RunReport) -> Others {
    let Some(shard) = options.shard.filter(|_| options.waits()) else { return Others::default() };
    // What can't be asked may be at work.
    let others = shards::wait(night, shard).unwrap_or_else(|error| Others { at_work: vec![error.to_string()], missing: Vec::new() });
    told.extend(others.at_work.iter().cloned());
    report.failures.extend(others.missing.iter().cloned());
    others
}

/// What earlier nights know of lock files, where a cache asks for it, and why it is less than it was. Only a run may try how the volume treats
/// access times.
fn ledger(policy: &Policy, options: &Options, may_try: bool) -> (Option<Ledger>, Vec<String>) {
    if !options.only.evict || policy.caches.is_empty() {
        return (None, Vec::new());
    }
    let (mut ledger, why) = Ledger::read(&policy.volume.state);
    if may_try {
        ledger.access_times = trial::keeps_access_times(&policy.volume.state).ok();
    }
    (Some(ledger), why.into_iter().collect())
}

/// The ledger with what this night saw; a run keeps it for the next one.
fn remember(night: &Night<'_>, policy: &Policy, tended: &mut [Tended], told: &mut Vec<String>, report: &mut RunReport) -> Ledger {
    let Some(ledger) = night.ledger else { return Ledger::default() };
    let (ledger, lines) = eviction::remember(ledger.clone(), policy, night, tended);
    told.extend(lines);
    if night.trash.is_some()
        && let Err(error) = ledger.write(&policy.volume.state)
    {
        report.failures.push(format!("failed to write the ledger of lock files: {error}; see that the volume's state folder is writable"));
    }
    ledger
}

/// Folders that the config gives to somebody; a repo's own `.git` among them, for it must never be taken for one of its trees.
pub(crate) fn reserved(policy: &Policy) -> Vec<VolumePath> {
    let repos = policy.repos.iter().flat_map(|repo| [Some(repo.place.clone()), repo.place.join(".git").ok()]);
    let caches = policy.caches.iter().map(|cache| cache.place.clone());
    repos.chain(caches).chain([Some(policy.volume.state.clone())]).flatten().collect()
}

fn locks(policy: &Policy) -> PathBuf {
    policy.volume.state.path().join("locks")
}

/// Every repo in parallel; those that were busy are asked again until their `lock_wait` is over.
fn tend(night: &Night<'_>, repos: &[&policy::Repo], resting: Vec<Option<Look>>, bar: &ProgressBar) -> Vec<Tended> {
    let began = Instant::now();
    let one =
        |(repo, look): (&&policy::Repo, Option<Look>)| tell(bar, look.map_or_else(|| night.tend(repo), |look| night.rest(repo, look)));
    let first: Vec<Tended> = repos.par_iter().zip(resting).map(one).collect();
    first.into_par_iter().zip(repos).map(|(tended, repo)| wait(night, repo, tended, began)).collect()
}

fn tell(bar: &ProgressBar, tended: Tended) -> Tended {
    tracing::info!(repo = tended.row.name, outcome = ?tended.row.outcome, seconds = tended.row.seconds, "looked after");
    bar.inc(1);
    bar.set_message(tended.row.name.clone());
    tended
}

/// A dry run doesn't wait: it only looks.
fn wait(night: &Night<'_>, repo: &policy::Repo, mut tended: Tended, began: Instant) -> Tended {
    if tended.row.outcome != RepoOutcome::Busy || night.trash.is_none() {
        return tended;
    }
    while tended.row.outcome == RepoOutcome::Busy && began.elapsed() < repo.lock_wait {
        night.stop.sleep(ASK_AGAIN.min(repo.lock_wait.saturating_sub(began.elapsed())));
        if night.stop.reached().is_some() {
            break;
        }
        tended = night.tend(repo);
    }
    tended.row.lock.waited_seconds = began.elapsed().as_secs_f64();
    tended
}

/// What earlier nights left. A dry run weighs it, unless that was `foreseen` already.
fn empty_trash(night: &Night<'_>, policy: &Policy, lock: Option<&LockedVolume>, foreseen: Option<Size>, report: &mut RunReport) -> Emptied {
    let emptied = if let (Some(trash), Some(lock)) = (&night.trash, lock) {
        // Where it was lost, the trash is another night's by now.
        lock.still_held().map_err(io::Error::other).and_then(|()| night.io.install(|| trash.empty(night.stop)))
    } else {
        let weigh =
            || trash::waiting(&policy.volume.state).and_then(|waiting| night.io.install(|| survey::size::size(&waiting, night.stop)));
        foreseen.map_or_else(weigh, Ok).map(|freed| Emptied { freed, left: Vec::new() })
    };
    let emptied = emptied.unwrap_or_else(|error| Emptied { freed: Size::default(), left: vec![error.to_string()] });
    report.failures.extend(emptied.left.iter().map(|left| format!("failed to empty the trash: {left}; the next night tries again")));
    emptied
}

/// Repos whose repack had no room before the eviction get another chance.
fn gc_again(night: &Night<'_>, repos: &[&policy::Repo], tended: Vec<Tended>) -> Vec<Tended> {
    let each = tended.into_par_iter().zip(repos).map(|(mut tended, repo)| {
        if tended.short_of_space {
            let again = night.tend(repo);
            if again.row.outcome == RepoOutcome::Maintained {
                tended.row.gc = again.row.gc;
                tended.row.failures.extend(again.row.failures);
            }
        }
        tended
    });
    each.collect()
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
        eviction: report::Eviction { reason: left_to(options).unwrap_or_default(), ..report::Eviction::default() },
        usage: Vec::new(),
        totals: report::Totals::default(),
        alerts: Vec::new(),
        failures: Vec::new(),
        notes: Vec::new(),
    }
}

/// Why a shard does not evict.
fn left_to(options: &Options) -> Option<String> {
    let shard = options.shard.filter(|shard| options.only.evict && !shard.is_last())?;
    Some(format!("left to shard {}, when all others are done", shard.last()))
}

fn level(usage: &Usage) -> Level {
    Level { used_bytes: usage.used_bytes, free_bytes: usage.free_bytes, used_inodes: usage.used_inodes }
}
