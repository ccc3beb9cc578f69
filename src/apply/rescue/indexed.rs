//! The part of a rescue that only a worktree's index has: staged content, and sides of resolved
//! conflicts.

use super::{Making, RescueError, failed};
use crate::facts::rescue::Manifest;
use crate::fs::budget;
use crate::fs::openat::{self, found};
use crate::survey::committed::Files;
use crate::survey::extensions;
use crate::survey::known::INDEX_CAP;
use crate::survey::rescues::RescueContents;
use crate::survey::staged::IndexOrigin;
use crate::survey::tree::Listing;
use git2::{Commit, Index, ObjectType, Oid};
use std::io::Write;

impl Making<'_> {
    /// Stores the whole rescue, without a ref yet, and returns what was stored.
    pub(super) fn hold(
        &self,
        files: Files,
        manifest: Manifest,
        listing: &Listing,
        memory: &mut budget::Reservation,
    ) -> Result<RescueContents, RescueError> {
        let index = self.index(memory)?;
        let staged = self.staged(index.as_deref(), memory)?;
        let resolved = self.resolved(index.as_deref())?;
        let lonely = self
            .unreached
            .iter()
            .map(|id| Oid::from_str(id))
            .collect::<Result<Vec<_>, _>>()?;
        let head = self.head.as_ref().map(Commit::id);
        let registration = self.registered(listing)?;
        let mut saved = RescueContents {
            commit: Oid::ZERO_SHA1,
            head,
            files,
            manifest,
            index,
            staged,
            resolved,
            registration,
            lonely,
        };
        saved.commit = self.commit(&saved.files, self.extras(&saved)?)?;
        Ok(saved)
    }

    pub(super) fn index(
        &self,
        memory: &mut budget::Reservation,
    ) -> Result<Option<Vec<u8>>, RescueError> {
        let place = self
            .worktree
            .admin
            .join("index")
            .map_err(|error| RescueError::Differs(error.to_string()))?;
        let length = found(openat::stat(&place))
            .map_err(failed(&place.path()))?
            .map_or(0, |stat| stat.st_size);
        // Twice its length, because it is stored, too.
        memory
            .more(
                usize::try_from(length)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(2),
            )
            .map_err(failed(&place.path()))?;
        found(openat::read(&place, INDEX_CAP)).map_err(|cause| RescueError::File {
            path: place.path(),
            cause,
        })
    }

    /// Returns the entries of the index by stage, read from exactly these bytes.
    pub(super) fn staged(
        &self,
        index: Option<&[u8]>,
        memory: &mut budget::Reservation,
    ) -> Result<[Files; 4], RescueError> {
        let Some(bytes) = index else {
            return Ok(<[Files; 4]>::default());
        };
        let failed = |cause| RescueError::File {
            path: self.worktree.admin.path().join("index"),
            cause,
        };
        // In the shadow: this thread is confined, and may write nowhere else.
        let mut copy = tempfile::NamedTempFile::new_in(self.repo.path()).map_err(failed)?;
        copy.write_all(bytes).map_err(failed)?;
        let read = || Ok(Index::open(copy.path())?.iter().collect());
        let origin = IndexOrigin {
            repo: self.repo,
            head: self.head.as_ref(),
            stop: self.stop,
        };
        origin.by_stage(bytes, read, memory).map_err(failed)
    }

    /// Returns the sides of resolved conflicts that the index names and that still exist: git keeps
    /// them for as long as the index does.
    pub(super) fn resolved(&self, index: Option<&[u8]>) -> Result<[Files; 3], RescueError> {
        let Some(bytes) = index else {
            return Ok(<[Files; 3]>::default());
        };
        let failed = |cause| RescueError::File {
            path: self.worktree.admin.path().join("index"),
            cause,
        };
        let mut resolved = extensions::resolved(bytes).map_err(failed)?;
        let odb = self.repo.odb()?;
        for stage in &mut resolved {
            stage.retain(|_, (_, id)| {
                odb.read_header(*id)
                    .is_ok_and(|(_, kind)| kind == ObjectType::Blob)
            });
        }
        Ok(resolved)
    }
}
