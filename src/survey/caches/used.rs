//! Says when a unit was last used: once for the survey, and once more just before it goes.
//!
//! The newest of write time and access time. An access time counts only for files (listing a directory moves its own, so our
//! looks would keep it young for ever), only where the mount keeps it, and only when it is newer than the write time.
//! A directory says little by itself, so a bounded look goes into it. It must never guess: a failed stat is an error, and the unit stays.
//!
//! Linux mounts with `relatime` unless told otherwise: a read moves an access time that is not newer than the last write or change, or over
//! 24 h old, and no other. What is read every hour may so look as if it was last read yesterday; what was not read since it was written looks
//! just so. Whether the mount does better (`strictatime`) makes too little difference to find out, so an access time must show a day more
//! (`Use::must_show`); the order of eviction is by what was seen.
//!
//! | kind | a file | a directory |
//! | --- | --- | --- |
//! | go-build | mtime: Go itself refreshes it on use | the same |
//! | cargo | mtime, atime | its mtime, and both times of the files that cargo reads on every use (`CARGO_READS`) |
//! | npm | mtime, and of contents atime: the survey itself reads the index, npm rewrites it on use | never one |
//! | go-mod | mtime, atime (`.ziphash` is read by every build) | its mtime |
//! | pnpm | mtime, of contents atime and ctime: a link made or removed | never one |
//! | pip | mtime, and of metadata atime: the survey itself reads the ends of bodies | as all others |
//! | all others | mtime, atime | the newest of the first `LOOK` entries, down to `DEPTH` levels |

use crate::facts::cache::{CacheKind, Unit, UsedFrom};
use crate::inside::Inside;
use chrono::{DateTime, Utc};
use rustix::fs::StatVfsMountFlags;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use walkdir::WalkDir;

/// Entries looked at in one directory unit: enough for a wheel or a model, and one round trip or two on a network mount.
const LOOK: usize = 100;

/// Entries looked at for hard links: a tool links all that it unpacked, or nothing.
const LINKS: usize = 20;

/// Paths of a package of pnpm's that tell of its use: its index, and the first of its contents.
const PNPM_TELLS: usize = 2;

/// Levels looked into: a Hugging Face model keeps its files at the second one.
const DEPTH: usize = 3;

/// What cargo opens whenever it uses an unpacked crate, a checkout (the first two) or a git db.
const CARGO_READS: [&str; 3] = [".cargo-ok", "Cargo.toml", "FETCH_HEAD"];

/// A sign of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// When.
    pub at: DateTime<Utc>,
    /// How that is known.
    pub from: UsedFrom,
}

/// How long `relatime` leaves an access time where it is.
const STALE: Duration = Duration::from_hours(24);

impl Use {
    /// How long ago the use must seem to be, for the unit to have been unused for `min_age`. Where any age will do, any does.
    pub(super) fn must_show(&self, min_age: Duration) -> Duration {
        let may_be_stale = self.from == UsedFrom::AccessTime && min_age > Duration::ZERO;
        if may_be_stale { min_age.saturating_add(STALE) } else { min_age }
    }
}

/// Whether the mount that holds `path` keeps access times, by its options: for a dry run on a volume where no run has tried it yet. An NFS
/// client can't see that the server doesn't, but then they stay older than the write times and don't count anyway.
pub fn keeps_access_times(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|volume| !volume.f_flag.contains(StatVfsMountFlags::NOATIME))
}

/// The newest sign of use of what `paths` name.
///
/// # Errors
/// One of them can't be looked at, is gone, or is neither a file nor a directory.
pub fn last_use(kind: CacheKind, paths: &[Inside], access_times: bool) -> io::Result<Use> {
    let mut newest: Option<Use> = None;
    let telling = if kind == CacheKind::Pnpm { PNPM_TELLS } else { paths.len() };
    for place in paths.iter().take(telling) {
        let found = match kind {
            CacheKind::GoBuild => Use { from: UsedFrom::ToolRecord, ..times(&look(&place.path())?, false)? },
            // Go opens `.ziphash` on every build; the folder's own files are many and tell no more.
            CacheKind::GoMod => times(&look(&place.path())?, access_times)?,
            CacheKind::Pnpm => content_use(&look(&place.path())?, access_times && !place.relative().iter().any(|part| part == "index"))?,
            CacheKind::Cargo => crate_use(&place.path(), access_times)?,
            CacheKind::Npm => bounded(&place.path(), access_times && !place.relative().iter().any(|part| part == "index-v5"))?,
            // The survey reads the ends of bodies; pip opens the metadata beside them on every use.
            CacheKind::Pip => bounded(&place.path(), access_times && place.relative().extension().is_none_or(|end| end != "body"))?,
            _ => bounded(&place.path(), access_times)?,
        };
        newest = Some(newest.map_or(found, |newest| newer(newest, found)));
    }
    newest.ok_or_else(|| io::Error::other("a unit without paths"))
}

/// The same again for a unit that is about to go. For build output ask its worktree instead: this can't tell.
///
/// # Errors
/// As [`last_use`]; "not found" means that it went already.
pub fn look_again(unit: &Unit, access_times: bool) -> io::Result<Use> {
    last_use(unit.kind, &unit.paths, access_times)
}

