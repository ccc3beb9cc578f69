//! A run as Prometheus metrics: names, labels and help.
//!
//! Pure. The names are those of `docs/design/contract.md#metrics`. All are gauges of the last run,
//! in base units, without timestamps. A repo that left the config has no series, and an unknown
//! value has no sample.

use super::volume;
use crate::config::policy::{Marks, Policy};
use crate::report::{Level, RepoOutcome, RunOutcome, RunReport, VerdictName};
use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// Labels, and a value.
type Sample = (Vec<(&'static str, String)>, f64);

/// A metric with all its samples, in the order of the text.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

impl Collector for Family {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut family =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for (labels, value) in &self.samples {
            family.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }
}

/// Returns a run's metrics in the text format that the Pushgateway, node-exporter and Prometheus
/// read. The end mark and all else that is new in `OpenMetrics` are comments to them.
///
/// `past` are the earlier runs, the oldest first; if they are unknown, the metrics that need them
/// are left out.
pub fn text(policy: &Policy, report: &RunReport, past: Option<&[RunReport]>) -> String {
    let labels = [("volume".into(), volume(policy).into())].into_iter();
    let labels = labels.chain(
        report
            .run
            .shard
            .iter()
            .map(|shard| ("shard".into(), shard.clone().into())),
    );
    let mut registry = Registry::with_prefix_and_labels("treewarden", labels);
    let families = [
        run(report),
        repos(report),
        trees(report),
        rescues(report),
        level(policy, report),
        eviction(policy, report),
        last(policy, report, past),
    ];
    for family in families
        .into_iter()
        .flatten()
        .filter(|family| !family.samples.is_empty())
    {
        registry.register_collector(Box::new(family));
    }
    let mut message = String::new();
    text::encode(&mut message, &registry).expect("a string takes all there is");
    message
}

fn family(
    name: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = Sample>,
) -> Family {
    Family {
        name,
        help,
        samples: samples.into_iter().collect(),
    }
}

fn one(name: &'static str, help: &'static str, value: f64) -> Family {
    family(name, help, [(Vec::new(), value)])
}

fn label(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    vec![(name, value.to_owned())]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers, and petabytes are exact"
)]
fn number(n: u64) -> f64 {
    n as f64
}

fn count<T>(items: impl Iterator<Item = T>) -> f64 {
    number(items.count() as u64)
}

fn seconds(time: DateTime<Utc>) -> f64 {
    number(u64::try_from(time.timestamp()).unwrap_or_default())
}

fn run(report: &RunReport) -> Vec<Family> {
    let (run, totals) = (&report.run, &report.totals);
    let outcomes = [
        ("ok", RunOutcome::Ok),
        ("failed", RunOutcome::Failed),
        ("refused", RunOutcome::Refused),
        ("interrupted", RunOutcome::Interrupted),
    ];
    let freed = [
        ("reap", totals.freed_by_reap),
        ("gc", totals.freed_by_gc),
        ("evict", totals.freed_by_evict),
        ("trash", totals.freed_by_trash),
    ];
    vec![
        one(
            "last_run_timestamp_seconds",
            "When the last run ended, however it ended.",
            seconds(run.finished),
        ),
        one(
            "run_duration_seconds",
            "How long the last run took.",
            (run.finished - run.started).as_seconds_f64().max(0.0),
        ),
        family(
            "run_outcome",
            "How the last run ended: 1 for its outcome, 0 for the others.",
            outcomes.map(|(name, outcome)| {
                (
                    label("outcome", name),
                    f64::from(u8::from(run.outcome == outcome)),
                )
            }),
        ),
        family(
            "freed_bytes",
            "Bytes that the last run freed, by what freed them.",
            freed.map(|(stage, bytes)| (label("stage", stage), number(bytes))),
        ),
        one(
            "failures",
            "Repos, worktrees, cache units and steps that failed in the last run.",
            number(totals.failures),
        ),
    ]
}

fn repos(report: &RunReport) -> Vec<Family> {
    let outcomes = [
        ("maintained", RepoOutcome::Maintained),
        ("busy", RepoOutcome::Busy),
        ("refused", RepoOutcome::Refused),
        ("failed", RepoOutcome::Failed),
    ];
    let with = |outcome| count(report.repos.iter().filter(|repo| repo.outcome == outcome));
    let waited = report
        .repos
        .iter()
        .map(|repo| (label("repo", &repo.name), repo.lock.waited_seconds));
    vec![
        family(
            "repos",
            "Repos of the last run, by what became of them.",
            outcomes.map(|(name, outcome)| (label("outcome", name), with(outcome))),
        ),
        family(
            "repo_lock_wait_seconds",
            "How long the last run waited for the repo's lock.",
            waited,
        ),
        one(
            "prunes_refused",
            "Repos in which the last run dropped no registration, because too many trees were missing at once.",
            count(
                report
                    .repos
                    .iter()
                    .filter(|repo| repo.prune.refused.is_some()),
            ),
        ),
    ]
}

fn trees(report: &RunReport) -> Vec<Family> {
    let verdicts = [
        ("keep", VerdictName::Keep),
        ("reap", VerdictName::Reap),
        ("unknown", VerdictName::Unknown),
    ];
    // A repo that could not be inspected has an unknown number of trees, which is not none.
    let looked_at = report
        .repos
        .iter()
        .filter(|repo| repo.outcome == RepoOutcome::Maintained || !repo.worktrees.is_empty());
    let trees = looked_at.flat_map(|repo| {
        verdicts.map(|(name, verdict)| {
            let labels = vec![("repo", repo.name.clone()), ("verdict", name.to_owned())];
            (
                labels,
                count(repo.worktrees.iter().filter(|tree| tree.verdict == verdict)),
            )
        })
    });
    vec![
        family(
            "worktrees",
            "Worktrees that the last run looked at, by its verdict on them.",
            trees,
        ),
        one(
            "reaped_worktrees",
            "Worktrees that the last run removed.",
            number(report.totals.reaped),
        ),
        one(
            "rescued_worktrees",
            "Worktrees whose unsaved work the last run put under a ref.",
            number(report.totals.rescued),
        ),
    ]
}

fn rescues(report: &RunReport) -> Vec<Family> {
    let maintained = report
        .repos
        .iter()
        .filter(|repo| repo.outcome == RepoOutcome::Maintained);
    let rescues = || maintained.clone().map(|repo| (&repo.name, &repo.rescues));
    let kept = rescues().map(|(repo, rescues)| (label("repo", repo), number(rescues.kept as u64)));
    let next = rescues()
        .filter_map(|(repo, rescues)| Some((label("repo", repo), seconds(rescues.next_expires?))));
    vec![
        family(
            "rescues",
            "Rescues that stood before the last run and stay.",
            kept,
        ),
        family(
            "rescue_next_expiry_timestamp_seconds",
            "When the first of the repo's rescues will expire, by its age.",
            next,
        ),
    ]
}

fn level(policy: &Policy, report: &RunReport) -> Vec<Family> {
    let (volume, marks) = (&report.volume, &policy.eviction);
    let of = |resource: &str, share: &dyn Fn(Level) -> Option<f64>| {
        let when = [("before", volume.before), ("after", volume.after)];
        let sample = |(when, level): (&str, Level)| {
            Some((
                vec![("resource", resource.to_owned()), ("when", when.to_owned())],
                share(level).filter(|share| share.is_finite())?,
            ))
        };
        when.map(sample)
    };
    let samples = [
        of("bytes", &|level| volume.share(level)),
        of("inodes", &|level| volume.inode_share(level)),
    ];
    let both = |mark: Marks| {
        [("bytes", mark.bytes), ("inodes", mark.inodes)]
            .map(|(resource, mark)| (label("resource", resource), mark))
    };
    vec![
        family(
            "volume_used_ratio",
            "The share of the volume in use before and after the last run, from 0 to 1.",
            samples.into_iter().flatten().flatten(),
        ),
        family(
            "volume_high_ratio",
            "The share in use above which a run evicts, as the config has it.",
            both(marks.high),
        ),
        family(
            "volume_low_ratio",
            "The share in use that an eviction goes down to, as the config has it.",
            both(marks.low),
        ),
    ]
}

fn eviction(policy: &Policy, report: &RunReport) -> Vec<Family> {
    let eviction = &report.eviction;
    let gone = |cache: &str| {
        count(
            eviction
                .units
                .iter()
                .filter(|unit| unit.cache == cache && unit.outcome.goes()),
        )
    };
    let units = policy
        .caches
        .iter()
        .map(|cache| (label("cache", &cache.name), gone(&cache.name)));
    vec![
        one(
            "eviction_triggered",
            "Whether the last run had to evict from the caches: 1 or 0.",
            f64::from(u8::from(eviction.triggered)),
        ),
        one(
            "eviction_wanted_bytes",
            "Bytes that the last run's eviction was to free.",
            number(eviction.wanted_bytes),
        ),
        one(
            "eviction_freed_bytes",
            "Bytes that the last run's eviction freed.",
            number(eviction.freed_bytes),
        ),
        one(
            "eviction_shortfall_bytes",
            "Bytes that the last run's eviction fell short by.",
            number(eviction.shortfall_bytes),
        ),
        family(
            "evicted_units",
            "Units that the last run evicted, by cache.",
            units,
        ),
    ]
}

/// Returns when each thing last succeeded, maybe in an earlier run. Only a whole run is a success.
fn last(policy: &Policy, report: &RunReport, past: Option<&[RunReport]>) -> Vec<Family> {
    let Some(past) = past else { return Vec::new() };
    let real = || {
        std::iter::once(report)
            .chain(past.iter().rev())
            .filter(|run| !run.run.dry_run)
    };
    let when = |so: &dyn Fn(&RunReport) -> bool| {
        real()
            .find(|run| so(run))
            .map_or(0.0, |run| seconds(run.run.finished))
    };
    // A run of some repos maintained only these; a run of a part of the work maintained none.
    let all_of_it = |run: &RunReport| {
        run.run
            .asked
            .as_ref()
            .is_none_or(|asked| asked.only.is_empty())
    };
    let looked_after = |run: &RunReport, name: &str| {
        run.repos
            .iter()
            .any(|repo| repo.name == name && repo.outcome == RepoOutcome::Maintained)
    };
    let maintained = |name: &str| when(&|run| all_of_it(run) && looked_after(run, name));
    // A shard reports only its own repos.
    let ours = |name: &str| {
        report.run.shard.is_none() || report.repos.iter().any(|repo| repo.name == name)
    };
    let repos = policy
        .repos
        .iter()
        .filter(|repo| ours(&repo.name))
        .map(|repo| (label("repo", &repo.name), maintained(&repo.name)));
    vec![
        one(
            "last_success_timestamp_seconds",
            "When the last run ended in which nothing failed; 0 when no run is known that did.",
            when(&|run| run.run.outcome == RunOutcome::Ok && run.run.asked.is_none()),
        ),
        family(
            "repo_last_maintained_timestamp_seconds",
            "When the last run ended that looked after the repo; 0 when no run is known that did.",
            repos,
        ),
    ]
}
