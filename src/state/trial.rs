//! The atime probe: whether the volume keeps access times. Mount options don't show it, because an
//! NFS client can't see what the server does.
//!
//! A small file of our own is read, and its access time must move, as it does under `relatime` if
//! it is older than the write. If a cache answers the read, it doesn't move; then access times
//! count as not kept, which only loses information. The probe doesn't distinguish `strictatime`
//! from `relatime`, so access times count as up to a day old.

use crate::fs::atomic;
use crate::fs::volume_path::VolumePath;
use rustix::fs::{Advice, fadvise};
use std::fs::{File, FileTimes};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::time::{Duration, SystemTime};

/// Checks whether reading a file in the volume's state directory moves its access time.
///
/// # Errors
/// The file can't be created, read or inspected.
pub fn keeps_access_times(state: &VolumePath) -> io::Result<bool> {
    // The file has no name that anybody could plant a link at, and is deleted with its descriptor.
    let mut file = atomic::nameless(state)?;
    file.write_all(b"read me\n")?;
    file.sync_all()?;
    let long_ago = |hours| {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_hours(hours))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    file.set_times(
        FileTimes::new()
            .set_accessed(long_ago(24))
            .set_modified(long_ago(25)),
    )?;
    read(&mut file)?;
    Ok(file.metadata()?.accessed()? > long_ago(24))
}

/// Reads from the disk or the server, if the kernel follows the advice.
fn read(file: &mut File) -> io::Result<()> {
    fadvise(&*file, 0, None, Advice::DontNeed)?;
    file.rewind()?;
    file.read_exact(&mut [0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::StatVfsMountFlags;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_trial_agrees_with_a_local_mount_and_leaves_nothing_behind() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        std::fs::create_dir(top.path().join("state")).unwrap();
        let state = VolumePath::new(&root, Path::new("state")).unwrap();
        let no = rustix::fs::statvfs(top.path())
            .unwrap()
            .f_flag
            .contains(StatVfsMountFlags::NOATIME);
        assert_eq!(keeps_access_times(&state).unwrap(), !no);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