/// Whether something in the unit's `place` is linked from elsewhere, too: its tool handed it out, and its going would free nothing. What can't be looked
/// at counts as linked, so that it stays.
pub(super) fn is_linked(place: &Inside) -> bool {
    let inside = WalkDir::new(place.path()).max_depth(DEPTH).follow_root_links(false).same_file_system(true);
    let linked = |entry: walkdir::Result<walkdir::DirEntry>| entry?.metadata().map(|seen| seen.is_file() && seen.nlink() > 1);
    inside.into_iter().take(LINKS).any(|entry| linked(entry).unwrap_or(true))
}

/// pnpm's contents keep the times that they were written with; a link made or removed moves the time of change.
fn content_use(seen: &Metadata, access_times: bool) -> io::Result<Use> {
    let linked = Use { at: moment(seen.ctime(), seen.ctime_nsec())?, from: UsedFrom::LinkTime };
    Ok(newer(linked, times(seen, access_times)?))
}

fn crate_use(path: &Path, access_times: bool) -> io::Result<Use> {
    let seen = look(path)?;
    let mut newest = times(&seen, access_times)?;
    for name in CARGO_READS.iter().filter(|_| seen.is_dir()) {
        match path.join(name).symlink_metadata() {
            Ok(read) if read.is_file() => newest = newer(newest, times(&read, access_times)?),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

fn bounded(path: &Path, access_times: bool) -> io::Result<Use> {
    let seen = look(path)?;
    let mut newest = times(&seen, access_times)?;
    if seen.is_dir() {
        let inside = WalkDir::new(path).min_depth(1).max_depth(DEPTH).follow_root_links(false).same_file_system(true);
        for entry in inside.into_iter().take(LOOK) {
            newest = newer(newest, times(&entry?.metadata()?, access_times)?);
        }
    }
    Ok(newest)
}

/// A unit's path itself: a link or a special file is an error.
fn look(path: &Path) -> io::Result<Metadata> {
    let seen = path.symlink_metadata()?;
    let known = seen.is_file() || seen.is_dir();
    if known { Ok(seen) } else { Err(io::Error::other("neither a file nor a directory")) }
}

fn times(seen: &Metadata, access_times: bool) -> io::Result<Use> {
    let written = moment(seen.mtime(), seen.mtime_nsec())?;
    let write = Use { at: written, from: UsedFrom::WriteTime };
    if !access_times || !seen.is_file() {
        return Ok(write);
    }
    let read = Use { at: moment(seen.atime(), seen.atime_nsec())?, from: UsedFrom::AccessTime };
    Ok(newer(write, read))
}

/// The first, unless the second is newer.
fn newer(first: Use, second: Use) -> Use {
    if second.at > first.at { second } else { first }
}

fn moment(seconds: i64, nanoseconds: i64) -> io::Result<DateTime<Utc>> {
    let nanoseconds = u32::try_from(nanoseconds).map_err(io::Error::other)?;
    DateTime::from_timestamp(seconds, nanoseconds).ok_or_else(|| io::Error::other("its time is out of range"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Field, ago};
    use super::*;

    #[test]
    fn an_access_time_counts_only_for_files_where_kept_and_when_newer() {
        let field = Field::new();
        let file = field.file("a/file", 10);
        field.read("a/file", 3);
        let seen = |access_times| last_use(CacheKind::Folder, std::slice::from_ref(&file), access_times).unwrap();
        assert_eq!(seen(true), Use { at: ago(3), from: UsedFrom::AccessTime });
        assert_eq!(seen(false), Use { at: ago(10), from: UsedFrom::WriteTime });
        field.read("a/file", 20);
        assert_eq!(seen(true), Use { at: ago(10), from: UsedFrom::WriteTime });
        field.age("a", 30);
        assert_eq!(last_use(CacheKind::GoBuild, &[field.at("a")], true).unwrap(), Use { at: ago(30), from: UsedFrom::ToolRecord });
    }

    #[test]
    fn an_access_time_may_be_a_day_old() {
        let field = Field::new();
        let policy = field.policy(CacheKind::Folder, "cache");
        field.file("cache/read", 10);
        field.read("cache/read", 3);
        field.file("cache/written", 10);
        let shown = |policy: &_| {
            let units = field.survey(policy).units;
            units.into_iter().map(|unit| (unit.name, unit.min_age.as_secs() / 3600)).collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(shown(&policy), [("read".to_owned(), 48), ("written".to_owned(), 24)].into());
        let any = crate::config::policy::Cache { min_age: Duration::ZERO, ..policy };
        assert_eq!(shown(&any), [("read".to_owned(), 0), ("written".to_owned(), 0)].into());
    }

    #[test]
    fn a_directory_is_as_young_as_what_it_holds() {
        let field = Field::new();
        field.file("model/blobs/weights", 5);
        field.age("model/blobs", 40);
        field.age("model", 50);
        assert_eq!(last_use(CacheKind::Folder, &[field.at("model")], false).unwrap().at, ago(5));
    }

    #[test]
    fn what_cargo_reads_tells_of_a_crate() {
        let field = Field::new();
        field.file("itoa/.cargo-ok", 60);
        field.file("itoa/src/lib.rs", 1);
        field.age("itoa", 60);
        field.read("itoa/.cargo-ok", 7);
        assert_eq!(last_use(CacheKind::Cargo, &[field.at("itoa")], true).unwrap().at, ago(7));
    }

    #[test]
    fn gone_or_a_link_is_an_error() {
        let field = Field::new();
        field.link("a", "link");
        assert_eq!(last_use(CacheKind::Npm, &[field.at("a")], true).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(last_use(CacheKind::Npm, &[field.at("link")], true).is_err());
    }
}
