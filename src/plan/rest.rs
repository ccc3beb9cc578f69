//! How long a repo may be skipped: until its plan, made from the same facts, has something to do.
//!
//! It asks the plan itself, for later hours, so that the two can't disagree. A repo in which
//! anything is due, left over or unknown now is never skipped.

use super::repo::{Plan, plan};
use super::worktree::{Verdict, shortest};
use crate::config::policy;
use crate::facts::repo::Repo;
use crate::facts::worktree::State;
use chrono::{DateTime, TimeDelta, Utc};

/// Hours after which a repo is surveyed again, whatever its fingerprint, so that no work stays
/// hidden for longer.
pub const LONGEST: i64 = 7 * 24;

/// Returns until when nothing will be due in a repo with these facts, in whole hours from now; none
/// if something is due within the hour.
pub fn until(
    facts: &Repo,
    policy: &policy::Repo,
    free_bytes: u64,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let at = |hours: i64| {
        now.checked_add_signed(TimeDelta::hours(hours))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    };
    // Files that tools write in a tree make it larger, and no fingerprint shows them.
    if policy.worktrees.max_bytes.is_some() {
        return None;
    }
    let rests = |hours: i64| {
        rests(
            facts,
            &plan(facts, policy, free_bytes, at(hours)),
            policy,
            at(hours),
        )
    };
    let hours: Vec<i64> = (0..=LONGEST).collect();
    // Whatever is due by its age stays due, so the hours without anything come first.
    let count = hours.partition_point(|hours| rests(*hours));
    hours
        .get(..count)?
        .last()
        .filter(|hours| **hours > 0)
        .map(|hours| at(*hours))
}

/// Checks whether a survey that was kept at `from` may still count. One from the future doesn't,
/// except by up to an hour, since clocks differ.
pub fn holds(from: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let age = now.signed_duration_since(from);
    age >= TimeDelta::hours(-1) && age < TimeDelta::hours(LONGEST)
}

