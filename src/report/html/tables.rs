//! The outcome of repos, trees and cache units, as tables: what needs attention first, then the
//! biggest. Each verdict has its reason, and rows that are left out are counted.

mod caches;
mod tidied;
mod trees;

use super::table::{Cell, Column, Heading, Room, Table};
use super::{left_out, tone};
use crate::report::text::repos as said;
use crate::report::totals::how_many;
use crate::report::{Repo, RepoOutcome, RunReport, words};
pub(super) use caches::caches;
pub(super) use tidied::{Tidied, tidied};
pub(super) use trees::{gone, kept};

/// Lists every repo: failed, refused and busy ones first, then in the config's order.
pub(super) fn repos(report: &RunReport, room: &mut Room) -> Option<Table> {
    let mut repos: Vec<&Repo> = report.repos.iter().collect();
    repos.sort_by_key(|repo| match repo.outcome {
        RepoOutcome::Failed => 0,
        RepoOutcome::Refused => 1,
        RepoOutcome::Busy => 2,
        RepoOutcome::Maintained | RepoOutcome::Planned => 3,
    });
    let shown = room.take(repos.len());
    let rows = repos[..shown]
        .iter()
        .map(|repo| repo_row(repo, report.run.dry_run))
        .collect();
    let columns = [
        Column::names("Repo"),
        Column::words("Outcome").filters(),
        Column::numbers("Time"),
        Column::words("Trees"),
        Column::reasons("What was done, or why not"),
    ];
    Table::new(
        Heading {
            id: "repos",
            many: repos.len(),
            title: "Repos",
            rows_are: "repos",
            said: said::summary(&report.repos),
        },
        &columns,
        rows,
        left_out(repos.len() - shown, ""),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds of a night, to sort by"
)]
fn repo_row(repo: &Repo, dry_run: bool) -> Vec<Cell> {
    let (outcome, style) = said::name(repo.outcome);
    let going = how_many(repo.worktrees.iter().filter(|tree| tree.goes()));
    vec![
        Cell::name(&repo.name),
        Cell::new(outcome).toned(tone(style)),
        Cell::number(words::took(repo.seconds), (repo.seconds * 1000.0) as u64),
        Cell {
            value: Some(going * 1_000_000 + repo.worktrees.len() as u64),
            ..Cell::new(said::trees(repo, dry_run))
        },
        Cell::why(why(repo, dry_run)),
    ]
}

/// Returns why a repo was refused or failed, if that is known; else the text's line about it.
fn why(repo: &Repo, dry_run: bool) -> String {
    let message = repo
        .reason
        .clone()
        .filter(|_| matches!(repo.outcome, RepoOutcome::Refused | RepoOutcome::Failed));
    message.unwrap_or_else(|| said::said(repo, dry_run))
}
