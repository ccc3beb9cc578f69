//! The caches of this user's tools, where each tool keeps its own.

use crate::ecosystems;
use crate::ecosystems::usual::Surroundings;
use crate::facts::cache::Size;
use crate::facts::discovered::{FoundCache, Kind, LeftOut};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use std::path::Path;
use std::sync::Arc;

/// Finds the caches that are there: those below `root`, and those that are not.
///
/// A link to a cache is the user's own, so it is followed.
pub(super) fn caches(
    root: &Arc<Path>,
    surroundings: &Surroundings<'_>,
) -> (Vec<FoundCache>, Vec<LeftOut>) {
    let (mut found, mut left_out) = (Vec::<FoundCache>::new(), Vec::new());
    for layout in ecosystems::layouts() {
        let there = layout.usual.iter().filter_map(|places| {
            let path = surroundings.first(places)?.canonicalize().ok()?;
            path.is_dir().then_some(path)
        });
        for path in there {
            let place = VolumePath::new(root, &path)
                .map_err(|_| format!("it is not below `{}`", root.display()))
                .and_then(|place| match openat::dir(&place) {
                    Ok(_) => Ok(place),
                    Err(error) => Err(format!("failed to open it: {error}")),
                });
            let kind = layout.kind;
            match place {
                Ok(place) => {
                    let before = found.iter().filter(|other| other.kind == kind).count();
                    let name = (before > 0)
                        .then(|| format!("{}-{}", kind.name(), before.saturating_add(1)));
                    found.push(FoundCache {
                        kind,
                        name,
                        place,
                        size: Size::default(),
                    });
                }
                Err(why) => left_out.push(LeftOut {
                    what: Kind::Cache(kind),
                    path: path.display().to_string(),
                    why,
                }),
            }
        }
    }
    (found, left_out)
}
