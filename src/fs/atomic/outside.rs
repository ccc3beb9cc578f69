//! The same for files that the operator names outside of the volume: metrics, the termination log,
//! a report, a secret's address.
//!
//! Their directories are the operator's, who may reach them by a link, so they are opened by their
//! paths. What lies on the volume is not for this file: there any directory on the way may be
//! swapped for a link, and the forms that take a [`VolumePath`] notice that.
//!
//! [`VolumePath`]: crate::fs::volume_path::VolumePath

use super::own;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file as `options` say. A link in its place is not followed.
///
/// # Errors
/// `InvalidData` when it is no regular file or has other names; else whatever `open` says.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    own(options
        .custom_flags(careful.bits().cast_signed())
        .open(path)?)
}

/// Puts a file with these bytes in place of the one that is there, if one is.
///
/// # Errors
/// It can't be written; then the old one stands.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same with what `write` writes, for what need not be held as a whole.
///
/// # Errors
/// As [`replace`]; `write` failed.
pub fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Whoever may look into the directory may read it, as with any other file there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut file = tempfile::Builder::new()
        .permissions(mode)
        .tempfile_in(directory)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()
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
