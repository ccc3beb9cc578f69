//! The trees that went and those that stay, each with its reason.

use crate::report::page::{BAD, BODY, FAINT, NOTE, Page, Row, STRONG, Span};
use crate::report::totals::how_many;
use crate::report::{Class, RunReport, TreeKind, TreeOutcome, VerdictName, Worktree, words};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most trees of a group that are named.
const NAMED: usize = 5;

/// Writes the removed trees, each with its reason and the ref of its rescue.
pub(super) fn gone(page: &mut Page, report: &RunReport) {
    let rows: Vec<Row> = report
        .worktrees()
        .filter(|tree| tree.goes())
        .map(|tree| gone_row(report, tree))
        .collect();
    if rows.is_empty() {
        return;
    }
    let title = if report.run.dry_run {
        "Trees that would go:"
    } else {
        "Trees that went:"
    };
    let bytes = match report.totals.freed_by_reap {
        0 => String::new(),
        bytes => format!(" ({})", words::size(bytes)),
    };
    page.heading(
        title,
        Span::body(format!("{}{bytes}", words::number(rows.len() as u64))),
    );
    page.table(2, &rows);
}

fn gone_row(report: &RunReport, tree: &Worktree) -> Row {
    let branch = tree
        .branch
        .as_deref()
        .map_or(Span::new("no branch", FAINT), Span::body);
    let cells = vec![
        Span::new(words::below(&report.volume.root, &tree.path), STRONG).shorten(),
        branch.shorten(),
        Span::body(match (tree.class.map_or("", Class::name), tree.kind) {
            (class, Some(TreeKind::Clone)) => format!("{class} clone"),
            (class, None) => class.to_owned(),
        }),
        Span::body(tree.idle_seconds.map_or(String::new(), |seconds| {
            format!("idle {}", words::age(seconds))
        })),
        Span::body(tree.bytes.map_or(String::new(), words::size)).right(),
    ];
    let rescue = tree
        .rescue_ref
        .as_ref()
        .map(|name| Span::body(format!("rescued as {name}")));
    let planned = (tree.rescue_ref.is_none() && tree.rescued())
        .then(|| Span::body("its work would be rescued first"));
    let notes = [
        Some(Span::new(tree.reasons.join("; "), FAINT)),
        rescue,
        planned,
    ];
    Row {
        cells,
        notes: notes.into_iter().flatten().collect(),
    }
}

/// Writes the trees and unregistered directories that stay: unknown and failed ones one by one, the
/// rest by reason. Each one that needs a person is named, and why; what is in order is a number and
/// a few names.
pub(super) fn kept(page: &mut Page, report: &RunReport) {
    let unknown = report
        .worktrees()
        .filter(|tree| tree.verdict == VerdictName::Unknown && is_kept(tree));
    let failed = report
        .worktrees()
        .filter(|tree| matches!(tree.outcome, TreeOutcome::Failed(_)));
    let mut rows: Vec<Row> = unknown.map(|tree| unknown_row(report, tree)).collect();
    rows.extend(failed.map(|tree| failed_row(report, tree)));
    for (because, trees) in groups(report) {
        if trees[0].because.is_in_order() {
            rows.push(group_row(report, because, &trees));
        } else {
            rows.extend(waiting_rows(report, because, &trees));
        }
    }
    if !rows.is_empty() {
        let many = how_many(report.worktrees().filter(|tree| !tree.goes()));
        page.heading("Trees that stay:", Span::body(words::number(many)));
        page.table(2, &rows);
    }
}

/// Writes only the trees that wait for a person, and why.
pub(super) fn waiting(page: &mut Page, report: &RunReport) {
    let groups = groups(report);
    let waiting = groups.iter().filter(|(_, it)| !it[0].because.is_in_order());
    let rows: Vec<Row> = waiting
        .flat_map(|(because, trees)| waiting_rows(report, because, trees))
        .collect();
    page.table(2, &rows);
}

fn is_kept(tree: &Worktree) -> bool {
    tree.outcome == TreeOutcome::Kept
}

/// Groups the trees that were decided to stay by their decisive reason, the largest group first.
pub(in crate::report) fn groups(report: &RunReport) -> Vec<(&str, Vec<&Worktree>)> {
    let mut by_reason: BTreeMap<&str, Vec<&Worktree>> = BTreeMap::new();
    for tree in report
        .worktrees()
        .filter(|tree| is_kept(tree) && tree.verdict != VerdictName::Unknown)
    {
        by_reason
            .entry(tree.because.as_str())
            .or_default()
            .push(tree);
    }
    let mut groups: Vec<_> = by_reason.into_iter().collect();
    groups.sort_by_key(|(_, trees)| std::cmp::Reverse(trees.len()));
    groups
}

fn unknown_row(report: &RunReport, tree: &Worktree) -> Row {
    let why = format!(
        "{}: see below",
        words::below(&report.volume.root, &tree.path)
    );
    vec![
        Span::new("unknown", NOTE),
        Span::body("1").right(),
        Span::new(why, BODY).wrap(),
    ]
    .into()
}

/// Says what failed about a tree: nothing was decided about one that could not be read.
pub(in crate::report) fn failed(tree: &Worktree) -> String {
    if tree.verdict == VerdictName::Unknown {
        "could not be read".to_owned()
    } else {
        format!("should have gone ({})", tree.because)
    }
}

fn failed_row(report: &RunReport, tree: &Worktree) -> Row {
    let why = format!(
        "{}: {}, see below",
        words::below(&report.volume.root, &tree.path),
        failed(tree)
    );
    vec![
        Span::new("failed", BAD),
        Span::body("1").right(),
        Span::new(why, BODY).wrap(),
    ]
    .into()
}

fn group_row(report: &RunReport, because: &str, trees: &[&Worktree]) -> Row {
    let said = match trees {
        [one] => format!(
            "{}: {}",
            words::below(&report.volume.root, &one.path),
            one.reasons.join("; ")
        ),
        many => words::few(&names(report, many), NAMED),
    };
    vec![
        Span::body(because),
        Span::body(words::number(trees.len() as u64)).right(),
        Span::new(said, FAINT).wrap(),
    ]
    .into()
}

/// Returns a row for each cause, with all trees that wait for a person because of it. Only the first
/// row has the group's name and number.
fn waiting_rows(report: &RunReport, because: &str, trees: &[&Worktree]) -> Vec<Row> {
    let mut causes: Vec<(String, Vec<String>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for tree in trees {
        let why = tree.reasons.join("; ");
        let name = words::below(&report.volume.root, &tree.path);
        let place = *places.entry(why.clone()).or_insert(causes.len());
        if place == causes.len() {
            causes.push((why, Vec::new()));
        }
        causes[place].1.push(name);
    }
    let row = |(number, (why, names)): (usize, (String, Vec<String>))| {
        let (because, many) = match number {
            0 => (because, words::number(trees.len() as u64)),
            _ => ("", String::new()),
        };
        vec![
            Span::body(because),
            Span::body(many).right(),
            Span::body(format!("{}: {why}", words::and(&names))).wrap(),
        ]
        .into()
    };
    causes.into_iter().enumerate().map(row).collect()
}

/// Returns the trees' last names, or their paths if two of them have the same name.
fn names(report: &RunReport, trees: &[&Worktree]) -> Vec<String> {
    let short: Vec<String> = trees.iter().map(|tree| words::name(&tree.path)).collect();
    if short.iter().collect::<BTreeSet<_>>().len() == short.len() {
        return short;
    }
    trees
        .iter()
        .map(|tree| words::below(&report.volume.root, &tree.path))
        .collect()
}
