//! Where a repo's git dir is, by what stands at its enrolled path.
//!
//! | at the path | its git dir |
//! | --- | --- |
//! | a directory `.git` | that |
//! | a file `.git` | the directory that it names (`git init --separate-git-dir`, `gitdir: ./.bare`) |
//! | a directory `.bare` and no `.git` | that |
//! | `HEAD`, `objects` and `refs` | the path itself: a bare repo |
//!
//! Agents write `.git`, so the directory that it names is one to be proven: on the volume, reached
//! without a link, and nothing that the config assigns to somebody else. Outside the enrolled path
//! it must also be nobody else's by its own account: see `prove_own`.

use super::config::{self, Theirs};
use super::prove::{at, is_same};
use super::{CONFIG_CAP, Refusal};
use crate::fs::assigned::Assigned;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes. A `.git` file is one line.
const LINE: u64 = 64 << 10;
/// The usual name of a bare repo with its worktrees beside it.
const BARE: &str = ".bare";
/// Directories of a git dir. No worktree can stand in them, even if it may stand beside them.
const INTERNALS: [&str; 11] = [
    "annex",
    "branches",
    "hooks",
    "info",
    "lfs",
    "logs",
    "modules",
    "objects",
    "refs",
    "rr-cache",
    "worktrees",
];

/// A repo's enrolled path and its git dir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The enrolled path.
    pub place: VolumePath,
    /// The git dir.
    pub git_dir: VolumePath,
    /// Other enrolled paths that lead to the same git dir.
    rivals: Vec<VolumePath>,
}

/// Finds the git dir of the repo that is enrolled at `place`.
///
/// # Errors
/// [`Refusal`] says what is wrong there, and what helps.
pub fn find(place: &VolumePath, assigned: &Assigned) -> Result<Layout, Refusal> {
    let layout = Layout {
        git_dir: git_dir_of(place)?,
        place: place.clone(),
        rivals: Vec::new(),
    };
    if !layout.is_elsewhere() {
        return Ok(layout);
    }
    let git_dir = &layout.git_dir;
    let [own, theirs] = [place, git_dir].map(VolumePath::relative);
    let refuse = |what: String| {
        Err(Refusal::Malformed(format!(
            "`{place}/.git` leads to `{git_dir}`, {what}"
        )))
    };
    if own.starts_with(theirs) {
        return refuse("in which the checkout itself stands; enroll that instead".to_owned());
    }
    let meets = |other: &&VolumePath| {
        let other = other.relative();
        other != own && (other.starts_with(theirs) || theirs.starts_with(other))
    };
    if let Some(other) = assigned.repos.iter().find(meets) {
        return refuse(format!(
            "which is of the repo enrolled at `{other}`: they are one repo; take one of them out of the config"
        ));
    }
    if let Some(other) = assigned.others.iter().find(meets) {
        return refuse(format!(
            "and the config has `{other}` for something else; move the git dir to a directory of its own, and name that"
        ));
    }
    let rivals = assigned.repos.iter().filter(|other| *other != place);
    let rivals = rivals.filter(|other| {
        git_dir_of(other).is_ok_and(|theirs| is_same(&theirs, git_dir).unwrap_or(false))
    });
    Ok(Layout {
        rivals: rivals.cloned().collect(),
        ..layout
    })
}

impl Layout {
    /// Returns the layout of a plain checkout, with its git dir in `.git`.
    pub fn plain(place: &VolumePath) -> Self {
        Self {
            place: place.clone(),
            git_dir: at(place, ".git"),
            rivals: Vec::new(),
        }
    }

    /// Returns whether the git dir is outside the enrolled path.
    fn is_elsewhere(&self) -> bool {
        !self.git_dir.relative().starts_with(self.place.relative())
    }

    /// Returns the enrolled path, unless it is the git dir itself and has no other files.
    pub fn checkout(&self) -> Option<&VolumePath> {
        Some(&self.place).filter(|place| **place != self.git_dir)
    }

