//! The output of `treewarden worktree list`: the shape of its JSON, and its text. Agents choose
//! paths and branches, so these are escaped.

use super::words;
use super::{Class, VerdictName, Worktree};
use serde::Serialize;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.worktrees/1";

/// All worktrees of some repos.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// By repo, in the config's order; in each repo, the trees that would be removed, longest idle
    /// first, then the others by path.
    pub worktrees: Vec<Listed>,
    /// Repos whose worktrees could not be listed, and why.
    pub failures: Vec<String>,
}

/// A worktree, with its row of a run's report.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// `owner/name`.
    pub repo: String,
    /// The row.
    #[serde(flatten)]
    pub tree: Worktree,
}

/// Renders a line for each tree, in columns, then the failures.
pub fn text(listing: &Listing) -> String {
    let head = ["PATH", "REPO", "BRANCH", "CLASS", "VERDICT", "IDLE", "WHY"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(listing.worktrees.iter().map(row))
        .collect();
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
    text.extend(
        listing
            .failures
            .iter()
            .map(|failure| words::plain(failure) + "\n"),
    );
    text
}

fn row(Listed { repo, tree }: &Listed) -> [String; 7] {
    let class = tree.class.map_or("-", Class::name);
    let verdict = match tree.verdict {
        VerdictName::Keep => "keep",
        VerdictName::Reap => "reap",
        VerdictName::Unknown => "unknown",
    };
    let idle = tree.idle_seconds.map_or_else(|| "-".to_owned(), words::age);
    let branch = tree
        .branch
        .as_deref()
        .map_or_else(|| "-".to_owned(), words::plain);
    let path = words::plain(&tree.path.to_string_lossy());
    [
        path,
        words::plain(repo),
        branch,
        class.to_owned(),
        verdict.to_owned(),
        idle,
        words::plain(tree.because.as_str()),
    ]
}
