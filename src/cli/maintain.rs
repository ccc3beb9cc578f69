//! `run` and `report`: a run, its report, and the notifications of it.
//!
//! A run that hangs is ended soon after its time to stop: see [`run::run_watched`].

use super::html_file;
use super::output::{self, conclude, is_stream, prove_writable};
use super::{Exit, LogFormat, Pass, complain, failed, progress, usage, warn_of_secrets};
use crate::commands::repos;
use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::notify;
use crate::notify::ping::{self, Started};
use crate::report::RunReport;
use crate::run::{self, HungRun, Options};
use std::time::Duration;

/// The exit code of a run that was stopped early.
const STOPPED: i32 = 4;
/// What a run that hung is given to tell of itself: a little more than its sinks have.
const LAST_WORDS: Duration = Duration::from_secs(65);

/// Runs, writes the report, and tells others of it.
pub(super) fn maintain(
    policy: &Policy,
    pass: &Pass,
    mut options: Options,
    logs: LogFormat,
) -> Result<u8, Exit> {
    warn_of_secrets(policy);
    for name in &mut options.repos {
        let repo = repos::named(policy, name).map_err(|error| usage(format!("--repo: {error}")))?;
        name.clone_from(&repo.name);
    }
    pass.output.as_deref().map_or(Ok(()), prove_writable)?;
    let stop = Stop::after(
        pass.deadline.map_or(policy.run.deadline, |time| time.0),
        Stop::listen().map_err(failed)?,
    );
    let bar = progress();
    let give_up = |mut hung: HungRun<'_>| {
        // Notifying others may hang as well.
        let _ends = std::thread::Builder::new().spawn(|| {
            std::thread::sleep(LAST_WORDS);
            std::process::exit(STOPPED);
        });
        bar.finish_and_clear();
        complain(&failed(
            hung.report.run.reason.as_deref().unwrap_or("it hung"),
        ));
        // The report comes first: the journal is on the volume, which may be what hangs.
        if let Err(exit) = write(policy, &hung.report, pass) {
            complain(&exit);
        }
        hung.write_down();
        html_file::write(policy, &hung.report);
        notify::tell(policy, &hung.report, &stop);
    };
    let is_part = options.asked().is_some();
    let signs = !options.dry_run && ping::is_wanted(options.shard, is_part);
    let started = Started::tell(policy, signs, &stop);
    let mut report = run::run_watched(policy, &options, &stop, &bar, give_up);
    bar.finish_and_clear();
    started.arrived();
    tell(policy, pass, &mut report, &stop)?;
    if let Some(path) = pass.output.as_deref().filter(|path| !is_stream(path)) {
        conclude(&report, path, logs);
    }
    Ok(report.exit_code())
}

/// Writes the report.
fn write(policy: &Policy, report: &RunReport, pass: &Pass) -> Result<(), Exit> {
    let written = output::write(report, pass.format, pass.output.as_deref(), || {
        output::past(policy)
    });
    written.map_err(|exit| Exit {
        message: format!("{}; the run itself is done", exit.message),
        ..exit
    })
}

/// Writes the report of a run that is over, and tells others of it.
fn tell(policy: &Policy, pass: &Pass, report: &mut RunReport, stop: &Stop) -> Result<(), Exit> {
    // A file gets the report before anybody is notified, and again with the notifications that
    // failed. A stream gets it once.
    let file = pass.output.as_deref().is_some_and(|path| !is_stream(path));
    let mut written = if file {
        write(policy, report, pass)
    } else {
        Ok(())
    };
    let unwritten = html_file::write(policy, report);
    report.notes = notify::tell(policy, report, stop);
    report.notes.extend(unwritten);
    if !file || !report.notes.is_empty() {
        written = write(policy, report, pass);
    }
    written
}
