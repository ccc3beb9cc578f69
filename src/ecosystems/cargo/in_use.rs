//! Which artifacts of a target directory the newest builds need: pure, on what
//! [`super::artifacts`] read.
//!
//! Cargo never deletes the artifacts of an earlier toolchain, feature set, branch or lock file. A
//! **root** is an artifact that was built for its own sake: the newest one of its package, target,
//! profile and mode (a check is none for a build). What the roots' fingerprints name is in use, and
//! so is what those name in turn. Everything else was replaced.

use crate::ecosystems::last_use::{Use, newer};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A root that nobody used for so long, while others in its directory were used, is no longer one.
const STALE: TimeDelta = TimeDelta::days(7);

/// An artifact: all that belongs to one hash.
pub(super) struct Artifact {
    /// Its package, and with it the same for each variant of a target.
    pub(super) key: Key,
    /// Its fingerprint; none if its last build didn't end well.
    pub(super) value: Option<u64>,
    /// The names and fingerprints of what it was built from; none if unknown.
    pub(super) needs: Option<Vec<(String, u64)>>,
    /// Its own last use.
    pub(super) used: Use,
    /// Whether it may have been built for its own sake.
    pub(super) may_be_root: bool,
    /// Whether it is what cargo put at the top of the profile last.
    pub(super) is_on_top: bool,
}

/// What the variants of a target share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The number of its profile.
    pub(super) profile: usize,
    /// Its package.
    pub(super) package: String,
    /// Its target, as its fingerprint names it: `lib-shop`, `test-integration-test-all`.
    pub(super) target: String,
    /// Whether it was linked, and not only checked.
    pub(super) is_linked: bool,
}

/// What was found out about an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its last use, or that of what was built from it.
    pub(super) used: Use,
    /// Whether the newest builds need it.
    pub(super) in_use: bool,
}

/// Returns what was found about each artifact, in the same order. If `access_times` aren't kept, a
/// root doesn't show that it is still used, so none is too old.
///
/// # Errors
/// It is unknown what the newest build needs; the text says why.
pub(super) fn find(
    artifacts: &[Artifact],
    access_times: bool,
    now: DateTime<Utc>,
) -> Result<Vec<Found>, String> {
    let graph = Graph::of(artifacts);
    let used = graph.last_uses();
    if let Some(unknown) = unfinished(artifacts) {
        let package = &unknown.key.package;
        return Err(format!("the last build of {package} there failed"));
    }
    // A time in the future says nothing of the others' age.
    let newest = used
        .iter()
        .map(|used| used.at)
        .filter(|at| *at <= now)
        .max();
    let fresh = newest
        .filter(|_| access_times)
        .and_then(|newest| newest.checked_sub_signed(STALE));
    let in_use = graph.closure(&roots(artifacts, &used, fresh))?;
    let both = used.into_iter().zip(in_use);
    Ok(both.map(|(used, in_use)| Found { used, in_use }).collect())
}

/// Returns an artifact of which nobody knows what it needs, if nothing of its package is newer.
fn unfinished(artifacts: &[Artifact]) -> Option<&Artifact> {
    let mut newest: HashMap<(usize, &str), DateTime<Utc>> = HashMap::new();
    for artifact in artifacts.iter().filter(|artifact| artifact.needs.is_some()) {
        let of_package = (artifact.key.profile, artifact.key.package.as_str());
        let newest = newest.entry(of_package).or_insert(artifact.used.at);
        *newest = artifact.used.at.max(*newest);
    }
    artifacts.iter().find(|artifact| {
        let of_package = (artifact.key.profile, artifact.key.package.as_str());
        let is_newest = || {
            newest
                .get(&of_package)
                .is_none_or(|at| *at < artifact.used.at)
        };
        artifact.needs.is_none() && is_newest()
    })
}

/// Returns the numbers of the roots.
fn roots(artifacts: &[Artifact], used: &[Use], fresh: Option<DateTime<Utc>>) -> Vec<usize> {
    let mut newest: BTreeMap<&Key, DateTime<Utc>> = BTreeMap::new();
    for (artifact, used) in artifacts.iter().zip(used) {
        let newest = newest.entry(&artifact.key).or_insert(used.at);
        *newest = used.at.max(*newest);
    }
    let is_root = |(artifact, used): &(&Artifact, &Use)| {
        let is_newest = || newest.get(&artifact.key).is_some_and(|at| *at <= used.at);
        artifact.may_be_root
            && (artifact.is_on_top || is_newest())
            && fresh.is_none_or(|fresh| used.at >= fresh)
    };
    let all = artifacts.iter().zip(used).enumerate();
    let roots = all.filter(|(_, both)| is_root(both));
    roots.map(|(number, _)| number).collect()
}

