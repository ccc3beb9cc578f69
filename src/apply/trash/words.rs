//! The reports about what stays in the trash: each is made once. Reported files are still retried.

use super::delete::Kept;
use super::{Emptied, TOLD};
use crate::facts::cache::Size;
use crate::fs::atomic;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rustix::io::Errno;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

/// Why something could not be deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// Somebody has the file open, so NFS keeps it.
    Open,
    /// It belongs to another user, or is protected; this is the system's message.
    Forbidden(String),
    /// Any other error, as the system's message.
    System(String),
}

impl From<io::Error> for Hindrance {
    fn from(error: io::Error) -> Self {
        let said = error.to_string();
        if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Forbidden(said)
        } else {
            Self::System(said)
        }
    }
}

impl From<Errno> for Hindrance {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("somebody has this file open, it goes when it is closed"),
            Self::Forbidden(said) | Self::System(said) => f.write_str(said),
        }
    }
}

/// Describes what stays, where it came from, and what to do about it.
pub(super) fn line(kept: &Kept, from: Option<&Path>) -> String {
    let from = from
        .map(|from| format!(" of `{}`", from.display()))
        .unwrap_or_default();
    match kept {
        Kept::Written(path) => format!(
            "`{}`{from} was written while that was being removed: it is kept for 30 days; take it from there, then delete it",
            path.display()
        ),
        Kept::Refused { path, owner, why } => {
            let owner = owner
                .map(|owner| format!(", user {owner} owns it or its directory"))
                .unwrap_or_default();
            let remedy = match why {
                Hindrance::Forbidden(_) => {
                    "; delete it as that user (`chattr -i` first, where `lsattr` shows an i)"
                }
                Hindrance::Open | Hindrance::System(_) => "",
            };
            format!("`{}`{from}: {why}{owner}{remedy}", path.display())
        }
    }
}

/// Records the lines, and returns those that were not reported about this entry before.
pub(super) fn tell_once(bin: &VolumePath, mut lines: Vec<String>) -> Emptied {
    // Several threads delete, so the lines come in any order.
    lines.sort();
    let place = bin.join(TOLD).ok();
    let before = place
        .as_ref()
        .and_then(|place| openat::read(place, 1 << 20).ok())
        .unwrap_or_default();
    let text = lines.join("\n");
    if before != text.as_bytes()
        // If this can't be recorded, the lines are reported again.
        && let Some(Err(error)) = place.map(|place| atomic::replace(&place, text.as_bytes()))
    {
        tracing::debug!(%error, "failed to note what was told of the trash");
    }
    let before: HashSet<&[u8]> = before.split(|byte| *byte == b'\n').collect();
    // A path may contain newlines.
    let is_old = |told: &String| {
        told.split('\n')
            .all(|part| before.contains(part.as_bytes()))
    };
    let (old, left): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_old);
    for line in old {
        tracing::info!("still in the trash: {line}");
    }
    Emptied {
        freed: Size::default(),
        left,
    }
}
