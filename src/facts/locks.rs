//! Facts about lock files: what a repo's default branch and its live trees name.
//!
//! A content is known by its format and its blob id, so each is parsed once, however many trees
//! hold it. What could not be read is none: it must never pass for a lock file that names nothing.

use super::package::Package;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A tree's lock files by their path in it, each with its content's id.
pub type Files = BTreeMap<String, String>;

/// The lock files of one repo, as one look found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Locks {
    /// The commit of the default branch, where all of its lock files could be read.
    pub tip: Option<String>,
    /// The default branch under [`DEFAULT`], and every live tree under its path. A file is none
    /// when it could not be read; a tree is when its files could not be told.
    pub trees: BTreeMap<String, Option<BTreeMap<String, Option<String>>>>,
    /// What the contents name that nobody knew yet.
    pub contents: BTreeMap<String, Vec<Package>>,
    /// The last sign of work in the repo's trees, where it has any.
    pub worked: Option<DateTime<Utc>>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

/// What the default branch is called among the trees: no path looks like it.
pub const DEFAULT: &str = "(default branch)";

/// The lock files of one repo, as the last look found them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// When that was.
    pub at: DateTime<Utc>,
    /// See [`Locks::tip`].
    pub tip: Option<String>,
    /// See [`Locks::trees`].
    pub trees: BTreeMap<String, Files>,
    /// See [`Locks::worked`]; that of a tree that is gone by now still counts.
    #[serde(default)]
    pub worked: Option<DateTime<Utc>>,
}

/// What is known of a package's last naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// When a lock file last named it.
    pub at: DateTime<Utc>,
    /// Whose.
    pub by: String,
    /// A live tree's lock file names it today.
    pub in_use: bool,
    /// The last work in a repo that names it today, where that is known.
    pub worked: Option<DateTime<Utc>>,
}

/// What lock files name and named.
pub type Names = HashMap<Package, Naming>;
