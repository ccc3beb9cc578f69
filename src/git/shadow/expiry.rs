//! How long a repo's own config keeps unreachable objects and reflogs.
//!
//! All config files that git would read are read as data, including those of the worktrees and
//! includes inside the volume. If one can't be read, nothing expires.

use super::{CONFIG_CAP, Refusal, Shadow, at, config, unreadable};
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::GitError;
use rustix::io::Errno;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// The most config files that are read: a repo has one per worktree, and few include others.
const INCLUDES: usize = 1000;

impl Shadow {
    /// Returns the `gc.*` keys of the repo's own config, of its worktrees' and of their includes
    /// inside the volume, as data. If a file can't be read, or is included from outside the volume,
    /// nothing ever expires.
    ///
    /// # Errors
    /// The file system doesn't answer, or it is time to stop.
    pub fn gc_settings(&self, stop: &Stop) -> Result<Vec<(String, String)>, Refusal> {
        let mut settings = self.theirs.gc.clone();
        let config = at(&self.git_dir, "config");
        let mut included: Vec<_> = self
            .theirs
            .includes
            .iter()
            .map(|name| include(&config, name))
            .collect();
        let mut next = self.worktree_configs();
        // A file that includes itself is read once.
        let mut seen = HashSet::new();
        for _ in 0..INCLUDES {
            let Some(place) = next.pop().map(Some).or_else(|| included.pop()) else {
                return Ok(settings);
            };
            let Some(place) = place else {
                settings.extend(never());
                continue;
            };
            if !seen.insert(place.clone()) {
                continue;
            }
            match self.settings_of(&place, stop) {
                Ok(theirs) => {
                    settings.extend(theirs.gc);
                    included.extend(theirs.includes.iter().map(|name| include(&place, name)));
                }
                Err(Refusal::Git(error @ GitError::Ended { .. })) => return Err(error.into()),
                // The file system doesn't answer. A link is no file: asking again doesn't help.
                Err(Refusal::Unreadable { path, cause })
                    if Errno::from_io_error(&cause).is_some_and(|errno| errno != Errno::LOOP) =>
                {
                    return Err(Refusal::Unreadable { path, cause });
                }
                Err(_) => settings.extend(never()),
            }
            let lengths = settings
                .iter()
                .map(|(key, value)| key.len().saturating_add(value.len()));
            if lengths.sum::<usize>() as u64 > CONFIG_CAP {
                break;
            }
        }
        settings.extend(never());
        Ok(settings)
    }

    /// Returns the paths where the checkout and each worktree may have a config of its own.
    fn worktree_configs(&self) -> Vec<VolumePath> {
        let trees = at(&self.git_dir, "worktrees");
        let admins = openat::dir(&trees)
            .and_then(|trees| Ok(openat::list(trees)?))
            .unwrap_or_default();
        let admins = admins.iter().filter_map(|(name, _)| trees.join(name).ok());
        admins
            .chain([self.git_dir.clone()])
            .map(|directory| at(&directory, "config.worktree"))
            .collect()
    }

    /// Returns what a config file says; nothing if it is missing.
    fn settings_of(&self, place: &VolumePath, stop: &Stop) -> Result<config::Theirs, Refusal> {
        let Some(text) =
            found(openat::read(place, CONFIG_CAP)).map_err(unreadable(&place.to_string()))?
        else {
            return Ok(config::Theirs::default());
        };
        if config::is_endless(&text) {
            return Err(Refusal::Malformed(format!(
                "`{place}` is no well-formed one"
            )));
        }
        if let Some(entries) = config::plain(&text) {
            return Ok(config::gather(entries.iter().map(String::as_str)));
        }
        let copy = self.scratch.path().join("included");
        std::fs::write(&copy, &text).map_err(unreadable("the scratch directory"))?;
        let args = [
            "config".as_ref(),
            "--file".as_ref(),
            copy.as_os_str(),
            "--no-includes".as_ref(),
            "--null".as_ref(),
            "--list".as_ref(),
        ];
        let listed = self.git(stop, Duration::from_secs(10)).run(&args)?;
        let listed: Vec<_> = listed
            .split(|&byte| byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        Ok(config::gather(listed.iter().map(|entry| &**entry)))
    }
}

/// Returns the settings that are assumed for a file that can't be read.
fn never() -> [(String, String); 3] {
    [
        "gc.pruneexpire",
        "gc.reflogexpire",
        "gc.reflogexpireunreachable",
    ]
    .map(|key| (key.to_owned(), "never".to_owned()))
}

/// Returns the file that the config `from` includes by that name; none if it is outside the volume,
/// as anybody's home is (`~/x`).
fn include(from: &VolumePath, name: &str) -> Option<VolumePath> {
    if name.starts_with('~') {
        return None;
    }
    let directory = from.path().parent().map(Path::to_owned).unwrap_or_default();
    VolumePath::new(from.root(), &directory.join(name)).ok()
}
