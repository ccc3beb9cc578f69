//! What goes in the next 30 days, as a strip of days: each tree on the day from which it may go.

use super::place;
use crate::report::usage::Part;
use crate::report::{RunReport, Worktree, words};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;
use std::path::Path;

/// The number of days, the run's own included.
const DAYS: usize = 30;
/// The most trees that a day names.
const NAMED: usize = 5;
/// Pixels: the highest bar, and the lowest.
const HEIGHT: f64 = 84.0;
const LEAST: f64 = 3.0;

/// The strip.
pub(super) struct Ahead {
    /// `12 trees may go by 21 Dec: 7 of them for sure, 40 GiB.`
    pub(super) said: String,
    pub(super) days: Vec<Day>,
}

/// A day: its column from the left in percent, its bar from the top in pixels.
pub(super) struct Day {
    pub(super) message: String,
    pub(super) label: Option<String>,
    pub(super) left: String,
    pub(super) slot: String,
    pub(super) middle: String,
    pub(super) bar: String,
    pub(super) bar_width: String,
    /// The bars of trees whose class is known and of those that may stay for longer: top and height.
    pub(super) sure: Option<(String, String)>,
    pub(super) maybe: Option<(String, String)>,
    /// The number of trees, if there are any, and where it stands.
    pub(super) many: Option<String>,
    pub(super) top: String,
}

/// The trees of a day.
#[derive(Default)]
struct Going<'a> {
    sure: Vec<&'a Worktree>,
    maybe: Vec<&'a Worktree>,
}

impl Going<'_> {
    fn many(&self) -> usize {
        self.sure.len() + self.maybe.len()
    }
}

impl Ahead {
    /// Returns none if no tree may go by then.
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let now = report.run.as_of.unwrap_or(report.run.started);
        let mut days: Vec<Going<'_>> = std::iter::repeat_with(Going::default).take(DAYS).collect();
        for tree in report.worktrees().filter(|tree| !tree.goes()) {
            let day = tree
                .goes_at
                .map(|at| (at.date_naive() - now.date_naive()).num_days());
            let day = day.and_then(|day| usize::try_from(day.max(0)).ok());
            let Some(day) = day.and_then(|day| days.get_mut(day)) else {
                continue;
            };
            let known = tree.class.is_some();
            if known { &mut day.sure } else { &mut day.maybe }.push(tree);
        }
        let most = days
            .iter()
            .map(Going::many)
            .max()
            .filter(|most| *most > 0)?;
        let strip = Strip {
            report,
            now,
            most,
            sizes: sizes(report),
        };
        let said = strip.said(&days);
        let days = days.iter().enumerate().map(|(i, day)| strip.day(i, day));
        Some(Self {
            said,
            days: days.collect(),
        })
    }
}

/// Returns the sizes of the trees, if they were measured.
pub(super) fn sizes(report: &RunReport) -> HashMap<&Path, u64> {
    let trees = report.usage.iter();
    let trees = trees.filter(|used| used.what == Part::Worktree);
    trees
        .map(|used| (used.path.as_path(), used.bytes))
        .collect()
}

struct Strip<'a> {
    report: &'a RunReport,
    now: DateTime<Utc>,
    most: usize,
    sizes: HashMap<&'a Path, u64>,
}

impl Strip<'_> {
    fn said(&self, days: &[Going<'_>]) -> String {
        let all = || {
            days.iter()
                .flat_map(|day| day.sure.iter().chain(&day.maybe))
        };
        let many = words::count(all().count() as u64, "tree");
        let sure: u64 = days.iter().map(|day| day.sure.len() as u64).sum();
        let last = self.date(DAYS - 1).format("%-d %b");
        let of = self.size(all().copied());
        let rest = match days.iter().map(|day| day.maybe.len() as u64).sum() {
            0 => String::new(),
            maybe => format!(
                " {} will; {} too young to be looked into, and may stay for longer.",
                words::number(sure),
                if maybe == 1 {
                    "1 is".to_owned()
                } else {
                    format!("{} are", words::number(maybe))
                }
            ),
        };
        format!("{many}{of} may go by {last}, if nobody works in them.{rest}")
    }

    /// `, 4.2 GiB`; empty if no size is known.
    fn size<'t>(&self, trees: impl Iterator<Item = &'t Worktree>) -> String {
        let bytes: u64 = trees
            .filter_map(|tree| self.sizes.get(tree.path.as_path()))
            .sum();
        Some(bytes)
            .filter(|bytes| *bytes > 0)
            .map_or(String::new(), |bytes| format!(", {},", words::size(bytes)))
    }

    fn date(&self, day: usize) -> DateTime<Utc> {
        self.now + TimeDelta::days(i64::try_from(day).unwrap_or(0))
    }

    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    fn day(&self, i: usize, going: &Going<'_>) -> Day {
        let at = |share: f64| place(share / DAYS as f64);
        let high = |many: usize| {
            let high = many as f64 / self.most as f64 * HEIGHT;
            if many > 0 { high.max(LEAST) } else { 0.0 }
        };
        let (sure, maybe) = (high(going.sure.len()), high(going.maybe.len()));
        let bar =
            |top: f64, high: f64| (high > 0.0).then(|| (format!("{top:.1}"), format!("{high:.1}")));
        let (floor, left) = (HEIGHT + 18.0, i as f64);
        let date = self.date(i);
        Day {
            message: self.message(i, going),
            label: i
                .is_multiple_of(7)
                .then(|| date.format("%-d %b").to_string()),
            left: at(left),
            slot: at(1.0),
            middle: at(left + 0.5),
            bar: at(left + 0.12),
            bar_width: at(0.76),
            sure: bar(floor - sure, sure),
            maybe: bar(floor - sure - maybe, maybe),
            top: format!("{:.1}", floor - sure - maybe - 4.0),
            many: (going.many() > 0).then(|| words::number(going.many() as u64)),
        }
    }

    fn message(&self, i: usize, going: &Going<'_>) -> String {
        let date = self.date(i).format("%a %-d %b");
        let all: Vec<&Worktree> = going.sure.iter().chain(&going.maybe).copied().collect();
        if all.is_empty() {
            return format!("{date}: nothing");
        }
        let path = |tree: &&Worktree| words::below(&self.report.volume.root, &tree.path);
        let names: Vec<String> = all.iter().map(path).collect();
        format!(
            "{date}: {}{} {}",
            words::count(all.len() as u64, "tree"),
            self.size(all.iter().copied()).trim_end_matches(','),
            words::few(&names, NAMED)
        )
    }
}
