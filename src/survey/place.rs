//! The place of a worktree by its registration, and the one-line files that name it.

use super::tree;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes. HEAD, `gitdir` and a lock's reason are one line each.
pub const LINE_CAP: u64 = 64 << 10;

/// Returns the directory of the worktree that `admin` registers; none if it is outside the volume
/// or gone, or if another tree is there.
///
/// # Errors
/// The registration can't be read.
pub fn tree_of(admin: &VolumePath) -> io::Result<Option<VolumePath>> {
    let Ok(place) = VolumePath::new(admin.root(), &place(admin)?) else {
        return Ok(None);
    };
    Ok(not_ours(&place, admin)?.is_none().then_some(place))
}

/// Returns where the registration says that its tree is.
///
/// # Errors
/// It can't be read, or is malformed.
pub fn place(admin: &VolumePath) -> io::Result<PathBuf> {
    stands_at(admin, line_of(admin, "gitdir")?)
}

/// Returns the tree's directory from the text of a `gitdir` file, which names the `.git` file in
/// it: absolute, or relative to the admin directory.
pub(super) fn stands_at(admin: &VolumePath, gitdir: Option<String>) -> io::Result<PathBuf> {
    let gitdir = gitdir.ok_or_else(|| {
        io::Error::other("`gitdir` is missing; run `git worktree repair` in the tree")
    })?;
    let path = from(&admin.path(), &gitdir);
    match path.as_deref().and_then(Path::parent) {
        Some(tree) if path.as_deref().and_then(Path::file_name) == Some(".git".as_ref()) => {
            Ok(tree.to_owned())
        }
        _ => Err(io::Error::other(format!(
            "`gitdir` holds `{gitdir}`, which is no path to a .git file; try `git worktree repair`"
        ))),
    }
}

/// Resolves `path` lexically, from `directory`; none if it climbs above the root. No link on the
/// way is followed when it is opened, so `..` means the parent.
pub(super) fn from(directory: &Path, path: &str) -> Option<PathBuf> {
    if Path::new(path).is_absolute() {
        return Some(path.into());
    }
    let mut to = directory.to_owned();
    for part in Path::new(path).components() {
        match part {
            std::path::Component::Normal(name) => to.push(name),
            std::path::Component::ParentDir if to.pop() => {}
            std::path::Component::CurDir => {}
            _ => return None,
        }
    }
    Some(to)
}

/// Reads a one-line file.
pub(super) fn line_of(directory: &VolumePath, name: &str) -> io::Result<Option<String>> {
    line(name, found(openat::read(&directory.join(name)?, LINE_CAP)))
}

pub(super) fn line(name: &str, read: io::Result<Option<Vec<u8>>>) -> io::Result<Option<String>> {
    let text = read
        .map_err(|error| named(name, &error))?
        .map(String::from_utf8)
        .transpose()
        .map_err(io::Error::other)?;
    Ok(text.map(|text| text.trim_end_matches('\n').to_owned()))
}

pub(super) fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{name}`: {error}"))
}

/// Returns what the tree's `.git` names: a file, or the link that git-annex puts in its place, which
/// is not followed. None if there is neither.
fn named_by(place: &VolumePath) -> io::Result<Option<String>> {
    let git = place.join(".git")?;
    let Some(stat) = found(openat::stat(&git))? else {
        return Ok(None);
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = tree::link_target(&git)?;
        return Ok(Some(String::from_utf8_lossy(&target).into_owned()));
    }
    let text = line_of(place, ".git")?;
    Ok(text.map(|text| text.strip_prefix("gitdir: ").unwrap_or_default().to_owned()))
}

/// Returns why the tree at `place` isn't the one that `admin` registers: its `.git` file is
/// missing, or doesn't point back. None if it does.
pub(super) fn not_ours(place: &VolumePath, admin: &VolumePath) -> io::Result<Option<String>> {
    let Some(back) = named_by(place)? else {
        return Ok(Some(
            "its `.git` file is gone; try `git worktree repair`".to_owned(),
        ));
    };
    let leads_back = from(&place.path(), &back) == Some(admin.path());
    Ok((!leads_back)
        .then(|| format!("its `.git` leads to `{back}`, not back here; try `git worktree repair`")))
}
