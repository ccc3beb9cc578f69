//! `explain`, as typed, and what it prints. Paths, branches and messages are escaped.

use super::{Exit, Format, failed, print, refused, usage, write_as};
use crate::commands::explain::{ExplainError, Request, explain};
use crate::commands::rescues::RescuesError;
use crate::config::Source;
use crate::config::policy::Policy;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::report::look::Look;
use crate::report::{explain as page, words};
use clap::Args;
use std::ffi::OsString;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A path in a worktree, a checkout or a cache; a rescue's id; or `CACHE:UNIT`, as a report
    /// names a cache's unit
    #[arg(value_name = "PATH")]
    path: OsString,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Explains one thing.
pub(super) fn run(policy: &Policy, source: &Source, asked: &Explain) -> Result<u8, Exit> {
    let stop = Stop::after(policy.run.deadline, Stop::listen().map_err(failed)?);
    let request = Request {
        policy,
        source,
        stop: &stop,
        now: clock::now(),
    };
    let explained = explain(&request, &asked.path).map_err(ended)?;
    print(&write_as(asked.format, &explained, || {
        page::render(&explained, Look::of_stdout())
    }))?;
    Ok(0)
}

fn ended(error: ExplainError) -> Exit {
    let message = words::plain(&error.to_string());
    match error {
        ExplainError::Volume(_)
        | ExplainError::Refused(_)
        | ExplainError::Rescue(RescuesError::Volume(_)) => refused(message),
        ExplainError::Nothing(_) | ExplainError::Rescue(RescuesError::Id(_)) => usage(message),
        ExplainError::Rescue(_) | ExplainError::Unread(_) => failed(message),
    }
}
