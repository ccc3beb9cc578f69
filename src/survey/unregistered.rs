//! Directories in the worktree roots that no registration names: reported, and left alone.

use super::place::from;
use crate::config::policy;
use crate::facts::worktree::{Unregistered, UnregisteredKind};
use crate::fs::budget::Reservation;
use crate::fs::humanize::natural_paths;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The prefix by which Superset names a tree that it is about to delete.
const RUNNERS_TRASH: &str = ".superset-delete-";

/// Bytes that a directory counts for among those that are read.
const A_DIRECTORY: u64 = 4096;
/// How often a path is kept: while the roots are walked, as a fact, and in the report.
const COPIES: usize = 4;

/// Returns the directories in the worktree roots that aren't `known` trees. One that can't be read
/// is left out. None of them is ever touched.
///
/// # Errors
/// It is time to stop, or there are more of them than the memory budget allows: an agent can create
/// as many as it likes.
pub(super) fn directories(
    policy: &policy::Repo,
    git_dir: &VolumePath,
    known: &[PathBuf],
    stop: &Stop,
) -> io::Result<Vec<Unregistered>> {
    let walk = Walk::new(stop);
    let places = walk.all(policy.place.root(), &policy.worktrees.roots)?;
    // What is in a known tree belongs to that tree. Trees outside the roots don't count, for a
    // registration may name any directory.
    let known_places: HashSet<&Path> = known
        .iter()
        .map(PathBuf::as_path)
        .filter(|tree| places.contains(*tree))
        .collect();
    let inside = |path: &Path| path.ancestors().any(|above| known_places.contains(above));
    // A directory above a known tree is a part of a branch's name.
    let around = ancestors(known.iter().map(PathBuf::as_path));
    let trashed = |path: &Path| {
        path.iter().any(|part| {
            part.as_encoded_bytes()
                .starts_with(RUNNERS_TRASH.as_bytes())
        })
    };
    let own = git_dirs(policy, git_dir);
    let is_gits = |path: &Path| own.iter().any(|own| path.starts_with(own));
    let kind = |path: &PathBuf| {
        let looked = stop.read(A_DIRECTORY).map(|()| kind_of(git_dir, path));
        looked.map(|kind| {
            let path = path.clone();
            kind.map(|kind| Unregistered { path, kind })
        })
    };
    let found: Vec<Unregistered> = places
        .par_iter()
        .filter(|path| !inside(path) && !trashed(path) && !is_gits(path))
        .filter_map(|path| kind(path).transpose())
        .filter(|found| {
            let is_around = |found: &Unregistered| around.contains(found.path.as_path());
            !found
                .as_ref()
                .is_ok_and(|found| !is_tree(found.kind) && is_around(found))
        })
        .collect::<io::Result<_>>()?;
    let mut found = outermost(found);
    found.sort_by(|a, b| natural_paths(&a.path, &b.path));
    Ok(found)
}

/// Returns these paths and all directories above them.
fn ancestors<'a>(paths: impl Iterator<Item = &'a Path>) -> HashSet<&'a Path> {
    let mut all = HashSet::new();
    for path in paths {
        // What is above a directory that is there already is there, too.
        for above in path.ancestors() {
            if !all.insert(above) {
                break;
            }
        }
    }
    all
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
/// to the tree; of a plain directory with a tree in it, only the tree is reported. `all` is in the
/// order of the paths.
fn outermost(all: Vec<Unregistered>) -> Vec<Unregistered> {
    let trees = all.iter().filter(|found| is_tree(found.kind));
    let trees: HashSet<&Path> = trees.map(|found| found.path.as_path()).collect();
    let around = ancestors(trees.iter().copied());
    let mut plain = HashSet::new();
    let mut keep = Vec::with_capacity(all.len());
    for found in &all {
        let path = found.path.as_path();
        let mut above = path.ancestors().skip(1);
        let inside = above.any(|above| trees.contains(above) || plain.contains(above));
        let message = !is_tree(found.kind) && around.contains(path);
        if !is_tree(found.kind) && !inside && !message {
            plain.insert(path);
        }
        keep.push(!inside && !message);
    }
    let kept = all.iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(found, _)| found.clone()).collect()
}

fn is_tree(kind: UnregisteredKind) -> bool {
    matches!(kind, UnregisteredKind::Dangling | UnregisteredKind::Foreign)
}

/// Returns the directories below `root` that one of the globs matches.
///
/// # Errors
/// It is time to stop, or there are more of them than the memory budget allows.
pub(super) fn matching(
    root: &Path,
    globs: &[String],
    stop: &Stop,
) -> io::Result<BTreeSet<PathBuf>> {
    Walk::new(stop).all(root, globs)
}

struct Walk<'a> {
    stop: &'a Stop,
    held: Mutex<Reservation>,
}

impl<'a> Walk<'a> {
    fn new(stop: &'a Stop) -> Self {
        let held = Mutex::new(stop.hold());
        Self { stop, held }
    }

    fn all(&self, root: &Path, globs: &[String]) -> io::Result<BTreeSet<PathBuf>> {
        let mut all = BTreeSet::new();
        for glob in globs {
            all.extend(self.matches(root, glob)?);
        }
        Ok(all)
    }

