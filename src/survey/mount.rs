//! How the volume is mounted, and what of that a night can't be trusted with.
//!
//! It must never guess: a mount that isn't listed has no options to judge.

use std::io;
use std::path::{Path, PathBuf};

/// A mount, as `/proc/self/mountinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// `ext4`, `nfs4`, ...
    pub kind: String,
    /// Options of the mount and of the file system, comma by comma.
    pub options: Vec<String>,
}

/// The mount that holds `path`.
///
/// # Errors
/// The kernel's list can't be read, or `path` isn't there.
pub fn of(path: &Path) -> io::Result<Option<Mount>> {
    let path = path.canonicalize()?;
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?, &path))
}

/// The last line whose mount point is the longest above `path`: later mounts cover earlier ones.
pub(crate) fn parse(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.at));
    mounts.max_by_key(|mount| mount.at.components().count())
}

/// `36 35 98:0 / /data rw,noatime shared:1 - nfs4 server:/srv rw,vers=4.2,hard`.
fn mount(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (at, options) = (mount.next()?.replace("\\040", " "), mount.next()?);
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let more = file_system.nth(1).unwrap_or_default();
    let options = options.split(',').chain(more.split(',')).filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Some(Mount { at: at.into(), kind, options })
}

/// What of the mount must be mended, and how. The facts are `nfs.md`'s.
pub fn trouble(mount: &Mount) -> Option<&'static str> {
    let has = |wanted: &[&str]| mount.options.iter().any(|option| wanted.contains(&option.as_str()));
    if !mount.kind.starts_with("nfs") {
        None
    } else if has(&["nolock", "local_lock=all", "local_lock=flock"]) {
        Some("locks are only local: another machine's agent would not be kept out; mount without nolock and local_lock")
    } else if has(&["soft"]) {
        Some("a soft mount answers EIO when the server is slow; mount it hard")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 22 0:40 / /data rw,noatime shared:2 - nfs4 server:/srv rw,vers=4.2,hard,local_lock=none
37 22 0:41 / /my\\040data rw - nfs server:/old rw,vers=3,soft
";

    #[test]
    fn the_mount_above_a_path_is_found_and_judged() {
        let cases = [("/data/acme__shop", "nfs4", false), ("/database", "ext4", false), ("/my data/x", "nfs", true)];
        for (path, kind, troubled) in cases {
            let mount = parse(INFO, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), trouble(&mount).is_some()), (kind, troubled), "{path}");
        }
        let local = Mount { at: "/".into(), kind: "nfs4".into(), options: vec!["local_lock=all".into()] };
        assert!(trouble(&local).unwrap().contains("locks"));
    }
}
