//! `treewarden rescue`: lists the rescues, and shows the contents of one; `restore` restores one.
//!
//! Reading takes no lock, and uses the shadow. An id that could mean two rescues is refused.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::apply::restore::RestoreError;
use crate::commands::repos::goes_by;
use crate::config::policy::{self, Policy};
use crate::facts::rescue::{REFS, Rescue};
use crate::fs::humanize;
use crate::fs::stop::Stop;
use crate::git::GitError;
use crate::git::shadow::layout;
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::LockError;
use crate::plan::rescue::{Fate, fates};
use crate::report::rescues::{Change, Entry, Lonely, Rescues, SCHEMA, Shown, stands};
use crate::state::volume;
use crate::survey::committed::{Files, files_of};
use crate::survey::reach;
use crate::survey::rescues::{self, RescueContents};
use chrono::{DateTime, Utc};
use git2::{Oid, Repository, Sort};
use std::io::{self, Seek};

pub mod restore;

/// The most commits that `show` names.
const COMMITS: usize = 1000;
/// The fewest digits of a commit's id that are accepted.
const SHORTEST: usize = 4;

/// Git's patch of two trees, with nothing of anybody's config.
const PATCH: [&str; 8] = [
    "diff-tree",
    "-r",
    "--patch",
    "--binary",
    "--no-color",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
];
/// Git knows this tree without an object.
const NO_FILES: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Why a command about rescues did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RescuesError {
    /// The volume is not what it should be.
    #[error(transparent)]
    Volume(#[from] volume::VolumeError),
    /// No rescue, or more than one, has this id.
    #[error("{0}")]
    Id(String),
    /// The repo is locked, or its lock can't be taken.
    #[error("failed to lock {0}: {1}")]
    Lock(String, #[source] Box<LockError>),
    /// The repo is not what it should be.
    #[error("{0}: {1}")]
    Repo(String, #[source] Refusal),
    /// The rescue is malformed, or can't be read.
    #[error("failed to read the rescue {0}: {1}; see `git fsck` in the repo")]
    Read(String, #[source] io::Error),
    /// Its patch can't be made.
    #[error("failed to make a patch of {0}: {1}")]
    Patch(String, #[source] GitError),
    /// It can't be restored there.
    #[error("{0}")]
    Target(String),
    /// Restoring it failed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// One rescue of one repo.
pub(crate) struct Found<'a> {
    pub(crate) repo: &'a policy::Repo,
    pub(crate) rescue: Rescue,
    pub(crate) fate: Fate,
}

impl Found<'_> {
    pub(crate) fn id(&self) -> String {
        format!("{}:{}", self.repo.name, self.short())
    }

    /// `worktree/time`.
    fn short(&self) -> &str {
        self.rescue
            .name
            .strip_prefix(REFS)
            .unwrap_or(&self.rescue.name)
            .trim_start_matches('/')
    }

    fn is(&self, id: &str) -> bool {
        let beginning =
            id.len() >= SHORTEST && self.rescue.commit.starts_with(&id.to_ascii_lowercase());
        let full = id
            .split_once(':')
            .is_some_and(|(name, short)| goes_by(self.repo, name) && short == self.short());
        beginning || full || id == self.short() || id == self.rescue.name
    }

    pub(crate) fn entry(&self, repo: &Repository, now: DateTime<Utc>) -> Entry {
        let manifest = Oid::from_str(&self.rescue.commit)
            .ok()
            .and_then(|commit| rescues::manifest(repo, commit, &mut Stop::never().hold()).ok());
        let (expires, stands) = stands(self.fate, now);
        let told = self
            .short()
            .rsplit_once('/')
            .map_or(self.short(), |(worktree, _)| worktree)
            .to_owned();
        let branch = manifest
            .as_ref()
            .and_then(|manifest| manifest.branch.as_deref());
        Entry {
            id: self.id(),
            commit: self.rescue.commit.clone(),
            rescue_ref: self.rescue.name.clone(),
            repo: self.repo.name.clone(),
            branch: branch.map(|branch| {
                branch
                    .strip_prefix("refs/heads/")
                    .unwrap_or(branch)
                    .to_owned()
            }),
            worktree: manifest
                .as_ref()
                .map_or(told, |manifest| manifest.worktree.clone()),
            head: manifest.as_ref().and_then(|manifest| manifest.head.clone()),
            path: manifest.map(|manifest| manifest.path.0),
            taken: self.rescue.taken,
            files: self.rescue.own.map(|own| own.files),
            bytes: self.rescue.own.map(|own| own.bytes),
            expires,
            stands,
        }
    }
}

/// Returns the rescues of one repo.
fn of<'a>(
    repo: &'a policy::Repo,
    git: &Repository,
    now: DateTime<Utc>,
) -> Result<Vec<Found<'a>>, git2::Error> {
    let all = rescues::all(git)?;
    let fates = fates(&all, &repo.worktrees, now);
    Ok(all
        .into_iter()
        .zip(fates)
        .map(|(rescue, fate)| Found { repo, rescue, fate })
        .collect())
}

/// Opens a repo behind its shadow.
pub(crate) fn open(repo: &policy::Repo, stop: &Stop) -> Result<(Shadow, Repository), Refusal> {
    let shadow = Shadow::of(&layout::find(&repo.place, &repo.assigned)?, stop)?;
    let git = shadow.open().map_err(|error| {
        Refusal::Malformed(format!(
            "failed to open `{}`: {}",
            repo.place,
            error.message()
        ))
    })?;
    Ok((shadow, git))
}

/// Returns every rescue of these repos, or of all: the newest first.
///
/// # Errors
/// The volume is not what it should be. A repo that can't be read is among the failures.
pub fn list(
    policy: &Policy,
    repos: &[&policy::Repo],
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Rescues, RescuesError> {
    volume::prove(&policy.volume)?;
    let (mut entries, mut failures) = (Vec::new(), Vec::new());
    for repo in policy
        .repos
        .iter()
        .filter(|repo| repos.is_empty() || repos.iter().any(|chosen| chosen.name == repo.name))
    {
        let listed = open(repo, stop)
            .map_err(|refusal| refusal.to_string())
            .and_then(|(_shadow, git)| {
                let found = of(repo, &git, now).map_err(|error| error.message().to_owned())?;
                Ok(found
                    .iter()
                    .map(|found| found.entry(&git, now))
                    .collect::<Vec<_>>())
            });
        match listed {
            Ok(listed) => entries.extend(listed),
            Err(why) => failures.push(format!(
                "failed to list the rescues of {}: {why}",
                repo.name
            )),
        }
    }
    let by_name = |a: &Entry, b: &Entry| humanize::natural(a.id.as_bytes(), b.id.as_bytes());
    entries.sort_by(|a, b| b.taken.cmp(&a.taken).then_with(|| by_name(a, b)));
    Ok(Rescues {
        schema: SCHEMA,
        rescues: entries,
        failures,
    })
}

/// Returns the one rescue that `id` means.
pub(crate) fn find<'a>(
    policy: &'a Policy,
    id: &str,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Found<'a>, RescuesError> {
    volume::prove(&policy.volume)?;
    let (mut meant, mut failures) = (Vec::new(), Vec::new());
    // A full id names its repo, so the others need not be read.
    let named = |repo: &&policy::Repo| {
        id.split_once(':')
            .is_none_or(|(name, _)| goes_by(repo, name))
    };
    for repo in policy.repos.iter().filter(named) {
        let found = open(repo, stop).map_err(|refusal| refusal.to_string());
        match found.and_then(|(_shadow, git)| {
            of(repo, &git, now).map_err(|error| error.message().to_owned())
        }) {
            Ok(found) => meant.extend(found.into_iter().filter(|found| found.is(id))),
            Err(why) => failures.push(format!("{}: {why}", repo.name)),
        }
    }
    match meant.len() {
        1 => Ok(meant.remove(0)),
        0 if failures.is_empty() => Err(RescuesError::Id(format!(
            "there is no rescue `{id}`; `treewarden rescue list` names them"
        ))),
        0 => Err(RescuesError::Id(format!(
            "there is no rescue `{id}` in what can be read; {}",
            failures.join("; ")
        ))),
        _ => {
            let ids: Vec<String> = meant
                .iter()
                .map(|found| format!("{} ({})", found.id(), &found.rescue.commit))
                .collect();
            Err(RescuesError::Id(format!(
                "`{id}` could be any of these, give more of it: {}",
                ids.join(", ")
            )))
        }
    }
}

fn read(git: &Repository, found: &Found<'_>, stop: &Stop) -> Result<RescueContents, RescuesError> {
    let commit = Oid::from_str(&found.rescue.commit).map_err(io::Error::other);
    commit
        .and_then(|commit| rescues::read(git, commit, stop, &mut stop.hold()))
        .map_err(|cause| RescuesError::Read(found.id(), cause))
}

/// Returns the contents of a rescue.
///
/// # Errors
/// [`RescuesError`].
pub fn show(
    policy: &Policy,
    id: &str,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Shown, RescuesError> {
    let found = find(policy, id, stop, now)?;
    let (_shadow, git) = open(found.repo, stop)
        .map_err(|refusal| RescuesError::Repo(found.repo.name.clone(), refusal))?;
    let saved = read(&git, &found, stop)?;
    let unreadable = |error: git2::Error| RescuesError::Read(found.id(), io::Error::other(error));
    let head = saved
        .head
        .map_or_else(
            || Ok(Files::new()),
            |head| files_of(&git, head, stop, &mut stop.hold()),
        )
        .map_err(unreadable)?;
    let tips: Vec<Oid> = saved.lonely.iter().copied().chain(saved.head).collect();
    let (commits, more_commits) =
        unreached(&git, &tips, &[], stop).map_err(|error| RescuesError::Read(found.id(), error))?;
    Ok(Shown {
        entry: found.entry(&git, now),
        changes: changes(&saved, &head),
        staged: saved.staged_alone(&head),
        commits,
        more_commits,
    })
}

/// Writes what the rescued tree changed against HEAD, as a patch that `git apply` takes. It ends
/// early if `to` takes no more.
///
/// # Errors
/// [`RescuesError`].
pub fn patch(
    policy: &Policy,
    id: &str,
    stop: &Stop,
    to: &mut dyn io::Write,
) -> Result<(), RescuesError> {
    let found = find(policy, id, stop, DateTime::UNIX_EPOCH)?;
    let (shadow, git) = open(found.repo, stop)
        .map_err(|refusal| RescuesError::Repo(found.repo.name.clone(), refusal))?;
    // Only a well-formed rescue is read, as everywhere.
    let head = read(&git, &found, stop)?.head;
    let from = head.map_or(NO_FILES.to_owned(), |head| head.to_string());
    let args = [&PATCH[..], &[&from, &found.rescue.commit]].concat();
    let unreadable = |cause| RescuesError::Read(found.id(), cause);
    // In a file first: git never waits for a reader, who may be a person.
    let mut whole = tempfile::tempfile().map_err(unreadable)?;
    let diff = shadow.git(stop, policy.run.deadline);
    diff.write(&args, whole.try_clone().map_err(unreadable)?)
        .map_err(|error| RescuesError::Patch(found.id(), error))?;
    whole.rewind().map_err(unreadable)?;
    match io::copy(&mut whole, to) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unreadable(error)),
        _ => Ok(()),
    }
}

/// Returns the commits from these tips that neither a ref nor `others` keep, the newest first, and
/// whether there are more.
///
/// # Errors
/// A commit or a ref can't be read.
pub(crate) fn unreached(
    git: &Repository,
    tips: &[Oid],
    others: &[Oid],
    stop: &Stop,
) -> io::Result<(Vec<Lonely>, bool)> {
    let mut commits = Vec::new();
    let kept: Vec<Oid> = reach::kept(git, stop)?
        .ids
        .into_iter()
        .chain(others.iter().copied())
        .collect();
    let mut walk = reach::walk(git, tips, &kept).map_err(io::Error::other)?;
    // Commits of one second come in their order, too.
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)
        .map_err(io::Error::other)?;
    for commit in walk.take(COMMITS + 1) {
        let commit = commit.and_then(|id| git.find_commit(id));
        let commit = commit.map_err(io::Error::other)?;
        let message = String::from_utf8_lossy(commit.message_bytes());
        commits.push(Lonely {
            id: commit.id().to_string(),
            subject: message.lines().next().unwrap_or_default().to_owned(),
        });
    }
    let more = commits.len() > COMMITS;
    commits.truncate(COMMITS);
    Ok((commits, more))
}

/// Returns the changes as in `git status`, by path.
fn changes(saved: &RescueContents, head: &Files) -> Vec<Change> {
    const KIND: u32 = 0o170_000;
    let mut changes = Vec::new();
    for (path, &(mode, blob)) in &saved.files {
        let status = match head.get(path) {
            Some(&entry) if entry == (mode, blob) => continue,
            Some(&(before, _)) if before & KIND != mode & KIND => 'T',
            Some(_) => 'M',
            None if saved.staged[0].contains_key(path) => 'A',
            None => '?',
        };
        changes.push(Change {
            status,
            path: path.clone(),
        });
    }
    let gone = head
        .iter()
        .filter(|(path, (mode, _))| mode & KIND != 0o160_000 && !saved.files.contains_key(*path));
    changes.extend(gone.map(|(path, _)| Change {
        status: 'D',
        path: path.clone(),
    }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}
