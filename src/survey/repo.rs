//! The survey of one repo: its worktrees by the registry, then the unregistered directories beside
//! them, its store, and whether it is busy.
//!
//! The registry comes first: a worktree is what an admin directory's `gitdir` names, whatever its
//! directory is called. No link is followed, and a tree with something odd about it is still
//! listed.

use super::context::{Context, IsStale, Times, VolumeContext};
use super::reach::Kept;
use super::{landed::Upstream, lines, probe, rescues, store, worktree};
use crate::config::policy;
use crate::facts::repo::{LeftoverKind, Missing, Repo};
use crate::facts::worktree::{State, Stray, StrayKind, Worktree};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::{Refusal, Shadow};
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a line of the stash's reflog: no branch has a longer name.
const A_STASH: usize = 8 << 10;
/// Superset's prefix for a tree that it is about to delete.
const RUNNERS_TRASH: &str = ".superset-delete-";

/// Surveys a repo. If `due` says that a tree's time has come, all of it is inspected, including
/// regenerable directories.
///
/// # Errors
/// [`Refusal`] if its object store or registry can't be read at all, or the run is to stop. A
/// problem of one tree is that tree's fact.
pub fn survey(
    shadow: &Shadow,
    policy: &policy::Repo,
    times: Times,
    around: &VolumeContext,
    stop: &Stop,
    due: &(dyn Fn(&Worktree) -> bool + Sync),
) -> Result<Repo, Refusal> {
    let odd = |error: git2::Error| {
        Refusal::Odd(format!(
            "failed to open `{}`: {}; see `git fsck`",
            policy.place,
            error.message()
        ))
    };
    let unreadable = |cause: io::Error| Refusal::Unreadable {
        path: shadow.git_dir().to_string(),
        cause,
    };
    let repo = shadow.open().map_err(odd)?;
    let Times {
        clock,
        look_before,
        is_stale,
        killed,
    } = times;
    let stashed = stashed(&repo, shadow.git_dir(), stop).map_err(unreadable)?;
    let made_again = &policy.worktrees.made_again;
    let (place, stashed) = (&policy.place, &stashed);
    let admins = admins(shadow.git_dir()).map_err(unreadable)?;
    // What was learned of the repo's objects ends with the survey, and so does an answer that
    // lacked memory.
    let look = |admins: &[&VolumePath]| {
        let (kept, objects, upstream) = (
            &Kept::default(),
            &Arc::default(),
            &Upstream::of(&repo, stop),
        );
        let one = |admin: &&VolumePath| {
            shadow.with(|repo| {
                let context = Context {
                    repo,
                    place,
                    clock,
                    look_before,
                    is_stale,
                    around,
                    made_again,
                    stashed,
                    kept,
                    objects,
                    upstream,
                    stop,
                    due,
                };
                worktree::survey(&context, admin)
            })
        };
        let looked = admins.par_iter().map(one).collect::<Result<Vec<_>, _>>();
        // With all their memory.
        shadow.close();
        looked
    };
    let mut worktrees =
        side_by_side(&admins.iter().collect::<Vec<_>>(), stop, look).map_err(odd)?;
    worktrees.sort_by(|a, b| (&a.path, &a.id).cmp(&(&b.path, &b.id)));
    if let Some(why) = stop.reached() {
        return Err(Refusal::Odd(format!(
            "not looked at to the end: {why}; the next run goes on here"
        )));
    }
    let (store, mut leftovers) =
        store::survey(shadow.git_dir(), clock, killed, stop).map_err(unreadable)?;
    for lock in leftovers.iter_mut().filter(|file| {
        file.kind == LeftoverKind::Lock && file.place.relative().ends_with(worktree::INDEX_LOCK)
    }) {
        let tree = worktrees
            .iter()
            .find(|tree| lock.place.relative().starts_with(tree.admin.relative()));
        let tree = tree.map_or(policy.place.path(), |tree| tree.path.clone());
        lock.kind = around.processes.index_lock(&policy.place, &tree);
    }
    let paths: Vec<PathBuf> = worktrees.iter().map(|tree| tree.path.clone()).collect();
    let strays = strays(policy, shadow.git_dir(), &paths);
    let rescues = rescues::all(&repo).map_err(odd)?;
    let busy = probe::busy(&policy.busy_probe, &policy.name, stop);
    Ok(Repo {
        worktrees,
        strays,
        rescues,
        store,
        leftovers,
        lends: None,
        around: around.missing,
        busy,
    })
}

