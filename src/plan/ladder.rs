//! The ladder: what goes when the volume is too full, one rung after the other.
//!
//! Each rung is climbed only if, after those below it, the volume is still above its high
//! watermark: see [`super::evict::urgent`]. The lower ones take what a run takes anyway. The upper
//! ones take what somebody may soon want again, so they take the oldest first, and nothing that was
//! active within `eviction.critical.min_idle`. Unsaved work is on no rung.

use super::class::Class;
use crate::config::policy::{Age, Cache, Worktrees};
use crate::facts::cache::{CacheKind, Size};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A rung, from the lowest to the highest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RungName")]
pub enum Rung {
    /// Expired rescues, and what earlier runs left in the trash.
    Trash,
    /// Cache units and the build output of trees that were idle for long: the least recently used
    /// first.
    Caches,
    /// Inside of the build output of trees in which nobody is at work: what newer builds replaced,
    /// the least recently used first.
    Artifacts,
    /// The build output of trees in which nobody is at work.
    BuildOutput,
    /// Landed and saved trees before their age.
    Worktrees,
}

impl Rung {
    /// All of them, from the lowest to the highest.
    pub const ALL: [Self; 5] = [
        Self::Trash,
        Self::Caches,
        Self::Artifacts,
        Self::BuildOutput,
        Self::Worktrees,
    ];

    /// Returns its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trash => "trash",
            Self::Caches => "caches",
            Self::Artifacts => "artifacts",
            Self::BuildOutput => "build_output",
            Self::Worktrees => "worktrees",
        }
    }

    /// Returns what it takes, for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::Trash => "trash and expired rescues",
            Self::Caches => "caches, and output of trees long idle",
            Self::Artifacts => "artifacts of idle trees that newer builds replaced",
            Self::BuildOutput => "build output of all idle trees",
            Self::Worktrees => "landed and saved trees before their age",
        }
    }
}

/// Returns the rules by which a repo's trees go on the last rung: landed and saved ones, once they
/// were idle for so long. A class that is switched off stays, and so does everything else.
pub fn before_their_age(policy: &Worktrees, min_idle: Duration) -> Worktrees {
    let early = |age| match age {
        Age::After(_) => Age::After(min_idle),
        Age::Never => Age::Never,
    };
    Worktrees {
        landed: early(policy.landed),
        saved: early(policy.saved),
        unsaved: Age::Never,
        fresh: Age::Never,
        // Else they would say which trees go.
        max_trees: None,
        max_bytes: None,
        ..policy.clone()
    }
}

/// Returns the caches of build output, whose units go once their tree was idle for so long.
pub fn output(caches: &[Cache], min_idle: Duration) -> Vec<Cache> {
    let in_trees = caches.iter().filter(|cache| cache.place.is_none());
    let early = |cache: &Cache| Cache {
        min_age: min_idle,
        budget: None,
        ..cache.clone()
    };
    in_trees.map(early).collect()
}

/// Returns these caches of build output as caches of a kind whose units are parts of it.
pub fn artifacts(output: &[Cache], kind: CacheKind) -> impl Iterator<Item = Cache> {
    let parts = move |cache: &Cache| Cache {
        kind,
        ..cache.clone()
    };
    output.iter().map(parts)
}

/// A tree that goes by the rules of [`before_their_age`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<T> {
    /// Its class.
    pub class: Class,
    /// Its last activity.
    pub active: DateTime<Utc>,
    /// Which tree it is.
    pub tree: T,
}

/// Candidates in the order in which they go. Measuring a tree is I/O, so it is handed out, and the
/// caller says what it frees.
#[derive(Debug)]
pub struct TreeQueue<T> {
    /// The next one is the last.
    waiting: Vec<Candidate<T>>,
    wanted: Size,
    most: usize,
}

impl<T: Ord> TreeQueue<T> {
    /// Puts them in order: the longest idle first, landed ones before saved ones, and then by what
    /// they are. At most so many go, for so much.
    pub fn new(trees: Vec<Candidate<T>>, wanted: Size, most: usize) -> Self {
        let may_go = |tree: &Candidate<T>| matches!(tree.class, Class::Landed | Class::Saved);
        let mut waiting: Vec<Candidate<T>> = trees.into_iter().filter(may_go).collect();
        waiting.sort_by(|a, b| {
            let [one, other] = [a, b].map(|tree| (tree.active, tree.class, &tree.tree));
            other.cmp(&one)
        });
        Self {
            waiting,
            wanted,
            most,
        }
    }

    /// Returns the next one, to be measured; none if enough go.
    pub fn next_due(&mut self) -> Option<Candidate<T>> {
        if self.wanted == Size::default() || self.most == 0 {
            return None;
        }
        self.waiting.pop()
    }

    /// Decides whether a tree that frees this much goes. One that frees nothing would go in vain.
    pub fn goes(&mut self, frees: Size) -> bool {
        if frees == Size::default() {
            return false;
        }
        self.wanted = Size {
            bytes: self.wanted.bytes.saturating_sub(frees.bytes),
            inodes: self.wanted.inodes.saturating_sub(frees.inodes),
        };
        self.most = self.most.saturating_sub(1);
        true
    }

    /// Goes on after some that were to go stay after all: so much is still wanted.
    pub fn go_on(&mut self, wanted: Size, stayed: usize) {
        self.wanted = wanted;
        self.most = self.most.saturating_add(stayed);
    }

    /// Returns whether more would go if `run.max_reaped` allowed it.
    pub fn is_held_back(&self) -> bool {
        self.most == 0 && self.wanted != Size::default() && !self.waiting.is_empty()
    }
}

pub mod turn;

#[cfg(test)]
mod tests;
