//! The survey of one worktree: what its admin directory says, and what its tree contains.
//!
//! The admin directory alone settles a young or locked tree; only the others are walked. A failed
//! inspection is not a missing tree, and a tree is not clean because git's index says so.

use super::clones::Opened;
use super::context::Context;
use super::known::{Known, head_of};
use super::lock_reason::holders;
use super::moves;
use super::{doubt, nested, reach, size};
use crate::facts::repo::LeftoverKind;
use crate::facts::worktree::{ActiveFrom, DeadLock, MadeAgain, State, Worktree};
use crate::fs::openat::{self, Listed, found};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use chrono::DateTime;
use git2::{Oid, Repository};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod activity;
mod contents;

pub use super::place::{LINE_CAP, place, tree_of};
use super::place::{from, line, line_of, not_ours, stands_at};
pub use super::registration::{HEARTBEAT, MISSING, MISSING_AT_ONCE};
use activity::{Sign, active, moment, note};
pub use activity::{activity, written};
use contents::{contents, look_into_git_dir, look_whole};

/// States that git keeps in the admin directory while an operation is under way.
const IN_PROGRESS: [(&str, &str); 8] = [
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase or am"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
    ("sequencer", "cherry-pick or revert"),
    ("NOTES_MERGE_WORKTREE", "merge of notes"),
];
/// Locks of files that somebody is writing, or died while writing.
const LOCKS: [&str; 2] = [INDEX_LOCK, "HEAD.lock"];
/// The same in a clone's git dir.
const CLONE_LOCKS: [&str; 4] = ["config.lock", "packed-refs.lock", "shallow.lock", "gc.pid"];
/// The lock that git may hold for as long as somebody edits a commit message.
pub(super) const INDEX_LOCK: &str = "index.lock";

/// Surveys the worktree whose admin directory is `admin`.
pub fn survey(context: &Context<'_>, admin: &VolumePath) -> Worktree {
    let clone_of = context.clone.map(Opened::checkout);
    let blank = Worktree {
        checkout: context.checkout.cloned(),
        ..blank(admin, clone_of, context.made_again)
    };
    let read = Listed::of(admin)
        .and_then(|listed| Ok((registration(context, blank.clone(), &listed)?, listed)));
    match read {
        Ok((mut tree, listed)) => {
            tree.state = state(context, &mut tree, &listed)
                .unwrap_or_else(|error| unknown("look", &tree.path, &error));
            let whole = context.explains(&tree) || (context.due)(&tree);
            if matches!(tree.state, State::Inspected(_)) && whole {
                look_whole(context, &mut tree, &listed)
                    .unwrap_or_else(|error| tree.state = not_looked(context, &tree, &error));
            }
            if context.measured && matches!(tree.state, State::NotInspected | State::Inspected(_)) {
                tree.bytes = measured(&tree, context.stop);
            }
            tree
        }
        Err(error) => Worktree {
            path: if blank.clone_of.is_some() {
                blank.path
            } else {
                place(admin).unwrap_or(admin.path())
            },
            state: unknown("read its admin directory", &admin.path(), &error),
            ..blank
        },
    }
}

/// Returns a worktree of which nothing is known yet; or the clone of the repo with the git dir
/// `clone_of`.
pub(super) fn blank(
    admin: &VolumePath,
    clone_of: Option<&VolumePath>,
    made_again: &Arc<[MadeAgain]>,
) -> Worktree {
    let path = match clone_of {
        Some(_) => admin
            .path()
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
        None => PathBuf::new(),
    };
    let id = if clone_of.is_some() {
        path.file_name()
    } else {
        admin.relative().file_name()
    };
    Worktree {
        id: id.unwrap_or_default().to_string_lossy().into_owned(),
        admin: admin.clone(),
        clone_of: clone_of.cloned(),
        checkout: None,
        path,
        branch: None,
        head: None,
        locked: None,
        dead_lock: None,
        in_progress: Vec::new(),
        active: DateTime::UNIX_EPOCH,
        active_from: ActiveFrom::Nothing,
        worked_in: false,
        in_use: None,
        missing_since: None,
        missing_at_once: false,
        bytes: None,
        made_again: made_again.clone(),
        state: State::NotInspected,
    }
}

/// Returns what deleting a tree and its registration would free; none if that can't be measured.
fn measured(tree: &Worktree, stop: &Stop) -> Option<u64> {
    let place = VolumePath::new(tree.admin.root(), &tree.path).ok()?;
    let size = size::size(&tree.directories(&place), stop);
    size.ok().map(|size| size.bytes)
}

