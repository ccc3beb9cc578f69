//! The resolved configuration: complete, checked, and all that the program sees. A [`Policy`]
//! exists only if every line of the config is valid.

pub use super::address::{Address, WITH_SECRET};
pub use super::keep::Keep;
use crate::facts::cache::{CacheKind, Size};
use crate::facts::worktree::MadeAgain;
use crate::fs::assigned::Assigned;
use crate::fs::volume_path::VolumePath;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

// The defaults. `config/treewarden.yaml` says why, and a test keeps the two equal. The contract is
// `docs/design/contract.md#config`.

/// `volume.state`: the contract's directory for locks, trash and journal.
pub const STATE: &str = ".treewarden";
/// The same if the volume is a home directory.
pub const STATE_OF_A_HOME: &str = ".local/state/treewarden";
/// The directory of trash and lock beside a cache outside of the volume. No tool's cache has such a
/// name, and no volume's state directory.
pub const OUTSIDE_STATE: &str = ".treewarden-outside";
/// `eviction.high`: the contract's, and where the kubelet starts to collect images.
pub const HIGH: Marks = Marks {
    bytes: 0.85,
    inodes: 0.85,
};
/// `eviction.low`: the contract's; ten points below, so that an eviction lasts for more than a run.
pub const LOW: Marks = Marks {
    bytes: 0.75,
    inodes: 0.75,
};
/// `eviction.critical`: the contract's; by then agents may fill the rest before the next run.
pub const CRITICAL: Marks = Marks {
    bytes: 0.95,
    inodes: 0.95,
};
/// `eviction.critical.min_idle`: the contract's; by then an agent's break is over.
pub const MIN_IDLE: Age = Age::After(HOUR);
/// `eviction.min_age`: the contract's; today's agents use what yesterday's used.
pub const MIN_AGE: Duration = DAY;
/// `eviction.in_use`: the caches exist so that a job finds its packages.
pub const IN_USE: InUse = InUse::Keep;
/// `run.repos_in_parallel`: the contract's; a repack takes a core and memory.
pub const REPOS_IN_PARALLEL: usize = 4;
/// `run.io_threads`: the contract's; they mostly wait on the network.
pub const IO_THREADS: usize = 32;
/// `run.deadline`: the contract's; time for a run and a second try.
pub const DEADLINE: Duration = Duration::from_secs(4 * HOUR.as_secs());
/// `run.max_reaped`: the contract's; a fleet has 70 to 200 trees, and most are not due at once
/// (`docs/design/worktrees.md#figures-from-the-field`).
pub const MAX_REAPED: usize = 50;
/// `lock_wait`: the contract's.
pub const LOCK_WAIT: Duration = Duration::from_mins(10);
/// `worktrees.landed`: the class's age in
/// `docs/design/worktrees.md#the-classes-and-their-ages`.
pub const LANDED: Age = Age::After(DAY);
/// `worktrees.saved`: the class's age in
/// `docs/design/worktrees.md#the-classes-and-their-ages`.
pub const SAVED: Age = Age::After(Duration::from_secs(7 * DAY.as_secs()));
/// `worktrees.unsaved`: the class's age in
/// `docs/design/worktrees.md#the-classes-and-their-ages`.
pub const UNSAVED: Age = Age::After(Duration::from_secs(30 * DAY.as_secs()));
/// `worktrees.dead_locks`: somebody locked the tree, and a process's death doesn't undo that.
pub const DEAD_LOCKS: Age = Age::Never;
/// `worktrees.presets`: the default of `docs/design/worktrees.md#layouts`.
pub const PRESETS: [&str; 1] = ["afk"];
/// `worktrees.rescue_max`: the contract's; work is small, and larger files are mostly build output.
pub const RESCUE_MAX: u64 = 200 * MIB;
/// `worktrees.rescue_keep`: the contract's.
pub const RESCUE_KEEP: Duration = Duration::from_secs(30 * DAY.as_secs());
/// `worktrees.rescue_budget`: the contract's; ten of the largest rescues.
pub const RESCUE_BUDGET: u64 = 2 * GIB;
/// `gc.strategy`: the contract's.
pub const GC: GcStrategy = GcStrategy::Auto;
/// A cache's `depth`: the entries of the directory itself are the units, as in the contract's
/// example.
pub const CACHE_DEPTH: usize = 1;
/// `alerts.webhook.when`: all events of the contract.
pub const WEBHOOK_WHEN: [(&str, Event); 4] = [
    ("failed", Event::Failed),
    ("shortfall", Event::Shortfall),
    ("evicted", Event::Evicted),
    ("refused", Event::Refused),
];

