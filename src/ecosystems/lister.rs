//! One look at one cache: what every kind needs to list its units, and where it says what it could
//! not read.
//!
//! A kind asks for a directory's entries and names its units; nothing else. It must never fail as a
//! whole: what can't be read is a line in `problems`, and what isn't a unit stays.

use super::last_use::{LastUse, LastUseProbe, Use};
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

/// Problem lines told of one cache; the rest is a number. An unreadable cache must not flood the
/// report.
const TOLD: usize = 10;

/// How a tool lays out a cache, and who works in it. Nothing here has a default: what is not known
/// of a layout would be deleted wrongly.
pub struct CacheLayout {
    /// What the config, the report and the metrics call it.
    pub kind: CacheKind,
    /// What each of its units is, for people, as `docs/eviction.md` has it.
    pub unit: &'static str,
    /// Where one stands.
    pub stands: Stands,
    /// The variables by which the tool is told that its cache stands in a directory.
    pub variables: fn(&Path) -> Vec<(&'static str, PathBuf)>,
    /// Lists its units. No path may belong to two of them.
    pub units: fn(&CacheLister<'_>) -> Vec<Unit>,
    /// How the last use of its units is told.
    pub last_use: LastUse,
    /// The tool's lock files for a cache that stands there: each is held while a unit goes.
    pub locks: fn(&VolumePath) -> Vec<VolumePath>,
}

/// Where a cache stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In a directory that its tool lays out.
    InDirectory,
    /// In a directory that anybody lays out: the config says at which depth its units stand, and
    /// there may be repos in them.
    AtDepth,
    /// In the worktrees.
    InWorktrees,
}

/// Where each unit passes as soon as it is seen: what it gives back is listed. A volume may hold
/// more units than memory should.
pub type UnitFilter<'a> = &'a (dyn Fn(Unit) -> Option<Unit> + Sync);

/// One cache as the config has it.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands, which need not be there.
    pub place: &'a VolumePath,
    /// At which depth its units stand, for [`Stands::AtDepth`].
    pub depth: usize,
    /// No unit is evicted while younger than this.
    pub min_age: Duration,
}

/// How caches are looked at.
#[derive(Clone, Copy)]
pub struct Inspection<'a> {
    /// Who looks.
    pub probe: &'a LastUseProbe,
    /// Where each unit has to pass to be listed.
    pub gate: UnitFilter<'a>,
    /// When to stop.
    pub stop: &'a Stop,
}

/// One look at one cache.
pub struct CacheLister<'a> {
    /// How it is laid out.
    layout: &'a CacheLayout,
    /// Where it stands.
    pub(super) place: &'a VolumePath,
    /// At which depth its units stand.
    pub(super) depth: usize,
    min_age: Duration,
    /// Who looks.
    pub(super) probe: &'a LastUseProbe,
    /// What all of its units are held by while they go.
    pub(super) locks: Arc<[VolumePath]>,
    /// Where each unit has to pass to be listed.
    pub(super) gate: UnitFilter<'a>,
    name: Arc<str>,
    stop: &'a Stop,
    problems: Mutex<Vec<String>>,
}

/// What a directory holds. Links, special files and hidden names are left out: they are never
/// units.
pub(super) struct Entry {
    /// Where it is.
    pub(super) place: VolumePath,
    /// Its own name, readable.
    pub(super) name: String,
    /// A directory, or else a file.
    pub(super) is_dir: bool,
}

impl Entry {
    /// Whether its name ends with `.` and `extension`.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.name)
            .extension()
            .is_some_and(|found| found == extension)
    }
}

impl<'a> CacheLister<'a> {
    /// Begins a look.
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

    /// Lists the cache's units, and tells what went wrong. Problems are sorted, so that two looks at
    /// the same cache tell the same.
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

    /// What `directory` holds: nothing when it isn't there, nothing and a problem when it can't be
    /// read.
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

    /// The directories among the [`Self::entries`].
    pub(super) fn folders(&self, directory: &VolumePath) -> Vec<Entry> {
        self.entries(directory)
            .into_iter()
            .filter(|entry| entry.is_dir)
            .collect()
    }

    /// A unit of this cache, as old as its newest path; none, and a problem, when that can't be
    /// told. None, too, when it went through the gate and stayed there.
    pub(super) fn unit(&self, name: String, paths: Vec<VolumePath>) -> Option<Unit> {
        self.unit_of(Vec::new(), name, paths)
    }

    /// The same for a unit that holds what lock files call `packages`.
    pub(super) fn unit_of(
        &self,
        packages: Vec<Package>,
        name: String,
        paths: Vec<VolumePath>,
    ) -> Option<Unit> {
        self.seen(packages, name, paths).and_then(self.gate)
    }

    /// The same for one of which it is known when it was `used`.
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

    /// The same, for one that is not ready for the gate.
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
            // Its tool replaced or removed it while we looked.
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

    /// Notes something that stands where only units should: it stays.
    pub(super) fn odd(&self, entry: &Entry) {
        self.problem(
            "recognise",
            &entry.place,
            "not a part of this cache's layout, so it stays",
        );
    }

    /// Notes what went wrong.
    pub(super) fn problem(&self, verb: &str, place: &VolumePath, cause: impl Display) {
        self.note(format!("failed to {verb} `{place}`: {cause}"));
    }

    /// How much went wrong so far.
    pub(super) fn problems(&self) -> usize {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Notes a line.
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

    /// For file systems whose listings don't tell.
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
