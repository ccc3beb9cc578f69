//! `treewarden rescue restore`: restores a worktree, or files of it.
//!
//! It takes the repo's lock first, and refuses before anything is written if possible. The config
//! must use the place for nothing else, and a branch that moved on or is checked out elsewhere is
//! not used.

use super::{Found, RescuesError, find, open, read};
use crate::apply::ownership::{directories, owner_of};
use crate::apply::restore::{Registration, Restore, Restored};
use crate::apply::trash::Trash;
use crate::config::policy::Policy;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::LockedRepo;
use crate::report::words;
use crate::run;
use crate::survey;
use crate::survey::context::VolumeContext;
use crate::survey::rescues::RescueContents;
use chrono::{DateTime, Utc};
use git2::{Oid, Repository};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What to restore, and where.
#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// The rescue.
    pub id: &'a str,
    /// A file or directory in it; none for the whole worktree.
    pub path: Option<&'a Path>,
    /// The place of the tree or the files; none for the original one.
    pub to: Option<&'a Path>,
    /// Whether files that differ are replaced.
    pub force: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Back {
    /// The rescue's full id.
    pub id: String,
    /// The place of the tree or the files.
    pub place: PathBuf,
    /// How many files.
    pub restored: Restored,
    /// What the owner should know.
    pub notes: Vec<String>,
}

/// Restores a worktree, or files of it. The rescue itself stays until it expires.
///
/// # Errors
/// [`RescuesError`]: nothing was changed, or the error says what.
pub fn restore(
    policy: &Policy,
    request: &RestoreRequest<'_>,
    stop: &Stop,
    now: DateTime<Utc>,
) -> Result<Back, RescuesError> {
    let found = find(policy, request.id, stop, now)?;
    let repo = found.repo;
    let locks = policy.volume.locks();
    let lock = LockedRepo::take(&locks, &repo.name, &repo.place, "rescue restore", now);
    let lock = lock.map_err(|error| RescuesError::Lock(repo.name.clone(), Box::new(error)))?;
    let (shadow, git) =
        open(repo, stop).map_err(|refusal| RescuesError::Repo(repo.name.clone(), refusal))?;
    let saved = read(&git, &found, stop)?;
    let trash = Trash::of(&policy.volume.state)
        .map_err(|error| RescuesError::Target(format!("failed to use the trash: {error}")))?;
    let restore = Restore {
        lock: &lock,
        shadow: &shadow,
        trash: &trash,
        stop,
    };
    let back = Bringing {
        policy,
        found: &found,
        saved: &saved,
        restore,
    };
    match request.path {
        Some(path) => back.files(path, request),
        None => back.worktree(&git, request, now),
    }
}

/// A restore under way.
struct Bringing<'a> {
    policy: &'a Policy,
    found: &'a Found<'a>,
    saved: &'a RescueContents,
    restore: Restore<'a>,
}

