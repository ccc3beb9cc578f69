//! What kind of repack a repo needs, by counts: nothing is done by the calendar alone.
//!
//! The rules are GitLab Gitaly's, which run on millions of repos
//! (`docs/design/git.md#what-kind-of-work-and-when`):
//!
//! | seen | done |
//! | --- | --- |
//! | several packs, and the last full repack is over 5 days old | full, with a cruft pack |
//! | > 1024 loose objects, or > max(2, log(MiB of packs)/log 1.8) packs | incremental (geometric) |
//! | loose refs at or above max(16, log(bytes of packed-refs / 100) / log 1.15) | pack-refs |
//! | none of these | nothing |
//!
//! A repack for which the volume has no room is left out.

use crate::config::policy::GcStrategy;
use crate::facts::repo::Store;
use crate::fs::humanize;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// With more loose objects than this, look-ups become slow.
const LOOSE_OBJECTS: u64 = 1024;
/// A full repack rewrites everything, so it runs no more often than this.
const FULL_EVERY: TimeDelta = TimeDelta::days(5);

/// How long ago an unreachable object must have last been written to be deleted
/// (`docs/design/git.md#grace`).
pub const PRUNED_AFTER: TimeDelta = TimeDelta::days(14);

/// The kind of a repack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcAction {
    /// Nothing to do.
    #[default]
    None,
    /// A geometric repack, refs and commit-graph.
    Incremental,
    /// A full repack with a cruft pack, or `git gc`.
    Full,
}

/// A step of a repack, in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Drop reflog entries past the grace.
    ExpireReflogs,
    /// Repack loose objects and small packs into a geometric progression.
    Geometric,
    /// One pack, a cruft pack for unreachable objects, and a prune.
    Full,
    /// The same, but all unreachable objects stay in the cruft pack, whatever their age: another
    /// repo borrows them, or may.
    FullKeepingAll,
    /// `git gc`.
    GitGc,
    /// Delete loose objects that were unreachable for 14 days, such as those of an expired rescue.
    Prune,
    /// Pack loose refs.
    PackRefs,
    /// Add the new commits to the commit-graph.
    CommitGraph,
    /// Write the whole commit-graph, so that every commit has its path filter: `git log -- PATH`
    /// consults it before it compares trees.
    WholeCommitGraph,
}

/// What to do with a repo's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gc {
    /// Its name in the report.
    pub action: GcAction,
    /// Why, for people.
    pub reason: String,
    /// Packs that a crashed git left without an index: they are indexed before the steps, which
    /// then repack their objects.
    pub index: Vec<VolumePath>,
    /// The steps.
    pub steps: Vec<Step>,
    /// It was needed, but left out because the volume has no room for it.
    pub short_of_space: bool,
    /// It may do nothing: the counts alone don't require these steps.
    pub may_be_idle: bool,
}

impl Gc {
    /// Returns the repack without anything that drops objects, because of `why`.
    #[must_use]
    pub fn gently(mut self, why: &str) -> Self {
        self.steps.retain(|step| *step != Step::Prune);
        if !self
            .steps
            .iter()
            .any(|step| matches!(step, Step::Full | Step::GitGc))
        {
            return self;
        }
        let steps = vec![Step::Geometric, Step::PackRefs, Step::CommitGraph];
        Self {
            action: GcAction::Incremental,
            reason: format!("{}; not in full, because {why}", self.reason),
            steps,
            may_be_idle: true,
            ..self
        }
    }

    /// Returns the repack with all unreachable objects kept, because of `why`.
    #[must_use]
    pub fn keep_unreachable(mut self, why: &str) -> Self {
        if !self.drops_objects() {
            return self;
        }
        self.reason = format!(
            "{}; unreachable objects are kept, because {why}",
            self.reason
        );
        self.steps.retain(|step| *step != Step::Prune);
        for step in &mut self.steps {
            if *step == Step::Full {
                *step = Step::FullKeepingAll;
            }
        }
        if self.steps.contains(&Step::GitGc) {
            self.steps = vec![
                Step::ExpireReflogs,
                Step::PackRefs,
                Step::FullKeepingAll,
                Step::WholeCommitGraph,
            ];
        }
        self.may_be_idle |= self.steps.is_empty();
        self
    }

