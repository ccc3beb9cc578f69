//! Tests of `repo.rs`.

use super::*;
use crate::config::policy::{Age, Worktrees};
use crate::facts::repo::{Leftover, Store};
use crate::facts::rescue::Own;
use crate::facts::worktree::{ActiveFrom, Contents, Landed};
use crate::plan::gc::{GcAction, Step};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::plan) const DAY: i64 = 24;

pub(in crate::plan) fn at(path: &str) -> VolumePath {
    VolumePath::new(&Arc::from(Path::new("/data")), Path::new(path)).unwrap()
}

pub(in crate::plan) fn policy() -> policy::Repo {
    let age = |days: u64| Age::After(Duration::from_hours(24 * days));
    policy::Repo {
        name: "a/b".into(),
        place: at("b"),
        url: None,
        clones: Vec::new(),
        lock_wait: Duration::ZERO,
        worktrees: Worktrees {
            landed: age(1),
            saved: age(7),
            unsaved: age(30),
            fresh: age(7),
            dead_locks: Age::Never,
            keep: policy::Keep::default(),
            max_trees: None,
            max_bytes: None,
            roots: Vec::new(),
            rescue_max: 0,
            rescue_keep: Duration::from_hours(24),
            rescue_budget: 0,
            made_again: [].into(),
        },
        gc: GcStrategy::Auto,
        busy_probe: Vec::new(),
        assigned: Arc::default(),
    }
}

pub(in crate::plan) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(in crate::plan) fn tree(idle_hours: i64, state: State) -> Worktree {
    Worktree {
        id: "t".into(),
        admin: at("b/.git/worktrees/t"),
        clone_of: None,
        checkout: None,
        path: "/data/w/t".into(),
        branch: Some("refs/heads/t".into()),
        head: None,
        locked: None,
        dead_lock: None,
        in_progress: Vec::new(),
        active: now() - TimeDelta::hours(idle_hours),
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

pub(in crate::plan) fn looked(contents: Contents) -> State {
    State::Inspected(Box::new(contents))
}

pub(in crate::plan) fn repo(worktrees: Vec<Worktree>) -> Repo {
    Repo {
        worktrees,
        unregistered: Vec::new(),
        rescues: Vec::new(),
        store: Store::default(),
        leftovers: Vec::new(),
        lends: None,
        around: Missing::default(),
        busy: None,
    }
}

fn night(facts: &Repo) -> Plan {
    plan(facts, &policy(), u64::MAX, now())
}

fn ids<'a>(trees: impl IntoIterator<Item = &'a Worktree>) -> Vec<&'a str> {
    trees.into_iter().map(|tree| tree.id.as_str()).collect()
}

fn places<'a>(places: impl IntoIterator<Item = &'a VolumePath>) -> Vec<String> {
    places.into_iter().map(ToString::to_string).collect()
}

fn named(id: &str, tree: Worktree) -> Worktree {
    Worktree {
        id: id.into(),
        admin: at(&format!("b/.git/worktrees/{id}")),
        ..tree
    }
}

fn saved() -> State {
    looked(Contents::default())
}

fn landed() -> State {
    looked(Contents {
        landed: Some(Landed::Ancestor),
        ..Contents::default()
    })
}

fn gone(trashed: bool) -> State {
    State::Missing {
        trashed,
        unreached: Vec::new(),
        staged: false,
    }
}

/// Missing since so many hours ago.
fn gone_since(hours: i64) -> Worktree {
    Worktree {
        missing_since: Some(now() - TimeDelta::hours(hours)),
        ..tree(400 * DAY, gone(false))
    }
}

#[test]
fn those_that_go_come_first_the_longest_idle_before_the_others() {
    let trees = [
        ("a", DAY, saved()),
        ("b", 2 * DAY, landed()),
        ("c", 400 * DAY, gone(false)),
        ("d", 9 * DAY, landed()),
        ("e", 0, saved()),
    ];
    let plan = night(&repo(
        trees
            .map(|(id, idle, state)| named(id, tree(idle, state)))
            .into(),
    ));
    assert_eq!(
        ids(plan.trees.iter().map(|(tree, _)| tree)),
        ["d", "b", "a", "c", "e"]
    );
}

