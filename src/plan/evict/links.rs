//! Files with several links: only the last link's removal frees them, and that link may be in
//! another unit.
//!
//! Two units that each contain one link to the same file free it together, and neither does alone.
//! A unit that would free nothing yet waits for its partners. A file counts only when all of its
//! links are removed.

use crate::facts::cache::{Cache, Shared, Size, Unit};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The links to be removed, and the units that wait for partners.
#[derive(Default)]
pub(super) struct Links {
    files: HashMap<(u64, u64), File>,
    waiting: BTreeMap<usize, Unit>,
    next: usize,
}

/// One file with several links.
#[derive(Default)]
struct File {
    /// Links in units that are evicted, or wait.
    met: u64,
    holders: Vec<usize>,
}

impl Links {
    /// Returns what a unit frees, together with the units that wait for it.
    pub(super) fn gain(&self, unit: &Unit) -> Size {
        let mut gain = unit.size.unwrap_or_default();
        unit.shared
            .iter()
            .filter(|shared| self.completes(shared))
            .for_each(|shared| gain += of(shared));
        gain
    }

    /// Puts a unit aside until its partners come.
    pub(super) fn wait(&mut self, unit: Unit) {
        for shared in &unit.shared {
            let file = self.files.entry(shared.file).or_default();
            file.met = file.met.saturating_add(shared.here);
            file.holders.push(self.next);
        }
        self.waiting.insert(self.next, unit);
        self.next = self.next.saturating_add(1);
    }

    /// Evicts the unit. Returns the partners evicted with it, in the order in which they came.
    pub(super) fn go(&mut self, unit: &Unit) -> Vec<Unit> {
        let completed = unit.shared.iter().filter(|shared| self.completes(shared));
        let partners: BTreeSet<usize> = completed
            .filter_map(|shared| self.files.get(&shared.file))
            .flat_map(|file| file.holders.clone())
            .collect();
        for shared in &unit.shared {
            let file = self.files.entry(shared.file).or_default();
            file.met = file.met.saturating_add(shared.here);
        }
        partners
            .into_iter()
            .filter_map(|number| self.waiting.remove(&number))
            .collect()
    }

    /// Returns the units whose partners never came.
    pub(super) fn left(self) -> impl Iterator<Item = Unit> {
        self.waiting.into_values()
    }

    fn completes(&self, shared: &Shared) -> bool {
        let met = self.files.get(&shared.file).map_or(0, |file| file.met);
        met.saturating_add(shared.here) >= shared.links
    }
}

/// Returns what evicting all of a measured cache would free.
pub(super) fn standing(cache: &Cache) -> Size {
    let mut standing = Size::default();
    let mut files: HashMap<(u64, u64), u64> = HashMap::new();
    for unit in &cache.units {
        standing += unit.size.unwrap_or_default();
        for shared in &unit.shared {
            let seen = files.entry(shared.file).or_default();
            *seen = seen.saturating_add(shared.here);
            if *seen == shared.links {
                standing += of(shared);
            }
        }
    }
    standing
}

fn of(shared: &Shared) -> Size {
    Size {
        bytes: shared.bytes,
        inodes: 1,
    }
}
