//! Writes a git tree from a list of files, object by object.
//!
//! Libgit2's tree builder is not used: it refuses names that Windows would mistake for `.git`
//! (`git~1`, `.git.`, `.git `), which are files like any other here. Git's order isn't that of
//! paths: it compares a directory as if its name ended in a slash.

use crate::survey::committed::Files;
use git2::{ObjectType, Oid, Repository};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;

/// A directory under construction: mode and object by the name, in git's order.
type Entries = BTreeMap<Vec<u8>, (u32, Oid)>;

/// Writes these files, and the directories above them, as a tree. An entry that is a tree itself is
/// added unchanged.
///
/// # Errors
/// The store refuses, or a file has the path of another's directory.
pub(super) fn write_tree(repo: &Repository, files: &Files) -> Result<Oid, git2::Error> {
    let odb = repo.odb()?;
    let write = |entries: &Entries| -> Result<Oid, git2::Error> {
        let mut bytes = Vec::new();
        for (name, (mode, id)) in entries {
            bytes.extend_from_slice(format!("{mode:o} ").as_bytes());
            bytes.extend_from_slice(name.strip_suffix(b"/").unwrap_or(name));
            bytes.push(0);
            bytes.extend_from_slice(id.as_bytes());
        }
        odb.write(ObjectType::Tree, &bytes)
    };
    // The open directories, from the top down. Files are sorted by path, so those of one directory
    // are together.
    let mut open: Vec<(&OsStr, Entries)> = vec![(OsStr::new(""), Entries::new())];
    for (path, &(mode, id)) in files {
        let above: Vec<&OsStr> = path.parent().unwrap_or(Path::new("")).iter().collect();
        let shared = open
            .iter()
            .skip(1)
            .zip(&above)
            .take_while(|((name, _), part)| name == *part)
            .count();
        close(&mut open, shared.saturating_add(1), &write)?;
        open.extend(
            above
                .iter()
                .skip(shared)
                .map(|part| (*part, Entries::new())),
        );
        let name = path.file_name().unwrap_or_default().as_bytes();
        put(
            &mut open,
            if mode == DIRECTORY {
                [name, b"/"].concat()
            } else {
                name.to_owned()
            },
            (mode, id),
        )?;
    }
    close(&mut open, 1, &write)?;
    write(&open.pop().map(|(_, top)| top).unwrap_or_default())
}

/// Writes the innermost directories until only `left` are open.
fn close(
    open: &mut Vec<(&OsStr, Entries)>,
    left: usize,
    write: &dyn Fn(&Entries) -> Result<Oid, git2::Error>,
) -> Result<(), git2::Error> {
    while open.len() > left
        && let Some((name, entries)) = open.pop()
    {
        let id = write(&entries)?;
        put(open, [name.as_bytes(), b"/"].concat(), (DIRECTORY, id))?;
    }
    Ok(())
}

fn put(
    open: &mut [(&OsStr, Entries)],
    name: Vec<u8>,
    entry: (u32, Oid),
) -> Result<(), git2::Error> {
    let Some((_, entries)) = open.last_mut() else {
        return Ok(());
    };
    let other = name
        .strip_suffix(b"/")
        .map_or_else(|| [&name, &b"/"[..]].concat(), <[u8]>::to_vec);
    let twice = entries.contains_key(&other) || entries.insert(name, entry).is_some();
    if twice {
        Err(git2::Error::from_str(
            "a file and a directory have the same name",
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Index;

    /// Returns libgit2's tree of the same files, by way of an index.
    fn by_index(repo: &Repository, files: &Files) -> Oid {
        let mut index = Index::new().unwrap();
        for (path, &(mode, id)) in files {
            let zero = git2::IndexTime::new(0, 0);
            let path = path.as_os_str().as_bytes().to_vec();
            let (dev, ino, uid, gid, file_size, flags, flags_extended) = (0, 0, 0, 0, 0, 0, 0);
            let entry = git2::IndexEntry {
                ctime: zero,
                mtime: zero,
                dev,
                ino,
                mode,
                uid,
                gid,
                file_size,
                id,
                flags,
                flags_extended,
                path,
            };
            index.add(&entry).unwrap();
        }
        index.write_tree_to(repo).unwrap()
    }

    #[test]
    fn it_is_the_tree_that_an_index_would_give() {
        let top = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(top.path()).unwrap();
        let blob = repo.blob(b"x").unwrap();
        let names = ["a", "a-b", "a/", "a.b", "a0", "ab", "a b", "z"];
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..300 {
            let mut files = Files::new();
            for _ in 0..random.usize(..12) {
                let depth = random.usize(1..4);
                let path: Vec<String> = (0..depth)
                    .map(|level| {
                        format!(
                            "{}{}",
                            names[random.usize(..names.len())].replace('/', "_"),
                            if level + 1 == depth { "f" } else { "" }
                        )
                    })
                    .collect();
                files.insert(
                    path.join("/").into(),
                    ([0o100_644, 0o100_755, 0o120_000][random.usize(..3)], blob),
                );
            }
            assert_eq!(
                write_tree(&repo, &files).unwrap(),
                by_index(&repo, &files),
                "{round}: {files:?}"
            );
        }
    }

    #[test]
    fn a_name_that_windows_would_mistake_is_a_name_and_a_file_is_no_directory() {
        let top = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(top.path()).unwrap();
        let blob = repo.blob(b"x").unwrap();
        let files = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).into(), (0o100_644, blob)))
                .collect::<Files>()
        };
        let tree = write_tree(&repo, &files(&[".git ", ".git.", "a/git~1", "git~1"])).unwrap();
        let listed: Vec<Vec<u8>> = repo
            .find_tree(tree)
            .unwrap()
            .iter()
            .map(|entry| entry.name_bytes().to_vec())
            .collect();
        assert_eq!(listed, [&b".git "[..], b".git.", b"a", b"git~1"]);
        assert!(write_tree(&repo, &files(&["a", "a/b"])).is_err());
    }
}
