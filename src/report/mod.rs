//! The report of a run: what was done, kept, failed, and why.
//!
//! The shapes are those of `docs/design/contract.md#the-report` (`treewarden.report/1`): fields are
//! added, never renamed. Text is a rendering of them. A report contains no secret, and every string
//! from a repo is escaped when it is rendered. The journal contains reports of older versions, so
//! an added field needs `#[serde(default)]`.

mod alert;
pub mod checks;
pub mod discovered;
mod eviction;
pub mod explain;
pub mod gauge;
pub mod history;
pub mod html;
pub mod journal;
pub mod json;
pub mod locks;
pub mod look;
mod lossy;
mod page;
pub mod rescues;
pub mod rows;
pub mod schema;
pub mod shards;
pub mod text;
pub mod totals;
pub mod trends;
pub mod troubles;
pub mod usage;
pub mod words;
pub mod worktrees;

pub use self::alert::{Alert, Severity};
pub use self::eviction::{CouldGo, Eviction, HeldUnits, Rung, Unit};
pub use crate::apply::evict::UnitOutcome;
pub use crate::plan::evict::HeldBy;
pub use crate::plan::gc::GcAction;
pub use crate::plan::reason::ReasonName;
pub use crate::plan::rescue::Because;
pub use crate::plan::worktree::Class;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.report/1";

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// The schema's name and version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The run itself.
    pub run: Run,
    /// The volume's usage before and after.
    pub volume: Volume,
    /// A row per repo, in the config's order.
    pub repos: Vec<Repo>,
    /// The cache eviction.
    pub eviction: Eviction,
    /// What fills the volume, biggest first; only in the output of `treewarden report`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<usage::Used>,
    /// The sums.
    pub totals: Totals,
    /// What somebody should know.
    pub alerts: Vec<Alert>,
    /// What failed outside of any repo row or unit: a trash entry, the journal. Each names its
    /// remedy.
    pub failures: Vec<String>,
    /// Notifications that could not be sent: a dead Pushgateway, an unset variable. They don't
    /// count as failures. The journal, which is written first, doesn't contain them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the journal left out of this run, because its line would have been too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// A UUID.
    pub id: String,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// The time given by `--as-of` to a dry run, which reports what would be removed by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// Whether it is a dry run: outcomes then say what would be done.
    pub dry_run: bool,
    /// `I/N`.
    pub shard: Option<String>,
    /// What was requested, if less than the whole run.
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

/// The part of a run that was requested. The report says nothing about the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The repos of `--repo`; all when empty.
    pub repos: Vec<String>,
    /// The parts of the work, of `--only`; all when empty.
    pub only: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// All done.
    Ok,
    /// Something failed, or eviction fell short.
    Failed,
    /// The volume is not the one that the config describes; nothing was touched.
    Refused,
    /// It was stopped by a signal or the deadline.
    Interrupted,
}

/// The volume's usage before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// Its root.
    #[serde(serialize_with = "lossy::path")]
    pub root: PathBuf,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Inodes of the whole file system; 0 if it has no fixed number.
    pub total_inodes: u64,
    /// Before the run.
    pub before: Level,
    /// After the run; in a dry run, as projected.
    pub after: Level,
    /// The watermarks that start and end an eviction, as fractions of bytes: for the bar in the
    /// text.
    pub high: f64,
    /// See `high`.
    pub low: f64,
    /// The config's cap on the bytes below the root; none if it sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
}

/// The volume's usage at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that are available.
    pub free_bytes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Bytes of everything below the root; measured only if the config sets a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_bytes: Option<u64>,
}

/// A repo's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repo {
    /// `owner/name`.
    pub name: String,
    /// The checkout.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
    /// Its outcome.
    pub outcome: RepoOutcome,
    /// Why it is busy, refused or failed, with the remedy.
    pub reason: Option<String>,
    /// Nothing has changed since the survey at this time, so the repo was not surveyed again.
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
    /// What `worktrees.max_trees` and `max_bytes` say about the trees that stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_cap: Option<String>,
    /// Its worktrees: first those to remove, in order, then those that stay, by path.
    pub worktrees: Vec<Worktree>,
    /// Single steps that failed while the rest went on, each with its remedy.
    pub failures: Vec<String>,
}

