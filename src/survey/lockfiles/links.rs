//! The links that a tree's virtual environments hold into uv's cache (`UV_LINK_MODE=symlink`): an
//! archive that one leads to is needed for as long as the environment stands, as if a lock file
//! named it.
//!
//! Environments are looked for in the tree's root, whatever they are called. uv links every file of
//! a wheel, so the `METADATA` of each package tells which archive all of it is in. Links are read
//! and never followed.

use crate::facts::package::Package;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// Environments of one tree that are looked into: more than anybody makes.
const MOST: usize = 50;

/// A virtual environment, and the archives that it leads to, in order; or why they can't be told.
pub(super) struct Environment {
    pub(super) name: OsString,
    pub(super) archives: Result<Vec<Package>, Errno>,
}

/// The environments in the root of `tree` that lead into uv's cache, or may.
///
/// # Errors
/// Whatever the kernel says of the tree's root.
pub(super) fn of(tree: &VolumePath) -> io::Result<Vec<Environment>> {
    let root = openat::dir(tree)?;
    let mut environments = Vec::new();
    for name in folders(&root, "")? {
        let archives = environment(&root, &name)
            .and_then(|there| there.as_ref().map_or(Ok(Vec::new()), archives));
        match archives {
            Ok(archives) if archives.is_empty() => {}
            archives => environments.push(Environment { name, archives }),
        }
        if environments.len() >= MOST {
            break;
        }
    }
    Ok(environments)
}

/// The directory `name` where it is an environment's.
fn environment(root: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    let Some(folder) = folder(root, name)? else {
        return Ok(None);
    };
    match rustix::fs::statat(&folder, "pyvenv.cfg", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn archives(environment: &OwnedFd) -> Result<Vec<Package>, Errno> {
    let mut archives = Vec::new();
    let Some(lib) = folder(environment, "lib")? else {
        return Ok(archives);
    };
    for python in folders(&lib, "")? {
        let Some(site) = folder(&lib, Path::new(&python).join("site-packages"))? else {
            continue;
        };
        for info in folders(&site, ".dist-info")? {
            let Some(info) = folder(&site, &info)? else {
                continue;
            };
            match rustix::fs::readlinkat(&info, "METADATA", Vec::new()) {
                Ok(target) => archives.extend(
                    target
                        .to_str()
                        .ok()
                        .and_then(|target| archive(Path::new(target))),
                ),
                // A file, as nearly everywhere.
                Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    archives.sort_unstable();
    archives.dedup();
    Ok(archives)
}

/// The archive that a path leads into: `…/archive-v0/<id>/six-1.17.0.dist-info/METADATA`.
fn archive(target: &Path) -> Option<Package> {
    let mut above = target.ancestors().skip(2);
    let (archive, bucket) = (above.next()?, above.next()?);
    let is_bucket = bucket.file_name()?.to_str()?.starts_with("archive-v");
    is_bucket.then(|| archive.file_name()?.to_str().map(Package::uv_archive))?
}

/// The directories that `of` lists and that end in `end`. Some file systems don't say what is one.
fn folders(of: &OwnedFd, end: &str) -> Result<Vec<OsString>, Errno> {
    let listed = openat::list(openat::below(
        of,
        Path::new("."),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )?)?;
    let folders = listed
        .into_iter()
        .filter(|(_, kind)| matches!(kind, FileType::Directory | FileType::Unknown));
    Ok(folders
        .map(|(name, _)| name)
        .filter(|name| name.as_encoded_bytes().ends_with(end.as_bytes()))
        .collect())
}

/// The directory at `path`; none where there is none, or something else.
fn folder(base: impl AsFd, path: impl AsRef<Path>) -> Result<Option<OwnedFd>, Errno> {
    match openat::below(base, path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::caches::testing::Field;
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
        let found = of(&field.at("tree")).unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|environment| (environment.name, environment.archives))
            .collect();
        assert_eq!(
            found,
            [(
                ".venv".into(),
                Ok(vec![Package::uv_archive("aa"), Package::uv_archive("bb")])
            )]
        );
    }
}
