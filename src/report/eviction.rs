//! The part of a report about evictions: what was wanted, what went, and what could not.

use crate::apply::evict::UnitOutcome;
use crate::facts::cache::{Size, UsedFrom};
use crate::plan::evict::HeldBy;
use crate::plan::ladder;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The cache eviction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Eviction {
    /// Whether a watermark or the budget was passed.
    pub triggered: bool,
    /// Why, or why not.
    pub reason: String,
    /// Bytes to free, to reach the low watermark.
    pub wanted_bytes: u64,
    /// Bytes freed, as measured; in a dry run, as projected.
    pub freed_bytes: u64,
    /// What is missing.
    pub shortfall_bytes: u64,
    /// Inodes to free.
    pub wanted_inodes: u64,
    /// Inodes freed.
    pub freed_inodes: u64,
    /// Missing inodes.
    pub shortfall_inodes: u64,
    /// What prevented more: units too young, a reserve, an unreadable cache.
    pub obstacles: Vec<String>,
    /// How many units each setting holds, the most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldUnits>,
    /// After a shortfall: the five largest units that would go if the operator allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub could_go: Vec<CouldGo>,
    /// The evicted units, in order.
    pub units: Vec<Unit>,
    /// What was climbed to make room on the volume, from the lowest rung on. Trees that go on the
    /// last one are in the rows of their repos.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<Rung>,
}

/// A rung of the ladder, and what it freed; in a dry run, what it would free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rung {
    /// Which one.
    pub rung: ladder::Rung,
    /// Bytes.
    pub freed_bytes: u64,
    /// Inodes.
    pub freed_inodes: u64,
}

impl Rung {
    /// Returns a rung that freed this much.
    pub fn of(rung: ladder::Rung, freed: Size) -> Self {
        Self {
            rung,
            freed_bytes: freed.bytes,
            freed_inodes: freed.inodes,
        }
    }
}

/// Units of a cache that a setting holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldUnits {
    /// The setting.
    pub by: HeldBy,
    /// The cache's name.
    pub cache: String,
    /// How many.
    pub units: u64,
}

/// A unit that stays, and would go if the operator allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CouldGo {
    /// The cache's name.
    pub cache: String,
    /// The unit.
    pub unit: String,
    /// What it holds.
    pub bytes: u64,
    /// What would have to be allowed.
    pub by: HeldBy,
}

impl Eviction {
    /// Returns the rungs, if more was climbed than in every eviction.
    pub fn ladder(&self) -> &[Rung] {
        let climbed = |rung: &Rung| rung.rung > ladder::Rung::Caches;
        if self.rungs.iter().any(climbed) {
            &self.rungs
        } else {
            &[]
        }
    }

    /// Adds the eviction from the caches of another file system, which is named by a directory on
    /// it.
    pub fn add(&mut self, more: Self, of: Option<&Path>) {
        let named = |reason: String| match of {
            Some(of) if !reason.is_empty() => format!("`{}`: {reason}", of.display()),
            _ => reason,
        };
        // What was calm doesn't explain what was evicted.
        let more_said = Some(named(more.reason)).filter(|_| more.triggered || !self.triggered);
        let said = std::mem::take(&mut self.reason);
        let said = Some(said).filter(|_| self.triggered || !more.triggered);
        let all = said.into_iter().chain(more_said);
        self.reason = all
            .filter(|reason| !reason.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        self.triggered |= more.triggered;
        for (sum, more) in [
            (&mut self.wanted_bytes, more.wanted_bytes),
            (&mut self.freed_bytes, more.freed_bytes),
            (&mut self.shortfall_bytes, more.shortfall_bytes),
            (&mut self.wanted_inodes, more.wanted_inodes),
            (&mut self.freed_inodes, more.freed_inodes),
            (&mut self.shortfall_inodes, more.shortfall_inodes),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.obstacles.extend(more.obstacles);
        self.held.extend(more.held);
        self.could_go.extend(more.could_go);
        self.could_go
            .sort_by_key(|unit| std::cmp::Reverse(unit.bytes));
        self.could_go.truncate(5);
        self.units.extend(more.units);
    }
}

/// An evicted unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unit {
    /// The cache's name.
    pub cache: String,
    /// The cache's kind.
    pub kind: String,
    /// The unit.
    pub unit: String,
    /// Bytes freed.
    pub bytes: u64,
    /// Inodes freed.
    pub inodes: u64,
    /// The newest sign of use.
    pub last_used: DateTime<Utc>,
    /// The kind of that sign.
    pub last_used_from: UsedFrom,
    /// The repo whose lock file named it last, if any did.
    #[serde(default)]
    pub named_by: Option<String>,
    /// A live tree's lock file names it: it was evicted because nothing else was left and the
    /// config allows it.
    #[serde(default)]
    pub in_use: bool,
    /// Its outcome.
    pub outcome: UnitOutcome,
}
