//! What fills the volume: repos, caches and the rest, biggest first, and the largest worktrees.
//!
//! Pure. It must never leave out a part without saying how much the rest is.

use crate::report::page::{BODY, FAINT, Page, Row, Span};
use crate::report::usage::{Part, Used};
use crate::report::{RunReport, words};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many rows each table has.
const NAMED: usize = 12;

/// The section; nothing where nobody looked.
pub(super) fn write(page: &mut Page, report: &RunReport) {
    if report.usage.is_empty() {
        return;
    }
    page.heading("What fills it:", Span::body(words::size(bytes(&report.usage.iter().collect::<Vec<_>>()))));
    let rows = groups(report);
    page.table(2, &rows.iter().take(NAMED).map(|(_, row)| row.clone()).collect::<Vec<_>>());
    rest(page, rows.len(), rows.iter().skip(NAMED).map(|(bytes, _)| bytes).sum());
    let trees: Vec<&Used> = report.usage.iter().filter(|used| used.what == Part::Worktree).collect();
    if trees.len() > 1 {
        page.line(2, &[Span::new("The largest worktrees:", FAINT)]);
        page.table(4, &trees.iter().take(NAMED).map(|tree| row(report, tree)).collect::<Vec<_>>());
        rest(page, trees.len(), trees.iter().skip(NAMED).map(|tree| tree.bytes).sum());
    }
}

fn bytes(parts: &[&Used]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

fn rest(page: &mut Page, rows: usize, bytes: u64) {
    if rows > NAMED {
        page.line(2, &[Span::new(format!("and {} more, {}", words::number((rows - NAMED) as u64), words::size(bytes)), FAINT)]);
    }
}

/// A repo with its trees is one row, a cache another, and so is each folder that belongs to neither.
fn groups(report: &RunReport) -> Vec<(u64, Row)> {
    let mut groups: BTreeMap<(bool, &str, Option<&Used>), Vec<&Used>> = BTreeMap::new();
    for used in &report.usage {
        let of_repo = matches!(used.what, Part::Store | Part::Checkout | Part::Worktree);
        let alone = if of_repo { None } else { Some(used) };
        groups.entry((of_repo, used.name.as_deref().unwrap_or_default(), alone)).or_default().push(used);
    }
    let mut rows: Vec<(u64, Row)> = groups.into_values().map(|parts| (bytes(&parts), group(report, &parts))).collect();
    rows.sort_by_key(|(bytes, _)| Reverse(*bytes));
    rows
}

fn group(report: &RunReport, parts: &[&Used]) -> Row {
    let first = parts[0];
    let (kind, name) = match first.what {
        Part::Store | Part::Checkout | Part::Worktree => ("repo", first.name.clone().unwrap_or_default()),
        Part::Cache => ("cache", first.name.clone().unwrap_or_default()),
        Part::State => ("state", words::below(&report.volume.root, &first.path)),
        Part::Other => ("other", words::below(&report.volume.root, &first.path)),
    };
    let size = words::size(bytes(parts));
    vec![Span::new(kind, FAINT), Span::body(name).shorten(), Span::body(size).right(), Span::new(made_of(parts), FAINT).wrap()].into()
}

/// `store 2 GiB, checkout 80 MiB, 12 trees 31 GiB; 4 GiB more in files that have links elsewhere, too`.
fn made_of(parts: &[&Used]) -> String {
    let of = |what: Part| parts.iter().filter(|part| part.what == what).copied().collect::<Vec<&Used>>();
    let trees = of(Part::Worktree);
    let mut told = Vec::new();
    for (name, parts) in [("store".to_owned(), of(Part::Store)), ("checkout".to_owned(), of(Part::Checkout))]
        .into_iter()
        .chain([(words::count(trees.len() as u64, "tree"), trees)])
    {
        if !parts.is_empty() {
            told.push(format!("{name} {}", words::size(bytes(&parts))));
        }
    }
    let shared: u64 = parts.iter().map(|part| part.shared_bytes).sum();
    let shared = (shared > 0).then(|| format!("{} more in files with links elsewhere", words::size(shared)));
    [Some(told.join(", ")).filter(|told| !told.is_empty()), shared].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn row(report: &RunReport, tree: &Used) -> Row {
    let name = words::below(&report.volume.root, &tree.path);
    vec![Span::body(name).shorten(), Span::body(words::size(tree.bytes)).right(), Span::new(made_of_shared(tree), BODY)].into()
}

fn made_of_shared(tree: &Used) -> String {
    if tree.shared_bytes > 0 { format!("+ {} shared", words::size(tree.shared_bytes)) } else { String::new() }
}
