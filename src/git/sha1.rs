//! SHA-1 of data that is too large for memory: git names objects by it, and ends its files with it.
//!
//! SHA-1 is broken as a protection, but good enough to check what a disk returns.

use crate::fs::stop::Stop;
use git2::Oid;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::io::{self, Read};

/// Returns git's name for a blob of `size` bytes.
///
/// # Errors
/// It can't be read, or has another length, or the run is to stop.
pub fn blob(size: u64, mut content: impl Read, stop: &Stop) -> io::Result<Oid> {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(format!("blob {size}\0").as_bytes());
    let (mut buffer, mut seen) = (vec![0; 64 << 10], 0u64);
    loop {
        let read = content.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        stop.read(read as u64)?;
        seen = seen.saturating_add(read as u64);
        hash.update(buffer.get(..read).unwrap_or(&buffer));
    }
    if seen != size {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has {seen} bytes instead of {size}"),
        ));
    }
    Oid::from_bytes(hash.finish().as_ref()).map_err(io::Error::other)
}

/// Returns the hash of some bytes.
pub fn of(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes)
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::ObjectType;

    #[test]
    fn it_is_git_s() {
        for size in [0usize, 1, 63, 64, 65, 200_000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(size).collect();
            assert_eq!(
                blob(size as u64, &bytes[..], &Stop::never()).unwrap(),
                Oid::hash_object(ObjectType::Blob, &bytes).unwrap(),
                "{size}"
            );
        }
        assert!(blob(3, &b"four"[..], &Stop::never()).is_err());
    }
}
