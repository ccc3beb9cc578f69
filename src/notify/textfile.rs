//! Writes metrics to a file for node-exporter's textfile collector.
//!
//! The file is replaced as a whole, without following a link, so that a scrape sees the old metrics
//! or the new ones. Anybody may read it, because node-exporter runs as another user.
//!
//! Several shards of a run may write to the same file. Each replaces its own metrics, and keeps
//! those of the others.

use super::DeliveryError;
use crate::fs::atomic::outside;
use crate::plan::shard::Shard;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes. A longer file was not written by treewarden.
const LONGEST: u64 = 16 << 20;

/// Seconds. The metrics of a shard that ended longer ago are of an earlier run: by now another
/// machine may work on its repos, and here its times of success would look older and older.
const SAME_RUN: i64 = 12 * 60 * 60;

/// A metric, as lines.
struct Family<'a> {
    name: &'a str,
    about: Vec<&'a str>,
    samples: Vec<&'a str>,
}

/// Writes the metrics. Times of earlier successes that this run doesn't know are kept from the old
/// file, since otherwise a refused run would erase them. So are the metrics of other shards.
pub(super) fn write(file: &Path, metrics: &str) -> Result<(), DeliveryError> {
    let before = read(file).unwrap_or_default();
    outside::replace(file, with(&before, metrics).as_bytes()).map_err(|cause| {
        DeliveryError::Textfile {
            file: file.to_owned(),
            cause,
        }
    })
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    outside::open(file, OpenOptions::new().read(true))?
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the metrics, with those from the old file that are kept. The samples of a metric stay
/// together.
fn with(before: &str, metrics: &str) -> String {
    const LAST: [&str; 2] = [
        "treewarden_last_success_timestamp_seconds",
        "treewarden_repo_last_maintained_timestamp_seconds",
    ];
    let others = others(before, metrics);
    let mut all = families(metrics);
    for mut old in families(before) {
        let new = all.iter_mut().find(|family| family.name == old.name);
        let lost = new.is_none() && LAST.contains(&old.name);
        old.samples
            .retain(|sample| lost || shard(sample).is_some_and(|shard| others.contains(&shard)));
        match new {
            Some(new) => new.samples.append(&mut old.samples),
            None if old.samples.is_empty() => {}
            None => all.push(old),
        }
    }
    let mut text = String::new();
    for line in all.iter().flat_map(|it| it.about.iter().chain(&it.samples)) {
        text.push_str(line);
        text.push('\n');
    }
    text + "# EOF\n"
}

/// Returns the other shards of the metrics' run that wrote the old file.
fn others(before: &str, metrics: &str) -> BTreeSet<Shard> {
    let Some((own, now)) = ended(metrics).next() else {
        return BTreeSet::new();
    };
    ended(before)
        .filter(|(other, then)| {
            *other != own && other.count() == own.count() && now.saturating_sub(*then) < SAME_RUN
        })
        .map(|(other, _)| other)
        .collect()
}

/// Returns the shards whose metrics these are, each with the time when it ended.
fn ended(text: &str) -> impl Iterator<Item = (Shard, i64)> {
    text.lines().filter_map(|line| {
        let sample = line.strip_prefix("treewarden_last_run_timestamp_seconds{")?;
        let (_, time) = sample.rsplit_once(' ')?;
        Some((shard(line)?, time.split('.').next()?.parse::<i64>().ok()?))
    })
}

/// Returns the shard that a sample is of. A quote within another label is escaped, so that this
/// can't be a part of it.
fn shard(sample: &str) -> Option<Shard> {
    let (_, label) = sample.split_once(",shard=\"")?;
    label.split('"').next()?.parse().ok()
}

/// Returns the metrics of a text, in its order.
fn families(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        let Some(name) = name(line) else { continue };
        if families.last().is_none_or(|family| family.name != name) {
            families.push(Family {
                name,
                about: Vec::new(),
                samples: Vec::new(),
            });
        }
        let Some(family) = families.last_mut() else {
            continue;
        };
        if line.starts_with('#') {
            family.about.push(line);
        } else {
            family.samples.push(line);
        }
    }
    families
}

/// Returns the metric that a line is about.
fn name(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("# HELP ")
        .or_else(|| line.strip_prefix("# TYPE "))
        .unwrap_or(line);
    rest.split([' ', '{'])
        .next()
        .filter(|name| !name.is_empty() && *name != "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHT: &str = "# HELP treewarden_failures F.\n# TYPE treewarden_failures gauge\ntreewarden_failures{volume=\"v\"} 1.0\n";
    const LAST: &str = "# HELP treewarden_last_success_timestamp_seconds L.\n# TYPE treewarden_last_success_timestamp_seconds gauge\n\
                        treewarden_last_success_timestamp_seconds{volume=\"v\"} 7.0\n";

    #[test]
    fn a_night_that_knows_nothing_of_others_keeps_what_the_last_one_knew() {
        let before = format!("{NIGHT}{LAST}# EOF\n");
        let refused = NIGHT.replace("1.0", "2.0") + "# EOF\n";
        assert_eq!(
            with(&before, &refused),
            format!("{}{LAST}# EOF\n", NIGHT.replace("1.0", "2.0"))
        );
        let good = format!("{NIGHT}{}# EOF\n", LAST.replace("7.0", "9.0"));
        assert_eq!(
            [
                with(&before, &good),
                with("", &good),
                with("rubbish\n#\n", &good)
            ],
            [good.clone(), good.clone(), good.clone()]
        );
    }

    /// Returns the metrics of a run that ended at this time.
    fn run(shard: &str, ended: u32) -> String {
        let shard = if shard.is_empty() {
            String::new()
        } else {
            format!(",shard=\"{shard}\"")
        };
        format!(
            "# HELP treewarden_last_run_timestamp_seconds L.\n\
             # TYPE treewarden_last_run_timestamp_seconds gauge\n\
             treewarden_last_run_timestamp_seconds{{volume=\"v\"{shard}}} {ended}.0\n\
             # EOF\n"
        )
    }

    #[test]
    fn shards_of_one_run_keep_each_others_metrics() {
        let first = with(&run("", 80_000), &run("0/2", 100_000));
        assert_eq!(first, run("0/2", 100_000), "a plain run's go");
        let both = with(&first, &run("1/2", 103_000));
        let sample = "treewarden_last_run_timestamp_seconds{volume=\"v\",shard=\"0/2\"} 100000.0\n";
        let expected = run("1/2", 103_000).replace("# EOF", &format!("{sample}# EOF"));
        assert_eq!(both, expected);
        let again = with(&both, &run("1/2", 103_000));
        assert_eq!(again, expected, "its own are replaced");
        for (shard, ended) in [("", 104_000), ("0/3", 104_000), ("1/2", 190_000)] {
            let alone = run(shard, ended);
            assert_eq!(with(&both, &alone), alone, "{shard} at {ended}");
        }
    }

    #[test]
    fn a_metric_that_only_another_shard_has_stays() {
        let evicted = "# HELP treewarden_evicted_units E.\n# TYPE treewarden_evicted_units gauge\n\
                       treewarden_evicted_units{volume=\"v\",shard=\"0/2\",cache=\"npm\"} 4.0\n";
        let before = run("0/2", 100_000).replace("# EOF\n", &format!("{evicted}# EOF\n"));
        let after = with(&before, &run("1/2", 100_000));
        assert!(after.contains(evicted), "{after}");
    }
}
