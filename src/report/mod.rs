//! What a run tells: done, kept, failed, and why.
//!
//! The shapes are those of `docs/design/contract.md#the-report` (`treewarden.report/1`): fields are
//! added, never renamed. Text is a rendering of them. It must never hold a secret, and every string
//! that a repo supplied is escaped when it is rendered. The journal holds reports of older
//! versions: a field that is added needs `#[serde(default)]`, or history forgets them.

mod alert;
pub mod history;
pub mod html;
pub mod journal;
pub mod json;
pub mod locks;
pub mod look;
mod lossy;
pub mod nights;
mod page;
pub mod rescues;
pub mod rows;
pub mod text;
pub mod totals;
pub mod trends;
pub mod troubles;
pub mod usage;
pub mod words;
pub mod worktrees;

pub use self::alert::{Alert, Severity};
pub use crate::apply::evict::UnitOutcome;
use crate::facts::cache::UsedFrom;
pub use crate::plan::gc::GcAction;
pub use crate::plan::reason::ReasonName;
pub use crate::plan::rescue::Because;
pub use crate::plan::worktree::Class;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.report/1";

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The run itself.
    pub run: Run,
    /// How full the volume was and is.
    pub volume: Volume,
    /// A row a repo, in the config's order.
    pub repos: Vec<Repo>,
    /// The cache eviction.
    pub eviction: Eviction,
    /// What fills the volume, biggest first; empty but in what `treewarden report` makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<usage::Used>,
    /// The sums.
    pub totals: Totals,
    /// What somebody should hear of.
    pub alerts: Vec<Alert>,
    /// What failed outside of any repo row or unit: a trash entry, the journal. Each names its
    /// remedy.
    pub failures: Vec<String>,
    /// What could not be told to somebody: a dead Pushgateway, an unset variable. No failure; not
    /// in the journal, which is written before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// A UUID.
    pub id: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// The time that a dry run was made for, with `--as-of`: it told what would go by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Whether nothing was to be changed: outcomes then say what would be done.
    pub dry_run: bool,
    /// `I/N`.
    pub shard: Option<String>,
    /// What was asked for, where that was less than the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The machine's or pod's name.
    pub host: String,
    /// treewarden's version.
    pub version: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it was refused or interrupted.
    pub reason: Option<String>,
}

/// A part of a run. It speaks neither for the other repos nor for the other parts of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The repos of `--repo`; all when empty.
    pub repos: Vec<String>,
    /// The parts of the work, of `--only`; all when empty.
    pub only: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// All done.
    Ok,
    /// Something failed, or eviction fell short.
    Failed,
    /// The volume is not what the config says: nothing was touched.
    Refused,
    /// A signal or the deadline.
    Interrupted,
}

/// How full the volume was and is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its root.
    #[serde(serialize_with = "lossy::path")]
    pub root: PathBuf,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Inodes of the whole file system; 0 where it has no fixed number.
    pub total_inodes: u64,
    /// Before the run.
    pub before: Level,
    /// After the run; in a dry run, what is foreseen.
    pub after: Level,
    /// The marks that start and end an eviction, as fractions of bytes: for the bar in the text.
    pub high: f64,
    /// See `high`.
    pub low: f64,
}

/// A level of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Level {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that can still be had.
    pub free_bytes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
}

/// A row a repo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repo {
    /// `owner/name`.
    pub name: String,
    /// The checkout.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
    /// What became of it.
    pub outcome: RepoOutcome,
    /// Why it is busy, refused or failed, with the remedy.
    pub reason: Option<String>,
    /// Nothing has changed since the look at this time, so the repo was not looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_since: Option<DateTime<Utc>>,
    /// Time spent on it.
    pub seconds: f64,
    /// Its lock.
    pub lock: Lock,
    /// Registrations of trees that are gone.
    pub prune: Prune,
    /// Rescues.
    #[serde(default)]
    pub rescues: Rescues,
    /// Repacking.
    pub gc: Gc,
    /// Its worktrees: what goes first, in order, then what stays, by path.
    pub worktrees: Vec<Worktree>,
    /// Single steps that failed while the rest went on, each with its remedy.
    pub failures: Vec<String>,
}

/// What became of a repo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepoOutcome {
    /// The run's work was done.
    Maintained,
    /// A dry run: the work is planned.
    Planned,
    /// Somebody holds its lock, or its busy probe says so.
    Busy,
    /// It is not what it should be, or the run stopped first: nothing was touched.
    Refused,
    /// Something failed.
    Failed,
}

/// A repo's lock.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Lock {
    /// How long the run waited for it.
    pub waited_seconds: f64,
    /// Who holds it, for a busy repo.
    pub holder: Option<String>,
    /// For how many runs in a row the repo has been busy, this one included; 0 when it isn't.
    #[serde(default)]
    pub busy_nights: u64,
}

