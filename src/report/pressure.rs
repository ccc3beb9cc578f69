//! When a thing would go if the volume were too full, as `explain` and `worktree list` show it.

use crate::plan::ladder::Rung;
use crate::plan::ladder::turn::Turn;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// A thing's turn on the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnderPressure {
    /// The thing.
    pub what: Part,
    /// The rung on which it goes; none if it never does under pressure.
    pub rung: Option<Rung>,
    /// It doesn't go before this time; none if it never does.
    pub from: Option<DateTime<Utc>>,
    /// Why it never does under pressure, as long as that holds.
    pub never: Option<String>,
}

/// A part of what is explained that goes on a rung of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The thing itself.
    Whole,
    /// A worktree's build output, while the worktree stays.
    BuildOutput,
}

impl UnderPressure {
    /// Creates it from the plan's answer.
    pub fn new(what: Part, turn: Turn) -> Self {
        let (rung, from, never) = match turn {
            Turn::From(rung, from) => (Some(rung), Some(from), None),
            Turn::Never(why) => (None, None, Some(why)),
        };
        Self {
            what,
            rung,
            from,
            never,
        }
    }
}
