//! What was climbed to make room, as bars against the volume's size: each step takes its part off the
//! level that the one before left, towards the watermarks.

use super::level::{Marks, marks};
use super::place;
use crate::report::gauge::Gauge;
use crate::report::{RunReport, words};

/// The steps, if caches alone could not make room.
pub(super) struct Ladder {
    /// `Caches alone could not make room: 4 steps freed 9 GiB and 12,000 inodes.`
    pub(super) said: String,
    pub(super) steps: Vec<Step>,
    pub(super) marks: Option<Marks>,
}

/// A step.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) size: String,
    /// `12 inodes; then 84 %`.
    pub(super) said: String,
    /// None on a volume of unknown size.
    pub(super) bar: Option<Bar>,
}

/// What stays after a step from the left on, and then what the step takes off it.
pub(super) struct Bar {
    pub(super) left: String,
    pub(super) freed: String,
}

impl Ladder {
    /// Returns none if no more was climbed than in every eviction.
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let rungs = report.eviction.ladder();
        if rungs.is_empty() {
            return None;
        }
        let total = report.volume.total_bytes;
        let sum = |of: fn(&crate::report::Rung) -> u64| {
            rungs.iter().map(of).fold(0_u64, u64::saturating_add)
        };
        let bytes = sum(|rung| rung.freed_bytes);
        let mut level = report.volume.after.used_bytes.saturating_add(bytes);
        let steps = rungs.iter().map(|rung| {
            level = level.saturating_sub(rung.freed_bytes);
            let inodes = words::count(rung.freed_inodes, "inode");
            let then = share(level, total).map_or(String::new(), |share| {
                format!("; then {}", words::percent(share))
            });
            Step {
                name: rung.rung.message(),
                size: words::size(rung.freed_bytes),
                said: format!("{inodes}{then}"),
                bar: bar(level, rung.freed_bytes, total),
            }
        });
        Some(Self {
            said: said(report, (bytes, sum(|rung| rung.freed_inodes))),
            steps: steps.collect(),
            marks: marks(Gauge::Disk, &report.volume).filter(|_| total > 0),
        })
    }
}

/// Says what all steps freed together, and what is still missing.
fn said(report: &RunReport, (bytes, inodes): (u64, u64)) -> String {
    let eviction = &report.eviction;
    let steps = words::count(eviction.ladder().len() as u64, "step");
    let verb = if report.run.dry_run {
        "would free"
    } else {
        "freed"
    };
    let inodes = words::count(inodes, "inode");
    let size = words::size(bytes);
    let missing = match (eviction.shortfall_bytes, eviction.shortfall_inodes) {
        (0, 0) => String::new(),
        (0, inodes) => format!(" {} more were wanted.", words::count(inodes, "inode")),
        (bytes, _) => format!(" {} more were wanted.", words::size(bytes)),
    };
    format!("Caches alone could not make room: {steps} {verb} {size} and {inodes}.{missing}")
}

fn bar(level: u64, freed: u64, total: u64) -> Option<Bar> {
    Some(Bar {
        left: place(share(level, total)?),
        freed: place(share(freed, total)?),
    })
}

/// Returns the part of the volume; none if its size is unknown.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn share(bytes: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| bytes as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cache::Size;
    use crate::plan::ladder::Rung;
    use crate::report;

    /// Returns a run on a volume of 100 GiB that is 80 % full after these rungs.
    fn climbed(rungs: &[(Rung, u64)]) -> RunReport {
        let text = include_str!("../../../fuzz/seeds/journal/night.jsonl");
        let line = text.lines().next().unwrap();
        let mut report: RunReport = serde_json::from_str(line).unwrap();
        report.run.dry_run = false;
        report.volume.total_bytes = 100 << 30;
        report.volume.after.used_bytes = 80 << 30;
        (report.volume.high, report.volume.low) = (0.85, 0.75);
        (
            report.eviction.shortfall_bytes,
            report.eviction.shortfall_inodes,
        ) = (0, 0);
        let rung = |&(rung, gib): &(Rung, u64)| {
            let freed = Size {
                bytes: gib << 30,
                inodes: gib,
            };
            report::Rung::of(rung, freed)
        };
        report.eviction.rungs = rungs.iter().map(rung).collect();
        report
    }

    #[test]
    fn each_step_takes_its_part_off_the_level_before() {
        let lower = [(Rung::Trash, 1), (Rung::Caches, 2)];
        assert!(Ladder::of(&climbed(&lower)).is_none(), "as every eviction");
        let upper = [(Rung::BuildOutput, 8), (Rung::Worktrees, 0)];
        let mut report = climbed(&[lower, upper].concat());
        let ladder = Ladder::of(&report).unwrap();
        assert_eq!(
            ladder.said,
            "Caches alone could not make room: 4 steps freed 11 GiB and 11 inodes."
        );
        let steps = ladder.steps.iter().map(|step| {
            let bar = step.bar.as_ref().unwrap();
            let bar = format!("{} {}", bar.left, bar.freed);
            (step.size.as_str(), step.said.as_str(), bar)
        });
        let expected = [
            ("1 GiB", "1 inode; then 90 %", "90.00% 1.00%"),
            ("2 GiB", "2 inodes; then 88 %", "88.00% 2.00%"),
            ("8 GiB", "8 inodes; then 80 %", "80.00% 8.00%"),
            ("0 B", "0 inodes; then 80 %", "80.00% 0.00%"),
        ];
        let expected = expected.map(|(size, said, bar)| (size, said, bar.to_owned()));
        assert_eq!(steps.collect::<Vec<_>>(), expected);
        assert!(ladder.marks.is_some_and(|marks| marks.high_at == "85.00%"));

        // A volume of unknown size has no bars, and a dry run has done nothing yet.
        report.volume.total_bytes = 0;
        report.run.dry_run = true;
        report.eviction.shortfall_bytes = 1 << 30;
        let ladder = Ladder::of(&report).unwrap();
        assert!(ladder.steps[0].bar.is_none() && ladder.marks.is_none());
        assert_eq!(
            ladder.said,
            "Caches alone could not make room: 4 steps would free 11 GiB and 11 inodes. \
             1 GiB more were wanted."
        );
    }
}
