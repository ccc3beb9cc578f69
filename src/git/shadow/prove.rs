//! Proves that a git dir is well-formed before git or git2 reads it.
//!
//! It has no links that git would follow, no FIFO that git would wait for, and nothing that leads
//! elsewhere. The same is proven of the object directories that it borrows from. Every file is
//! inspected before it is opened, and a config is only data.

use super::loose::Loose;
use super::{CONFIG_CAP, Refusal, SMALL};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What was proven, as it was read.
pub(super) struct Proven {
    /// The text of HEAD.
    pub(super) head: Vec<u8>,
    /// The object directories that it borrows from, directly or through others.
    pub(super) lenders: Vec<VolumePath>,
    /// Loose objects, its own and borrowed ones.
    pub(super) loose: Vec<Loose>,
}

/// The most bytes, in a well-formed repo, of files that git and libgit2 read into memory whole:
/// half a million packed refs, a reflog of 400,000 moves, an index of four million files. A ref is
/// one line.
const LARGEST: [(&str, u64); 3] = [
    ("packed-refs", PACKED_CAP),
    ("shallow", CONFIG_CAP),
    ("index", INDEX_CAP),
];
const LOG_CAP: u64 = 64 << 20;
pub(super) const PACKED_CAP: u64 = 32 << 20;
pub(super) const INDEX_CAP: u64 = 512 << 20;

/// Git-annex's directory in a git dir, and its link to that in a registration.
const ANNEX: &str = "annex";

/// The depth to which git follows alternates of alternates.
const LENDERS_DEEP: usize = 5;

/// Returns the path of a fixed name below `place`, which can't lead upwards.
pub(super) fn at(place: &VolumePath, name: &str) -> VolumePath {
    place.join(name).expect("a fixed name stays inside")
}

pub(super) fn unreadable(path: &str) -> impl Fn(io::Error) -> Refusal {
    move |cause| Refusal::Unreadable {
        path: path.to_owned(),
        cause,
    }
}

/// Files and directories of a git dir, and whether each is required. The first is the git dir
/// itself.
const SHAPE: [(&str, FileType, bool); 13] = [
    ("", FileType::Directory, true),
    ("objects", FileType::Directory, true),
    ("objects/pack", FileType::Directory, false),
    ("objects/info", FileType::Directory, false),
    ("refs", FileType::Directory, true),
    ("logs", FileType::Directory, false),
    ("worktrees", FileType::Directory, false),
    ("HEAD", FileType::RegularFile, true),
    ("packed-refs", FileType::RegularFile, false),
    ("shallow", FileType::RegularFile, false),
    ("config", FileType::RegularFile, false),
    ("index", FileType::RegularFile, false),
    ("objects/info/alternates", FileType::RegularFile, false),
];

/// Bytes that a directory entry counts for among those that are read, so that an endless listing
/// reaches the limit, too.
const AN_ENTRY: u64 = 4096;
/// Bytes that an id takes in memory, counted twice because lists are joined.
const AN_ID: usize = 128;

/// Proves the shape of a well-formed git dir.
pub(super) fn prove(git_dir: &VolumePath, stop: &Stop) -> Result<Proven, Refusal> {
    SHAPE
        .iter()
        .try_for_each(|(name, wanted, needed)| prove_entry(git_dir, name, *wanted, *needed))?;
    let shared = openat::stat(&at(git_dir, "commondir"));
    if found(shared).map_err(unreadable("commondir"))?.is_some() {
        return Err(odd(git_dir, "commondir", "leads to another repo"));
    }
    prove_owner(git_dir)?;
    prove_index(&at(git_dir, "index"))?;
    prove_refs(git_dir, stop)?;
    let own = at(git_dir, "objects");
    let mut lenders = Vec::new();
    prove_lenders(&own, &own, LENDERS_DEEP, &mut lenders)?;
    let loose = [&own]
        .into_iter()
        .chain(&lenders)
        .map(|objects| prove_objects(objects, stop))
        .collect::<Result<_, _>>()?;
    Ok(Proven {
        head: prove_head(git_dir)?,
        lenders,
        loose,
    })
}

