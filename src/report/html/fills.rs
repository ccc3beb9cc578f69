//! What fills the volume, as bars: repos with their trees, caches and the rest, biggest first; then the largest worktrees.
//!
//! Pure. It must never leave out a part without saying how much the rest is.

use super::place;
use crate::report::usage::{Part, Used};
use crate::report::{RunReport, words};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many bars there are of each kind.
const NAMED: usize = 20;

/// The bars.
pub(super) struct Fills {
    pub(super) total: String,
    pub(super) bars: Vec<Fill>,
    pub(super) more: Option<String>,
    pub(super) trees: Vec<Fill>,
    pub(super) more_trees: Option<String>,
}

/// One bar, in pieces.
pub(super) struct Fill {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) size: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) said: String,
}

/// A piece of a bar: what it is, where it begins, how wide it is.
pub(super) struct Piece {
    pub(super) class: &'static str,
    pub(super) at: String,
    pub(super) width: String,
}

impl Fills {
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        if report.usage.is_empty() {
            return None;
        }
        let groups = groups(report);
        let longest = groups.first().map_or(0, |parts| bytes(parts));
        let mut trees: Vec<Vec<&Used>> = report.usage.iter().filter(|used| used.what == Part::Worktree).map(|used| vec![used]).collect();
        trees.sort_by_key(|tree| Reverse(bytes(tree)));
        Some(Self {
            total: words::size(report.usage.iter().map(|used| used.bytes).sum()),
            bars: groups.iter().take(NAMED).map(|parts| fill(report, parts, longest)).collect(),
            more: more(&groups),
            trees: trees.iter().take(NAMED).map(|tree| tree_fill(report, tree, longest_of(&trees))).collect(),
            more_trees: more(&trees),
        })
    }
}

fn bytes(parts: &[&Used]) -> u64 {
    parts.iter().map(|part| part.bytes).sum()
}

fn longest_of(groups: &[Vec<&Used>]) -> u64 {
    groups.first().map_or(0, |parts| bytes(parts))
}

fn more(groups: &[Vec<&Used>]) -> Option<String> {
    let rest = groups.get(NAMED..).filter(|rest| !rest.is_empty())?;
    Some(format!("and {} more, {}", words::number(rest.len() as u64), words::size(rest.iter().map(|parts| bytes(parts)).sum())))
}

/// A repo with its trees is one bar, a cache another, and so is each folder that belongs to neither; the biggest first.
fn groups(report: &RunReport) -> Vec<Vec<&Used>> {
    let mut groups: BTreeMap<(bool, &str, Option<&std::path::Path>), Vec<&Used>> = BTreeMap::new();
    for used in &report.usage {
        let of_repo = matches!(used.what, Part::Store | Part::Checkout | Part::Worktree);
        let alone = (!of_repo).then_some(used.path.as_path());
        groups.entry((of_repo, used.name.as_deref().unwrap_or_default(), alone)).or_default().push(used);
    }
    let mut groups: Vec<Vec<&Used>> = groups.into_values().collect();
    groups.sort_by_key(|parts| Reverse(bytes(parts)));
    groups
}

fn fill(report: &RunReport, parts: &[&Used], longest: u64) -> Fill {
    let first = parts[0];
    let path = || words::below(&report.volume.root, &first.path);
    let (kind, name) = match first.what {
        Part::Store | Part::Checkout | Part::Worktree => ("repo", first.name.clone().unwrap_or_else(path)),
        Part::Cache => ("cache", first.name.clone().unwrap_or_else(path)),
        Part::State => ("state", path()),
        Part::Other => ("other", path()),
    };
    Fill { kind, name, size: words::size(bytes(parts)), pieces: pieces(parts, longest), said: made_of(parts) }
}

fn tree_fill(report: &RunReport, parts: &[&Used], longest: u64) -> Fill {
    let name = words::below(&report.volume.root, &parts[0].path);
    Fill { kind: "tree", name, size: words::size(bytes(parts)), pieces: pieces(parts, longest), said: shared(parts).unwrap_or_default() }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn pieces(parts: &[&Used], longest: u64) -> Vec<Piece> {
    let share = |bytes: u64| bytes as f64 / longest.max(1) as f64;
    let mut at = 0;
    let mut pieces = Vec::new();
    for (what, class) in [
        (Part::Worktree, "trees"),
        (Part::Checkout, "checkout"),
        (Part::Store, "store"),
        (Part::Cache, "cache"),
        (Part::State, "state"),
        (Part::Other, "other"),
    ] {
        let bytes: u64 = parts.iter().filter(|part| part.what == what).map(|part| part.bytes).sum();
        if bytes > 0 {
            pieces.push(Piece { class, at: place(share(at)), width: place(share(bytes)) });
            at += bytes;
        }
    }
    pieces
}

/// `store 2 GiB, checkout 80 MiB, 12 trees 31 GiB; 4 GiB more in files with links elsewhere`.
fn made_of(parts: &[&Used]) -> String {
    let of = |what: Part| parts.iter().filter(|part| part.what == what).copied().collect::<Vec<&Used>>();
    let trees = of(Part::Worktree);
    let named = [
        (words::count(trees.len() as u64, "tree"), trees),
        ("checkout".to_owned(), of(Part::Checkout)),
        ("store".to_owned(), of(Part::Store)),
    ];
    let told: Vec<String> =
        named.iter().filter(|(_, parts)| !parts.is_empty()).map(|(name, parts)| format!("{name} {}", words::size(bytes(parts)))).collect();
    let told = Some(told.join(", ")).filter(|told| !told.is_empty());
    told.into_iter().chain(shared(parts)).collect::<Vec<_>>().join("; ")
}

fn shared(parts: &[&Used]) -> Option<String> {
    let shared: u64 = parts.iter().map(|part| part.shared_bytes).sum();
    (shared > 0).then(|| format!("{} more in files with links elsewhere", words::size(shared)))
}