/// What was built from what.
struct Graph<'a> {
    artifacts: &'a [Artifact],
    by_value: HashMap<u64, Vec<usize>>,
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn of(artifacts: &'a [Artifact]) -> Self {
        let mut by_value: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, artifact) in artifacts.iter().enumerate() {
            if let Some(value) = artifact.value {
                by_value.entry(value).or_default().push(number);
            } else {
                // Its name is all that leads to it.
                let name = crate_name(&artifact.key.target);
                by_name.entry(name).or_default().push(number);
            }
        }
        Self {
            artifacts,
            by_value,
            by_name,
        }
    }

    /// Returns each thing that the artifact was built from: its name, a key of its own, and the
    /// artifacts that may be it; none if none is there.
    fn below(
        &self,
        number: usize,
    ) -> impl Iterator<Item = (&'a str, Result<u64, String>, Option<&[usize]>)> {
        let artifact = self.artifacts.get(number);
        let needs = artifact.and_then(|artifact| artifact.needs.as_ref());
        needs.into_iter().flatten().map(|(name, value)| {
            if let Some(found) = self.by_value.get(value) {
                return (name.as_str(), Ok(*value), Some(found.as_slice()));
            }
            let normal = normal(name);
            let found = self.by_name.get(&normal).map(Vec::as_slice);
            (name.as_str(), Err(normal), found)
        })
    }

    /// Returns each artifact's last use: whatever was used needed all that it was built from.
    fn last_uses(&self) -> Vec<Use> {
        let mut order: Vec<usize> = (0..self.artifacts.len()).collect();
        let own = |number: &usize| self.artifacts.get(*number).map(|artifact| artifact.used.at);
        order.sort_by_key(|number| std::cmp::Reverse(own(number)));
        let mut used: Vec<Use> = self
            .artifacts
            .iter()
            .map(|artifact| artifact.used)
            .collect();
        let mut seen = vec![false; self.artifacts.len()];
        for first in order {
            let Some(newest) = self.artifacts.get(first).map(|artifact| artifact.used) else {
                continue;
            };
            self.walk(vec![first], &mut seen, |number| {
                if let Some(used) = used.get_mut(number) {
                    *used = newer(*used, newest);
                }
            });
        }
        used
    }

    /// Returns whether each artifact is below one of these.
    fn closure(&self, roots: &[usize]) -> Result<Vec<bool>, String> {
        let mut seen = vec![false; self.artifacts.len()];
        let mut reached = Vec::new();
        self.walk(roots.to_vec(), &mut seen, |number| reached.push(number));
        for number in reached {
            let missing = self.below(number).find(|(_, _, found)| found.is_none());
            if let (Some((name, ..)), Some(artifact)) = (missing, self.artifacts.get(number)) {
                let name: String = name.chars().take(100).collect();
                let package = &artifact.key.package;
                return Err(format!("{package} there needs {name}, and none fits"));
            }
        }
        Ok(seen)
    }

    /// Visits these and all below them, each once. What many need is looked up for one of them:
    /// otherwise forged fingerprints would cost the product of both.
    fn walk(&self, mut waiting: Vec<usize>, seen: &mut [bool], mut visit: impl FnMut(usize)) {
        let mut done: HashSet<Result<u64, String>> = HashSet::new();
        while let Some(number) = waiting.pop() {
            let Some(seen) = seen.get_mut(number).filter(|seen| !**seen) else {
                continue;
            };
            *seen = true;
            visit(number);
            for (_, key, found) in self.below(number) {
                let found = found.unwrap_or_default();
                if !found.is_empty() && done.insert(key) {
                    waiting.extend(found);
                }
            }
        }
    }
}

/// Returns whether a target's crate has that name: `test-bin-my-shop` is a `my_shop`.
pub(super) fn is_crate(target: &str, name: &str) -> bool {
    let target = normal(target);
    target
        .strip_suffix(name)
        .is_some_and(|kind| kind.is_empty() || kind.ends_with('_'))
}