    /// Returns the directories in which no worktree may stand. A git dir elsewhere is among them
    /// only if it is one, and nobody else's: no agent takes a place from others by naming it.
    pub fn reserved(&self) -> Vec<VolumePath> {
        let git_dir = &self.git_dir;
        let is_own = || {
            !self.is_elsewhere()
                || (is_git_dir(git_dir).unwrap_or(false) && self.prove_own_quickly().is_ok())
        };
        let own = match self.checkout() {
            None => internals(git_dir),
            Some(_) if is_own() => vec![git_dir.clone()],
            Some(_) => Vec::new(),
        };
        std::iter::once(self.place.clone()).chain(own).collect()
    }

    /// Proves that the git dir, if it is elsewhere on the volume, isn't somebody else's, by its own
    /// config. Returns whether the repo is bare: nobody has checked out its HEAD.
    ///
    /// `core.worktree` decides if it is there: it names one directory, and is written by whoever
    /// may write the git dir. Git's own `--separate-git-dir` doesn't set it. Then no other enrolled
    /// path may lead there, and the git dir may be none that belongs to the directory around it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn prove_own(&self, theirs: &Theirs) -> Result<bool, Refusal> {
        // `git worktree` moves it there if worktrees may have a config of their own.
        let moved = || plain(&at(&self.git_dir, "config.worktree")).bare;
        let said = moved().or(theirs.bare);
        let bare = said.unwrap_or_else(|| self.checkout().is_none());
        self.prove_nobody_elses(theirs.worktree.as_deref(), bare)?;
        Ok(bare)
    }

    /// Does the same without starting git: a config that isn't plain says nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn prove_own_quickly(&self) -> Result<bool, Refusal> {
        self.prove_own(&plain(&at(&self.git_dir, "config")))
    }

    fn prove_nobody_elses(&self, worktree: Option<&str>, bare: bool) -> Result<(), Refusal> {
        let Self {
            place,
            git_dir,
            rivals,
        } = self;
        let refuse = |why: String| Err(Refusal::Malformed(why));
        if let Some(worktree) = worktree {
            let named = git_dir.resolve(Path::new(worktree)).ok();
            if named.as_ref() == Some(place) {
                return Ok(());
            }
            let remedy = if self.is_elsewhere() {
                "enroll that instead, or unset it if the checkout has moved"
            } else {
                "unset it"
            };
            return refuse(format!(
                "`{git_dir}/config` sets core.worktree = {worktree}: the checkout would be elsewhere; {remedy}"
            ));
        }
        if !self.is_elsewhere() {
            return Ok(());
        }
        if let Some(rival) = rivals.first() {
            return refuse(format!(
                "`{place}/.git` and `{rival}/.git` lead to the same git dir, `{git_dir}`: they are one repo; \
                 take one of them out of the config"
            ));
        }
        let above = git_dir.relative().parent().unwrap_or(Path::new(""));
        let is_around = [".git", BARE]
            .iter()
            .any(|name| git_dir.relative().ends_with(name));
        if is_around {
            return refuse(format!(
                "`{place}/.git` leads to `{git_dir}`, the git dir of `{0}`; enroll `{0}` instead",
                above.display()
            ));
        }
        if bare {
            return refuse(format!(
                "`{place}/.git` leads to `{git_dir}`, a bare repo; enroll `{git_dir}` instead"
            ));
        }
        Ok(())
    }
}

/// Returns what a config says, if all of it is plain.
fn plain(config: &VolumePath) -> Theirs {
    let text = found(openat::read(config, CONFIG_CAP)).ok().flatten();
    let entries = text.and_then(|text| config::plain(&text));
    config::gather(entries.unwrap_or_default().iter().map(String::as_str))
}

/// Returns the directories of a git dir in which no worktree can stand.
pub fn internals(git_dir: &VolumePath) -> Vec<VolumePath> {
    INTERNALS.iter().map(|name| at(git_dir, name)).collect()
}

/// Returns the type of what is there; none if nothing is.
fn kind_of(place: &VolumePath) -> Result<Option<FileType>, Refusal> {
    match found(openat::stat(place)) {
        Ok(stat) => Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode))),
        Err(cause) => Err(Refusal::Unreadable {
            path: place.to_string(),
            cause,
        }),
    }
}

