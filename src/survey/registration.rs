//! Which files in a worktree's registration, its admin directory, are git's. Every other file there
//! is somebody's (`git rev-parse --git-path notes.md` leads there), unless its directory is git's
//! as a whole.

use super::tree::{self, Stamp};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, Listed, found};
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

mod clone;

/// The file that agents touch in the admin directory of the tree that they work in.
pub const HEARTBEAT: &str = "treewarden-heartbeat";
/// The mark that a run leaves in the admin directory of a missing tree: its age is how long the
/// tree has been missing.
pub const MISSING: &str = "treewarden-missing";
/// The mark of a tree that went missing with too many others: no grace runs for it.
pub const MISSING_AT_ONCE: &str = "treewarden-missing-at-once";
/// treewarden's own marks.
const MARKS: [&str; 3] = [HEARTBEAT, MISSING, MISSING_AT_ONCE];
/// Git's files, with or without a `.lock` suffix.
const FILES: [&str; 26] = [
    "ADD_EDIT.patch",
    "AUTO_MERGE",
    "CHERRY_PICK_HEAD",
    "COMMIT_EDITMSG",
    "EDIT_DESCRIPTION",
    "FETCH_HEAD",
    "HEAD",
    "MERGE_AUTOSTASH",
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "MERGE_RR",
    "NOTES_EDITMSG",
    "NOTES_MERGE_PARTIAL",
    "NOTES_MERGE_REF",
    "ORIG_HEAD",
    "REBASE_HEAD",
    "REVERT_HEAD",
    "SQUASH_MSG",
    "TAG_EDITMSG",
    "addp-hunk-edit.diff",
    "commondir",
    "gitdir",
    "index",
    "info/sparse-checkout",
    "locked",
];
/// Directories of git and git-lfs that are theirs with everything in them. `nested` decides whether
/// the submodules' repos keep the tree.
const DIRECTORIES: [&str; 11] = [
    "NOTES_MERGE_WORKTREE",
    "fsmonitor--daemon",
    "lfs/cache",
    "lfs/tmp",
    "logs",
    "modules",
    "rebase-apply",
    "rebase-merge",
    "refs",
    "sequencer",
    "rr-cache",
];
const CONFIG: &str = "config.worktree";
/// The config keys that git itself writes there, by `sparse-checkout` and `worktree add`.
const OWN_KEYS: [&str; 5] = [
    "core.bare",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.worktree",
    "index.sparse",
];
const CONFIG_CAP: u64 = 1 << 20;
/// The deepest directory that is searched: nobody would keep a note deeper.
const DEEPEST: usize = 32;

/// Returns the files in an admin directory that are somebody's, by their path there.
///
/// # Errors
/// Something can't be read: the contents are unknown.
pub(super) fn somebodys(
    of: Registration<'_>,
    listed: &Listed,
    held: &mut Reservation,
) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut search = Search {
        of,
        somebodys: BTreeMap::new(),
        held,
    };
    search.directory(Path::new(""), listed, 0)?;
    Ok(search.somebodys)
}

/// A directory of git's beside a tree's files.
#[derive(Clone, Copy)]
pub(super) struct Registration<'a> {
    /// Its place.
    pub(super) admin: &'a VolumePath,
    /// If it is a loose clone's git dir: that of the enrolled checkout.
    pub(super) checkout: Option<&'a VolumePath>,
}

impl Registration<'_> {
    /// Returns whether a file is git's, by its name or its content.
    fn is_gits(&self, path: &Path) -> io::Result<bool> {
        let Self { admin, checkout } = *self;
        match checkout {
            _ if path == Path::new(CONFIG) => is_plain(admin),
            Some(checkout) => clone::is_gits(admin, checkout, path),
            None => Ok(false),
        }
    }
}

struct Search<'a> {
    of: Registration<'a>,
    somebodys: BTreeMap<PathBuf, Stamp>,
    held: &'a mut Reservation,
}

impl Search<'_> {
    fn directory(&mut self, path: &Path, listed: &Listed, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "`{}` in its registration is nested too deep",
                path.display()
            )));
        }
        for name in listed.names() {
            let here = path.join(name);
            if is_gits(&here) || (self.of.checkout.is_some() && clone::is_gits_directory(&here)) {
                continue;
            }
            // A file that git renamed meanwhile was its own.
            let Some(stat) = listed.stat_of(name)? else {
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let place = self.of.admin.join(&here).map_err(io::Error::other)?;
                    if let Some(below) = found(Listed::of(&place))? {
                        self.directory(&here, &below, depth.saturating_add(1))?;
                    }
                }
                FileType::RegularFile if self.of.is_gits(&here)? => {}
                FileType::RegularFile => {
                    self.held.path(&here)?;
                    self.somebodys.insert(here, tree::stamp(&stat));
                }
                // Links, sockets and pipes have no content to keep.
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_gits(path: &Path) -> bool {
    let Some(path) = path.to_str() else {
        return false;
    };
    let file = path.strip_suffix(".lock").unwrap_or(path);
    let numbered = [
        "sharedindex.",
        "sharedindex_",
        "BISECT_",
        "index.stash.",
        "next-index-",
    ]
    .iter()
    .any(|start| path.starts_with(start));
    MARKS.contains(&path)
        || FILES.contains(&file)
        || DIRECTORIES.contains(&path)
        || (numbered && !path.contains('/'))
        || path == "config.worktree.lock"
}

/// Returns whether the registration's own config has only keys that git itself writes.
fn is_plain(admin: &VolumePath) -> io::Result<bool> {
    let config = found(openat::read(&admin.join(CONFIG)?, CONFIG_CAP))?;
    Ok(config.is_none_or(|config| holds_own_keys(&config)))
}

fn holds_own_keys(config: &[u8]) -> bool {
    let mut section = String::new();
    String::from_utf8_lossy(config)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .all(|line| {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                section = name.to_lowercase();
                return true;
            }
            let key = line
                .split('=')
                .next()
                .unwrap_or_default()
                .trim()
                .to_lowercase();
            OWN_KEYS.contains(&format!("{section}.{key}").as_str())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;

    #[test]
    fn what_git_does_not_write_is_somebodys() {
        let field = Field::new();
        for file in [
            "HEAD",
            "index",
            "index.lock",
            "logs/HEAD",
            "refs/worktree/x",
            "info/sparse-checkout",
            "sharedindex.0123",
            "BISECT_LOG",
            "treewarden-missing-at-once",
        ] {
            field.file(&format!("a/{file}"), 1);
        }
        let mine = [
            "agent-notes.md",
            "info/notes.md",
            "deep/er/plan.md",
            "HEAD.md",
        ];
        for file in mine {
            field.file(&format!("a/{file}"), 1);
        }
        field.link("elsewhere", "a/link");
        let found: Vec<PathBuf> = somebodys(
            Registration {
                admin: &field.at("a"),
                checkout: None,
            },
            &Listed::of(&field.at("a")).unwrap(),
            &mut Reservation::default(),
        )
        .unwrap()
        .into_keys()
        .collect();
        let mut expected = mine.map(PathBuf::from);
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_config_of_gits_own_keys_is_gits() {
        assert!(holds_own_keys(b"[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = true\n[index]\n\tsparse = false\n"));
        assert!(holds_own_keys(b""));
        assert!(!holds_own_keys(
            b"[core]\n\tsparseCheckout = true\n[user]\n\temail = a@example.com\n"
        ));
        assert!(!holds_own_keys(b"# why\n[core]\n"));
    }
}
