//! Tests of `caps.rs`, by whole plans.

use crate::config::policy::{self, Age, Worktrees};
use crate::facts::repo::Repo;
use crate::facts::worktree::{Contents, DeadLock, Landed, State, Worktree};
use crate::plan::class::Class;
use crate::plan::repo::tests::{DAY, at, looked, now, policy, repo, tree};
use crate::plan::repo::{Plan, plan};
use crate::plan::worktree::{Verdict, verdict};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

const GIB: u64 = 1 << 30;

fn named(id: &str, idle_hours: i64, state: State) -> Worktree {
    Worktree {
        id: id.into(),
        admin: at(&format!("b/.git/worktrees/{id}")),
        path: format!("/data/w/{id}").into(),
        bytes: Some(GIB),
        head: Some("1".repeat(40)),
        ..tree(idle_hours, state)
    }
}

fn landed() -> State {
    looked(Contents {
        landed: Some(Landed::Ancestor),
        ..Contents::default()
    })
}

fn saved() -> State {
    looked(Contents::default())
}

fn dirty() -> State {
    looked(Contents {
        dirty_count: 1,
        ..Contents::default()
    })
}

/// A repo whose landed trees go after ten days, its saved ones after twenty.
fn ten_and_twenty(change: impl FnOnce(&mut Worktrees)) -> policy::Repo {
    let mut policy = policy();
    let days = |days: u64| Age::After(Duration::from_hours(24 * days));
    (policy.worktrees.landed, policy.worktrees.saved) = (days(10), days(20));
    policy.worktrees.fresh = days(20);
    change(&mut policy.worktrees);
    policy
}

/// Returns what goes, in its order, and why; then what the caps say about the rest.
fn message(plan: &Plan) -> Vec<String> {
    let goes = plan
        .trees
        .iter()
        .filter_map(|(tree, verdict)| match verdict {
            Verdict::Reap(work) => Some(format!("{} {}", tree.id, work.reason.name())),
            _ => None,
        });
    goes.chain(plan.over_cap.iter().map(ToString::to_string))
        .collect()
}

fn by(facts: Vec<Worktree>, change: impl FnOnce(&mut Worktrees)) -> Vec<String> {
    message(&plan(
        &repo(facts),
        &ten_and_twenty(change),
        u64::MAX,
        now(),
    ))
}

fn six() -> Vec<Worktree> {
    vec![
        named("young", DAY - 1, landed()),
        named("work", 9 * DAY, dirty()),
        named("saved", 3 * DAY, saved()),
        named("older", 9 * DAY, saved()),
        named("landed", 2 * DAY, landed()),
        named("due", 10 * DAY, landed()),
    ]
}

#[test]
fn landed_trees_go_before_saved_ones_and_the_longest_idle_first() {
    let trees = |most| by(six(), |rules| rules.max_trees = Some(most));
    assert_eq!(by(six(), |_| {}), ["due merged"]);
    assert_eq!(trees(6), ["due merged"]);
    assert_eq!(trees(5), ["due merged"]);
    assert_eq!(trees(4), ["due merged", "landed over max_trees"]);
    assert_eq!(
        trees(3),
        [
            "due merged",
            "older over max_trees",
            "landed over max_trees"
        ]
    );
    let all = [
        "due merged",
        "older over max_trees",
        "saved over max_trees",
        "landed over max_trees",
    ];
    assert_eq!(trees(2), all);
    let unmet = "2 trees stay, more than worktrees.max_trees (1): none of them may go yet";
    assert_eq!(trees(1), [&all[..], &[unmet]].concat());
}

#[test]
fn a_cap_on_bytes_takes_what_has_a_size_until_the_rest_fits() {
    let sized = |sizes: [Option<u64>; 6]| {
        let mut trees = six();
        for (tree, bytes) in trees.iter_mut().zip(sizes) {
            tree.bytes = bytes.map(|bytes| bytes * GIB);
        }
        move |most: u64| by(trees.clone(), |rules| rules.max_bytes = Some(most * GIB))
    };
    let even = sized([Some(1); 6]);
    assert_eq!(even(5), ["due merged"]);
    assert_eq!(even(4), ["due merged", "landed over max_bytes"]);
    let unmet =
        "trees of 2.0 GiB stay, more than worktrees.max_bytes (1.0 GiB): none of them may go yet";
    assert_eq!(even(1).last().unwrap(), unmet);
    // Of 11 GiB, one goes with the tree that is due, and five with the first that may go.
    let one_is_large = sized([Some(1), Some(2), Some(1), Some(1), Some(5), Some(1)]);
    assert_eq!(one_is_large(5), ["due merged", "landed over max_bytes"]);
    let unknown = sized([Some(1), Some(2), Some(1), Some(1), None, Some(1)]);
    let unmeasured = "worktrees.max_bytes doesn't count 1 tree of unknown size";
    assert_eq!(
        unknown(4),
        ["due merged", "older over max_bytes", unmeasured]
    );
}

