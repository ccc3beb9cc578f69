//! How a lock file is recognised, and how it is read.
//!
//! Its contents are untrusted: the caller caps its size and the number of its packages.

mod error;

pub use self::error::LockFileError;

use crate::facts::package::Package;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::path::Path;

/// The most bytes of a package; longer ones are dropped. No registry accepts longer names.
pub(crate) const LONGEST: usize = 512;

/// A lock file of a tool.
pub struct LockFile {
    /// The key under which parsed contents are remembered. If a format comes to name other
    /// packages, it needs a new key.
    pub format: &'static str,
    /// Whether the file of that name, at that path in a tree, is one.
    pub is_one: fn(&str, &Path) -> bool,
    /// How its packages are read.
    pub parse: Parse,
}

/// How a lock file is read: which packages its whole text, or each of its lines, names.
#[derive(Clone, Copy)]
pub enum Parse {
    /// All of it at once.
    Whole(fn(&str) -> Result<Vec<Package>, LockFileError>),
    /// Line by line.
    Lines(fn(&str) -> Vec<Package>),
}

/// Returns the packages that a lock file names. A text with a zero byte is refused: a crash may
/// leave a file of the right length without its content. So is the pointer that is left if git-lfs
/// isn't installed. Read line by line, both would pass for a lock file that names nothing.
///
/// # Errors
/// The text is malformed. The message quotes nothing of it.
pub fn parse(bytes: &[u8], how: Parse) -> Result<Vec<Package>, LockFileError> {
    let text = text(bytes);
    if text.contains('\0') {
        return Err(LockFileError::NoText);
    }
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        return Err(LockFileError::Lfs);
    }
    let mut named = match how {
        Parse::Whole(packages) => packages(&text)?,
        Parse::Lines(packages) => text.lines().flat_map(packages).collect(),
    };
    named.retain(|package| package.as_str().len() <= LONGEST);
    Ok(named)
}

/// Decodes UTF-8, or UTF-16 if a byte order mark says so, as PowerShell writes it and pip reads it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |rest: &[u8], of: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok())
            .map(of)
            .collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// Parses TOML. The message has only the number of the line: the parser's own quotes values.
pub(super) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, LockFileError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let newlines = before.unwrap_or_default().matches('\n').count();
        LockFileError::Toml(newlines.saturating_add(1))
    })
}

/// Parses JSON. The message has only the number of the line.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, LockFileError> {
    serde_json::from_str(text).map_err(|error| LockFileError::Json(error.line()))
}