/// Registrations of trees that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prune {
    /// The paths whose registration went.
    #[serde(serialize_with = "lossy::paths")]
    pub dropped: Vec<PathBuf>,
    /// Why none went: too many were missing at once.
    pub refused: Option<String>,
}

/// What earlier runs rescued.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rescues {
    /// Those that were let go, or in a dry run would be, the oldest first.
    pub expired: Vec<Expired>,
}

/// A rescue that stood long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// The ref that held it.
    pub rescue_ref: String,
    /// The commit that the ref named, in hex: it can be had until a repack drops it.
    pub commit: String,
    /// When it was made.
    pub taken: Option<DateTime<Utc>>,
    /// Bytes of the files that it alone held.
    pub bytes: u64,
    /// Why it went: `age` or `budget`.
    pub because: Because,
}

/// Repacking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gc {
    /// What was done.
    pub action: GcAction,
    /// Why.
    pub reason: String,
    /// Counts before.
    pub before: Counts,
    /// Counts after; in a dry run the same as before.
    pub after: Counts,
    /// Lock and temporary files of a crashed git that were removed.
    #[serde(serialize_with = "lossy::paths")]
    pub stale_locks: Vec<PathBuf>,
}

/// Counts of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Loose objects.
    pub loose_objects: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// A worktree, or a stray directory in a worktree root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worktree {
    /// Where it stands.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
    /// Short branch name; none when HEAD is detached.
    pub branch: Option<String>,
    /// HEAD's commit, in hex.
    pub head: Option<String>,
    /// `landed`, `saved`, `unsaved`, `fresh`; none where it wasn't looked at or could not be.
    pub class: Option<Class>,
    /// What was decided.
    pub verdict: VerdictName,
    /// Why, in words; the first is the decisive one.
    pub reasons: Vec<String>,
    /// A short name for the decisive reason, the same for all trees kept or reaped for it
    /// (`recent`, `locked`, `in progress`, `dangling`, `squash-merged`): what the text groups by.
    pub because: ReasonName,
    /// Time since the last sign of activity.
    pub idle_seconds: Option<u64>,
    /// What its removal frees, less what its rescue takes at most; none for a tree that stays.
    pub bytes: Option<u64>,
    /// What became of it.
    pub outcome: TreeOutcome,
    /// The ref that holds its unsaved work.
    pub rescue_ref: Option<String>,
}

/// A verdict's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictName {
    /// It stays.
    Keep,
    /// It goes.
    Reap,
    /// Nobody can tell: it stays.
    Unknown,
}

/// What became of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeOutcome {
    /// It stands as before.
    Kept,
    /// A dry run: it would go.
    Planned,
    /// It went.
    Reaped,
    /// It should have gone, or should have been looked at, and stands as before; the text says what
    /// stood in the way and what helps.
    Failed(String),
}

/// The cache eviction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Eviction {
    /// Whether a mark or the budget was passed.
    pub triggered: bool,
    /// Why, or why not.
    pub reason: String,
    /// Bytes to free, to reach the low mark.
    pub wanted_bytes: u64,
    /// Bytes freed, measured; in a dry run, foreseen.
    pub freed_bytes: u64,
    /// What is missing.
    pub shortfall_bytes: u64,
    /// Inodes to free.
    pub wanted_inodes: u64,
    /// Inodes freed.
    pub freed_inodes: u64,
    /// What was missing in inodes.
    pub shortfall_inodes: u64,
    /// What stood in the way of more: units too young, a reserve, an unreadable cache.
    pub obstacles: Vec<String>,
    /// The units that went, in order.
    pub units: Vec<Unit>,
}

/// An evicted unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// The cache's name.
    pub cache: String,
    /// The cache's kind.
    pub kind: String,
    /// The unit.
    pub unit: String,
    /// Bytes freed.
    pub bytes: u64,
    /// Inodes freed.
    pub inodes: u64,
    /// The newest sign of use.
    pub last_used: DateTime<Utc>,
    /// How that is known.
    pub last_used_from: UsedFrom,
    /// Whose lock file named it last, where any did.
    #[serde(default)]
    pub named_by: Option<String>,
    /// A live tree's lock file names it today: it went because nothing else was left, and the
    /// config allows it.
    #[serde(default)]
    pub in_use: bool,
    /// What became of it.
    pub outcome: UnitOutcome,
}

/// The sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes freed in all; in a dry run, foreseen.
    pub freed_bytes: u64,
    /// Of these: by reaping trees.
    pub freed_by_reap: u64,
    /// By repacking.
    pub freed_by_gc: u64,
    /// By evicting units.
    pub freed_by_evict: u64,
    /// By emptying what earlier runs left in the trash.
    pub freed_by_trash: u64,
    /// Trees that went.
    pub reaped: u64,
    /// Trees whose work was rescued first.
    pub rescued: u64,
    /// Units that went.
    pub evicted: u64,
    /// Failed repos, trees, units and steps.
    pub failures: u64,
}
