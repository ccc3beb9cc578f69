//! What stands below a directory, by names alone: git repos, worktrees, volumes.
//!
//! Directories are listed and files are not looked at, so a million files cost no more than their
//! directories. Not entered are links, other file systems, `node_modules`, git dirs, worktrees,
//! directories with a `CACHEDIR.TAG`, and what the caller names. The one kind of file that is read
//! is a `.git` file, which is a line.

use super::place::{self, LINE_CAP};
use crate::config::policy;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::fs::walk::{self, LISTING, Visitor, kind_of};
use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What the walk found. Paths are relative to the root, and sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many directories were listed.
    pub directories: u64,
    /// Directories with a `.git` that is a directory, or something that git doesn't write, such as
    /// a link.
    pub checkouts: Vec<PathBuf>,
    /// Git dirs that aren't called `.git`.
    pub bare: Vec<PathBuf>,
    /// Directories with a `.git` file, and where that leads.
    pub pointers: Vec<(PathBuf, Leads)>,
    /// State directories of volumes.
    pub states: Vec<PathBuf>,
    /// Directories on other file systems.
    pub mounts: Vec<PathBuf>,
    /// Directories that could not be listed, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Where a `.git` file leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// To the registration of a worktree, in the repo with this git dir.
    Registration {
        /// The admin directory.
        admin: PathBuf,
        /// The git dir that contains it.
        git_dir: PathBuf,
    },
    /// To a submodule's git dir, inside another.
    Submodule,
    /// To this git dir.
    GitDir(PathBuf),
    /// Nowhere: it can't be read, or isn't git's.
    Nowhere(String),
}

/// Walks over everything below `root`, in the caller's rayon pool. `skip` are directories that are
/// not entered; `tick` is called for each directory that is listed.
///
/// # Errors
/// The root itself can't be opened.
pub fn standing(
    root: &Arc<Path>,
    skip: &[&VolumePath],
    stop: &Stop,
    tick: &(dyn Fn() + Sync),
) -> io::Result<Standing> {
    let walk = Walk {
        root,
        skip: skip.iter().map(|place| place.relative()).collect(),
        stop,
        tick,
        found: Mutex::default(),
    };
    walk::directories(openat::root(root)?, &walk);
    let mut found = walk
        .found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let Standing {
        directories: _,
        checkouts,
        bare,
        pointers,
        states,
        mounts,
        unreadable,
    } = &mut found;
    for paths in [checkouts, bare, states, mounts] {
        paths.sort_unstable();
    }
    pointers.sort_unstable();
    unreadable.sort_unstable();
    Ok(found)
}

struct Walk<'a> {
    root: &'a Arc<Path>,
    skip: HashSet<&'a Path>,
    stop: &'a Stop,
    tick: &'a (dyn Fn() + Sync),
    found: Mutex<Standing>,
}

/// The names in a directory that tell what it is.
#[derive(Default)]
struct Names {
    /// The type of `.git`.
    git: Option<FileType>,
    /// How many of `HEAD`, `objects` and `refs` are there.
    of_a_git_dir: u8,
    /// How many of `volume.json`, `locks` and `trash` are there.
    of_a_volume: u8,
    /// A tool says that it is regenerable.
    is_tagged: bool,
    directories: Vec<PathBuf>,
}

impl Visitor for Walk<'_> {
    fn visit(&self, directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        if self.stop.reached().is_some() {
            return Ok(Vec::new());
        }
        let names = self.names(directory, path)?;
        (self.tick)();
        // Read before the lock is taken.
        let leads = (names.git == Some(FileType::RegularFile)).then(|| self.leads(directory, path));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.directories = found.directories.saturating_add(1);
        if names.of_a_volume == 3 {
            // That of caches outside of a volume is no volume's.
            if path.file_name() != Some(OsStr::new(policy::OUTSIDE_STATE)) {
                found.states.push(path.to_owned());
            }
            return Ok(Vec::new());
        }
        if names.of_a_git_dir == 3 {
            found.bare.push(path.to_owned());
            return Ok(Vec::new());
        }
        match leads {
            Some(leads) => {
                let is_part = matches!(leads, Leads::Registration { .. } | Leads::Submodule);
                found.pointers.push((path.to_owned(), leads));
                if is_part {
                    return Ok(Vec::new());
                }
            }
            None if names.git.is_some() => found.checkouts.push(path.to_owned()),
            None => {}
        }
        drop(found);
        Ok(if names.is_tagged {
            Vec::new()
        } else {
            names.directories
        })
    }

    fn failed(&self, path: &Path, errno: Errno) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match errno {
            // It was removed meanwhile.
            Errno::NOENT => {}
            Errno::XDEV => found.mounts.push(path.to_owned()),
            errno => found
                .unreadable
                .push((path.to_owned(), openat::cause(errno))),
        }
    }
}

