//! What fills the volume: its parts, in one walk over all of it.
//!
//! A repo's parts are its store, its checkout and its registered worktrees, wherever these stand. It must never open a repo with git: even one
//! that is busy, refused or broken takes its room.

use crate::config::policy::Policy;
use crate::inside::Inside;
use crate::report::usage::{Part, Used};
use crate::stop::Stop;
use crate::survey::{repo, size, worktree};
use std::collections::HashMap;
use std::io;

/// Everything that stands in the volume, biggest first, and a line for each folder that could not be read, which weighs nothing.
///
/// # Errors
/// The root can't be listed.
pub fn usage(policy: &Policy, stop: &Stop) -> io::Result<(Vec<Used>, Vec<String>)> {
    let known = known(policy);
    let places: Vec<Inside> = known.keys().cloned().collect();
    let (parts, problems) = size::parts(&policy.volume.root, &places, stop)?;
    let used = |part: size::Part| {
        let (what, name) = known.get(&part.place).cloned().unwrap_or((Part::Other, None));
        let size::Part { place, size, shared_bytes } = part;
        Used { what, name, path: place.path(), bytes: size.bytes, inodes: size.inodes, shared_bytes }
    };
    let mut used: Vec<Used> = parts.into_iter().map(used).filter(|used| used.inodes > 0).collect();
    used.sort_by(|a, b| (b.bytes, &a.path).cmp(&(a.bytes, &b.path)));
    Ok((used, problems))
}

/// What the config and the repos' registrations tell of places. What an agent registered is never what the config gives to somebody.
fn known(policy: &Policy) -> HashMap<Inside, (Part, Option<String>)> {
    let mut known = HashMap::new();
    for repo in &policy.repos {
        let Ok(git_dir) = repo.place.join(".git") else { continue };
        let trees = repo::admins(&git_dir).unwrap_or_default();
        let trees = trees.iter().filter_map(|admin| worktree::tree_of(admin).ok().flatten());
        known.extend(trees.map(|tree| (tree, (Part::Worktree, Some(repo.name.clone())))));
    }
    for repo in &policy.repos {
        known.insert(repo.place.clone(), (Part::Checkout, Some(repo.name.clone())));
        known.extend(repo.place.join(".git").ok().map(|git_dir| (git_dir, (Part::Store, Some(repo.name.clone())))));
    }
    let caches = policy.caches.iter().filter_map(|cache| Some((cache.place.clone()?, (Part::Cache, Some(cache.name.clone())))));
    known.extend(caches);
    known.insert(policy.volume.state.clone(), (Part::State, None));
    known
}
