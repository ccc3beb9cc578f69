//! Combines the shards of a run into one report.
//!
//! A journal's lines are in the order in which runs ended; shards and times show which belong
//! together. The combined report says if shards are missing.

use super::{Eviction, RunOutcome, RunReport, Totals};
use crate::plan::shard::Shard;
use chrono::TimeDelta;
use std::collections::BTreeSet;

/// A shard that begins later than this after the others ended belongs to another run.
const APART: TimeDelta = TimeDelta::hours(1);

/// Groups runs, oldest first. A run that is no shard is a group of its own, and may have ended
/// between two shards: it is refused only while one is at work.
pub fn grouped(runs: Vec<RunReport>) -> Vec<Vec<RunReport>> {
    let mut groups: Vec<Vec<RunReport>> = Vec::new();
    for run in runs {
        let own = shard(&run);
        let comparable =
            |shards: &&mut Vec<RunReport>| own.is_none() || shards.iter().any(is_shard);
        match groups.iter_mut().rfind(comparable) {
            Some(shards) if belongs(&run, shards) => shards.push(run),
            _ => groups.push(vec![run]),
        }
    }
    groups
}

fn belongs(run: &RunReport, shards: &[RunReport]) -> bool {
    let Some(own) = shard(run) else { return false };
    let another = |other: &RunReport| {
        shard(other).is_some_and(|other| other.count() == own.count() && other != own)
    };
    shards.iter().all(another)
        && shards
            .iter()
            .any(|other| run.run.started <= other.run.finished + APART)
}

fn is_shard(run: &RunReport) -> bool {
    shard(run).is_some()
}

fn shard(run: &RunReport) -> Option<Shard> {
    run.run.shard.as_deref()?.parse().ok()
}

/// Merges the shards of a run. Its `shard` says how many there were: `8 shards` or `7 of 8 shards`.
/// Returns none if there are no runs.
pub fn merged(shards: &[RunReport]) -> Option<RunReport> {
    let first = shards.iter().min_by_key(|run| run.run.started)?;
    let Some(count) = shard(first).map(Shard::count) else {
        return Some(first.clone());
    };
    let last = shards.iter().max_by_key(|run| run.run.finished)?;
    let evicts = shards
        .iter()
        .find(|run| shard(run).is_some_and(Shard::is_last));
    let worst = shards.iter().max_by_key(|run| badness(run.run.outcome))?;
    let mut all = first.clone();
    let missing = if shards.len() < count as usize {
        format!("{} of ", shards.len())
    } else {
        String::new()
    };
    all.run.shard = Some(format!("{missing}{count} shards"));
    all.run.finished = last.run.finished;
    (all.run.outcome, all.run.reason) = (worst.run.outcome, worst.run.reason.clone());
    all.volume.after = last.volume.after;
    all.repos = shards.iter().flat_map(|run| run.repos.clone()).collect();
    all.failures = shards.iter().flat_map(|run| run.failures.clone()).collect();
    all.alerts = shards.iter().flat_map(|run| run.alerts.clone()).collect();
    all.eviction = evicts.map_or_else(Eviction::default, |run| run.eviction.clone());
    all.totals = shards
        .iter()
        .map(|run| run.totals)
        .fold(Totals::default(), Totals::and);
    Some(all)
}

/// Returns the shards of the last week's runs that had another number of shards than this run; none
/// is a plain run. Empty for any shard but the last.
pub fn outdated<'a>(this: &RunReport, past: &'a [RunReport]) -> BTreeSet<Option<&'a str>> {
    let count = |run: &RunReport| shard(run).map(Shard::count);
    let is_old = |run: &&RunReport| {
        let pushed = !run.run.dry_run && run.run.asked.is_none();
        pushed
            && this.run.started - run.run.started < TimeDelta::days(7)
            && count(run) != count(this)
    };
    let ends = shard(this).is_none_or(Shard::is_last);
    past.iter()
        .filter(|_| ends)
        .filter(is_old)
        .map(|run| run.run.shard.as_deref())
        .collect()
}

