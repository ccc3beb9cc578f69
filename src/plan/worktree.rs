//! A worktree's verdict: the one function that decides its fate, for the dry run and the real run
//! alike.
//!
//! Any doubt keeps the tree (`docs/design/worktrees.md#the-verdict`). A path's name and the root
//! directory's write time don't count: deep edits don't touch it.

pub use super::class::Class;
use super::reason::{KeepReason, Obstacle, ReapReason};
use super::when;
use crate::config::policy::{Age, Worktrees};
use crate::facts::worktree::{Contents, DeadLock, State, Worktree};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use std::time::Duration;

/// The fate of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Kept),
    /// It is removed; an unsaved one is rescued first.
    Reap(Work),
    /// Its state is unknown: it stays.
    Unknown(String),
    /// There is no tree, only a registration, and pruning decides about that.
    Missing,
}

/// Why a tree stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The decisive reason.
    pub reason: KeepReason,
    /// Its work, if that was classified.
    pub work: Option<Work>,
}

/// What a tree's work is known to be, and the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Its class.
    pub class: Class,
    /// The decisive reason.
    pub reason: ReapReason,
    /// Further evidence.
    pub besides: Vec<ReapReason>,
}

impl Kept {
    /// Returns why, in words; the decisive reason comes first.
    pub fn sentences(&self) -> Vec<String> {
        // If reaping was not asked for, the state of the work says more than that.
        let decisive = (self.reason != KeepReason::NotAskedFor).then(|| self.reason.to_string());
        let work = self.work.iter().flat_map(Work::sentences);
        decisive.into_iter().chain(work).collect()
    }
}

impl Work {
    /// Returns why, in words; the decisive reason comes first.
    pub fn sentences(&self) -> Vec<String> {
        std::iter::once(&self.reason)
            .chain(&self.besides)
            .map(ToString::to_string)
            .collect()
    }
}

/// Decides on a worktree.
///
/// | what was found | verdict |
/// | --- | --- |
/// | something could not be read, or isn't what it should be | unknown |
/// | `worktrees.keep` names it | keep |
/// | `git worktree lock`, whatever the reason; an operation under way | keep |
/// | a lock by a dead process of this machine | keep until idle for `dead_locks` (default: never) |
/// | the repo is busy, by its busy probe | keep |
/// | a process of this machine is in it, or has a file of it open | keep |
/// | last active in the future, by more than clocks differ | keep, and say so |
/// | it contains what a rescue can't; it needs a rescue, which can't contain its index | keep |
/// | it needs a rescue, and a file can't be read, or the files are more than `rescue_max` | keep |
/// | active within its class's age, or the class is switched off | keep |
/// | else | reap |
///
/// | its class | what was found |
/// | --- | --- |
/// | unsaved | files that HEAD can't restore; commits that only it reaches; a stash on its branch |
/// | fresh | none of that, and no reflog of it records a commit |
/// | landed | none of that, and HEAD is in a default branch upstream |
/// | saved | else |
pub fn verdict(
    tree: &Worktree,
    policy: &Worktrees,
    busy: Option<&str>,
    now: DateTime<Utc>,
) -> Verdict {
    let keep = |reason| Verdict::Keep(Kept { reason, work: None });
    let contents = match &tree.state {
        State::Unknown(cause) | State::Unreadable(cause) => return Verdict::Unknown(cause.clone()),
        State::Missing { .. } => return Verdict::Missing,
        State::NotInspected => None,
        State::Inspected(contents) => Some(contents),
    };
    if let Some(glob) = spared_by(tree, policy) {
        return Verdict::Keep(Kept {
            reason: KeepReason::Spared(glob.to_owned()),
            work: contents.map(|contents| classify(tree, contents)),
        });
    }
    if let Some(reason) = locked(tree, policy, now) {
        return keep(reason);
    }
    if !tree.in_progress.is_empty() {
        return keep(KeepReason::InProgress(tree.in_progress.clone()));
    }
    if let Some(why) = busy {
        return keep(KeepReason::Busy(why.to_owned()));
    }
    if let Some(who) = &tree.in_use {
        return keep(KeepReason::InUse(who.clone()));
    }
    if tree.active.signed_duration_since(now) > SKEW {
        return keep(KeepReason::InTheFuture(tree.active));
    }
    contents.map_or_else(
        || keep(KeepReason::TooYoung),
        |contents| looked(tree, contents, policy, now),
    )
}

