//! The sums of a run, and how it ended: computed from the report's own rows, so that a sum says
//! nothing that no row says. A run with a failure is no success.

use super::troubles::{Kind, troubles};
use super::{
    Class, Level, RunOutcome, RunReport, Totals, TreeOutcome, UnitOutcome, Volume, Worktree,
};

impl Totals {
    /// The sums of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |of: fn(&Self) -> u64| of(&self).saturating_add(of(&other));
        Self {
            freed_bytes: sum(|totals| totals.freed_bytes),
            freed_by_reap: sum(|totals| totals.freed_by_reap),
            freed_by_gc: sum(|totals| totals.freed_by_gc),
            freed_by_evict: sum(|totals| totals.freed_by_evict),
            freed_by_trash: sum(|totals| totals.freed_by_trash),
            reaped: sum(|totals| totals.reaped),
            rescued: sum(|totals| totals.rescued),
            evicted: sum(|totals| totals.evicted),
            failures: sum(|totals| totals.failures),
        }
    }
}

impl RunReport {
    /// Fills in the sums and the outcome, once every row is there.
    ///
    /// What repacking and emptying the trash freed is in no row, and is passed in. A run that was
    /// refused or stopped early stays that: what failed in it is in the rows.
    pub fn tally(&mut self, freed_by_gc: u64, freed_by_trash: u64) {
        self.totals = totals(self, freed_by_gc, freed_by_trash);
        let short = self.eviction.shortfall_bytes > 0 || self.eviction.shortfall_inodes > 0;
        if !matches!(
            self.run.outcome,
            RunOutcome::Refused | RunOutcome::Interrupted
        ) {
            self.run.outcome = if self.totals.failures > 0 || short {
                RunOutcome::Failed
            } else {
                RunOutcome::Ok
            };
        }
    }

    /// Returns this run's exit code, by `docs/design/contract.md#exit-codes`.
    pub fn exit_code(&self) -> u8 {
        match self.run.outcome {
            RunOutcome::Ok => 0,
            RunOutcome::Failed => 1,
            RunOutcome::Refused => 3,
            RunOutcome::Interrupted => 4,
        }
    }

    /// Every tree of every repo.
    pub fn worktrees(&self) -> impl Iterator<Item = &Worktree> {
        self.repos.iter().flat_map(|repo| &repo.worktrees)
    }
}

impl Worktree {
    /// Whether it went or, in a dry run, would go.
    pub fn goes(&self) -> bool {
        matches!(self.outcome, TreeOutcome::Reaped | TreeOutcome::Planned)
    }

    /// Whether its work was saved under a ref or, in a dry run, would be.
    pub fn rescued(&self) -> bool {
        self.rescue_ref.is_some()
            || (self.outcome == TreeOutcome::Planned && self.class == Some(Class::Unsaved))
    }
}

impl UnitOutcome {
    /// Whether the unit went or, in a dry run, would go.
    pub fn goes(&self) -> bool {
        matches!(self, Self::Evicted | Self::Planned)
    }
}

impl Volume {
    /// The fraction of the volume's bytes in use at this level, of those that others than root may
    /// fill, as in df and the kubelet, and as the watermarks count. None if the size is unknown.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of petabytes is still exact to far more digits than anybody reads"
    )]
    pub fn share(&self, level: Level) -> Option<f64> {
        (self.total_bytes > 0)
            .then(|| level.used_bytes as f64 / (level.used_bytes + level.free_bytes) as f64)
    }

    /// The fraction of its inodes; none if it has no fixed number.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub fn inode_share(&self, level: Level) -> Option<f64> {
        (self.total_inodes > 0).then(|| level.used_inodes as f64 / self.total_inodes as f64)
    }
}

/// The sums of a report's rows.
pub fn totals(report: &RunReport, freed_by_gc: u64, freed_by_trash: u64) -> Totals {
    let freed_by_reap = report
        .worktrees()
        .filter(|tree| tree.goes())
        .filter_map(|tree| tree.bytes)
        .sum();
    let freed_by_evict = report.eviction.freed_bytes;
    Totals {
        freed_bytes: freed_by_reap + freed_by_gc + freed_by_evict + freed_by_trash,
        freed_by_reap,
        freed_by_gc,
        freed_by_evict,
        freed_by_trash,
        reaped: how_many(report.worktrees().filter(|tree| tree.goes())),
        rescued: how_many(report.worktrees().filter(|tree| tree.rescued())),
        evicted: how_many(
            report
                .eviction
                .units
                .iter()
                .filter(|unit| unit.outcome.goes()),
        ),
        failures: how_many(
            troubles(report)
                .iter()
                .filter(|trouble| trouble.kind == Kind::Failure),
        ),
    }
}

/// The length as a number of the report.
pub(super) fn how_many(items: impl Iterator) -> u64 {
    items.map(|_| 1).sum()
}
