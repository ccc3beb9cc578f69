//! The owner of what root creates on the volume: the repo's owner.

use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the repo's owner if we are root, else none: what root restores is for the repo's agents.
///
/// # Errors
/// It can't be read.
pub fn owner_of(git_dir: &VolumePath) -> io::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let stat = openat::stat(git_dir)?;
    Ok(Some((
        Uid::from_raw(stat.st_uid),
        Gid::from_raw(stat.st_gid),
    )))
}

/// Opens the directory `path` below `base`, and creates missing directories on the way, without
/// following a link.
///
/// # Errors
/// Something other than a directory is on the way.
pub fn directories(
    base: impl AsFd,
    path: &Path,
    owner: Option<(Uid, Gid)>,
    mode: &dyn Fn(&Path) -> u32,
) -> io::Result<OwnedFd> {
    let mut fd = open_directory(base.as_fd(), Path::new("."))?;
    let mut above = PathBuf::new();
    for name in path {
        above.push(name);
        match rustix::fs::mkdirat(&fd, name, Mode::RWXU) {
            Ok(()) => {
                let fresh = open_directory(&fd, Path::new(name))?;
                give(&fresh, owner)?;
                rustix::fs::fchmod(&fresh, Mode::from_raw_mode(mode(&above)))?;
                fd = fresh;
            }
            Err(Errno::EXIST) => fd = open_directory(&fd, Path::new(name))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(fd)
}

pub(super) fn open_directory(base: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    openat::below(base, path, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|errno| io::Error::other(openat::cause(errno)))
}

pub(super) fn give(fd: impl AsFd, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else {
        return Ok(());
    };
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}
