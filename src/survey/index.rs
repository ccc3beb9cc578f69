//! A reader of git's index, including forms that libgit2 doesn't read: sparse ones, in which a
//! directory that isn't checked out is one entry, and split ones, which build on a shared file
//! beside them.
//!
//! An agent may have written it. libgit2 allocates as many entries as an index claims to have, and
//! trusts the length of a name; this reader trusts only what the bytes prove. The fuzz target
//! `index` compares the two readers.

use super::tree::path_of;
use crate::fs::budget::Reservation;
use crate::git::sha1;
use git2::{IndexEntry, IndexTime, Oid};
use std::io;

/// Bytes of an id.
const ID: usize = 20;
/// The end of an index: the sum of everything before it.
const SUM: usize = 20;
/// Bytes of the smallest entry.
const SMALLEST_ENTRY: usize = 62;
/// Bytes of a path: more than the kernel accepts.
const LONGEST: usize = 64 << 10;
/// The bit of an entry's flags that says that extended flags follow.
const EXTENDED: u16 = 1 << 14;
/// The bits of the stage. A nonzero stage marks an unmerged path.
const STAGE: u16 = 3 << 12;
/// The bits of the path's length; all are set if it is that long or longer.
const LENGTH: u16 = 0xfff;

/// An index as in its file.
#[derive(Default)]
pub(crate) struct Read {
    /// In the file's order.
    pub(crate) entries: Vec<IndexEntry>,
    /// The shared index that it builds on.
    pub(crate) shared: Option<Shared>,
}

/// A split index's reference to its shared index.
pub(crate) struct Shared {
    /// The sum of the shared index, which is part of its file name.
    pub(super) sum: String,
    /// Positions of entries there that were deleted.
    deleted: Vec<usize>,
    /// Positions of entries there that the first entries of this index replace.
    replaced: Vec<usize>,
}

impl Read {
    /// Reads an index.
    ///
    /// # Errors
    /// It is malformed, or has an unknown part.
    pub(crate) fn of(bytes: &[u8], held: &mut Reservation) -> io::Result<Self> {
        let (text, _sum) = bytes.split_last_chunk::<SUM>().ok_or_else(cut)?;
        let mut rest = Bytes(text);
        if rest.take(4)? != b"DIRC" {
            return Err(odd("doesn't begin like one"));
        }
        let (version, count) = (rest.number()?, rest.number()?);
        if !(2..=4).contains(&version) {
            return Err(odd("is of an unknown version"));
        }
        let mut read = Self::default();
        let mut before = Vec::new();
        if u64::from(count) > (bytes.len() / SMALLEST_ENTRY) as u64 {
            return Err(odd(&format!(
                "claims to hold {count} files, for which it is too short"
            )));
        }
        for _ in 0..count {
            let entry = rest.entry(version, &mut before)?;
            // Version 4 stores only how a path differs from the previous one, so a few bytes could
            // name gigabytes. The budget limits them.
            if entry.path.len() > LONGEST {
                return Err(odd("names longer paths than any well-formed one"));
            }
            held.more(entry.path.len().saturating_add(size_of::<IndexEntry>()))?;
            read.entries.push(entry);
        }
        while !rest.0.is_empty() {
            let (name, size) = (rest.take(4)?, rest.number()?);
            let mut part = Bytes(rest.take(usize::try_from(size).map_err(|_| cut())?)?);
            match name {
                b"link" => read.shared = part.shared(held)?,
                // Directories that are one entry each: these are among the entries.
                b"sdir" | [b'A'..=b'Z', ..] => {}
                _ => return Err(odd("has a part that treewarden doesn't know")),
            }
        }
        Ok(read)
    }

    /// Returns the entries of a split index, merged with its shared index.
    ///
    /// # Errors
    /// The two don't fit together.
    pub(super) fn upon(self, base: Self) -> io::Result<Vec<IndexEntry>> {
        let Some(Shared {
            deleted, replaced, ..
        }) = self.shared
        else {
            return Ok(self.entries);
        };
        let mut entries: Vec<Option<IndexEntry>> = base.entries.into_iter().map(Some).collect();
        let mut own = self.entries.into_iter();
        for position in replaced {
            let (entry, new) = entries
                .get_mut(position)
                .zip(own.next())
                .ok_or_else(|| odd("doesn't match its shared index"))?;
            if let Some(entry) = entry {
                // A replacement has no name of its own, which distinguishes it from an added entry.
                *entry = IndexEntry {
                    path: std::mem::take(&mut entry.path),
                    ..new
                };
            }
        }
        for position in deleted {
            *entries
                .get_mut(position)
                .ok_or_else(|| odd("doesn't match its shared index"))? = None;
        }
        Ok(entries.into_iter().flatten().chain(own).collect())
    }
}

