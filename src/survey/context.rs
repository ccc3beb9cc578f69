//! The context of a repo's survey: what it needs to know of the run, the volume and the repo.

use super::clones::{self, Opened};
use super::{landed::Upstream, objects::Objects, processes::Processes, reach::Kept};
use crate::config::policy;
use crate::facts::repo::{LeftoverKind, Missing};
use crate::facts::worktree::{MadeAgain, Worktree};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// The context of a repo's survey.
pub struct Context<'a> {
    /// The repo behind its shadow.
    pub repo: &'a git2::Repository,
    /// The enrolled path: the main checkout, or the directory of a bare repo.
    pub place: &'a VolumePath,
    /// The same, unless it is the git dir itself and has no other files.
    pub checkout: Option<&'a VolumePath>,
    /// The file server's clock, against which files are old or young.
    pub clock: DateTime<Utc>,
    /// Trees that were active since then are not inspected further.
    pub look_before: DateTime<Utc>,
    /// Whether a lock file of that age was left by a crashed git.
    pub is_stale: IsStale,
    /// The rest of the volume.
    pub around: &'a VolumeContext,
    /// Whether trees are measured.
    pub measured: bool,
    /// The operator's rules about regenerable paths.
    pub made_again: &'a Arc<[MadeAgain]>,
    /// The bases of stashes: full names of branches, ids of commits.
    pub stashed: &'a HashSet<String>,
    /// The tips of branches, remote-tracking refs and tags. If they can't be read, every tree that
    /// needs them is unknown.
    pub kept: &'a Kept,
    /// A cache of facts about the repo's objects.
    pub objects: &'a Arc<Objects>,
    /// Its upstream's default branch.
    pub upstream: &'a Upstream<'a>,
    /// When to stop. A survey that was stopped is worth nothing.
    pub stop: &'a Stop,
    /// Whether a tree is due, judged by its survey: then all of it is inspected.
    pub due: &'a (dyn Fn(&Worktree) -> bool + Sync),
    /// The loose clone that is surveyed, if it is one.
    pub clone: Option<&'a Opened<'a>>,
}

impl Context<'_> {
    /// Returns whether this tree is to be explained.
    pub fn explains(&self, tree: &Worktree) -> bool {
        match &self.around.explained {
            Explained::None => false,
            Explained::One(admin) => *admin == tree.admin,
            Explained::All => true,
        }
    }
}

/// The trees that are to be explained. All of such a tree is inspected, even if less shows that it
/// stays: so the class of a young tree is known, and what a locked one contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Explained {
    /// As in a run: no tree.
    #[default]
    None,
    /// The tree with this admin directory.
    One(VolumePath),
    /// Every tree.
    All,
}

/// What the survey of a repo's trees needs to know of the rest of the volume.
#[derive(Debug, Clone, Default)]
pub struct VolumeContext {
    /// Places from which an earlier run moved a tree to the trash.
    pub trashed: HashSet<VolumePath>,
    /// The state directory, caches and checkouts: no worktree may be there, whatever a registration
    /// says.
    pub reserved: Vec<VolumePath>,
    /// How many of all registered trees are missing.
    pub missing: Missing,
    /// The processes at work on this machine.
    pub processes: Processes,
    /// Whether the volume was made to look old by touching its files. That moves their change
    /// times, so those don't count.
    pub touched: bool,
    /// The trees that are to be explained.
    pub explained: Explained,
}

impl VolumeContext {
    /// Returns the reserved place that `place`, as a worktree of the checkout `own`, would contain
    /// or be in.
    pub fn in_the_way(&self, place: &VolumePath, own: &VolumePath) -> Option<&VolumePath> {
        let [place, own] = [place, own].map(VolumePath::relative);
        self.reserved.iter().find(|other| {
            let other = other.relative();
            other.starts_with(place) || (place.starts_with(other) && other != own)
        })
    }
}

impl VolumeContext {
    /// Returns the places of a repo's loose clones, where the config has nothing else.
    ///
    /// # Errors
    /// There are more places than the memory budget allows, or it is time to stop.
    pub fn clones(&self, repo: &policy::Repo, stop: &Stop) -> io::Result<Vec<VolumePath>> {
        let is_free = |place: &VolumePath| self.in_the_way(place, &repo.place).is_none();
        clones::places(repo, &is_free, stop)
    }
}

/// The plan's rule: whether a file that nobody wrote to for so long was left by a crashed git.
pub type IsStale = fn(LeftoverKind, TimeDelta) -> bool;

/// The times of a survey.
#[derive(Clone, Copy)]
pub struct Times {
    /// The file server's clock.
    pub clock: DateTime<Utc>,
    /// Trees that were active since then need no closer inspection.
    pub look_before: DateTime<Utc>,
    /// See [`Context::is_stale`].
    pub is_stale: IsStale,
    /// When the run that was killed in this repo was at work, if there was one.
    pub killed: Option<DateTime<Utc>>,
}

impl Times {
    /// Returns the times for surveying whole trees of any age, by the file server's `clock`.
    pub fn whole(clock: DateTime<Utc>, is_stale: IsStale) -> Self {
        Self {
            clock,
            look_before: DateTime::<Utc>::MAX_UTC,
            is_stale,
            killed: None,
        }
    }
}
