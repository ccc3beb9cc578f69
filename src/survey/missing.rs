//! How many trees went missing since the last run: too many at once mean a broken mount rather than
//! deletions.

use super::registry::admins;
use super::worktree;
use crate::config::policy;
use crate::facts::repo::Missing;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use rayon::prelude::*;
use std::collections::HashSet;

/// Counts the trees of these repos that went missing since the last run. Once it is time to stop,
/// the rest isn't counted, because nothing is done about it either.
pub fn missing(repos: &[&policy::Repo], trashed: &HashSet<VolumePath>, stop: &Stop) -> Missing {
    let layouts = repos
        .par_iter()
        .filter_map(|repo| layout::find(&repo.place, &repo.assigned).ok());
    let admins: Vec<VolumePath> = layouts
        .flat_map_iter(|layout| admins(&layout.git_dir).unwrap_or_default())
        .collect();
    let looked: Vec<(bool, bool)> = admins
        .par_iter()
        .take_any_while(|_| stop.reached().is_none())
        .map(|admin| worktree::went_missing(admin, trashed))
        .collect();
    let many = |so: fn(&(bool, bool)) -> bool| looked.iter().filter(|one| so(one)).count();
    Missing {
        missing: many(|(_, gone)| *gone),
        of: many(|(was_there, _)| *was_there),
    }
}
