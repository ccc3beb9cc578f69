//! The volume's sentinel, which distinguishes the mounted volume from an empty mount point.
//!
//! Without it a run on an unmounted or wrongly mounted volume would find every worktree missing.
//! Only `treewarden init` creates it.

use crate::config::policy;
use crate::fs::atomic;
use crate::fs::denied::{self, Wanted};
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "volume.json";
const SCHEMA: &str = "treewarden.volume/1";
/// Bytes. Ours has some two hundred.
const LARGEST: u64 = 64 << 10;
/// The directories that `init` creates beside the sentinel.
const DIRECTORIES: [&str; 2] = ["locks", "trash"];

/// The sentinel that `init` wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentinel {
    /// Always `treewarden.volume/1`.
    pub schema: String,
    /// The volume's id.
    pub id: String,
    /// The path it is mounted at, for agents and runs alike.
    pub root: PathBuf,
    /// When it was prepared.
    pub created: DateTime<Utc>,
}

/// Why a text is not a sentinel, or not a known one.
#[derive(Debug)]
pub enum SentinelError {
    /// It is malformed.
    Nonsense(serde_json::Error),
    /// It has another schema.
    Other(String),
}

impl Sentinel {
    /// Parses a sentinel. The schema is checked first: a later one may have another shape.
    ///
    /// # Errors
    /// [`SentinelError`].
    pub fn read(text: &[u8]) -> Result<Self, SentinelError> {
        #[derive(Deserialize)]
        struct Kind {
            schema: String,
        }
        let Kind { schema } = serde_json::from_slice(text).map_err(SentinelError::Nonsense)?;
        if schema == SCHEMA {
            serde_json::from_slice(text).map_err(SentinelError::Nonsense)
        } else {
            Err(SentinelError::Other(schema))
        }
    }
}

/// Why the volume is not what the config says: nothing may be touched.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The directory is missing or can't be opened.
    #[error("failed to open the volume `{}`: {cause}; is it mounted?", root.display())]
    Root {
        /// Where it should be.
        root: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The directory has no sentinel.
    #[error(
        "`{0}` is missing: the volume is not mounted here, or was never prepared; mount it, or run `treewarden init {1}`"
    )]
    NoSentinel(VolumePath, String),
    /// There is a sentinel that can't be read.
    #[error("failed to read `{path}`: {cause}{}", remedy(path, cause))]
    Unreadable {
        /// The sentinel.
        path: VolumePath,
        /// Why.
        cause: io::Error,
    },
    /// A later version wrote it.
    #[error(
        "`{path}` is of schema {schema:?}, and this treewarden knows {SCHEMA:?}; use the one that prepared the volume, or a newer one"
    )]
    Version {
        /// The sentinel.
        path: VolumePath,
        /// The schema that it names.
        schema: String,
    },
    /// Root would read and write what the owner can't, and leave behind what the owner can't use.
    #[error("`{}` belongs to user {owner}, and this is root: agents could have it read for them what they can't; run as user {owner} (in a pod `runAsUser: {owner}`, else `setpriv --reuid {owner} --regid {group} --clear-groups treewarden ..`)", place.display())]
    Owner {
        /// The volume's root or state directory.
        place: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its group.
        group: u32,
    },
    /// The scratch space is on the volume: git would obey files that agents can write.
    #[error("the scratch directory `{}` lies on the volume, where agents can write: set TMPDIR to one outside of it", .0.display())]
    Scratch(PathBuf),
    /// The directory of locks or the trash is something else.
    #[error(
        "`{0}` is no directory: what is done there would be done elsewhere; make it a directory"
    )]
    NoDirectory(VolumePath),
    /// It has another state directory already.
    #[error(
        "the volume is prepared already, by `{0}`; nothing was changed; use it with `--state {0}`"
    )]
    PreparedBy(VolumePath),
    /// Two runs would each take what the other maintains for their own.
    #[error(
        "`{}` is a volume already, by `{}`, and volumes must not be nested; use that one, or give it up: move its state directory and its config away, then try again",
        volume.display(),
        state.display()
    )]
    Nested {
        /// The other volume's root.
        volume: PathBuf,
        /// Its state directory.
        state: PathBuf,
    },
    /// It was prepared for another path.
    #[error(
        "the volume was prepared for `{}` and is mounted at `{}`; git's worktrees hold absolute paths, so mount it where the agents see it",
        prepared.display(),
        mounted.display()
    )]
    Elsewhere {
        /// Where it should be.
        prepared: PathBuf,
        /// Where it is.
        mounted: PathBuf,
    },
    /// The sentinel exists already.
    #[error("`{0}` exists: the volume is prepared already; nothing was changed")]
    Prepared(VolumePath),
    /// It can't be written.
    #[error("failed to prepare `{}`: {cause}; check that this user may write there", path.display())]
    Prepare {
        /// What was to be created.
        path: PathBuf,
        /// Why it wasn't.
        cause: io::Error,
    },
}

/// Proves that this is the volume that the config means. It changes nothing.
///
/// # Errors
/// [`VolumeError`].
pub fn prove(volume: &policy::Volume) -> Result<Sentinel, VolumeError> {
    let sentinel = prove_prepared(volume)?;
    prove_scratch(&volume.root)?;
    Ok(sentinel)
}

