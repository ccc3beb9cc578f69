//! Finds where an agent's command runs: a repo's checkout, one of its worktrees by name, or the
//! directory in one of these that the caller stands in.
//!
//! Agents can write there, so the look-up follows no link and stays inside the volume, and a repo
//! with encrypted files is refused. Git is not run, because that takes longer than all the rest.

use crate::commands::here::{Here, Tree};
use crate::commands::worktrees;
use crate::config::policy;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::crypt::{WORDS, names_driver};
use crate::git::shadow::{Refusal, layout};
use crate::survey;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Bytes. No well-formed git config or `.gitattributes` is larger.
const CAP: u64 = 1 << 20;

/// Why no command can run there.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// There is no checkout, or its git dir is somebody else's.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It can't be inspected.
    #[error("failed to read `{0}`: {1}; fix it by hand")]
    Unreadable(String, io::Error),
    /// Its files are encrypted by git-crypt.
    #[error("`{0}` says that this is a git-crypt repo: {WORDS}")]
    Encrypted(VolumePath),
    /// No worktree of that name.
    #[error("{0}")]
    NoWorktree(String),
}

/// Where a command is to run.
#[derive(Debug)]
pub enum Asked<'a> {
    /// In the worktree of this name.
    Worktree(&'a str),
    /// Where the caller stands, in this tree of the repo.
    Here(&'a Here, Tree),
    /// In the checkout.
    Checkout,
}

/// Where a command runs.
#[derive(Debug)]
pub struct Stand {
    /// The worktree, or the checkout itself.
    pub tree: Tree,
    /// The directory in it, opened: it stays this one, whatever replaces it meanwhile.
    pub directory: OwnedFd,
    /// The directory's path.
    pub path: PathBuf,
    /// Whether nothing is checked out there: it belongs to a bare repo, and to no worktree.
    pub is_empty: bool,
}

/// Finds the directory that is asked for, and refuses an encrypted repo.
///
/// # Errors
/// [`CheckoutError`].
pub fn find(repo: &policy::Repo, asked: &Asked<'_>) -> Result<Stand, CheckoutError> {
    let layout = layout::find(&repo.place, &repo.assigned)?;
    let is_bare = layout.prove_own_quickly()?;
    let git_dir = layout.git_dir;
    let mut stand = match asked {
        Asked::Worktree(name) => root_of(worktree(repo, &git_dir, name)?)?,
        Asked::Here(here, tree) => still_here(repo, here, tree)?,
        Asked::Checkout => root_of(Tree {
            place: repo.place.clone(),
            admin: None,
        })?,
    };
    stand.is_empty = is_bare && stand.tree.admin.is_none();
    refuse_encrypted(&git_dir, &stand.tree.place)?;
    Ok(stand)
}

fn root_of(tree: Tree) -> Result<Stand, CheckoutError> {
    let directory = openat::dir(&tree.place)
        .map_err(|error| CheckoutError::Unreadable(tree.place.to_string(), error))?;
    Ok(Stand {
        path: tree.place.path(),
        directory,
        tree,
        is_empty: false,
    })
}

/// Proves that the caller still stands in the tree: while the lock was waited for, a run may have
/// removed it.
fn still_here(repo: &policy::Repo, here: &Here, tree: &Tree) -> Result<Stand, CheckoutError> {
    let unreadable = |error| CheckoutError::Unreadable(here.path().display().to_string(), error);
    if here.tree(repo).map_err(unreadable)?.as_ref() != Some(tree) {
        return Err(CheckoutError::NoWorktree(format!(
            "`{}` is no longer in `{}`",
            here.path().display(),
            tree.place.path().display()
        )));
    }
    Ok(Stand {
        tree: tree.clone(),
        directory: here.directory().map_err(unreadable)?,
        path: here.path().to_owned(),
        is_empty: false,
    })
}

/// Joins a fixed name to a place, which can't lead out of it.
fn at(place: &VolumePath, name: &str) -> VolumePath {
    place.join(name).expect("a fixed name stays inside")
}

fn worktree(repo: &policy::Repo, git_dir: &VolumePath, name: &str) -> Result<Tree, CheckoutError> {
    let (admin, path) = worktrees::find(repo, git_dir, name)
        .map_err(|error| CheckoutError::NoWorktree(error.to_string()))?;
    match survey::worktree::tree_of(&admin)
        .map_err(|error| CheckoutError::Unreadable(admin.to_string(), error))?
    {
        Some(place) => Ok(Tree {
            place,
            admin: Some(admin),
        }),
        None => Err(CheckoutError::NoWorktree(format!(
            "the worktree `{name}` is gone from `{}`",
            path.display()
        ))),
    }
}

/// Refuses a git-crypt repo, by three signs that need no git: its keys, its driver in the config,
/// its attribute on files.
fn refuse_encrypted(git_dir: &VolumePath, tree: &VolumePath) -> Result<(), CheckoutError> {
    let unreadable = |place: &VolumePath| {
        let place = place.to_string();
        move |error| CheckoutError::Unreadable(place, error)
    };
    let keys = at(git_dir, "git-crypt");
    if found(openat::stat(&keys))
        .map_err(unreadable(&keys))?
        .is_some()
    {
        return Err(CheckoutError::Encrypted(keys));
    }
    for (file, tells) in [
        (at(git_dir, "config"), has_section as fn(&[u8]) -> bool),
        (at(git_dir, "info/attributes"), names_driver),
        (at(tree, ".gitattributes"), names_driver),
    ] {
        if tells(
            &found(openat::read(&file, CAP))
                .map_err(unreadable(&file))?
                .unwrap_or_default(),
        ) {
            return Err(CheckoutError::Encrypted(file));
        }
    }
    Ok(())
}

/// Returns whether a git config has a section of git-crypt's.
fn has_section(config: &[u8]) -> bool {
    let begins = [
        "[filter \"git-crypt",
        "[diff \"git-crypt",
        "[filter.git-crypt",
        "[diff.git-crypt",
    ];
    let config = String::from_utf8_lossy(config).to_lowercase();
    config.lines().any(|line| {
        begins
            .iter()
            .any(|begin| line.trim_start().starts_with(begin))
    })
}
