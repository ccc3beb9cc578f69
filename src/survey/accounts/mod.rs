//! Whose file is it? In the directories that tools make, the tool's own account says which files
//! are its own; every other file is somebody's work
//! (`docs/design/worktrees.md#whose-file-is-it`).
//!
//! A tool is one file here and one line in [`TOOLS`]: how its directory is recognised, and what it
//! says of each entry in it. What a tool notes is read, never believed about more than its own
//! directory. It must never call a file a tool's only because of where it stands, nor on an error:
//! what no account speaks for is somebody's.

use super::go_on;
use crate::fs::budget::Held;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod bundlers;
mod caches;
mod cargo;
mod compilers;
mod coverage;
mod directory;
mod golang;
mod gradle;
mod keys;
mod maven;
mod node;
mod python;
mod single;
mod venv;
mod yarn_berry;

use directory::{Directory, Trouble, beside, ends_with};
pub(super) use directory::{folder, holds};

/// The tools that have directories of their own.
const TOOLS: [&[Tool]; 11] = [
    &[node::MODULES],
    &[cargo::TARGET],
    &[venv::VENV, venv::TOX],
    &python::TOOLS,
    &caches::TOOLS,
    &[coverage::ISTANBUL, coverage::COVERAGE_PY],
    &[gradle::CACHE, gradle::BUILD, maven::TARGET],
    &bundlers::TOOLS,
    &yarn_berry::TOOLS,
    &golang::TOOLS,
    &compilers::TOOLS,
];

/// A tool that makes directories.
struct Tool {
    /// What it leaves in each of its directories, where they are called as anybody likes; none
    /// where it gives them a name.
    signs: &'static [&'static str],
    /// Whether the directory of that name in `parent` is one, by what stands in it and beside it.
    /// It must say no for a link, and on an error.
    made: fn(BorrowedFd<'_>, &str) -> bool,
    /// What it says of the entries, where the directory is one.
    account: fn(&Directory) -> Opinion,
}

/// What a tool says of an entry of one of its directories: a file or a directory, by its name.
type Opinion = Rc<dyn Fn(&Directory, &str, FileType) -> Says>;

/// What a tool says of an entry.
enum Says {
    /// The tool wrote it. Of a directory: also all that is in it.
    Mine,
    /// It is a directory of the tool's, which says the rest of what is in it.
    Below(Opinion),
    /// The tool knows nothing of it.
    Nothing,
}

/// An opinion from a function.
fn opinion(says: impl Fn(&Directory, &str, FileType) -> Says + 'static) -> Opinion {
    Rc::new(says)
}

/// One that says only which files are its own, in whatever directories.
fn files(mine: impl Fn(&str) -> bool + 'static) -> Opinion {
    fn of(mine: Rc<dyn Fn(&str) -> bool>) -> Opinion {
        opinion(move |_, name, kind| {
            if kind.is_dir() {
                Says::Below(of(mine.clone()))
            } else {
                mine(name).into()
            }
        })
    }
    of(Rc::new(mine))
}

/// One of files with these extensions.
fn extensions(all: &'static [&'static str]) -> Opinion {
    files(move |name| ends_with(name, all))
}

impl From<bool> for Says {
    fn from(mine: bool) -> Self {
        if mine { Self::Mine } else { Self::Nothing }
    }
}

/// Whether the directory `name` in `parent` is one to which a tool gives that name. An error is a
/// no.
pub(super) fn is_named(parent: BorrowedFd<'_>, name: &str) -> bool {
    tools(parent, name, |tool| tool.signs.is_empty())
        .next()
        .is_some()
}

/// Whether the directory `name` in `parent`, which lists all `names`, is one in which a tool leaves
/// its sign.
pub(super) fn is_signed<'a>(
    parent: BorrowedFd<'_>,
    name: &str,
    mut names: impl Iterator<Item = &'a [u8]>,
) -> bool {
    let all = || TOOLS.iter().copied().flatten().flat_map(|tool| tool.signs);
    names.any(|listed| all().any(|sign| sign.as_bytes() == listed))
        && tools(parent, name, |tool| !tool.signs.is_empty())
            .next()
            .is_some()
}

/// Whether an untracked file, by its name and by what it holds, is one that a tool writes among the
/// sources.
pub(super) fn is_made_file(parent: BorrowedFd<'_>, name: &str) -> bool {
    single::is_made(parent, name)
}

fn tools<'a>(
    parent: BorrowedFd<'a>,
    name: &'a str,
    asked: impl Fn(&Tool) -> bool + 'a,
) -> impl Iterator<Item = &'static Tool> + 'a {
    TOOLS
        .iter()
        .copied()
        .flatten()
        .filter(move |tool| asked(tool) && (tool.made)(parent, name))
}

/// What stands in a tool's directory and isn't the tool's.
#[derive(Default)]
pub(super) struct Found {
    /// Files and directories that no account speaks for, by their path in the directory, in order.
    pub(super) somebodys: Vec<PathBuf>,
    /// Repos: directories with one's own history.
    pub(super) repos: Vec<PathBuf>,
    /// Directories that are the tool's, with all that is in them: nobody looked further.
    pub(super) whole: Vec<VolumePath>,
}

/// Looks through a tool's directory, and stops at the `first` thing that is somebody's if that is
/// enough. Links hold nothing, and sockets and pipes neither.
///
/// # Errors
/// Something can't be read, or the run is to stop: nobody knows what stands there.
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
    search.directory(&directory, Path::new(""), &tools.unwrap_or_default(), 0)?;
    trouble.told()?;
    Ok(search.found)
}

/// No tool nests its directories so deep: what does is somebody's.
const DEEPEST: usize = 200;

struct Search<'a> {
    found: Found,
    first: bool,
    stop: &'a Stop,
    held: Held,
}

impl Search<'_> {
    fn directory(
        &mut self,
        directory: &Directory,
        path: &Path,
        opinions: &[Opinion],
        depth: usize,
    ) -> io::Result<()> {
        if directory.is_repo() {
            self.held.path(path)?;
            self.found.repos.push(path.to_owned());
            return Ok(());
        }
        for (name, kind) in directory.entries() {
            go_on(Some(self.stop))?;
            if self.first && !self.found.somebodys.is_empty() {
                return Ok(());
            }
            if matches!(kind, FileType::RegularFile | FileType::Directory) {
                self.entry(directory, name, *kind, &path.join(name), opinions, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &Directory,
        name: &OsString,
        kind: FileType,
        path: &Path,
        opinions: &[Opinion],
        depth: usize,
    ) -> io::Result<()> {
        let text = name.to_str().filter(|_| depth < DEEPEST);
        let said = opinions
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
                    self.held.path(path)?;
                    self.found.whole.push(directory.place().join(name)?);
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
        if below.is_empty() {
            self.held.path(path)?;
            self.found.somebodys.push(path.to_owned());
            return Ok(());
        }
        self.directory(
            &directory.below(OsStr::new(name))?,
            path,
            &below,
            depth.saturating_add(1),
        )
    }
}
