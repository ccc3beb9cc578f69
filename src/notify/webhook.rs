//! Sends a message to a chat, or a run as JSON to any listener.
//!
//! The address is the secret: it is read when it is needed, and shown nowhere. Names in a message
//! may be hostile: they are in a block of code, in which no chat makes links or mentions of them.

use super::alertmanager::severity;
use super::http::SendError;
use super::{DeliveryError, http, runbook, volume};
use crate::config::policy::{Event, Policy, UrlFrom, Webhook, WebhookFormat};
use crate::fs::atomic::outside;
use crate::fs::stop::Stop;
use crate::report::{RunOutcome, RunReport, json, words};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes. An address is shorter.
const LONGEST: u64 = 8 << 10;
/// Bytes of a message's longest list: chats cut longer texts, and nobody reads them.
const MOST: usize = 3000;

/// The event of each alert, as in `when`: a run with any configured event is sent as a whole.
const EVENTS: [(Event, &[&str]); 4] = [
    (
        Event::Failed,
        &[
            "RunFailed",
            "RunInterrupted",
            "MissingTreesRefused",
            "RepoBusy",
            "TreesStuck",
        ],
    ),
    (Event::Shortfall, &["EvictionShortfall", "VolumeStillHigh"]),
    (Event::Evicted, &["Evicted", "EvictedInUse"]),
    (Event::Refused, &["RunRefused"]),
];

/// Why the webhook took no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    /// The address is to stand in an environment variable.
    #[error("the environment variable {0} is not set, or is no text; set it")]
    Unset(String),
    /// The address is to stand in a file.
    #[error("failed to read {place}: {cause}; make it readable for treewarden")]
    Unreadable {
        /// The file.
        place: String,
        /// Why.
        cause: io::Error,
    },
    /// What stands there is none.
    #[error("{0} holds no address; write one that starts with https://")]
    NoAddress(String),
    /// It was not taken.
    #[error("{0}")]
    Send(#[from] SendError),
}

/// Sends a message, if the run had what the webhook is to be told of.
pub(super) fn send(
    webhook: &Webhook,
    policy: &Policy,
    report: &RunReport,
    stop: &Stop,
) -> Result<(), DeliveryError> {
    if !is_wanted(webhook, report) {
        return Ok(());
    }
    let url = url(&webhook.url).map_err(DeliveryError::Webhook)?;
    let body = match webhook.format {
        WebhookFormat::Slack => json::line(&serde_json::json!({ "text": text(policy, report) })),
        WebhookFormat::Json => json::line(&whole(policy, report)),
    };
    let message = http::Message {
        method: http::Method::Post,
        url: &url,
        content_type: "application/json",
        body: &body,
    };
    http::send(&message, stop).map_err(|error| DeliveryError::Webhook(error.into()))
}

fn is_wanted(webhook: &Webhook, report: &RunReport) -> bool {
    let wanted = |alert: &str| {
        EVENTS
            .iter()
            .any(|(event, alerts)| alerts.contains(&alert) && webhook.when.contains(event))
    };
    report.alerts.iter().any(|alert| wanted(&alert.name))
}

/// The secret.
fn url(from: &UrlFrom) -> Result<String, WebhookError> {
    let (url, place) = match from {
        UrlFrom::Env(name) => {
            let url = std::env::var(name).map_err(|_| WebhookError::Unset(name.clone()))?;
            (url, name.clone())
        }
        UrlFrom::File(path) => {
            let place = format!("`{}`", path.display());
            let unreadable = |cause| WebhookError::Unreadable {
                place: place.clone(),
                cause,
            };
            (read(path).map_err(unreadable)?, place)
        }
    };
    let url = url.trim();
    if url.starts_with("https://") || url.starts_with("http://") {
        Ok(url.to_owned())
    } else {
        Err(WebhookError::NoAddress(place))
    }
}

/// Kubernetes mounts a secret as a link.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    outside::open(&std::fs::canonicalize(path)?, OpenOptions::new().read(true))?
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The text for people: what happened, then each alert with its details, the worst first.
fn text(policy: &Policy, report: &RunReport) -> String {
    let verb = match report.run.outcome {
        RunOutcome::Ok => "went well",
        RunOutcome::Failed => "failed",
        RunOutcome::Refused => "was refused",
        RunOutcome::Interrupted => "was stopped early",
    };
    let freed = words::size(report.totals.freed_bytes);
    let part = report
        .run
        .asked
        .as_ref()
        .map(|asked| format!(" ({})", inert(&words::asked(asked))))
        .unwrap_or_default();
    let head = format!(
        "treewarden on `{}`: the night{part} {verb}, {freed} freed.",
        inert(&volume(policy))
    );
    let mut lines: Vec<String> = Vec::new();
    for alert in &report.alerts {
        let details: Vec<String> = alert
            .details
            .iter()
            .map(|line| format!("  {line}"))
            .collect();
        lines.push(format!(
            "{} {}: {}",
            severity(alert.severity),
            alert.name,
            alert.summary
        ));
        // Two alerts of one eviction have the same details.
        lines.extend(
            details
                .into_iter()
                .filter(|line| !lines.contains(line))
                .collect::<Vec<_>>(),
        );
    }
    let link = report
        .alerts
        .first()
        .map(|worst| runbook(policy, worst))
        .unwrap_or_default();
    format!(
        "{head}\n```\n{}\n```\nWhat to do: {link}",
        cut(&inert(&lines.join("\n")))
    )
}

/// The text without what a chat interprets: its escapes, and the end of a block of code.
fn inert(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('`', "'")
}

/// At most so many bytes of whole lines, and how much is missing.
fn cut(text: &str) -> String {
    let mut kept = String::new();
    for (number, line) in text.lines().enumerate() {
        if kept.len() + line.len() > MOST {
            let rest = text.lines().count() - number;
            return format!(
                "{kept}... and {} in the report",
                words::count(rest as u64, "more line").replace("more lines", "lines more")
            );
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept.trim_end().to_owned()
}

/// The report for programs, with the volume's name and without long lists, which no endpoint would
/// accept.
fn whole(policy: &Policy, report: &RunReport) -> serde_json::Value {
    let mut whole = serde_json::json!({
        "schema": report.schema, "run": report.run, "volume": report.volume, "totals": report.totals, "alerts": report.alerts,
    });
    whole["volume"]["name"] = volume(policy).into();
    whole
}
