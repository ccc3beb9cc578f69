//! Access to private parsers for the fuzz targets of `fuzz/`.
//!
//! Each takes the contents of a hostile file and returns what the program would make of it. There
//! is no parser and no rule here: `fuzz/src/lib.rs` says what must hold for any input.

use crate::apply::trash;
use crate::ecosystems;
use crate::ecosystems::lock_file::{LockFileError, parse};
use crate::ecosystems::npm::index::Bucket;
use crate::facts::package::Package;
use crate::fs::budget::Reservation;
use crate::fs::mount::{self, Mount};
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::{Refusal, config};
use crate::run::unchanged::CachedSurvey;
use crate::state::ledger::{Ledger, LedgerError};
use crate::survey::index::Read;
use crate::survey::roots::{self, Id};
use git2::IndexEntry;
use std::io;
use std::path::Path;

/// Parses a bucket of npm's index: its name for people, and the contents that it names.
pub fn npm_bucket(text: &[u8]) -> (Option<String>, Vec<String>) {
    let bucket = Bucket::parse(text);
    (bucket.name, bucket.digests)
}

/// Parses a lock file with this name; none if it is no lock file.
pub fn lock_file(name: &str, bytes: &[u8]) -> Option<Result<Vec<Package>, LockFileError>> {
    ecosystems::lock_file(Path::new(name)).map(|known| parse(bytes, known.parse))
}

/// Parses a ledger.
///
/// # Errors
/// It is malformed; the program then starts a new one.
pub fn ledger(bytes: &[u8]) -> Result<Ledger, LedgerError> {
    Ledger::parse(bytes)
}

/// Parses a cached survey.
pub fn look(bytes: &[u8]) -> Option<CachedSurvey> {
    CachedSurvey::parse(bytes)
}

/// Returns the entries of an index, and whether it builds on another one.
///
/// # Errors
/// It is malformed, or has an unknown part.
pub fn index(bytes: &[u8]) -> io::Result<(Vec<IndexEntry>, bool)> {
    let read = Read::of(bytes, &mut Reservation::default())?;
    Ok((read.entries, read.shared.is_some()))
}

/// Returns the objects that an index names, sorted: those that git itself doesn't find in it, and
/// the others.
///
/// # Errors
/// As [`index`].
pub fn index_ids(bytes: &[u8]) -> io::Result<[Vec<Id>; 2]> {
    roots::of_index(bytes)
}

/// Judges one `key\nvalue` of a repo's own config.
///
/// # Errors
/// The repo is refused.
pub fn git_config_entry(entry: &str) -> Result<(), Refusal> {
    config::judge_entry(entry, &|| None)
}

/// Returns the mount of `path`, from the text of `/proc/self/mountinfo`.
pub fn mount(mountinfo: &str, path: &Path) -> Option<Mount> {
    mount::parse(mountinfo, path)
}

/// Returns the original place in the note of a trash entry.
pub fn taken(note: &[u8], state: &VolumePath) -> Option<VolumePath> {
    trash::origin(note, state)
}
