//! `alerts`: where a run's outcome is sent.
//!
//! No message repeats a typed value: an address may contain a password or a token, wherever it was
//! put.

use super::policy::{self, Alerts, Event, UrlFrom, Webhook, WebhookFormat};
use super::problem::{KeyPath, Notes};
use super::raw;
use super::values::{names, one_of, texts};
use std::path::PathBuf;

pub(super) const FORMATS: [(&str, WebhookFormat); 2] = [
    ("slack", WebhookFormat::Slack),
    ("json", WebhookFormat::Json),
];

/// Resolves `alerts`.
pub(super) fn alerts(typed: &raw::Alerts, at: &KeyPath, notes: &mut Notes) -> Alerts {
    Alerts {
        volume: label(typed.volume.as_deref(), &at.key("volume"), notes),
        runbook: url(typed.runbook.as_deref(), &at.key("runbook"), notes),
        pushgateway: url(typed.pushgateway.as_deref(), &at.key("pushgateway"), notes),
        textfile: file(typed.textfile.as_deref(), &at.key("textfile"), notes),
        alertmanager: url(
            typed.alertmanager.as_deref(),
            &at.key("alertmanager"),
            notes,
        ),
        webhook: typed
            .webhook
            .as_ref()
            .map(|webhook| self::webhook(webhook, &at.key("webhook"), notes)),
        ping: typed.ping.as_ref().map(|ping| {
            let from = [ping.url_env.as_deref(), ping.url_file.as_deref()];
            url_from(from, &at.key("ping"), notes)
        }),
        termination_log: file(
            typed.termination_log.as_deref(),
            &at.key("termination_log"),
            notes,
        ),
    }
}

fn url(typed: Option<&str>, at: &KeyPath, notes: &mut Notes) -> Option<String> {
    let typed = typed?;
    let host = typed
        .strip_prefix("http://")
        .or_else(|| typed.strip_prefix("https://"));
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || !host.chars().all(plain))
    {
        notes.add(
            at,
            "is no address; write one that starts with http:// or https://",
        );
    } else if host.is_some_and(|host| {
        host.split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
    }) {
        notes.add(
            at,
            "holds a name or a password, which would not be sent; take it out",
        );
    }
    Some(typed.to_owned())
}

fn label(typed: Option<&str>, at: &KeyPath, notes: &mut Notes) -> Option<String> {
    let typed = typed?;
    if typed.trim().is_empty() || typed.chars().any(char::is_control) {
        notes.add(
            at,
            "is no name; write the one that metrics and alerts are to call this volume by",
        );
    }
    Some(typed.to_owned())
}

fn file(typed: Option<&str>, at: &KeyPath, notes: &mut Notes) -> Option<PathBuf> {
    let path = PathBuf::from(typed?);
    if !path.is_absolute() || path.file_name().is_none() {
        notes.add(at, "is no absolute path of a file; write one that starts with `/`, a job's working directory is anywhere");
    }
    Some(path)
}

fn webhook(typed: &raw::Webhook, at: &KeyPath, notes: &mut Notes) -> Webhook {
    let url = url_from(
        [typed.url_env.as_deref(), typed.url_file.as_deref()],
        at,
        notes,
    );
    let format = format(typed.format.as_deref(), &at.key("format"), notes);
    let when = typed
        .when
        .as_ref()
        .map(|list| when(list, &at.key("when"), notes));
    Webhook {
        url,
        format,
        when: when.unwrap_or_else(|| policy::WEBHOOK_WHEN.map(|(_, event)| event).to_vec()),
    }
}

/// Resolves `url_env` and `url_file`, of which there must be one.
fn url_from([url_env, url_file]: [Option<&str>; 2], at: &KeyPath, notes: &mut Notes) -> UrlFrom {
    if let Some(path) = file(url_file, &at.key("url_file"), notes) {
        if url_env.is_some() {
            notes.add(
                &at.key("url_file"),
                "can't be combined with url_env; keep one of the two",
            );
        }
        return UrlFrom::File(path);
    }
    let name = url_env.unwrap_or_default().to_owned();
    if url_env.is_none() {
        let remedy = "write the name of the environment variable that holds the address, or its file as url_file";
        notes.add(&at.key("url_env"), format!("is missing; {remedy}"));
    } else if !is_variable(&name) {
        let remedy = "write the name of the variable that holds the address, for instance TREEWARDEN_WEBHOOK_URL";
        notes.add(
            &at.key("url_env"),
            format!(
                "is no environment variable's name, and an address doesn't belong here; {remedy}"
            ),
        );
    }
    UrlFrom::Env(name)
}

fn format(typed: Option<&str>, at: &KeyPath, notes: &mut Notes) -> WebhookFormat {
    let Some(typed) = typed else {
        return WebhookFormat::default();
    };
    let known = one_of(&FORMATS, typed).ok();
    if known.is_none() {
        notes.add(at, format!("is unknown; write one of {}", names(&FORMATS)));
    }
    known.unwrap_or_default()
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn when(typed: &raw::List, at: &KeyPath, notes: &mut Notes) -> Vec<Event> {
    let known = names(&policy::WEBHOOK_WHEN);
    if typed.is_empty() {
        notes.add(
            at,
            format!("is empty, so the webhook would never be called; list any of {known}"),
        );
    }
    let mut events = Vec::new();
    for (at, typed) in texts(typed, at, notes) {
        match policy::WEBHOOK_WHEN.iter().find(|(name, _)| *name == typed) {
            Some((_, event)) => events.push(*event),
            None => notes.add(&at, format!("is unknown; write one of {known}")),
        }
    }
    events
}