fn badness(outcome: RunOutcome) -> u8 {
    match outcome {
        RunOutcome::Ok => 0,
        RunOutcome::Interrupted => 1,
        RunOutcome::Refused => 2,
        RunOutcome::Failed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    /// Returns a run of a shard; the times are minutes since 1970.
    fn run(shard: &str, started: i64, finished: i64) -> RunReport {
        let text = include_str!("../../fuzz/seeds/journal/night.jsonl");
        let mut run: RunReport = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let at = |minutes: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        run.run.shard = Some(shard.to_owned()).filter(|shard| !shard.is_empty());
        (run.run.started, run.run.finished) = (at(started), at(finished));
        (run.run.outcome, run.run.reason) = (RunOutcome::Ok, None);
        run.totals = Totals {
            reaped: 1,
            ..Totals::default()
        };
        run
    }

    fn message(runs: &[(&str, i64, i64)]) -> Vec<String> {
        let groups = grouped(
            runs.iter()
                .map(|&(shard, started, finished)| run(shard, started, finished))
                .collect(),
        );
        let tell = |shards: &Vec<RunReport>| {
            let merged = merged(shards).unwrap();
            let took = (merged.run.finished - merged.run.started).num_minutes();
            format!(
                "{}: {} in {took}",
                merged.run.shard.unwrap_or("plain".into()),
                merged.totals.reaped
            )
        };
        groups.iter().map(tell).collect()
    }

    #[test]
    fn shards_of_a_run_are_one_run() {
        let day = 24 * 60;
        assert_eq!(
            message(&[("", 0, 9), ("", 10, 12)]),
            ["plain: 1 in 9", "plain: 1 in 2"]
        );
        assert_eq!(
            message(&[("1/3", 1, 5), ("0/3", 0, 9), ("2/3", 1, 12)]),
            ["3 shards: 3 in 12"]
        );
        // Only two run at a time.
        assert_eq!(
            message(&[("0/3", 0, 5), ("1/3", 0, 9), ("2/3", 6, 12)]),
            ["3 shards: 3 in 12"]
        );
        // A small plain run came between two shards.
        assert_eq!(
            message(&[("0/2", 0, 5), ("", 5, 6), ("1/2", 6, 9)]),
            ["2 shards: 2 in 9", "plain: 1 in 1"]
        );
        // The same shard twice, another number of shards, or a day in between: another run.
        assert_eq!(
            message(&[
                ("0/2", 0, 5),
                ("1/2", 0, 9),
                ("0/2", 10, 12),
                ("1/2", 10, 12)
            ]),
            ["2 shards: 2 in 9", "2 shards: 2 in 2"]
        );
        assert_eq!(
            message(&[("0/2", 0, 5), ("1/3", 0, 9), ("", 10, 11)]),
            [
                "1 of 2 shards: 1 in 5",
                "1 of 3 shards: 1 in 9",
                "plain: 1 in 1"
            ]
        );
        assert_eq!(
            message(&[("0/2", 0, 5), ("1/2", day, day + 2)]),
            ["1 of 2 shards: 1 in 5", "1 of 2 shards: 1 in 2"]
        );
    }

    #[test]
    fn the_worst_end_is_the_runs() {
        let mut shards = [run("0/2", 0, 1), run("1/2", 0, 2)];
        (shards[0].run.outcome, shards[0].run.reason) = (
            RunOutcome::Interrupted,
            Some("the deadline has passed".into()),
        );
        let merged = merged(&shards).unwrap();
        assert_eq!(
            (merged.run.outcome, merged.run.reason),
            (shards[0].run.outcome, shards[0].run.reason.clone())
        );
        assert_eq!(
            merged.repos.len(),
            shards.iter().map(|run| run.repos.len()).sum::<usize>()
        );
    }
}
