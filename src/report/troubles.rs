//! Everything in a report that a person should check, gathered from all its parts. Every failure is
//! included; a busy repo or a kept tree is not a failure.

use super::{
    CouldGo, Eviction, HeldBy, Repo, RepoOutcome, RunOutcome, RunReport, TreeOutcome, Unit,
    UnitOutcome, VerdictName, Worktree, words,
};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Runs in a row. An agent may be at work during a run now and then; one that is busy in every run
/// hangs, or its busy probe fails.
pub const BUSY_NIGHTS: u64 = 3;

/// One thing to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it is about: a repo, a tree, a unit; empty if `why` says it all.
    pub about: String,
    /// What went wrong, and what helps.
    pub why: String,
    /// How it counts.
    pub kind: Kind,
}

/// How a trouble counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Less was evicted than needed: the run failed, though nothing in it did.
    Shortfall,
    /// Something failed.
    Failure,
    /// Nothing failed, but somebody should know.
    Warning,
}

/// Returns the report's troubles: the eviction's, the repos', the units' and the run's own.
pub fn troubles(report: &RunReport) -> Vec<Trouble> {
    let mut found: Vec<Trouble> = shortfall(&report.eviction)
        .into_iter()
        .chain(in_use_went(report))
        .collect();
    for repo in &report.repos {
        of_repo(report, repo, &mut found);
    }
    for unit in &report.eviction.units {
        if let UnitOutcome::Failed(why) = &unit.outcome {
            found.push(failure(format!("{}, {}", unit.cache, unit.unit), why));
        }
    }
    found.extend(
        report
            .failures
            .iter()
            .map(|why| failure(String::new(), why)),
    );
    found.extend(report.notes.iter().map(|why| Trouble {
        kind: Kind::Warning,
        ..failure(String::new(), why)
    }));
    found
}

/// Merges troubles with the same cause.
pub fn merged(troubles: Vec<Trouble>) -> Vec<Trouble> {
    let mut kept: Vec<(Vec<String>, Trouble)> = Vec::new();
    let mut places: HashMap<(String, Kind), usize> = HashMap::new();
    for trouble in troubles {
        match places.entry((trouble.why.clone(), trouble.kind)) {
            Entry::Occupied(place) => kept[*place.get()].0.push(trouble.about),
            Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push((vec![trouble.about.clone()], trouble));
            }
        }
    }
    kept.into_iter()
        .map(|(abouts, trouble)| Trouble {
            about: words::and(&abouts),
            ..trouble
        })
        .collect()
}

fn failure(about: String, why: &str) -> Trouble {
    Trouble {
        about,
        why: why.to_owned(),
        kind: Kind::Failure,
    }
}

fn shortfall(eviction: &Eviction) -> Option<Trouble> {
    let missing = missing(eviction)?;
    let could_go = could_go(eviction)
        .map(|units| format!(" The largest that would go then: {units}."))
        .unwrap_or_default();
    let why = format!(
        "eviction fell short by {missing}. {}.{could_go}",
        advice(eviction)
    );
    Some(Trouble {
        about: String::new(),
        why,
        kind: Kind::Shortfall,
    })
}

