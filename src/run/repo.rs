//! One repo's run: lock → survey → plan → apply → unlock, and the row that tells of it.
//!
//! It is done in two passes. [`RunContext::maintain`] looks, prunes and repacks, and names the
//! trees that would go; when their number over all repos is plausible, [`RunContext::reap`] locks
//! the repo again, looks again, decides again, and only then removes. It must never let one repo's
//! failure reach another.

use crate::apply::at_work::AtWork;
use crate::apply::repo::{RepoExecutor, StepError};
use crate::apply::trash::Emptied;
use crate::config::policy::{self, Policy};
use crate::facts::cache::CacheKind;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::locks::Locks;
use crate::facts::repo::Repo;
use crate::facts::rescue::Own;
use crate::facts::worktree::{State, Worktree};
use crate::fs::budget::Budget;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::lock::{LockError, LockedRepo, peek};
use crate::plan::limits::ResourceLimits;
use crate::plan::repo::{Only, Plan, is_stale, plan};
use crate::plan::worktree::{Verdict, is_due, shortest};
use crate::report::{self, Class, RepoOutcome, TreeOutcome, rows};
use crate::run::mode::Mode;
use crate::run::needs;
use crate::run::unchanged::{self, CachedSurvey, Seen};
use crate::state::ledger::Ledger;
use crate::survey;
use crate::survey::borrowers::Borrowers;
use crate::survey::context::{Times, VolumeContext};
use crate::survey::lockfiles::Known;
use chrono::{DateTime, Utc};
use rayon::ThreadPool;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

mod ended;
mod repack;
mod row;
mod steps;
use ended::Ended;
use row::{blank, not_uncounted, only_then, tell};

/// What the work on all repos shares.
pub struct RunContext<'a> {
    /// The run's time.
    pub now: DateTime<Utc>,
    /// When to stop.
    pub stop: &'a Stop,
    /// The whole policy.
    pub policy: &'a Policy,
    /// Whether anything is changed.
    pub mode: &'a Mode,
    /// What the rest of the volume tells of a repo's trees.
    pub around: VolumeContext,
    /// Who borrows from the repos: looked for when something is first to be dropped.
    pub borrowers: Arc<OnceLock<Borrowers>>,
    /// The parts of the work that were asked for.
    pub only: Only,
    /// What the volume has left.
    pub free_bytes: u64,
    /// What earlier runs know of lock files; none where nobody needs to look for them.
    pub ledger: Option<&'a Ledger>,
    /// Threads that wait on the network.
    pub io: &'a ThreadPool,
    /// What each repack may use.
    pub share: ResourceLimits,
}

/// A repo after a pass.
pub struct RepoResult {
    /// The row.
    pub row: report::Repo,
    /// Trees that were idle when they were looked at, by their path: see [`RepoResult::idle`].
    pub idle: Vec<(PathBuf, IdleTree)>,
    /// What its lock files name, also those of trees that were to go; none where they weren't
    /// looked for.
    pub locks: Option<Locks>,
    /// What went with trees, registrations and leftovers; in a dry run, what would go.
    pub freed: Size,
    /// What rescues wrote, or would write, at most.
    pub written: Size,
    /// Nothing has changed since an earlier run, so nothing was looked at.
    pub skipped: bool,
    /// The repack was left out for want of space.
    pub short_of_space: bool,
    /// What could not be deleted at once and waits in the trash.
    pub left: Vec<String>,
}

/// A repo under its lock (none in a dry run), looked at and decided on.
struct Decided {
    lock: Option<LockedRepo>,
    shadow: Shadow,
    facts: Repo,
    plan: Plan,
    /// Files that name what a repack must keep, and can't be read.
    unread: Vec<String>,
    locks: Option<Locks>,
    note: AtWork,
    /// When to stop, and what it may cost.
    stop: Stop,
}