#[test]
fn trees_that_go_missing_in_a_mass_keep_their_registration_until_somebody_speaks() {
    // newly missing, missing for longer, in our trash, present; missing and all on the volume ->
    // what is reported
    let table = [
        ((0, 0, 0, 3), (0, 0), None),
        ((1, 0, 0, 0), (1, 1), None),
        ((2, 0, 0, 2), (2, 9), None),
        (
            (2, 0, 0, 1),
            (2, 9),
            Some("2 trees of 3 went missing at once, since the last run"),
        ),
        (
            (2, 3, 0, 1),
            (2, 9),
            Some("2 trees of 3 went missing at once, since the last run"),
        ),
        ((2, 0, 1, 1), (2, 9), None),
        (
            (3, 0, 0, 2),
            (3, 9),
            Some("3 trees of 5 went missing at once, since the last run"),
        ),
        ((1, 5, 5, 0), (1, 9), None),
        ((5, 0, 0, 20), (5, 99), None),
        (
            (6, 0, 0, 20),
            (6, 99),
            Some("6 trees of 26 went missing at once, since the last run"),
        ),
        ((0, 0, 0, 5), (11, 100), None),
        ((1, 0, 0, 5), (10, 100), None),
        (
            (1, 0, 0, 5),
            (11, 100),
            Some("11 trees of 100 on the volume went missing at once, since the last run"),
        ),
        ((1, 0, 0, 5), (30, 300), None),
        (
            (1, 0, 0, 5),
            (31, 300),
            Some("31 trees of 300 on the volume went missing at once, since the last run"),
        ),
        (
            (1, 0, 0, 5),
            (2, 3),
            Some("2 trees of 3 on the volume went missing at once, since the last run"),
        ),
    ];
    for ((new, old, trashed, standing), (missing, of), message) in table {
        let some = |count, tree: Worktree| std::iter::repeat_n(tree, count);
        let trees = some(new, tree(DAY, gone(false)))
            .chain(some(old, gone_since(DAY)))
            .chain(some(trashed, tree(DAY, gone(true))));
        let trees = trees
            .chain(some(standing, tree(0, saved())))
            .enumerate()
            .map(|(number, tree)| named(&number.to_string(), tree));
        let plan = night(&Repo {
            around: Missing { missing, of },
            ..repo(trees.collect())
        });
        let what = format!("{new} {old} {trashed} {standing}, {missing} of {of}");
        let remedy = "is the volume mounted whole? If they were deleted on purpose, let go of each with `treewarden worktree remove a/b NAME --rescue`";
        assert_eq!(
            plan.prune_refused.map(|why| why.to_string()),
            message.map(|message| format!("{message}: {remedy}")),
            "{what}"
        );
        let grace = if message.is_some() {
            Grace::Refused
        } else {
            Grace::Begins
        };
        let marked: Vec<_> = (0..new)
            .map(|number| (at(&format!("b/.git/worktrees/{number}")), grace))
            .collect();
        assert_eq!(plan.mark, marked, "{what}");
    }
}

#[test]
fn what_went_at_once_on_an_earlier_night_is_told_until_it_is_back_or_let_go() {
    let at_once = |tree: Worktree| Worktree {
        missing_at_once: true,
        ..tree
    };
    let message = |trees: Vec<Worktree>| {
        night(&repo(trees))
            .prune_refused
            .map(|why| why.gone.to_string())
    };
    assert_eq!(message(vec![gone_since(DAY), gone_since(2 * DAY)]), None);
    assert_eq!(
        message(vec![
            at_once(tree(0, saved())),
            at_once(tree(0, gone(true)))
        ]),
        None
    );
    let back = Worktree {
        state: saved(),
        ..at_once(gone_since(9 * DAY))
    };
    let three = vec![
        at_once(gone_since(DAY)),
        at_once(gone_since(5 * DAY)),
        back,
        gone_since(8 * DAY),
    ];
    assert_eq!(
        message(three).unwrap(),
        "2 trees went missing at once, on 10 Jan 2027"
    );
}

