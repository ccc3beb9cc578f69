//! Unreachable commits: those that only one worktree keeps alive, by its HEAD, its reflog or its
//! private refs.
//!
//! `git worktree remove` loses them silently. The repo keeps what a branch, a remote-tracking ref,
//! a tag or the branch's own reflog reaches. Our own rescues don't count, since they expire. If
//! something can't be read, the answer is an error, not a shorter list.

use super::{go_on, lines};
use crate::fs::budget::Reservation;
use crate::fs::openat::{self, Listed, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use git2::{ErrorCode, ObjectType, Oid, Repository, Revwalk};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

/// Bytes. No well-formed reflog is larger; 64 MiB is some 400,000 moves of HEAD.
pub const LOG_CAP: u64 = 64 << 20;
/// Bytes that an id takes in a set.
const AN_ID: usize = 48;
/// Files of a git dir or an admin directory that name commits but aren't refs: where an operation
/// started, and what it set aside.
pub(super) const PRIVATE: [&str; 14] = [
    "ORIG_HEAD",
    "FETCH_HEAD",
    "MERGE_HEAD",
    "MERGE_AUTOSTASH",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "BISECT_HEAD",
    "rebase-merge/autostash",
    "rebase-merge/orig-head",
    "rebase-merge/stopped-sha",
    "rebase-apply/autostash",
    "rebase-apply/orig-head",
    "rebase-apply/original-commit",
];
/// Refs that end by themselves, or with the next `git stash pop`. They don't keep a commit.
const PASSING: [&[u8]; 5] = [
    b"refs/treewarden/",
    b"refs/bisect/",
    b"refs/rewritten/",
    b"refs/worktree/",
    b"refs/stash",
];

/// The tips that perhaps only a worktree's registration keeps alive.
pub struct Tips<'a> {
    /// The admin directory.
    pub admin: &'a VolumePath,
    /// Its listing.
    pub listed: &'a Listed,
    /// The full name of the tree's branch.
    pub branch: Option<&'a str>,
    /// Its HEAD.
    pub head: Option<Oid>,
}

/// Returns the tips, in hex, that would be lost with the worktree. `kept` are those of the repo's
/// refs.
///
/// # Errors
/// Something can't be read: what would be lost is unknown.
pub fn unreached(
    repo: &Repository,
    of: &Tips<'_>,
    kept: &Kept,
    stop: &Stop,
) -> io::Result<Vec<String>> {
    let Ids {
        ids: tips,
        held: _held,
    } = of.ids(repo, stop)?;
    let tips: Vec<Oid> = tips
        .into_iter()
        .filter_map(|tip| commit(repo, tip).transpose())
        .collect::<Result<_, _>>()?;
    if tips.is_empty() {
        return Ok(Vec::new());
    }
    // Usually the tree's own branch reaches all of them, and then the other refs aren't needed.
    let mut hidden = shared_log(of.admin, of.branch, stop)?;
    let is_on_branch = of
        .branch
        .is_some_and(|branch| branch.starts_with("refs/heads/"));
    hidden.extend(of.head.filter(|_| is_on_branch));
    if lonely(repo, &tips, &hidden, stop)?.is_empty() {
        return Ok(Vec::new());
    }
    hidden.extend(kept.by_refs(repo, stop)?);
    let lonely = lonely(repo, &tips, &hidden, stop)?;
    Ok(tips
        .into_iter()
        .filter(|tip| lonely.contains(tip))
        .map(|tip| tip.to_string())
        .collect())
}

impl Tips<'_> {
    /// Returns every id that HEAD, the reflogs, operations under way and the private refs name.
    fn ids(&self, repo: &Repository, stop: &Stop) -> io::Result<Ids> {
        let Self {
            admin,
            listed,
            head,
            ..
        } = self;
        let mut tips = Ids::of(stop);
        head.iter().try_for_each(|head| tips.add(*head))?;
        if listed.holds("logs") {
            for log in files_below(&admin.join("logs").map_err(io::Error::other)?, stop)?.all {
                log_commits(&log, &mut tips, stop)?;
            }
        }
        for name in PRIVATE {
            listed
                .file(name)?
                .map_or(Ok(()), |file| ids_in(file, &mut tips, stop))?;
        }
        if listed.holds("refs") {
            let mut private = Ids::of(stop);
            ids(
                &files_below(&admin.join("refs").map_err(io::Error::other)?, stop)?.all,
                &mut private,
                stop,
            )?;
            only_commits(repo, &private.ids)?;
            private.ids.iter().try_for_each(|id| tips.add(*id))?;
        }
        Ok(tips)
    }
}

