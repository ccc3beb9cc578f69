//! What a checkout makes of a blob: other line endings, or a large file in place of its git-lfs
//! pointer.
//!
//! Git hides such a difference once its index has seen the file; here it is recognised. Every other
//! effect of a filter counts as work, because nobody knows what the filter dropped. No filter is
//! run, and content that only the tree has is never safe.

use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fs::FileType;
use std::io::{self, BufRead};

/// Bytes. A git-lfs pointer is shorter, by its specification.
const LONGEST_POINTER: usize = 1024;
/// The beginning of a pointer, by its specification. Older versions are too rare to matter, and
/// count as work.
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n";
/// Bytes of the largest text that is compared with a blob of other line endings.
pub const LONGEST_TEXT: u64 = 64 << 20;

/// A file at the path where a checkout would put a blob.
pub struct CheckedOut<'a> {
    /// The repo's git dir, with the store of git-lfs.
    pub git_dir: &'a VolumePath,
    /// The file.
    pub place: &'a VolumePath,
    /// Its size in bytes.
    pub size: u64,
    /// Whether git's index vouches that a checkout made it from the blob.
    pub vouched: bool,
}

impl CheckedOut<'_> {
    /// Checks whether a checkout would make this file from `blob`. A git-lfs file is read only if
    /// the index doesn't vouch for it. A text is always read; if the index doesn't know it
    /// (`cp -a`), `lengthens` must say that a checkout changes line endings there.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn comes_from(
        &self,
        blob: &[u8],
        lengthens: impl FnOnce() -> io::Result<bool>,
        stop: &Stop,
    ) -> io::Result<bool> {
        if let Some(pointer) = pointer(blob) {
            return Ok(pointer.size == self.size
                && is_stored(self.git_dir, &pointer)
                && (self.vouched || names(&pointer, &sha256(self.place, stop)?)));
        }
        let lines = blob.split(|&byte| byte == b'\n').skip(1).count() as u64;
        if blob.contains(&b'\r')
            || (blob.len() as u64).saturating_add(lines) != self.size
            || self.size > LONGEST_TEXT
        {
            return Ok(false);
        }
        if !self.vouched && !lengthens()? {
            return Ok(false);
        }
        let text = openat::read(self.place, self.size)?;
        let ended = blob
            .split_inclusive(|&byte| byte == b'\n')
            .flat_map(|line| match line.split_last() {
                Some((b'\n', line)) => [line, b"\r\n"],
                _ => [line, b""],
            });
        Ok(ended.flatten().eq(&text))
    }
}

/// The content that a git-lfs pointer names.
#[derive(Debug, PartialEq, Eq)]
struct Pointer<'a> {
    oid: &'a str,
    size: u64,
}

/// Parses the plain form only: extensions (`ext-0-...`) change the content on its way into the
/// store.
fn pointer(blob: &[u8]) -> Option<Pointer<'_>> {
    let text = std::str::from_utf8(blob)
        .ok()
        .filter(|text| text.len() < LONGEST_POINTER)?;
    let (oid, size) = text
        .strip_prefix(POINTER)?
        .strip_prefix("oid sha256:")?
        .split_once("\nsize ")?;
    let is_hex = oid.len() == 64 && oid.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Pointer {
        oid,
        size: size.strip_suffix('\n')?.parse().ok()?,
    })
    .filter(|_| is_hex)
}

/// Checks whether a pointer names the content with this sum.
fn names(pointer: &Pointer<'_>, sum: &[u8]) -> bool {
    let digits = pointer
        .oid
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap_or_default(), 16).ok());
    digits.eq(sum.iter().copied().map(Some))
}

fn sha256(place: &VolumePath, stop: &Stop) -> io::Result<Vec<u8>> {
    let mut file = io::BufReader::with_capacity(256 << 10, openat::file(place)?);
    let mut sum = ring::digest::Context::new(&ring::digest::SHA256);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(sum.finish().as_ref().to_vec());
        }
        stop.read(bytes.len() as u64)?;
        sum.update(bytes);
        let read = bytes.len();
        file.consume(read);
    }
}

/// Checks by name and size whether the repo has the content itself. The store belongs to the main
/// checkout, so it stays when the tree is removed, and treewarden never empties it.
fn is_stored(git_dir: &VolumePath, Pointer { oid, size }: &Pointer<'_>) -> bool {
    let object = git_dir.join(format!("lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]));
    object.is_ok_and(|object| {
        let stat = openat::stat(&object);
        stat.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size) == Ok(*size)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_a_plain_pointer_is_one() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let plain = format!("{POINTER}oid sha256:{oid}\nsize 12345\n");
        assert_eq!(
            pointer(plain.as_bytes()),
            Some(Pointer { oid, size: 12345 })
        );
        let extended = plain.replace("oid", "ext-0-foo sha256:00\noid");
        let padded = format!("{plain}{}", "\n".repeat(2000));
        for other in [
            &plain[1..],
            &plain.replace("12345", "-1"),
            &plain.replace("4d7a", "../."),
            &extended,
            &padded,
            "",
        ] {
            assert_eq!(pointer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn line_endings_come_back_and_nothing_else_does() {
        let top = tempfile::tempdir().unwrap();
        let place = VolumePath::new(&top.path().into(), Path::new("file")).unwrap();
        for (blob, file, same) in [
            ("one\ntwo\n", "one\r\ntwo\r\n", true),
            ("one\ntwo", "one\r\ntwo", true),
            ("\n", "\r\n", true),
            ("one\ntwo\n", "one\ntwo\r\n", false),
            ("one\ntwo\n", "one\r\nTWO\r\n", false),
            ("one\r\ntwo\n", "one\r\ntwo\r\n", false),
            ("one", "one\n", false),
        ] {
            std::fs::write(place.path(), file).unwrap();
            let made = |vouched, lengthens| {
                let file = CheckedOut {
                    git_dir: &place,
                    place: &place,
                    size: file.len() as u64,
                    vouched,
                };
                file.comes_from(blob.as_bytes(), || Ok(lengthens), &Stop::never())
                    .unwrap()
            };
            assert_eq!(
                [made(true, false), made(false, true), made(false, false)],
                [same, same, false],
                "{blob:?} and {file:?}"
            );
        }
    }
}
