//! `treewarden worktree add`: fetches, then creates a worktree, under the repo's lock.
//!
//! The tree is assembled in the repo's staging directory, from a checkout [in scratch
//! space](crate::apply::fill), and registered with two renames. The result is that of `git worktree
//! add`, without what that would run from the repo's own config: hooks, filters, the file system
//! monitor. A kill leaves at worst a branch at its start commit, which the next try uses, or a
//! registration without a tree, which it drops. An existing branch is never moved, nor checked out
//! a second time.

use super::remote::{Remote, settings};
use super::{Claim, Locked, WorkError, around, is_free, place_of};
use crate::apply::fill::Fill;
use crate::apply::ownership::owner_of;
use crate::apply::repo::RepoExecutor;
use crate::apply::staging::{NewFile, StagingDir, free_id, hand_over, put_file};
use crate::config::policy::{self, Address, Policy};
use crate::facts::worktree::State;
use crate::fs::clock;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::GitError;
use crate::git::private::Private;
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::StillHeld;
use crate::plan::repo::is_stale;
use crate::state::volume;
use crate::survey;
use crate::survey::context::Times;
use crate::survey::repo::RepoSurvey;
use git2::{ErrorCode, Oid, Repository};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A request for a new worktree.
#[derive(Debug)]
pub struct AddRequest<'a> {
    /// The repo.
    pub repo: &'a policy::Repo,
    /// The worktree's directory.
    pub name: &'a str,
    /// The start of its branch; none for origin's branch of that name, or else its default branch.
    pub from: Option<&'a str>,
    /// Its branch; none for one with the worktree's name.
    pub branch: Option<&'a str>,
    /// How long to wait for the lock; none for the repo's own `lock_wait`.
    pub wait: Option<Duration>,
}

/// The new worktree.
#[derive(Debug, PartialEq, Eq)]
pub struct Added {
    /// Its path.
    pub path: PathBuf,
    /// Its branch and where that started, for people.
    pub note: String,
}

/// The tip of the tree's branch, and a note about it.
struct Start {
    commit: Oid,
    /// Whether the branch doesn't exist yet.
    new: bool,
    note: String,
}

/// Fetches, and creates the worktree.
///
/// # Errors
/// [`WorkError`]: no worktree was created, not even in part.
pub fn add(policy: &Policy, request: &AddRequest<'_>, stop: &Stop) -> Result<Added, WorkError> {
    let repo = request.repo;
    let branch = request.branch.unwrap_or(request.name);
    prove_names(request.name, branch)?;
    volume::prove(&policy.volume)?;
    let place = place_of(repo, request.name).ok_or_else(|| {
        let why = "none of its worktree roots has a single `*` that a name could stand for; add one to `worktrees.roots`, for instance worktrees/<repo>/*";
        WorkError::Usage(format!("{}: {why}", repo.name))
    })?;
    let locked = Locked::with_room(policy, repo, Claim::of("worktree add", request.wait), stop)?;
    let shadow = super::shadow(repo, stop)?;
    let adding = Adding {
        policy,
        repo,
        request,
        branch,
        place,
        locked: &locked,
        shadow: &shadow,
        stop,
    };
    adding.prove_free()?;
    adding.prove_nobody_has_the_branch()?;
    // Open handles would keep packs that somebody's own `git gc` deletes during the fetch.
    shadow.close();
    let url = adding.origin()?;
    StagingDir::with(&locked.lock, &locked.trash, stop, |staging| {
        adding.fetch_and_make(staging, &url)
    })
}

/// Checks the names before anything else.
fn prove_names(name: &str, branch: &str) -> Result<(), WorkError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty()
        || name.len() > 120
        || name.starts_with(['.', '-'])
        || !name.chars().all(plain)
    {
        let why = "is no worktree's name: it becomes a directory's; write letters, digits, `.`, `_` and `-`, and give any other branch with --branch";
        return Err(WorkError::Usage(format!("`{name}` {why}")));
    }
    let sound = !branch.starts_with('-')
        && branch != "HEAD"
        && git2::Reference::is_valid_name(&full(branch));
    if sound {
        Ok(())
    } else {
        Err(WorkError::Usage(format!(
            "`{branch}` is no branch's name; give another with --branch (see `git check-ref-format`)"
        )))
    }
}

fn full(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// A worktree that is being added.
struct Adding<'a> {
    policy: &'a Policy,
    repo: &'a policy::Repo,
    request: &'a AddRequest<'a>,
    branch: &'a str,
    place: VolumePath,
    locked: &'a Locked,
    shadow: &'a Shadow,
    stop: &'a Stop,
}

