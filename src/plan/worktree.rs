//! A worktree's verdict: the one function that decides its fate, for the dry run and the real run
//! alike.
//!
//! Any doubt keeps the tree (`docs/design/worktrees.md#the-verdict`). A path's name and the root
//! directory's write time don't count: deep edits don't touch it.

use crate::config::policy::{Age, Worktrees};
use crate::facts::worktree::{Contents, DeadLock, Landed, State, Worktree};
use bytesize::ByteSize;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The class of a tree's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Clean, and in the upstream's default branch.
    Landed,
    /// Clean, and every commit is on a branch or a remote.
    Saved,
    /// It contains what nothing else has.
    Unsaved,
    /// Clean, and nothing was ever committed in it: somebody made it to work there.
    Fresh,
}

/// The fate of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Kept),
    /// It goes; an unsaved one is rescued first.
    Reap {
        /// The class of its work.
        class: Class,
        /// Why, for people.
        reasons: Vec<String>,
        /// The decisive reason's short name.
        because: &'static str,
    },
    /// Its state is unknown: it stays.
    Unknown(String),
    /// There is no tree: only the registration is left, and pruning decides about that.
    Missing,
}

/// Why a tree stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its class, if it was inspected.
    pub class: Option<Class>,
    /// Why, for people; the first is the decisive one.
    pub reasons: Vec<String>,
    /// The decisive reason's short name.
    pub because: &'static str,
}

/// Decides.
///
/// | what was seen | verdict |
/// | --- | --- |
/// | something could not be read, or isn't what it should be | unknown |
/// | `git worktree lock`, whatever the reason; an operation under way | keep |
/// | the same if the reason names a process of this machine that is dead | keep, until `dead_locks` after it was made, which by default is never |
/// | the repo's busy probe says so | keep |
/// | a process of this machine is in it, or has a file of it open | keep |
/// | last active in the future, by more than clocks differ | keep, and say so |
/// | it contains what a rescue can't; it must be rescued, and a rescue can't contain its index | keep |
/// | it needs a rescue, and a file can't be read, or the files are more than `rescue_max` | keep |
/// | active within its class's age, or the class is switched off | keep |
/// | else | reap |
///
/// | its class | what was seen |
/// | --- | --- |
/// | unsaved | files that HEAD doesn't bring back; commits that only it reaches; a stash on its branch |
/// | fresh | none of that, and no reflog of it records a commit |
/// | landed | none of that, and HEAD is in a default branch upstream |
/// | saved | else |
pub fn verdict(
    tree: &Worktree,
    policy: &Worktrees,
    busy: Option<&str>,
    now: DateTime<Utc>,
) -> Verdict {
    let keep = |because, why: String| {
        Verdict::Keep(Kept {
            class: None,
            reasons: vec![why],
            because,
        })
    };
    match &tree.state {
        State::Unknown(cause) | State::Unreadable(cause) => return Verdict::Unknown(cause.clone()),
        State::Missing { .. } => return Verdict::Missing,
        State::NotLooked | State::Looked(_) => {}
    }
    if let Some(kept) = locked(tree, policy, now) {
        return Verdict::Keep(kept);
    }
    match &tree.state {
        _ if !tree.in_progress.is_empty() => keep(
            "in progress",
            format!("{} under way", tree.in_progress.join(" and ")),
        ),
        _ if busy.is_some() => keep("busy", busy.unwrap_or_default().to_owned()),
        _ if tree.in_use.is_some() => keep("in use", tree.in_use.clone().unwrap_or_default()),
        _ if tree.active.signed_duration_since(now) > SKEW => {
            keep("in the future", in_the_future(tree.active))
        }
        State::NotLooked => keep("recent", "active too recently for any class".to_owned()),
        State::Looked(contents) => looked(tree, contents, policy, now),
        // Answered above.
        State::Missing { .. } | State::Unknown(_) | State::Unreadable(_) => Verdict::Missing,
    }
}

/// The shortest idle time after which any class may go: younger trees need no closer inspection.
pub fn shortest(policy: &Worktrees) -> Option<TimeDelta> {
    [policy.landed, policy.saved, policy.unsaved, policy.fresh]
        .into_iter()
        .filter_map(delta)
        .min()
}

/// Whether a tree would go by its survey, with nobody busy in it: then all of it must be inspected
/// before anything is decided.
pub fn is_due(tree: &Worktree, policy: &Worktrees, now: DateTime<Utc>) -> bool {
    matches!(verdict(tree, policy, None, now), Verdict::Reap { .. })
}

/// Why nothing lands in a repo.
pub const NO_DEFAULT_BRANCH: &str = "no default branch is known, so no worktree counts as landed: run `git remote set-head REMOTE --auto` in the checkout";
/// How far machines' clocks may differ.
const SKEW: TimeDelta = TimeDelta::hours(1);

fn in_the_future(active: DateTime<Utc>) -> String {
    // A time that is out of range stands for the latest there is.
    let when = if active == DateTime::<Utc>::MAX_UTC {
        "a time that can't be told".to_owned()
    } else {
        active.format("%Y-%m-%d").to_string()
    };
    format!(
        "last active in the future ({when}), by its time stamps; `touch` its files and those of its registration"
    )
}

