//! How the volume's usage develops, by the journal's runs: its growth per day, the time until the
//! high watermark and until it is full, and the repos that grow fastest.
//!
//! A pace is the median of the slopes between all pairs of runs (Theil and Sen), so that one
//! outlier, or one large clean-up, doesn't distort it. It needs at least three runs over two days.

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
/// Days. Nothing later is projected.
const FORETOLD: f64 = 3650.0;

/// How the volume's usage develops.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Trends {
    /// The number of runs used.
    pub nights: usize,
    /// The median of the bytes per day that agents and jobs add between one run's end and the next
    /// one's beginning.
    #[serde(rename = "added_bytes_per_day")]
    pub added: f64,
    /// The median of the bytes that a run frees.
    #[serde(rename = "freed_bytes_per_night")]
    pub freed: u64,
    /// Bytes per day by which the level after a run grows.
    #[serde(rename = "growth_bytes_per_day")]
    pub pace: f64,
    /// Days until the high watermark; none if not within ten years at this pace, 0 if passed.
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
    let whole = |run: &RunReport| {
        !run.run.dry_run && run.run.asked.is_none() && run.run.outcome != RunOutcome::Refused
    };
    let counts = |run: &&RunReport| whole(run) && run.volume.after.used_bytes > 0;
    let nights: Vec<&RunReport> = runs.iter().filter(counts).collect();
    let nights = &nights[nights.len().saturating_sub(NIGHTS)..];
    let (first, last) = (nights.first()?, nights.last()?);
    if nights.len() < 3 || days(first.run.finished, last.run.finished) < 2.0 {
        return None;
    }
    let between = |pair: &[&RunReport]| {
        let [one, next] = [&pair[0], &pair[1]];
        (
            days(one.run.finished, next.run.started),
            float(next.volume.before.used_bytes) - float(one.volume.after.used_bytes),
        )
    };
    let added = median(nights.windows(2).map(between))?;
    let mut freed: Vec<u64> = nights
        .iter()
        .map(|night| night.totals.freed_bytes)
        .collect();
    freed.sort_unstable();
    let levels: Vec<_> = nights
        .iter()
        .map(|night| (night.run.finished, night.volume.after.used_bytes))
        .collect();
    let pace = slope(&levels)?;
    let level = last.volume.after;
    let usable = float(level.used_bytes + level.free_bytes);
    let until = |share: f64| {
        let left = share * usable - float(level.used_bytes);
        if left <= 0.0 {
            Some(0.0)
        } else {
            Some(left / pace).filter(|days| pace > 0.0 && *days < FORETOLD)
        }
    };
    Some(Trends {
        nights: nights.len(),
        added,
        freed: freed[freed.len() / 2],
        pace,
        until_high: until(last.volume.high),
        until_full: until(1.0),
        repos: fastest(nights),
    })
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
fn fastest(nights: &[&RunReport]) -> Vec<Growing> {
    let mut stores: BTreeMap<&str, Vec<(DateTime<Utc>, u64)>> = BTreeMap::new();
    for night in nights {
        for repo in night
            .repos
            .iter()
            .filter(|repo| repo.outcome == RepoOutcome::Maintained && repo.gc.after.bytes > 0)
        {
            stores
                .entry(&repo.name)
                .or_default()
                .push((night.run.finished, repo.gc.after.bytes));
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
    let mut growing: Vec<_> = growing
        .filter(|repo| repo.pace >= 1024.0 * 1024.0)
        .collect();
    growing.sort_by(|a, b| b.pace.total_cmp(&a.pace));
    growing.truncate(NAMED);
    growing
}

impl Trends {
    /// Describes the trends in a few sentences.
    pub fn told(&self) -> Vec<String> {
        let nights = words::count(self.nights as u64, "night");
        let added = format!(
            "Over {nights}, work added {} a day and a night freed {}",
            size(self.added),
            words::size(self.freed)
        );
        let pace = match self.pace {
            p if p.abs() < 1024.0 * 1024.0 => "the level stays where it is".to_owned(),
            p if p < 0.0 => format!("the level falls by {} a day", size(-p)),
            p => format!("the level rises by {} a day", size(p)),
        };
        let mut told = vec![format!("{added}: {pace}.")];
        let until = match (self.until_high, self.until_full) {
            (Some(high), Some(full)) if high > 0.0 => Some(format!(
                "the high mark is reached in {}, the volume is full in {}",
                span(high),
                span(full)
            )),
            (Some(high), None) if high > 0.0 => {
                Some(format!("the high mark is reached in {}", span(high)))
            }
            (_, Some(full)) => Some(format!(
                "the high mark is passed; the volume is full in {}",
                span(full)
            )),
            _ => None,
        };
        told.extend(
            until.map(|until| format!("At this pace {until}, but for what evictions free then.")),
        );
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