/// Returns the crate's name of a library or a build script.
fn crate_name(target: &str) -> String {
    let library = target.strip_prefix("lib-");
    let script = || target.strip_prefix("build-script-");
    normal(library.or_else(script).unwrap_or(target))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::ago;
    use crate::facts::cache::UsedFrom;

    /// An artifact of a local package: its target, variant, last use in days, and needs.
    fn artifact(target: &str, value: u64, days: u64, needs: &[u64]) -> Artifact {
        Artifact {
            key: Key {
                profile: 0,
                package: target.into(),
                target: target.into(),
                is_linked: true,
            },
            value: Some(value),
            needs: Some(needs.iter().map(|need| ("x".into(), *need)).collect()),
            used: Use {
                at: ago(days),
                from: UsedFrom::WriteTime,
            },
            may_be_root: true,
            is_on_top: false,
        }
    }

    /// An artifact of somebody else's package.
    fn foreign(target: &str, value: u64, days: u64, needs: &[u64]) -> Artifact {
        Artifact {
            may_be_root: false,
            ..artifact(target, value, days, needs)
        }
    }

    fn in_use(artifacts: &[Artifact]) -> Vec<bool> {
        let found = find(artifacts, true, ago(0)).unwrap();
        found.iter().map(|found| found.in_use).collect()
    }

    #[test]
    fn a_variant_that_was_replaced_goes_with_what_it_alone_needs() {
        let all = [
            artifact("bin-shop", 1, 9, &[3, 4]),
            artifact("bin-shop", 2, 5, &[4, 5]),
            foreign("lib-old", 3, 9, &[6]),
            foreign("lib-both", 4, 9, &[]),
            foreign("lib-new", 5, 5, &[7]),
            foreign("lib-below-old", 6, 9, &[]),
            foreign("lib-below-new", 7, 9, &[]),
            // Left of a variant that went before.
            foreign("lib-alone", 8, 6, &[]),
        ];
        let found = find(&all, true, ago(0)).unwrap();
        let days = found.iter().map(|found| found.used.at);
        let expected = [9, 5, 9, 5, 5, 9, 5, 6].map(ago);
        assert_eq!(days.collect::<Vec<_>>(), expected);
        let stays = [false, true, false, true, true, false, true, false];
        assert_eq!(in_use(&all), stays);
    }

    #[test]
    fn a_check_a_profile_and_the_program_on_top_are_roots_beside_the_newest() {
        let mut all = [(); 4].map(|()| artifact("bin-shop", 1, 6, &[]));
        all[0].used.at = ago(5);
        all[1].key.is_linked = false;
        all[2].key.profile = 1;
        assert_eq!(in_use(&all), [true, true, true, false]);
        all[3].is_on_top = true;
        assert_eq!(in_use(&all), [true; 4]);
        // Unless nobody used them for long.
        let used = [5, 11, 13, 14].map(ago);
        for (artifact, at) in all.iter_mut().zip(used) {
            artifact.used.at = at;
        }
        assert_eq!(in_use(&all), [true, true, false, false]);
        let found = find(&all, false, ago(0)).unwrap();
        assert!(found.iter().all(|found| found.in_use));
    }

    #[test]
    fn a_time_in_the_future_makes_nothing_stale() {
        let mut all = [
            artifact("bin-shop", 1, 5, &[]),
            artifact("bin-late", 2, 5, &[]),
        ];
        all[1].used.at = ago(0) + TimeDelta::days(400);
        assert_eq!(in_use(&all), [true, true]);
    }

    #[test]
    fn forged_fingerprints_cost_no_product() {
        let needs = [7; 1000];
        let all: Vec<Artifact> = (0..1000)
            .map(|_| artifact("bin-shop", 7, 5, &needs))
            .collect();
        assert_eq!(in_use(&all), [true; 1000]);
    }

    #[test]
    fn what_is_unknown_keeps_all() {
        let unknown = |days| Artifact {
            needs: None,
            value: None,
            ..artifact("bin-shop", 0, days, &[])
        };
        let all = [artifact("bin-shop", 1, 5, &[]), unknown(6)];
        assert_eq!(in_use(&all), [true, false]);
        let all = [artifact("bin-shop", 1, 6, &[]), unknown(5)];
        let why = find(&all, true, ago(0)).unwrap_err();
        assert_eq!(why, "the last build of bin-shop there failed");
        let all = [artifact("bin-shop", 1, 5, &[2])];
        let why = find(&all, true, ago(0)).unwrap_err();
        assert_eq!(why, "bin-shop there needs x, and none fits");
        // A build that failed leaves no fingerprint, but its name.
        let failed = Artifact {
            value: None,
            ..foreign("lib-x", 0, 9, &[])
        };
        let all = [artifact("bin-shop", 1, 5, &[2]), failed];
        assert_eq!(in_use(&all), [true, true]);
    }

    #[test]
    fn a_forged_circle_ends() {
        let all = [
            artifact("bin-a", 1, 5, &[2]),
            foreign("lib-b", 2, 5, &[1, 2]),
        ];
        assert_eq!(in_use(&all), [true, true]);
    }

    #[test]
    fn the_crate_of_a_target() {
        let shops = ["lib-my-shop", "test-bin-my-shop", "bench-my_shop"];
        assert!(shops.iter().all(|target| is_crate(target, "my_shop")));
        assert!(!is_crate("lib-workshop", "shop"));
        let script = "build-script-build-script-build";
        assert!(is_crate(script, "build_script_build"));
    }
}
