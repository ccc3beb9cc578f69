//! A run that several machines share: each shard has its own repos, and the last one ends the run
//! for all.
//!
//! The last shard waits for the others, up to three quarters of its time, then empties the trash
//! and evicts. Only the locks show who is at work; the journal only shows when this run can have
//! begun. It surveys the others' repos itself, since any agent could forge a note about them. A
//! shard changes nothing in a repo that isn't its own.

use crate::config::policy::{self, Policy};
use crate::fs::volume_path::VolumePath;
use crate::lock::{self, Holder, LockError, Seen};
use crate::plan::repo::Only;
use crate::plan::shard::Shard;
use crate::report::{RunOutcome, journal};
use crate::run::Options;
use crate::run::context::{RepoResult, RunContext};
use crate::run::mode::Mode;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use std::time::Duration;

/// The pause before the others are checked again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The other shards that did not end well.
#[derive(Debug, Default)]
pub struct Others {
    /// Those still at work: what they have in the trash is theirs.
    pub at_work: Vec<String>,
    /// Those that died or never began.
    pub missing: Vec<String>,
}

/// The state of a shard in this run.
enum State {
    AtWork,
    Ended,
    Died(Holder),
    NotBegun,
}

/// Splits the repos into this shard's and the other shards'.
pub fn split<'a>(
    policy: &'a Policy,
    options: &Options,
) -> (Vec<&'a policy::Repo>, Vec<&'a policy::Repo>) {
    let asked =
        |repo: &&policy::Repo| options.repos.is_empty() || options.repos.contains(&repo.name);
    policy
        .repos
        .iter()
        .filter(asked)
        .partition(|repo| options.shard.is_none_or(|shard| shard.has(&repo.name)))
}

/// Waits until the others have ended or died, or it is late, or the run is to stop.
///
/// # Errors
/// A lock can't be read.
pub fn wait(context: &RunContext<'_>, shard: Shard) -> Result<Others, LockError> {
    let since = since(context, shard);
    loop {
        let states = shard
            .others()
            .map(|other| Ok((other, state(&context.locks(), other, since)?)));
        let states = states.collect::<Result<Vec<_>, LockError>>()?;
        let waits = states
            .iter()
            .any(|(_, state)| matches!(state, State::AtWork | State::NotBegun));
        if !waits || context.stop.is_late() || context.stop.reached().is_some() {
            return Ok(others(states));
        }
        context.stop.sleep(LOOK_AGAIN);
    }
}

/// Returns a time before which no shard of this run ended: a whole run ago or, if that is later,
/// the end of the last shard's previous run, because that one waited for the others. If it was
/// interrupted, this may be a second try of the same run, for which the others ended before.
fn since(context: &RunContext<'_>, last: Shard) -> DateTime<Utc> {
    let longest =
        chrono::TimeDelta::from_std(context.stop.limit()).unwrap_or(chrono::TimeDelta::days(1));
    let earliest = context
        .now
        .checked_sub_signed(longest)
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    let name = last.to_string();
    // If the journal can't be read, writing this run to it reports that.
    let past = journal::read(&journal::file(&context.policy.volume.state)).unwrap_or_default();
    let previous = past.runs.iter().rfind(|run| {
        run.run.shard.as_ref() == Some(&name) && run.run.outcome != RunOutcome::Interrupted
    });
    previous.map_or(earliest, |run| run.run.finished.max(earliest))
}

/// Returns a shard's state. Its lock file is written when it begins, and when it ends.
fn state(locks: &VolumePath, shard: Shard, since: DateTime<Utc>) -> Result<State, LockError> {
    Ok(match lock::shard(locks, shard)? {
        Seen { held: true, .. } => State::AtWork,
        Seen {
            written: Some(written),
            holder,
            ..
        } if written >= since => holder.map_or(State::Ended, State::Died),
        _ => State::NotBegun,
    })
}

fn others(states: Vec<(Shard, State)>) -> Others {
    let mut others = Others::default();
    for (shard, state) in states {
        match state {
            State::Ended => {}
            State::AtWork => others.at_work.push(format!(
                "shard {shard} was still at work: what it frees counts in the next run"
            )),
            State::Died(holder) => {
                others.missing.push(format!("shard {shard} died without releasing its lock ({holder}): the next run goes on where it was"));
            }
            State::NotBegun => {
                others.missing.push(format!("shard {shard} did not begin: nobody looked after its repos; see why its pod did not start"));
            }
        }
    }
    others
}

/// Surveys the repos of other shards, without a lock and without changing anything, for what is
/// idle there and what their lock files name. A dry run also projects what will be freed there.
pub fn look(context: &RunContext<'_>, repos: &[&policy::Repo]) -> Vec<RepoResult> {
    let only = if context.mode.trash().is_none() {
        context.only
    } else {
        Only {
            evict: true,
            ..Only::NONE
        }
    };
    let (around, borrowers) = (context.around.clone(), context.borrowers.clone());
    let span = context.span.clone();
    let context = RunContext {
        mode: &Mode::DryRun,
        only,
        around,
        borrowers,
        span,
        ..*context
    };
    repos
        .par_iter()
        .map(|repo| context.maintain(repo))
        .collect()
}
