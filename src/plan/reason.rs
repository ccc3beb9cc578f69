//! Why a tree stays or is removed: each reason as a type with its data, a sentence and a name.
//!
//! The sentence (`Display`) is for people. Reports group by the name, which is on the wire:
//! `ReasonName` reads and writes it, and keeps the names of older and newer versions unchanged.
//! Code compares the types, not the texts.

use super::class::Class;
use crate::facts::repo::Missing;
use crate::facts::worktree::Landed;
use crate::fs::humanize::{bytes, exact, of_all, plural, span};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Why no tree of a repo counts as landed.
pub const NO_DEFAULT_BRANCH: &str = "no default branch is known, so no worktree counts as landed: run `git remote set-head REMOTE --auto` in the checkout";

/// Builds the enum of names from one table, so that every name that is written can be read.
macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A reason's short name, the same for all trees with that reason.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
        #[serde(from = "String")]
        pub enum ReasonName {
            $($(#[$doc])* $variant,)*
            /// A name that this version doesn't write: the journal has reports of others.
            Other(String),
        }

        impl ReasonName {
            /// Returns the name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<String> for ReasonName {
            fn from(name: String) -> Self {
                match name.as_str() {
                    $($name => Self::$variant,)*
                    _ => Self::Other(name),
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[ReasonName] = &[$(ReasonName::$variant,)*];
    };
}

names! {
    /// `git worktree lock`.
    Locked = "locked",
    /// The same, by a process of this machine that is dead.
    LockedByDeadProcess = "locked by a dead process",
    /// A rebase, a merge, ...
    InProgress = "in progress",
    /// The busy probe says so, or the tree changed during the run.
    Busy = "busy",
    /// A process of this machine is at work in it.
    InUse = "in use",
    /// Last active in the future.
    InTheFuture = "in the future",
    /// It contains what a rescue can't.
    CannotBeRescued = "can't be rescued",
    /// Not idle for long enough.
    Recent = "recent",
    /// Trees of its class are never removed.
    SwitchedOff = "switched off",
    /// `worktrees.keep` names it.
    Spared = "kept by config",
    /// `--only` without `reap`.
    NotAskedFor = "reaping not asked for",
    /// More trees are due than `max_reaped`.
    TooManyAtOnce = "too many at once",
    /// There is no tree.
    Missing = "missing",
    /// Its state is unknown.
    Unknown = "unknown",
    /// The repo has more trees than `worktrees.max_trees`.
    OverMaxTrees = "over max_trees",
    /// The repo's trees hold more than `worktrees.max_bytes`.
    OverMaxBytes = "over max_bytes",
    /// The volume is too full.
    UnderPressure = "volume too full",
    /// Files that HEAD doesn't bring back.
    Uncommitted = "uncommitted work",
    /// Commits that only this tree reaches, or a stash.
    UnsavedCommits = "unsaved commits",
    /// Nothing was ever committed in it.
    NoCommitYet = "no commit yet",
    /// HEAD is in the default branch.
    Merged = "merged",
    /// The default branch has the same files or the same patch.
    SquashMerged = "squash-merged",
    /// Its commits change nothing.
    NoChanges = "no changes",
    /// Its commits are on a branch that stays.
    Saved = "saved on its branch",
    /// A directory in a worktree root: a worktree whose registration is gone.
    Dangling = "dangling",
    /// Likewise: a worktree of another repo.
    Foreign = "foreign",
    /// Likewise: an empty directory.
    Empty = "empty",
    /// Likewise: a directory without git.
    NotGit = "not git",
}

impl ReasonName {
    /// Returns whether a tree with this reason needs nobody: it goes by itself later, or stays by
    /// somebody's decision.
    pub fn is_in_order(&self) -> bool {
        matches!(
            self,
            Self::Recent
                | Self::SwitchedOff
                | Self::Spared
                | Self::Busy
                | Self::Missing
                | Self::NotAskedFor
        )
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ReasonName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a tree stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// It is locked by `git worktree lock`, with this reason, which may be empty.
    Locked(String),
    /// The lock's reason names a process of this machine that is dead.
    LockedByDeadProcess {
        /// The lock's reason.
        reason: String,
        /// The process.
        pid: u32,
        /// How long it has been idle.
        idle: TimeDelta,
        /// The idle time after which such a lock no longer counts; none if it always counts.
        holds_for: Option<TimeDelta>,
    },
    /// What is under way in it.
    InProgress(Vec<&'static str>),
    /// What the busy probe reported.
    Busy(String),
    /// Who is at work in it.
    InUse(String),
    /// When it was last active; the latest possible time if the time stamp is out of range.
    InTheFuture(DateTime<Utc>),
    /// The tree contains what no rescue can, or it needs a rescue and can't be rescued.
    CannotBeRescued(Obstacle),
    /// So young that it wasn't inspected.
    TooYoung,
    /// Idle for less than its class's age.
    Recent(Class, TimeDelta),
    /// Trees of this class are never removed.
    SwitchedOff(Class),
    /// This glob of `worktrees.keep` names it.
    Spared(String),
    /// This run was not asked to reap.
    NotAskedFor,
}

/// What a rescue can't contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A nested repo, a FIFO, a submodule: at least one.
    Contents(Vec<String>),
    /// The index, and why.
    Index(String),
    /// A file that can't be read, and why.
    Unreadable(String),
    /// Files of more bytes than `rescue_max`.
    TooLarge {
        /// Their size.
        bytes: u64,
        /// `rescue_max`.
        most: u64,
    },
}

/// Why a tree is removed, or would be if nothing kept it: the state of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReapReason {
    /// Files that HEAD doesn't bring back.
    Uncommitted {
        /// The first few.
        named: Vec<String>,
        /// How many there are in all.
        count: usize,
    },
    /// So many commits that only this tree reaches.
    UnsavedCommits(usize),
    /// So many tips of a loose clone that the enrolled checkout doesn't reach.
    NotInCheckout(usize),
    /// A stash was made on its branch.
    Stash,
    /// Nothing was ever committed in it.
    NoCommitYet,
    /// Its work is in the default branch.
    Landed(Landed),
    /// Its commits are on a branch that stays.
    Saved,
    /// Whether it landed is unknown.
    NoDefaultBranch,
    /// It is locked, but the lock's process is dead, and such a lock holds for no longer.
    LockEnded {
        /// The process.
        pid: u32,
        /// `worktrees.dead_locks`.
        held_for: TimeDelta,
    },
    /// It goes before its age, because the repo is over a cap.
    OverCap(OverCap),
    /// It goes before its age, because the volume is too full.
    UnderPressure,
}

/// A cap, and by how much a repo's trees exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverCap {
    /// `worktrees.max_trees`.
    Trees {
        /// How many trees there are.
        there: usize,
        /// How many there may be.
        most: usize,
    },
    /// `worktrees.max_bytes`.
    Bytes {
        /// How many bytes they hold.
        there: u64,
        /// How many they may hold.
        most: u64,
    },
}

/// Why missing trees keep their registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneRefusal {
    /// The repo.
    pub repo: String,
    /// How many went missing.
    pub gone: GoneAtOnce,
}

/// So many trees went missing at once that the volume is more likely half mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneAtOnce {
    /// The repo's, since the last run.
    Here(Missing),
    /// The volume's, since the last run.
    Around(Missing),
    /// The repo's, in earlier runs, first at this time: they are still missing and registered.
    Earlier(usize, DateTime<Utc>),
}