/// Trees that were active since so long ago are never removed for a cap: the age of landed trees,
/// whatever the config says.
const CAP_FLOOR: Duration = Duration::from_hours(24);

/// Returns the rules by which a tree may go in this run at all: a cap takes landed and saved trees
/// before their age, except for classes that are switched off. Without a cap, these are the rules
/// themselves.
pub fn earliest(policy: &Worktrees) -> Worktrees {
    let capped = policy.max_trees.is_some() || policy.max_bytes.is_some();
    let early = |age: Age| match age {
        Age::After(age) if capped => Age::After(age.min(CAP_FLOOR)),
        age => age,
    };
    Worktrees {
        landed: early(policy.landed),
        saved: early(policy.saved),
        ..policy.clone()
    }
}

/// Returns the shortest age at which any tree is removed: younger ones need no inspection.
pub fn shortest(policy: &Worktrees) -> Option<TimeDelta> {
    let policy = earliest(policy);
    [policy.landed, policy.saved, policy.unsaved, policy.fresh]
        .into_iter()
        .filter_map(delta)
        .min()
}

/// Checks whether a tree may go by its survey, if nobody is busy in it: then all of it must be
/// inspected before anything is decided.
pub fn is_due(tree: &Worktree, policy: &Worktrees, now: DateTime<Utc>) -> bool {
    matches!(
        verdict(tree, &earliest(policy), None, now),
        Verdict::Reap(_)
    )
}

/// Returns what the tree's work is; none if it wasn't inspected.
pub fn work(tree: &Worktree) -> Option<Work> {
    match &tree.state {
        State::Inspected(contents) => Some(classify(tree, contents)),
        _ => None,
    }
}

/// Returns the time from which a run removes the tree, if nothing happens in it until then; none if
/// it never does.
pub fn goes_from(
    tree: &Worktree,
    policy: &Worktrees,
    busy: Option<&str>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let goes = |then| matches!(verdict(tree, policy, busy, then), Verdict::Reap(_));
    when::first(now, goes)
}

/// Returns the same for a tree that stays. One that is too young to be inspected has no class yet,
/// so this is the earliest time at which it could go. Two runs that find the same say the same.
pub fn may_go_from(
    tree: &Worktree,
    policy: &Worktrees,
    busy: Option<&str>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let now = now.trunc_subsecs(0);
    match verdict(tree, policy, busy, now) {
        Verdict::Keep(Kept {
            reason: KeepReason::TooYoung,
            ..
        }) => {
            let from = tree.active.checked_add_signed(shortest(policy)?)?;
            Some(from.max(now))
        }
        Verdict::Keep(_) => goes_from(tree, policy, busy, now),
        _ => None,
    }
}

/// Files that a reason names.
const NAMED: usize = 5;
/// How far the clocks of machines may differ.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// Returns the glob of `worktrees.keep` that names the tree.
fn spared_by<'a>(tree: &Worktree, policy: &'a Worktrees) -> Option<&'a str> {
    let place = tree.path.strip_prefix(tree.admin.root()).ok()?;
    policy.keep.names(place, tree.branch.as_deref())
}

