//! Whether a commit's work is in the upstream's default branch, however it was merged.
//!
//! Squash and rebase merges leave no ancestry, so trees and patches are compared as well. What
//! can't be compared counts as not landed, and the tree gets the longer age. A default branch that
//! can't be read is an error.

use super::go_on;
use crate::facts::worktree::Landed;
use crate::fs::stop::Stop;
use git2::{Commit, DiffOptions, ErrorCode, ObjectType, Oid, Repository};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Commits of the default branch that are compared, at most: the newest since the merge base. Older
/// ones count as not landed.
const UPSTREAM_COMMITS: usize = 2000;
/// Commits of a branch that are compared one by one, at most.
const BRANCH_COMMITS: usize = 200;
/// Files of a patch that is compared, at most: a few nested trees can name billions.
const PATCH_FILES: usize = 10_000;
/// Larger files are compared as bytes. Comparing by line takes a hundred times their size.
const LINES_BYTES: i64 = 2 << 20;
/// Bytes that all patches of a repo may read: libgit2 can't be stopped half-way.
const READ_BYTES: u64 = 1 << 30;

/// Remotes in which a project's work lands: a fork has its own as `origin`, which may be old, and
/// the project's as `upstream`.
const REMOTES: [&str; 2] = ["upstream", "origin"];
/// Names under which a remote's default branch is searched, in this order.
const BRANCHES: [&str; 5] = ["HEAD", "main", "master", "trunk", "develop"];

/// The default branches of a repo's upstream, and what is known of their commits. All trees share
/// it, in many threads.
pub struct Upstream<'a> {
    stop: &'a Stop,
    /// The project's own first; or why they are unknown.
    tips: Result<Vec<Oid>, NoDefaultBranch>,
    patches: Mutex<HashMap<Oid, Arc<OnceLock<Option<Oid>>>>>,
    /// The rest of [`READ_BYTES`].
    may_read: AtomicU64,
}

/// The default branch is unknown: git2's message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to read the default branch: {0}")]
pub(super) struct NoDefaultBranch(String);

fn default_branches(repo: &Repository) -> Result<Vec<Oid>, git2::Error> {
    let mut tips = Vec::new();
    for remote in REMOTES {
        tips.extend(default_of(repo, remote)?);
    }
    if tips.is_empty() {
        tips.extend(of_any_remote(repo)?);
    }
    tips.dedup();
    Ok(tips)
}

fn default_of(repo: &Repository, remote: &str) -> Result<Option<Oid>, git2::Error> {
    for branch in BRANCHES {
        if let Some(tip) = commit(repo, &format!("refs/remotes/{remote}/{branch}"))? {
            return Ok(Some(tip));
        }
    }
    Ok(None)
}

/// Returns the main checkout's branch if the repo has no remote-tracking refs. If it has those of
/// one remote, returns that remote's default branch, or else its only known branch. With several
/// remotes it is unknown where work lands.
fn of_any_remote(repo: &Repository) -> Result<Option<Oid>, git2::Error> {
    let mut known = repo.references_glob("refs/remotes/*")?;
    let mut remotes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in known.names() {
        let name = name?;
        if let Some((remote, branch)) = name
            .strip_prefix("refs/remotes/")
            .and_then(|name| name.split_once('/'))
        {
            let branches = remotes.entry(remote.to_owned()).or_default();
            branches.extend((branch != "HEAD").then(|| name.to_owned()));
        }
    }
    match remotes.into_iter().collect::<Vec<_>>().as_slice() {
        [] => commit(repo, "HEAD"),
        [(remote, branches)] => match (default_of(repo, remote)?, branches.as_slice()) {
            (None, [only]) => commit(repo, only),
            (tip, _) => Ok(tip),
        },
        _ => Ok(None),
    }
}

/// Returns the commit that a ref names; none if there is no such ref, or it names no commit.
fn commit(repo: &Repository, name: &str) -> Result<Option<Oid>, git2::Error> {
    match repo.find_reference(name) {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        found => Ok(found?.peel_to_commit().ok().map(|commit| commit.id())),
    }
}

