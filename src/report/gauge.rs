//! What a level is measured against: the budget if the config sets one, else the file system with
//! its watermarks. The bar, the headline, the history and the trends use the same.

use super::{Level, Volume};
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

    /// Returns the bytes in use, if known.
    pub fn used(self, level: Level) -> Option<u64> {
        match self {
            Self::Budget => level.standing_bytes,
            Self::Disk => Some(level.used_bytes),
        }
    }
}
