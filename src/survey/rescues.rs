//! A repo's rescues: the list of them, and the contents of one.
//!
//! They are refs, which agents can write as well, so everything in one is checked: a malformed name
//! or tree is an error or unknown, and no path leads out of the tree.

use super::committed::{DEEPEST, FILES_CAP, Files, Trees};
use super::known::INDEX_CAP;
use crate::facts::cache::Size;
use crate::facts::rescue::{Manifest, Own, REFS, Rescue, SCHEMA, TIME};
use crate::fs::budget;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, NaiveDateTime, Utc};
use git2::{Commit, ObjectType, Oid, Repository, Tree};
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

mod pieces;
pub use pieces::{Piece, Pieces};

/// Entries of a rescue that are visited, at most. Nested trees can describe billions of files in a
/// kilobyte; nobody's unsaved work has so many.
const SEEN_CAP: u64 = 1_000_000;
/// The least bytes of an index entry.
const LEAST_ENTRY: usize = 60;
/// The least bytes of a resolved conflict's entry.
const LEAST_RESOLVED: usize = 20;
/// The trees of the files that the index names, by stage, beside the manifest and the index.
pub const STAGES: [&str; 4] = ["staged", "stage1", "stage2", "stage3"];
/// The trees of the versions of resolved conflicts that the index names.
pub const RESOLVED: [&str; 3] = ["resolved1", "resolved2", "resolved3"];
/// The tree of the files in the registration that were not git's.
pub const REGISTRATION: &str = "registration";
/// Files that somebody keeps in a registration, at most.
const REGISTERED_CAP: usize = 100_000;
/// Bytes. No well-formed manifest is larger: that is some five million files.
const MANIFEST_CAP: u64 = 512 << 20;

/// Returns every ref below [`REFS`], sorted by name.
///
/// # Errors
/// The refs can't be listed. A problem of one rescue is recorded in its entry.
pub fn all(repo: &Repository) -> Result<Vec<Rescue>, git2::Error> {
    let mut rescues = Vec::new();
    for reference in repo.references_glob(&format!("{REFS}/*"))? {
        let reference = reference?;
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        // A symbolic ref is none of ours.
        let Some(commit) = reference.target() else {
            rescues.push(Rescue {
                name,
                commit: Oid::ZERO_SHA1.to_string(),
                taken: None,
                own: None,
            });
            continue;
        };
        let made = repo.find_commit(commit).ok();
        let taken = made
            .as_ref()
            .and_then(|made| time_of(&name).filter(|taken| is_ours(made, *taken)));
        let own = made.and_then(|made| own(repo, &made).ok());
        rescues.push(Rescue {
            name,
            commit: commit.to_string(),
            taken,
            own,
        });
    }
    rescues.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rescues)
}

/// Parses the time in a ref's name: `<REFS>/<worktree>/<time>`, with `-2` appended for a second one
/// of the same moment.
fn time_of(name: &str) -> Option<DateTime<Utc>> {
    let (_, time) = name
        .strip_prefix(REFS)?
        .strip_prefix('/')?
        .split_once('/')?;
    let time = time.split_once('-').map_or(time, |(time, _)| time);
    Some(NaiveDateTime::parse_from_str(time, TIME).ok()?.and_utc())
}

/// Returns whether the commit is a rescue of this time.
fn is_ours(commit: &Commit<'_>, taken: DateTime<Utc>) -> bool {
    let marked = |extras: &Commit<'_>| {
        extras
            .tree()
            .is_ok_and(|tree| tree.get_name("manifest.json").is_some())
    };
    commit.time().seconds() == taken.timestamp()
        && extras(commit).is_ok_and(|extras| marked(&extras))
}

/// Returns the parent that isn't HEAD: the last of one or two.
fn extras<'a>(commit: &Commit<'a>) -> io::Result<Commit<'a>> {
    let last = match commit.parent_count() {
        1 => 0,
        2 => 1,
        _ => return Err(odd("it has not the parents of a rescue")),
    };
    commit.parent(last).map_err(io::Error::other)
}

fn head_of<'a>(commit: &Commit<'a>) -> io::Result<Option<Commit<'a>>> {
    if commit.parent_count() == 2 {
        commit.parent(0).map(Some).map_err(io::Error::other)
    } else {
        Ok(None)
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::other(format!("it is malformed: {what}"))
}

/// Counts the files that HEAD doesn't have, without reading any or entering equal directories.
fn own(repo: &Repository, commit: &Commit<'_>) -> io::Result<Own> {
    let odb = repo.odb().map_err(io::Error::other)?;
    let (mut own, mut sizes) = (Own::default(), HashMap::new());
    own_blobs(repo, commit, |blob| {
        own.files = own.files.saturating_add(1);
        own.bytes = own.bytes.saturating_add(match sizes.entry(blob) {
            Entry::Occupied(size) => *size.get(),
            Entry::Vacant(size) => {
                *size.insert(odb.read_header(blob).map_err(io::Error::other)?.0 as u64)
            }
        });
        Ok(())
    })?;
    Ok(own)
}

