//! The output of `treewarden explain`: the shape of its JSON, and its text.
//!
//! Agents choose paths, branches, messages and the reasons of locks, so all of them are escaped.

use super::Class;
use super::lossy;
use super::pressure::UnderPressure;
use super::rescues::{Entry, Lonely};
use crate::facts::cache::UsedFrom;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::PathBuf;

mod text;

pub use text::{goes, render};

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.explain/1";

/// Why one thing stays or goes, and when.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The time of the survey.
    pub at: DateTime<Utc>,
    /// The thing's own path, which the given one is in; for a rescue, where its tree was.
    #[serde(serialize_with = "lossy::maybe")]
    pub path: Option<PathBuf>,
    /// The kind of thing.
    pub kind: Kind,
    /// The repo that it belongs to.
    pub repo: Option<String>,
    /// What a run does with it now.
    pub verdict: Fate,
    /// A short name for the decisive reason, as in a run's report; none for a rescue or a unit.
    pub because: Option<String>,
    /// Why, for people; the first is the decisive one. For a tree, these are its row's reasons in a
    /// run's report.
    pub reasons: Vec<String>,
    /// From when a run makes it go, if nothing changes until then; none if it never goes by itself,
    /// or if that depends on more than the time.
    pub goes_at: Option<DateTime<Utc>>,
    /// On which rung of the ladder it would go if the volume were too full, and its build output;
    /// empty if that can't be said: its state is unknown, or it is not there.
    pub under_pressure: Vec<UnderPressure>,
    /// Why a run leaves it alone for now, whatever the verdict is.
    pub held: Vec<String>,
    /// The rules that decided, the decisive one first.
    pub rules: Vec<Rule>,
    /// What would change it.
    pub changes: Vec<Change>,
    /// The facts about a worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Tree>,
    /// The facts about a rescue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Entry>,
    /// The facts about a cache's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// The kind of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A registered worktree.
    Worktree,
    /// A loose clone of a repo's origin.
    Clone,
    /// A directory in a worktree root that no registration names.
    Directory,
    /// A repo's main checkout.
    Checkout,
    /// Work that was saved before its tree was removed.
    Rescue,
    /// A unit of a cache.
    Unit,
}

/// What a run does with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays.
    Keep,
    /// A tree: it is removed.
    Reap,
    /// A tree that is gone from the disk: its registration is dropped.
    Drop,
    /// A rescue: its ref is dropped.
    Expire,
    /// A unit: it is evicted.
    Evict,
    /// Its state is unknown, so it stays.
    Unknown,
}

impl Fate {
    /// Returns whether a run makes it go now.
    pub fn goes(self) -> bool {
        !matches!(self, Self::Keep | Self::Unknown)
    }
}

/// A rule that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The config's key, such as `defaults.worktrees.saved`; none if no key changes the rule.
    pub key: Option<String>,
    /// The key's value.
    pub value: Option<String>,
    /// The config file; none if the default applies.
    pub file: Option<String>,
    /// The key's line in it.
    pub line: Option<usize>,
    /// What it says, for people.
    pub says: String,
}

/// What would change a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What somebody does, or what happens.
    pub what: String,
    /// From when a run would then make it go; none if it would then stay, or if that depends.
    pub goes_at: Option<DateTime<Utc>>,
}

impl Change {
    /// Creates a change after which it is not known when the thing goes, or it stays.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            goes_at: None,
        }
    }
}

/// The facts about a worktree.
#[derive(Debug, Serialize)]
pub struct Tree {
    /// Short branch name; none if HEAD is detached.
    pub branch: Option<String>,
    /// HEAD's commit, in hex.
    pub head: Option<String>,
    /// Its class; none if it could not be inspected.
    pub class: Option<Class>,
    /// Why it is of that class, for people.
    pub class_reasons: Vec<String>,
    /// Time since the last sign of activity.
    pub idle_seconds: Option<u64>,
    /// That sign's time.
    pub active: Option<DateTime<Utc>>,
    /// That sign's kind: `reflog`, `registration`, `written`, `arrived`.
    pub active_from: Option<&'static str>,
    /// The file that shows it.
    #[serde(serialize_with = "lossy::maybe")]
    pub active_file: Option<PathBuf>,
    /// What the tree and its registration take on the disk.
    pub bytes: Option<u64>,
    /// Files that HEAD doesn't bring back, each with how it differs: the first 20.
    pub files: Vec<String>,
    /// The number of all of them.
    pub files_count: usize,
    /// Commits that nothing else keeps, the newest first.
    pub commits: Vec<Lonely>,
    /// Whether there are more.
    pub more_commits: bool,
    /// Whether a stash was made on its branch.
    pub stashed: bool,
    /// The reason of `git worktree lock`, which may be empty.
    pub locked: Option<String>,
    /// The dead process that the lock names.
    pub dead_process: Option<u32>,
    /// Operations under way.
    pub in_progress: Vec<String>,
    /// The processes of this machine that are at work in it.
    pub processes: Vec<String>,
    /// Those that called this command: they count in a run.
    pub callers: Vec<String>,
}

/// The facts about a cache's unit.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// The cache's name.
    pub cache: String,
    /// The cache's kind.
    pub kind: String,
    /// The unit's name.
    pub unit: String,
    /// What it contains on the disk.
    #[serde(serialize_with = "lossy::paths")]
    pub paths: Vec<PathBuf>,
    /// What evicting it alone frees; none if it could not be measured.
    pub bytes: Option<u64>,
    /// The newest sign of use.
    pub last_used: DateTime<Utc>,
    /// That sign's kind.
    pub last_used_from: UsedFrom,
    /// The repo whose lock file named it last, if any did.
    pub named_by: Option<String>,
    /// Whether a live tree's lock file names it.
    pub in_use: bool,
    /// From when nothing holds it, if nobody uses it until then.
    pub free_from: Option<DateTime<Utc>>,
    /// How many units, of all caches, go before it.
    pub ahead: u64,
    /// What they free at least.
    pub ahead_bytes: u64,
    /// Why the run evicts now, or why it doesn't.
    pub eviction: String,
}
