//! The listing of one cache: what every kind needs to list its units, and where it reports
//! problems.
//!
//! A kind only asks for a directory's entries and names its units. A listing never fails as a
//! whole: an unreadable path is a line in `problems`, and what isn't a unit is kept.

use super::last_use::{LastUse, LastUseProbe, Use};
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Size, Unit};
use crate::facts::package::Package;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most problem lines that are reported of one cache; more are only counted. An unreadable
/// cache must not flood the report.
const TOLD: usize = 10;

/// How a tool lays out a cache, and locks it. There are no defaults: a wrong one would delete what
/// is still needed.
pub struct CacheLayout {
    /// Its name in the config, the report and the metrics.
    pub kind: CacheKind,
    /// What a unit is, for people, as in `docs/eviction.md`.
    pub unit: &'static str,
    /// Where the cache is.
    pub stands: Stands,
    /// The variables that make the tool use a directory as its cache.
    pub variables: fn(&Path) -> Vec<(&'static str, PathBuf)>,
    /// Where the tool keeps it if nobody says otherwise. Each list is one cache: the first place
    /// in it that applies.
    pub usual: &'static [&'static [Usual]],
    /// Lists its units. No path may belong to two of them.
    pub units: fn(&CacheLister<'_>) -> Vec<Unit>,
    /// How the last use of its units is found.
    pub last_use: LastUse,
    /// The tool's lock files for a cache at that place. Each is held while a unit is evicted.
    pub locks: fn(&VolumePath) -> Vec<VolumePath>,
}

/// Where a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In a directory that its tool lays out.
    InDirectory,
    /// In a directory with any layout: the config sets the depth of its units, and there may be
    /// repos in them.
    AtDepth,
    /// In a directory that its tool lays out, and in the output of trees that stay: what is in use
    /// there shows.
    InDirectoryOrOutput,
    /// In the worktrees.
    InWorktrees,
}

/// Filters each unit as soon as it is found, and lists only what it returns. A volume may have more
/// units than fit in memory.
pub type UnitFilter<'a> = &'a (dyn Fn(Unit) -> Option<Unit> + Sync);

/// One cache, as configured.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its place, which may be missing.
    pub place: &'a VolumePath,
    /// The depth of its units, for [`Stands::AtDepth`].
    pub depth: usize,
    /// The age below which no unit is evicted.
    pub min_age: Duration,
}

/// How caches are listed.
#[derive(Clone, Copy)]
pub struct Inspection<'a> {
    /// Inspects the paths.
    pub probe: &'a LastUseProbe,
    /// The filter that each unit must pass.
    pub gate: UnitFilter<'a>,
    /// When to stop.
    pub stop: &'a Stop,
}

/// The listing of one cache.
pub struct CacheLister<'a> {
    /// Its layout.
    layout: &'a CacheLayout,
    /// Its place.
    pub(super) place: &'a VolumePath,
    /// The depth of its units.
    pub(super) depth: usize,
    min_age: Duration,
    /// Inspects the paths.
    pub(super) probe: &'a LastUseProbe,
    /// The locks that are held while a unit is evicted.
    pub(super) locks: Arc<[VolumePath]>,
    /// The filter that each unit must pass.
    pub(super) gate: UnitFilter<'a>,
    name: Arc<str>,
    /// When to stop.
    pub(super) stop: &'a Stop,
    problems: Mutex<Vec<String>>,
}

/// An entry of a directory. Links, special files and hidden names are left out: they are never
/// units.
pub(super) struct Entry {
    /// Its place.
    pub(super) place: VolumePath,
    /// Its own name, in readable form.
    pub(super) name: String,
    /// Whether it is a directory; else it is a file.
    pub(super) is_dir: bool,
}

impl Entry {
    /// Returns whether its name ends with `.` and `extension`.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.name)
            .extension()
            .is_some_and(|found| found == extension)
    }
}

impl<'a> CacheLister<'a> {
    /// Starts a listing.
    pub fn new(
        layout: &'a CacheLayout,
        settings: Settings<'a>,
        Inspection { probe, gate, stop }: Inspection<'a>,
    ) -> Self {
        Self {
            layout,
            place: settings.place,
            depth: settings.depth,
            min_age: settings.min_age,
            probe,
            locks: (layout.locks)(settings.place).into(),
            gate,
            name: settings.name.into(),
            stop,
            problems: Mutex::default(),
        }
    }

    /// Lists the cache's units and its problems. Problems are sorted, so that two listings of the
    /// same cache report the same.
    pub fn list(self) -> (Vec<Unit>, Vec<String>) {
        let units = (self.layout.units)(&self);
        let mut problems = self
            .problems
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        problems.sort_unstable();
        let untold = problems.len().saturating_sub(TOLD);
        problems.truncate(TOLD);
        if untold > 0 {
            problems.push(format!("{untold} more problems like these"));
        }
        (units, problems)
    }

