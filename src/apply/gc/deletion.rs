//! A store's packs and loose objects on their way to the trash.
//!
//! A file that somebody touched since it was listed is put back: git relies on an object that it
//! finds. Nothing is chosen here: see [`two_hands`](super::two_hands).

use super::GcError;
use crate::apply::trash::TrashEntry;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::lock::LockedRepo;
use crate::plan::grace::Cutoff;
use crate::survey::packs::{self, Pack};
use rustix::fs::Stat;
use std::io;

/// The index over all packs, which git trusts even if it lists packs that are deleted.
const OVER_ALL: &str = "multi-pack-index";

/// A deletion by way of the trash.
pub(super) struct Deletion<'a> {
    lock: &'a LockedRepo,
    pub(super) bin: TrashEntry,
    /// Why a file could not be inspected and was put back.
    pub(super) unseen: Option<io::Error>,
}

impl<'a> Deletion<'a> {
    pub(super) fn into(bin: TrashEntry, lock: &'a LockedRepo) -> Self {
        Self {
            lock,
            bin,
            unseen: None,
        }
    }

    /// Moves the indexes over all packs of a directory to the trash.
    pub(super) fn indexes_over_all(&self, directory: &VolumePath) -> Result<(), GcError> {
        let all = openat::list(openat::dir(directory)?).map_err(io::Error::from)?;
        let names = all
            .into_iter()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| name.starts_with(OVER_ALL));
        for name in names {
            let index = directory.join(name).map_err(io::Error::other)?;
            self.bin.take(self.lock, &index)?;
        }
        Ok(())
    }

    /// Moves a pack to the trash, and puts it back if it was touched since it was listed, or if one
    /// of its files can't be moved.
    pub(super) fn pack(&mut self, directory: &VolumePath, pack: &Pack) -> Result<(), GcError> {
        let mut taken = Vec::new();
        let touched = self.take_pack(directory, pack, &mut taken);
        if matches!(touched, Ok(false)) {
            return Ok(());
        }
        // The index last: with it the files are a pack again. One that can't go back must not keep
        // the others in the trash.
        let mut back = Ok(());
        for (to, from) in taken.iter().rev() {
            back = back.and(self.bin.give_back_object(to, from));
        }
        back?;
        touched.map(drop)
    }

    /// Moves a pack to the trash, and notes each file's new and old place in `taken`. Returns
    /// whether the pack was touched since it was listed.
    fn take_pack(
        &mut self,
        directory: &VolumePath,
        pack: &Pack,
        taken: &mut Vec<(VolumePath, VolumePath)>,
    ) -> Result<bool, GcError> {
        let rest = pack
            .endings
            .iter()
            .map(String::as_str)
            .filter(|ending| !matches!(*ending, "idx" | "pack"));
        let mut again = false;
        for ending in ["idx", "pack"].into_iter().chain(rest) {
            let from = directory
                .join(format!("{}.{ending}", pack.stem))
                .map_err(io::Error::other)?;
            let to = self.bin.take(self.lock, &from)?;
            again |= ending == "pack"
                && self
                    .seen(&to)
                    .is_none_or(|stat| packs::touched(&stat) != pack.touched);
            taken.push((to, from));
        }
        Ok(again)
    }

    /// Moves a loose object to the trash, and puts it back if it was touched since the cutoff.
    pub(super) fn loose(&mut self, from: &VolumePath, cutoff: Cutoff) -> Result<(), GcError> {
        let to = self.bin.take(self.lock, from)?;
        if self
            .seen(&to)
            .zip(cutoff)
            .is_none_or(|(stat, cutoff)| stat.st_mtime >= cutoff.timestamp())
        {
            self.bin.give_back_object(&to, from)?;
        }
        Ok(())
    }

    /// Does the same as [`touched`], but keeps an error in `unseen`: the file is put back, and the
    /// error is reported.
    fn seen(&mut self, place: &VolumePath) -> Option<Stat> {
        let explained = |error: io::Error| {
            let why = format!(
                "failed to look at `{place}`: {error}; it went back, the next run tries again"
            );
            io::Error::new(error.kind(), why)
        };
        touched(place).unwrap_or_else(|error| {
            self.unseen = Some(explained(error));
            None
        })
    }
}

/// Returns the file's metadata from the server. The file is opened, because an NFS client may
/// answer from its cache by name alone.
pub(super) fn touched(place: &VolumePath) -> io::Result<Option<Stat>> {
    found(openat::file(place).and_then(|file| Ok(rustix::fs::fstat(file)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::trash::Trash;
    use crate::fs::clock;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_touched_pack_goes_back_even_if_one_of_its_files_can_not_be_moved() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        for directory in ["state/locks", "pack"] {
            fs::create_dir_all(at(directory).path()).unwrap();
        }
        for ending in ["idx", "pack"] {
            fs::write(at(&format!("pack/pack-1.{ending}")).path(), "").unwrap();
        }
        let (locks, repo) = (at("state/locks"), at("repo"));
        let lock = LockedRepo::take(&locks, "acme/shop", &repo, "run", clock::now()).unwrap();
        let bin = Trash::of(&at("state")).unwrap().bin(None).unwrap();
        let pack = Pack {
            stem: "pack-1".to_owned(),
            written: (0, 0),
            touched: 0,
            kept: false,
            promisor: false,
            cruft: true,
            // The last one is missing.
            endings: ["idx", "pack", "mtimes"].map(str::to_owned).to_vec(),
        };
        let moved = Deletion::into(bin, &lock).pack(&at("pack"), &pack);
        assert!(moved.is_err());
        assert_eq!(fs::read_dir(at("pack").path()).unwrap().count(), 2);
    }
}
