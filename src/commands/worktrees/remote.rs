//! A repo's remote, at the address in the operator's config. A private git dir is used to query it
//! and to fetch.
//!
//! Git sees the existing refs and objects as data, and what it fetches is data again: packs, which
//! are moved to the repo's own, and refs, which the confined git writes. Nothing that git obeys,
//! and no address, comes from the repo's own config.

use super::{Locked, WorkError};
use crate::apply::ownership::{directories, owner_of};
use crate::apply::staging::{NewFile, put_file, put_loose, put_packs};
use crate::config::policy::{self, Address};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::git::GitError;
use crate::git::caller::Caller;
use crate::git::private::{Private, Ref};
use crate::git::shadow::Shadow;
use crate::lock::StillHeld;
use rustix::fs::OFlags;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Bytes. No well-formed list of shallow commits is longer.
const SHALLOW_CAP: u64 = 1 << 20;

/// The prefix of origin's branches in this repo.
const BRANCHES: &str = "refs/remotes/origin/";
const TAGS: &str = "refs/tags/";

/// The HEAD of origin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its default branch.
    pub(crate) branch: Option<String>,
    /// The commit of its HEAD.
    pub(crate) commit: Option<String>,
}

impl Head {
    /// Parses the answer of `git ls-remote --symref origin HEAD`.
    pub(crate) fn read(answer: &[u8]) -> Self {
        let answer = String::from_utf8_lossy(answer);
        let target = answer
            .lines()
            .find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        let commit = answer.lines().find_map(|line| {
            line.strip_suffix("\tHEAD")
                .filter(|id| !id.starts_with("ref: "))
        });
        Self {
            branch: target
                .and_then(|target| target.strip_prefix("refs/heads/"))
                .map(str::to_owned),
            commit: commit.map(str::to_owned),
        }
    }
}

/// Returns git with the address, and the refspec to fetch.
pub(crate) fn of_origin<'a>(git: Caller<'a>, url: &Address) -> Caller<'a> {
    let refspec = (
        "remote.origin.fetch".to_owned(),
        format!("+refs/heads/*:{BRANCHES}*"),
    );
    git.with(settings(url)).with([refspec])
}

/// Returns the address as settings of git, for git-lfs, too: it would otherwise ask whatever host a
/// commit's `.lfsconfig` names, with the caller's password.
pub(crate) fn settings(url: &Address) -> Vec<(String, String)> {
    let plain = url.plain();
    let large = match plain.trim_end_matches('/') {
        web if !web.starts_with("http://") && !web.starts_with("https://") => plain.to_owned(),
        web if web.strip_suffix(".git").is_some() => format!("{web}/info/lfs"),
        web => format!("{web}.git/info/lfs"),
    };
    let named = [
        ("remote.origin.url", plain.to_owned()),
        ("lfs.url", large.clone()),
        ("lfs.pushurl", large),
    ];
    named
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .chain(url.secret())
        .collect()
}

/// The remote of an existing repo.
pub(crate) struct Remote<'a> {
    pub(crate) repo: &'a policy::Repo,
    pub(crate) shadow: &'a Shadow,
    pub(crate) locked: &'a Locked,
    pub(crate) url: &'a Address,
    pub(crate) stop: &'a Stop,
    pub(crate) limit: Duration,
}

