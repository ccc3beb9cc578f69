//! The extensions of an index, which follow its entries.
//!
//! Some of them name objects: conflicts that a merge resolved (`REUC`), trees that git has computed
//! (`TREE`). A rescue must contain what it names, or not name it. An agent may have written the
//! index, so no length in it is trusted.

use super::committed::Files;
use super::tree;
use git2::Oid;
use std::io;

/// The extension of resolved conflicts, with three versions each.
pub const RESOLVED: &[u8; 4] = b"REUC";

const CHECKSUM: usize = 20;
/// Bytes of an entry before its name, including two of flags at the end; two more with extended
/// flags.
const FIXED: usize = 62;
/// The bit in the first byte of the flags that says that more follow.
const EXTENDED: u8 = 0x40;

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the index is malformed")
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (word, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_be_bytes(*word))
}

/// Takes the bytes before the next NUL, and the NUL.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (word, behind) = rest.split_at_checked(rest.iter().position(|byte| *byte == 0)?)?;
    *rest = behind.strip_prefix(b"\0")?;
    Some(word)
}

/// Returns what follows the first entry.
fn behind_entry(version: u32, entries: &[u8]) -> Option<&[u8]> {
    let (fixed, rest) = entries.split_first_chunk::<FIXED>()?;
    let more = if version >= 3 && fixed[FIXED - 2] & EXTENDED != 0 {
        2
    } else {
        0
    };
    let mut name = rest.get(more..)?;
    if version == 4 {
        // First a number, seven bits per byte: how much of the previous name is dropped.
        while let (byte, behind) = name.split_first()?
            && byte & 0x80 != 0
        {
            name = behind;
        }
        name = name.get(1..)?;
        word(&mut name)?;
        return Some(name);
    }
    let length = word(&mut name)?
        .len()
        .saturating_add(FIXED)
        .saturating_add(more);
    // Padded with NULs to a multiple of eight bytes, and at least one.
    entries.get(length.saturating_add(8) & !7..)
}

/// An extension in the index: its name, its length, its contents.
struct Extension<'a> {
    name: &'a [u8; 4],
    holds: &'a [u8],
    whole: &'a [u8],
}

/// Splits an index into the part up to the end of its entries, and its extensions.
fn parts(index: &[u8]) -> Option<(&[u8], Vec<Extension<'_>>)> {
    let (body, _sum) = index.split_last_chunk::<CHECKSUM>()?;
    let mut rest = body.strip_prefix(b"DIRC")?;
    let (version, count) = (number(&mut rest)?, number(&mut rest)?);
    for _ in 0..count {
        rest = behind_entry(version, rest)?;
    }
    let (entries, mut found) = (body.strip_suffix(rest)?, Vec::new());
    while let Some((name, mut behind)) = rest.split_first_chunk() {
        let length = number(&mut behind)?;
        let (holds, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        found.push(Extension {
            name,
            holds,
            whole: rest.strip_suffix(behind)?,
        });
        rest = behind;
    }
    rest.is_empty().then_some((entries, found))
}

/// Returns the three versions of each file with a resolved conflict, by stage.
///
/// # Errors
/// The index is malformed.
pub fn resolved(index: &[u8]) -> io::Result<[Files; 3]> {
    let mut stages = <[Files; 3]>::default();
    for extension in parts(index)
        .ok_or_else(odd)?
        .1
        .iter()
        .filter(|extension| extension.name == RESOLVED)
    {
        let mut rest = extension.holds;
        while !rest.is_empty() {
            let path = tree::path_of(word(&mut rest).ok_or_else(odd)?);
            let mut modes = [0; 3];
            for mode in &mut modes {
                let digits = word(&mut rest).and_then(|word| str::from_utf8(word).ok());
                *mode = digits
                    .and_then(|digits| u32::from_str_radix(digits, 8).ok())
                    .ok_or_else(odd)?;
            }
            for (stage, mode) in stages.iter_mut().zip(modes).filter(|(_, mode)| *mode != 0) {
                let (id, behind) = rest.split_first_chunk::<20>().ok_or_else(odd)?;
                stage.insert(
                    path.clone(),
                    (mode, Oid::from_bytes(id).map_err(io::Error::other)?),
                );
                rest = behind;
            }
        }
    }
    Ok(stages)
}

/// Returns the index with only these extensions: git regenerates the others, or does without.
/// Mandatory ones (in lower case) stay.
///
/// # Errors
/// The index is malformed.
pub fn with(index: &[u8], keep: &[&[u8; 4]]) -> io::Result<Vec<u8>> {
    let (entries, extensions) = parts(index).ok_or_else(odd)?;
    let mut bytes = entries.to_vec();
    let stays = |extension: &&Extension<'_>| {
        !extension.name[0].is_ascii_uppercase() || keep.contains(&extension.name)
    };
    for extension in extensions.iter().filter(stays) {
        bytes.extend_from_slice(extension.whole);
    }
    // Git writes zeros instead of a sum if configured so.
    let unsigned = index.ends_with(&[0; CHECKSUM]);
    bytes.extend(if unsigned {
        vec![0; CHECKSUM]
    } else {
        crate::git::sha1::of(&bytes)
    });
    Ok(bytes)
}