/// Why a lock keeps the tree; none without a lock, or if it no longer counts.
fn locked(tree: &Worktree, policy: &Worktrees, now: DateTime<Utc>) -> Option<Kept> {
    let reason = tree.locked.as_deref()?;
    let told = if reason.is_empty() {
        "with `git worktree lock`, without a reason"
    } else {
        reason
    };
    let Some(DeadLock { pid, since }) = tree.dead_lock else {
        return Some(Kept {
            class: None,
            reasons: vec![told.to_owned()],
            because: "locked",
        });
    };
    let idle = now.signed_duration_since(since.max(tree.active));
    let remedy = match delta(policy.dead_locks) {
        Some(age) if idle >= age => return None,
        Some(age) => format!("such a lock holds for {}", days(age)),
        None => "`git worktree unlock` lets it go, or `worktrees.dead_locks` all such".to_owned(),
    };
    let why = format!(
        "process {pid} is dead on this machine, and nothing happened for {}; {remedy}",
        days(idle.max(TimeDelta::zero()))
    );
    Some(Kept {
        class: None,
        reasons: vec![format!("{told}: {why}")],
        because: "locked by a dead process",
    })
}

fn looked(tree: &Worktree, contents: &Contents, policy: &Worktrees, now: DateTime<Utc>) -> Verdict {
    let (class, because, mut reasons) = classify(tree, contents);
    let keep = |because, mut reasons: Vec<String>, why: String| {
        reasons.insert(0, why);
        Verdict::Keep(Kept {
            class: Some(class),
            reasons,
            because,
        })
    };
    if !contents.blockers.is_empty() {
        return keep("can't be rescued", reasons, contents.blockers.join("; "));
    }
    if class == Class::Unsaved
        && let Some(why) = no_rescue(contents, policy)
    {
        return keep("can't be rescued", reasons, why);
    }
    let age = match class {
        Class::Landed => policy.landed,
        Class::Saved => policy.saved,
        Class::Unsaved => policy.unsaved,
        Class::Fresh => policy.fresh,
    };
    let name = name(class);
    match delta(age) {
        None => keep(
            "switched off",
            reasons,
            format!("{name} trees are never reaped here"),
        ),
        Some(age) if now.signed_duration_since(tree.active) < age => keep(
            "recent",
            reasons,
            format!("{name} trees go when idle for {}", days(age)),
        ),
        Some(_) => {
            reasons.truncate(4);
            Verdict::Reap {
                class,
                reasons,
                because,
            }
        }
    }
}

/// Why a rescue would fail, as far as is known without making one.
fn no_rescue(contents: &Contents, policy: &Worktrees) -> Option<String> {
    if contents.unholdable_index.is_some() {
        return contents.unholdable_index.clone();
    }
    if let Some(unreadable) = &contents.unreadable {
        return Some(format!(
            "its unsaved work can't be rescued: failed to read {unreadable}; make the file readable, or remove it"
        ));
    }
    let [bytes, most] =
        [contents.rescue.bytes, policy.rescue_max].map(|bytes| ByteSize(bytes).display().iec());
    let what = "raise rescue_max, or save the work by hand";
    (contents.rescue.bytes > policy.rescue_max)
        .then(|| format!("its unsaved files hold {bytes}, more than rescue_max ({most}): {what}"))
}

fn classify(tree: &Worktree, contents: &Contents) -> (Class, &'static str, Vec<String>) {
    let mut unsaved = Vec::new();
    if contents.dirty_count > 0 {
        let rest = contents.dirty_count.saturating_sub(contents.dirty.len());
        let more = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        unsaved.push(format!("{}{more}", contents.dirty.join(", ")));
    }
    if !contents.unreached.is_empty() {
        unsaved.push(format!(
            "only this tree reaches {}",
            plural(contents.unreached.len(), "commit")
        ));
    }
    if contents.stashed {
        unsaved.push("a stash was made on its branch".to_owned());
    }
    if !unsaved.is_empty() {
        let because = if contents.dirty_count > 0 {
            "uncommitted work"
        } else {
            "unsaved commits"
        };
        return (Class::Unsaved, because, unsaved);
    }
    if !tree.worked_in && tree.head.is_some() {
        return (
            Class::Fresh,
            "no commit yet",
            vec!["clean, and nothing was ever committed in it".to_owned()],
        );
    }
    if let Some(landed) = contents.landed {
        return (
            Class::Landed,
            landed_name(landed),
            vec![landed_words(landed).to_owned()],
        );
    }
    let mut reasons = vec!["clean, and its commits are on a branch that stays".to_owned()];
    reasons.extend(
        contents
            .no_default_branch
            .then(|| NO_DEFAULT_BRANCH.to_owned()),
    );
    (Class::Saved, "saved on its branch", reasons)
}

fn landed_name(landed: Landed) -> &'static str {
    match landed {
        Landed::Ancestor => "merged",
        Landed::SameTree | Landed::SamePatch => "squash-merged",
        Landed::EmptyDiff => "no changes",
    }
}

fn landed_words(landed: Landed) -> &'static str {
    match landed {
        Landed::Ancestor => "merged: HEAD is in the default branch",
        Landed::SameTree => "merged: the default branch had the very same files",
        Landed::SamePatch => "merged as a squash or rebase: the default branch has the same patch",
        Landed::EmptyDiff => "its commits change nothing",
    }
}

fn name(class: Class) -> &'static str {
    match class {
        Class::Landed => "landed",
        Class::Saved => "saved",
        Class::Unsaved => "unsaved",
        Class::Fresh => "fresh",
    }
}

fn delta(age: Age) -> Option<TimeDelta> {
    match age {
        Age::After(age) => Some(TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)),
        Age::Never => None,
    }
}

fn days(age: TimeDelta) -> String {
    match (age.num_days(), age.num_hours()) {
        (0, 0) => plural(usize::try_from(age.num_minutes()).unwrap_or(0), "minute"),
        (0, hours) => plural(usize::try_from(hours).unwrap_or(0), "hour"),
        (days, _) => plural(usize::try_from(days).unwrap_or(0), "day"),
    }
}

pub(super) fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

#[cfg(test)]
mod tests;
