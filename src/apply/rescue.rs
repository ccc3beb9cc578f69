//! The rescue: a worktree's unsaved work as a commit, before the tree goes.
//!
//! The commit's tree is the worktree as it stood, byte for byte, without any filter; its first parent is HEAD, so `git diff ID^ ID` shows
//! the work and `git checkout ID -- PATH` brings it back. Its second parent holds what a tree can't: the index as a file and as a tree,
//! a manifest with modes and empty folders; and that one's parents are the commits which only this worktree reached.
//! It is read back and compared before anybody may remove the tree. It must never touch the worktree itself.

use crate::beneath::{self, found};
use crate::facts::worktree::Worktree;
use crate::inside::Inside;
use crate::shadow::Shadow;
use crate::survey::known::{Files, INDEX_CAP, Known, files_of};
use crate::survey::tree::{self, Listing, Stamp};
use chrono::{DateTime, Utc};
use git2::{Commit, Index, IndexEntry, ObjectType, Oid, Repository, Signature, Time};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where rescues stand: `<this>/<worktree>/<time>`.
pub const REFS: &str = "refs/treewarden/rescue";

/// The tree can't be rescued: it stays.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// A file can't be read, or changed while it was.
    #[error("failed to rescue `{path}`: {cause}; the tree stays")]
    File {
        /// Which file, in the tree.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is larger than the config allows.
    #[error("its unsaved files hold {bytes}, more than rescue_max ({most}); the tree stays: raise rescue_max or save the work by hand")]
    TooLarge {
        /// What would have to be written.
        bytes: bytesize::ByteSize,
        /// The cap.
        most: bytesize::ByteSize,
    },
    /// Git's store refuses.
    #[error("failed to write the rescue: {}; the tree stays", .0.message())]
    Git(#[from] git2::Error),
    /// What was read back isn't what stands in the tree.
    #[error("failed to verify the rescue: {0}; the tree stays")]
    Differs(String),
}

/// What a git tree has no room for.
#[derive(Serialize)]
struct Manifest<'a> {
    schema: &'static str,
    worktree: &'a str,
    path: &'a Path,
    branch: Option<&'a str>,
    head: Option<&'a str>,
    rescued: DateTime<Utc>,
    /// Bytes of the path as text where they are text, else as numbers.
    files: Vec<(PathBytes, u32, i64)>,
    folders: Vec<(PathBytes, u32)>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PathBytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&PathBuf> for PathBytes {
    fn from(path: &PathBuf) -> Self {
        let bytes = path.as_os_str().as_bytes();
        std::str::from_utf8(bytes).map_or_else(|_| Self::Bytes(bytes.to_vec()), |text| Self::Text(text.to_owned()))
    }
}

/// A rescue that was made.
#[derive(Debug)]
pub struct Rescued {
    /// The full name of the ref that holds it.
    pub name: String,
    /// The tree as it was rescued.
    pub listing: Listing,
}

/// Rescues `worktree`, whose tree stands at `place`, or, with no place, only the commits that its registration reaches.
///
/// # Errors
/// [`RescueError`]: nobody may remove the tree.
pub fn rescue(
    shadow: &Shadow,
    worktree: &Worktree,
    place: Option<&Inside>,
    unreached: &[String],
    most: u64,
    now: DateTime<Utc>,
) -> Result<Rescued, RescueError> {
    let repo = shadow.open()?;
    let head = worktree.head.as_deref().map(Oid::from_str).transpose()?;
    let head = head.map(|head| repo.find_commit(head)).transpose()?;
    let rescue = Rescue { repo: &repo, worktree, head, now };
    let known = rescue.known()?;
    let (commit, listing) = match place {
        Some(place) => {
            let (files, listing) = rescue.files(&known, place, most)?;
            let commit = rescue.commit(&files, rescue.extras(&listing, unreached)?)?;
            verify(shadow, &known, place, &listing, &files, commit)?;
            (commit, listing)
        }
        None => (rescue.commit(&known.committed, rescue.extras(&Listing::default(), unreached)?)?, Listing::default()),
    };
    let name = format!("{REFS}/{}/{}", safe(&worktree.id), now.format("%Y%m%dT%H%M%SZ"));
    Ok(Rescued { name: store(&repo, &name, commit)?, listing })
}

/// Gives the commit a ref of its own: `a.b` and `a+b` have the same name here, and may go in the same night.
fn store(repo: &Repository, name: &str, commit: Oid) -> Result<String, git2::Error> {
    let mut free = name.to_owned();
    for number in 2.. {
        match repo.reference(&free, commit, false, "treewarden: rescue before the worktree goes") {
            Err(error) if error.code() == git2::ErrorCode::Exists && number < 100 => free = format!("{name}-{number}"),
            stored => return stored.map(|_| free),
        }
    }
    unreachable!("the loop returns")
}

/// A worktree's id as a part of a ref name.
fn safe(id: &str) -> String {
    let safe: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
    if safe.is_empty() { "worktree".to_owned() } else { safe }
}

struct Rescue<'a> {
    repo: &'a Repository,
    worktree: &'a Worktree,
    head: Option<Commit<'a>>,
    now: DateTime<Utc>,
}

