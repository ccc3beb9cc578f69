//! The receivers of notifications, for `treewarden check`: whether a run could reach each of them
//! from here.
//!
//! Without a probe nothing is sent: files are looked at, and a secret's place. A probe asks each
//! server, and sends the webhook a message that says it is one. What a run can't deliver is a
//! warning; what a probe can't is what it was asked to find.

use super::{DeliveryError, PATIENCE, Sink, alertmanager, ping, pushgateway, webhook};
use crate::config::policy::{Alerts, Policy};
use crate::fs::stop::Stop;
use crate::report::checks::Check;
use rustix::fs::{Access, access};
use std::io;
use std::path::Path;

/// A server that a run sends something to.
struct Server<'a> {
    what: &'static str,
    /// What can be told without asking it.
    found: Result<String, String>,
    ask: Sink<'a>,
}

/// Checks every configured receiver, with `probe` also whether it answers.
pub fn check(policy: &Policy, probe: bool, stop: &Stop) -> Vec<Check> {
    let stop = &stop.anew(PATIENCE);
    let alerts = &policy.alerts;
    let mut checks: Vec<Check> = files(alerts);
    let servers = servers(policy, stop);
    checks.extend(if probe {
        asked(servers)
    } else {
        servers.into_iter().map(seen).collect::<Vec<_>>()
    });
    if checks.is_empty() {
        let nobody = "no receiver is configured: a run's exit code, its report and `treewarden history` say what became of it";
        checks.push(Check::ok("alerts", nobody));
    }
    checks
}

fn servers<'a>(policy: &'a Policy, stop: &'a Stop) -> Vec<Server<'a>> {
    let alerts = &policy.alerts;
    let unasked = "configured, and not asked: `treewarden check --probe` asks it";
    let mut servers = Vec::new();
    if let Some(base) = &alerts.pushgateway {
        servers.push(Server {
            what: "alerts.pushgateway",
            found: Ok(unasked.to_owned()),
            ask: Box::new(move || pushgateway::probe(base, stop)),
        });
    }
    if let Some(base) = &alerts.alertmanager {
        servers.push(Server {
            what: "alerts.alertmanager",
            found: Ok(unasked.to_owned()),
            ask: Box::new(move || alertmanager::probe(base, stop)),
        });
    }
    if let Some(hook) = &alerts.webhook {
        let has_address = webhook::url(&hook.url)
            .map(|_| format!("its address is known; {unasked}, with a message"))
            .map_err(|error| error.to_string());
        servers.push(Server {
            what: "alerts.webhook",
            found: has_address,
            ask: Box::new(move || webhook::probe(hook, policy, stop)),
        });
    }
    if let Some(from) = &alerts.ping {
        let has_address = webhook::url(from)
            .map(|_| format!("its address is known; {unasked}, with a sign that changes nothing"))
            .map_err(|error| error.to_string());
        servers.push(Server {
            what: "alerts.ping",
            found: has_address,
            ask: Box::new(move || ping::probe(from, stop)),
        });
    }
    servers
}

fn seen(server: Server<'_>) -> Check {
    match server.found {
        Ok(found) => Check::ok(server.what, found),
        Err(wrong) => Check::warning(server.what, wrong),
    }
}

/// Asks all of them at once.
fn asked(servers: Vec<Server<'_>>) -> Vec<Check> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = servers
            .into_iter()
            .map(|server| (server.what, scope.spawn(server.ask)))
            .collect();
        let check =
            |(what, answer): (&'static str, std::thread::ScopedJoinHandle<'_, _>)| match answer
                .join()
                .unwrap_or(Err(DeliveryError::Broke))
            {
                Ok(()) => Check::ok(what, "it answers"),
                Err(wrong) => Check::bad(what, wrong),
            };
        asked.into_iter().map(check).collect()
    })
}

/// Checks the files that a run would write.
fn files(alerts: &Alerts) -> Vec<Check> {
    let textfile = alerts.textfile.as_ref().map(|file| {
        let what = "alerts.textfile";
        let directory = file.parent().unwrap_or(Path::new("/"));
        match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Check::ok(what, file.display().to_string()),
            Err(cause) => {
                let file = file.clone();
                let cause = io::Error::from(cause);
                Check::warning(what, DeliveryError::Textfile { file, cause })
            }
        }
    });
    let termination_log = alerts.termination_log.as_ref().map(|file| {
        let what = "alerts.termination_log";
        match access(file, Access::WRITE_OK).map_err(io::Error::from) {
            Ok(()) => Check::ok(what, file.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let found = "not there, so nothing is written to it: only a pod has one";
                Check::ok(what, format!("{}: {found}", file.display()))
            }
            Err(cause) => {
                let file = file.clone();
                Check::warning(what, DeliveryError::TerminationLog { file, cause })
            }
        }
    });
    textfile.into_iter().chain(termination_log).collect()
}