impl Walk<'_> {
    fn names(&self, directory: &OwnedFd, path: &Path) -> Result<Names, Errno> {
        let mut names = Names::default();
        let mut buffer = Vec::with_capacity(LISTING);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if openat::is_dots(entry.file_name()) {
                continue;
            }
            let Some(kind) = kind_of(directory, &entry)? else {
                continue;
            };
            names.take_in(entry.file_name().to_bytes(), kind);
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let is_entered = kind.is_dir() && name != ".git" && name != "node_modules";
            let below = is_entered.then(|| path.join(name));
            names
                .directories
                .extend(below.filter(|below| !self.skip.contains(below.as_path())));
        }
        Ok(names)
    }

    fn leads(&self, directory: &OwnedFd, path: &Path) -> Leads {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let text = openat::below(directory, Path::new(".git"), flags)
            .map_err(io::Error::from)
            .and_then(|file| openat::content(File::from(file), LINE_CAP));
        match text {
            Ok(text) => leads(&self.root.join(path), &text),
            Err(error) => Leads::Nowhere(error.to_string()),
        }
    }
}

impl Names {
    fn take_in(&mut self, name: &[u8], kind: FileType) {
        match (name, kind) {
            (b".git", kind) => self.git = Some(kind),
            (b"HEAD", FileType::RegularFile) | (b"objects" | b"refs", FileType::Directory) => {
                self.of_a_git_dir = self.of_a_git_dir.saturating_add(1);
            }
            (b"volume.json", FileType::RegularFile)
            | (b"locks" | b"trash", FileType::Directory) => {
                self.of_a_volume = self.of_a_volume.saturating_add(1);
            }
            (b"CACHEDIR.TAG", FileType::RegularFile) => self.is_tagged = true,
            _ => {}
        }
    }
}

/// Returns where a `.git` file with this text leads.
fn leads(directory: &Path, text: &[u8]) -> Leads {
    let line = String::from_utf8_lossy(text);
    let named = line.strip_prefix("gitdir: ").map(str::trim_end);
    let Some(to) = named.and_then(|named| place::from(directory, named)) else {
        return Leads::Nowhere("it names no git dir".to_owned());
    };
    let git_dir = to
        .parent()
        .filter(|registry| registry.ends_with("worktrees"))
        .and_then(Path::parent);
    if let Some(git_dir) = git_dir {
        return Leads::Registration {
            git_dir: git_dir.to_owned(),
            admin: to,
        };
    }
    let is_git_dir = |part: &Component<'_>| part.as_os_str().as_bytes().ends_with(b".git");
    let parts: Vec<Component<'_>> = to.components().collect();
    let in_modules = parts.windows(2).any(|parts| {
        matches!(parts, [above, modules] if is_git_dir(above) && modules.as_os_str() == "modules")
    });
    // A worktree's submodules are in its registration.
    let in_registration = parts.windows(3).any(|parts| {
        matches!(parts, [registry, _, modules]
            if registry.as_os_str() == "worktrees" && modules.as_os_str() == "modules")
    });
    if in_modules || in_registration {
        Leads::Submodule
    } else {
        Leads::GitDir(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_file_leads_to_a_registration_a_submodule_or_a_git_dir() {
        let at = |text: &str| leads(Path::new("/home/me/src/shop"), text.as_bytes());
        let registration = |admin: &str, git_dir: &str| Leads::Registration {
            admin: admin.into(),
            git_dir: git_dir.into(),
        };
        let cases = [
            (
                "gitdir: /home/me/a/.git/worktrees/x\n",
                registration("/home/me/a/.git/worktrees/x", "/home/me/a/.git"),
            ),
            (
                "gitdir: ../.bare/worktrees/x",
                registration("/home/me/src/.bare/worktrees/x", "/home/me/src/.bare"),
            ),
            ("gitdir: ../../a/.git/modules/lib", Leads::Submodule),
            ("gitdir: /a/hub.git/modules/lib", Leads::Submodule),
            ("gitdir: /a/.bare/worktrees/x/modules/lib", Leads::Submodule),
            (
                "gitdir: ./.bare\n",
                Leads::GitDir("/home/me/src/shop/.bare".into()),
            ),
            (
                "gitdir: /srv/modules/shop.git",
                Leads::GitDir("/srv/modules/shop.git".into()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text), expected, "{text}");
        }
        for nowhere in ["", "no", "gitdir: ../../../../../..", "\0"] {
            assert!(matches!(at(nowhere), Leads::Nowhere(_)), "{nowhere}");
        }
    }
}