/// Distinguishes a malformed tree from a failing file system: the tree stays either way, but the
/// remedy differs.
fn unknown(what: &str, path: &Path, error: &io::Error) -> State {
    let cause = doubt::told(what, path, error);
    if doubt::failed(error) {
        State::Unreadable(cause)
    } else {
        State::Unknown(cause)
    }
}

/// Surveys what the admin directory alone shows.
fn registration(
    context: &Context<'_>,
    mut tree: Worktree,
    listed: &Listed,
) -> io::Result<Worktree> {
    if context.clone.is_none() {
        let gitdir = line("gitdir", listed.insist("gitdir", LINE_CAP))?;
        tree.path = stands_at(&tree.admin, gitdir)?;
    }
    let head = line("HEAD", listed.insist("HEAD", LINE_CAP))?.ok_or_else(|| {
        io::Error::other("`HEAD` is missing; write the branch or commit into it that the tree had")
    })?;
    match head.strip_prefix("ref: ") {
        Some(branch) => {
            tree.head = commit_of(context.repo, branch)?.map(|oid| oid.to_string());
            tree.branch = Some(branch.to_owned());
        }
        None => tree.head = Some(Oid::from_str(&head).map_err(io::Error::other)?.to_string()),
    }
    tree.locked = line("locked", listed.read("locked", LINE_CAP))?;
    tree.dead_lock = dead_lock(context, &tree, listed)?;
    tree.in_progress = in_progress(context, &tree, listed)?;
    let (signs, worked_in) = active(listed, context.stop)?;
    note(&mut tree, signs);
    tree.worked_in = worked_in;
    let at_once = listed.stat(MISSING_AT_ONCE)?;
    tree.missing_at_once = at_once.is_some();
    tree.missing_since = at_once
        .map_or_else(|| listed.stat(MISSING), |stat| Ok(Some(stat)))?
        .map(|stat| written(&stat));
    Ok(tree)
}

/// Returns whether a registered tree was there at the last run, and whether it went missing since.
/// A guess, for counting: what is unknown counts as being there.
pub fn went_missing(admin: &VolumePath, trashed: &HashSet<VolumePath>) -> (bool, bool) {
    let place = place(admin)
        .ok()
        .and_then(|place| VolumePath::new(admin.root(), &place).ok());
    let gone = place.is_some_and(|place| {
        found(openat::stat(&place)).is_ok_and(|stat| stat.is_none()) && !trashed.contains(&place)
    });
    let has = |mark: &str| {
        admin
            .join(mark)
            .is_ok_and(|mark| found(openat::stat(&mark)).is_ok_and(|stat| stat.is_some()))
    };
    let was_there = !gone || ![MISSING, MISSING_AT_ONCE].into_iter().any(has);
    (was_there, gone && was_there)
}

fn commit_of(repo: &Repository, branch: &str) -> io::Result<Option<Oid>> {
    match repo.find_reference(branch) {
        Ok(reference) => Ok(Some(
            reference.peel_to_commit().map_err(io::Error::other)?.id(),
        )),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Returns the lock if every process that its reason names is known to be dead.
fn dead_lock(
    context: &Context<'_>,
    tree: &Worktree,
    listed: &Listed,
) -> io::Result<Option<DeadLock>> {
    let host = rustix::system::uname();
    let reason = tree.locked.as_deref().unwrap_or_default();
    let pids = holders(reason, &host.nodename().to_string_lossy());
    let Some(&pid) = pids.last() else {
        return Ok(None);
    };
    let Some(stat) = listed.stat("locked")? else {
        return Ok(None);
    };
    let processes = &context.around.processes;
    let is_dead = |pid: &u32| processes.is_dead(context.place, *pid, context.stop) == Some(true);
    Ok(pids.iter().all(is_dead).then(|| DeadLock {
        pid,
        since: written(&stat),
    }))
}

fn in_progress(
    context: &Context<'_>,
    tree: &Worktree,
    listed: &Listed,
) -> io::Result<Vec<&'static str>> {
    let mut under_way: Vec<_> = IN_PROGRESS
        .iter()
        .filter(|(name, _)| listed.holds(name))
        .map(|(_, what)| *what)
        .collect();
    let of_clones = CLONE_LOCKS.iter().filter(|_| context.clone.is_some());
    for name in LOCKS.iter().chain(of_clones).copied() {
        // A stale one was left by a crashed git: it is cleared in the same run.
        let Some(stat) = listed.stat(name)? else {
            continue;
        };
        let age = context.clock.signed_duration_since(written(&stat));
        let kind = if name == INDEX_LOCK {
            let lock = tree.admin.join(name)?;
            context
                .around
                .processes
                .index_lock(&lock, &tree.path, context.stop)
        } else {
            LeftoverKind::Lock
        };
        if !(context.is_stale)(kind, age) {
            under_way.push(name);
        }
    }
    Ok(under_way)
}

/// A worktree whose registration was read.
struct Registered<'a> {
    context: &'a Context<'a>,
    /// The listing of its admin directory.
    listed: &'a Listed,
    /// Where the tree should be.
    place: VolumePath,
    head: Option<Oid>,
}

