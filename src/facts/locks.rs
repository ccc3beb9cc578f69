//! Facts about lock files: what a repo's default branch and its live trees name.
//!
//! A content is known by its format and its blob id, so each is parsed once, however many trees
//! have it. What could not be read is none, which differs from a lock file that names nothing.

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
    /// The packages of contents that were not known yet.
    pub contents: BTreeMap<String, Vec<Package>>,
    /// The last sign of work in the repo's trees, if there is any.
    pub worked: Option<DateTime<Utc>>,
    /// What could not be read, for people.
    pub problems: Vec<String>,
}

/// The name of the default branch among the trees: no path looks like it.
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

/// What is known about a package's last naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// When a lock file last named it.
    pub at: DateTime<Utc>,
    /// The repo whose lock file it was.
    pub by: String,
    /// A live tree's lock file names it today.
    pub in_use: bool,
    /// The last work in a repo that names it today, if known.
    pub worked: Option<DateTime<Utc>>,
}

/// The packages that lock files name and named.
pub type Names = HashMap<Package, Naming>;
