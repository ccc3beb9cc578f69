//! The links of virtual environments into uv's cache (`UV_LINK_MODE=symlink`). An archive is in use
//! as long as an environment of a tree links to it, as if a lock file named it.
//!
//! Environments are searched for in the tree's root, whatever their names. Those in the cache itself
//! hold their archives likewise. uv links every file of a
//! wheel, so the `METADATA` of each package shows its archive. Links are read and never followed.
//! An agent may have put anything there: a tree with more entries than any well-formed one is an
//! error, so that what it named last still counts.

use crate::ecosystems::ecosystem::Links;
use crate::facts::package::Package;
use crate::fs::budget::Reservation;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most directory entries that are listed for one tree. Its root and its environments have some
/// thousands.
const MOST: usize = 50_000;
/// The most bytes of an archive's name; uv's have 16.
const LONGEST: usize = 64;
/// Entries between two checks whether to stop.
const AT_ONCE: usize = 1000;

/// Names an archive of the cache by its directory.
pub(super) fn archive_package(id: &str) -> Package {
    Package::new("uv-archive", id)
}

/// Returns the archives that the environments in the root of `tree` link to.
///
/// # Errors
/// One of them can't be read, the tree has more entries than any well-formed one, or the run is to
/// stop.
pub(super) fn of(tree: &VolumePath, stop: &Stop) -> io::Result<Links> {
    let mut look = Look::new(stop);
    let root = openat::dir(tree)?;
    look.each_directory(&root, "", |look, directory| {
        match rustix::fs::statat(directory, "pyvenv.cfg", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => look.environment(directory),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    })?;
    let Look {
        mut archives, held, ..
    } = look;
    archives.sort_unstable();
    archives.dedup();
    let packages = archives.iter().map(|id| archive_package(id)).collect();
    Ok(Links::new(packages, held))
}

/// Returns the archives that one environment links to, by their names.
///
/// # Errors
/// As [`of`].
pub(super) fn of_environment(environment: &VolumePath, stop: &Stop) -> io::Result<Vec<String>> {
    let mut look = Look::new(stop);
    look.environment(&openat::dir(environment)?)?;
    Ok(look.archives)
}

struct Look<'a> {
    stop: &'a Stop,
    /// Entries listed so far.
    seen: usize,
    archives: Vec<String>,
    held: Reservation,
}

impl<'a> Look<'a> {
    fn new(stop: &'a Stop) -> Self {
        Self {
            stop,
            seen: 0,
            archives: Vec::new(),
            held: stop.hold(),
        }
    }

    fn environment(&mut self, environment: &OwnedFd) -> io::Result<()> {
        let Some(lib) = directory(environment, "lib")? else {
            return Ok(());
        };
        self.each_directory(&lib, "", |look, python| {
            match directory(python, "site-packages")? {
                Some(site) => look.each_directory(&site, ".dist-info", Self::package),
                None => Ok(()),
            }
        })
    }

    fn package(&mut self, info: &OwnedFd) -> io::Result<()> {
        let target = match rustix::fs::readlinkat(info, "METADATA", Vec::new()) {
            Ok(target) => target,
            // No link: a regular file, as nearly everywhere, or nothing.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        if let Some(id) = target
            .to_str()
            .ok()
            .and_then(|target| archive(Path::new(target)))
        {
            // Once by its name, and twice as a package.
            self.held.more(id.len().saturating_mul(4))?;
            self.archives.push(id.to_owned());
        }
        Ok(())
    }

    /// Calls `each` with the directories in `of` that have a name ending in `end`. Some file
    /// systems' listings don't say what is a directory.
    fn each_directory(
        &mut self,
        of: &OwnedFd,
        end: &str,
        mut each: impl FnMut(&mut Self, &OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        let listed = openat::below(of, Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in &mut Dir::new(listed)? {
            let entry = entry?;
            self.seen = self.seen.saturating_add(1);
            if self.seen > MOST {
                return Err(io::Error::other(
                    "it holds more than any well-formed environment",
                ));
            }
            if self.seen.is_multiple_of(AT_ONCE) {
                self.stop.go_on()?;
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let may_be = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            let is_asked = name.as_bytes().ends_with(end.as_bytes());
            if openat::is_dots(entry.file_name()) || !may_be || !is_asked {
                continue;
            }
            if let Some(directory) = directory(of, name)? {
                each(self, &directory)?;
            }
        }
        Ok(())
    }
}

/// Returns the archive of a path into it: `…/archive-v0/<id>/six-1.17.0.dist-info/METADATA`.
fn archive(target: &Path) -> Option<&str> {
    let mut above = target.ancestors().skip(2);
    let (archive, bucket) = (above.next()?, above.next()?);
    let is_bucket = bucket.file_name()?.to_str()?.starts_with("archive-v");
    let id = archive.file_name()?.to_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_id = id.len() <= LONGEST && id.bytes().all(plain);
    (is_bucket && is_id).then_some(id)
}

/// Opens the directory at `path`; none if nothing or something else is there.
fn directory(base: impl AsFd, path: impl AsRef<Path>) -> Result<Option<OwnedFd>, Errno> {
    match openat::below(base, path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn environments_lead_to_archives() {
        let field = Field::new();
        let package = |environment: &str, name: &str| {
            let info = field
                .at(&format!(
                    "tree/{environment}/lib/python3.11/site-packages/{name}.dist-info"
                ))
                .path();
            fs::create_dir_all(&info).unwrap();
            info.join("METADATA")
        };
        let archive =
            |id: &str, name: &str| format!("/caches/uv/archive-v0/{id}/{name}.dist-info/METADATA");
        for (name, id) in [
            ("six-1.17.0", "bb"),
            ("rich-15.0.0", "aa"),
            ("also-1", "bb"),
        ] {
            symlink(archive(id, name), package(".venv", name)).unwrap();
        }
        for environment in [".venv", "copied", "elsewhere"] {
            field.file(&format!("tree/{environment}/pyvenv.cfg"), 0);
        }
        fs::write(package("copied", "six-1.17.0"), "Name: six").unwrap();
        symlink("/home/me/six/METADATA", package("elsewhere", "six-1.17.0")).unwrap();
        symlink(archive("cc", "x"), package("not-one", "x")).unwrap();
        symlink(".venv", field.at("tree/linked").path()).unwrap();
        let found = of(&field.at("tree"), &Stop::never()).unwrap().packages;
        assert_eq!(found, [archive_package("aa"), archive_package("bb")]);
    }

    #[test]
    fn of_more_than_an_honest_tree_has_nothing_is_told() {
        let field = Field::new();
        for number in 0..=MOST {
            field.file(&format!("tree/{number}"), 0);
        }
        let why = of(&field.at("tree"), &Stop::never()).err().unwrap();
        assert!(
            why.to_string().contains("more than any well-formed"),
            "{why}"
        );
        let long = format!(
            "/c/archive-v0/{}/x.dist-info/METADATA",
            "a".repeat(LONGEST + 1)
        );
        for odd in [
            long.as_str(),
            "/c/archive-v0/a b/x.dist-info/METADATA",
            "/c/x/aa/x/METADATA",
        ] {
            assert_eq!(archive(Path::new(odd)), None, "{odd}");
        }
    }
}
