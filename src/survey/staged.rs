//! The parts of a tree's index that matter: blobs that it names, and files that it vouches for.
//!
//! An agent may have written it, so its flags are ignored, except for what a sparse checkout leaves
//! out on purpose. It vouches only for a file that can't have changed since, and no entry is left
//! out.

use super::committed::{FILES_CAP, Files, Trees};
use super::index::{self, Read};
use super::tree::{self, Stamp};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use git2::{Commit, IndexEntry, IndexTime, Oid, Repository};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes. No well-formed index is larger, and it is read into memory whole.
pub const INDEX_CAP: u64 = 512 << 20;

/// Bytes that a parsed entry takes besides its path.
const AN_ENTRY: usize = 288;
/// Checks that git, libgit2 and treewarden see the same names, before git2 reads the first one. If
/// somebody writes to this very file in between, that goes unnoticed.
fn prove_names(index: impl io::Read, length: u64) -> io::Result<()> {
    super::roots::index::prove_names(index, length).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::other(format!(
            "`index`: {error}; delete it, then `git reset` in the tree makes a new one"
        )),
        kind => io::Error::new(kind, format!("`index`: {error}")),
    })
}

/// The parts of a tree's index that matter.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) entries: BTreeMap<PathBuf, IndexEntry>,
    pub(super) conflicts: bool,
    /// Directories that are one entry each in a sparse index.
    directories: Vec<(Vec<u8>, Oid)>,
    /// Whether it builds on a shared index in another file.
    pub(super) split: bool,
    /// When the index was written: a later write to a file in the same moment would not show.
    written: (i64, u32),
    held: Reservation,
}

