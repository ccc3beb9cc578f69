//! The rules behind a verdict: each with its key in the config and where that was set.

use super::Request;
use crate::config::policy::{self, Age};
use crate::config::{Setting, units};
use crate::fs::humanize;
use crate::plan::class::Class;
use crate::plan::reason::{KeepReason, Obstacle, OverCap, ReapReason};
use crate::plan::worktree::Verdict;
use crate::report::explain::Rule;

/// Returns a rule that no key changes.
pub(super) fn fixed(says: &str) -> Rule {
    Rule {
        key: None,
        value: None,
        file: None,
        line: None,
        says: says.to_owned(),
    }
}

impl Request<'_> {
    /// Returns the rules that decided about a tree.
    pub(super) fn rules(&self, repo: &policy::Repo, verdict: &Verdict) -> Vec<Rule> {
        match verdict {
            Verdict::Reap(work) => match &work.reason {
                ReapReason::OverCap(cap) => vec![self.cap(repo, *cap)],
                _ => vec![self.class(repo, work.class)],
            },
            Verdict::Unknown(_) => vec![fixed("what is unknown is kept")],
            Verdict::Missing => vec![fixed(
                "a registration is dropped if all runs of three days found its tree missing",
            )],
            Verdict::Keep(kept) => self.kept(repo, &kept.reason),
        }
    }

    /// Returns the rules that keep a tree for this reason.
    fn kept(&self, repo: &policy::Repo, reason: &KeepReason) -> Vec<Rule> {
        let trees = &repo.worktrees;
        match reason {
            KeepReason::Recent(class, _) | KeepReason::SwitchedOff(class) => {
                vec![self.class(repo, *class)]
            }
            KeepReason::TooYoung => [Class::Landed, Class::Saved, Class::Fresh, Class::Unsaved]
                .map(|class| self.class(repo, class))
                .into(),
            KeepReason::LockedByDeadProcess { .. } => {
                let says = "the lock of a dead process keeps its tree for this long";
                vec![self.of_repo(repo, "dead_locks", (age(trees.dead_locks), says))]
            }
            KeepReason::CannotBeRescued(Obstacle::TooLarge { .. }) => {
                let says = "unsaved work of more than this is not rescued, so its tree stays";
                let most = humanize::size(trees.rescue_max);
                vec![self.of_repo(repo, "rescue_max", (most, says))]
            }
            KeepReason::Busy(_) => {
                let setting = self.source.of_repo(self.index(repo), &["busy_probe"]);
                // Its arguments may be secret.
                let probe = repo.busy_probe.first().cloned().unwrap_or_default();
                vec![self.rule(setting, (probe, "nothing is done in a busy repo"))]
            }
            KeepReason::Spared(glob) => {
                let says = "a tree that this glob names stays";
                vec![self.of_repo(repo, "keep", (glob.clone(), says))]
            }
            KeepReason::NotAskedFor => Vec::new(),
            KeepReason::Locked(_) => {
                vec![fixed(
                    "`git worktree lock` keeps a tree, whatever its reason",
                )]
            }
            KeepReason::InProgress(_) => {
                vec![fixed(
                    "a tree in which an operation of git is under way stays",
                )]
            }
            KeepReason::InUse(_) => vec![fixed("a tree in which a process is at work stays")],
            KeepReason::InTheFuture(_) => {
                vec![fixed(
                    "a tree stays while its time stamps are ahead of the clock",
                )]
            }
            KeepReason::CannotBeRescued(_) => {
                vec![fixed("a tree that a rescue can't hold stays")]
            }
        }
    }

    /// Returns the rule about a cap.
    fn cap(&self, repo: &policy::Repo, cap: OverCap) -> Rule {
        let (key, value, says) = match cap {
            OverCap::Trees { most, .. } => (
                "max_trees",
                most.to_string(),
                "if a repo has more trees, the oldest that may go do",
            ),
            OverCap::Bytes { most, .. } => (
                "max_bytes",
                humanize::size(most),
                "if a repo's trees hold more, the oldest that may go do",
            ),
        };
        self.of_repo(repo, key, (value, says))
    }

    /// Returns the rule about a class.
    fn class(&self, repo: &policy::Repo, class: Class) -> Rule {
        let trees = &repo.worktrees;
        let (value, says) = match class {
            Class::Landed => (trees.landed, "landed trees go when idle for this long"),
            Class::Saved => (trees.saved, "saved trees go when idle for this long"),
            Class::Unsaved => (
                trees.unsaved,
                "unsaved trees are rescued and go when idle for this long",
            ),
            Class::Fresh => (
                trees.fresh,
                "trees without a commit of their own go when idle for this long",
            ),
        };
        let index = self.index(repo);
        let fresh = self.source.of_repo(index, &["worktrees", class.name()]);
        // Without a value of its own it is that of `saved`.
        let setting = if class == Class::Fresh && fresh.line.is_none() {
            self.source.of_repo(index, &["worktrees", "saved"])
        } else {
            fresh
        };
        self.rule(setting, (age(value), says))
    }

    /// Returns the rule of a key below a repo's `worktrees`.
    pub(super) fn of_repo(
        &self,
        repo: &policy::Repo,
        key: &str,
        (value, says): (String, &str),
    ) -> Rule {
        let setting = self.source.of_repo(self.index(repo), &["worktrees", key]);
        self.rule(setting, (value, says))
    }

    /// Returns the rule of a setting.
    pub(super) fn rule(&self, setting: Setting, (value, says): (String, &str)) -> Rule {
        Rule {
            file: setting.line.map(|_| self.source.file().to_owned()),
            line: setting.line,
            key: Some(setting.key),
            value: Some(value),
            says: says.to_owned(),
        }
    }

    /// Returns the repo's position in the config.
    fn index(&self, repo: &policy::Repo) -> usize {
        let mut repos = self.policy.repos.iter();
        repos
            .position(|one| one.name == repo.name)
            .unwrap_or_default()
    }
}

fn age(age: Age) -> String {
    match age {
        Age::After(age) => units::typed(age),
        Age::Never => "never".to_owned(),
    }
}
