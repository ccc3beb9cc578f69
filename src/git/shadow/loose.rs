//! Loose objects, read to their end before libgit2 reads them.
//!
//! libgit2 1.9 loops for ever on a truncated object, such as a crash or a full disk leaves (its
//! issue 7342), and the run would hang with it. Objects that are certainly whole pass here, many at
//! a time; git checks all others.

use crate::fs::budget::Reservation;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use flate2::{Decompress, FlushDecompress, Status};
use rayon::prelude::*;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The kinds of objects.
const KINDS: [&[u8]; 4] = [b"blob", b"tree", b"commit", b"tag"];
/// Bytes read and inflated at a time: most objects need one turn.
const INPUT: usize = 16 << 10;
const OUTPUT: usize = 64 << 10;
/// Bytes inflated between two checks whether to stop: a small file can contain any length of zeros.
const ASK_EVERY: u64 = 16 << 20;
/// Objects per task: on a fast disk each takes some microseconds, and a reader takes memory.
const A_TASK: usize = 16;

/// The loose objects of one object directory.
pub(super) struct Loose {
    /// The directory.
    pub(super) objects: VolumePath,
    /// Their ids.
    pub(super) ids: Vec<String>,
    /// What they take of the repo's memory budget.
    pub(super) held: Reservation,
}