    /// Returns the directories below `root` that the glob matches, no deeper than its components.
    fn matches(&self, root: &Path, glob: &str) -> io::Result<Vec<PathBuf>> {
        let depth = glob.split('/').count();
        let Ok(pattern) = globset::GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
        else {
            return Ok(Vec::new());
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
            let below = level
                .par_iter()
                .map(|above| self.directories_in(above))
                .collect::<io::Result<Vec<_>>>()?;
            level = below.into_iter().flatten().collect();
            all.extend_from_slice(&level);
        }
        all.retain(|path| {
            path.strip_prefix(root)
                .is_ok_and(|rest| pattern.is_match(rest))
        });
        Ok(all)
    }

    /// Returns the directories in a directory; none if it can't be listed.
    fn directories_in(&self, above: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(above)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        let mut all = Vec::new();
        for entry in entries {
            self.stop.go_on()?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..COPIES {
                    held.path(&path)?;
                }
                all.push(path);
            }
        }
        Ok(all)
    }
}

fn kind_of(git_dir: &VolumePath, path: &Path) -> Option<UnregisteredKind> {
    let git_file = VolumePath::new(git_dir.root(), &path.join(".git")).ok()?;
    match std::fs::symlink_metadata(git_file.path()) {
        Ok(data) if data.is_dir() => None,
        Ok(_) => {
            let text = String::from_utf8(openat::read(&git_file, 64 << 10).ok()?).ok()?;
            let admin = from(path, text.trim_end().strip_prefix("gitdir: ")?)?;
            // If our registration points elsewhere, or nowhere, the remedy is the same as if it is
            // gone. Nothing outside the volume is looked at because an agent named it.
            let foreign = VolumePath::new(git_dir.root(), &admin).map_or(true, |admin| {
                !admin.relative().starts_with(git_dir.relative()) && openat::dir(&admin).is_ok()
            });
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

#[cfg(test)]
mod tests {
    use super::*;
    use UnregisteredKind::{Dangling, Empty, Foreign, NotGit};

    #[test]
    fn only_the_outermost_are_told_and_trees_before_what_is_around_them() {
        let found = |(path, kind): (&str, UnregisteredKind)| Unregistered {
            path: path.into(),
            kind,
        };
        let all = [
            ("/v/a", NotGit),
            ("/v/a/empty", Empty),
            ("/v/around", NotGit),
            ("/v/around/deep", NotGit),
            ("/v/around/deep/tree", Dangling),
            ("/v/around/deep/tree/in", NotGit),
            ("/v/around/other", Empty),
            ("/v/tree", Foreign),
            ("/v/tree/tree", Dangling),
            ("/v/treeish", Empty),
        ];
        let kept = outermost(all.map(found).into());
        let kept: Vec<&str> = kept
            .iter()
            .map(|found| found.path.to_str().unwrap())
            .collect();
        assert_eq!(
            kept,
            [
                "/v/a",
                "/v/around/deep/tree",
                "/v/around/other",
                "/v/tree",
                "/v/treeish"
            ]
        );
    }

    #[test]
    fn a_root_is_walked_within_the_budget_and_until_it_is_time_to_stop() {
        let top = tempfile::tempdir().unwrap();
        for number in 0..500 {
            std::fs::create_dir_all(top.path().join(format!("trees/{number}"))).unwrap();
        }
        let walk = |stop: &Stop| {
            let held = Mutex::new(stop.hold());
            Walk { stop, held }.matches(top.path(), "trees/*")
        };
        assert_eq!(walk(&Stop::never()).unwrap().len(), 500);
        let small = Stop::never().within(crate::fs::budget::Budget::of(100 << 10));
        let error = walk(&small).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let over = Stop::after(std::time::Duration::ZERO, std::sync::Arc::default());
        assert!(walk(&over).is_err());
    }

    #[test]
    fn a_place_outside_the_volume_is_not_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let root = std::sync::Arc::from(top.path());
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        std::fs::create_dir_all(top.path().join("other/.git/worktrees/x")).unwrap();
        let kind = |admin: &Path| {
            let tree = top.path().join("tree");
            std::fs::create_dir_all(&tree).unwrap();
            std::fs::write(tree.join(".git"), format!("gitdir: {}\n", admin.display())).unwrap();
            kind_of(&at("mine/.git"), &tree)
        };
        assert_eq!(kind(&at("other/.git/worktrees/x").path()), Some(Foreign));
        assert_eq!(kind(&at("other/.git/worktrees/y").path()), Some(Dangling));
        assert_eq!(kind(&at("mine/.git/worktrees/y").path()), Some(Dangling));
        // The answer doesn't tell whether they exist.
        for outside in ["/etc", "/not-there"] {
            assert_eq!(kind(Path::new(outside)), Some(Foreign), "{outside}");
        }
    }

    #[test]
    fn a_quarter_of_a_million_cost_no_square() {
        let found = |number| Unregistered {
            path: format!("/v/worktrees/{number:06}").into(),
            kind: Empty,
        };
        let began = std::time::Instant::now();
        assert_eq!(outermost((0..250_000).map(found).collect()).len(), 250_000);
        // By comparing each with all others it took hours.
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}
