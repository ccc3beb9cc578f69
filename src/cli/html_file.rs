//! `report.html_file`: the page that each run replaces by its own.
//!
//! It is written like a notification: if that fails, the report has a note, and the run's outcome
//! stays what it is.

use super::output;
use crate::config::policy::{HtmlFile, Policy};
use crate::fs::atomic::{self, outside};
use crate::report::journal::{self, Past};
use crate::report::{RunOutcome, RunReport, shards};
use std::io;

/// Replaces the file. Returns a note if that failed.
///
/// A dry run writes none. A refused run writes none on the volume, which may not be the one that
/// the config describes.
pub(super) fn write(policy: &Policy, report: &RunReport) -> Option<String> {
    let file = policy.report.html_file.as_ref()?;
    if report.run.dry_run {
        return None;
    }
    let (path, written) = match file {
        HtmlFile::OnVolume(_) if report.run.outcome == RunOutcome::Refused => return None,
        HtmlFile::OnVolume(place) => (
            place.path(),
            atomic::replace(place, page(policy, report).as_bytes()),
        ),
        HtmlFile::Elsewhere(path) => (
            path.clone(),
            outside::replace(path, page(policy, report).as_bytes()),
        ),
    };
    written.err().map(|cause: io::Error| {
        let note = format!(
            "failed to write `{}` (report.html_file): {cause}; see that its directory is there and writable",
            path.display()
        );
        tracing::warn!("{note}");
        note
    })
}

/// Renders the page. A shard's has all shards of its run that have ended so far.
fn page(policy: &Policy, report: &RunReport) -> String {
    if report.run.shard.is_none() {
        return output::page(report, output::past(policy));
    }
    let file = journal::file(&policy.volume.state);
    let own = |run: &RunReport| run.run.id == report.run.id;
    let Past { runs, skipped } = output::past(policy);
    let own_run = shards::grouped(runs.clone())
        .into_iter()
        .find(|run| run.iter().any(own));
    let ids: Vec<String> = own_run
        .into_iter()
        .flatten()
        .map(|run| run.run.id)
        .collect();
    let whole = |run: &RunReport| ids.contains(&run.run.id);
    let shards = journal::read_whole(&file, &whole).unwrap_or_default().runs;
    let shards: Vec<RunReport> = shards.into_iter().filter(whole).collect();
    let merged = shards::merged(&shards);
    output::page(merged.as_ref().unwrap_or(report), Past { runs, skipped })
}
