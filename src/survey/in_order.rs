//! Look-ups in a map by path, in the order of paths: each starts where the one before ended, so an
//! earlier path is not found.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// A cursor over a map by path: comparing paths is most of the cost of surveying a large tree.
pub(super) struct InOrder<'a, V> {
    rest: Peekable<btree_map::Iter<'a, PathBuf, V>>,
}

impl<'a, V> InOrder<'a, V> {
    pub(super) fn of(map: &'a BTreeMap<PathBuf, V>) -> Self {
        Self {
            rest: map.iter().peekable(),
        }
    }

    /// Returns the value of a path, which must come after all paths that were looked up before.
    pub(super) fn at(&mut self, path: &Path) -> Option<&'a V> {
        loop {
            let next = self.rest.peek()?.0.as_path();
            // Equal bytes are equal paths, and quicker to compare than the order of paths.
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