/// Inspects all trees in parallel. If memory ran short, the trees whose state stayed unknown are
/// inspected again, one by one. A tree that is too large by itself is reported as that.
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

/// Inspects all of one worktree, whatever its age; `clock` is the file server's.
///
/// # Errors
/// As [`survey`].
pub fn one(
    shadow: &Shadow,
    policy: &policy::Repo,
    admin: &VolumePath,
    around: &VolumeContext,
    (clock, is_stale): (DateTime<Utc>, IsStale),
    stop: &Stop,
) -> Result<Worktree, Refusal> {
    let unreadable = |cause: io::Error| Refusal::Unreadable {
        path: shadow.git_dir().to_string(),
        cause,
    };
    let repo = shadow.open().map_err(|error| {
        Refusal::Odd(format!(
            "failed to open `{}`: {}; see `git fsck`",
            policy.place,
            error.message()
        ))
    })?;
    let stashed = stashed(&repo, shadow.git_dir(), stop).map_err(unreadable)?;
    let (look_before, made_again) = (DateTime::<Utc>::MAX_UTC, &policy.worktrees.made_again);
    let (repo, place, stashed) = (&repo, &policy.place, &stashed);
    let (kept, objects, upstream) = (&Kept::default(), &Arc::default(), &Upstream::of(repo, stop));
    let due: &(dyn Fn(&Worktree) -> bool + Sync) = &|_| true;
    let context = Context {
        repo,
        place,
        clock,
        look_before,
        is_stale,
        around,
        made_again,
        stashed,
        kept,
        objects,
        upstream,
        stop,
        due,
    };
    Ok(worktree::survey(&context, admin))
}

/// Returns the git dir or admin directory that has the branch checked out, or will have it again
/// when its rebase ends.
///
/// # Errors
/// Somebody's HEAD can't be read.
pub fn holder(git_dir: &VolumePath, branch: &str) -> io::Result<Option<VolumePath>> {
    for folder in admins(git_dir)?.into_iter().chain([git_dir.clone()]) {
        for name in ["HEAD", "rebase-merge/head-name", "rebase-apply/head-name"] {
            let text = found(openat::read(
                &folder.join(name).map_err(io::Error::other)?,
                64 << 10,
            ))?
            .unwrap_or_default();
            let text = text.trim_ascii();
            if text.strip_prefix(b"ref: ").unwrap_or(text) == branch.as_bytes() {
                return Ok(Some(folder));
            }
        }
    }
    Ok(None)
}

/// Counts the trees of these repos that went missing since the last run.
pub fn missing(repos: &[&policy::Repo], trashed: &HashSet<VolumePath>) -> Missing {
    let git_dirs = repos
        .par_iter()
        .filter_map(|repo| repo.place.join(".git").ok());
    let admins: Vec<VolumePath> = git_dirs
        .flat_map_iter(|git_dir| admins(&git_dir).unwrap_or_default())
        .collect();
    let looked: Vec<(bool, bool)> = admins
        .par_iter()
        .map(|admin| worktree::went_missing(admin, trashed))
        .collect();
    let many = |so: fn(&(bool, bool)) -> bool| looked.iter().filter(|one| so(one)).count();
    Missing {
        missing: many(|(_, gone)| *gone),
        of: many(|(was_there, _)| *was_there),
    }
}

/// Returns the admin directory of every registered worktree.
///
/// # Errors
/// The registry can't be read.
pub fn admins(git_dir: &VolumePath) -> io::Result<Vec<VolumePath>> {
    let worktrees = git_dir.join("worktrees").map_err(io::Error::other)?;
    let Some(entries) = found(std::fs::read_dir(worktrees.path()))? else {
        return Ok(Vec::new());
    };
    let mut admins = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            admins.push(
                worktrees
                    .join(entry.file_name())
                    .map_err(io::Error::other)?,
            );
        }
    }
    admins.sort();
    Ok(admins)
}

