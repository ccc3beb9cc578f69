//! One index file of a pnpm store: the contents of a package.
//!
//! It is JSON that agents can write, so its size is capped, and malformed parts name nothing. A
//! file that can't be read at all is an error, never a package without contents.

use crate::ecosystems::hex::is_hex;
use crate::ecosystems::lister::Entry;
use crate::ecosystems::lock_file::LockFileError;
use crate::facts::package::{Package, hex_of_base64};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;

/// The most bytes of an index. It has some 200 for each file of its package, and the largest
/// packages have 50,000 files.
const LARGEST: u64 = 16 << 20;

/// Hexadecimal digits of SHA-512 in a content's name, without the two of the shard.
pub(super) const REST: usize = 126;

/// Hexadecimal digits of the package's digest in its index's name, without the two of the shard.
const DIGITS: usize = 62;

/// A content: 128 bits of its digest, and whether it is executable. It is small, because a store
/// may have a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content(u128, bool);

/// One package.
pub(super) struct Index {
    /// The place of its index.
    pub(super) place: VolumePath,
    /// Its name for people.
    pub(super) name: String,
    /// Its name in lock files.
    pub(super) package: Option<Package>,
    /// Its `package.json` first, if it has one; each content once.
    pub(super) contents: Vec<Content>,
}

#[derive(Deserialize)]
struct Sheet {
    #[serde(default)]
    files: Files,
    /// The output of its build scripts, by platform.
    #[serde(default, rename = "sideEffects")]
    side_effects: BTreeMap<String, Effects>,
}

#[derive(Deserialize)]
struct Effects {
    #[serde(default)]
    added: Files,
}

type Files = BTreeMap<String, File>;

#[derive(Deserialize)]
struct File {
    integrity: String,
    #[serde(default)]
    mode: u32,
}

impl Content {
    /// Returns the content `name` in the directory `shard`.
    pub(super) fn of(shard: &str, name: &str) -> Option<Self> {
        let rest = name.strip_suffix("-exec").unwrap_or(name);
        is_hex(rest, REST).then(|| Self::new(&format!("{shard}{rest}"), rest.len() < name.len()))?
    }

    fn new(hex: &str, runs: bool) -> Option<Self> {
        Some(Self(u128::from_str_radix(hex.get(..32)?, 16).ok()?, runs))
    }

    fn of_file(file: &File) -> Option<Self> {
        let encoded = file.integrity.strip_prefix("sha512-")?;
        Self::new(&hex_of_base64(encoded)?, file.mode & 0o111 != 0)
    }
}

impl Index {
    /// Reads `index/<shard>/<digest>-<package>.json`; none if it is gone.
    pub(super) fn read(shard: &str, entry: &Entry) -> io::Result<Option<Self>> {
        let Some(text) = openat::found(openat::read(&entry.place, LARGEST))? else {
            return Ok(None);
        };
        let stem = entry.name.strip_suffix(".json").unwrap_or(&entry.name);
        let (digest, name) = stem
            .split_once('-')
            .filter(|(digest, _)| is_hex(digest, DIGITS))
            .unwrap_or(("", stem));
        Ok(Some(Self {
            place: entry.place.clone(),
            // pnpm writes a scope's slash as a plus.
            name: if name.starts_with('@') {
                name.replacen('+', "/", 1)
            } else {
                name.to_owned()
            },
            package: Package::digest("sha512", &format!("{shard}{digest}")),
            contents: contents(&text)?,
        }))
    }
}

fn contents(text: &[u8]) -> io::Result<Vec<Content>> {
    // The parser's message would quote what an agent wrote.
    let sheet: Sheet = serde_json::from_slice(text)
        .map_err(|error| io::Error::other(LockFileError::Json(error.line())))?;
    let mut contents: Vec<Content> = sheet
        .files
        .get("package.json")
        .and_then(Content::of_file)
        .into_iter()
        .collect();
    let all = sheet.files.values().chain(
        sheet
            .side_effects
            .values()
            .flat_map(|effects| effects.added.values()),
    );
    let mut others: Vec<Content> = all
        .filter_map(Content::of_file)
        .filter(|content| !contents.contains(content))
        .collect();
    others.sort_unstable();
    others.dedup();
    contents.append(&mut others);
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_names_contents_once_and_the_manifest_first() {
        // As pnpm 10 wrote it for left-pad 1.3.0's index.js, whose content is in files/bb/4d129b….
        let hex = "bb4d129ba49f98adeb76aadcb9b68dad6e68aaa47ab8049e2000796fa9036959588d02680df7451a41e4de309b409cc35ac4276b5c751a73b92ddb23fc73029d";
        let integrity = "sha512-u00Sm6SfmK3rdqrcubaNrW5oqqR6uASeIAB5b6kDaVlYjQJoDfdFGkHk3jCbQJzDWsQna1x1GnO5Ldsj/HMCnQ==";
        let sheet = format!(
            r#"{{"name": "x", "files": {{"a": {{"integrity": "{integrity}", "mode": 493}}, "b": {{"integrity": "{integrity}", "mode": 420}},
                "odd": {{"integrity": "md5-AAAA", "mode": 1}}, "package.json": {{"integrity": "{integrity}", "mode": 420}}}},
                "sideEffects": {{"linux": {{"added": {{"c": {{"integrity": "{integrity}", "mode": 420}}}}, "deleted": ["a"]}}}}}}"#
        );
        let (plain, runs) = (
            Content::of(&hex[..2], &hex[2..]).unwrap(),
            Content::of(&hex[..2], &format!("{}-exec", &hex[2..])).unwrap(),
        );
        assert_eq!(contents(sheet.as_bytes()).unwrap(), [plain, runs]);
        assert!(contents(b"{\"files\": {}}").unwrap().is_empty());
        let why = contents(b"{\"files\": \"a secret\"}").unwrap_err();
        assert_eq!(why.to_string(), "line 1 is no JSON of its form");
        for bad in ["", "[]x", "{\"files\": 1}", "{\"files\": {\"a\": {}}}"] {
            assert!(contents(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(Content::of("bb", &hex[3..]), None);
        assert_eq!(Content::of("gg", &hex[2..]), None);
    }
}