fn rests(facts: &Repo, plan: &Plan, policy: &policy::Repo, now: DateTime<Utc>) -> bool {
    let Plan {
        trees,
        over_cap: _,
        drop,
        mark,
        unmark,
        prune_refused,
        expire,
        kept_until: _,
        clear,
        gc,
    } = plan;
    let nothing = drop.is_empty()
        && mark.is_empty()
        && unmark.is_empty()
        && expire.is_empty()
        && clear.is_empty();
    let no_gc = gc.steps.is_empty() && gc.index.is_empty() && !gc.short_of_space;
    let stay = trees
        .iter()
        .all(|(tree, verdict)| match (&tree.state, verdict) {
            (State::Inspected(_), Verdict::Keep(_)) => true,
            // The reason why it wasn't inspected must still hold.
            (State::NotInspected, Verdict::Keep(_)) => {
                let young = shortest(&policy.worktrees)
                    .is_none_or(|age| now.signed_duration_since(tree.active) < age);
                // Whoever is at work there may be gone in an hour, and no file shows that.
                tree.in_use.is_none()
                    && (young
                        || (tree.locked.is_some() && tree.dead_lock.is_none())
                        || !tree.in_progress.is_empty())
            }
            _ => false,
        });
    nothing
        && no_gc
        && stay
        && prune_refused.is_none()
        && facts.leftovers.is_empty()
        && facts.busy.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::GcStrategy;
    use crate::facts::repo::{Leftover, LeftoverKind, Store};
    use crate::facts::rescue::{Own, Rescue};
    use crate::facts::worktree::{Contents, Landed, Worktree};
    use crate::plan::repo::tests::{DAY, at, looked, now, policy, repo, tree};
    use std::time::Duration;

    /// Returns for how many hours from now the repo is skipped.
    fn hours(facts: &Repo) -> Option<i64> {
        until(facts, &policy(), u64::MAX, now()).map(|until| (until - now()).num_hours())
    }

    #[test]
    fn a_repo_rests_until_the_first_of_its_trees_is_due() {
        let saved = || looked(Contents::default());
        let landed = || {
            looked(Contents {
                landed: Some(Landed::Ancestor),
                ..Contents::default()
            })
        };
        let dirty = || {
            looked(Contents {
                dirty_count: 1,
                ..Contents::default()
            })
        };
        let table = [
            (vec![], Some(LONGEST)),
            (vec![tree(DAY, saved())], Some(6 * DAY - 1)),
            (
                vec![tree(DAY, saved()), tree(5 * DAY, saved())],
                Some(2 * DAY - 1),
            ),
            (vec![tree(6, landed())], Some(18 - 1)),
            (vec![tree(DAY, landed())], None),
            (vec![tree(DAY - 1, landed())], None),
            (vec![tree(20 * DAY, dirty())], Some(LONGEST)),
            (vec![tree(29 * DAY, dirty())], Some(DAY - 1)),
            (vec![tree(4, State::NotInspected)], Some(20 - 1)),
            (
                vec![Worktree {
                    locked: Some(String::new()),
                    ..tree(400 * DAY, State::NotInspected)
                }],
                Some(LONGEST),
            ),
            (vec![tree(DAY, State::Unknown("odd".into()))], None),
            (vec![tree(DAY, State::Unreadable("EIO".into()))], None),
            (
                vec![tree(
                    DAY,
                    State::Missing {
                        trashed: false,
                        unreached: Vec::new(),
                        staged: false,
                    },
                )],
                None,
            ),
        ];
        for (trees, expected) in table {
            assert_eq!(hours(&repo(trees.clone())), expected, "{trees:#?}");
        }
    }

    #[test]
    fn a_repo_over_a_cap_rests_until_a_tree_may_go_for_it() {
        let saved = |hours| tree(hours, looked(Contents::default()));
        let capped = |facts: &Repo, trees, bytes| {
            let mut rules = policy();
            (rules.worktrees.max_trees, rules.worktrees.max_bytes) = (trees, bytes);
            until(facts, &rules, u64::MAX, now()).map(|until| (until - now()).num_hours())
        };
        let young = repo(vec![saved(6), saved(2)]);
        assert_eq!(capped(&young, None, None), Some(LONGEST - 6 - 1));
        assert_eq!(capped(&young, Some(2), None), Some(LONGEST - 6 - 1));
        assert_eq!(capped(&young, Some(1), None), Some(DAY - 6 - 1));
        assert_eq!(
            capped(&repo(vec![saved(DAY), saved(2)]), Some(1), None),
            None
        );
        // A tree may have grown without a trace.
        assert_eq!(capped(&young, None, Some(u64::MAX)), None);
    }

    #[test]
    fn no_look_holds_for_longer_than_a_week() {
        let held = |hours: i64| holds(now() - TimeDelta::hours(hours), now());
        assert_eq!(
            [-2, -1, 0, LONGEST - 1, LONGEST].map(held),
            [false, true, true, true, false]
        );
        assert!(!holds(DateTime::<Utc>::MAX_UTC, now()) && !holds(DateTime::<Utc>::MIN_UTC, now()));
    }

    #[test]
    fn a_rescue_that_is_over_wakes_a_repo_that_is_never_repacked() {
        let (taken, own) = (
            Some(now() - TimeDelta::hours(DAY)),
            Some(Own { files: 1, bytes: 0 }),
        );
        let rescue = Rescue {
            name: "old".into(),
            commit: "1".repeat(40),
            taken,
            own,
        };
        let off = policy::Repo {
            gc: GcStrategy::Off,
            ..policy()
        };
        assert_eq!(
            until(
                &Repo {
                    rescues: vec![rescue],
                    ..repo(Vec::new())
                },
                &off,
                u64::MAX,
                now()
            ),
            None
        );
        assert!(until(&repo(Vec::new()), &off, u64::MAX, now()).is_some());
    }

    #[test]
    fn what_is_under_way_is_not_slept_through() {
        let calm = repo(Vec::new());
        let leftover = Leftover {
            place: at("b/.git/index.lock"),
            age: Duration::ZERO,
            kind: LeftoverKind::Lock,
        };
        let packs = Store {
            packs: 2,
            pack_bytes: 1 << 30,
            last_full: Some(now() - TimeDelta::days(3)),
            ..Store::default()
        };
        assert_eq!(
            hours(&Repo {
                leftovers: vec![leftover],
                ..calm.clone()
            }),
            None
        );
        assert_eq!(
            hours(&Repo {
                busy: Some("somebody".into()),
                ..calm.clone()
            }),
            None
        );
        assert_eq!(
            hours(&Repo {
                store: Store {
                    loose_objects: 5000,
                    ..Store::default()
                },
                ..calm.clone()
            }),
            None
        );
        let back = Worktree {
            missing_since: Some(now()),
            ..tree(0, looked(Contents::default()))
        };
        assert_eq!(hours(&repo(vec![back])), None);
        // The full repack is due five days after the last one.
        assert_eq!(
            hours(&Repo {
                store: packs,
                ..calm.clone()
            }),
            Some(2 * DAY)
        );
        // There is no room for the repack that is due, but there may be tomorrow.
        let short = Repo {
            store: Store {
                last_full: Some(now() - TimeDelta::days(9)),
                ..packs
            },
            ..calm
        };
        assert_eq!(until(&short, &policy(), 0, now()), None);
    }
}
