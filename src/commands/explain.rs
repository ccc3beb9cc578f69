//! `treewarden explain`: why a worktree, a rescue or a cache's unit stays or goes, when, and what
//! would change it.
//!
//! The facts and the verdict are those of a dry run ([`crate::run::inspect`]), and the dates come
//! from its plan, asked for later times. It changes nothing and takes no lock.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::commands::rescues::RescuesError;
use crate::config::Source;
use crate::config::policy::Policy;
use crate::fs::stop::Stop;
use crate::report::explain::Explanation;
use crate::state::volume::{self, VolumeError};
use chrono::{DateTime, Utc};
use std::ffi::OsStr;
use subject::Subject;

mod changes;
mod facts;
mod nothing;
mod rescue;
mod rules;
mod subject;
mod tree;
mod unit;

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The volume is not what it should be.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The volume can't be used, or a run would be refused.
    #[error("{0}")]
    Refused(String),
    /// What was named belongs to nothing.
    #[error("{0}")]
    Nothing(String),
    /// A rescue can't be read, or its name is ambiguous.
    #[error(transparent)]
    Rescue(#[from] RescuesError),
    /// Something can't be read.
    #[error("{0}")]
    Unread(String),
}

/// The request, and what every answer needs.
pub struct Request<'a> {
    /// The whole policy.
    pub policy: &'a Policy,
    /// The config as it was read.
    pub source: &'a Source,
    /// When to stop.
    pub stop: &'a Stop,
    /// The time.
    pub now: DateTime<Utc>,
}

/// Explains what `asked` names: a path in a worktree, a checkout or a cache, the id of a rescue, or
/// `CACHE:UNIT` as in a report.
///
/// # Errors
/// [`ExplainError`]. A repo that can't be surveyed is no error: what is in it stays.
pub fn explain(request: &Request<'_>, asked: &OsStr) -> Result<Explanation, ExplainError> {
    volume::prove(&request.policy.volume)?;
    match subject::find(request, asked)? {
        Subject::Tree(repo, tree) => tree::registered(request, repo, tree),
        Subject::Directory { repo, path } => tree::directory(request, repo, &path),
        Subject::Checkout(repo) => tree::checkout(request, repo),
        Subject::Rescue(id) => rescue::explain(request, &id),
        Subject::Unit(cache, unit) => unit::explain(request, cache, &unit),
        Subject::Nothing(paths) => Err(nothing::error(request, asked, &paths)),
    }
}