/// Everything a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The volume.
    pub volume: Volume,
    /// When and how far caches are evicted.
    pub eviction: Eviction,
    /// How the run behaves.
    pub run: Run,
    /// The enrolled repos, in the config's order.
    pub repos: Vec<Repo>,
    /// The caches, in the config's order.
    pub caches: Vec<Cache>,
    /// Where each run's page is put.
    pub report: Report,
    /// Where a run's outcome is sent.
    pub alerts: Alerts,
}

impl Policy {
    /// Returns the directories outside of the volume that caches stand in, each once.
    pub fn outside(&self) -> Vec<&Volume> {
        let mut all: Vec<&Volume> = Vec::new();
        for volume in self
            .caches
            .iter()
            .filter_map(|cache| cache.outside.as_ref())
        {
            if !all.contains(&volume) {
                all.push(volume);
            }
        }
        all
    }
}

/// The shared volume, or a directory outside of it that caches stand in.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// The same absolute path that the agents see.
    pub root: Arc<Path>,
    /// Locks, trash and journal.
    pub state: VolumePath,
}

impl Volume {
    /// Returns the directory of the locks: `docs/design/contract.md#the-lock-protocol`.
    pub fn locks(&self) -> VolumePath {
        self.state.join("locks").expect("a fixed name stays inside")
    }
}

/// When eviction starts and ends, as in the kubelet.
#[derive(Debug, Clone, PartialEq)]
pub struct Eviction {
    /// Eviction starts when one of these watermarks is passed.
    pub high: Marks,
    /// Eviction ends when all of these watermarks are reached.
    pub low: Marks,
    /// Above one of these watermarks, which are never below `high`, it is urgent.
    pub critical: Marks,
    /// Trees that were active within this time keep their build output, and stay, however full the
    /// volume is. `Never` takes nothing before its age.
    pub min_idle: Age,
    /// `volume.floor`: less than this free is too full as well. Zero if nothing has to be.
    pub floor: Size,
    /// A cap on the bytes below the root. Above it, eviction goes down to 90 % of it.
    pub budget: Option<u64>,
    /// Nothing used within this time is evicted; a cache may set a longer one.
    pub min_age: Duration,
    /// What happens to units that live trees' lock files name.
    pub in_use: InUse,
}

impl Eviction {
    /// Returns the rules for a file system that is not the volume's: budget and floor are about
    /// the volume.
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self {
            budget: None,
            floor: Size::default(),
            ..self.clone()
        }
    }
}

/// What happens to units that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InUse {
    /// They stay, whatever the volume needs.
    #[default]
    Keep,
    /// They are evicted if nothing else is left.
    Last,
}

/// Watermarks: fractions of the volume, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marks {
    /// The fraction of its bytes.
    pub bytes: f64,
    /// The fraction of its inodes.
    pub inodes: f64,
}

/// How a run behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Repos worked on at once: repacks are bound by CPU and memory.
    pub repos_in_parallel: usize,
    /// Threads that scan and delete: they wait on the network.
    pub io_threads: usize,
    /// The whole run's time.
    pub deadline: Duration,
    /// More reaps than this in one run are refused.
    pub max_reaped: usize,
}

impl Repo {
    /// Returns whether its address has a secret, which belongs elsewhere: see [`WITH_SECRET`].
    pub fn shows_secret(&self) -> bool {
        self.url.as_ref().is_some_and(Address::has_secret)
    }
}

/// One enrolled repo, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Repo {
    /// `owner/name`.
    pub name: String,
    /// The persistent checkout.
    pub place: VolumePath,
    /// Its address for clone and fetch; without one, neither is possible.
    pub url: Option<Address>,
    /// Globs relative to the volume's root that match loose clones of its origin.
    pub clones: Vec<String>,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// The rules about its worktrees.
    pub worktrees: Worktrees,
    /// The kind of repack.
    pub gc: GcStrategy,
    /// A command: exit 1 means idle, anything else busy. Empty if there is none.
    pub busy_probe: Vec<String>,
    /// All directories that the config assigns: its git dir must be in none of another's.
    pub assigned: Arc<Assigned>,
}

