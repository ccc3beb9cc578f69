//! The plan of a repo's run: which trees are removed, which registrations are dropped, which
//! leftovers are cleared, what is repacked.
//!
//! The guards are here as well: if too much goes missing between two runs, the volume is more
//! likely half mounted than half deleted. A plan names only what was surveyed, in the order of
//! execution. A repo that the busy probe calls busy gets no repack, clearing, drop or expiry.

use super::caps::{self, Unmet};
use super::gc::{Gc, gc};
use super::reason::{GoneAtOnce, KeepReason, PruneRefusal};
use super::rescue::{self, Because};
use super::when;
use super::worktree::{Kept, Verdict, earliest, verdict};
use crate::config::policy::{self, GcStrategy};
use crate::facts::repo::{LeftoverKind, Missing, Repo};
use crate::facts::rescue::Rescue;
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};

/// The registration of a missing tree is dropped if it was unused, and every run found the tree
/// missing, for this long: time to repair a moved tree, and for a mount to come back
/// (`docs/design/worktrees.md#missing-trees`).
pub const PRUNE_GRACE: TimeDelta = TimeDelta::days(3);
/// A lock without a write for this long was left by a crashed git: no git holds one longer than a
/// write (`docs/design/git.md#leftovers`).
pub const STALE_LOCK: TimeDelta = TimeDelta::minutes(15);
/// An `index.lock` is an exception: `git commit -a` holds it while its editor is open. If a process
/// of this machine is in the tree, it is in use. If others may be there unseen (on a network file
/// system, or in another container), it counts as a leftover once it is older than any run; git
/// itself gives up on a `gc.pid` of another machine after 12 hours.
const STALE_UNSEEN: TimeDelta = TimeDelta::hours(24);
/// A pack may take hours to write (`docs/design/git.md#leftovers`).
const STALE_TEMPORARY: TimeDelta = TimeDelta::hours(24);
/// If more trees of a repo than this go missing at once, their registrations stay. So they do if
/// more than half of its trees go missing, and more than one.
const MISSING_AT_ONCE: usize = 5;
/// The same for the whole volume, or one tree in [`SHARE_AROUND`] if that is more.
const MISSING_AROUND: usize = 10;
/// One tree in this many may be missing.
const SHARE_AROUND: usize = 10;

/// What to do with a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every registered tree with its verdict: first those to be removed, longest idle first, then
    /// those that stay, by path.
    pub trees: Vec<(Worktree, Verdict)>,
    /// What `worktrees.max_trees` and `max_bytes` say about those that stay.
    pub over_cap: Option<Unmet>,
    /// Registrations to drop.
    pub drop: Vec<Worktree>,
    /// Admin directories that get a mark, because their tree is missing for the first time.
    pub mark: Vec<(VolumePath, Grace)>,
    /// Admin directories whose mark is removed, because the tree is back.
    pub unmark: Vec<VolumePath>,
    /// Why missing trees keep their registration.
    pub prune_refused: Option<PruneRefusal>,
    /// Rescues that expire, the oldest first.
    pub expire: Vec<(Rescue, Because)>,
    /// When each rescue that stays will expire by its age, the soonest first.
    pub kept_until: Vec<DateTime<Utc>>,
    /// Leftovers of a crashed git to clear.
    pub clear: Vec<VolumePath>,
    /// The repack.
    pub gc: Gc,
}

/// The mark of a missing tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Its registration is dropped when the grace is over.
    Begins,
    /// Too many went missing at once, as when a volume is half mounted: its registration stays
    /// until somebody decides otherwise.
    Refused,
}

/// The parts of a run that were requested (`--only`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Only {
    /// Drop registrations of trees that are gone.
    pub prune: bool,
    /// Clear leftovers and repack.
    pub gc: bool,
    /// Remove stale trees, and expired rescues.
    pub reap: bool,
    /// Evict cache units.
    pub evict: bool,
}

impl Only {
    /// The whole run.
    pub const ALL: Self = Self {
        prune: true,
        gc: true,
        reap: true,
        evict: true,
    };
    /// None of it.
    pub const NONE: Self = Self {
        prune: false,
        gc: false,
        reap: false,
        evict: false,
    };

    /// Checks whether all work on a repo is requested; eviction concerns the volume.
    pub fn all_of_a_repo(self) -> bool {
        self.prune && self.gc && self.reap
    }
}

impl Plan {
    /// Returns the plan without the parts that were not requested.
    #[must_use]
    pub fn only(mut self, only: Only) -> Self {
        if !only.prune {
            (self.drop, self.mark, self.unmark) = (Vec::new(), Vec::new(), Vec::new());
        }
        if !only.gc {
            self.clear.clear();
            self.gc = Gc::none("not asked for");
        }
        if !only.reap {
            self.expire.clear();
            self.over_cap = None;
            for (_, verdict) in &mut self.trees {
                if let Verdict::Reap(work) = verdict {
                    *verdict = Verdict::Keep(Kept {
                        reason: KeepReason::NotAskedFor,
                        work: Some(work.clone()),
                    });
                }
            }
        }
        self
    }
}

