//! The note beside a tree in the trash: where it was, and which registration is its own.
//!
//! While the note is called [`NOTE`], nobody has inspected the tree again, and it is not ours to
//! delete. Afterwards it is called [`GONE`], and nobody has any business in the tree since the note
//! was written. Anybody can write a note, so it proves nothing: the registration and the tree have
//! to.

use super::Origin;
use crate::fs::atomic;
use crate::fs::clock;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::survey::worktree;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const NOTE: &str = "note.json";
pub(super) const GONE: &str = "gone.json";
const SCHEMA: &str = "treewarden.taken/1";
const CAP: u64 = 64 << 10;

/// The origin of a trash entry's first item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    schema: String,
    from: PathBuf,
    /// Its registration, which is moved to the trash after the second look.
    admin: Option<PathBuf>,
    /// Distinguishes that registration from another one of the same name. Notes of earlier versions
    /// have none.
    #[serde(default)]
    registration: Option<Registration>,
    /// If it is a loose clone: the git dir of the enrolled repo. The clone's own git dir is then
    /// its registration, and comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clone_of: Option<PathBuf>,
}

/// The inodes of a registration's directory and of the file that names its tree, and the change
/// time of that file, which nobody can set. For a clone, those of its git dir and of the objects in
/// it, without a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Registration {
    #[serde(rename = "folder")]
    directory: u64,
    gitdir: u64,
    changed: (i64, i64),
}

/// A tree that waits, or will wait, for its repo's next run.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) from: VolumePath,
    pub(super) admin: VolumePath,
    pub(super) clone_of: Option<VolumePath>,
}

/// The state of a trash entry.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing in it has to be inspected again.
    Plain,
    /// Its tree is not in it yet.
    Coming(Taken),
    /// Its tree is registered, and nobody has inspected it again: somebody is about to, under the
    /// repo's lock, or was killed, or lost the file server.
    Registered(Taken),
    /// Nobody has inspected its tree again, and no registration proves to be the tree's own.
    Unproven(PathBuf),
}

impl State {
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }
}

impl Note {
    pub(super) fn of((from, admin, clone_of): Origin<'_>) -> io::Result<Self> {
        let registration = match clone_of {
            Some(_) => Some(Registration::of_clone(admin)?),
            None => found(Registration::of(admin))?,
        };
        Ok(Self {
            schema: SCHEMA.to_owned(),
            from: from.path(),
            admin: Some(admin.path()),
            registration,
            clone_of: clone_of.map(VolumePath::path),
        })
    }

    /// Returns the note of a regenerable directory: it needs no second look, and from now on nobody
    /// has any business in it.
    pub(super) fn again(from: &VolumePath) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            from: from.path(),
            admin: None,
            registration: None,
            clone_of: None,
        }
    }

    pub(super) fn write(&self, bin: &VolumePath) -> io::Result<()> {
        let name = if self.admin.is_some() { NOTE } else { GONE };
        let place = bin.join(name).map_err(io::Error::other)?;
        atomic::create(&place, &serde_json::to_vec(self)?)?;
        atomic::sync_directory(bin)
    }

    /// Reads a note. A malformed one counts as none: it was truncated before anything was moved. So
    /// does anything but a regular file in a directory: somebody else put it there, and it must not
    /// stop every later run.
    fn read(bin: &VolumePath, name: &str) -> io::Result<Option<Self>> {
        match openat::read(&bin.join(name)?, CAP) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData
                ) || is_link(&error) =>
            {
                Ok(None)
            }
            note => Ok(found(note)?.and_then(|note| serde_json::from_slice(&note).ok())),
        }
    }
}

impl Registration {
    fn of(admin: &VolumePath) -> io::Result<Self> {
        let (directory, gitdir) = (openat::stat(admin)?, openat::stat(&admin.join("gitdir")?)?);
        let changed = if clock::is_touched_again() {
            (0, 0)
        } else {
            changed(&gitdir)
        };
        Ok(Self {
            directory: directory.st_ino,
            gitdir: gitdir.st_ino,
            changed,
        })
    }

    fn of_clone(git_dir: &VolumePath) -> io::Result<Self> {
        let objects = openat::stat(&git_dir.join("objects")?)?;
        Ok(Self {
            directory: openat::stat(git_dir)?.st_ino,
            gitdir: objects.st_ino,
            changed: (0, 0),
        })
    }
}

#[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below 10^9")]
pub(super) fn changed(stat: &Stat) -> (i64, i64) {
    if clock::is_touched_again() {
        return (stat.st_mtime, stat.st_mtime_nsec as i64);
    }
    (stat.st_ctime, stat.st_ctime_nsec as i64)
}

