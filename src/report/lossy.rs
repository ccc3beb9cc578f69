//! Paths as JSON strings: what isn't UTF-8 becomes `\u{fffd}`. serde refuses such a path, and one
//! odd file name would keep a whole report from being written.

use serde::{Serialize as _, Serializer};
use std::path::{Path, PathBuf};

/// One path.
pub(super) fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(to)
}

/// Several.
pub(super) fn paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// An optional one.
#[expect(clippy::ref_option, reason = "the form that serde asks for")]
pub(super) fn maybe<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}
