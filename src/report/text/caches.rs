//! The cache eviction: why or why not, how much, from where, and what prevented more. A shortfall
//! follows the amounts directly.

use crate::facts::cache::UsedFrom;
use crate::report::page::{BAD, BODY, FAINT, Page, Row, STRONG, Span};
use crate::report::troubles::{amount, in_use, missing};
use crate::report::{RunReport, Rung, Unit, words};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The most units that are named.
const NAMED: usize = 10;

/// Writes the section; one line if nothing was evicted.
pub(super) fn write(page: &mut Page, report: &RunReport) {
    if report.eviction.triggered {
        page.heading("Caches:", Span::body(balance(report)));
        if let Some(missing) = missing(&report.eviction) {
            page.line(2, &[Span::new(format!("SHORT BY {missing}"), BAD)]);
        }
        if let Some(message) = in_use(&report.eviction) {
            page.line(2, &[Span::new(format!("IN USE: {message}"), BAD)]);
        }
        page.paragraph(2, Span::new(&report.eviction.reason, FAINT));
        let rows: Vec<Row> = by_cache(report)
            .iter()
            .map(|(cache, units)| cache_row(report, cache, units))
            .collect();
        page.table(2, &rows);
        ladder(page, report);
        largest(page, report);
    } else if !report.eviction.reason.is_empty() {
        page.gap();
        untouched(page, report);
    }
    obstacles(page, report);
}

/// Writes what each rung freed, if caches alone could not make room.
fn ladder(page: &mut Page, report: &RunReport) {
    let row = |rung: &Rung| -> Row {
        vec![
            Span::body(rung.rung.message()).shorten(),
            Span::body(words::size(rung.freed_bytes)).right(),
            Span::body(words::count(rung.freed_inodes, "inode")).right(),
        ]
        .into()
    };
    let rows: Vec<Row> = report.eviction.ladder().iter().map(row).collect();
    if !rows.is_empty() {
        page.line(2, &[Span::new("Step by step:", FAINT)]);
        page.table(4, &rows);
    }
}

/// Writes why nothing was evicted.
pub(super) fn untouched(page: &mut Page, report: &RunReport) {
    if !report.eviction.reason.is_empty() {
        page.line(
            0,
            &[
                Span::new("Caches:", STRONG),
                Span::body(format!(" untouched, {}", report.eviction.reason)),
            ],
        );
    }
}

/// `12.4 GiB freed, 12.3 GiB wanted`.
pub(in crate::report) fn balance(report: &RunReport) -> String {
    let eviction = &report.eviction;
    // Inodes are mentioned only if some were wanted.
    let inodes = if eviction.wanted_inodes > 0 {
        eviction.freed_inodes
    } else {
        0
    };
    let freed = amount(eviction.freed_bytes, inodes).unwrap_or_else(|| "nothing".to_owned());
    let verb = if report.run.dry_run { "to go" } else { "freed" };
    match amount(eviction.wanted_bytes, eviction.wanted_inodes) {
        Some(wanted) => format!("{freed} {verb}, {wanted} wanted"),
        None => format!("{freed} {verb}"),
    }
}

/// Returns the evicted units.
pub(in crate::report) fn evicted(report: &RunReport) -> impl Iterator<Item = &Unit> {
    report
        .eviction
        .units
        .iter()
        .filter(|unit| unit.outcome.goes())
}

/// Returns the evicted units by cache, the most bytes first.
pub(in crate::report) fn by_cache(report: &RunReport) -> Vec<(&str, Vec<&Unit>)> {
    let mut caches: BTreeMap<&str, Vec<&Unit>> = BTreeMap::new();
    for unit in evicted(report) {
        caches.entry(&unit.cache).or_default().push(unit);
    }
    let mut caches: Vec<_> = caches.into_iter().collect();
    caches.sort_by_key(|(_, units)| Reverse(bytes(units)));
    caches
}

pub(in crate::report) fn bytes(units: &[&Unit]) -> u64 {
    units.iter().map(|unit| unit.bytes).sum()
}

