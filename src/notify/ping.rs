//! Signs of life to a dead man's switch, by the convention of healthchecks.io and its kind: `/start`
//! when a run begins, the address itself when it went well, `/fail` when it didn't. Whoever listens
//! alerts if no sign comes, which no run could notice itself.
//!
//! The address is a secret. A partial run gives no sign, because it says nothing of the whole; of
//! several shards the last speaks for all, and any other only if it failed.

use super::http::{Message, Method};
use super::{DeliveryError, http, webhook};
use crate::config::policy::{Policy, UrlFrom};
use crate::fs::stop::Stop;
use crate::plan::shard::Shard;
use crate::report::{RunOutcome, RunReport, text};
use std::thread::{self, JoinHandle};

/// The sign that a run has begun, on its way.
pub struct Started(Option<JoinHandle<()>>);

impl Started {
    /// Sends it, unless the config names no switch. A failure is only logged: the sign of the end
    /// says more.
    pub fn tell(policy: &Policy, wanted: bool, stop: &Stop) -> Self {
        let ping = policy.alerts.ping.clone().filter(|_| wanted);
        let stop = stop.anew(super::PATIENCE);
        Self(ping.and_then(|from| {
            let told = move || {
                if let Err(error) = send(&from, "/start", "", &stop) {
                    tracing::warn!("{error}");
                }
            };
            thread::Builder::new().spawn(told).ok()
        }))
    }

    /// Waits for it, so that the sign of the end doesn't arrive before it.
    pub fn arrived(self) {
        if let Some(sent) = self.0 {
            let _broke = sent.join();
        }
    }
}

/// Returns whether a run of this shard, or of this part of the work, gives signs.
pub fn is_wanted(shard: Option<Shard>, is_part: bool) -> bool {
    !is_part && shard.is_none_or(Shard::is_last)
}

/// Sends the sign of a run's end, with its headline.
pub(super) fn send_end(
    from: &UrlFrom,
    report: &RunReport,
    stop: &Stop,
) -> Result<(), DeliveryError> {
    let went_well = report.run.outcome == RunOutcome::Ok;
    let shard = report.run.shard.as_deref().and_then(|it| it.parse().ok());
    let speaks = is_wanted(shard, report.run.asked.is_some());
    if report.run.asked.is_some() || (went_well && !speaks) {
        return Ok(());
    }
    let mut body = text::headline(report);
    if let Some(reason) = &report.run.reason {
        body = format!("{body} {}", crate::report::words::plain(reason));
    }
    send(from, if went_well { "" } else { "/fail" }, &body, stop)
}

/// Asks whether it takes signs, with one that changes nothing.
pub(super) fn probe(from: &UrlFrom, stop: &Stop) -> Result<(), DeliveryError> {
    send(from, "/log", "a test by `treewarden check --probe`", stop)
}

fn send(from: &UrlFrom, what: &str, body: &str, stop: &Stop) -> Result<(), DeliveryError> {
    let url = webhook::url(from).map_err(DeliveryError::Ping)?;
    let message = Message {
        method: Method::Post,
        url: &with(&url, what),
        content_type: "text/plain; charset=utf-8",
        body,
    };
    http::send(&message, stop).map_err(|error| DeliveryError::Ping(error.into()))
}

/// Adds to the address's path, which a query may follow.
fn with(url: &str, what: &str) -> String {
    let (path, query) = url
        .split_once('?')
        .map_or((url, String::new()), |(path, query)| {
            (path, format!("?{query}"))
        });
    format!("{}{what}{query}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_goes_below_the_address_and_before_its_query() {
        let table = [
            ("https://hc.example/id", "https://hc.example/id/fail"),
            ("https://hc.example/id/", "https://hc.example/id/fail"),
            (
                "https://hc.example/key/x?create=1",
                "https://hc.example/key/x/fail?create=1",
            ),
        ];
        for (url, expected) in table {
            assert_eq!(with(url, "/fail"), expected);
        }
        assert_eq!(with("https://hc.example/id", ""), "https://hc.example/id");
    }
}
