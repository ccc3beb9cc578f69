//! What lock files call a package, and what a cache's unit answers to.
//!
//! Both sides build the same text, and are equal when it is: that is the whole of the match. It
//! holds what is needed to tell two packages apart and nothing more, for a ledger remembers each
//! one for months. It must never be shown as a package's name: a unit has one of its own.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Hexadecimal digits of a digest that are kept: 128 bits tell any two packages apart.
const DIGITS: usize = 32;

/// Digits of a commit that cargo names a checkout by.
const REVISION: usize = 7;

/// One package at one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Package(Box<str>);

impl Package {
    /// A crate of a registry, as its archive is called: `serde-1.0.0`.
    pub fn cargo(name_and_version: &str) -> Self {
        Self::new("cargo", name_and_version)
    }

    /// A commit of a git dependency of cargo's. `repo` is the last part of its address, without
    /// `.git`; of one on GitHub, cargo writes it in small letters.
    pub fn cargo_git(repo: &str, revision: &str) -> Self {
        let revision = revision.get(..REVISION).unwrap_or(revision);
        Self::new("cargo-git", &format!("{} {revision}", repo.to_lowercase()))
    }

    /// A Go module, with its capitals as they are (not `!x`): `github.com/BurntSushi/toml`,
    /// `v1.3.2`.
    pub fn go(module: &str, version: &str) -> Self {
        Self::new("go", &format!("{module}@{version}"))
    }

    /// A release on a Python index. Names that PEP 503 takes for the same are the same, and so are
    /// `2.0` and `2.0.0`, as PEP 440 wants it.
    pub fn python(name: &str, version: &str) -> Self {
        let mut version = version.trim().trim_start_matches('v');
        while let Some(shorter) = version.strip_suffix(".0") {
            version = shorter;
        }
        Self::new("python", &format!("{} {version}", Self::normal(name)))
    }

    /// A project's page on a Python index.
    pub fn python_page(name: &str) -> Self {
        Self::new("python-page", &Self::normal(name))
    }

    /// An archive of uv's cache, by its directory: what a virtual environment leads to that uv
    /// filled with links.
    pub fn uv_archive(id: &str) -> Self {
        Self::new("uv-archive", id)
    }

    /// A package whatever its version, as npm's registry calls it (`@acme/shop`): what the registry
    /// says of it stands in caches too.
    pub fn npm_page(name: &str) -> Self {
        Self::new("npm-page", name)
    }

    /// A zip of Yarn berry's, as its name begins, without the two hashes: `lodash-npm-4.17.21`,
    /// `@acme-shop-npm-1.0.0`, `resolve-patch`.
    pub fn yarn(slug: &str) -> Self {
        Self::new("yarn", slug)
    }

    /// A content by its digest, in hexadecimal: npm, pnpm, Yarn classic (`sha512`, `sha1`), Python
    /// (`sha256`). None when it isn't one.
    pub fn digest(algorithm: &str, hex: &str) -> Option<Self> {
        let hex = hex.get(..DIGITS).unwrap_or(hex);
        let is_hex = hex.len() == DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self::new(&algorithm.to_ascii_lowercase(), &hex.to_ascii_lowercase()))
    }

    /// The contents that an `integrity` names: `sha1-<base64> sha512-<base64>?options`. What makes
    /// no sense is left out.
    pub fn integrity(text: &str) -> Vec<Self> {
        let one = |part: &str| {
            let (algorithm, encoded) = part.split_once('-')?;
            Self::digest(algorithm, &hex_of_base64(encoded.split('?').next()?)?)
        };
        text.split_whitespace().filter_map(one).collect()
    }

    /// The text both sides share.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As PEP 503 writes a project's name.
    fn normal(name: &str) -> String {
        let (mut normal, mut gap) = (String::new(), false);
        for symbol in name.trim().chars() {
            if matches!(symbol, '-' | '_' | '.') {
                gap = true;
                continue;
            }
            if std::mem::take(&mut gap) {
                normal.push('-');
            }
            normal.push(symbol.to_ascii_lowercase());
        }
        normal
    }

    fn new(sort: &str, rest: &str) -> Self {
        Self(format!("{sort} {rest}").into())
    }
}

/// A base64 text's bytes, in hexadecimal.
pub fn hex_of_base64(encoded: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut hex, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for symbol in encoded.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == symbol)?;
        bits = ((bits << 6) | u32::try_from(value).ok()?) & 0xfff;
        // Six more bits: with two that are left from before they make a byte.
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
        assert_eq!(
            Package::python("Foo__bar.-Baz", "1.0"),
            Package::python("foo-bar-baz", "1.0")
        );
        assert_eq!(
            Package::python("foo", "v2.0.0"),
            Package::python("foo", "2")
        );
        assert_ne!(
            Package::python("foo", "2.10"),
            Package::python("foo", "2.1")
        );
        assert_ne!(
            Package::python("foobar", "1.0"),
            Package::python("foo-bar", "1.0")
        );
        assert_eq!(
            Package::cargo_git("y", "0123456789abcdef"),
            Package::cargo_git("y", "0123456")
        );
        assert_eq!(
            Package::cargo_git("Tools", "0123456"),
            Package::cargo_git("tools", "0123456")
        );
        assert_eq!(
            Package::go("github.com/BurntSushi/toml", "v1.3.2").as_str(),
            "go github.com/BurntSushi/toml@v1.3.2"
        );
        for bad in ["", "5c8e", &"g".repeat(40), &"ä".repeat(40)] {
            assert_eq!(Package::digest("sha1", bad), None, "{bad}");
        }
    }
}
