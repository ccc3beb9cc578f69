//! The survey of one repo: its worktrees by the registry, its loose clones, then the unregistered directories beside
//! them, its store, and whether it is busy.
//!
//! Every registered tree is reported, even if it can't be read or understood.

use super::context::{Context, Times, VolumeContext};
use super::reach::Kept;
use super::{
    landed::Upstream, lines, objects::Objects, probe, registry, rescues, store, unregistered,
    worktree,
};
use crate::config::policy;
use crate::facts::repo::{Leftover, LeftoverKind, Repo};
use crate::facts::rescue::Rescue;
use crate::facts::worktree::{State, Worktree};
use crate::fs::humanize::natural_paths;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::{Refusal, Shadow};
use rayon::prelude::*;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

mod clones;

/// Bytes read of a line of the stash's reflog: no branch has a longer name.
const A_STASH: usize = 8 << 10;

/// A survey of one repo, and all that it needs to know.
pub struct RepoSurvey<'a> {
    /// The repo's sanitised git dir.
    pub shadow: &'a Shadow,
    /// The repo's policy.
    pub policy: &'a policy::Repo,
    /// The clock, and the ages that decide how closely a tree is inspected.
    pub times: Times,
    /// The rest of the volume.
    pub around: &'a VolumeContext,
    /// Whether a tree is due: then all of it is inspected, including its regenerable directories.
    pub due: &'a (dyn Fn(&Worktree) -> bool + Sync),
    /// When to stop.
    pub stop: &'a Stop,
}

impl RepoSurvey<'_> {
    /// Surveys the whole repo.
    ///
    /// # Errors
    /// [`Refusal`] if its store, registry or refs can't be read at all, or the run is to stop. A
    /// problem of one tree is in that tree's state.
    pub fn all(&self) -> Result<Repo, Refusal> {
        let git_dir = self.shadow.git_dir();
        let Times { clock, killed, .. } = self.times;
        // Side by side: both mostly wait for the server.
        let (repo, store) = rayon::join(
            || self.trees_and_rescues(),
            || store::survey(git_dir, clock, killed, self.stop),
        );
        let (worktrees, rescues) = repo?;
        if let Some(why) = self.stop.reached() {
            return Err(Refusal::Malformed(format!(
                "survey stopped early: {why}; the next run goes on here"
            )));
        }
        let (store, mut leftovers) = store.map_err(|cause| self.unreadable(cause))?;
        self.tell_index_locks(&mut leftovers, &worktrees);
        let paths: Vec<PathBuf> = worktrees.iter().map(|tree| tree.path.clone()).collect();
        let unregistered = unregistered::directories(self.policy, git_dir, &paths, self.stop)
            .map_err(|error| {
                Refusal::Malformed(format!(
                    "failed to list its worktree roots: {error}; delete the directories there \
                     that are no worktrees"
                ))
            })?;
        Ok(Repo {
            unregistered,
            worktrees,
            rescues,
            store,
            leftovers,
            lends: None,
            around: self.around.missing,
            busy: probe::busy(&self.policy.busy_probe, &self.policy.name, self.stop),
        })
    }

    fn trees_and_rescues(&self) -> Result<(Vec<Worktree>, Vec<Rescue>), Refusal> {
        let repo = self.shadow.open().map_err(|error| self.odd(&error))?;
        let mut worktrees = self.worktrees(&repo)?;
        let clones = self.clones(&repo).map_err(|error| {
            Refusal::Malformed(format!(
                "failed to list its loose clones: {error}; a glob with fewer matches helps"
            ))
        })?;
        worktrees.extend(clones);
        worktrees.sort_by(|a, b| natural_paths(&a.path, &b.path).then_with(|| a.id.cmp(&b.id)));
        let rescues = rescues::all(&repo).map_err(|error| self.odd(&error))?;
        Ok((worktrees, rescues))
    }

    /// Surveys one worktree.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub fn one(&self, admin: &VolumePath) -> Result<Worktree, Refusal> {
        let repo = self.shadow.open().map_err(|error| self.odd(&error))?;
        let stashed = self.stashed(&repo)?;
        let asked = Asked::of(&repo, self.stop);
        let context = self.context(&repo, &stashed, &asked);
        Ok(worktree::survey(&context, admin))
    }

    /// Surveys every registered worktree.
    fn worktrees(&self, repo: &git2::Repository) -> Result<Vec<Worktree>, Refusal> {
        let stashed = self.stashed(repo)?;
        let admins = registry::admins(self.shadow.git_dir());
        let admins = admins.map_err(|cause| self.unreadable(cause))?;
        let look = |admins: &[&VolumePath]| {
            let asked = Asked::of(repo, self.stop);
            let one = |admin: &&VolumePath| {
                self.shadow
                    .with(|repo| worktree::survey(&self.context(repo, &stashed, &asked), admin))
            };
            // Every old tree asks for the processes: they are read while others wait.
            let (looked, _) = rayon::join(
                || admins.par_iter().map(one).collect::<Result<Vec<_>, _>>(),
                || self.around.processes.see_all(&self.policy.place, self.stop),
            );
            // Frees the handles, and the memory that they use.
            self.shadow.close();
            looked
        };
        side_by_side(&admins.iter().collect::<Vec<_>>(), self.stop, look)
            .map_err(|error| self.odd(&error))
    }

    fn context<'c>(
        &'c self,
        repo: &'c git2::Repository,
        stashed: &'c HashSet<String>,
        asked: &'c Asked<'c>,
    ) -> Context<'c> {
        Context {
            repo,
            place: &self.policy.place,
            checkout: Some(&self.policy.place).filter(|place| *place != self.shadow.git_dir()),
            clock: self.times.clock,
            look_before: self.times.look_before,
            is_stale: self.times.is_stale,
            around: self.around,
            measured: self.policy.worktrees.max_bytes.is_some(),
            made_again: &self.policy.worktrees.made_again,
            stashed,
            kept: &asked.kept,
            objects: &asked.objects,
            upstream: &asked.upstream,
            stop: self.stop,
            due: self.due,
            clone: None,
        }
    }

    /// Sets the kind of each index lock: the processes in its tree show whether a live git has it.
    fn tell_index_locks(&self, leftovers: &mut [Leftover], worktrees: &[Worktree]) {
        let locks = leftovers.iter_mut().filter(|file| {
            file.kind == LeftoverKind::Lock && file.place.relative().ends_with(worktree::INDEX_LOCK)
        });
        let checkout = &self.policy.place;
        for lock in locks {
            let tree = worktrees
                .iter()
                .find(|tree| lock.place.relative().starts_with(tree.admin.relative()));
            let tree = tree.map_or(checkout.path(), |tree| tree.path.clone());
            lock.kind = self
                .around
                .processes
                .index_lock(&lock.place, &tree, self.stop);
        }
    }

    fn stashed(&self, repo: &git2::Repository) -> Result<HashSet<String>, Refusal> {
        stashed(repo, self.shadow.git_dir(), self.stop).map_err(|cause| self.unreadable(cause))
    }

    fn odd(&self, error: &git2::Error) -> Refusal {
        Refusal::Malformed(format!(
            "failed to open `{}`: {}; see `git fsck`",
            self.policy.place,
            error.message()
        ))
    }

    fn unreadable(&self, cause: io::Error) -> Refusal {
        Refusal::Unreadable {
            path: self.shadow.git_dir().to_string(),
            cause,
        }
    }
}

