//! The first half of a repo's run: lock, survey, decide.

use super::ended::Ended;
use crate::apply::at_work::AtWork;
use crate::apply::trash::{Own, Trash, TrashError};
use crate::config::policy;
use crate::ecosystems;
use crate::ecosystems::ecosystem::Linked;
use crate::facts::cache::CacheKind;
use crate::facts::locks::Locks;
use crate::facts::repo::Repo;
use crate::facts::worktree::{State, Worktree};
use crate::fs::budget::Budget;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout::{self, Layout};
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::{LockError, LockedRepo, peek};
use crate::plan::repo::{Plan, is_stale, plan};
use crate::plan::worktree::{Verdict, is_due, shortest};
use crate::report::words::plain;
use crate::run::context::RunContext;
use crate::run::needs;
use crate::state::ledger::Ledger;
use crate::survey;
use crate::survey::borrowers::Borrowers;
use crate::survey::context::{Times, VolumeContext};
use crate::survey::lockfiles::Known;
use crate::survey::repo::RepoSurvey;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;

/// Returns why a pass ended, if the repo needed more memory than its share.
fn over_budget(ended: Ended, budget: Budget) -> Ended {
    match ended {
        // libgit2's error doesn't mention the budget.
        Ended::Failed(why) | Ended::Refused(why)
            if budget.refusals() > 0 && !why.contains(&budget.exceeded()) =>
        {
            Ended::Refused(format!("{}; {why}", budget.exceeded()))
        }
        Ended::Failed(why) if budget.refusals() > 0 => Ended::Refused(why),
        ended => ended,
    }
}

/// A repo under its lock (none in a dry run), surveyed and decided on.
pub(in crate::run) struct Decided {
    pub(super) lock: Option<LockedRepo>,
    pub(in crate::run) shadow: Shadow,
    pub(in crate::run) facts: Repo,
    pub(in crate::run) plan: Plan,
    /// Unreadable files that name what a repack must keep.
    pub(super) unread: Vec<String>,
    pub(super) locks: Option<Locks>,
    pub(super) note: AtWork,
    /// When to stop, and the memory that may be used.
    pub(super) stop: Stop,
}

