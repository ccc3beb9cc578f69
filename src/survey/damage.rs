//! Damage to a repo that shows without reading its store. A run repacks, removes and clears nothing
//! in a damaged repo.
//!
//! | inspected | must be so |
//! | --- | --- |
//! | a pack and its index | both have git's headers, and the same number of objects |
//! | the last bytes of a pack | the checksum that its index records |
//! | an index without a pack | every object that it lists is elsewhere: then a killed git left it |
//! | a loose object that isn't whole (`Shadow::doubtful`) | git finds it in a pack all the same |
//! | refs and HEAD | they parse, and what they name exists; for HEAD and a branch, its tree too |
//! | HEAD's branch | it exists, or has no reflog |
//!
//! A killed git leaves a pack without an index while it writes or deletes one: all objects of that
//! pack are elsewhere. It is damage only if something that a ref names is missing. The inspection
//! costs some ten calls per pack and two per loose ref, while `git fsck` reads everything; deeper
//! damage shows when an object is needed. Nothing is repaired here, and concurrent changes by an
//! agent's git aren't damage.

use super::go_on;
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::{Refusal, Shadow};
use git2::{ObjectType, Oid, Repository};
use rayon::prelude::*;
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a ref: it is one line.
const LINE: u64 = 4096;
/// Bytes. `shadow` has checked this limit.
const PACKED_REFS: u64 = 32 << 20;
/// Bytes that a ref takes besides its name.
const A_REF: usize = 96;
/// Bytes of a SHA-1.
const HASH: u64 = 20;
type Sum = [u8; 20];
/// Bytes of a pack's header: `PACK`, its version, its number of objects.
const PACK_HEADER: u64 = 12;
/// Bytes of a fan-out table. Its last number is the number of all objects.
const FANOUT: u64 = 1024;
/// The header of an index of version 2. Version 1 begins with its fan-out.
const INDEX_HEADER: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];
/// Ids of an index that are looked up at a time.
const A_TASK: usize = 64;

/// Checks that a repo is whole, as far as that is cheap. Works in the caller's rayon pool.
///
/// # Errors
/// [`Refusal::Damaged`] with the damage; another refusal if the repo can't be inspected.
pub fn prove_whole(shadow: &Shadow, stop: &Stop) -> Result<(), Refusal> {
    let git_dir = shadow.git_dir();
    let unreadable = |cause: io::Error| match cause.downcast::<Damage>() {
        Ok(Damage(what)) => Refusal::Damaged(what),
        Err(cause) => Refusal::Unreadable {
            path: git_dir.to_string(),
            cause,
        },
    };
    let Packs {
        unindexed,
        promised,
    } = packs(shadow, stop).map_err(unreadable)?;
    let mut held = stop.hold();
    let refs = refs(git_dir, stop, &mut held).map_err(unreadable)?;
    if let Some(id) = shadow.lost(stop)? {
        let path = format!("{git_dir}/objects/{}/{}", &id[..2], &id[2..]);
        return Err(Refusal::Damaged(format!(
            "the loose object `{path}` is empty or cut short"
        )));
    }
    let missing = objects(shadow, &refs, promised, stop).map_err(unreadable)?;
    let index = unindexed.map(|pack| {
        format!(
            "; the pack `{pack}` has no index: `git index-pack {}` makes one",
            pack.path().display()
        )
    });
    missing.map_or(Ok(()), |missing| {
        Err(Refusal::Damaged(missing + &index.unwrap_or_default()))
    })
}

/// Damage, as the source of an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("damaged: {0}")]
struct Damage(String);

fn damage<T>(what: String) -> io::Result<T> {
    Err(io::Error::other(Damage(what)))
}

/// What was learned about the packs, besides damage.
#[derive(Default)]
struct Packs {
    /// The first pack without an index.
    unindexed: Option<VolumePath>,
    /// Whether it is a partial clone: missing objects are promised, except those that refs name.
    promised: bool,
}

