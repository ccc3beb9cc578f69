//! Reserved space: a few files in the state directory, `ballast` on disk, that are deleted when the
//! volume is nearly full.
//!
//! A full volume needs the run most, and then a run can't even write its name into a lock. The
//! reserved space is deleted first and written again last. Its contents mean nothing.

use crate::apply::trash::Trash;
use crate::facts::volume::Usage;
use crate::fs::atomic;
use crate::fs::openat::{self, Listed, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// 64 files of 64 KiB: 4 MiB and 64 inodes, enough for a run's locks, trash entries and journal.
const FILES: usize = 64;
const BYTES: usize = 64 << 10;
/// Below this many free bytes or inodes the reserved space is deleted, and from so many on it is
/// written again: it takes half of them.
const SCARCE_BYTES: u64 = 8 << 20;
const SCARCE_INODES: u64 = 256;

/// Deletes the reserved space if the volume is nearly full.
///
/// # Errors
/// It exists and can't be deleted.
pub fn drop_when_scarce(state: &VolumePath, usage: &Usage, stop: &Stop) -> io::Result<()> {
    if !is_scarce(usage) {
        return Ok(());
    }
    let trash = Trash::of(state)?;
    found(trash.adopt(&directory(state)?))?;
    trash.empty(stop).map(drop)
}

/// Writes the missing part of the reserved space, if there is room for it.
///
/// # Errors
/// It can't be written; what was written stays and is of use.
pub fn take_on(state: &VolumePath, usage: &Usage) -> io::Result<()> {
    if is_scarce(usage) {
        return Ok(());
    }
    let directory = directory(state)?;
    atomic::make_directory(&directory)?;
    // Most runs find all of it: one listing shows that, without a refusal for each file.
    let there = Listed::of(&directory)?;
    let directory = openat::dir(&directory)?;
    let names = (0..FILES).map(|number| number.to_string());
    names
        .filter(|name| !there.holds(name))
        .try_for_each(|name| fill(&directory, &name))
}

fn fill(directory: &OwnedFd, name: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file).write_all(&vec![b'.'; BYTES]),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn directory(state: &VolumePath) -> io::Result<VolumePath> {
    state.join(Path::new("ballast")).map_err(io::Error::from)
}

/// Returns whether the volume is so full that a run must give up the reserved space first.
pub fn is_scarce(usage: &Usage) -> bool {
    let inodes = usage.total_inodes.saturating_sub(usage.used_inodes);
    usage.free_bytes < SCARCE_BYTES || (usage.total_inodes > 0 && inodes < SCARCE_INODES)
}

/// Returns whether there is any reserved space to give up.
pub fn is_there(state: &VolumePath) -> bool {
    directory(state).is_ok_and(|place| openat::dir(&place).is_ok())
}
