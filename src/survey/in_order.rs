//! Maps by path, asked in the order of paths.
//!
//! It must never be asked for a path that comes before one that it was asked for already.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// Answers for paths that are asked for in their order, each a step further: comparing paths is
/// what a look at a large tree spends its time on.
pub(super) struct InOrder<'a, V> {
    rest: Peekable<btree_map::Iter<'a, PathBuf, V>>,
}

impl<'a, V> InOrder<'a, V> {
    pub(super) fn of(map: &'a BTreeMap<PathBuf, V>) -> Self {
        Self {
            rest: map.iter().peekable(),
        }
    }

    /// What stands at the path, which comes after all that were asked for before.
    pub(super) fn at(&mut self, path: &Path) -> Option<&'a V> {
        loop {
            let next = self.rest.peek()?.0.as_path();
            // The same bytes are the same path, which is quicker told than the order of two.
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
