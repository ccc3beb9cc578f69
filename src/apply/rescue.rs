//! The rescue: a worktree's unsaved work as a commit, before the tree is removed.
//!
//! The commit's tree is the worktree as it was, byte for byte, without any filter. Its first parent
//! is HEAD, so `git diff ID^ ID` shows the work and `git checkout ID -- PATH` brings it back. Its
//! second parent contains what a tree can't: the index as a file and as trees, files from the
//! registration, a manifest with modes and empty directories. That commit's own parents are the
//! commits that only this worktree reached. The rescue is read back and compared before the tree
//! may be removed. The worktree itself is not touched.

use crate::facts::rescue::{Manifest, REFS, SCHEMA, TIME};
use crate::facts::worktree::Worktree;
use crate::fs::humanize;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::{Refusal, Shadow};
use crate::survey::committed::Files;
use crate::survey::known::Known;
use crate::survey::rescues::{REGISTRATION, RESOLVED, RescueContents, STAGES};
use crate::survey::tree::{self, Listing, Stamp};
use chrono::{DateTime, Utc};
use git2::{Commit, ObjectType, Oid, Repository, Signature, Time};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod copy;
mod forget;
mod indexed;
mod registration;
mod trees;
mod verify;
pub use forget::{DropError, forget, supersede};
use trees::write_tree;

/// Memory for a rescue, as a multiple of the listing's.
const COPIES: usize = 4;

/// Why the tree can't be rescued: it stays.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// A file can't be read, or changed while it was read.
    #[error("failed to rescue `{path}`: {cause}; the tree stays")]
    File {
        /// Which file, in the tree.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is larger than the config allows.
    #[error(
        "its unsaved files hold {}, more than rescue_max ({}); the tree stays: raise rescue_max or save the work by hand",
        humanize::bytes(*bytes),
        humanize::bytes(*most)
    )]
    TooLarge {
        /// What would have to be written.
        bytes: u64,
        /// The cap.
        most: u64,
    },
    /// An operation on git's store failed.
    #[error("failed to write the rescue: {}; the tree stays", .0.message())]
    Git(#[from] git2::Error),
    /// The kernel refused to confine the work on the store.
    #[error("{0}; the tree stays")]
    Confine(#[from] Refusal),
    /// What was read back differs from the tree.
    #[error("failed to verify the rescue: {0}; the tree stays")]
    Differs(String),
}

/// A rescue that was made.
#[derive(Debug)]
pub struct Rescued {
    /// The full name of its ref.
    pub name: String,
    /// The commit that the ref names.
    pub commit: Oid,
    /// The tree as it was rescued.
    pub listing: Listing,
}

/// The work to be rescued.
#[derive(Clone, Copy)]
pub struct Unsaved<'a> {
    /// The worktree.
    pub worktree: &'a Worktree,
    /// Where its tree is. If none, only its commits, its index and the files in its registration
    /// are rescued.
    pub place: Option<&'a VolumePath>,
    /// The commits that only it reaches.
    pub unreached: &'a [String],
    /// How many bytes may be written.
    pub most: u64,
    /// The run's time.
    pub now: DateTime<Utc>,
}

/// Rescues a worktree's unsaved work.
///
/// Writing is confined: libgit2 opens the store by its path, and an agent can replace that by a
/// link to another store.
///
/// # Errors
/// [`RescueError`]: the tree must not be removed.
pub fn rescue(shadow: &Shadow, unsaved: &Unsaved<'_>, stop: &Stop) -> Result<Rescued, RescueError> {
    // No limit on reading: what may be rescued bounds it.
    let stop = &stop.freely();
    if unsaved.worktree.clone_of.is_some() {
        return copy::of_clone(shadow, unsaved, stop);
    }
    shadow.confined(|| make(shadow, unsaved, "", stop))?
}

/// Makes the rescue. `refs` is the text about the refs of a clone.
fn make(
    shadow: &Shadow,
    unsaved: &Unsaved<'_>,
    refs: &str,
    stop: &Stop,
) -> Result<Rescued, RescueError> {
    let Unsaved {
        worktree,
        place,
        unreached,
        most,
        now,
    } = *unsaved;
    let repo = shadow.open()?;
    let head = worktree.head.as_deref().map(Oid::from_str).transpose()?;
    let rescue = Making {
        shadow,
        repo: &repo,
        worktree,
        unreached,
        refs,
        head: head.map(|head| repo.find_commit(head)).transpose()?,
        now,
        stop,
    };
    let mut memory = stop.hold();
    let known = rescue.known()?;
    let (files, listing) = match place {
        Some(place) => rescue.files(&known, place, most)?,
        None => (known.committed.clone(), rescue.of_registration(&known)?),
    };
    // The files, the manifest and its text, and what is stored of both.
    memory
        .more(listing.held.bytes().saturating_mul(COPIES))
        .map_err(failed(&worktree.path))?;
    let manifest = rescue.manifest(&listing, place)?;
    let saved = rescue.hold(files, manifest, &listing, &mut memory)?;
    rescue.verify(&saved, &mut memory)?;
    if let Some(place) = place {
        rescue.verify_tree(&known, place, &listing, &saved.files)?;
    }
    let name = format!("{REFS}/{}/{}", safe(&worktree.id), now.format(TIME));
    let name = store(shadow, &repo, &name, saved.commit)?;
    Ok(Rescued {
        name,
        commit: saved.commit,
        listing,
    })
}

