//! Listings of a tree that use what git tracks: a tracked file is always listed, whatever made it.

use super::Known;
use crate::facts::worktree::LockFile;
use crate::fs::budget::Reservation;
use crate::fs::openat::Listed;
use crate::fs::volume_path::VolumePath;
use crate::survey::lockfiles;
use crate::survey::registration::{self, Registration};
use crate::survey::tree::{self, Listing, Rules, Stamp};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

impl Known {
    /// Lists the tree at `place` without regenerable directories. Its registration was already
    /// listed. A directory with tracked files is never regenerable.
    ///
    /// # Errors
    /// As [`tree::list`].
    pub(in crate::survey) fn list_outside(
        &self,
        place: &VolumePath,
        registration: &Listed,
    ) -> io::Result<Listing> {
        let mut listing = self.listed(place, false)?;
        listing.registration =
            registration::somebodys(self.git_files(), registration, &mut listing.held)?;
        Ok(listing)
    }

    /// Lists the tree at `place`, with somebody's files in regenerable directories: everything that
    /// would be lost with it.
    ///
    /// # Errors
    /// As [`tree::list`].
    pub fn list(&self, place: &VolumePath) -> io::Result<Listing> {
        let mut listing = self.listed(place, true)?;
        listing.registration = self.registration(&mut listing.held)?;
        Ok(listing)
    }

    /// Lists the same without the registration. Regenerable directories are walked only if `whole`.
    ///
    /// # Errors
    /// As [`tree::list`].
    pub(in crate::survey) fn listed(&self, place: &VolumePath, whole: bool) -> io::Result<Listing> {
        let tracked = |path: &Path| self.tracks(path);
        let rules = Rules {
            tracked: &tracked,
            made_again: &self.made_again,
            whole,
            stop: &self.stop,
        };
        let mut listing = tree::list(place, &rules)?;
        self.judge_pointers(place, &mut listing)?;
        Ok(listing)
    }

    /// Returns the files in the registration that are not git's.
    ///
    /// # Errors
    /// They can't be listed.
    pub fn registration(&self, held: &mut Reservation) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        registration::somebodys(self.git_files(), &Listed::of(&self.admin)?, held)
    }

    fn git_files(&self) -> Registration<'_> {
        Registration {
            admin: &self.admin,
            checkout: self.is_clone.then_some(&self.git_dir),
        }
    }

    /// Checks whether git tracks this path or something below it. Paths are sorted, so what is
    /// below follows directly.
    fn tracks(&self, directory: &Path) -> bool {
        let after = (Bound::Included(directory), Bound::Unbounded);
        let committed = self
            .committed
            .range::<Path, _>(after)
            .map(|(path, _)| path)
            .next();
        let staged = self
            .index
            .entries
            .range::<Path, _>(after)
            .map(|(path, _)| path)
            .next();
        [committed, staged]
            .into_iter()
            .flatten()
            .any(|path| path.starts_with(directory))
    }

    /// Returns the files of a listing that name packages: those at the root, and tracked ones.
    pub(in crate::survey) fn lock_files(&self, listing: &Listing) -> Vec<LockFile> {
        let at_root = |path: &Path| path.parent() == Some(Path::new(""));
        let files = listing
            .files
            .iter()
            .filter(|(path, stamp)| lockfiles::is_one(path) && !stamp.is_link());
        let files =
            files.filter(|(path, _)| at_root(path) || self.index.entries.contains_key(*path));
        let blob = |path, stamp| self.index.vouched(path, stamp).map(|blob| blob.to_string());
        files
            .map(|(path, stamp)| LockFile {
                path: path.clone(),
                blob: blob(path, stamp),
            })
            .collect()
    }
}
