//! Build output as a cache: the regenerable directories of worktrees that nobody used lately.
//!
//! The survey of worktrees found the directories; nothing is listed here. Each is as old as its
//! tree's last activity. It is evicted only under its repo's lock, so the unit names its tree.
//!
//! Before a whole directory goes, [`parts`] of it can: their tools' layouts list these.

use crate::config::policy;
use crate::ecosystems;
use crate::ecosystems::lister::{CacheLister, Inspection, Settings};
use crate::facts::cache::{IdleTree, Tree, Unit, UsedFrom};
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// Returns the units that idle worktrees contribute to the build-output cache of `policy`.
pub fn units(policy: &policy::Cache, trees: &[IdleTree]) -> Vec<Unit> {
    let name: Arc<str> = policy.name.as_str().into();
    trees
        .iter()
        .flat_map(|tree| tree_units(policy, &name, tree))
        .collect()
}

fn tree_units<'a>(
    policy: &'a policy::Cache,
    name: &'a Arc<str>,
    tree: &'a IdleTree,
) -> impl Iterator<Item = Unit> + 'a {
    tree.regenerable.iter().map(|directory| Unit {
        cache: name.clone(),
        kind: policy.kind,
        name: directory.to_string(),
        paths: vec![directory.clone()],
        packages: Vec::new(),
        named: None,
        last_used: tree.active,
        last_used_from: UsedFrom::WorktreeActivity,
        min_age: policy.min_age,
        locks: Arc::default(),
        tree: Some(Box::new(of(tree, None))),
        size: None,
        shared: Vec::new(),
    })
}

/// Returns what evicting a unit needs to know of its tree.
fn of(tree: &IdleTree, part_of: Option<VolumePath>) -> Tree {
    Tree {
        repo: tree.repo.clone(),
        place: tree.place.clone(),
        admin: tree.admin.clone(),
        active: tree.active,
        made_again: tree.made_again.clone(),
        part_of,
    }
}

/// Returns what idle worktrees contribute to a cache whose units are parts of build output, and
/// what could not be read. Nobody is at work in these trees, and what the newest builds need is no
/// unit, so the units have no minimum age of their own.
pub(super) fn parts(
    policy: &policy::Cache,
    trees: &[IdleTree],
    inspection: Inspection<'_>,
) -> (Vec<Unit>, Vec<String>) {
    let Some(layout) = ecosystems::layout(policy.kind) else {
        return Default::default();
    };
    let all = trees.par_iter().flat_map_iter(|tree| {
        let places = tree.regenerable.iter();
        places.map(move |place| (tree, place))
    });
    let listed: Vec<(Vec<Unit>, Vec<String>)> = all
        .map(|(tree, place)| {
            let settings = Settings {
                name: &policy.name,
                place,
                depth: policy.depth,
                min_age: Duration::ZERO,
            };
            let gate = |unit: Unit| {
                (inspection.gate)(Unit {
                    tree: Some(Box::new(of(tree, Some(place.clone())))),
                    ..unit
                })
            };
            let inspection = Inspection {
                gate: &gate,
                ..inspection
            };
            CacheLister::new(layout, settings, inspection).list()
        })
        .collect();
    let (units, problems): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
    (units.concat(), problems.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::{Field, ago};

    #[test]
    fn a_directory_is_as_old_as_its_worktree() {
        let field = Field::new();
        let tree = IdleTree {
            repo: "acme/shop".into(),
            place: field.at("trees/x"),
            admin: "/data/shop/.git/worktrees/x".into(),
            active: ago(20),
            made_again: [].into(),
            regenerable: vec![
                field.at("trees/x/node_modules"),
                field.at("trees/x/web/target"),
            ],
        };
        let mut policy = field.policy("build-output", "unused");
        policy.place = None;
        let seen = super::super::survey(
            &[policy],
            &[tree],
            crate::ecosystems::lister::Inspection {
                probe: &field.probe(true),
                gate: &Some,
                stop: &crate::fs::stop::Stop::never(),
            },
        );
        let units = &seen[0].units;
        assert_eq!(units.len(), 2);
        assert_eq!(
            (units[0].name.as_str(), units[0].last_used),
            ("trees/x/node_modules", ago(20))
        );
        assert_eq!(units[1].tree.as_ref().unwrap().repo, "acme/shop");
    }
}