#[test]
fn both_caps_are_kept_and_each_reason_names_its_own() {
    let both = by(six(), |rules| {
        (rules.max_trees, rules.max_bytes) = (Some(4), Some(3 * GIB));
    });
    assert_eq!(
        both,
        [
            "due merged",
            "older over max_bytes",
            "landed over max_trees"
        ]
    );
    let plan = plan(
        &repo(six()),
        &ten_and_twenty(|rules| (rules.max_trees, rules.max_bytes) = (Some(4), Some(3 * GIB))),
        u64::MAX,
        now(),
    );
    let sentences: Vec<String> = plan
        .trees
        .iter()
        .filter_map(|(_, verdict)| match verdict {
            Verdict::Reap(work) => Some(work.sentences().join(" | ")),
            _ => None,
        })
        .collect();
    assert_eq!(
        sentences,
        [
            "merged: HEAD is in the default branch",
            "goes before its age: the repo's trees hold 6.0 GiB, more than worktrees.max_bytes (3.0 GiB) | clean, and its commits are on a branch that stays",
            "goes before its age: the repo has 6 trees, more than worktrees.max_trees (4) | merged: HEAD is in the default branch",
        ]
    );
}

#[test]
fn what_no_age_would_take_no_cap_takes() {
    let old = |id: &str| named(id, 400 * DAY, saved());
    let missing = State::Missing {
        trashed: false,
        unreached: Vec::new(),
        staged: false,
    };
    let trees = vec![
        Worktree {
            locked: Some(String::new()),
            ..old("locked")
        },
        Worktree {
            locked: Some("pid 7".into()),
            dead_lock: Some(DeadLock {
                pid: 7,
                since: DateTime::UNIX_EPOCH,
            }),
            ..old("dead-lock")
        },
        Worktree {
            in_progress: vec!["rebase"],
            ..old("rebase")
        },
        Worktree {
            in_use: Some("node (pid 7)".into()),
            ..old("in-use")
        },
        Worktree {
            worked_in: false,
            ..named("fresh", 19 * DAY, saved())
        },
        named(
            "nested",
            400 * DAY,
            looked(Contents {
                blockers: vec!["x is a nested repo".into()],
                ..Contents::default()
            }),
        ),
        named("work", 29 * DAY, dirty()),
        named("future", -2, saved()),
        named("unknown", 400 * DAY, State::Unknown("odd".into())),
        named("unreadable", 400 * DAY, State::Unreadable("EIO".into())),
        named("missing", 400 * DAY, missing),
        named("not-looked", 400 * DAY, State::NotInspected),
    ];
    let capped = |rules: &mut Worktrees| (rules.max_trees, rules.max_bytes) = (Some(1), Some(1));
    // The one that is missing doesn't stand.
    let unmet = "11 trees stay, more than worktrees.max_trees (1): none of them may go yet; \
                 trees of 11.0 GiB stay, more than worktrees.max_bytes (1 B): none of them may go yet";
    assert_eq!(by(trees.clone(), capped), [unmet]);
    let busy = Repo {
        busy: Some("somebody".into()),
        ..repo(six())
    };
    let planned = plan(&busy, &ten_and_twenty(capped), u64::MAX, now());
    assert!(message(&planned)[0].starts_with("6 trees stay, "));
    // Classes that are switched off stay as well.
    let off = by(six(), |rules| {
        capped(rules);
        (rules.landed, rules.saved) = (Age::Never, Age::Never);
    });
    assert!(off[0].starts_with("6 trees stay, "), "{off:?}");
}