/// Returns what would let more go, by what stood in the way of the most units.
fn advice(eviction: &Eviction) -> String {
    let mut by: Vec<(HeldBy, u64, Vec<String>)> = Vec::new();
    let skipped = eviction.units.iter().filter(|unit| unit.was_skipped());
    let skipped = skipped.map(|unit| (HeldBy::Lock, 1, &unit.cache));
    let held = eviction.held.iter();
    let held = held.map(|held| (held.by, held.units, &held.cache));
    for (setting, units, cache) in held.chain(skipped) {
        if !by.iter().any(|(known, ..)| *known == setting) {
            by.push((setting, 0, Vec::new()));
        }
        for (_, sum, caches) in by.iter_mut().filter(|(known, ..)| *known == setting) {
            *sum = sum.saturating_add(units);
            if !caches.contains(cache) {
                caches.push(cache.clone());
            }
        }
    }
    by.sort_by_key(|(_, units, _)| std::cmp::Reverse(*units));
    let lines: Vec<String> = by
        .iter()
        .map(|(setting, units, caches)| {
            let units = words::count(*units, "unit");
            let of = words::few(caches, 4);
            match setting {
                HeldBy::InUse => format!(
                    "Live trees need {units} of {of}: set eviction.in_use to last, or keep fewer worktrees"
                ),
                HeldBy::MinAge => {
                    format!("{units} of {of} are younger than min_age: lower it")
                }
                HeldBy::Reserve => format!("The reserve holds {units} of {of}: lower it"),
                HeldBy::Lock => format!(
                    "{units} of {of} were at work when their turn came: let runs come when no job is"
                ),
            }
        })
        .collect();
    if lines.is_empty() {
        return "No setting holds anything back: name more caches in the config, keep fewer worktrees, or enlarge the volume".to_owned();
    }
    format!("{}. Or enlarge the volume", lines.join(". "))
}

/// `whisper (models, 14.7 GiB, reserve) and x (npm, 2 GiB, min_age)`; none if nothing could go.
fn could_go(eviction: &Eviction) -> Option<String> {
    let named = |unit: &CouldGo| {
        let (size, by) = (words::size(unit.bytes), unit.by.name());
        format!("{} ({}, {size}, {by})", unit.unit, unit.cache)
    };
    let units: Vec<String> = eviction.could_go.iter().map(named).collect();
    (!units.is_empty()).then(|| words::and(&units))
}

/// `12 units, 1.4 GiB, that lock files of live trees name`; none if nothing in use went.
pub(crate) fn in_use(eviction: &Eviction) -> Option<String> {
    let gone: Vec<&Unit> = eviction
        .units
        .iter()
        .filter(|unit| unit.in_use && unit.outcome.goes())
        .collect();
    let bytes = gone.iter().map(|unit| unit.bytes).sum();
    (!gone.is_empty()).then(|| {
        format!(
            "{}, {}, that lock files of live trees name",
            words::count(gone.len() as u64, "unit"),
            words::size(bytes)
        )
    })
}

fn in_use_went(report: &RunReport) -> Option<Trouble> {
    let what = if report.run.dry_run {
        "will be evicted"
    } else {
        "evicted"
    };
    let why = format!(
        "{what} because nothing else is left: {}. The next jobs fetch them again. Enlarge the volume, or keep them with eviction.in_use: keep.",
        in_use(&report.eviction)?
    );
    Some(Trouble {
        about: String::new(),
        why,
        kind: Kind::Warning,
    })
}

/// Returns the shortfall of an eviction, for people; none if there is none.
pub(crate) fn missing(eviction: &Eviction) -> Option<String> {
    amount(eviction.shortfall_bytes, eviction.shortfall_inodes)
}

impl Unit {
    /// Returns whether it was used, or its tool at work, when its turn came.
    fn was_skipped(&self) -> bool {
        matches!(self.outcome, UnitOutcome::Skipped(_))
    }
}

impl Eviction {
    /// Returns what prevented more: the plan's obstacles, and units that were skipped because they
    /// were in use again or busy.
    pub fn in_the_way(&self) -> Vec<String> {
        let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
        for unit in &self.units {
            if let UnitOutcome::Skipped(why) = &unit.outcome {
                *skipped.entry(why).or_default() += 1;
            }
        }
        let skipped = skipped
            .into_iter()
            .map(|(why, many)| format!("{} skipped: {why}", words::count(many, "unit")));
        self.obstacles.iter().cloned().chain(skipped).collect()
    }
}

/// Formats bytes and inodes as one amount; none if both are 0.
pub(crate) fn amount(bytes: u64, inodes: u64) -> Option<String> {
    let bytes = (bytes > 0).then(|| words::size(bytes));
    let inodes = (inodes > 0).then(|| words::count(inodes, "inode"));
    let both: Vec<String> = bytes.into_iter().chain(inodes).collect();
    (!both.is_empty()).then(|| words::and(&both))
}