#[test]
fn a_registration_goes_when_its_tree_was_missing_and_unused_for_three_days() {
    let since = |tree: Worktree, since: TimeDelta| Worktree {
        missing_since: Some(now() - since),
        ..tree
    };
    let (three_days, second) = (TimeDelta::days(3), TimeDelta::seconds(1));
    let over = gone_since(3 * DAY + 1);
    let trashed = || tree(0, gone(true));
    let cases = [
        ("over", over.clone(), true),
        ("to the second", since(over.clone(), three_days), false),
        (
            "a second more",
            since(over.clone(), three_days + second),
            true,
        ),
        ("missing tonight", tree(400 * DAY, gone(false)), false),
        (
            "used",
            Worktree {
                active: now() - three_days,
                ..over.clone()
            },
            false,
        ),
        (
            "used a second earlier",
            Worktree {
                active: now() - three_days - second,
                ..over.clone()
            },
            true,
        ),
        (
            "locked",
            Worktree {
                locked: Some(String::new()),
                ..over.clone()
            },
            false,
        ),
        (
            "a rebase",
            Worktree {
                in_progress: vec!["rebase"],
                ..over.clone()
            },
            false,
        ),
        (
            "in a mass",
            Worktree {
                missing_at_once: true,
                ..over.clone()
            },
            false,
        ),
        ("in our trash", trashed(), true),
        (
            "in our trash, locked",
            Worktree {
                locked: Some(String::new()),
                ..trashed()
            },
            true,
        ),
        (
            "stands",
            Worktree {
                state: saved(),
                ..over.clone()
            },
            false,
        ),
        (
            "unknown",
            Worktree {
                state: State::Unknown("EIO".into()),
                ..over.clone()
            },
            false,
        ),
    ];
    for (what, tree, drops) in cases {
        let plan = night(&repo(vec![tree]));
        assert_eq!(ids(&plan.drop), vec!["t"; usize::from(drops)], "{what}");
    }
}

#[test]
fn a_tree_that_is_there_again_loses_its_mark_and_one_of_which_nobody_can_tell_keeps_it() {
    let marked = |id: &str, state| {
        named(
            id,
            Worktree {
                state,
                ..gone_since(DAY)
            },
        )
    };
    let trees = vec![
        marked("looked", saved()),
        marked("not-looked", State::NotInspected),
        marked("missing", gone(false)),
        marked("unknown", State::Unknown("EIO".into())),
        marked("unreadable", State::Unreadable("EIO".into())),
        named("never-missing", tree(0, saved())),
    ];
    let plan = night(&repo(trees));
    assert_eq!(
        places(&plan.unmark),
        ["b/.git/worktrees/looked", "b/.git/worktrees/not-looked"]
    );
    assert_eq!(plan.mark, []);
}

fn leftover(name: &str, kind: LeftoverKind, age: TimeDelta) -> Leftover {
    Leftover {
        place: at(name),
        age: age.to_std().unwrap(),
        kind,
    }
}

