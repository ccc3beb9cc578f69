//! Atomic writes of our own files in the state directory: a crash leaves the old file or the new
//! one, never half of one.
//!
//! Agents can write there too: a symbolic or hard link in a file's place would make us write over
//! its target, and a FIFO would wait for ever. So only a regular file of our own is opened, and one
//! that a reader may have open is replaced, not changed.

use rustix::fs::OFlags;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a file of ours with `options`.
///
/// # Errors
/// `InvalidData` if it is no regular file or has other names; else any error of `open`.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options
        .custom_flags(careful.bits().cast_signed())
        .open(path)?;
    let seen = file.metadata()?;
    if seen.is_file() && seen.nlink() <= 1 {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is no file of its own; remove it",
        ))
    }
}

/// Creates a file with these bytes.
///
/// # Errors
/// `AlreadyExists`, or it can't be written; then there is none.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    draft(path, |file| file.write_all(bytes))?.persist_noclobber(path)?;
    sync_folder(path)
}

/// Replaces a file by these bytes, or creates it.
///
/// # Errors
/// It can't be written; then the old one stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same with what `write` writes, which need not be in memory as a whole.
///
/// # Errors
/// As [`replace`]; `write` failed.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    draft(path, write)?.persist(path)?;
    sync_folder(path)
}

/// Creates the new file beside the old one. Whoever may read the directory may read it, as any
/// other file there.
fn draft(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<tempfile::NamedTempFile> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut file = tempfile::Builder::new()
        .permissions(mode)
        .tempfile_in(folder(path))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Writes `what` as JSON and flushes it: a buffer that is merely dropped hides the error of its
/// last write.
///
/// # Errors
/// Any error of `to`.
pub fn json(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut buffer = io::BufWriter::new(to);
    serde_json::to_writer(&mut buffer, what)?;
    buffer.flush()
}

/// Makes a directory if it is missing; its parents exist.
///
/// # Errors
/// Something else is there, or it can't be made or inspected.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        // For an unreadable directory `create_dir_all` says that it exists, and not what is wrong.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match std::fs::symlink_metadata(path)? {
                there if there.is_dir() => Ok(()),
                _ => Err(error),
            }
        }
        made => made,
    }
}

/// Syncs a directory: a new name is on the disk only after that.
///
/// # Errors
/// The directory can't be opened or synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_full_disk_is_told() {
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(
            json(&mut full, &"short").unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }

    #[test]
    fn only_a_file_of_its_own_is_opened() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        fs::hard_link(at("victim"), at("hard")).unwrap();
        std::os::unix::fs::symlink("victim", at("soft")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("loose")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        for name in ["hard", "soft", "loose", "folder", "fifo"] {
            assert!(
                open(
                    &at(name),
                    OpenOptions::new().read(true).write(true).create(true)
                )
                .is_err(),
                "{name}"
            );
            assert!(
                create(&at(name), b"new")
                    .is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists),
                "{name}"
            );
        }
        assert!(open(&at("fifo"), OpenOptions::new().read(true)).is_err());
        assert!(!at("nowhere").exists());
        // A file with another name elsewhere is replaced, not written over.
        replace(&at("hard"), b"new").unwrap();
        replace(&at("soft"), b"new").unwrap();
        assert_eq!(
            [at("victim"), at("hard"), at("soft")].map(|path| fs::read_to_string(path).unwrap()),
            ["precious", "new", "new"]
        );
        assert_eq!(
            fs::read_dir(top.path()).unwrap().count(),
            6,
            "no draft is left"
        );
    }
}