impl Staged {
    pub(super) fn read(admin: &VolumePath, stop: &Stop) -> io::Result<Self> {
        let (mut held, _counted) = (stop.hold(), stop.budget().enter());
        let place = admin.join("index")?;
        let Some(file) = found(openat::file(&place))? else {
            return Ok(Self::default());
        };
        let data = file.metadata()?;
        if data.len() > INDEX_CAP {
            return Err(io::Error::other(
                "its index is larger than any well-formed one",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds are below 10^9"
        )]
        let written = (data.mtime(), data.mtime_nsec() as u32);
        // The memory for reading it, besides what is kept.
        let mut reading = stop.hold();
        let (entries, split) = whole(admin, file, stop, &mut reading)?;
        let conflicts = entries.iter().any(index::is_unmerged);
        let directories = entries
            .iter()
            .filter_map(|entry| Some((index::directory(entry)?.to_vec(), entry.id)))
            .collect();
        let mut files = BTreeMap::new();
        for entry in entries
            .into_iter()
            .filter(|entry| index::directory(entry).is_none())
        {
            let (path, entry) = named(entry);
            held.more(path.as_os_str().len().saturating_add(AN_ENTRY))?;
            files.insert(path, entry);
        }
        Ok(Self {
            entries: files,
            conflicts,
            directories,
            split,
            written,
            held,
        })
    }

    /// Replaces each directory of a sparse index by its files. `files` returns those of a tree.
    ///
    /// # Errors
    /// Such a tree can't be read.
    pub(super) fn unfold(
        &mut self,
        mut files: impl FnMut(Oid) -> io::Result<Files>,
    ) -> io::Result<()> {
        for (directory, tree) in std::mem::take(&mut self.directories) {
            for (path, (mode, id)) in files(tree)? {
                let path = index::below(&directory, &path);
                let entry = left_out(mode, id, &path);
                self.held.more(
                    path.as_os_str()
                        .len()
                        .saturating_mul(2)
                        .saturating_add(AN_ENTRY),
                )?;
                self.entries.insert(path, entry);
                if self.entries.len() > FILES_CAP {
                    return Err(io::Error::other(
                        "its index names more files than any well-formed one",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns every path that it names.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.keys().map(PathBuf::as_path)
    }

    /// Returns the blob that the index vouches for as the content of the file at `path` in the
    /// state `stamp`.
    pub(super) fn vouched(&self, path: &Path, stamp: &Stamp) -> Option<Oid> {
        self.entries
            .get(path)
            .filter(|entry| self.vouches(entry, stamp))
            .map(|entry| entry.id)
    }

    /// Returns whether the index vouches for a file: it recorded this very state, and was written
    /// later than the file. Its flags (`assume-unchanged`, `skip-worktree`) are an agent's word and
    /// don't count.
    pub(super) fn vouches(&self, entry: &IndexEntry, stamp: &Stamp) -> bool {
        let same = |time: &git2::IndexTime, (seconds, nanos): (i64, u32)| {
            i64::from(time.seconds()) == (seconds & 0xffff_ffff)
                && (time.nanoseconds() == nanos || time.nanoseconds() == 0)
        };
        u64::from(entry.file_size) == stamp.size & 0xffff_ffff
            && u64::from(entry.ino) == stamp.inode & 0xffff_ffff
            && same(&entry.mtime, stamp.mtime)
            && same(&entry.ctime, stamp.ctime)
            && stamp.mtime < self.written
    }
}

/// Returns whether libgit2 failed at a part that it doesn't support: a sparse or split index.
fn is_beyond_libgit2(error: &git2::Error) -> bool {
    let message = error.message();
    message.contains("extension")
        && ["'sdir'", "'link'"]
            .iter()
            .any(|part| message.contains(part))
}

/// Returns the entries of an index, merged with the shared one beside it, and whether there is a
/// shared one. The file is read once: what an agent writes meanwhile isn't mixed in.
fn whole(
    admin: &VolumePath,
    file: File,
    stop: &Stop,
    held: &mut Reservation,
) -> io::Result<(Vec<IndexEntry>, bool)> {
    let read = |file: File, held: &mut Reservation| -> io::Result<Read> {
        let length = file.metadata()?.len();
        stop.read(length)?;
        let mut bytes = stop.hold();
        bytes.more(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = openat::content(file, INDEX_CAP)
            .map_err(|error| io::Error::new(error.kind(), format!("`index`: {error}")))?;
        let read = Read::of(&text, held)?;
        index::prove_sum(&text)?;
        Ok(read)
    };
    let own = read(file, held)?;
    let Some(shared) = &own.shared else {
        return Ok((own.entries, false));
    };
    let place = admin.join(format!("sharedindex.{}", shared.sum))?;
    let lost = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!(
                "the shared index that it rests on: {error}; delete `index`, then `git reset` in the tree makes a new one"
            ),
        )
    };
    let base = read(openat::file(&place).map_err(lost)?, held).map_err(lost)?;
    Ok((own.upon(base)?, true))
}

/// The repo and the commit that an index belongs to.
pub struct IndexOrigin<'a> {
    /// The repo that contains the objects it names.
    pub repo: &'a Repository,
    /// The worktree's HEAD.
    pub head: Option<&'a Commit<'a>>,
    /// When to stop.
    pub stop: &'a Stop,
}

impl IndexOrigin<'_> {
    /// Returns the files that an index names by stage, as a rescue stores them. `open` reads them
    /// with libgit2. A directory that is one entry in a sparse index is expanded, unless HEAD has
    /// the same one. A rescue can't contain a split index.
    ///
    /// # Errors
    /// It is malformed.
    pub fn by_stage(
        &self,
        bytes: &[u8],
        open: impl FnOnce() -> Result<Vec<IndexEntry>, git2::Error>,
        memory: &mut Reservation,
    ) -> io::Result<[Files; 4]> {
        prove_names(bytes, bytes.len() as u64)?;
        let entries = match open() {
            Err(error) if is_beyond_libgit2(&error) => Read::of(bytes, memory)?.entries,
            entries => entries.map_err(io::Error::other)?,
        };
        let trees = Trees {
            stop: self.stop,
            objects: &Arc::default(),
            repo: self.repo,
        };
        let head = self
            .head
            .map(Commit::tree)
            .transpose()
            .map_err(io::Error::other)?;
        let mut staged = <[Files; 4]>::default();
        for entry in entries {
            let Some(directory) = index::directory(&entry) else {
                memory.more(entry.path.len().saturating_add(AN_ENTRY))?;
                if let Some(files) = staged.get_mut(usize::from(entry.flags >> 12 & 3)) {
                    files.insert(tree::path_of(entry.path), (entry.mode, entry.id));
                }
                continue;
            };
            let committed = head
                .as_ref()
                .and_then(|head| head.get_path(&tree::path_of(directory)).ok());
            if committed.is_none_or(|committed| committed.id() != entry.id) {
                let files = trees
                    .files(entry.id, FILES_CAP, memory)
                    .map_err(io::Error::other)?;
                staged[0].extend(
                    files
                        .into_iter()
                        .map(|(path, file)| (index::below(directory, &path), file)),
                );
            }
        }
        Ok(staged)
    }
}

fn named(mut entry: IndexEntry) -> (PathBuf, IndexEntry) {
    (tree::path_of(std::mem::take(&mut entry.path)), entry)
}

/// Returns the entry of a file that a sparse checkout leaves out.
fn left_out(mode: u32, id: Oid, path: &Path) -> IndexEntry {
    let zero = || IndexTime::new(0, 0);
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    let (ctime, mtime, flags_extended) = (zero(), zero(), SKIP_WORKTREE);
    IndexEntry {
        ctime,
        mtime,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended,
        path,
    }
}

const SKIP_WORKTREE: u16 = 1 << 14;

/// Returns whether it is `skip-worktree`: a sparse checkout leaves the file out on purpose.
pub(super) fn is_sparse(entry: &IndexEntry) -> bool {
    entry.flags_extended & SKIP_WORKTREE != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn an_index_that_lies_about_a_name_is_not_shown_to_git2() {
        let top = tempfile::tempdir().unwrap();
        let admin = VolumePath::new(&top.path().into(), Path::new("admin")).unwrap();
        std::fs::create_dir(admin.path()).unwrap();
        let write = |length: [u8; 2]| {
            let head = [
                &b"DIRC\0\0\0\x02\0\0\0\x01"[..],
                &[0; 24],
                &[0, 0, 0x81, 0xa4],
                &[0; 12],
                &[1; 20],
                &length,
                b"a.ts",
            ]
            .concat();
            // Long enough that libgit2 finds all of the entry as claimed, though the name ends at
            // the first NUL.
            let bytes = [
                head,
                vec![0; 6],
                vec![0; if length == [0, 4] { 0 } else { 5000 }],
            ]
            .concat();
            std::fs::write(
                admin.path().join("index"),
                [&bytes[..], &crate::git::sha1::of(&bytes)].concat(),
            )
            .unwrap();
        };
        write([0, 4]);
        assert_eq!(
            Staged::read(&admin, &Stop::never())
                .unwrap()
                .paths()
                .collect::<Vec<_>>(),
            [Path::new("a.ts")]
        );
        for length in [[0, 3], [0, 5], [0x0f, 0xfe]] {
            write(length);
            let error = Staged::read(&admin, &Stop::never())
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.contains("isn't as long as it says; delete it"),
                "{error}"
            );
        }
    }
}
