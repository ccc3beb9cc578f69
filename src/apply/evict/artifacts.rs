//! The eviction of parts of build output: all that goes from one directory, under its repo's lock
//! and its tool's, after one more walk through the directory.
//!
//! A walk for each part would cost more than the parts free, so they go together. Their repo's lock
//! is held until the last one went, their tool's for a few at a time.

use super::{Bins, Evictor, Home, UNDER_ONE_LOCK, UnitOutcome, gone_is_done};
use crate::apply::trash::{TrashEntry, TrashError};
use crate::facts::cache::{Tree, Unit};
use crate::fs::volume_path::VolumePath;
use crate::lock::LockedRepo;
use crate::survey::processes::Processes;
use crate::survey::regenerable::{Found, look_through};
use crate::survey::worktree::activity;
use std::io;
use std::path::Path;

/// Parts of one directory, with their numbers.
pub(super) type Parts<'a> = Vec<(usize, &'a Unit)>;

impl Evictor<'_> {
    /// Evicts parts of the directory `output`, which is in `tree`.
    pub(super) fn parts(
        &self,
        bins: &Bins<'_>,
        (tree, output): (&Tree, &VolumePath),
        units: &Parts<'_>,
    ) -> Vec<(usize, UnitOutcome)> {
        let all = |outcome: &UnitOutcome| {
            let each = units.iter().map(|(number, _)| (*number, outcome.clone()));
            each.collect()
        };
        let _one_at_a_time = self.one_at_a_time.lock().expect("no eviction panics");
        let lock = match LockedRepo::take(self.locks, &tree.repo, output, "evict", self.now) {
            Ok(lock) => lock,
            Err(error) if error.may_pass() => {
                return all(&UnitOutcome::Skipped(format!("{} is busy", tree.repo)));
            }
            Err(error) => return all(&UnitOutcome::Failed(error.to_string())),
        };
        if let Some(busy) = self.is_at_work(tree, output) {
            return all(&UnitOutcome::Skipped(busy));
        }
        let files = match bins.all.get(&**output.root()) {
            Some(Ok(files)) => files,
            Some(Err(error)) => return all(&unknown(output, error)),
            None => {
                let error = io::Error::other("its volume has no trash");
                return all(&unknown(output, &error));
            }
        };
        let (home, directories, found) = match self.walk(tree, output) {
            Ok(walked) => walked,
            Err(error) => return all(&unknown(output, &error)),
        };
        let taking = Taking {
            evictor: self,
            lock,
            home,
            directories: &directories,
            files,
            tree,
            output,
            found,
        };
        let outcomes = taking.all(units);
        bins.own
            .lock()
            .expect("no eviction panics")
            .push(directories);
        outcomes
    }

    /// Walks through the directory. What is written there from now on is younger than the entry.
    fn walk(&self, tree: &Tree, output: &VolumePath) -> io::Result<(&Home<'_>, TrashEntry, Found)> {
        let home = self.home(output)?;
        let entry = home.trash.entry_since_now(output)?;
        match look_through(output, &tree.made_again, self.stop) {
            Ok(found) => Ok((home, entry, found)),
            Err(error) => {
                entry.empty(self.stop);
                Err(error)
            }
        }
    }

    /// Returns who is at work in the tree, or was since it was surveyed.
    fn is_at_work(&self, tree: &Tree, place: &VolumePath) -> Option<String> {
        let admin = VolumePath::new(place.root(), &tree.admin).map_err(io::Error::from);
        let active = admin.and_then(|admin| activity(&admin, self.stop));
        if active.is_err() || active.is_ok_and(|active| active > tree.active) {
            return Some("its worktree is in use again".to_owned());
        }
        Processes::default().at_work(&tree.place, self.stop)
    }
}

fn unknown(output: &VolumePath, error: &io::Error) -> UnitOutcome {
    UnitOutcome::Failed(format!(
        "failed to look through `{output}` again: {error}; it stays"
    ))
}

/// The eviction from one directory, under its repo's lock.
struct Taking<'a> {
    evictor: &'a Evictor<'a>,
    lock: LockedRepo,
    home: &'a Home<'a>,
    /// What is written to a directory after the walk is kept. The move itself changes a file, so
    /// files go elsewhere.
    directories: &'a TrashEntry,
    files: &'a TrashEntry,
    tree: &'a Tree,
    output: &'a VolumePath,
    /// What isn't the tool's.
    found: Found,
}

impl Taking<'_> {
    fn all(&self, units: &Parts<'_>) -> Vec<(usize, UnitOutcome)> {
        let mut outcomes = Vec::new();
        let together = units.chunk_by(|(_, one), (_, other)| one.locks == other.locks);
        for few in together.flat_map(|units| units.chunks(UNDER_ONE_LOCK)) {
            let Some((_, first)) = few.first() else {
                continue;
            };
            let held = self.evictor.hold(&first.locks);
            // The tool doesn't lock while what it built runs.
            let busy = self.evictor.is_at_work(self.tree, self.output);
            for (number, unit) in few {
                let outcome = match (&held, &busy) {
                    (Err(outcome), _) => outcome.clone(),
                    (Ok(_), Some(busy)) => UnitOutcome::Skipped(busy.clone()),
                    (Ok(_), None) => self.one(unit),
                };
                outcomes.push((*number, outcome));
            }
        }
        outcomes
    }

    fn one(&self, unit: &Unit) -> UnitOutcome {
        if let Some(why) = self.evictor.stop.reached() {
            return UnitOutcome::Skipped(why.to_owned());
        }
        if let Some(own) = self.own_in(unit) {
            return UnitOutcome::Skipped(format!("`{}/{own}` is somebody's", self.output));
        }
        if let Some(outcome) = Evictor::used_since(self.home, unit) {
            return outcome;
        }
        let take = |path: &VolumePath| -> Result<(), TrashError> {
            let is_directory = path.path().symlink_metadata().is_ok_and(|it| it.is_dir());
            let entry = if is_directory {
                self.directories
            } else {
                self.files
            };
            gone_is_done(entry.take(&self.lock, path))
        };
        match unit.paths.iter().try_for_each(take) {
            Ok(()) => UnitOutcome::Evicted,
            Err(error) => UnitOutcome::Failed(error.to_string()),
        }
    }

    /// Returns what is in the unit and isn't the tool's.
    fn own_in(&self, unit: &Unit) -> Option<String> {
        let top = self.output.relative();
        let mut own = self.found.somebodys.iter().chain(&self.found.repos);
        let is_in = |own: &Path| {
            let own = top.join(own);
            let mut paths = unit.paths.iter().map(VolumePath::relative);
            paths.any(|path| own.starts_with(path) || path.starts_with(&own))
        };
        let own = own.find(|own| is_in(own))?;
        Some(own.display().to_string())
    }
}
