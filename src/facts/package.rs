//! The name by which lock files and a cache's units identify a package.
//!
//! Both sides build the same text for the same package. The text contains only what distinguishes
//! two packages, because the ledger remembers each one for months. It isn't shown to people: a unit
//! has a name of its own.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// How many hexadecimal digits of a digest are kept: 128 bits distinguish any two packages.
const DIGITS: usize = 32;

/// One package at one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Package(Box<str>);

impl Package {
    /// Returns the package called `name`. `sort` separates the names of one tool from those of all
    /// others.
    pub fn new(sort: &str, name: &str) -> Self {
        Self(format!("{sort} {name}").into())
    }

    /// Returns the package with this hexadecimal digest: npm, pnpm, Yarn classic (`sha512`,
    /// `sha1`), Python (`sha256`). None if it is malformed.
    pub fn digest(algorithm: &str, hex: &str) -> Option<Self> {
        let hex = hex.get(..DIGITS).unwrap_or(hex);
        let is_hex = hex.len() == DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self::new(&algorithm.to_ascii_lowercase(), &hex.to_ascii_lowercase()))
    }

    /// Returns the packages that an `integrity` names: `sha1-<base64> sha512-<base64>?options`.
    /// Malformed ones are left out.
    pub fn integrity(text: &str) -> Vec<Self> {
        let one = |part: &str| {
            let (algorithm, encoded) = part.split_once('-')?;
            Self::digest(algorithm, &hex_of_base64(encoded.split('?').next()?)?)
        };
        text.split_whitespace().filter_map(one).collect()
    }

    /// Returns the shared text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Converts base64 to hexadecimal.
pub fn hex_of_base64(encoded: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut hex, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for symbol in encoded.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == symbol)?;
        bits = ((bits << 6) | u32::try_from(value).ok()?) & 0xfff;
        // A symbol adds six bits: together with at least two left over, they complete a byte.
        match held.checked_sub(2) {
            Some(left) => {
                write!(hex, "{:02x}", (bits >> left) & 0xff).ok()?;
                held = left;
            }
            None => held = 6,
        }
    }
    Some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_build_the_same() {
        let hex = "5c8e4c3f354d0298c0ca1433a615fc06498ab0a5310f82ddc8adb88997901a29c137dc93413ddb165081cbf695c761eb35ca901ac768b7c821ae3cabbcc0a810";
        let integrity = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==";
        assert_eq!(
            Package::integrity(integrity),
            [Package::digest("sha512", hex).unwrap()]
        );
        assert_eq!(
            Package::integrity(&format!("{integrity}?x md5-?? {integrity}")).len(),
            2
        );
        for bad in [
            "",
            "sha512",
            "sha512-",
            "sha512-??",
            "sha512-ä",
            "sha512-AAAA",
        ] {
            assert_eq!(Package::integrity(bad), [], "{bad}");
        }
        for bad in ["", "5c8e", &"g".repeat(40), &"ä".repeat(40)] {
            assert_eq!(Package::digest("sha1", bad), None, "{bad}");
        }
    }
}
