//! `treewarden enroll`: makes a persistent checkout of a configured repo.
//!
//! It is assembled in the repo's staging directory, under its lock, and checked as in every run;
//! one rename puts it in its place as the last step. So neither a git-crypt repo nor half a clone
//! is ever in place, and nothing there is replaced. The caller's own git fetches into a [private
//! git dir](crate::git::private): the one in the staging directory is written as data, and no git
//! obeys it. What comes from the remote is content and runs nothing: no hook or template of the
//! caller's, no submodule, and only filters that the caller's own config defines (git-lfs).

use crate::apply::fill::Fill;
use crate::apply::ownership::folders;
use crate::apply::staging::{StagingDir, hand_over, put_file, put_loose};
use crate::commands::worktrees::remote::{Head, caller, settings};
use crate::commands::worktrees::{Locked, WorkError, is_free};
use crate::config::policy::{self, Address, Policy};
use crate::fs::clock;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::private::{Private, Ref};
use crate::git::shadow::{Refusal, Shadow};
use crate::lock::StillHeld;
use crate::state::volume;
use git2::Oid;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Settings of the agents' checkouts: the run repacks them, and a repack of git's own that is
/// killed with its pod leaves locks behind.
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

/// Returns the repos to enroll if none is named: those with an address whose place is free.
pub fn missing(policy: &Policy) -> Vec<&policy::Repo> {
    policy
        .repos
        .iter()
        .filter(|repo| repo.url.is_some() && is_free(&repo.place).unwrap_or(true))
        .collect()
}

/// Clones a repo, or reports that it is there.
///
/// # Errors
/// [`WorkError`]: there is no new checkout, and no half of one.
pub fn enroll(
    policy: &Policy,
    repo: &policy::Repo,
    wait: Option<Duration>,
    stop: &Stop,
) -> Result<Enrolled, WorkError> {
    volume::prove(&policy.volume)?;
    let locked = Locked::take(policy, repo, "enroll", wait, stop)?;
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
        let shadow = Shadow::of(&tree, stop)
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
    /// Fetches all branches and tags into the staging directory, and writes the final git dir.
    /// Returns the commit to check out; none for an empty repo.
    fn fetch(&self) -> Result<(Private, Option<Oid>), WorkError> {
        let &Self {
            repo,
            url,
            stop,
            limit,
            ..
        } = self;
        let failed = || {
            WorkError::git(
                format!("failed to clone {url}"),
                "; try `git ls-remote` on it as this user, with the same environment",
            )
        };
        let private = Private::new(self.folder("tree/.git/objects/pack", 0o755)?)?;
        let at = private.empty();
        let git = caller(&private, &at, url, stop, limit);
        let mut head = Head::read(
            &git.run(&["ls-remote", "--symref", "origin", "HEAD"])
                .map_err(failed())?,
        );
        if let Some(branch) = head
            .branch
            .as_ref()
            .filter(|branch| !git2::Reference::is_valid_name(&format!("refs/heads/{branch}")))
        {
            return Err(WorkError::Refused(format!(
                "{}: origin's default branch has an impossible name, `{branch}`",
                repo.name
            )));
        }
        let detached = head.commit.clone().filter(|_| head.branch.is_none());
        let refspecs = [
            Some(BRANCHES_AND_TAGS[0]),
            Some(BRANCHES_AND_TAGS[1]),
            detached.as_ref().map(|_| HEAD),
        ];
        let fetch = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-tags",
            "origin",
        ];
        let args: Vec<&str> = fetch
            .into_iter()
            .chain(refspecs.into_iter().flatten())
            .collect();
        git.run(&args).map_err(failed())?;
        let refs = private.refs(true, stop, limit).map_err(failed())?;
        put_loose(
            &private.loose()?,
            &self.folder("tree/.git/objects", 0o755)?,
            None,
        )?;
        let id_of = |name: &str| {
            refs.iter()
                .find(|known| known.name == name)
                .map(|known| known.id.clone())
        };
        // What it fetched counts, not what origin said a moment before.
        head.commit = match &head.branch {
            Some(branch) => id_of(&format!("refs/remotes/origin/{branch}")),
            None => detached.and(id_of("refs/treewarden/head")),
        };
        self.write(&private, &refs, &head)?;
        let commit = head.commit.map(|id| Oid::from_str(&id)).transpose();
        Ok((
            private,
            commit.map_err(|error| WorkError::Io(io::Error::other(error)))?,
        ))
    }

    /// Writes the git dir as `git clone` would leave it, without hooks and templates.
    fn write(&self, private: &Private, refs: &[Ref], head: &Head) -> Result<(), WorkError> {
        let mode = private.mode()?;
        let put = |folder: &str, name: &str, bytes: &str| {
            put_file(
                self.folder(folder, mode)?,
                name.as_ref(),
                None,
                mode & 0o666,
                |file| file.write_all(bytes.as_bytes()),
            )
        };
        let branch = head.branch.as_deref().unwrap_or("main");
        let (git_dir, quoted) = ("tree/.git", |text: &str| {
            text.replace('\\', "\\\\").replace('"', "\\\"")
        });
        let url = format!(
            "\turl = \"{}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            quoted(self.url.plain())
        );
        let core = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n[remote \"origin\"]\n";
        let mut config = vec![core.to_owned(), url];
        if head.branch.is_some() || head.commit.is_none() {
            config.push(format!(
                "[branch \"{0}\"]\n\tremote = origin\n\tmerge = \"refs/heads/{0}\"\n",
                quoted(branch)
            ));
        }
        config.extend(SETTINGS.iter().filter_map(|(key, value)| {
            let (section, key) = key.split_once('.')?;
            Some(format!("[{section}]\n\t{key} = {value}\n"))
        }));
        put(git_dir, "config", &config.concat())?;
        for folder in ["refs/heads", "refs/tags", "objects/info", "info"] {
            self.folder(&format!("{git_dir}/{folder}"), mode)?;
        }
        let own = (head.branch.is_some())
            .then(|| head.commit.clone())
            .flatten();
        let own = own.map(|id| Ref {
            name: format!("refs/heads/{branch}"),
            id,
            peeled: None,
        });
        let kept = refs.iter().filter(|known| {
            known.name != "refs/remotes/origin/HEAD" && !known.name.starts_with("refs/treewarden/")
        });
        let mut packed: Vec<&Ref> = kept.chain(&own).collect();
        packed.sort_by(|one, other| one.name.cmp(&other.name));
        let line = |Ref { name, id, peeled }: &Ref| {
            format!(
                "{id} {name}\n{}",
                peeled
                    .as_ref()
                    .map(|peeled| format!("^{peeled}\n"))
                    .unwrap_or_default()
            )
        };
        let packed: Vec<String> = packed.into_iter().map(line).collect();
        put(
            git_dir,
            "packed-refs",
            &format!(
                "# pack-refs with: peeled fully-peeled sorted \n{}",
                packed.concat()
            ),
        )?;
        if let Some(cut) = private.shallow()? {
            put(git_dir, "shallow", &String::from_utf8_lossy(&cut))?;
        }
        let stands = match (&head.branch, &head.commit) {
            (None, Some(commit)) => format!("{commit}\n"),
            _ => format!("ref: refs/heads/{branch}\n"),
        };
        if let Some(commit) = &head.commit {
            let (none, now) = (Oid::ZERO_SHA1, clock::now().timestamp());
            let moved = format!(
                "{none} {commit} treewarden <treewarden@localhost> {now} +0000\tclone: from {}\n",
                self.url.plain()
            );
            put(&format!("{git_dir}/logs"), "HEAD", &moved)?;
            if own.is_some() {
                let path = Path::new("refs/heads").join(branch);
                let (folder, name) = (
                    path.parent().unwrap_or(&path),
                    path.file_name().unwrap_or_default(),
                );
                put(
                    &format!("{git_dir}/logs/{}", folder.display()),
                    &name.to_string_lossy(),
                    &moved,
                )?;
                put(
                    &format!("{git_dir}/refs/remotes/origin"),
                    "HEAD",
                    &format!("ref: refs/remotes/origin/{branch}\n"),
                )?;
            }
        }
        // Last: without it a directory is no git dir.
        Ok(put(git_dir, "HEAD", &stands)?)
    }

    /// An empty repo has nothing to check out.
    fn check_out(
        &self,
        private: &Private,
        shadow: &Shadow,
        commit: Option<Oid>,
    ) -> Result<(), WorkError> {
        let (top, git_dir, mode) = (
            self.staging.folder(Path::new("tree"))?,
            self.folder("tree/.git", 0o755)?,
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
            put_file(&git_dir, "index".as_ref(), None, mode & 0o666, |file| {
                file.write_all(&index)
            })?;
        }
        hand_over(&git_dir, None, mode)?;
        Ok(hand_over(&top, None, mode)?)
    }

    /// Opens a directory in the staging directory; missing ones are made with this mode.
    fn folder(&self, path: &str, mode: u32) -> io::Result<OwnedFd> {
        folders(
            self.staging.folder(Path::new(""))?,
            Path::new(path),
            None,
            &|_| mode,
        )
    }
}