/// The answers so far about a repo. Each inspection has its own, since an answer may be that memory
/// was short.
struct Asked<'a> {
    kept: Kept,
    objects: Arc<Objects>,
    upstream: Upstream<'a>,
}

impl<'a> Asked<'a> {
    fn of(repo: &'a git2::Repository, stop: &'a Stop) -> Self {
        Self {
            kept: Kept::default(),
            objects: Arc::default(),
            upstream: Upstream::of(repo, stop),
        }
    }
}

/// Inspects all trees in parallel. If memory ran short, the trees that stayed unknown are inspected
/// again, one by one. A tree that is too large even alone is reported as such.
fn side_by_side<E>(
    admins: &[&VolumePath],
    stop: &Stop,
    look: impl Fn(&[&VolumePath]) -> Result<Vec<Worktree>, E>,
) -> Result<Vec<Worktree>, E> {
    let short = || stop.budget().refusals();
    let is_unknown =
        |tree: &Worktree| matches!(tree.state, State::Unknown(_) | State::Unreadable(_));
    let before = short();
    let mut trees = match look(admins) {
        Err(error) if short() == before => return Err(error),
        looked => looked.unwrap_or_default(),
    };
    if short() == before {
        return Ok(trees);
    }
    trees.retain(|tree| !is_unknown(tree));
    let settled: HashSet<VolumePath> = trees.iter().map(|tree| tree.admin.clone()).collect();
    for admin in admins.iter().filter(|admin| !settled.contains(**admin)) {
        let before = short();
        let mut alone = look(&[admin])?;
        if short() > before {
            alone
                .iter_mut()
                .filter(|tree| is_unknown(tree))
                .for_each(|tree| tree.state = State::Unknown(stop.budget().exceeded()));
        }
        trees.append(&mut alone);
        if stop.reached().is_some() {
            break;
        }
    }
    Ok(trees)
}

/// Returns the branches that the stash's reflog names: `WIP on BRANCH: ...` or `On BRANCH: ...`.
/// For a stash made on a detached HEAD, it returns the commit, which is the stash's first parent.
fn stashed(
    repo: &git2::Repository,
    git_dir: &VolumePath,
    stop: &Stop,
) -> io::Result<HashSet<String>> {
    let log = git_dir.join("logs/refs/stash")?;
    let Some(log) = found(openat::file(&log))? else {
        return Ok(HashSet::new());
    };
    let on = |line: &str| {
        let (ids, message) = line.split_once('\t')?;
        let (branch, _) = message
            .strip_prefix("WIP on ")
            .or(message.strip_prefix("On "))?
            .split_once(':')?;
        if branch != "(no branch)" {
            return Some(format!("refs/heads/{branch}"));
        }
        let stash = git2::Oid::from_str(ids.split(' ').nth(1)?).ok()?;
        repo.find_commit(stash)
            .and_then(|stash| stash.parent_id(0))
            .ok()
            .map(|base| base.to_string())
    };
    let (mut stashed, mut held) = (HashSet::new(), stop.hold());
    lines::each(log, A_STASH, stop, |line| {
        if let Some(on) = on(&String::from_utf8_lossy(line)) {
            held.more(on.len().saturating_add(64))?;
            stashed.insert(on);
        }
        Ok(())
    })?;
    Ok(stashed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn no_worktree_may_stand_where_the_config_has_something_else() {
        let root = std::sync::Arc::from(Path::new("/data"));
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        let around = VolumeContext {
            reserved: ["r", "s", "caches/npm", ".state"].map(at).to_vec(),
            ..VolumeContext::default()
        };
        for free in ["worktrees/r/a", "r/.worktrees/a", "caches/other"] {
            assert_eq!(around.in_the_way(&at(free), &at("r")), None, "{free}");
        }
        for taken in [
            "r",
            "s",
            "s/a",
            "caches",
            "caches/npm",
            "caches/npm/x",
            ".state/trash/x",
        ] {
            assert!(around.in_the_way(&at(taken), &at("r")).is_some(), "{taken}");
        }
    }
}