/// Decides a repo's run.
pub fn plan(facts: &Repo, policy: &policy::Repo, free_bytes: u64, now: DateTime<Utc>) -> Plan {
    let (trees, over_cap) = judged(facts, policy, now);
    let too_many = too_many_missing(&trees, facts.around);
    let grace = if too_many.is_some() {
        Grace::Refused
    } else {
        Grace::Begins
    };
    let gone = too_many.or_else(|| went_at_once(&trees));
    let prune_refused = gone.map(|gone| PruneRefusal {
        repo: policy.name.clone(),
        gone,
    });
    let mut plan = Plan {
        trees,
        over_cap,
        drop: Vec::new(),
        mark: Vec::new(),
        unmark: Vec::new(),
        prune_refused,
        expire: Vec::new(),
        kept_until: Vec::new(),
        clear: Vec::new(),
        gc: limited(Gc::none("somebody is working here"), facts),
    };
    // A busy repo is left alone: somebody who doesn't know our lock may be at work.
    if facts.busy.is_some() {
        return plan;
    }
    // The grace of a tree that was missing before continues, whatever else went missing since.
    plan.drop = droppable(&plan.trees, now);
    let mark = marked(&plan.trees, newly_missing);
    plan.mark = mark.into_iter().map(|admin| (admin, grace)).collect();
    plan.unmark = marked(&plan.trees, |tree| {
        stands(tree) && tree.missing_since.is_some()
    });
    plan.expire = rescue::expired(&facts.rescues, &policy.worktrees, now);
    plan.kept_until = rescue::kept(&facts.rescues, &policy.worktrees, now);
    let [unindexed, clear] = stale(facts);
    plan.clear = clear;
    plan.gc = gc(&facts.store, policy.gc, free_bytes, now);
    if !plan.expire.is_empty() && policy.gc != GcStrategy::Off {
        plan.gc = plan.gc.prune();
    }
    plan.gc = limited(plan.gc, facts);
    if policy.gc != GcStrategy::Off {
        plan.gc = plan.gc.index(unindexed);
    }
    plan
}

/// Returns the time from which a run removes this tree, by its age or for a cap, if nothing happens
/// in any tree until then; none if it never does. The tree may have other facts than in `facts`.
pub fn goes_from(
    facts: &Repo,
    policy: &policy::Repo,
    tree: &Worktree,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let busy = facts.busy.as_deref();
    let by_age = super::worktree::goes_from(tree, &policy.worktrees, busy, now);
    let rules = &policy.worktrees;
    if rules.max_trees.is_none() && rules.max_bytes.is_none() {
        return by_age;
    }
    // No cap takes it before.
    let from = super::worktree::goes_from(tree, &earliest(rules), busy, now)?;
    let mut facts = facts.clone();
    let own = facts.worktrees.iter_mut();
    own.filter(|known| known.admin == tree.admin)
        .for_each(|known| *known = tree.clone());
    let goes = |then| {
        let (trees, _) = judged(&facts, policy, then);
        let mut own = trees.iter().filter(|(known, _)| known.admin == tree.admin);
        own.any(|(_, verdict)| matches!(verdict, Verdict::Reap(_)))
    };
    when::first_hour(from, by_age, goes).or(by_age)
}

/// Returns every tree with its verdict, in the order of [`Plan::trees`], and [`Plan::over_cap`].
fn judged(
    facts: &Repo,
    policy: &policy::Repo,
    now: DateTime<Utc>,
) -> (Vec<(Worktree, Verdict)>, Option<Unmet>) {
    let busy = facts.busy.as_deref();
    let judge = |tree: &Worktree| (tree.clone(), verdict(tree, &policy.worktrees, busy, now));
    let mut trees: Vec<_> = facts.worktrees.iter().map(judge).collect();
    let over_cap = caps::take(&mut trees, &policy.worktrees, busy, now);
    trees.sort_by_key(|(tree, verdict)| match verdict {
        Verdict::Reap(_) => (0, Some(tree.active)),
        _ => (1, None),
    });
    (trees, over_cap)
}

/// Returns what crashed gits left: packs that need an index, and everything else.
fn stale(facts: &Repo) -> [Vec<VolumePath>; 2] {
    let stale = facts.leftovers.iter().filter(|leftover| {
        let age = TimeDelta::from_std(leftover.age).unwrap_or(TimeDelta::MAX);
        is_stale(leftover.kind, age)
    });
    let (unindexed, clear): (Vec<_>, Vec<_>) =
        stale.partition(|leftover| leftover.kind == LeftoverKind::PackWithoutIndex);
    [unindexed, clear].map(|files| files.into_iter().map(|file| file.place.clone()).collect())
}

