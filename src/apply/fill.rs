//! Fills a new tree on the volume with the files of a commit.
//!
//! Git checks them out in scratch space, where nobody else can write, with the caller's own
//! filters. From there they are copied into the tree by descriptor: no link below the tree is
//! followed, and only files that were made here are written to. So whatever agents do to the tree
//! meanwhile, such as replacing a directory by a link, is an error and never leads out of it.
//! Scratch space may be small, so the work is done in parts.

use super::ownership::{directories, give};
use super::staging::{NewFile, put_file};
use crate::fs::openat;
use crate::fs::scratch::Scratch;
use crate::fs::stop::Stop;
use crate::git::GitError;
use crate::git::private::Private;
use crate::git::shadow::Shadow;
use crate::git::shadow::crypt::is_encrypted;
use git2::{Index, IndexEntry, IndexTime, Oid};
use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that are checked out at once: no more scratch space is used, unless a single file needs
/// it.
const PART: u64 = 256 << 20;
const PART_FILES: usize = 10_000;

/// Bytes of a git-lfs pointer, at most.
const POINTER: u64 = 1024;

const SUBMODULE: u32 = 0o160_000;

/// Why a tree could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Git could not check it out.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file could not be read or written.
    #[error("failed to write `{}`: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is no scratch space, or git's list is malformed.
    #[error(
        "failed to check it out in scratch space: {0}; see that TMPDIR is writable and has room"
    )]
    Scratch(#[from] io::Error),
    /// The repo uses git-crypt, and this file was checked out in its encrypted form.
    #[error("`{}` is encrypted", .0.display())]
    Encrypted(PathBuf),
}

impl From<git2::Error> for FillError {
    fn from(error: git2::Error) -> Self {
        Self::Scratch(io::Error::other(error.message().to_owned()))
    }
}

/// What is needed to fill a tree.
pub struct Fill<'a> {
    /// The private git dir, which has or borrows the objects.
    pub private: &'a Private,
    /// The repo, to read its objects.
    pub shadow: &'a Shadow,
    /// The tree, new and empty.
    pub top: OwnedFd,
    /// The opened git dir, where git-lfs keeps its objects on the volume.
    pub git_dir: OwnedFd,
    /// The configured address of git-lfs's large files, as git settings.
    pub remote: Vec<(String, String)>,
    /// The owner of the files.
    pub owner: Option<(Uid, Gid)>,
    /// When to stop.
    pub stop: &'a Stop,
    /// How long one git may take.
    pub limit: Duration,
}

/// A file of the commit.
struct Item {
    mode: u32,
    id: Oid,
    path: Vec<u8>,
    size: u64,
}

/// A file with content that git-lfs keeps outside of git's objects.
#[derive(Debug, PartialEq, Eq)]
struct Large {
    /// Its content's SHA-256, in hexadecimal digits.
    oid: String,
    size: u64,
}

impl Large {
    /// Returns its path below `lfs/objects`.
    fn path(&self) -> PathBuf {
        let [first, second] = [0..2, 2..4].map(|part| self.oid.get(part).unwrap_or_default());
        [first, second, &self.oid].iter().collect()
    }
}

impl Item {
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn is_attributes(&self) -> bool {
        self.path()
            .file_name()
            .is_some_and(|name| name == ".gitattributes")
    }
}

