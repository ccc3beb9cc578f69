//! The reports about what stays in the trash: each is made once. Reported files are still retried.

use super::delete::Kept;
use super::{Emptied, TOLD};
use crate::facts::cache::Size;
use crate::fs::atomic;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use std::path::Path;

/// What stays, where it came from, and what to do about it.
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
                .map(|owner| format!(", user {owner} owns it or its folder"))
                .unwrap_or_default();
            let remedy = if why.contains("not permitted") || why.contains("denied") {
                "; delete it as that user (`chattr -i` first, where `lsattr` shows an i)"
            } else {
                ""
            };
            format!("`{}`{from}: {why}{owner}{remedy}", path.display())
        }
    }
}

/// Returns the lines, unless the same ones were reported about this entry before.
pub(super) fn tell_once(bin: &VolumePath, lines: Vec<String>) -> Emptied {
    let text = lines.join("\n");
    let place = bin.join(TOLD).ok();
    let before = place
        .as_ref()
        .and_then(|place| openat::read(place, 1 << 20).ok());
    if before.as_deref() == Some(text.as_bytes()) {
        for line in lines {
            tracing::info!("still in the trash: {line}");
        }
        return Emptied::default();
    }
    // If it can't be recorded, it is reported again.
    if let Some(Err(error)) = place.map(|place| atomic::replace(&place.path(), text.as_bytes())) {
        tracing::debug!(%error, "failed to note what was told of the trash");
    }
    Emptied {
        freed: Size::default(),
        left: lines,
    }
}
