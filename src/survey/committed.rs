//! The files of a commit's tree, by path.
//!
//! An agent may have written the trees: they are unfolded by hand, up to limits that no well-formed
//! commit reaches.

use super::objects::{Entry, Objects};
use super::{go_on, tree};
use crate::fs::budget::Reservation;
use crate::fs::stop::Stop;
use git2::{Oid, Repository};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// No well-formed commit has more files, or directories deeper than `DEEPEST`: a kilobyte of nested
/// trees can name billions of files.
pub(super) const FILES_CAP: usize = 5_000_000;
/// No well-formed commit contains the same directory more often. The limit exposes nested trees
/// without unfolding them.
const SAME_CAP: u32 = 10_000;
pub(super) const DEEPEST: usize = 1024;
/// Bytes of the longest path that can be checked out: the kernel's limit.
const LONGEST: usize = 4096;
const TOO_MUCH: &str =
    "its commit holds more files, deeper directories or longer names than any well-formed one";
const TWICE: &str = "its commit names a file twice, as no well-formed one does; see `git fsck`";

/// Modes and blobs of files by path.
pub type Files = BTreeMap<PathBuf, (u32, Oid)>;

/// Returns every file of a commit's tree, counted in `held`.
///
/// # Errors
/// An object can't be read.
pub fn files_of(
    repo: &Repository,
    commit: Oid,
    stop: &Stop,
    held: &mut Reservation,
) -> Result<Files, git2::Error> {
    let trees = Trees {
        stop,
        objects: &Arc::default(),
        repo,
    };
    trees.files(repo.find_commit(commit)?.tree_id(), FILES_CAP, held)
}

/// Reads the trees of a repo's commits.
#[derive(Clone, Copy)]
pub(super) struct Trees<'a> {
    pub(super) stop: &'a Stop,
    pub(super) objects: &'a Arc<Objects>,
    pub(super) repo: &'a Repository,
}

impl Trees<'_> {
    /// Returns the files of a tree, counted in `held`. More than `most` are an error.
    pub(super) fn files(
        self,
        tree: Oid,
        most: usize,
        held: &mut Reservation,
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

/// A tree that is being unfolded into a list of its files.
struct Unfolding<'a> {
    trees: Trees<'a>,
    most: usize,
    held: &'a mut Reservation,
    /// How often each directory was met.
    times: HashMap<Oid, u32>,
    /// Entries of the open directories: all but one per directory still lead to other files.
    open: usize,
    files: Vec<(PathBuf, (u32, Oid))>,
}

/// An open directory, and how far it was read.
struct Directory {
    /// Its path, with a trailing slash.
    path: Vec<u8>,
    entries: Arc<[Entry]>,
    next: usize,
}

impl Unfolding<'_> {
    /// Unfolds iteratively: libgit2's own walk recurses, and a stack overflow would end the whole
    /// run. Keeps the order, so that nothing is left to sort.
    fn all(&mut self, tree: Oid) -> Result<(), git2::Error> {
        let mut directories = vec![self.directory(Vec::new(), tree)?];
        while let Some(directory) = directories.last_mut() {
            let Some(entry) = directory.entries.get(directory.next) else {
                self.open = self.open.saturating_sub(directory.entries.len());
                directories.pop();
                continue;
            };
            directory.next = directory.next.saturating_add(1);
            let path = [directory.path.as_slice(), &entry.name].concat();
            if path.len() > LONGEST {
                return Err(too_much());
            }
            if entry.is_directory {
                let below = self.directory([path.as_slice(), b"/"].concat(), entry.id)?;
                directories.push(below);
            } else {
                self.file(path, entry)?;
            }
            if directories.len() > DEEPEST + 1
                || self.open > self.most.saturating_add(DEEPEST)
                || self.files.len() > self.most
            {
                return Err(too_much());
            }
        }
        Ok(())
    }

    /// Opens a directory.
    fn directory(&mut self, path: Vec<u8>, id: Oid) -> Result<Directory, git2::Error> {
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
        let entries = self.trees.objects.directory(self.trees.repo, id)?;
        self.open = self.open.saturating_add(entries.len());
        Ok(Directory {
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

#[cfg(test)]
mod tests {
    use super::*;
    use git2::ObjectType;

    /// Writes a tree without checks: git would reject some of these.
    fn directory(repo: &Repository, entries: &[(&str, &str, Oid)]) -> Oid {
        let entry = |(mode, name, id): &(&str, &str, Oid)| {
            [mode.as_bytes(), b" ", name.as_bytes(), b"\0", id.as_bytes()].concat()
        };
        let bytes: Vec<u8> = entries.iter().flat_map(entry).collect();
        repo.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
    }

    #[test]
    fn a_commit_that_no_honest_tool_makes_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(top.path()).unwrap();
        let blob = repo.blob(b"x").unwrap();
        let nothing = directory(&repo, &[]);
        let why = |tree| {
            let trees = Trees {
                stop: &Stop::never(),
                objects: &Arc::default(),
                repo: &repo,
            };
            trees
                .files(tree, 1000, &mut Reservation::default())
                .map(|files| files.len())
                .map_err(|error| error.message().to_owned())
        };

        // Many levels, each with a hundred directories: no file, and no directory twice except the
        // empty one.
        let names: Vec<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let level = |below| {
            let empty = names.iter().map(|name| ("40000", name.as_str(), nothing));
            directory(
                &repo,
                &[("40000", "a", below)]
                    .into_iter()
                    .chain(empty)
                    .collect::<Vec<_>>(),
            )
        };
        let [few, many] = [10, 30].map(|levels| (0..levels).fold(nothing, |below, _| level(below)));
        let long = (0..3).fold(nothing, |below, _| {
            directory(&repo, &[("40000", &"a".repeat(2000), below)])
        });
        let one = directory(&repo, &[("100644", "x", blob)]);
        let two = directory(&repo, &[("100644", "x", blob), ("100644", "y", blob)]);

        assert_eq!(why(few), Ok(0));
        assert_eq!(why(many), Err(TOO_MUCH.to_owned()));
        assert_eq!(why(long), Err(TOO_MUCH.to_owned()));
        assert_eq!(
            why(directory(
                &repo,
                &[("40000", "a", one), ("40000", "b", one)]
            )),
            Ok(2)
        );
        assert_eq!(
            why(directory(
                &repo,
                &[("40000", "a", one), ("40000", "a", two)]
            )),
            Err(TWICE.to_owned())
        );
    }
}