impl<'a> Upstream<'a> {
    /// Finds the default branches of `upstream` and of `origin`: what its HEAD names, else `main`,
    /// `master` and the like. Another remote counts only if it is alone. A repo without any remote
    /// has its main checkout's branch.
    pub fn of(repo: &Repository, stop: &'a Stop) -> Self {
        let tips =
            default_branches(repo).map_err(|error| NoDefaultBranch(error.message().to_owned()));
        Self {
            stop,
            tips,
            patches: Mutex::default(),
            may_read: AtomicU64::new(READ_BYTES),
        }
    }

    /// Returns the default branch's commit, if there is one, the project's own before a fork's; or
    /// why it is unknown.
    pub(super) fn tip(&self) -> Result<Option<Oid>, NoDefaultBranch> {
        self.tips
            .as_ref()
            .map(|tips| tips.first().copied())
            .map_err(Clone::clone)
    }

    /// Checks whether there is no default branch, so that nothing is known to have landed.
    pub fn is_none(&self) -> bool {
        self.tips.as_ref().is_ok_and(Vec::is_empty)
    }

    /// Returns how `head` has landed; none if it hasn't, or if the run is to stop. `repo` is a
    /// handle of the same repo.
    ///
    /// # Errors
    /// The default branch can't be read.
    pub fn landed(&self, repo: &Repository, head: Oid) -> io::Result<Option<Landed>> {
        let tips = self
            .tips
            .as_ref()
            .map_err(|why| io::Error::other(why.clone()))?;
        let look = BranchComparison {
            repo,
            upstream: self,
        };
        Ok(tips.iter().find_map(|&tip| {
            look.compare(head, tip).unwrap_or_else(|error| {
                tracing::debug!(%head, %error, "can't tell whether it landed");
                None
            })
        }))
    }

    /// Returns an error once the run is to stop. Hundreds of patches of an unusual upstream take a
    /// minute, which is too long to wait.
    fn go_on(&self) -> Result<(), git2::Error> {
        go_on(Some(self.stop)).map_err(|stopped| git2::Error::from_str(&stopped.to_string()))
    }

    /// Takes this many bytes from the rest; none if fewer are left.
    fn afford(&self, bytes: u64) -> Option<()> {
        let take = |left: u64| left.checked_sub(bytes);
        self.may_read
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()
            .map(drop)
    }
}

/// One thread's comparison.
struct BranchComparison<'a> {
    repo: &'a Repository,
    upstream: &'a Upstream<'a>,
}

