//! What the eviction needs to know of a repo: which trees are idle, what their lock files name, and
//! what is freed anyway.

use crate::config::policy;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::locks::Locks;
use crate::facts::rescue::Rescue;
use crate::facts::worktree::{Contents, LockFile, State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::plan::gc::PRUNED_AFTER;
use crate::plan::reason::KeepReason;
use crate::plan::repo::Plan;
use crate::plan::worktree::Verdict;
use crate::survey;
use crate::survey::lockfiles::{self, Known, Live};
use crate::survey::repo::RepoSurvey;
use chrono::{DateTime, Utc};
use std::path::PathBuf;

/// Returns the surveyed trees that nobody is working in and the config doesn't spare, by their path. Due trees are among them:
/// their rows show whether they were removed.
pub(super) fn idle(repo: &policy::Repo, plan: &Plan) -> Vec<(PathBuf, IdleTree)> {
    let idle = plan
        .trees
        .iter()
        .filter_map(|(tree, verdict)| match (verdict, &tree.state) {
            (Verdict::Keep(kept), State::Inspected(_))
                if matches!(kept.reason, KeepReason::Busy(_) | KeepReason::Spared(_)) =>
            {
                None
            }
            (Verdict::Keep(_) | Verdict::Reap(_), State::Inspected(contents)) => {
                Some((tree, contents.as_ref()))
            }
            _ => None,
        });
    let facts = |(tree, contents): (&Worktree, &Contents)| {
        let (admin, regenerable, made_again) = (
            tree.admin.path(),
            contents.regenerable.clone(),
            tree.made_again.clone(),
        );
        let place = contents.place.clone()?;
        Some((
            tree.path.clone(),
            IdleTree {
                repo: repo.name.clone(),
                place,
                admin,
                active: tree.active,
                made_again,
                regenerable,
            },
        ))
    };
    idle.filter_map(facts).collect()
}

/// Returns the size of what is pruned with expired rescues, before any eviction.
pub(super) fn expiring(shadow: &Shadow, plan: &Plan, now: DateTime<Utc>) -> Size {
    let rescues: Vec<&Rescue> = plan
        .expire
        .iter()
        .map(|(rescue, _)| rescue)
        .filter(|_| plan.gc.drops_objects())
        .collect();
    let Some(repo) = shadow.open().ok().filter(|_| !rescues.is_empty()) else {
        return Size::default();
    };
    let before = now
        .checked_sub_signed(PRUNED_AFTER)
        .unwrap_or(DateTime::<Utc>::MIN_UTC);
    survey::rescues::prunable(&repo, shadow.git_dir(), &rescues, before)
}

/// Returns what the lock files of the default branch, the checkout and all trees name, due trees
/// included. None if git2 fails or the run is to stop: then what the last survey saw still counts.
pub(super) fn look(survey: &RepoSurvey<'_>, plan: &Plan, known: &Known<'_>) -> Option<Locks> {
    let RepoSurvey {
        shadow,
        policy: repo,
        stop,
        ..
    } = *survey;
    let stands = |(tree, verdict): &&(Worktree, Verdict)| {
        !matches!(verdict, Verdict::Missing) && !plan.drop.contains(tree)
    };
    let place = |tree: &Worktree| VolumePath::new(repo.place.root(), &tree.path).ok();
    let places: Vec<(VolumePath, &Worktree)> = plan
        .trees
        .iter()
        .filter(stands)
        .filter_map(|(tree, _)| Some((place(tree)?, tree)))
        .collect();
    let mut trees = vec![Live {
        place: &repo.place,
        admin: shadow.git_dir(),
        looked: None,
    }];
    trees.extend(places.iter().map(|(place, tree)| Live {
        place,
        admin: &tree.admin,
        looked: lock_files(tree),
    }));
    let worked = plan.trees.iter().map(|(tree, _)| tree.active).max();
    let locks = Locks {
        worked,
        ..lockfiles::survey(&shadow.open().ok()?, &trees, known, stop)
    };
    stop.reached().is_none().then_some(locks)
}

fn lock_files(tree: &Worktree) -> Option<&[LockFile]> {
    match &tree.state {
        State::Inspected(contents) => Some(&contents.lock_files),
        _ => None,
    }
}
