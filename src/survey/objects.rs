//! What a look at a repo's trees asks of its objects: how large a blob is, and what a directory of
//! a commit holds.
//!
//! A repo's trees mostly hold the same, so an answer is kept for the next tree, as long as there is
//! room. It must never keep what depends on a tree's own state: only what an object's id vouches
//! for.

use git2::{Oid, Repository};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, RwLock};

/// So many sizes of blobs are kept in mind, in some 20 MiB, and so many bytes of directories.
const SIZES_CAP: usize = 500_000;
const FOLDERS_CAP: usize = 20 << 20;

/// What looks at a repo's trees asked of its objects: the trees mostly hold the same.
#[derive(Default)]
pub struct Objects {
    sizes: RwLock<HashMap<Oid, u64>>,
    folders: RwLock<Folders>,
}

#[derive(Default)]
struct Folders {
    known: HashMap<Oid, Arc<[Entry]>>,
    bytes: usize,
}

/// An entry of a directory in a commit.
pub(super) struct Entry {
    /// Without a slash, in an honest one.
    pub(super) name: Vec<u8>,
    /// As git writes it.
    pub(super) mode: u32,
    /// The blob, directory or submodule's commit.
    pub(super) id: Oid,
    /// Whether it is a directory.
    pub(super) is_folder: bool,
}

impl Objects {
    /// The bytes of a blob.
    pub(super) fn size(&self, repo: &Repository, blob: Oid) -> io::Result<u64> {
        let known = self
            .sizes
            .read()
            .expect("nobody panics here")
            .get(&blob)
            .copied();
        if let Some(size) = known {
            return Ok(size);
        }
        let (size, _) = repo
            .odb()
            .and_then(|odb| odb.read_header(blob))
            .map_err(io::Error::other)?;
        let mut sizes = self.sizes.write().expect("nobody panics here");
        if sizes.len() < SIZES_CAP {
            sizes.insert(blob, size as u64);
        }
        Ok(size as u64)
    }

    /// What a directory of a commit holds.
    pub(super) fn folder(&self, repo: &Repository, id: Oid) -> Result<Arc<[Entry]>, git2::Error> {
        let known = self
            .folders
            .read()
            .expect("nobody panics here")
            .known
            .get(&id)
            .cloned();
        if let Some(entries) = known {
            return Ok(entries);
        }
        let entry = |entry: git2::TreeEntry<'_>| Entry {
            name: entry.name_bytes().to_vec(),
            mode: entry.filemode().cast_unsigned(),
            id: entry.id(),
            is_folder: entry.kind() == Some(git2::ObjectType::Tree),
        };
        let entries: Arc<[Entry]> = repo.find_tree(id)?.iter().map(entry).collect();
        let mut folders = self.folders.write().expect("nobody panics here");
        let bytes: usize = entries
            .iter()
            .map(|entry| entry.name.len().saturating_add(size_of::<Entry>()))
            .sum();
        let all = folders.bytes.saturating_add(bytes);
        if all <= FOLDERS_CAP && folders.known.insert(id, entries.clone()).is_none() {
            folders.bytes = all;
        }
        Ok(entries)
    }
}
