//! Tests of `worktree.rs`.

use super::*;
use crate::config::policy::Keep;
use crate::facts::worktree::{ActiveFrom, Landed};
use crate::fs::volume_path::VolumePath;
use crate::plan::reason::NO_DEFAULT_BRANCH;
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
        keep: Keep::default(),
        max_trees: None,
        max_bytes: None,
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
        clone_of: None,
        checkout: None,
        path: "/data/w/a".into(),
        branch: Some("refs/heads/a".into()),
        head: Some("1".repeat(40)),
        locked: None,
        dead_lock: None,
        in_progress: Vec::new(),
        active: now() - TimeDelta::days(idle_days),
        active_from: ActiveFrom::Reflog,
        worked_in: true,
        in_use: None,
        missing_since: None,
        missing_at_once: false,
        bytes: None,
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

/// Locked by a process that is dead by now, when the tree was last worked in.
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
    State::Inspected(Box::new(contents))
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Keep(kept) => format!("keep {}", kept.reason.name()),
        Verdict::Reap(work) => format!("reap {} {}", work.class.name(), work.reason.name()),
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
    let cases = vec![
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
        // A tree that needs no rescue is removed without one.
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
        (tree(-1, State::NotInspected), "keep in the future"),
        (
            Worktree {
                active: DateTime::<Utc>::MAX_UTC,
                ..tree(0, State::NotInspected)
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
                in_use: Some("node (pid 7) has its working directory in it".into()),
                ..tree(900, State::NotInspected)
            },
            "keep in use",
        ),
        (
            Worktree {
                in_use: Some("node (pid 7) has its working directory in it".into()),
                ..tree(900, landed())
            },
            "keep in use",
        ),
        (dead_lock(400, landed()), "keep locked by a dead process"),
        (tree(900, State::NotInspected), "keep recent"),
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

/// Returns rules with these globs of `worktrees.keep`.
fn keeping(globs: &str) -> Worktrees {
    let text = format!(
        "volume: {{root: /data}}\nrepos: [{{name: r, path: src/r, worktrees: {{keep: {globs}}}}}]"
    );
    let config = crate::config::parse("c.yaml", &text).unwrap();
    Worktrees {
        keep: config.repos[0].worktrees.keep.clone(),
        ..policy()
    }
}

#[test]
fn what_keep_names_stays_by_its_place_its_name_or_its_branch() {
    // The tree stands at w/shop/fix-1, and its branch is agents/fix-cart.
    let old = || Worktree {
        path: "/data/w/shop/fix-1".into(),
        branch: Some("refs/heads/agents/fix-cart".into()),
        ..tree(900, looked(|_| {}))
    };
    for (glob, keeps) in [
        ("fix-1", true),
        ("fix-*", true),
        ("'*'", true),
        ("w/shop/fix-1", true),
        ("w/shop/", true),
        ("w/*/fix-?", true),
        ("'{w,v}/**'", true),
        ("'**/fix-1'", true),
        ("w", true),
        ("/data/w/shop/*", true),
        ("./w/shop", true),
        ("agents/fix-cart", true),
        ("agents/*", true),
        ("refs/heads/agents/*", true),
        ("fix", false),
        ("shop", false),
        ("w/*-1", false),
        ("w/shop/fix", false),
        ("w/shop/fix-1/src", false),
        ("fix-cart", false),
        ("agents", false),
        ("Fix-1", false),
        ("'<repo>/**'", false),
        ("'w/<repo-basename>/*'", false),
    ] {
        let message = short(&verdict(
            &old(),
            &keeping(&format!("[nothing, {glob}]")),
            None,
            now(),
        ));
        let expected = if keeps {
            "keep kept by config"
        } else {
            "reap saved saved on its branch"
        };
        assert_eq!(message, expected, "{glob}");
    }
    let inside = Worktree {
        path: "/data/src/r/.worktrees/a".into(),
        branch: None,
        ..old()
    };
    let kept = verdict(&inside, &keeping("['<repo>/.worktrees/*']"), None, now());
    let Verdict::Keep(kept) = kept else {
        panic!("{kept:?}")
    };
    assert_eq!(
        kept.sentences(),
        [
            "worktrees.keep names it: `<repo>/.worktrees/*`",
            "clean, and its commits are on a branch that stays"
        ]
    );
}

/// Keeping is the config's decision, so it comes first; but nothing makes an unknown tree known, and
/// one that is gone can't be kept.
#[test]
fn what_keep_names_is_told_so_whatever_else_is_true_of_it() {
    let gone = State::Missing {
        trashed: false,
        unreached: Vec::new(),
        staged: false,
    };
    for (tree, expected) in [
        (tree(0, State::NotInspected), "keep kept by config"),
        (dead_lock(400, looked(|_| {})), "keep kept by config"),
        (tree(400, State::Unknown("odd".into())), "unknown"),
        (tree(400, gone), "missing"),
    ] {
        let message = short(&verdict(&tree, &keeping("['*']"), Some("busy"), now()));
        assert_eq!(message, expected, "{tree:?}");
    }
}

#[test]
fn with_a_cap_all_that_may_go_for_it_is_inspected() {
    let saved = || looked(|_| {});
    let capped = Worktrees {
        max_trees: Some(1),
        ..policy()
    };
    let sized = Worktrees {
        max_bytes: Some(1),
        ..policy()
    };
    let due = |rules: &Worktrees, days| is_due(&tree(days, saved()), rules, now());
    assert!(!due(&policy(), 1) && due(&capped, 1) && due(&sized, 1) && !due(&capped, 0));
    let late = Worktrees {
        landed: Age::After(9 * DAY),
        ..policy()
    };
    assert_eq!(shortest(&late), Some(TimeDelta::days(7)));
    let late = Worktrees {
        max_trees: Some(1),
        ..late
    };
    assert_eq!(shortest(&late), Some(TimeDelta::days(1)));
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
fn what_a_verdict_says_in_words() {
    let dirty = |count, names: &[&str]| {
        looked(|c| {
            (c.dirty_count, c.dirty) = (count, names.iter().map(ToString::to_string).collect());
        })
    };
    let landed = |how| looked(|c| c.landed = Some(how));
    let locked = |reason: &str| Worktree {
        locked: Some(reason.into()),
        ..tree(0, State::NotInspected)
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
            "its unsaved work can't be rescued: failed to read `x`; make the file readable (`chmod u+r`, or `sudo chown` it), or remove it | a stash was made on its branch".to_owned(),
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
        (tree(-1, State::NotInspected), format!("last active in the future (1972-09-28), {future}")),
        (
            Worktree { active: DateTime::<Utc>::MAX_UTC, ..tree(0, State::NotInspected) },
            format!("last active in the future (a timestamp out of range), {future}"),
        ),
        (Worktree { in_progress: vec!["rebase", "bisect"], ..tree(0, State::NotInspected) }, "rebase and bisect under way".to_owned()),
        (tree(0, State::NotInspected), "active too recently for any class".to_owned()),
    ];
    for (tree, expected) in cases {
        let message = match verdict(&tree, &policy(), None, now()) {
            Verdict::Keep(kept) => kept.sentences().join(" | "),
            Verdict::Reap(work) => work.sentences().join(" | "),
            other => format!("{other:?}"),
        };
        assert_eq!(message, expected);
    }
}

#[test]
fn what_a_verdict_says_of_a_lock_whose_process_is_dead() {
    let landed = || looked(|c| c.landed = Some(Landed::Ancestor));
    let three = Worktrees {
        dead_locks: Age::After(3 * DAY),
        ..policy()
    };
    let Verdict::Keep(kept) = verdict(&dead_lock(2, landed()), &three, None, now()) else {
        panic!()
    };
    assert_eq!(
        kept.sentences(),
        [
            "claude agent a (pid 4299): process 4299 is dead on this machine, and nothing happened for 2 days; such a lock holds for 3 days"
        ]
    );
    let Verdict::Reap(work) = verdict(&dead_lock(4, landed()), &three, None, now()) else {
        panic!()
    };
    assert_eq!(
        work.sentences(),
        [
            "merged: HEAD is in the default branch",
            "its lock is over: process 4299 is dead on this machine, and worktrees.dead_locks is 3 days"
        ]
    );
}

#[test]
fn a_reason_names_the_first_five_files() {
    let dirty: Vec<String> = (1..=7)
        .map(|number| format!("{number} is untracked"))
        .collect();
    let contents = Contents {
        dirty: dirty.clone(),
        dirty_count: 9,
        ..Contents::default()
    };
    let tree = tree(40, State::Inspected(Box::new(contents)));
    let Verdict::Reap(work) = verdict(&tree, &policy(), None, now()) else {
        panic!()
    };
    assert_eq!(
        work.sentences(),
        [format!("{} and 4 more", dirty[..5].join(", "))]
    );
}

/// The time at which a tree goes is the first at which the verdict says so.
#[test]
fn a_tree_goes_from_the_time_at_which_the_verdict_changes() {
    let clean = || State::Inspected(Box::default());
    let from = |tree: &Worktree, busy| goes_from(tree, &policy(), busy, now());
    let days = |tree: &Worktree| from(tree, None).map(|from| (from - now()).num_days());
    assert_eq!(days(&tree(2, clean())), Some(5));
    assert_eq!(days(&tree(40, clean())), Some(0));
    assert_eq!(days(&tree(-3, clean())), Some(10));
    assert_eq!(from(&tree(40, clean()), Some("busy")), None);
    assert_eq!(days(&tree(40, State::NotInspected)), None);
    let locked = Worktree {
        locked: Some(String::new()),
        ..tree(40, clean())
    };
    assert_eq!(days(&locked), None);
}

/// A tree that stays may go from then on. What is in a young one is not known, so it is as if it
/// had landed.
#[test]
fn a_young_tree_may_go_as_soon_as_any_may() {
    let from = |tree: &Worktree| may_go_from(tree, &policy(), None, now());
    let hours = |tree: &Worktree| from(tree).map(|from| (from - now()).num_hours());
    assert_eq!(hours(&tree(0, State::NotInspected)), Some(24));
    assert_eq!(hours(&tree(40, State::NotInspected)), Some(0));
    assert_eq!(hours(&tree(2, looked(|_| ()))), Some(5 * 24));
    assert_eq!(
        hours(&tree(40, looked(|_| ()))),
        None,
        "it goes, so it doesn't stay"
    );
    let locked = Worktree {
        locked: Some(String::new()),
        ..tree(0, State::NotInspected)
    };
    assert_eq!(hours(&locked), None);
    assert_eq!(hours(&tree(0, State::Unknown("odd".into()))), None);
}
