//! The volume's usage before and after, as bars with their watermarks, and where the space came
//! from. A volume of unknown size has no bar.

use super::{place, tone};
use crate::report::text::level;
use crate::report::{Level, RunReport, Volume, words};

/// The bars and the text below them.
pub(super) struct Levels {
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Option<Marks>,
    pub(super) inodes: Option<String>,
    /// The title of `sources`: `freed`, or `to go`.
    pub(super) freed: &'static str,
    pub(super) sources: Vec<(String, String)>,
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
    pub(super) high: String,
    pub(super) low_at: String,
    pub(super) high_at: String,
}

impl Levels {
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let volume = &report.volume;
        let (before, after) = (bar(volume, volume.before)?, bar(volume, volume.after)?);
        let (first, then) = if report.run.dry_run {
            ("now", "then")
        } else {
            ("before", "after")
        };
        let bars = if before.percent == after.percent {
            vec![Bar {
                label: "now",
                ..after
            }]
        } else {
            vec![
                Bar {
                    label: first,
                    ..before
                },
                Bar {
                    label: then,
                    ..after
                },
            ]
        };
        let sources = level::freed_by(report)
            .into_iter()
            .map(|(from, bytes)| (from.to_owned(), words::size(bytes)));
        Some(Self {
            bars,
            marks: level::has_marks(volume).then(|| marks(volume)),
            inodes: level::inodes_said(volume),
            freed: if report.run.dry_run { "To go" } else { "Freed" },
            sources: sources.collect(),
        })
    }
}

fn bar(volume: &Volume, level: Level) -> Option<Bar> {
    let share = volume.share(level)?;
    let said = format!(
        "{} used, {} free",
        words::size(level.used_bytes),
        words::size(level.free_bytes)
    );
    let tone = tone(level::colour(share, volume));
    Some(Bar {
        label: "",
        width: place(share),
        tone,
        percent: words::percent(share),
        said,
    })
}

fn marks(volume: &Volume) -> Marks {
    Marks {
        low: words::percent(volume.low),
        high: words::percent(volume.high),
        low_at: place(volume.low),
        high_at: place(volume.high),
    }
}
