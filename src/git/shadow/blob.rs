//! Blobs read in pieces: a file of a gigabyte must not take a gigabyte of memory.
//!
//! libgit2 reads or maps an object whole, and so does git, except for large loose ones. Callers
//! check a blob's hash, so fewer or more bytes than its header claims are an error.

use super::Shadow;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use flate2::read::ZlibDecoder;
use git2::{ObjectType, Oid, Repository};
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::time::Duration;

/// Bytes. Smaller blobs are read whole.
const LARGE: u64 = 16 << 20;
/// Bytes of a header, which is a word and a number.
const HEADER: usize = 32;
/// Git takes some ten seconds per gigabyte.
const LIMIT: Duration = Duration::from_hours(1);

/// A blob that is being read.
pub struct Blob<'a> {
    size: u64,
    rest: Box<dyn Read + 'a>,
}

impl Blob<'_> {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl Shadow {
    /// Opens a blob of this repo.
    ///
    /// # Errors
    /// There is no such blob, or it can't be read.
    pub fn blob(&self, repo: &Repository, id: Oid, stop: &Stop) -> io::Result<Blob<'static>> {
        if let Some(loose) = self.loose(id)? {
            return Ok(loose);
        }
        let odb = repo.odb().map_err(io::Error::other)?;
        let (size, kind) = odb.read_header(id).map_err(io::Error::other)?;
        if kind != ObjectType::Blob {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{id} is no file"),
            ));
        }
        let size = size as u64;
        if size < LARGE {
            let object = odb.read(id).map_err(io::Error::other)?;
            return Ok(Blob {
                size,
                rest: Box::new(Cursor::new(object.data().to_vec())),
            });
        }
        let mut whole = tempfile::tempfile_in(self.scratch.path())?;
        let git = self
            .git(stop, LIMIT)
            .with(format!("core.bigFileThreshold={LARGE}"));
        git.write(&["cat-file", "blob", &id.to_string()], whole.try_clone()?)
            .map_err(io::Error::other)?;
        whole.rewind()?;
        Ok(Blob {
            size,
            rest: Box::new(whole),
        })
    }

    /// Opens a blob that is loose; none if it isn't.
    fn loose(&self, id: Oid) -> io::Result<Option<Blob<'static>>> {
        let name = id.to_string();
        let place = self
            .git_dir
            .join(format!("objects/{}/{}", &name[..2], &name[2..]))?;
        let Some(file) = found(openat::file(&place))? else {
            return Ok(None);
        };
        let mut content = BufReader::new(ZlibDecoder::new(file));
        let mut header = Vec::new();
        for byte in content.by_ref().bytes().take(HEADER) {
            match byte? {
                0 => break,
                byte => header.push(byte),
            }
        }
        let size = std::str::from_utf8(&header)
            .ok()
            .and_then(|header| header.strip_prefix("blob ")?.parse().ok());
        let size: u64 = size.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{id} is no file, or damaged; see `git fsck`"),
            )
        })?;
        // One byte more than claimed, so that a reader notices a blob that is too long.
        Ok(Some(Blob {
            size,
            rest: Box::new(content.take(size.saturating_add(1))),
        }))
    }
}