impl Remote<'_> {
    /// Creates a git dir that knows what the repo has; what it fetches is written to `packs`.
    pub(crate) fn private(&self, packs: OwnedFd) -> Result<Private, WorkError> {
        let mut private = Private::new(packs)?;
        let git_dir = openat::dir(self.shadow.git_dir())?;
        let directory = |name: &str| {
            openat::below(
                &git_dir,
                Path::new(name),
                OFlags::RDONLY | OFlags::DIRECTORY,
            )
            .map_err(io::Error::from)
        };
        private.borrow(&directory("objects")?)?;
        for lender in self.shadow.lenders()? {
            private.borrow(&lender)?;
        }
        private.know(&self.refs()?, self.shallow()?.as_deref())?;
        Ok(private)
    }

    fn shallow(&self) -> io::Result<Option<Vec<u8>>> {
        found(openat::read(
            &self.shadow.git_dir().join("shallow")?,
            SHALLOW_CAP,
        ))
    }

    /// Returns the refs that git may offer to the remote, without those to missing objects.
    fn refs(&self) -> Result<Vec<Ref>, WorkError> {
        let read = |repo: &git2::Repository| {
            let odb = repo.odb()?;
            let plain = |reference: git2::Reference<'_>| {
                Some((reference.name().ok()?.to_owned(), reference.target()?))
            };
            let known = |name: &str| {
                ["refs/heads/", "refs/remotes/", TAGS]
                    .iter()
                    .any(|kind| name.starts_with(kind))
            };
            let named = repo
                .references()?
                .flatten()
                .filter_map(plain)
                .filter(|(name, id)| known(name) && odb.exists(*id));
            Ok(named
                .map(|(name, id)| Ref {
                    name,
                    id: id.to_string(),
                    peeled: None,
                })
                .collect())
        };
        let refs: Result<Vec<Ref>, git2::Error> = self.shadow.with(read).and_then(|refs| refs);
        let odd = |error: git2::Error| {
            crate::git::shadow::Refusal::Malformed(format!(
                "failed to read its refs: {}; see `git fsck`",
                error.message()
            ))
        };
        let refs = refs.map_err(odd).map_err(WorkError::repo(self.repo));
        // Open handles would keep packs that somebody's own `git gc` deletes during the fetch.
        self.shadow.close();
        refs
    }

    /// Brings origin's branches up to date. Returns the name of its default branch, if asked for.
    pub(crate) fn fetch(
        &self,
        private: &Private,
        packs: &OwnedFd,
        ask: bool,
    ) -> Result<Option<String>, WorkError> {
        const FETCH: [&str; 5] = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "origin",
        ];
        let failed = || {
            let remedy = "; nothing was made: try `git ls-remote` on it as this user, with the same environment";
            WorkError::git(
                format!("failed to fetch {} from {}", self.repo.name, self.url),
                remedy,
            )
        };
        let at = private.empty();
        let git = of_origin(private.caller(&at, self.stop, self.limit), self.url);
        let head = if ask {
            let answer = git.run(&["ls-remote", "--symref", "origin", "HEAD"]);
            Head::read(&answer.map_err(failed())?)
        } else {
            Head::default()
        };
        let refs = || private.refs(false, self.stop, self.limit);
        let (shallow, before) = (private.shallow()?, refs().map_err(failed())?);
        git.watched(&FETCH).map_err(failed())?;
        let after = refs().map_err(failed())?;
        let still = self.locked.lock.still_held();
        still.map_err(|error| WorkError::Lock(self.repo.name.clone(), Box::new(error)))?;
        self.keep(private, packs, shallow.as_deref())?;
        self.note(&before, &after).map_err(WorkError::git(
            format!("failed to note what was fetched for {}", self.repo.name),
            "",
        ))?;
        Ok(head.branch)
    }

    /// Moves what was fetched to the repo's store; `shallow` is where its history was cut before.
    fn keep(&self, private: &Private, packs: &OwnedFd, shallow: Option<&[u8]>) -> io::Result<()> {
        let owner = owner_of(self.shadow.git_dir())?;
        let git_dir = openat::dir(self.shadow.git_dir())?;
        let store = |path: &str| directories(&git_dir, Path::new(path), owner, &|_| 0o755);
        put_packs(packs, &store("objects/pack")?, owner)?;
        put_loose(&private.loose()?, &store("objects")?, owner)?;
        // A bare repo begins without, and git can't create it where it is a link.
        store("logs")?;
        let cut = private.shallow()?;
        if let Some(cut) = cut.filter(|cut| shallow != Some(cut)) {
            let file = NewFile {
                name: "shallow".as_ref(),
                owner,
                mode: 0o644,
            };
            put_file(&git_dir, file, |file| file.write_all(&cut))?;
        }
        Ok(())
    }

    /// Writes the refs that the fetch moved, with the confined git.
    fn note(&self, before: &[Ref], after: &[Ref]) -> Result<(), GitError> {
        let ours = |name: &str| {
            (name.starts_with(BRANCHES) && name != "refs/remotes/origin/HEAD")
                || name.starts_with(TAGS)
        };
        let (known, still): (HashMap<_, _>, HashSet<_>) = (
            before.iter().map(|old| (&old.name, &old.id)).collect(),
            after.iter().map(|new| &new.name).collect(),
        );
        // First those that the caller's config prunes: an old name may be a new one's directory.
        let gone = before.iter().filter(|old| {
            old.name.starts_with(BRANCHES) && ours(&old.name) && !still.contains(&old.name)
        });
        let gone: Vec<String> = gone.map(|old| format!("delete {}\n", old.name)).collect();
        let moved = after
            .iter()
            .filter(|new| ours(&new.name) && known.get(&new.name) != Some(&&new.id));
        let moved: Vec<String> = moved
            .map(|new| format!("update {} {}\n", new.name, new.id))
            .collect();
        for lines in [gone, moved].iter().filter(|lines| !lines.is_empty()) {
            self.shadow.git(self.stop, self.limit).feed(
                &["update-ref", "-m", "fetch origin", "--stdin"],
                lines.concat().as_bytes(),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remotes_head_is_read() {
        let id = "a".repeat(40);
        let head = |branch: Option<&str>, commit: Option<&str>| Head {
            branch: branch.map(str::to_owned),
            commit: commit.map(str::to_owned),
        };
        for (answer, read) in [
            (
                format!("ref: refs/heads/main\tHEAD\n{id}\tHEAD\n"),
                head(Some("main"), Some(&id)),
            ),
            (format!("{id}\tHEAD\n"), head(None, Some(&id))),
            (String::new(), head(None, None)),
        ] {
            assert_eq!(Head::read(answer.as_bytes()), read);
        }
    }
}
