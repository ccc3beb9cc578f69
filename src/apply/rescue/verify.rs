//! Reads a rescue back from the store and compares it with the tree, before the tree is removed.

use super::{Making, RescueError, failed};
use crate::fs::budget;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::sha1;
use crate::git::shadow::Shadow;
use crate::survey::committed::Files;
use crate::survey::known::Known;
use crate::survey::rescues::{self, RescueContents};
use crate::survey::tree::{self, Listing};
use git2::{Oid, Repository};
use std::io;

impl Making<'_> {
    /// Compares the rescue, read back as a restore would, with what was saved. Then checks each
    /// blob that only the index names, and that the index is unchanged.
    pub(super) fn verify(
        &self,
        saved: &RescueContents,
        memory: &mut budget::Reservation,
    ) -> Result<(), RescueError> {
        let repo = self.shadow.open()?;
        let stored = rescues::read(&repo, saved.commit, self.stop, memory)
            .map_err(|error| RescueError::Differs(error.to_string()))?;
        if stored != *saved {
            return Err(RescueError::Differs(
                "what was stored reads differently".to_owned(),
            ));
        }
        if self.index(memory)? != saved.index {
            return Err(RescueError::Differs(
                "the index changed meanwhile".to_owned(),
            ));
        }
        let indexed = saved.staged.iter().chain(&saved.resolved).flatten();
        for (path, &(mode, blob)) in
            indexed.filter(|(path, entry)| saved.files.get(*path) != Some(entry))
        {
            // A submodule's commit is not in this repo.
            if mode != 0o160_000
                && !is_whole(self.shadow, &repo, blob, self.stop).map_err(failed(path))?
            {
                return Err(RescueError::Differs(format!(
                    "what is staged of `{}` reads differently",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Reads the blobs of all files back, and compares them with the tree as it is now.
    pub(super) fn verify_tree(
        &self,
        known: &Known,
        place: &VolumePath,
        before: &Listing,
        files: &Files,
    ) -> Result<(), RescueError> {
        let repo = self.shadow.open()?;
        for (path, &(_, blob)) in files {
            let differs =
                || RescueError::Differs(format!("`{}` reads differently", path.display()));
            let standing = tree::hash(
                place,
                path,
                before.files.get(path).ok_or_else(differs)?,
                self.stop,
            )
            .map_err(failed(path))?;
            if standing != blob
                || !is_whole(self.shadow, &repo, blob, self.stop).map_err(failed(path))?
            {
                return Err(differs());
            }
        }
        let now = known.list(place).map_err(|cause| RescueError::File {
            path: place.path(),
            cause,
        })?;
        if now.same_work(before) {
            Ok(())
        } else {
            Err(RescueError::Differs(
                "the tree changed meanwhile".to_owned(),
            ))
        }
    }
}

/// Checks that the store returns a blob unchanged; it is read in pieces.
pub(super) fn is_whole(
    shadow: &Shadow,
    repo: &Repository,
    id: Oid,
    stop: &Stop,
) -> io::Result<bool> {
    let blob = shadow.blob(repo, id, stop)?;
    Ok(sha1::blob(blob.size(), blob, stop)? == id)
}
