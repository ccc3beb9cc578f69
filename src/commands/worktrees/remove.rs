//! `treewarden worktree remove`: removes a worktree on request, as a run removes one that is due.
//!
//! Survey, verdict, rescue and removal are the run's own. Only the ages and the busy probe are left
//! out, because the caller is the one who worked here. As in plain git, a tree with unsaved work is
//! refused, unless the work is to be rescued first. An unknown, locked or in-progress tree is never
//! removed.

use super::{Claim, Locked, WorkError, around, find};
use crate::apply::repo::{RepoExecutor, StepError};
use crate::apply::trash::Emptied;
use crate::config::policy::{self, Age, Keep, Policy, Worktrees};
use crate::facts::worktree::{State, Worktree};
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::plan::reason::KeepReason;
use crate::plan::repo::is_stale;
use crate::plan::worktree::{Class, Verdict, verdict};
use crate::state::volume;
use crate::survey;
use crate::survey::context::{Times, VolumeContext};
use crate::survey::processes::Processes;
use crate::survey::repo::RepoSurvey;
use std::path::Path;
use std::time::Duration;

/// A request to remove a worktree.
#[derive(Debug)]
pub struct RemoveRequest<'a> {
    /// The repo.
    pub repo: &'a policy::Repo,
    /// The worktree's name, or its path.
    pub name: &'a str,
    /// Whether unsaved work is rescued; if not, a tree that has some stays.
    pub rescue: bool,
    /// How long to wait for the lock; none for the repo's own `lock_wait`.
    pub wait: Option<Duration>,
}

/// Removes a worktree and its registration. Its branch stays.
///
/// # Errors
/// [`WorkError`]: the tree is unchanged.
pub fn remove(
    policy: &Policy,
    request: &RemoveRequest<'_>,
    stop: &Stop,
) -> Result<String, WorkError> {
    let repo = request.repo;
    volume::prove(&policy.volume)?;
    let claim = Claim::of("worktree remove", request.wait);
    let Locked { lock, trash } = Locked::take(policy, repo, claim, stop)?;
    let shadow = super::shadow(repo, stop)?;
    survey::damage::prove_whole(&shadow, stop).map_err(WorkError::repo(repo))?;
    let (admin, path) = find(repo, shadow.git_dir(), request.name)?;
    let now = clock::now();
    // The caller may well be in the tree.
    let around = VolumeContext {
        processes: Processes::but_callers(),
        ..around(policy)
    };
    let survey = RepoSurvey {
        shadow: &shadow,
        policy: repo,
        times: Times::whole(lock.server_clock().unwrap_or(now), is_stale),
        around: &around,
        due: &|_| true,
        stop,
    };
    let tree = survey.one(&admin).map_err(WorkError::repo(repo))?;
    // The file server's clock may be ahead of ours: a tree that was just written to is old enough.
    let verdict = verdict(&tree, &at_once(&repo.worktrees), None, now.max(tree.active));
    let removal = Removal {
        repo,
        rescue: request.rescue,
        path: &path,
        tree: &tree,
        executor: RepoExecutor {
            lock: &lock,
            shadow: &shadow,
            trash: &trash,
            stop,
            now,
        },
    };
    removal.remove(removal.permit(&verdict)?)
}

/// A worktree that is to go.
struct Removal<'a> {
    repo: &'a policy::Repo,
    /// Whether unsaved work is rescued.
    rescue: bool,
    /// The tree's path.
    path: &'a Path,
    tree: &'a Worktree,
    executor: RepoExecutor<'a>,
}

/// What may be removed.
#[derive(Clone, Copy)]
enum Going {
    /// The registration of a tree that is gone.
    Registration,
    /// The tree, with its work rescued if some is unsaved.
    Tree { unsaved: bool },
}

impl Removal<'_> {
    /// Refuses what a run would keep at any age, and unsaved work that nobody asked to rescue.
    fn permit(&self, verdict: &Verdict) -> Result<Going, WorkError> {
        let is_kept = !self.rescue;
        match verdict {
            Verdict::Unknown(why) => Err(self.stays(format!("its contents are unknown: {why}"))),
            Verdict::Keep(kept) => Err(self.stays(kept.reason.to_string())),
            Verdict::Missing if self.tree.locked.is_some() => Err(self.stays("it is gone from the disk and locked; if it never comes back, run `git worktree unlock` first".to_owned())),
            Verdict::Missing if !self.tree.in_progress.is_empty() => Err(self.stays(format!(
                "it is gone from the disk with {}, whose state only `{}` has; look there, then remove that directory by hand",
                KeepReason::InProgress(self.tree.in_progress.clone()),
                self.tree.admin
            ))),
            Verdict::Missing if is_kept && holds_work(self.tree) => Err(self.unsaved(
                "the tree itself is gone, but its registration has commits or staged files that nothing else has",
            )),
            Verdict::Reap(work) if is_kept && work.class == Class::Unsaved => {
                Err(self.unsaved(&work.sentences().join("; ")))
            }
            Verdict::Missing => Ok(Going::Registration),
            Verdict::Reap(work) => Ok(Going::Tree {
                unsaved: work.class == Class::Unsaved,
            }),
        }
    }

    fn stays(&self, why: String) -> WorkError {
        WorkError::Refused(format!("`{}` stays: {why}", self.path.display()))
    }

    fn unsaved(&self, work: &str) -> WorkError {
        self.stays(format!(
            "it holds unsaved work: {work}; commit it to a branch, or give --rescue to have it saved first"
        ))
    }

    fn changed(&self, error: StepError) -> WorkError {
        match error {
            error @ (StepError::Changed | StepError::Returned) => self.stays(error.to_string()),
            error => error.into(),
        }
    }

    /// Removes it, and returns the message.
    fn remove(&self, going: Going) -> Result<String, WorkError> {
        let (rescued, Emptied { left, .. }) = match going {
            Going::Registration => (
                holds_work(self.tree),
                self.executor
                    .drop_registration(self.tree)
                    .map_err(|error| self.changed(error))?,
            ),
            Going::Tree { unsaved } => {
                let limit = self.repo.worktrees.rescue_max;
                let reaped = self.executor.reap(self.tree, unsaved, limit);
                let reaped = reaped.map_err(|error| self.changed(error))?;
                (reaped.rescue_ref.is_some(), reaped.emptied)
            }
        };
        let branch = self.tree.branch.as_deref();
        let branch = branch
            .and_then(|branch| branch.strip_prefix("refs/heads/"))
            .map(|branch| format!("; its branch {branch} stays"))
            .unwrap_or_default();
        let rescued = if rescued {
            format!(
                "; its work is rescued, see `treewarden rescue list --repo {}`",
                self.repo.name
            )
        } else {
            String::new()
        };
        let left = if left.is_empty() {
            ""
        } else {
            "; part of it stays in the trash until the next run"
        };
        Ok(format!(
            "removed `{}`{branch}{rescued}{left}",
            self.path.display()
        ))
    }
}

/// Returns the repo's rules without their ages, and without the trees that no run takes: the caller
/// names this one, and wants it removed now.
fn at_once(rules: &Worktrees) -> Worktrees {
    let now = Age::After(Duration::ZERO);
    Worktrees {
        landed: now,
        saved: now,
        unsaved: now,
        fresh: now,
        keep: Keep::default(),
        ..rules.clone()
    }
}

fn holds_work(tree: &Worktree) -> bool {
    matches!(&tree.state, State::Missing { unreached, staged, .. } if *staged || !unreached.is_empty())
}
