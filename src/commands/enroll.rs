//! `treewarden enroll`: creates a persistent checkout of a configured repo.
//!
//! The checkout is assembled in the repo's staging directory, under its lock, and checked as in
//! every run; the last step renames it to its place. So neither a git-crypt repo nor half a clone
//! is ever in place, and nothing there is replaced. The caller's own git fetches into a [private
//! git dir](crate::git::private); the one in the staging directory is written as data, and no git
//! obeys it. What comes from the remote runs nothing: no hook or template of the caller's, no
//! submodule, and only filters that the caller's own config defines (git-lfs).

mod git_dir;

use crate::apply::fill::Fill;
use crate::apply::ownership::directories;
use crate::apply::staging::{NewFile, StagingDir, hand_over, put_file, put_loose};
use crate::commands::worktrees::remote::{Head, of_origin, settings};
use crate::commands::worktrees::{Claim, Locked, WorkError, is_free, shadow};
use crate::config::policy::{self, Address, Policy};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::private::Private;
use crate::git::shadow::layout::Layout;
use crate::git::shadow::{Refusal, Shadow};
use crate::git::{GitError, formats};
use crate::lock::StillHeld;
use crate::state::volume;
use git_dir::{GIT_DIR, GitDir};
use git2::Oid;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Settings of the agents' checkouts: the run repacks them, and git's own repack leaves locks
/// behind if it is killed with its pod.
const SETTINGS: [(&str, &str); 2] = [("gc.auto", "0"), ("maintenance.auto", "false")];

/// What a clone fetches.
const BRANCHES_AND_TAGS: [&str; 2] = [
    "+refs/heads/*:refs/remotes/origin/*",
    "+refs/tags/*:refs/tags/*",
];
/// The refspec if origin's HEAD is on no branch.
const HEAD: &str = "+HEAD:refs/treewarden/head";

/// The outcome of a repo.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The message.
    pub told: String,
    /// What the operator should know besides.
    pub note: Option<String>,
}

/// Returns the repos to enroll if none is named: those with an address and a place that is free or
/// unreadable.
pub fn missing(policy: &Policy) -> Vec<&policy::Repo> {
    policy
        .repos
        .iter()
        .filter(|repo| is_missing(repo))
        .collect()
}

/// Returns whether a repo would be cloned.
pub fn is_missing(repo: &policy::Repo) -> bool {
    repo.url.is_some() && is_free(&repo.place).unwrap_or(true)
}

/// Clones a repo, or reports that it is there already.
///
/// # Errors
/// [`WorkError`]: no checkout was created, not even in part.
pub fn enroll(
    policy: &Policy,
    repo: &policy::Repo,
    wait: Option<Duration>,
    stop: &Stop,
) -> Result<Enrolled, WorkError> {
    volume::prove(&policy.volume)?;
    let locked = Locked::take(policy, repo, Claim::of("enroll", wait), stop)?;
    if !is_free(&repo.place)? {
        return there(repo, &locked, stop);
    }
    let Some(url) = &repo.url else {
        return Err(WorkError::Usage(format!(
            "{}: the config has no `url` for it; add one, as for `git clone`",
            repo.name
        )));
    };
    let limit = policy.run.deadline;
    StagingDir::with(&locked.lock, &locked.trash, stop, |staging| {
        let tree = staging.tree();
        let clone = Clone {
            repo,
            url,
            staging,
            stop,
            limit,
        };
        let (private, commit) = clone.fetch()?;
        let shadow = Shadow::of(&Layout::plain(&tree), stop)
            .map_err(|refusal| WorkError::repo(repo)(elsewhere(refusal, &tree, &repo.place)))?;
        clone.check_out(&private, &shadow, commit)?;
        staging.put_checkout(&repo.place)?;
        Ok(Enrolled {
            told: format!(
                "enrolled {} at `{}`",
                repo.name,
                repo.place.path().display()
            ),
            note: None,
        })
    })
}

/// A clone under way.
struct Clone<'a> {
    repo: &'a policy::Repo,
    url: &'a Address,
    staging: &'a StagingDir<'a>,
    stop: &'a Stop,
    limit: Duration,
}