fn cache_row(report: &RunReport, cache: &str, units: &[&Unit]) -> Row {
    vec![
        Span::new(cache, STRONG).shorten(),
        Span::body(words::count(units.len() as u64, "unit")).right(),
        Span::body(words::size(bytes(units))).right(),
        Span::body(format!("{}, {}", used(report, units), known_by(units))).wrap(),
    ]
    .into()
}

/// `last used 6 months to 3 weeks ago`.
pub(in crate::report) fn used(report: &RunReport, units: &[&Unit]) -> String {
    let (oldest, newest) = (
        units.iter().map(|unit| unit.last_used).min(),
        units.iter().map(|unit| unit.last_used).max(),
    );
    match (
        oldest.map(|at| ago(report, at)),
        newest.map(|at| ago(report, at)),
    ) {
        (Some(oldest), Some(newest)) if oldest != newest && newest != NOW => {
            format!("last used {} to {newest}", oldest.trim_end_matches(" ago"))
        }
        (Some(oldest), Some(newest)) if oldest != newest => {
            format!("last used {oldest} to {newest}")
        }
        (Some(once), _) => format!("last used {once}"),
        _ => String::new(),
    }
}

/// Names the signs of the units' use, the most frequent first: `by write time and lock files`.
pub(in crate::report) fn known_by(units: &[&Unit]) -> String {
    let mut ways: Vec<(&str, usize)> = Vec::new();
    for unit in units {
        let way = match unit.last_used_from {
            UsedFrom::Named => "lock files",
            other => way(other),
        };
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, many)) => *many += 1,
            None => ways.push((way, 1)),
        }
    }
    ways.sort_by_key(|(_, many)| Reverse(*many));
    format!(
        "by {}",
        words::and(
            &ways
                .iter()
                .map(|(way, _)| (*way).to_owned())
                .collect::<Vec<_>>()
        )
    )
}

fn way(from: UsedFrom) -> &'static str {
    match from {
        UsedFrom::ToolRecord => "tool's own record",
        UsedFrom::AccessTime => "access time",
        UsedFrom::LinkTime => "hard links",
        UsedFrom::WriteTime => "write time",
        UsedFrom::WorktreeActivity => "worktree's activity",
        UsedFrom::Named => "named",
    }
}

/// Names the sign of a unit's last use: `write time`, `named by acme/shop`.
pub(in crate::report) fn known(unit: &Unit) -> String {
    match (&unit.named_by, unit.last_used_from) {
        (Some(repo), UsedFrom::Named) => format!("named by {repo}"),
        (_, from) => way(from).to_owned(),
    }
}

/// Only for units that a live tree's lock file names: all others that were just used stay.
const NOW: &str = "now";

pub(in crate::report) fn ago(report: &RunReport, used: DateTime<Utc>) -> String {
    let seconds = (report.run.started - used).num_seconds();
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map_or(NOW.into(), |seconds| format!("{} ago", words::age(seconds)))
}

/// Writes the largest units by name.
fn largest(page: &mut Page, report: &RunReport) {
    let mut units: Vec<&Unit> = evicted(report).collect();
    units.sort_by_key(|unit| Reverse(unit.bytes));
    let title = if units.len() > NAMED {
        "The ten largest:"
    } else {
        "By name:"
    };
    let rows: Vec<Row> = units
        .iter()
        .take(NAMED)
        .map(|unit| unit_row(report, unit))
        .collect();
    if !rows.is_empty() {
        page.line(2, &[Span::new(title, FAINT)]);
        page.table(4, &rows);
    }
}

fn unit_row(report: &RunReport, unit: &Unit) -> Row {
    vec![
        Span::new(&unit.cache, FAINT).shorten(),
        Span::body(&unit.unit).shorten(),
        Span::body(words::size(unit.bytes)).right(),
        Span::new(ago(report, unit.last_used), FAINT),
        Span::new(known(unit), FAINT).shorten(),
    ]
    .into()
}

/// Writes what stays although room may be wanted.
pub(super) fn obstacles(page: &mut Page, report: &RunReport) {
    let rows: Vec<Row> = report
        .eviction
        .in_the_way()
        .into_iter()
        .map(|why| vec![Span::new(why, BODY).wrap()].into())
        .collect();
    if !rows.is_empty() {
        page.line(2, &[Span::new("What stays, and why:", FAINT)]);
        page.table(4, &rows);
    }
}
