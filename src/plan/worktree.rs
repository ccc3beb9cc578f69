//! A worktree's fate: the one function that decides it, for the dry run and the real run alike.
//!
//! Any doubt keeps the tree (`docs/design/worktrees.md#the-verdict`). It must never look at a
//! path's name or at the root directory's write time (deep edits don't touch it).

use crate::config::policy::{Age, Worktrees};
use crate::facts::worktree::{Contents, DeadLock, Landed, State, Worktree};
use bytesize::ByteSize;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// What a tree's work is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Clean, and in the upstream's default branch.
    Landed,
    /// Clean, and every commit is on a branch or a remote.
    Saved,
    /// It holds what nothing else has.
    Unsaved,
    /// Clean, and nothing was ever committed in it: somebody made it to work there.
    Fresh,
}

/// What becomes of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Kept),
    /// It goes; an unsaved one is rescued first.
    Reap {
        /// What its work is known to be.
        class: Class,
        /// Why, in words.
        reasons: Vec<String>,
        /// The decisive reason's short name.
        because: &'static str,
    },
    /// Nobody can tell: it stays.
    Unknown(String),
    /// There is no tree: only the registration is left, and pruning decides about that.
    Missing,
}

/// Why a tree stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its class, where it was looked at.
    pub class: Option<Class>,
    /// Why, in words; the first is the decisive one.
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
/// | the same where the reason names a process of this machine that is dead | keep, until `dead_locks` after it was made, which by default is never |
/// | the repo's busy probe says so | keep |
/// | a process of this machine stands in it, or has a file of it open | keep |
/// | last active in the future, by more than clocks differ | keep, and say so |
/// | it holds what a rescue can't; it must be rescued, and a rescue can't hold its index | keep |
/// | it needs a rescue, and a file can't be read, or the files are more than `rescue_max` | keep |
/// | active within its class's age, or the class is switched off | keep |
/// | else | reap |
///
/// | its class | what was seen |
/// | --- | --- |
/// | unsaved | files that HEAD doesn't bring back; commits that only it reaches; a stash on its branch |
/// | fresh | none of that, and no reflog of it tells of a commit |
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

/// The shortest idle time after which any class may go: younger trees need no closer look.
pub fn shortest(policy: &Worktrees) -> Option<TimeDelta> {
    [policy.landed, policy.saved, policy.unsaved, policy.fresh]
        .into_iter()
        .filter_map(delta)
        .min()
}

/// Whether a tree would go by what was seen of it, nobody being busy in it: then it must be looked
/// at whole before anything is decided.
pub fn is_due(tree: &Worktree, policy: &Worktrees, now: DateTime<Utc>) -> bool {
    matches!(verdict(tree, policy, None, now), Verdict::Reap { .. })
}

/// Why nothing lands in a repo.
pub const NO_DEFAULT_BRANCH: &str = "no default branch is known, so no worktree counts as landed: run `git remote set-head REMOTE --auto` in the checkout";
/// Machines' clocks may differ by so much.
const SKEW: TimeDelta = TimeDelta::hours(1);

fn in_the_future(active: DateTime<Utc>) -> String {
    // A time that can't be told stands for the latest there is.
    let when = if active == DateTime::<Utc>::MAX_UTC {
        "a time that can't be told".to_owned()
    } else {
        active.format("%Y-%m-%d").to_string()
    };
    format!(
        "last active in the future ({when}), by its time stamps; `touch` its files and those of its registration"
    )
}

/// Why a lock holds the tree; none without one, or when it counts no longer.
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

/// Why a rescue would fail, as far as can be known without making one.
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
mod tests {
    use super::*;
    use crate::fs::volume_path::VolumePath;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    const DAY: Duration = Duration::from_hours(24);

    fn policy() -> Worktrees {
        Worktrees {
            landed: Age::After(DAY),
            saved: Age::After(7 * DAY),
            unsaved: Age::After(30 * DAY),
            fresh: Age::After(7 * DAY),
            dead_locks: Age::Never,
            roots: Vec::new(),
            rescue_max: 10,
            rescue_keep: DAY,
            rescue_budget: 0,
            made_again: [].into(),
        }
    }

