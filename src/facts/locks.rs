//! Facts about lock files: what a repo's default branch and its live trees name.
//!
//! Contents are identified by format and blob id, so each is parsed once, however many trees have
//! it. One that could not be read is none, unlike a lock file that names nothing.

use super::package::Package;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A tree's lock files by their path in it, each with its content's id.
pub type Files = BTreeMap<String, String>;

/// The lock files of one repo, from one survey.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locks {
    /// The commit of the default branch, if all of its lock files could be read.
    pub tip: Option<String>,
    /// The default branch under [`DEFAULT`], and every live tree under its path. A file is none if
    /// it could not be read; a tree is none if its files could not be listed.
    pub trees: BTreeMap<String, Option<BTreeMap<String, Option<String>>>>,
    /// The packages of each content that was not known yet, by its id.
    pub contents: BTreeMap<String, Vec<Package>>,
    /// The last sign of work in the repo's trees, if there is any.
    pub worked: Option<DateTime<Utc>>,
    /// What could not be read, for people.
    pub problems: Vec<String>,
}

/// The key of the default branch in [`Locks::trees`]: no path looks like it.
pub const DEFAULT: &str = "(default branch)";

/// The lock files of one repo, from its last survey.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// The time of that survey.
    pub at: DateTime<Utc>,
    /// See [`Locks::tip`].
    pub tip: Option<String>,
    /// See [`Locks::trees`].
    pub trees: BTreeMap<String, Files>,
    /// See [`Locks::worked`]; work in a tree that is gone by now still counts.
    #[serde(default)]
    pub worked: Option<DateTime<Utc>>,
}

/// When and by whom a package was last named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// When a lock file last named it.
    pub at: DateTime<Utc>,
    /// The repo whose lock file it was.
    pub by: String,
    /// A lock file named it in its repo's last survey.
    pub in_use: bool,
    /// The last work in a repo that still names it, if known.
    pub worked: Option<DateTime<Utc>>,
}

/// The packages that lock files name, or named earlier.
pub type Names = HashMap<Package, Naming>;
