//! The files of a commit's tree, by path.
//!
//! An agent may have written the trees: they are unfolded by hand, up to limits that no well-formed
//! commit reaches.

use super::objects::{Entry, Objects};
use super::{go_on, tree};
use crate::fs::budget::Held;
use crate::fs::stop::Stop;
use git2::{Oid, Repository};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// No well-formed commit has more files, or deeper directories: trees that name one another contain
/// billions in a kilobyte.
pub(super) const FILES_CAP: usize = 5_000_000;
/// Nor does a well-formed commit contain the same directory this often: the limit exposes such
/// trees without unfolding them.
const SAME_CAP: u32 = 10_000;
pub(super) const DEEPEST: usize = 1024;
/// Bytes of the longest path that can be checked out: the kernel accepts no longer one.
const LONGEST: usize = 4096;
const TOO_MUCH: &str =
    "its commit holds more files, deeper folders or longer names than any honest one";
const TWICE: &str = "its commit names a file twice, as no honest one does; see `git fsck`";

/// Modes and blobs of files by path.
pub type Files = BTreeMap<PathBuf, (u32, Oid)>;

/// Every file of a commit's tree, all of which is `held`.
///
/// # Errors
/// An object can't be read.
pub fn files_of(
    repo: &Repository,
    commit: Oid,
    stop: &Stop,
    held: &mut Held,
) -> Result<Files, git2::Error> {
    files_in(
        repo,
        repo.find_commit(commit)?.tree_id(),
        FILES_CAP,
        stop,
        held,
    )
}

/// Returns every file of a tree that may have at most `most`.
pub(super) fn files_in(
    repo: &Repository,
    tree: Oid,
    most: usize,
    stop: &Stop,
    held: &mut Held,
) -> Result<Files, git2::Error> {
    let trees = Trees {
        stop,
        objects: &Arc::default(),
        repo,
    };
    trees.files(tree, most, held)
}

/// Reads the trees of a repo's commits.
#[derive(Clone, Copy)]
pub(super) struct Trees<'a> {
    pub(super) stop: &'a Stop,
    pub(super) objects: &'a Arc<Objects>,
    pub(super) repo: &'a Repository,
}

impl Trees<'_> {
    /// Every file of a tree that should hold at most `most`, all of which is `held`.
    pub(super) fn files(
        self,
        tree: Oid,
        most: usize,
        held: &mut Held,
    ) -> Result<Files, git2::Error> {
        let mut walk = Unfolding {
            trees: self,
            most,
            held,
            times: HashMap::new(),
            open: 0,
            files: Vec::new(),
        };
        walk.all(tree)?;
        let files = walk.files;
        let count = files.len();
        let files: Files = files.into_iter().collect();
        if files.len() == count {
            Ok(files)
        } else {
            Err(git2::Error::from_str(TWICE))
        }
    }
}

/// A tree on its way to a list of its files.
struct Unfolding<'a> {
    trees: Trees<'a>,
    most: usize,
    held: &'a mut Held,
    /// How often each directory was met.
    times: HashMap<Oid, u32>,
    /// Entries of the directories that are open: all but one of each directory lead to another
    /// file.
    open: usize,
    files: Vec<(PathBuf, (u32, Oid))>,
}

/// A directory that is open, and how far it was read.
struct Folder {
    /// Its path, with a slash behind it.
    path: Vec<u8>,
    entries: Arc<[Entry]>,
    next: usize,
}

impl Unfolding<'_> {
    /// By hand, for libgit2's own walk recurses, and a stack that overflows takes the whole run
    /// along. In order, so that nothing is left to sort.
    fn all(&mut self, tree: Oid) -> Result<(), git2::Error> {
        let mut folders = vec![self.folder(Vec::new(), tree)?];
        while let Some(folder) = folders.last_mut() {
            let Some(entry) = folder.entries.get(folder.next) else {
                self.open = self.open.saturating_sub(folder.entries.len());
                folders.pop();
                continue;
            };
            folder.next = folder.next.saturating_add(1);
            let path = [folder.path.as_slice(), &entry.name].concat();
            if path.len() > LONGEST {
                return Err(too_much());
            }
            if entry.is_folder {
                let below = self.folder([path.as_slice(), b"/"].concat(), entry.id)?;
                folders.push(below);
            } else {
                self.file(path, entry)?;
            }
            if folders.len() > DEEPEST + 1
                || self.open > self.most.saturating_add(DEEPEST)
                || self.files.len() > self.most
            {
                return Err(too_much());
            }
        }
        Ok(())
    }

    /// Opens a directory.
    fn folder(&mut self, path: Vec<u8>, id: Oid) -> Result<Folder, git2::Error> {
        go_on(Some(self.trees.stop))
            .map_err(|stopped| git2::Error::from_str(&stopped.to_string()))?;
        let same = self
            .times
            .entry(id)
            .and_modify(|times| *times = times.saturating_add(1))
            .or_insert(1);
        if *same > SAME_CAP {
            return Err(too_much());
        }
        let entries = self.trees.objects.folder(self.trees.repo, id)?;
        self.open = self.open.saturating_add(entries.len());
        Ok(Folder {
            path,
            entries,
            next: 0,
        })
    }

    fn file(&mut self, path: Vec<u8>, entry: &Entry) -> Result<(), git2::Error> {
        let path = tree::path_of(path);
        self.held
            .path(&path)
            .map_err(|error| git2::Error::from_str(&error.to_string()))?;
        self.files.push((path, (entry.mode, entry.id)));
        Ok(())
    }
}

fn too_much() -> git2::Error {
    git2::Error::from_str(TOO_MUCH)
}
