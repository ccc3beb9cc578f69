//! The objects that an index names: staged files, the trees it caches, and what a resolved conflict can be brought back from.
//!
//! It is read by our own code and not by libgit2, which knows no split and no sparse index and takes room for what a header promises. An
//! agent may have written it. It must never leave out a part that it doesn't understand: that is an error, and then nothing is dropped.

use super::{Ids, Named};
use std::io::{self, BufRead, Read};

/// A path in an index may be this long: git's own limit is lower.
const LONGEST_PATH: u64 = 64 << 10;
/// Bytes of an id.
const ID: usize = 20;
/// What an index ends with: the sum of all before it.
const SUM: u64 = 20;
/// Modes of entries whose id is no object of this repo: a submodule's commit.
const SUBMODULE: u32 = 0o160_000;

/// Whether an index rests on a shared one (`git update-index --split-index`), and on which.
pub(super) type Shared = Option<[u8; ID]>;

/// Adds all that an index of `length` bytes names. Git looks at its entries and its trees by itself.
///
/// # Errors
/// It makes no sense, or holds what isn't known here.
pub(super) fn ids(file: impl Read, length: u64, named: &mut Named) -> io::Result<Shared> {
    let mut index = Index { file: io::BufReader::with_capacity(64 << 10, file), at: 0, end: length.saturating_sub(SUM) };
    if &index.bytes::<4>()? != b"DIRC" {
        return Err(odd("doesn't begin like one"));
    }
    let (version, entries) = (index.number()?, index.number()?);
    if !(2..=4).contains(&version) {
        return Err(odd("is of an unknown version"));
    }
    for _ in 0..entries {
        index.entry(version, &mut named.seen)?;
    }
    let mut shared = None;
    while index.at < index.end {
        let (name, size) = (index.bytes::<4>()?, u64::from(index.number()?));
        let end = index.at.checked_add(size).filter(|end| *end <= index.end).ok_or_else(cut)?;
        match &name {
            b"TREE" => index.trees(end, &mut named.seen)?,
            b"REUC" => index.resolved(end, &mut named.hidden)?,
            b"link" if size >= ID as u64 => {
                let base = index.bytes::<ID>()?;
                shared = Some(base).filter(|base| *base != [0; ID]);
            }
            // What begins with a capital may be passed over by who doesn't know it; known ones name nothing that must stay. `sdir` says that
            // whole directories are entries: these were read above.
            b"sdir" | [b'A'..=b'Z', ..] => {}
            _ => return Err(odd("has a part that treewarden doesn't know")),
        }
        index.skip_to(end)?;
    }
    Ok(shared)
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
    /// Where the closing sum begins.
    end: u64,
}

impl<R: Read> Index<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        if self.at + N as u64 > self.end {
            return Err(cut());
        }
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes()?))
    }

    fn short(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.bytes()?))
    }

    /// What comes before the next byte like `stop`; that is read, too.
    fn until(&mut self, stop: u8) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let most = LONGEST_PATH.min(self.end.saturating_sub(self.at));
        let read = self.file.by_ref().take(most).read_until(stop, &mut text)?;
        self.at += read as u64;
        if text.pop() == Some(stop) { Ok(text) } else { Err(cut()) }
    }

    fn skip_to(&mut self, end: u64) -> io::Result<()> {
        let left = end.checked_sub(self.at).filter(|_| end <= self.end).ok_or_else(cut)?;
        let skipped = io::copy(&mut self.file.by_ref().take(left), &mut io::sink())?;
        self.at += skipped;
        if skipped == left { Ok(()) } else { Err(cut()) }
    }

    fn entry(&mut self, version: u32, ids: &mut Ids) -> io::Result<()> {
        let begin = self.at;
        let _times_and_places: [u8; 24] = self.bytes()?;
        let mode = self.number()?;
        let _owner_and_size: [u8; 12] = self.bytes()?;
        let id = self.bytes::<ID>()?;
        let flags = self.short()?;
        // More flags follow.
        if flags & 0x4000 != 0 {
            if version < 3 {
                return Err(odd("has an entry that its version doesn't know"));
            }
            self.short()?;
        }
        if version == 4 {
            // How much of the name before it is left out, and the rest of the name.
            while self.bytes::<1>()?[0] & 0x80 != 0 {}
            self.until(0)?;
        } else {
            self.until(0)?;
            // With NULs up to the next eighth byte.
            let padding = (8 - (self.at - begin) % 8) % 8;
            self.skip_to(self.at + padding)?;
        }
        if mode & 0o170_000 != SUBMODULE {
            ids.push(id)?;
        }
        Ok(())
    }

    /// A path, how many entries it covers (-1: it isn't known any more), how many trees stand below; then its id, if it is known.
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

    /// A path, the modes of its three sides, and an id for each side that was there.
    fn resolved(&mut self, end: u64, ids: &mut Ids) -> io::Result<()> {
        while self.at < end {
            self.until(0)?;
            let modes = [self.until(0)?, self.until(0)?, self.until(0)?];
            for mode in modes {
                if mode != b"0" {
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
        [b"DIRC".to_vec(), version.to_be_bytes().to_vec(), entries.to_be_bytes().to_vec()].concat()
    }

    fn entry(mode: u32, id: u8, name: &[u8], version: u32, longer: bool) -> Vec<u8> {
        let mut entry = [vec![0; 24], mode.to_be_bytes().to_vec(), vec![0; 12], vec![id; 20]].concat();
        let flags = u16::try_from(name.len()).unwrap() | if longer { 0x4000 } else { 0 };
        entry.extend(flags.to_be_bytes());
        entry.extend(vec![0; if longer { 2 } else { 0 }]);
        if version == 4 {
            entry.extend([0x80, 0x00]);
        }
        entry.extend(name);
        entry.push(0);
        while version != 4 && entry.len() % 8 != 0 {
            entry.push(0);
        }
        entry
    }

    fn part(name: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        [&name[..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
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
            let tree = [b"\x002 1\n".to_vec(), vec![5; 20], b"src\0-1 0\n".to_vec(), b"doc\x001 0\n".to_vec(), vec![6; 20]].concat();
            let resolved = [b"a.ts\x00100644\x000\x00100755\0".to_vec(), vec![7; 20], vec![8; 20]].concat();
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
            assert_eq!(read(&index.concat()).unwrap(), (vec![1, 2, 4, 5, 6, 7, 8], Some([10; 20])), "version {version}");
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
            assert_eq!(read(&whole[..cut]).is_ok(), ends.contains(&cut), "cut at {cut}");
        }
        for odd in [
            header(5, 0),
            header(2, u32::MAX),
            [header(2, 0), part(*b"wild", b"x")].concat(),
            [header(2, 0), b"TREE\xff\xff\xff\xff".to_vec()].concat(),
            [header(2, 1), entry(0o100_644, 1, b"a", 2, true)].concat(),
            [header(2, 0), part(*b"REUC", b"a\x00100644\x00")].concat(),
        ] {
            assert!(read(&odd).is_err(), "{odd:?}");
        }
    }
}
