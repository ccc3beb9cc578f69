//! What fills the volume, as areas: repos and caches, and in them stores, checkouts, worktrees and
//! the units that go. Whatever is too small to be seen is left to its group.

use super::place;
use super::squares::{Rect, squares};
use crate::report::text::caches::evicted;
use crate::report::text::usage::{bytes, called, groups};
use crate::report::usage::{Part, Used};
use crate::report::{RunReport, Worktree, words};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;

/// Pixels: as wide as the page, so that squares look like squares there.
const PICTURE: Rect = Rect::of(1120.0, 460.0);
/// Pixels. A smaller tile has no words.
const WORDS: (f64, f64) = (58.0, 36.0);
/// Pixels. A tile with a smaller side or a smaller area isn't drawn: there are at most 2,500.
const SEEN: (f64, f64) = (3.0, 200.0);
/// The most tiles in a group.
const INNER: usize = 200;
/// Pixels. Above the tiles of a group is its name, if there is room.
const NAME: f64 = 20.0;

/// A tile, and its place in the tile that it is in, or in the picture.
pub(super) struct Tile {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    /// All that is known of it.
    pub(super) message: String,
    /// Its name and its size, if there is room.
    pub(super) words: Option<(String, String)>,
    pub(super) tiles: Vec<Tile>,
}

/// Something with a size.
struct Item {
    class: &'static str,
    name: String,
    message: String,
    bytes: u64,
    inner: Vec<Item>,
}

/// Returns the groups' tiles, the biggest first.
pub(super) fn treemap(report: &RunReport) -> Vec<Tile> {
    let reaped: HashSet<&Path> = report
        .worktrees()
        .filter(|tree| tree.goes())
        .map(|tree: &Worktree| tree.path.as_path())
        .collect();
    let of_volume = |parts: &Vec<&Used>| parts[0].path.starts_with(&report.volume.root);
    let groups = groups(report);
    let items = groups.iter().filter(|parts| of_volume(parts));
    let items = items.map(|parts| group(report, parts, &reaped)).collect();
    tiles(items, PICTURE, PICTURE)
}

fn group(report: &RunReport, parts: &[&Used], reaped: &HashSet<&Path>) -> Item {
    let (kind, name) = called(report, parts[0]);
    let is_cache = parts[0].what == Part::Cache;
    let inner = if is_cache {
        going(report, &name)
    } else if parts.len() > 1 {
        parts
            .iter()
            .map(|part| item(report, part, reaped))
            .collect()
    } else {
        Vec::new()
    };
    let bytes = bytes(parts);
    Item {
        class: if inner.is_empty() || is_cache {
            class(parts[0].what)
        } else {
            "repo"
        },
        message: format!("{kind} {name}: {}", words::size(bytes)),
        name,
        bytes,
        inner,
    }
}

fn class(what: Part) -> &'static str {
    match what {
        Part::Store => "store",
        Part::Checkout => "checkout",
        Part::Worktree => "trees",
        Part::Cache => "cache",
        Part::State | Part::Other | Part::Shared => "other",
    }
}

fn item(report: &RunReport, part: &Used, reaped: &HashSet<&Path>) -> Item {
    let (kind, name) = match part.what {
        Part::Store => ("git store", "git store".to_owned()),
        Part::Checkout => ("checkout", "checkout".to_owned()),
        _ => ("worktree", words::name(&part.path)),
    };
    let goes = reaped.contains(part.path.as_path());
    let what = if goes { "worktree that goes" } else { kind };
    Item {
        class: if goes { "trees goes" } else { class(part.what) },
        message: format!(
            "{what} {}: {}",
            words::below(&report.volume.root, &part.path),
            words::size(part.bytes)
        ),
        name,
        bytes: part.bytes,
        inner: output(part).into_iter().collect(),
    }
}

/// Returns what tools made in a tree.
fn output(part: &Used) -> Option<Item> {
    (part.output_bytes > 0).then(|| Item {
        class: "output",
        name: "build output".to_owned(),
        message: format!("build output: {}", words::size(part.output_bytes)),
        bytes: part.output_bytes,
        inner: Vec::new(),
    })
}

/// Returns the units of a cache that go.
fn going(report: &RunReport, cache: &str) -> Vec<Item> {
    let units = evicted(report).filter(|unit| unit.cache == cache);
    let item = |unit: &crate::report::Unit| Item {
        class: "cache goes",
        name: unit.unit.clone(),
        message: format!("unit that goes {}: {}", unit.unit, words::size(unit.bytes)),
        bytes: unit.bytes,
        inner: Vec::new(),
    };
    units.map(item).collect()
}

/// Lays out items in a part of a rectangle.
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn tiles(mut items: Vec<Item>, part: Rect, of: Rect) -> Vec<Tile> {
    items.retain(|item| item.bytes > 0);
    items.sort_by_key(|item| Reverse(item.bytes));
    let sizes: Vec<f64> = items.iter().map(|item| item.bytes as f64).collect();
    let rects = squares(&sizes, part);
    let seen =
        |rect: &Rect| rect.width.min(rect.height) >= SEEN.0 && rect.width * rect.height >= SEEN.1;
    let placed = items.into_iter().zip(rects).filter(|(_, rect)| seen(rect));
    placed.map(|(item, rect)| tile(item, rect, of)).collect()
}

fn tile(item: Item, rect: Rect, of: Rect) -> Tile {
    let has_words = rect.width >= WORDS.0 && rect.height >= WORDS.1;
    let size = words::size(item.bytes);
    Tile {
        class: item.class,
        x: place(rect.x / of.width),
        y: place(rect.y / of.height),
        width: place(rect.width / of.width),
        height: place(rect.height / of.height),
        message: item.message,
        words: has_words.then_some((item.name, size)),
        tiles: inner(item.inner, item.bytes, rect),
    }
}

/// Lays out a group's items below its name. If they are less than the group, so is their area.
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn inner(mut items: Vec<Item>, bytes: u64, of: Rect) -> Vec<Tile> {
    if of.width < WORDS.0 || of.height < WORDS.1 + NAME {
        return Vec::new();
    }
    items.sort_by_key(|item| Reverse(item.bytes));
    items.truncate(INNER);
    let all: u64 = items.iter().map(|item| item.bytes).sum();
    let height = (of.height - NAME) * (all as f64 / bytes.max(1) as f64).min(1.0);
    let part = Rect {
        y: of.height - height,
        ..Rect::of(of.width, height)
    };
    tiles(items, part, of)
}
