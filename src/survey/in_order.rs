//! A map by path that is asked in the order of paths, each answer a step after the one before.
//! Asking for an earlier path misses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// Answers for paths in sorted order: comparing paths is most of the cost of surveying a large
/// tree.
pub(super) struct InOrder<'a, V> {
    rest: Peekable<btree_map::Iter<'a, PathBuf, V>>,
}

impl<'a, V> InOrder<'a, V> {
    pub(super) fn of(map: &'a BTreeMap<PathBuf, V>) -> Self {
        Self {
            rest: map.iter().peekable(),
        }
    }

    /// Returns the value of the path, which must come after all paths that were asked for before.
    pub(super) fn at(&mut self, path: &Path) -> Option<&'a V> {
        loop {
            let next = self.rest.peek()?.0.as_path();
            // Equal bytes are equal paths, which is quicker to see than their order.
            let order = if next.as_os_str() == path.as_os_str() {
                Ordering::Equal
            } else {
                next.cmp(path)
            };
            match order {
                Ordering::Less => drop(self.rest.next()),
                Ordering::Equal => return self.rest.next().map(|(_, value)| value),
                Ordering::Greater => return None,
            }
        }
    }
}