impl KeepReason {
    /// Returns the short name.
    pub fn name(&self) -> ReasonName {
        match self {
            Self::Locked(_) => ReasonName::Locked,
            Self::LockedByDeadProcess { .. } => ReasonName::LockedByDeadProcess,
            Self::InProgress(_) => ReasonName::InProgress,
            Self::Busy(_) => ReasonName::Busy,
            Self::InUse(_) => ReasonName::InUse,
            Self::InTheFuture(_) => ReasonName::InTheFuture,
            Self::CannotBeRescued(_) => ReasonName::CannotBeRescued,
            Self::TooYoung | Self::Recent(..) => ReasonName::Recent,
            Self::SwitchedOff(_) => ReasonName::SwitchedOff,
            Self::Spared(_) => ReasonName::Spared,
            Self::NotAskedFor => ReasonName::NotAskedFor,
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(reason) => f.write_str(message(reason)),
            Self::LockedByDeadProcess {
                reason,
                pid,
                idle,
                holds_for,
            } => {
                let (message, idle) = (message(reason), span(*idle));
                write!(
                    f,
                    "{message}: process {pid} is dead on this machine, and nothing happened for {idle}; "
                )?;
                match holds_for {
                    Some(age) => write!(f, "such a lock holds for {}", exact(*age)),
                    None => f.write_str(
                        "`git worktree unlock` lets it go, or `worktrees.dead_locks` all such",
                    ),
                }
            }
            Self::InProgress(what) => write!(f, "{} under way", what.join(" and ")),
            Self::Busy(who) | Self::InUse(who) => f.write_str(who),
            Self::InTheFuture(active) => {
                f.write_str("last active in the future (")?;
                if *active == DateTime::<Utc>::MAX_UTC {
                    f.write_str("a timestamp out of range")?;
                } else {
                    write!(f, "{}", active.format("%Y-%m-%d"))?;
                }
                f.write_str(
                    "), by its time stamps; `touch` its files and those of its registration",
                )
            }
            Self::CannotBeRescued(obstacle) => obstacle.fmt(f),
            Self::TooYoung => f.write_str("active too recently for any class"),
            Self::Recent(class, age) => {
                write!(f, "{} trees go when idle for {}", class.name(), exact(*age))
            }
            Self::SwitchedOff(class) => {
                write!(f, "{} trees are never reaped here", class.name())
            }
            Self::Spared(glob) => write!(f, "worktrees.keep names it: `{glob}`"),
            Self::NotAskedFor => f.write_str("reaping was not asked for"),
        }
    }
}