    fn tree(idle_days: i64, state: State) -> Worktree {
        Worktree {
            id: "a".into(),
            admin: VolumePath::new(
                &Arc::from(Path::new("/data")),
                Path::new("r/.git/worktrees/a"),
            )
            .unwrap(),
            path: "/data/w/a".into(),
            branch: Some("refs/heads/a".into()),
            head: Some("1".repeat(40)),
            locked: None,
            dead_lock: None,
            in_progress: Vec::new(),
            active: now() - TimeDelta::days(idle_days),
            worked_in: true,
            in_use: None,
            missing_since: None,
            missing_at_once: false,
            made_again: [].into(),
            state,
        }
    }

    fn untouched(idle_days: i64, state: State) -> Worktree {
        Worktree {
            worked_in: false,
            ..tree(idle_days, state)
        }
    }

    /// Of a process that died when the tree was last worked in.
    fn dead_lock(days: i64, state: State) -> Worktree {
        let lock = DeadLock {
            pid: 4299,
            since: now() - TimeDelta::days(days),
        };
        Worktree {
            locked: Some("claude agent a (pid 4299)".into()),
            dead_lock: Some(lock),
            ..tree(days, state)
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(1000)
    }

    fn looked(change: impl FnOnce(&mut Contents)) -> State {
        let mut contents = Contents::default();
        change(&mut contents);
        State::Looked(Box::new(contents))
    }

    fn short(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Keep(kept) => format!("keep {}", kept.because),
            Verdict::Reap { class, because, .. } => format!("reap {} {because}", name(*class)),
            Verdict::Unknown(_) => "unknown".into(),
            Verdict::Missing => "missing".into(),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_row_of_the_table() {
        let landed = || looked(|c| c.landed = Some(Landed::SamePatch));
        let saved = || looked(|_| {});
        let dirty = || {
            looked(|c| {
                (c.dirty_count, c.dirty, c.landed) =
                    (1, vec!["x is untracked".into()], Some(Landed::Ancestor));
            })
        };
        let lonely = || looked(|c| c.unreached = vec!["2".repeat(40)]);
        let stashed = || looked(|c| c.stashed = true);
        let blocked = || looked(|c| c.blockers = vec!["x is a nested repo".into()]);
        let cases = [
            (tree(0, landed()), "keep recent"),
            (tree(1, landed()), "reap landed squash-merged"),
            (tree(6, saved()), "keep recent"),
            (tree(7, saved()), "reap saved saved on its branch"),
            (tree(29, dirty()), "keep recent"),
            (tree(30, dirty()), "reap unsaved uncommitted work"),
            (tree(29, lonely()), "keep recent"),
            (tree(30, lonely()), "reap unsaved unsaved commits"),
            (tree(29, stashed()), "keep recent"),
            (tree(900, blocked()), "keep can't be rescued"),
            (
                tree(900, looked(|c| (c.dirty_count, c.rescue.bytes) = (1, 11))),
                "keep can't be rescued",
            ),
            (
                tree(900, looked(|c| (c.dirty_count, c.rescue.bytes) = (1, 10))),
                "reap unsaved uncommitted work",
            ),
            (
                tree(
                    900,
                    looked(|c| (c.dirty_count, c.unreadable) = (1, Some("x".into()))),
                ),
                "keep can't be rescued",
            ),
            // What needs no rescue goes without one.
            (
                tree(
                    900,
                    looked(|c| (c.unreadable, c.rescue.bytes) = (Some("x".into()), 11)),
                ),
                "reap saved saved on its branch",
            ),
            (
                tree(900, looked(|c| c.unholdable_index = Some("split".into()))),
                "reap saved saved on its branch",
            ),
            (
                tree(
                    900,
                    looked(|c| (c.unholdable_index, c.stashed) = (Some("split".into()), true)),
                ),
                "keep can't be rescued",
            ),
            (
                Worktree {
                    active: now() + TimeDelta::minutes(59),
                    ..tree(0, landed())
                },
                "keep recent",
            ),
            (
                Worktree {
                    active: now() + TimeDelta::hours(1),
                    ..tree(0, landed())
                },
                "keep recent",
            ),
            (
                Worktree {
                    active: now() + TimeDelta::minutes(61),
                    ..tree(0, landed())
                },
                "keep in the future",
            ),
            (tree(-1, landed()), "keep in the future"),
            (tree(-1, State::NotLooked), "keep in the future"),
            (
                Worktree {
                    active: DateTime::<Utc>::MAX_UTC,
                    ..tree(0, State::NotLooked)
                },
                "keep in the future",
            ),
            (untouched(6, saved()), "keep recent"),
            (untouched(6, landed()), "keep recent"),
            (untouched(7, landed()), "reap fresh no commit yet"),
            (untouched(29, dirty()), "keep recent"),
            (untouched(30, dirty()), "reap unsaved uncommitted work"),
            (untouched(900, blocked()), "keep can't be rescued"),
            (
                Worktree {
                    head: None,
                    ..untouched(7, saved())
                },
                "reap saved saved on its branch",
            ),
            (
                Worktree {
                    in_use: Some("node (pid 7) stands in it".into()),
                    ..tree(900, State::NotLooked)
                },
                "keep in use",
            ),
            (
                Worktree {
                    in_use: Some("node (pid 7) stands in it".into()),
                    ..tree(900, landed())
                },
                "keep in use",
            ),
            (dead_lock(400, landed()), "keep locked by a dead process"),
            (tree(900, State::NotLooked), "keep recent"),
            (tree(900, State::Unknown("EIO".into())), "unknown"),
            (
                tree(
                    900,
                    State::Missing {
                        trashed: false,
                        unreached: Vec::new(),
                        staged: false,
                    },
                ),
                "missing",
            ),
            (
                Worktree {
                    locked: Some(String::new()),
                    ..tree(900, landed())
                },
                "keep locked",
            ),
            (
                Worktree {
                    in_progress: vec!["rebase"],
                    ..tree(900, landed())
                },
                "keep in progress",
            ),
        ];
        for (tree, wanted) in cases {
            assert_eq!(
                short(&verdict(&tree, &policy(), None, now())),
                wanted,
                "{tree:?}"
            );
        }
        assert_eq!(
            short(&verdict(
                &tree(900, saved()),
                &policy(),
                Some("busy"),
                now()
            )),
            "keep busy"
        );
        let three = Worktrees {
            dead_locks: Age::After(3 * DAY),
            ..policy()
        };
        for (tree, wanted) in [
            (dead_lock(4, landed()), "reap landed squash-merged"),
            (dead_lock(4, saved()), "keep recent"),
            (dead_lock(2, landed()), "keep locked by a dead process"),
            (
                Worktree {
                    active: now(),
                    ..dead_lock(4, landed())
                },
                "keep locked by a dead process",
            ),
            (
                Worktree {
                    in_progress: vec!["rebase"],
                    ..dead_lock(4, landed())
                },
                "keep in progress",
            ),
            (
                Worktree {
                    dead_lock: None,
                    ..dead_lock(400, landed())
                },
                "keep locked",
            ),
        ] {
            assert_eq!(
                short(&verdict(&tree, &three, None, now())),
                wanted,
                "{tree:?}"
            );
        }
        let never = Worktrees {
            saved: Age::Never,
            ..policy()
        };
        assert_eq!(
            short(&verdict(&tree(900, saved()), &never, None, now())),
            "keep switched off"
        );
        assert_eq!(shortest(&policy()), Some(TimeDelta::days(1)));
    }

    #[test]
    fn a_tree_is_due_when_it_would_go_with_nobody_busy_in_it() {
        let landed = || looked(|c| c.landed = Some(Landed::Ancestor));
        assert!(is_due(&tree(1, landed()), &policy(), now()));
        assert!(!is_due(&tree(0, landed()), &policy(), now()));
        assert!(!is_due(
            &tree(900, State::Unknown("EIO".into())),
            &policy(),
            now()
        ));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_a_verdict_says_in_words() {
        let dirty = |count, names: &[&str]| {
            looked(|c| {
                (c.dirty_count, c.dirty) = (count, names.iter().map(ToString::to_string).collect());
            })
        };
        let landed = |how| looked(|c| c.landed = Some(how));
        let locked = |reason: &str| Worktree {
            locked: Some(reason.into()),
            ..tree(0, State::NotLooked)
        };
        let dead = |age: TimeDelta| {
            let since = now() - age;
            Worktree {
                dead_lock: Some(DeadLock { pid: 7, since }),
                active: since,
                ..locked("claude")
            }
        };
        let future = "by its time stamps; `touch` its files and those of its registration";
        let unlock = "`git worktree unlock` lets it go, or `worktrees.dead_locks` all such";
        let cases = [
            (tree(30, dirty(1, &["a is changed"])), "a is changed".to_owned()),
            (tree(30, dirty(2, &["a is changed", "b is untracked"])), "a is changed, b is untracked".to_owned()),
            (tree(30, dirty(5, &["a is changed", "b is untracked"])), "a is changed, b is untracked and 3 more".to_owned()),
            (tree(30, looked(|c| c.unreached = vec!["2".repeat(40)])), "only this tree reaches 1 commit".to_owned()),
            (
                tree(30, looked(|c| (c.unreached, c.stashed) = (vec![String::new(); 2], true))),
                "only this tree reaches 2 commits | a stash was made on its branch".to_owned(),
            ),
            (tree(0, dirty(1, &["a"])), "unsaved trees go when idle for 30 days | a".to_owned()),
            (tree(1, landed(Landed::Ancestor)), "merged: HEAD is in the default branch".to_owned()),
            (tree(1, landed(Landed::SameTree)), "merged: the default branch had the very same files".to_owned()),
            (tree(1, landed(Landed::SamePatch)), "merged as a squash or rebase: the default branch has the same patch".to_owned()),
            (tree(1, landed(Landed::EmptyDiff)), "its commits change nothing".to_owned()),
            (tree(0, landed(Landed::Ancestor)), "landed trees go when idle for 1 day | merged: HEAD is in the default branch".to_owned()),
            (untouched(7, looked(|_| {})), "clean, and nothing was ever committed in it".to_owned()),
            (tree(7, looked(|_| {})), "clean, and its commits are on a branch that stays".to_owned()),
            (
                tree(7, looked(|c| c.no_default_branch = true)),
                format!("clean, and its commits are on a branch that stays | {NO_DEFAULT_BRANCH}"),
            ),
            (
                tree(30, looked(|c| (c.stashed, c.rescue.bytes) = (true, 11))),
                "its unsaved files hold 11 B, more than rescue_max (10 B): raise rescue_max, or save the work by hand | a stash was made on its branch".to_owned(),
            ),
            (
                tree(30, looked(|c| (c.stashed, c.unreadable) = (true, Some("`x`".into())))),
                "its unsaved work can't be rescued: failed to read `x`; make the file readable, or remove it | a stash was made on its branch".to_owned(),
            ),
            (
                tree(30, looked(|c| (c.stashed, c.unholdable_index) = (true, Some("split".into())))),
                "split | a stash was made on its branch".to_owned(),
            ),
            (
                tree(30, looked(|c| c.blockers = vec!["a".into(), "b".into()])),
                "a; b | clean, and its commits are on a branch that stays".to_owned(),
            ),
            (locked(""), "with `git worktree lock`, without a reason".to_owned()),
            (locked("mine"), "mine".to_owned()),
            (
                dead(TimeDelta::seconds(90)),
                format!("claude: process 7 is dead on this machine, and nothing happened for 1 minute; {unlock}"),
            ),
            (
                dead(TimeDelta::minutes(59)),
                format!("claude: process 7 is dead on this machine, and nothing happened for 59 minutes; {unlock}"),
            ),
            (dead(TimeDelta::minutes(60)), format!("claude: process 7 is dead on this machine, and nothing happened for 1 hour; {unlock}")),
            (dead(TimeDelta::hours(23)), format!("claude: process 7 is dead on this machine, and nothing happened for 23 hours; {unlock}")),
            (dead(TimeDelta::hours(24)), format!("claude: process 7 is dead on this machine, and nothing happened for 1 day; {unlock}")),
            (dead(TimeDelta::days(40)), format!("claude: process 7 is dead on this machine, and nothing happened for 40 days; {unlock}")),
            (tree(-1, State::NotLooked), format!("last active in the future (1972-09-28), {future}")),
            (
                Worktree { active: DateTime::<Utc>::MAX_UTC, ..tree(0, State::NotLooked) },
                format!("last active in the future (a time that can't be told), {future}"),
            ),
            (Worktree { in_progress: vec!["rebase", "bisect"], ..tree(0, State::NotLooked) }, "rebase and bisect under way".to_owned()),
            (tree(0, State::NotLooked), "active too recently for any class".to_owned()),
        ];
        for (tree, expected) in cases {
            let told = match verdict(&tree, &policy(), None, now()) {
                Verdict::Keep(Kept { reasons, .. }) | Verdict::Reap { reasons, .. } => {
                    reasons.join(" | ")
                }
                other => format!("{other:?}"),
            };
            assert_eq!(told, expected);
        }
        let three = Worktrees {
            dead_locks: Age::After(3 * DAY),
            ..policy()
        };
        let Verdict::Keep(kept) = verdict(&dead(TimeDelta::days(2)), &three, None, now()) else {
            panic!()
        };
        assert_eq!(
            kept.reasons,
            [
                "claude: process 7 is dead on this machine, and nothing happened for 2 days; such a lock holds for 3 days"
            ]
        );
    }
}
