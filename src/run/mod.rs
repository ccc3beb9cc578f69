//! One run over all repos, on one screen: survey, decide, act, report.
//!
//! A run proves and locks the volume, maintains every repo in parallel, reaps stale worktrees once
//! it knows how many are due in all, empties the trash, and evicts. A dry run is the same run in
//! [`mode::Mode::DryRun`].

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::apply::reserved_space;
use crate::apply::trash;
use crate::config::policy::{self, Policy};
use crate::facts::volume::Usage;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use crate::plan::evict::{self, Mark};
use crate::plan::limits::ResourceLimits;
use crate::plan::repo::Only;
use crate::report::usage::Used;
use crate::report::{RunOutcome, RunReport};
use crate::state::ledger::Ledger;
use crate::survey;
use crate::survey::context::VolumeContext;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::sync::mpsc;

mod begin;
mod context;
pub mod eviction;
pub mod inspect;
mod job;
mod ladder;
pub mod mode;
mod needs;
mod outside;
mod phase;
mod reaping;
mod reckoned;
mod record;
mod repo;
mod room;
pub mod shards;
mod stages;
pub mod unchanged;
pub mod usage;
mod watchdog;

pub use begin::Options;
use begin::{Begun, begin};
use context::RunContext;
use job::{DoneJob, RepoJob, jobs, maintain, missing, repack_again};
use phase::Phase;
use reaping::reap;
pub use record::HungRun;
use room::Room;
use watchdog::SoFar;

/// The request for a run, and who watches it.
struct Request<'a> {
    policy: &'a Policy,
    options: &'a Options,
    /// The time from which ages are measured; a dry run may use another than the clock's.
    now: DateTime<Utc>,
    stop: &'a Stop,
    bar: &'a ProgressBar,
    so_far: &'a SoFar,
}

/// Returns how full the volume is, if a run that waits for this watermark has nothing to do. That
/// costs one `statvfs`. None if the watermark is passed, or the volume can't be measured: then the
/// run says why.
pub fn calm(policy: &Policy, mark: Mark) -> Option<String> {
    let usage = survey::volume::usage(&policy.volume.root).ok()?;
    evict::below(&usage, &policy.eviction, mark)
}

/// Runs everything. Whatever happens is in the report.
pub fn run(policy: &Policy, options: &Options, stop: &Stop, bar: &ProgressBar) -> RunReport {
    let report = record::blank(policy, options, clock::now());
    let (options, so_far) = (&options.of_this_shard(), SoFar::of(report.clone()));
    let now = options.as_of.unwrap_or(report.run.started);
    let request = Request {
        policy,
        options,
        now,
        stop,
        bar,
        so_far: &so_far,
    };
    whole(&request, report)
}

/// Runs everything in a process that ends with the run. If it is time to stop, and for three
/// minutes nothing asks whether it is, the run hangs in a call that can't be cancelled. Then
/// `give_up` gets what was done, and the process ends with exit code 4.
pub fn run_watched(
    policy: &Policy,
    options: &Options,
    stop: &Stop,
    bar: &ProgressBar,
    give_up: impl FnOnce(HungRun<'_>) + Send,
) -> RunReport {
    let report = record::blank(policy, options, clock::now());
    let (options, so_far) = (&options.of_this_shard(), SoFar::of(report.clone()));
    let now = options.as_of.unwrap_or(report.run.started);
    let request = Request {
        policy,
        options,
        now,
        stop,
        bar,
        so_far: &so_far,
    };
    std::thread::scope(|scope| {
        let (ended, over) = mpsc::channel();
        let watch = || {
            let over = over;
            let heard = || stop.heard();
            let is_stuck = watchdog::is_stuck(heard, &over, watchdog::LOOK, watchdog::patience());
            if is_stuck && so_far.take() {
                // The run itself no longer ends the process, so a panic must not prevent the exit.
                let give_up = || give_up(HungRun::of(&request));
                let _given_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(give_up));
                std::process::exit(watchdog::STOPPED);
            }
        };
        // Without the thread, nothing ends a run that hangs.
        let watching = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn_scoped(scope, watch);
        if let Err(error) = watching {
            tracing::warn!(%error, "failed to start the thread that would end a run that hangs");
        }
        let report = whole(&request, report);
        drop(ended);
        report
    })
}

/// Runs everything, watched or not.
fn whole(request: &Request<'_>, mut report: RunReport) -> RunReport {
    let options = request.options;
    let span = tracing::info_span!("run", id = report.run.id, dry_run = options.dry_run);
    let _entered = span.enter();
    let done = match begin(request) {
        Ok(begun) => work(request, begun, &mut report),
        Err(refusal) => {
            (report.run.outcome, report.run.reason) =
                (RunOutcome::Refused, Some(refusal.to_string()));
            Done::default()
        }
    };
    if !request.so_far.take() {
        // The watchdog is ending the process, and reports what was done before.
        loop {
            std::thread::park();
        }
    }
    let fills = done.fills;
    report = record::finish(request, (done.from_trash, done.stopped), report);
    // Not in the journal, whose lines are read again and again.
    report.usage.extend(fills);
    report
}

/// What the work leaves besides the report.
#[derive(Default)]
struct Done {
    /// The bytes that emptying the trash freed.
    from_trash: u64,
    /// Why the work was cut short.
    stopped: Option<&'static str>,
    /// What fills the volume, for the page that the run leaves.
    fills: Vec<Used>,
}

