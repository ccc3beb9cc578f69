//! Past runs side by side: the usage before and after, what was freed, how each ended; and the same
//! as a table. It says how many lines of the journal were skipped.

use super::table::{Cell, Column, Heading, Table};
use super::{Badge, tone};
use crate::report::gauge::Gauge;
use crate::report::trends::{Trends, trends};
use crate::report::{RunReport, history, words};

/// The number of newest runs that are shown.
const NIGHTS: usize = 30;
/// The fewest runs that the picture has room for: one run alone would fill it.
const ROOM: usize = 14;
/// Heights in the picture, in pixels: the levels are above what was freed.
const LEVELS: (f64, f64) = (14.0, 104.0);
const FREED: (f64, f64) = (128.0, 188.0);

/// The picture and its table.
pub(super) struct PastRuns {
    pub(super) said: String,
    pub(super) trends: Vec<String>,
    pub(super) skipped: Option<String>,
    /// The level at the bottom of the picture.
    pub(super) floor: String,
    pub(super) floor_y: String,
    pub(super) most: String,
    pub(super) most_y: String,
    pub(super) zero_y: String,
    pub(super) marks: Vec<Mark>,
    pub(super) columns: Vec<RunColumn>,
    pub(super) table: Option<Table>,
}

/// A watermark across the levels.
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) percent: String,
    pub(super) y: String,
    /// The position of its name: above the high one, below the low one.
    pub(super) text_y: String,
}

/// One run: positions from the left in percent, from the top in pixels.
pub(super) struct RunColumn {
    pub(super) message: String,
    pub(super) day: Option<String>,
    pub(super) left: String,
    pub(super) slot: String,
    pub(super) bar_left: String,
    pub(super) bar_width: String,
    pub(super) middle: String,
    pub(super) top: String,
    pub(super) height: String,
    pub(super) level: Option<(String, String)>,
    pub(super) badge: Badge,
}

impl PastRuns {
    /// Returns none if there are no runs yet and nothing was skipped.
    pub(super) fn of(past: &[RunReport], skipped: u64) -> Option<Self> {
        if past.is_empty() && skipped == 0 {
            return None;
        }
        let runs = &past[past.len().saturating_sub(NIGHTS)..];
        let most = runs
            .iter()
            .map(|run| run.totals.freed_bytes)
            .max()
            .unwrap_or(0);
        let slots = runs.len().max(ROOM);
        let scale = Scale::of(runs);
        let place = |i: usize| Place {
            slot: slots - runs.len() + i,
            slots,
            from_last: runs.len() - 1 - i,
            scale,
            most,
        };
        let columns = runs.iter().enumerate().map(|(i, run)| place(i).column(run));
        Some(Self {
            said: if runs.is_empty() {
                "No runs yet.".to_owned()
            } else {
                history::sum(runs)
            },
            trends: trends(past).iter().flat_map(Trends::sentences).collect(),
            skipped: (skipped > 0).then(|| history::left_out(skipped)),
            floor: words::percent(scale.floor),
            floor_y: px(LEVELS.1),
            most: words::size(most),
            most_y: px(FREED.0 + 8.0),
            zero_y: px(FREED.1),
            marks: runs.last().map(|run| marks(run, scale)).unwrap_or_default(),
            columns: columns.collect(),
            table: table(runs),
        })
    }
}

fn px(y: f64) -> String {
    format!("{y:.1}")
}

fn y((top, bottom): (f64, f64), share: f64) -> f64 {
    bottom - share.clamp(0.0, 1.0) * (bottom - top)
}

/// What the levels are measured against, and the range in tenths that contains each of them and the
/// watermarks, so that small changes of a full volume are visible.
#[derive(Clone, Copy)]
struct Scale {
    gauge: Gauge,
    floor: f64,
    ceiling: f64,
}

impl Scale {
    /// Returns the scale of what the newest run is measured against.
    fn of(runs: &[RunReport]) -> Self {
        let newest = runs.last().map(|run| run.volume.gauge());
        let gauge = newest.unwrap_or(Gauge::Disk);
        let levels = |run: &RunReport| {
            let volume = &run.volume;
            let marks = [gauge.low(volume), gauge.high(volume)].map(Some);
            let levels = [volume.before, volume.after].map(|level| gauge.share(volume, level));
            levels.into_iter().chain(marks).flatten()
        };
        let (least, most) = runs
            .iter()
            .flat_map(levels)
            .fold((1.0, 0.0), |(least, most): (f64, f64), level| {
                (least.min(level), most.max(level))
            });
        let ceiling = (most * 10.0 + 0.5).ceil() / 10.0;
        Self {
            gauge,
            floor: ((least * 10.0 - 1.0).floor() / 10.0).max(0.0),
            // More than a whole disk can't be used.
            ceiling: if gauge == Gauge::Disk {
                ceiling.min(1.0)
            } else {
                ceiling
            },
        }
    }