impl RunContext<'_> {
    /// Where repos are locked.
    pub fn locks(&self) -> PathBuf {
        super::locks(self.policy)
    }

    /// Whether trees may hold links into a cache: environments of uv's do.
    fn may_hold_links(&self) -> bool {
        self.policy
            .caches
            .iter()
            .any(|cache| cache.kind == CacheKind::Uv)
    }

    /// The first pass.
    pub fn maintain(&self, repo: &policy::Repo) -> RepoResult {
        self.row(repo, |row| {
            let decided = self.decide(repo, &self.around)?;
            let plan = &decided.plan;
            let mut result = RepoResult {
                idle: needs::idle(repo, plan),
                locks: decided.locks.clone(),
                short_of_space: plan.gc.short_of_space,
                freed: needs::expiring(&decided.shadow, plan, self.now),
                ..RepoResult::of(row)
            };
            result.row.worktrees = rows::worktrees(plan, &decided.facts.strays, self.now);
            result.row.prune = rows::prune(plan);
            result.row.rescues = rows::rescues(plan);
            result.row.gc = rows::gc(plan, &decided.facts.store);
            result.row.failures.extend(decided.unread.iter().cloned());
            if let Some(why) = &decided.facts.busy {
                (result.row.outcome, result.row.reason) = (RepoOutcome::Busy, Some(why.clone()));
            }
            match (&decided.lock, self.mode.trash()) {
                (Some(lock), Some(trash)) => {
                    self.apply(&mut result, &decided, lock, trash);
                    self.keep(repo, &decided, &result.row, lock);
                }
                _ => self.foresee(&mut result, plan),
            }
            Ok(result)
        })
    }

    /// The result for a repo that is unchanged, by what an earlier run saw of it.
    pub fn skip(&self, repo: &policy::Repo, cached: CachedSurvey) -> RepoResult {
        self.row(repo, |row| {
            Ok(RepoResult {
                skipped: true,
                ..RepoResult::of(cached.row(row, self.now))
            })
        })
    }

    /// Keeps what was seen for the next run, which may find nothing changed. A part of a run has no
    /// row for that.
    fn keep(&self, repo: &policy::Repo, decided: &Decided, row: &report::Repo, lock: &LockedRepo) {
        if let Some(clock) = lock
            .server_clock()
            .filter(|_| self.only.all_of_a_repo() && row.failures.is_empty())
        {
            let seen = Seen {
                facts: &decided.facts,
                row,
                clock,
                free_bytes: self.free_bytes,
            };
            self.on_io(&decided.stop, || {
                unchanged::keep(
                    &self.policy.volume.state,
                    repo,
                    &seen,
                    self.now,
                    &decided.stop,
                )
            });
        }
    }

    /// The second pass: the trees go. `row` is what the first pass told.
    pub fn reap(&self, repo: &policy::Repo, first: RepoResult) -> RepoResult {
        let Some(trash) = self.mode.trash() else {
            return first;
        };
        let began = Instant::now();
        let mut again = self.row(repo, |row| {
            // Somebody may be at work by now.
            let around = VolumeContext {
                processes: self.around.processes.anew(),
                ..self.around.clone()
            };
            let decided = self.decide(repo, &around)?;
            let lock = decided.lock.as_ref().ok_or(Ended::Busy(None))?;
            let mut result = RepoResult {
                idle: needs::idle(repo, &decided.plan),
                locks: decided.locks.clone(),
                ..RepoResult::of(row)
            };
            result.row.worktrees = rows::worktrees(&decided.plan, &decided.facts.strays, self.now);
            let planned = |tree: &&report::Worktree| tree.outcome == TreeOutcome::Planned;
            let counted: HashSet<&Path> = first
                .row
                .worktrees
                .iter()
                .filter(planned)
                .map(|tree| tree.path.as_path())
                .collect();
            result
                .row
                .worktrees
                .iter_mut()
                .for_each(|tree| not_uncounted(tree, &counted));
            let executor = RepoExecutor {
                lock,
                shadow: &decided.shadow,
                trash,
                stop: &decided.stop,
                now: self.now,
            };
            decided.note.begin(lock);
            self.reap_trees(&mut result, repo, &decided.plan, &executor);
            if self.stop.reached().is_none() {
                decided.note.end();
            }
            Ok(result)
        });
        if again.row.outcome == RepoOutcome::Maintained {
            let failures = first
                .row
                .failures
                .into_iter()
                .chain(only_then(&first.row.worktrees, &again.row.worktrees));
            again
                .row
                .failures
                .splice(0..0, failures.collect::<Vec<_>>());
            let report::Repo {
                prune,
                rescues,
                gc,
                lock,
                seconds,
                ..
            } = first.row;
            again.row = report::Repo {
                prune,
                rescues,
                gc,
                lock,
                seconds: seconds + began.elapsed().as_secs_f64(),
                ..again.row
            };
            again.short_of_space = first.short_of_space;
            again.freed += first.freed;
            again.written += first.written;
            again.left.extend(first.left);
            return again;
        }
        // The first pass's row stands, with why. Busy or out of time is no failure; anything else
        // is one, of each tree that was to go.
        let failed = again.row.outcome == RepoOutcome::Failed;
        let why = again
            .row
            .reason
            .or(again.row.lock.holder)
            .unwrap_or_default();
        let mut first = first;
        for tree in first
            .row
            .worktrees
            .iter_mut()
            .filter(|tree| tree.outcome == TreeOutcome::Planned)
        {
            tree.outcome = if failed {
                TreeOutcome::Failed(why.clone())
            } else {
                TreeOutcome::Kept
            };
            tree.reasons.insert(
                0,
                format!("not reaped, because when its turn came the repo was not to be had: {why}"),
            );
        }
        first
    }

    /// Runs a pass, and makes a row of whatever ends it early, a panic too.
    fn row(
        &self,
        repo: &policy::Repo,
        pass: impl FnOnce(report::Repo) -> Result<RepoResult, Ended>,
    ) -> RepoResult {
        let began = Instant::now();
        let blank = blank(
            repo,
            if self.mode.trash().is_some() {
                RepoOutcome::Maintained
            } else {
                RepoOutcome::Planned
            },
        );
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pass(blank.clone())));
        let done = done.unwrap_or_else(|_| {
            Err(Ended::Failed(
                "treewarden made a mistake here; its log says where, please report it".to_owned(),
            ))
        });
        let mut result = done.unwrap_or_else(|ended| {
            let (outcome, reason, holder) = match ended {
                Ended::Busy(holder) => (RepoOutcome::Busy, None, holder),
                Ended::Refused(why) => (RepoOutcome::Refused, Some(why), None),
                Ended::Failed(why) => (RepoOutcome::Failed, Some(why), None),
            };
            let row = report::Repo {
                outcome,
                reason,
                lock: report::Lock {
                    holder,
                    ..blank.lock
                },
                ..blank
            };
            RepoResult::of(row)
        });
        result.row.seconds = began.elapsed().as_secs_f64();
        result
    }

    /// Work for the threads that wait on the network. A rayon thread that waits for another pool
    /// takes up its own pool's next item meanwhile: the next repo, while this one is locked. So a
    /// thread of its own does the waiting, and this one sleeps.
    fn on_io<T: Send>(&self, stop: &Stop, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            let _counted = stop.budget().enter();
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(|| self.io.install(work)).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whatever a repo holds, it is looked at within its share of the memory.
    fn decide(&self, repo: &policy::Repo, around: &VolumeContext) -> Result<Decided, Ended> {
        let stop = self.stop.within(Budget::of(self.share.held()));
        let budget = stop.budget();
        self.look_at(repo, around, stop)
            .map_err(|ended| match ended {
                // libgit2 has no words for it.
                Ended::Failed(why) | Ended::Refused(why)
                    if budget.refusals() > 0 && !why.contains(&budget.exceeded()) =>
                {
                    Ended::Refused(format!("{}; {why}", budget.exceeded()))
                }
                Ended::Failed(why) if budget.refusals() > 0 => Ended::Refused(why),
                ended => ended,
            })
    }

    fn look_at(
        &self,
        repo: &policy::Repo,
        around: &VolumeContext,
        stop: Stop,
    ) -> Result<Decided, Ended> {
        let stop = &stop;
        if let Some(why) = stop.reached() {
            return Err(Ended::Refused(format!(
                "not begun: {why}; the next run goes on here"
            )));
        }
        let lock = match self.mode.trash() {
            Some(_) => Some(LockedRepo::take(
                &self.locks(),
                &repo.name,
                &repo.place,
                "run",
                self.now,
            )?),
            None => peek(&self.locks(), &repo.name)?
                .map(|()| None)
                .map_err(LockError::Busy)?,
        };
        if let (Some(lock), Some(trash)) = (&lock, self.mode.trash()) {
            let is_right =
                |place: &VolumePath| self.around.in_the_way(place, &repo.place).is_none();
            self.on_io(stop, || trash.undo(lock, &is_right, stop))
                .map_err(|error| Ended::Failed(error.to_string()))?;
        }
        let shadow = self.on_io(stop, || Shadow::of(&repo.place, stop))?;
        self.on_io(stop, || survey::damage::prove_whole(&shadow, stop))?;
        let clock = lock
            .as_ref()
            .and_then(LockedRepo::server_clock)
            .unwrap_or(self.now);
        let look_before = shortest(&repo.worktrees)
            .and_then(|age| self.now.checked_sub_signed(age))
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        let note = AtWork::of(&self.policy.volume.state, &repo.name);
        let times = Times {
            clock,
            look_before,
            is_stale,
            killed: note.killed(),
        };
        let due = |tree: &Worktree| is_due(tree, &repo.worktrees, self.now);
        let mut facts = self.on_io(stop, || {
            survey::repo::survey(&shadow, repo, times, around, stop, &due)
        })?;
        let planned = |facts: &Repo| plan(facts, repo, self.free_bytes, self.now).only(self.only);
        let mut plan = planned(&facts);
        let unread = self.unread(&shadow, &mut plan, stop);
        if plan.gc.drops_objects() {
            facts.lends = self.borrowers().need(shadow.git_dir());
            plan = planned(&facts);
        }
        let read = |ledger: &Ledger| {
            let known = Known {
                seen: ledger.seen(&repo.name),
                content: &|content| ledger.knows(content),
                links: self.may_hold_links(),
            };
            self.on_io(stop, || needs::look(&shadow, repo, &plan, &known, stop))
        };
        let locks = self.ledger.and_then(read);
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

    fn borrowers(&self) -> &Borrowers {
        let repos: Vec<_> = self
            .policy
            .repos
            .iter()
            .map(|repo| (repo.name.as_str(), &repo.place))
            .collect();
        self.borrowers.get_or_init(|| {
            self.on_io(self.stop, || {
                Borrowers::find(&self.policy.volume.root, &repos, self.stop)
            })
        })
    }

    fn reap_trees(
        &self,
        result: &mut RepoResult,
        repo: &policy::Repo,
        plan: &Plan,
        executor: &RepoExecutor<'_>,
    ) {
        for (tree, class) in reaps(plan) {
            // By what is still to be done: a second registration may claim the same path.
            let row = result
                .row
                .worktrees
                .iter_mut()
                .find(|row| row.path == tree.path && row.outcome == TreeOutcome::Planned);
            let Some(row) = row else { continue };
            let reaped = match self.stop.reached() {
                Some(_) => continue,
                None => self.on_io(executor.stop, || {
                    executor.reap(tree, class == Class::Unsaved, repo.worktrees.rescue_max)
                }),
            };
            let written = to_write(tree, class);
            if let Some(Emptied { freed, left }) = tell(row, reaped, written) {
                result.freed += freed;
                result.written += written;
                result.left.extend(left);
            }
        }
        for row in result
            .row
            .worktrees
            .iter_mut()
            .filter(|row| row.outcome == TreeOutcome::Planned)
        {
            row.outcome = TreeOutcome::Kept;
            row.reasons
                .insert(0, "the run stopped before its turn came".to_owned());
        }
    }

    /// A dry run: what would be freed.
    fn foresee(&self, result: &mut RepoResult, plan: &Plan) {
        let size = |paths: &[VolumePath]| {
            self.on_io(self.stop, || survey::size::size(paths, self.stop))
                .unwrap_or_default()
        };
        for (tree, class) in reaps(plan) {
            let State::Looked(contents) = &tree.state else {
                continue;
            };
            let Some(place) = &contents.place else {
                continue;
            };
            let mut rows = result
                .row
                .worktrees
                .iter_mut()
                .filter(|row| row.outcome == TreeOutcome::Planned);
            let row = rows
                .find(|row| row.path == tree.path)
                .expect("every tree of the plan has its row");
            let (size, written) = (
                size(&[place.clone(), tree.admin.clone()]),
                to_write(tree, class),
            );
            result.freed += size;
            result.written += written;
            row.bytes = Some(size.bytes.saturating_sub(written.bytes));
        }
        let small: Vec<VolumePath> = plan
            .clear
            .iter()
            .chain(plan.drop.iter().map(|tree| &tree.admin))
            .cloned()
            .collect();
        result.freed += size(&small);
    }
}

impl RepoResult {
    /// A row of which nothing more is known.
    fn of(row: report::Repo) -> Self {
        let (freed, written) = (Size::default(), Size::default());
        Self {
            row,
            idle: Vec::new(),
            locks: None,
            freed,
            written,
            skipped: false,
            short_of_space: false,
            left: Vec::new(),
        }
    }

    /// Trees that are idle and stay: their build output may be evicted. By what became of each, for
    /// one that was to go may have stayed after all.
    pub fn idle(&self) -> impl Iterator<Item = &IdleTree> {
        let other = |row: &report::Worktree| row.goes() || row.because == "busy";
        let gone: HashSet<&Path> = self
            .row
            .worktrees
            .iter()
            .filter(|row| other(row))
            .map(|row| row.path.as_path())
            .collect();
        self.idle
            .iter()
            .filter(move |(path, _)| !gone.contains(path.as_path()))
            .map(|(_, tree)| tree)
    }

    /// Takes in what a small step freed, or its failure as a row.
    fn did(&mut self, what: &Path, done: Result<Emptied, StepError>) -> bool {
        match done {
            Ok(Emptied { freed, left }) => {
                self.freed += freed;
                self.left.extend(left);
                true
            }
            Err(error) => {
                self.row
                    .failures
                    .push(format!("{}: {error}", what.display()));
                false
            }
        }
    }
}

/// What a rescue of the tree writes: each file becomes an object, in blocks of its own and at most
/// as large.
fn to_write(tree: &Worktree, class: Class) -> Size {
    match &tree.state {
        State::Looked(contents) if class == Class::Unsaved => {
            let Own { files, bytes } = contents.rescue;
            Size {
                bytes: bytes.saturating_add(files.saturating_mul(BLOCK)),
                inodes: files,
            }
        }
        _ => Size::default(),
    }
}

fn reaps(plan: &Plan) -> impl Iterator<Item = (&Worktree, Class)> {
    plan.trees
        .iter()
        .filter_map(|(tree, verdict)| match verdict {
            Verdict::Reap { class, .. } => Some((tree, *class)),
            _ => None,
        })
}

/// Bytes of a file system's block.
const BLOCK: u64 = 4096;
