//! One repo: its worktrees by the registry, then what the disk shows beside them, its store, and whether it is busy.
//!
//! The registry comes first: a worktree is what an admin folder's `gitdir` names, never what a folder is called. It must never follow a
//! link, and never leave out a tree because something about it is odd.

use super::{landed::Upstream, probe, rescues, store, worktree};
use crate::beneath::{self, found};
use crate::config::policy;
use crate::facts::repo::Repo;
use crate::facts::worktree::{Stray, StrayKind, Worktree};
use crate::inside::Inside;
use crate::shadow::{Refusal, Shadow};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// What a look at a repo needs to know.
pub struct Context<'a> {
    /// The repo behind its shadow.
    pub repo: &'a git2::Repository,
    /// The main checkout.
    pub place: &'a Inside,
    /// The file server's clock, against which files are old or young.
    pub clock: DateTime<Utc>,
    /// Trees active since are settled by that alone.
    pub look_before: DateTime<Utc>,
    /// A lock file older than this is a dead git's.
    pub stale_lock: TimeDelta,
    /// What the rest of the volume tells.
    pub around: &'a Around,
    /// Full names of branches that a stash was made on.
    pub stashed: HashSet<String>,
}

/// What the rest of the volume tells of a repo's trees.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// Places whose tree an earlier night took to the trash.
    pub trashed: HashSet<Inside>,
    /// The state folder, caches and checkouts: no worktree may stand there, whatever a registration says.
    pub reserved: Vec<Inside>,
    /// Object folders that enrolled repos borrow from.
    pub lent: HashSet<PathBuf>,
}

impl Around {
    /// What `place`, as a worktree of the checkout `own`, would take along or intrude on.
    pub fn in_the_way(&self, place: &Inside, own: &Inside) -> Option<&Inside> {
        let [place, own] = [place, own].map(Inside::relative);
        self.reserved.iter().find(|other| {
            let other = other.relative();
            other.starts_with(place) || (place.starts_with(other) && other != own)
        })
    }
}

/// Times that a survey is made with.
#[derive(Clone, Copy)]
pub struct Times {
    /// The file server's clock.
    pub clock: DateTime<Utc>,
    /// Trees active since need no closer look.
    pub look_before: DateTime<Utc>,
    /// See [`Context::stale_lock`].
    pub stale_lock: TimeDelta,
}

/// Looks at a repo.
///
/// # Errors
/// [`Refusal`] when its object store or registry can't be read at all. What is wrong with one tree is that tree's fact.
pub fn survey(shadow: &Shadow, policy: &policy::Repo, times: Times, around: &Around) -> Result<Repo, Refusal> {
    let odd = |error: git2::Error| Refusal::Odd(format!("failed to open `{}`: {}; see `git fsck`", policy.place, error.message()));
    let unreadable = |cause: io::Error| Refusal::Unreadable { path: shadow.git_dir().to_string(), cause };
    let repo = shadow.open().map_err(odd)?;
    let Times { clock, look_before, stale_lock } = times;
    let stashed = stashed(shadow.git_dir()).map_err(unreadable)?;
    let context = Context { repo: &repo, place: &policy.place, clock, look_before, stale_lock, around, stashed };
    let mut upstream = Upstream::of(&repo);
    let admins = admins(shadow.git_dir()).map_err(unreadable)?;
    let mut worktrees: Vec<Worktree> = admins.iter().map(|admin| worktree::survey(&context, &mut upstream, admin)).collect();
    worktrees.sort_by(|a, b| (&a.path, &a.id).cmp(&(&b.path, &b.id)));
    let (store, leftovers) = store::survey(shadow.git_dir(), clock).map_err(unreadable)?;
    let strays = strays(policy, shadow.git_dir(), &worktrees);
    let rescues = rescues::all(&repo).map_err(odd)?;
    let lends = around.lent.contains(&shadow.git_dir().path().join("objects"));
    Ok(Repo { worktrees, strays, rescues, store, leftovers, lends, busy: probe::busy(&policy.busy_probe, &policy.name) })
}

/// The object folders that these repos borrow from (`git clone --shared`). One that can't be read lends nothing: its repo is refused.
pub fn lent(repos: &[policy::Repo]) -> HashSet<PathBuf> {
    let alternates = repos.iter().filter_map(|repo| beneath::read(&repo.place.join(".git/objects/info/alternates").ok()?, 1 << 20).ok());
    alternates.flat_map(|text| String::from_utf8_lossy(&text).lines().map(PathBuf::from).collect::<Vec<_>>()).collect()
}

