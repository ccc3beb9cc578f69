//! A repo's fingerprint: the metadata of its registry, refs, packs and trees. No file is read, no
//! tree is walked, no process started.
//!
//! If two fingerprints are equal, nothing that git writes has changed. An edited file doesn't show,
//! so a repo is always surveyed before anything in it is removed.

use super::{go_on, tree, unregistered};
use crate::config::policy;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Directories of a git dir that are listed recursively. Of the others only their own stat counts.
const LISTED: [&str; 4] = ["refs", "logs", "worktrees", "info"];
/// The same for `objects`: a new loose object shows in the times of its directory.
const LISTED_OBJECTS: [&str; 2] = ["pack", "info"];
/// A repo with more such files is surveyed in every run.
const MOST: usize = 100_000;
/// Deeper than the name of any ref.
const DEEPEST: usize = 64;

/// The metadata of a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its hash.
    pub id: String,
    /// The latest change of anything in it. A change within a tick of the server's clock before the
    /// reading may be followed by another that doesn't show.
    pub newest: DateTime<Utc>,
}

/// Takes the fingerprint of a repo with trees at `places`. Waits for the network in as many threads
/// as the current rayon pool has.
///
/// # Errors
/// Something can't be listed, is missing, or is too large; or the run is to stop.
pub fn of(policy: &policy::Repo, places: &[PathBuf], stop: &Stop) -> io::Result<Fingerprint> {
    let git_dir = layout::find(&policy.place, &policy.assigned)
        .map_err(io::Error::other)?
        .git_dir;
    let look = Fingerprinter {
        stop,
        count: AtomicUsize::new(0),
    };
    let (directories, trees) = rayon::join(
        || look.directory(openat::dir(&git_dir)?, Path::new("")),
        || {
            places
                .par_iter()
                .map(|place| tree_at(policy.place.root(), place))
                .collect::<io::Result<Vec<_>>>()
        },
    );
    let words = format!(
        "{} {policy:?} {git_dir:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        unregistered::directories(policy, &git_dir, places, stop)?
    );
    let mut seen = Seen {
        text: words.into_bytes(),
        newest: (i64::MIN, 0),
    };
    seen.take_in(directories?);
    for tree in trees? {
        seen.take_in(tree);
    }
    let id =
        git2::Oid::hash_object(git2::ObjectType::Blob, &seen.text).map_err(io::Error::other)?;
    let newest =
        DateTime::from_timestamp(seen.newest.0, seen.newest.1).unwrap_or(DateTime::<Utc>::MAX_UTC);
    Ok(Fingerprint {
        id: id.to_string(),
        newest,
    })
}

/// Returns the metadata of a tree's directory and of its `.git` file.
fn tree_at(root: &Arc<Path>, place: &Path) -> io::Result<Seen> {
    let tree = openat::dir(&VolumePath::new(root, place)?)?;
    let mut seen = Seen::default();
    seen.add(place, &rustix::fs::fstat(&tree)?);
    seen.add(
        Path::new(".git"),
        &rustix::fs::statat(&tree, ".git", AtFlags::SYMLINK_NOFOLLOW)?,
    );
    Ok(seen)
}

/// Checks whether a directory of a git dir is listed.
fn is_listed(path: &Path) -> bool {
    let mut parts = path.iter();
    match parts.next().and_then(OsStr::to_str) {
        Some("objects") => parts
            .next()
            .is_none_or(|part| LISTED_OBJECTS.iter().any(|listed| part == *listed)),
        Some(first) => LISTED.contains(&first),
        None => false,
    }
}

struct Fingerprinter<'a> {
    stop: &'a Stop,
    count: AtomicUsize,
}

/// Returns a directory's names, sorted.
fn names(entries: &mut Dir) -> io::Result<Vec<CString>> {
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.retain(|name| !openat::is_dots(name));
    names.sort_unstable();
    Ok(names)
}

impl Fingerprinter<'_> {
    fn directory(&self, directory: OwnedFd, path: &Path) -> io::Result<Seen> {
        go_on(Some(self.stop))?;
        let mut seen = Seen::default();
        seen.add(path, &rustix::fs::fstat(&directory)?);
        let mut entries = Dir::new(directory)?;
        let names = names(&mut entries)?;
        if self.count.fetch_add(names.len(), Ordering::Relaxed) > MOST
            || path.iter().count() > DEEPEST
        {
            return Err(io::Error::other("it has too many refs and registrations"));
        }
        let directory = entries.fd()?;
        let mut below = Vec::new();
        for name in names {
            let name = OsStr::from_bytes(name.to_bytes());
            let path = path.join(name);
            // A removed entry shows in the times of its directory.
            let Some(stat) = found(
                rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io::Error::from),
            )?
            else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && is_listed(&path) {
                below.push((name.to_owned(), path));
            } else {
                seen.add(&path, &stat);
            }
        }
        let open = |name: &OsStr| {
            openat::below(
                directory,
                Path::new(name),
                OFlags::RDONLY | OFlags::DIRECTORY,
            )
        };
        let below = below
            .into_par_iter()
            .map(|(name, path)| self.directory(open(&name)?, &path))
            .collect::<io::Result<Vec<_>>>()?;
        for below in below {
            seen.take_in(below);
        }
        seen.settle()
    }
}

/// The metadata in an order that doesn't depend on the file server.
#[derive(Default)]
struct Seen {
    text: Vec<u8>,
    newest: (i64, u32),
}

impl Seen {
    fn add(&mut self, path: &Path, stat: &Stat) {
        let stamp = tree::stamp(stat);
        self.newest = self.newest.max(stamp.ctime).max(stamp.mtime);
        self.text.extend_from_slice(path.as_os_str().as_bytes());
        self.text
            .extend_from_slice(format!("\0{stamp:?}\n").as_bytes());
    }

    /// Reduces it to its hash: a repo can have many long names.
    fn settle(self) -> io::Result<Self> {
        let id =
            git2::Oid::hash_object(git2::ObjectType::Blob, &self.text).map_err(io::Error::other)?;
        Ok(Self {
            text: id.as_bytes().to_vec(),
            newest: self.newest,
        })
    }

    fn take_in(&mut self, other: Self) {
        self.text.extend_from_slice(&other.text);
        self.newest = self.newest.max(other.newest);
    }
}