/// Proves that this is the directory that was prepared, and that its state directory is ours.
pub(super) fn prove_prepared(volume: &policy::Volume) -> Result<Sentinel, VolumeError> {
    let root = &volume.root;
    openat::root(root).map_err(|cause| VolumeError::Root {
        root: root.to_path_buf(),
        cause,
    })?;
    let path = volume.state.join(NAME).expect("a fixed name stays inside");
    let unreadable = |cause| VolumeError::Unreadable {
        path: path.clone(),
        cause,
    };
    let Some(text) = found(atomic::read(&path, LARGEST)).map_err(unreadable)? else {
        let state = volume.state.to_string();
        let state = (state != policy::STATE).then(|| format!(" --state {state}"));
        let typed = format!("{}{}", root.display(), state.unwrap_or_default());
        return Err(VolumeError::NoSentinel(path, typed));
    };
    let sentinel = Sentinel::read(&text).map_err(|error| match error {
        SentinelError::Nonsense(error) => unreadable(error.into()),
        SentinelError::Other(schema) => VolumeError::Version {
            path: path.clone(),
            schema,
        },
    })?;
    if sentinel.root != **root {
        return Err(VolumeError::Elsewhere {
            prepared: sentinel.root,
            mounted: root.to_path_buf(),
        });
    }
    DIRECTORIES.iter().try_for_each(|name| {
        prove_directory(&volume.state.join(name).expect("a fixed name stays inside"))
    })?;
    prove_owner(volume.state.path(), openat::stat(&volume.state))?;
    Ok(sentinel)
}

/// Returns the sentinel in a state directory; none if there is none that can be read.
pub fn sentinel(state: &VolumePath) -> Option<Sentinel> {
    Sentinel::read(&atomic::read(&state.join(NAME).ok()?, LARGEST).ok()?).ok()
}

/// Refuses to work as root on another user's volume.
fn prove_owner(place: PathBuf, seen: io::Result<Stat>) -> Result<(), VolumeError> {
    let seen = match seen {
        Ok(seen) => seen,
        Err(cause) => return Err(VolumeError::Root { root: place, cause }),
    };
    if rustix::process::geteuid().is_root() && seen.st_uid != 0 {
        return Err(VolumeError::Owner {
            place,
            owner: seen.st_uid,
            group: seen.st_gid,
        });
    }
    Ok(())
}

/// Refuses scratch space on the volume: our own git dirs are there, and agents write everywhere.
///
/// # Errors
/// [`VolumeError::Scratch`].
pub fn prove_scratch(root: &Path) -> Result<(), VolumeError> {
    let scratch = std::env::temp_dir();
    let stands = |path: &Path| path.canonicalize();
    match (stands(&scratch), stands(root)) {
        (Ok(inner), Ok(outer)) if inner.starts_with(&outer) => Err(VolumeError::Scratch(scratch)),
        _ => Ok(()),
    }
}

/// Returns what helps if the sentinel can't be read.
fn remedy(path: &VolumePath, cause: &io::Error) -> String {
    let denied = denied::message(&path.path(), Wanted::Read, cause);
    if denied.is_empty() {
        "; remove it and run `treewarden init` again if this is the right volume".to_owned()
    } else {
        denied
    }
}

/// Refuses anything but a directory: a link from an agent would lead a run out of the volume.
fn prove_directory(place: &VolumePath) -> Result<(), VolumeError> {
    let seen = found(openat::stat(place)).map_err(|cause| VolumeError::Unreadable {
        path: place.clone(),
        cause,
    })?;
    match seen.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        None | Some(FileType::Directory) => Ok(()),
        Some(_) => Err(VolumeError::NoDirectory(place.clone())),
    }
}

/// Creates a directory and those above it.
fn make_directories(place: &VolumePath) -> io::Result<()> {
    let mut above: Vec<&Path> = place.relative().ancestors().collect();
    // Without the root itself, which exists.
    above.pop();
    above.into_iter().rev().try_for_each(|path| {
        place
            .same_root(path)
            .map_err(io::Error::other)
            .and_then(|place| atomic::make_directory(&place))
    })
}

/// Proves that the volume is there and not prepared yet. It changes nothing.
///
/// # Errors
/// [`VolumeError`].
pub fn prove_unprepared(volume: &policy::Volume) -> Result<(), VolumeError> {
    let root = openat::root(&volume.root).map_err(|cause| VolumeError::Root {
        root: volume.root.to_path_buf(),
        cause,
    })?;
    prove_owner(
        volume.root.to_path_buf(),
        rustix::fs::fstat(root).map_err(io::Error::from),
    )?;
    let place = volume.state.join(NAME).expect("a fixed name stays inside");
    match found(openat::stat(&place)) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(VolumeError::Prepared(place)),
        Err(cause) => Err(VolumeError::Prepare {
            path: place.path(),
            cause,
        }),
    }
}

/// Creates the state directory with its directories and the sentinel.
///
/// # Errors
/// [`VolumeError`]; a prepared volume is left unchanged.
pub fn prepare(volume: &policy::Volume, now: DateTime<Utc>) -> Result<Sentinel, VolumeError> {
    prove_unprepared(volume)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| VolumeError::Prepare { path, cause }
    };
    let place = volume.state.join(NAME).expect("a fixed name stays inside");
    for name in DIRECTORIES {
        let place = volume.state.join(name).expect("a fixed name stays inside");
        make_directories(&place).map_err(failed(&place.path()))?;
    }
    let sentinel = Sentinel {
        schema: SCHEMA.to_owned(),
        id: uuid::Uuid::new_v4().to_string(),
        root: volume.root.to_path_buf(),
        created: now,
    };
    let text = serde_json::to_vec_pretty(&sentinel)
        .map_err(|error| failed(&place.path())(error.into()))?;
    match atomic::create(&place, &text) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(VolumeError::Prepared(place));
        }
        made => made.map_err(failed(&place.path()))?,
    }
    Ok(sentinel)
}
