//! Lists a directory that is being deleted, or as many of its names as are kept in memory. Anything
//! but a directory counts as a file.

use crate::fs::openat;
use crate::fs::walk::{Anchor, LISTING};
use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom};
use std::ffi::CString;
use std::io;

/// A part of a directory's listing.
pub(super) struct Listing {
    /// Anything but directories.
    pub(super) files: Vec<CString>,
    pub(super) dirs: Vec<CString>,
    pub(super) more: bool,
}

/// Lists a directory from the beginning, at most `most` names.
pub(super) fn read(directory: &Anchor, most: usize) -> io::Result<Listing> {
    let (mut files, mut dirs, mut buffer) = (Vec::new(), Vec::new(), Vec::with_capacity(LISTING));
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut more = false;
    while let Some(entry) = entries.next() {
        more = files.len().saturating_add(dirs.len()) == most;
        if more {
            break;
        }
        let entry = entry?;
        let name = entry.file_name();
        if openat::is_dots(name) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(
                rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode,
            ),
            kind => kind,
        };
        if kind.is_dir() { &mut dirs } else { &mut files }.push((entry.ino(), name.to_owned()));
    }
    // Sorted by inode, which is about their order on the disk.
    let sorted = |mut names: Vec<(u64, CString)>| {
        names.sort_unstable_by_key(|(inode, _)| *inode);
        names.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    let (files, dirs) = (sorted(files), sorted(dirs));
    Ok(Listing { files, dirs, more })
}
