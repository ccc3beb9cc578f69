//! What a run would find and decide, for the commands that only report it: `worktree list` and
//! `explain`.
//!
//! It is a dry run's own survey and plan, in more detail than the report has. It takes no lock, so
//! it surveys a repo in which an agent is at work, too, and says that a run would leave it alone.

use super::context::RunContext;
use super::job::{DoneJob, RepoJob, maintain};
use super::outside;
use super::reaping::reap;
use super::record;
use super::repo::ended::Ended;
use super::room::{self, Room};
use super::watchdog::SoFar;
use super::{Begun, Options, Request, begin, context, survey_volume};
use crate::config::policy::{self, Policy};
use crate::facts::cache::{Size, Unit};
use crate::facts::repo::Repo;
use crate::facts::worktree::{State, Worktree};
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::git::shadow::layout;
use crate::lock::{LockError, peek};
use crate::plan::repo::{Only, Plan};
use crate::report::RunReport;
use crate::run::eviction::SeenUnit;
use crate::survey;
use crate::survey::context::{Explained, VolumeContext};
use crate::survey::processes::Processes;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;

/// What is to be inspected.
pub struct Wanted<'a> {
    /// The repos.
    pub repos: Vec<&'a policy::Repo>,
    /// The trees that are inspected whole.
    pub explained: Explained,
    /// Whether these are measured, too.
    pub measured: bool,
    /// The processes that count.
    pub processes: Processes,
}

/// What was found.
pub struct Inspected {
    /// For each repo.
    pub repos: Vec<InspectedRepo>,
    /// Why a run would be refused.
    pub doubts: Vec<String>,
}

/// What was found in a repo.
pub struct InspectedRepo {
    /// Its name.
    pub name: String,
    /// Who holds its lock, so that a run would leave it alone.
    pub held: Option<String>,
    /// The survey and the plan; or why a run would do nothing here.
    pub found: Result<Found, String>,
}

/// A repo's survey and plan.
pub struct Found {
    /// The facts.
    pub facts: Repo,
    /// The plan.
    pub plan: Plan,
    /// The git dir as git sees it.
    pub shadow: Shadow,
    /// The size of each measured tree, with its registration.
    pub sizes: HashMap<PathBuf, Size>,
}

/// Inspects repos.
///
/// # Errors
/// The volume isn't the one that the config means, or can't be used.
pub fn inspect(
    policy: &Policy,
    wanted: &Wanted<'_>,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Inspected, String> {
    let only = Only {
        evict: false,
        ..Only::ALL
    };
    as_a_dry_run(policy, only, (stop, now), |request, begun| {
        let (_, around) = begun.io.install(|| survey_volume(request, Vec::new()));
        let around = VolumeContext {
            explained: wanted.explained.clone(),
            processes: wanted.processes.clone(),
            ..around
        };
        let context = context(request, begun, around, None);
        let one = |repo: &&policy::Repo| one(&context, repo, wanted);
        Inspected {
            repos: begun
                .repos
                .install(|| wanted.repos.par_iter().map(one).collect()),
            doubts: begun.unmeasured.clone(),
        }
    })
}

