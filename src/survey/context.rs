//! What a survey of a repo needs to know of the run, the volume and the repo itself.

use super::{landed::Upstream, objects::Objects, processes::Processes, reach::Kept};
use crate::facts::repo::{LeftoverKind, Missing};
use crate::facts::worktree::{MadeAgain, Worktree};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::sync::Arc;

/// What a look at a repo needs to know.
pub struct Context<'a> {
    /// The repo behind its shadow.
    pub repo: &'a git2::Repository,
    /// The main checkout.
    pub place: &'a VolumePath,
    /// The file server's clock, against which files are old or young.
    pub clock: DateTime<Utc>,
    /// Trees active since are settled by that alone.
    pub look_before: DateTime<Utc>,
    /// Whether a lock file of that age is a crashed git's.
    pub is_stale: IsStale,
    /// What the rest of the volume tells.
    pub around: &'a VolumeContext,
    /// What the operator says that tools make again.
    pub made_again: &'a Arc<[MadeAgain]>,
    /// What a stash was made on: full names of branches, ids of commits.
    pub stashed: &'a HashSet<String>,
    /// Where branches, remote-tracking refs and tags stand; where nobody can tell, every tree that
    /// needs to know is unknown.
    pub kept: &'a Kept,
    /// What was asked of its objects.
    pub objects: &'a Arc<Objects>,
    /// Its upstream's default branch.
    pub upstream: &'a Upstream<'a>,
    /// When to stop looking: what was seen by then is worth nothing.
    pub stop: &'a Stop,
    /// Whether a tree's time has come, by what was seen of it: then it is looked at whole.
    pub due: &'a (dyn Fn(&Worktree) -> bool + Sync),
}

/// What the rest of the volume tells of a repo's trees.
#[derive(Debug, Clone, Default)]
pub struct VolumeContext {
    /// Places whose tree an earlier run took to the trash.
    pub trashed: HashSet<VolumePath>,
    /// The state directory, caches and checkouts: no worktree may stand there, whatever a
    /// registration says.
    pub reserved: Vec<VolumePath>,
    /// How many of all registered trees are missing.
    pub missing: Missing,
    /// Who is at work on this machine.
    pub processes: Processes,
    /// The volume was made to look old by touching its files, which shows in their change times:
    /// those don't count.
    pub touched: bool,
}

impl VolumeContext {
    /// What `place`, as a worktree of the checkout `own`, would take along or intrude on.
    pub fn in_the_way(&self, place: &VolumePath, own: &VolumePath) -> Option<&VolumePath> {
        let [place, own] = [place, own].map(VolumePath::relative);
        self.reserved.iter().find(|other| {
            let other = other.relative();
            other.starts_with(place) || (place.starts_with(other) && other != own)
        })
    }
}

/// The plan's rule, whether a file that nobody wrote to for so long is a crashed git's.
pub type IsStale = fn(LeftoverKind, TimeDelta) -> bool;

/// Times that a survey is made with.
#[derive(Clone, Copy)]
pub struct Times {
    /// The file server's clock.
    pub clock: DateTime<Utc>,
    /// Trees active since need no closer look.
    pub look_before: DateTime<Utc>,
    /// See [`Context::is_stale`].
    pub is_stale: IsStale,
    /// Since when a run that was killed was at work here.
    pub killed: Option<DateTime<Utc>>,
}

impl Times {
    /// Those of a look at whole trees, whatever their age; `clock` is the file server's.
    pub fn whole(clock: DateTime<Utc>, is_stale: IsStale) -> Self {
        Self {
            clock,
            look_before: DateTime::<Utc>::MAX_UTC,
            is_stale,
            killed: None,
        }
    }
}
