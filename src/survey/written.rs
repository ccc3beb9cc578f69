//! Whether somebody just wrote into a directory, by the write times of what is at its top. A build
//! changes these: it creates files in `target/debug/deps`, in `node_modules/.cache`.

use crate::fs::openat::{self, Listed};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::survey::worktree::written;
use chrono::{DateTime, Utc};
use rustix::fs::{FileType, Stat};
use std::io;
use std::path::Path;

/// Directories whose own entries are looked at: compilers have few, and a `node_modules` with
/// hundreds of packages is rewritten at its top.
const OPENED: usize = 64;

/// Checks whether the directory, one of its entries, or an entry of these was written since `then`.
/// If that can't be read, it counts as written.
pub fn is_since(directory: &VolumePath, then: DateTime<Utc>, stop: &Stop) -> bool {
    let is_young = |stat: &Stat| written(stat) >= then;
    let is_young = || -> io::Result<bool> {
        if is_young(&openat::stat(directory)?) {
            return Ok(true);
        }
        let (listed, mut opened) = (Listed::of(directory)?, 0_usize);
        for name in listed.names() {
            stop.go_on()?;
            let Some(stat) = listed.stat_of(name)? else {
                continue;
            };
            if is_young(&stat) {
                return Ok(true);
            }
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !is_directory || opened >= OPENED {
                continue;
            }
            opened = opened.saturating_add(1);
            let below = Listed::of(&directory.join(Path::new(name))?)?;
            for name in below.names() {
                stop.go_on()?;
                if below.stat_of(name)?.is_some_and(|stat| is_young(&stat)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    is_young().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::clock;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_build_shows_in_the_directories_that_it_writes_to() {
        let top = tempfile::tempdir().unwrap();
        let place = VolumePath::new(&top.path().into(), Path::new("target")).unwrap();
        let deps = top.path().join("target/debug/deps");
        fs::create_dir_all(&deps).unwrap();
        let old = SystemTime::now() - Duration::from_hours(5);
        let age = || {
            for path in ["target/debug/deps", "target/debug", "target"] {
                let directory = fs::File::open(top.path().join(path)).unwrap();
                directory.set_modified(old).unwrap();
            }
        };
        let hours = |many| clock::now() - chrono::TimeDelta::hours(many);
        age();
        let is_since = |then| is_since(&place, then, &Stop::never());
        assert_eq!([is_since(hours(4)), is_since(hours(6))], [false, true]);
        fs::write(deps.join("new.rlib"), "made").unwrap();
        assert!(is_since(hours(4)));
        age();
        fs::rename(&deps, top.path().join("moved")).unwrap();
        assert!(is_since(hours(4)), "its own parent was written");
        fs::rename(top.path().join("target"), top.path().join("away")).unwrap();
        assert!(is_since(hours(4)), "what can't be read is unknown");
    }
}