impl Rescue<'_> {
    fn known(&self) -> Result<Known, RescueError> {
        let admin = &self.worktree.admin;
        Known::of(self.repo, admin, self.head.as_ref().map(Commit::id)).map_err(|cause| RescueError::File { path: admin.path(), cause })
    }

    /// Writes every file that HEAD doesn't have already.
    fn files(&self, known: &Known, place: &Inside, most: u64) -> Result<(Files, Listing), RescueError> {
        let listing = known.list(place).map_err(|cause| RescueError::File { path: place.path(), cause })?;
        if let Some(blocker) = listing.blockers.first() {
            return Err(RescueError::Differs(blocker.clone()));
        }
        let mut files = Files::new();
        let mut bytes = 0;
        for (path, stamp) in &listing.files {
            let failed = |cause| RescueError::File { path: path.clone(), cause };
            let blob = tree::hash(place, path, stamp).map_err(failed)?;
            if known.committed.get(path).is_none_or(|&(_, committed)| committed != blob) {
                bytes += stamp.size;
                if bytes > most {
                    return Err(RescueError::TooLarge { bytes: bytesize::ByteSize(bytes), most: bytesize::ByteSize(most) });
                }
                let written = self.write(place, path, stamp).map_err(failed)?;
                if written != blob {
                    return Err(failed(io::Error::other("it changed while it was read")));
                }
            }
            files.insert(path.clone(), (stamp.git_mode(), blob));
        }
        Ok((files, listing))
    }

    fn write(&self, place: &Inside, path: &Path, stamp: &Stamp) -> io::Result<Oid> {
        let place = place.join(path).map_err(io::Error::other)?;
        if stamp.is_link() {
            return self.repo.blob(&tree::link_target(&place)?).map_err(io::Error::other);
        }
        let mut file = beneath::file(&place)?.take(stamp.size);
        let mut blob = self.repo.blob_writer(None).map_err(io::Error::other)?;
        io::copy(&mut file, &mut blob)?;
        blob.flush()?;
        blob.commit().map_err(io::Error::other)
    }

    /// The second parent: index, staged content, manifest; on top of the commits that would be lost.
    fn extras(&self, listing: &Listing, unreached: &[String]) -> Result<Oid, RescueError> {
        let mut builder = self.repo.treebuilder(None)?;
        let manifest = serde_json::to_vec_pretty(&self.manifest(listing)).map_err(|error| RescueError::Differs(error.to_string()))?;
        builder.insert("manifest.json", self.repo.blob(&manifest)?, 0o100_644)?;
        let place = self.worktree.admin.join("index").map_err(|error| RescueError::Differs(error.to_string()))?;
        let index = found(beneath::read(&place, INDEX_CAP)).map_err(|cause| RescueError::File { path: place.path(), cause })?;
        if let Some(bytes) = index {
            builder.insert("index", self.repo.blob(&bytes)?, 0o100_644)?;
            let staged = Index::open(&place.path())?.iter().map(|entry| (tree::path_of(&entry.path), (entry.mode, entry.id))).collect();
            builder.insert("staged", write_tree(self.repo, &staged)?, 0o040_000)?;
        }
        let parents = unreached.iter().map(|id| self.repo.find_commit(Oid::from_str(id)?)).collect::<Result<Vec<_>, _>>()?;
        let tree = self.repo.find_tree(builder.write()?)?;
        let signature = self.signature()?;
        let message = "treewarden: index, manifest and commits of the rescued worktree\n";
        Ok(self.repo.commit(None, &signature, &signature, message, &tree, &parents.iter().collect::<Vec<_>>())?)
    }

    fn manifest(&self, listing: &Listing) -> Manifest<'_> {
        Manifest {
            schema: "treewarden.rescue/1",
            worktree: &self.worktree.id,
            path: &self.worktree.path,
            branch: self.worktree.branch.as_deref(),
            head: self.worktree.head.as_deref(),
            rescued: self.now,
            files: listing.files.iter().map(|(path, stamp)| (path.into(), stamp.mode & 0o7777, stamp.mtime.0)).collect(),
            folders: listing.folders.iter().map(|(path, mode)| (path.into(), *mode)).collect(),
        }
    }

    fn commit(&self, files: &Files, extras: Oid) -> Result<Oid, RescueError> {
        let tree = self.repo.find_tree(write_tree(self.repo, files)?)?;
        let extras = self.repo.find_commit(extras)?;
        let parents: Vec<&Commit<'_>> = self.head.iter().chain([&extras]).collect();
        let signature = self.signature()?;
        let branch = self.worktree.branch.as_deref().unwrap_or("a detached HEAD");
        let message = format!(
            "Rescue of worktree {} on {branch}\n\nTaken by treewarden before {} was removed.\n",
            self.worktree.id,
            self.worktree.path.display()
        );
        Ok(self.repo.commit(None, &signature, &signature, &message, &tree, &parents)?)
    }

    fn signature(&self) -> Result<Signature<'static>, git2::Error> {
        Signature::new("treewarden", "treewarden@localhost", &Time::new(self.now.timestamp(), 0))
    }
}

