//! The output of `treewarden locks`: the shape of its JSON, and its text.
//!
//! Whoever can write to the volume can write a holder's name, so it is escaped, and shown apart
//! from the kernel's answer.

use super::look::Look;
use super::page::{BAD, FAINT, GOOD, NOTE, Page, Row, STRONG, Span};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.locks/1";

/// All locks of a volume.
#[derive(Debug, Serialize)]
pub struct Locks {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The volume's first, then those of shards at work and of dead shards, then the repos' in the
    /// config's order.
    pub locks: Vec<Lock>,
}

/// One lock.
#[derive(Debug, Serialize)]
pub struct Lock {
    /// `owner/name`; none for the volume and for a shard.
    pub repo: Option<String>,
    /// `I/N`, for a shard's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Its state, from the kernel and the lock's file.
    pub state: State,
    /// The holder in the lock's file; for a leftover, the last holder. None if it left no name.
    pub holder: Option<Holder>,
    /// The holder's last sign of life.
    pub beat: Option<DateTime<Utc>>,
    /// Why its state could not be read.
    pub error: Option<String>,
}

/// A holder, by its own account.
#[derive(Debug, Serialize)]
pub struct Holder {
    /// `pod/host`, or one of the two.
    pub holder: String,
    /// The machine: what follows the slash.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// `run`, `exec`, ...
    pub purpose: String,
    /// The program that runs under the lock and its subcommand; none if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The state of a lock, from the kernel and the lock's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Somebody holds it.
    Held,
    /// Nobody holds it.
    Free,
    /// Nobody holds it; its last holder died before it could remove its name.
    Left,
    /// It could not be read.
    Unknown,
}

/// Renders the locks as a table.
pub fn render(locks: &Locks, look: Look) -> String {
    let mut page = Page::list(look);
    let head = [
        "",
        "lock",
        "holder",
        "pid",
        "purpose",
        "since (UTC)",
        "last sign",
    ]
    .map(|name| Span::new(name, FAINT))
    .to_vec();
    let rows: Vec<Row> = std::iter::once(head.into())
        .chain(locks.locks.iter().map(row))
        .collect();
    page.table(0, &rows);
    page.finish()
}

fn row(lock: &Lock) -> Row {
    let message = if lock.state == State::Left {
        FAINT
    } else {
        super::page::BODY
    };
    let nameless = if lock.state == State::Held {
        "left no name"
    } else {
        ""
    };
    let time = |time: DateTime<Utc>, form: &str| time.format(form).to_string();
    let cell = |of: fn(&Holder) -> String| {
        Span::new(lock.holder.as_ref().map(of).unwrap_or_default(), message)
    };
    let beat = lock
        .beat
        .filter(|_| lock.holder.is_some())
        .map(|beat| time(beat, "%F %H:%M:%S"))
        .unwrap_or_default();
    let cells = vec![
        state(lock.state),
        name(lock).shorten(),
        Span::new(
            lock.holder
                .as_ref()
                .map_or(nameless, |holder| &holder.holder),
            message,
        )
        .shorten(),
        cell(|holder| holder.pid.to_string()).right(),
        cell(|holder| {
            let command = holder.command.iter().map(|command| format!(" {command}"));
            holder.purpose.clone() + &command.collect::<String>()
        })
        .shorten(),
        cell(|holder| holder.since.format("%F %H:%M").to_string()),
        Span::new(beat, message),
    ];
    Row {
        cells,
        notes: lock.error.iter().map(|why| Span::new(why, BAD)).collect(),
    }
}

fn state(state: State) -> Span {
    let (text, style) = match state {
        State::Held => ("held", NOTE),
        State::Free => ("free", GOOD),
        State::Left => ("free, left by", FAINT),
        State::Unknown => ("unknown", BAD),
    };
    Span::new(text, style)
}

/// Returns what is locked.
fn name(lock: &Lock) -> Span {
    let shard = lock.shard.as_ref().map(|shard| format!("(shard {shard})"));
    let name = lock.repo.as_deref().or(shard.as_deref());
    Span::new(name.unwrap_or("(the volume)"), STRONG)
}
