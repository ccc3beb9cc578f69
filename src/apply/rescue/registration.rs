//! The part of a rescue from the registration: its files that are not git's, in a tree of their own
//! beside the index. A file that changes while it is read is an error.

use super::{Making, RescueError};
use crate::survey::committed::Files;
use crate::survey::known::Known;
use crate::survey::tree::{self, Listing, Stamp};
use std::io;
use std::path::PathBuf;

/// The file with the names of a clone's refs and what they named.
const CLONE_REFS: &str = "clone-refs";

impl Making<'_> {
    /// Lists what is left of a missing tree: the files in its registration.
    pub(super) fn of_registration(&self, known: &Known) -> Result<Listing, RescueError> {
        let mut held = self.stop.hold();
        let registration = known
            .registration(&mut held)
            .map_err(|cause| RescueError::File {
                path: self.worktree.admin.path(),
                cause,
            })?;
        Ok(Listing {
            registration,
            held,
            ..Listing::default()
        })
    }

    /// Writes the files in the registration that are not git's.
    pub(super) fn registered(&self, listing: &Listing) -> Result<Files, RescueError> {
        let admin = &self.worktree.admin;
        let one = |(path, stamp): (&PathBuf, &Stamp)| {
            let failed = |cause| RescueError::File {
                path: admin.path().join(path),
                cause,
            };
            let written = self.write(admin, path, stamp).map_err(failed)?;
            let blob = tree::hash(admin, path, stamp, self.stop).map_err(failed)?;
            let changed = || failed(io::Error::other("it changed while it was read"));
            if written == blob {
                Ok((path.clone(), (stamp.git_mode(), blob)))
            } else {
                Err(changed())
            }
        };
        let mut files: Files = listing
            .registration
            .iter()
            .map(one)
            .collect::<Result<_, _>>()?;
        if !self.refs.is_empty() {
            let refs = self.repo.blob(self.refs.as_bytes())?;
            files.insert(CLONE_REFS.into(), (0o100_644, refs));
        }
        Ok(files)
    }
}
