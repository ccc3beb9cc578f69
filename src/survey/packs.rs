//! The packs of a store, and the objects that their indexes list, read by our own code.
//!
//! A repack is checked against them: an object is deleted only if they show it elsewhere. So a
//! pack's name proves nothing; its index has to. Sizes are capped at what a well-formed store has.

use super::roots::{Id, hex, id};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fs::Stat;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Objects of a pack, at most; their names would take 640 MB. The Linux kernel has some eleven
/// million.
const MOST: u32 = 32 << 20;
/// Bytes of an id.
const ID: usize = 20;

/// A pack of a store, with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// `pack-...`, without an extension.
    pub stem: String,
    /// The inodes of its index and its pack, which change if git writes a pack of the same name.
    pub written: (u64, u64),
    /// The pack's mtime in nanoseconds: git touches it when one of its objects is written again.
    pub touched: i128,
    /// It has a `.keep` file.
    pub kept: bool,
    /// Its objects, and what they name, can be fetched again from a promisor remote.
    pub promisor: bool,
    /// It contains unreachable objects.
    pub cruft: bool,
    /// The extensions of all files of that name.
    pub endings: Vec<String>,
}

/// Returns the packs of the store `objects` that have an index, sorted by name.
///
/// # Errors
/// The directory can't be read.
pub fn list(objects: &VolumePath) -> io::Result<Vec<Pack>> {
    let directory = objects.join("pack")?;
    let Some(fd) = found(openat::dir(&directory))? else {
        return Ok(Vec::new());
    };
    let mut stems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, _) in openat::list(fd)? {
        if let Some((stem, ending)) = name.to_str().and_then(|name| name.split_once('.'))
            && stem.starts_with("pack-")
        {
            stems
                .entry(stem.to_owned())
                .or_default()
                .push(ending.to_owned());
        }
    }
    let mut packs = Vec::new();
    for (stem, endings) in stems {
        let has = |ending: &str| endings.iter().any(|found| found == ending);
        if !has("pack") || !has("idx") {
            continue;
        }
        let data = |ending: &str| {
            found(
                directory
                    .join(format!("{stem}.{ending}"))
                    .map_err(io::Error::from)
                    .and_then(|file| openat::stat(&file)),
            )
        };
        // It was removed meanwhile.
        let (Some(index), Some(pack)) = (data("idx")?, data("pack")?) else {
            continue;
        };
        let [kept, promisor, cruft] = ["keep", "promisor", "mtimes"].map(has);
        packs.push(Pack {
            written: (index.st_ino, pack.st_ino),
            touched: touched(&pack),
            kept,
            promisor,
            cruft,
            stem,
            endings,
        });
    }
    Ok(packs)
}

/// Returns when one of a pack's objects was last written again, in nanoseconds since the epoch.
pub fn touched(pack: &Stat) -> i128 {
    i128::from(pack.st_mtime)
        .saturating_mul(1_000_000_000)
        .saturating_add(i128::from(pack.st_mtime_nsec))
}

impl Pack {
    /// Returns the number of objects in its index.
    ///
    /// # Errors
    /// The index can't be read.
    pub fn count(&self, objects: &VolumePath) -> io::Result<u32> {
        let place = objects.join(format!("pack/{}.idx", self.stem))?;
        let (mut head, mut last) = ([0; 4], [0; 4]);
        let file = openat::file(&place)?;
        file.read_exact_at(&mut head, 0)?;
        file.read_exact_at(&mut last, if head == *b"\xfftOc" { 8 + 1020 } else { 1020 })?;
        Ok(u32::from_be_bytes(last))
    }

    /// Returns the objects in its index.
    ///
    /// # Errors
    /// The index can't be read, or is malformed.
    pub fn objects(&self, objects: &VolumePath, stop: &Stop) -> io::Result<Objects> {
        let place = objects.join(format!("pack/{}.idx", self.stem))?;
        let odd = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("failed to read `{place}`: {error}; see `git fsck`"),
            )
        };
        let file = openat::file(&place).map_err(odd)?;
        let length = file.metadata().map_err(odd)?.len();
        Objects::read(file, length, stop).map_err(odd)
    }
}

