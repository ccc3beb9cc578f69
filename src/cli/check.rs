//! `check`, as typed: what a run needs, and the receivers of its notifications.

use super::{Exit, Format, config_file, failed, print, usage, write_as};
use crate::commands::check::check;
use crate::config;
use crate::fs::stop::Stop;
use crate::notify::receivers;
use crate::report::checks::{self, Checks};
use crate::report::look::Look;
use clap::Args;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Ask each receiver of alerts, too; the webhook gets a test message
    #[arg(long)]
    probe: bool,
}

/// Checks everything, and prints it.
pub(super) fn run(typed: Option<&Path>, asked: &Check) -> Result<u8, Exit> {
    let file = config_file::find(typed)?;
    let policy = &config::load(&file).map_err(usage)?;
    let stop = Stop::after(policy.run.deadline, Stop::listen().map_err(failed)?);
    let config = std::path::absolute(&file).unwrap_or(file);
    let mut lines = check(policy, &config, &stop);
    lines.extend(receivers::check(policy, asked.probe, &stop));
    let checks = Checks {
        schema: checks::SCHEMA,
        config,
        checks: lines,
    };
    print(&write_as(asked.format, &checks, || {
        checks::render(&checks, Look::of_stdout())
    }))?;
    Ok(if checks.are_good() { 0 } else { 3 })
}
