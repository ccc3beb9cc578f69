//! Directories in the worktree roots that no registration names: reported, and left alone.

use super::place::from;
use crate::config::policy;
use crate::facts::worktree::{Unregistered, UnregisteredKind};
use crate::fs::humanize::natural_paths;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// The prefix by which Superset names a tree that it is about to delete.
const RUNNERS_TRASH: &str = ".superset-delete-";

/// Returns the directories in the worktree roots that aren't `known` trees. One that can't be read
/// is left out. None of them is ever touched.
pub(super) fn directories(
    policy: &policy::Repo,
    git_dir: &VolumePath,
    known: &[PathBuf],
) -> Vec<Unregistered> {
    let places: BTreeSet<PathBuf> = policy
        .worktrees
        .roots
        .iter()
        .flat_map(|glob| matches(policy.place.root(), glob))
        .collect();
    let known: HashSet<&Path> = known.iter().map(PathBuf::as_path).collect();
    // What is in a known tree belongs to that tree. Trees outside the roots don't count, for a
    // registration may name any directory.
    let inside = |path: &Path| {
        path.ancestors()
            .any(|above| known.contains(above) && places.contains(above))
    };
    // A directory above a known tree is a part of a branch's name.
    let around = |path: &Path| known.iter().any(|tree| tree.starts_with(path));
    let trashed = |path: &Path| {
        path.iter().any(|part| {
            part.as_encoded_bytes()
                .starts_with(RUNNERS_TRASH.as_bytes())
        })
    };
    let own = git_dirs(policy, git_dir);
    let is_gits = |path: &Path| own.iter().any(|own| path.starts_with(own));
    let places = places
        .par_iter()
        .filter(|path| !inside(path) && !trashed(path) && !is_gits(path));
    let found = places.filter_map(|path| {
        kind_of(git_dir, path).map(|kind| Unregistered {
            path: path.clone(),
            kind,
        })
    });
    let mut found: Vec<Unregistered> = found
        .filter(|directory| is_tree(directory.kind) || !around(&directory.path))
        .collect();
    found.sort_by(|a, b| natural_paths(&a.path, &b.path));
    outermost(found)
}

/// Returns the directories that are git's, so that they aren't taken for something of somebody's: a
/// bare repo may have its worktrees beside them.
fn git_dirs(policy: &policy::Repo, git_dir: &VolumePath) -> Vec<PathBuf> {
    if *git_dir == policy.place {
        let internals = layout::internals(git_dir);
        internals.iter().map(VolumePath::path).collect()
    } else {
        vec![git_dir.path()]
    }
}

/// Leaves out what is inside another finding, if roots differ in depth. What is in a tree belongs
/// to the tree; of a plain directory with a tree in it, only the tree is reported.
fn outermost(all: Vec<Unregistered>) -> Vec<Unregistered> {
    let trees: Vec<PathBuf> = all
        .iter()
        .filter(|directory| is_tree(directory.kind))
        .map(|directory| directory.path.clone())
        .collect();
    let mut plain: Vec<PathBuf> = Vec::new();
    let kept = all.into_iter().filter(|directory| {
        let inside =
            |above: &PathBuf| directory.path != *above && directory.path.starts_with(above);
        let told =
            !is_tree(directory.kind) && trees.iter().any(|tree| tree.starts_with(&directory.path));
        let keep = !told && !trees.iter().any(inside) && !plain.iter().any(inside);
        if keep && !is_tree(directory.kind) {
            plain.push(directory.path.clone());
        }
        keep
    });
    kept.collect()
}

fn is_tree(kind: UnregisteredKind) -> bool {
    matches!(kind, UnregisteredKind::Dangling | UnregisteredKind::Foreign)
}

/// Returns the directories below `root` that the glob matches, no deeper than its components.
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
            .flat_map_iter(|above| directories_in(above))
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
fn directories_in(above: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(above)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn kind_of(git_dir: &VolumePath, path: &Path) -> Option<UnregisteredKind> {
    let git_file = VolumePath::new(git_dir.root(), &path.join(".git")).ok()?;
    match std::fs::symlink_metadata(git_file.path()) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => {
            let text = String::from_utf8(openat::read(&git_file, 64 << 10).ok()?).ok()?;
            let admin = from(path, text.trim_end().strip_prefix("gitdir: ")?)?;
            // If our registration points elsewhere, or nowhere, the remedy is the same as if it is
            // gone.
            let foreign = admin.is_dir() && !admin.starts_with(git_dir.path());
            Some(if foreign {
                UnregisteredKind::Foreign
            } else {
                UnregisteredKind::Dangling
            })
        }
        Err(_) => Some(if std::fs::read_dir(path).ok()?.next().is_none() {
            UnregisteredKind::Empty
        } else {
            UnregisteredKind::NotGit
        }),
    }
}