/// Limits a repack to what the repo's trees and borrowers allow it to drop.
fn limited(gc: Gc, facts: &Repo) -> Gc {
    match unreadable(facts) {
        Some(id) => gc.gently(&format!(
            "the registration of worktree {id} can't be read; fix it with `git worktree repair`"
        )),
        None => facts
            .lends
            .iter()
            .fold(gc, |gc, why| gc.keep_unreachable(why)),
    }
}

/// Returns the id of a registration that can't be read. Git skips it as well, so a repack would
/// drop what its tree needs.
fn unreadable(facts: &Repo) -> Option<&str> {
    facts
        .worktrees
        .iter()
        .find(|tree| tree.path == tree.admin.path())
        .map(|tree| tree.id.as_str())
}

/// Returns the trees that went missing since the last run, if too many did in the repo or on the
/// volume. Trees that an earlier run moved to the trash don't count.
fn too_many_missing(trees: &[(Worktree, Verdict)], around: Missing) -> Option<GoneAtOnce> {
    // A clone is never missing: it is known only by its place.
    let registered = trees.iter().filter(|(tree, _)| tree.clone_of.is_none());
    let many = |so: fn(&Worktree) -> bool| registered.clone().filter(|(tree, _)| so(tree)).count();
    let here = Missing {
        missing: many(newly_missing),
        of: many(|tree| !missing(tree) || newly_missing(tree)),
    };
    if implausible(here, MISSING_AT_ONCE) {
        Some(GoneAtOnce::Here(here))
    } else if here.missing > 0 && implausible(around, MISSING_AROUND.max(around.of / SHARE_AROUND))
    {
        Some(GoneAtOnce::Around(around))
    } else {
        None
    }
}

/// Returns those that went missing at once in earlier runs and are still registered.
fn went_at_once(trees: &[(Worktree, Verdict)]) -> Option<GoneAtOnce> {
    let gone = trees
        .iter()
        .map(|(tree, _)| tree)
        .filter(|tree| missing(tree) && tree.missing_at_once);
    let since: Vec<DateTime<Utc>> = gone.filter_map(|tree| tree.missing_since).collect();
    let first = since.iter().min()?;
    Some(GoneAtOnce::Earlier(since.len(), *first))
}

fn implausible(Missing { missing, of }: Missing, most: usize) -> bool {
    missing > most || (missing > 1 && missing.saturating_mul(2) > of)
}

fn missing(tree: &Worktree) -> bool {
    matches!(tree.state, State::Missing { trashed: false, .. })
}

fn newly_missing(tree: &Worktree) -> bool {
    missing(tree) && tree.missing_since.is_none()
}

fn stands(tree: &Worktree) -> bool {
    matches!(tree.state, State::NotInspected | State::Inspected(_))
}

fn marked(trees: &[(Worktree, Verdict)], wanted: impl Fn(&Worktree) -> bool) -> Vec<VolumePath> {
    trees
        .iter()
        .filter(|(tree, _)| wanted(tree))
        .map(|(tree, _)| tree.admin.clone())
        .collect()
}

fn droppable(trees: &[(Worktree, Verdict)], now: DateTime<Utc>) -> Vec<Worktree> {
    // A rebase under way keeps work in the admin directory that no ref names.
    let let_be = |tree: &Worktree| tree.locked.is_some() || !tree.in_progress.is_empty();
    let over = |since: DateTime<Utc>| now.signed_duration_since(since) > PRUNE_GRACE;
    let due = |tree: &Worktree| match tree.state {
        State::Missing { trashed, .. } => {
            trashed
                || (!let_be(tree)
                    && !tree.missing_at_once
                    && over(tree.active)
                    && tree.missing_since.is_some_and(over))
        }
        _ => false,
    };
    trees
        .iter()
        .map(|(tree, _)| tree)
        .filter(|tree| due(tree))
        .cloned()
        .collect()
}

/// Checks whether a file without a write for this long was left by a crashed git.
pub fn is_stale(kind: LeftoverKind, age: TimeDelta) -> bool {
    age > match kind {
        LeftoverKind::Lock => STALE_LOCK,
        // We hold the repo's lock, so its owner is dead, however young it is.
        LeftoverKind::OwnLock => return true,
        LeftoverKind::HeldLock => return false,
        LeftoverKind::UnseenLock => STALE_UNSEEN,
        LeftoverKind::Temporary | LeftoverKind::PackWithoutIndex => STALE_TEMPORARY,
    }
}

#[cfg(test)]
pub(super) mod tests;
