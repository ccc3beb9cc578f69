//! Where a run's report goes: to standard output, or to the file or stream of `--output`.

use super::{Exit, LogFormat, ReportFormat, failed, printed, usage};
use crate::config::policy::Policy;
use crate::fs::atomic::outside;
use crate::report::journal::{self, Past};
use crate::report::{RunReport, html, json, look::Look, shards, text};
use anstream::eprintln;
use rustix::fs::{Access, OFlags, access, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a pipe may be without a reader.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a pipe without a reader is tried again.
const AGAIN: Duration = Duration::from_millis(50);

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

/// Writes a report, to standard output if there is no file. `past` returns the runs until then.
pub(super) fn write(
    report: &RunReport,
    format: ReportFormat,
    file: Option<&Path>,
    past: impl FnOnce() -> Past,
) -> Result<(), Exit> {
    let render = |look, to: &mut dyn Write| match format {
        ReportFormat::Text => to.write_all(text::render(report, look).as_bytes()),
        ReportFormat::Json => json::write(report, to),
        ReportFormat::Html => to.write_all(page(report, past()).as_bytes()),
    };
    let Some(path) = file else {
        return printed(render(Look::of_stdout(), &mut io::stdout()));
    };
    save(path, |to| render(Look::PLAIN, to))
        .map_err(|error| failed(format!("failed to write `{}`: {error}", path.display())))
}

/// Renders a report as a page, with the runs until then.
pub(super) fn page(report: &RunReport, past: Past) -> String {
    let past_runs: Vec<RunReport> = shards::grouped(past.runs)
        .iter()
        .filter_map(|run| shards::merged(run))
        .collect();
    html::render(report, &past_runs, past.skipped)
}

/// Returns the past runs. A refused run reports what is wrong with the volume, which is also why
/// there are none.
pub(super) fn past(policy: &Policy) -> Past {
    journal::read(&journal::file(&policy.volume.state))
        .inspect_err(|error| tracing::warn!("{error}"))
        .unwrap_or_default()
}

/// Writes atomically: a reader sees the old file or the new one. A device or a pipe is written to,
/// never replaced.
pub(super) fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match stream(path)? {
        Some(mut stream) => write(&mut stream),
        None => outside::replace_with(path, |file| write(file)),
    }
}

/// Returns whether a report is written to what is there, instead of replacing it.
pub(super) fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|there| (!there.is_file() && !there.is_dir()) || is_descriptor(path))
}

/// Opens a device or a pipe; none if a file is there or nothing is. What is open is judged, and
/// nothing is truncated. A pipe without a reader doesn't keep a finished run for ever.
fn stream(path: &Path) -> io::Result<Option<File>> {
    if !is_stream(path) {
        return Ok(None);
    }
    let careful = OFlags::NONBLOCK | OFlags::NOCTTY;
    let began = Instant::now();
    let file = loop {
        let opened = File::options()
            .append(true)
            .custom_flags(careful.bits().cast_signed())
            .open(path);
        match opened {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
                if began.elapsed() > PATIENCE {
                    return Err(io::Error::new(error.kind(), "nobody reads from this pipe"));
                }
                std::thread::sleep(AGAIN);
            }
            opened => break opened?,
        }
    };
    if file.metadata()?.is_file() && !is_descriptor(path) {
        return Ok(None);
    }
    let flags = fcntl_getfl(&file)? - OFlags::NONBLOCK;
    fcntl_setfl(&file, flags)?;
    Ok(Some(file))
}

/// Returns whether the path is a name for one of our own descriptors, as `/dev/stdout` is. A shell
/// may have opened a file there, and the name itself must not be replaced.
fn is_descriptor(path: &Path) -> bool {
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    directory
        .is_some_and(|directory| directory == Path::new("/dev") || directory.starts_with("/proc"))
}

/// Tells a person what the report in the file begins with, and a cluster's log the same.
pub(super) fn conclude(report: &RunReport, path: &Path, logs: LogFormat) {
    let (headline, path) = (text::headline(report), path.display());
    match logs {
        LogFormat::Text => eprintln!("treewarden: {headline} The report is in `{path}`."),
        LogFormat::Json => tracing::info!(report = %path, "{headline}"),
    }
}
