//! Writes metrics to a file for node-exporter's textfile collector.
//!
//! The file is replaced as a whole, without following a link, so that a scrape sees the old metrics
//! or the new ones. Anybody may read it, because node-exporter runs as another user.

use super::DeliveryError;
use crate::fs::atomic::outside;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes. A longer file was not written by treewarden.
const LONGEST: u64 = 16 << 20;

/// Writes the metrics. Times of earlier successes that this run doesn't know are kept from the old
/// file: otherwise a refused run would erase them.
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

/// Returns the metrics, with those times from the old file that they lack.
fn with(before: &str, metrics: &str) -> String {
    const LAST: [&str; 2] = [
        "treewarden_last_success_timestamp_seconds",
        "treewarden_repo_last_maintained_timestamp_seconds",
    ];
    let known: BTreeSet<&str> = metrics.lines().filter_map(name).collect();
    let kept = before.lines().filter(|line| {
        name(line).is_some_and(|name| LAST.contains(&name) && !known.contains(name))
    });
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    format!(
        "{}{kept}# EOF\n",
        metrics.strip_suffix("# EOF\n").unwrap_or(metrics)
    )
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
}
