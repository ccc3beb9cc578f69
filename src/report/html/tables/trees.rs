//! The trees that went, and those that stay.

use crate::report::html::ahead::sizes;
use crate::report::html::left_out;
use crate::report::html::table::{Cell, Column, Heading, Room, Table};
use crate::report::text::trees;
use crate::report::{Class, RunReport, TreeOutcome, VerdictName, Worktree, words};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

/// Later than any date, and still exact in a script.
const NEVER: u64 = 1 << 53;

/// Returns every tree with its repo's name.
fn all(report: &RunReport) -> impl Iterator<Item = (&str, &Worktree)> {
    report
        .repos
        .iter()
        .flat_map(|repo| repo.worktrees.iter().map(|tree| (repo.name.as_str(), tree)))
}

/// Lists the removed trees, the biggest first.
pub(in crate::report::html) fn gone(report: &RunReport, room: &mut Room) -> Option<Table> {
    let mut trees: Vec<_> = all(report).filter(|(_, tree)| tree.goes()).collect();
    trees.sort_by_key(|(_, tree)| Reverse(tree.bytes));
    let (shown, rest) = trees.split_at(room.take(trees.len()));
    let rows = shown
        .iter()
        .map(|(repo, tree)| gone_row(report, repo, tree))
        .collect();
    let columns = [
        Column::names("Tree"),
        Column::words("Repo").filters(),
        Column::words("Work").filters(),
        Column::words("Reason").filters(),
        Column::numbers("Idle"),
        Column::numbers("Freed"),
        Column::reasons("Why it could go"),
    ];
    let title = if report.run.dry_run {
        "Trees that would go"
    } else {
        "Trees that went"
    };
    let bytes = Some(report.totals.freed_by_reap)
        .filter(|bytes| *bytes > 0)
        .map_or(String::new(), |bytes| format!(", {}", words::size(bytes)));
    let held = words::size(rest.iter().filter_map(|(_, tree)| tree.bytes).sum());
    Table::new(
        Heading {
            id: "gone",
            many: trees.len(),
            title,
            rows_are: "trees",
            said: format!("{}{bytes}", words::number(trees.len() as u64)),
        },
        &columns,
        rows,
        left_out(rest.len(), &format!(", {held}")),
    )
}

fn gone_row(report: &RunReport, repo: &str, tree: &Worktree) -> Vec<Cell> {
    let rescue = tree
        .rescue_ref
        .as_ref()
        .map(|name| format!("rescued as {name}"));
    let planned = (tree.rescue_ref.is_none() && tree.rescued())
        .then(|| "its work would be rescued first".to_owned());
    vec![
        name(report, tree),
        Cell::new(repo),
        work(tree),
        Cell::new(tree.because.as_str()),
        idle(tree),
        size(tree.bytes),
        Cell::why(tree.reasons.join("; ")).noted(rescue.into_iter().chain(planned)),
    ]
}

/// Returns a tree's path, and below it its branch.
fn name(report: &RunReport, tree: &Worktree) -> Cell {
    let branch = tree.branch.clone().unwrap_or_else(|| "no branch".into());
    Cell::name(words::below(&report.volume.root, &tree.path)).noted([branch])
}

fn work(tree: &Worktree) -> Cell {
    let class = tree.class.map_or("", Class::name);
    Cell::new(match tree.kind {
        Some(_) => format!("{class} clone"),
        None => class.to_owned(),
    })
}

fn size(bytes: Option<u64>) -> Cell {
    Cell::number(bytes.map_or(String::new(), words::size), bytes.unwrap_or(0))
}

fn idle(tree: &Worktree) -> Cell {
    Cell::number(
        tree.idle_seconds.map_or(String::new(), words::age),
        tree.idle_seconds.unwrap_or(0),
    )
}

/// Lists the trees and unregistered directories that stay: failed ones, unknown ones, those that
/// can't go by themselves, the longest idle first, then those that may go soonest.
pub(in crate::report::html) fn kept(report: &RunReport, room: &mut Room) -> Option<Table> {
    let mut trees: Vec<_> = all(report).filter(|(_, tree)| !tree.goes()).collect();
    trees.sort_by_key(|(_, tree)| (rank(tree), tree.goes_at, Reverse(tree.idle_seconds)));
    let shown = room.take(trees.len());
    let stay = Stay::of(report);
    let rows = trees[..shown]
        .iter()
        .map(|(repo, tree)| stay.row(repo, tree))
        .collect();
    let columns = [
        Column::names("Tree"),
        Column::words("Repo").filters(),
        Column::words("Work").filters(),
        Column::words("It is").filters(),
        Column::numbers("Size"),
        Column::numbers("Idle"),
        Column::numbers("Goes in").rises(),
        Column::reasons("Why it stays"),
    ];
    let table = Table::new(
        Heading {
            id: "kept",
            many: trees.len(),
            title: "Trees that stay",
            rows_are: "trees",
            said: words::number(trees.len() as u64),
        },
        &columns,
        rows,
        left_out(trees.len() - shown, ""),
    )?;
    let groups = trees::groups(report)
        .into_iter()
        .map(|(because, trees)| (because.to_owned(), words::number(trees.len() as u64)));
    Some(Table {
        groups: groups.collect(),
        ..table
    })
}

fn rank(tree: &Worktree) -> u8 {
    match (&tree.outcome, tree.verdict) {
        (TreeOutcome::Failed(_), _) => 0,
        (_, VerdictName::Unknown) => 1,
        _ => 2,
    }
}

/// What the rows of trees that stay are made from.
struct Stay<'a> {
    report: &'a RunReport,
    now: DateTime<Utc>,
    sizes: HashMap<&'a Path, u64>,
    /// Whether it is known of any tree when it goes.
    dated: bool,
}

impl<'a> Stay<'a> {
    fn of(report: &'a RunReport) -> Self {
        Self {
            report,
            now: report.run.as_of.unwrap_or(report.run.started),
            sizes: sizes(report),
            dated: report.worktrees().any(|tree| tree.goes_at.is_some()),
        }
    }

    fn row(&self, repo: &str, tree: &Worktree) -> Vec<Cell> {
        let (is, why) = is_and_why(tree);
        vec![
            name(self.report, tree),
            Cell::new(repo),
            work(tree),
            is,
            size(self.sizes.get(tree.path.as_path()).copied()),
            idle(tree),
            self.goes_in(tree),
            why,
        ]
    }

    /// `3 days`; `3 days or more` if that depends on what is in the tree.
    fn goes_in(&self, tree: &Worktree) -> Cell {
        let Some(at) = tree.goes_at else {
            let stays = if self.dated { "stays" } else { "" };
            return Cell::number(stays, NEVER);
        };
        let seconds = u64::try_from((at - self.now).num_seconds()).unwrap_or(0);
        let or_more = tree.class.is_none().then(|| "or more".to_owned());
        Cell::number(words::age(seconds), seconds).noted(or_more)
    }
}

fn is_and_why(tree: &Worktree) -> (Cell, Cell) {
    match (&tree.outcome, tree.verdict) {
        (TreeOutcome::Failed(why), _) => {
            let message = format!("{}: {}", trees::failed(tree), tree.reasons.join("; "));
            let new = Some(why).filter(|why| !tree.reasons.contains(why));
            let message = Cell::why(message).noted(new.cloned());
            (Cell::new("failed").toned("bad"), message)
        }
        (_, VerdictName::Unknown) => (
            Cell::new("unknown").toned("note"),
            Cell::why(tree.reasons.join("; ")),
        ),
        _ => (
            Cell::new(tree.because.as_str()),
            Cell::why(tree.reasons.join("; ")),
        ),
    }
}