/// Checks that an index ends with the sum of its contents, or with zeros, as git writes it with
/// `index.skipHash`.
///
/// # Errors
/// It doesn't: the file was truncated, or the disk returned something else.
pub(super) fn prove_sum(bytes: &[u8]) -> io::Result<()> {
    let (text, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(cut)?;
    if *sum == [0; SUM] || sum[..] == sha1::of(text)[..] {
        Ok(())
    } else {
        Err(odd("was cut, or changed on the disk"))
    }
}

/// Checks whether an entry is one side of a conflict.
pub(super) fn is_unmerged(entry: &IndexEntry) -> bool {
    entry.flags & STAGE != 0
}

/// Returns the path of an entry that stands for a whole directory of a sparse checkout; else none.
pub(super) fn directory(entry: &IndexEntry) -> Option<&[u8]> {
    (entry.mode & 0o170_000 == 0o040_000)
        .then(|| entry.path.strip_suffix(b"/").unwrap_or(&entry.path))
}

fn odd(what: &str) -> io::Error {
    io::Error::other(format!(
        "`index` {what}; delete it, then `git reset` in the tree makes a new one"
    ))
}

fn cut() -> io::Error {
    odd("ends in the middle")
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn short(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> io::Result<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or_else(cut)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    fn time(&mut self) -> io::Result<IndexTime> {
        let (seconds, nanos) = (self.number()?, self.number()?);
        Ok(IndexTime::new(
            i32::from_be_bytes(seconds.to_be_bytes()),
            nanos,
        ))
    }

    /// Reads an entry; version 4 stores only how its path differs from `before`, the previous one.
    fn entry(&mut self, version: u32, before: &mut Vec<u8>) -> io::Result<IndexEntry> {
        let begin = self.0.len();
        let (ctime, mtime) = (self.time()?, self.time()?);
        let [dev, ino, mode, uid, gid, file_size] = [
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
        ];
        let id = Oid::from_bytes(self.take(ID)?).map_err(io::Error::other)?;
        let flags = self.short()?;
        let flags_extended = match flags & EXTENDED {
            0 => 0,
            _ if version < 3 => return Err(odd("has an entry that its version doesn't know")),
            _ => self.short()?,
        };
        self.path(version, begin, before)?;
        let message = usize::from(flags & LENGTH);
        if message != usize::from(LENGTH) && message != before.len() {
            return Err(odd("has a name that isn't as long as it says"));
        }
        Ok(IndexEntry {
            ctime,
            mtime,
            dev,
            ino,
            mode,
            uid,
            gid,
            file_size,
            id,
            flags,
            flags_extended,
            path: before.clone(),
        })
    }

    /// Sets `before` to the path of the entry that began with `begin` bytes left.
    fn path(&mut self, version: u32, begin: usize, before: &mut Vec<u8>) -> io::Result<()> {
        if version == 4 {
            let left_out = self.varint()?;
            before.truncate(
                before
                    .len()
                    .checked_sub(left_out)
                    .ok_or_else(|| odd("leaves out more of a path than there is"))?,
            );
            before.extend_from_slice(self.text()?);
        } else {
            *before = self.text()?.to_vec();
            // NULs pad the entry to a multiple of eight bytes.
            let padding = self.0.len().wrapping_sub(begin) % 8;
            self.take(padding)?;
        }
        Ok(())
    }

    /// Reads a number encoded like a pack's offset: seven bits per byte; all but the last add one.
    fn varint(&mut self) -> io::Result<usize> {
        let mut byte = self.array::<1>()?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.array::<1>()?[0];
            value = value
                .checked_add(1)
                .and_then(|value| value.checked_mul(128))
                .ok_or_else(cut)?
                | usize::from(byte & 0x7f);
        }
        Ok(value)
    }

    fn shared(&mut self, held: &mut Reservation) -> io::Result<Option<Shared>> {
        let sum = Oid::from_bytes(self.take(ID)?).map_err(io::Error::other)?;
        let [deleted, replaced] = if self.0.is_empty() {
            Default::default()
        } else {
            [self.bitmap(held)?, self.bitmap(held)?]
        };
        Ok((!sum.is_zero()).then(|| Shared {
            sum: sum.to_string(),
            deleted,
            replaced,
        }))
    }

    /// Returns the set bits of a compressed bitmap (EWAH): a run of equal words is one word with a
    /// count, and literal words follow.
    fn bitmap(&mut self, held: &mut Reservation) -> io::Result<Vec<usize>> {
        let bits = usize::try_from(self.number()?).map_err(|_| cut())?;
        let words = usize::try_from(self.number()?).map_err(|_| cut())?;
        let mut rest = Bytes(self.take(words.checked_mul(8).ok_or_else(cut)?)?);
        // The position of the writer's last run-length word, which only a writer needs.
        self.take(4)?;
        let (mut set, mut at) = (Vec::new(), 0_usize);
        let most = super::committed::FILES_CAP;
        while !rest.0.is_empty() {
            let word = u64::from_be_bytes(rest.array()?);
            let alike = usize::try_from(word >> 1 & 0xffff_ffff)
                .map_err(|_| cut())?
                .checked_mul(64)
                .ok_or_else(cut)?;
            let end = at.checked_add(alike).ok_or_else(cut)?;
            if word & 1 == 1 {
                if end.min(bits) > most {
                    return Err(odd("names more files than any well-formed one"));
                }
                let run = at..end.min(bits);
                held.more(run.len().saturating_mul(size_of::<usize>()))?;
                set.extend(run);
            }
            at = end;
            for _ in 0..word >> 33 {
                let literal = u64::from_be_bytes(rest.array()?);
                let end = at.checked_add(64).ok_or_else(cut)?;
                let is_set = |(_, bit): &(usize, u32)| literal.unbounded_shr(*bit) & 1 == 1;
                held.more(size_of::<[usize; 64]>())?;
                set.extend(
                    (at..end.min(bits))
                        .zip(0..)
                        .filter(is_set)
                        .map(|(place, _)| place),
                );
                at = end;
            }
        }
        Ok(set)
    }
}

/// Returns the path of an entry below a directory that is one entry in a sparse index.
pub(super) fn below(directory: &[u8], path: &std::path::Path) -> std::path::PathBuf {
    path_of(directory).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Read> {
        Read::of(bytes, &mut Reservation::default())
    }

    fn part(name: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        [
            &name[..],
            &u32::try_from(bytes.len()).unwrap().to_be_bytes(),
            bytes,
        ]
        .concat()
    }

    fn entry(name: &[u8], id: u8) -> Vec<u8> {
        let mut entry = [
            vec![0; 40],
            vec![id; 20],
            u16::try_from(name.len()).unwrap().to_be_bytes().to_vec(),
            name.to_vec(),
            vec![0],
        ]
        .concat();
        entry.resize(entry.len().next_multiple_of(8), 0);
        entry
    }

    fn index(entries: &[Vec<u8>], parts: &[u8]) -> Vec<u8> {
        let count = u32::try_from(entries.len()).unwrap();
        [
            b"DIRC".to_vec(),
            2_u32.to_be_bytes().to_vec(),
            count.to_be_bytes().to_vec(),
            entries.concat(),
            parts.to_vec(),
            vec![0; 20],
        ]
        .concat()
    }

    fn bitmap(bits: u32, words: &[u64]) -> Vec<u8> {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        [
            &bits.to_be_bytes()[..],
            &u32::try_from(words.len() / 8).unwrap().to_be_bytes(),
            &words,
            &[0; 4],
        ]
        .concat()
    }

    #[test]
    fn a_split_index_is_laid_over_the_shared_one() {
        let base = read(&index(
            &[entry(b"a", 1), entry(b"b", 2), entry(b"c", 3)],
            b"",
        ))
        .unwrap();
        // One literal word each: `b` is deleted, `c` is replaced.
        let link = [
            vec![9; 20],
            bitmap(3, &[1 << 33, 0b010]),
            bitmap(3, &[1 << 33, 0b100]),
        ]
        .concat();
        let split = read(&index(
            &[entry(b"", 4), entry(b"d", 5)],
            &part(*b"link", &link),
        ))
        .unwrap();
        assert_eq!(split.shared.as_ref().unwrap().sum, "09".repeat(20));
        let entries = split.upon(base).unwrap();
        let message: Vec<_> = entries
            .iter()
            .map(|entry| (entry.path.as_slice(), entry.id.as_bytes()[0]))
            .collect();
        assert_eq!(message, [(&b"a"[..], 1), (b"c", 4), (b"d", 5)]);
    }

    #[test]
    fn a_bitmap_may_hold_runs_of_words() {
        let runs = bitmap(200, &[1 | 2 << 1 | 1 << 33, 0b101]);
        let found = Bytes(&runs).bitmap(&mut Reservation::default()).unwrap();
        assert_eq!(found, (0..128).chain([128, 130]).collect::<Vec<_>>());
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_no_panic() {
        let link = [
            vec![9; 20],
            bitmap(3, &[1 << 33, 0b010]),
            bitmap(3, &[1 << 33, 0b100]),
        ]
        .concat();
        let whole = index(&[entry(b"a", 1)], &part(*b"link", &link));
        for cut in 0..whole.len() {
            drop(read(&whole[..cut]));
        }
        let beyond = [
            vec![9; 20],
            bitmap(1000, &[1 << 33, 1 << 63]),
            bitmap(3, &[]),
        ]
        .concat();
        let split = read(&index(&[], &part(*b"link", &beyond))).unwrap();
        assert!(
            split
                .upon(read(&index(&[entry(b"a", 1)], b"")).unwrap())
                .is_err()
        );
        let endless = [
            vec![9; 20],
            bitmap(u32::MAX, &[u64::MAX >> 31]),
            bitmap(3, &[]),
        ]
        .concat();
        assert!(read(&index(&[], &part(*b"link", &endless))).is_err());
        assert!(read(&index(&[], &part(*b"wild", b""))).is_err());
    }
}
