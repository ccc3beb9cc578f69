//! The survey of the configured caches: which units they contain, and when each was last used.
//!
//! A unit (`docs/design/caches.md#units`) is the smallest thing that can be removed in one step
//! without breaking its tool. `ecosystems` knows the layouts; [`sizing`] measures the few units
//! that may be evicted. Listing must stay cheap: it reads no file contents (except npm's index,
//! which alone shows what belongs together), takes a size only if the stat for the last use shows
//! it, and stats only what the last use needs.

mod build_output;
pub mod sizing;

pub use build_output::units as build_output_units;

use crate::config::policy;
use crate::ecosystems;
use crate::ecosystems::lister::{CacheLister, Inspection, Settings};
use crate::facts::cache::{Cache, IdleTree};
use rayon::prelude::*;

/// Lists the units of every configured cache that pass the filter, in the config's order. `idle`
/// are the worktrees that a build-output cache may take from: surveyed, idle and kept.
///
/// Runs in the caller's rayon pool. A missing cache is empty. Once the run is to stop, nothing more
/// is listed.
pub fn survey(
    policies: &[policy::Cache],
    idle: &[IdleTree],
    inspection: Inspection<'_>,
) -> Vec<Cache> {
    policies
        .par_iter()
        .map(|policy| survey_one(policy, idle, inspection))
        .collect()
}

fn survey_one(policy: &policy::Cache, idle: &[IdleTree], inspection: Inspection<'_>) -> Cache {
    if policy.place.is_none() && ecosystems::inside_output().any(|kind| kind == policy.kind) {
        let (units, problems) = build_output::parts(policy, idle, inspection);
        return Cache {
            units,
            problems,
            ..empty(policy)
        };
    }
    let Some(place) = &policy.place else {
        let units = build_output::units(policy, idle)
            .into_iter()
            .filter_map(inspection.gate)
            .collect();
        return Cache {
            units,
            ..empty(policy)
        };
    };
    let Some(layout) = ecosystems::layout(policy.kind) else {
        // No config names such a kind.
        return empty(policy);
    };
    let settings = Settings {
        name: &policy.name,
        place,
        depth: policy.depth,
        min_age: policy.min_age,
    };
    let (units, problems) = CacheLister::new(layout, settings, inspection).list();
    Cache {
        units,
        problems,
        ..empty(policy)
    }
}

/// Returns a cache of which only the policy is known.
fn empty(policy: &policy::Cache) -> Cache {
    Cache {
        name: policy.name.clone(),
        kind: policy.kind,
        units: Vec::new(),
        reserve: policy.reserve,
        budget: policy.budget,
        problems: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;
    use crate::fs::stop::Stop;

    #[test]
    fn a_cache_that_is_not_there_yet_is_empty_and_no_problem() {
        let field = Field::new();
        for layout in ecosystems::layouts() {
            let kind = layout.kind;
            let seen = survey(
                &[field.policy(kind.name(), "nowhere")],
                &[],
                Inspection {
                    probe: &field.probe(true),
                    gate: &Some,
                    stop: &Stop::never(),
                },
            );
            assert_eq!(
                (seen[0].units.len(), &seen[0].problems),
                (0, &vec![]),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_cache_behind_a_link_or_in_place_of_a_directory_is_a_problem() {
        let field = Field::new();
        field.file("real/unit", 9);
        field.link("real", "link");
        for place in ["link", "real/unit"] {
            let seen = survey(
                &[field.policy("folder", place)],
                &[],
                Inspection {
                    probe: &field.probe(true),
                    gate: &Some,
                    stop: &Stop::never(),
                },
            );
            assert_eq!(
                (seen[0].units.len(), seen[0].problems.len()),
                (0, 1),
                "{place}"
            );
        }
    }

    #[test]
    fn many_problems_are_told_as_a_few_and_a_number() {
        let field = Field::new();
        for number in 0..25 {
            field.file(&format!("go/ab/odd{number}"), 1);
        }
        let seen = survey(
            &[field.policy("go-build", "go")],
            &[],
            Inspection {
                probe: &field.probe(true),
                gate: &Some,
                stop: &Stop::never(),
            },
        );
        assert_eq!(seen[0].problems.len(), 11);
        assert_eq!(seen[0].problems[10], "15 more problems like these");
    }
}
