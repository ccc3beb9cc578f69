//! Repacks a repo, and judges the result by what changed, not by git's exit code.
//!
//! A stale `objects/maintenance.lock` makes git exit 0 without doing anything, so the counts before
//! and after decide (`docs/design/git.md#judge-by-outcome`). The plan lists the steps.

use super::proof::ProofError;
use super::reflogs::{self, Batch, Compared, Cutoffs, Reflogs};
use super::repo::RepoExecutor;
use super::trash::TrashError;
use crate::facts::repo::Store as Counts;
use crate::fs::humanize;
use crate::fs::openat::{self, found};
use crate::git::shadow::{Refusal, Shadow};
use crate::git::{Git, GitError};
use crate::lock::{LockError, StillHeld};
use crate::plan::gc::{Gc, Step};
use crate::plan::grace::{self, Cutoff};
use crate::plan::limits::ResourceLimits;
use std::io;
use std::time::Duration;
use two_hands::Store;

mod deletion;
mod two_hands;

/// A git command that takes longer is ended: the next run goes on, with fewer objects.
const LIMIT: Duration = Duration::from_hours(1);

/// Why a repack failed.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The work could not be confined.
    #[error(transparent)]
    Confine(#[from] Refusal),
    /// What a repack must not lose could not be determined.
    #[error(
        "failed to repack: {0}; nobody could say what its worktrees still need, so nothing was dropped"
    )]
    Look(#[from] io::Error),
    /// A file that shows what a repack must not lose is malformed.
    #[error("{0}; the repo is repacked, but nothing is dropped until then")]
    Roots(String),
    /// An object that git would have dropped is needed, or may be.
    #[error(
        "failed to prove that a repack loses nothing: {0}; everything is kept as it was; see `git fsck`"
    )]
    Proof(#[source] ProofError),
    /// Packs could not be deleted.
    #[error(transparent)]
    Trash(#[from] TrashError),
    /// The refs could not be read.
    #[error("failed to look at the repo's refs: {}; see `git fsck`", .0.message())]
    Store(#[from] git2::Error),
    /// Git treated reflogs that it couldn't read as empty, or nobody could see whether it did.
    #[error("{0}")]
    Reflogs(String),
    /// Git reported success and did nothing.
    #[error(
        "failed to repack: git reported success, but {loose} loose objects and {packs} packs are still there; look for a stale lock in `.git/objects`"
    )]
    NothingDone {
        /// Loose objects afterwards.
        loose: u64,
        /// Packs afterwards.
        packs: u64,
    },
}

/// Executes the plan's steps within `share`, a share of the machine's resources.
///
/// # Errors
/// [`GcError`] at the first step that fails: those after it depend on it.
pub fn gc(executor: &RepoExecutor<'_>, plan: &Gc, share: ResourceLimits) -> Result<Done, GcError> {
    let RepoExecutor {
        lock, shadow, stop, ..
    } = executor;
    let settings: Vec<String> = share.settings();
    let git = settings
        .iter()
        .cloned()
        .fold(shadow.git(stop, LIMIT), Git::with);
    // No step depends on these: a malformed pack must not keep the rest from being repacked.
    let mut indexed = Ok(());
    for pack in &plan.index {
        lock.still_held()?;
        let done = git.run(&["index-pack".as_ref(), pack.path().as_os_str()]);
        indexed = indexed.and(done.map(drop).map_err(GcError::from));
    }
    shadow.with_shared_indexes()?;
    let store = Store::of(executor, settings)?;
    let mut repack = Repack::of(executor, git, store, plan)?;
    for step in plan.steps.iter().flat_map(|step| parts(*step)) {
        repack.step(step)?;
    }
    indexed.map(|()| Done {
        left: repack.store.left,
        partial: repack.partial,
    })
}

/// What the steps of a repack share.
struct Repack<'a> {
    executor: &'a RepoExecutor<'a>,
    git: Git<'a>,
    store: Store<'a>,
    /// The repo's own settings; empty if nothing is to be dropped.
    theirs: Vec<(String, String)>,
    /// What is older may be dropped.
    cutoff: Cutoff,
    /// Objects may be missing.
    partial: bool,
}

impl<'a> Repack<'a> {
    fn of(
        executor: &'a RepoExecutor<'a>,
        git: Git<'a>,
        store: Store<'a>,
        plan: &Gc,
    ) -> Result<Self, GcError> {
        let drops = plan.drops_objects() || plan.steps.contains(&Step::ExpireReflogs);
        let theirs = if drops {
            executor.shadow.gc_settings(executor.stop)?
        } else {
            Vec::new()
        };
        let cutoff = grace::objects(&theirs, executor.now);
        let partial = store.is_partial(&store.packs()?);
        Ok(Self {
            executor,
            git,
            store,
            theirs,
            cutoff,
            partial,
        })
    }

