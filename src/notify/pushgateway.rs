//! Sends metrics to a Pushgateway, which keeps them for Prometheus until the next run.
//!
//! The group is the job, the volume and the shard. PUT replaces all of it, so that a repo that left
//! the config leaves no series behind. A run that doesn't know the earlier ones uses POST, which
//! keeps the metrics that it can't know.

use super::http::SendError;
use super::{DeliveryError, http, volume};
use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::report::{RunReport, shards, words};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A run's metrics for a Pushgateway.
pub(super) struct Metrics<'a> {
    pub(super) policy: &'a Policy,
    pub(super) report: &'a RunReport,
    pub(super) text: &'a str,
    /// The earlier runs; none if they are unknown.
    pub(super) past: Option<&'a [RunReport]>,
}

/// Asks whether it is ready to take metrics.
pub(super) fn probe(base: &str, stop: &Stop) -> Result<(), DeliveryError> {
    let message = http::Message {
        method: http::Method::Get,
        url: &format!("{}/-/ready", base.trim_end_matches('/')),
        content_type: "text/plain",
        body: "",
    };
    http::send(&message, stop).map_err(DeliveryError::Probe)
}

impl Metrics<'_> {
    /// Pushes the metrics, and drops those of shards that no longer exist. If one group can't be
    /// dropped, the others still are, unless time is over.
    pub(super) fn push(&self, base: &str, stop: &Stop) -> Result<(), DeliveryError> {
        let message = http::Message {
            method: if self.past.is_some() {
                http::Method::Put
            } else {
                http::Method::Post
            },
            url: &self.url(base, self.report.run.shard.as_deref()),
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: self.text,
        };
        http::send(&message, stop).map_err(DeliveryError::Push)?;
        let (mut whose, mut first) = (Vec::new(), None);
        for shard in shards::outdated(self.report, self.past.unwrap_or_default()) {
            let Err(cause) = self.drop_group(base, shard, stop) else {
                continue;
            };
            let name = shard.map(|shard| format!("shard {shard}"));
            whose.push(name.unwrap_or("a run without shards".to_owned()));
            first = first.or(Some(cause));
            if stop.reached().is_some() {
                break;
            }
        }
        let whose = words::and(&whose);
        first.map_or(Ok(()), |cause| Err(DeliveryError::Drop { whose, cause }))
    }

    fn drop_group(&self, base: &str, shard: Option<&str>, stop: &Stop) -> Result<(), SendError> {
        let message = http::Message {
            method: http::Method::Delete,
            url: &self.url(base, shard),
            content_type: "text/plain",
            body: "",
        };
        http::send(&message, stop)
    }

    /// Returns the group's address.
    fn url(&self, base: &str, shard: Option<&str>) -> String {
        let shard = shard.map(|shard| group("shard", shard)).unwrap_or_default();
        format!(
            "{}/metrics/job/treewarden{}{shard}",
            base.trim_end_matches('/'),
            group("volume", &volume(self.policy))
        )
    }
}

/// Formats a label of the group, in base64: the Pushgateway takes even an escaped slash for the
/// start of the next label.
fn group(name: &str, value: &str) -> String {
    format!("/{name}@base64/{}", URL_SAFE_NO_PAD.encode(value))
}