/// The rules about a repo's worktrees.
#[derive(Debug, Clone, PartialEq)]
pub struct Worktrees {
    /// Idle time after which a landed tree is removed.
    pub landed: Age,
    /// Idle time after which a saved tree is removed.
    pub saved: Age,
    /// Idle time after which an unsaved tree is rescued and removed.
    pub unsaved: Age,
    /// Idle time after which a tree without a commit of its own is removed: as `saved`, unless the
    /// config says otherwise.
    pub fresh: Age,
    /// How long the lock of a dead process keeps its tree, counted from the lock's creation or the
    /// tree's last activity, whichever is later.
    pub dead_locks: Age,
    /// Which trees stay, whatever their age.
    pub keep: Keep,
    /// Above this number, landed and saved trees are removed before their age.
    pub max_trees: Option<usize>,
    /// Above this many bytes of all trees together, likewise.
    pub max_bytes: Option<u64>,
    /// Globs relative to the volume's root that match trees: presets expanded, then the custom
    /// `roots`.
    pub roots: Vec<String>,
    /// Bytes. A tree that needs a larger rescue stays.
    pub rescue_max: u64,
    /// How long a rescue is kept.
    pub rescue_keep: Duration,
    /// The most bytes of all rescues of a repo together.
    pub rescue_budget: u64,
    /// Regenerable directories, besides the known ones.
    pub made_again: Arc<[MadeAgain]>,
}

/// An idle time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// After this long.
    After(Duration),
    /// The class is switched off.
    Never,
}

/// The kind of repack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcStrategy {
    /// By counts.
    Auto,
    /// `git gc`.
    GitGc,
    /// None.
    Off,
}

/// One configured cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Its name: the config's, or the kind's.
    pub name: String,
    /// Its layout.
    pub kind: CacheKind,
    /// Its place; none for build output, which is in the worktrees.
    pub place: Option<VolumePath>,
    /// The directory that it stands in, with a state directory of its own, if it is outside of the
    /// volume.
    pub outside: Option<Volume>,
    /// For a plain directory: the depth of its units, 1 or more.
    pub depth: usize,
    /// Nothing used within this time is evicted: the larger of the cache's and the eviction's.
    pub min_age: Duration,
    /// What must stay.
    pub reserve: Size,
    /// The most it may contain, even if the volume is empty. Above it, eviction goes down to 90 %.
    pub budget: Option<Size>,
}

/// Where each run's page is put.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The file of the HTML report.
    pub html_file: Option<HtmlFile>,
}

/// The file of the HTML report.
#[derive(Debug, Clone, PartialEq)]
pub enum HtmlFile {
    /// On the volume, where agents may put a link in any directory's place.
    OnVolume(VolumePath),
    /// Anywhere else, in a directory of the operator's.
    Elsewhere(PathBuf),
}

/// Where a run's outcome is sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerts {
    /// The volume's name in metrics and alerts; if none, its root.
    pub volume: Option<String>,
    /// The runbook's address; if none, alerts link to none.
    pub runbook: Option<String>,
    /// Base URL.
    pub pushgateway: Option<String>,
    /// A file for node-exporter's textfile collector.
    pub textfile: Option<PathBuf>,
    /// Base URL.
    pub alertmanager: Option<String>,
    /// A webhook.
    pub webhook: Option<Webhook>,
    /// The source of the URL that expects a sign of each run: a secret.
    pub ping: Option<UrlFrom>,
    /// Kubernetes' termination log.
    pub termination_log: Option<PathBuf>,
}

/// A webhook. Its address is a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// The source of the URL.
    pub url: UrlFrom,
    /// The message's shape.
    pub format: WebhookFormat,
    /// The events that it wants.
    pub when: Vec<Event>,
}

/// An event that a webhook may want: a run in which this happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Something failed, was stopped, or waits for somebody.
    Failed,
    /// Less was evicted than needed.
    Shortfall,
    /// Units were evicted.
    Evicted,
    /// The run was refused and touched nothing.
    Refused,
}

/// The source of a secret URL, which is never in the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlFrom {
    /// The environment variable of this name.
    Env(String),
    /// This file, read again for each message.
    File(PathBuf),
}

/// The shape of a webhook's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookFormat {
    /// `{"text": ..}`: Slack, Mattermost, Rocket.Chat, Google Chat.
    #[default]
    Slack,
    /// The run and its alerts as in the report.
    Json,
}
