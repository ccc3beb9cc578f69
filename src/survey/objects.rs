//! A cache of facts about a repo's objects: the sizes of blobs, and the entries of directories in
//! commits.
//!
//! A repo's trees mostly share their objects, so each answer is kept for the next tree while there
//! is room. Only facts that an object's id determines are kept, never a tree's own state.

use git2::{Oid, Repository};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, RwLock};

/// The most blob sizes that are kept, in some 20 MiB, and the most bytes of directories.
const SIZES_CAP: usize = 500_000;
const DIRECTORIES_CAP: usize = 20 << 20;

/// A cache of facts about a repo's objects, shared by its trees.
#[derive(Default)]
pub struct Objects {
    sizes: RwLock<HashMap<Oid, u64>>,
    directories: RwLock<Directories>,
}

#[derive(Default)]
struct Directories {
    known: HashMap<Oid, Arc<[Entry]>>,
    bytes: usize,
}

/// An entry of a directory in a commit.
pub(super) struct Entry {
    /// Without a slash, if it is well-formed.
    pub(super) name: Vec<u8>,
    /// The mode in git's notation.
    pub(super) mode: u32,
    /// The blob, directory or submodule's commit.
    pub(super) id: Oid,
    /// Whether it is a directory.
    pub(super) is_directory: bool,
}

impl Objects {
    /// Returns the size of a blob in bytes.
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

    /// Returns the entries of a directory of a commit.
    pub(super) fn directory(
        &self,
        repo: &Repository,
        id: Oid,
    ) -> Result<Arc<[Entry]>, git2::Error> {
        let known = self
            .directories
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
            is_directory: entry.kind() == Some(git2::ObjectType::Tree),
        };
        let entries: Arc<[Entry]> = repo.find_tree(id)?.iter().map(entry).collect();
        let mut directories = self.directories.write().expect("nobody panics here");
        let bytes: usize = entries
            .iter()
            .map(|entry| entry.name.len().saturating_add(size_of::<Entry>()))
            .sum();
        let all = directories.bytes.saturating_add(bytes);
        if all <= DIRECTORIES_CAP && directories.known.insert(id, entries.clone()).is_none() {
            directories.bytes = all;
        }
        Ok(entries)
    }
}
