//! The output of `treewarden worktree list`: the shape of its JSON, and its text. Agents choose
//! paths and branches, so these are escaped.

use super::explain::goes;
use super::pressure::UnderPressure;
use super::words;
use super::{Class, ReasonName, VerdictName, Worktree};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.worktrees/1";

/// All worktrees of some repos.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The time of the survey.
    pub at: DateTime<Utc>,
    /// The repos whose worktrees were asked for.
    #[serde(skip)]
    pub repos: Vec<String>,
    /// By repo, in the config's order; in each repo, the trees that would be removed, longest idle
    /// first, then the others by path, in natural order.
    pub worktrees: Vec<Listed>,
    /// Repos whose worktrees could not be listed, and why.
    pub failures: Vec<String>,
}

/// A worktree, with its row of a run's report.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// `owner/name`.
    pub repo: String,
    /// What it and its registration take on the disk; none if it wasn't or couldn't be measured.
    pub size_bytes: Option<u64>,
    /// From when a run removes it for its age, if nothing happens in it until then; none if that is
    /// unknown, or never. A cap may take it earlier, which `explain` knows.
    pub goes_at: Option<DateTime<Utc>>,
    /// On which rung of the ladder it would go if the volume were too full, and its build output;
    /// empty if that is unknown.
    pub under_pressure: Vec<UnderPressure>,
    /// The row. Its class is known even if a run doesn't look so closely.
    #[serde(flatten)]
    pub tree: Worktree,
}

/// Renders a line for each tree, in columns, then the failures.
pub fn text(listing: &Listing) -> String {
    let head = ["PATH", "REPO", "BRANCH", "CLASS", "SIZE", "IDLE", "FATE"].map(str::to_owned);
    let rows = listing.worktrees.iter().map(|tree| row(tree, listing.at));
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| words::width(&row[column]))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in rows.iter().filter(|_| !listing.worktrees.is_empty()) {
        for (cell, width) in row.iter().zip(&widths) {
            text.extend([cell.as_str(), &" ".repeat(width - words::width(cell) + 2)]);
        }
        text.extend([&row[6], "\n"]);
    }
    text.extend(none(listing));
    text.extend(
        listing
            .failures
            .iter()
            .map(|failure| words::plain(failure) + "\n"),
    );
    text
}

/// Returns the line that says that there are no worktrees.
fn none(listing: &Listing) -> Option<String> {
    let whose = match &listing.repos[..] {
        [one] => words::plain(one),
        repos => words::count(repos.len() as u64, "repo"),
    };
    let is_empty = listing.worktrees.is_empty() && listing.failures.is_empty();
    is_empty
        .then(|| format!("{whose}: no worktrees; `treewarden worktree add REPO NAME` makes one\n"))
}

fn row(listed: &Listed, now: DateTime<Utc>) -> [String; 7] {
    let Listed { repo, tree, .. } = listed;
    let unknown = || "-".to_owned();
    let class = tree.class.map_or("-", Class::name);
    let idle = tree.idle_seconds.map_or_else(unknown, words::age);
    let branch = tree.branch.as_deref().map_or_else(unknown, words::plain);
    let path = words::plain(&tree.path.to_string_lossy());
    [
        path,
        words::plain(repo),
        branch,
        class.to_owned(),
        listed.size_bytes.map_or_else(unknown, words::size),
        idle,
        fate(listed, now),
    ]
}

/// Returns when a tree goes, or why it stays: `goes in 3 days`, `stays: locked`.
fn fate(Listed { tree, goes_at, .. }: &Listed, now: DateTime<Utc>) -> String {
    let why = words::plain(tree.because.as_str());
    match (goes_at, tree.verdict) {
        (_, VerdictName::Unknown) => "stays: unknown".to_owned(),
        (Some(at), _) if tree.because == ReasonName::Recent => {
            format!("goes {}", goes(*at, now))
        }
        (Some(at), _) => format!("goes {}: {why}", goes(*at, now)),
        (None, _) => format!("stays: {why}"),
    }
}
