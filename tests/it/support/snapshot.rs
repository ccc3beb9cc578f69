//! Everything below a directory, so that "nothing changed" can be said of all of it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is at a path. Access times are left out, because inspecting changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// `file`, `folder`, `link`, `fifo` or `other`.
    pub(crate) kind: &'static str,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Bytes; 0 for a directory, because its size depends on the file system.
    pub(crate) size: u64,
    /// A file's content or a link's target, hashed.
    pub(crate) content: u64,
    /// Its inode, which changes when a file is replaced.
    pub(crate) inode: u64,
    /// Last write, in nanoseconds.
    pub(crate) mtime: i128,
    /// Last change of any kind: nobody can set it.
    pub(crate) ctime: i128,
}

/// Returns everything below `top` by its path relative to it, including `top` itself.
pub(crate) fn snapshot(top: &Path) -> BTreeMap<PathBuf, Standing> {
    let entries = walkdir::WalkDir::new(top).into_iter().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.path().strip_prefix(top).unwrap().to_owned(),
                standing(entry.path()),
            )
        })
        .collect()
}

fn standing(path: &Path) -> Standing {
    let data = path.symlink_metadata().unwrap();
    let kind = data.file_type();
    let (kind, content) = match () {
        () if kind.is_file() => ("file", hash(&read(path))),
        () if kind.is_dir() => ("folder", 0),
        () if kind.is_symlink() => ("link", hash(&fs::read_link(path).unwrap())),
        () if kind.is_fifo() => ("fifo", 0),
        () => ("other", 0),
    };
    let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Standing {
        kind,
        mode: data.mode() & 0o7777,
        size: if data.is_dir() { 0 } else { data.len() },
        content,
        inode: data.ino(),
        mtime: time(data.mtime(), data.mtime_nsec()),
        ctime: time(data.ctime(), data.ctime_nsec()),
    }
}

/// Reads a file without changing its access time, by which caches see what is used.
pub(super) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOATIME.bits().cast_signed())
        .open(path);
    file.and_then(|mut file| file.read_to_end(&mut bytes))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
}

fn hash(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
