//! What follows the entries of an index: its extensions.
//!
//! Some of them name objects: what a merge left behind of its conflicts (`REUC`), trees that git computed once (`TREE`). A rescue must hold what it names,
//! or not name it. It must never trust a length: an index is an agent's word.

use super::known::Files;
use super::tree;
use git2::Oid;
use std::io;
use std::ops::Range;

/// What was resolved, and from which three versions.
pub const RESOLVED: &[u8; 4] = b"REUC";

const CHECKSUM: usize = 20;
/// Bytes of an entry before its name; two more where it has more flags.
const FIXED: usize = 62;
const EXTENDED: u16 = 0x4000;

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the index makes no sense")
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let word = bytes.get(at..at.saturating_add(4)).ok_or_else(odd)?;
    Ok(u32::from_be_bytes(word.try_into().map_err(io::Error::other)?))
}

/// An extension's name and place.
type Extension = ([u8; 4], Range<usize>);

/// Each extension's name and place, its head not counted; and where the entries end.
fn extensions(index: &[u8]) -> io::Result<(usize, Vec<Extension>)> {
    if index.get(..4) != Some(b"DIRC") {
        return Err(odd());
    }
    let (version, count) = (number(index, 4)?, number(index, 8)?);
    let end = index.len().checked_sub(CHECKSUM).ok_or_else(odd)?;
    let mut at = 12usize;
    for _ in 0..count {
        let flags = index.get(at + FIXED - 2..at + FIXED).ok_or_else(odd)?;
        let more = if version >= 3 && u16::from_be_bytes([flags[0], flags[1]]) & EXTENDED != 0 { 2 } else { 0 };
        let mut name = at + FIXED + more;
        if version == 4 {
            // A number first, seven bits a byte: how much of the last name goes.
            while index.get(name).ok_or_else(odd)? & 0x80 != 0 {
                name += 1;
            }
            name += 1;
        }
        let rest = index.get(name..end).ok_or_else(odd)?;
        let length = rest.iter().position(|byte| *byte == 0).ok_or_else(odd)?;
        at = if version == 4 { name + length + 1 } else { at + ((FIXED + more + length + 8) & !7) };
    }
    let (entries, mut found) = (at, Vec::new());
    while at < end {
        let name: [u8; 4] = index.get(at..at + 4).ok_or_else(odd)?.try_into().map_err(io::Error::other)?;
        let length = usize::try_from(number(index, at + 4)?).map_err(io::Error::other)?;
        let last = (at + 8).checked_add(length).filter(|last| *last <= end).ok_or_else(odd)?;
        found.push((name, at + 8..last));
        at = last;
    }
    Ok((entries, found))
}

/// The three versions of each file whose conflict was resolved, by stage.
///
/// # Errors
/// The index makes no sense.
pub fn resolved(index: &[u8]) -> io::Result<[Files; 3]> {
    let mut stages = <[Files; 3]>::default();
    for (_, range) in extensions(index)?.1.into_iter().filter(|(name, _)| name == RESOLVED) {
        let mut rest = &index[range];
        while !rest.is_empty() {
            let mut word = || -> io::Result<Vec<u8>> {
                let end = rest.iter().position(|byte| *byte == 0).ok_or_else(odd)?;
                let word = rest[..end].to_vec();
                rest = &rest[end + 1..];
                Ok(word)
            };
            let path = tree::path_of(word()?);
            let mut modes = [0; 3];
            for mode in &mut modes {
                *mode = std::str::from_utf8(&word()?).ok().and_then(|mode| u32::from_str_radix(mode, 8).ok()).ok_or_else(odd)?;
            }
            for (stage, mode) in stages.iter_mut().zip(modes).filter(|(_, mode)| *mode != 0) {
                let id = rest.get(..20).ok_or_else(odd)?;
                stage.insert(path.clone(), (mode, Oid::from_bytes(id).map_err(io::Error::other)?));
                rest = &rest[20..];
            }
        }
    }
    Ok(stages)
}

/// The index with these extensions alone: git makes the others again, or does without. Those that it can't do without (in small letters) stay.
///
/// # Errors
/// The index makes no sense.
pub fn with(index: &[u8], keep: &[&[u8; 4]]) -> io::Result<Vec<u8>> {
    let (entries, extensions) = extensions(index)?;
    let mut bytes = index[..entries].to_vec();
    for (name, range) in extensions.into_iter().filter(|(name, _)| !name[0].is_ascii_uppercase() || keep.contains(&name)) {
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(&index[range.start - 4..range.end]);
    }
    // Git leaves it out where it is told to.
    let unsigned = index[index.len() - CHECKSUM..].iter().all(|byte| *byte == 0);
    bytes.extend(if unsigned { vec![0; CHECKSUM] } else { crate::git::sha1::of(&bytes) });
    Ok(bytes)
}
