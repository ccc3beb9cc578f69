//! The upper rungs of [the ladder](crate::plan::ladder): what goes if caches alone could not make
//! room.
//!
//! The repos are surveyed again, without their locks, and now all trees that were idle for
//! `critical.min_idle` are inspected. What was chosen goes as ever: build output by the eviction,
//! and trees by the second pass over their repo, each under the repo's lock, after a second look. A
//! shard climbs for its own repos alone.

use super::context::{RepoResult, RunContext};
use super::job::DoneJob;
use super::mode::Mode;
use super::reckoned::free;
use super::stages::Stages;
use crate::config::policy::{self, Age};
use crate::ecosystems;
use crate::facts::cache::{IdleTree, Size};
use crate::facts::volume::Usage;
use crate::facts::worktree::{State, Worktree};
use crate::fs::volume_path::VolumePath;
use crate::plan::evict;
use crate::plan::ladder::{Candidate, Rung, TreeQueue, artifacts, before_their_age, output};
use crate::plan::reason::ReapReason;
use crate::plan::repo::Only;
use crate::report::{self, RunReport, UnitOutcome};
use crate::survey;
use crate::survey::context::VolumeContext;
use chrono::TimeDelta;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the upper rungs start from.
pub(super) struct Ladder<'a> {
    pub(super) context: &'a RunContext<'a>,
    pub(super) stages: &'a Stages<'a>,
    /// The usage that the eviction started from.
    pub(super) before: Usage,
    /// The usage after it.
    pub(super) now: Usage,
}

/// A repo, by the rules of the last rung.
struct Pressed {
    policy: policy::Repo,
    result: RepoResult,
}

/// A tree's repo, by its number, and its path.
type Which = (usize, PathBuf);