/// The beginning of an index.
struct Head {
    /// Whether it is of version 1, which has no header: the file begins with the fan-out, and each
    /// name follows the offset of its object.
    is_first: bool,
    /// For each byte, how many names begin with it or a lower one.
    fanout: [usize; 256],
}

impl Head {
    fn read(file: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let mut table = [0; 1024];
        let is_first = !head.starts_with(b"\xfftOc");
        if is_first {
            table[..8].copy_from_slice(&head);
            file.read_exact(&mut table[8..])?;
        } else if head[4..] == [0, 0, 0, 2] {
            file.read_exact(&mut table)?;
        } else {
            return Err(odd("is of an unknown version"));
        }
        let mut fanout = [0; 256];
        let mut before = 0;
        for (place, number) in fanout.iter_mut().zip(table.as_chunks().0) {
            let number = u32::from_be_bytes(*number);
            if number < before || number > MOST {
                return Err(odd("is malformed"));
            }
            before = number;
            *place = number as usize;
        }
        Ok(Self { is_first, fanout })
    }

    /// Returns the number of names.
    fn count(&self) -> usize {
        self.fanout[255]
    }

    /// Returns the minimum bytes of an index with this many names. Each has its name and an offset,
    /// and in version 2 a checksum.
    fn least_length(&self) -> u64 {
        let (each, more) = if self.is_first {
            (24, 1024 + 40)
        } else {
            (28, 8 + 1024 + 40)
        };
        (self.count() as u64)
            .saturating_mul(each)
            .saturating_add(more)
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it {what}"))
}

/// Names of objects, sorted.
#[derive(Debug)]
pub struct Objects {
    /// For each byte, how many begin with it or a lower one.
    fanout: [usize; 256],
    /// One after another.
    names: Vec<u8>,
    _held: Reservation,
}

impl Objects {
    /// Reads an index of `length` bytes.
    fn read(mut file: impl Read, length: u64, stop: &Stop) -> io::Result<Self> {
        let head = Head::read(&mut file)?;
        if length < head.least_length() {
            return Err(odd("is too short for what it lists"));
        }
        let mut memory = stop.hold();
        let bytes = head.count().saturating_mul(ID);
        memory.more(bytes)?;
        let mut names = Vec::new();
        names.try_reserve_exact(bytes)?;
        if head.is_first {
            let mut file = std::io::BufReader::with_capacity(64 << 10, file);
            let mut entry = [0; 24];
            for _ in 0..head.count() {
                file.read_exact(&mut entry)?;
                names.extend_from_slice(&entry[4..]);
            }
        } else {
            file.take(bytes as u64).read_to_end(&mut names)?;
        }
        Self {
            fanout: head.fanout,
            names,
            _held: memory,
        }
        .proven()
        .ok_or_else(|| odd("is not in order"))
    }

    /// Builds it from unsorted names.
    pub fn of(mut ids: Vec<Id>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let mut fanout = [0; 256];
        for (byte, place) in (0..=u8::MAX).zip(&mut fanout) {
            *place = ids.partition_point(|id| id[0] <= byte);
        }
        Self {
            fanout,
            names: ids.concat(),
            _held: Reservation::default(),
        }
    }

    /// Returns them if names and fan-out are consistent, as a search requires.
    fn proven(self) -> Option<Self> {
        let (ids, rest) = self.names.as_chunks::<ID>();
        let in_order = ids.is_sorted_by(|one, next| one < next);
        let in_place = ids
            .iter()
            .zip(0..)
            .all(|(id, number)| self.beginning(id[0]).contains(&number));
        (in_order && in_place && rest.is_empty() && ids.len() == self.len()).then_some(self)
    }

