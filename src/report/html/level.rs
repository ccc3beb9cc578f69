//! The volume's usage before and after, as bars with their watermarks, and where the space came
//! from: of the budget if one is set, then of the file system. A volume of unknown size has no bar.

use super::{place, tone};
use crate::report::gauge::Gauge;
use crate::report::text::level;
use crate::report::{Level, RunReport, Volume, words};

/// The bars and the text below them.
pub(super) struct Levels {
    pub(super) scales: Vec<Scale>,
    pub(super) inodes: Option<String>,
    /// The title of `sources`: `freed`, or `to go`.
    pub(super) freed: &'static str,
    pub(super) sources: Vec<(String, String)>,
}

/// Bars that are measured against the same.
pub(super) struct Scale {
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Option<Marks>,
}

/// One bar.
pub(super) struct Bar {
    pub(super) label: &'static str,
    pub(super) width: String,
    pub(super) tone: &'static str,
    pub(super) percent: String,
    pub(super) said: String,
}

/// Where an eviction starts and ends.
pub(super) struct Marks {
    pub(super) low: String,
    /// `high 85 %`, or `budget`.
    pub(super) high: String,
    pub(super) low_at: String,
    pub(super) high_at: String,
    /// Whether the high one is at the end, where its name has no room behind it.
    pub(super) at_end: bool,
}

impl Levels {
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let volume = &report.volume;
        let gauge = volume.gauge();
        let mut scales = vec![changed(report, gauge)?];
        if gauge == Gauge::Budget {
            scales.extend(
                bar(Gauge::Disk, "disk", volume, volume.after).map(|bar| Scale {
                    bars: vec![bar],
                    marks: marks(Gauge::Disk, volume),
                }),
            );
        }
        let sources = level::freed_by(report)
            .into_iter()
            .map(|(from, bytes)| (from.to_owned(), words::size(bytes)));
        Some(Self {
            scales,
            inodes: level::inodes_said(volume),
            freed: if report.run.dry_run { "To go" } else { "Freed" },
            sources: sources.collect(),
        })
    }
}

/// Returns the bars before and after; one if nothing changed.
fn changed(report: &RunReport, gauge: Gauge) -> Option<Scale> {
    let volume = &report.volume;
    let [first, then] = if report.run.dry_run {
        ["now", "then"]
    } else {
        ["before", "after"]
    };
    let before = bar(gauge, first, volume, volume.before)?;
    let after = bar(gauge, then, volume, volume.after)?;
    let bars = if before.percent == after.percent {
        vec![Bar {
            label: "now",
            ..after
        }]
    } else {
        vec![before, after]
    };
    Some(Scale {
        bars,
        marks: marks(gauge, volume),
    })
}

fn bar(gauge: Gauge, label: &'static str, volume: &Volume, level: Level) -> Option<Bar> {
    let share = gauge.share(volume, level)?;
    Some(Bar {
        label,
        width: place(share),
        tone: tone(level::colour(gauge, share, volume)),
        percent: words::percent(share),
        said: gauge.said(volume, level),
    })
}

pub(super) fn marks(gauge: Gauge, volume: &Volume) -> Option<Marks> {
    let (low, high) = (gauge.low(volume), gauge.high(volume));
    gauge.has_marks(volume).then(|| Marks {
        low: words::percent(low),
        high: gauge.high_called(volume),
        low_at: place(low),
        high_at: place(high),
        at_end: high >= 1.0,
    })
}
