//! A sanitised git dir for the hand that writes packs: besides the refs that git finds by itself,
//! it has refs to what only our own reader found.
//!
//! Git doesn't follow the reflogs through a link, and doesn't see what an operation put aside. Here
//! `packed-refs` is a copy with more refs, in scratch space: nothing is written into the repo,
//! where agents would see it among their refs. This file also creates a view of only those objects
//! that are to stay. Both are only for commands that write no refs, and are removed when they are
//! dropped.

use super::prove::{INDEX_CAP, PACKED_CAP};
use super::{CONFIG, LINKED, PROMISOR, Shadow};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::Git;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Links that this one lacks: `packed-refs` is a copy, and refs replace the reflogs.
const OURS: [&str; 2] = ["packed-refs", "logs"];
/// Shared indexes that are linked, at most. Git removes those that are two weeks old.
const MOST_SHARED: usize = 64;
const SHARED: &[u8] = b"sharedindex.";

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
        self.copy_packed_refs(&mut refs)?;
        for tip in tips {
            writeln!(refs, "{tip} refs/treewarden/root/{tip}")?;
        }
        refs.flush()?;
        Ok(Rooted {
            shadow: self,
            scratch,
        })
    }

    fn copy_packed_refs(&self, refs: &mut impl Write) -> io::Result<()> {
        let theirs = self.git_dir.join("packed-refs")?;
        let Some(theirs) = found(openat::file(&theirs))? else {
            return Ok(());
        };
        // It was small when it was proven. Whoever made it larger since then is at work.
        if theirs.metadata()?.len() > PACKED_CAP {
            return Err(io::Error::other(format!(
                "`{}/packed-refs` is larger than any well-formed one",
                self.git_dir
            )));
        }
        for line in BufReader::new(theirs.take(PACKED_CAP)).split(b'\n') {
            let line = line?;
            if !line.starts_with(b"#") {
                refs.write_all(&line)?;
                refs.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Links the shared indexes into a sanitised git dir at `to`: git refuses a split index without
    /// its shared one. The directory is listed entry by entry, because anybody may fill it.
    fn share_indexes(&self, to: &Path) -> io::Result<()> {
        let mut shared = 0_usize;
        for entry in rustix::fs::Dir::new(openat::dir(&self.git_dir)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // An id follows the prefix.
            if !name.starts_with(SHARED) || name.len() != SHARED.len().saturating_add(40) {
                continue;
            }
            shared = shared.saturating_add(1);
            if shared > MOST_SHARED {
                return Err(io::Error::other(format!(
                    "`{}` has more than {MOST_SHARED} shared indexes; delete the old ones",
                    self.git_dir
                )));
            }
            let name = OsStr::from_bytes(name);
            prove_shared_index(&self.git_dir.join(name)?)?;
            if !to.join(name).is_symlink() {
                symlink(self.git_dir.path().join(name), to.join(name))?;
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
        for place in [scratch.path().to_owned()]
            .into_iter()
            .chain(self.lenders.iter().map(VolumePath::path))
        {
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

/// Proves that git can read a shared index: no FIFO, and of a size that an index may have.
fn prove_shared_index(index: &VolumePath) -> io::Result<()> {
    match found(openat::stat(index))? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => Err(
            io::Error::other(format!("`{index}` is no regular file; delete it")),
        ),
        Some(stat) if stat.st_size.cast_unsigned() > INDEX_CAP => Err(io::Error::other(format!(
            "`{index}` is larger than any well-formed index; delete it, then `git reset`"
        ))),
        _ => Ok(()),
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