/// Inspects all packs.
fn packs(shadow: &Shadow, stop: &Stop) -> io::Result<Packs> {
    let place = shadow.git_dir().join("objects/pack")?;
    let Some(fd) = found(openat::dir(&place))? else {
        return Ok(Packs::default());
    };
    let listed = openat::list(rustix::io::dup(&fd)?)?;
    let directory = PackDirectory { fd, place };
    let names: BTreeSet<&str> = listed
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| name.starts_with("pack-"))
        .collect();
    let stems = |ending: &str| {
        names
            .iter()
            .filter_map(|name| name.strip_suffix(ending))
            .collect::<BTreeSet<_>>()
    };
    let (packs, indexes) = (stems(".pack"), stems(".idx"));
    let both: Vec<&&str> = packs.intersection(&indexes).collect();
    both.into_par_iter()
        .try_for_each(|stem| directory.pair(stem))?;
    for stem in indexes.difference(&packs) {
        directory.alone(shadow, stem, stop)?;
    }
    let unindexed = packs
        .difference(&indexes)
        .next()
        .map(|stem| directory.place.join(format!("{stem}.pack")));
    let promised = names.iter().any(|name| name.ends_with(".promisor"));
    Ok(Packs {
        unindexed: unindexed.transpose().map_err(io::Error::other)?,
        promised,
    })
}

