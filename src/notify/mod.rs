//! Notifies others of a run: metrics to a textfile and a Pushgateway, alerts to Alertmanager, a
//! webhook and the termination log, signs of life to a dead man's switch.
//!
//! One file and one function per sink. All are notified at once, so that a dead one delays no
//! other. The run is over by then, so a failed sink doesn't change its outcome. A dry run is not
//! sent, and no address is shown, because it may be a secret.

pub mod alert;
mod alertmanager;
mod http;
pub mod metrics;
pub mod ping;
mod pushgateway;
pub mod receivers;
mod termination;
mod textfile;
mod webhook;

use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::report::journal;
use crate::report::{Alert, RunOutcome, RunReport, words};
use http::SendError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use webhook::WebhookError;

/// The time limit of the sinks, with all their tries.
const PATIENCE: Duration = Duration::from_mins(1);

/// A sink's work, which fails if the notification could not be delivered.
type Sink<'a> = Box<dyn FnOnce() -> Result<(), DeliveryError> + Send + 'a>;

/// A notification that was not delivered. Its message names no address, which may be a secret.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    /// The kubelet's file.
    #[error(
        "failed to write `{}` (alerts.termination_log): {cause}; the report tells the same",
        file.display()
    )]
    TerminationLog {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// node-exporter's file.
    #[error(
        "failed to write the metrics to `{}`: {cause}; see that its directory is there and writable",
        file.display()
    )]
    Textfile {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The Pushgateway accepted no metrics.
    #[error("failed to push the metrics to alerts.pushgateway: {0}; the next run pushes its own")]
    Push(SendError),
    /// The Pushgateway did not drop the metrics of shards that no longer exist.
    #[error(
        "failed to drop the metrics of {whose} from alerts.pushgateway: {cause}; the next run tries again"
    )]
    Drop {
        /// The shards.
        whose: String,
        /// Why not those of the first.
        cause: SendError,
    },
    /// A server doesn't answer as it should.
    #[error("{0}")]
    Probe(SendError),
    /// Alertmanager accepted no alerts.
    #[error("failed to send the alerts to alerts.alertmanager: {0}; they stand in the report")]
    Alertmanager(SendError),
    /// The webhook accepted no message.
    #[error("failed to call alerts.webhook: {0}; the alerts stand in the report")]
    Webhook(WebhookError),
    /// The dead man's switch accepted no sign.
    #[error(
        "failed to give a sign to alerts.ping: {0}; whoever listens may take this run for dead"
    )]
    Ping(WebhookError),
    /// A sink panicked.
    #[error("a sink of alerts broke; this is a bug")]
    Broke,
}

/// Notifies every configured sink of a run, and returns a line for each that failed.
pub fn tell(policy: &Policy, report: &RunReport, stop: &Stop) -> Vec<String> {
    if report.run.dry_run {
        return Vec::new();
    }
    // The run's own deadline doesn't count. After a signal, each sink is tried only once.
    let stop = &stop.anew(PATIENCE);
    let failed = at_once(sinks(policy, report, stop));
    let told = |error: DeliveryError| {
        tracing::warn!("{error}");
        error.to_string()
    };
    failed.into_iter().map(told).collect()
}

fn sinks<'a>(policy: &'a Policy, report: &'a RunReport, stop: &'a Stop) -> Vec<Sink<'a>> {
    let alerts = &policy.alerts;
    let mut sinks: Vec<Sink<'a>> = Vec::new();
    if alerts.textfile.is_some() || alerts.pushgateway.is_some() {
        match &report.run.asked {
            None => sinks.extend(of_metrics(policy, report, stop)),
            // Metrics of a partial run would replace a whole run's, and lack the rest.
            Some(asked) => tracing::info!(
                "the metrics stay those of the last whole run: this was {}",
                words::asked(asked)
            ),
        }
    }
    if let Some(base) = alerts
        .alertmanager
        .as_ref()
        .filter(|_| !report.alerts.is_empty())
    {
        sinks.push(Box::new(move || {
            alertmanager::send(base, policy, report, stop)
        }));
    }
    if let Some(webhook) = &alerts.webhook {
        sinks.push(Box::new(move || {
            webhook::send(webhook, policy, report, stop)
        }));
    }
    if let Some(from) = &alerts.ping {
        sinks.push(Box::new(move || ping::send_end(from, report, stop)));
    }
    if let Some(file) = &alerts.termination_log {
        sinks.push(Box::new(move || termination::write(file, report)));
    }
    sinks
}

fn of_metrics<'a>(policy: &'a Policy, report: &'a RunReport, stop: &'a Stop) -> Vec<Sink<'a>> {
    let past = past(policy, report);
    let metrics = metrics::text(policy, report, past.as_deref());
    let pushed = metrics.clone();
    let file = policy.alerts.textfile.as_ref();
    let file = file.map(|file| Box::new(move || textfile::write(file, &metrics)) as Sink<'a>);
    let gateway = policy.alerts.pushgateway.as_ref();
    let gateway = gateway.map(|base| {
        Box::new(move || {
            let metrics = pushgateway::Metrics {
                policy,
                report,
                text: &pushed,
                past: past.as_deref(),
            };
            metrics.push(base, stop)
        }) as Sink<'a>
    });
    file.into_iter().chain(gateway).collect()
}

fn at_once(sinks: Vec<Sink<'_>>) -> Vec<DeliveryError> {
    std::thread::scope(|scope| {
        let told: Vec<_> = sinks.into_iter().map(|sink| scope.spawn(sink)).collect();
        told.into_iter()
            .filter_map(|sink| sink.join().unwrap_or(Err(DeliveryError::Broke)).err())
            .collect()
    })
}

/// Returns earlier runs, the oldest first; none if unknown, because the journal can't be read or
/// the volume may not be ours.
fn past(policy: &Policy, report: &RunReport) -> Option<Vec<RunReport>> {
    let file = journal::file(&policy.volume.state);
    (report.run.outcome != RunOutcome::Refused)
        .then(|| journal::read(&file).ok())
        .flatten()
        .map(|past| past.runs)
}

/// Returns the volume's name in notifications.
fn volume(policy: &Policy) -> String {
    policy
        .alerts
        .volume
        .clone()
        .unwrap_or_else(|| words::plain(&policy.volume.root.to_string_lossy()))
}

/// Returns the link to the runbook's section about this alert, whose heading is the alert's name.
/// None if the config names no runbook: a relative link leads nowhere.
fn runbook(policy: &Policy, alert: &Alert) -> Option<String> {
    let base = policy.alerts.runbook.as_deref()?;
    Some(format!("{base}#{}", alert.name.to_lowercase()))
}