impl Clone<'_> {
    /// Fetches all branches and tags into the staging directory, and writes the new git dir.
    /// Returns also the commit to check out; none for an empty repo.
    fn fetch(&self) -> Result<(Private, Option<Oid>), WorkError> {
        let private = Private::new(self.directory("tree/.git/objects/pack", 0o755)?)?;
        let said = self.ask(&private)?;
        let refs = private
            .refs(true, self.stop, self.limit)
            .map_err(self.failed())?;
        put_loose(
            &private.loose()?,
            &self.directory("tree/.git/objects", 0o755)?,
            None,
        )?;
        let id_of = |name: &str| {
            refs.iter()
                .find(|known| known.name == name)
                .map(|known| known.id.clone())
        };
        // The fetched commit counts, not the one that origin reported a moment before.
        let commit = match (&said.branch, said.commit) {
            (Some(branch), _) => id_of(&format!("refs/remotes/origin/{branch}")),
            (None, said) => said.and(id_of("refs/treewarden/head")),
        };
        let head = Head {
            branch: said.branch,
            commit,
        };
        GitDir {
            staging: self.staging,
            mode: private.mode()?,
            url: self.url,
            refs: &refs,
            head: &head,
            shallow: private.shallow()?,
        }
        .write()?;
        let commit = head.commit.map(|id| Oid::from_str(&id)).transpose();
        Ok((private, commit.map_err(io::Error::other)?))
    }

    /// Asks origin for its HEAD, and fetches.
    fn ask(&self, private: &Private) -> Result<Head, WorkError> {
        const FETCH: [&str; 8] = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-tags",
            "origin",
            BRANCHES_AND_TAGS[0],
            BRANCHES_AND_TAGS[1],
        ];
        let at = private.empty();
        let git = of_origin(private.caller(&at, self.stop, self.limit), self.url);
        let answer = git
            .run(&["ls-remote", "--symref", "origin", "HEAD"])
            .map_err(self.failed())?;
        let head = Head::read(&answer);
        let is_valid =
            |branch: &String| git2::Reference::is_valid_name(&format!("refs/heads/{branch}"));
        if let Some(branch) = head.branch.as_ref().filter(|branch| !is_valid(branch)) {
            return Err(WorkError::Refused(format!(
                "{}: origin's default branch has an impossible name, `{branch}`",
                self.repo.name
            )));
        }
        let is_detached = head.branch.is_none() && head.commit.is_some();
        let args: Vec<&str> = FETCH
            .into_iter()
            .chain(is_detached.then_some(HEAD))
            .collect();
        git.watched(&args).map_err(self.failed())?;
        Ok(head)
    }

    fn failed(&self) -> impl FnOnce(GitError) -> WorkError + use<> {
        let failed = format!("failed to clone {}", self.url);
        move |error| {
            let remedy = if formats::is_mismatch(&error) {
                "; it has SHA-256 objects, which treewarden does not maintain yet"
            } else {
                "; try `git ls-remote` on it as this user, with the same environment"
            };
            WorkError::git(failed, remedy)(error)
        }
    }

    /// Checks out the commit; an empty repo has none.
    fn check_out(
        &self,
        private: &Private,
        shadow: &Shadow,
        commit: Option<Oid>,
    ) -> Result<(), WorkError> {
        let (top, git_dir, mode) = (
            self.staging.directory(Path::new("tree"))?,
            self.directory(GIT_DIR, 0o755)?,
            private.mode()?,
        );
        if let Some(commit) = commit {
            let fill = Fill {
                private,
                shadow,
                top: top.try_clone()?,
                git_dir: git_dir.try_clone()?,
                remote: settings(self.url),
                owner: None,
                stop: self.stop,
                limit: self.limit,
            };
            let index = fill
                .with(commit)
                .map_err(WorkError::fill(&self.repo.name, self.repo))?;
            let new = NewFile {
                name: "index".as_ref(),
                owner: None,
                mode: mode & 0o666,
            };
            put_file(&git_dir, new, |file| file.write_all(&index))?;
        }
        hand_over(&git_dir, None, mode)?;
        Ok(hand_over(&top, None, mode)?)
    }

    /// Opens a directory in the staging directory; missing ones are created with this mode.
    fn directory(&self, path: &str, mode: u32) -> io::Result<OwnedFd> {
        directories(
            self.staging.directory(Path::new(""))?,
            Path::new(path),
            None,
            &|_| mode,
        )
    }
}

/// Accepts an existing checkout if it is well-formed, and sets our [`SETTINGS`] in it.
fn there(repo: &policy::Repo, locked: &Locked, stop: &Stop) -> Result<Enrolled, WorkError> {
    let shadow = shadow(repo, stop)?;
    let config = Config {
        repo,
        locked,
        shadow: &shadow,
        stop,
    };
    for (key, value) in SETTINGS {
        if config.get(key)?.as_deref() != Some(value) {
            config.set(key, value)?;
        }
    }
    let origin = config
        .get("remote.origin.url")?
        .and_then(|url| Address::new(&url).ok());
    let other = repo
        .url
        .as_ref()
        .zip(origin)
        .filter(|(url, origin)| url.plain() != origin.plain());
    let note = other
        .map(|(url, origin)| format!("its origin is {origin}, and the config's `url` is {url}: `worktree add` fetches from the latter"));
    Ok(Enrolled {
        told: format!(
            "{} is enrolled already, at `{}`",
            repo.name,
            repo.place.path().display()
        ),
        note,
    })
}

/// The config of a checkout.
struct Config<'a> {
    repo: &'a policy::Repo,
    locked: &'a Locked,
    shadow: &'a Shadow,
    stop: &'a Stop,
}

impl Config<'_> {
    fn get(&self, key: &str) -> Result<Option<String>, WorkError> {
        let value = self.shadow.setting(key, self.stop);
        value.map_err(WorkError::repo(self.repo))
    }

    fn set(&self, key: &str, value: &str) -> Result<(), WorkError> {
        let Self {
            repo,
            locked,
            shadow,
            stop,
        } = self;
        let held = locked.lock.still_held();
        held.map_err(|error| WorkError::Lock(repo.name.clone(), Box::new(error)))?;
        let config = shadow.git_dir().path().join("config");
        let args = [
            "config".as_ref(),
            "--file".as_ref(),
            config.as_os_str(),
            key.as_ref(),
            value.as_ref(),
        ];
        let set = shadow.git(stop, Duration::from_secs(10)).run(&args);
        let failed = WorkError::git(format!("failed to set {key} of {}", repo.name), "");
        set.map(drop).map_err(failed)
    }
}

/// Rewords the refusal of a clone in the staging directory for the place that it was meant for.
fn elsewhere(refusal: Refusal, from: &VolumePath, to: &VolumePath) -> Refusal {
    match refusal {
        Refusal::Malformed(why) => {
            Refusal::Malformed(why.replace(&from.to_string(), &to.to_string()))
        }
        refusal => refusal,
    }
}
