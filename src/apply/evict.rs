//! Eviction: units are moved to the trash in the plan's order, each after one more inspection.
//!
//! A unit used since it was surveyed stays: that is no decision, but the plan's own condition.
//! Build output is evicted under its repo's lock, after another walk. If a unit's tool has locks,
//! it is evicted under those, a few units at a time; if the tool is busy, the unit stays. Nothing
//! waits for a tool, and a tool's lock file is never created or written to.
//!
//! A unit goes to the trash of its own [`Home`], under that home's lock: the volume's, or that of a
//! cache outside of it.

mod artifacts;

use super::trash::{Emptied, Trash, TrashEntry, TrashError};
use crate::ecosystems;
use crate::ecosystems::last_use::LastUseProbe;
use crate::facts::cache::{Tree, Unit};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::{LockedRepo, LockedVolume};
use crate::survey::processes::Processes;
use crate::survey::regenerable::own_among;
use crate::survey::worktree::activity;
use artifacts::Parts;
use chrono::{DateTime, Utc};
use rayon::prelude::*;
use rustix::fs::{FlockOperation, OFlags};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The outcome of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitOutcome {
    /// A dry run: it would be evicted.
    Planned,
    /// It was evicted.
    Evicted,
    /// It stays: it was used, or its repo or its tool was busy, when its turn came.
    Skipped(String),
    /// It should have been evicted; the text says what prevented it and what helps.
    Failed(String),
}

/// The directory that caches stand in: the volume's root, or one outside of it.
pub struct Home<'a> {
    /// The root of all paths in it.
    pub root: &'a Arc<Path>,
    /// The proof that no other run evicts there.
    pub lock: &'a LockedVolume,
    /// Where units are moved.
    pub trash: &'a Trash,
    /// Inspects each unit once more.
    pub probe: &'a LastUseProbe,
}

/// Evicts units, under their locks.
pub struct Evictor<'a> {
    /// The homes of all units.
    pub homes: Vec<Home<'a>>,
    /// The directory of the repos' locks.
    pub locks: &'a VolumePath,
    /// When to stop.
    pub stop: &'a Stop,
    /// The run's time.
    pub now: DateTime<Utc>,
    /// Held while a repo's lock is held: units of one repo must not find it busy.
    pub one_at_a_time: Mutex<()>,
}

/// The trash entries of a batch: one for all units of a home, by its root, or one for each unit.
struct Bins<'a> {
    all: BTreeMap<&'a Path, io::Result<TrashEntry>>,
    own: Mutex<Vec<TrashEntry>>,
}

impl Bins<'_> {
    /// Returns why no unit of the batch can be moved; none if one can.
    fn unusable(&mut self) -> Option<io::Error> {
        if self.all.values().any(Result::is_ok) {
            return None;
        }
        self.all.pop_first()?.1.err()
    }
}

/// Units moved before the trash entry is emptied: a kill leaves little behind, and space is freed
/// early.
const BATCH: usize = 4096;

/// Units evicted while their tool's locks are held once: no tool should wait for long.
const UNDER_ONE_LOCK: usize = 64;

