//! The proof of caches outside of the volume: the directory that they stand in is the one that
//! `treewarden init --outside` prepared, and not an empty mount point or another disk.
//!
//! It is the volume's own proof, made stricter: nobody else may write its state directory, since
//! other users may write beside it, and the path must be the real one, so that no two names lead to
//! one cache.

use super::volume::{self, Sentinel, VolumeError};
use crate::config::policy::Volume;
use crate::fs::atomic;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, Utc};
use rustix::fs::{Mode, Stat};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing is evicted there.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// It isn't prepared, or is another place.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A link leads there.
    #[error("`{}` is really `{}`; write that path into the config", typed.display(), real.display())]
    Link {
        /// The path in the config.
        typed: PathBuf,
        /// Where it leads.
        real: PathBuf,
    },
    /// Others can write what would be deleted or read from it.
    #[error("others can write in `{0}`; make it yours alone (`chown`, `chmod 700`)")]
    Others(VolumePath),
    /// The cache is missing.
    #[error("`{0}` is missing: it is not mounted, or its tool has not made it yet")]
    Missing(VolumePath),
    /// Nothing could be renamed from there into the trash.
    #[error(
        "`{0}` is a mount of its own, so the trash beside it is on another file system; name a directory in it"
    )]
    Mount(VolumePath),
    /// It contains something that isn't the cache's.
    #[error("`{cache}` holds `{}`, or is in it; name the cache's own directory", what.display())]
    Holds {
        /// The cache.
        cache: VolumePath,
        /// What else is there.
        what: PathBuf,
    },
    /// It can't be opened.
    #[error("failed to open `{path}`: {cause}; repair it, or take it out of the config")]
    Open {
        /// The cache, or its state directory.
        path: VolumePath,
        /// Why.
        cause: io::Error,
    },
}

/// Proves that this is the directory that was prepared. It changes nothing.
///
/// # Errors
/// [`OutsideError`].
pub fn prove(outside: &Volume) -> Result<Sentinel, OutsideError> {
    prove_real(&outside.root)?;
    let sentinel = volume::prove_prepared(outside).map_err(|error| match error {
        VolumeError::NoSentinel(path, _) => VolumeError::NoSentinel(path, "--outside".to_owned()),
        error => error,
    })?;
    let stat = openat::stat(&outside.state).map_err(|cause| OutsideError::Open {
        path: outside.state.clone(),
        cause,
    })?;
    if is_ours(&stat) {
        Ok(sentinel)
    } else {
        Err(OutsideError::Others(outside.state.clone()))
    }
}

/// Proves that a cache there is a directory of its own, on the file system of its trash. `root` is
/// the volume's: links may lead to it, and its real path counts.
///
/// # Errors
/// [`OutsideError`].
pub fn prove_cache(cache: &VolumePath, root: &Path) -> Result<(), OutsideError> {
    let (path, real) = (cache.path(), |path: PathBuf| path.canonicalize().ok());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = [Some(root.to_owned()), Some(std::env::temp_dir()), home];
    let held = places.into_iter().flatten().filter_map(real);
    let around = real(root.to_owned()).filter(|root| path.starts_with(root));
    if let Some(what) = held
        .filter(|held| held.starts_with(&path))
        .chain(around)
        .next()
    {
        return Err(OutsideError::Holds {
            cache: cache.clone(),
            what,
        });
    }
    match openat::dir(cache) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(OutsideError::Missing(cache.clone()))
        }
        Err(cause) if Errno::from_io_error(&cause) == Some(Errno::XDEV) => {
            Err(OutsideError::Mount(cache.clone()))
        }
        Err(cause) => Err(OutsideError::Open {
            path: cache.clone(),
            cause,
        }),
    }
}

/// Creates the state directory, for its owner alone, and its sentinel.
///
/// # Errors
/// [`OutsideError`]; [`VolumeError::Prepared`] if it was prepared before.
pub fn prepare(outside: &Volume, now: DateTime<Utc>) -> Result<Sentinel, OutsideError> {
    prove_real(&outside.root)?;
    let failed = |cause| VolumeError::Prepare {
        path: outside.state.path(),
        cause,
    };
    match atomic::make_new_directory(&outside.state) {
        Ok(()) => openat::dir(&outside.state)
            .and_then(|state| Ok(rustix::fs::fchmod(state, Mode::RWXU)?))
            .map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error).into()),
    }
    if openat::stat(&outside.state).map_err(failed)?.st_uid != us() {
        return Err(OutsideError::Others(outside.state.clone()));
    }
    Ok(volume::prepare(outside, now)?)
}

fn prove_real(root: &Path) -> Result<(), OutsideError> {
    let real = root.canonicalize().map_err(|cause| VolumeError::Root {
        root: root.to_owned(),
        cause,
    })?;
    if real == root {
        return Ok(());
    }
    Err(OutsideError::Link {
        typed: root.to_owned(),
        real,
    })
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == us()
        && Mode::from_raw_mode(stat.st_mode)
            .intersection(Mode::WGRP | Mode::WOTH)
            .is_empty()
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::OUTSIDE_STATE;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;

    #[test]
    fn a_cache_is_apart_from_the_volume_by_its_real_path() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/volume/b")).unwrap();
        fs::create_dir_all(top.join("c")).unwrap();
        symlink(top.join("a/volume"), top.join("link")).unwrap();
        let root: Arc<Path> = top.as_path().into();
        let proven = |cache: &str| {
            let cache = VolumePath::outside(&root, Path::new(cache)).unwrap();
            prove_cache(&cache, &top.join("link")).map_err(|error| error.to_string())
        };
        for cache in ["a", "a/volume", "a/volume/b"] {
            assert!(
                proven(cache).unwrap_err().contains("or is in it"),
                "{cache}"
            );
        }
        assert_eq!(proven("c"), Ok(()));
        assert!(proven("d").unwrap_err().contains("is missing"));
        assert!(proven("link").unwrap_err().contains("failed to open"));
    }

    #[test]
    fn what_others_can_write_is_not_prepared() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().canonicalize().unwrap().into();
        let state = VolumePath::outside(&root, Path::new(OUTSIDE_STATE)).unwrap();
        let outside = Volume { root, state };
        let message = prove(&outside).unwrap_err().to_string();
        assert!(
            message.contains("run `treewarden init --outside`"),
            "{message}"
        );
        let first = prepare(&outside, crate::fs::clock::now()).unwrap();
        assert_eq!(prove(&outside).unwrap(), first);
        let again = prepare(&outside, crate::fs::clock::now()).unwrap_err();
        assert!(matches!(
            again,
            OutsideError::Volume(VolumeError::Prepared(_))
        ));
        let open = fs::Permissions::from_mode(0o702);
        fs::set_permissions(outside.state.path(), open).unwrap();
        assert!(matches!(prove(&outside), Err(OutsideError::Others(_))));
    }
}
