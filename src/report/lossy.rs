//! Paths as JSON strings. Bytes that aren't UTF-8 become `\u{fffd}`: serde refuses such paths, so
//! one file name would prevent a whole report from being written.

use serde::{Serialize as _, Serializer};
use std::path::{Path, PathBuf};

/// Serializes one path.
pub(super) fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(to)
}

/// Serializes several paths.
pub(super) fn paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Serializes an optional path.
#[expect(clippy::ref_option, reason = "the form that serde asks for")]
pub(super) fn maybe<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}
