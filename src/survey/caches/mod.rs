//! Looks at the configured caches: which units they hold, and when each was last used.
//!
//! A unit (`docs/design/caches.md#units`) is the smallest thing that can vanish in one step while
//! its tool goes on working. One small file per kind knows a layout ([`README.md`](README.md) tells
//! how to add the next); [`last_use`] alone says when a unit was last used; [`sizing`] weighs the
//! few that may go. Listing must stay cheap: no size but what the look for last use tells, no file
//! contents (but npm's index, which alone tells what goes together), and a stat only where last use
//! needs one. It must never change anything, follow a link, or make a unit of something it can't
//! read.

mod build_output;
mod cargo;
mod folder;
mod go_build;
mod go_mod;
pub mod last_use;
mod lister;
pub(crate) mod npm;
mod pip;
mod pnpm;
pub mod sizing;
mod uv;
mod yarn;

#[cfg(test)]
pub(in crate::survey) mod testing;

pub use build_output::units as build_output_units;

use crate::config::policy;
use crate::facts::cache::{Cache, CacheKind, IdleTree, Unit};
use crate::fs::stop::Stop;
use last_use::LastUseProbe;
use lister::CacheLister;
use rayon::prelude::*;

/// Where each unit passes as soon as it is seen: what it gives back is listed. A volume may hold
/// more units than memory should.
pub type UnitFilter<'a> = &'a (dyn Fn(Unit) -> Option<Unit> + Sync);

/// Lists the units of every configured cache that pass the gate, in the config's order. `idle` are
/// the worktrees that a build-output cache may take from: surveyed, idle and kept.
///
/// Runs in the caller's rayon pool. A cache that isn't there yet is empty. Once the run is to stop,
/// nothing more is listed.
pub fn survey(
    policies: &[policy::Cache],
    idle: &[IdleTree],
    probe: &LastUseProbe,
    gate: UnitFilter<'_>,
    stop: &Stop,
) -> Vec<Cache> {
    policies
        .par_iter()
        .map(|policy| survey_one(policy, idle, probe, gate, stop))
        .collect()
}

fn survey_one(
    policy: &policy::Cache,
    idle: &[IdleTree],
    probe: &LastUseProbe,
    gate: UnitFilter<'_>,
    stop: &Stop,
) -> Cache {
    let Some(place) = &policy.place else {
        let units = build_output::units(policy, idle)
            .into_iter()
            .filter_map(gate)
            .collect();
        return Cache {
            units,
            ..empty(policy)
        };
    };
    let mut lister = CacheLister::new(policy, place, probe, gate, stop);
    lister.locks = match policy.kind {
        CacheKind::Cargo => cargo::locks(place),
        CacheKind::Uv => uv::locks(place),
        _ => Vec::new(),
    }
    .into();
    let units = list(&lister);
    lister.finish(units)
}

/// A cache of which nothing is known but its policy.
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

fn list(lister: &CacheLister<'_>) -> Vec<Unit> {
    match lister.policy.kind {
        CacheKind::Folder => folder::units(lister),
        CacheKind::Cargo => cargo::units(lister),
        CacheKind::Npm => npm::units(lister),
        CacheKind::Pip => pip::units(lister),
        CacheKind::GoBuild => go_build::units(lister),
        CacheKind::GoMod => go_mod::units(lister),
        CacheKind::Uv => uv::units(lister),
        CacheKind::Pnpm => pnpm::units(lister),
        CacheKind::Yarn => yarn::units(lister),
        CacheKind::BuildOutput => Vec::new(),
    }
}

/// Whether `name` is `length` lower-case hexadecimal digits.
fn is_hex(name: &str, length: usize) -> bool {
    name.len() == length
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::testing::Field;
    use super::*;
    use CacheKind::{Cargo, Folder, GoBuild, GoMod, Npm, Pip, Pnpm, Uv, Yarn};

    #[test]
    fn a_cache_that_is_not_there_yet_is_empty_and_no_problem() {
        let field = Field::new();
        for kind in [Folder, Cargo, Npm, Pip, GoBuild, GoMod, Uv, Pnpm, Yarn] {
            let seen = survey(
                &[field.policy(kind, "nowhere")],
                &[],
                &field.probe(true),
                &Some,
                &Stop::never(),
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
                &[field.policy(CacheKind::Folder, place)],
                &[],
                &field.probe(true),
                &Some,
                &Stop::never(),
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
            &[field.policy(CacheKind::GoBuild, "go")],
            &[],
            &field.probe(true),
            &Some,
            &Stop::never(),
        );
        assert_eq!(seen[0].problems.len(), 11);
        assert_eq!(seen[0].problems[10], "15 more problems like these");
    }
}
