//! `history`, and `history show`, as typed, and what they print.

use super::output::{self, prove_writable};
use super::{Exit, Format, ReportFormat, print, refused, usage, write_as};
use crate::config::policy::Policy;
use crate::report::history::{self, History as Told};
use crate::report::journal::{self, Past};
use crate::report::look::Look;
use crate::report::{RunReport, shards, words};
use anstream::eprintln;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The most runs that a message names.
const NAMED: usize = 5;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct History {
    #[command(subcommand)]
    of_one: Option<OfOne>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How many runs, the newest; 0 for all. The shards of a run count once
    #[arg(long, default_value_t = 30)]
    last: usize,
}

#[derive(Debug, Subcommand)]
enum OfOne {
    /// Show a past run's whole report. The shards of a run are shown as one
    Show(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// The run: the beginning of its id or of the time at which it began (UTC), as `2026-11-21` or
    /// `2026-11-21T03:00` [default: the last]
    id: Option<String>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Write it to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl History {
    pub(super) fn run(&self, policy: &Policy) -> Result<u8, Exit> {
        match &self.of_one {
            Some(OfOne::Show(asked)) => asked.run(policy),
            None => list(policy, self.format, self.last),
        }
    }
}

fn list(policy: &Policy, format: Format, last: usize) -> Result<u8, Exit> {
    let history = journal::read(&journal::file(&policy.volume.state)).map_err(refused)?;
    let groups = shards::grouped(history.runs);
    let first = match last {
        0 => 0,
        last => groups.len().saturating_sub(last),
    };
    let runs = groups[first..].concat();
    if history.skipped > 0 && matches!(format, Format::Json) {
        tracing::warn!(
            lines = history.skipped,
            "part of the journal could not be read and was left out"
        );
    }
    let told = Told::of(&runs, history.skipped);
    print(&write_as(format, &told, || {
        history::render(&runs, history.skipped, Look::of_stdout())
    }))?;
    Ok(0)
}

impl Show {
    fn run(&self, policy: &Policy) -> Result<u8, Exit> {
        self.output.as_deref().map_or(Ok(()), prove_writable)?;
        let file = journal::file(&policy.volume.state);
        let past = journal::read(&file).map_err(refused)?;
        let groups = shards::grouped(past.runs);
        let chosen = chosen(&groups, self.id.as_deref())?;
        let ids: Vec<&str> = groups[chosen].iter().map(|run| &*run.run.id).collect();
        let whole = |run: &RunReport| ids.contains(&&*run.run.id);
        let Past { runs, skipped } = journal::read_whole(&file, &whole).map_err(refused)?;
        let runs: Vec<RunReport> = runs.into_iter().filter(whole).collect();
        let Some(report) = shards::merged(&runs) else {
            return Err(usage("the journal was replaced meanwhile; try again"));
        };
        if !report.left_out.is_empty() {
            eprintln!(
                "treewarden: the journal left out {} of this run: its line would have been too long",
                words::and(&report.left_out)
            );
        }
        let before = || Past {
            runs: groups[..=chosen].concat(),
            skipped,
        };
        let written = output::write(&report, self.format, self.output.as_deref(), before);
        written.map(|()| 0)
    }
}

/// Returns the position of the wanted run.
fn chosen(groups: &[Vec<RunReport>], id: Option<&str>) -> Result<usize, Exit> {
    let Some(last) = groups.len().checked_sub(1) else {
        return Err(usage(
            "the journal has no run yet; `treewarden run` writes the first one",
        ));
    };
    let Some(id) = id else { return Ok(last) };
    let is = |run: &RunReport| run.run.id.starts_with(id) || began(run).starts_with(id);
    let found: Vec<usize> = (0..=last).filter(|at| groups[*at].iter().any(is)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(usage(format!(
            "failed to find the run `{}`: no id and no time in the journal begins so; `treewarden history --last 0` shows when each began",
            words::plain(id)
        ))),
        [..] => {
            let told = |at: &usize| groups[*at].first().map_or_else(String::new, began);
            let all: Vec<String> = found.iter().map(told).collect();
            Err(usage(format!(
                "`{}` may mean {}; write more of its time",
                words::plain(id),
                words::few(&all, NAMED)
            )))
        }
    }
}

/// Returns when a run began: `2026-11-21T03:00:07Z`.
fn began(run: &RunReport) -> String {
    run.run.started.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
