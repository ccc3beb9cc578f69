//! One bucket of npm's index: which contents it names, and its name for people.
//!
//! A bucket is a file of lines, `<hash of the rest>` TAB `<JSON>`. npm skips malformed lines, and
//! so do we. A bucket that can't be read at all is an error, never an empty one.

use crate::ecosystems::last_use::LastUseProbe;
use crate::facts::package::hex_of_base64;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use serde::Deserialize;
use std::io::{self, Read as _};

/// The most bytes of a bucket, which has a line of several hundred bytes for each fetch of an
/// address. A larger file is no bucket.
pub(super) const LARGEST: usize = 8 << 20;

/// The end of the name of a bucket with registry metadata.
pub(super) const METADATA: &str = " (metadata)";

/// One bucket.
pub(crate) struct Bucket {
    /// Its name for people, if known.
    pub(crate) name: Option<String>,
    /// The contents that it names, as `sha512/xx/yy/rest`.
    pub(crate) digests: Vec<String>,
}

/// The fields of a line that matter.
#[derive(Deserialize)]
struct Line {
    key: String,
    integrity: Option<String>,
}

impl Bucket {
    /// Reads a bucket; none if it is gone.
    pub(super) fn read(probe: &LastUseProbe, place: &VolumePath) -> io::Result<Option<Self>> {
        let Some((file, length)) = openat::found(probe.file(place))? else {
            return Ok(None);
        };
        // One byte more than the file should have: usually a single read gets all of it and shows
        // that there is no more.
        let mut text = Vec::with_capacity(
            usize::try_from(length)
                .unwrap_or(0)
                .min(LARGEST)
                .saturating_add(1),
        );
        file.take((LARGEST as u64).saturating_add(1))
            .read_to_end(&mut text)?;
        if text.len() > LARGEST {
            return Err(io::Error::other("too large for a bucket of npm's index"));
        }
        Ok(Some(Self::parse(&text)))
    }

    pub(crate) fn parse(text: &[u8]) -> Self {
        let (mut name, mut digests) = (None, Vec::new());
        for line in text.split(|byte| *byte == b'\n') {
            let json = line
                .splitn(2, |byte| *byte == b'\t')
                .nth(1)
                .unwrap_or_default();
            let Ok(line) = serde_json::from_slice::<Line>(json) else {
                continue;
            };
            digests.extend(
                line.integrity
                    .iter()
                    .flat_map(|integrity| integrity.split_whitespace())
                    .filter_map(digest),
            );
            name = Some(readable(&line.key));
        }
        digests.sort_unstable();
        digests.dedup();
        Self { name, digests }
    }
}

/// Returns the content's path for `sha512-<base64>`.
fn digest(integrity: &str) -> Option<String> {
    let (algorithm, encoded) = integrity.split_once('-')?;
    // Options may follow a question mark.
    let hex = hex_of_base64(encoded.split('?').next()?)?;
    (hex.len() > 4 && hex.is_ascii())
        .then(|| format!("{algorithm}/{}/{}/{}", &hex[..2], &hex[2..4], &hex[4..]))
}

/// Returns `left-pad-1.3.0.tgz`, `@acme/shop (metadata)`, or the key unchanged.
fn readable(key: &str) -> String {
    let Some((_, address)) = key
        .strip_prefix("make-fetch-happen:request-cache:")
        .and_then(|url| url.split_once("://"))
    else {
        return key
            .strip_prefix("pacote:tarball:")
            .unwrap_or(key)
            .to_owned();
    };
    let path = address
        .split_once('/')
        .map_or(address, |(_, path)| path)
        .replace("%2f", "/")
        .replace("%2F", "/");
    match path.split_once("/-/") {
        None => format!("{path}{METADATA}"),
        Some((package, archive)) => match package.rsplit_once('/') {
            Some((scope, _)) => format!("{scope}/{archive}"),
            None => archive.to_owned(),
        },
    }
}

#[cfg(test)]
pub(super) mod testing {
    /// Returns a bucket's line that names the content with this digest.
    pub(in super::super) fn line(key: &str, digest: &[u8]) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = digest
            .iter()
            .map(|byte| format!("{byte:08b}"))
            .collect::<Vec<_>>()
            .concat();
        let symbol = |six: &[u8]| {
            let text = format!("{:0<6}", std::str::from_utf8(six).unwrap());
            char::from(ALPHABET[usize::from_str_radix(&text, 2).unwrap()])
        };
        let encoded: String = bits.as_bytes().chunks(6).map(symbol).collect();
        format!("\nhash\t{{\"key\":\"{key}\",\"integrity\":\"sha512-{encoded}\",\"time\":1}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_path_of_its_content() {
        // As npm 11 wrote it for left-pad 1.3.0.
        let integrity = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==";
        let path = "sha512/5c/8e/4c3f354d0298c0ca1433a615fc06498ab0a5310f82ddc8adb88997901a29c137dc93413ddb165081cbf695c761eb35ca901ac768b7c821ae3cabbcc0a810";
        assert_eq!(digest(integrity).as_deref(), Some(path));
        for bad in ["", "sha512", "sha512-", "sha512-??", "sha512-ä"] {
            assert_eq!(digest(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_read_like_packages() {
        let url = "make-fetch-happen:request-cache:https://registry.npmjs.org/";
        let table = [
            ("is-number", "is-number (metadata)"),
            ("@acme%2fshop", "@acme/shop (metadata)"),
            ("is-number/-/is-number-7.0.0.tgz", "is-number-7.0.0.tgz"),
            ("@acme/shop/-/shop-1.0.0.tgz", "@acme/shop-1.0.0.tgz"),
        ];
        for (path, expected) in table {
            assert_eq!(readable(&format!("{url}{path}")), expected);
        }
        assert_eq!(
            readable("pacote:tarball:is-number@7.0.0"),
            "is-number@7.0.0"
        );
        assert_eq!(readable("other"), "other");
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let text = format!(
            "\nno tab\nhash\tno json\nhash\t{{\"key\":\"k\"}}{}",
            testing::line("k", &[0, 1, 2])
        );
        assert_eq!(Bucket::parse(text.as_bytes()).digests, ["sha512/00/01/02"]);
    }
}
