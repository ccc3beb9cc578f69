//! What was removed besides trees, in all repos.

use crate::report::html::{SHOWN, left_out};
use crate::report::text::expired_name;
use crate::report::{Repo, RunReport, words};

/// A list of what was removed, by repo.
pub(in crate::report::html) struct Tidied {
    pub(in crate::report::html) title: String,
    pub(in crate::report::html) count: String,
    pub(in crate::report::html) rows: Vec<(String, Vec<String>)>,
    pub(in crate::report::html) more: Option<String>,
}

/// Lists dropped registrations, leftovers of a crashed git, and expired rescues.
pub(in crate::report::html) fn tidied(report: &RunReport) -> Vec<Tidied> {
    let would = if report.run.dry_run { "to be " } else { "" };
    let below = |path: &std::path::PathBuf| words::below(&report.volume.root, path);
    let held: u64 = report
        .repos
        .iter()
        .flat_map(|repo| &repo.rescues.expired)
        .map(|rescue| rescue.bytes)
        .sum();
    let lists = [
        tidy(
            report,
            format!("Registrations {would}dropped, their trees were gone already"),
            String::new(),
            |repo| repo.prune.dropped.iter().map(below).collect(),
        ),
        tidy(
            report,
            format!("Stale git files {would}removed"),
            String::new(),
            |repo| repo.gc.stale_locks.iter().map(below).collect(),
        ),
        tidy(
            report,
            format!("Old rescues {would}dropped"),
            format!(" (of {})", words::size(held)),
            |repo| repo.rescues.expired.iter().map(expired_name).collect(),
        ),
    ];
    lists.into_iter().flatten().collect()
}

fn tidy(
    report: &RunReport,
    title: String,
    of: String,
    names: impl Fn(&Repo) -> Vec<String>,
) -> Option<Tidied> {
    let all: Vec<(String, Vec<String>)> = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), names(repo)))
        .collect();
    let all: Vec<_> = all
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .collect();
    let many: usize = all.iter().map(|(_, names)| names.len()).sum();
    let mut room = SHOWN;
    let mut rows = Vec::new();
    for (repo, mut names) in all {
        names.truncate(room);
        room -= names.len();
        rows.extend((!names.is_empty()).then_some((repo, names)));
    }
    let count = format!("{}{of}", words::number(many as u64));
    (many > 0).then(|| Tidied {
        title,
        count,
        rows,
        more: left_out(many.saturating_sub(SHOWN), ""),
    })
}
