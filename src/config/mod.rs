//! The configuration: what was typed (`raw`) becomes what the program sees ([`policy`]).
//!
//! `tree` reads YAML, `raw` gives it a shape, `resolve` and its helpers check it and fill in the
//! defaults. All problems of a file are collected and reported together, each with its line, key
//! and remedy. A bad config leaves the volume untouched: only [`load`] does any I/O.

mod address;
mod alerts;
mod caches;
mod keep;
mod outside;
pub mod policy;
mod problem;
mod raw;
mod report;
mod repos;
mod resolve;
mod roots;
mod schema;
mod settings;
mod source;
mod tree;
pub mod units;
mod values;

pub use problem::{ConfigError, Problem};
pub use roots::own_places;
pub use schema::schema;
pub use source::{Setting, Source};

use policy::Policy;
use std::path::Path;

/// Reads and resolves the config file at `path`.
///
/// # Errors
/// [`ConfigError`], with every problem of the file.
pub fn load(path: &Path) -> Result<Policy, ConfigError> {
    Ok(load_with_source(path)?.0)
}

/// Does the same, and returns the file as it was read, too.
///
/// # Errors
/// As [`load`].
pub fn load_with_source(path: &Path) -> Result<(Policy, Source), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let file = path.display().to_string();
    Ok((parse(&file, &text)?, Source { file, text }))
}

/// Resolves a config's text; `file` is the name in its problems.
///
/// # Errors
/// [`ConfigError::Refused`], with every problem of the text.
pub fn parse(file: &str, text: &str) -> Result<Policy, ConfigError> {
    // Some editors on Windows write a byte order mark first, which the YAML library takes for a
    // document of its own.
    let text = text.trim_start_matches('\u{feff}');
    let refused = |problems| ConfigError::Refused {
        file: file.to_owned(),
        problems,
    };
    let (typed, mut notes) = raw::read(text).map_err(|problem| refused(vec![problem]))?;
    let policy = resolve::policy(&typed, &mut notes);
    let problems = notes.into_problems(|key| raw::line(text, key));
    if problems.is_empty() {
        Ok(policy)
    } else {
        Err(refused(problems))
    }
}
