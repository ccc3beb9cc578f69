//! Which repo a command means: the one that is named, or the one that the caller stands in.

use super::here::Here;
use crate::config::policy::{self, Policy};
use crate::fs::humanize;
use std::path::Path;

/// The most names that an error lists.
const NAMES: usize = 9;

/// No repo is meant, or more than one could be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoRepo(String);

/// Returns the repo of this name: the whole name, or a last part that no other repo has.
///
/// # Errors
/// There is none, or the part fits several; the candidates are named.
pub fn named<'a>(policy: &'a Policy, name: &str) -> Result<&'a policy::Repo, NoRepo> {
    if let Some(repo) = policy.repos.iter().find(|repo| repo.name == name) {
        return Ok(repo);
    }
    let meant: Vec<_> = policy
        .repos
        .iter()
        .filter(|repo| goes_by(repo, name))
        .collect();
    match meant.as_slice() {
        [repo] => Ok(repo),
        [] => Err(NoRepo(format!(
            "the config has no repo `{name}`; it has {}",
            names(&policy.repos.iter().collect::<Vec<_>>())
        ))),
        several => Err(NoRepo(format!(
            "`{name}` could be any of these, give the whole name: {}",
            names(several)
        ))),
    }
}

/// Returns whether the name is the repo's, or the last part of it.
pub fn goes_by(repo: &policy::Repo, name: &str) -> bool {
    !name.is_empty() && Path::new(&repo.name).ends_with(name)
}

/// Returns the repo of this name; without one, the repo that the caller stands in.
///
/// # Errors
/// As [`named`], or the caller stands in none.
pub fn meant<'a>(policy: &'a Policy, name: Option<&str>) -> Result<&'a policy::Repo, NoRepo> {
    if let Some(name) = name {
        return named(policy, name);
    }
    let gone = |error| {
        NoRepo(format!(
            "failed to inspect the current directory: {error}; go to another, or name the repo"
        ))
    };
    let here = Here::now().map_err(gone)?;
    match here.repo(policy).map_err(gone)? {
        Some((repo, _)) => Ok(repo),
        None => Err(NoRepo(format!(
            "`{}` is in no checkout or worktree of a repo in the config; name the repo: {}",
            here.path().display(),
            names(&policy.repos.iter().collect::<Vec<_>>())
        ))),
    }
}

/// Returns the repos of these names. Without any: the one that the caller stands in, else none.
///
/// # Errors
/// As [`named`].
pub fn chosen<'a>(policy: &'a Policy, names: &[String]) -> Result<Vec<&'a policy::Repo>, NoRepo> {
    if !names.is_empty() {
        return names.iter().map(|name| named(policy, name)).collect();
    }
    let here = Here::now()
        .and_then(|here| here.repo(policy))
        .ok()
        .flatten();
    Ok(here.map(|(repo, _)| repo).into_iter().collect())
}

fn names(repos: &[&policy::Repo]) -> String {
    let some: Vec<String> = repos
        .iter()
        .take(NAMES)
        .map(|repo| repo.name.clone())
        .collect();
    if some.is_empty() {
        return "none".to_owned();
    }
    humanize::of_all(&some, repos.len())
}
