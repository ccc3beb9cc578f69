//! Sends a message to a chat, or a run as JSON to any listener.
//!
//! The address is a secret: it is read when it is needed, and shown nowhere. Names in a message may
//! be hostile: they are in a code block, in which no chat turns them into links or mentions.

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
/// The most bytes of a message's list of alerts: chats cut longer texts, and nobody reads them.
const MOST: usize = 3000;

/// The alerts of each event of `when`. A run with any configured event is sent as a whole.
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

/// Why the webhook accepted no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    /// The environment variable with the address is not set.
    #[error("the environment variable {0} is not set, or is no text; set it")]
    Unset(String),
    /// The file with the address can't be read.
    #[error("failed to read {place}: {cause}; make it readable for treewarden")]
    Unreadable {
        /// The file.
        place: String,
        /// Why.
        cause: io::Error,
    },
    /// The variable or the file contains no address.
    #[error("{0} holds no address; write one that starts with https://")]
    NoAddress(String),
    /// The message was not accepted.
    #[error("{0}")]
    Send(#[from] SendError),
}

/// Sends a message, if the run had an event that the webhook wants.
pub(super) fn send(
    webhook: &Webhook,
    policy: &Policy,
    report: &RunReport,
    stop: &Stop,
) -> Result<(), DeliveryError> {
    if !is_wanted(webhook, report) {
        return Ok(());
    }
    let body = match webhook.format {
        WebhookFormat::Slack => json::line(&serde_json::json!({ "text": text(policy, report) })),
        WebhookFormat::Json => json::line(&whole(policy, report)),
    };
    post(webhook, &body, stop)
}

/// Sends a message that says what it is. There is no other way to learn whether it would take one.
pub(super) fn probe(webhook: &Webhook, policy: &Policy, stop: &Stop) -> Result<(), DeliveryError> {
    let name = volume(policy);
    let text = format!(
        "treewarden on `{}`: a test message of `treewarden check --probe`. No run took place.",
        inert(&name)
    );
    let message = match webhook.format {
        WebhookFormat::Slack => serde_json::json!({ "text": text }),
        WebhookFormat::Json => serde_json::json!({
            "schema": "treewarden.probe/1",
            "volume": {"name": name, "root": policy.volume.root.to_string_lossy()},
            "text": text,
        }),
    };
    post(webhook, &json::line(&message), stop)
}

fn post(webhook: &Webhook, body: &str, stop: &Stop) -> Result<(), DeliveryError> {
    let url = url(&webhook.url).map_err(DeliveryError::Webhook)?;
    let message = http::Message {
        method: http::Method::Post,
        url: &url,
        content_type: "application/json",
        body,
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

/// Reads the address, which is a secret.
pub(super) fn url(from: &UrlFrom) -> Result<String, WebhookError> {
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

/// Reads a file through links: Kubernetes mounts a secret as a link.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    outside::open(&std::fs::canonicalize(path)?, OpenOptions::new().read(true))?
        .take(LONGEST)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the text for people: what happened, then each alert with its details, the worst first.
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
        "treewarden on `{}`: the run{part} {verb}, {freed} freed.",
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
    let worst = report.alerts.first();
    let link = worst.and_then(|worst| runbook(policy, worst));
    let link = link.map_or(String::new(), |link| format!("\nWhat to do: {link}"));
    format!("{head}\n```\n{}\n```{link}", cut(&inert(&lines.join("\n"))))
}

/// Replaces what a chat interprets: its escapes, and the end of a code block.
fn inert(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('`', "'")
}

/// Returns whole lines of at most [`MOST`] bytes, and how many lines are missing.
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

/// Returns the report for programs, with the volume's name and without long lists, which no
/// endpoint would accept.
fn whole(policy: &Policy, report: &RunReport) -> serde_json::Value {
    let mut whole = serde_json::json!({
        "schema": report.schema, "run": report.run, "volume": report.volume, "totals": report.totals, "alerts": report.alerts,
    });
    whole["volume"]["name"] = volume(policy).into();
    whole
}
