//! Caps on a repo's worktrees: `worktrees.max_trees` and `worktrees.max_bytes`.
//!
//! If a repo is over a cap, landed and saved trees go before their age: landed ones first, and of a
//! class the longest idle first, until the rest is within the cap. [`earliest`] says which may go
//! at all, and [`verdict`] decides about each as it does without a cap. So a cap takes no work,
//! nothing that is locked, in use or spared, nothing of a class that is switched off, and nothing
//! that was active within a day. What stays beyond a cap is reported.

use super::class::Class;
use super::reason::{OverCap, ReapReason};
use super::worktree::{Verdict, Work, earliest, verdict};
use crate::config::policy::Worktrees;
use crate::facts::worktree::Worktree;
use crate::fs::humanize::{bytes, plural};
use chrono::{DateTime, Utc};
use std::fmt;

/// What caps say about the trees that stay, once all that may go are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The caps that they still exceed.
    over: Vec<OverCap>,
    /// How many of them a cap on bytes doesn't count, because their size is unknown.
    unmeasured: usize,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = self.over.iter().map(|cap| {
            let (stay, most) = match cap {
                OverCap::Trees { there, most } => (
                    format!("{} stay", plural(*there as u64, "tree")),
                    format!("max_trees ({most})"),
                ),
                OverCap::Bytes { there, most } => (
                    format!("trees of {} stay", bytes(*there)),
                    format!("max_bytes ({})", bytes(*most)),
                ),
            };
            format!("{stay}, more than worktrees.{most}: none of them may go yet")
        });
        let unmeasured = (self.unmeasured > 0).then(|| {
            let trees = plural(self.unmeasured as u64, "tree");
            format!("worktrees.max_bytes doesn't count {trees} of unknown size")
        });
        let said: Vec<String> = over.chain(unmeasured).collect();
        f.write_str(&said.join("; "))
    }
}

/// Decides which trees go for a cap, besides those that go anyway. Returns what the caps say about
/// those that stay.
pub fn take(
    trees: &mut [(Worktree, Verdict)],
    policy: &Worktrees,
    busy: Option<&str>,
    now: DateTime<Utc>,
) -> Option<Unmet> {
    let there = Total::of(trees, |_| true);
    let mut stays = Total::of(trees, |decided| !matches!(decided, Verdict::Reap(_)));
    if stays.over(policy) == [None, None] {
        return stays.unmet(policy);
    }
    let early = earliest(policy);
    let may_go = |tree: &Worktree| match verdict(tree, &early, busy, now) {
        Verdict::Reap(work) => Some(work),
        _ => None,
    };
    let mut candidates: Vec<_> = trees
        .iter_mut()
        .filter(|(_, decided)| matches!(decided, Verdict::Keep(_)))
        .filter_map(|(tree, decided)| Some((may_go(tree)?, &*tree, decided)))
        .collect();
    candidates.sort_by_key(|(work, tree, _)| (work.class != Class::Landed, tree.active));
    for (work, tree, decided) in candidates {
        let [number, size] = stays.over(policy);
        let Some(cap) = number.or(size.filter(|_| tree.bytes.is_some())) else {
            continue;
        };
        stays.loses(tree);
        *decided = Verdict::Reap(Work {
            reason: ReapReason::OverCap(there.named(cap)),
            besides: std::iter::once(work.reason).chain(work.besides).collect(),
            class: work.class,
        });
    }
    stays.unmet(policy)
}

/// The number and the size of trees.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    trees: usize,
    bytes: u64,
    unmeasured: usize,
}

impl Total {
    /// Returns the total of the trees that are there and whose verdict counts.
    fn of(trees: &[(Worktree, Verdict)], counts: impl Fn(&Verdict) -> bool) -> Self {
        let there = |decided: &Verdict| !matches!(decided, Verdict::Missing) && counts(decided);
        let all = trees.iter().filter(|(_, decided)| there(decided));
        all.fold(Self::default(), |total, (tree, _)| Self {
            trees: total.trees.saturating_add(1),
            bytes: total.bytes.saturating_add(tree.bytes.unwrap_or(0)),
            unmeasured: total
                .unmeasured
                .saturating_add(usize::from(tree.bytes.is_none())),
        })
    }

    fn loses(&mut self, tree: &Worktree) {
        self.trees = self.trees.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(tree.bytes.unwrap_or(0));
        self.unmeasured = self
            .unmeasured
            .saturating_sub(usize::from(tree.bytes.is_none()));
    }

    /// Returns the caps that it exceeds: by number, then by size.
    fn over(&self, policy: &Worktrees) -> [Option<OverCap>; 2] {
        let number = policy.max_trees.filter(|most| self.trees > *most);
        let size = policy.max_bytes.filter(|most| self.bytes > *most);
        let Self { trees, bytes, .. } = *self;
        [
            number.map(|most| OverCap::Trees { there: trees, most }),
            size.map(|most| OverCap::Bytes { there: bytes, most }),
        ]
    }

    /// Returns the cap with this total instead of its own, for people: what they see before anything
    /// goes.
    fn named(&self, cap: OverCap) -> OverCap {
        match cap {
            OverCap::Trees { most, .. } => OverCap::Trees {
                there: self.trees,
                most,
            },
            OverCap::Bytes { most, .. } => OverCap::Bytes {
                there: self.bytes,
                most,
            },
        }
    }

    fn unmet(&self, policy: &Worktrees) -> Option<Unmet> {
        let unmeasured = policy.max_bytes.map_or(0, |_| self.unmeasured);
        let over: Vec<OverCap> = self.over(policy).into_iter().flatten().collect();
        (unmeasured > 0 || !over.is_empty()).then_some(Unmet { over, unmeasured })
    }
}

#[cfg(test)]
pub(super) mod tests;
