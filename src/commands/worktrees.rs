//! `treewarden worktree`: adds, lists and removes worktrees for agents, under the lock that the run
//! takes too.
//!
//! It uses the run's own surveys, verdicts and rescues. A tree is whole or absent, and a repo's
//! `.git/config` is only data: see [`crate::git::caller`].

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::apply::fill::FillError;
use crate::apply::repo::StepError;
use crate::apply::staging::WorkshopError;
use crate::apply::trash::{Own, Trash, TrashError};
use crate::commands::held::held_above;
use crate::commands::room::{self, NoRoom};
use crate::config::policy::{self, Policy};
use crate::fs::clock;
use crate::fs::humanize;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::GitError;
use crate::git::shadow::crypt::encrypted;
use crate::git::shadow::layout;
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::{LockError, LockedRepo};
use crate::run;
use crate::state::volume::VolumeError;
use crate::survey::context::VolumeContext;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub mod add;
pub mod list;
pub(crate) mod remote;
pub mod remove;

/// The pause before a busy repo is tried again. It is short, because an agent is waiting.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Why a command in a repo did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The volume is not what it should be.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// It is refused, and why.
    #[error("{0}")]
    Refused(String),
    /// The volume has no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Time is up.
    #[error("stopped: {0}; nothing was changed")]
    Stopped(String),
    /// Somebody else holds the lock, or it was lost.
    #[error("failed to lock {0}: {1}{hint}", hint = if matches!(**.1, LockError::Busy(_)) { "; wait longer with --wait TIME" } else { "" })]
    Lock(String, #[source] Box<LockError>),
    /// The repo is not what it should be.
    #[error("{0}: {1}")]
    Repo(String, #[source] Refusal),
    /// Git failed.
    #[error("{0}: {1}{2}")]
    Git(String, #[source] GitError, &'static str),
    /// The new tree could not be assembled or put in place.
    #[error(transparent)]
    StagingDir(#[from] WorkshopError),
    /// Its files could not be written.
    #[error("failed to check out {0}: {1}")]
    Fill(String, #[source] FillError),
    /// A tree could not be removed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The volume can't be read or written.
    #[error("failed to use the volume: {0}; see `treewarden check`")]
    Io(#[from] io::Error),
    /// What an earlier run left in the trash could not be handled.
    #[error(transparent)]
    Trash(#[from] TrashError),
}

impl WorkError {
    /// Returns the program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Volume(_) => 3,
            Self::Lock(_, error) if matches!(**error, LockError::Local { .. }) => 3,
            Self::Stopped(_) => 4,
            Self::NoRoom(_) => room::CODE,
            _ => 1,
        }
    }

    pub(crate) fn repo(repo: &policy::Repo) -> impl Fn(Refusal) -> Self {
        |refusal| match refusal {
            Refusal::Git(GitError::Ended { why, .. }) => Self::Stopped(why),
            refusal => Self::Repo(repo.name.clone(), refusal),
        }
    }

    pub(crate) fn fill(
        what: impl Into<String>,
        repo: &policy::Repo,
    ) -> impl FnOnce(FillError) -> Self {
        let what = what.into();
        move |error| match error {
            FillError::Git(GitError::Ended { why, .. }) => Self::Stopped(why),
            FillError::Encrypted(file) => {
                Self::Repo(repo.name.clone(), Refusal::Malformed(encrypted(&file)))
            }
            error => Self::Fill(what, error),
        }
    }

    /// Converts an error of git; `remedy` begins with a semicolon.
    pub(crate) fn git(
        what: impl Into<String>,
        remedy: &'static str,
    ) -> impl FnOnce(GitError) -> Self {
        let what = what.into();
        move |error| match error {
            GitError::Ended { why, .. } => Self::Stopped(why),
            error => Self::Git(what, error, remedy),
        }
    }
}

/// A command's claim to a repo's lock.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// The command.
    purpose: &'a str,
    /// How long it waits; none for as long as the config says.
    wait: Option<Duration>,
}

impl<'a> Claim<'a> {
    pub(crate) fn of(purpose: &'a str, wait: Option<Duration>) -> Self {
        Self { purpose, wait }
    }
}

/// A repo under its lock.
pub(crate) struct Locked {
    pub(crate) lock: LockedRepo,
    pub(crate) trash: Trash,
}

impl Locked {
    /// Takes the lock where there is room for work, which is made first if need be.
    pub(crate) fn with_room(
        policy: &Policy,
        repo: &policy::Repo,
        claim: Claim<'_>,
        stop: &Stop,
    ) -> Result<Self, WorkError> {
        let wait = claim.wait.unwrap_or(repo.lock_wait);
        room::under(policy, wait, stop, || Self::take(policy, repo, claim, stop))
    }

    /// Takes the lock, waiting for it as long as the claim says, and puts back what a crashed run
    /// moved to the trash and did not finish.
    pub(crate) fn take(
        policy: &Policy,
        repo: &policy::Repo,
        Claim { purpose, wait }: Claim<'_>,
        stop: &Stop,
    ) -> Result<Self, WorkError> {
        if let Some(why) = held_above() {
            return Err(WorkError::Usage(why));
        }
        let locks = policy.volume.locks();
        let (began, wait) = (Instant::now(), wait.unwrap_or(repo.lock_wait));
        let lock = loop {
            match LockedRepo::take(&locks, &repo.name, &repo.place, purpose, clock::now()) {
                Ok(lock) => break lock,
                Err(error)
                    if error.may_pass() && began.elapsed() < wait && stop.reached().is_none() =>
                {
                    stop.sleep(ASK_AGAIN);
                }
                Err(error) => return Err(WorkError::Lock(repo.name.clone(), Box::new(error))),
            }
        };
        let trash = Trash::of(&policy.volume.state)?;
        let reserved = VolumeContext {
            reserved: run::reserved(policy),
            ..VolumeContext::default()
        };
        trash.sweep(&lock, stop)?;
        // Without a git dir nothing can go back. Whoever opens the repo says what is wrong.
        if let Ok(layout) = layout::find(&repo.place, &repo.assigned) {
            let own = Own {
                git_dir: &layout.git_dir,
                is_right: &|place| reserved.in_the_way(place, &repo.place).is_none(),
            };
            trash.undo(&lock, &own, stop)?;
        }
        Ok(Self { lock, trash })
    }
}

/// Proves that the repo is well-formed, and returns its sanitised git dir.
pub(crate) fn shadow(repo: &policy::Repo, stop: &Stop) -> Result<Shadow, WorkError> {
    layout::find(&repo.place, &repo.assigned)
        .and_then(|layout| Shadow::of(&layout, stop))
        .map_err(WorkError::repo(repo))
}

/// Returns what the survey of a repo needs to know about the rest of the volume.
pub(crate) fn around(policy: &Policy) -> VolumeContext {
    let trashed = crate::apply::trash::taken_from(&policy.volume.state);
    VolumeContext {
        trashed,
        reserved: run::reserved(policy),
        touched: clock::is_touched(),
        ..VolumeContext::default()
    }
}

/// Returns the place of the worktree `name` of this repo: in the first root of its layout with one
/// wildcard directory. Roots outside of the checkout come first, because its `git status` shows a
/// tree inside.
pub fn place_of(repo: &policy::Repo, name: &str) -> Option<VolumePath> {
    let places = repo
        .worktrees
        .roots
        .iter()
        .filter_map(|root| filled(root, name));
    let mut places: Vec<VolumePath> = places
        .filter_map(|path| VolumePath::new(repo.place.root(), &path).ok())
        .collect();
    places.sort_by_key(|place| place.relative().starts_with(repo.place.relative()));
    places.into_iter().next()
}

/// Replaces the one `*` of a glob by a name. A character in brackets is literal: the config escapes
/// special characters of the repo's path like that.
fn filled(glob: &str, name: &str) -> Option<PathBuf> {
    let mut open = 0_usize;
    let mut path = PathBuf::new();
    for part in glob.split('/') {
        if part == "*" {
            open = open.saturating_add(1);
            path.push(name);
            continue;
        }
        let characters: Vec<char> = part.chars().collect();
        let mut plain = String::new();
        let mut rest = &characters[..];
        while let [first, more @ ..] = rest {
            let (literal, behind) = match (first, more) {
                ('[', [literal, ']', behind @ ..]) => (literal, behind),
                ('*' | '?' | '[' | '{', _) => return None,
                _ => (first, more),
            };
            plain.push(*literal);
            rest = behind;
        }
        path.push(plain);
    }
    (open == 1).then_some(path)
}

/// Returns the registered worktree that `name` means: by its place or its path, else by the name of
/// its directory or its registration.
pub(crate) fn find(
    repo: &policy::Repo,
    git_dir: &VolumePath,
    name: &str,
) -> Result<(VolumePath, PathBuf), WorkError> {
    let admins = crate::survey::registry::admins(git_dir)?;
    let trees: Vec<(VolumePath, PathBuf)> = admins
        .into_iter()
        .filter_map(|admin| {
            crate::survey::worktree::place(&admin)
                .ok()
                .map(|path| (admin, path))
        })
        .collect();
    let own = place_of(repo, name).map(|place| place.path());
    let exact =
        |(_, path): &&(VolumePath, PathBuf)| own.as_ref() == Some(path) || path.as_os_str() == name;
    if let Some(tree) = trees.iter().find(exact) {
        return Ok(tree.clone());
    }
    let last = |path: Option<&std::ffi::OsStr>| path.is_some_and(|last| last == name);
    let meant = trees
        .iter()
        .filter(|(admin, path)| last(path.file_name()) || last(admin.relative().file_name()));
    let mut meant: Vec<(VolumePath, PathBuf)> = meant.cloned().collect();
    match meant.len() {
        1 => Ok(meant.remove(0)),
        0 => Err(WorkError::Usage(format!(
            "{} has no worktree `{name}`; {}",
            repo.name,
            names(&trees)
        ))),
        _ => {
            let paths: Vec<String> = meant
                .iter()
                .map(|(_, path)| format!("`{}`", path.display()))
                .collect();
            Err(WorkError::Usage(format!(
                "`{name}` could be any of these, give the path instead: {}",
                paths.join(", ")
            )))
        }
    }
}

/// Returns the registered worktree that stands where a new one of this name would, if there is one.
pub fn standing(repo: &policy::Repo, name: &str) -> Option<PathBuf> {
    let place = place_of(repo, name)?;
    let layout = layout::find(&repo.place, &repo.assigned).ok()?;
    let admins = crate::survey::registry::admins(&layout.git_dir).ok()?;
    let stands = |admin: &VolumePath| {
        crate::survey::worktree::tree_of(admin).is_ok_and(|tree| tree.as_ref() == Some(&place))
    };
    admins.iter().any(stands).then(|| place.path())
}

fn names(trees: &[(VolumePath, PathBuf)]) -> String {
    let mut names: Vec<String> = trees
        .iter()
        .filter_map(|(_, path)| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort_by(|a, b| humanize::natural(a.as_bytes(), b.as_bytes()));
    let all = names.len();
    names.truncate(9);
    let some = humanize::of_all(&names, all);
    match names.len() {
        0 => "it has none".to_owned(),
        few if few == all => format!("it has {some}"),
        _ => format!("it has {some}, see `treewarden worktree list`"),
    }
}

/// Returns whether there is nothing, or an empty directory.
pub(crate) fn is_free(place: &VolumePath) -> io::Result<bool> {
    match openat::found(openat::stat(place))? {
        None => Ok(true),
        Some(stat)
            if rustix::fs::FileType::from_raw_mode(stat.st_mode)
                == rustix::fs::FileType::Directory =>
        {
            Ok(openat::list(openat::dir(place)?)?.is_empty())
        }
        Some(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_name_fills_a_root_with_one_open_directory() {
        for (glob, path) in [
            ("worktrees/acme__shop/*", Some("worktrees/acme__shop/fix")),
            ("worktrees/*/shop", Some("worktrees/fix/shop")),
            ("a[*]b/*", Some("a*b/fix")),
            ("workspaces/*/*", None),
            ("trees/shop-*", None),
            ("trees/{a,b}/*", None),
            ("trees/[ab]/*", None),
            ("trees/shop", None),
        ] {
            assert_eq!(
                filled(glob, "fix").as_deref(),
                path.map(Path::new),
                "{glob}"
            );
        }
    }
}
