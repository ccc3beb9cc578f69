//! What fills the volume, as bars: repos with their trees, caches and the rest, biggest first; then
//! the largest worktrees. What is left out is summed up.

use super::place;
use super::treemap::{Tile, treemap};
use crate::report::text::usage::{
    Sum, bytes, called, groups, inside, made_of, made_of_shared, sums,
};
use crate::report::usage::{Part, Used};
use crate::report::{RunReport, words};

/// The most groups that the picture's words name.
const SAID: usize = 5;
/// The most bars of each kind.
const NAMED: usize = 20;

/// The bars.
pub(super) struct Fills {
    pub(super) total: String,
    /// The picture, and what it shows, for those who don't see it.
    pub(super) tiles: Vec<Tile>,
    pub(super) said: String,
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
        let (groups, trees) = (groups(report), trees(report));
        let longest = |groups: &[Vec<&Used>]| groups.first().map_or(0, |parts| bytes(parts));
        let (longest, longest_tree) = (longest(&groups), longest(&trees));
        Some(Self {
            total: total(report),
            tiles: treemap(report),
            said: said(report, &groups),
            bars: groups
                .iter()
                .take(NAMED)
                .map(|parts| fill(report, parts, longest))
                .collect(),
            more: more(&groups),
            trees: trees
                .iter()
                .take(NAMED)
                .map(|tree| tree_fill(report, tree[0], longest_tree))
                .collect(),
            more_trees: more(&trees),
        })
    }
}

/// Names the largest groups: `cache npm 41 GiB, repo acme/shop 26 GiB`.
fn said(report: &RunReport, groups: &[Vec<&Used>]) -> String {
    let message = |parts: &Vec<&Used>| {
        let (kind, name) = called(report, parts[0]);
        format!("{kind} {name} {}", words::size(bytes(parts)))
    };
    let all: Vec<String> = groups.iter().map(message).collect();
    words::few(&all, SAID)
}

/// Returns what stands on the volume, and the sums that add up to it.
fn total(report: &RunReport) -> String {
    let said = |sum: &Sum| {
        let many = sum
            .many
            .map_or(String::new(), |many| format!("{} ", words::number(many)));
        let more = Some(&sum.said).filter(|said| !said.is_empty());
        let more = more.map_or(String::new(), |said| format!(" ({said})"));
        format!("{many}{} {}{more}", sum.name, words::size(sum.bytes))
    };
    let sums: Vec<String> = sums(report).iter().map(said).collect();
    let all = words::size(bytes(&inside(report)));
    format!("{all}: {}", sums.join(", "))
}

/// Returns each tree as a group of its own, biggest first.
fn trees(report: &RunReport) -> Vec<Vec<&Used>> {
    report
        .usage
        .iter()
        .filter(|used| used.what == Part::Worktree)
        .map(|used| vec![used])
        .collect()
}

fn more(groups: &[Vec<&Used>]) -> Option<String> {
    let rest = groups.get(NAMED..).filter(|rest| !rest.is_empty())?;
    Some(format!(
        "and {} more, {}",
        words::number(rest.len() as u64),
        words::size(rest.iter().map(|parts| bytes(parts)).sum())
    ))
}

fn fill(report: &RunReport, parts: &[&Used], longest: u64) -> Fill {
    let (kind, name) = called(report, parts[0]);
    Fill {
        kind,
        name,
        size: words::size(bytes(parts)),
        pieces: pieces(parts, longest),
        said: made_of(parts),
    }
}

fn tree_fill(report: &RunReport, tree: &Used, longest: u64) -> Fill {
    let name = words::below(&report.volume.root, &tree.path);
    Fill {
        kind: "tree",
        name,
        size: words::size(tree.bytes),
        pieces: pieces(&[tree], longest),
        said: made_of_shared(tree),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn pieces(parts: &[&Used], longest: u64) -> Vec<Piece> {
    let share = |bytes: u64| bytes as f64 / longest.max(1) as f64;
    let mut at = 0;
    let mut pieces = Vec::new();
    for (what, class) in [
        (Part::Store, "store"),
        (Part::Checkout, "checkout"),
        (Part::Worktree, "trees"),
        (Part::Cache, "cache"),
        (Part::State, "state"),
        (Part::Other, "other"),
    ] {
        let bytes: u64 = parts
            .iter()
            .filter(|part| part.what == what)
            .map(|part| part.bytes)
            .sum();
        if bytes > 0 {
            pieces.push(Piece {
                class,
                at: place(share(at)),
                width: place(share(bytes)),
            });
            at += bytes;
        }
    }
    pieces
}
