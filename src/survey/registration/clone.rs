//! Which files in a loose clone's git dir are git's, besides those of any registration.
//!
//! | file | git's if |
//! | --- | --- |
//! | a hook | it is one of git's samples, or equal to the checkout's hook |
//! | `config` | it has only settings: no remote but origin, no alias, nothing unknown |
//! | `info/exclude` | it has only comments, as git's template has, or equals the checkout's |

use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::config;
use std::io;
use std::path::Path;

/// Bytes. Hooks and configs are small; a larger file is somebody's.
const CAP: u64 = 1 << 20;
/// Files that git writes, and maintains by itself.
const FILES: [&str; 7] = [
    "description",
    "gc.log",
    "gc.pid",
    "gitk.cache",
    "info/refs",
    "packed-refs",
    "shallow",
];
/// Directories that are read elsewhere: objects and refs, worktrees of its own, and git-lfs.
const DIRECTORIES: [&str; 6] = ["annex", "branches", "lfs", "objects", "refs", "worktrees"];
/// Sections of a config that say how git works here. They name no work.
const SETTINGS: [&str; 19] = [
    "advice.",
    "branch.",
    "color.",
    "commit.",
    "core.",
    "credential.",
    "extensions.",
    "fetch.",
    "gc.",
    "gpg.",
    "http.",
    "index.",
    "init.",
    "lfs.",
    "maintenance.",
    "pull.",
    "push.",
    "submodule.",
    "user.",
];
const ORIGIN: &str = "remote.origin.";

/// Returns whether a directory is git's with everything in it.
pub(super) fn is_gits_directory(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| DIRECTORIES.contains(&path))
}

/// Returns whether the file `path` of the git dir `own` is git's.
pub(super) fn is_gits(own: &VolumePath, checkout: &VolumePath, path: &Path) -> io::Result<bool> {
    let Some(name) = path.to_str() else {
        return Ok(false);
    };
    let name = name.strip_suffix(".lock").unwrap_or(name);
    let is_sample = name.starts_with("hooks/") && name.ends_with(".sample");
    if FILES.contains(&name) || is_sample {
        return Ok(true);
    }
    if !(name == "config" || name == "info/exclude" || name.starts_with("hooks/")) {
        return Ok(false);
    }
    let read = |git_dir: &VolumePath| -> io::Result<Option<Vec<u8>>> {
        let place = git_dir.join(path)?;
        let size = found(openat::stat(&place))?.map_or(0, |stat| stat.st_size.cast_unsigned());
        if size > CAP {
            return Ok(None);
        }
        found(openat::read(&place, CAP))
    };
    let Some(text) = read(own)? else {
        return Ok(false);
    };
    Ok(match name {
        "config" => has_only_settings(&text),
        "info/exclude" if has_only_comments(&text) => true,
        // What can't be read there is no copy.
        _ => read(checkout).ok().flatten() == Some(text),
    })
}

fn has_only_settings(text: &[u8]) -> bool {
    let is_setting = |entry: &String| {
        entry.starts_with(ORIGIN) || SETTINGS.iter().any(|section| entry.starts_with(section))
    };
    config::plain(text).is_some_and(|entries| entries.iter().all(is_setting))
}

fn has_only_comments(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.all(|line| line.is_empty() || line.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_gits_and_what_names_work_is_somebodys() {
        let plain = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@host:a/b\n\
                     [branch \"main\"]\n\tremote = origin\n[user]\n\temail = a@example.com\n";
        assert!(has_only_settings(plain.as_bytes()));
        for more in [
            "[remote \"fork\"]\n\turl = git@host:me/b\n",
            "[alias]\n\tst = status\n",
            "# why\n",
            "[mine]\n\tnote = here\n",
        ] {
            let config = format!("{plain}{more}");
            assert!(!has_only_settings(config.as_bytes()), "{more}");
        }
    }

    #[test]
    fn comments_are_gits() {
        assert!(has_only_comments(b"# git ls-files\n\n  # *~\n"));
        assert!(!has_only_comments(b"# mine\n*.secret\n"));
    }
}