/// Proves that the entry `name` of the git dir has the type `wanted`, and is not too large.
fn prove_entry(
    git_dir: &VolumePath,
    name: &str,
    wanted: FileType,
    needed: bool,
) -> Result<(), Refusal> {
    let place = if name.is_empty() {
        git_dir.clone()
    } else {
        at(git_dir, name)
    };
    let found = found(openat::stat(&place)).map_err(unreadable(&place.to_string()))?;
    let Some(stat) = found else {
        return if needed {
            Err(Refusal::Malformed(format!(
                "`{place}` is missing: this is no git checkout; move it away, then `treewarden enroll` clones it, or take it out of the config"
            )))
        } else {
            Ok(())
        };
    };
    let is_wanted = FileType::from_raw_mode(stat.st_mode) == wanted;
    let what = match wanted {
        _ if is_wanted => {
            let limit = LARGEST.iter().find(|(file, _)| *file == name);
            let is_small = limit.is_none_or(|(_, most)| stat.st_size.cast_unsigned() <= *most);
            return if is_small {
                Ok(())
            } else {
                Err(odd(git_dir, name, "is larger than any well-formed one"))
            };
        }
        _ if name.is_empty() => {
            return Err(Refusal::Malformed(format!(
                "`{git_dir}` is no directory; restore the git dir, or move the checkout away and enroll anew"
            )));
        }
        FileType::Directory => "is no directory",
        _ => "is no regular file",
    };
    Err(odd(git_dir, name, what))
}

fn odd(git_dir: &VolumePath, name: &str, what: &str) -> Refusal {
    Refusal::Malformed(format!(
        "`{git_dir}/{name}` {what}; fix it by hand or take the repo out of the config"
    ))
}

/// Proves that the git dir belongs to this process's user. Root could read for an agent what the
/// agent can't read itself, and the agent couldn't use what root wrote.
fn prove_owner(git_dir: &VolumePath) -> Result<(), Refusal> {
    let owner = openat::stat(git_dir).map_err(unreadable(".git"))?.st_uid;
    let me = rustix::process::geteuid();
    if owner == me.as_raw() {
        return Ok(());
    }
    Err(Refusal::Malformed(format!(
        "`{git_dir}` belongs to user {owner}, and this is user {}; run as user {owner}, the agents'",
        me.as_raw()
    )))
}

/// Proves that HEAD names a branch or a commit, and returns its text. Git doesn't recognise a
/// directory with any other HEAD as a repo.
fn prove_head(git_dir: &VolumePath) -> Result<Vec<u8>, Refusal> {
    let head = openat::read(&at(git_dir, "HEAD"), SMALL)
        .map_err(unreadable(&format!("{git_dir}/HEAD")))?;
    let text = head.trim_ascii();
    if text.starts_with(b"ref: refs/")
        || (matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit))
    {
        return Ok(head);
    }
    Err(Refusal::Malformed(format!(
        "`{git_dir}/HEAD` names neither a branch nor a commit; fix it with `git symbolic-ref HEAD refs/heads/BRANCH`"
    )))
}

/// Proves that the refs are in files, as the config says: agents' git may have them in reftables
/// all the same. A conversion (`git refs migrate`) leaves a HEAD that no branch can have, and sets
/// the config last; a repo whose conversion was killed would else count as damaged, with a remedy
/// that loses its refs. And `GIT_REFERENCE_BACKEND` overrules the config.
pub(super) fn prove_refs_in_files(git_dir: &VolumePath, head: &[u8]) -> Result<(), Refusal> {
    if head.trim_ascii() == b"ref: refs/heads/.invalid" {
        return Err(Refusal::Malformed(format!(
            "`{git_dir}/HEAD` says that the refs are in reftables, and `{git_dir}/config` doesn't: \
             `git refs migrate` is under way, or was killed; wait for it, or restore the refs"
        )));
    }
    let tables = at(git_dir, "reftable/tables.list");
    match found(openat::stat(&tables)).map_err(unreadable(&tables.to_string()))? {
        None => Ok(()),
        Some(_) => Err(Refusal::Malformed(format!(
            "`{tables}` is there, and by `{git_dir}/config` the refs are in files; delete \
             `{git_dir}/reftable` if `git for-each-ref` lists all refs without it"
        ))),
    }
}

/// Proves that the object directories it borrows from are inside the volume, and so are those that
/// they borrow from. Otherwise a repack could be led to another tenant's objects.
fn prove_lenders(
    own: &VolumePath,
    objects: &VolumePath,
    deep: usize,
    lenders: &mut Vec<VolumePath>,
) -> Result<(), Refusal> {
    let list = at(objects, "info/alternates");
    let Some(text) =
        found(openat::read(&list, CONFIG_CAP)).map_err(unreadable(&list.to_string()))?
    else {
        return Ok(());
    };
    for line in text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
    {
        let path = Path::new(OsStr::from_bytes(line));
        // Git keeps a carriage return, while libgit2 takes what follows for another directory. Git
        // stops at a NUL, and reads a quoted line as a C string.
        let plain = !line.contains(&b'\r') && !line.contains(&0) && !line.starts_with(b"\"");
        let lender = Some(path)
            .filter(|_| plain)
            .and_then(|path| objects.resolve(path).ok());
        let Some(lender) = lender else {
            return Err(Refusal::Malformed(format!(
                "`{list}` names `{}`, outside the volume; repack it with `git repack -ad`",
                path.display()
            )));
        };
        let stands = found(openat::dir(&lender))
            .map_err(unreadable(&lender.to_string()))?
            .is_some();
        if stands && is_same(&lender, own).map_err(unreadable(&lender.to_string()))? {
            return Err(Refusal::Malformed(format!(
                "`{list}` leads back to the repo's own objects; delete that line"
            )));
        }
        if stands && deep > 0 && !lenders.contains(&lender) {
            lenders.push(lender.clone());
            prove_lenders(own, &lender, deep.saturating_sub(1), lenders)?;
        }
    }
    Ok(())
}

