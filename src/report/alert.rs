//! The shape of an alert; `src/notify/alert.rs` has the rules that raise one.
//!
//! Names are fixed, because alerts are routed by them. All texts are escaped already.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// A fixed name: `RunFailed`, `EvictionShortfall`, ...
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line for a tired person.
    pub summary: String,
    /// The repo, if it is about exactly one.
    #[serde(default)]
    pub repo: Option<String>,
    /// More of it, line by line: the largest evicted units, and what prevented more.
    #[serde(default)]
    pub details: Vec<String>,
}

/// How bad an alert is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be checked during the day.
    Warning,
    /// To be checked now.
    Critical,
}