/// Writes a tree from a list of files, by way of an index in memory.
fn write_tree(repo: &Repository, files: &Files) -> Result<Oid, git2::Error> {
    let mut index = Index::new()?;
    for (path, &(mode, id)) in files {
        let zero = git2::IndexTime::new(0, 0);
        let path = path.as_os_str().as_bytes().to_vec();
        index.add(&IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode,
            uid: 0,
            gid: 0,
            file_size: 0,
            id,
            flags: 0,
            flags_extended: 0,
            path,
        })?;
    }
    index.write_tree_to(repo)
}

/// Opens the repo afresh, reads every blob of the commit back (libgit2 checks its hash) and compares with the tree as it stands now.
fn verify(shadow: &Shadow, known: &Known, place: &Inside, before: &Listing, files: &Files, commit: Oid) -> Result<(), RescueError> {
    let repo = shadow.open()?;
    if files_of(&repo, commit)? != *files {
        return Err(RescueError::Differs("the stored tree lists other files".to_owned()));
    }
    let odb = repo.odb()?;
    for (path, &(_, blob)) in files {
        let object = odb.read(blob)?;
        let standing = tree::hash(place, path, &before.files[path]).map_err(|cause| RescueError::File { path: path.clone(), cause })?;
        if object.kind() != ObjectType::Blob || Oid::hash_object(ObjectType::Blob, object.data())? != blob || standing != blob {
            return Err(RescueError::Differs(format!("`{}` reads differently", path.display())));
        }
    }
    let now = known.list(place).map_err(|cause| RescueError::File { path: place.path(), cause })?;
    if now.same_work(before) { Ok(()) } else { Err(RescueError::Differs("the tree changed meanwhile".to_owned())) }
}