/// The tips of a repo's refs. They are read when the first tree needs them, and most trees don't:
/// libgit2 reads refs one by one, which over a network takes as long as inspecting the trees, which
/// happens in parallel.
#[derive(Default)]
pub struct Kept(OnceLock<Result<Ids, Arc<io::Error>>>);

impl Kept {
    fn by_refs(&self, repo: &Repository, stop: &Stop) -> io::Result<&BTreeSet<Oid>> {
        let read = || kept(repo, stop).map_err(Arc::new);
        self.0
            .get_or_init(read)
            .as_ref()
            .map(|kept| &kept.ids)
            .map_err(|why| io::Error::other(why.clone()))
    }
}

/// Returns the tips of a repo's refs, without those that end by themselves.
///
/// # Errors
/// The refs can't be listed.
pub fn kept(repo: &Repository, stop: &Stop) -> io::Result<Ids> {
    let mut kept = Ids::of(stop);
    for reference in repo.references().map_err(io::Error::other)? {
        go_on(Some(stop))?;
        let reference = reference.map_err(io::Error::other)?;
        if passes(&reference) {
            continue;
        }
        // A branch always names a commit. It isn't read, because that takes long for many.
        let named = reference
            .target()
            .filter(|_| reference.is_branch() || reference.is_remote());
        named
            .or_else(|| Some(reference.peel_to_commit().ok()?.id()))
            .map_or(Ok(()), |id| kept.add(id))?;
    }
    Ok(kept)
}

/// Returns every object that these refs name, tags among them, as the refs name it.
///
/// # Errors
/// The refs can't be listed.
pub(super) fn named(repo: &Repository, stop: &Stop) -> io::Result<HashSet<Oid>> {
    let (mut named, mut held) = (HashSet::new(), stop.hold());
    for reference in repo.references().map_err(io::Error::other)? {
        go_on(Some(stop))?;
        let reference = reference.map_err(io::Error::other)?;
        if !passes(&reference) {
            held.more(AN_ID)?;
            named.extend(reference.target());
        }
    }
    Ok(named)
}

/// Returns whether a ref ends by itself.
fn passes(reference: &git2::Reference<'_>) -> bool {
    PASSING
        .iter()
        .any(|passing| reference.name_bytes().starts_with(passing))
}

/// Checks that all tips are commits. A rescue keeps commits; it would lose a tag's message, or a
/// note that is a blob under a private ref.
fn only_commits(repo: &Repository, tips: &BTreeSet<Oid>) -> io::Result<()> {
    let odb = repo.odb().map_err(io::Error::other)?;
    let other = tips.iter().find(|&&tip| {
        odb.read_header(tip)
            .is_ok_and(|(_, kind)| kind != ObjectType::Commit)
    });
    other.map_or(Ok(()), |tip| {
        Err(io::Error::other(format!(
            "a ref of its own names {tip}, which is no commit: give it a branch or a tag"
        )))
    })
}

