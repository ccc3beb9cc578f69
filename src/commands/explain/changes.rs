//! What would change the verdict on a worktree. When it would then go is the plan's answer for the
//! same facts without the one that keeps it.

use super::tree::One;
use crate::facts::worktree::Worktree;
use crate::plan::class::Class;
use crate::plan::reason::{KeepReason, Obstacle};
use crate::plan::worktree::{Verdict, goes_from, work};
use crate::report::explain::Change;

/// What somebody does in a tree that should stay.
const WORK: &str = "any work in it starts its time anew";

impl One<'_> {
    /// Returns what would change the verdict.
    pub(super) fn changes(&self) -> Vec<Change> {
        match self.verdict {
            Verdict::Reap(_) => vec![Change::new(WORK), self.lock()],
            Verdict::Unknown(_) => vec![Change::new(
                "what is unknown is kept until somebody repairs it: see the reason",
            )],
            Verdict::Missing => self.missing_changes(),
            Verdict::Keep(kept) => self.kept_changes(&kept.reason),
        }
    }

    fn kept_changes(&self, reason: &KeepReason) -> Vec<Change> {
        let path = self.tree.path.display();
        match reason {
            KeepReason::Locked(_) | KeepReason::LockedByDeadProcess { .. } => {
                let unlocked = |tree: &mut Worktree| (tree.locked, tree.dead_lock) = (None, None);
                vec![self.without(format!("`git worktree unlock {path}`"), unlocked)]
            }
            KeepReason::InProgress(what) => self.ended(what),
            KeepReason::InUse(_) => {
                let ends = "the process ends, or leaves it".to_owned();
                vec![self.without(ends, |tree| tree.in_use = None)]
            }
            KeepReason::Busy(_) => vec![Change {
                what: "the busy probe says idle".to_owned(),
                goes_at: goes_from(self.tree, &self.repo.worktrees, None, self.request.now),
            }],
            KeepReason::InTheFuture(_) => {
                let touched = "`touch` its files and those of its registration".to_owned();
                vec![self.without(touched, |tree| tree.active = self.request.now)]
            }
            KeepReason::CannotBeRescued(Obstacle::TooLarge { .. }) => {
                vec![Change::new("raise `rescue_max`, or save the work by hand")]
            }
            KeepReason::CannotBeRescued(_) => {
                vec![Change::new("take what the reason names out of it")]
            }
            KeepReason::Spared(glob) => vec![Change::new(format!(
                "take `{glob}` out of `worktrees.keep`: then it goes by its age"
            ))],
            KeepReason::SwitchedOff(_) => {
                vec![
                    Change::new("give its class an age in the config"),
                    self.remove(),
                ]
            }
            KeepReason::TooYoung | KeepReason::Recent(..) | KeepReason::NotAskedFor => {
                vec![Change::new(WORK), self.lock(), self.remove()]
            }
        }
    }

    /// Returns what comes once the operations under way have ended.
    fn ended(&self, what: &[&str]) -> Vec<Change> {
        let ended = format!("end or abort the {}", what.join(" and the "));
        let mut changes = vec![self.without(ended, |tree| tree.in_progress.clear())];
        if what
            .iter()
            .any(|what| ["index.lock", "HEAD.lock"].contains(what))
        {
            changes.push(Change::new(
                "a lock file that nobody writes to counts as left by a crashed git after 15 minutes, \
                 an `index.lock` that others may hold unseen after 24 hours",
            ));
        }
        changes
    }

    /// Returns a change after which the tree is judged with other facts.
    fn without(&self, what: String, change: impl Fn(&mut Worktree)) -> Change {
        let mut other = self.tree.clone();
        change(&mut other);
        Change {
            what,
            goes_at: self.goes_from(&other),
        }
    }

    fn lock(&self) -> Change {
        Change::new(format!(
            "`git worktree lock {}` keeps it",
            self.tree.path.display()
        ))
    }

    fn remove(&self) -> Change {
        let (repo, path) = (&self.repo.name, self.tree.path.display());
        let unsaved = work(self.tree).is_some_and(|work| work.class == Class::Unsaved);
        let (option, rescues) = if unsaved {
            (" --rescue", "rescues its work and ")
        } else {
            ("", "")
        };
        Change::new(format!(
            "`treewarden worktree remove {repo} {path}{option}` {rescues}removes it now; its branch stays"
        ))
    }

    fn missing_changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::new(
            "put the tree back; if it was moved, run `git worktree repair` in it",
        )];
        if self.tree.missing_since.is_none() {
            let mut marked = self.tree.clone();
            marked.missing_since = Some(self.request.now);
            changes.push(Change {
                what: "a run finds it missing for the first time".to_owned(),
                goes_at: self.dropped_from(&marked),
            });
        }
        if self.tree.locked.is_some() {
            changes.push(Change::new(format!(
                "`git worktree unlock {}`",
                self.tree.path.display()
            )));
        }
        changes.push(Change::new(format!(
            "`treewarden worktree remove {} {} --rescue` lets go of its registration now",
            self.repo.name,
            self.tree.path.display()
        )));
        changes
    }
}