impl Ladder<'_> {
    /// Climbs as far as needed, and notes in the report what each rung freed. Returns the volume's
    /// projected usage.
    pub(super) fn climb(mut self, jobs: &mut [DoneJob<'_>], report: &mut RunReport) -> Usage {
        let Age::After(min_idle) = self.context.policy.eviction.min_idle else {
            return self.now;
        };
        if self.wanted().is_none() {
            return self.now;
        }
        let pressed = self.survey(jobs, min_idle);
        let caches = output(&self.context.policy.caches, min_idle);
        let mut idle = self.idle(&pressed, min_idle);
        let inside = ecosystems::inside_output();
        let inside = inside.flat_map(|kind| artifacts(&caches, kind));
        for (rung, caches) in [
            (Rung::Artifacts, inside.collect()),
            (Rung::BuildOutput, caches.clone()),
        ] {
            if let Some(wanted) = self.wanted() {
                if rung == Rung::BuildOutput {
                    idle = self.still_idle(&idle, min_idle, report);
                }
                let freed = self.output(caches, (&idle, wanted), report);
                self.step(rung, freed, report);
            }
        }
        let may_reap = self.context.options.only.reap;
        if let Some(wanted) = self.wanted().filter(|_| may_reap) {
            let freed = self.trees(jobs, &pressed, wanted, report);
            self.step(Rung::Worktrees, freed, report);
        }
        self.now
    }

    /// Returns what is still wanted; none if it is time to stop.
    fn wanted(&self) -> Option<Size> {
        let wanted = evict::urgent(&self.before, &self.now, &self.context.policy.eviction);
        wanted.filter(|_| self.context.stop.reached().is_none())
    }

    /// Notes what a rung freed.
    fn step(&mut self, rung: Rung, freed: Size, report: &mut RunReport) {
        free(&mut self.now, freed);
        let eviction = &mut report.eviction;
        eviction.shortfall_bytes = eviction.shortfall_bytes.saturating_sub(freed.bytes);
        eviction.shortfall_inodes = eviction.shortfall_inodes.saturating_sub(freed.inodes);
        eviction.rungs.push(report::Rung::of(rung, freed));
        tracing::info!(?rung, freed.bytes, freed.inodes, "climbed a rung");
    }

    /// Surveys the repos by the rules of the last rung.
    fn survey(&self, jobs: &[DoneJob<'_>], min_idle: Duration) -> Vec<Pressed> {
        let context = within(self.context, &Mode::DryRun);
        let one = |job: &DoneJob<'_>| {
            let worktrees = before_their_age(&job.policy.worktrees, min_idle);
            let policy = policy::Repo {
                worktrees,
                ..job.policy.clone()
            };
            let result = context.press(&policy);
            Pressed { policy, result }
        };
        self.context
            .repos
            .install(|| jobs.par_iter().map(one).collect())
    }

    /// Returns the idle trees, with the build output that may go.
    fn idle(&self, pressed: &[Pressed], min_idle: Duration) -> Vec<IdleTree> {
        let idle = pressed.iter().flat_map(|repo| &repo.result.idle);
        let idle: Vec<&IdleTree> = idle.map(|(_, tree)| tree).collect();
        let at_rest = || {
            let trees = idle.into_par_iter();
            trees.map(|tree| self.at_rest(tree, min_idle)).collect()
        };
        self.context.io.install(at_rest)
    }

    /// Returns the same trees without the build output that somebody wrote to meanwhile. What a rung
    /// took parts of was written by ourselves.
    fn still_idle(
        &self,
        idle: &[IdleTree],
        min_idle: Duration,
        report: &RunReport,
    ) -> Vec<IdleTree> {
        let units = report.eviction.units.iter();
        let evicted = units.filter(|unit| matches!(unit.outcome, UnitOutcome::Evicted));
        let evicted: Vec<&Path> = evicted.map(|unit| Path::new(&unit.unit)).collect();
        let is_ours = |place: &VolumePath| {
            let parts = &mut evicted.iter();
            parts.any(|part| part.starts_with(place.to_string()))
        };
        let one = |tree: &IdleTree| {
            let quiet = self.at_rest(tree, min_idle).regenerable;
            let mut tree = tree.clone();
            tree.regenerable
                .retain(|place| quiet.contains(place) || is_ours(place));
            tree
        };
        self.context
            .io
            .install(|| idle.par_iter().map(one).collect())
    }

    /// Evicts build output, or what is in it. Returns what that freed.
    fn output(
        &self,
        caches: Vec<policy::Cache>,
        (idle, wanted): (&[IdleTree], Size),
        report: &mut RunReport,
    ) -> Size {
        if caches.is_empty() || idle.is_empty() {
            return Size::default();
        }
        let more = self
            .stages
            .output(caches, idle, (&self.now, wanted), report);
        let eviction = &mut report.eviction;
        let freed = Size {
            bytes: more.freed_bytes,
            inodes: more.freed_inodes,
        };
        eviction.freed_bytes = eviction.freed_bytes.saturating_add(freed.bytes);
        eviction.freed_inodes = eviction.freed_inodes.saturating_add(freed.inodes);
        eviction.units.extend(more.units);
        let obstacles = more.obstacles.into_iter();
        let new: Vec<String> = obstacles
            .filter(|message| !eviction.obstacles.contains(message))
            .collect();
        eviction.obstacles.extend(new);
        freed
    }

    /// Returns the tree without the build output that was just written: a build may be at work
    /// where no process of it is seen.
    fn at_rest(&self, tree: &IdleTree, min_idle: Duration) -> IdleTree {
        let (now, stop) = (self.context.now, self.context.stop);
        let since = TimeDelta::from_std(min_idle)
            .ok()
            .and_then(|idle| now.checked_sub_signed(idle));
        let is_quiet = |place: &&VolumePath| {
            since.is_some_and(|since| !survey::written::is_since(place, since, stop))
        };
        IdleTree {
            regenerable: tree.regenerable.iter().filter(is_quiet).cloned().collect(),
            ..tree.clone()
        }
    }

    /// Removes trees before their age. If a second look keeps some, the next ones are tried. Returns
    /// what that freed.
    fn trees(
        &self,
        jobs: &mut [DoneJob<'_>],
        pressed: &[Pressed],
        wanted: Size,
        report: &mut RunReport,
    ) -> Size {
        let mut queue = self.queue(jobs, pressed, wanted);
        let (mut freed, mut left) = (Size::default(), wanted);
        loop {
            let chosen = self.choose(&mut queue, pressed, &report.eviction);
            if chosen.is_empty() {
                break;
            }
            freed += self.reap(jobs, pressed, &chosen);
            let mut stayed = 0_usize;
            for (which, size) in &chosen {
                // By their sizes as measured before, because a dry run knows no others.
                if is_gone(jobs, which) {
                    left.bytes = left.bytes.saturating_sub(size.bytes);
                    left.inodes = left.inodes.saturating_sub(size.inodes);
                } else {
                    stayed = stayed.saturating_add(1);
                }
            }
            queue.go_on(left, stayed);
        }
        if queue.is_held_back() {
            let max = self.context.policy.run.max_reaped;
            let why = format!("more trees could go, but run.max_reaped is {max}");
            report.eviction.obstacles.push(why);
        }
        freed
    }

    /// Returns the trees that may go, in order.
    fn queue(&self, jobs: &[DoneJob<'_>], pressed: &[Pressed], wanted: Size) -> TreeQueue<Which> {
        let gone: usize = jobs.iter().map(DoneJob::gone).sum();
        let (max, shard) = (
            self.context.policy.run.max_reaped,
            self.context.options.shard,
        );
        let most = shard.map_or(max, |shard| shard.part(max));
        let most = most.saturating_sub(gone);
        let due = pressed.iter().enumerate().flat_map(|(repo, pressed)| {
            let which = move |tree: &Worktree| (repo, tree.path.clone());
            let due = pressed.result.due.iter();
            due.map(move |(tree, class)| Candidate {
                class: *class,
                active: tree.active,
                tree: which(tree),
            })
        });
        TreeQueue::new(due.collect(), wanted, most)
    }

    /// Returns the next trees that together free what is wanted, each with what it frees.
    fn choose(
        &self,
        queue: &mut TreeQueue<Which>,
        pressed: &[Pressed],
        eviction: &report::Eviction,
    ) -> BTreeMap<Which, Size> {
        let mut chosen = BTreeMap::new();
        while let Some(Candidate { tree, .. }) = queue.next_due() {
            let size = self.measure(pressed, &tree, eviction);
            if self.context.stop.reached().is_none() && queue.goes(size) {
                chosen.insert(tree, size);
            }
        }
        chosen
    }

    /// Returns what a tree's removal frees; nothing if that is unknown. In a dry run, its build
    /// output that was to go before doesn't count again.
    fn measure(&self, pressed: &[Pressed], which: &Which, eviction: &report::Eviction) -> Size {
        let found = pressed.get(which.0).and_then(|repo| {
            let mut due = repo.result.due.iter();
            let (tree, _) = due.find(|(tree, _)| tree.path == which.1)?;
            let State::Inspected(contents) = &tree.state else {
                return None;
            };
            Some(tree.directories(contents.place.as_ref()?))
        });
        let Some(places) = found else {
            return Size::default();
        };
        let stop = self.context.stop;
        let measured = self
            .context
            .io
            .install(|| survey::size::size(&places, stop));
        let Ok(mut size) = measured else {
            return Size::default();
        };
        let root = &self.context.policy.volume.root;
        let planned = eviction.units.iter().filter(|unit| {
            unit.outcome == UnitOutcome::Planned && root.join(&unit.unit).starts_with(&which.1)
        });
        for unit in planned {
            size.bytes = size.bytes.saturating_sub(unit.bytes);
            size.inodes = size.inodes.saturating_sub(unit.inodes);
        }
        size
    }

    /// Removes the chosen trees by the second pass over their repos; a dry run only says so.
    fn reap(
        &self,
        jobs: &mut [DoneJob<'_>],
        pressed: &[Pressed],
        chosen: &BTreeMap<Which, Size>,
    ) -> Size {
        let context = within(self.context, self.context.mode);
        let one = |(number, (job, pressed)): (usize, (&mut DoneJob<'_>, &Pressed))| {
            let own = chosen.iter().filter(|((repo, _), _)| *repo == number);
            let own: BTreeMap<&Path, Size> = own
                .map(|((_, path), size)| (path.as_path(), *size))
                .collect();
            if own.is_empty() {
                return Size::default();
            }
            let mut first = RepoResult::of(pressed.result.row.clone());
            first
                .row
                .worktrees
                .retain(|row| own.contains_key(row.path.as_path()));
            first.row.failures.clear();
            for (path, size) in &own {
                if let Some(row) = first.row.worktrees.iter_mut().find(|row| row.path == *path) {
                    row.bytes = Some(size.bytes);
                }
                if context.mode.trash().is_none() {
                    first.freed += *size;
                }
            }
            let done = context.reap(&pressed.policy, first);
            merge(&mut job.result, done, &own)
        };
        let freed: Vec<Size> = self.context.repos.install(|| {
            let both = jobs.par_iter_mut().zip(pressed.par_iter());
            both.enumerate().map(one).collect()
        });
        for job in jobs {
            self.context.so_far.row(&job.result.row);
        }
        let mut sum = Size::default();
        for freed in freed {
            sum += freed;
        }
        sum
    }
}

/// Returns whether the tree was removed, or would be.
fn is_gone(jobs: &[DoneJob<'_>], (repo, path): &Which) -> bool {
    let rows = jobs.get(*repo).map(|job| &job.result.row.worktrees);
    rows.is_some_and(|rows| rows.iter().any(|row| row.path == *path && row.goes()))
}

/// Puts the rows of these trees into their repo's row. Returns what their removal freed.
fn merge(into: &mut RepoResult, done: RepoResult, own: &BTreeMap<&Path, Size>) -> Size {
    let paths: HashSet<&Path> = own.keys().copied().collect();
    let (name, message) = (
        ReapReason::UnderPressure.name(),
        ReapReason::UnderPressure.to_string(),
    );
    for mut row in done.row.worktrees {
        if !paths.contains(row.path.as_path()) {
            continue;
        }
        if row.goes() {
            row.because = name.clone();
            row.reasons.insert(0, message.clone());
        }
        let rows = &mut into.row.worktrees;
        match rows.iter_mut().find(|there| there.path == row.path) {
            Some(there) => *there = row,
            None => rows.push(row),
        }
    }
    into.row.failures.extend(done.row.failures);
    into.left.extend(done.left);
    into.freed += done.freed;
    done.freed
}

/// Returns a context for trees alone.
fn within<'a>(context: &RunContext<'a>, mode: &'a Mode) -> RunContext<'a> {
    RunContext {
        mode,
        only: Only {
            reap: true,
            ..Only::NONE
        },
        // Somebody may have begun to work since the run began.
        around: VolumeContext {
            processes: context.around.processes.anew(),
            ..context.around.clone()
        },
        borrowers: context.borrowers.clone(),
        span: context.span.clone(),
        ledger: None,
        ..*context
    }
}
