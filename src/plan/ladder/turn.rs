//! When one thing would go under pressure, and on which rung: what a command that only reports says
//! before it happens. It asks the rules of the ladder for later times, so the two can't disagree.

use super::{Rung, before_their_age};
use crate::config::policy::{Age, Cache, Eviction, Worktrees};
use crate::facts::cache::Unit;
use crate::facts::worktree::{State, Worktree};
use crate::plan::class::Class;
use crate::plan::reason::KeepReason;
use crate::plan::worktree::{Kept, Verdict, goes_from, shortest, verdict, work};
use crate::plan::{evict, when};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// When something would go, if the ladder were climbed that far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// On this rung, and not before this time.
    From(Rung, DateTime<Utc>),
    /// On no rung, and why.
    Never(String),
}

/// The rules that a turn follows from.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The rules of the tree's repo.
    pub worktrees: &'a Worktrees,
    /// Why the repo is busy, by its busy probe.
    pub busy: Option<&'a str>,
    /// The config's caches.
    pub caches: &'a [Cache],
    /// The rules of the eviction.
    pub eviction: &'a Eviction,
    /// The time.
    pub now: DateTime<Utc>,
}

impl Rules<'_> {
    /// Returns the turn of a worktree; none if it isn't there, or was not inspected.
    pub fn tree(&self, tree: &Worktree) -> Option<Turn> {
        let never = |why: &str| Some(Turn::Never(why.to_owned()));
        match work(tree).map(|work| work.class) {
            Some(Class::Unsaved) => return never("unsaved work is never on the ladder"),
            Some(Class::Fresh) => {
                return never("a fresh worktree is never on the ladder: somebody is to work in it");
            }
            _ => {}
        }
        let Some(min_idle) = min_idle(self.eviction) else {
            return never("`eviction.critical.min_idle` is `never`");
        };
        let early = before_their_age(self.worktrees, min_idle);
        if let Some(from) = goes_from(tree, &early, self.busy, self.now) {
            return Some(Turn::From(Rung::Worktrees, from));
        }
        match verdict(tree, &early, self.busy, self.now) {
            Verdict::Keep(Kept { reason, .. }) => match reason {
                KeepReason::TooYoung => None,
                reason => Some(Turn::Never(reason.to_string())),
            },
            Verdict::Unknown(_) => never("what is unknown is kept"),
            Verdict::Missing | Verdict::Reap(_) => None,
        }
    }

    /// Returns the turn of a tree's build output; none if it has none, or was not inspected.
    pub fn output(&self, tree: &Worktree) -> Option<Turn> {
        let State::Inspected(contents) = &tree.state else {
            return None;
        };
        if contents.regenerable.is_empty() {
            return None;
        }
        let mut caches = self.caches.iter();
        let Some(cache) = caches.find(|cache| cache.place.is_none()) else {
            let why = "the config has no cache of kind `build-output`";
            return Some(Turn::Never(why.to_owned()));
        };
        if let Verdict::Keep(Kept { reason, .. }) =
            verdict(tree, self.worktrees, self.busy, self.now)
            && keeps_output(&reason)
        {
            return Some(Turn::Never(reason.to_string()));
        }
        // A run looks into a tree only once it may go by any class.
        let looked = shortest(self.worktrees).and_then(|age| age.to_std().ok());
        let ages = [
            (Rung::Caches, looked.map(|age| age.max(cache.min_age))),
            (Rung::BuildOutput, min_idle(self.eviction)),
        ];
        let from = ages.map(|(rung, age)| Some((after(tree.active, age?)?.max(self.now), rung)));
        first(from).or_else(|| Some(Turn::Never("no age lets it go".to_owned())))
    }
}

/// Returns the turn of a cache's unit.
pub fn of_unit(unit: &Unit, eviction: &Eviction, now: DateTime<Utc>) -> Turn {
    let held = |then| evict::held_back(unit, eviction.in_use, then);
    let caches = when::first(now, |then| held(then).is_none());
    let output = unit.tree.as_ref().and_then(|_| {
        let from = after(unit.last_used, min_idle(eviction)?)?;
        Some((from.max(now), Rung::BuildOutput))
    });
    let caches = caches.map(|from| (from, Rung::Caches));
    let why = || held(now).map_or_else(String::new, |hold| hold.to_string());
    first([caches, output]).unwrap_or_else(|| Turn::Never(why()))
}

/// Returns the earliest turn; the lower rung, if two come at once.
fn first(turns: [Option<(DateTime<Utc>, Rung)>; 2]) -> Option<Turn> {
    let first = turns.into_iter().flatten().min();
    first.map(|(from, rung)| Turn::From(rung, from))
}

fn min_idle(eviction: &Eviction) -> Option<Duration> {
    match eviction.min_idle {
        Age::After(min_idle) => Some(min_idle),
        Age::Never => None,
    }
}

/// Returns whether a tree's build output stays for this reason, too: somebody may be at work in it,
/// or wants all of it kept.
fn keeps_output(reason: &KeepReason) -> bool {
    match reason {
        KeepReason::Locked(_)
        | KeepReason::LockedByDeadProcess { .. }
        | KeepReason::InProgress(_)
        | KeepReason::InUse(_)
        | KeepReason::Busy(_)
        | KeepReason::Spared(_)
        | KeepReason::InTheFuture(_) => true,
        KeepReason::TooYoung
        | KeepReason::CannotBeRescued(_)
        | KeepReason::Recent(..)
        | KeepReason::SwitchedOff(_)
        | KeepReason::NotAskedFor => false,
    }
}

fn after(from: DateTime<Utc>, age: Duration) -> Option<DateTime<Utc>> {
    from.checked_add_signed(TimeDelta::from_std(age).ok()?)
}
