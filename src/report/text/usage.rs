//! What fills the volume: repos, caches and the rest, biggest first, and the largest worktrees.
//! What is left out is summed up.

use crate::report::page::{BODY, FAINT, Page, Row, Span};
use crate::report::usage::{Part, Used};
use crate::report::{RunReport, words};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The most rows of each table.
const NAMED: usize = 12;

/// Writes the section, if the usage was measured.
pub(super) fn write(page: &mut Page, report: &RunReport) {
    if report.usage.is_empty() {
        return;
    }
    page.heading(
        "What fills it:",
        Span::body(words::size(bytes(&inside(report)))),
    );
    let groups = groups(report);
    page.table(
        2,
        &groups
            .iter()
            .take(NAMED)
            .map(|parts| group(report, parts))
            .collect::<Vec<_>>(),
    );
    rest(
        page,
        groups.len(),
        groups.iter().skip(NAMED).map(|parts| bytes(parts)).sum(),
    );
    let trees: Vec<&Used> = report
        .usage
        .iter()
        .filter(|used| used.what == Part::Worktree)
        .collect();
    if trees.len() > 1 {
        page.line(2, &[Span::new("The largest worktrees:", FAINT)]);
        page.table(
            4,
            &trees
                .iter()
                .take(NAMED)
                .map(|tree| row(report, tree))
                .collect::<Vec<_>>(),
        );
        rest(
            page,
            trees.len(),
            trees.iter().skip(NAMED).map(|tree| tree.bytes).sum(),
        );
    }
}

/// Returns what is on the volume, without the caches outside of it.
pub(in crate::report) fn inside(report: &RunReport) -> Vec<&Used> {
    let is_inside = |used: &&Used| used.path.starts_with(&report.volume.root);
    report.usage.iter().filter(is_inside).collect()
}

pub(in crate::report) fn bytes(parts: &[&Used]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

fn rest(page: &mut Page, rows: usize, bytes: u64) {
    if rows > NAMED {
        page.line(
            2,
            &[Span::new(
                format!(
                    "and {} more, {}",
                    words::number((rows - NAMED) as u64),
                    words::size(bytes)
                ),
                FAINT,
            )],
        );
    }
}

/// Groups a repo with its trees, and makes each cache and each directory that belongs to neither a
/// group of its own; the biggest first.
pub(in crate::report) fn groups(report: &RunReport) -> Vec<Vec<&Used>> {
    let mut groups: BTreeMap<(bool, &str, Option<&Used>), Vec<&Used>> = BTreeMap::new();
    for used in &report.usage {
        let of_repo = matches!(used.what, Part::Store | Part::Checkout | Part::Worktree);
        let alone = if of_repo { None } else { Some(used) };
        groups
            .entry((of_repo, used.name.as_deref().unwrap_or_default(), alone))
            .or_default()
            .push(used);
    }
    let mut groups: Vec<Vec<&Used>> = groups.into_values().collect();
    groups.sort_by_key(|parts| Reverse(bytes(parts)));
    groups
}

fn group(report: &RunReport, parts: &[&Used]) -> Row {
    let (kind, name) = called(report, parts[0]);
    let size = words::size(bytes(parts));
    vec![
        Span::new(kind, FAINT),
        Span::body(name).shorten(),
        Span::body(size).right(),
        Span::new(made_of(parts), FAINT).wrap(),
    ]
    .into()
}

/// Returns the kind and the name of a group, from one of its parts.
pub(in crate::report) fn called(report: &RunReport, part: &Used) -> (&'static str, String) {
    match part.what {
        Part::Store | Part::Checkout | Part::Worktree => {
            ("repo", part.name.clone().unwrap_or_default())
        }
        Part::Cache if !part.path.starts_with(&report.volume.root) => (
            "cache",
            format!(
                "{}, in {}",
                part.name.as_deref().unwrap_or_default(),
                words::below(&report.volume.root, &part.path)
            ),
        ),
        Part::Cache => ("cache", part.name.clone().unwrap_or_default()),
        Part::State => ("state", words::below(&report.volume.root, &part.path)),
        Part::Other => ("other", words::below(&report.volume.root, &part.path)),
    }
}

/// `store 2 GiB, checkout 80 MiB, 12 trees 31 GiB; 4 GiB more in files with links elsewhere`.
pub(in crate::report) fn made_of(parts: &[&Used]) -> String {
    let of = |what: Part| {
        parts
            .iter()
            .filter(|part| part.what == what)
            .copied()
            .collect::<Vec<&Used>>()
    };
    let trees = of(Part::Worktree);
    let mut told = Vec::new();
    for (name, parts) in [
        ("store".to_owned(), of(Part::Store)),
        ("checkout".to_owned(), of(Part::Checkout)),
    ]
    .into_iter()
    .chain([(words::count(trees.len() as u64, "tree"), trees)])
    {
        if !parts.is_empty() {
            told.push(format!("{name} {}", words::size(bytes(&parts))));
        }
    }
    let shared: u64 = parts.iter().map(|part| part.shared_bytes).sum();
    let shared =
        (shared > 0).then(|| format!("{} more in files with links elsewhere", words::size(shared)));
    [
        Some(told.join(", ")).filter(|told| !told.is_empty()),
        shared,
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

fn row(report: &RunReport, tree: &Used) -> Row {
    let name = words::below(&report.volume.root, &tree.path);
    vec![
        Span::body(name).shorten(),
        Span::body(words::size(tree.bytes)).right(),
        Span::new(made_of_shared(tree), BODY),
    ]
    .into()
}

pub(in crate::report) fn made_of_shared(tree: &Used) -> String {
    if tree.shared_bytes > 0 {
        format!("+ {} shared", words::size(tree.shared_bytes))
    } else {
        String::new()
    }
}
