//! The report's rows, from the survey and the plan of a repo. Unknown values stay unknown, and
//! failures keep their text.

use super::{
    CouldGo, Counts, Eviction, Expired, Gc, HeldUnits, Prune, ReasonName, Rescues, TreeKind,
    TreeOutcome, Unit, UnitOutcome, VerdictName, Worktree,
};
use crate::facts::cache::{self, Size};
use crate::facts::repo::Store;
use crate::facts::rescue::Rescue;
use crate::facts::worktree::{self, Unregistered, UnregisteredKind};
use crate::fs::volume_path::VolumePath;
use crate::plan::evict;
use crate::plan::repo::Plan;
use crate::plan::worktree::{Verdict, Work};
use chrono::{DateTime, Utc};

/// Returns a row for each tree of the plan that isn't dropped, in its order, then for each
/// unregistered directory. Trees that are to be removed are `Planned`; `goes_at` says when each of
/// the others may go.
pub fn worktrees(
    plan: &Plan,
    unregistered: &[Unregistered],
    now: DateTime<Utc>,
    goes_at: impl Fn(&worktree::Worktree) -> Option<DateTime<Utc>>,
) -> Vec<Worktree> {
    let trees = plan
        .trees
        .iter()
        .filter(|(tree, _)| !plan.drop.contains(tree));
    let row = |(tree, verdict): &(worktree::Worktree, Verdict)| Worktree {
        goes_at: goes_at(tree),
        ..worktree(tree, verdict, now)
    };
    trees
        .map(row)
        .chain(self::unregistered(unregistered))
        .collect()
}

/// Returns the rows of unregistered directories.
pub fn unregistered(directories: &[Unregistered]) -> impl Iterator<Item = Worktree> {
    directories.iter().map(unregistered_row)
}

/// Returns the row of one tree.
pub fn worktree(tree: &worktree::Worktree, verdict: &Verdict, now: DateTime<Utc>) -> Worktree {
    let decided = Decided::of(tree, verdict);
    let branch = tree.branch.as_ref();
    let short = |branch: &String| {
        let short = branch.strip_prefix("refs/heads/");
        short.unwrap_or(branch).to_owned()
    };
    Worktree {
        path: tree.path.clone(),
        kind: tree.clone_of.as_ref().map(|_| TreeKind::Clone),
        branch: branch.map(short),
        head: tree.head.clone(),
        class: decided.work.map(|work| work.class),
        verdict: decided.verdict,
        reasons: decided.reasons,
        because: decided.because,
        idle_seconds: idle(tree, now),
        goes_at: None,
        bytes: None,
        outcome: decided.outcome,
        rescue_ref: None,
    }
}

/// What a verdict says about a tree, in the report's types.
struct Decided<'a> {
    verdict: VerdictName,
    work: Option<&'a Work>,
    reasons: Vec<String>,
    because: ReasonName,
    outcome: TreeOutcome,
}

impl<'a> Decided<'a> {
    fn of(tree: &worktree::Worktree, verdict: &'a Verdict) -> Self {
        match verdict {
            Verdict::Keep(kept) => Self {
                verdict: VerdictName::Keep,
                work: kept.work.as_ref(),
                reasons: kept.sentences(),
                because: kept.reason.name(),
                outcome: TreeOutcome::Kept,
            },
            Verdict::Reap(work) => Self {
                verdict: VerdictName::Reap,
                work: Some(work),
                reasons: work.sentences(),
                because: work.reason.name(),
                outcome: TreeOutcome::Planned,
            },
            Verdict::Unknown(cause) => Self {
                verdict: VerdictName::Unknown,
                work: None,
                reasons: vec![cause.clone()],
                because: ReasonName::Unknown,
                outcome: match tree.state {
                    worktree::State::Unreadable(_) => TreeOutcome::Failed(cause.clone()),
                    _ => TreeOutcome::Kept,
                },
            },
            Verdict::Missing => Self {
                verdict: VerdictName::Keep,
                work: None,
                reasons: vec!["gone from the disk; its registration stays for now".to_owned()],
                because: ReasonName::Missing,
                outcome: TreeOutcome::Kept,
            },
        }
    }
}

/// Returns the idle time; none without any sign of activity.
fn idle(tree: &worktree::Worktree, now: DateTime<Utc>) -> Option<u64> {
    (tree.active > DateTime::UNIX_EPOCH)
        .then(|| u64::try_from((now - tree.active).num_seconds()).unwrap_or(0))
}

