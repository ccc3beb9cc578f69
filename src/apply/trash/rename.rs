//! Renames on the volume: each directory on the way is opened beneath the root, and no link is
//! followed. A directory can replace only an empty directory.

use crate::fs::denied::{self, Wanted};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;

/// Renames whatever is at `from`. The name `to` is our own, or that of the same object.
pub(super) fn rename(from: &VolumePath, to: &VolumePath) -> io::Result<()> {
    by_name(from, to, &|name| name.to_owned())
}

/// Renames the directory at `from`, and nothing but a directory: a file would replace another file.
/// The kernel enforces this if both names end in a slash, whatever is swapped in meanwhile.
pub(super) fn directory(from: &VolumePath, to: &VolumePath) -> io::Result<()> {
    by_name(from, to, &|name| {
        [name, OsStr::new("/")].into_iter().collect()
    })
}

fn by_name(
    from: &VolumePath,
    to: &VolumePath,
    called: &dyn Fn(&OsStr) -> OsString,
) -> io::Result<()> {
    // Below different roots there is no way from one to the other.
    if from.root() != to.root() {
        return Err(Errno::XDEV.into());
    }
    let root = openat::root(from.root())?;
    let directory = |of: &VolumePath| match of
        .relative()
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
    {
        Some(above) => Ok(openat::below(
            &root,
            above,
            OFlags::DIRECTORY | OFlags::PATH,
        )?),
        None => root.try_clone(),
    };
    let (parent, new_parent) = (directory(from)?, directory(to)?);
    let [Some(name), Some(new_name)] = [from, to].map(|place| place.relative().file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let rename = || rustix::fs::renameat(&parent, called(name), &new_parent, called(new_name));
    match rename() {
        Err(Errno::ACCESS) => writable(from, rename),
        moved => Ok(moved?),
    }
}

/// Retries a rename with the directory's own write bit set, and resets the bit if that fails. A
/// directory that its owner can't write to (Go's modules) can't be moved to another parent, because
/// its `..` changes.
fn writable(
    directory: &VolumePath,
    rename: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<()> {
    let refused = io::Error::from(Errno::ACCESS);
    let Ok(directory) = openat::dir(directory) else {
        return Err(refused);
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode);
    if mode.contains(Mode::WUSR) || rustix::fs::fchmod(&directory, mode | Mode::WUSR).is_err() {
        return Err(refused);
    }
    Ok(rename().inspect_err(|_| {
        let _unchanged = rustix::fs::fchmod(&directory, mode);
    })?)
}

/// Returns what helps if a rename was refused, for people.
pub(super) fn remedy(path: &VolumePath, cause: &io::Error) -> String {
    let said = match Errno::from_io_error(cause) {
        Some(Errno::XDEV) => {
            "; it is a mount, or is on another file system than the state folder: unmount it, or leave it out of the config"
        }
        Some(Errno::PERM) => {
            "; it is another user's in a sticky directory, or protected (`lsattr -d` shows an i)"
        }
        Some(Errno::BUSY) => "; something is mounted there, or it is somebody's root: unmount it",
        _ => "",
    };
    said.to_owned() + &denied::message(&path.path(), Wanted::Replace, cause)
}