/// The outcome of a repo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepoOutcome {
    /// The run's work was done.
    Maintained,
    /// A dry run: the work is planned.
    Planned,
    /// Its lock is held, or its busy probe says that somebody is working in it.
    Busy,
    /// It is not as it should be, or the run stopped before its turn: nothing was touched.
    Refused,
    /// Something failed.
    Failed,
}

/// A repo's lock.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// How long the run waited for it.
    pub waited_seconds: f64,
    /// Who holds it, for a busy repo.
    pub holder: Option<String>,
    /// For how many runs in a row the repo has been busy, including this one; 0 if it isn't.
    #[serde(default)]
    pub busy_nights: u64,
}

/// Registrations of trees that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Prune {
    /// The paths whose registration was dropped.
    #[serde(serialize_with = "lossy::paths")]
    pub dropped: Vec<PathBuf>,
    /// Why none was dropped: too many were missing at once.
    pub refused: Option<String>,
}

/// What earlier runs rescued.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rescues {
    /// Those that expired, or in a dry run would, the oldest first.
    pub expired: Vec<Expired>,
    /// How many stay, without those of this run.
    #[serde(default)]
    pub kept: usize,
    /// Bytes of the files that only these contain, before git compresses them.
    #[serde(default)]
    pub kept_bytes: u64,
    /// When the first of these will expire by its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expires: Option<DateTime<Utc>>,
}

/// An expired rescue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expired {
    /// Its ref.
    pub rescue_ref: String,
    /// The ref's commit, in hex: it is available until a repack drops it.
    pub commit: String,
    /// When it was made.
    pub taken: Option<DateTime<Utc>>,
    /// Bytes of the files that only it contained.
    pub bytes: u64,
    /// Why it went: `age` or `budget`.
    pub because: Because,
}

/// Repacking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Loose objects.
    pub loose_objects: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// A worktree, a loose clone, or an unregistered directory in a worktree root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worktree {
    /// Its path.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
    /// `clone` for a loose clone; none for anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TreeKind>,
    /// Short branch name; none if HEAD is detached.
    pub branch: Option<String>,
    /// HEAD's commit, in hex.
    pub head: Option<String>,
    /// `landed`, `saved`, `unsaved`, `fresh`; none if it wasn't or couldn't be inspected.
    pub class: Option<Class>,
    /// The verdict.
    pub verdict: VerdictName,
    /// Why, for people; the first is the decisive one.
    pub reasons: Vec<String>,
    /// A short name for the decisive reason, the same for all trees kept or reaped for it
    /// (`recent`, `locked`, `in progress`, `dangling`, `squash-merged`): what the text groups by.
    #[schemars(with = "String")]
    pub because: ReasonName,
    /// Time since the last sign of activity.
    pub idle_seconds: Option<u64>,
    /// From when a run may remove a tree that stays, if nothing happens in it until then; none if
    /// that is unknown, or never. If it has no class yet, it may stay for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_at: Option<DateTime<Utc>>,
    /// What its removal frees, less the most that its rescue takes; none for a tree that stays.
    pub bytes: Option<u64>,
    /// Its outcome.
    pub outcome: TreeOutcome,
    /// The ref of the rescue of its unsaved work.
    pub rescue_ref: Option<String>,
}

/// The kind of a tree that is no worktree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TreeKind {
    /// A loose clone of the repo's origin.
    Clone,
}

/// A verdict's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictName {
    /// It stays.
    Keep,
    /// It is to be removed.
    Reap,
    /// Its state is unknown: it stays.
    Unknown,
}

/// The outcome of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TreeOutcome {
    /// It is unchanged.
    Kept,
    /// A dry run: it would be removed.
    Planned,
    /// It was removed.
    Reaped,
    /// It could not be removed or inspected, and is unchanged; the text says what went wrong and
    /// what helps.
    Failed(String),
}

/// The sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Bytes freed in all; in a dry run, as projected.
    pub freed_bytes: u64,
    /// Of these: by reaping trees.
    pub freed_by_reap: u64,
    /// By repacking.
    pub freed_by_gc: u64,
    /// By evicting units.
    pub freed_by_evict: u64,
    /// By emptying what earlier runs left in the trash.
    pub freed_by_trash: u64,
    /// Trees that were removed.
    pub reaped: u64,
    /// Trees whose work was rescued first.
    pub rescued: u64,
    /// Units that were evicted.
    pub evicted: u64,
    /// Failed repos, trees, units and steps.
    pub failures: u64,
}
