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
    page.table(2, &sums(report).iter().map(sum_row).collect::<Vec<_>>());
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

/// One kind of thing on the volume: how many there are, if that says anything, and what they take.
pub(in crate::report) struct Sum {
    pub(in crate::report) name: &'static str,
    pub(in crate::report) many: Option<u64>,
    pub(in crate::report) bytes: u64,
    pub(in crate::report) said: String,
}

/// Returns each kind of thing. They add up to all that stands on the volume.
pub(in crate::report) fn sums(report: &RunReport) -> Vec<Sum> {
    let inside = inside(report);
    let of = |kind: Part| -> Vec<&Used> {
        let is_one = |used: &&Used| used.what == kind;
        inside.iter().copied().filter(is_one).collect()
    };
    let [stores, checkouts, trees, caches] =
        [Part::Store, Part::Checkout, Part::Worktree, Part::Cache].map(of);
    let [state, others, shared] = [Part::State, Part::Other, Part::Shared].map(of);
    let (rescues, in_rescues) = rescues(report, &stores);
    let in_stores = bytes(&stores).saturating_sub(in_rescues);
    let [state_said, others_said] = [&state, &others].map(|parts| words::size(bytes(parts)));
    let sum = |name, many, bytes, said: String| Sum {
        name,
        many,
        bytes,
        said,
    };
    let many = |parts: &[&Used]| Some(parts.len() as u64);
    let in_repos = format!(
        "stores {}, checkouts {}",
        words::size(in_stores),
        words::size(bytes(&checkouts))
    );
    let rest = format!(
        "treewarden's own directory {state_said}, {} {others_said}",
        words::count(others.len() as u64, "other")
    );
    let repos = in_stores.saturating_add(bytes(&checkouts));
    let at_most = "at most, in the stores: git compresses them".to_owned();
    let once = "by hard links, each file counted once".to_owned();
    let everything_else = bytes(&state).saturating_add(bytes(&others));
    vec![
        sum("repos", many(&stores), repos, in_repos),
        sum("trees", many(&trees), bytes(&trees), String::new()),
        sum("caches", many(&caches), bytes(&caches), String::new()),
        sum("rescues", Some(rescues), in_rescues, at_most),
        sum("shared", None, bytes(&shared), once),
        sum("everything else", None, everything_else, rest),
    ]
}

fn sum_row(sum: &Sum) -> Row {
    vec![
        Span::body(sum.name),
        Span::body(sum.many.map_or(String::new(), words::number)).right(),
        Span::body(words::size(sum.bytes)).right(),
        Span::new(&sum.said, FAINT).wrap(),
    ]
    .into()
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
        all().map(|repo| repo.rescues.kept as u64).sum(),
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
    let mut message = Vec::new();
    for (name, parts) in [
        ("store".to_owned(), of(Part::Store)),
        ("checkout".to_owned(), of(Part::Checkout)),
    ]
    .into_iter()
    .chain([(words::count(trees.len() as u64, "tree"), trees)])
    {
        if !parts.is_empty() {
            message.push(format!("{name} {}", words::size(bytes(&parts))));
        }
    }
    let shared: u64 = parts.iter().map(|part| part.shared_bytes).sum();
    let shared =
        (shared > 0).then(|| format!("{} more in files with links elsewhere", words::size(shared)));
    [
        Some(message.join(", ")).filter(|message| !message.is_empty()),
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
