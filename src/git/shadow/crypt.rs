//! Recognises git-crypt repos, in which a filter keeps files plain in a checkout and encrypted in
//! the store.
//!
//! Such files must not be edited from a worktree: without the key and the filter, which the shadow
//! lacks, plain text would be committed. Enrolling checks this, and so does every run, because a
//! repo may become one later. The filter is never run, and attributes are read at any depth.

use super::{CONFIG_CAP, Refusal, SMALL, Shadow, at, unreadable};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use git2::{ObjectType, Oid, Repository};
use rayon::prelude::*;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The words of `docs/design/contract.md#config`, and the remedy.
pub(crate) const WORDS: &str =
    "encrypted files must not be edited from a worktree; take the repo out of the config";
/// The beginning of an encrypted blob.
const HEADER: &[u8] = b"\0GITCRYPT\0";
/// The filter and the diff driver of git-crypt. For a key other than the default, a dash and its
/// name follow.
const DRIVERS: [&str; 2] = ["filter=git-crypt", "diff=git-crypt"];
/// Bytes. Git reads no larger attributes file.
const ATTRIBUTES_CAP: u64 = 100 << 20;
/// Distinct directories in the commits that are read; a well-formed repo has fewer.
const MOST_DIRECTORIES: usize = 2_000_000;

/// Returns whether `key`, in lower case, is a key of git-crypt's in the repo's own config.
pub(super) fn is_key(key: &str) -> bool {
    ["filter.git-crypt", "diff.git-crypt"]
        .iter()
        .any(|driver| key.starts_with(driver))
}

/// Refuses a git-crypt repo.
///
/// The signs are git-crypt's own directory in the git dir, and its drivers in the git dir's
/// attributes or in those of any directory of these commits: the HEADs of the main checkout and the
/// worktrees, the upstream's default branch, and `also`. An unreadable file is no sign; the survey
/// reports it.
pub(super) fn judge(shadow: &Shadow, also: Option<Oid>, stop: &Stop) -> Result<(), Refusal> {
    let refuse = |what: String| {
        Err(Refusal::Malformed(format!(
            "{what}, so this is a git-crypt repo: {WORDS}"
        )))
    };
    let git_dir = shadow.git_dir();
    let key = at(git_dir, "git-crypt");
    if found(openat::stat(&key))
        .map_err(unreadable(&key.to_string()))?
        .is_some()
    {
        return refuse(format!("`{key}` is there"));
    }
    let own = at(git_dir, "info/attributes");
    if openat::read(&own, CONFIG_CAP).is_ok_and(|text| names_driver(&text)) {
        return refuse(format!("`{own}` names its filter"));
    }
    let seen = Mutex::default();
    let heads: Vec<Oid> = heads(shadow).into_iter().chain(also).collect();
    let names_it = |&head: &Oid| {
        Some((
            shadow
                .with(|repo| in_commit(repo, head, &seen, stop))
                .ok()??,
            head,
        ))
    };
    match heads.par_iter().find_map_any(names_it) {
        Some((path, head)) => refuse(format!(
            "`{}` names its filter in commit {head:.10}",
            path.display()
        )),
        None => Ok(()),
    }
}

/// Returns the commits of those HEADs and branches, each once. Worktrees are read in parallel,
/// because each read waits for the network.
fn heads(shadow: &Shadow) -> HashSet<Oid> {
    let named = [
        "HEAD",
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/main",
        "refs/remotes/origin/master",
    ];
    let at_name = |name: &str| shadow.with(|repo| commit_of(repo, name)).ok()?;
    let mut heads: HashSet<Oid> = named.iter().filter_map(|name| at_name(name)).collect();
    let trees = at(shadow.git_dir(), "worktrees");
    let admins: Vec<OsString> = std::fs::read_dir(trees.path())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    heads.par_extend(admins.par_iter().filter_map(|admin| {
        let text = String::from_utf8(
            openat::read(&trees.join(admin).ok()?.join("HEAD").ok()?, SMALL).ok()?,
        )
        .ok()?;
        let text = text.trim_end();
        text.strip_prefix("ref: ")
            .map_or_else(|| Oid::from_str(text).ok(), at_name)
    }));
    heads
}

fn commit_of(repo: &Repository, name: &str) -> Option<Oid> {
    Some(repo.find_reference(name).ok()?.peel_to_commit().ok()?.id())
}

/// Returns the attributes file in a commit that names the drivers. Directories that were seen in
/// another commit are skipped.
fn in_commit(
    repo: &Repository,
    commit: Oid,
    seen: &Mutex<HashSet<Oid>>,
    stop: &Stop,
) -> Option<PathBuf> {
    let tree = repo.find_commit(commit).ok()?.tree_id();
    let mut directories = vec![(PathBuf::new(), tree)];
    while let Some((path, tree)) = directories.pop() {
        let (is_new, count) = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.insert(tree), seen.len())
        };
        if !is_new {
            continue;
        }
        if count > MOST_DIRECTORIES || stop.reached().is_some() {
            return None;
        }
        let Ok(tree) = repo.find_tree(tree) else {
            continue;
        };
        for entry in &tree {
            let name = || String::from_utf8_lossy(entry.name_bytes()).into_owned();
            match entry.kind() {
                Some(ObjectType::Tree) => directories.push((path.join(name()), entry.id())),
                Some(ObjectType::Blob)
                    if entry.name_bytes() == b".gitattributes" && attributes(repo, entry.id()) =>
                {
                    return Some(path.join(name()));
                }
                _ => {}
            }
        }
    }
    None
}

fn attributes(repo: &Repository, blob: Oid) -> bool {
    let small = repo
        .odb()
        .and_then(|odb| odb.read_header(blob))
        .is_ok_and(|(size, _)| size as u64 <= ATTRIBUTES_CAP);
    small
        && repo
            .find_blob(blob)
            .is_ok_and(|blob| names_driver(blob.content()))
}

/// Returns whether a line assigns a driver of git-crypt to a pattern or to a macro.
pub(crate) fn names_driver(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut attributes = lines.flat_map(|line| line.split_whitespace().skip(1));
    attributes.any(|attribute| DRIVERS.iter().any(|driver| attribute.starts_with(driver)))
}

/// Returns whether a file that begins like this was checked out encrypted, as it is stored.
pub fn is_encrypted(begin: &[u8]) -> bool {
    begin.starts_with(HEADER)
}

/// Returns why a tree with such a file is refused.
pub fn encrypted(file: &Path) -> String {
    format!(
        "`{}` is encrypted, so this is a git-crypt repo: {WORDS}",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_crypts_attributes_are_known() {
        for yes in [
            "*.key filter=git-crypt diff=git-crypt\n",
            "a diff=git-crypt",
            "# x\n[attr]secret filter=git-crypt-team",
            "s\tfilter=git-crypt",
        ] {
            assert!(names_driver(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "#* filter=git-crypt",
            "* filter=lfs",
            "filter=git-crypt",
            "* -filter",
            "* !filter diff=x",
        ] {
            assert!(!names_driver(no.as_bytes()), "{no}");
        }
    }
}