impl Bringing<'_> {
    fn files(&self, path: &Path, request: &RestoreRequest<'_>) -> Result<Back, RescuesError> {
        let stood = &self.saved.manifest.path.0;
        let path: PathBuf = path
            .strip_prefix(stood)
            .unwrap_or(path)
            .components()
            .filter(|part| part.as_os_str() != ".")
            .collect();
        let pieces = self
            .saved
            .pieces(&path)
            .map_err(|cause| RescuesError::Read(self.found.id(), cause))?;
        let (place, base, owner) = if let Some(to) = request.to {
            (to.to_owned(), directory(to)?, None)
        } else {
            let place = self.place(stood)?;
            if found(openat::stat(&place)).is_ok_and(|stat| stat.is_none()) {
                let what = "give --to DIR for a place of their own, or leave PATH out to bring the whole worktree back";
                return Err(RescuesError::Target(format!(
                    "the tree of these files, `{}`, is gone: {what}",
                    place.path().display()
                )));
            }
            let failed = |error: io::Error| {
                RescuesError::Target(format!("failed to open `{place}`: {error}; give --to DIR"))
            };
            let owner = owner_of(self.restore.shadow.git_dir()).map_err(failed)?;
            let base = openat::root(place.root())
                .and_then(|root| directories(root, place.relative(), owner, &|_| 0o755))
                .map_err(failed)?;
            (place.path(), base, owner)
        };
        let restored = self.restore.files(&pieces, base, owner, request.force)?;
        Ok(Back {
            id: self.found.id(),
            place: place.join(path),
            restored,
            notes: Vec::new(),
        })
    }

    fn worktree(
        &self,
        git: &Repository,
        request: &RestoreRequest<'_>,
        now: DateTime<Utc>,
    ) -> Result<Back, RescuesError> {
        let wanted = request
            .to
            .map(std::path::absolute)
            .transpose()
            .map_err(|error| RescuesError::Target(error.to_string()))?;
        let place = self.place(wanted.as_deref().unwrap_or(&self.saved.manifest.path.0))?;
        self.prove_free(&place)?;
        let (head, notes) = self.head(git)?;
        let registration = Registration {
            head: &head,
            log: &self.log(now),
        };
        let restored = self.restore.worktree(self.saved, &place, &registration)?;
        Ok(Back {
            id: self.found.id(),
            place: place.path(),
            restored,
            notes,
        })
    }

    /// Returns a place on the volume that the config uses for nothing else.
    fn place(&self, path: &Path) -> Result<VolumePath, RescuesError> {
        let no = |why: &str| {
            RescuesError::Target(format!(
                "nothing can be restored to `{}`: {why}; give --to DIR",
                path.display()
            ))
        };
        let place = VolumePath::new(self.policy.volume.state.root(), path);
        let place = place
            .ok()
            .filter(|_| path.is_absolute())
            .ok_or_else(|| no("it lies outside the volume; a worktree stands on it (files alone go anywhere: give `.` as PATH)"))?;
        let around = VolumeContext {
            reserved: run::reserved(self.policy),
            ..VolumeContext::default()
        };
        match around.in_the_way(&place, &self.found.repo.place) {
            Some(other) => Err(no(&format!("that is the place of `{other}`"))),
            None if place
                .relative()
                .iter()
                .any(|part| part.eq_ignore_ascii_case(".git")) =>
            {
                Err(no("that is git's own"))
            }
            None => Ok(place),
        }
    }

    /// Checks that the place is missing or an empty directory, and that no worktree is registered
    /// for it.
    fn prove_free(&self, place: &VolumePath) -> Result<(), RescuesError> {
        let no = |why: String| {
            RescuesError::Target(format!(
                "no worktree can be made at `{}`: {why}",
                place.path().display()
            ))
        };
        let stat =
            found(openat::stat(place)).map_err(|error| no(format!("failed to look: {error}")))?;
        let empty = || {
            openat::dir(place)
                .and_then(|fd| Ok(openat::list(fd)?))
                .is_ok_and(|entries| entries.is_empty())
        };
        if stat.is_some() && !empty() {
            return Err(no(
                "something stands there; give --to DIR, or PATH to bring back single files"
                    .to_owned(),
            ));
        }
        let git_dir = self.restore.shadow.git_dir();
        let admins = survey::registry::admins(git_dir)
            .map_err(|error| no(format!("failed to read the registry: {error}")))?;
        let names = |admin: &&VolumePath| {
            let text = admin
                .join("gitdir")
                .ok()
                .and_then(|file| openat::read(&file, 64 << 10).ok())
                .unwrap_or_default();
            text.trim_ascii_end() == place.path().join(".git").as_os_str().as_encoded_bytes()
        };
        match admins.iter().find(names) {
            Some(admin) => Err(no(format!(
                "`{admin}` is registered for it already; run `git worktree prune` in the repo, or give --to DIR"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the new worktree's HEAD: its branch, if that is still at this commit and not checked
    /// out; else the commit alone.
    fn head(&self, git: &Repository) -> Result<(String, Vec<String>), RescuesError> {
        let branch = self.saved.manifest.branch.as_deref().filter(|branch| {
            branch.starts_with("refs/heads/") && git2::Reference::is_valid_name(branch)
        });
        let tip = branch
            .and_then(|branch| git.find_reference(branch).ok())
            .map(|reference| reference.target());
        let on = |branch: &str| Ok((format!("ref: {branch}\n"), Vec::new()));
        let short = |branch: &str| branch.trim_start_matches("refs/heads/").to_owned();
        let Some(head) = self.saved.head else {
            // A branch without a commit, as `git worktree add --orphan` creates it.
            let free = branch.filter(|branch| tip.is_none() && !self.is_out(branch));
            return free.map_or_else(
                || Err(RescuesError::Target("its branch had no commit yet, and is taken by now; give `.` as PATH and --to DIR".to_owned())),
                on,
            );
        };
        let detached = |why: String| {
            Ok((
                format!("{head}\n"),
                vec![format!(
                    "HEAD is detached at {}: {why}",
                    &head.to_string()[..10]
                )],
            ))
        };
        match (branch, tip) {
            (None, _) if self.saved.manifest.branch.is_some() => {
                detached("its branch has an impossible name".to_owned())
            }
            (None, _) => Ok((format!("{head}\n"), Vec::new())),
            (Some(branch), None) => detached(format!(
                "its branch is gone; `git switch -c {0}` in the tree makes it again",
                short(branch)
            )),
            (Some(branch), Some(tip)) if tip != Some(head) => {
                detached(format!("the branch {} has moved on since", short(branch)))
            }
            (Some(branch), _) if self.is_out(branch) => detached(format!(
                "the branch {} is checked out elsewhere",
                short(branch)
            )),
            (Some(branch), _) => on(branch),
        }
    }

    /// Returns whether the branch is checked out in any worktree. Unknown counts as yes.
    fn is_out(&self, branch: &str) -> bool {
        survey::registry::holder(self.restore.shadow, branch)
            .map_or(true, |holder| holder.is_some())
    }

    /// Returns a reflog with the commits that only this tree reached, for `git reflog` to show.
    fn log(&self, now: DateTime<Utc>) -> String {
        let mut before = Oid::ZERO_SHA1;
        let mut log = String::new();
        let lonely = self
            .saved
            .lonely
            .iter()
            .map(|&id| (id, "only the rescued tree reached this"));
        for (id, why) in lonely.chain(
            self.saved
                .head
                .map(|head| (head, "HEAD of the rescued tree")),
        ) {
            let when = now.timestamp();
            log.extend([format!(
                "{before} {id} treewarden <treewarden@localhost> {when} +0000\ttreewarden: {why}\n"
            )]);
            before = id;
        }
        log
    }
}

/// Opens, or creates, the directory that the caller named. It is trusted, links included.
fn directory(to: &Path) -> Result<OwnedFd, RescuesError> {
    let failed = |error: io::Error| {
        RescuesError::Target(format!("failed to open `{}`: {error}", to.display()))
    };
    match std::fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => openat::root(to).map_err(failed),
    }
}

/// Returns what the command prints.
pub fn message(back: &Back) -> String {
    let Restored { written, same } = back.restored;
    let plain = |text: &str| words::plain(text);
    let same = if same > 0 {
        format!(
            ", {} stood there already",
            words::count(same as u64, "file")
        )
    } else {
        String::new()
    };
    let files = words::count(written as u64, "file");
    let text = format!(
        "restored {} to `{}`: {files}{same}\n",
        plain(&back.id),
        plain(&back.place.to_string_lossy())
    );
    std::iter::once(text)
        .chain(back.notes.iter().map(|note| plain(note) + "\n"))
        .collect()
}