#[test]
fn what_a_dead_git_left_is_cleared_once_it_is_old_for_its_kind_and_a_pack_is_never() {
    use LeftoverKind::{HeldLock, Lock, OwnLock, PackWithoutIndex, Temporary, UnseenLock};
    let (quarter, day, second) = (
        TimeDelta::minutes(15),
        TimeDelta::hours(24),
        TimeDelta::seconds(1),
    );
    let table = [
        (Lock, quarter, false),
        (Lock, quarter + second, true),
        (OwnLock, TimeDelta::zero(), true),
        (HeldLock, TimeDelta::days(4000), false),
        (UnseenLock, day, false),
        (UnseenLock, day + second, true),
        (Temporary, day, false),
        (Temporary, day + second, true),
        (PackWithoutIndex, day, false),
        (PackWithoutIndex, day + second, true),
    ];
    for (kind, age, expected) in table {
        let plan = night(&Repo {
            leftovers: vec![leftover("b/x", kind, age)],
            ..repo(Vec::new())
        });
        let expected = vec!["b/x"; usize::from(expected)];
        let (clear, index) = (places(&plan.clear), places(&plan.gc.index));
        if kind == PackWithoutIndex {
            assert_eq!(
                (clear, index),
                (
                    Vec::new(),
                    expected.iter().map(ToString::to_string).collect()
                ),
                "{age}"
            );
        } else {
            assert_eq!(
                (clear, index),
                (
                    expected.iter().map(ToString::to_string).collect(),
                    Vec::new()
                ),
                "{kind:?} {age}"
            );
        }
    }
    let endless = Leftover {
        age: Duration::MAX,
        ..leftover("b/x", Lock, quarter)
    };
    assert_eq!(
        places(
            &night(&Repo {
                leftovers: vec![endless],
                ..repo(Vec::new())
            })
            .clear
        ),
        ["b/x"]
    );
}

/// A repo in which every part of a run has something to do.
fn full_of_work() -> Repo {
    let (old, own) = (
        now() - TimeDelta::days(400),
        Some(Own { files: 1, bytes: 1 }),
    );
    Repo {
        worktrees: vec![
            named("goes", tree(9 * DAY, landed())),
            named("dropped", gone_since(4 * DAY)),
            named("missing", tree(DAY, gone(false))),
            named(
                "back",
                Worktree {
                    active: now(),
                    state: saved(),
                    ..gone_since(DAY)
                },
            ),
        ],
        rescues: vec![Rescue {
            name: "old".into(),
            commit: "1".repeat(40),
            taken: Some(old),
            own,
        }],
        store: Store {
            packs: 2,
            ..Store::default()
        },
        leftovers: vec![
            leftover("b/.git/index.lock", LeftoverKind::Lock, TimeDelta::hours(1)),
            leftover(
                "b/.git/objects/pack/pack-1.pack",
                LeftoverKind::PackWithoutIndex,
                TimeDelta::days(2),
            ),
        ],
        ..repo(Vec::new())
    }
}

/// Counts what a plan does: trees, registrations, marks, rescues, files, a repack.
fn counts(plan: &Plan) -> [usize; 8] {
    let reaps = plan
        .trees
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Reap(_)))
        .count();
    let Plan {
        drop,
        mark,
        unmark,
        expire,
        clear,
        gc,
        ..
    } = plan;
    [
        reaps,
        drop.len(),
        mark.len(),
        unmark.len(),
        expire.len(),
        clear.len(),
        gc.index.len(),
        gc.steps.len(),
    ]
}

#[test]
fn in_a_busy_repo_nothing_is_done() {
    let calm = full_of_work();
    assert_eq!(counts(&night(&calm)), [1, 1, 1, 1, 1, 1, 1, 4]);
    let plan = night(&Repo {
        busy: Some("somebody".into()),
        ..calm
    });
    assert_eq!(
        (counts(&plan), plan.gc),
        ([0; 8], Gc::none("somebody is working here"))
    );
}