impl Evictor<'_> {
    /// Evicts the units, in order, on the current rayon pool. The outcomes are in the same order;
    /// if the run stops, the last are missing.
    ///
    /// # Errors
    /// The trash can't be used at all.
    pub fn evict(&self, units: &[Unit]) -> io::Result<(Vec<UnitOutcome>, Emptied)> {
        let (mut outcomes, mut total) = (Vec::new(), Emptied::default());
        for batch in units.chunks(BATCH) {
            if self.stop.reached().is_some() {
                break;
            }
            let mut bins = self.bins(batch);
            if let Some(error) = bins.unusable() {
                if outcomes.is_empty() {
                    return Err(error);
                }
                // The units of earlier batches are gone, so they have to be in the report.
                let why = no_trash(&error);
                outcomes.extend(batch.iter().map(|_| UnitOutcome::Failed(why.clone())));
                continue;
            }
            outcomes.extend(self.batch(&bins, batch));
            let own = bins.own.into_inner().expect("no eviction panics");
            let all = bins.all.into_values().flatten();
            for bin in own.into_iter().chain(all) {
                let emptied = bin.empty(self.stop);
                total.freed += emptied.freed;
                total.left.extend(emptied.left);
            }
        }
        Ok((outcomes, total))
    }

    /// Creates a trash entry in each home that has one of these units.
    fn bins<'b>(&self, units: &'b [Unit]) -> Bins<'b> {
        let mut all = BTreeMap::new();
        for place in units.iter().filter_map(|unit| unit.paths.first()) {
            all.entry(&**place.root())
                .or_insert_with(|| self.home(place).and_then(|home| home.trash.bin(None)));
        }
        Bins {
            all,
            own: Mutex::default(),
        }
    }

    /// Evicts a batch. Units that share their tool's locks are evicted together; the others need
    /// not wait for them.
    fn batch(&self, bins: &Bins<'_>, units: &[Unit]) -> Vec<UnitOutcome> {
        let mut together: BTreeMap<&[VolumePath], Vec<(usize, &Unit)>> = BTreeMap::new();
        let mut parts: BTreeMap<&VolumePath, (&Tree, Parts<'_>)> = BTreeMap::new();
        for (number, unit) in units.iter().enumerate() {
            let tree = unit.tree.as_deref();
            if let Some((tree, output)) = tree.and_then(|tree| Some((tree, tree.part_of.as_ref()?)))
            {
                let (_, parts) = parts.entry(output).or_insert((tree, Vec::new()));
                parts.push((number, unit));
            } else {
                let together = together.entry(&unit.locks).or_default();
                together.push((number, unit));
            }
        }
        let mut outcomes: Vec<(usize, UnitOutcome)> = together
            .into_par_iter()
            .flat_map(|(locks, units)| {
                let one = |&(number, unit): &(usize, &Unit)| (number, self.one(bins, unit));
                if locks.is_empty() {
                    return units.par_iter().map(one).collect::<Vec<_>>();
                }
                let few = |few: &[(usize, &Unit)]| match self.hold(locks) {
                    Ok(_held) => few.par_iter().map(one).collect::<Vec<_>>(),
                    Err(outcome) => few
                        .iter()
                        .map(|(number, _)| (*number, outcome.clone()))
                        .collect(),
                };
                units.chunks(UNDER_ONE_LOCK).flat_map(few).collect()
            })
            .collect();
        for (output, (tree, parts)) in parts {
            outcomes.extend(self.parts(bins, (tree, output), &parts));
        }
        outcomes.sort_unstable_by_key(|(number, _)| *number);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Takes all locks of a tool, or returns the outcome of the units under them.
    fn hold(&self, locks: &[VolumePath]) -> Result<Vec<File>, UnitOutcome> {
        if let Some(why) = self.stop.reached() {
            return Err(UnitOutcome::Skipped(why.to_owned()));
        }
        let mut held = Vec::new();
        for lock in locks {
            match hold(lock) {
                Ok(file) => held.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(UnitOutcome::Skipped(format!(
                        "its tool is at work and holds `{lock}`"
                    )));
                }
                Err(error) => {
                    return Err(UnitOutcome::Failed(format!(
                        "failed to lock `{lock}`: {error}; it stays"
                    )));
                }
            }
        }
        Ok(held)
    }

    fn one(&self, bins: &Bins<'_>, unit: &Unit) -> UnitOutcome {
        if let Some(why) = self.stop.reached() {
            return UnitOutcome::Skipped(why.to_owned());
        }
        let moved = match &unit.tree {
            None => self.take(bins, unit),
            Some(tree) => self.in_tree(bins, unit, tree),
        };
        moved.unwrap_or_else(|error| UnitOutcome::Failed(error.to_string()))
    }

    /// Returns an outcome if a unit was used since it was surveyed. A missing unit is not in use.
    fn used_since(home: &Home<'_>, unit: &Unit) -> Option<UnitOutcome> {
        let last_use = ecosystems::layout(unit.kind).map(|layout| layout.last_use);
        let again = last_use.map_or_else(
            || Err(io::Error::other("no such kind of cache is known")),
            |last_use| home.probe.last_use(last_use, &unit.paths),
        );
        match found(again) {
            Ok(Some(again)) if again.at > unit.last_used => Some(UnitOutcome::Skipped(
                "it was used again meanwhile".to_owned(),
            )),
            Ok(_) => None,
            Err(error) => Some(UnitOutcome::Failed(format!(
                "failed to look at `{}` again: {error}; it stays",
                unit.name
            ))),
        }
    }

    /// Returns the home of a unit.
    fn home(&self, place: &VolumePath) -> io::Result<&Home<'_>> {
        let home = self.homes.iter().find(|home| home.root == place.root());
        home.ok_or_else(|| io::Error::other(format!("`{place}` is in no known directory")))
    }

    fn take(&self, bins: &Bins<'_>, unit: &Unit) -> Result<UnitOutcome, TrashError> {
        let Some(place) = unit.paths.first() else {
            return Ok(UnitOutcome::Skipped("there is nothing to take".to_owned()));
        };
        let home = self.home(place)?;
        if let Some(outcome) = Self::used_since(home, unit) {
            return Ok(outcome);
        }
        let bin = match bins.all.get(&**place.root()) {
            Some(Ok(bin)) => bin,
            Some(Err(error)) => return Ok(UnitOutcome::Failed(no_trash(error))),
            None => return Ok(UnitOutcome::Failed(format!("`{place}` has no trash"))),
        };
        unit.paths
            .iter()
            .try_for_each(|path| gone_is_done(bin.take(home.lock, path)))?;
        Ok(UnitOutcome::Evicted)
    }

    /// Evicts build output if nobody works in the tree, or did since the survey, and nobody left
    /// anything of their own there. What is written after that inspection stays in the trash.
    fn in_tree(
        &self,
        bins: &Bins<'_>,
        unit: &Unit,
        tree: &Tree,
    ) -> Result<UnitOutcome, TrashError> {
        let Some(place) = unit.paths.first() else {
            return Ok(UnitOutcome::Skipped("there is nothing to take".to_owned()));
        };
        let _one_at_a_time = self.one_at_a_time.lock().expect("no eviction panics");
        let lock = match LockedRepo::take(self.locks, &tree.repo, place, "evict", self.now) {
            Ok(lock) => lock,
            Err(error) if error.may_pass() => {
                return Ok(UnitOutcome::Skipped(format!("{} is busy", tree.repo)));
            }
            Err(error) => return Err(error.into()),
        };
        let active = VolumePath::new(place.root(), &tree.admin)
            .map_err(io::Error::from)
            .and_then(|admin| activity(&admin, self.stop));
        if active.is_err() || active.is_ok_and(|active| active > tree.active) {
            return Ok(UnitOutcome::Skipped(
                "its worktree is in use again".to_owned(),
            ));
        }
        let processes = Processes::default();
        let trash = self.home(place)?.trash;
        for path in &unit.paths {
            // First, so that whatever is written after the inspection is younger than its entry.
            let bin = trash.entry_since_now(path)?;
            let own = || own_among(std::slice::from_ref(path), &tree.made_again, self.stop);
            let stays = match processes
                .at_work(&tree.place, self.stop)
                .map_or_else(own, |busy| Ok(Some(busy)))
            {
                Ok(why) => why.map(UnitOutcome::Skipped),
                Err(error) => Some(UnitOutcome::Failed(format!(
                    "failed to look through `{path}` again: {error}; it stays"
                ))),
            };
            if let Some(stays) = stays {
                bin.empty(self.stop);
                return Ok(stays);
            }
            gone_is_done(bin.take(&lock, path))?;
            bins.own.lock().expect("no eviction panics").push(bin);
        }
        Ok(UnitOutcome::Evicted)
    }
}

