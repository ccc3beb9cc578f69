//! Opens and replaces files that the operator names outside of the volume: metrics, the termination
//! log, a report, a secret's address.
//!
//! The operator owns their directories, and may reach them through a link, so they are opened by
//! their paths. Files on the volume don't belong here: there any directory on the way may be
//! swapped for a link, and only the functions that take a [`VolumePath`] notice that.
//!
//! [`VolumePath`]: crate::fs::volume_path::VolumePath

use super::own;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// Opens a file with these options. A link in its place is not followed.
///
/// # Errors
/// `InvalidData` if it is no regular file or has other names; or any error of `open`.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    own(options
        .custom_flags(careful.bits().cast_signed())
        .open(path)?)
}

/// Creates a file with these bytes, for our own user alone.
///
/// # Errors
/// `AlreadyExists`, or it can't be written and doesn't exist, or it may not survive a crash.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(directory)?.sync_all()
}

/// Replaces a file by one with these bytes, or creates it.
///
/// # Errors
/// It can't be written and the old file is unchanged, or the new one may not survive a crash.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// Does the same with what `write` writes, which need not be in memory as a whole.
///
/// # Errors
/// As [`replace`]; `write` failed.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = draft(path)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory_of(path))?.sync_all()
}

/// Checks that [`replace`] could write the file, and changes nothing.
///
/// # Errors
/// Why it could not.
pub fn can_replace(path: &Path) -> io::Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // The cause alone: it is not about the draft's own name.
    let draft = draft(path).map_err(|error| io::Error::from(error.kind()))?;
    draft.close()
}

/// Creates the draft that will replace the file.
fn draft(path: &Path) -> io::Result<NamedTempFile> {
    // Whoever can access the directory may read it, like any other file there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut draft = tempfile::Builder::new();
    draft.permissions(mode).tempfile_in(directory_of(path))
}

/// Returns the directory that contains a file.
fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_link_is_replaced_and_not_written_through() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        fs::hard_link(at("victim"), at("hard")).unwrap();
        std::os::unix::fs::symlink("victim", at("soft")).unwrap();
        for name in ["hard", "soft"] {
            assert!(
                open(&at(name), OpenOptions::new().write(true)).is_err(),
                "{name}"
            );
            replace(&at(name), b"new").unwrap();
        }
        assert_eq!(
            [at("victim"), at("hard"), at("soft")].map(|path| fs::read_to_string(path).unwrap()),
            ["precious", "new", "new"]
        );
        assert_eq!(
            fs::read_dir(top.path()).unwrap().count(),
            3,
            "no draft is left"
        );
    }
}
