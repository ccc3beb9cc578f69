//! When a worktree was last active, by its admin directory alone.

use crate::facts::worktree::{ActiveFrom, Worktree};
use crate::fs::openat::Listed;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::survey::moves::{self, Moves};
use crate::survey::registration::HEARTBEAT;
use chrono::{DateTime, Utc};
use std::io;
use std::os::unix::fs::MetadataExt;

/// Files whose write time is a sign of activity. `logs/HEAD` is one too, but `git reflog expire`
/// rewrites it: see [`log_time`].
const ACTIVE: [&str; 4] = ["HEAD", "index", "ORIG_HEAD", HEARTBEAT];
/// Returns the newest sign of activity in an admin directory.
///
/// # Errors
/// Something is there and can't be read.
pub fn activity(admin: &VolumePath, stop: &Stop) -> io::Result<DateTime<Utc>> {
    Ok(active(&Listed::of(admin)?, stop)?.0.0)
}

/// A time at which a tree was active, and how that shows.
pub(super) type Sign = (DateTime<Utc>, ActiveFrom);

/// Notes a sign of activity if it is the newest.
pub(super) fn note(tree: &mut Worktree, (at, from): Sign) {
    if at > tree.active {
        (tree.active, tree.active_from) = (at, from);
    }
}

/// Returns the newest sign, and whether HEAD's reflog records a commit.
pub(super) fn active(listed: &Listed, stop: &Stop) -> io::Result<(Sign, bool)> {
    let (moved, worked) = log_time(listed, stop)?;
    let mut newest = (moved, ActiveFrom::Reflog);
    for name in ACTIVE {
        if let Some(written) = listed.stat(name)?.map(|stat| written(&stat))
            && written > newest.0
        {
            newest = (written, ActiveFrom::Registration(name));
        }
    }
    Ok((newest, worked))
}

/// Returns when HEAD last moved: the earlier of the reflog's own last line and its write time,
/// which a `git reflog expire` renews.
fn log_time(listed: &Listed, stop: &Stop) -> io::Result<(DateTime<Utc>, bool)> {
    let Some(log) = listed.file("logs/HEAD")? else {
        return Ok((DateTime::UNIX_EPOCH, false));
    };
    let data = log.metadata()?;
    let Moves { last, worked } = moves::read(log, stop)?;
    // An expiry that leaves no line also writes the file. That is a sign of our own repack, not of
    // anybody's work.
    let Some(moved) = last else {
        return Ok((DateTime::UNIX_EPOCH, worked));
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds are below 10^9"
    )]
    let written = moment(data.mtime(), data.mtime_nsec() as u32);
    Ok((moved.min(written), worked))
}

/// Returns a file's write time.
#[expect(
    clippy::cast_possible_truncation,
    reason = "nanoseconds are below 10^9"
)]
pub fn written(stat: &rustix::fs::Stat) -> DateTime<Utc> {
    moment(stat.st_mtime, stat.st_mtime_nsec as u32)
}

/// Converts a time. One that is out of range becomes the latest, so the tree counts as active.
pub(super) fn moment(seconds: i64, nanos: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, nanos).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_reflog_that_an_expiry_left_empty_is_no_activity() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("admin/logs")).unwrap();
        std::fs::write(top.path().join("admin/logs/HEAD"), "").unwrap();
        let admin = VolumePath::new(&top.path().into(), Path::new("admin")).unwrap();
        assert_eq!(
            activity(&admin, &Stop::never()).unwrap(),
            DateTime::UNIX_EPOCH
        );
    }
}