fn git_dir_of(place: &VolumePath) -> Result<VolumePath, Refusal> {
    let git = at(place, ".git");
    let kind = match kind_of(&git) {
        // The path itself is a file.
        Err(Refusal::Unreadable { cause, .. }) if cause.kind() == ErrorKind::NotADirectory => {
            return Err(no_checkout(place, true));
        }
        kind => kind?,
    };
    match kind {
        Some(FileType::Directory) => Ok(git),
        Some(FileType::RegularFile) => named_by(place, &git),
        Some(FileType::Symlink) => Err(Refusal::Malformed(format!(
            "`{git}` is a link, which is not followed; put a file in its place: one line, `gitdir: PATH`, with the path that the link has"
        ))),
        Some(_) => Err(Refusal::Malformed(format!(
            "`{git}` is neither a directory nor a file; move it away, and restore the git dir or enroll anew"
        ))),
        None => without(place),
    }
}

/// Returns whether git would take it for a git dir.
fn is_git_dir(place: &VolumePath) -> Result<bool, Refusal> {
    let mut is_one = kind_of(&at(place, "HEAD"))? == Some(FileType::RegularFile);
    for name in ["objects", "refs"] {
        is_one = is_one && kind_of(&at(place, name))? == Some(FileType::Directory);
    }
    Ok(is_one)
}

/// Returns the git dir of a path without `.git`.
fn without(place: &VolumePath) -> Result<VolumePath, Refusal> {
    let bare = at(place, BARE);
    if kind_of(&bare)? == Some(FileType::Directory) {
        return Ok(bare);
    }
    if is_git_dir(place)? {
        return Ok(place.clone());
    }
    Err(no_checkout(place, kind_of(place)?.is_some()))
}

/// Refuses a path without a git dir, at which something or nothing stands.
fn no_checkout(place: &VolumePath, stands: bool) -> Refusal {
    let (what, remedy) = if stands {
        (
            "something stands at",
            ", and it is no git checkout; move it away, then",
        )
    } else {
        ("there is no git checkout at", ";")
    };
    Refusal::Malformed(format!(
        "{what} `{place}`{remedy} `treewarden enroll` clones it, or take it out of the config"
    ))
}

/// Returns the directory that a `.git` file names.
fn named_by(place: &VolumePath, git: &VolumePath) -> Result<VolumePath, Refusal> {
    let refuse = |why: String| Refusal::Malformed(format!("`{git}` {why}"));
    let text = openat::read(git, LINE).map_err(|cause| Refusal::Unreadable {
        path: git.to_string(),
        cause,
    })?;
    // As git reads it: all line ends at its end are none of the path's.
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte));
    let line = end.and_then(|end| text.get(..=end)).unwrap_or_default();
    let Some(named) = line.strip_prefix(b"gitdir: ") else {
        return Err(refuse(
            "is a file and names no git dir; write `gitdir: PATH` into it, or move the checkout away and enroll anew".to_owned(),
        ));
    };
    let named = Path::new(OsStr::from_bytes(named));
    let outside = |_| {
        refuse(format!(
            "leads to `{}`, outside the volume; move the git dir onto the volume and name it there",
            named.display()
        ))
    };
    let git_dir = place.resolve(named).map_err(outside)?;
    let remedy = "restore it, or move the checkout away and enroll anew";
    match kind_of(&git_dir) {
        Ok(Some(FileType::Directory)) => {}
        Err(Refusal::Unreadable { cause, .. }) if cause.kind() != ErrorKind::NotADirectory => {
            return Err(Refusal::Unreadable {
                path: git_dir.to_string(),
                cause,
            });
        }
        Ok(None) | Err(_) => {
            return Err(refuse(format!(
                "leads to `{git_dir}`, which is missing; {remedy}"
            )));
        }
        Ok(Some(_)) => {
            return Err(refuse(format!(
                "leads to `{git_dir}`, which is no directory; {remedy}"
            )));
        }
    }
    if kind_of(&at(&git_dir, "commondir"))?.is_some() {
        return Err(refuse(format!(
            "leads to `{git_dir}`: this is a worktree; name the main checkout, or the bare repo, that it belongs to"
        )));
    }
    Ok(git_dir)
}