fn of_repo(report: &RunReport, repo: &Repo, found: &mut Vec<Trouble>) {
    let because = repo.reason.as_deref().unwrap_or("it gave no reason");
    match repo.outcome {
        RepoOutcome::Failed if repo.reason.is_some() || !has_parts(repo) => {
            found.push(failure(repo.name.clone(), because));
        }
        RepoOutcome::Refused => found.push(Trouble {
            kind: refusal(report),
            ..failure(repo.name.clone(), because)
        }),
        RepoOutcome::Busy if repo.lock.busy_nights >= BUSY_NIGHTS => {
            found.push(Trouble {
                kind: Kind::Warning,
                ..failure(repo.name.clone(), &busy(repo))
            });
        }
        _ => {}
    }
    found.extend(
        repo.failures
            .iter()
            .map(|why| failure(repo.name.clone(), why)),
    );
    for tree in &repo.worktrees {
        if let TreeOutcome::Failed(why) = &tree.outcome {
            let why = without_itself(report, tree, why);
            found.push(failure(words::below(&report.volume.root, &tree.path), &why));
        } else if tree.verdict == VerdictName::Unknown {
            let why = without_itself(report, tree, &tree.reasons.join("; "));
            let why = format!("its contents are unknown, so it stays: {why}");
            found.push(Trouble {
                kind: Kind::Warning,
                ..failure(words::below(&report.volume.root, &tree.path), &why)
            });
        }
    }
    if let Some(why) = &repo.prune.refused {
        found.push(Trouble {
            kind: Kind::Warning,
            ..failure(repo.name.clone(), &format!("pruning was refused: {why}"))
        });
    }
}

/// Replaces the tree's own path, so that trees with the same cause have the same text. A command
/// keeps it.
fn without_itself(report: &RunReport, tree: &Worktree, why: &str) -> String {
    let own = tree.path.to_string_lossy();
    let below = tree.path.strip_prefix(&report.volume.root);
    let below = below.map(|path| path.to_string_lossy().into_owned());
    let why = why.replace(&format!("`{own}`"), "it");
    below.map_or(why.clone(), |below| {
        why.replace(&format!("`{below}`"), "it")
    })
}

/// `busy for 4 days in a row: held by pod/host (pid 812) for `exec npm test` since ...`, and what
/// helps.
pub(crate) fn busy(repo: &Repo) -> String {
    let days = words::count(repo.lock.busy_nights, "day");
    let (why, remedy) = match (&repo.reason, &repo.lock.holder) {
        (Some(probe), _) => (probe.clone(), "fix its busy probe, or end what it sees"),
        (None, Some(holder)) => (format!("held by {holder}"), "end that if it hangs"),
        (None, None) => (
            "held by somebody who left no name, from another machine".to_owned(),
            "`fuser` or `lslocks` there names the process",
        ),
    };
    format!("busy for {days} in a row: {why}; {remedy} (`treewarden locks` says more)")
}

/// Returns whether single failures explain a failed repo.
fn has_parts(repo: &Repo) -> bool {
    !repo.failures.is_empty()
        || repo
            .worktrees
            .iter()
            .any(|tree| matches!(tree.outcome, TreeOutcome::Failed(_)))
}

/// Returns how a refused repo counts: as a warning if the run was interrupted, because it may not
/// have been reached; else as a failure.
fn refusal(report: &RunReport) -> Kind {
    if report.run.outcome == RunOutcome::Interrupted {
        Kind::Warning
    } else {
        Kind::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_troubles_are_merged_in_their_order() {
        let trouble = |n: u32| {
            failure(
                format!("tree {n}"),
                &format!(
                    "{:05} is why, of a cause that is said at some length",
                    n / 2
                ),
            )
        };
        let merged = merged((0..60_000).map(trouble).collect());
        assert_eq!(
            (merged.len(), merged[7].about.as_str()),
            (30_000, "tree 14 and tree 15")
        );
        assert!(merged.iter().map(|trouble| &trouble.why).is_sorted());
    }
}
