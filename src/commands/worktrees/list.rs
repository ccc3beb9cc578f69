//! `treewarden worktree list`: every worktree, with the verdict that a run would give it now, its
//! size, and when it goes.
//!
//! It changes nothing and takes no lock, so an agent may be at work meanwhile. A repo that can't be
//! read is listed as a failure.

use crate::commands::pressure;
use crate::commands::worktrees::WorkError;
use crate::config::policy::{self, Policy};
use crate::facts::worktree::Worktree as Tree;
use crate::fs::stop::Stop;
use crate::plan::fair;
use crate::plan::worktree::{Verdict, Work, goes_from, work};
use crate::report::worktrees::{Listed, Listing, SCHEMA};
use crate::report::{ReasonName, TreeOutcome, VerdictName, rows};
use crate::run::inspect::{Found, Inspected, InspectedRepo, Wanted, inspect};
use crate::state::volume;
use crate::survey::context::Explained;
use crate::survey::processes::Processes;
use chrono::{DateTime, Utc};

/// Which worktrees are listed, and how.
pub struct ListRequest<'a> {
    /// The repo; none for all.
    pub repo: Option<&'a policy::Repo>,
    /// Look no closer than a run: the class of young trees, all sizes, and some dates stay unknown.
    pub quick: bool,
}

/// Returns the worktrees of a repo, or of all.
///
/// # Errors
/// [`WorkError`]: the volume is not what it should be. A repo that can't be read is among the
/// failures.
pub fn list(
    policy: &Policy,
    request: &ListRequest<'_>,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Listing, WorkError> {
    volume::prove(&policy.volume)?;
    let repos: Vec<&policy::Repo> = match request.repo {
        Some(one) => vec![one],
        None => policy.repos.iter().collect(),
    };
    let wanted = Wanted {
        repos: repos.clone(),
        explained: if request.quick {
            Explained::None
        } else {
            Explained::All
        },
        measured: !request.quick,
        processes: Processes::default(),
    };
    let Inspected { repos: found, .. } =
        inspect(policy, &wanted, stop, now).map_err(WorkError::Refused)?;
    let mut listing = Listing {
        schema: SCHEMA,
        at: now,
        repos: repos.iter().map(|repo| repo.name.clone()).collect(),
        worktrees: Vec::new(),
        failures: Vec::new(),
    };
    let limit = fair::most_of_one(found.iter().map(due), policy.run.max_reaped);
    for (repo, inspected) in repos.into_iter().zip(found) {
        let held = due(&inspected) > limit;
        match inspected.found {
            Ok(found) => {
                let mut rows = rows_of(policy, (repo, &found), now);
                if held {
                    rows.iter_mut().for_each(hold_back);
                }
                listing.worktrees.extend(rows);
            }
            Err(why) => listing.failures.push(format!(
                "failed to list the worktrees of {}: {why}",
                repo.name
            )),
        }
    }
    Ok(listing)
}

/// Returns how many of a repo's trees are due.
fn due(repo: &InspectedRepo) -> usize {
    let trees = repo.found.iter().flat_map(|found| &found.plan.trees);
    trees
        .filter(|(_, verdict)| matches!(verdict, Verdict::Reap(_)))
        .count()
}

/// Keeps a due tree back, as a run does if too many are due at once. If only one repo is listed,
/// that is known only if it has too many by itself.
fn hold_back(listed: &mut Listed) {
    if listed.tree.verdict == VerdictName::Reap {
        listed.goes_at = None;
        listed.tree.outcome = TreeOutcome::Kept;
        listed.tree.because = ReasonName::TooManyAtOnce;
        listed.tree.reasons.insert(0, fair::TOO_MANY.to_owned());
    }
}

/// Returns a row for each registered tree, then for each unregistered directory.
fn rows_of(
    policy: &Policy,
    (repo, found): (&policy::Repo, &Found),
    now: DateTime<Utc>,
) -> Vec<Listed> {
    let registered = found.plan.trees.iter().map(|(tree, verdict)| Listed {
        repo: repo.name.clone(),
        size_bytes: found.sizes.get(&tree.path).map(|size| size.bytes),
        goes_at: goes_at(repo, found, (tree, verdict), now),
        under_pressure: pressure::tree(policy, (repo, found), tree, now),
        tree: crate::report::Worktree {
            class: work(tree).as_ref().map(|Work { class, .. }| *class),
            ..rows::worktree(tree, verdict, now)
        },
    });
    let directories = rows::unregistered(&found.facts.unregistered);
    let directories = directories.map(|tree| Listed {
        repo: repo.name.clone(),
        size_bytes: None,
        goes_at: None,
        under_pressure: pressure::never(pressure::DIRECTORY),
        tree,
    });
    registered.chain(directories).collect()
}

/// Returns from when a run removes a tree, or drops the registration of a missing one; none if that
/// is unknown, or never.
fn goes_at(
    repo: &policy::Repo,
    found: &Found,
    (tree, verdict): (&Tree, &Verdict),
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match verdict {
        Verdict::Reap(_) => Some(now),
        Verdict::Missing => found.plan.drop.contains(tree).then_some(now),
        _ => goes_from(tree, &repo.worktrees, found.facts.busy.as_deref(), now),
    }
}