/// Creates a ref for the commit, with a number if the name is taken: `a.b` and `a+b` get the same
/// name, and may be reaped in the same run. Objects and ref are synced as they are written; their
/// new directories are synced here.
fn store(
    shadow: &Shadow,
    repo: &Repository,
    name: &str,
    commit: Oid,
) -> Result<String, RescueError> {
    sync(shadow, Path::new("objects"))?;
    let mut free = name.to_owned();
    for number in 2.. {
        match repo.reference(
            &free,
            commit,
            false,
            "treewarden: rescue before the worktree goes",
        ) {
            Err(error) if error.code() == git2::ErrorCode::Exists && number < 100 => {
                free = format!("{name}-{number}");
            }
            stored => {
                stored?;
                break;
            }
        }
    }
    Path::new(&free)
        .ancestors()
        .skip(1)
        .filter(|above| !above.as_os_str().is_empty())
        .try_for_each(|above| sync(shadow, above))?;
    match shadow.open()?.find_reference(&free)?.target() {
        Some(target) if target == commit => Ok(free),
        _ => Err(RescueError::Differs(format!(
            "`{free}` names something else"
        ))),
    }
}

fn sync(shadow: &Shadow, directory: &Path) -> Result<(), RescueError> {
    let place = shadow
        .git_dir()
        .join(directory)
        .map_err(|error| RescueError::Differs(error.to_string()))?;
    let synced = openat::dir(&place).and_then(|fd| Ok(rustix::fs::fsync(fd)?));
    synced.map_err(|cause| RescueError::File {
        path: place.path(),
        cause,
    })
}

/// Returns a worktree's id as a part of a ref name.
fn safe(id: &str) -> String {
    let safe: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                c
            } else {
                '-'
            }
        })
        .collect();
    if safe.is_empty() {
        "worktree".to_owned()
    } else {
        safe
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RescueError {
    move |cause| RescueError::File {
        path: path.to_owned(),
        cause,
    }
}

struct Making<'a> {
    shadow: &'a Shadow,
    repo: &'a Repository,
    worktree: &'a Worktree,
    unreached: &'a [String],
    refs: &'a str,
    head: Option<Commit<'a>>,
    now: DateTime<Utc>,
    stop: &'a Stop,
}

