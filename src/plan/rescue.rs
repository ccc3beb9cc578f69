//! Which rescues expire: by age, and by the total size of a repo's rescues.
//!
//! A rescue is somebody's lost work, so a malformed one stays. A rescue never expires in the run
//! that made it.

use crate::config::policy::Worktrees;
use crate::facts::rescue::Rescue;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fate of a rescue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays until then, unless the budget is exceeded earlier.
    Until(DateTime<Utc>),
    /// It expires.
    Expired(Because),
    /// It stays and doesn't count, because this is wrong with it.
    Unrecognised(&'static str),
}

/// Why a rescue expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It is older than `rescue_keep`.
    Age,
    /// With all younger ones, it is more than `rescue_budget`.
    Budget,
}

/// Decides the fate of each rescue, in the given order.
///
/// | what was found | fate |
/// | --- | --- |
/// | its time or size is unknown, or it is from the future | stays, and doesn't count |
/// | made in this run | stays |
/// | older than `rescue_keep` | expires |
/// | with all younger ones it is more than `rescue_budget` | expires: the oldest first |
/// | else | stays |
pub fn fates(rescues: &[Rescue], policy: &Worktrees, now: DateTime<Utc>) -> Vec<Fate> {
    let keep = TimeDelta::from_std(policy.rescue_keep).unwrap_or(TimeDelta::MAX);
    let mut fates: Vec<Fate> = rescues
        .iter()
        .map(|rescue| by_age(rescue, keep, now))
        .collect();
    let mut standing: Vec<(&Rescue, &mut Fate)> = rescues
        .iter()
        .zip(&mut fates)
        .filter(|(_, fate)| matches!(fate, Fate::Until(_)))
        .collect();
    // Rescues of one run have the same time, so the name decides: a run does what its dry run said.
    standing.sort_by_key(|(rescue, _)| (std::cmp::Reverse(rescue.taken), &rescue.name));
    let mut total: u64 = 0;
    for (rescue, fate) in standing {
        total = total.saturating_add(rescue.own.map_or(0, |own| own.bytes));
        if total > policy.rescue_budget && !is_new(rescue, now) {
            *fate = Fate::Expired(Because::Budget);
        }
    }
    fates
}

/// Returns the rescues that expire, the oldest first.
pub fn expired(
    rescues: &[Rescue],
    policy: &Worktrees,
    now: DateTime<Utc>,
) -> Vec<(Rescue, Because)> {
    let fates = fates(rescues, policy, now);
    let mut expired: Vec<(Rescue, Because)> = rescues
        .iter()
        .zip(fates)
        .filter_map(|(rescue, fate)| match fate {
            Fate::Expired(because) => Some((rescue.clone(), because)),
            _ => None,
        })
        .collect();
    expired.sort_by(|(a, _), (b, _)| (a.taken, &a.name).cmp(&(b.taken, &b.name)));
    expired
}

/// Returns when each rescue that stays will expire by its age, the soonest first.
pub fn kept(rescues: &[Rescue], policy: &Worktrees, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut kept: Vec<_> = fates(rescues, policy, now)
        .into_iter()
        .filter_map(|fate| match fate {
            Fate::Until(until) => Some(until),
            _ => None,
        })
        .collect();
    kept.sort_unstable();
    kept
}

fn by_age(rescue: &Rescue, keep: TimeDelta, now: DateTime<Utc>) -> Fate {
    match (rescue.taken, rescue.own) {
        (None, _) => Fate::Unrecognised("its name has no valid time"),
        (_, None) => Fate::Unrecognised("it can't be read"),
        (Some(taken), _) if taken > now => Fate::Unrecognised("it is from the future"),
        (Some(taken), _) => match taken.checked_add_signed(keep) {
            Some(until) if until <= now && !is_new(rescue, now) => Fate::Expired(Because::Age),
            until => Fate::Until(until.unwrap_or(DateTime::<Utc>::MAX_UTC)),
        },
    }
}