fn unregistered_row(directory: &Unregistered) -> Worktree {
    let (because, why) = match directory.kind {
        UnregisteredKind::Dangling => (
            ReasonName::Dangling,
            "a worktree whose registration is gone; `git worktree repair` may bring it back, or delete it by hand",
        ),
        UnregisteredKind::Foreign => (ReasonName::Foreign, "a worktree of another repo"),
        UnregisteredKind::Empty => (ReasonName::Empty, "an empty directory"),
        UnregisteredKind::NotGit => (ReasonName::NotGit, "a directory that is no worktree"),
    };
    Worktree {
        path: directory.path.clone(),
        kind: None,
        branch: None,
        head: None,
        class: None,
        verdict: VerdictName::Keep,
        reasons: vec![why.to_owned()],
        because,
        idle_seconds: None,
        goes_at: None,
        bytes: None,
        outcome: TreeOutcome::Kept,
        rescue_ref: None,
    }
}

/// Returns the registrations that the plan drops.
pub fn prune(plan: &Plan) -> Prune {
    Prune {
        dropped: plan.drop.iter().map(|tree| tree.path.clone()).collect(),
        refused: plan.prune_refused.as_ref().map(ToString::to_string),
    }
}

/// Returns what caps say about the trees that stay.
pub fn over_cap(plan: &Plan) -> Option<String> {
    plan.over_cap.as_ref().map(ToString::to_string)
}

/// Returns the rescues that the plan lets expire, and what it keeps of `all`.
pub fn rescues(plan: &Plan, all: &[Rescue]) -> Rescues {
    let goes = |rescue: &&Rescue| plan.expire.iter().any(|(it, _)| it.name == rescue.name);
    let kept = all.iter().filter(|rescue| !goes(rescue));
    let bytes = |rescue: &Rescue| rescue.own.map_or(0, |own| own.bytes);
    let expired = plan.expire.iter().map(|(rescue, because)| Expired {
        rescue_ref: rescue.name.clone(),
        commit: rescue.commit.clone(),
        taken: rescue.taken,
        bytes: rescue.own.map_or(0, |own| own.bytes),
        because: *because,
    });
    Rescues {
        expired: expired.collect(),
        kept: plan.kept_until.len(),
        kept_bytes: kept.map(bytes).fold(0, u64::saturating_add),
        next_expires: plan.kept_until.first().copied(),
    }
}

/// Returns the plan's repack; whoever executes it fills in `after`.
pub fn gc(plan: &Plan, store: &Store) -> Gc {
    let counts = counts(store);
    Gc {
        action: plan.gc.action,
        reason: plan.gc.reason.clone(),
        before: counts,
        after: counts,
        stale_locks: plan.clear.iter().map(VolumePath::path).collect(),
    }
}

/// Returns a store's counts.
pub fn counts(store: &Store) -> Counts {
    Counts {
        loose_objects: store.loose_objects,
        packs: store.packs,
        bytes: store.loose_bytes + store.pack_bytes,
    }
}

/// Returns the units' rows with their outcomes.
pub fn units(units: Vec<cache::Unit>, outcomes: Vec<UnitOutcome>) -> impl Iterator<Item = Unit> {
    units
        .into_iter()
        .zip(outcomes)
        .map(|(unit, outcome)| unit_row(unit, outcome))
}

/// Returns the eviction. The rows of `units` are in the plan's order; `freed` is measured or, in a
/// dry run, projected.
pub fn eviction(plan: evict::Eviction, units: Vec<Unit>, freed: Size) -> Eviction {
    let wanted = plan.wanted.total();
    Eviction {
        triggered: true,
        reason: plan.wanted.reason,
        wanted_bytes: wanted.bytes,
        freed_bytes: freed.bytes,
        shortfall_bytes: plan
            .shortfall
            .bytes
            .max(wanted.bytes.saturating_sub(freed.bytes)),
        wanted_inodes: wanted.inodes,
        freed_inodes: freed.inodes,
        shortfall_inodes: plan
            .shortfall
            .inodes
            .max(wanted.inodes.saturating_sub(freed.inodes)),
        obstacles: plan.obstacles,
        held: plan.held.into_iter().map(held).collect(),
        could_go: plan.could_go.into_iter().map(could_go).collect(),
        units,
        rungs: Vec::new(),
    }
}

fn held((by, cache, units): (evict::HeldBy, std::sync::Arc<str>, usize)) -> HeldUnits {
    HeldUnits {
        by,
        cache: cache.to_string(),
        units: units as u64,
    }
}

fn could_go(unit: evict::CouldGo) -> CouldGo {
    CouldGo {
        cache: unit.cache.to_string(),
        unit: unit.name,
        bytes: unit.bytes,
        by: unit.by,
    }
}

fn unit_row(unit: cache::Unit, outcome: UnitOutcome) -> Unit {
    let size = unit.size.unwrap_or_default();
    let (last_used, last_used_from) = evict::last_use(&unit);
    let in_use = evict::in_use(&unit);
    Unit {
        cache: unit.cache.to_string(),
        kind: unit.kind.name().to_owned(),
        unit: unit.name,
        bytes: size.bytes,
        inodes: size.inodes,
        last_used,
        last_used_from,
        named_by: unit.named.map(|named| named.by),
        in_use,
        outcome,
    }
}
