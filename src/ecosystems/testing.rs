//! A throwaway volume for the tests of this room: files of a given age in days, counted back from a
//! fixed time.

use super::last_use::LastUseProbe;
use crate::config::policy;
use crate::facts::cache::{Cache, Size};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use rustix::fd::OwnedFd;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A volume in a temporary directory.
pub(crate) struct Field {
    root: Arc<Path>,
    _directory: tempfile::TempDir,
}

/// Returns the time so many days before a fixed present.
pub(crate) fn ago(days: u64) -> DateTime<Utc> {
    moment(days).into()
}

fn moment(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) - Duration::from_secs(days * 86_400)
}

impl Field {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            root: directory.path().canonicalize().unwrap().into(),
            _directory: directory,
        }
    }

    pub(crate) fn at(&self, path: &str) -> VolumePath {
        VolumePath::new(&self.root, Path::new(path)).unwrap()
    }

    /// Creates a file of one byte and its directories, written and read that many days ago.
    pub(crate) fn file(&self, path: &str, days: u64) -> VolumePath {
        let place = self.at(path);
        fs::create_dir_all(place.path().parent().unwrap()).unwrap();
        fs::write(place.path(), b"x").unwrap();
        self.age(path, days);
        place
    }

    pub(crate) fn age(&self, path: &str, days: u64) {
        self.set(
            path,
            FileTimes::new()
                .set_modified(moment(days))
                .set_accessed(moment(days)),
        );
    }

    pub(crate) fn read(&self, path: &str, days: u64) {
        self.set(path, FileTimes::new().set_accessed(moment(days)));
    }

    pub(crate) fn link(&self, target: &str, path: &str) {
        std::os::unix::fs::symlink(self.at(target).path(), self.at(path).path()).unwrap();
    }

    pub(crate) fn policy(&self, kind: &str, path: &str) -> policy::Cache {
        let min_age = Duration::from_hours(24);
        policy::Cache {
            name: path.into(),
            kind: super::kind(kind).expect("a kind"),
            place: Some(self.at(path)),
            outside: None,
            depth: 1,
            min_age,
            reserve: Size::default(),
            budget: None,
        }
    }

    pub(crate) fn survey(&self, policy: &policy::Cache) -> Cache {
        assert!(self.root.exists());
        crate::survey::caches::survey(
            std::slice::from_ref(policy),
            &[],
            crate::ecosystems::lister::Inspection {
                probe: &self.probe(true),
                gate: &Some,
                stop: &Stop::never(),
            },
        )
        .remove(0)
    }

    pub(crate) fn root(&self) -> OwnedFd {
        crate::fs::openat::root(&self.root).unwrap()
    }

    pub(crate) fn probe(&self, access_times: bool) -> LastUseProbe {
        LastUseProbe::open(&self.root, access_times).unwrap()
    }

    /// Returns the names of a cache's units, sorted; panics if it has problems.
    pub(crate) fn names(&self, policy: &policy::Cache) -> Vec<String> {
        let seen = self.survey(policy);
        assert_eq!(seen.problems, Vec::<String>::new());
        let mut names: Vec<String> = seen.units.into_iter().map(|unit| unit.name).collect();
        names.sort();
        names
    }

    fn set(&self, path: &str, times: FileTimes) {
        File::open(self.at(path).path())
            .unwrap()
            .set_times(times)
            .unwrap();
    }
}
