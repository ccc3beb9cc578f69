//! How the volume's usage develops, by the journal's runs: its growth per day, the time until the
//! high watermark or the budget, and until it is full; and the repos that grow fastest.
//!
//! What work added and what runs freed are means over the same days, so their difference is the
//! growth: whatever happened between the first run and the last one, the sentence adds up. It needs
//! at least three runs over two days.

use super::gauge::Gauge;
use super::{RepoOutcome, RunOutcome, RunReport, words};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The number of newest runs that are used.
const NIGHTS: usize = 60;
/// The most repos that are named.
const NAMED: usize = 5;
/// Days. Slopes between runs that are closer together are only noise.
const APART: f64 = 0.5;
/// Days. Less says nothing.
const LEAST: f64 = 2.0;
/// Days. Nothing later is projected.
const FORETOLD: f64 = 3650.0;
/// Bytes per day. Less is no growth.
const SLOW: f64 = 1024.0 * 1024.0;

/// How the volume's usage develops.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Trends {
    /// The number of runs used.
    pub nights: usize,
    /// The mean of the bytes per day that agents and jobs add between one run's end and the next
    /// one's beginning. Negative if they deleted more.
    #[serde(rename = "added_bytes_per_day")]
    pub added: f64,
    /// The mean of the bytes per day by which the level fell during runs.
    #[serde(rename = "freed_bytes_per_day")]
    pub freed: f64,
    /// The mean of the bytes that a run frees.
    #[serde(rename = "freed_bytes_per_night")]
    pub freed_each: u64,
    /// Bytes per day by which the level after a run grows: `added` less `freed`.
    #[serde(rename = "growth_bytes_per_day")]
    pub pace: f64,
    /// The budget, if the last run measured against one: `added`, `freed` and `pace` are then about
    /// what stands below the root.
    #[serde(rename = "budget_bytes")]
    pub budget: Option<u64>,
    /// Days until the budget; none if not within ten years at this pace, 0 if passed.
    #[serde(rename = "days_until_budget")]
    pub until_budget: Option<f64>,
    /// Days until the high watermark; none and 0 as above.
    #[serde(rename = "days_until_high")]
    pub until_high: Option<f64>,
    /// Days until the volume is full.
    #[serde(rename = "days_until_full")]
    pub until_full: Option<f64>,
    /// The repos whose stores grow fastest.
    pub repos: Vec<Growing>,
}

/// The growth of a repo's store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Growing {
    /// The repo's name.
    pub name: String,
    /// Growth in bytes per day.
    #[serde(rename = "growth_bytes_per_day")]
    pub pace: f64,
    /// Bytes now.
    pub bytes: u64,
}

/// Returns the trends; none if there are too few runs.
pub fn trends(runs: &[RunReport]) -> Option<Trends> {
    let is_whole = |run: &RunReport| {
        !run.run.dry_run && run.run.asked.is_none() && run.run.outcome != RunOutcome::Refused
    };
    let counts = |run: &&RunReport| is_whole(run) && run.volume.after.used_bytes > 0;
    let counted: Vec<&RunReport> = runs.iter().filter(counts).collect();
    let runs = &counted[counted.len().saturating_sub(NIGHTS)..];
    let (first, last) = (runs.first()?, runs.last()?);
    if runs.len() < 3 || days(first.run.finished, last.run.finished) < LEAST {
        return None;
    }
    let gauge = last.volume.gauge();
    let disk = Pace::of(runs, Gauge::Disk)?;
    let pace = Pace::of(runs, gauge)?;
    let budget = last.volume.budget_bytes.filter(|_| gauge == Gauge::Budget);
    let level = last.volume.after;
    let usable = float(level.used_bytes.saturating_add(level.free_bytes));
    let used = float(level.used_bytes);
    let standing = float(level.standing_bytes.unwrap_or_default());
    let freed = runs.iter().map(|run| float(run.totals.freed_bytes));
    Some(Trends {
        nights: runs.len(),
        added: pace.added,
        freed: pace.freed,
        freed_each: whole(freed.sum::<f64>() / float(runs.len() as u64)),
        pace: pace.added - pace.freed,
        budget,
        until_budget: budget.and_then(|budget| pace.until(float(budget) - standing)),
        until_high: disk.until(last.volume.high * usable - used),
        until_full: disk.until(usable - used),
        repos: fastest(runs),
    })
}

/// How fast a level changes, in bytes per day.
struct Pace {
    /// Between runs.
    added: f64,
    /// During runs.
    freed: f64,
}

impl Pace {
    /// Returns the means between the first run's end and the last one's; none if too few of these
    /// runs measured that level.
    fn of(runs: &[&RunReport], gauge: Gauge) -> Option<Self> {
        let measured = |run: &RunReport| {
            let of = |level| gauge.used(level).map(float);
            Some((of(run.volume.before)?, of(run.volume.after)?))
        };
        let levels: Vec<_> = runs
            .iter()
            .filter_map(|run| Some((run.run.finished, measured(run)?)))
            .collect();
        let ((begin, _), (end, _)) = (levels.first()?, levels.last()?);
        let span = Some(days(*begin, *end)).filter(|days| *days >= LEAST && levels.len() >= 3)?;
        let pairs = || levels.windows(2).map(|pair| (pair[0].1, pair[1].1));
        let added: f64 = pairs().map(|(one, next)| next.0 - one.1).sum();
        let freed: f64 = pairs().map(|(_, next)| next.0 - next.1).sum();
        Some(Self {
            added: added / span,
            freed: freed / span,
        })
    }

