//! How the volume is mounted, and whether a run can rely on it.
//!
//! The facts come from the kernel; judging them is pure. Unknown options are not judged, and for a
//! network mount without options it is unknown whether its locks reach other machines.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel's number of NFS, which identifies it even without a list of mounts.
const NFS: rustix::fs::FsWord = 0x6969;

/// Options that keep locks on this machine: of NFS, of SMB, of Lustre and OCFS2.
const LOCAL: [&str; 6] = [
    "nolock",
    "local_lock=all",
    "local_lock=flock",
    "nobrl",
    "localflock",
    "localflocks",
];

/// File systems with locks that apply to all machines, by the kernel's names.
const SHARED: [&str; 9] = [
    "nfs", "nfs4", "cifs", "smb3", "ceph", "gfs2", "ocfs2", "lustre", "gpfs",
];

/// Seconds after which other machines' changes must be visible: the kernel's own default.
const STALE: u32 = 60;

/// A mount, as in `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// `ext4`, `nfs4`, ...
    pub kind: String,
    /// The options of the mount and of the file system, split at commas.
    pub options: Vec<String>,
}

/// What the kernel reports about the mount of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its line in the list of mounts; none if it isn't listed.
    pub mount: Option<Mount>,
    /// Whether `statfs` reports NFS.
    pub nfs: bool,
}

/// A judgement about the mount: what it is about, and what was found, or what is wrong and what
/// helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// `locks`, `version`, ...
    pub what: &'static str,
    /// What was found.
    pub found: Result<String, MountTrouble>,
}

/// What is wrong with a mount, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountTrouble {
    /// An option keeps locks on this machine.
    #[error(
        "with `{0}` a lock holds on this machine alone, and another's agent would not be kept out; mount without it"
    )]
    LocalLocks(String),
    /// An NFS mount is listed as something else.
    #[error(
        "it is NFS, and the kernel lists it as `{0}`: it is unknown whether locks reach the server; see /proc/self/mountinfo"
    )]
    ListedAs(String),
    /// An NFS mount isn't listed.
    #[error(
        "it is NFS, and its options aren't listed: it is unknown whether locks reach the server; mount /proc"
    )]
    Unlisted,
    /// An option gives up on a slow server.
    #[error(
        "with `{0}` a slow server is an I/O error, and in the middle of a repack that damages the repo; mount it hard"
    )]
    Soft(String),
    /// `nocto`.
    #[error("with `nocto` a file just opened may be an old one; mount without it")]
    Nocto,
    /// Other machines' changes become visible only after so many seconds.
    #[error(
        "what others did is seen up to {0} s late; mount with actimeo={STALE} or less, or without"
    )]
    Stale(u32),
}

/// Returns the mount of `path`.
///
/// # Errors
/// `path` is missing.
pub fn of(path: &Path) -> io::Result<Facts> {
    let path = path.canonicalize()?;
    let nfs = rustix::fs::statfs(&path)?.f_type == NFS;
    // Without /proc nothing is listed.
    let listed = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    Ok(Facts {
        mount: parse(&String::from_utf8_lossy(&listed), &path),
        nfs,
    })
}

/// Returns the last line whose mount point is the longest above `path`: later mounts cover earlier
/// ones.
pub(crate) fn parse(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo
        .lines()
        .filter_map(mount)
        .filter(|mount| path.starts_with(&mount.at));
    mounts.max_by_key(|mount| mount.at.components().count())
}

/// Parses `36 35 98:0 / /data rw,noatime shared:1 - nfs4 server:/srv rw,vers=4.2,hard`.
fn mount(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (at, options) = (unescaped(mount.next()?), mount.next()?);
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let more = file_system.nth(1).unwrap_or_default();
    let options = options
        .split(',')
        .chain(more.split(','))
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    Some(Mount { at, kind, options })
}

/// Decodes blanks, line ends and backslashes, which the kernel writes as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let octal = |digits: &[u8; 3]| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok();
        let digits = more.split_first_chunk().filter(|_| *first == b'\\');
        let (byte, behind) = digits
            .and_then(|(digits, behind)| Some((octal(digits)?, behind)))
            .unwrap_or((*first, more));
        bytes.push(byte);
        rest = behind;
    }
    OsStr::from_bytes(&bytes).into()
}

impl Mount {
    fn has(&self, wanted: &[&str]) -> Option<&str> {
        self.options
            .iter()
            .map(String::as_str)
            .find(|option| wanted.contains(option))
    }

    /// Returns the largest of these options' numbers.
    fn number(&self, names: &[&str]) -> Option<u32> {
        let value = |option: &String| {
            option
                .split_once('=')
                .filter(|(name, _)| names.contains(name))?
                .1
                .parse()
                .ok()
        };
        self.options.iter().filter_map(value).max()
    }