    /// Returns the repack with a prune of what only expired rescues contained, unless it drops
    /// objects anyway. A prune needs no room.
    #[must_use]
    pub fn prune(mut self) -> Self {
        if !self.drops_objects() {
            self.reason = format!(
                "{}; rescues expired, and what they alone held is pruned",
                self.reason
            );
            self.steps.push(Step::Prune);
            if self.action == GcAction::None {
                (self.action, self.may_be_idle) = (GcAction::Incremental, true);
            }
        }
        self
    }

    /// Checks whether it deletes unreachable objects once their grace is over.
    pub fn drops_objects(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Full | Step::GitGc | Step::Prune))
    }

    /// Returns the repack with an index for these packs.
    #[must_use]
    pub fn index(self, packs: Vec<VolumePath>) -> Self {
        if packs.is_empty() {
            return self;
        }
        let reason = format!(
            "{}; a crashed git left packs without an index ({}), which get one",
            self.reason,
            packs.len()
        );
        Self {
            reason,
            index: packs,
            ..self
        }
    }

    /// Returns a repack that does nothing, because of `why`.
    pub fn none(why: &str) -> Self {
        let (reason, index, steps) = (why.to_owned(), Vec::new(), Vec::new());
        Self {
            action: GcAction::None,
            reason,
            index,
            steps,
            short_of_space: false,
            may_be_idle: true,
        }
    }
}

/// Decides on a repack. `free_bytes` is the volume's free space.
pub fn gc(store: &Store, strategy: GcStrategy, free_bytes: u64, now: DateTime<Utc>) -> Gc {
    let (action, reason, steps) = match strategy {
        GcStrategy::Off => (
            GcAction::None,
            "switched off in the config".to_owned(),
            Vec::new(),
        ),
        GcStrategy::GitGc => (
            GcAction::Full,
            "the config asks for git gc in every run".to_owned(),
            vec![Step::GitGc],
        ),
        GcStrategy::Auto => auto(store, now),
    };
    // A repack writes a second copy of the objects before it deletes the first.
    let room = store
        .pack_bytes
        .saturating_add(store.loose_bytes)
        .saturating_mul(12)
        / 10;
    if !steps.is_empty() && free_bytes < room {
        let reason = format!(
            "{reason}; but it needs {} free, and the volume has {}",
            humanize::bytes(room),
            humanize::bytes(free_bytes)
        );
        return Gc {
            short_of_space: true,
            ..Gc::none(&reason)
        };
    }
    Gc {
        action,
        reason,
        index: Vec::new(),
        steps,
        short_of_space: false,
        may_be_idle: strategy == GcStrategy::GitGc,
    }
}

fn auto(store: &Store, now: DateTime<Utc>) -> (GcAction, String, Vec<Step>) {
    let stale = store
        .last_full
        .is_none_or(|last| now.signed_duration_since(last) > FULL_EVERY);
    if store.packs >= 2 && stale {
        let reason = format!(
            "{} packs, and the last full repack is over 5 days old",
            store.packs
        );
        return (
            GcAction::Full,
            reason,
            vec![
                Step::ExpireReflogs,
                Step::PackRefs,
                Step::Full,
                Step::WholeCommitGraph,
            ],
        );
    }
    let limit = pack_limit(store.pack_bytes);
    if store.loose_objects > LOOSE_OBJECTS || store.packs > limit {
        let reason = if store.packs > limit {
            format!("{} packs", store.packs)
        } else {
            format!("{} loose objects", store.loose_objects)
        };
        return (
            GcAction::Incremental,
            reason,
            vec![Step::Geometric, Step::PackRefs, Step::CommitGraph],
        );
    }
    if store.loose_refs >= loose_ref_limit(store.packed_refs_bytes) {
        return (
            GcAction::Incremental,
            format!("{} loose refs", store.loose_refs),
            vec![Step::PackRefs],
        );
    }
    (GcAction::None, "nothing to gain".to_owned(), Vec::new())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a logarithm of a size"
)]
fn pack_limit(pack_bytes: u64) -> u64 {
    let mebibytes = (pack_bytes >> 20).max(1) as f64;
    (mebibytes.ln() / 1.8_f64.ln()).max(2.0) as u64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a logarithm of a size"
)]
fn loose_ref_limit(packed_refs_bytes: u64) -> u64 {
    let refs = (packed_refs_bytes as f64 / 100.0).max(1.0);
    (refs.ln() / 1.15_f64.ln()).max(16.0) as u64
}

