//! Ends a run that doesn't end by itself when it is time to stop.
//!
//! All work asks again and again whether to stop. A call into libgit2 or the kernel doesn't, and
//! can't be cancelled: it may loop, or wait for a file server that is gone. So a thread of its own
//! checks whether anything still asks. If nothing does for three minutes after the deadline or a
//! signal, it reports what was done until then, and ends the process. To the volume that is a kill,
//! and the next run repairs what a kill leaves.
//!
//! Three minutes are longer than the wait for a lock server (`lock::ask`), and than any step takes
//! from one item to the next. A run that is already being recorded is left to finish.

use crate::report::{self, RepoOutcome, RunOutcome, RunReport, TreeOutcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often it checks. It counts checks and reads no clock: after the process was suspended, a
/// clock would suggest that nothing had asked.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// After this many checks in a row between which nothing asked, the run hangs.
const SILENT: u32 = 180;
/// The same for a test, in debug builds only.
const TEST_SILENT: &str = "TREEWARDEN_TEST_SILENT";
/// The exit code of a run that was stopped early.
pub(super) const STOPPED: i32 = 4;

/// Returns after how many checks without a question a run hangs.
pub(super) fn patience() -> u32 {
    let given = std::env::var(TEST_SILENT).ok();
    given
        .filter(|_| cfg!(debug_assertions))
        .and_then(|checks| checks.parse().ok())
        .unwrap_or(SILENT)
}

/// What was done so far.
pub(super) struct SoFar {
    known: Mutex<Known>,
    /// Whether somebody records the run: it ended, or is being ended.
    taken: AtomicBool,
}

struct Known {
    report: RunReport,
    /// Whether the run has begun.
    begun: bool,
    /// The repos' rows, by name.
    rows: BTreeMap<String, report::Repo>,
    at_work: BTreeSet<String>,
}

/// Checks whether nothing asks any more whether to stop. `heard` counts those questions, and is
/// none until it is time to stop. Returns false if the run ends first, which closes `over`.
pub(super) fn is_stuck(
    heard: impl Fn() -> Option<u64>,
    over: &Receiver<()>,
    look: Duration,
    patience: u32,
) -> bool {
    let (mut silent, mut before) = (0_u32, None);
    while over.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
        let now = heard();
        silent = if now.is_some() && now == before {
            silent.saturating_add(1)
        } else {
            0
        };
        before = now;
        if silent >= patience {
            return true;
        }
    }
    false
}

impl SoFar {
    /// Starts with a blank report.
    pub(super) fn of(report: RunReport) -> Self {
        let known = Known {
            report,
            begun: false,
            rows: BTreeMap::new(),
            at_work: BTreeSet::new(),
        };
        Self {
            known: Mutex::new(known),
            taken: AtomicBool::new(false),
        }
    }

    /// Returns true to the first caller, who is to record the run.
    pub(super) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// Notes that the run has begun, with the volume's usage.
    pub(super) fn begun(&self, volume: report::Volume) {
        self.with(|known| {
            known.report.volume = volume;
            known.begun = true;
        });
    }

    /// Notes the failures and the eviction so far.
    pub(super) fn note(&self, report: &RunReport) {
        self.with(|known| {
            known.report.failures.clone_from(&report.failures);
            known.report.eviction.clone_from(&report.eviction);
        });
    }

    /// Notes that a pass over a repo begins. `blank` is its row until more is known; another
    /// shard's repo has none.
    pub(super) fn enter(&self, repo: &str, blank: Option<&report::Repo>) {
        self.with(|known| {
            known.at_work.insert(repo.to_owned());
            if let Some(blank) = blank {
                let row = known.rows.entry(repo.to_owned());
                row.or_insert_with(|| blank.clone());
            }
        });
    }

    /// Notes that the pass is over.
    pub(super) fn leave(&self, repo: &str) {
        self.with(|known| known.at_work.remove(repo));
    }

    /// Notes a repo's row, of all passes so far.
    pub(super) fn row(&self, row: &report::Repo) {
        self.with(|known| known.rows.insert(row.name.clone(), row.clone()));
    }

