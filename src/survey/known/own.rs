//! The files of a tree whose content HEAD doesn't have, and their size: what a rescue would write.
//!
//! A file counts even if a filter would make it from an existing blob: a rescue stores files
//! unfiltered.

use super::super::{go_on, tree};
use super::change::Change;
use super::{Known, SUBMODULE};
use crate::facts::rescue::Own;
use crate::fs::volume_path::VolumePath;
use crate::survey::in_order::InOrder;
use crate::survey::tree::Listing;
use git2::Repository;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

impl Known {
    /// Returns the files that a rescue has to write, because HEAD doesn't have their content.
    /// `dirty` is the result of [`Known::dirty`].
    pub(in crate::survey) fn own(
        &self,
        repo: &Repository,
        place: &VolumePath,
        listing: &Listing,
        dirty: &[(PathBuf, Change)],
    ) -> io::Result<Own> {
        let modified: HashSet<&Path> = dirty
            .iter()
            .filter(|(_, what)| *what == Change::Modified)
            .map(|(path, _)| path.as_path())
            .collect();
        let mut recorded = InOrder::of(&self.committed);
        let mut own = Own::default();
        for (path, stamp) in &listing.files {
            go_on(Some(&self.stop))?;
            let same = match recorded.at(path) {
                // A submodule's commit is not in this repo.
                Some(&(SUBMODULE, _)) => false,
                // If the size differs the content differs, whatever a filter made of it.
                Some(&(_, blob))
                    if self.objects.size(repo, blob)? != stamp.size
                        || modified.contains(path.as_path()) =>
                {
                    false
                }
                Some(&(mode, blob)) if mode != stamp.git_mode() => {
                    tree::hash(place, path, stamp, &self.stop)? == blob
                }
                recorded => recorded.is_some(),
            };
            if !same {
                own.files = own.files.saturating_add(1);
                own.bytes = own.bytes.saturating_add(stamp.size);
            }
        }
        for stamp in listing.registration.values() {
            own.files = own.files.saturating_add(1);
            own.bytes = own.bytes.saturating_add(stamp.size);
        }
        Ok(own)
    }
}