    fn is_nfs(&self) -> bool {
        matches!(self.kind.as_str(), "nfs" | "nfs4")
    }
}

/// Returns whether no other machine can be at work there: it is no network file system, as far as
/// the kernel knows. A FUSE server may serve other machines, too.
pub fn is_local(facts: &Facts) -> bool {
    let remote = |kind: &str| {
        SHARED.contains(&kind)
            || kind.starts_with("fuse")
            || matches!(kind, "9p" | "virtiofs" | "afs")
    };
    !facts.nfs
        && facts
            .mount
            .as_ref()
            .is_some_and(|mount| !remote(&mount.kind))
}

/// Returns why locks taken here don't exclude other machines; none if they do, or if only the
/// operator can know.
pub fn local_locks(facts: &Facts) -> Option<MountTrouble> {
    match &facts.mount {
        Some(mount) if SHARED.contains(&mount.kind.as_str()) => mount
            .has(&LOCAL)
            .map(|option| MountTrouble::LocalLocks(option.to_owned())),
        Some(mount) if facts.nfs => Some(MountTrouble::ListedAs(mount.kind.clone())),
        None if facts.nfs => Some(MountTrouble::Unlisted),
        _ => None,
    }
}

/// Judges the mount, by `docs/design/nfs.md#mount-options`.
///
/// | option | judged |
/// | --- | --- |
/// | `nolock`, `local_lock=all` or `flock` | locks stay on this machine: no destructive work |
/// | `local_lock=posix` | good: ours is flock |
/// | version 3 | works; but a machine that dies keeps its locks until it is back |
/// | `soft`, `softerr` | an error when the server is slow: `check` reports it |
/// | `actimeo` etc. above a minute, `nocto` | changes are seen late: `check` reports it |
/// | `noac` | good, and slow |
pub fn judge(facts: &Facts) -> Vec<Judged> {
    let mut judged = vec![Judged {
        what: "mount locks",
        found: locks(facts),
    }];
    if let Some(mount) = facts.mount.as_ref().filter(|mount| mount.is_nfs()) {
        judged.push(Judged {
            what: "mount version",
            found: Ok(version(mount)),
        });
        judged.push(Judged {
            what: "mount errors",
            found: errors(mount),
        });
        judged.push(Judged {
            what: "mount cache",
            found: cache(mount),
        });
    }
    judged
}

fn locks(facts: &Facts) -> Result<String, MountTrouble> {
    if let Some(why) = local_locks(facts) {
        return Err(why);
    }
    let kind = facts.mount.as_ref().map_or("", |mount| mount.kind.as_str());
    Ok(if SHARED.contains(&kind) {
        "kept by the server, for all machines".to_owned()
    } else if answers_itself(facts) {
        format!("kept by {kind}, on this machine: no other can use the volume")
    } else {
        let kind = if kind.is_empty() {
            "a mount that isn't listed"
        } else {
            kind
        };
        format!(
            "kept by {kind}: perhaps on this machine alone, and then no other may use the volume"
        )
    })
}

/// Returns whether this machine's kernel answers by itself, without waiting for another machine.
pub fn answers_itself(facts: &Facts) -> bool {
    let elsewhere = |kind: &str| {
        SHARED.contains(&kind)
            || ["9p", "virtiofs", "overlay", "afs"].contains(&kind)
            || kind.starts_with("fuse")
    };
    facts
        .mount
        .as_ref()
        .is_some_and(|mount| !facts.nfs && !elsewhere(&mount.kind))
}

fn version(mount: &Mount) -> String {
    match mount
        .options
        .iter()
        .find_map(|option| option.strip_prefix("vers="))
    {
        Some(version) if version.starts_with('4') => {
            format!("{version}: the locks of a machine that died are freed after the lease, 90 s")
        }
        Some(version) => format!(
            "{version}: a machine that died keeps its locks until it is back; 4.2 frees them after 90 s"
        ),
        None => "not listed".to_owned(),
    }
}

fn errors(mount: &Mount) -> Result<String, MountTrouble> {
    match mount.has(&["soft", "softerr"]) {
        Some(option) => Err(MountTrouble::Soft(option.to_owned())),
        None => Ok("hard: who calls a server that is away waits for it".to_owned()),
    }
}

