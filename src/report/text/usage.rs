//! What fills the volume: the sums, which add up to all that stands there; then repos, caches and
//! the rest, biggest first, and the largest worktrees. What is left out is summed up.

use crate::report::page::{BODY, FAINT, Page, Row, Span};
use crate::report::usage::{Part, Used};
use crate::report::{Repo, RunReport, words};
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
    page.table(2, &sums(report));
    page.line(2, &[Span::new("The largest of them:", FAINT)]);
    let mut groups = groups(report);
    groups.retain(|parts| parts[0].what != Part::Shared);
    page.table(
        4,
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

/// Returns a row for each kind of thing, which add up to all that stands on the volume.
fn sums(report: &RunReport) -> Vec<Row> {
    let inside = inside(report);
    let of = |kinds: &[Part]| -> Vec<&Used> {
        let is_one = |used: &&Used| kinds.contains(&used.what);
        inside.iter().copied().filter(is_one).collect()
    };
    let sum = |kind: Part| bytes(&of(&[kind]));
    let rescues = rescues(report, &of(&[Part::Store]));
    let stores = sum(Part::Store).saturating_sub(rescues.1);
    let (state, others) = (sum(Part::State), of(&[Part::Other]));
    let in_stores = "at most, in the stores: git compresses them";
    let own = format!(
        "treewarden's own directory {}, {} {}",
        words::size(state),
        words::count(others.len() as u64, "other"),
        words::size(bytes(&others))
    );
    let repos = format!(
        "stores {}, checkouts {}",
        words::size(stores),
        words::size(sum(Part::Checkout))
    );
    let (trees, caches) = (of(&[Part::Worktree]), of(&[Part::Cache]));
    let stores = stores.saturating_add(sum(Part::Checkout));
    let many = |list: &[&Used]| Some(list.len() as u64);
    let rows = [
        ("repos", many(&of(&[Part::Store])), stores, repos.as_str()),
        ("trees", many(&trees), bytes(&trees), ""),
        ("caches", many(&caches), bytes(&caches), ""),
        ("rescues", Some(rescues.0), rescues.1, in_stores),
        (
            "shared",
            None,
            sum(Part::Shared),
            "by hard links, each file counted once",
        ),
        (
            "everything else",
            None,
            state.saturating_add(bytes(&others)),
            &own,
        ),
    ];
    rows.into_iter()
        .map(|(name, many, bytes, said)| {
            vec![
                Span::body(name),
                Span::body(many.map_or(String::new(), words::number)).right(),
                Span::body(words::size(bytes)).right(),
                Span::new(said, FAINT).wrap(),
            ]
            .into()
        })
        .collect()
}

/// Returns how many rescues stay, and what they take: never more than the store that has them.
fn rescues(report: &RunReport, stores: &[&Used]) -> (u64, u64) {
    let taken = |repo: &Repo| {
        let is_its = |store: &&&Used| store.name.as_ref() == Some(&repo.name);
        let store = stores.iter().find(is_its).map_or(0, |store| store.bytes);
        repo.rescues.kept_bytes.min(store)
    };
    let all = || report.repos.iter();
    (
        all().map(|repo| repo.rescues.kept).sum(),
        all().map(taken).sum(),
    )
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
            4,
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
        Part::Shared => ("shared", "hard links".to_owned()),
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