/// Returns what deleting these rescues frees at once: files that HEAD doesn't have, each in a loose
/// object that nobody wrote since `before`. A later repack frees what is packed or younger. An
/// object that is reachable from elsewhere is counted, too: then the run frees less than projected,
/// and the next one sees that.
pub fn prunable(
    repo: &Repository,
    git_dir: &VolumePath,
    rescues: &[&Rescue],
    before: DateTime<Utc>,
) -> Size {
    let mut blobs = BTreeSet::new();
    for rescue in rescues {
        let commit = Oid::from_str(&rescue.commit).and_then(|commit| repo.find_commit(commit));
        let mut note = |blob| {
            blobs.insert(blob);
            Ok(())
        };
        // An unreadable one is not counted.
        let _unread = commit
            .map_err(io::Error::other)
            .and_then(|commit| own_blobs(repo, &commit, &mut note));
    }
    let mut size = Size::default();
    for blob in blobs.iter().map(Oid::to_string) {
        let loose = git_dir
            .join(format!("objects/{}/{}", &blob[..2], &blob[2..]))
            .ok()
            .and_then(|place| openat::stat(&place).ok());
        if let Some(stat) = loose.filter(|stat| {
            FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_mtime < before.timestamp()
        }) {
            size += Size::of_blocks(u64::try_from(stat.st_blocks).unwrap_or_default());
        }
    }
    size
}

/// Calls `each` for every file that HEAD doesn't have, without entering equal directories.
fn own_blobs(
    repo: &Repository,
    commit: &Commit<'_>,
    mut each: impl FnMut(Oid) -> io::Result<()>,
) -> io::Result<()> {
    let head = head_of(commit)?.map(|head| head.tree_id());
    let mut seen = 0_u64;
    let mut directories = vec![(0_usize, commit.tree_id(), head)];
    while let Some((depth, ours, theirs)) = directories.pop() {
        let theirs = theirs
            .map(|theirs| repo.find_tree(theirs))
            .transpose()
            .map_err(io::Error::other)?;
        for entry in &repo.find_tree(ours).map_err(io::Error::other)? {
            seen = seen.saturating_add(1);
            let other = theirs
                .as_ref()
                .and_then(|theirs| theirs.get_name_bytes(entry.name_bytes()));
            match entry.kind() {
                _ if other.as_ref().is_some_and(|other| other.id() == entry.id()) => {}
                Some(ObjectType::Tree) => {
                    let other = other
                        .filter(|other| other.kind() == Some(ObjectType::Tree))
                        .map(|other| other.id());
                    directories.push((depth.saturating_add(1), entry.id(), other));
                }
                Some(ObjectType::Blob) => each(entry.id())?,
                _ => {}
            }
        }
        if depth > DEEPEST || seen > SEEN_CAP {
            return Err(odd(
                "it holds more files or deeper directories than any well-formed one",
            ));
        }
    }
    Ok(())
}

/// The contents of a rescue.
#[derive(Debug, PartialEq, Eq)]
pub struct RescueContents {
    /// Its commit.
    pub commit: Oid,
    /// HEAD at that time; none for a branch without a commit.
    pub head: Option<Oid>,
    /// The files of the tree.
    pub files: Files,
    /// What a git tree can't express.
    pub manifest: Manifest,
    /// The index, byte for byte.
    pub index: Option<Vec<u8>>,
    /// The files that the index named, by stage; all but the first are for unmerged paths.
    pub staged: [Files; 4],
    /// The versions of resolved conflicts that the index named: base, ours and theirs.
    pub resolved: [Files; 3],
    /// The files in the registration that were not git's, by their path there.
    pub registration: Files,
    /// Commits that only this tree reached when it was rescued.
    pub lonely: Vec<Oid>,
}

/// Reads a rescue's manifest.
///
/// # Errors
/// It is no rescue, or can't be read.
pub fn manifest(
    repo: &Repository,
    commit: Oid,
    memory: &mut budget::Reservation,
) -> io::Result<Manifest> {
    let tree = repo
        .find_commit(commit)
        .map_err(io::Error::other)
        .and_then(|commit| extras(&commit))?
        .tree()
        .map_err(io::Error::other)?;
    let entry = tree
        .get_name("manifest.json")
        .ok_or_else(|| odd("it has no manifest"))?;
    let manifest: Manifest =
        serde_json::from_slice(&blob(repo, entry.id(), MANIFEST_CAP, memory)?)?;
    if manifest.schema == SCHEMA {
        Ok(manifest)
    } else {
        Err(odd(
            "its manifest is of another version; use a newer treewarden",
        ))
    }
}

