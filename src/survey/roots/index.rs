//! The objects that an index names: staged files, cached trees, and the versions of resolved
//! conflicts.
//!
//! Our own code reads it: libgit2 supports neither split nor sparse indexes, and allocates what a
//! header claims, which an agent may have written. A part that isn't understood is an error, and
//! then nothing is dropped.

use super::{Ids, Named};
use std::io::{self, BufRead, Read};

/// Bytes of a path in an index, at most: git's own limit is lower.
const LONGEST_PATH: u64 = 64 << 10;
/// Bytes of an id.
const ID: usize = 20;
/// Bytes of the checksum of everything before it, at the end of an index.
const SUM: u64 = 20;
/// The mode of a submodule's entry, which names a commit of another repo.
const SUBMODULE: u32 = 0o160_000;
/// The bits of an entry's flags for the length of its name; all are set if it is that long or
/// longer.
const LENGTH: u16 = 0xfff;

/// The shared index that an index builds on (`git update-index --split-index`), if any.
pub(super) type Shared = Option<[u8; ID]>;

/// Adds all objects that an index of `length` bytes names, and returns its shared index. Git itself
/// sees the entries and the cached trees.
///
/// # Errors
/// It is malformed, or has an unknown part.
pub(super) fn ids(file: impl Read, length: u64, named: &mut Named) -> io::Result<Shared> {
    let mut index = Index::of(file, length);
    let (version, entries) = index.header()?;
    for _ in 0..entries {
        let (mode, id) = index.entry(version)?;
        if mode & 0o170_000 != SUBMODULE {
            named.seen.push(id)?;
        }
    }
    let mut shared = None;
    while index.at < index.end {
        let (name, size) = (index.bytes::<4>()?, u64::from(index.number()?));
        let end = index
            .at
            .checked_add(size)
            .filter(|end| *end <= index.end)
            .ok_or_else(cut)?;
        match &name {
            b"TREE" => index.trees(end, &mut named.seen)?,
            b"REUC" => index.resolved(end, &mut named.hidden)?,
            b"link" if size >= ID as u64 => {
                let base = index.bytes::<ID>()?;
                shared = Some(base).filter(|base| *base != [0; ID]);
            }
            // An extension that begins with a capital is optional; the known ones name nothing that
            // must stay. `sdir` says that some entries are directories: these were read above.
            b"sdir" | [b'A'..=b'Z', ..] => {}
            _ => return Err(odd("has a part that treewarden doesn't know")),
        }
        index.skip_to(end)?;
    }
    Ok(shared)
}

/// Checks that each name is as long as its entry says. If not, libgit2 ends the name at its NUL and
/// git at the stated length, and git2 reads that many bytes, beyond the name's memory.
///
/// # Errors
/// They differ, or the index is malformed.
pub(in crate::survey) fn prove_names(file: impl Read, length: u64) -> io::Result<()> {
    let mut index = Index::of(file, length);
    let (version, entries) = index.header()?;
    (0..entries).try_for_each(|_| index.entry(version).map(drop))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it {what}"))
}

fn cut() -> io::Error {
    odd("ends in the middle")
}

struct Index<R> {
    file: io::BufReader<R>,
    /// Bytes read so far.
    at: u64,
    /// The offset of the checksum.
    end: u64,
    /// The length of the last name.
    name: u64,
}

impl<R: Read> Index<R> {
    fn of(file: R, length: u64) -> Self {
        Self {
            file: io::BufReader::with_capacity(64 << 10, file),
            at: 0,
            end: length.saturating_sub(SUM),
            name: 0,
        }
    }

    /// Reads the version and the number of entries.
    fn header(&mut self) -> io::Result<(u32, u32)> {
        if &self.bytes::<4>()? != b"DIRC" {
            return Err(odd("doesn't begin like one"));
        }
        let (version, entries) = (self.number()?, self.number()?);
        if (2..=4).contains(&version) {
            Ok((version, entries))
        } else {
            Err(odd("is of an unknown version"))
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let at = self
            .at
            .checked_add(N as u64)
            .filter(|at| *at <= self.end)
            .ok_or_else(cut)?;
        self.file.read_exact(&mut bytes)?;
        self.at = at;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    fn short(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.bytes()?))
    }