    /// Returns the days until so many bytes more are used; 0 if they are by now.
    fn until(&self, left: f64) -> Option<f64> {
        let pace = self.added - self.freed;
        if left <= 0.0 {
            return Some(0.0);
        }
        Some(left / pace).filter(|days| pace >= SLOW && *days < FORETOLD)
    }
}

fn days(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).as_seconds_f64() / 86_400.0
}

/// Returns the slope in bytes per day; none if no two points are far enough apart.
fn slope(points: &[(DateTime<Utc>, u64)]) -> Option<f64> {
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    median(pairs.map(|(a, b)| (days(a.0, b.0), float(b.1) - float(a.1))))
}

/// Returns the median of all paces, each computed from its days and bytes.
fn median(spans: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let mut paces: Vec<f64> = spans
        .filter(|(days, _)| *days >= APART)
        .map(|(days, bytes)| bytes / days)
        .collect();
    paces.sort_unstable_by(f64::total_cmp);
    paces.get(paces.len() / 2).copied()
}

/// Returns the fastest growing repos, by the sizes of their stores, which every run measures.
fn fastest(runs: &[&RunReport]) -> Vec<Growing> {
    let mut stores: BTreeMap<&str, Vec<(DateTime<Utc>, u64)>> = BTreeMap::new();
    for run in runs {
        for repo in run
            .repos
            .iter()
            .filter(|repo| repo.outcome == RepoOutcome::Maintained && repo.gc.after.bytes > 0)
        {
            stores
                .entry(&repo.name)
                .or_default()
                .push((run.run.finished, repo.gc.after.bytes));
        }
    }
    let growing = stores.into_iter().filter(|(_, points)| points.len() >= 3);
    let growing = growing.filter_map(|(name, points)| {
        Some(Growing {
            name: name.to_owned(),
            pace: slope(&points)?,
            bytes: points.last()?.1,
        })
    });
    // Slower growth is not mentioned.
    let mut growing: Vec<_> = growing.filter(|repo| repo.pace >= SLOW).collect();
    growing.sort_by(|a, b| b.pace.total_cmp(&a.pace));
    growing.truncate(NAMED);
    growing
}

impl Trends {
    /// `Over 20 runs, work added 5 GiB a day and runs freed 3 GiB a day: the level rises by 2 GiB
    /// a day.`
    fn pace_sentence(&self) -> String {
        let runs = words::count(self.nights as u64, "run");
        let added = match self.added {
            added if added < 0.0 => format!("work took away {} a day", size(-added)),
            added => format!("work added {} a day", size(added)),
        };
        let freed = match self.freed {
            freed if freed < 0.0 => format!("{} a day came while they were at work", size(-freed)),
            freed => format!("runs freed {} a day", size(freed)),
        };
        let level = if self.budget.is_some() {
            "what counts for the budget"
        } else {
            "the level"
        };
        let pace = match self.pace {
            p if p.abs() < SLOW => "stays where it is".to_owned(),
            p if p < 0.0 => format!("falls by {} a day", size(-p)),
            p => format!("rises by {} a day", size(p)),
        };
        format!("Over {runs}, {added} and {freed}: {level} {pace}.")
    }

    /// Says when the budget or the high watermark is reached, and when the volume is full; nothing
    /// if neither is passed or in sight.
    fn end_sentence(&self) -> Option<String> {
        let (mark, first) = match self.budget {
            Some(budget) => (
                format!("budget of {}", words::size(budget)),
                self.until_budget,
            ),
            None => ("high mark".to_owned(), self.until_high),
        };
        let is_over = |days: Option<f64>| days.is_some_and(|days| days <= 0.0);
        let passed = match (is_over(self.until_full), is_over(first)) {
            (true, _) => Some("The volume is full".to_owned()),
            (_, passed) => passed.then(|| format!("The {mark} is passed")),
        };
        let reached = first.filter(|days| *days > 0.0);
        let reached = reached.map(|days| format!("the {mark} is reached in {}", span(days)));
        let full = self.until_full.filter(|days| *days > 0.0);
        let full = full.map(|days| format!("the volume is full in {}", span(days)));
        let ahead: Vec<String> = reached.into_iter().chain(full).collect();
        let ahead = (!ahead.is_empty()).then(|| words::and(&ahead));
        let tail = "but for what evictions free then.";
        match (passed, ahead) {
            (Some(passed), Some(ahead)) => Some(format!("{passed}; at this pace {ahead}, {tail}")),
            (Some(passed), None) => Some(format!("{passed}.")),
            (None, ahead) => ahead.map(|ahead| format!("At this pace {ahead}, {tail}")),
        }
    }

    /// Describes the trends in a few sentences.
    pub fn sentences(&self) -> Vec<String> {
        let mut told = vec![self.pace_sentence()];
        told.extend(self.end_sentence());
        if !self.repos.is_empty() {
            let each = |repo: &Growing| {
                format!(
                    "{} by {} a day to {}",
                    words::plain(&repo.name),
                    size(repo.pace),
                    words::size(repo.bytes)
                )
            };
            let repos: Vec<String> = self.repos.iter().map(each).collect();
            told.push(format!(
                "The stores that grow fastest: {}.",
                repos.join(", ")
            ));
        }
        told
    }
}

fn size(bytes: f64) -> String {
    words::size(whole(bytes))
}

fn span(days: f64) -> String {
    words::age(whole(days * 86_400.0))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a volume are exact to far more digits than anybody reads"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is below nothing is nothing"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