    /// Returns the entries of `directory`; none if it is missing. An unreadable directory has none
    /// either, and is noted as a problem.
    pub(super) fn entries(&self, directory: &VolumePath) -> Vec<Entry> {
        if self.stop.reached().is_some() {
            return Vec::new();
        }
        let mut entries = Vec::new();
        match self.probe.list(directory, |name, kind| {
            entries.extend(self.entry(directory, name, kind));
        }) {
            Ok(()) => entries,
            Err(Errno::NOENT) => Vec::new(),
            Err(errno) => {
                self.problem("list", directory, openat::cause(errno));
                Vec::new()
            }
        }
    }

    /// Returns the directories among the [`Self::entries`].
    pub(super) fn directories(&self, directory: &VolumePath) -> Vec<Entry> {
        self.entries(directory)
            .into_iter()
            .filter(|entry| entry.is_dir)
            .collect()
    }

    /// Creates a unit of this cache, as old as its newest path. None if the filter drops it or it
    /// is gone; none, and a problem, if its last use is unknown.
    pub(super) fn unit(&self, name: String, paths: Vec<VolumePath>) -> Option<Unit> {
        self.unit_of(Vec::new(), name, paths)
    }

    /// Creates a unit that contains `packages`, as lock files name them.
    pub(super) fn unit_of(
        &self,
        packages: Vec<Package>,
        name: String,
        paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        self.seen(packages, name, paths).and_then(self.gate)
    }

    /// Creates a unit, given its last use.
    pub(super) fn used_unit(
        &self,
        packages: Vec<Package>,
        name: String,
        used: io::Result<Use>,
        paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        self.seen_used(packages, name, used.map(|used| (used, None)), paths)
            .and_then(self.gate)
    }

    /// Creates a unit, given its last use and the locks that are held while it is evicted.
    pub(super) fn locked_unit(
        &self,
        locks: &Arc<[VolumePath]>,
        name: String,
        used: Use,
        paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        let unit = self.seen_used(Vec::new(), name, Ok((used, None)), paths)?;
        (self.gate)(Unit {
            locks: locks.clone(),
            ..unit
        })
    }

    /// Creates a unit without filtering it.
    pub(super) fn seen(
        &self,
        packages: Vec<Package>,
        name: String,
        paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        if self.stop.reached().is_some() {
            return None;
        }
        self.seen_used(
            packages,
            name,
            self.probe.first_look(self.layout.last_use, &paths),
            paths,
        )
    }

    fn seen_used(
        &self,
        packages: Vec<Package>,
        name: String,
        seen: io::Result<(Use, Option<Size>)>,
        mut paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        paths.shrink_to_fit();
        match seen {
            Ok((used, size)) => Some(Unit {
                cache: self.name.clone(),
                kind: self.layout.kind,
                name,
                paths,
                packages,
                named: None,
                last_used: used.at,
                last_used_from: used.from,
                min_age: used.must_show(self.min_age),
                locks: self.locks.clone(),
                tree: None,
                size,
                shared: Vec::new(),
            }),
            // Its tool replaced or removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problem(
                    "tell the last use of",
                    paths.first().unwrap_or(self.place),
                    error,
                );
                None
            }
        }
    }

    /// Notes an unrecognised entry among units, which is kept.
    pub(super) fn odd(&self, entry: &Entry) {
        self.problem(
            "recognise",
            &entry.place,
            "not a part of this cache's layout, so it stays",
        );
    }

    /// Notes a problem.
    pub(super) fn problem(&self, verb: &str, place: &VolumePath, cause: impl Display) {
        self.note(format!("failed to {verb} `{place}`: {cause}"));
    }

    /// Returns the number of problems so far.
    pub(super) fn problems(&self) -> usize {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Notes a problem line.
    pub(super) fn note(&self, line: String) {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn entry(&self, directory: &VolumePath, name: &OsStr, kind: FileType) -> Option<Entry> {
        if name.as_bytes().starts_with(b".") {
            return None;
        }
        let readable = name.to_string_lossy().into_owned();
        let place = directory.join(name).ok()?;
        let is_dir = match kind {
            FileType::Directory => true,
            FileType::RegularFile => false,
            FileType::Unknown => self.is_dir(&place)?,
            _ => return None,
        };
        Some(Entry {
            place,
            name: readable,
            is_dir,
        })
    }

    /// Checks whether it is a directory, if the file system's listing doesn't say.
    fn is_dir(&self, place: &VolumePath) -> Option<bool> {
        match place.path().symlink_metadata() {
            Ok(seen) if seen.is_dir() => Some(true),
            Ok(seen) if seen.is_file() => Some(false),
            Ok(_) => None,
            Err(error) => {
                self.problem("look at", place, error);
                None
            }
        }
    }
}
