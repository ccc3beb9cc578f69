//! The outcome of repos, trees and cache units, as tables: what needs attention first, then the
//! biggest. Each verdict has its reason, and rows that are left out are counted.

use super::table::{Cell, Heading, Table};
use super::{Caches, SHOWN, more, tone};
use crate::report::text::{caches, expired_name, repos as said, trees};
use crate::report::totals::how_many;
use crate::report::troubles::{in_use, missing};
use crate::report::{
    Class, Repo, RepoOutcome, RunReport, Rung, TreeOutcome, Unit, UnitOutcome, VerdictName,
    Worktree, words,
};
use std::cmp::Reverse;

/// What was removed besides trees, in all repos.
pub(super) struct Tidied {
    pub(super) title: String,
    pub(super) count: String,
    pub(super) rows: Vec<(String, Vec<String>)>,
    pub(super) more: Option<String>,
}

/// Lists every repo: failed, refused and busy ones first, then in the config's order.
pub(super) fn repos(report: &RunReport) -> Option<Table> {
    let mut repos: Vec<&Repo> = report.repos.iter().collect();
    repos.sort_by_key(|repo| match repo.outcome {
        RepoOutcome::Failed => 0,
        RepoOutcome::Refused => 1,
        RepoOutcome::Busy => 2,
        RepoOutcome::Maintained | RepoOutcome::Planned => 3,
    });
    let rows = repos
        .iter()
        .take(SHOWN)
        .map(|repo| repo_row(repo, report.run.dry_run))
        .collect();
    let columns = [
        ("Repo", "name"),
        ("Outcome", ""),
        ("Time", "n"),
        ("Trees", ""),
        ("What was done, or why not", "why"),
    ];
    Table::new(
        Heading {
            id: "repos",
            title: "Repos",
            rows_are: "repos",
            said: said::summary(&report.repos),
        },
        &columns,
        rows,
        more(repos.len(), ""),
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
    let told = repo
        .reason
        .clone()
        .filter(|_| matches!(repo.outcome, RepoOutcome::Refused | RepoOutcome::Failed));
    told.unwrap_or_else(|| said::said(repo, dry_run))
}

/// Returns every tree with its repo's name.
fn all(report: &RunReport) -> impl Iterator<Item = (&str, &Worktree)> {
    report
        .repos
        .iter()
        .flat_map(|repo| repo.worktrees.iter().map(|tree| (repo.name.as_str(), tree)))
}

/// Lists the removed trees, the biggest first.
pub(super) fn gone(report: &RunReport) -> Option<Table> {
    let mut trees: Vec<_> = all(report).filter(|(_, tree)| tree.goes()).collect();
    trees.sort_by_key(|(_, tree)| Reverse(tree.bytes));
    let rows = trees
        .iter()
        .take(SHOWN)
        .map(|(repo, tree)| gone_row(report, repo, tree))
        .collect();
    let columns = [
        ("Tree", "name"),
        ("Repo", ""),
        ("Branch", "name"),
        ("Work", ""),
        ("Idle", "n"),
        ("Freed", "n"),
        ("Why it could go", "why"),
    ];
    let title = if report.run.dry_run {
        "Trees that would go"
    } else {
        "Trees that went"
    };
    let bytes = Some(report.totals.freed_by_reap)
        .filter(|bytes| *bytes > 0)
        .map_or(String::new(), |bytes| format!(", {}", words::size(bytes)));
    let rest = format!(
        ", {}",
        words::size(
            trees
                .iter()
                .skip(SHOWN)
                .filter_map(|(_, tree)| tree.bytes)
                .sum()
        )
    );
    let told = format!("{}{bytes}", words::number(trees.len() as u64));
    Table::new(
        Heading {
            id: "gone",
            title,
            rows_are: "trees",
            said: told,
        },
        &columns,
        rows,
        more(trees.len(), &rest),
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
        Cell::name(words::below(&report.volume.root, &tree.path)),
        Cell::new(repo),
        branch(tree),
        Cell::new(tree.class.map_or("", Class::name)),
        idle(tree),
        Cell::number(
            tree.bytes.map_or(String::new(), words::size),
            tree.bytes.unwrap_or(0),
        ),
        Cell::why(tree.reasons.join("; ")).noted(rescue.into_iter().chain(planned)),
    ]
}

fn branch(tree: &Worktree) -> Cell {
    tree.branch
        .as_ref()
        .map_or_else(|| Cell::new("no branch"), Cell::name)
}

fn idle(tree: &Worktree) -> Cell {
    Cell::number(
        tree.idle_seconds.map_or(String::new(), words::age),
        tree.idle_seconds.unwrap_or(0),
    )
}

/// Lists the trees and unregistered directories that stay: failed ones, unknown ones, then the
/// longest idle.
pub(super) fn kept(report: &RunReport) -> Option<Table> {
    let mut trees: Vec<_> = all(report).filter(|(_, tree)| !tree.goes()).collect();
    trees.sort_by_key(|(_, tree)| (rank(tree), Reverse(tree.idle_seconds)));
    let rows = trees
        .iter()
        .take(SHOWN)
        .map(|(repo, tree)| kept_row(report, repo, tree))
        .collect();
    let columns = [
        ("Tree", "name"),
        ("Repo", ""),
        ("Branch", "name"),
        ("It is", ""),
        ("Idle", "n"),
        ("Why it stays", "why"),
    ];
    let told = words::number(trees.len() as u64);
    let table = Table::new(
        Heading {
            id: "kept",
            title: "Trees that stay",
            rows_are: "trees",
            said: told,
        },
        &columns,
        rows,
        more(trees.len(), ""),
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

fn kept_row(report: &RunReport, repo: &str, tree: &Worktree) -> Vec<Cell> {
    let (is, why) = match (&tree.outcome, tree.verdict) {
        (TreeOutcome::Failed(why), _) => {
            let told = format!("{}: {}", trees::failed(tree), tree.reasons.join("; "));
            let new = Some(why).filter(|why| !tree.reasons.contains(why));
            let told = Cell::why(told).noted(new.cloned());
            (Cell::new("failed").toned("bad"), told)
        }
        (_, VerdictName::Unknown) => (
            Cell::new("unknown").toned("note"),
            Cell::why(tree.reasons.join("; ")),
        ),
        _ => (
            Cell::new(tree.because.as_str()),
            Cell::why(tree.reasons.join("; ")),
        ),
    };
    vec![
        Cell::name(words::below(&report.volume.root, &tree.path)),
        Cell::new(repo),
        branch(tree),
        is,
        idle(tree),
        why,
    ]
}

/// Lists dropped registrations, leftovers of a crashed git, and expired rescues.
pub(super) fn tidied(report: &RunReport) -> Vec<Tidied> {
    let would = if report.run.dry_run { "to be " } else { "" };
    let below = |path: &std::path::PathBuf| words::below(&report.volume.root, path);
    let held: u64 = report
        .repos
        .iter()
        .flat_map(|repo| &repo.rescues.expired)
        .map(|rescue| rescue.bytes)
        .sum();
    let lists = [
        tidy(
            report,
            format!("Registrations {would}dropped, their trees were gone already"),
            String::new(),
            |repo| repo.prune.dropped.iter().map(below).collect(),
        ),
        tidy(
            report,
            format!("Stale git files {would}removed"),
            String::new(),
            |repo| repo.gc.stale_locks.iter().map(below).collect(),
        ),
        tidy(
            report,
            format!("Old rescues {would}dropped"),
            format!(" (of {})", words::size(held)),
            |repo| repo.rescues.expired.iter().map(expired_name).collect(),
        ),
    ];
    lists.into_iter().flatten().collect()
}

fn tidy(
    report: &RunReport,
    title: String,
    of: String,
    names: impl Fn(&Repo) -> Vec<String>,
) -> Option<Tidied> {
    let all: Vec<(String, Vec<String>)> = report
        .repos
        .iter()
        .map(|repo| (repo.name.clone(), names(repo)))
        .collect();
    let all: Vec<_> = all
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .collect();
    let many: usize = all.iter().map(|(_, names)| names.len()).sum();
    let mut room = SHOWN;
    let mut rows = Vec::new();
    for (repo, mut names) in all {
        names.truncate(room);
        room -= names.len();
        rows.extend((!names.is_empty()).then_some((repo, names)));
    }
    let count = format!("{}{of}", words::number(many as u64));
    (many > 0).then(|| Tidied {
        title,
        count,
        rows,
        more: super::more(many, ""),
    })
}

/// Describes the eviction: why or why not, how much, from where, and what prevented more.
pub(super) fn caches(report: &RunReport) -> Caches {
    let eviction = &report.eviction;
    let said = match (eviction.triggered, eviction.reason.as_str()) {
        (true, _) => caches::balance(report),
        (false, "") => String::new(),
        (false, why) => format!("untouched, {why}"),
    };
    let short = missing(eviction).map(|missing| format!("Short by {missing}"));
    let in_use = in_use(eviction).map(|told| format!("In use: {told}"));
    Caches {
        said,
        why: if eviction.triggered {
            eviction.reason.clone()
        } else {
            String::new()
        },
        warnings: short.into_iter().chain(in_use).collect(),
        by_cache: by_cache(report),
        ladder: ladder(report),
        units: units(report),
        stays: eviction.in_the_way(),
    }
}

fn by_cache(report: &RunReport) -> Option<Table> {
    let all = caches::by_cache(report);
    let row = |(cache, units): &(&str, Vec<&Unit>)| {
        let (many, bytes) = (units.len() as u64, caches::bytes(units));
        let verb = format!(
            "{}, {}",
            caches::used(report, units),
            caches::known_by(units)
        );
        vec![
            Cell::name(*cache),
            Cell::number(words::number(many), many),
            Cell::number(words::size(bytes), bytes),
            Cell::why(verb),
        ]
    };
    let rows = all.iter().take(SHOWN).map(row).collect();
    let columns = [
        ("Cache", "name"),
        ("Units", "n"),
        ("Size", "n"),
        ("Last used", "why"),
    ];
    Table::new(
        Heading {
            id: "by-cache",
            title: "By cache",
            rows_are: "caches",
            said: String::new(),
        },
        &columns,
        rows,
        more(all.len(), ""),
    )
}

/// Lists what each rung freed, if caches alone could not make room.
fn ladder(report: &RunReport) -> Option<Table> {
    let row = |rung: &Rung| {
        vec![
            Cell::name(rung.rung.told()),
            Cell::number(words::size(rung.freed_bytes), rung.freed_bytes),
            Cell::number(words::number(rung.freed_inodes), rung.freed_inodes),
        ]
    };
    let rows: Vec<_> = report.eviction.ladder().iter().map(row).collect();
    let columns = [("Step", "name"), ("Size", "n"), ("Inodes", "n")];
    let heading = Heading {
        id: "ladder",
        title: "Step by step",
        rows_are: "steps",
        said: String::new(),
    };
    Table::new(heading, &columns, rows, None)
}

/// Lists the units: failed ones first, then the biggest.
fn units(report: &RunReport) -> Option<Table> {
    let mut units: Vec<&Unit> = report.eviction.units.iter().collect();
    units.sort_by_key(|unit| {
        (
            !matches!(unit.outcome, UnitOutcome::Failed(_)),
            Reverse(unit.bytes),
        )
    });
    let rows = units
        .iter()
        .take(SHOWN)
        .map(|unit| unit_row(report, unit))
        .collect();
    let columns = [
        ("Unit", "name"),
        ("Cache", ""),
        ("Size", "n"),
        ("Last used", "n"),
        ("Known by", ""),
        ("Outcome", ""),
    ];
    let rest = format!(
        ", {}",
        words::size(units.iter().skip(SHOWN).map(|unit| unit.bytes).sum())
    );
    Table::new(
        Heading {
            id: "units",
            title: "Units",
            rows_are: "units",
            said: words::number(units.len() as u64),
        },
        &columns,
        rows,
        more(units.len(), &rest),
    )
}

fn unit_row(report: &RunReport, unit: &Unit) -> Vec<Cell> {
    let outcome = match &unit.outcome {
        UnitOutcome::Evicted => Cell::new("evicted"),
        UnitOutcome::Planned => Cell::new("would go"),
        UnitOutcome::Skipped(why) => Cell::new("skipped").noted([why.clone()]),
        UnitOutcome::Failed(why) => Cell::new("failed").toned("bad").noted([why.clone()]),
    };
    let used = u64::try_from((report.run.started - unit.last_used).num_seconds()).unwrap_or(0);
    let known = Cell::new(caches::known(unit));
    vec![
        Cell::name(&unit.unit),
        Cell::new(&unit.cache),
        Cell::number(words::size(unit.bytes), unit.bytes),
        Cell::number(caches::ago(report, unit.last_used), used),
        if unit.in_use {
            known.noted(["a live tree needs it".to_owned()])
        } else {
            known
        },
        outcome,
    ]
}