/// Checks whether both are the same directory.
pub(super) fn is_same(one: &VolumePath, other: &VolumePath) -> io::Result<bool> {
    let [one, other] = [openat::stat(one)?, openat::stat(other)?];
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Proves that refs, reflogs and registrations are plain files in plain directories: a FIFO would
/// hang git and libgit2, and a link would lead them elsewhere. Each registration costs a dozen
/// round trips, so all are inspected in parallel.
fn prove_refs(git_dir: &VolumePath, stop: &Stop) -> Result<(), Refusal> {
    let ((refs, logs), trees) = rayon::join(
        || {
            rayon::join(
                || prove_files(&at(git_dir, "refs"), &[], stop, |_| SMALL),
                || prove_files(&at(git_dir, "logs"), &[], stop, |_| LOG_CAP),
            )
        },
        || prove_registrations(git_dir, stop),
    );
    refs.and(logs).and(trees)
}

fn prove_registrations(git_dir: &VolumePath, stop: &Stop) -> Result<(), Refusal> {
    let trees = at(git_dir, "worktrees");
    let (names, _held) = names(&trees, stop).map_err(unreadable(&trees.to_string()))?;
    let proofs: Vec<Result<(), Refusal>> = names
        .par_iter()
        .map(|name| prove_registration(git_dir, &trees, name, stop))
        .collect();
    proofs.into_iter().collect()
}

/// Returns the names in a directory, if it exists, and what they take of the memory budget.
fn names(directory: &VolumePath, stop: &Stop) -> io::Result<(Vec<OsString>, Reservation)> {
    let mut held = stop.hold();
    let mut names = Vec::new();
    for entry in found(std::fs::read_dir(directory.path()))?
        .into_iter()
        .flatten()
    {
        let name = entry?.file_name();
        stop.read(AN_ENTRY)?;
        held.path(Path::new(&name))?;
        names.push(name);
    }
    Ok((names, held))
}

/// Proves that all below `top`, except its entries `but`, are plain files or directories, and that no
/// file is larger than its name allows.
fn prove_files(
    top: &VolumePath,
    but: &[&str],
    stop: &Stop,
    largest: impl Fn(&OsStr) -> u64,
) -> Result<(), Refusal> {
    let entries = walkdir::WalkDir::new(top.path())
        .follow_links(false)
        .follow_root_links(false)
        .into_iter();
    for entry in entries.filter_entry(|entry| {
        entry.depth() != 1 || !but.iter().any(|but| entry.file_name() == *but)
    }) {
        stop.read(AN_ENTRY).map_err(unreadable(&top.to_string()))?;
        match entry {
            Ok(entry) => {
                prove_plain(&entry)?;
                if entry.file_type().is_file()
                    && entry
                        .metadata()
                        .is_ok_and(|data| data.len() > largest(entry.file_name()))
                {
                    return Err(Refusal::Malformed(format!(
                        "`{}` is larger than any well-formed one; remove it",
                        entry.path().display()
                    )));
                }
            }
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => {
                return Err(Refusal::Unreadable {
                    path: top.to_string(),
                    cause: error.into(),
                });
            }
        }
    }
    Ok(())
}

/// Proves that a worktree has plain admin files, and a `commondir` that names this git dir.
fn prove_registration(
    git_dir: &VolumePath,
    trees: &VolumePath,
    name: &OsStr,
    stop: &Stop,
) -> Result<(), Refusal> {
    let admin = trees
        .join(name)
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    // Submodules' repos are skipped: git doesn't read them either, and a tree that has any is kept.
    let skipped: &[&str] = if is_annex(&admin, git_dir) {
        &["modules", ANNEX]
    } else {
        &["modules"]
    };
    prove_files(&admin, skipped, stop, |name| {
        if name == "index" { INDEX_CAP } else { LOG_CAP }
    })?;
    let file = at(&admin, "commondir");
    let Some(text) = found(openat::read(&file, SMALL)).map_err(unreadable(&file.to_string()))?
    else {
        return Ok(());
    };
    // Compared by component: libgit2 writes the whole path, with a trailing slash.
    let named = Path::new(OsStr::from_bytes(text.trim_ascii_end())).components();
    if !named.clone().eq(Path::new("../..").components()) && !named.eq(git_dir.path().components())
    {
        return Err(Refusal::Malformed(format!(
            "`{file}` leads to another repo; write `../..` into it"
        )));
    }
    Ok(())
}

/// Checks whether a registration has the link by which git-annex finds the repo's own `annex`. Nobody
/// here follows it.
fn is_annex(admin: &VolumePath, git_dir: &VolumePath) -> bool {
    let link = at(admin, ANNEX);
    let target = openat::parent(&link)
        .and_then(|(admin, name)| Ok(rustix::fs::readlinkat(admin, name, Vec::new())?));
    target.is_ok_and(|target| {
        let target = Path::new(OsStr::from_bytes(target.to_bytes()));
        target == Path::new("../../annex") || target == git_dir.path().join(ANNEX)
    })
}

/// Proves that an index doesn't claim more entries than it has room for, because git allocates them
/// all at once. A worktree's index is checked with its tree.
fn prove_index(index: &VolumePath) -> Result<(), Refusal> {
    /// Bytes of an entry's times, ids and flags, without its name.
    const ENTRY: u64 = 62;
    let Ok(mut file) = openat::file(index) else {
        return Ok(());
    };
    let mut header = [0; 12];
    let promised = match file.read_exact(&mut header) {
        Ok(()) => u64::from(u32::from_be_bytes([
            header[8], header[9], header[10], header[11],
        ])),
        Err(_) => 0,
    };
    let room = file
        .metadata()
        .map_err(unreadable(&index.to_string()))?
        .len();
    if header.starts_with(b"DIRC") && promised.saturating_mul(ENTRY) > room {
        return Err(Refusal::Malformed(format!(
            "`{index}` promises {promised} entries and has no room for them; delete it, then `git reset`"
        )));
    }
    Ok(())
}

fn prove_plain(entry: &walkdir::DirEntry) -> Result<(), Refusal> {
    use std::os::unix::fs::FileTypeExt;
    let kind = entry.file_type();
    // A socket belongs to git's file system monitor. Opening it fails, and nothing waits.
    if kind.is_file() || kind.is_dir() || kind.is_socket() {
        return Ok(());
    }
    Err(Refusal::Malformed(format!(
        "`{}` is neither file nor directory; remove it",
        entry.path().display()
    )))
}

/// Proves that a store has no link or FIFO in place of a directory, an object or a pack: with a
/// link in place of an object directory, a repack would delete what another repo needs. Returns the
/// loose objects. Their 256 directories are listed in parallel.
pub(super) fn prove_objects(objects: &VolumePath, stop: &Stop) -> Result<Loose, Refusal> {
    let (directories, _held) = names(objects, stop).map_err(unreadable(&objects.to_string()))?;
    let proofs: Vec<_> = directories
        .par_iter()
        .map(|directory| prove_object_directory(objects, directory, stop))
        .collect();
    let mut loose = Loose {
        objects: objects.clone(),
        ids: Vec::new(),
        held: stop.hold(),
    };
    for proof in proofs {
        let (ids, held) = proof?;
        loose.ids.extend(ids);
        loose.held.take_over(held);
    }
    Ok(loose)
}

fn prove_object_directory(
    objects: &VolumePath,
    directory: &OsStr,
    stop: &Stop,
) -> Result<(Vec<String>, Reservation), Refusal> {
    let path = objects.to_string();
    let failed = || unreadable(&path);
    let mut held = stop.hold();
    let mut ids = Vec::new();
    for entry in walkdir::WalkDir::new(objects.path().join(directory))
        .follow_links(false)
        .follow_root_links(false)
    {
        stop.read(AN_ENTRY).map_err(failed())?;
        match entry {
            Ok(entry) => {
                prove_plain(&entry)?;
                // Git reads it line by line, and trusts every line.
                if entry.file_name() == "commit-graph-chain"
                    && entry.metadata().is_ok_and(|data| data.len() > CONFIG_CAP)
                {
                    return Err(Refusal::Malformed(format!(
                        "`{}` is larger than any well-formed one; remove it",
                        entry.path().display()
                    )));
                }
                if let Some(id) = loose_id(entry.path()) {
                    held.more(AN_ID).map_err(failed())?;
                    ids.push(id);
                }
            }
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(failed()(error.into())),
        }
    }
    Ok((ids, held))
}

/// Returns the id of an object at `ab/cdef...`; none if the path is another.
fn loose_id(path: &Path) -> Option<String> {
    let (shard, name) = (
        path.parent()?.file_name()?.to_str()?,
        path.file_name()?.to_str()?,
    );
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (shard.len() == 2 && name.len() == 38 && hex(shard) && hex(name))
        .then(|| format!("{shard}{name}"))
}
