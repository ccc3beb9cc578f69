//! Metrics to a Pushgateway, which keeps them for Prometheus until the next run.
//!
//! The group is the job, the volume and the shard. PUT replaces all of it, so that a repo that left the config leaves no series behind. It must
//! never replace what this run knows nothing of: one that knows no earlier ones uses POST, which leaves other metrics alone.

use super::{http, volume};
use crate::config::policy::Policy;
use crate::report::RunReport;
use crate::stop::Stop;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Pushes the metrics; `whole` when they are all that there are.
pub(super) fn push(base: &str, policy: &Policy, report: &RunReport, metrics: &str, whole: bool, stop: &Stop) -> Result<(), String> {
    let method = if whole { http::Method::Put } else { http::Method::Post };
    let shard = report.run.shard.as_deref().map(|shard| group("shard", shard)).unwrap_or_default();
    let url = format!("{}/metrics/job/treewarden{}{shard}", base.trim_end_matches('/'), group("volume", &volume(policy)));
    http::send(method, &url, "text/plain; version=0.0.4; charset=utf-8", metrics, stop)
        .map_err(|cause| format!("failed to push the metrics to alerts.pushgateway: {cause}; the next run pushes its own"))
}

/// A label of the group. In base64, for the Pushgateway takes a slash for the next label's, however it is escaped.
fn group(name: &str, value: &str) -> String {
    format!("/{name}@base64/{}", URL_SAFE_NO_PAD.encode(value))
}