    /// Returns the position of a level.
    fn y(&self, share: f64) -> f64 {
        y(LEVELS, (share - self.floor) / (self.ceiling - self.floor))
    }
}

/// The position of a run.
struct Place {
    slot: usize,
    slots: usize,
    /// 0 for the newest.
    from_last: usize,
    scale: Scale,
    /// Bytes of the highest bar.
    most: u64,
}

impl Place {
    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    fn column(&self, run: &RunReport) -> RunColumn {
        let place = |at: f64| format!("{:.2}%", at / self.slots as f64 * 100.0);
        let at = self.slot as f64;
        let top = self.top(run.totals.freed_bytes);
        let (outcome, style) = history::outcome(run);
        let share = |level| {
            let share = self.scale.gauge.share(&run.volume, level);
            share.map(|share| px(self.scale.y(share)))
        };
        let when = run.run.started.format("%a %-d %b, %H:%M UTC");
        let freed = words::size(run.totals.freed_bytes);
        RunColumn {
            message: [
                format!("{when}: {outcome}"),
                format!("freed {freed}"),
                history::level(run),
            ]
            .join(", ")
            .trim_end_matches(", ")
            .to_owned(),
            day: self
                .from_last
                .is_multiple_of(7)
                .then(|| run.run.started.format("%-d %b").to_string()),
            left: place(at),
            slot: place(1.0),
            bar_left: place(at + 0.2),
            bar_width: place(0.6),
            middle: place(at + 0.5),
            top: px(top),
            height: px(FREED.1 - top),
            level: share(run.volume.before).zip(share(run.volume.after)),
            badge: Badge {
                text: outcome.to_owned(),
                tone: tone(style),
            },
        }
    }

    /// Returns the top of the bar that shows what was freed.
    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    fn top(&self, freed: u64) -> f64 {
        let top = y(FREED, freed as f64 / self.most.max(1) as f64);
        // A small amount must be visible, too.
        if freed > 0 {
            top.min(FREED.1 - 1.5)
        } else {
            top
        }
    }
}

fn marks(run: &RunReport, scale: Scale) -> Vec<Mark> {
    let (gauge, volume) = (scale.gauge, &run.volume);
    if !gauge.has_marks(volume) {
        return Vec::new();
    }
    let mark = |name, share, down| {
        let at = scale.y(share);
        Mark {
            name,
            percent: words::percent(share),
            y: px(at),
            text_y: px(at + down),
        }
    };
    let high = if gauge == Gauge::Budget {
        "budget"
    } else {
        "high"
    };
    vec![
        mark(high, gauge.high(volume), -4.0),
        mark("low", gauge.low(volume), 12.0),
    ]
}

fn table(runs: &[RunReport]) -> Option<Table> {
    let columns = [
        Column::words("When (UTC)"),
        Column::words("Outcome"),
        Column::numbers("Took"),
        Column::numbers("Freed"),
        Column::numbers("Level"),
        Column::numbers("Trees"),
        Column::numbers("Rescued"),
        Column::numbers("Units"),
        Column::reasons("What stood in the way"),
    ];
    let rows = runs.iter().rev().map(row).collect();
    Table::new(
        Heading {
            id: "past-table",
            many: runs.len(),
            title: "Run by run",
            rows_are: "runs",
            said: String::new(),
        },
        &columns,
        rows,
        None,
    )
}

fn row(run: &RunReport) -> Vec<Cell> {
    let (outcome, style) = history::outcome(run);
    let totals = &run.totals;
    let some = |n: u64, said: fn(u64) -> String| {
        let text = if n > 0 { said(n) } else { "–".to_owned() };
        Cell::number(text, n)
    };
    let seconds = u64::try_from((run.run.finished - run.run.started).num_seconds()).unwrap_or(0);
    let started = run.run.started;
    vec![
        Cell {
            value: u64::try_from(started.timestamp()).ok(),
            ..Cell::new(started.format("%-d %b %Y, %H:%M").to_string())
        },
        Cell::new(outcome).toned(tone(style)),
        Cell::number(
            words::took((run.run.finished - started).as_seconds_f64()),
            seconds,
        ),
        some(totals.freed_bytes, words::size),
        Cell {
            class: "n",
            ..Cell::new(history::level(run))
        },
        some(totals.reaped, words::number),
        some(totals.rescued, words::number),
        some(totals.evicted, words::number),
        Cell::why(
            run.run
                .asked
                .as_ref()
                .map(words::asked)
                .into_iter()
                .chain(history::in_the_way(run))
                .collect::<Vec<_>>()
                .join(": "),
        ),
    ]
}