/// Returns the branches that a stash names: `WIP on BRANCH: ...` or `On BRANCH: ...`, from the
/// stash's reflog. A stash that was made on no branch names its commit, as its parent.
fn stashed(
    repo: &git2::Repository,
    git_dir: &VolumePath,
    stop: &Stop,
) -> io::Result<HashSet<String>> {
    let log = git_dir.join("logs/refs/stash").map_err(io::Error::other)?;
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

/// Returns the unregistered directories in the worktree roots, without the `known` trees.
/// Unreadable ones are not mentioned, and never touched.
pub(super) fn strays(policy: &policy::Repo, git_dir: &VolumePath, known: &[PathBuf]) -> Vec<Stray> {
    let places: BTreeSet<PathBuf> = policy
        .worktrees
        .roots
        .iter()
        .flat_map(|glob| matches(policy.place.root(), glob))
        .collect();
    let known: HashSet<&Path> = known.iter().map(PathBuf::as_path).collect();
    // A directory in a tree belongs to the tree, if the tree is in a root: a registration may name
    // any directory.
    let inside = |path: &Path| {
        path.ancestors()
            .any(|above| known.contains(above) && places.contains(above))
    };
    // A directory with a tree somewhere in it is a part of a branch's name.
    let around = |path: &Path| known.iter().any(|tree| tree.starts_with(path));
    let trashed = |path: &Path| {
        path.iter().any(|part| {
            part.as_encoded_bytes()
                .starts_with(RUNNERS_TRASH.as_bytes())
        })
    };
    let places = places
        .par_iter()
        .filter(|path| !inside(path) && !trashed(path));
    let strays = places.filter_map(|path| {
        stray_kind(git_dir, path).map(|kind| Stray {
            path: path.clone(),
            kind,
        })
    });
    outermost(
        strays
            .filter(|stray| is_tree(stray.kind) || !around(&stray.path))
            .collect(),
    )
}

/// Drops unregistered directories inside others, which occur if roots reach to different depths.
/// What is in a lost tree belongs to that tree; a lost tree in a plain directory is reported
/// instead of the directory.
fn outermost(strays: Vec<Stray>) -> Vec<Stray> {
    let trees: Vec<PathBuf> = strays
        .iter()
        .filter(|stray| is_tree(stray.kind))
        .map(|stray| stray.path.clone())
        .collect();
    let mut plain: Vec<PathBuf> = Vec::new();
    let kept = strays.into_iter().filter(|stray| {
        let inside = |above: &PathBuf| stray.path != *above && stray.path.starts_with(above);
        let told = !is_tree(stray.kind) && trees.iter().any(|tree| tree.starts_with(&stray.path));
        let keep = !told && !trees.iter().any(inside) && !plain.iter().any(inside);
        if keep && !is_tree(stray.kind) {
            plain.push(stray.path.clone());
        }
        keep
    });
    kept.collect()
}

fn is_tree(kind: StrayKind) -> bool {
    matches!(kind, StrayKind::Dangling | StrayKind::Foreign)
}

/// Returns the directories below `root` that the glob matches, no deeper than the glob is long.
fn matches(root: &Path, glob: &str) -> Vec<PathBuf> {
    let depth = glob.split('/').count();
    let Ok(pattern) = globset::GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
    else {
        return Vec::new();
    };
    let pattern = pattern.compile_matcher();
    // Start below the part without wildcards, so that the rest of the volume is not walked.
    let fixed: Vec<&str> = glob
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '{', '\\']))
        .collect();
    let start = root.join(fixed.join("/"));
    let mut level: Vec<PathBuf> = std::fs::symlink_metadata(&start)
        .is_ok_and(|data| data.is_dir())
        .then_some(start)
        .into_iter()
        .collect();
    let mut all = level.clone();
    for _ in fixed.len()..depth {
        level = level
            .par_iter()
            .flat_map_iter(|above| folders(above))
            .collect();
        all.extend_from_slice(&level);
    }
    all.retain(|path| {
        path.strip_prefix(root)
            .is_ok_and(|rest| pattern.is_match(rest))
    });
    all
}

/// Returns the directories in a directory; none if it can't be listed.
fn folders(above: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(above)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn stray_kind(git_dir: &VolumePath, path: &Path) -> Option<StrayKind> {
    let git_file = VolumePath::new(git_dir.root(), &path.join(".git")).ok()?;
    match std::fs::symlink_metadata(git_file.path()) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => {
            let text = String::from_utf8(openat::read(&git_file, 64 << 10).ok()?).ok()?;
            let admin = Path::new(text.trim_end().strip_prefix("gitdir: ")?);
            // A registration of ours that points elsewhere, or nowhere, is mended like a missing
            // one.
            let foreign = admin.is_dir() && !admin.starts_with(git_dir.path());
            Some(if foreign {
                StrayKind::Foreign
            } else {
                StrayKind::Dangling
            })
        }
        Err(_) => Some(if std::fs::read_dir(path).ok()?.next().is_none() {
            StrayKind::Empty
        } else {
            StrayKind::NotGit
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
