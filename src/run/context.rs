//! What the work on all repos shares, and the result of each.

use crate::apply::repo::StepError;
use crate::apply::trash::Emptied;
use crate::config::policy::Policy;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::locks::Locks;
use crate::facts::worktree::Worktree;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::plan::limits::ResourceLimits;
use crate::plan::repo::Only;
use crate::report::{self, Class, ReasonName, RepoOutcome};
use crate::run::Options;
use crate::run::mode::Mode;
use crate::run::watchdog::SoFar;
use crate::state::ledger::Ledger;
use crate::survey::borrowers::Borrowers;
use crate::survey::context::VolumeContext;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use rayon::ThreadPool;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What the work on all repos shares.
pub struct RunContext<'a> {
    /// The run's time.
    pub now: DateTime<Utc>,
    /// The run's span: threads don't inherit it.
    pub span: tracing::Span,
    /// When to stop.
    pub stop: &'a Stop,
    /// The whole policy.
    pub policy: &'a Policy,
    /// The command line's options.
    pub options: &'a Options,
    /// The progress bar, if a person watches.
    pub bar: &'a ProgressBar,
    /// What was done so far, for the watchdog.
    pub(super) so_far: &'a SoFar,
    /// Whether anything is changed.
    pub mode: &'a Mode,
    /// What the survey of a repo needs to know of the rest of the volume.
    pub around: VolumeContext,
    /// The borrowers of the repos' objects, searched when something is first to be dropped.
    pub borrowers: Arc<OnceLock<Borrowers>>,
    /// The requested parts of the work.
    pub only: Only,
    /// The volume's free space.
    pub free_bytes: u64,
    /// What earlier runs know of lock files; none if that isn't needed.
    pub ledger: Option<&'a Ledger>,
    /// Threads that work on repos.
    pub repos: &'a ThreadPool,
    /// Threads that wait for the network.
    pub io: &'a ThreadPool,
    /// What each repack may use.
    pub limits: ResourceLimits,
}

/// The result of a pass over a repo.
pub struct RepoResult {
    /// The row.
    pub row: report::Repo,
    /// Trees that were idle in the survey, by their path: see [`RepoResult::idle`].
    pub idle: Vec<(PathBuf, IdleTree)>,
    /// Trees that are due, and their class: only in a survey for the ladder.
    pub due: Vec<(Worktree, Class)>,
    /// What its lock files name, including those of trees to be removed; none if they weren't
    /// surveyed.
    pub locks: Option<Locks>,
    /// What was freed with trees, registrations, rescues and leftovers; in a dry run, would be.
    pub freed: Size,
    /// The part of it that expired rescues have, as projected.
    pub expired: Size,
    /// What rescues wrote, or would write, at most.
    pub written: Size,
    /// It is unchanged since an earlier run, so it was not surveyed.
    pub skipped: bool,
    /// The repack was left out because the volume had no room.
    pub short_of_space: bool,
    /// What could not be deleted at once and waits in the trash.
    pub left: Vec<String>,
}

impl RunContext<'_> {
    /// Returns where repos are locked.
    pub fn locks(&self) -> VolumePath {
        self.policy.volume.locks()
    }

    /// Runs work on the threads that wait for the network. A rayon thread that waits for another
    /// pool would take its own pool's next item meanwhile: the next repo, while this one is locked.
    /// So a thread of its own does the waiting, and this one sleeps.
    pub(super) fn on_io<T: Send>(&self, stop: &Stop, work: impl FnOnce() -> T + Send) -> T {
        let span = tracing::Span::current();
        let work = || {
            let _counted = stop.budget().enter();
            span.in_scope(work)
        };
        let done = std::thread::scope(|scope| scope.spawn(|| self.io.install(work)).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl RepoResult {
    /// Creates a result with nothing but a row.
    pub(super) fn of(row: report::Repo) -> Self {
        let (freed, written) = (Size::default(), Size::default());
        Self {
            row,
            idle: Vec::new(),
            due: Vec::new(),
            locks: None,
            freed,
            expired: Size::default(),
            written,
            skipped: false,
            short_of_space: false,
            left: Vec::new(),
        }
    }

    /// Returns why a later pass over the repo did nothing, if somebody should know. A busy repo is
    /// no failure, and if time was over, the whole run is interrupted.
    pub(super) fn went_wrong(&self, stop: &Stop) -> Option<&str> {
        let wrong = match self.row.outcome {
            RepoOutcome::Failed => true,
            RepoOutcome::Refused => stop.reached().is_none(),
            RepoOutcome::Maintained | RepoOutcome::Planned | RepoOutcome::Busy => false,
        };
        self.row.reason.as_deref().filter(|_| wrong)
    }

    /// Returns the trees that are idle and stay: their build output may be evicted. The rows
    /// decide, because a tree that was due may have stayed after all.
    pub fn idle(&self) -> impl Iterator<Item = &IdleTree> {
        let other = |row: &report::Worktree| row.goes() || row.because == ReasonName::Busy;
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

    /// Adds what a small step freed, or its failure as a row. Returns whether it succeeded.
    pub(super) fn did(&mut self, what: &Path, done: Result<Emptied, StepError>) -> bool {
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