impl BranchComparison<'_> {
    fn compare(&self, head: Oid, tip: Oid) -> Result<Option<Landed>, git2::Error> {
        let Self { repo, upstream } = self;
        if head == tip || repo.graph_descendant_of(tip, head)? {
            return Ok(Some(Landed::Ancestor));
        }
        let base = repo.merge_base(head, tip)?;
        let (head_commit, base_commit) = (repo.find_commit(head)?, repo.find_commit(base)?);
        if head_commit.tree_id() == base_commit.tree_id() {
            return Ok(Some(Landed::EmptyDiff));
        }
        let theirs = self.between(base, tip, UPSTREAM_COMMITS)?;
        if theirs.is_empty() {
            return Ok(None);
        }
        for &commit in &theirs {
            upstream.go_on()?;
            if repo.find_commit(commit)?.tree_id() == head_commit.tree_id() {
                return Ok(Some(Landed::SameTree));
            }
        }
        let mut patches = HashSet::new();
        for &commit in &theirs {
            upstream.go_on()?;
            patches.extend(self.patch(commit));
        }
        let squashed = self
            .patch_between(&base_commit, &head_commit)
            .is_some_and(|patch| patches.contains(&patch));
        let mine = self.between(base, head, BRANCH_COMMITS + 1)?;
        let landed = |commit| {
            upstream.go_on().is_ok()
                && self
                    .patch(commit)
                    .is_some_and(|patch| patches.contains(&patch))
        };
        let rebased = mine.len() <= BRANCH_COMMITS && mine.iter().all(|&commit| landed(commit));
        Ok((squashed || rebased).then_some(Landed::SamePatch))
    }

    fn between(&self, from: Oid, to: Oid, most: usize) -> Result<Vec<Oid>, git2::Error> {
        let mut walk = self.repo.revwalk()?;
        walk.push(to)?;
        walk.hide(from)?;
        walk.take(most).collect()
    }

    /// Returns the patch id of a commit against its parent; none for a merge, because its patch is
    /// in its parents. A second caller waits for the first.
    fn patch(&self, commit: Oid) -> Option<Oid> {
        let known = self
            .upstream
            .patches
            .lock()
            .expect("nobody panics here")
            .entry(commit)
            .or_default()
            .clone();
        *known.get_or_init(|| {
            let commit = self
                .repo
                .find_commit(commit)
                .ok()
                .filter(|commit| commit.parent_count() == 1)?;
            self.patch_between(&commit.parent(0).ok()?, &commit)
        })
    }

    fn patch_between(&self, from: &Commit<'_>, to: &Commit<'_>) -> Option<Oid> {
        let weight = self.weight(from.tree_id(), to.tree_id()).ok()??;
        self.upstream.afford(weight)?;
        // Both sides: libgit2 reads each file whole.
        let mut held = self.upstream.stop.hold();
        held.more(usize::try_from(weight).ok()?).ok()?;
        let (from, to) = (from.tree().ok()?, to.tree().ok()?);
        let mut options = DiffOptions::new();
        options.show_binary(true).max_size(LINES_BYTES);
        let diff = self
            .repo
            .diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options))
            .ok()?;
        diff.patchid(None).ok()
    }

    /// Returns the bytes of the files that differ; none if there are too many. Walks both trees
    /// side by side, but only directories that differ.
    fn weight(&self, from: Oid, to: Oid) -> Result<Option<u64>, git2::Error> {
        let odb = self.repo.odb()?;
        let (mut seen, mut bytes) = (0_usize, 0_u64);
        let mut pairs = vec![[Some(from), Some(to)]];
        while let Some([from, to]) = pairs.pop() {
            for sides in self.differing(from, to)? {
                let trees = sides.map(|side| {
                    side.filter(|(_, kind)| *kind == ObjectType::Tree)
                        .map(|(id, _)| id)
                });
                if trees != [None, None] {
                    pairs.push(trees);
                }
                for (id, _) in sides
                    .into_iter()
                    .flatten()
                    .filter(|(_, kind)| *kind == ObjectType::Blob)
                {
                    bytes = bytes.saturating_add(odb.read_header(id)?.0 as u64);
                }
                seen = seen.saturating_add(1);
                if seen > PATCH_FILES {
                    return Ok(None);
                }
            }
        }
        Ok(Some(bytes))
    }

    /// Returns both sides of each name that differs between two directories.
    fn differing(&self, from: Option<Oid>, to: Option<Oid>) -> Result<Vec<[Side; 2]>, git2::Error> {
        let mut names: BTreeMap<Vec<u8>, [(Side, i32); 2]> = BTreeMap::new();
        for (side, tree) in [from, to].into_iter().enumerate() {
            let Some(tree) = tree else { continue };
            for entry in &self.repo.find_tree(tree)? {
                if let Some(seen) = names
                    .entry(entry.name_bytes().to_vec())
                    .or_default()
                    .get_mut(side)
                {
                    *seen = (
                        entry.kind().map(|kind| (entry.id(), kind)),
                        entry.filemode(),
                    );
                }
            }
        }
        Ok(names
            .into_values()
            .filter(|[from, to]| from != to)
            .map(|sides| sides.map(|(side, _)| side))
            .collect())
    }
}

/// An entry of a directory, if there is one.
type Side = Option<(Oid, ObjectType)>;
