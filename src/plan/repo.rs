//! A repo's night: which trees go, which registrations are dropped, which leftovers are cleared, what is repacked.
//!
//! The guards stand here as well: when too much is missing at once, the volume is more likely half mounted than half deleted. A plan
//! names only what was seen, and in the order in which it is to be done.

use super::gc::{Gc, gc};
use super::worktree::{Verdict, plural, verdict};
use crate::config::policy;
use crate::facts::repo::{LeftoverKind, Repo};
use crate::facts::worktree::{State, Worktree};
use crate::inside::Inside;
use chrono::{DateTime, TimeDelta, Utc};

/// A registration whose tree is gone is dropped when nobody used it for this long: time for a moved tree to be repaired.
pub const PRUNE_GRACE: TimeDelta = TimeDelta::days(3);
/// A lock that nobody wrote to for this long is a dead git's (`git.md`): no git holds one longer than a write.
pub const STALE_LOCK: TimeDelta = TimeDelta::minutes(15);
/// A pack may take hours to write (`git.md`).
const STALE_TEMPORARY: TimeDelta = TimeDelta::hours(24);
/// More missing trees than this at once are refused; so are more than half of a repo's, when that is more than one.
const MISSING_AT_ONCE: usize = 5;

/// What is to be done to a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every registered tree with its verdict: those that go first, longest idle first, then those that stay, by path.
    pub trees: Vec<(Worktree, Verdict)>,
    /// Registrations to drop.
    pub drop: Vec<Worktree>,
    /// Why missing trees keep their registration.
    pub prune_refused: Option<String>,
    /// Files of a dead git to clear.
    pub clear: Vec<Inside>,
    /// The repack.
    pub gc: Gc,
}

/// Decides a repo's night.
pub fn plan(facts: Repo, policy: &policy::Repo, free_bytes: u64, now: DateTime<Utc>) -> Plan {
    let busy = facts.busy.as_deref();
    let mut trees: Vec<_> =
        facts.worktrees.into_iter().map(|tree| (verdict(&tree, &policy.worktrees, busy, now), tree)).map(|(v, t)| (t, v)).collect();
    trees.sort_by_key(|(tree, verdict)| match verdict {
        Verdict::Reap { .. } => (0, Some(tree.active)),
        _ => (1, None),
    });
    let prune_refused = too_many_missing(&trees);
    let drop = if prune_refused.is_some() || busy.is_some() { Vec::new() } else { droppable(&trees, now) };
    let clear = facts.leftovers.into_iter().filter(|leftover| stale(leftover.kind, leftover.age)).map(|leftover| leftover.place).collect();
    Plan { trees, drop, prune_refused, clear, gc: gc(&facts.store, policy.gc, free_bytes, now) }
}

/// A mass of missing trees, not counting those that an earlier night took to the trash itself.
fn too_many_missing(trees: &[(Worktree, Verdict)]) -> Option<String> {
    let missing = trees.iter().filter(|(tree, _)| matches!(tree.state, State::Missing { trashed: false, .. })).count();
    let half = missing > 1 && missing * 2 > trees.len();
    (missing > MISSING_AT_ONCE || half).then(|| {
        format!(
            "{} of {} are missing at once: is the volume mounted whole? If they were deleted on purpose, run `git worktree prune` in the repo",
            plural(missing, "tree"),
            trees.len()
        )
    })
}

fn droppable(trees: &[(Worktree, Verdict)], now: DateTime<Utc>) -> Vec<Worktree> {
    let due = |tree: &Worktree| match tree.state {
        State::Missing { trashed, .. } => trashed || (tree.locked.is_none() && now - tree.active > PRUNE_GRACE),
        _ => false,
    };
    trees.iter().map(|(tree, _)| tree).filter(|tree| due(tree)).cloned().collect()
}

fn stale(kind: LeftoverKind, age: std::time::Duration) -> bool {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    age > match kind {
        LeftoverKind::Lock => STALE_LOCK,
        LeftoverKind::Temporary => STALE_TEMPORARY,
    }
}