impl Adding<'_> {
    fn fetch_and_make(&self, staging: &StagingDir<'_>, url: &Address) -> Result<Added, WorkError> {
        let remote = Remote {
            repo: self.repo,
            shadow: self.shadow,
            locked: self.locked,
            url,
            stop: self.stop,
            limit: self.policy.run.deadline,
        };
        let fetched = Path::new("fetched");
        let private = remote.private(staging.directory(fetched)?)?;
        let asks = self.request.from.is_none();
        let default = remote.fetch(&private, &staging.directory(fetched)?, asks)?;
        if let Some(default) = &default {
            self.remember(default)?;
        }
        let git = self
            .shadow
            .open()
            .map_err(|error| self.odd(format!("failed to open it: {}", error.message())))?;
        let start = self.start(&git, default.as_deref())?;
        // The fetched commit may be what makes it a git-crypt repo.
        self.shadow
            .judge_crypt(Some(start.commit), self.stop)
            .map_err(WorkError::repo(self.repo))?;
        self.make(staging, &private, &start, url)?;
        Ok(Added {
            path: self.place.path(),
            note: start.note,
        })
    }

    fn refused(&self, why: String) -> WorkError {
        WorkError::Refused(format!("{}: {why}", self.repo.name))
    }

    fn odd(&self, why: String) -> WorkError {
        WorkError::Repo(self.repo.name.clone(), Refusal::Malformed(why))
    }

    fn still_held(&self) -> Result<(), WorkError> {
        self.locked
            .lock
            .still_held()
            .map_err(|error| WorkError::Lock(self.repo.name.clone(), Box::new(error)))
    }

    fn prove_free(&self) -> Result<(), WorkError> {
        let (path, name) = (self.place.path(), self.request.name);
        if let Some(other) = around(self.policy).in_the_way(&self.place, &self.repo.place) {
            return Err(self.refused(format!(
                "`{}` is the place of `{other}`; choose another name",
                path.display()
            )));
        }
        for admin in survey::registry::admins(self.shadow.git_dir())? {
            if survey::worktree::place(&admin).is_ok_and(|there| there == path)
                && !self.cleared(&admin)?
            {
                let remedy = format!(
                    "choose another, or `treewarden worktree remove {} {name}`",
                    self.repo.name
                );
                return Err(self.refused(format!(
                    "the name `{name}` is in use by the worktree at `{}`; {remedy}",
                    path.display()
                )));
            }
        }
        if is_free(&self.place)? {
            return Ok(());
        }
        Err(self
            .refused(format!("the name `{name}` is in use: something stands at `{}`; choose another, or move that away", path.display())))
    }

    /// Drops the registration of a missing tree, if nothing is lost with it. It was left by an
    /// `add` that was killed between its last two steps, or by whoever deleted the tree by hand.
    fn cleared(&self, admin: &VolumePath) -> Result<bool, WorkError> {
        let (Locked { lock, trash }, now) = (self.locked, clock::now());
        let survey = RepoSurvey {
            shadow: self.shadow,
            policy: self.repo,
            times: Times::whole(lock.server_clock().unwrap_or(now), is_stale),
            around: &around(self.policy),
            due: &|_| true,
            stop: self.stop,
        };
        let tree = survey.one(admin).map_err(WorkError::repo(self.repo))?;
        let empty = matches!(&tree.state, State::Missing { unreached, staged: false, .. } if unreached.is_empty());
        if !empty || tree.locked.is_some() || !tree.in_progress.is_empty() {
            return Ok(false);
        }
        RepoExecutor {
            lock,
            shadow: self.shadow,
            trash,
            stop: self.stop,
            now,
        }
        .drop_registration(&tree)?;
        Ok(true)
    }

    fn prove_nobody_has_the_branch(&self) -> Result<(), WorkError> {
        let Some(admin) = survey::registry::holder(self.shadow, &full(self.branch))? else {
            return Ok(());
        };
        let place = survey::worktree::place(&admin).unwrap_or(self.repo.place.path());
        Err(self.refused(format!(
            "the branch `{}` is checked out at `{}`; give another with --branch",
            self.branch,
            place.display()
        )))
    }

    /// Returns the config's address, never the origin in the checkout's own config, which any agent
    /// may have written: fetching that with the caller's credentials would copy what only the
    /// caller may read to where agents can read it.
    fn origin(&self) -> Result<Address, WorkError> {
        if let Some(url) = &self.repo.url {
            return Ok(url.clone());
        }
        let theirs = self
            .shadow
            .setting("remote.origin.url", self.stop)
            .map_err(WorkError::repo(self.repo))?;
        let theirs = theirs
            .and_then(|url| Address::new(&url).ok())
            .map(|url| format!(" (its origin says {url})"))
            .unwrap_or_default();
        Err(self.refused(format!("the config has no `url` for it, and what `.git/config` names is never fetched; add the `url`{theirs}")))
    }

    /// Writes `origin/HEAD`, which tells the run where work lands.
    fn remember(&self, default: &str) -> Result<(), WorkError> {
        let target = format!("refs/remotes/origin/{default}");
        if !git2::Reference::is_valid_name(&target) {
            return Err(self.refused(
                "origin's default branch has an impossible name; give --from REF".to_owned(),
            ));
        }
        self.still_held()?;
        let set = self
            .git()
            .run(&["symbolic-ref", "refs/remotes/origin/HEAD", &target]);
        set.map(drop).map_err(WorkError::git(
            format!("failed to note the default branch of {}", self.repo.name),
            "",
        ))
    }

    /// Returns git, confined to this repo.
    fn git(&self) -> crate::git::Git<'_> {
        self.shadow.git(self.stop, Duration::from_mins(1))
    }

    /// Returns the tip of the existing branch, or the start of the new one.
    fn start(&self, git: &Repository, default: Option<&str>) -> Result<Start, WorkError> {
        let branch = self.branch;
        let there = self.tip(git, &full(branch))?;
        let short = |commit: Oid| commit.to_string()[..10].to_owned();
        if let Some(from) = self.request.from {
            let (what, commit) = self.resolve(git, from)?;
            return match there {
                Some(tip) if tip != commit => Err(self.refused(format!(
                    "the branch `{branch}` is there already, and not at {what}; leave --from out to check it out as it is, or give another with --branch"
                ))),
                there => Ok(Start { commit, new: there.is_none(), note: format!("branch {branch} at {what} ({})", short(commit)) }),
            };
        }
        if let Some(commit) = there {
            return Ok(Start {
                commit,
                new: false,
                note: format!(
                    "branch {branch}, which was there, as it is ({})",
                    short(commit)
                ),
            });
        }
        let own = self
            .tip(git, &format!("refs/remotes/origin/{branch}"))?
            .map(|commit| (branch.to_owned(), commit));
        let (from, commit) = match (own, default) {
            (Some(own), _) => own,
            (None, Some(default)) => {
                match self.tip(git, &format!("refs/remotes/origin/{default}"))? {
                    Some(commit) => (default.to_owned(), commit),
                    None => {
                        return Err(self.refused(
                            "origin's default branch has no commit yet; push one".to_owned(),
                        ));
                    }
                }
            }
            (None, None) => {
                return Err(
                    self.refused("origin names no default branch; give --from REF".to_owned())
                );
            }
        };
        Ok(Start {
            commit,
            new: true,
            note: format!("new branch {branch} from origin/{from} ({})", short(commit)),
        })
    }

    fn tip(&self, git: &Repository, name: &str) -> Result<Option<Oid>, WorkError> {
        match git
            .find_reference(name)
            .and_then(|reference| reference.peel_to_commit())
        {
            Ok(commit) => Ok(Some(commit.id())),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.odd(format!(
                "failed to read `{name}`: {}; see `git fsck`",
                error.message()
            ))),
        }
    }

    /// Resolves a name. Origin's branch comes first: a local branch of that name may be long out of
    /// date.
    fn resolve(&self, git: &Repository, from: &str) -> Result<(String, Oid), WorkError> {
        let short = ["refs/remotes/origin/", "refs/tags/", "refs/heads/"];
        let names = short
            .iter()
            .map(|kind| format!("{kind}{from}"))
            .filter(|_| !from.starts_with("refs/"));
        for name in names.filter(|name| git2::Reference::is_valid_name(name)) {
            if let Some(commit) = self.tip(git, &name)? {
                let told = name
                    .strip_prefix("refs/remotes/")
                    .or(name.strip_prefix("refs/tags/"))
                    .or(name.strip_prefix("refs/heads/"));
                return Ok((told.unwrap_or(&name).to_owned(), commit));
            }
        }
        let commit = git
            .revparse_single(from)
            .and_then(|object| object.peel_to_commit());
        let commit = commit.map_err(|_| {
            self.refused(format!("origin has no branch, tag or commit `{from}`, nor is there one here; `git ls-remote` names what it has"))
        })?;
        Ok((from.to_owned(), commit.id()))
    }

    fn make(
        &self,
        staging: &StagingDir<'_>,
        private: &Private,
        start: &Start,
        url: &Address,
    ) -> Result<(), WorkError> {
        let id = free_id(self.shadow.git_dir(), &self.place)?;
        self.assemble(staging, private, (&id, start.commit), url)?;
        if start.new {
            self.make_branch(start)?;
        }
        Ok(staging
            .put_worktree(self.shadow.git_dir(), &id, &self.place)
            .inspect_err(|_| self.take_back(start))?)
    }

    /// Writes the registration and the files as git would.
    fn assemble(
        &self,
        staging: &StagingDir<'_>,
        private: &Private,
        (id, commit): (&str, Oid),
        url: &Address,
    ) -> Result<(), WorkError> {
        let git_dir = self.shadow.git_dir();
        let (owner, mode) = (owner_of(git_dir)?, private.mode()?);
        let tree = staging.directory(Path::new("tree"))?;
        let fill = Fill {
            private,
            shadow: self.shadow,
            top: tree.try_clone()?,
            git_dir: openat::dir(git_dir)?,
            remote: settings(url),
            owner,
            stop: self.stop,
            limit: self.policy.run.deadline,
        };
        let index = fill.with(commit).map_err(WorkError::fill(
            format!("{commit} of {}", self.repo.name),
            self.repo,
        ))?;
        let put = |directory: &OwnedFd, name: &str, bytes: &[u8]| {
            let new = NewFile {
                name: name.as_ref(),
                owner,
                mode: mode & 0o666,
            };
            put_file(directory, new, |file| io::Write::write_all(file, bytes))
        };
        let (admin, logs) = (
            staging.directory(Path::new("admin"))?,
            staging.directory(Path::new("admin/logs"))?,
        );
        put(&tree, ".git", &self.git_file(id))?;
        put(&admin, "gitdir", &self.gitdir())?;
        put(&admin, "commondir", b"../..\n")?;
        let head = format!("ref: {}\n", full(self.branch));
        put(&admin, "HEAD", head.as_bytes())?;
        put(&admin, "index", &index)?;
        put(&logs, "HEAD", first_line(commit).as_bytes())?;
        Ok([&logs, &admin, &tree]
            .into_iter()
            .try_for_each(|directory| hand_over(directory, owner, mode))?)
    }

    /// Returns the tree's `.git`, which points to its registration.
    fn git_file(&self, id: &str) -> Vec<u8> {
        let admin = self.shadow.git_dir().path().join("worktrees").join(id);
        [b"gitdir: ", bytes(&admin), b"\n"].concat()
    }

    /// Returns the registration's `gitdir`, which points to the tree.
    fn gitdir(&self) -> Vec<u8> {
        [bytes(&self.place.path().join(".git")), b"\n"].concat()
    }

    /// Creates the branch. Git ensures that there is none yet.
    fn make_branch(&self, start: &Start) -> Result<(), WorkError> {
        self.still_held()?;
        let (name, commit, none) = (
            full(self.branch),
            start.commit.to_string(),
            Oid::ZERO_SHA1.to_string(),
        );
        let made = self.git().run(&[
            "update-ref",
            "--create-reflog",
            "-m",
            "branch: created by treewarden worktree add",
            &name,
            &commit,
            &none,
        ]);
        let remedy = "; give another with --branch";
        made.map(drop).map_err(WorkError::git(
            format!(
                "failed to make the branch {} of {}",
                self.branch, self.repo.name
            ),
            remedy,
        ))
    }

    /// Deletes the branch that was created for a tree which could not be put in place.
    fn take_back(&self, start: &Start) {
        if start.new {
            let gone: Result<_, GitError> = self.git().run(&[
                "update-ref",
                "-d",
                &full(self.branch),
                &start.commit.to_string(),
            ]);
            if let Err(error) = gone {
                tracing::warn!(%error, "failed to delete the branch of a worktree that was not created");
            }
        }
    }
}

/// Returns the first line of the reflog of the tree's HEAD.
fn first_line(commit: Oid) -> String {
    format!(
        "{} {commit} treewarden <treewarden@localhost> {} +0000\tworktree add\n",
        Oid::ZERO_SHA1,
        clock::now().timestamp()
    )
}

fn bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}
