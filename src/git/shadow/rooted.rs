//! A sanitised git dir for the hand that writes packs: besides the refs that git finds by itself,
//! it has refs to what only our own reader found.
//!
//! Git doesn't follow the reflogs through a link, and doesn't see what an operation put aside. Here
//! `packed-refs` is a copy with more refs, in scratch space: nothing is written into the repo,
//! where agents would see it among their refs. This file also creates a view of only those objects
//! that are to stay. Both are only for commands that write no refs, and are removed when they are
//! dropped.

use super::{CONFIG, LINKED, PROMISOR, Shadow};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::git::Git;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Links that this one lacks: `packed-refs` is a copy, refs replace the reflogs, and no command
/// that runs here uses `gc.pid`.
const OURS: [&str; 3] = ["packed-refs", "logs", "gc.pid"];

/// The sanitised git dir with more refs: see the module.
pub struct Rooted<'a> {
    shadow: &'a Shadow,
    scratch: TempDir,
}

impl Shadow {
    /// Returns the same repo with refs of ours to `tips`: ids in hexadecimal, each of which must
    /// exist. `promisor` says that other objects may be missing.
    ///
    /// # Errors
    /// The repo's refs can't be read, or scratch space can't be written.
    pub fn rooted(
        &self,
        tips: impl Iterator<Item = String>,
        promisor: bool,
    ) -> io::Result<Rooted<'_>> {
        let scratch = tempfile::Builder::new()
            .prefix("rooted-")
            .tempdir_in(self.scratch.path())?;
        let to = scratch.path();
        std::fs::write(
            to.join("config"),
            if promisor {
                format!("{CONFIG}{PROMISOR}")
            } else {
                CONFIG.to_owned()
            },
        )?;
        std::fs::copy(self.scratch.path().join("HEAD"), to.join("HEAD"))?;
        for name in LINKED.into_iter().filter(|name| !OURS.contains(name)) {
            symlink(self.git_dir.path().join(name), to.join(name))?;
        }
        self.share_indexes(to)?;
        // The copy has no header line, so git doesn't expect it to be sorted.
        let mut refs = BufWriter::new(File::create(to.join("packed-refs"))?);
        let theirs = self.git_dir.join("packed-refs")?;
        if let Some(theirs) = found(openat::file(&theirs))? {
            for line in BufReader::new(theirs).split(b'\n') {
                let line = line?;
                if !line.starts_with(b"#") {
                    refs.write_all(&line)?;
                    refs.write_all(b"\n")?;
                }
            }
        }
        for tip in tips {
            writeln!(refs, "{tip} refs/treewarden/root/{tip}")?;
        }
        refs.flush()?;
        Ok(Rooted {
            shadow: self,
            scratch,
        })
    }

    /// Links all shared indexes into a sanitised git dir at `to`: git refuses a split index without
    /// its shared one.
    fn share_indexes(&self, to: &Path) -> io::Result<()> {
        for (name, _) in openat::list(openat::dir(&self.git_dir)?)? {
            if name.as_encoded_bytes().starts_with(b"sharedindex.") && !to.join(&name).is_symlink()
            {
                symlink(self.git_dir.path().join(&name), to.join(&name))?;
            }
        }
        Ok(())
    }

    /// Does the same in this shadow, for the few commands that read an index.
    ///
    /// # Errors
    /// The git dir can't be listed, or scratch space can't be written.
    pub fn with_shared_indexes(&self) -> io::Result<()> {
        self.share_indexes(self.scratch.path())
    }

    /// Returns a view of what is left when other packs are gone: the objects in the packs of these
    /// names (`pack-...`), all loose objects, and what it borrows.
    ///
    /// # Errors
    /// Scratch space can't be written.
    pub fn view<'a>(&self, packs: impl Iterator<Item = &'a str>) -> io::Result<View> {
        let scratch = tempfile::Builder::new()
            .prefix("view-")
            .tempdir_in(self.scratch.path())?;
        let objects = self.git_dir.path().join("objects");
        std::fs::create_dir(scratch.path().join("pack"))?;
        for stem in packs {
            for ending in ["pack", "idx"] {
                let name = format!("pack/{stem}.{ending}");
                symlink(objects.join(&name), scratch.path().join(&name))?;
            }
        }
        for shard in 0..=255_u8 {
            let name = format!("{shard:02x}");
            symlink(objects.join(&name), scratch.path().join(&name))?;
        }
        let odb = git2::Odb::new().map_err(io::Error::other)?;
        for place in [scratch.path().to_owned()].into_iter().chain(
            self.lenders
                .iter()
                .map(crate::fs::volume_path::VolumePath::path),
        ) {
            let place = place
                .to_str()
                .ok_or_else(|| io::Error::other("the path of a borrowed store is no UTF-8"))?;
            odb.add_disk_alternate(place).map_err(io::Error::other)?;
        }
        Ok(View {
            odb,
            _scratch: scratch,
        })
    }
}

impl Rooted<'_> {
    /// Returns a git for this git dir.
    pub fn git<'a>(&'a self, stop: &'a Stop, limit: Duration) -> Git<'a> {
        Git::new(self.scratch.path(), &self.shadow.reach, stop, limit)
    }
}

/// A view of the objects that are to stay.
pub struct View {
    /// Reads them.
    pub odb: git2::Odb<'static>,
    _scratch: TempDir,
}