fn cache(mount: &Mount) -> Result<String, MountTrouble> {
    if mount.has(&["nocto"]).is_some() {
        return Err(MountTrouble::Nocto);
    }
    match mount.number(&["acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo"]) {
        _ if mount.has(&["noac"]).is_some() => Ok(
            "noac: what others did is seen at once, and every look costs a round trip".to_owned(),
        ),
        Some(seconds) if seconds > STALE => Err(MountTrouble::Stale(seconds)),
        seconds => Ok(format!(
            "what others did is seen within {} s",
            seconds.unwrap_or(STALE)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 22 0:40 / /data rw,noatime shared:2 - nfs4 server:/srv rw,vers=4.2,hard,local_lock=none
37 22 0:41 / /my\\040data rw - nfs server:/old rw,vers=3,soft
38 36 0:42 / /data/over rw - tmpfs none rw
39 36 0:43 / /data/over rw - nfs4 server:/new rw,vers=4.2
";

    #[test]
    fn the_mount_above_a_path_is_found() {
        let cases = [
            ("/data/acme__shop", "/data", "nfs4"),
            ("/database", "/", "ext4"),
            ("/my data/x", "/my data", "nfs"),
            ("/data/over/x", "/data/over", "nfs4"),
        ];
        for (path, at, kind) in cases {
            let mount = parse(INFO, Path::new(path)).unwrap();
            assert_eq!(
                (mount.at.to_str().unwrap(), mount.kind.as_str()),
                (at, kind),
                "{path}"
            );
        }
        assert_eq!(parse("nonsense\n1 2 3 - x\n", Path::new("/")), None);
        assert_eq!(unescaped("a\\134b\\011c\\04"), Path::new("a\\b\tc\\04"));
    }

    /// What is to be fixed, by the kind and the options of a mount; `!` marks a refused lock.
    #[test]
    fn each_option_has_its_judgement() {
        let cases = [
            ("nfs4", "rw,vers=4.2,hard,local_lock=none", ""),
            ("nfs4", "rw,vers=4.0,hard,local_lock=posix", ""),
            ("nfs4", "rw,vers=4.2,hard,local_lock=all", "! locks"),
            ("nfs4", "rw,vers=4.2,hard,local_lock=flock", "! locks"),
            ("nfs", "rw,vers=3,hard,local_lock=none", ""),
            ("nfs", "rw,vers=3,hard,nolock,local_lock=all", "! locks"),
            ("nfs4", "rw,vers=4.2,soft", "errors"),
            ("nfs4", "rw,vers=4.2,softerr,nocto", "errors cache"),
            ("nfs4", "rw,vers=4.2,hard,noac,acregmin=0,acdirmax=0", ""),
            ("nfs4", "rw,vers=4.2,hard,acregmin=3,acregmax=60", ""),
            (
                "nfs4",
                "rw,vers=4.2,hard,acregmin=600,acregmax=600,acdirmin=600,acdirmax=600",
                "cache",
            ),
            (
                "nfs",
                "rw,vers=3,soft,nolock,acdirmax=61",
                "! locks errors cache",
            ),
            ("cifs", "rw,nobrl", "! locks"),
            ("cifs", "rw", ""),
            ("lustre", "rw,localflock", "! locks"),
            ("ext4", "rw,nolock", ""),
            ("9p", "rw,trans=virtio", ""),
            ("fuse.sshfs", "rw", ""),
            ("overlay", "rw", ""),
        ];
        for (kind, options, wanted) in cases {
            let info = format!("36 22 0:40 / /data rw,relatime - {kind} server:/srv {options}\n");
            let facts = Facts {
                mount: parse(&info, Path::new("/data")),
                nfs: kind.starts_with("nfs"),
            };
            let troubled = judge(&facts)
                .into_iter()
                .filter(|judged| judged.found.is_err())
                .map(|judged| &judged.what["mount ".len()..]);
            let refused = local_locks(&facts).map(|_| "!");
            assert_eq!(
                refused
                    .into_iter()
                    .chain(troubled)
                    .collect::<Vec<_>>()
                    .join(" "),
                wanted,
                "{kind} {options}"
            );
        }
    }

    #[test]
    fn nfs_of_unknown_options_is_not_trusted() {
        let listed = |kind: &str| {
            Some(Mount {
                at: "/".into(),
                kind: kind.into(),
                options: Vec::new(),
            })
        };
        for (mount, nfs, refused) in [
            (None, true, true),
            (None, false, false),
            (listed("rootfs"), true, true),
            (listed("nfs4"), true, false),
        ] {
            assert_eq!(
                local_locks(&Facts {
                    mount: mount.clone(),
                    nfs
                })
                .is_some(),
                refused,
                "{mount:?}"
            );
        }
    }

    #[test]
    fn every_lock_says_who_keeps_it() {
        for (kind, wanted) in [
            ("nfs4", "by the server"),
            ("9p", "perhaps"),
            ("fuse.sshfs", "perhaps"),
            ("ext4", "on this machine"),
        ] {
            let facts = Facts {
                mount: parse(&format!("1 0 0:1 / / rw - {kind} x rw\n"), Path::new("/")),
                nfs: false,
            };
            assert!(locks(&facts).unwrap().contains(wanted), "{kind}");
        }
    }
}
