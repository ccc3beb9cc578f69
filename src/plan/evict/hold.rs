//! Why a unit stays, whatever is wanted.

use super::in_amounts;
use crate::facts::cache::Size;
use crate::fs::humanize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a unit stays. In the order in which a report tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Its size is unknown.
    Unmeasured,
    /// Its cache's reserve would be touched.
    Reserve(Size),
    /// A live tree needs it.
    InUse,
    /// Last used in the future.
    Future,
    /// Deleting it frees nothing.
    Nothing,
    /// Younger than this.
    Younger(Duration),
}

/// What the operator could allow, so that more units go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// `eviction.in_use`: lock files of live trees name it.
    InUse,
    /// `min_age`: it was used too recently.
    MinAge,
    /// Its cache's `reserve`.
    Reserve,
    /// Somebody used it, or held its tool's lock, when its turn came.
    Lock,
}

impl Hold {
    /// Returns the setting that holds the unit; none if no setting does.
    pub fn by(self) -> Option<HeldBy> {
        match self {
            Self::InUse => Some(HeldBy::InUse),
            Self::Younger(_) => Some(HeldBy::MinAge),
            Self::Reserve(_) => Some(HeldBy::Reserve),
            Self::Unmeasured | Self::Future | Self::Nothing => None,
        }
    }
}

impl HeldBy {
    /// Returns the name of what holds a unit, as in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::MinAge => "min_age",
            Self::Reserve => "reserve",
            Self::Lock => "at work",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmeasured => f.write_str("could not be measured"),
            Self::Reserve(size) => write!(f, "held by its reserve of {}", in_amounts(*size)),
            Self::InUse => f.write_str(
                "in use: lock files or environments of live trees name them (eviction.in_use: keep)",
            ),
            Self::Future => f.write_str("last used in the future, by their time stamps"),
            Self::Nothing => f.write_str("would free nothing: gone, or linked elsewhere"),
            Self::Younger(age) => write!(f, "younger than {}", humanize::short_span(*age)),
        }
    }
}