    fn step(&mut self, step: Step) -> Result<(), GcError> {
        let shadow = self.executor.shadow;
        match step {
            Step::PackRefs => self.run(PACK_REFS),
            Step::ExpireReflogs => expire(self.executor, &self.git, &self.theirs),
            Step::Geometric => self.store.geometric(),
            Step::Full | Step::GitGc => {
                lower(shadow)?;
                self.store.full(self.cutoff)
            }
            // Without a cutoff nothing is old enough to be dropped.
            Step::FullKeepingAll => {
                lower(shadow)?;
                self.store.full(None)
            }
            Step::Prune => self.store.prune(self.cutoff),
            Step::CommitGraph | Step::WholeCommitGraph if has_other_parents(shadow)? => Ok(()),
            // A path filter needs the trees, which may be missing.
            Step::CommitGraph if self.partial => self.run(&without_filters(COMMIT_GRAPH)),
            Step::WholeCommitGraph if self.partial => {
                self.run(&without_filters(WHOLE_COMMIT_GRAPH))
            }
            Step::CommitGraph => self.run(COMMIT_GRAPH),
            Step::WholeCommitGraph => self.run(WHOLE_COMMIT_GRAPH),
        }
    }

    fn run(&self, command: &[&str]) -> Result<(), GcError> {
        self.executor.lock.still_held()?;
        self.git.change(command).map_err(GcError::from)
    }
}

fn without_filters(command: Command) -> Vec<&'static str> {
    command
        .iter()
        .copied()
        .filter(|word| *word != "--changed-paths")
        .collect()
}

/// The result of a repack.
#[derive(Debug)]
pub struct Done {
    /// What could not be deleted and waits in the trash.
    pub left: Vec<String>,
    /// Objects may be missing, and only reachable loose objects could be packed.
    partial: bool,
}

/// Splits `git gc` into the steps that are run instead of it. It would also run `git worktree
/// prune`, which drops a registration if it can't read its `gitdir`, or if its tree is gone and it
/// has no index, whatever `gc.worktreePruneExpire` says; and it would both decide and delete.
fn parts(step: Step) -> Vec<Step> {
    match step {
        Step::GitGc => vec![
            Step::PackRefs,
            Step::ExpireReflogs,
            Step::Full,
            Step::WholeCommitGraph,
        ],
        step => vec![step],
    }
}

/// Checks whether grafts or replacements change the parents of commits: then git itself writes no
/// commit-graph.
fn has_other_parents(shadow: &Shadow) -> Result<bool, GcError> {
    let grafts = shadow
        .git_dir()
        .join("info/grafts")
        .map_err(io::Error::from)?;
    // A file that can't be inspected may contain some.
    if found(openat::stat(&grafts)).map_or(true, |found| found.is_some_and(|stat| stat.st_size > 0))
    {
        return Ok(true);
    }
    Ok(shadow.with(|repo| {
        repo.references_glob("refs/replace/*")
            .map(|mut replaced| replaced.next().is_some())
    })??)
}

/// Drops old entries of the reflogs; each log is passed to git by name.
fn expire(
    executor: &RepoExecutor<'_>,
    git: &Git<'_>,
    theirs: &[(String, String)],
) -> Result<(), GcError> {
    let one = |cutoffs: Cutoffs, batch: Batch| {
        let date = |cutoff: Cutoff| {
            cutoff.map_or_else(
                || "never".to_owned(),
                |cutoff| cutoff.format(DATE).to_string(),
            )
        };
        let ages = [
            format!("--expire={}", date(cutoffs.0)),
            format!("--expire-unreachable={}", date(cutoffs.1)),
        ];
        let names = batch.names.iter().map(String::as_str);
        let command: Vec<&str> = ["reflog", "expire"]
            .into_iter()
            .chain(ages.iter().map(String::as_str))
            .chain(names)
            .collect();
        executor.lock.still_held()?;
        let done = git.change(&command).map_err(GcError::from);
        match reflogs::since(cutoffs) {
            Some(since) => expired(done, &batch.put_back(since)),
            None => done,
        }
    };
    let reflogs = Reflogs {
        shadow: executor.shadow,
        stop: executor.stop,
        settings: theirs,
        now: executor.now,
    };
    reflogs.each_due(one)
}

