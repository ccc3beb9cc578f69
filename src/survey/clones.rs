//! Loose clones: ordinary clones of an enrolled repo's origin, which the config names by globs.
//!
//! A clone is surveyed as a worktree is, behind a shadow of its own. Two things differ. Its refs,
//! stashes and reflogs go with it, so what counts as kept is what the refs of the enrolled checkout
//! reach. And some of what its git dir contains is in no worktree's registration: see `own`.
//! A clone's config only says which repo it is a clone of; that decides nothing else.

use super::{damage, reach, unregistered};
use crate::config::policy::{self, Address};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout::{self, Layout};
use crate::git::shadow::{Refusal, Shadow, config};
use git2::{Oid, Repository};
use rayon::prelude::*;
use rustix::fs::FileType;
use std::collections::HashSet;
use std::io;

mod own;

/// Bytes. No well-formed config is larger.
const CONFIG_CAP: u64 = 1 << 20;

/// Returns the clones of a repo, sorted: directories that its globs match, with a git dir of their
/// own and the same origin. Their places must be free, and no link may lead there.
///
/// # Errors
/// It is time to stop, or more directories match than the memory budget allows.
pub(super) fn places(
    policy: &policy::Repo,
    is_free: &(dyn Fn(&VolumePath) -> bool + Sync),
    stop: &Stop,
) -> io::Result<Vec<VolumePath>> {
    let origin = || {
        let own = || origin_of(&layout::find(&policy.place, &policy.assigned).ok()?, stop);
        policy.url.clone().or_else(own)
    };
    let Some(origin) = Some(&policy.clones)
        .filter(|globs| !globs.is_empty())
        .and_then(|_| origin())
    else {
        return Ok(Vec::new());
    };
    let root = policy.place.root();
    let matched: Vec<VolumePath> = unregistered::matching(root, &policy.clones, stop)?
        .into_iter()
        .filter_map(|path| policy.place.same_root(&path).ok())
        .collect();
    let is_one = |place: &VolumePath| {
        let stat = place
            .join(".git")
            .is_ok_and(|git_dir| openat::stat(&git_dir).is_ok_and(|stat| is_directory(&stat)));
        stat && is_free(place)
            && origin_of(&Layout::plain(place), stop).is_some_and(|theirs| theirs.is_same(&origin))
    };
    Ok(matched.into_par_iter().filter(is_one).collect())
}

fn is_directory(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Returns the address that a checkout's own config calls its origin.
fn origin_of(checkout: &Layout, stop: &Stop) -> Option<Address> {
    const KEY: &str = "remote.origin.url";
    let text = openat::read(&checkout.git_dir.join("config").ok()?, CONFIG_CAP).ok()?;
    let typed = match config::plain(&text) {
        Some(entries) => {
            let value = |entry: &String| Some(entry.strip_prefix(KEY)?.strip_prefix('\n')?.into());
            entries.iter().rev().find_map(value)
        }
        None => Shadow::of(checkout, stop).ok()?.setting(KEY, stop).ok()?,
    };
    typed.and_then(|typed: String| Address::new(&typed).ok())
}

/// An enrolled repo as the keeper of what its clones have: what its refs reach stays.
pub struct Keeper<'a> {
    shadow: &'a Shadow,
    /// The commits that its refs name.
    tips: reach::Ids,
    /// Every object that its refs name, such as a tag.
    named: HashSet<Oid>,
}

impl<'a> Keeper<'a> {
    /// Reads the refs of the repo.
    ///
    /// # Errors
    /// They can't be read, or the repo itself doesn't have everything that they reach.
    pub fn of(shadow: &'a Shadow, stop: &Stop) -> io::Result<Self> {
        let whole = "so it is unknown what it has of this clone";
        if found(openat::stat(&shadow.git_dir().join("shallow")?))?.is_some() {
            return Err(io::Error::other(format!(
                "the enrolled checkout is shallow, {whole}; `git fetch --unshallow` in it"
            )));
        }
        if shadow.is_promised() {
            return Err(io::Error::other(format!(
                "the enrolled checkout is a partial clone, {whole}; enroll a full one"
            )));
        }
        let repo = shadow.open().map_err(io::Error::other)?;
        Ok(Self {
            shadow,
            tips: reach::kept(&repo, stop)?,
            named: reach::named(&repo, stop)?,
        })
    }
}

/// A clone behind its own shadow.
pub struct Opened<'a> {
    keeper: &'a Keeper<'a>,
    shadow: Shadow,
    stop: &'a Stop,
}

impl<'a> Opened<'a> {
    /// Proves that the clone at `place` is well-formed and whole.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong.
    pub fn of(place: &VolumePath, keeper: &'a Keeper<'a>, stop: &'a Stop) -> Result<Self, Refusal> {
        let shadow = Shadow::of(&Layout::plain(place), stop)?;
        damage::prove_whole(&shadow, stop)?;
        Ok(Self {
            keeper,
            shadow,
            stop,
        })
    }

    /// Returns the clone's git dir.
    pub fn git_dir(&self) -> &VolumePath {
        self.shadow.git_dir()
    }

    /// Returns the git dir of the enrolled repo.
    pub fn checkout(&self) -> &VolumePath {
        self.keeper.shadow.git_dir()
    }

    /// Returns the object directories that the clone reads: its own, and those it borrows from.
    pub fn stores(&self) -> Vec<VolumePath> {
        let own = self.git_dir().join("objects");
        let borrowed = self.shadow.alternates().iter().cloned();
        own.into_iter().chain(borrowed).collect()
    }

    /// Opens the clone: its own refs, with the objects of both repos.
    ///
    /// # Errors
    /// libgit2 can't read them.
    pub fn open(&self) -> Result<Repository, git2::Error> {
        let (repo, keeper) = (self.shadow.open()?, self.keeper.shadow);
        let odb = repo.odb()?;
        odb.add_disk_alternate(&keeper.git_dir().path().join("objects").to_string_lossy())?;
        for lender in keeper.alternates() {
            odb.add_disk_alternate(&lender.path().to_string_lossy())?;
        }
        drop(odb);
        Ok(repo)
    }
}
