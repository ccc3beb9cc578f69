//! Explains a refused permission: who owns what stands in the way, with which mode, who we are, and
//! the command that helps.
//!
//! It only asks for owners and modes. Others may change these meanwhile, so the answer is for people
//! and decides nothing.

use rustix::fs::{Access, access};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most entries that are asked for, to find the one that can't be read.
const MOST: usize = 5000;

/// What was to be done with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Read it.
    Read,
    /// Move or delete it, or write a new file in its place.
    Replace,
}

/// Returns `; ` and the explanation; nothing if the cause isn't a refused permission, or if what
/// stands in the way can't be found.
pub fn message(path: &Path, wanted: Wanted, cause: &io::Error) -> String {
    if cause.kind() != io::ErrorKind::PermissionDenied || !path.is_absolute() {
        return String::new();
    }
    in_the_way(path, wanted).map_or_else(String::new, |(it, data)| {
        // What stands above may have much in it that is nobody's business here.
        let all = if it.starts_with(path) && data.is_dir() {
            "-R "
        } else {
            ""
        };
        format!("; {}", explained(&it, &data, all))
    })
}

fn explained(path: &Path, data: &Metadata, all: &str) -> String {
    let me = rustix::process::geteuid().as_raw();
    let (owner, group, mode) = (data.uid(), data.gid(), data.mode() & 0o7777);
    let (shown, typed) = (path.display(), typed(path));
    let is = format!(
        "`{shown}` belongs to uid {owner}, gid {group}, with mode {mode:04o}, and this is uid {me}"
    );
    if owner == me {
        format!("{is}: run `chmod {all}u+rwX {typed}`")
    } else {
        format!("{is}: run `sudo chown {all}{me} {typed}`, or run treewarden as uid {owner}")
    }
}

/// Returns the path as a shell takes it.
fn typed(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:".contains(c);
    if text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns the first directory on the way that we may not enter; or else the directory that we may
/// not write to, or the place itself: what we may not read, or another's in a sticky directory.
fn in_the_way(path: &Path, wanted: Wanted) -> Option<(PathBuf, Metadata)> {
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    let refuses = |it: &Path, wanted| access(it, wanted).is_err();
    let closed = above.iter().rev().find(|it| refuses(it, Access::EXEC_OK));
    let full = || {
        let needs_parent = wanted == Wanted::Replace;
        let parent = above.first().filter(|_| needs_parent)?;
        refuses(parent, Access::WRITE_OK).then_some(parent)
    };
    let data = |it: &Path| std::fs::symlink_metadata(it).ok();
    match closed.or_else(full).copied() {
        Some(it) => Some((it.to_owned(), data(it)?)),
        None if wanted == Wanted::Read => {
            Some(inside(path).unwrap_or((path.to_owned(), data(path)?)))
        }
        None => Some((path.to_owned(), data(path)?)),
    }
}

/// Returns the first of what is in a directory that we may not read; none if it isn't among
/// [`MOST`] entries.
fn inside(path: &Path) -> Option<(PathBuf, Metadata)> {
    let (mut left, mut next) = (MOST, vec![path.to_owned()]);
    while let Some(path) = next.pop() {
        let data = std::fs::symlink_metadata(&path).ok()?;
        let needed = if data.is_dir() {
            Access::READ_OK | Access::EXEC_OK
        } else {
            Access::READ_OK
        };
        if (data.is_dir() || data.is_file()) && access(&path, needed).is_err() {
            return Some((path, data));
        }
        if data.is_dir() {
            for entry in std::fs::read_dir(&path).ok()?.flatten() {
                left = left.checked_sub(1)?;
                next.push(entry.path());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_typed_as_a_shell_takes_it() {
        let table = [
            ("/data/acme__shop/.git", "/data/acme__shop/.git"),
            ("/data/a b", "'/data/a b'"),
            ("/data/it's", r"'/data/it'\''s'"),
            ("/data/$(id)", "'/data/$(id)'"),
        ];
        for (path, expected) in table {
            assert_eq!(typed(Path::new(path)), expected);
        }
    }
}