/// Reads a rescue.
///
/// # Errors
/// It is no rescue, or can't be read.
pub fn read(
    repo: &Repository,
    commit: Oid,
    stop: &Stop,
    memory: &mut budget::Reservation,
) -> io::Result<RescueContents> {
    let manifest = manifest(repo, commit, memory)?;
    let made = repo.find_commit(commit).map_err(io::Error::other)?;
    let (head, extras) = (head_of(&made)?, extras(&made)?);
    let trees = Trees {
        stop,
        objects: &Arc::default(),
        repo,
    };
    let mut beside = Beside {
        trees,
        tree: extras.tree().map_err(io::Error::other)?,
        memory,
    };
    let index = beside.index()?;
    let length = index.as_ref().map_or(0, Vec::len);
    let staged = beside.each(STAGES, length / LEAST_ENTRY)?;
    let resolved = beside.each(RESOLVED, length / LEAST_RESOLVED)?;
    let registration = beside.named(REGISTRATION, REGISTERED_CAP)?;
    // The manifest names every file, unless the tree was gone already and the rescue has HEAD's
    // files.
    let of_head = head
        .as_ref()
        .is_some_and(|head| head.tree_id() == made.tree_id());
    let most = if of_head {
        FILES_CAP
    } else {
        manifest.files.len()
    };
    let files = beside.files(made.tree_id(), most)?;
    let (head, lonely) = (head.map(|head| head.id()), extras.parent_ids().collect());
    Ok(RescueContents {
        commit,
        head,
        files,
        manifest,
        index,
        staged,
        resolved,
        registration,
        lonely,
    })
}

/// What is beside a rescue's manifest: the index, the trees of the files that it names, and the
/// tree of the registration.
struct Beside<'a> {
    trees: Trees<'a>,
    /// The tree that contains them.
    tree: Tree<'a>,
    memory: &'a mut budget::Reservation,
}

impl Beside<'_> {
    fn index(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.tree
            .get_name("index")
            .map(|entry| blob(self.trees.repo, entry.id(), INDEX_CAP, self.memory))
            .transpose()
    }

    /// Returns the files of the trees with these names, each of which may have at most `most`.
    fn each<const COUNT: usize>(
        &mut self,
        names: [&str; COUNT],
        most: usize,
    ) -> io::Result<[Files; COUNT]> {
        let mut all = std::array::from_fn(|_| Files::new());
        for (name, files) in names.into_iter().zip(&mut all) {
            *files = self.named(name, most)?;
        }
        Ok(all)
    }

    /// Returns the files of the tree with this name; none if there is no such tree.
    fn named(&mut self, name: &str, most: usize) -> io::Result<Files> {
        match self.tree.get_name(name).map(|entry| entry.id()) {
            Some(tree) => self.files(tree, most),
            None => Ok(Files::new()),
        }
    }

    fn files(&mut self, tree: Oid, most: usize) -> io::Result<Files> {
        self.trees
            .files(tree, most, self.memory)
            .map_err(io::Error::other)
    }
}

fn blob(
    repo: &Repository,
    id: Oid,
    cap: u64,
    memory: &mut budget::Reservation,
) -> io::Result<Vec<u8>> {
    let odb = repo.odb().map_err(io::Error::other)?;
    let (size, kind) = odb.read_header(id).map_err(io::Error::other)?;
    if kind != ObjectType::Blob || size as u64 > cap {
        return Err(odd(
            "its manifest or index is no file, or larger than any well-formed one",
        ));
    }
    // Three times: read, copied, and parsed.
    memory.more(size.saturating_mul(3))?;
    Ok(odb.read(id).map_err(io::Error::other)?.data().to_vec())
}

impl RescueContents {
    /// Returns whether both have the same contents, whenever they were rescued.
    pub fn same_work(&self, other: &Self) -> bool {
        let comparable = |saved: &Self| Manifest {
            rescued: DateTime::UNIX_EPOCH,
            ..saved.manifest.clone()
        };
        (
            self.head,
            &self.files,
            &self.index,
            &self.staged,
            &self.resolved,
            &self.registration,
            &self.lonely,
        ) == (
            other.head,
            &other.files,
            &other.index,
            &other.staged,
            &other.resolved,
            &other.registration,
            &other.lonely,
        ) && comparable(self) == comparable(other)
    }

    /// Returns the files whose staged content is neither HEAD's nor the tree's, and so is only in
    /// the index.
    pub fn staged_alone(&self, head: &Files) -> Vec<PathBuf> {
        let alone = |(path, entry): &(&PathBuf, &(u32, Oid))| {
            head.get(*path).is_none_or(|other| other.1 != entry.1)
                && self.files.get(*path).is_none_or(|other| other.1 != entry.1)
        };
        self.staged
            .iter()
            .flatten()
            .filter(alone)
            .map(|(path, _)| path.clone())
            .collect()
    }
}
