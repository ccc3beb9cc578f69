//! A repo's fingerprint: what its registry, refs, packs and trees look like from outside. No file is read, no tree is walked, no process started.
//!
//! Equal fingerprints say that nothing has changed of what git writes. An edited file does not show here, so a fingerprint must never stand for
//! a look when something is to be removed.

use super::{go_on, repo, tree};
use crate::beneath::{self, found};
use crate::config::policy;
use crate::inside::Inside;
use crate::stop::Stop;
use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders of a git dir that are listed to their depth. Of the others it counts when they were written to.
const LISTED: [&str; 4] = ["refs", "logs", "worktrees", "info"];
/// The same in `objects`: a new loose object shows in its folder's own times.
const LISTED_OBJECTS: [&str; 2] = ["pack", "info"];
/// A repo with more files of that kind than this is looked at each night.
const MOST: usize = 100_000;
/// Deeper than any ref's name.
const DEEPEST: usize = 64;

/// How a repo looks from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// A hash of it.
    pub id: String,
    /// The latest change of anything that was seen. What changed within a tick of the server's clock before it was seen may change again unseen.
    pub newest: DateTime<Utc>,
}

/// Takes it, for a repo whose trees stand at `places`.
///
/// # Errors
/// Something can't be listed, isn't there, or is too much; or the run is to stop.
pub fn of(policy: &policy::Repo, places: &[PathBuf], stop: &Stop) -> io::Result<Fingerprint> {
    let git_dir = policy.place.join(".git").map_err(io::Error::other)?;
    let mut look = Look { stop, seen: Vec::new(), count: 0, newest: (i64::MIN, 0) };
    let words = format!("{} {policy:?} {:?}", env!("CARGO_PKG_VERSION"), repo::strays(policy, &git_dir, places));
    look.seen.extend_from_slice(words.as_bytes());
    look.folder(beneath::dir(&git_dir)?, Path::new(""), 0, &|path| {
        let mut parts = path.iter();
        match parts.next().and_then(OsStr::to_str) {
            Some("objects") => parts.next().is_none_or(|part| LISTED_OBJECTS.iter().any(|listed| part == *listed)),
            Some(first) => LISTED.contains(&first),
            None => false,
        }
    })?;
    for place in places {
        let tree = beneath::dir(&Inside::new(policy.place.root(), place).map_err(io::Error::other)?)?;
        look.add(place, &rustix::fs::fstat(&tree)?);
        look.add(Path::new(".git"), &rustix::fs::statat(&tree, ".git", AtFlags::SYMLINK_NOFOLLOW)?);
    }
    let id = git2::Oid::hash_object(git2::ObjectType::Blob, &look.seen).map_err(io::Error::other)?;
    let newest = DateTime::from_timestamp(look.newest.0, look.newest.1).unwrap_or(DateTime::<Utc>::MAX_UTC);
    Ok(Fingerprint { id: id.to_string(), newest })
}

struct Look<'a> {
    stop: &'a Stop,
    seen: Vec<u8>,
    count: usize,
    newest: (i64, u32),
}

impl Look<'_> {
    fn folder(&mut self, folder: OwnedFd, path: &Path, depth: usize, listed: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        go_on(Some(self.stop))?;
        self.add(path, &rustix::fs::fstat(&folder)?);
        let mut entries = Dir::new(folder)?;
        let names = entries.by_ref().map(|entry| entry.map(|entry| entry.file_name().to_owned()));
        let mut names = names.collect::<Result<Vec<_>, _>>()?;
        names.retain(|name| !beneath::is_dots(name));
        names.sort_unstable();
        let folder = entries.fd()?;
        for name in names {
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            // What is gone by now was seen to change: the folder's own times tell.
            let Some(stat) = found(rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from))? else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || !listed(&path) {
                self.add(&path, &stat);
            } else if depth >= DEEPEST {
                return Err(io::Error::other("it is nested too deep"));
            } else {
                let below = beneath::below(folder, Path::new(OsStr::from_bytes(name.to_bytes())), OFlags::RDONLY | OFlags::DIRECTORY)?;
                self.folder(below, &path, depth + 1, listed)?;
            }
            self.count += 1;
            if self.count > MOST {
                return Err(io::Error::other("it has too many refs and registrations"));
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, stat: &Stat) {
        let stamp = tree::stamp(stat);
        self.newest = self.newest.max(stamp.ctime).max(stamp.mtime);
        self.seen.extend_from_slice(path.as_os_str().as_bytes());
        let mut words = String::new();
        let _ = writeln!(words, "\0{stamp:?}");
        self.seen.extend_from_slice(words.as_bytes());
    }
}