/// Checks whether it was made in this run, to the second, as in a ref's name.
fn is_new(rescue: &Rescue, now: DateTime<Utc>) -> bool {
    rescue
        .taken
        .is_some_and(|taken| taken.timestamp() >= now.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::{Age, Keep};
    use crate::facts::rescue::Own;
    use std::time::Duration;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(1000)
    }

    fn policy(keep_days: u32, rescue_budget: u64) -> Worktrees {
        Worktrees {
            landed: Age::Never,
            saved: Age::Never,
            unsaved: Age::Never,
            fresh: Age::Never,
            dead_locks: Age::Never,
            keep: Keep::default(),
            max_trees: None,
            max_bytes: None,
            roots: Vec::new(),
            rescue_max: 0,
            rescue_keep: keep_days * DAY,
            rescue_budget,
            made_again: [].into(),
        }
    }

    /// `age` is in days, and `bytes` is its size.
    fn rescue(name: &str, age: f64, bytes: u64) -> Rescue {
        #[expect(clippy::cast_possible_truncation, reason = "a few days")]
        let taken = now() - TimeDelta::seconds((age * 86_400.0) as i64);
        Rescue {
            name: name.into(),
            commit: "1".repeat(40),
            taken: Some(taken),
            own: Some(Own { files: 1, bytes }),
        }
    }

    fn gone(rescues: &[Rescue], policy: &Worktrees) -> Vec<(String, Because)> {
        expired(rescues, policy, now())
            .into_iter()
            .map(|(rescue, because)| (rescue.name, because))
            .collect()
    }

    #[test]
    fn each_row_of_the_table() {
        use Because::{Age, Budget};
        type Case<'a> = (
            &'a str,
            &'a [(&'a str, f64, u64)],
            u32,
            u64,
            &'a [(&'a str, Because)],
        );
        let cases: [Case; 9] = [
            (
                "nothing is old",
                &[("a", 1.0, 5), ("b", 29.0, 5)],
                30,
                100,
                &[],
            ),
            (
                "the very age goes",
                &[("a", 30.0, 5), ("b", 29.99, 5)],
                30,
                100,
                &[("a", Age)],
            ),
            (
                "the oldest goes first",
                &[("b", 40.0, 5), ("a", 35.0, 5), ("c", 50.0, 5)],
                30,
                100,
                &[("c", Age), ("b", Age), ("a", Age)],
            ),
            (
                "the budget to the byte",
                &[("a", 1.0, 60), ("b", 2.0, 40)],
                30,
                100,
                &[],
            ),
            (
                "one byte more",
                &[("a", 1.0, 60), ("b", 2.0, 41)],
                30,
                100,
                &[("b", Budget)],
            ),
            // A small old one doesn't slip through behind a large younger one.
            (
                "no gaps",
                &[("a", 1.0, 60), ("b", 2.0, 60), ("c", 3.0, 1)],
                30,
                100,
                &[("c", Budget), ("b", Budget)],
            ),
            (
                "what age takes leaves room",
                &[("a", 1.0, 60), ("b", 31.0, 60), ("c", 2.0, 40)],
                30,
                100,
                &[("b", Age)],
            ),
            (
                "made in this run",
                &[("a", 0.0, 99), ("b", 0.0, 99), ("c", 1.0, 1)],
                30,
                100,
                &[("c", Budget)],
            ),
            (
                "one run's, by name",
                &[("b", 1.0, 60), ("a", 1.0, 60)],
                30,
                100,
                &[("b", Budget)],
            ),
        ];
        for (what, seen, keep, budget, expected) in cases {
            let rescues: Vec<Rescue> = seen
                .iter()
                .map(|&(name, age, bytes)| rescue(name, age, bytes))
                .collect();
            let expected: Vec<(String, Because)> = expected
                .iter()
                .map(|&(name, because)| (name.to_owned(), because))
                .collect();
            assert_eq!(gone(&rescues, &policy(keep, budget)), expected, "{what}");
            let kept = kept(&rescues, &policy(keep, budget), now());
            assert_eq!(kept.len(), rescues.len() - expected.len(), "{what}");
            assert!(
                kept.is_sorted() && kept.iter().all(|until| *until > now()),
                "{what}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_stays_and_takes_nobodys_place() {
        let nameless = Rescue {
            taken: None,
            ..rescue("nameless", 500.0, 90)
        };
        let unreadable = Rescue {
            own: None,
            ..rescue("unreadable", 500.0, 90)
        };
        let tomorrow = rescue("tomorrow", -1.0, 90);
        let rescues = [nameless, unreadable, tomorrow, rescue("a", 1.0, 100)];
        assert_eq!(gone(&rescues, &policy(30, 100)), []);
        let odd = fates(&rescues, &policy(30, 100), now())
            .into_iter()
            .filter(|fate| matches!(fate, Fate::Unrecognised(_)))
            .count();
        assert_eq!(odd, 3);
    }

    #[test]
    fn nothing_goes_in_the_run_that_made_it_whatever_the_config_says() {
        assert_eq!(gone(&[rescue("a", 0.0, 1000)], &policy(0, 0)), []);
        let half_a_second = now() + TimeDelta::milliseconds(500);
        assert_eq!(
            expired(&[rescue("a", 0.0, 1000)], &policy(0, 0), half_a_second),
            []
        );
    }
}
