//! `treewarden enroll`: a persistent checkout of a configured repo.
//!
//! It is cloned in the repo's workshop, under its lock, by the caller's own git, and looked at as every night looks; one rename puts it in its
//! place as the last step. What comes from the remote is content and runs nothing: no hook or template of the caller's, no submodule, and of
//! filters only those that the caller's own config defines (git-lfs). It must never put a git-crypt repo in place, nor half a clone, nor
//! replace what stands there.

use crate::apply::workshop::Workshop;
use crate::beneath;
use crate::config::policy::{self, Address, Policy};
use crate::git::caller::Caller;
use crate::inside::Inside;
use crate::lock::StillHeld;
use crate::shadow::crypt::{encrypted, encrypted_file};
use crate::shadow::{Refusal, Shadow};
use crate::stop::Stop;
use crate::volume;
use crate::worktrees::{Locked, WorkError, is_free};
use std::io;
use std::time::Duration;

/// What the agents' checkouts are set to: the night repacks them, and a repack of git's own that is killed with its pod leaves locks behind.
const SETTINGS: [(&str, &str); 2] = [("gc.auto", "0"), ("maintenance.auto", "false")];

/// What became of a repo.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// What there is to say.
    pub told: String,
    /// What the operator should know besides.
    pub note: Option<String>,
}

/// The repos to enroll when none is named: those with an address, whose place is free.
pub fn missing(policy: &Policy) -> Vec<&policy::Repo> {
    policy.repos.iter().filter(|repo| repo.url.is_some() && is_free(&repo.place).unwrap_or(true)).collect()
}

/// Clones a repo, or says that it is there.
///
/// # Errors
/// [`WorkError`]: there is no new checkout, and no half of one.
pub fn enroll(policy: &Policy, repo: &policy::Repo, wait: Option<Duration>, stop: &Stop) -> Result<Enrolled, WorkError> {
    volume::prove(&policy.volume)?;
    let locked = Locked::take(policy, repo, "enroll", wait, stop)?;
    if !is_free(&repo.place)? {
        return there(repo, &locked, stop);
    }
    let Some(url) = &repo.url else {
        return Err(WorkError::Usage(format!("{}: the config has no `url` for it; add one, as for `git clone`", repo.name)));
    };
    let limit = policy.run.deadline;
    Workshop::with(&locked.lock, &locked.trash, stop, |workshop| {
        let tree = workshop.tree();
        let failed = |refusal| WorkError::repo(repo)(elsewhere(refusal, &tree, &repo.place));
        clone(url, &tree, stop, limit)?;
        let shadow = Shadow::of(&tree, stop).map_err(failed)?;
        check_out(repo, &shadow, &tree, stop, limit)?;
        workshop.put_checkout(&repo.place)?;
        Ok(Enrolled { told: format!("enrolled {} at `{}`", repo.name, repo.place.path().display()), note: None })
    })
}

/// An address with a secret is git's alone: the clone's config gets the plain one.
fn clone(url: &Address, tree: &Inside, stop: &Stop, limit: Duration) -> Result<(), WorkError> {
    let path = tree.path();
    let folder = path.parent().unwrap_or(&path);
    let options = ["clone", "--quiet", "--no-checkout", "--no-local", "--template=", "--origin=origin", "--no-recurse-submodules"];
    let settings = SETTINGS.map(|(key, value)| format!("--config={key}={value}"));
    let mut args: Vec<&std::ffi::OsStr> = options.iter().map(std::ffi::OsStr::new).collect();
    args.extend(settings.iter().map(std::ffi::OsStr::new));
    args.extend(["--".as_ref(), url.plain().as_ref(), path.as_os_str()]);
    let cloned = Caller::new(folder, stop, limit).with(url.secret()).run(&args);
    let remedy = "; try `git ls-remote` on it as this user, with the same environment";
    cloned.map(drop).map_err(WorkError::git(format!("failed to clone {url}"), remedy))
}

/// By the shadow, as with every repo: there are no hooks, and no config but ours and the caller's.
fn check_out(repo: &policy::Repo, shadow: &Shadow, tree: &Inside, stop: &Stop, limit: Duration) -> Result<(), WorkError> {
    let odd = |why: String| WorkError::Repo(repo.name.clone(), Refusal::Odd(why));
    let git = shadow.open().map_err(|error| odd(format!("failed to open the clone: {}", error.message())))?;
    match git.head() {
        // An empty repo has nothing to check out.
        Err(error) if error.code() == git2::ErrorCode::UnbornBranch || error.code() == git2::ErrorCode::NotFound => return Ok(()),
        head => drop(head.map_err(|error| odd(format!("failed to read HEAD: {}", error.message())))?),
    }
    let caller = shadow.caller_in(&tree.path(), None, stop, limit);
    let checked_out = caller.run(&["read-tree", "--reset", "-u", "HEAD"]);
    checked_out.map_err(WorkError::git(format!("failed to check out {}", repo.name), ""))?;
    match encrypted_file(&tree.path())? {
        Some(file) => Err(odd(encrypted(&file))),
        None => Ok(()),
    }
}

/// It stands there: as good as one that was cloned here, when it is an honest checkout.
fn there(repo: &policy::Repo, locked: &Locked, stop: &Stop) -> Result<Enrolled, WorkError> {
    match repo.place.join(".git").map_err(io::Error::other).and_then(|git_dir| beneath::stat(&git_dir)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
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
        if shadow.setting(key, stop).map_err(WorkError::repo(repo))?.as_deref() != Some(value) {
            locked.lock.still_held().map_err(|error| WorkError::Lock(repo.name.clone(), Box::new(error)))?;
            let args = ["config".as_ref(), "--file".as_ref(), config.as_os_str(), key.as_ref(), value.as_ref()];
            let set = shadow.git(stop, Duration::from_secs(10)).run(&args);
            set.map_err(WorkError::git(format!("failed to set {key} of {}", repo.name), ""))?;
        }
    }
    let origin = shadow.setting("remote.origin.url", stop).map_err(WorkError::repo(repo))?.and_then(|url| Address::new(&url).ok());
    let other = repo.url.as_ref().zip(origin).filter(|(url, origin)| url.plain() != origin.plain());
    let note = other
        .map(|(url, origin)| format!("its origin is {origin}, and the config's `url` is {url}: `worktree add` fetches from the latter"));
    Ok(Enrolled { told: format!("{} is enrolled already, at `{}`", repo.name, repo.place.path().display()), note })
}

/// A refusal of the clone in the workshop, told of the place that it was for.
fn elsewhere(refusal: Refusal, from: &Inside, to: &Inside) -> Refusal {
    match refusal {
        Refusal::Odd(why) => Refusal::Odd(why.replace(&from.to_string(), &to.to_string())),
        refusal => refusal,
    }
}