/// Returns the outcome of an expiry, with what it did to the reflogs.
fn expired(done: Result<(), GcError>, compared: &Compared) -> Result<(), GcError> {
    let some = |logs: &[String], named: usize| {
        humanize::of_all(logs.get(..named).unwrap_or(logs), logs.len())
    };
    let mut wrong = Vec::new();
    if !compared.failed.is_empty() {
        wrong.push(format!(
            "failed to compare or restore reflogs after their expiry: {}; look for missing lines with `git reflog`",
            some(&compared.failed, 1)
        ));
    }
    if !compared.mended.is_empty() {
        wrong.push(format!(
            "git dropped young lines of reflogs: {}; they were put back; look after the disk, it may be failing",
            some(&compared.mended, 5)
        ));
    }
    if wrong.is_empty() {
        return done;
    }
    wrong.extend(done.err().map(|error| error.to_string()));
    Err(GcError::Reflogs(wrong.join("; ")))
}

/// Deletes the refs with which an earlier version kept what git doesn't see.
fn lower(shadow: &Shadow) -> Result<(), GcError> {
    shadow.confined(|| {
        for reference in shadow.open()?.references_glob("refs/treewarden/shield/*")? {
            reference?.delete()?;
        }
        Ok(())
    })?
}

/// A point in time in a format that git reads independently of its own clock.
const DATE: &str = "%Y-%m-%d %H:%M:%S +0000";

type Command = &'static [&'static str];

const PACK_REFS: Command = &["pack-refs", "--all", "--prune"];
/// No repack here deletes: see [`two_hands`]. No bitmap: git writes none beside a checkout either,
/// and it would need a whole history.
const FULL: Command = &[
    "-c",
    "repack.writeBitmaps=false",
    "repack",
    "-a",
    "-l",
    "-n",
    "--quiet",
    "--cruft",
];
/// No multi-pack-index: its cost follows the size of the repo, not the day's changes, and look-ups
/// in the few packs of a geometric progression are as fast. Searching for deltas is half of the
/// work, and the smallest window finds most of what a wide one does (`benches/README.md#gc`).
const GEOMETRIC: Command = &[
    "repack",
    "-l",
    "-n",
    "--quiet",
    "--geometric=2",
    "--window=1",
];
/// Packs loose objects that are reachable.
const PACK_LOOSE: Command = &["repack", "-l", "-n", "--quiet", "--window=1"];
const COMMIT_GRAPH: Command = &[
    "commit-graph",
    "write",
    "--reachable",
    "--changed-paths",
    "--split",
];
/// Existing path filters are kept, so this costs the size of the repo once, and later little.
const WHOLE_COMMIT_GRAPH: Command = &[
    "commit-graph",
    "write",
    "--reachable",
    "--changed-paths",
    "--split=replace",
];

/// Checks that the counts show the plan's effect. The number of packs says nothing: packs may be in
/// a geometric progression, or kept. `two_hands` has counted the objects of the new ones.
///
/// # Errors
/// [`GcError::NothingDone`].
pub fn judge(plan: &Gc, done: &Done, before: &Counts, after: &Counts) -> Result<(), GcError> {
    let packs = plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::Geometric | Step::Full | Step::FullKeepingAll));
    let refs = plan.steps.contains(&Step::PackRefs);
    let loose = packs
        && !done.partial
        && before.loose_objects > 0
        && after.loose_objects >= before.loose_objects;
    let idle =
        loose || (!packs && refs && before.loose_refs > 0 && after.loose_refs >= before.loose_refs);
    if plan.may_be_idle || !idle {
        Ok(())
    } else {
        Err(GcError::NothingDone {
            loose: after.loose_objects,
            packs: after.packs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_expiry_did_to_reflogs_is_told_with_git_s_own_error() {
        let names = |of: std::ops::Range<u8>| of.map(|number| format!("`{number}`")).collect();
        let compared = Compared {
            mended: names(0..7),
            failed: names(7..9),
        };
        let git = || Err(GcError::Roots("git said so".to_owned()));
        let told = expired(git(), &compared).unwrap_err().to_string();
        for part in ["`7` and 1 more;", "`4` and 2 more;", "git said so"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(expired(Ok(()), &compared).is_err());
        assert!(expired(Ok(()), &Compared::default()).is_ok());
        let told = expired(git(), &Compared::default()).unwrap_err();
        assert!(matches!(told, GcError::Roots(_)), "{told}");
    }
}