fn bytes<const MANY: usize>(file: &File, at: u64) -> io::Result<[u8; MANY]> {
    let mut bytes = [0; MANY];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// The header of an index.
struct Index {
    /// Where its ids begin, and the distance between them, in bytes.
    ids: (u64, u64),
    /// The number of ids.
    count: u64,
}

/// Reads the header; none if the file isn't an index.
fn index(file: &File, length: u64) -> io::Result<Option<Index>> {
    if length < FANOUT + 2 * HASH {
        return Ok(None);
    }
    let is_second = bytes(file, 0)? == INDEX_HEADER;
    let header = if is_second {
        INDEX_HEADER.len() as u64
    } else {
        0
    };
    // The end of the fan-out. Its last number is the number of all objects.
    let counted = FANOUT.saturating_add(header);
    let count = u64::from(u32::from_be_bytes(bytes(file, counted.saturating_sub(4))?));
    let rest = length
        .checked_sub(counted)
        .and_then(|rest| rest.checked_sub(2 * HASH));
    let all = |each: u64| count.saturating_mul(each);
    // Version 2 has an id, a sum and an offset per object, and eight more bytes for a large offset.
    let fits = match rest {
        Some(rest) if is_second => {
            rest.checked_sub(all(HASH + 8))
                .is_some_and(|far| far.is_multiple_of(8))
                && rest <= all(HASH + 16)
        }
        Some(rest) => rest == all(HASH + 4),
        None => false,
    };
    let ids = if is_second {
        (counted, HASH)
    } else {
        (FANOUT + 4, HASH + 4)
    };
    Ok(fits.then_some(Index { ids, count }))
}

/// The directory of the packs.
struct PackDirectory {
    fd: OwnedFd,
    place: VolumePath,
}

impl PackDirectory {
    /// Opens a file, and returns its length too; none if it was removed meanwhile.
    fn open(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let Some(file) = found(
            openat::below(&self.fd, Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK)
                .map_err(io::Error::from),
        )?
        else {
            return Ok(None);
        };
        let file = File::from(file);
        let length = file.metadata()?.len();
        Ok(Some((file, length)))
    }

    fn pair(&self, stem: &str) -> io::Result<()> {
        let place = &self.place;
        let (pack, idx) = (format!("{stem}.pack"), format!("{stem}.idx"));
        let (Some((pack_file, pack_length)), Some((idx_file, idx_length))) =
            (self.open(&pack)?, self.open(&idx)?)
        else {
            return Ok(());
        };
        let Some(index) = index(&idx_file, idx_length)? else {
            return damage(format!(
                "`{place}/{idx}` is no index of a pack: it is cut short, or overwritten"
            ));
        };
        let header: Option<[u8; 12]> = (pack_length >= PACK_HEADER + HASH)
            .then(|| bytes(&pack_file, 0))
            .transpose()?;
        let Some(header) =
            header.filter(|header| header.starts_with(b"PACK\0\0\0") && matches!(header[7], 2 | 3))
        else {
            return damage(format!(
                "`{place}/{pack}` is no pack: it is cut short, or overwritten"
            ));
        };
        let count = u64::from(u32::from_be_bytes([
            header[8], header[9], header[10], header[11],
        ]));
        if count != index.count {
            return damage(format!(
                "`{place}/{pack}` and its index hold {count} and {} objects",
                index.count
            ));
        }
        let (end, sum): (Sum, Sum) = (
            bytes(&pack_file, pack_length.saturating_sub(HASH))?,
            bytes(&idx_file, idx_length.saturating_sub(2 * HASH))?,
        );
        if end != sum {
            return damage(format!(
                "`{place}/{pack}` doesn't end as its index says: it is cut short, or another's"
            ));
        }
        Ok(())
    }

    /// Checks an index without its pack: what it lists must be elsewhere. A malformed index proves
    /// nothing.
    fn alone(&self, shadow: &Shadow, stem: &str, stop: &Stop) -> io::Result<()> {
        let Some((file, length)) = self.open(&format!("{stem}.idx"))? else {
            return Ok(());
        };
        let Some(Index {
            ids: (begin, apart),
            count,
        }) = index(&file, length)?
        else {
            return Ok(());
        };
        // The pack was written since the directory was listed.
        if self.open(&format!("{stem}.pack"))?.is_some() {
            return Ok(());
        }
        let mut ids = Vec::with_capacity(A_TASK);
        for number in 0..count {
            ids.push(
                Oid::from_bytes(&bytes::<20>(
                    &file,
                    number.saturating_mul(apart).saturating_add(begin),
                )?)
                .map_err(io::Error::other)?,
            );
            if ids.len() == A_TASK || number.saturating_add(1) == count {
                go_on(Some(stop))?;
                let all =
                    shadow.with(|repo| repo.odb().map(|odb| ids.iter().all(|id| odb.exists(*id))));
                if !all.and_then(|all| all).map_err(io::Error::other)? {
                    return damage(format!(
                        "the pack `{}/{stem}.pack` is gone, and with it what only it held",
                        self.place
                    ));
                }
                ids.clear();
            }
        }
        Ok(())
    }
}

/// Objects by the ref that names them.
type Refs = BTreeMap<String, Oid>;

/// Reads all refs and HEAD.
fn refs(git_dir: &VolumePath, stop: &Stop, held: &mut Reservation) -> io::Result<Refs> {
    let names = loose_refs(git_dir, stop, held)?;
    // Loose refs first: a ref that is packed meanwhile is seen twice rather than never.
    let read = |name: &PathBuf| Ok((name.to_string_lossy().into_owned(), one(git_dir, name)?));
    let loose: Vec<(String, Named)> = names.par_iter().map(read).collect::<io::Result<_>>()?;
    let mut refs = packed(git_dir, held)?;
    for (name, named) in loose {
        match named {
            Named::Object(id) => drop(refs.insert(name, id)),
            Named::Ref(_) => drop(refs.remove(&name)),
            Named::Nothing => {}
        }
    }
    match one(git_dir, Path::new("HEAD"))? {
        Named::Object(id) => drop(refs.insert("HEAD".to_owned(), id)),
        Named::Ref(branch) => prove_branch(git_dir, &refs, branch)?,
        Named::Nothing => {}
    }
    Ok(refs)
}

/// Checks that HEAD's branch exists or is unborn. Like git, follows five refs that name others.
fn prove_branch(git_dir: &VolumePath, refs: &Refs, mut branch: String) -> io::Result<()> {
    for _ in 0..5 {
        if refs.contains_key(&branch) || git_dir.join(&branch).is_err() {
            break;
        }
        match one(git_dir, Path::new(&branch))? {
            Named::Ref(next) => branch = next,
            Named::Object(_) => break,
            Named::Nothing => return unborn(git_dir, &branch),
        }
    }
    Ok(())
}

/// Returns the names of the loose refs.
fn loose_refs(
    git_dir: &VolumePath,
    stop: &Stop,
    held: &mut Reservation,
) -> io::Result<Vec<PathBuf>> {
    let top = git_dir.join("refs").map_err(io::Error::other)?;
    let mut names = Vec::new();
    for entry in walkdir::WalkDir::new(top.path()).follow_links(false) {
        go_on(Some(stop))?;
        match entry {
            // No ref may be named like a lock, or with a dot first like an NFS client's open file.
            Ok(entry)
                if entry.file_type().is_file()
                    && !entry.path().to_string_lossy().ends_with(".lock") =>
            {
                let name = entry
                    .path()
                    .strip_prefix(git_dir.path())
                    .map_err(io::Error::other)?;
                // A run's own refs, which it removes at its end. Those that a crash left are
                // cleared, whatever they name.
                let passing = name.starts_with("refs/treewarden/shield");
                if !passing && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                    // Twice, because the name is kept again with the object that it names.
                    held.path(name)?;
                    held.path(name)?;
                    names.push(name.to_owned());
                }
            }
            Ok(_) => {}
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}

enum Named {
    Object(Oid),
    Ref(String),
    /// It was removed meanwhile.
    Nothing,
}

/// Reads a ref.
fn one(git_dir: &VolumePath, name: &Path) -> io::Result<Named> {
    let Some(text) = found(openat::read(&git_dir.join(name)?, LINE))? else {
        return Ok(Named::Nothing);
    };
    let named = match text.strip_prefix(b"ref:") {
        Some(other) => Some(Named::Ref(
            String::from_utf8_lossy(other.trim_ascii()).into_owned(),
        ))
        .filter(|_| !other.trim_ascii().is_empty()),
        // Git reads up to a space.
        None => id(text
            .split(u8::is_ascii_whitespace)
            .next()
            .unwrap_or_default())
        .map(Named::Object),
    };
    named.map_or_else(
        || {
            damage(format!(
                "`{git_dir}/{}` names neither an object nor a ref",
                name.display()
            ))
        },
        Ok,
    )
}

fn id(hex: &[u8]) -> Option<Oid> {
    std::str::from_utf8(hex)
        .ok()
        .filter(|hex| hex.len() == 40)
        .and_then(|hex| Oid::from_str(hex).ok())
}

fn packed(git_dir: &VolumePath, held: &mut Reservation) -> io::Result<Refs> {
    let file = git_dir.join("packed-refs")?;
    let Some(length) = found(openat::stat(&file))?.map(|stat| stat.st_size) else {
        return Ok(Refs::new());
    };
    held.more(usize::try_from(length).unwrap_or(usize::MAX))?;
    let Some(text) = found(openat::read(&file, PACKED_REFS))? else {
        return Ok(Refs::new());
    };
    // Git begins the file with a header line, even if no ref is left.
    let Some(text) = text.strip_suffix(b"\n") else {
        return damage(format!(
            "`{file}` is {}",
            if text.is_empty() {
                "empty"
            } else {
                "cut short"
            }
        ));
    };
    let mut refs = Refs::new();
    for line in text.split(|&byte| byte == b'\n') {
        let (hex, name) = line.split_at_checked(40).unwrap_or((line, b""));
        match (line.first(), id(hex), name) {
            (Some(b'#'), ..) => {}
            // The object that the tag above peels to.
            (Some(b'^'), ..) if line.get(1..).and_then(id).is_some() => {}
            (_, Some(id), [b' ', name @ ..]) if !name.is_empty() => {
                held.more(name.len().saturating_add(A_REF))?;
                refs.insert(String::from_utf8_lossy(name).into_owned(), id);
            }
            _ => return damage(format!("`{file}` has a line that names no ref")),
        }
    }
    Ok(refs)
}

/// Checks a HEAD on a missing branch. An unborn branch has no reflog; a lost one does.
fn unborn(git_dir: &VolumePath, branch: &str) -> io::Result<()> {
    let Ok(log) = git_dir.join("logs").and_then(|logs| logs.join(branch)) else {
        return Ok(());
    };
    match found(openat::stat(&log))? {
        Some(stat)
            if stat.st_size > 0 && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() =>
        {
            damage(format!(
                "`{git_dir}/HEAD` is on `{branch}`, which is gone, though its reflog is there"
            ))
        }
        _ => Ok(()),
    }
}

/// Describes the first missing object of a ref, or for a branch its missing tree. Each ref by
/// itself, because it waits for up to five calls of a server.
fn objects(
    shadow: &Shadow,
    refs: &Refs,
    promised: bool,
    stop: &Stop,
) -> io::Result<Option<String>> {
    let git_dir = shadow.git_dir();
    let missing = |(name, id): (&String, &Oid)| {
        go_on(Some(stop))?;
        let is_branch = name == "HEAD" || name.starts_with("refs/heads/");
        let inspect = |repo: &Repository| -> Result<_, git2::Error> {
            let odb = repo.odb()?;
            if !odb.exists(*id) {
                return Ok(Some(format!(
                    "`{git_dir}/{name}` names the object {id}, which is missing"
                )));
            }
            if promised
                || !is_branch
                || !matches!(odb.read_header(*id), Ok((_, ObjectType::Commit)))
            {
                return Ok(None);
            }
            let tree = repo.find_commit(*id)?.tree_id();
            Ok((!odb.exists(tree))
                .then(|| format!("the tree of `{git_dir}/{name}` ({tree}) is missing")))
        };
        let inspected = shadow.with(inspect).and_then(|inspected| inspected);
        inspected.or_else(|error| {
            Ok(Some(format!(
                "its refs can't be followed: {}",
                error.message()
            )))
        })
    };
    refs.par_iter()
        .map(missing)
        .find_first(|found| !matches!(found, Ok(None)))
        .unwrap_or(Ok(None))
}