impl Loose {
    /// Returns the objects that may not be whole: beside a multi-pack-index, which no run writes,
    /// all of them, because git checks it when it looks up the first. Works in the caller's rayon
    /// pool. Once it is time to stop, the remaining objects count as doubtful.
    ///
    /// # Errors
    /// The directory can't be opened.
    pub(super) fn doubtful(&self, stop: &Stop) -> io::Result<Vec<&str>> {
        let directory = openat::dir(&self.objects)?;
        if rustix::fs::statat(
            &directory,
            "pack/multi-pack-index",
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .err()
            != Some(Errno::NOENT)
        {
            return Ok(self.ids.iter().map(String::as_str).collect());
        }
        let is_whole = |reader: &mut Reader, id: &str| {
            if stop.reached().is_some() {
                return false;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
            let file = openat::below(
                &directory,
                &PathBuf::from(format!("{}/{}", &id[..2], &id[2..])),
                flags,
            )
            .map(File::from);
            file.is_ok_and(|file| {
                file.metadata().is_ok_and(|data| data.is_file())
                    && reader.whole(file, stop).unwrap_or(false)
            })
        };
        let doubtful = self.ids.par_chunks(A_TASK).flat_map_iter(|ids| {
            let mut reader = Reader::new();
            let is_whole = &is_whole;
            ids.iter()
                .map(String::as_str)
                .filter(move |id| !is_whole(&mut reader, id))
        });
        Ok(doubtful.collect())
    }
}

struct Reader {
    inflate: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Reader {
    fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
            input: vec![0; INPUT],
            output: vec![0; OUTPUT],
        }
    }

    /// Returns whether the header has a kind and a length, and the content inflates to exactly that
    /// length and ends with the right checksum.
    fn whole(&mut self, mut file: impl Read, stop: &Stop) -> io::Result<bool> {
        self.inflate.reset(true);
        let (mut promised, mut asked) = (None, 0);
        loop {
            let read = file.read(&mut self.input)?;
            let mut input = self.input.get(..read).unwrap_or_default();
            if read == 0 {
                return Ok(false);
            }
            loop {
                let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
                let status =
                    self.inflate
                        .decompress(input, &mut self.output, FlushDecompress::None)?;
                let taken = usize::try_from(self.inflate.total_in().saturating_sub(taken))
                    .map_err(io::Error::other)?;
                let given = usize::try_from(self.inflate.total_out().saturating_sub(given))
                    .map_err(io::Error::other)?;
                input = input.get(taken..).unwrap_or_default();
                if promised.is_none() {
                    promised = length(self.output.get(..given).unwrap_or_default());
                }
                if self.inflate.total_out().saturating_sub(asked) >= ASK_EVERY {
                    stop.read(self.inflate.total_out().saturating_sub(asked))?;
                    asked = self.inflate.total_out();
                }
                match status {
                    Status::StreamEnd => {
                        let is_all = input.is_empty() && file.read(&mut self.input)? == 0;
                        return Ok(is_all && promised == Some(self.inflate.total_out()));
                    }
                    _ if promised.is_none_or(|promised| self.inflate.total_out() > promised) => {
                        return Ok(false);
                    }
                    // The last output for this input.
                    _ if given < self.output.len() => break,
                    _ => {}
                }
            }
        }
    }
}

/// Returns an object's length by its beginning, including the header: `blob 12`, and a NUL.
fn length(begin: &[u8]) -> Option<u64> {
    let end = begin.iter().take(32).position(|&byte| byte == 0)?;
    let mut words = begin.get(..end)?.splitn(2, |&byte| byte == b' ');
    let is_known = KINDS.contains(&words.next()?);
    let digits = words
        .next()
        .filter(|digits| is_known && digits.iter().all(u8::is_ascii_digit))?;
    let length: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    length.checked_add(end as u64)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    fn object(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn whole(bytes: &[u8]) -> bool {
        Reader::new().whole(bytes, &Stop::never()).unwrap_or(false)
    }

    /// An endless object of zeros, which claims to be longer than any disk.
    struct Endless(ZlibEncoder<Vec<u8>>, usize);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            while self.0.get_ref().len() < self.1 + buffer.len() {
                self.0.write_all(&vec![0; 1 << 20]).unwrap();
            }
            buffer.copy_from_slice(&self.0.get_ref()[self.1..self.1 + buffer.len()]);
            self.1 += buffer.len();
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_bomb_is_read_no_further_than_the_run_lasts() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"blob 99999999999999\0").unwrap();
        let began = std::time::Instant::now();
        let stop = Stop::after(
            std::time::Duration::from_millis(300),
            std::sync::Arc::default(),
        );
        assert!(
            !Reader::new()
                .whole(Endless(encoder, 0), &stop)
                .unwrap_or(false)
        );
        assert!(
            began.elapsed() < std::time::Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn whole_is_what_ends_where_it_says() {
        let zeros = [b"blob 300000\0".to_vec(), vec![0; 300_000]].concat();
        let noise: Vec<u8> = (0..100_000_u32)
            .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        let noise = [b"blob 400000\0".to_vec(), noise].concat();
        for text in [
            &b"blob 0\0"[..],
            b"blob 3\0abc",
            b"tree 0\0",
            b"commit 1\0x",
            b"tag 1\0x",
            &zeros,
            &noise,
        ] {
            assert!(whole(&object(text)), "{:?}", &text[..8]);
        }
        for text in [
            &b"blob 4\0abc"[..],
            b"blob 2\0abc",
            b"blub 3\0abc",
            b"blob 3 \0abc",
            b"blob +3\0abc",
            b"blob\0",
            b"blob 3",
            b"",
        ] {
            assert!(!whole(&object(text)), "{text:?}");
        }
    }

    #[test]
    fn cut_or_changed_anywhere_it_is_none() {
        for text in [
            b"blob 3\0abc".to_vec(),
            [b"blob 70000\0".to_vec(), vec![7; 70_000]].concat(),
        ] {
            let bytes = object(&text);
            for cut in 0..bytes.len() {
                assert!(!whole(&bytes[..cut]), "cut at {cut}");
            }
            assert!(!whole(&[&bytes[..], b"\0"].concat()), "more behind it");
            assert!(
                !whole(&[&bytes[..bytes.len() - 1], &[bytes[bytes.len() - 1] ^ 1]].concat()),
                "another sum"
            );
            assert!(
                !whole(
                    &[
                        &bytes[..bytes.len() / 2],
                        &vec![0; bytes.len() - bytes.len() / 2]
                    ]
                    .concat()
                ),
                "zeros at its end"
            );
        }
    }
}
