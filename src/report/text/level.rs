//! The volume's usage before and after, as bars and in words. A volume of unknown size has no bar.

use crate::report::page::{BAD, BODY, FAINT, GOOD, NOTE, Page, Span};
use crate::report::{Level, RunReport, Volume, words};
use anstyle::Style;

/// The column at which bars begin: after the longest label.
const LABEL: usize = 10;
/// The columns that a bar leaves for the text beside it.
const SAID: usize = 38;

/// `: 88 % → 74 %.`, or `, 74 % full.` if nothing changed.
pub(super) fn change(report: &RunReport) -> String {
    let volume = &report.volume;
    match (
        volume.share(volume.before).map(words::percent),
        volume.share(volume.after).map(words::percent),
    ) {
        (Some(before), Some(after)) if before != after => format!(": {before} → {after}."),
        (_, Some(after)) => format!(", {after} full."),
        _ => ".".to_owned(),
    }
}

/// Writes the bars, the watermarks below them, and where the space came from; for a quiet run, only
/// one bar.
pub(super) fn write(page: &mut Page, report: &RunReport, quiet: bool) {
    let volume = &report.volume;
    let (Some(before), Some(after)) = (volume.share(volume.before), volume.share(volume.after))
    else {
        return;
    };
    if !quiet {
        page.gap();
    }
    let long = page.width().saturating_sub(LABEL + SAID).clamp(16, 50);
    let bars = Bars { volume, long };
    if quiet || words::percent(before) == words::percent(after) {
        bars.draw(page, "now", after, volume.after);
    } else {
        let [first, second] = if report.run.dry_run {
            ["now", "then"]
        } else {
            ["before", "after"]
        };
        bars.draw(page, first, before, volume.before);
        bars.draw(page, second, after, volume.after);
    }
    if !quiet {
        marks(page, volume, long);
        inodes(page, volume);
        sources(page, report);
    }
}

/// Bars of the same length, for one volume.
struct Bars<'a> {
    volume: &'a Volume,
    /// Cells of a full bar.
    long: usize,
}

impl Bars<'_> {
    fn draw(&self, page: &mut Page, label: &str, share: f64, level: Level) {
        let full = cells(share, self.long);
        let (share_said, bytes) = (
            format!("  {:>5}", words::percent(share)),
            format!(
                "{} used, {} free",
                words::size(level.used_bytes),
                words::size(level.free_bytes)
            ),
        );
        let label = Span::body(format!("{label:<width$}", width = LABEL - 2));
        let bar = [
            Span::new("█".repeat(full), colour(share, self.volume)),
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
}

pub(in crate::report) fn colour(share: f64, volume: &Volume) -> Style {
    match share {
        s if s > volume.high => BAD,
        s if s > volume.low => NOTE,
        _ => GOOD,
    }
}

/// Writes `low 75 % ▲   ▲ high 85 %`, each arrow below its place in the bar.
fn marks(page: &mut Page, volume: &Volume, long: usize) {
    if !has_marks(volume) {
        return;
    }
    let at = |mark: f64| LABEL + cells(mark, long).saturating_sub(1);
    let low = format!(
        "{:>width$}",
        format!("low {} ▲", words::percent(volume.low)),
        width = at(volume.low) + 1
    );
    let gap = at(volume.high).saturating_sub(words::width(&low));
    page.line(
        0,
        &[Span::new(
            format!(
                "{low}{}▲ high {}",
                " ".repeat(gap),
                words::percent(volume.high)
            ),
            FAINT,
        )],
    );
}

/// Returns whether both watermarks have a place in a bar.
pub(in crate::report) fn has_marks(volume: &Volume) -> bool {
    [volume.low, volume.high]
        .iter()
        .all(|&mark| mark > 0.0 && mark <= 1.0)
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
        ("trash of earlier nights", totals.freed_by_trash),
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