/// Returns the entry's current state.
pub(super) fn state(bin: &VolumePath) -> io::Result<State> {
    let at = |name: &str| bin.join(name).map_err(io::Error::from);
    let Some(Note {
        from,
        admin: Some(admin),
        registration,
        clone_of,
        ..
    }) = Note::read(bin, NOTE)?
    else {
        return Ok(State::Plain);
    };
    let (Ok(stood), Ok(admin)) = (
        VolumePath::new(bin.root(), &from),
        VolumePath::new(bin.root(), &admin),
    ) else {
        return Ok(State::Unproven(from));
    };
    let clone_of = clone_of.map(|repo| VolumePath::new(bin.root(), &repo));
    let Ok(clone_of) = clone_of.transpose() else {
        return Ok(State::Unproven(from));
    };
    let taken = Taken {
        from: stood,
        admin,
        clone_of,
    };
    let Some(tree) = found(openat::stat(&at("0")?))? else {
        let coming = found(openat::stat(&taken.admin))?.is_some();
        return Ok(if coming {
            State::Coming(taken)
        } else {
            State::Plain
        });
    };
    let is_directory = FileType::from_raw_mode(tree.st_mode) == FileType::Directory;
    let written = stat_of(bin, NOTE)?;
    if is_directory && taken.is_proven(&at("0")?, registration, written.as_ref())? {
        return Ok(State::Registered(taken));
    }
    // The registration is moved to `1` after the second look. This is checked last, so that a move
    // in between isn't missed.
    let done = found(openat::stat(&at("1")?))?.is_some();
    Ok(if done {
        State::Plain
    } else {
        State::Unproven(from)
    })
}

impl Taken {
    /// Checks whether the registration is the tree's own: it is the noted one, it names the place
    /// where the tree was, and the tree points back to it.
    fn is_proven(
        &self,
        stands: &VolumePath,
        noted: Option<Registration>,
        written: Option<&Stat>,
    ) -> io::Result<bool> {
        let Self {
            from: stood, admin, ..
        } = self;
        if self.clone_of.is_some() {
            let now = found(Registration::of_clone(&stands.join(".git")?))
                .ok()
                .flatten();
            return Ok(now.is_some() && now == noted);
        }
        if found(openat::stat(admin))?.is_none() {
            return Ok(false);
        }
        // A malformed registration proves nothing; an unreadable one may still do so later.
        let sense = |error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::IO | Errno::STALE | Errno::ACCESS) => Err(error),
            _ => Ok(false),
        };
        let named = worktree::place(admin)
            .map(|place| place == stood.path())
            .or_else(sense)?;
        let leads = named && worktree::leads_back(stands, stood, admin).or_else(sense)?;
        let same = || -> io::Result<bool> {
            let now = Registration::of(admin)?;
            // A note of an earlier version shows only that the registration is older than the note.
            Ok(noted.map_or_else(
                || written.is_some_and(|written| now.changed < changed(written)),
                |noted| noted == now,
            ))
        };
        Ok(leads && same().or_else(sense)?)
    }
}

/// Checks whether the entry is settled: nothing in it has to be inspected again.
pub(super) fn is_settled(bin: &VolumePath) -> io::Result<bool> {
    Ok(stat_of(bin, GONE)?.is_some() || stat_of(bin, super::TOLD)?.is_some())
}

/// Settles the entry. One without a note needs no record.
pub(super) fn settle(bin: &VolumePath) -> io::Result<()> {
    let at = |name: &str| bin.join(name).map_err(io::Error::from);
    if stat_of(bin, NOTE)?.is_none() {
        return Ok(());
    }
    super::rename(&at(NOTE)?, &at(GONE)?)
}

/// Returns where the tree came from, and since when nobody has any business in it.
pub(super) fn settled(bin: &VolumePath) -> io::Result<Option<(PathBuf, (i64, i64))>> {
    if Note::read(bin, GONE)?.is_none() && Note::read(bin, NOTE)?.is_some() {
        settle(bin)?;
    }
    let note = Note::read(bin, GONE)?.zip(stat_of(bin, GONE)?);
    #[expect(clippy::cast_possible_wrap, reason = "as above")]
    let since = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec as i64);
    Ok(note.map(|(note, stat)| (note.from, since(&stat))))
}

/// Returns when the entry's note was written.
pub(super) fn written(bin: &VolumePath) -> io::Result<Option<SystemTime>> {
    let stat = match stat_of(bin, GONE)? {
        None => stat_of(bin, NOTE)?,
        stat => stat,
    };
    Ok(stat.and_then(|stat| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(stat.st_mtime).ok()?))
    }))
}

fn stat_of(bin: &VolumePath, name: &str) -> io::Result<Option<Stat>> {
    match openat::stat(&bin.join(name)?) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory || is_link(&error) => Ok(None),
        stat => found(stat),
    }
}

/// Returns the origin in a note; none if it is truncated, or of an unknown schema: then nothing
/// proves who removed a missing tree.
pub(crate) fn origin(note: &[u8], state: &VolumePath) -> Option<VolumePath> {
    let note: Note = serde_json::from_slice(note).ok()?;
    if note.schema == SCHEMA {
        VolumePath::new(state.root(), &note.from).ok()
    } else {
        None
    }
}

fn is_link(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Returns the path of `below` in a trash entry, for people.
pub(super) fn shown(bin: &VolumePath, below: &Path) -> PathBuf {
    bin.path().join(below)
}
