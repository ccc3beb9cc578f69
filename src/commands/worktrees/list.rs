//! `treewarden worktree list`: every worktree, with the verdict that a run would give it now.
//!
//! It changes nothing and takes no lock, so an agent may be at work meanwhile. A repo that can't be
//! read is listed as a failure.

use crate::commands::worktrees::{WorkError, around};
use crate::config::policy::{self, Policy};
use crate::facts::worktree::Worktree as Tree;
use crate::fs::stop::Stop;
use crate::git::shadow::layout;
use crate::git::shadow::{Refusal, Shadow};
use crate::plan::repo::{Only, is_stale, plan};
use crate::plan::worktree::{is_due, shortest};
use crate::report::worktrees::{Listed, Listing, SCHEMA};
use crate::report::{Worktree, rows};
use crate::state::volume;
use crate::survey::context::{Times, VolumeContext};
use crate::survey::repo::RepoSurvey;
use chrono::{DateTime, Utc};

/// Returns the worktrees of a repo, or of all.
///
/// # Errors
/// [`WorkError`]: the volume is not what it should be. A repo that can't be read is among the
/// failures.
pub fn list(
    policy: &Policy,
    repo: Option<&policy::Repo>,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Listing, WorkError> {
    volume::prove(&policy.volume)?;
    let around = around(policy);
    let mut listing = Listing {
        schema: SCHEMA,
        worktrees: Vec::new(),
        failures: Vec::new(),
    };
    for repo in policy
        .repos
        .iter()
        .filter(|listed| repo.is_none_or(|repo| repo.name == listed.name))
    {
        match of(repo, &around, stop, now) {
            Ok(rows) => listing
                .worktrees
                .extend(rows.into_iter().map(|tree| Listed {
                    repo: repo.name.clone(),
                    tree,
                })),
            Err(refusal) => listing.failures.push(format!(
                "failed to list the worktrees of {}: {refusal}",
                repo.name
            )),
        }
    }
    Ok(listing)
}

fn of(
    repo: &policy::Repo,
    around: &VolumeContext,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Vec<Worktree>, Refusal> {
    let shadow = Shadow::of(&layout::find(&repo.place, &repo.assigned)?, stop)?;
    let look_before = shortest(&repo.worktrees)
        .and_then(|age| now.checked_sub_signed(age))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    let times = Times {
        clock: now,
        look_before,
        is_stale,
        killed: None,
    };
    let due = |tree: &Tree| is_due(tree, &repo.worktrees, now);
    let survey = RepoSurvey {
        shadow: &shadow,
        policy: repo,
        times,
        around,
        due: &due,
        stop,
    };
    let facts = survey.all()?;
    let plan = plan(&facts, repo, 0, now).only(Only {
        reap: true,
        ..Only::NONE
    });
    Ok(rows::worktrees(&plan, &facts.unregistered, now))
}