#[test]
fn only_what_was_asked_for_is_done() {
    let only = |prune, gc, reap| Only {
        prune,
        gc,
        reap,
        evict: false,
    };
    let table = [
        (Only::ALL, [1, 1, 1, 1, 1, 1, 1, 4], true),
        (Only::NONE, [0; 8], false),
        (only(true, false, false), [0, 1, 1, 1, 0, 0, 0, 0], false),
        (only(false, true, false), [0, 0, 0, 0, 0, 1, 1, 4], false),
        (only(false, false, true), [1, 0, 0, 0, 1, 0, 0, 0], false),
        (only(true, true, false), [0, 1, 1, 1, 0, 1, 1, 4], false),
        (only(true, false, true), [1, 1, 1, 1, 1, 0, 0, 0], false),
        (only(false, true, true), [1, 0, 0, 0, 1, 1, 1, 4], false),
        (only(true, true, true), [1, 1, 1, 1, 1, 1, 1, 4], true),
    ];
    for (only, expected, is_all) in table {
        let plan = night(&full_of_work()).only(only);
        assert_eq!(
            (counts(&plan), only.all_of_a_repo()),
            (expected, is_all),
            "{only:?}"
        );
        let stays = plan.trees.iter().find_map(|(tree, verdict)| match verdict {
            Verdict::Keep(kept) if tree.id == "goes" => {
                Some((kept.reason.clone(), kept.sentences()))
            }
            _ => None,
        });
        let kept = (
            KeepReason::NotAskedFor,
            vec!["merged: HEAD is in the default branch".to_owned()],
        );
        assert_eq!(stays, (!only.reap).then_some(kept), "{only:?}");
    }
    assert_eq!(
        night(&full_of_work()).only(Only::NONE).gc.reason,
        "not asked for"
    );
}

#[test]
fn a_repack_is_as_careful_as_what_was_seen_asks_for() {
    let full = [
        Step::ExpireReflogs,
        Step::PackRefs,
        Step::Full,
        Step::WholeCommitGraph,
    ];
    let keeping = [
        Step::ExpireReflogs,
        Step::PackRefs,
        Step::FullKeepingAll,
        Step::WholeCommitGraph,
    ];
    let gently = [Step::Geometric, Step::PackRefs, Step::CommitGraph];
    let calm = || Repo {
        rescues: full_of_work().rescues,
        ..repo(Vec::new())
    };
    let packs = || Repo {
        store: full_of_work().store,
        ..repo(Vec::new())
    };
    let lends = Some("somebody borrows".to_owned());
    let odd = Worktree {
        path: at("b/.git/worktrees/t").path(),
        ..tree(0, State::Unknown("odd".into()))
    };
    let cases = [
        (repo(Vec::new()), GcAction::None, &[][..], "nothing to gain"),
        (packs(), GcAction::Full, &full, "over 5 days old"),
        (
            Repo {
                lends: lends.clone(),
                ..packs()
            },
            GcAction::Full,
            &keeping,
            "are kept, because somebody borrows",
        ),
        (
            calm(),
            GcAction::Incremental,
            &[Step::Prune],
            "what they alone held is pruned",
        ),
        (
            Repo {
                lends: lends.clone(),
                ..calm()
            },
            GcAction::Incremental,
            &[],
            "are kept, because somebody borrows",
        ),
        (
            Repo {
                worktrees: vec![odd.clone()],
                ..calm()
            },
            GcAction::Incremental,
            &[],
            "what they alone held is pruned",
        ),
        (
            Repo {
                worktrees: vec![tree(0, saved()), odd],
                lends,
                ..packs()
            },
            GcAction::Incremental,
            &gently,
            "not in full, because the registration of worktree t can't be read; fix it with `git worktree repair`",
        ),
    ];
    for (facts, action, steps, reason) in cases {
        let gc = night(&facts).gc;
        assert_eq!((gc.action, &gc.steps[..]), (action, steps), "{facts:#?}");
        assert!(gc.reason.ends_with(reason), "{}", gc.reason);
    }
    let off = policy::Repo {
        gc: GcStrategy::Off,
        ..policy()
    };
    let plan = plan(&full_of_work(), &off, u64::MAX, now());
    assert_eq!(
        (counts(&plan), plan.gc.reason.as_str()),
        ([1, 1, 1, 1, 1, 1, 0, 0], "switched off in the config")
    );
}
