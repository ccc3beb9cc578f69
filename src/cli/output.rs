//! Where a run's report goes: to standard output, or to the file or stream of `--output`.

use super::{Exit, LogFormat, Pass, ReportFormat, failed, printed, usage};
use crate::config::policy::Policy;
use crate::fs::atomic::outside;
use crate::report::journal;
use crate::report::{RunReport, html, json, look::Look, nights, text};
use anstream::eprintln;
use rustix::fs::{Access, access};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Checks, before anything is done, that the report can be written there.
pub(super) fn prove_writable(path: &Path) -> Result<(), Exit> {
    let can = if is_stream(path) {
        // Opening a pipe would wait for its reader.
        access(path, Access::WRITE_OK).map_err(io::Error::from)
    } else {
        outside::can_replace(path)
    };
    can.map_err(|cause| {
        usage(format!(
            "failed to write `{}`: {cause}; nothing was done: give --output a file in a directory that is there and writable",
            path.display()
        ))
    })
}

/// Writes the report.
pub(super) fn write(policy: &Policy, report: &RunReport, pass: &Pass) -> Result<(), Exit> {
    let render = |look, to: &mut dyn Write| match pass.format {
        ReportFormat::Text => to.write_all(text::render(report, look).as_bytes()),
        ReportFormat::Json => json::write(report, to),
        ReportFormat::Html => {
            // A refused run reports what is wrong with the volume, which is also why there are no
            // past runs.
            let read = journal::read(&journal::file(&policy.volume.state))
                .inspect_err(|error| tracing::warn!("{error}"));
            let journal = read.unwrap_or_default();
            let nights: Vec<RunReport> = nights::nights(journal.runs)
                .iter()
                .filter_map(|night| nights::merged(night))
                .collect();
            to.write_all(html::render(report, &nights, journal.skipped).as_bytes())
        }
    };
    let Some(path) = &pass.output else {
        return printed(render(Look::of_stdout(), &mut io::stdout()));
    };
    save(path, |to| render(Look::PLAIN, to)).map_err(|error| {
        failed(format!(
            "failed to write `{}`: {error}; the run itself is done",
            path.display()
        ))
    })
}

/// Writes atomically: a reader sees the old file or the new one. A device or a pipe is written to,
/// never replaced.
fn save(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if is_stream(path) {
        write(&mut File::create(path)?)
    } else {
        outside::replace_with(path, |file| write(file))
    }
}

pub(super) fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

/// Tells a person what the report in the file begins with, and a cluster's log the same.
pub(super) fn conclude(report: &RunReport, path: &Path, logs: LogFormat) {
    let (headline, path) = (text::headline(report), path.display());
    match logs {
        LogFormat::Text => eprintln!("treewarden: {headline} The report is in `{path}`."),
        LogFormat::Json => tracing::info!(report = %path, "{headline}"),
    }
}