/// Checks an existing checkout: a well-formed one is as good as one that was cloned here.
fn there(repo: &policy::Repo, locked: &Locked, stop: &Stop) -> Result<Enrolled, WorkError> {
    match repo
        .place
        .join(".git")
        .map_err(io::Error::other)
        .and_then(|git_dir| openat::stat(&git_dir))
    {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(WorkError::Refused(format!(
                "{}: something stands at `{}`, and it is no git checkout; move it away",
                repo.name,
                repo.place.path().display()
            )));
        }
        seen => drop(seen?),
    }
    let shadow = Shadow::of(&repo.place, stop).map_err(WorkError::repo(repo))?;
    let config = shadow.git_dir().path().join("config");
    for (key, value) in SETTINGS {
        if shadow
            .setting(key, stop)
            .map_err(WorkError::repo(repo))?
            .as_deref()
            != Some(value)
        {
            locked
                .lock
                .still_held()
                .map_err(|error| WorkError::Lock(repo.name.clone(), Box::new(error)))?;
            let args = [
                "config".as_ref(),
                "--file".as_ref(),
                config.as_os_str(),
                key.as_ref(),
                value.as_ref(),
            ];
            let set = shadow.git(stop, Duration::from_secs(10)).run(&args);
            set.map_err(WorkError::git(
                format!("failed to set {key} of {}", repo.name),
                "",
            ))?;
        }
    }
    let origin = shadow
        .setting("remote.origin.url", stop)
        .map_err(WorkError::repo(repo))?
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

/// Rewords a refusal of the clone in the staging directory for its final place.
fn elsewhere(refusal: Refusal, from: &VolumePath, to: &VolumePath) -> Refusal {
    match refusal {
        Refusal::Odd(why) => Refusal::Odd(why.replace(&from.to_string(), &to.to_string())),
        refusal => refusal,
    }
}
