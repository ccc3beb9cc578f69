//! The volume's usage before and after, as bars and in words: of the budget if one is set, then of
//! the file system. A volume of unknown size has no bar.

use crate::report::gauge::Gauge;
use crate::report::page::{BAD, BODY, FAINT, GOOD, NOTE, Page, Span};
use crate::report::{Level, RunReport, Volume, words};
use anstyle::Style;

/// The column at which bars begin: after the longest label.
const LABEL: usize = 10;
/// The columns that a bar leaves for the text beside it.
const SAID: usize = 38;

/// `: 88 % → 74 %.`, or `, 74 % full.` if nothing changed; of the budget, if one is set.
pub(super) fn change(report: &RunReport) -> String {
    let volume = &report.volume;
    let gauge = volume.gauge();
    let of = match (gauge, volume.budget_bytes) {
        (Gauge::Budget, Some(budget)) => format!(" of its budget of {}", words::size(budget)),
        _ => String::new(),
    };
    let share = |level| gauge.share(volume, level).map(words::percent);
    match (share(volume.before), share(volume.after)) {
        (Some(before), Some(after)) if before != after => format!(": {before} → {after}{of}."),
        (_, Some(after)) if gauge == Gauge::Budget => format!(", {after}{of}."),
        (_, Some(after)) => format!(", {after} full."),
        _ => ".".to_owned(),
    }
}

/// Writes the bars, the watermarks below them, and where the space came from; for a quiet run, only
/// one bar of each kind.
pub(super) fn write(page: &mut Page, report: &RunReport, quiet: bool) {
    let volume = &report.volume;
    let gauge = volume.gauge();
    let long = page.width().saturating_sub(LABEL + SAID).clamp(16, 50);
    let bars = Bars {
        volume,
        gauge,
        long,
    };
    let (Some(before), Some(after)) = (
        gauge.share(volume, volume.before),
        gauge.share(volume, volume.after),
    ) else {
        return;
    };
    if !quiet {
        page.gap();
    }
    if quiet || words::percent(before) == words::percent(after) {
        bars.draw(page, "now", volume.after);
    } else {
        let [first, second] = if report.run.dry_run {
            ["now", "then"]
        } else {
            ["before", "after"]
        };
        bars.draw(page, first, volume.before);
        bars.draw(page, second, volume.after);
    }
    if !quiet {
        bars.marks(page);
    }
    if gauge == Gauge::Budget {
        let gauge = Gauge::Disk;
        let bars = Bars { gauge, ..bars };
        bars.draw(page, "disk", volume.after);
        if !quiet {
            bars.marks(page);
        }
    }
    if !quiet {
        inodes(page, volume);
        sources(page, report);
    }
}

/// Bars of the same length, for one volume.
#[derive(Clone, Copy)]
struct Bars<'a> {
    volume: &'a Volume,
    gauge: Gauge,
    /// Cells of a full bar.
    long: usize,
}

impl Bars<'_> {
    fn draw(&self, page: &mut Page, label: &str, level: Level) {
        let Some(share) = self.gauge.share(self.volume, level) else {
            return;
        };
        let full = cells(share, self.long);
        let share_said = format!("  {:>5}", words::percent(share));
        let bytes = self.gauge.said(self.volume, level);
        let label = Span::body(format!("{label:<width$}", width = LABEL - 2));
        let bar = [
            Span::new("█".repeat(full), colour(self.gauge, share, self.volume)),
            Span::new("░".repeat(self.long - full), FAINT),
        ];
        let [used, free] = bar;
        if page.width() < LABEL + self.long + SAID {
            page.line(2, &[label, used, free, Span::body(share_said)]);
            return page.line(LABEL, &[Span::body(bytes)]);
        }
        let said = format!("{share_said}  {bytes}");
        page.line(2, &[label, used, free, Span::body(said)]);
    }

    /// Writes `low 75 % ▲   ▲ high 85 %`, each arrow below its place in the bar.
    fn marks(&self, page: &mut Page) {
        if !self.gauge.has_marks(self.volume) {
            return;
        }
        let (low, high) = (self.gauge.low(self.volume), self.gauge.high(self.volume));
        let at = |mark: f64| LABEL + cells(mark, self.long).saturating_sub(1);
        let said = format!("low {} ▲", words::percent(low));
        let low = format!("{said:>width$}", width = at(low) + 1);
        let gap = at(high).saturating_sub(words::width(&low));
        let name = self.gauge.high_called(self.volume);
        let line = format!("{low}{}▲ {name}", " ".repeat(gap));
        page.line(0, &[Span::new(line, FAINT)]);
    }
}

/// Returns the colour of a level.
pub(in crate::report) fn colour(gauge: Gauge, share: f64, volume: &Volume) -> Style {
    tone(share, gauge.low(volume), gauge.high(volume))
}

fn tone(share: f64, low: f64, high: f64) -> Style {
    match share {
        s if s > high => BAD,
        s if s > low => NOTE,
        _ => GOOD,
    }
}

/// `43 % → 38 %`; none if the file system has no fixed number of inodes.
pub(in crate::report) fn inodes_said(volume: &Volume) -> Option<String> {
    let (before, after) = (
        volume.inode_share(volume.before)?,
        volume.inode_share(volume.after)?,
    );
    let (before, after) = (words::percent(before), words::percent(after));
    Some(if before == after {
        after
    } else {
        format!("{before} → {after}")
    })
}

fn inodes(page: &mut Page, volume: &Volume) {
    let Some(said) = inodes_said(volume) else {
        return;
    };
    page.line(
        2,
        &[Span::new(
            format!("{:<width$}{said}", "inodes", width = LABEL - 2),
            BODY,
        )],
    );
}

/// Writes `freed   trees 8.2 GiB, repacking 34 MiB`: where the space came from, if from more than
/// one place.
fn sources(page: &mut Page, report: &RunReport) {
    let said: Vec<String> = freed_by(report)
        .iter()
        .map(|(from, bytes)| format!("{from} {}", words::size(*bytes)))
        .collect();
    if said.len() > 1 {
        let label = if report.run.dry_run { "to go" } else { "freed" };
        page.labelled(
            2,
            &[Span::body(format!("{label:<width$}", width = LABEL - 3))],
            Span::body(said.join(", ")),
        );
    }
}

/// Returns where the space came from.
pub(in crate::report) fn freed_by(report: &RunReport) -> Vec<(&'static str, u64)> {
    let totals = &report.totals;
    let all = [
        ("trees", totals.freed_by_reap),
        ("repacking", totals.freed_by_gc),
        ("caches", totals.freed_by_evict),
        ("trash of earlier runs", totals.freed_by_trash),
    ];
    all.into_iter().filter(|(_, bytes)| *bytes > 0).collect()
}

/// Returns how many of a bar's cells a fraction fills; half a cell counts.
fn cells(share: f64, long: usize) -> usize {
    let long = u16::try_from(long).unwrap_or(u16::MAX);
    (0..long)
        .take_while(|&cell| f64::from(cell) + 0.5 <= share * f64::from(long))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_by_halves_of_cells() {
        assert_eq!(
            [0.0, 0.004, 0.006, 0.5, 0.994, 0.996, 1.0, 7.0].map(|share| cells(share, 100)),
            [0, 0, 1, 50, 99, 100, 100, 100]
        );
        assert_eq!(cells(f64::NAN, 10), 0);
    }
}
