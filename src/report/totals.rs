//! The sums of a run and its outcome, computed from the report's own rows, so that no sum contains
//! what no row shows. A run with a failure is not a success.

use super::troubles::{Kind, troubles};
use super::{
    Class, Level, RunOutcome, RunReport, Totals, TreeOutcome, UnitOutcome, Volume, Worktree,
};

impl Totals {
    /// Returns the sums of both.
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
    /// The bytes freed by repacking and by emptying the trash are in no row, so they are passed in.
    /// A run that was refused or interrupted keeps that outcome: its rows say what failed in it.
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

    /// Returns every tree of every repo.
    pub fn worktrees(&self) -> impl Iterator<Item = &Worktree> {
        self.repos.iter().flat_map(|repo| &repo.worktrees)
    }
}

impl Worktree {
    /// Returns whether it was removed or, in a dry run, would be.
    pub fn goes(&self) -> bool {
        matches!(self.outcome, TreeOutcome::Reaped | TreeOutcome::Planned)
    }

    /// Returns whether its work was saved under a ref or, in a dry run, would be.
    pub fn rescued(&self) -> bool {
        self.rescue_ref.is_some()
            || (self.outcome == TreeOutcome::Planned && self.class == Some(Class::Unsaved))
    }
}

impl UnitOutcome {
    /// Returns whether the unit was evicted or, in a dry run, would be.
    pub fn goes(&self) -> bool {
        matches!(self, Self::Evicted | Self::Planned)
    }
}

impl Volume {
    /// Returns the fraction of the volume's bytes in use at this level. Space reserved for root is
    /// not counted, as in df, in the kubelet and for the watermarks. None if the size is unknown.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of petabytes is still exact to far more digits than anybody reads"
    )]
    pub fn share(&self, level: Level) -> Option<f64> {
        (self.total_bytes > 0)
            .then(|| level.used_bytes as f64 / (level.used_bytes + level.free_bytes) as f64)
    }

    /// Returns the fraction of its inodes in use; none if it has no fixed number.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub fn inode_share(&self, level: Level) -> Option<f64> {
        (self.total_inodes > 0).then(|| level.used_inodes as f64 / self.total_inodes as f64)
    }
}

/// Computes the sums of a report's rows.
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

/// Counts items as a number of the report.
pub(super) fn how_many(items: impl Iterator) -> u64 {
    items.map(|_| 1).sum()
}