/// The admin folder of every registered worktree.
///
/// # Errors
/// The registry can't be read.
pub fn admins(git_dir: &Inside) -> io::Result<Vec<Inside>> {
    let worktrees = git_dir.join("worktrees").map_err(io::Error::other)?;
    let Some(entries) = found(std::fs::read_dir(worktrees.path()))? else { return Ok(Vec::new()) };
    let mut admins = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            admins.push(worktrees.join(entry.file_name()).map_err(io::Error::other)?);
        }
    }
    admins.sort();
    Ok(admins)
}

/// Branches that a stash names: `WIP on BRANCH: ...` or `On BRANCH: ...`, from the stash's reflog.
fn stashed(git_dir: &Inside) -> io::Result<HashSet<String>> {
    let log = git_dir.join("logs/refs/stash").map_err(io::Error::other)?;
    let text = found(beneath::read(&log, 64 << 20))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let messages = text.lines().filter_map(|line| line.split_once('\t')).map(|(_, message)| message);
    let branches = messages.filter_map(|message| message.strip_prefix("WIP on ").or(message.strip_prefix("On ")));
    Ok(branches.filter_map(|rest| rest.split_once(':')).map(|(branch, _)| format!("refs/heads/{branch}")).collect())
}

/// What stands in the worktree roots and isn't registered. Its reading may fail: then it is simply not mentioned, and never touched.
fn strays(policy: &policy::Repo, git_dir: &Inside, known: &[Worktree]) -> Vec<Stray> {
    let known: HashSet<&Path> = known.iter().map(|tree| tree.path.as_path()).collect();
    let mut strays: Vec<Stray> = policy
        .worktrees
        .roots
        .iter()
        .flat_map(|glob| matches(policy.place.root(), glob))
        .filter(|path| !known.contains(path.as_path()))
        .filter_map(|path| stray_kind(git_dir, &path).map(|kind| Stray { path, kind }))
        .collect();
    strays.sort_by(|a, b| a.path.cmp(&b.path));
    strays.dedup_by(|a, b| a.path == b.path);
    strays
}

/// Folders below `root` that the glob matches, no deeper than it is long.
fn matches(root: &Path, glob: &str) -> Vec<PathBuf> {
    let depth = glob.split('/').count();
    let Ok(pattern) = globset::GlobBuilder::new(glob).literal_separator(true).build() else { return Vec::new() };
    let pattern = pattern.compile_matcher();
    // Start below the part without wildcards, so that the rest of the volume is not walked.
    let fixed: Vec<&str> = glob.split('/').take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).collect();
    let start = root.join(fixed.join("/"));
    let walk = walkdir::WalkDir::new(start).follow_links(false).max_depth(depth - fixed.len()).into_iter();
    let folders = walk.filter_map(Result::ok).filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path);
    folders.filter(|path| path.strip_prefix(root).is_ok_and(|rest| pattern.is_match(rest))).collect()
}

fn stray_kind(git_dir: &Inside, path: &Path) -> Option<StrayKind> {
    let git_file = Inside::new(git_dir.root(), &path.join(".git")).ok()?;
    match std::fs::symlink_metadata(git_file.path()) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => {
            let text = String::from_utf8(beneath::read(&git_file, 64 << 10).ok()?).ok()?;
            let admin = Path::new(text.trim_end().strip_prefix("gitdir: ")?);
            // A registration of ours that leads elsewhere, or nowhere, is mended like one that is gone.
            let foreign = admin.is_dir() && !admin.starts_with(git_dir.path());
            Some(if foreign { StrayKind::Foreign } else { StrayKind::Dangling })
        }
        Err(_) => Some(if std::fs::read_dir(path).ok()?.next().is_none() { StrayKind::Empty } else { StrayKind::NotGit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_worktree_may_stand_where_the_config_has_something_else() {
        let root = std::sync::Arc::from(Path::new("/data"));
        let at = |path: &str| Inside::new(&root, Path::new(path)).unwrap();
        let around = Around { reserved: ["r", "s", "caches/npm", ".state"].map(at).to_vec(), ..Around::default() };
        for free in ["worktrees/r/a", "r/.worktrees/a", "caches/other"] {
            assert_eq!(around.in_the_way(&at(free), &at("r")), None, "{free}");
        }
        for taken in ["r", "s", "s/a", "caches", "caches/npm", "caches/npm/x", ".state/trash/x"] {
            assert!(around.in_the_way(&at(taken), &at("r")).is_some(), "{taken}");
        }
    }
}