/// Does the work and fills in the report.
fn work(request: &Request<'_>, begun: Begun, report: &mut RunReport) -> Done {
    let (policy, options) = (request.policy, request.options);
    let (mode, before) = (&begun.mode, begun.before);
    report.failures.extend(begun.unmeasured.iter().cloned());
    record::fill(&mut report.volume, &before, &before);
    request.so_far.begun(report.volume.clone());
    let (own, others) = shards::split(policy, options);
    Phase::Repos(own.len()).show(request.bar);
    let (jobs, around) = begun.io.install(|| survey_volume(request, own));
    let (ledger, unknown) = room::ledger(request, mode);
    let context = context(request, &begun, around, ledger.as_ref());

    let jobs = begun.repos.install(|| maintain(&context, jobs));
    let mut jobs = begun.repos.install(|| reap(&context, jobs, report));
    request.so_far.note(report);
    let room = Room {
        context: &context,
        before,
        others,
        unknown,
    };
    let (mut after, from_trash) = room.make(&mut jobs, report);
    request.so_far.note(report);
    if mode.trash().is_some() {
        (jobs, after) = repack_with_room(context, jobs, after);
    }
    record::describe(report, jobs, &before, &after);
    Done {
        from_trash,
        stopped: request.stop.reached(),
        fills: fills(request, begun),
    }
}

/// Measures what fills the volume if the run leaves a page. The work is done by then, so the volume
/// is let go first, and what can't be read is no failure of the run. A part of a run measures
/// nothing: it may come every hour, and the walk is over all of the volume.
fn fills(request: &Request<'_>, begun: Begun) -> Vec<Used> {
    let Request {
        policy,
        options,
        stop,
        ..
    } = *request;
    let is_whole = !options.dry_run && options.shard.is_none() && options.asked().is_none();
    if !is_whole || policy.report.html_file.is_none() || stop.reached().is_some() {
        return Vec::new();
    }
    let Begun { mode, io, .. } = begun;
    drop(mode);
    Phase::Usage.show(request.bar);
    let usage = io.install(|| usage::usage(policy, stop));
    for problem in usage.problems {
        tracing::warn!("{problem}; the run's page counts it as nothing");
    }
    usage.used
}

/// Returns what the work on all repos shares.
fn context<'a>(
    request: &Request<'a>,
    begun: &'a Begun,
    around: VolumeContext,
    ledger: Option<&'a Ledger>,
) -> RunContext<'a> {
    RunContext {
        now: request.now,
        span: tracing::Span::current(),
        stop: request.stop,
        policy: request.policy,
        options: request.options,
        bar: request.bar,
        so_far: request.so_far,
        mode: &begun.mode,
        around,
        borrowers: std::sync::Arc::default(),
        only: request.options.only,
        free_bytes: begun.before.free_bytes,
        ledger,
        repos: &begun.repos,
        io: &begun.io,
        limits: limits(request.policy),
    }
}

/// Surveys what needs no repo's lock: unchanged repos, missing trees and taken places.
fn survey_volume<'a>(
    request: &Request<'a>,
    own: Vec<&'a policy::Repo>,
) -> (Vec<RepoJob<'a>>, VolumeContext) {
    let trashed = trash::taken_from(&request.policy.volume.state);
    let jobs = jobs(request, own, &trashed);
    let missing = missing(request, &jobs, &trashed);
    let around = VolumeContext {
        trashed,
        reserved: reserved(request.policy),
        missing,
        touched: clock::is_touched(),
        ..VolumeContext::default()
    };
    (jobs, around)
}

/// Repacks the repos that had no room before, and restores the reserved space.
fn repack_with_room<'a>(
    context: RunContext<'_>,
    jobs: Vec<DoneJob<'a>>,
    expected: Usage,
) -> (Vec<DoneJob<'a>>, Usage) {
    let volume = &context.policy.volume;
    let measure = |expected: Usage| {
        let standing_bytes = expected.standing_bytes;
        survey::volume::usage(&volume.root).map_or(expected, |measured| Usage {
            standing_bytes,
            ..measured
        })
    };
    let after = measure(expected);
    let only = Only {
        gc: true,
        ..Only::NONE
    };
    let context = RunContext {
        only,
        free_bytes: after.free_bytes,
        ledger: None,
        ..context
    };
    if jobs.iter().any(|job| job.result.short_of_space) {
        Phase::Repacks.show(context.bar);
    }
    let jobs = context.repos.install(|| repack_again(&context, jobs));
    let after = measure(after);
    if let Err(error) = reserved_space::take_on(&volume.state, &after) {
        tracing::warn!(%error, "failed to reserve space; the next run tries again");
    }
    (jobs, after)
}

/// Returns the directories that the config assigns. The repos' git dirs are among them, so that none
/// is ever taken for a worktree.
pub(crate) fn reserved(policy: &Policy) -> Vec<VolumePath> {
    let repos = policy.repos.par_iter().flat_map_iter(|repo| {
        layout::find(&repo.place, &repo.assigned)
            .map_or_else(|_| vec![repo.place.clone()], |layout| layout.reserved())
    });
    let repos: Vec<VolumePath> = repos.collect();
    let inside = |cache: &&policy::Cache| cache.outside.is_none();
    let caches = policy.caches.iter().filter(inside);
    let caches = caches.map(|cache| cache.place.clone());
    repos
        .into_iter()
        .chain(caches.flatten())
        .chain([policy.volume.state.clone()])
        .collect()
}

fn limits(policy: &Policy) -> ResourceLimits {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ResourceLimits::of(
        processors,
        survey::memory::limit(),
        policy.run.repos_in_parallel,
    )
}
