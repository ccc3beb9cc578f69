//! Where an agent's command runs: a repo's checkout, or one of its worktrees by name.
//!
//! What stands there was written by agents: it is looked up without following a link, and a repo whose files are encrypted is refused by
//! name. It must never run git, for that takes longer than all the rest, and never lead outside the volume.

use crate::beneath::{self, found};
use crate::config::policy;
use crate::inside::Inside;
use crate::survey;
use std::io;
use std::path::Path;

/// A git config or a `.gitattributes` of this size is no honest one.
const CAP: u64 = 1 << 20;

/// No command can run there.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// There is no checkout.
    #[error("`{0}/.git` is missing: there is no checkout; clone it there, or take it out of the config")]
    Missing(Inside),
    /// It can't be looked at.
    #[error("failed to read `{0}`: {1}; mend it by hand")]
    Unreadable(String, io::Error),
    /// git-crypt's files.
    #[error(
        "`{0}` says that this repo's files are encrypted with git-crypt: they must not be edited from a worktree; take it out of the config"
    )]
    Encrypted(Inside),
    /// No worktree of that name.
    #[error("there is no worktree `{0}`; {1}")]
    NoWorktree(String, String),
}

/// A worktree, or the checkout itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The folder.
    pub place: Inside,
    /// The worktree's admin folder; none for the checkout.
    pub admin: Option<Inside>,
}

/// Finds the checkout, or the worktree that is registered under `name` or stands in a folder of that name, and refuses an encrypted repo.
///
/// # Errors
/// [`CheckoutError`].
pub fn find(repo: &policy::Repo, name: Option<&str>) -> Result<Stand, CheckoutError> {
    let git_dir = at(&repo.place, ".git");
    let opened = found(beneath::dir(&git_dir)).map_err(|error| CheckoutError::Unreadable(git_dir.to_string(), error))?;
    if opened.is_none() {
        return Err(CheckoutError::Missing(repo.place.clone()));
    }
    let stand = match name {
        None => Stand { place: repo.place.clone(), admin: None },
        Some(name) => worktree(&git_dir, name)?,
    };
    refuse_encrypted(&git_dir, &stand.place)?;
    Ok(stand)
}

/// A fixed name below a place can't climb.
fn at(place: &Inside, name: &str) -> Inside {
    place.join(name).expect("a fixed name stays inside")
}

fn worktree(git_dir: &Inside, name: &str) -> Result<Stand, CheckoutError> {
    let admins = survey::repo::admins(git_dir).map_err(|error| CheckoutError::Unreadable(format!("{git_dir}/worktrees"), error))?;
    let trees = admins.iter().filter_map(|admin| Some((admin, survey::worktree::tree_of(admin).ok()??)));
    let trees: Vec<(&Inside, Inside)> = trees.collect();
    let is = |path: &Path| path.file_name().is_some_and(|last| last == name);
    // A folder's name is what people see; git gives a second one of the same name another in its registry.
    let standing = trees.iter().filter(|(_, place)| is(place.relative())).collect::<Vec<_>>();
    let registered = trees.iter().filter(|(admin, _)| is(admin.relative())).collect::<Vec<_>>();
    match (standing.as_slice(), registered.as_slice()) {
        ([(admin, place)], _) | (_, [(admin, place)]) => Ok(Stand { place: place.clone(), admin: Some((*admin).clone()) }),
        ([], _) => {
            let mut names: Vec<_> = trees.iter().filter_map(|(_, place)| Some(place.relative().file_name()?.to_string_lossy())).collect();
            names.sort();
            let known = if names.is_empty() { "the repo has none".to_owned() } else { format!("the repo has {}", names.join(", ")) };
            Err(CheckoutError::NoWorktree(name.to_owned(), known))
        }
        (many, _) => {
            let names: Vec<_> = many.iter().filter_map(|(admin, _)| Some(admin.relative().file_name()?.to_string_lossy())).collect();
            Err(CheckoutError::NoWorktree(name.to_owned(), format!("several folders have that name; git calls them {}", names.join(", "))))
        }
    }
}

/// By the three places that tell without running git: its keys, its filter in the config, its attribute on files.
fn refuse_encrypted(git_dir: &Inside, tree: &Inside) -> Result<(), CheckoutError> {
    let unreadable = |place: &Inside| {
        let place = place.to_string();
        move |error| CheckoutError::Unreadable(place, error)
    };
    let keys = at(git_dir, "git-crypt");
    if found(beneath::stat(&keys)).map_err(unreadable(&keys))?.is_some() {
        return Err(CheckoutError::Encrypted(keys));
    }
    let of_config: fn(&str) -> bool = is_section;
    for (file, tells) in
        [(at(git_dir, "config"), of_config), (at(git_dir, "info/attributes"), has_attribute), (at(tree, ".gitattributes"), has_attribute)]
    {
        let text = found(beneath::read(&file, CAP)).map_err(unreadable(&file))?.unwrap_or_default();
        if String::from_utf8_lossy(&text).to_lowercase().lines().any(|line| tells(line.trim_start())) {
            return Err(CheckoutError::Encrypted(file));
        }
    }
    Ok(())
}

fn is_section(line: &str) -> bool {
    ["[filter \"git-crypt", "[diff \"git-crypt", "[filter.git-crypt", "[diff.git-crypt"].iter().any(|begin| line.starts_with(begin))
}

fn has_attribute(line: &str) -> bool {
    line.split_ascii_whitespace().skip(1).any(|word| word.starts_with("filter=git-crypt") || word.starts_with("diff=git-crypt"))
}