/// Calls `inspect` with a dry run that has begun.
fn as_a_dry_run<T>(
    policy: &Policy,
    only: Only,
    (stop, now): (&Stop, DateTime<Utc>),
    inspect: impl FnOnce(&Request<'_>, &Begun) -> T,
) -> Result<T, String> {
    let options = Options {
        dry_run: true,
        repos: Vec::new(),
        only,
        as_of: Some(now),
        usage: false,
        shard: None,
        after_pause: false,
    };
    let so_far = SoFar::of(record::blank(policy, &options, clock::now()));
    let request = Request {
        policy,
        options: &options,
        now,
        stop,
        bar: &ProgressBar::hidden(),
        so_far: &so_far,
    };
    let begun = begin(&request).map_err(|refusal| refusal.to_string())?;
    Ok(inspect(&request, &begun))
}

fn one(context: &RunContext<'_>, repo: &policy::Repo, wanted: &Wanted<'_>) -> InspectedRepo {
    let held = match peek(&context.locks(), &repo.name) {
        Ok(Ok(())) => None,
        Ok(Err(holder)) => Some(LockError::Busy(holder).to_string()),
        Err(error) => Some(error.to_string()),
    };
    let decided = context.decide_unlocked(repo, &context.around);
    let found = decided.map_err(message).map(|decided| Found {
        sizes: sizes(context, &decided.facts.worktrees, wanted),
        facts: decided.facts,
        plan: decided.plan,
        shadow: decided.shadow,
    });
    InspectedRepo {
        name: repo.name.clone(),
        held,
        found,
    }
}

fn message(ended: Ended) -> String {
    match ended {
        Ended::Busy(holder) => holder.unwrap_or_else(|| "it is busy".to_owned()),
        Ended::Refused(why) | Ended::Failed(why) => why,
    }
}

/// Measures the explained trees. One that can't be measured has no size.
fn sizes(
    context: &RunContext<'_>,
    trees: &[Worktree],
    wanted: &Wanted<'_>,
) -> HashMap<PathBuf, Size> {
    let is_wanted = |tree: &&Worktree| {
        let explained = match &wanted.explained {
            Explained::None => false,
            Explained::One(admin) => *admin == tree.admin,
            Explained::All => true,
        };
        wanted.measured
            && explained
            && matches!(tree.state, State::Inspected(_) | State::NotInspected)
    };
    let trees: Vec<&Worktree> = trees.iter().filter(is_wanted).collect();
    let size = |tree: &&Worktree| {
        let place = VolumePath::new(tree.admin.root(), &tree.path).ok()?;
        let size = survey::size::size(&tree.directories(&place), context.stop).ok()?;
        Some((tree.path.clone(), size))
    };
    context.on_io(context.stop, || trees.par_iter().filter_map(size).collect())
}

/// Returns whether a run would keep this tree back because too many trees are due at once. It
/// surveys every repo, unless the volume has no more trees than one run may remove.
///
/// # Errors
/// As [`inspect`].
pub fn is_one_too_many(
    policy: &Policy,
    tree: &Worktree,
    (stop, now): (&Stop, DateTime<Utc>),
) -> Result<bool, String> {
    let git_dirs = policy
        .repos
        .iter()
        .filter_map(|repo| layout::find(&repo.place, &repo.assigned).ok());
    let trees =
        git_dirs.map(|layout| survey::registry::admins(&layout.git_dir).map_or(0, |all| all.len()));
    if trees.fold(0_usize, usize::saturating_add) <= policy.run.max_reaped {
        return Ok(false);
    }
    let only = Only {
        reap: true,
        ..Only::NONE
    };
    as_a_dry_run(policy, only, (stop, now), |request, begun| {
        let mut report = record::blank(policy, request.options, now);
        done(request, begun, &mut report, |_, jobs, _| {
            let mut rows = jobs.iter().flat_map(|job| &job.result.row.worktrees);
            rows.any(|row| {
                row.path == tree.path && row.because == crate::report::ReasonName::TooManyAtOnce
            })
        })
    })
}

/// Runs both passes over all repos, none of which is skipped, and calls `then`.
fn done<T>(
    request: &Request<'_>,
    begun: &Begun,
    report: &mut RunReport,
    then: impl FnOnce(Room<'_>, &mut Vec<DoneJob<'_>>, &mut RunReport) -> T,
) -> T {
    let (_, around) = begun.io.install(|| survey_volume(request, Vec::new()));
    let (ledger, unknown) = room::ledger(request, &begun.mode);
    let context = context(request, begun, around, ledger.as_ref());
    let jobs = request.policy.repos.iter().map(|policy| RepoJob {
        policy,
        cached: None,
    });
    let jobs = begun.repos.install(|| maintain(&context, jobs.collect()));
    let mut jobs = begun.repos.install(|| reap(&context, jobs, report));
    let room = Room {
        context: &context,
        before: begun.before,
        others: Vec::new(),
        unknown,
    };
    then(room, &mut jobs, report)
}

/// Inspects the unit of a cache that `is` recognises: a dry run of everything, and the unit's part
/// in its eviction.
///
/// # Errors
/// As [`inspect`].
pub fn unit(
    policy: &Policy,
    cache: &policy::Cache,
    is: &(dyn Fn(&Unit) -> bool + Sync),
    (stop, now): (&Stop, DateTime<Utc>),
) -> Result<SeenUnit, String> {
    as_a_dry_run(policy, Only::ALL, (stop, now), |request, begun| {
        let mut report = record::blank(policy, request.options, now);
        done(request, begun, &mut report, |room, jobs, report| {
            let context = room.context;
            let ready = room.prepare(jobs, report);
            let outsides = outside::enter(context, report);
            let stages = ready.stages(context, &outsides);
            context.io.install(|| stages.explain(cache, is))
        })
    })
}
