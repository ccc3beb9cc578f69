//! Unchanged repos: nothing that git writes has changed since the last survey, and nothing is due
//! yet. They are skipped.
//!
//! Such a repo costs a listing of its refs, packs and registrations: no lock, no process, no walk.
//! Its last survey is reported again from a file in the state directory, where agents can write as
//! well. So that file is never a reason to change anything: if something is due, the repo is locked
//! and surveyed anew. Losing the file costs a survey. Forging it stops the work on the repo for a
//! week at most; a forger must come back each week.

use crate::config::policy::{self, Policy};
use crate::facts::repo::Repo;
use crate::fs::atomic::{self, Draft};
use crate::fs::clock;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::lock::peek;
use crate::plan;
use crate::report::{self, TreeOutcome, VerdictName};
use crate::survey::{fingerprint, probe};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

/// The schema's name and version.
const SCHEMA: &str = "treewarden.look/1";
/// In bytes; a thousand worktrees take 1 MiB.
const LARGEST: u64 = 4 << 20;
/// What changed this long before a survey may have changed again in the same tick of the server's
/// clock: git calls such files racy, and gives them a second (`docs/design/git.md#racy-files`).
const RACY: TimeDelta = TimeDelta::seconds(2);

/// The survey of a repo in which nothing is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedSurvey {
    schema: String,
    /// When it was made.
    at: DateTime<Utc>,
    /// Until when nothing will be due.
    until: DateTime<Utc>,
    fingerprint: String,
    /// The places of its trees.
    places: Vec<PathBuf>,
    /// Why nothing was repacked.
    gc: String,
    store: report::Counts,
    #[serde(default)]
    over_cap: Option<String>,
    #[serde(default)]
    rescues: report::Rescues,
    worktrees: Vec<report::Worktree>,
}

impl CachedSurvey {
    /// Parses a file; none if it isn't a survey of this version.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .filter(|look: &Self| look.schema == SCHEMA)
    }

    /// Returns the number of its worktrees, none of which is missing.
    pub fn trees(&self) -> usize {
        // A place that is named repeatedly counts once, so that no more can be missing than there
        // are.
        self.places.iter().collect::<HashSet<_>>().len()
    }

    /// Returns the row of a run that skips the repo: whatever the file says, nothing was done.
    pub fn row(self, blank: report::Repo, now: DateTime<Utc>) -> report::Repo {
        let since = u64::try_from(now.signed_duration_since(self.at).num_seconds()).unwrap_or(0);
        let gc = report::Gc {
            reason: self.gc,
            before: self.store,
            after: self.store,
            ..report::Gc::default()
        };
        let rescues = report::Rescues {
            expired: Vec::new(),
            ..self.rescues
        };
        let mut row = report::Repo {
            gc,
            rescues,
            over_cap: self.over_cap,
            worktrees: self.worktrees,
            unchanged_since: Some(self.at),
            ..blank
        };
        for tree in &mut row.worktrees {
            (tree.outcome, tree.bytes, tree.rescue_ref) = (TreeOutcome::Kept, None, None);
            // A repo in which a tree is due isn't skipped.
            if tree.verdict == VerdictName::Reap {
                tree.verdict = VerdictName::Unknown;
            }
            tree.idle_seconds = tree.idle_seconds.map(|idle| idle.saturating_add(since));
        }
        row
    }

    /// Replaces the file in one step. It need not outlive a crash, so it isn't synced.
    fn write(&self, state: &VolumePath, repo: &policy::Repo) -> io::Result<()> {
        atomic::make_directory(&state.join("looks")?)?;
        let trash = state.join("trash")?;
        atomic::make_directory(&trash)?;
        let mut new = Draft::private(&trash)?;
        atomic::json(new.file(), self)?;
        new.put(&file(state, repo).ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// The survey of a repo that may be skipped after it.
pub struct Seen<'a> {
    /// The facts.
    pub facts: &'a Repo,
    /// Its row in the report.
    pub row: &'a report::Repo,
    /// The run's time.
    pub now: DateTime<Utc>,
    /// The file server's clock, before the survey.
    pub clock: DateTime<Utc>,
    /// The volume's free space.
    pub free_bytes: u64,
}

/// Returns the last survey of a repo, if it still counts.
pub fn holds(
    policy: &Policy,
    repo: &policy::Repo,
    now: DateTime<Utc>,
    stop: &Stop,
) -> Option<CachedSurvey> {
    let file = atomic::open(&file(&policy.volume.state, repo)?, OFlags::RDONLY).ok()?;
    let written = clock::of_server(file.metadata().ok()?.modified().ok()?);
    let look = CachedSurvey::parse(&openat::content(file, LARGEST).ok()?)?;
    // Whatever the file claims, no survey counts for longer than the longest skip, from when it was
    // made.
    let holds = |from: DateTime<Utc>| plan::rest::holds(from, now);
    let in_time = look.at <= now && now < look.until && holds(look.at) && holds(written);
    let free = || peek(&policy.volume.locks(), &repo.name).is_ok_and(|lock| lock.is_ok());
    let same = || {
        fingerprint::of(repo, &look.places, stop).is_ok_and(|found| found.id == look.fingerprint)
    };
    let idle = || probe::busy(&repo.busy_probe, &repo.name, stop).is_none();
    (in_time && free() && same() && idle()).then_some(look)
}

/// Keeps a run's survey if the repo may be skipped. If that fails, the next run surveys again.
pub fn keep(state: &VolumePath, repo: &policy::Repo, seen: &Seen<'_>, stop: &Stop) {
    // Nothing that is looked at here shows what changes in a clone.
    if !repo.clones.is_empty() {
        return;
    }
    let Some(until) = plan::rest::until(seen.facts, repo, seen.free_bytes, seen.now) else {
        return;
    };
    let trees = seen.facts.worktrees.iter();
    let places: Vec<PathBuf> = trees.map(|tree| tree.path.clone()).collect();
    let found = fingerprint::of(repo, &places, stop).inspect_err(|error| {
        tracing::debug!(repo = repo.name, %error, "failed to keep what was seen; the next run looks again");
    });
    // This also rejects what changed during the survey.
    let settled = |at| seen.clock.signed_duration_since(at) > RACY;
    let Some(found) = found.ok().filter(|found| settled(found.newest)) else {
        return;
    };
    let report::Repo {
        gc,
        over_cap,
        rescues,
        worktrees,
        ..
    } = seen.row.clone();
    let (schema, fingerprint) = (SCHEMA.to_owned(), found.id);
    let look = CachedSurvey {
        schema,
        at: seen.now,
        until,
        fingerprint,
        places,
        gc: gc.reason,
        store: gc.before,
        over_cap,
        rescues,
        worktrees,
    };
    // Whatever is in its place must be removed, or every run surveys this repo.
    if let Err(error) = look.write(state, repo) {
        let place = file(state, repo).map_or_else(String::new, |place| place.to_string());
        tracing::warn!(
            repo = repo.name,
            "failed to keep what was seen in `{place}`: {error}"
        );
    }
}

fn file(state: &VolumePath, repo: &policy::Repo) -> Option<VolumePath> {
    state
        .join("looks")
        .and_then(|looks| looks.join(format!("{}.json", repo.name.replace('/', "__"))))
        .ok()
}
