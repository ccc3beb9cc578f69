//! The eviction: by cache, and each unit.

use crate::report::html::table::{Cell, Column, Heading, Room, Table};
use crate::report::html::{Caches, left_out};
use crate::report::text::caches;
use crate::report::troubles::{in_use, missing};
use crate::report::{RunReport, Unit, UnitOutcome, words};
use std::cmp::Reverse;

/// Describes the eviction: why or why not, how much, from where, and what prevented more.
pub(in crate::report::html) fn caches(report: &RunReport, room: &mut Room) -> Caches {
    let eviction = &report.eviction;
    let said = match (eviction.triggered, eviction.reason.as_str()) {
        (true, _) => caches::balance(report),
        (false, "") => String::new(),
        (false, why) => format!("untouched, {why}"),
    };
    let short = missing(eviction).map(|missing| format!("Short by {missing}"));
    let in_use = in_use(eviction).map(|message| format!("In use: {message}"));
    Caches {
        said,
        why: if eviction.triggered {
            eviction.reason.clone()
        } else {
            String::new()
        },
        warnings: short.into_iter().chain(in_use).collect(),
        by_cache: by_cache(report, room),
        units: units(report, room),
        stays: eviction.in_the_way(),
    }
}

fn by_cache(report: &RunReport, room: &mut Room) -> Option<Table> {
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
    let shown = room.take(all.len());
    let rows = all[..shown].iter().map(row).collect();
    let columns = [
        Column::names("Cache"),
        Column::numbers("Units"),
        Column::numbers("Size"),
        Column::reasons("Last used"),
    ];
    Table::new(
        Heading {
            id: "by-cache",
            many: all.len(),
            title: "By cache",
            rows_are: "caches",
            said: String::new(),
        },
        &columns,
        rows,
        left_out(all.len() - shown, ""),
    )
}

/// Lists the units: failed ones first, then the biggest.
fn units(report: &RunReport, room: &mut Room) -> Option<Table> {
    let mut units: Vec<&Unit> = report.eviction.units.iter().collect();
    units.sort_by_key(|unit| {
        (
            !matches!(unit.outcome, UnitOutcome::Failed(_)),
            Reverse(unit.bytes),
        )
    });
    let (shown, rest) = units.split_at(room.take(units.len()));
    let rows = shown.iter().map(|unit| unit_row(report, unit)).collect();
    let columns = [
        Column::names("Unit"),
        Column::words("Cache").filters(),
        Column::numbers("Size"),
        Column::numbers("Last used"),
        Column::words("Known by").filters(),
        Column::words("Outcome").filters(),
    ];
    let held = words::size(rest.iter().map(|unit| unit.bytes).sum());
    Table::new(
        Heading {
            id: "units",
            many: units.len(),
            title: "Units",
            rows_are: "units",
            said: words::number(units.len() as u64),
        },
        &columns,
        rows,
        left_out(rest.len(), &format!(", {held}")),
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