fn state(context: &Context<'_>, tree: &mut Worktree, listed: &Listed) -> io::Result<State> {
    let place = match place_on_volume(context, tree) {
        Ok(place) => place,
        Err(why) => return Ok(State::Unknown(why)),
    };
    let registered = Registered {
        context,
        listed,
        place,
        head: head_of(tree)?,
    };
    let place = &registered.place;
    let Some(stat) = found(openat::stat(place))? else {
        return registered.missing(tree);
    };
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Ok(State::Unknown(
            "its place is not a directory; move that away, then run `git worktree repair`"
                .to_owned(),
        ));
    }
    if context.clone.is_none()
        && let Some(why) = not_ours(place, &tree.admin)?
    {
        return Ok(State::Unknown(why));
    }
    if !is_settled(context, tree) {
        tree.in_use = context.around.processes.at_work(place, context.stop);
        if tree.in_use.is_none() {
            return registered.look(tree);
        }
    }
    if !context.explains(tree) {
        return Ok(State::NotInspected);
    }
    // Whatever its contents are, the tree stays.
    Ok(registered.look(tree).unwrap_or(State::NotInspected))
}

/// Returns the state of a tree that could not be inspected whole. One that stays anyway stays for
/// that reason.
fn not_looked(context: &Context<'_>, tree: &Worktree, error: &io::Error) -> State {
    if is_settled(context, tree) || tree.in_use.is_some() {
        State::NotInspected
    } else {
        unknown("look", &tree.path, error)
    }
}

/// Returns where the tree should be, or why it may not be there.
fn place_on_volume(context: &Context<'_>, tree: &Worktree) -> Result<VolumePath, String> {
    let place = VolumePath::new(context.place.root(), &tree.path).map_err(|_| {
        format!(
            "it stands at `{}`, outside the volume; `git worktree move` brings it back",
            tree.path.display()
        )
    })?;
    match context.around.in_the_way(&place, context.place) {
        Some(other) => Err(format!(
            "it stands at `{place}`, and `{other}` is the config's for something else; `git worktree move` it elsewhere"
        )),
        None => Ok(place),
    }
}

/// Returns whether the admin directory alone shows that the tree stays.
fn is_settled(context: &Context<'_>, tree: &Worktree) -> bool {
    (tree.locked.is_some() && tree.dead_lock.is_none())
        || !tree.in_progress.is_empty()
        || tree.active > context.look_before
}

/// Returns whether the `.git` file of a tree that was moved from `stood` to `stands` points back to
/// this admin directory, read from its old place.
///
/// # Errors
/// It can't be read.
pub fn leads_back(stands: &VolumePath, stood: &VolumePath, admin: &VolumePath) -> io::Result<bool> {
    let text = line_of(stands, ".git")?.unwrap_or_default();
    Ok(text
        .strip_prefix("gitdir: ")
        .is_some_and(|back| from(&stood.path(), back) == Some(admin.path())))
}

