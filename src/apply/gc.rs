//! Repacking, judged by what it changed and not by git's word.
//!
//! A stale `objects/maintenance.lock` makes git exit 0 having done nothing, so the counts before and after decide (`git.md`). It must never
//! choose a step: the plan lists them.

use super::reflogs::Logs;
use crate::facts::repo::Store;
use crate::git::{Git, GitError};
use crate::inside::Inside;
use crate::lock::{LockError, LockedRepo, StillHeld};
use crate::plan::gc::{Gc, GcAction, Step};
use crate::plan::share::Share;
use crate::shadow::{Refusal, Shadow};
use crate::stop::Stop;
use crate::survey::{self, reach};
use chrono::{DateTime, TimeDelta, Utc};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A step that takes longer is ended: the next night goes on, from fewer objects.
const LIMIT: Duration = Duration::from_hours(1);

/// What is younger is never dropped from a reflog: a day less than `git.rs` says, for git's clock runs on.
const GRACE: TimeDelta = TimeDelta::days(89);

/// A repack failed.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The lock is gone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Git said no.
    #[error(transparent)]
    Git(#[from] GitError),
    /// It could not be confined.
    #[error(transparent)]
    Confine(#[from] Refusal),
    /// What a repack must not lose could not be found out.
    #[error("failed to repack: {0}; nobody could say what its worktrees still need, so nothing was dropped")]
    Look(#[source] io::Error),
    /// What a repack must not lose could not be kept.
    #[error("failed to repack: {}; see `git fsck`", .0.message())]
    Store(#[from] git2::Error),
    /// The reflogs could not be compared.
    #[error("failed to compare the reflogs after their expiry: {0}; look for missing lines with `git reflog`")]
    Reflogs(#[source] io::Error),
    /// Git took a log that it couldn't read for an empty one.
    #[error("git dropped young lines of the reflog `{0}`; they were put back; look after the disk, it may be failing")]
    Emptied(Inside),
    /// Git said yes and did nothing.
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

/// Does the plan's steps, with its `share` of the machine.
///
/// # Errors
/// [`GcError`] at the first step that fails: those after it rest on it.
pub fn gc(lock: &LockedRepo, shadow: &Shadow, plan: &Gc, share: Share, stop: &Stop, now: DateTime<Utc>) -> Result<(), GcError> {
    let git = share.settings().into_iter().fold(shadow.git(stop, LIMIT), Git::with);
    // Nothing rests on these: one that makes no sense must not keep the rest from its repack.
    let mut indexed = Ok(());
    for pack in &plan.index {
        lock.still_held()?;
        let done = git.run(&["index-pack".as_ref(), pack.path().as_os_str()]);
        indexed = indexed.and(done.map(drop).map_err(GcError::from));
    }
    for step in &plan.steps {
        let logs = if drops_log_lines(*step) { Some(Logs::read(shadow.git_dir()).map_err(GcError::Look)?) } else { None };
        let shield = if drops_objects(*step) { Some(Shield::raise(lock, shadow)?) } else { None };
        let done = commands(*step).iter().try_for_each(|command| {
            lock.still_held()?;
            if *command == FULL {
                all_packed(&shadow.git_dir().path().join("refs")).map_err(GcError::Look)?;
            }
            git.change(command).map_err(GcError::from)
        });
        // Down it must come, whatever became of the step; its own trouble is told when there is no greater one.
        let lowered = shield.map_or(Ok(()), |shield| shield.lower());
        let intact = logs.map_or(Ok(()), |logs| still_there(logs, now - GRACE));
        intact.and(done).and(lowered)?;
    }
    indexed
}

fn drops_objects(step: Step) -> bool {
    matches!(step, Step::Full | Step::GitGc | Step::Prune)
}

fn drops_log_lines(step: Step) -> bool {
    matches!(step, Step::ExpireReflogs | Step::GitGc)
}

fn still_there(logs: Logs, since: DateTime<Utc>) -> Result<(), GcError> {
    let mended = logs.put_back(since).map_err(GcError::Reflogs)?;
    mended.into_iter().next().map_or(Ok(()), |log| Err(GcError::Emptied(log)))
}

/// Proves that pack-refs gathered every branch and tag. Git takes a folder of refs that the file server doesn't list for an empty one, and
/// would drop what they name; `packed-refs` it reads, or fails.
fn all_packed(refs: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(refs).follow_links(false) {
        let entry = entry?;
        let name = entry.path().strip_prefix(refs).unwrap_or(entry.path());
        // A worktree's own refs are never packed; ours come and go.
        let passing = ["bisect", "worktree", "rewritten", "treewarden/shield"].iter().any(|passing| name.starts_with(passing));
        if entry.file_type().is_file() && !passing && !std::fs::read(entry.path())?.starts_with(b"ref: ") {
            return Err(io::Error::other(format!("`refs/{}` was not packed, as if git could not see it", name.display())));
        }
    }
    Ok(())
}

type Command = &'static [&'static str];

const PACK_REFS: Command = &["pack-refs", "--all", "--prune"];
/// The ages are in `git.rs`. As options they would hold for stashes too, which live in a reflog and never expire otherwise.
const EXPIRE_REFLOGS: Command = &["reflog", "expire", "--all"];
const FULL: Command = &["repack", "-a", "-d", "-l", "-n", "--quiet", "--cruft", "--cruft-expiration=14.days.ago"];
/// `repack --cruft` leaves loose objects past their grace where they are.
const PRUNE: Command = &["prune", "--expire=14.days.ago"];
const COMMIT_GRAPH: Command = &["commit-graph", "write", "--reachable", "--changed-paths", "--split"];
/// What has a path filter already keeps it, so this costs what the repo holds once, and later little.
const WHOLE_COMMIT_GRAPH: Command = &["commit-graph", "write", "--reachable", "--changed-paths", "--split=replace"];

/// The ages are `git.md`'s grace, whatever the repo's own config says.
///
/// `git gc` itself is never called: among its steps is `git worktree prune`, which drops a registration whose `gitdir` it can't read, or whose
/// tree is gone and has no index, whatever `gc.worktreePruneExpire` says. Here are its other steps, one by one.
fn commands(step: Step) -> &'static [Command] {
    match step {
        Step::ExpireReflogs => &[EXPIRE_REFLOGS],
        // No multi-pack-index: it costs what the repo holds, not what the day brought, and the few packs in a geometric row are looked up as fast.
        // Looking for deltas is half of the work, and the smallest window finds most of what a wide one does (benches/README.md, "gc").
        Step::Geometric => &[&["repack", "-d", "-l", "-n", "--quiet", "--geometric=2", "--window=1"]],
        Step::Full => &[FULL, PRUNE],
        Step::Prune => &[PRUNE],
        Step::GitGc => &[PACK_REFS, EXPIRE_REFLOGS, FULL, PRUNE, WHOLE_COMMIT_GRAPH],
        Step::PackRefs => &[PACK_REFS],
        Step::CommitGraph => &[COMMIT_GRAPH],
        Step::WholeCommitGraph => &[WHOLE_COMMIT_GRAPH],
    }
}

/// Refs on what git passes over when it looks for what nothing reaches, for as long as it may drop objects: the autostash of a rebase that
/// stands still, and a worktree's own refs, would be gone after 14 days.
struct Shield<'a> {
    shadow: &'a Shadow,
}

impl<'a> Shield<'a> {
    const REFS: &'static str = "refs/treewarden/shield";

    fn raise(lock: &LockedRepo, shadow: &'a Shadow) -> Result<Self, GcError> {
        lock.still_held()?;
        let admins = survey::repo::admins(shadow.git_dir()).map_err(GcError::Look)?;
        let tips = reach::passed_over(shadow.git_dir(), &admins).map_err(GcError::Look)?;
        shadow.confined(|| {
            let repo = shadow.open()?;
            for tip in tips {
                // What is gone already can't be kept.
                if repo.odb()?.exists(tip) {
                    repo.reference(&format!("{}/{tip}", Self::REFS), tip, true, "treewarden: kept through a repack")?;
                }
            }
            Ok(Self { shadow })
        })?
    }

    /// Those of a run that was killed, too.
    fn lower(&self) -> Result<(), GcError> {
        self.shadow.confined(|| {
            for reference in self.shadow.open()?.references_glob(&format!("{}/*", Self::REFS))? {
                reference?.delete()?;
            }
            Ok(())
        })?
    }
}

/// Whether the counts show what the plan was for.
///
/// # Errors
/// [`GcError::NothingDone`].
pub fn judge(plan: &Gc, before: &Store, after: &Store) -> Result<(), GcError> {
    let shrunk = after.loose_objects < before.loose_objects || after.packs < before.packs || after.loose_refs < before.loose_refs;
    let needless = plan.action == GcAction::None || plan.may_be_idle;
    // Git passes over old packs that it could not delete.
    let left = plan.action == GcAction::Full && after.packs >= before.packs.max(2);
    if needless || (shrunk && !left) { Ok(()) } else { Err(GcError::NothingDone { loose: after.loose_objects, packs: after.packs }) }
}
