//! The output of `treewarden check`: the shape of its JSON, and its text. Names from repos are in it,
//! so it is escaped.

use super::look::Look;
use super::lossy;
use super::page::{BAD, GOOD, NOTE, Page, Row, Span};
use serde::Serialize;
use std::path::PathBuf;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.check/1";

/// Everything that was checked.
#[derive(Debug, Serialize)]
pub struct Checks {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The config file that was read.
    #[serde(serialize_with = "lossy::path")]
    pub config: PathBuf,
    /// In the order of the text.
    pub checks: Vec<Check>,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The thing.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What was found; or what is wrong, and what helps.
    pub message: String,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// No run fails for it, but somebody should see to it.
    Warning,
    /// Somebody must see to it.
    Bad,
}

impl Check {
    /// A thing that is as it should be.
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state: State::Ok,
            message: found.into(),
        }
    }

    /// A thing that somebody should see to, with the remedy.
    pub fn warning(what: impl Into<String>, wrong: impl ToString) -> Self {
        Self {
            what: what.into(),
            state: State::Warning,
            message: wrong.to_string(),
        }
    }

    /// A thing that somebody must see to, with the remedy.
    pub fn bad(what: impl Into<String>, wrong: impl ToString) -> Self {
        Self {
            state: State::Bad,
            ..Self::warning(what, wrong)
        }
    }
}

impl Checks {
    /// Returns whether nothing must be seen to.
    pub fn are_good(&self) -> bool {
        self.checks.iter().all(|check| check.state != State::Bad)
    }
}

/// Renders a row for each: `ok`, `!` or `!!`, what, and what was found or what to do.
pub fn render(checks: &Checks, look: Look) -> String {
    let mut page = Page::list(look);
    let row = |check: &Check| -> Row {
        let (mark, style) = match check.state {
            State::Ok => ("ok", GOOD),
            State::Warning => ("!", NOTE),
            State::Bad => ("!!", BAD),
        };
        vec![
            Span::new(mark, style),
            Span::body(&check.what).shorten(),
            Span::body(&check.message).wrap(),
        ]
        .into()
    };
    page.table(0, &checks.checks.iter().map(row).collect::<Vec<_>>());
    page.finish()
}
