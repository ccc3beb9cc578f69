//! The walk through directories that tools make. It asks each tool's account
//! (`ecosystems::account`) which files are its own: every other file is somebody's work
//! (`docs/design/worktrees.md#whose-file-is-it`).
//!
//! Anything unreadable is an error, and then the contents of the directory are unknown.

use super::go_on;
use crate::ecosystems;
use crate::ecosystems::account::{Opinion, Says, Tool};
use crate::ecosystems::directory::{Directory, Trouble};
use crate::ecosystems::made_file::MadeFile;
use crate::fs::budget::Reservation;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// Checks whether `name` in `parent` is a directory that a tool made under a name of its own. False
/// on an error.
pub(super) fn is_named(parent: BorrowedFd<'_>, name: &str) -> bool {
    tools(parent, name, |tool| tool.signs.is_empty())
        .next()
        .is_some()
}

/// Checks by a sign among its entries `names` whether a tool made the directory `name` in `parent`.
pub(super) fn is_signed<'a>(
    parent: BorrowedFd<'_>,
    name: &str,
    mut names: impl Iterator<Item = &'a [u8]>,
) -> bool {
    // Collected once, because a directory may have many names.
    let signs: Vec<&[u8]> = ecosystems::output()
        .flat_map(|tool| tool.signs)
        .map(|sign| sign.as_bytes())
        .collect();
    names.any(|listed| signs.contains(&listed))
        && tools(parent, name, |tool| !tool.signs.is_empty())
            .next()
            .is_some()
}

/// Checks by name and contents whether a tool wrote an untracked file among the sources. False for
/// a link, on an error, and if the run is to stop.
pub(super) fn is_made_file(parent: BorrowedFd<'_>, name: &str, stop: &Stop) -> bool {
    let is_it = |file: &MadeFile| (file.may_be)(name) && (file.is_one)(parent, name, stop);
    ecosystems::made_files().any(is_it)
}

fn tools<'a>(
    parent: BorrowedFd<'a>,
    name: &'a str,
    asked: impl Fn(&Tool) -> bool + 'a,
) -> impl Iterator<Item = &'static Tool> + 'a {
    ecosystems::output().filter(move |tool| asked(tool) && (tool.made)(parent, name))
}

/// What a walk of a tool's directory found.
#[derive(Default)]
pub(super) struct Found {
    /// Files and directories that no account claims, by their path in the directory, sorted.
    pub(super) somebodys: Vec<PathBuf>,
    /// Repos: directories with a history of their own.
    pub(super) repos: Vec<PathBuf>,
    /// Directories that are the tool's with all their contents: they are not walked further.
    pub(super) whole: Vec<VolumePath>,
}

/// Walks a tool's directory. If `first`, it stops at the first file that is somebody's. Links,
/// sockets and pipes are ignored.
///
/// # Errors
/// Something can't be read, or the run is to stop: the contents are unknown.
pub(super) fn look_through(place: &VolumePath, first: bool, stop: &Stop) -> io::Result<Found> {
    let (parent, name) = openat::parent(place)?;
    let trouble = Trouble::default();
    let directory = Directory::open(place, trouble.clone(), stop)?;
    let tools = name.to_str().map(|name| {
        tools(parent.as_fd(), name, |_| true)
            .map(|tool| (tool.account)(&directory))
            .collect::<Vec<_>>()
    });
    let mut search = Search {
        found: Found::default(),
        first,
        stop,
        held: stop.hold(),
    };
    search.directory(&Level {
        directory: &directory,
        path: Path::new(""),
        opinions: &tools.unwrap_or_default(),
        depth: 0,
    })?;
    trouble.take_error()?;
    Ok(search.found)
}

/// Below this depth nothing counts as a tool's: no tool nests its directories so deep.
const DEEPEST: usize = 200;

struct Search<'a> {
    found: Found,
    first: bool,
    stop: &'a Stop,
    held: Reservation,
}

/// A directory on the walk.
struct Level<'a> {
    directory: &'a Directory,
    /// Its path in the tool's directory, and how deep that is.
    path: &'a Path,
    depth: usize,
    /// The opinions that decide on its entries.
    opinions: &'a [Opinion],
}

impl Search<'_> {
    fn directory(&mut self, level: &Level<'_>) -> io::Result<()> {
        if level.directory.is_repo() {
            self.held.path(level.path)?;
            self.found.repos.push(level.path.to_owned());
            return Ok(());
        }
        for (name, kind) in level.directory.entries() {
            go_on(Some(self.stop))?;
            if self.first && !self.found.somebodys.is_empty() {
                return Ok(());
            }
            if matches!(kind, FileType::RegularFile | FileType::Directory) {
                self.entry(level, name, *kind)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, level: &Level<'_>, name: &OsString, kind: FileType) -> io::Result<()> {
        let directory = level.directory;
        let path = level.path.join(name);
        let text = name.to_str().filter(|_| level.depth < DEEPEST);
        let said =
            level
                .opinions
                .iter()
                .filter_map(|opinion| match opinion(directory, text?, kind) {
                    Says::Nothing => None,
                    said => Some(said),
                });
        let mut below = Vec::new();
        for says in said {
            match says {
                Says::Below(opinion) if kind.is_dir() => below.push(opinion),
                _ if kind.is_dir() => {
                    self.held.path(&path)?;
                    self.found.whole.push(directory.place().join(name)?);
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
        if below.is_empty() {
            self.held.path(&path)?;
            self.found.somebodys.push(path);
            return Ok(());
        }
        self.directory(&Level {
            directory: &directory.below(OsStr::new(name))?,
            path: &path,
            opinions: &below,
            depth: level.depth.saturating_add(1),
        })
    }
}
