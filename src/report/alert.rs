//! The shape of an alert; the rules that raise one stand in `src/notify/alert.rs`.
//!
//! Names are fixed: others route by them. Its texts are escaped already, and must never be made of
//! anything that isn't.

use serde::{Deserialize, Serialize};

/// What somebody should hear of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// A fixed name: `RunFailed`, `EvictionShortfall`, ...
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line that a tired person understands.
    pub summary: String,
    /// The repo, where it is about exactly one.
    #[serde(default)]
    pub repo: Option<String>,
    /// More of it, line by line: the largest units that went, what stood in the way.
    #[serde(default)]
    pub details: Vec<String>,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at in the day.
    Warning,
    /// To be looked at now.
    Critical,
}
