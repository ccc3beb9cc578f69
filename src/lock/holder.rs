//! Who holds a lock: the record in its file, and what a command is called in it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;

/// The record that a holder writes about itself. It is only information: a record of any schema is
/// reported as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `treewarden.lock/1`; agents may leave it out.
    #[serde(default)]
    pub schema: Box<str>,
    /// `pod/host`.
    pub holder: String,
    /// Its process id there; never evidence that it is dead.
    pub pid: u32,
    /// `run`, `exec`, ...
    pub purpose: String,
    /// When it took the lock.
    pub since: DateTime<Utc>,
    /// A token that only this holder knows.
    pub token: Box<str>,
    /// What runs under the lock: the program and its subcommand. Other arguments may be secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<str>>,
}

/// What a lock is taken for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// `run`, `exec`, ...
    pub name: &'a str,
    /// The program and its arguments that will run under the lock; none if that is treewarden.
    pub command: &'a [OsString],
}

impl<'a> From<&'a str> for Purpose<'a> {
    fn from(name: &'a str) -> Self {
        let command = &[];
        Self { name, command }
    }
}

/// The longest name of a program or a subcommand in a record, in bytes.
const NAMED: usize = 40;

/// Names a command without its arguments, which may be secrets: the program, and a plain word that
/// follows it: `npm test`, `cargo build`, `sh`.
pub(super) fn command(words: &[OsString]) -> String {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_lowercase() || "-_:".contains(c);
    let is_word = |word: &Cow<'_, str>| {
        word.len() <= NAMED && !word.starts_with('-') && word.chars().all(is_plain)
    };
    let program: String = program.chars().take(NAMED).collect();
    match words.next().filter(is_word).filter(|word| !word.is_empty()) {
        Some(word) => format!("{program} {word}"),
        None => program,
    }
}

impl Holder {
    /// Parses a lock file's text. None if the record is torn, or of an unknown shape.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command.iter().map(|command| format!(" {command}"));
        write!(
            f,
            "{} (pid {}) for `{}{}` since {}",
            self.holder,
            self.pid,
            self.purpose,
            command.collect::<String>(),
            self.since.format("%F %H:%M UTC")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_without_what_may_be_a_secret() {
        let table: [(&[&str], &str); 7] = [
            (&["/usr/bin/npm", "test", "--token=abc"], "npm test"),
            (&["cargo", "build"], "cargo build"),
            (&["sh", "-c", "curl -H 'X: secret'"], "sh"),
            (&["curl", "https://user:secret@host"], "curl"),
            (&["login", "Hunter2"], "login"),
            (&["true"], "true"),
            (&[], ""),
        ];
        for (words, expected) in table {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(command(&words), expected);
        }
    }
}
