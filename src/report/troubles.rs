//! Everything in a report that a person should check, gathered from all its parts. Every failure is
//! included; a busy repo or a kept tree is not a failure.

use super::{
    Eviction, Repo, RepoOutcome, RunOutcome, RunReport, TreeOutcome, Unit, UnitOutcome,
    VerdictName, words,
};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

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
    let why = format!(
        "eviction fell short by {missing}. Lower a cache's reserve or min_age, name more caches in the config, or enlarge the volume."
    );
    Some(Trouble {
        about: String::new(),
        why,
        kind: Kind::Shortfall,
    })
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
        _ => {}
    }
    found.extend(
        repo.failures
            .iter()
            .map(|why| failure(repo.name.clone(), why)),
    );
    for tree in &repo.worktrees {
        if let TreeOutcome::Failed(why) = &tree.outcome {
            found.push(failure(words::below(&report.volume.root, &tree.path), why));
        } else if tree.verdict == VerdictName::Unknown {
            let why = format!(
                "its contents are unknown, so it stays: {}",
                tree.reasons.join("; ")
            );
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