impl Registered<'_> {
    /// Inspects the tree's contents.
    fn look(self, tree: &mut Worktree) -> io::Result<State> {
        let context = self.context;
        tree.worked_in = tree.worked_in || moves::worked_on_branch(tree, context.stop)?;
        let unreached = self.unreached(tree)?;
        let stashed = tree
            .branch
            .as_ref()
            .or(tree.head.as_ref())
            .is_some_and(|on| context.stashed.contains(on));
        let unsaved = stashed || !unreached.is_empty();
        let (mut contents, dirty_active) = contents(&self, tree, unsaved)?;
        contents.landed = self
            .head
            .map_or(Ok(None), |head| context.upstream.landed(context.repo, head))?;
        contents.no_default_branch = context.upstream.is_none();
        (contents.unreached, contents.stashed) = (unreached, stashed);
        look_into_git_dir(context, &tree.admin, self.listed, &mut contents)?;
        contents.place = Some(self.place);
        note(tree, dirty_active);
        Ok(State::Inspected(Box::new(contents)))
    }

    /// Returns the state of a missing tree. ENOENT alone proves little on NFS: the nearest
    /// directory above must be readable, and must not list it.
    fn missing(&self, tree: &Worktree) -> io::Result<State> {
        let mut below = self.place.relative();
        while let Some(above) = below.parent() {
            let place = self.context.place;
            let directory = if above.as_os_str().is_empty() {
                openat::root(place.root())
            } else {
                openat::dir(&VolumePath::new(place.root(), above)?)
            };
            match found(directory)? {
                None => below = above,
                Some(directory) => {
                    let (mut is_empty, mut is_listed) = (true, false);
                    // Entry by entry, because anybody may fill it.
                    for entry in rustix::fs::Dir::new(directory)? {
                        let entry = entry?;
                        self.context.stop.go_on()?;
                        let name = OsStr::from_bytes(entry.file_name().to_bytes());
                        is_empty &= openat::is_dots(entry.file_name());
                        is_listed |= Some(name) == below.file_name();
                    }
                    return if is_listed {
                        Ok(State::Unknown(
                            "its directory lists it, and still it can't be found: look after the file system, the next run tries again"
                                .to_owned(),
                        ))
                    } else if is_empty && below != self.place.relative() {
                        // Not only the tree is gone but also its parent, and nothing else is left:
                        // this is what a mount point looks like if nothing is mounted.
                        Ok(State::Unknown(format!(
                            "`{}` is empty: is something not mounted there?",
                            above.display()
                        )))
                    } else {
                        self.gone(tree)
                    };
                }
            }
        }
        Err(io::Error::other("not even the volume's root can be read"))
    }

    /// Returns the state of a tree that is gone: what would be lost with its registration.
    fn gone(&self, tree: &Worktree) -> io::Result<State> {
        let context = self.context;
        if let Some(modules) = nested::held(&tree.admin, self.listed, context.stop)? {
            return Ok(State::Unknown(format!(
                "it is gone from the disk, but {modules}; look there for commits of theirs, then remove the registration by hand"
            )));
        }
        let trashed = context.around.trashed.contains(&self.place);
        let unreached = self.unreached(tree)?;
        // A tree that a run moved to the trash was rescued with its index.
        let known = Known::of(context.stop, context.objects, context.repo, tree)?;
        let staged = (!trashed && known.holds_staged_work())
            || !known.registration(&mut context.stop.hold())?.is_empty();
        if known.unholdable_index().is_some() && !trashed && (staged || !unreached.is_empty()) {
            return Ok(State::Unknown(format!(
                "it is gone from the disk, and its index, which stages work, is split in two, which no rescue holds; \
                 `git --git-dir='{}' --work-tree=. update-index --no-split-index` makes it one",
                tree.admin.path().display()
            )));
        }
        Ok(State::Missing {
            trashed,
            unreached,
            staged,
        })
    }

    fn unreached(&self, tree: &Worktree) -> io::Result<Vec<String>> {
        let tips = reach::Tips {
            admin: &tree.admin,
            listed: self.listed,
            branch: tree.branch.as_deref(),
            head: self.head,
        };
        let context = self.context;
        if let Some(clone) = context.clone {
            return clone.unreached(context.repo, self.head);
        }
        reach::unreached(context.repo, &tips, context.kept, context.stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_a_path_to_a_git_file_is_a_tree() {
        let admin =
            VolumePath::new(&Path::new("/data").into(), Path::new("r/.git/worktrees/a")).unwrap();
        assert_eq!(
            stands_at(&admin, Some("/data/w/a/.git".into())).unwrap(),
            Path::new("/data/w/a")
        );
        // As git writes it with worktree.useRelativePaths.
        assert_eq!(
            stands_at(&admin, Some("../../../../w/a/.git".into())).unwrap(),
            Path::new("/data/w/a")
        );
        for bad in [
            "",
            "/",
            "/data/w/a",
            "/data/w/a/.git/x",
            "../../../../../../../.git",
            "../w",
        ] {
            assert!(stands_at(&admin, Some(bad.into())).is_err(), "{bad}");
        }
    }
}