/// Returns how many of these packs a geometric repack combines into one, given their numbers of
/// objects in ascending order. By git's rule, each pack that stays is at least twice as large as
/// the next smaller one. 0 if all are already.
pub fn rolled_up(counts: &[u64]) -> usize {
    let is_apart =
        |pair: &[u64]| matches!(pair, [smaller, larger] if *larger >= smaller.saturating_mul(2));
    let mut split = counts
        .windows(2)
        .rposition(|pair| !is_apart(pair))
        .map_or(0, |last| last.saturating_add(2));
    let mut sum = counts
        .iter()
        .take(split)
        .fold(0_u64, |sum, count| sum.saturating_add(*count));
    // The new pack also takes in packs less than twice its size; without one, the sum is 0.
    while let Some(count) = counts
        .get(split)
        .filter(|count| **count < sum.saturating_mul(2))
    {
        sum = sum.saturating_add(*count);
        split = split.saturating_add(1);
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(1000)
    }

    #[test]
    fn each_row_of_the_table() {
        let recent = Some(now() - TimeDelta::days(1));
        let old = Some(now() - TimeDelta::days(6));
        let store = |loose_objects, packs, last_full, loose_refs| Store {
            loose_objects,
            packs,
            last_full,
            loose_refs,
            ..Store::default()
        };
        let five_days = Some(now() - TimeDelta::days(5));
        let cases = [
            (store(0, 1, old, 0), GcAction::None, 0, "nothing to gain"),
            (
                store(1024, 1, old, 15),
                GcAction::None,
                0,
                "nothing to gain",
            ),
            (
                store(1025, 1, old, 0),
                GcAction::Incremental,
                3,
                "1025 loose objects",
            ),
            (store(0, 2, recent, 0), GcAction::None, 0, "nothing to gain"),
            (
                store(1025, 2, recent, 0),
                GcAction::Incremental,
                3,
                "1025 loose objects",
            ),
            (store(0, 3, recent, 0), GcAction::Incremental, 3, "3 packs"),
            (
                store(1025, 4, recent, 0),
                GcAction::Incremental,
                3,
                "4 packs",
            ),
            (
                store(0, 2, five_days, 0),
                GcAction::None,
                0,
                "nothing to gain",
            ),
            (
                store(0, 2, old, 0),
                GcAction::Full,
                4,
                "2 packs, and the last full repack is over 5 days old",
            ),
            (
                store(0, 0, None, 16),
                GcAction::Incremental,
                1,
                "16 loose refs",
            ),
        ];
        for (store, action, steps, reason) in cases {
            let gc = gc(&store, GcStrategy::Auto, u64::MAX, now());
            assert_eq!(
                (
                    gc.action,
                    gc.steps.len(),
                    gc.reason.as_str(),
                    gc.may_be_idle
                ),
                (action, steps, reason, false),
                "{store:?}"
            );
        }
        for (strategy, steps, may_be_idle) in [
            (GcStrategy::GitGc, &[Step::GitGc][..], true),
            (GcStrategy::Off, &[], false),
        ] {
            let gc = gc(&store(1025, 4, old, 16), strategy, u64::MAX, now());
            assert_eq!(
                (&gc.steps[..], gc.may_be_idle),
                (steps, may_be_idle),
                "{strategy:?}"
            );
        }
    }

    #[test]
    fn packs_in_a_geometric_row_stay() {
        for (counts, rolled) in [
            (&[][..], 0),
            (&[5], 0),
            (&[9, 36, 120], 0),
            (&[1, 2, 4, 8], 0),
            (&[5, 5], 2),
            (&[5, 9, 100], 2),
            (&[5, 9, 20], 3),
            (&[5, 9, 28], 2),
            (&[1, 10, 19, 100], 3),
            (&[0, 0], 0),
            (&[u64::MAX / 2, u64::MAX - 2], 2),
        ] {
            assert_eq!(rolled_up(counts), rolled, "{counts:?}");
        }
    }

    #[test]
    fn gently_nothing_is_dropped() {
        let store = Store {
            packs: 2,
            ..Store::default()
        };
        for strategy in [GcStrategy::Auto, GcStrategy::GitGc] {
            let gc = gc(&store, strategy, u64::MAX, now()).gently("x");
            assert_eq!(
                (gc.action, gc.steps[0]),
                (GcAction::Incremental, Step::Geometric),
                "{strategy:?}"
            );
            assert!(gc.may_be_idle && gc.reason.ends_with("; not in full, because x"));
        }
        assert_eq!(
            gc(&Store::default(), GcStrategy::Auto, 0, now())
                .gently("x")
                .action,
            GcAction::None
        );
    }

    #[test]
    fn what_somebody_may_borrow_is_kept_and_all_else_is_as_ever() {
        let store = Store {
            packs: 2,
            ..Store::default()
        };
        for strategy in [GcStrategy::Auto, GcStrategy::GitGc] {
            let gc = gc(&store, strategy, u64::MAX, now()).keep_unreachable("x");
            let steps = [
                Step::ExpireReflogs,
                Step::PackRefs,
                Step::FullKeepingAll,
                Step::WholeCommitGraph,
            ];
            assert_eq!(
                (gc.action, &gc.steps[..], gc.drops_objects()),
                (GcAction::Full, &steps[..], false),
                "{strategy:?}"
            );
            assert_eq!(gc.may_be_idle, strategy == GcStrategy::GitGc);
            assert!(
                gc.reason
                    .ends_with("; unreachable objects are kept, because x")
            );
        }
        let calm = gc(&Store::default(), GcStrategy::Auto, 0, now());
        assert_eq!(calm.clone().keep_unreachable("x"), calm);
        let pruned = calm.prune().keep_unreachable("x");
        assert_eq!((&pruned.steps[..], pruned.may_be_idle), (&[][..], true));
    }

    #[test]
    fn a_prune_is_added_to_what_drops_nothing_by_itself() {
        let of = |store: Store| gc(&store, GcStrategy::Auto, u64::MAX, now()).prune();
        let (calm, loose, packs) = (
            Store::default(),
            Store {
                loose_objects: 2000,
                ..Store::default()
            },
            Store {
                packs: 2,
                ..Store::default()
            },
        );
        let pruned = "rescues expired, and what they alone held is pruned";
        for (store, action, last, may_be_idle, reason) in [
            (
                calm,
                GcAction::Incremental,
                Step::Prune,
                true,
                format!("nothing to gain; {pruned}"),
            ),
            (
                loose,
                GcAction::Incremental,
                Step::Prune,
                false,
                format!("2000 loose objects; {pruned}"),
            ),
            (
                packs,
                GcAction::Full,
                Step::WholeCommitGraph,
                false,
                "2 packs, and the last full repack is over 5 days old".to_owned(),
            ),
        ] {
            let gc = of(store);
            assert_eq!(
                (gc.action, gc.steps.last(), gc.may_be_idle, gc.reason),
                (action, Some(&last), may_be_idle, reason)
            );
        }
    }

    #[test]
    fn packs_without_an_index_get_one_and_all_else_is_as_ever() {
        let pack = VolumePath::new(
            &std::sync::Arc::from(std::path::Path::new("/data")),
            std::path::Path::new("b/pack-1.pack"),
        )
        .unwrap();
        let calm = Gc::none("calm");
        assert_eq!(calm.clone().index(Vec::new()), calm);
        let reason =
            "calm; a crashed git left packs without an index (1), which get one".to_owned();
        assert_eq!(
            calm.clone().index(vec![pack.clone()]),
            Gc {
                reason,
                index: vec![pack],
                ..calm
            }
        );
    }

    #[test]
    fn the_limits_grow_with_the_repo() {
        assert_eq!(
            [0, 1 << 20, 100 << 20, 10 << 30].map(pack_limit),
            [2, 2, 7, 15]
        );
        assert_eq!(
            [0, 1_000, 100_000, 10_000_000].map(loose_ref_limit),
            [16, 16, 49, 82]
        );
    }

    #[test]
    fn no_room_means_no_repack() {
        let store = Store {
            loose_objects: 2000,
            pack_bytes: 1000,
            ..Store::default()
        };
        let full = gc(&store, GcStrategy::Auto, 1199, now());
        assert!(
            full.short_of_space && full.steps.is_empty() && full.reason.contains("free"),
            "{full:?}"
        );
        assert!(!gc(&store, GcStrategy::Auto, 1200, now()).short_of_space);
    }
}