    /// Returns the report of a run that is being ended, and whether it had begun. `why` says why it
    /// was time to stop.
    pub(super) fn cut_short(&self, why: &str) -> (RunReport, bool) {
        self.with(|known| {
            let mut report = known.report.clone();
            let is_dry = report.run.dry_run;
            (report.run.outcome, report.run.reason) = (
                RunOutcome::Interrupted,
                Some(format!(
                    "{why}; minutes later a call into git's library or the file system had not \
                     ended, and the run was ended there"
                )),
            );
            let elsewhere = |name: &&String| !known.rows.contains_key(*name);
            for name in known.at_work.iter().filter(elsewhere) {
                report.failures.push(format!("the run hung in {name}"));
            }
            if known.at_work.is_empty() {
                report.failures.push(
                    "the run hung, but in no repo; see that the file server answers".to_owned(),
                );
            }
            report.repos = known.rows.values().cloned().collect();
            for row in &mut report.repos {
                let hung = known.at_work.contains(&row.name);
                if hung {
                    row.outcome = RepoOutcome::Failed;
                    row.failures.push(
                        "the run was ended while it hung here; run `git fsck` in this repo, and \
                         see that the file server answers"
                            .to_owned(),
                    );
                }
                let planned = |tree: &&mut report::Worktree| tree.outcome == TreeOutcome::Planned;
                for tree in row.worktrees.iter_mut().filter(planned) {
                    if !is_dry && hung {
                        let left = "the run was ended while it removed this repo's worktrees; \
                                    the next run reports where this one is";
                        tree.outcome = TreeOutcome::Failed(left.to_owned());
                    } else if !is_dry {
                        tree.outcome = TreeOutcome::Kept;
                        let why = "the run was ended before its turn came";
                        tree.reasons.insert(0, why.to_owned());
                    }
                }
            }
            (report, known.begun)
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().expect("nobody panics here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_run_in_which_nobody_asks_is_stuck() {
        let (ended, over) = mpsc::channel::<()>();
        assert!(is_stuck(|| Some(0), &over, SHORT, 10), "nobody ever asked");
        let asked = AtomicU64::new(0);
        let at_last = || match asked.fetch_add(1, Ordering::Relaxed) {
            // First it is not time, then somebody asks, then nobody does.
            early @ 0..30 => (early > 15).then_some(early),
            _ => Some(99),
        };
        assert!(is_stuck(at_last, &over, SHORT, 10));
        assert_eq!(asked.into_inner(), 30 + 1 + 10);
        let ends = std::thread::spawn(move || {
            std::thread::sleep(SHORT * 50);
            drop(ended);
        });
        assert!(!is_stuck(|| None, &over, SHORT, 10), "it is not time");
        ends.join().unwrap();
        assert!(!is_stuck(|| Some(0), &over, SHORT, 10), "it is over");
    }

    #[test]
    fn what_was_done_is_told_and_what_was_not_is_not() {
        let text = include_str!("../../fuzz/seeds/journal/night.jsonl");
        let mut night: RunReport = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        night.run.dry_run = false;
        let mut tree = night.worktrees().next().unwrap().clone();
        tree.outcome = TreeOutcome::Planned;
        let mut row = night.repos[0].clone();
        let so_far = SoFar::of(night);
        for name in ["a/done", "b/hung", "c/young"] {
            name.clone_into(&mut row.name);
            (row.outcome, row.worktrees) = (RepoOutcome::Maintained, Vec::new());
            so_far.enter(name, Some(&row));
            if name != "c/young" {
                row.worktrees = vec![tree.clone()];
                so_far.row(&row);
                so_far.leave(name);
            }
        }
        so_far.enter("b/hung", Some(&row));
        so_far.enter("d/another-shards", None);
        let (report, begun) = so_far.cut_short("the deadline has passed");
        assert!(!begun && report.exit_code() == 4);
        let rows: Vec<(&str, RepoOutcome, bool, bool)> = report
            .repos
            .iter()
            .map(|row| {
                let outcome = row.worktrees.first().map(|tree| &tree.outcome);
                (
                    row.name.as_str(),
                    row.outcome,
                    outcome == Some(&TreeOutcome::Kept),
                    matches!(outcome, Some(TreeOutcome::Failed(_))),
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("a/done", RepoOutcome::Maintained, true, false),
                ("b/hung", RepoOutcome::Failed, false, true),
                ("c/young", RepoOutcome::Failed, false, false),
            ]
        );
        assert!(so_far.take() && !so_far.take());
    }
}