fn no_trash(error: &io::Error) -> String {
    format!("failed to use the trash: {error}; look into the volume's state directory")
}

/// Takes a tool's lock, or fails at once with `WouldBlock`. Opened for writing, as NFS requires for
/// an exclusive lock.
fn hold(lock: &VolumePath) -> io::Result<File> {
    let file = File::from(openat::open(
        lock,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no regular file; remove it",
        ));
    }
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Accepts a missing path: somebody else's eviction, or the tool's own, is as good as ours.
fn gone_is_done(moved: Result<VolumePath, TrashError>) -> Result<(), TrashError> {
    match moved {
        Err(TrashError::Move { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cache::{CacheKind, UsedFrom};
    use std::fs;
    use std::time::Duration;

    /// A tree with build output, and the unit that was planned for it.
    struct Planned {
        top: tempfile::TempDir,
        trash: Trash,
        unit: Unit,
    }

    fn planned() -> Planned {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        for (file, text) in [
            ("tree/Cargo.toml", "[package]"),
            (
                "tree/target/CACHEDIR.TAG",
                "Signature: 8a477f597d28d172789f06886806bc55",
            ),
            ("tree/target/.rustc_info.json", "{}"),
            ("tree/target/debug/.cargo-lock", ""),
            (
                "tree/target/debug/deps/libshop-0123456789abcdef.rlib",
                "made",
            ),
            ("tree/target/debug/deps/shop-0123456789abcdef.d", "made"),
            ("repo/.git/worktrees/tree/HEAD", "ref: refs/heads/tree\n"),
            ("state/locks/any", ""),
        ] {
            fs::create_dir_all(top.path().join(file).parent().unwrap()).unwrap();
            fs::write(top.path().join(file), text).unwrap();
        }
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        let tree = Tree {
            repo: "acme/shop".to_owned(),
            place: at("tree"),
            admin: at("repo/.git/worktrees/tree").path(),
            active: crate::fs::clock::now() + Duration::from_mins(1),
            made_again: Arc::new([]),
            part_of: None,
        };
        let unit = Unit {
            cache: "build-output".into(),
            kind: CacheKind::new("build-output"),
            name: "target".to_owned(),
            paths: vec![at("tree/target")],
            packages: Vec::new(),
            named: None,
            last_used: crate::fs::clock::now() + Duration::from_mins(1),
            last_used_from: UsedFrom::WorktreeActivity,
            min_age: Duration::ZERO,
            locks: Arc::new([]),
            tree: Some(Box::new(tree)),
            size: None,
            shared: Vec::new(),
        };
        Planned {
            trash: Trash::of(&at("state")).unwrap(),
            unit,
            top,
        }
    }

    impl Planned {
        fn evict(&self) -> (UnitOutcome, Emptied) {
            let root: Arc<Path> = self.top.path().into();
            let locks = VolumePath::new(&root, Path::new("state/locks")).unwrap();
            let stop = Stop::after(Duration::from_mins(1), Arc::default());
            let probe = LastUseProbe::open(self.top.path(), true).unwrap();
            let lock = LockedVolume::take(&locks, "run", crate::fs::clock::now()).unwrap();
            let home = Home {
                root: &root,
                lock: &lock,
                trash: &self.trash,
                probe: &probe,
            };
            let evictor = Evictor {
                homes: vec![home],
                locks: &locks,
                stop: &stop,
                now: crate::fs::clock::now(),
                one_at_a_time: Mutex::default(),
            };
            let (mut outcomes, emptied) = evictor.evict(std::slice::from_ref(&self.unit)).unwrap();
            (outcomes.remove(0), emptied)
        }
    }

    #[test]
    fn build_output_goes_whole_and_nothing_is_left_of_it() {
        let planned = planned();
        let (outcome, emptied) = planned.evict();
        assert_eq!((outcome, emptied.left), (UnitOutcome::Evicted, Vec::new()));
        assert!(!planned.top.path().join("tree/target").exists());
        assert_eq!(
            fs::read_dir(planned.top.path().join("state/trash"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn what_somebody_left_in_build_output_since_it_was_planned_keeps_it() {
        let planned = planned();
        let own = planned.top.path().join("tree/target/debug/dev.sqlite");
        fs::write(&own, "work").unwrap();
        let (outcome, _) = planned.evict();
        assert!(
            matches!(&outcome, UnitOutcome::Skipped(why) if why.contains("debug/dev.sqlite")),
            "{outcome:?}"
        );
        assert_eq!(fs::read_to_string(own).unwrap(), "work");
        assert_eq!(
            fs::read_dir(planned.top.path().join("state/trash"))
                .unwrap()
                .count(),
            0
        );
    }
}