impl Making<'_> {
    fn known(&self) -> Result<Known, RescueError> {
        Known::of(
            self.stop,
            &std::sync::Arc::default(),
            self.repo,
            self.worktree,
        )
        .map_err(|cause| RescueError::File {
            path: self.worktree.admin.path(),
            cause,
        })
    }

    /// Writes every file that HEAD doesn't have, and returns all files of the tree.
    fn files(
        &self,
        known: &Known,
        place: &VolumePath,
        most: u64,
    ) -> Result<(Files, Listing), RescueError> {
        let listing = known.list(place).map_err(|cause| RescueError::File {
            path: place.path(),
            cause,
        })?;
        if let Some(blocker) = listing.blockers.first() {
            return Err(RescueError::Differs(blocker.clone()));
        }
        // A tree that is too large is refused before anything is written: otherwise each run would
        // leave its files in the store again.
        let (mut files, mut own, mut bytes) = (Files::new(), Vec::new(), 0u64);
        for (path, stamp) in &listing.files {
            let blob = match known.committed.get(path) {
                // If the size differs the content differs: the file needn't be read, however large
                // it is.
                Some(&(_, committed)) if self.is_of_size(committed, stamp.size) => {
                    Some(tree::hash(place, path, stamp, self.stop).map_err(failed(path))?)
                        .filter(|&blob| blob == committed)
                }
                // Only HEAD's file at this path is compared.
                _ => None,
            };
            if let Some(blob) = blob {
                files.insert(path.clone(), (stamp.git_mode(), blob));
            } else {
                own.push((path, stamp));
                bytes = bytes.saturating_add(stamp.size);
            }
        }
        if bytes > most {
            return Err(RescueError::TooLarge { bytes, most });
        }
        for (path, stamp) in own {
            let blob = self.write(place, path, stamp).map_err(failed(path))?;
            files.insert(path.clone(), (stamp.git_mode(), blob));
        }
        Ok((files, listing))
    }

    fn is_of_size(&self, blob: Oid, size: u64) -> bool {
        self.repo
            .odb()
            .and_then(|odb| odb.read_header(blob))
            .is_ok_and(|(its, _)| its as u64 == size)
    }

    fn write(&self, place: &VolumePath, path: &Path, stamp: &Stamp) -> io::Result<Oid> {
        let place = place.join(path)?;
        if stamp.is_link() {
            return self
                .repo
                .blob(&tree::link_target(&place)?)
                .map_err(io::Error::other);
        }
        let file = openat::file(&place)?;
        if let Some(why) = tree::anothers(file.metadata()?.uid()) {
            return Err(why);
        }
        let odb = self.repo.odb().map_err(io::Error::other)?;
        let mut blob = odb
            .writer(
                usize::try_from(stamp.size).map_err(io::Error::other)?,
                ObjectType::Blob,
            )
            .map_err(io::Error::other)?;
        let mut file = io::BufReader::with_capacity(64 << 10, file.take(stamp.size));
        loop {
            self.stop.go_on()?;
            let bytes = file.fill_buf()?;
            if bytes.is_empty() {
                return blob.finalize().map_err(io::Error::other);
            }
            blob.write_all(bytes)?;
            let read = bytes.len();
            file.consume(read);
        }
    }

    /// Writes the second parent: index, staged content, registration and manifest. Its own parents
    /// are the commits that would be lost.
    fn extras(&self, saved: &RescueContents) -> Result<Oid, RescueError> {
        let mut builder = self.repo.treebuilder(None)?;
        let manifest = serde_json::to_vec_pretty(&saved.manifest)
            .map_err(|error| RescueError::Differs(error.to_string()))?;
        builder.insert("manifest.json", self.repo.blob(&manifest)?, 0o100_644)?;
        if let Some(bytes) = &saved.index {
            builder.insert("index", self.repo.blob(bytes)?, 0o100_644)?;
        }
        let stages = STAGES
            .iter()
            .zip(&saved.staged)
            .chain(RESOLVED.iter().zip(&saved.resolved));
        for (name, staged) in stages.filter(|(_, staged)| !staged.is_empty()) {
            builder.insert(name, write_tree(self.repo, staged)?, 0o040_000)?;
        }
        if !saved.registration.is_empty() {
            builder.insert(
                REGISTRATION,
                write_tree(self.repo, &saved.registration)?,
                0o040_000,
            )?;
        }
        let parents = saved
            .lonely
            .iter()
            .map(|&id| self.repo.find_commit(id))
            .collect::<Result<Vec<_>, _>>()?;
        let tree = self.repo.find_tree(builder.write()?)?;
        let signature = self.signature()?;
        let message = "treewarden: index, manifest and commits of the rescued worktree\n";
        Ok(self.repo.commit(
            None,
            &signature,
            &signature,
            message,
            &tree,
            &parents.iter().collect::<Vec<_>>(),
        )?)
    }

    fn manifest(
        &self,
        listing: &Listing,
        place: Option<&VolumePath>,
    ) -> Result<Manifest, RescueError> {
        let top = place
            .map(openat::stat)
            .transpose()
            .map_err(|cause| RescueError::File {
                path: self.worktree.path.clone(),
                cause,
            })?;
        Ok(Manifest {
            schema: SCHEMA.to_owned(),
            worktree: self.worktree.id.clone(),
            path: self.worktree.path.as_path().into(),
            branch: self.worktree.branch.clone(),
            head: self.worktree.head.clone(),
            rescued: self.now,
            mode: top.map(|stat| stat.st_mode & 0o7777),
            files: listing
                .files
                .iter()
                .map(|(path, stamp)| (path.as_path().into(), stamp.mode & 0o7777, stamp.mtime.0))
                .collect(),
            directories: listing
                .directories
                .iter()
                .map(|(path, mode)| (path.as_path().into(), *mode))
                .collect(),
        })
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
        Ok(self
            .repo
            .commit(None, &signature, &signature, &message, &tree, &parents)?)
    }

    fn signature(&self) -> Result<Signature<'static>, git2::Error> {
        Signature::new(
            "treewarden",
            "treewarden@localhost",
            &Time::new(self.now.timestamp(), 0),
        )
    }
}
