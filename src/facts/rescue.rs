//! Facts about rescues: what a ref below [`REFS`] holds, and the manifest that each one carries.
//!
//! Agents can write refs as well. A rescue whose time or size nobody can tell says so in its type,
//! and must never pass for an old one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where rescues stand: `<this>/<worktree>/<time>`.
pub const REFS: &str = "refs/treewarden/rescue";
/// How a ref's name tells the time.
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
    /// When it was made; none where the ref's name and the commit don't tell the same, or it isn't
    /// one of ours.
    pub taken: Option<DateTime<Utc>>,
    /// What it alone holds; none where it can't be read.
    pub own: Option<Own>,
}

/// The files of a rescue that its HEAD doesn't have as they are: what `rescue_max` is held against
/// as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// How many.
    pub files: u64,
    /// Their bytes, as they stood in the tree. The index, the manifest and the commits don't count.
    pub bytes: u64,
}

/// What a git tree has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The admin directory's name.
    pub worktree: String,
    /// Where the tree stood.
    pub path: Name,
    /// The full name of its branch.
    pub branch: Option<String>,
    /// Its HEAD, in hex.
    pub head: Option<String>,
    /// When it was made.
    pub rescued: DateTime<Utc>,
    /// Permission bits of the tree's top directory; none where there was no tree.
    #[serde(default)]
    pub mode: Option<u32>,
    /// Files and links, with permission bits and the time of the last write in seconds.
    pub files: Vec<(Name, u32, i64)>,
    /// Directories, the empty ones too, with permission bits.
    pub folders: Vec<(Name, u32)>,
}

/// A path: in JSON a string where it is text, else its bytes as numbers.
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