/// Returns why a lock keeps the tree; none if it isn't locked, or the lock no longer counts.
fn locked(tree: &Worktree, policy: &Worktrees, now: DateTime<Utc>) -> Option<KeepReason> {
    let reason = tree.locked.clone()?;
    let Some(DeadLock { pid, since }) = tree.dead_lock else {
        return Some(KeepReason::Locked(reason));
    };
    let idle = now.signed_duration_since(since.max(tree.active));
    let holds_for = delta(policy.dead_locks);
    (holds_for.is_none_or(|age| idle < age)).then(|| KeepReason::LockedByDeadProcess {
        reason,
        pid,
        idle: idle.max(TimeDelta::zero()),
        holds_for,
    })
}

fn looked(tree: &Worktree, contents: &Contents, policy: &Worktrees, now: DateTime<Utc>) -> Verdict {
    let mut work = classify(tree, contents);
    let class = work.class;
    let age = match class {
        Class::Landed => policy.landed,
        Class::Saved => policy.saved,
        Class::Unsaved => policy.unsaved,
        Class::Fresh => policy.fresh,
    };
    let reason = match (obstacle(class, contents, policy), delta(age)) {
        (Some(obstacle), _) => KeepReason::CannotBeRescued(obstacle),
        (None, None) => KeepReason::SwitchedOff(class),
        (None, Some(age)) if now.signed_duration_since(tree.active) < age => {
            KeepReason::Recent(class, age)
        }
        (None, Some(_)) => {
            let lock = tree.dead_lock.zip(delta(policy.dead_locks));
            let ended = lock
                .map(|(DeadLock { pid, .. }, held_for)| ReapReason::LockEnded { pid, held_for });
            work.besides.extend(ended);
            return Verdict::Reap(work);
        }
    };
    Verdict::Keep(Kept {
        reason,
        work: Some(work),
    })
}

/// Returns why a rescue would fail, as far as can be known without making one.
fn obstacle(class: Class, contents: &Contents, policy: &Worktrees) -> Option<Obstacle> {
    let (bytes, most) = (contents.rescue.bytes, policy.rescue_max);
    if !contents.blockers.is_empty() {
        Some(Obstacle::Contents(contents.blockers.clone()))
    } else if class != Class::Unsaved {
        None
    } else if let Some(why) = &contents.unholdable_index {
        Some(Obstacle::Index(why.clone()))
    } else if let Some(file) = &contents.unreadable {
        Some(Obstacle::Unreadable(file.clone()))
    } else {
        (bytes > most).then_some(Obstacle::TooLarge { bytes, most })
    }
}

fn classify(tree: &Worktree, contents: &Contents) -> Work {
    let uncommitted = (contents.dirty_count > 0).then(|| ReapReason::Uncommitted {
        named: contents.dirty.iter().take(NAMED).cloned().collect(),
        count: contents.dirty_count,
    });
    let unreached = contents.unreached.len();
    let commits = (unreached > 0).then_some(match tree.clone_of {
        Some(_) => ReapReason::NotInCheckout(unreached),
        None => ReapReason::UnsavedCommits(unreached),
    });
    let stash = contents.stashed.then_some(ReapReason::Stash);
    let mut unsaved = [uncommitted, commits, stash].into_iter().flatten();
    if let Some(reason) = unsaved.next() {
        return Work {
            class: Class::Unsaved,
            reason,
            besides: unsaved.collect(),
        };
    }
    let (class, reason) = if !tree.worked_in && tree.head.is_some() {
        (Class::Fresh, ReapReason::NoCommitYet)
    } else if let Some(landed) = contents.landed {
        (Class::Landed, ReapReason::Landed(landed))
    } else {
        (Class::Saved, ReapReason::Saved)
    };
    let unsure = class == Class::Saved && contents.no_default_branch;
    Work {
        class,
        reason,
        besides: unsure
            .then_some(ReapReason::NoDefaultBranch)
            .into_iter()
            .collect(),
    }
}

fn delta(age: Age) -> Option<TimeDelta> {
    match age {
        Age::After(age) => Some(TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)),
        Age::Never => None,
    }
}

#[cfg(test)]
mod tests;