/// Returns a lock's reason, for people.
fn message(reason: &str) -> &str {
    if reason.is_empty() {
        "with `git worktree lock`, without a reason"
    } else {
        reason
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents(blockers) => f.write_str(&blockers.join("; ")),
            Self::Index(why) => f.write_str(why),
            Self::Unreadable(file) => write!(
                f,
                "its unsaved work can't be rescued: failed to read {file}; make the file readable (`chmod u+r`, or `sudo chown` it), or remove it"
            ),
            Self::TooLarge { bytes: held, most } => {
                let [held, most] = [*held, *most].map(bytes);
                write!(
                    f,
                    "its unsaved files hold {held}, more than rescue_max ({most}): raise rescue_max, or save the work by hand"
                )
            }
        }
    }
}

impl ReapReason {
    /// Returns the short name.
    pub fn name(&self) -> ReasonName {
        match self {
            Self::Uncommitted { .. } => ReasonName::Uncommitted,
            Self::UnsavedCommits(_) | Self::NotInCheckout(_) | Self::Stash => {
                ReasonName::UnsavedCommits
            }
            Self::NoCommitYet => ReasonName::NoCommitYet,
            Self::Landed(Landed::Ancestor) => ReasonName::Merged,
            Self::Landed(Landed::SameTree | Landed::SamePatch) => ReasonName::SquashMerged,
            Self::Landed(Landed::EmptyDiff) => ReasonName::NoChanges,
            Self::Saved | Self::NoDefaultBranch => ReasonName::Saved,
            Self::LockEnded { .. } => ReasonName::LockedByDeadProcess,
            Self::OverCap(OverCap::Trees { .. }) => ReasonName::OverMaxTrees,
            Self::OverCap(OverCap::Bytes { .. }) => ReasonName::OverMaxBytes,
            Self::UnderPressure => ReasonName::UnderPressure,
        }
    }
}

impl fmt::Display for ReapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncommitted { named, count } => f.write_str(&of_all(named, *count)),
            Self::UnsavedCommits(many) => {
                write!(
                    f,
                    "only this tree reaches {}",
                    plural(*many as u64, "commit")
                )
            }
            Self::NotInCheckout(many) => write!(
                f,
                "the enrolled checkout doesn't have {} of it: `git fetch` there, if they are pushed",
                plural(*many as u64, "commit")
            ),
            Self::Stash => f.write_str("a stash was made on its branch"),
            Self::NoCommitYet => f.write_str("clean, and nothing was ever committed in it"),
            Self::Landed(landed) => f.write_str(match landed {
                Landed::Ancestor => "merged: HEAD is in the default branch",
                Landed::SameTree => "merged: the default branch had the very same files",
                Landed::SamePatch => {
                    "merged as a squash or rebase: the default branch has the same patch"
                }
                Landed::EmptyDiff => "its commits change nothing",
            }),
            Self::Saved => f.write_str("clean, and its commits are on a branch that stays"),
            Self::NoDefaultBranch => f.write_str(NO_DEFAULT_BRANCH),
            Self::LockEnded { pid, held_for } => write!(
                f,
                "its lock is over: process {pid} is dead on this machine, and worktrees.dead_locks is {}",
                exact(*held_for)
            ),
            Self::OverCap(cap) => write!(f, "goes before its age: {cap}"),
            Self::UnderPressure => f.write_str("goes before its age: the volume is too full"),
        }
    }
}

impl fmt::Display for OverCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trees { there, most } => {
                let trees = plural(*there as u64, "tree");
                write!(
                    f,
                    "the repo has {trees}, more than worktrees.max_trees ({most})"
                )
            }
            Self::Bytes { there, most } => {
                let [there, most] = [*there, *most].map(bytes);
                write!(
                    f,
                    "the repo's trees hold {there}, more than worktrees.max_bytes ({most})"
                )
            }
        }
    }
}

impl fmt::Display for GoneAtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = |f: &mut fmt::Formatter<'_>, Missing { missing, of }: Missing, whose| {
            let missing = plural(missing as u64, "tree");
            write!(
                f,
                "{missing} of {of}{whose} went missing at once, since the last run"
            )
        };
        match self {
            Self::Here(missing) => since(f, *missing, ""),
            Self::Around(missing) => since(f, *missing, " on the volume"),
            Self::Earlier(trees, first) => write!(
                f,
                "{} went missing at once, on {}",
                plural(*trees as u64, "tree"),
                first.format("%-d %b %Y")
            ),
        }
    }
}

impl fmt::Display for PruneRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repo, gone } = self;
        write!(
            f,
            "{gone}: is the volume mounted whole? If they were deleted on purpose, let go of each with `treewarden worktree remove {repo} NAME --rescue`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for name in NAMES {
            let json = serde_json::to_string(name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(&serde_json::from_str::<ReasonName>(&json).unwrap(), name);
        }
        let theirs: ReasonName = serde_json::from_str("\"of another version\"").unwrap();
        assert_eq!(theirs, ReasonName::Other("of another version".into()));
        assert_eq!(
            serde_json::to_string(&theirs).unwrap(),
            "\"of another version\""
        );
    }
}
