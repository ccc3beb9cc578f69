//! Single files that tools write among the sources. Each is recognised by its name and its
//! contents, because anybody may give a file that name.

use super::directory::read;
use crate::fs::stop::Stop;
use rustix::fd::BorrowedFd;
use std::borrow::Cow;
use std::path::Path;

/// A file that a tool writes among the sources.
pub struct MadeFile {
    /// Whether a file of that name may be one. No other file is read.
    pub(crate) may_be: fn(&str) -> bool,
    /// Whether the file of that name in `parent` is one. False for a link, on an error, and if the
    /// run is to stop.
    pub(crate) is_one: fn(BorrowedFd<'_>, &str, &Stop) -> bool,
}

/// Returns whether the file can be read and its contents show that a tool wrote it.
pub(super) fn shows(parent: BorrowedFd<'_>, name: &str, shows: fn(&[u8]) -> bool) -> bool {
    read(parent, Path::new(name)).is_ok_and(|bytes| shows(&bytes))
}

/// Returns the first kilobyte, as text.
pub(super) fn beginning(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..1024).unwrap_or(bytes))
}

/// Returns whether `part` is anywhere in `bytes`.
pub(super) fn contains(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}
