//! Facts about rescues: what a ref below [`REFS`] contains, and the manifest of each.
//!
//! Agents can write refs as well. If a rescue's time or size is unknown, its type says so, so that
//! it doesn't pass for an old one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The prefix of rescues: `<this>/<worktree>/<time>`.
pub const REFS: &str = "refs/treewarden/rescue";
/// The time's format in a ref's name.
pub const TIME: &str = "%Y%m%dT%H%M%SZ";
/// The manifest's schema.
pub const SCHEMA: &str = "treewarden.rescue/1";

/// A ref below [`REFS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescue {
    /// The full name of the ref.
    pub name: String,
    /// The commit that it names, in hex.
    pub commit: String,
    /// When it was made; none if the ref's name and the commit disagree, or it isn't ours.
    pub taken: Option<DateTime<Utc>>,
    /// What only it contains; none if that can't be read.
    pub own: Option<Own>,
}

/// The files of a rescue that are new or changed against its HEAD; `rescue_max` limits these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// Their number.
    pub files: u64,
    /// Their bytes, as in the tree. The index, the manifest and the commits don't count.
    pub bytes: u64,
}

/// What a git tree can't express.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The admin directory's name.
    pub worktree: String,
    /// Where the tree was.
    pub path: Name,
    /// The full name of its branch.
    pub branch: Option<String>,
    /// Its HEAD, in hex.
    pub head: Option<String>,
    /// When it was made.
    pub rescued: DateTime<Utc>,
    /// Permission bits of the tree's top directory; none if there was no tree.
    #[serde(default)]
    pub mode: Option<u32>,
    /// Files and links, with permission bits and the time of the last write in seconds.
    pub files: Vec<(Name, u32, i64)>,
    /// Directories, the empty ones too, with permission bits.
    #[serde(rename = "folders")]
    pub directories: Vec<(Name, u32)>,
}

/// A path: in JSON a string if it is text, else its bytes as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Bytes", into = "Bytes")]
pub struct Name(pub PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Name> for Bytes {
    fn from(name: Name) -> Self {
        let bytes = name.0.as_os_str().as_bytes();
        std::str::from_utf8(bytes).map_or_else(
            |_| Self::Bytes(bytes.to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }
}

impl From<Bytes> for Name {
    fn from(bytes: Bytes) -> Self {
        Self(match bytes {
            Bytes::Text(text) => text.into(),
            Bytes::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}
