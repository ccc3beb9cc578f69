//! Untracked files and links that can be removed with their tree without a loss: a copy of the main
//! checkout's file at the same path, compared byte for byte, and a link that leads out of the tree.

use super::tree::{self, Stamp};
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, OFlags};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Bytes of the largest file that is worth comparing.
const LARGEST: u64 = 64 << 20;
/// Bytes compared at once.
const AT_ONCE: usize = 64 << 10;

/// The main checkout, looked up path by path in sorted order.
pub(super) struct Elsewhere<'a> {
    /// Where the tree is registered: by now it may be in the trash.
    tree: &'a Path,
    checkout: Option<&'a VolumePath>,
    /// The directory that was looked up last, opened if it exists.
    last: Option<(PathBuf, Option<OwnedFd>)>,
}

impl<'a> Elsewhere<'a> {
    /// Returns the repo's checkout, to compare one of its trees with.
    pub(super) fn of(checkout: Option<&'a VolumePath>, tree: &'a Path) -> Self {
        Self {
            tree,
            checkout,
            last: None,
        }
    }

    /// Checks whether removing the file or link at `path` in the tree at `place` loses nothing.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn has(
        &mut self,
        place: &VolumePath,
        path: &Path,
        stamp: &Stamp,
        stop: &Stop,
    ) -> io::Result<bool> {
        let here = place.join(path)?;
        if stamp.is_link() {
            let target = PathBuf::from(std::ffi::OsString::from_vec(tree::link_target(&here)?));
            return Ok(leads_out(self.tree, path, &target));
        }
        let Some(name) = path.file_name() else {
            return Ok(false);
        };
        let Some(directory) = self.directory(path.parent().unwrap_or(Path::new(""))) else {
            return Ok(false);
        };
        let same = |stat: &rustix::fs::Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size) == Ok(stamp.size)
        };
        let stands = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| same(&stat));
        if !stands || stamp.size > LARGEST {
            return Ok(false);
        }
        let Ok(there) = openat::below(
            directory,
            Path::new(name),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        ) else {
            return Ok(false);
        };
        stop.read(stamp.size)?;
        equal(
            openat::file(&here)?.take(stamp.size.saturating_add(1)),
            File::from(there),
        )
    }

    fn directory(&mut self, path: &Path) -> Option<&OwnedFd> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let place = self.checkout.and_then(|checkout| checkout.join(path).ok());
            let opened =
                place.and_then(|place| openat::open(&place, OFlags::PATH | OFlags::DIRECTORY).ok());
            self.last = Some((path.to_owned(), opened));
        }
        self.last.as_ref()?.1.as_ref()
    }
}

/// Checks whether both are equal. If `there` can't be read, it is no copy.
fn equal(here: impl Read, mut there: File) -> io::Result<bool> {
    let (mut here, mut theirs) = (io::BufReader::with_capacity(AT_ONCE, here), Vec::new());
    loop {
        let ours = here.fill_buf()?;
        if ours.is_empty() {
            return Ok(there.read(&mut [0]).is_ok_and(|rest| rest == 0));
        }
        theirs.resize(ours.len(), 0);
        if there.read_exact(&mut theirs).is_err() || ours != theirs {
            return Ok(false);
        }
        here.consume(theirs.len());
    }
}

/// Checks whether a link at `path` in the tree at `top` leads out of it, resolved lexically.
fn leads_out(top: &Path, path: &Path, target: &Path) -> bool {
    let mut to = top.join(path);
    to.pop();
    // An absolute target starts over.
    for part in target.components() {
        match part {
            Component::ParentDir => drop(to.pop()),
            Component::CurDir => {}
            part => to.push(part),
        }
    }
    !to.starts_with(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_out_by_its_letters() {
        let top = Path::new("/data/worktrees/shop/fix");
        for (path, target, out) in [
            ("result", "/nix/store/abc-shop", true),
            ("node_modules", "../../../shop/node_modules", true),
            ("web/node_modules", "../../other/web/node_modules", true),
            ("current", "builds/3", false),
            ("web/current", "../builds/3", false),
            ("here", "/data/worktrees/shop/fix/builds", false),
            ("here", "/data/../data/worktrees/shop/fix/builds", false),
            ("here", "../fix/builds", false),
            ("a/b", "..", false),
            ("a/b", "../..", true),
        ] {
            assert_eq!(
                leads_out(top, Path::new(path), Path::new(target)),
                out,
                "{path} -> {target}"
            );
        }
    }
}
