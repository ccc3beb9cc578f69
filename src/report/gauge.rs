//! What a level is measured against: the budget if the config sets one, else the file system with
//! its watermarks. The bar, the headline, the history and the trends use the same.

use super::{Level, Volume, words};
use crate::plan::evict::GOAL;

/// What a level is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// `eviction.budget`, against what stands below the root.
    Budget,
    /// The file system, as `df` shows it.
    Disk,
}

impl Volume {
    /// Returns what this volume's levels are measured against.
    pub fn gauge(&self) -> Gauge {
        let measured = |level| Gauge::Budget.share(self, level).is_some();
        if measured(self.before) && measured(self.after) {
            Gauge::Budget
        } else {
            Gauge::Disk
        }
    }
}

impl Gauge {
    /// Returns the fraction that is in use; above 1 if it is over its budget. None if unknown.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of petabytes is still exact to far more digits than anybody reads"
    )]
    pub fn share(self, volume: &Volume, level: Level) -> Option<f64> {
        match self {
            Self::Budget => {
                let budget = volume.budget_bytes.filter(|&budget| budget > 0)?;
                Some(level.standing_bytes? as f64 / budget as f64)
            }
            Self::Disk => volume.share(level),
        }
    }

    /// Returns the fraction above which an eviction starts.
    pub fn high(self, volume: &Volume) -> f64 {
        match self {
            Self::Budget => 1.0,
            Self::Disk => volume.high,
        }
    }

    /// Returns the fraction at which an eviction ends.
    pub fn low(self, volume: &Volume) -> f64 {
        match self {
            Self::Budget => GOAL,
            Self::Disk => volume.low,
        }
    }

    /// Returns whether both marks have a place in a bar.
    pub fn has_marks(self, volume: &Volume) -> bool {
        let marks = [self.low(volume), self.high(volume)];
        marks.iter().all(|&mark| mark > 0.0 && mark <= 1.0)
    }

    /// Returns what the mark is called at which an eviction starts: `budget`, or `high 85 %`.
    pub fn high_called(self, volume: &Volume) -> String {
        match self {
            Self::Budget => "budget".to_owned(),
            Self::Disk => format!("high {}", words::percent(volume.high)),
        }
    }

    /// Describes a level: `180 GiB used, 20 GiB free`; of a budget, `26 GiB used, 1 GiB over`.
    pub fn said(self, volume: &Volume, level: Level) -> String {
        let used = self.used(level).unwrap_or_default();
        let (rest, word) = match (self, volume.budget_bytes) {
            (Self::Budget, Some(budget)) if used > budget => (used.saturating_sub(budget), "over"),
            (Self::Budget, Some(budget)) => (budget.saturating_sub(used), "left"),
            _ => (level.free_bytes, "free"),
        };
        format!("{} used, {} {word}", words::size(used), words::size(rest))
    }

    /// Returns the bytes in use, if known.
    pub fn used(self, level: Level) -> Option<u64> {
        match self {
            Self::Budget => level.standing_bytes,
            Self::Disk => Some(level.used_bytes),
        }
    }
}