impl RunContext<'_> {
    /// Locks, surveys and decides. Whatever a repo contains, its survey stays within its share of
    /// the memory.
    pub(super) fn decide(
        &self,
        repo: &policy::Repo,
        around: &VolumeContext,
    ) -> Result<Decided, Ended> {
        let stop = self.stop.within(Budget::of(self.limits.held()));
        let looked = self.look_at(repo, around, &stop);
        looked.map_err(|ended| over_budget(ended, stop.budget()))
    }

    /// Surveys and decides without the lock, whoever holds it: for a command that only reports.
    pub(in crate::run) fn decide_unlocked(
        &self,
        repo: &policy::Repo,
        around: &VolumeContext,
    ) -> Result<Decided, Ended> {
        let stop = self.stop.within(Budget::of(self.limits.held()));
        let looked = self.survey(repo, around, None, &stop);
        looked.map_err(|ended| over_budget(ended, stop.budget()))
    }

    fn look_at(
        &self,
        repo: &policy::Repo,
        around: &VolumeContext,
        stop: &Stop,
    ) -> Result<Decided, Ended> {
        if let Some(why) = stop.reached() {
            return Err(Ended::Refused(format!(
                "not begun: {why}; the next run goes on here"
            )));
        }
        let lock = self.lock(repo)?;
        if let (Some(lock), Some(trash)) = (&lock, self.mode.trash()) {
            self.on_io(stop, || self.clear(repo, lock, trash, stop))
                .map_err(|error| Ended::Failed(error.to_string()))?;
        }
        self.survey(repo, around, lock, stop)
    }

    /// Clears what a killed run or command of this repo left.
    fn clear(
        &self,
        repo: &policy::Repo,
        lock: &LockedRepo,
        trash: &Trash,
        stop: &Stop,
    ) -> Result<(), TrashError> {
        trash.sweep(lock, stop)?;
        // Without a git dir nothing can go back. The survey says what is wrong.
        let Ok(layout) = layout::find(&repo.place, &repo.assigned) else {
            return Ok(());
        };
        let own = Own {
            git_dir: &layout.git_dir,
            is_right: &|place| self.around.in_the_way(place, &repo.place).is_none(),
        };
        trash.undo(lock, &own, stop)
    }

    /// Surveys a repo under its lock, or without it if nothing is to be changed, and decides.
    fn survey(
        &self,
        repo: &policy::Repo,
        around: &VolumeContext,
        lock: Option<LockedRepo>,
        stop: &Stop,
    ) -> Result<Decided, Ended> {
        let refused = |refusal: Refusal| Ended::refused(&refusal, repo.place.root());
        let found = self.on_io(stop, || {
            let shadow = Shadow::of(&layout::find(&repo.place, &repo.assigned)?, stop)?;
            survey::damage::prove_whole(&shadow, stop)?;
            Ok(shadow)
        });
        let shadow = found.map_err(refused)?;
        let note = AtWork::of(&self.policy.volume.state, &repo.name);
        let due = |tree: &Worktree| is_due(tree, &repo.worktrees, self.now);
        let survey = RepoSurvey {
            shadow: &shadow,
            policy: repo,
            times: self.times(repo, lock.as_ref(), note.killed()),
            around,
            due: &due,
            stop,
        };
        let mut facts = self.on_io(stop, || survey.all()).map_err(refused)?;
        let (plan, unread) = self.plan(&survey, &mut facts);
        let locks = self
            .ledger
            .and_then(|ledger| self.read_lock_files(&survey, &plan, ledger));
        Ok(Decided {
            lock,
            shadow,
            facts,
            plan,
            unread,
            locks,
            note,
            stop: stop.clone(),
        })
    }

    /// Takes the repo's lock; in a dry run, only checks that nobody holds it.
    fn lock(&self, repo: &policy::Repo) -> Result<Option<LockedRepo>, LockError> {
        let locks = self.locks();
        if self.mode.trash().is_none() {
            return peek(&locks, &repo.name)?
                .map(|()| None)
                .map_err(LockError::Busy);
        }
        LockedRepo::take(&locks, &repo.name, &repo.place, "run", self.now).map(Some)
    }

    /// Returns the times that decide what is inspected. `killed` is when a run was killed here.
    fn times(
        &self,
        repo: &policy::Repo,
        lock: Option<&LockedRepo>,
        killed: Option<DateTime<Utc>>,
    ) -> Times {
        let look_before = shortest(&repo.worktrees)
            .and_then(|age| self.now.checked_sub_signed(age))
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        Times {
            clock: lock.and_then(LockedRepo::server_clock).unwrap_or(self.now),
            look_before,
            is_stale,
            killed,
        }
    }

    /// Decides. If objects are to be dropped, their borrowers are first added to the facts. Also
    /// returns the unreadable files, as [`Decided::unread`].
    fn plan(&self, survey: &RepoSurvey<'_>, facts: &mut Repo) -> (Plan, Vec<String>) {
        let planned =
            |facts: &Repo| plan(facts, survey.policy, self.free_bytes, self.now).only(self.only);
        let mut plan = planned(facts);
        if self.keep_lenders(&plan, facts) {
            plan = planned(facts);
        }
        let unread = self.unread(survey.shadow, &mut plan, survey.stop);
        if plan.gc.drops_objects() {
            facts.lends = self.borrowers().need(survey.shadow.git_dir());
            plan = planned(facts);
        }
        for (tree, verdict) in &plan.trees {
            let path = plain(&tree.path.to_string_lossy());
            tracing::debug!(path, ?verdict, "decided");
        }
        (plan, unread)
    }

    /// Adds to the facts which due clones others borrow objects from. Returns whether there are any.
    fn keep_lenders(&self, plan: &Plan, facts: &mut Repo) -> bool {
        let due = |(tree, verdict): &&(Worktree, Verdict)| {
            tree.clone_of.is_some() && matches!(verdict, Verdict::Reap(_))
        };
        let lenders: Vec<(&VolumePath, String)> = plan
            .trees
            .iter()
            .filter(due)
            .filter_map(|(tree, _)| Some((&tree.admin, self.borrowers().need(&tree.admin)?)))
            .collect();
        for (git_dir, why) in &lenders {
            let clone = facts
                .worktrees
                .iter_mut()
                .find(|tree| tree.admin == **git_dir);
            if let Some(State::Inspected(contents)) = clone.map(|clone| &mut clone.state) {
                contents.blockers.push(why.clone());
            }
        }
        !lenders.is_empty()
    }

    /// Reads what the lock files name, except for contents that the ledger knows.
    fn read_lock_files(
        &self,
        survey: &RepoSurvey<'_>,
        plan: &Plan,
        ledger: &Ledger,
    ) -> Option<Locks> {
        let known = Known {
            seen: ledger.seen(&survey.policy.name),
            content: &|content| ledger.knows(content),
            links: &self.links(),
        };
        self.on_io(survey.stop, || needs::look(survey, plan, &known))
    }

    /// Returns what finds links from trees into one of the caches.
    fn links(&self) -> Vec<Linked> {
        let kinds: BTreeSet<CacheKind> =
            self.policy.caches.iter().map(|cache| cache.kind).collect();
        kinds.into_iter().filter_map(ecosystems::linked).collect()
    }

    fn borrowers(&self) -> &Borrowers {
        self.borrowers.get_or_init(|| {
            self.on_io(self.stop, || {
                let of = |repo: &policy::Repo| {
                    // Without a list, the walk finds them as borrowers that nobody enrolled.
                    let clones = self.around.clones(repo, self.stop);
                    clones.unwrap_or_default()
                };
                let clones: Vec<_> = self.policy.repos.iter().map(of).collect();
                let of_all = self.policy.repos.iter().zip(&clones);
                let repos: Vec<_> = of_all
                    .flat_map(|(repo, clones)| {
                        let layout = layout::find(&repo.place, &repo.assigned);
                        let layout = layout.unwrap_or_else(|_| Layout::plain(&repo.place));
                        let clones = clones.iter().map(|place| Layout::plain(place).git_dir);
                        let git_dirs = std::iter::once(layout.git_dir).chain(clones);
                        git_dirs.map(|git_dir| (repo.name.as_str(), git_dir))
                    })
                    .collect();
                Borrowers::find(&self.policy.volume.root, &repos, self.stop)
            })
        })
    }
}
