//! Values that several parts of the config share: directories that must not overlap, names, lists.

use super::problem::{KeyPath, Notes};
use super::raw;
use crate::fs::volume_path::VolumePath;
use std::path::Path;
use std::sync::Arc;

/// The directories named so far. No two may overlap: each has an owner, and what one owner deletes
/// must not be another's.
#[derive(Debug)]
pub(super) struct Places {
    root: Arc<Path>,
    taken: Vec<(KeyPath, VolumePath)>,
}

impl Places {
    /// Starts with no directory, on the volume with this root.
    pub(super) fn below(root: Arc<Path>) -> Self {
        Self {
            root,
            taken: Vec::new(),
        }
    }

    /// Returns the volume's root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the directory typed at `at`, if it is inside the root and apart from all others.
    pub(super) fn take(
        &mut self,
        typed: Option<&str>,
        example: &str,
        at: &KeyPath,
        notes: &mut Notes,
    ) -> Option<VolumePath> {
        let place = match typed {
            None => Err(format!("is missing; write the directory's path below volume.root, for instance {example}")),
            Some(typed) if odd(typed) => Err(format!("`{typed}` holds a control character or a backslash; rename the directory")),
            Some(typed) => VolumePath::new(&self.root, Path::new(typed))
                .map_err(|_| format!("`{typed}` is no directory below volume.root; write its path from there, without `..`")),
        };
        self.reserve(place, at, notes)
    }

    /// Takes a directory that was found to be one, if it is apart from all others.
    pub(super) fn reserve(
        &mut self,
        place: Result<VolumePath, String>,
        at: &KeyPath,
        notes: &mut Notes,
    ) -> Option<VolumePath> {
        let apart = place.and_then(|place| self.apart(&place).map(|()| place));
        let place = apart.map_err(|problem| notes.add(at, problem)).ok()?;
        self.taken.push((at.clone(), place.clone()));
        Some(place)
    }

    fn apart(&self, place: &VolumePath) -> Result<(), String> {
        for (key, other) in &self.taken {
            let (path, its) = (place.path(), other.path());
            let how = match (path.starts_with(&its), its.starts_with(&path)) {
                (true, true) => "is also",
                (true, false) => "lies inside",
                (false, true) => "holds",
                (false, false) => continue,
            };
            return Err(format!(
                "`{place}` {how} {key} (`{other}`); give each a directory of its own, side by side"
            ));
        }
        Ok(())
    }
}

/// Returns whether a path contains a control character, which could reach a terminal, or a
/// backslash, which has another meaning in a glob.
pub(super) fn odd(path: &str) -> bool {
    path.chars().any(|c| c.is_control() || c == '\\')
}

/// Returns whether it can be a name for people, for metrics' labels and for lock files: letters,
/// digits, `.`, `_` and `-`, in parts split by `/`.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= LONGEST_NAME
        && name
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.chars().all(plain))
}

/// Leaves room for `__` and `.lock` in the 255 bytes of a file's name.
const LONGEST_NAME: usize = 120;

/// Returns the meaning of `name`, or the known names.
pub(super) fn one_of<T: Copy>(known: &[(&str, T)], name: &str) -> Result<T, String> {
    let found = known.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("`{name}` is unknown; write one of {}", names(known)))
}

/// Returns the known names, for people.
pub(super) fn names<T>(known: &[(&str, T)]) -> String {
    known
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns a list's texts, and notes empty items.
pub(super) fn texts<'a>(
    list: &'a raw::List,
    at: &KeyPath,
    notes: &mut Notes,
) -> Vec<(KeyPath, &'a str)> {
    let mut texts = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match text.as_deref() {
            None | Some("") => notes.add(
                &at.item(index),
                "is empty; write a value or take the item out",
            ),
            Some(text) => texts.push((at.item(index), text)),
        }
    }
    texts
}