#[test]
fn a_class_that_goes_sooner_than_a_cap_may_take_it_goes_by_its_age() {
    let soon = |rules: &mut Worktrees| {
        rules.landed = Age::After(Duration::from_hours(6));
        rules.max_trees = Some(1);
    };
    let trees = vec![
        named("landed", 6, landed()),
        named("saved", 23, saved()),
        named("second", 23, saved()),
    ];
    let unmet = "2 trees stay, more than worktrees.max_trees (1): none of them may go yet";
    assert_eq!(by(trees, soon), ["landed merged", unmet]);
}

/// Returns a tree of any kind.
pub(in crate::plan) fn any_tree(random: &mut fastrand::Rng, id: usize) -> Worktree {
    let contents = Contents {
        dirty_count: usize::from(random.u8(..4) == 0),
        unreached: vec![String::new(); usize::from(random.u8(..8) == 0)],
        landed: random.bool().then_some(Landed::SamePatch),
        stashed: random.u8(..8) == 0,
        blockers: vec![String::new(); usize::from(random.u8(..8) == 0)],
        ..Contents::default()
    };
    let state = match random.u8(..10) {
        0 => State::NotInspected,
        1 => State::Unknown("odd".into()),
        _ => looked(contents),
    };
    let rare = |random: &mut fastrand::Rng| random.u8(..10) == 0;
    Worktree {
        locked: rare(random).then(String::new),
        in_progress: if rare(random) { vec!["rebase"] } else { vec![] },
        in_use: rare(random).then(String::new),
        worked_in: !rare(random),
        bytes: (!rare(random)).then(|| random.u64(..100)),
        ..named(&format!("t{id}"), random.i64(-3..40 * DAY), state)
    }
}

pub(in crate::plan) fn any_rules(random: &mut fastrand::Rng) -> policy::Repo {
    let mut age = || match random.u8(..5) {
        0 => Age::Never,
        _ => Age::After(Duration::from_hours(random.u64(1..900))),
    };
    let ages = [age(), age(), age(), age()];
    ten_and_twenty(|rules| {
        [rules.landed, rules.saved, rules.unsaved, rules.fresh] = ages;
        rules.max_trees = random.bool().then(|| random.usize(1..9));
        rules.max_bytes = random.bool().then(|| random.u64(1..400));
    })
}

/// Whatever the numbers: a tree that a cap takes would go by the age of its class as well if that
/// had passed and nothing else had changed.
#[test]
fn no_cap_takes_a_tree_that_could_not_go_by_its_class() {
    let mut random = fastrand::Rng::with_seed(18);
    let (mut taken, mut unmet) = (0, 0);
    for _ in 0..4000 {
        let trees = (0..random.usize(..12))
            .map(|id| any_tree(&mut random, id))
            .collect();
        let (facts, rules) = (repo(trees), any_rules(&mut random));
        let no_caps = ten_and_twenty(|all| {
            *all = Worktrees {
                max_trees: None,
                max_bytes: None,
                ..rules.worktrees.clone()
            };
        });
        let planned = plan(&facts, &rules, u64::MAX, now());
        let goes = |tree: &Worktree, then: DateTime<Utc>| match verdict(
            tree,
            &no_caps.worktrees,
            None,
            then,
        ) {
            Verdict::Reap(work) => Some(work.class),
            _ => None,
        };
        for (tree, decided) in &planned.trees {
            let by_its_age = goes(tree, now());
            let Verdict::Reap(work) = decided else {
                assert_eq!(by_its_age, None, "{tree:?}");
                continue;
            };
            if by_its_age.is_none() {
                taken += 1;
                assert!(
                    matches!(work.class, Class::Landed | Class::Saved),
                    "{tree:?}"
                );
                assert!(now() - tree.active >= TimeDelta::hours(24), "{tree:?}");
                let later = now() + TimeDelta::days(365);
                assert_eq!(goes(tree, later), Some(work.class), "{tree:?}");
            }
        }
        unmet += usize::from(planned.over_cap.is_some());
        let stays = planned
            .trees
            .iter()
            .filter(|(_, decided)| !matches!(decided, Verdict::Reap(_)));
        let (count, bytes) = stays.fold((0, 0), |(count, bytes), (tree, _)| {
            (count + 1, bytes + tree.bytes.unwrap_or(0))
        });
        let rules = &rules.worktrees;
        let within = rules.max_trees.is_none_or(|most| count <= most)
            && rules.max_bytes.is_none_or(|most| bytes <= most);
        assert!(within || planned.over_cap.is_some(), "{planned:?}");
    }
    assert!(taken > 500 && unmet > 500, "{taken} {unmet}");
}
