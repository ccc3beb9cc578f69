//! Whether a commit's work is in the upstream's default branch, however it was merged.
//!
//! Squash and rebase merges leave no ancestry, so trees and patches are compared as well. It must never say "landed" when it could not
//! look: every error is "not landed", and the tree gets the longer age.

use super::go_on;
use crate::facts::worktree::Landed;
use crate::stop::Stop;
use git2::{Commit, DiffOptions, Oid, Repository};
use std::collections::{HashMap, HashSet};

/// How many commits of the default branch are compared, at most: a tree that branched off longer ago is judged by its branch.
const UPSTREAM_COMMITS: usize = 2000;
/// How many commits of a branch are compared one by one, at most.
const BRANCH_COMMITS: usize = 200;

/// The default branch of a repo's upstream, and what was learned of its commits.
pub struct Upstream<'repo> {
    repo: &'repo Repository,
    stop: &'repo Stop,
    tip: Option<Oid>,
    patches: HashMap<Oid, Option<Oid>>,
}

impl<'repo> Upstream<'repo> {
    /// Finds the default branch: what `origin/HEAD` names, else `origin/main` or `origin/master`; for a repo without any remote, the
    /// main checkout's branch.
    pub fn of(repo: &'repo Repository, stop: &'repo Stop) -> Self {
        let commit = |name: &str| repo.find_reference(name).ok()?.peel_to_commit().ok().map(|commit| commit.id());
        let remote = ["origin/HEAD", "origin/main", "origin/master"].iter().find_map(|name| commit(&format!("refs/remotes/{name}")));
        let has_remote = repo.references_glob("refs/remotes/*").is_ok_and(|mut refs| refs.next().is_some());
        let tip = if has_remote { remote } else { commit("HEAD") };
        Self { repo, stop, tip, patches: HashMap::new() }
    }

    /// The default branch's commit, where there is one.
    pub(super) fn tip(&self) -> Option<Oid> {
        self.tip
    }

    /// How `head` is known to have landed; none also when the run is to stop.
    pub fn landed(&mut self, head: Oid) -> Option<Landed> {
        let tip = self.tip?;
        self.compare(head, tip).unwrap_or_else(|error| {
            tracing::debug!(%head, %error, "can't tell whether it landed");
            None
        })
    }

    fn compare(&mut self, head: Oid, tip: Oid) -> Result<Option<Landed>, git2::Error> {
        let repo = self.repo;
        if head == tip || repo.graph_descendant_of(tip, head)? {
            return Ok(Some(Landed::Ancestor));
        }
        let base = repo.merge_base(head, tip)?;
        let (head_commit, base_commit) = (repo.find_commit(head)?, repo.find_commit(base)?);
        if head_commit.tree_id() == base_commit.tree_id() {
            return Ok(Some(Landed::EmptyDiff));
        }
        let upstream = self.between(base, tip, UPSTREAM_COMMITS)?;
        for &commit in &upstream {
            self.go_on()?;
            if repo.find_commit(commit)?.tree_id() == head_commit.tree_id() {
                return Ok(Some(Landed::SameTree));
            }
        }
        let mut patches = HashSet::new();
        for &commit in &upstream {
            self.go_on()?;
            patches.extend(self.patch(commit));
        }
        let squashed = self.patch_between(&base_commit, &head_commit).is_some_and(|patch| patches.contains(&patch));
        let mine = self.between(base, head, BRANCH_COMMITS + 1)?;
        let mut landed = |commit| self.go_on().is_ok() && self.patch(commit).is_some_and(|patch| patches.contains(&patch));
        let rebased = mine.len() <= BRANCH_COMMITS && mine.iter().all(|&commit| landed(commit));
        Ok((squashed || rebased).then_some(Landed::SamePatch))
    }

    /// Hundreds of patches of an odd upstream take a minute: a run that is to stop can't wait for them.
    fn go_on(&self) -> Result<(), git2::Error> {
        go_on(Some(self.stop)).map_err(|stopped| git2::Error::from_str(&stopped.to_string()))
    }

    fn between(&self, from: Oid, to: Oid, most: usize) -> Result<Vec<Oid>, git2::Error> {
        let mut walk = self.repo.revwalk()?;
        walk.push(to)?;
        walk.hide(from)?;
        walk.take(most).collect()
    }

    /// The patch id of a commit against its parent; none for a merge, whose patch stands in its parents.
    fn patch(&mut self, commit: Oid) -> Option<Oid> {
        if let Some(known) = self.patches.get(&commit) {
            return *known;
        }
        let patch = self.repo.find_commit(commit).ok().filter(|commit| commit.parent_count() == 1).and_then(|commit| {
            let parent = commit.parent(0).ok()?;
            self.patch_between(&parent, &commit)
        });
        self.patches.insert(commit, patch);
        patch
    }

    fn patch_between(&self, from: &Commit<'_>, to: &Commit<'_>) -> Option<Oid> {
        let (from, to) = (from.tree().ok()?, to.tree().ok()?);
        let mut options = DiffOptions::new();
        let diff = self.repo.diff_tree_to_tree(Some(&from), Some(&to), Some(options.show_binary(true))).ok()?;
        diff.patchid(None).ok()
    }
}
