//! The registry of a repo's worktrees: their admin directories, and which of them has a branch.
//!
//! A worktree is where its admin directory's `gitdir` says, whatever the admin directory is called.

use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use std::io;

/// Returns the admin directory of every registered worktree, sorted.
///
/// # Errors
/// The registry can't be read.
pub fn admins(git_dir: &VolumePath) -> io::Result<Vec<VolumePath>> {
    let worktrees = git_dir.join("worktrees").map_err(io::Error::other)?;
    let Some(entries) = found(std::fs::read_dir(worktrees.path()))? else {
        return Ok(Vec::new());
    };
    let mut admins = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            admins.push(
                worktrees
                    .join(entry.file_name())
                    .map_err(io::Error::other)?,
            );
        }
    }
    admins.sort();
    Ok(admins)
}

/// Returns the git dir or admin directory of the checkout that has the branch, or will have or
/// move it when its rebase or bisect ends. A bare repo has no checkout besides its worktrees.
///
/// # Errors
/// The registry or a HEAD can't be read.
pub fn holder(shadow: &Shadow, branch: &str) -> io::Result<Option<VolumePath>> {
    let git_dir = shadow.git_dir();
    let main = (!shadow.is_bare()).then(|| git_dir.clone());
    // The name that a bisect began at is the only short one.
    let short = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    for directory in admins(git_dir)?.into_iter().chain(main) {
        for (name, branch) in [
            ("HEAD", branch),
            ("rebase-merge/head-name", branch),
            ("rebase-apply/head-name", branch),
            ("rebase-merge/update-refs", branch),
            ("BISECT_START", short),
        ] {
            let text = found(openat::read(
                &directory.join(name).map_err(io::Error::other)?,
                64 << 10,
            ))?
            .unwrap_or_default();
            let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            if lines.any(|line| line.strip_prefix(b"ref: ").unwrap_or(line) == branch.as_bytes()) {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}
