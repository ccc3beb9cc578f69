//! Finds where an agent's command runs: a repo's checkout, or one of its worktrees by name.
//!
//! Agents can write there, so the look-up follows no link and stays inside the volume, and a repo
//! with encrypted files is refused. Git is not run, because that takes longer than all the rest.

use crate::commands::worktrees;
use crate::config::policy;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Refusal;
use crate::git::shadow::crypt::{WORDS, names_driver};
use crate::git::shadow::layout;
use crate::survey;
use std::io;

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

/// A worktree, or the checkout itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The directory.
    pub place: VolumePath,
    /// The worktree's admin directory; none for the checkout.
    pub admin: Option<VolumePath>,
    /// Whether nothing is checked out there: the directory of a bare repo.
    pub is_empty: bool,
}

/// Finds the checkout, or the worktree that `name` means, and refuses an encrypted repo.
///
/// # Errors
/// [`CheckoutError`].
pub fn find(repo: &policy::Repo, name: Option<&str>) -> Result<Stand, CheckoutError> {
    let layout = layout::find(&repo.place, &repo.assigned)?;
    let is_bare = layout.prove_own_quickly()?;
    let git_dir = layout.git_dir;
    let stand = match name {
        None => Stand {
            place: repo.place.clone(),
            admin: None,
            is_empty: is_bare,
        },
        Some(name) => worktree(repo, &git_dir, name)?,
    };
    refuse_encrypted(&git_dir, &stand.place)?;
    Ok(stand)
}

/// Joins a fixed name to a place, which can't lead out of it.
fn at(place: &VolumePath, name: &str) -> VolumePath {
    place.join(name).expect("a fixed name stays inside")
}

fn worktree(repo: &policy::Repo, git_dir: &VolumePath, name: &str) -> Result<Stand, CheckoutError> {
    let (admin, path) = worktrees::find(repo, git_dir, name)
        .map_err(|error| CheckoutError::NoWorktree(error.to_string()))?;
    match survey::worktree::tree_of(&admin)
        .map_err(|error| CheckoutError::Unreadable(admin.to_string(), error))?
    {
        Some(place) => Ok(Stand {
            place,
            admin: Some(admin),
            is_empty: false,
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