    /// Reads up to the next `stop`, and returns the bytes before it.
    fn until(&mut self, stop: u8) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let most = LONGEST_PATH.min(self.end.saturating_sub(self.at));
        let read = self.file.by_ref().take(most).read_until(stop, &mut text)?;
        self.at = self.at.saturating_add(read as u64);
        if text.pop() == Some(stop) {
            Ok(text)
        } else {
            Err(cut())
        }
    }

    fn skip_to(&mut self, end: u64) -> io::Result<()> {
        let left = end
            .checked_sub(self.at)
            .filter(|_| end <= self.end)
            .ok_or_else(cut)?;
        let skipped = io::copy(&mut self.file.by_ref().take(left), &mut io::sink())?;
        self.at = self.at.saturating_add(skipped);
        if skipped == left { Ok(()) } else { Err(cut()) }
    }

    /// Reads the mode and the id of an entry.
    fn entry(&mut self, version: u32) -> io::Result<(u32, [u8; ID])> {
        let begin = self.at;
        let _times_and_places: [u8; 24] = self.bytes()?;
        let mode = self.number()?;
        let _owner_and_size: [u8; 12] = self.bytes()?;
        let id = self.bytes::<ID>()?;
        let flags = self.short()?;
        // Extended flags follow.
        if flags & 0x4000 != 0 {
            if version < 3 {
                return Err(odd("has an entry that its version doesn't know"));
            }
            self.short()?;
        }
        if version == 4 {
            // How many bytes of the previous name are dropped, and the rest of the name.
            let left_out = self.varint()?;
            let kept = self
                .name
                .checked_sub(left_out)
                .ok_or_else(|| odd("leaves out more of a path than there is"))?;
            self.name = kept.saturating_add(self.until(0)?.len() as u64);
        } else {
            self.name = self.until(0)?.len() as u64;
            // Padded with NULs to a multiple of eight bytes.
            let padding = begin.wrapping_sub(self.at) % 8;
            self.skip_to(self.at.saturating_add(padding))?;
        }
        let message = u64::from(flags & LENGTH);
        if message != u64::from(LENGTH) && message != self.name {
            return Err(odd("has a name that isn't as long as it says"));
        }
        Ok((mode, id))
    }

    /// Reads a number encoded like an offset in a pack: seven bits a byte, and one is added before
    /// each further byte.
    fn varint(&mut self) -> io::Result<u64> {
        let [mut byte] = self.bytes()?;
        let mut value = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            [byte] = self.bytes()?;
            value = value
                .checked_add(1)
                .and_then(|value| value.checked_mul(128))
                .ok_or_else(cut)?
                | u64::from(byte & 0x7f);
        }
        Ok(value)
    }

    /// Reads cached trees: a path, how many entries it covers (-1 if it is invalid), how many
    /// subtrees follow; then its id, if it is valid.
    fn trees(&mut self, end: u64, ids: &mut Ids) -> io::Result<()> {
        while self.at < end {
            self.until(0)?;
            let entries = self.until(b' ')?;
            self.until(b'\n')?;
            if !entries.starts_with(b"-") {
                ids.push(self.bytes()?)?;
            }
        }
        if self.at == end { Ok(()) } else { Err(cut()) }
    }

    /// Reads resolved conflicts: a path, the modes of its three sides, and an id for each side that
    /// was there.
    fn resolved(&mut self, end: u64, ids: &mut Ids) -> io::Result<()> {
        while self.at < end {
            self.until(0)?;
            let modes = [self.until(0)?, self.until(0)?, self.until(0)?];
            for mode in modes {
                let mode = str::from_utf8(&mode)
                    .ok()
                    .and_then(|mode| u32::from_str_radix(mode, 8).ok());
                if mode.ok_or_else(|| odd("has a malformed mode"))? != 0 {
                    ids.push(self.bytes()?)?;
                }
            }
        }
        if self.at == end { Ok(()) } else { Err(cut()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, entries: u32) -> Vec<u8> {
        [
            b"DIRC".to_vec(),
            version.to_be_bytes().to_vec(),
            entries.to_be_bytes().to_vec(),
        ]
        .concat()
    }

    fn entry(mode: u32, id: u8, name: &[u8], version: u32, longer: bool) -> Vec<u8> {
        let mut entry = [
            vec![0; 24],
            mode.to_be_bytes().to_vec(),
            vec![0; 12],
            vec![id; 20],
        ]
        .concat();
        // In version 4 the length is that of the whole name.
        let length = if version == 4 {
            LENGTH
        } else {
            u16::try_from(name.len()).unwrap()
        };
        let flags = length | if longer { 0x4000 } else { 0 };
        entry.extend(flags.to_be_bytes());
        entry.extend(vec![0; if longer { 2 } else { 0 }]);
        if version == 4 {
            entry.push(0);
        }
        entry.extend(name);
        entry.push(0);
        while version != 4 && entry.len() % 8 != 0 {
            entry.push(0);
        }
        entry
    }

    fn part(name: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        [
            &name[..],
            &u32::try_from(bytes.len()).unwrap().to_be_bytes(),
            bytes,
        ]
        .concat()
    }

    fn read(index: &[u8]) -> io::Result<(Vec<u8>, Shared)> {
        let mut found = Named::default();
        let whole = [index, &[0; 20]].concat();
        let shared = ids(&whole[..], whole.len() as u64, &mut found)?;
        let [seen, hidden] = [found.seen, found.hidden].map(Ids::sorted);
        Ok((seen.iter().chain(&hidden).map(|id| id[0]).collect(), shared))
    }

    #[test]
    fn every_part_that_names_objects_is_read() {
        for version in 2..=4 {
            let more = version > 2;
            let tree = [
                b"\x002 1\n".to_vec(),
                vec![5; 20],
                b"src\0-1 0\n".to_vec(),
                b"doc\x001 0\n".to_vec(),
                vec![6; 20],
            ]
            .concat();
            let resolved = [
                b"a.ts\x00100644\x000\x00100755\0".to_vec(),
                vec![7; 20],
                vec![8; 20],
            ]
            .concat();
            let index = [
                header(version, 4),
                entry(0o100_644, 1, b"a.ts", version, false),
                entry(0o120_000, 2, b"link", version, more),
                entry(0o160_000, 3, b"submodule", version, false),
                entry(0o040_000, 4, b"whole/", version, more),
                part(*b"TREE", &tree),
                part(*b"REUC", &resolved),
                part(*b"UNTR", &[9; 33]),
                part(*b"sdir", b""),
                part(*b"link", &[10; 24]),
            ];
            assert_eq!(
                read(&index.concat()).unwrap(),
                (vec![1, 2, 4, 5, 6, 7, 8], Some([10; 20])),
                "version {version}"
            );
        }
    }

    #[test]
    fn a_name_is_as_long_as_its_entry_says() {
        let with = |length: u16, name: &[u8]| {
            let mut entry = entry(0o100_644, 1, name, 2, false);
            entry[60..62].copy_from_slice(&length.to_be_bytes());
            [header(2, 1), entry].concat()
        };
        for (length, name, fits) in [
            (4, "a.ts", true),
            (3, "a.ts", false),
            (5, "a.ts", false),
            (0xffe, "a.ts", false),
            (LENGTH, "a.ts", true),
        ] {
            assert_eq!(
                read(&with(length, name.as_bytes())).is_ok(),
                fits,
                "{length}"
            );
            let whole = [with(length, name.as_bytes()), vec![0; 20]].concat();
            assert_eq!(
                prove_names(&whole[..], whole.len() as u64).is_ok(),
                fits,
                "{length}"
            );
        }
        // In version 4 the length includes what is taken from the previous name: here all but 130
        // bytes, a number that takes two bytes.
        let long = [&[b'a'; 200][..], b".ts"].concat();
        let mut first = entry(0o100_644, 1, &long, 4, false);
        first[60..62].copy_from_slice(&203_u16.to_be_bytes());
        for (length, fits) in [(203 - 130 + 4, true), (4, false)] {
            let mut second = entry(0o100_644, 2, b"b.ts", 4, false);
            second[60..62].copy_from_slice(&u16::to_be_bytes(length));
            second.splice(62..63, [0x80, 0x02]);
            assert_eq!(
                read(&[header(4, 2), first.clone(), second].concat()).is_ok(),
                fits,
                "{length}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_no_panic() {
        let whole = [
            header(2, 2),
            entry(0o100_644, 1, b"a.ts", 2, false),
            entry(0o100_644, 2, b"b.ts", 2, false),
            part(*b"TREE", &[&b"\x002 0\n"[..], &[5; 20]].concat()),
        ]
        .concat();
        assert!(read(&whole).is_ok());
        let ends = [12 + 2 * 72, whole.len()];
        for cut in 0..whole.len() {
            assert_eq!(
                read(&whole[..cut]).is_ok(),
                ends.contains(&cut),
                "cut at {cut}"
            );
        }
        for odd in [
            header(5, 0),
            header(2, u32::MAX),
            [header(2, 0), part(*b"wild", b"x")].concat(),
            [header(2, 0), b"TREE\xff\xff\xff\xff".to_vec()].concat(),
            [header(2, 1), entry(0o100_644, 1, b"a", 2, true)].concat(),
            [header(2, 0), part(*b"REUC", b"a\x00100644\x00")].concat(),
            [header(2, 0), part(*b"REUC", b"a\x00-1\x000\x000\x00")].concat(),
        ] {
            assert!(read(&odd).is_err(), "{odd:?}");
        }
    }
}
