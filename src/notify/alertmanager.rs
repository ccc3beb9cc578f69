//! Sends alerts to Alertmanager, by its API v2.
//!
//! Each alert is active until the next day's run has had time to send it again, then it ends by
//! itself. Its labels identify it, so times and numbers, which change from run to run, are in
//! annotations.

use super::http::SendError;
use super::{DeliveryError, http, runbook, volume};
use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::report::{Alert, RunReport, Severity};
use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Map, Value, json};

/// A day between two runs, and time for a longer one.
const STANDS: TimeDelta = TimeDelta::hours(26);

/// Sends the report's alerts, all at once.
pub(super) fn send(
    base: &str,
    policy: &Policy,
    report: &RunReport,
    stop: &Stop,
) -> Result<(), DeliveryError> {
    let alerts: Vec<Value> = report
        .alerts
        .iter()
        .map(|alert| shape(policy, report, alert))
        .collect();
    post(base, alerts, stop).map_err(DeliveryError::Alertmanager)
}

/// Asks whether it takes alerts, by sending none.
pub(super) fn probe(base: &str, stop: &Stop) -> Result<(), DeliveryError> {
    post(base, Vec::new(), stop).map_err(DeliveryError::Probe)
}

fn post(base: &str, alerts: Vec<Value>, stop: &Stop) -> Result<(), SendError> {
    let url = format!("{}/api/v2/alerts", base.trim_end_matches('/'));
    let message = http::Message {
        method: http::Method::Post,
        url: &url,
        content_type: "application/json",
        body: &Value::from(alerts).to_string(),
    };
    http::send(&message, stop)
}

fn shape(policy: &Policy, report: &RunReport, alert: &Alert) -> Value {
    let mut labels = Map::new();
    labels.insert("alertname".to_owned(), alert.name.clone().into());
    // The same as for the metrics: alerts of other programs may have the same name.
    labels.insert("job".to_owned(), "treewarden".into());
    labels.insert("severity".to_owned(), severity(alert.severity).into());
    labels.insert("volume".to_owned(), volume(policy).into());
    labels.extend(
        alert
            .repo
            .iter()
            .map(|repo| ("repo".to_owned(), repo.clone().into())),
    );
    labels.extend(
        report
            .run
            .shard
            .iter()
            .map(|shard| ("shard".to_owned(), shard.clone().into())),
    );
    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), alert.summary.clone().into());
    annotations.extend(runbook(policy, alert).map(|url| ("runbook_url".to_owned(), url.into())));
    if !alert.details.is_empty() {
        annotations.insert("description".to_owned(), alert.details.join("\n").into());
    }
    let time =
        |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (starts, ends) = (report.run.finished, report.run.finished + STANDS);
    json!({"labels": labels, "annotations": annotations, "startsAt": time(starts), "endsAt": time(ends)})
}

/// Returns the severity by Prometheus' convention.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