    /// Returns the range of names that begin with this byte, by the fan-out.
    fn beginning(&self, byte: u8) -> Range<usize> {
        let up_to = |byte: u8| {
            self.fanout
                .get(usize::from(byte))
                .copied()
                .unwrap_or_default()
        };
        byte.checked_sub(1).map_or(0, up_to)..up_to(byte)
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.fanout[255]
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the position of an object.
    pub fn find(&self, id: &Id) -> Option<usize> {
        let numbers = self.beginning(id[0]);
        let within = self
            .names
            .as_chunks::<ID>()
            .0
            .get(numbers.clone())?
            .binary_search(id)
            .ok()?;
        numbers.start.checked_add(within)
    }

    /// Returns all of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Id> {
        self.names
            .chunks_exact(ID)
            .map(|name| name.try_into().unwrap_or_default())
    }
}

/// Returns the loose objects of a store.
///
/// # Errors
/// A directory can't be read.
pub fn loose(objects: &VolumePath) -> io::Result<Vec<Id>> {
    let mut ids = Vec::new();
    for shard in 0..=255_u8 {
        let name = format!("{shard:02x}");
        let Some(directory) = found(openat::dir(&objects.join(&name)?))? else {
            continue;
        };
        let listed = openat::list(directory)?;
        ids.extend(listed.iter().filter_map(|(rest, _)| loose_id(&name, rest)));
    }
    Ok(ids)
}

fn loose_id(shard: &str, rest: &OsStr) -> Option<Id> {
    id(format!("{shard}{}", rest.to_str()?).as_bytes())
}

/// Returns the place of a loose object.
///
/// # Errors
/// None for a well-formed id.
pub fn place(objects: &VolumePath, id: &Id) -> io::Result<VolumePath> {
    let name = hex(id);
    objects
        .join(Path::new(&name[..2]).join(&name[2..]))
        .map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(ids: &[Id]) -> Vec<u8> {
        let Objects { fanout, names, .. } = Objects::of(ids.to_vec());
        let fanout = fanout
            .iter()
            .flat_map(|number| u32::try_from(*number).unwrap().to_be_bytes());
        let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
        bytes.extend(fanout);
        bytes.extend(&names);
        bytes.extend(vec![0; ids.len() * 8 + 40]);
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Objects> {
        Objects::read(bytes, bytes.len() as u64, &Stop::never())
    }

    #[test]
    fn what_an_index_lists_is_found_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(3);
        for many in [0, 1, 2, 3, 100, 5000] {
            let ids: Vec<Id> = (0..many)
                .map(|_| std::array::from_fn(|_| random.u8(..)))
                .collect();
            let objects = read(&index(&ids)).unwrap();
            assert_eq!((objects.len(), objects.is_empty()), (many, many == 0));
            assert!(
                ids.iter()
                    .all(|id| objects.iter().nth(objects.find(id).unwrap()) == Some(*id))
            );
            assert!((0..1000).all(|_| {
                objects
                    .find(&std::array::from_fn(|_| random.u8(..)))
                    .is_none()
            }));
        }
    }

    #[test]
    fn the_first_version_is_read_as_well() {
        let ids: Vec<Id> = (0..10).map(|number| [number * 20; 20]).collect();
        let fanout = Objects::of(ids.clone()).fanout;
        let mut bytes: Vec<u8> = fanout
            .iter()
            .flat_map(|number| u32::try_from(*number).unwrap().to_be_bytes())
            .collect();
        bytes.extend(ids.iter().flat_map(|id| [&[9; 4][..], id].concat()));
        bytes.extend([0; 40]);
        assert!(read(&bytes).unwrap().iter().eq(ids));
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn an_index_that_lies_is_none() {
        let ids: Vec<Id> = (0..10).map(|number| [number * 20; 20]).collect();
        let whole = index(&ids);
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        // The header, the fan-out, the order of names.
        for place in [0, 7, 8, 1031 - 4 * 200, 1031] {
            let mut odd = whole.clone();
            odd[place] ^= 1;
            assert!(read(&odd).is_err(), "changed at {place}");
        }
        let mut swapped = whole.clone();
        swapped.swap(1032, 1052);
        assert!(read(&swapped).is_err());
        let mut endless = whole.clone();
        endless[8 + 1020..8 + 1024].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read(&endless).is_err());
    }
}
