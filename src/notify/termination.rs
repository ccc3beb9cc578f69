//! One line for `kubectl describe pod`, in the file that the kubelet reads when the container has
//! ended.
//!
//! The kubelet reads 4096 bytes. The file is the kubelet's, so it is written to and never replaced.

use super::DeliveryError;
use crate::fs::atomic::outside;
use crate::report::{RunOutcome, RunReport, words};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// Bytes. The kubelet reads no more.
const MOST: usize = 4096;

/// Writes the line. Outside of a cluster there is no file, and nothing is written.
pub(super) fn write(file: &Path, report: &RunReport) -> Result<(), DeliveryError> {
    // Truncated only once it is known to be a plain file with no other name.
    let written = match outside::open(file, OpenOptions::new().write(true)) {
        Ok(mut open) => open
            .set_len(0)
            .and_then(|()| open.write_all(line(report).as_bytes())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    written.map_err(|cause| DeliveryError::TerminationLog {
        file: file.to_owned(),
        cause,
    })
}

/// Returns how the run ended and its alerts, the worst first.
fn line(report: &RunReport) -> String {
    let outcome = match report.run.outcome {
        RunOutcome::Ok => "ok",
        RunOutcome::Failed => "failed",
        RunOutcome::Refused => "refused",
        RunOutcome::Interrupted => "stopped early",
    };
    let head = format!(
        "{outcome}: {} freed",
        words::size(report.totals.freed_bytes)
    );
    let alerts = report
        .alerts
        .iter()
        .map(|alert| format!("{}: {}", alert.name, alert.summary));
    let parts: Vec<String> = std::iter::once(head).chain(alerts).collect();
    cut(words::plain(&parts.join("; ")))
}

fn cut(mut line: String) -> String {
    if line.len() > MOST {
        line.truncate(line.floor_char_boundary(MOST - '…'.len_utf8()));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_name_is_not_emptied() {
        let top = tempfile::tempdir().unwrap();
        let (theirs, log) = (top.path().join("theirs"), top.path().join("log"));
        std::fs::write(&theirs, "theirs").unwrap();
        std::fs::hard_link(&theirs, &log).unwrap();
        let text = include_str!("../../fuzz/seeds/journal/night.jsonl");
        let night = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(write(&log, &night).is_err());
        assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
        std::fs::write(top.path().join("own"), "x".repeat(5000)).unwrap();
        write(&top.path().join("own"), &night).unwrap();
        let message = std::fs::read_to_string(top.path().join("own")).unwrap();
        assert_eq!(message, line(&night));
    }

    #[test]
    fn a_line_is_never_longer_than_the_kubelet_reads() {
        for text in [
            "a".repeat(4096),
            "a".repeat(4097),
            "ä".repeat(4096),
            format!("a{}", "界".repeat(4096)),
        ] {
            let (whole, cut) = (text.clone(), cut(text));
            assert!(cut.len() <= MOST && cut.len() > MOST - 8, "{}", cut.len());
            assert_eq!(cut == whole, whole.len() <= MOST);
        }
    }
}