impl Fill<'_> {
    /// Writes the files of `commit`, and returns the bytes of an index that records them.
    ///
    /// # Errors
    /// [`FillError`]: the tree is incomplete.
    pub fn with(&self, commit: Oid) -> Result<Vec<u8>, FillError> {
        let room = Scratch::caller()?;
        let place = room.path().join("index");
        let empty = self.private.empty();
        let git = self
            .private
            .caller(&empty, self.stop, self.limit)
            .place("GIT_INDEX_FILE", &place);
        // Git refuses a commit with paths that would lead out of a tree.
        git.run(&["read-tree", "--reset", &commit.to_string()])?;
        let items = items(&git.run(&[
            "ls-tree",
            "-r",
            "-l",
            "-z",
            "--full-tree",
            &commit.to_string(),
        ])?)
        .ok_or_else(|| io::Error::other("git's list of files makes no sense"))?;
        let mut stats = HashMap::new();
        let large = self.large(&items)?;
        for part in parts(&items, &weights(&items, &large)) {
            part.iter()
                .filter_map(|item| large.get(&item.id))
                .try_for_each(|large| self.lend(large))?;
            self.part(&items, part, &mut stats)?;
        }
        let mut index = Index::open(&place)?;
        let entries: Vec<IndexEntry> = index.iter().collect();
        for mut entry in entries {
            if let Some(stat) = stats.get(&entry.path) {
                seen(&mut entry, stat);
                index.add(&entry)?;
            }
        }
        index.write()?;
        // Records in the index which directories are complete, as git does after a checkout.
        git.run(&["write-tree"])?;
        Ok(std::fs::read(place)?)
    }

    /// Returns the files that git-lfs keeps, by the ids of their pointers.
    fn large(&self, items: &[Item]) -> Result<HashMap<Oid, Large>, FillError> {
        self.shadow
            .with(|repo| {
                let content = |id| {
                    repo.find_blob(id)
                        .map(|blob| blob.content().to_vec())
                        .unwrap_or_default()
                };
                if !items
                    .iter()
                    .any(|item| item.is_attributes() && contains(&content(item.id), b"filter=lfs"))
                {
                    return HashMap::new();
                }
                let small = items
                    .iter()
                    .filter(|item| item.size <= POINTER && item.mode & 0o170_000 == 0o100_000);
                small
                    .filter_map(|item| Some((item.id, pointer(&content(item.id))?)))
                    .collect()
            })
            .map_err(Into::into)
    }

    /// Copies a large file from the repo to where git-lfs looks for it. Agents can write in the
    /// repo, so its checksum must be the pointer's: git-lfs would accept any file of that size.
    fn lend(&self, large: &Large) -> Result<(), FillError> {
        let below = large.path();
        let to = self.private.large_files().join(&below);
        let kept = openat::below(
            &self.git_dir,
            &Path::new("lfs/objects").join(&below),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        );
        let Ok(mut from) = kept.map(File::from) else {
            return Ok(());
        };
        let data = from.metadata()?;
        if !data.is_file() || data.len() != large.size || to.exists() {
            return Ok(());
        }
        let directory = to.parent().unwrap_or(&to);
        std::fs::create_dir_all(directory)?;
        let (mut sum, mut file) = (
            ring::digest::Context::new(&ring::digest::SHA256),
            tempfile::NamedTempFile::new_in(directory)?,
        );
        let (mut buffer, mut left) = (vec![0; 1 << 20], large.size);
        while left > 0 && self.stop.reached().is_none() {
            let read = Read::by_ref(&mut from).take(left).read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            sum.update(bytes);
            io::Write::write_all(&mut file, bytes)?;
            left = left.saturating_sub(read as u64);
        }
        let sum = sum.finish();
        let named = large
            .oid
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap_or_default(), 16).ok());
        if named.eq(sum.as_ref().iter().copied().map(Some)) {
            file.persist_noclobber(to).map_err(|error| error.error)?;
        }
        Ok(())
    }

    /// Checks out a part in scratch space, and copies it from there.
    fn part(
        &self,
        items: &[Item],
        part: &[Item],
        stats: &mut HashMap<Vec<u8>, Stat>,
    ) -> Result<(), FillError> {
        let room = Scratch::caller()?;
        let (tree, place) = (room.path().join("tree"), room.path().join("index"));
        std::fs::create_dir(&tree)?;
        let mut index = Index::open(&place)?;
        for item in items.iter().filter(|item| item.is_attributes()).chain(part) {
            index.add(&blank(item))?;
        }
        index.write()?;
        let git = self
            .private
            .caller(&tree, self.stop, self.limit)
            .with(self.remote.clone())
            .place("GIT_INDEX_FILE", &place);
        git.watched(&["checkout", "--quiet", "--force", "--", "."])?;
        let mut above: Option<(&Path, OwnedFd)> = None;
        for item in part {
            let path = item.path();
            let failed = |cause| FillError::File {
                path: path.to_owned(),
                cause,
            };
            let directory = path.parent().unwrap_or(Path::new(""));
            let fd = match above.take() {
                Some((known, fd)) if known == directory => fd,
                _ => directories(&self.top, directory, self.owner, &|path| {
                    mode_of(&tree.join(path))
                })
                .map_err(failed)?,
            };
            let stat = self
                .copy(&tree.join(path), &fd, path)
                .map_err(failed)?
                .ok_or_else(|| FillError::Encrypted(path.to_owned()))?;
            stats.insert(item.path.clone(), stat);
            above = Some((directory, fd));
        }
        match self.private.take_large_files(room.path())? {
            Some(objects) => self.keep_lfs(&objects),
            None => Ok(()),
        }
    }

    /// Copies one file, link or submodule directory; returns none if a file is encrypted.
    fn copy(&self, from: &Path, to: &OwnedFd, path: &Path) -> io::Result<Option<Stat>> {
        let name = path.file_name().unwrap_or_default();
        let data = std::fs::symlink_metadata(from)?;
        if data.is_symlink() {
            rustix::fs::symlinkat(std::fs::read_link(from)?, to, name)?;
            if let Some((uid, gid)) = self.owner {
                rustix::fs::chownat(
                    to,
                    name,
                    Some(uid),
                    Some(gid),
                    rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            return Ok(Some(rustix::fs::statat(
                to,
                name,
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?));
        }
        if data.is_dir() {
            let made = directories(to, Path::new(name), self.owner, &|_| {
                data.permissions().mode() & 0o777
            })?;
            return Ok(Some(rustix::fs::fstat(made)?));
        }
        let mut source = File::open(from)?;
        let mut begin = Vec::new();
        Read::by_ref(&mut source).take(32).read_to_end(&mut begin)?;
        if is_encrypted(&begin) {
            return Ok(None);
        }
        source.rewind()?;
        let mut file = new_file(to, name)?;
        io::copy(&mut source, &mut file)?;
        give(&file, self.owner)?;
        rustix::fs::fchmod(
            &file,
            Mode::from_raw_mode(data.permissions().mode() & 0o777),
        )?;
        Ok(Some(rustix::fs::fstat(&file)?))
    }

    /// Copies what git-lfs fetched to the volume, for the next tree. Existing objects are left
    /// unchanged.
    fn keep_lfs(&self, objects: &Path) -> Result<(), FillError> {
        for entry in walkdir::WalkDir::new(objects)
            .min_depth(1)
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
        {
            let below = entry.path().strip_prefix(objects).unwrap_or(entry.path());
            let path = Path::new("lfs/objects").join(below);
            let failed = |cause| FillError::File {
                path: Path::new(".git").join(&path),
                cause,
            };
            let directory = directories(
                &self.git_dir,
                path.parent().unwrap_or(Path::new("")),
                self.owner,
                &|_| 0o755,
            )
            .map_err(failed)?;
            let name = path.file_name().unwrap_or_default();
            if rustix::fs::statat(&directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_err()
            {
                let copy = |to: &mut File| {
                    File::open(entry.path())
                        .and_then(|mut from| io::copy(&mut from, to))
                        .map(drop)
                };
                let file = NewFile {
                    name,
                    owner: self.owner,
                    mode: 0o644,
                };
                put_file(&directory, file, copy).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Creates a new file: an existing one is never opened.
fn new_file(to: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Returns a directory's mode as git created it, under the caller's own umask.
fn mode_of(directory: &Path) -> u32 {
    std::fs::symlink_metadata(directory).map_or(0o755, |data| data.permissions().mode() & 0o777)
}

/// Parses the lines of `git ls-tree -r -l -z`.
fn items(listed: &[u8]) -> Option<Vec<Item>> {
    let item = |line: &[u8]| {
        let tab = line.iter().position(|&byte| byte == b'\t')?;
        let (head, path) = line.split_at_checked(tab)?;
        let mut words = std::str::from_utf8(head).ok()?.split_ascii_whitespace();
        let (mode, _kind, id, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Item {
            mode: u32::from_str_radix(mode, 8).ok()?,
            id: Oid::from_str(id).ok()?,
            path: path.get(1..)?.to_vec(),
            size: size.parse().unwrap_or(0),
        })
    };
    listed
        .split(|&byte| byte == 0)
        .filter(|line| !line.is_empty())
        .map(item)
        .collect()
}

/// Groups neighbouring items, as many as fit into a part.
fn parts<'a>(items: &'a [Item], weights: &[u64]) -> Vec<&'a [Item]> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0_u64);
    for (at, weight) in weights.iter().enumerate() {
        let more = bytes.saturating_add(*weight);
        if at > from && (more > PART || at.saturating_sub(from) >= PART_FILES) {
            parts.extend(items.get(from..at));
            (from, bytes) = (at, *weight);
        } else {
            bytes = more;
        }
    }
    parts.extend(items.get(from..).filter(|rest| !rest.is_empty()));
    parts
}

/// Returns the scratch space that each file needs: a git-lfs file is stored there twice.
fn weights(items: &[Item], large: &HashMap<Oid, Large>) -> Vec<u64> {
    items
        .iter()
        .map(|item| {
            large
                .get(&item.id)
                .map_or(item.size, |large| large.size.saturating_mul(2))
        })
        .collect()
}

/// Parses a git-lfs pointer.
fn pointer(text: &[u8]) -> Option<Large> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.starts_with("version https://git-lfs"))?;
    let named = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let oid = named("oid sha256:")
        .filter(|oid| oid.len() == 64 && oid.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some(Large {
        oid: oid.to_owned(),
        size: named("size ")?.parse().ok()?,
    })
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|bytes| bytes == words)
}

fn blank(item: &Item) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: item.mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: item.id,
        flags: 0,
        flags_extended: 0,
        path: item.path.clone(),
    }
}

/// Records a file's metadata as git does, so that the next `git status` needn't read the file.
/// Numbers are truncated to 32 bits, as in git.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as git cuts them"
)]
fn seen(entry: &mut IndexEntry, stat: &Stat) {
    entry.ctime = IndexTime::new(stat.st_ctime as i32, stat.st_ctime_nsec as u32);
    entry.mtime = IndexTime::new(stat.st_mtime as i32, stat.st_mtime_nsec as u32);
    entry.dev = stat.st_dev as u32;
    entry.ino = stat.st_ino as u32;
    (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
    let is_directory =
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory && entry.mode == SUBMODULE;
    entry.file_size = if is_directory { 0 } else { stat.st_size as u32 };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, size: u64) -> Item {
        Item {
            mode: 0o100_644,
            id: Oid::ZERO_SHA1,
            path: path.into(),
            size,
        }
    }

    #[test]
    fn a_list_of_files_is_read() {
        let id = "a".repeat(40);
        let listed =
            format!("100644 blob {id}      12\ta b\0160000 commit {id}       -\tsub/x\n\0");
        let read: Vec<(u32, Vec<u8>, u64)> = items(listed.as_bytes())
            .unwrap()
            .into_iter()
            .map(|item| (item.mode, item.path, item.size))
            .collect();
        assert_eq!(
            read,
            [
                (0o100_644, b"a b".to_vec(), 12),
                (0o160_000, b"sub/x\n".to_vec(), 0)
            ]
        );
        assert!(items(b"nonsense\0").is_none() && items(b"").unwrap().is_empty());
    }

    #[test]
    fn parts_are_small_and_whole() {
        let sizes = [PART - 1, 1, 1, 3 * PART, 0, u64::MAX, u64::MAX];
        let all: Vec<Item> = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| item(&n.to_string(), *size))
            .collect();
        let lengths: Vec<usize> = parts(&all, &sizes).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 1, 1, 1]);
        let many: Vec<Item> = (0..=PART_FILES).map(|n| item(&n.to_string(), 0)).collect();
        assert_eq!(
            parts(&many, &vec![0; many.len()])
                .iter()
                .map(|part| part.len())
                .collect::<Vec<_>>(),
            [PART_FILES, 1]
        );
        assert!(parts(&[], &[]).is_empty());
    }

    #[test]
    fn a_pointer_names_a_file() {
        let oid = "ab".repeat(32);
        let text = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 123456789012\n"
        );
        let large = pointer(text.as_bytes()).unwrap();
        assert_eq!(large.path(), Path::new("ab/ab").join(&oid));
        assert_eq!(
            large,
            Large {
                oid,
                size: 123_456_789_012
            }
        );
        assert_eq!(pointer(b"size 12\n"), None);
        assert_eq!(pointer(text.replace("ab", "..").as_bytes()), None);
    }
}