/// Returns the commit that a tip names; none if it is gone already or is no commit.
pub(super) fn commit(repo: &Repository, tip: Oid) -> io::Result<Option<Oid>> {
    match repo.find_object(tip, None) {
        Ok(object) => Ok(object.peel_to_commit().ok().map(|commit| commit.id())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Returns the commits that `tips` reach and `kept` don't.
pub(super) fn lonely(
    repo: &Repository,
    tips: &[Oid],
    kept: &[Oid],
    stop: &Stop,
) -> io::Result<HashSet<Oid>> {
    let mut held = stop.hold();
    let walk = walk(repo, tips, kept).map_err(io::Error::other)?;
    let commit = |commit: Result<Oid, git2::Error>| {
        go_on(Some(stop))?;
        held.more(AN_ID)?;
        commit.map_err(io::Error::other)
    };
    walk.map(commit).collect()
}

/// Walks the same commits one by one, the newest first.
///
/// # Errors
/// A commit can't be read.
pub fn walk<'a>(
    repo: &'a Repository,
    tips: &[Oid],
    kept: &[Oid],
) -> Result<Revwalk<'a>, git2::Error> {
    let mut walk = repo.revwalk()?;
    for &tip in tips {
        walk.push(tip)?;
    }
    for &tip in kept {
        if repo.find_commit(tip).is_ok() {
            walk.hide(tip)?;
        }
    }
    Ok(walk)
}

/// Returns the commits in the reflog of the tree's own branch, which outlives the tree.
///
/// # Errors
/// It can't be read.
pub fn shared_log(admin: &VolumePath, branch: Option<&str>, stop: &Stop) -> io::Result<Vec<Oid>> {
    let Some(branch) = branch else {
        return Ok(Vec::new());
    };
    let git_dir = admin
        .relative()
        .ancestors()
        .nth(2)
        .unwrap_or(admin.relative());
    match VolumePath::new(admin.root(), &git_dir.join("logs").join(branch)) {
        Ok(log) => {
            let mut ids = Ids::of(stop);
            log_commits(&log, &mut ids, stop)?;
            Ok(ids.ids.into_iter().collect())
        }
        Err(_) => Ok(Vec::new()),
    }
}

/// Ids, and the memory counted for them.
pub struct Ids {
    /// The ids.
    pub ids: BTreeSet<Oid>,
    held: Reservation,
}

impl Ids {
    pub(super) fn of(stop: &Stop) -> Self {
        Self {
            ids: BTreeSet::new(),
            held: stop.hold(),
        }
    }

    pub(super) fn add(&mut self, id: Oid) -> io::Result<()> {
        if self.ids.insert(id) {
            self.held.more(AN_ID)
        } else {
            Ok(())
        }
    }
}

/// Adds every id in a reflog. A malformed line names none.
pub(super) fn log_commits(log: &VolumePath, ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    let Some(log) = found(openat::file(log))? else {
        return Ok(());
    };
    each_line(log, 82, stop, |line| {
        line.splitn(3, |&byte| byte == b' ')
            .take(2)
            .filter_map(id)
            .try_for_each(|id| ids.add(id))
    })
}

/// Reads a file's lines. One that is larger than [`LOG_CAP`] is an error.
fn each_line(
    file: File,
    most: usize,
    stop: &Stop,
    line: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length > LOG_CAP {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes are more than the {LOG_CAP} expected here"),
        ));
    }
    lines::each(file, most, stop, line)
}

pub(super) fn id(hex: &[u8]) -> Option<Oid> {
    let hex = std::str::from_utf8(hex).ok()?.trim();
    Oid::from_str(hex)
        .ok()
        .filter(|oid| hex.len() == 40 && !oid.is_zero())
}

/// Adds the ids at the beginning of the lines of these files.
pub(super) fn ids(files: &[VolumePath], ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    files.iter().try_for_each(|file| {
        found(openat::file(file))?.map_or(Ok(()), |file| ids_in(file, ids, stop))
    })
}

/// Adds the id at the beginning of each line; more may follow it (`FETCH_HEAD`).
fn ids_in(file: File, ids: &mut Ids, stop: &Stop) -> io::Result<()> {
    each_line(file, 64, stop, |line| {
        line.split(u8::is_ascii_whitespace)
            .next()
            .and_then(id)
            .map_or(Ok(()), |id| ids.add(id))
    })
}

/// Files, and the memory counted for their names.
pub struct FilesBelow {
    /// The files.
    pub all: Vec<VolumePath>,
    _held: Reservation,
}

/// Returns every file below a directory; none if there is no directory.
///
/// # Errors
/// A directory can't be read.
pub fn files_below(directory: &VolumePath, stop: &Stop) -> io::Result<FilesBelow> {
    let (mut files, mut held) = (Vec::new(), stop.hold());
    for entry in walkdir::WalkDir::new(directory.path()).follow_links(false) {
        go_on(Some(stop))?;
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) if held.path(entry.path()).is_err() => {
                return Err(io::Error::other(stop.budget().exceeded()));
            }
            Ok(entry) => {
                files.push(VolumePath::new(directory.root(), entry.path())?);
            }
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(FilesBelow {
        all: files,
        _held: held,
    })
}
