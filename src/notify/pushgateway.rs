//! Sends metrics to a Pushgateway, which keeps them for Prometheus until the next run.
//!
//! The group is the job, the volume and the shard. PUT replaces all of it, so that a repo that left
//! the config leaves no series behind. A run that doesn't know the earlier ones uses POST, which
//! keeps the metrics that it can't know.

use super::{http, volume};
use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::report::{RunReport, nights};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Pushes the metrics, and deletes those of shards that runs no longer have. `past` are the earlier
/// runs; none if unknown.
pub(super) fn push(
    base: &str,
    policy: &Policy,
    report: &RunReport,
    metrics: &str,
    past: Option<&[RunReport]>,
    stop: &Stop,
) -> Result<(), String> {
    let method = if past.is_some() {
        http::Method::Put
    } else {
        http::Method::Post
    };
    let of = |shard: Option<&str>| {
        let shard = shard.map(|shard| group("shard", shard)).unwrap_or_default();
        format!(
            "{}/metrics/job/treewarden{}{shard}",
            base.trim_end_matches('/'),
            group("volume", &volume(policy))
        )
    };
    http::send(
        method,
        &of(report.run.shard.as_deref()),
        "text/plain; version=0.0.4; charset=utf-8",
        metrics,
        stop,
    )
    .map_err(|cause| {
        format!(
            "failed to push the metrics to alerts.pushgateway: {cause}; the next run pushes its own"
        )
    })?;
    for shard in nights::outdated(report, past.unwrap_or_default()) {
        http::send(http::Method::Delete, &of(shard), "text/plain", "", stop).map_err(|cause| {
            let whose = shard.map_or("a night without shards".to_owned(), |shard| format!("shard {shard}"));
            format!("failed to drop the metrics of {whose} from alerts.pushgateway: {cause}; the next run tries again")
        })?;
    }
    Ok(())
}

/// A label of the group. In base64, because the Pushgateway takes even an escaped slash for the
/// next label's.
fn group(name: &str, value: &str) -> String {
    format!("/{name}@base64/{}", URL_SAFE_NO_PAD.encode(value))
}
