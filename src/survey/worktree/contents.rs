//! The contents of a tree: its files compared with HEAD and the index, and the time of the newest
//! work in it.

use super::{Registered, Sign, moment, note};
use crate::facts::rescue::Own;
use crate::facts::worktree::{ActiveFrom, Contents, State, Worktree};
use crate::fs::humanize::natural_paths;
use crate::fs::openat::Listed;
use crate::fs::volume_path::VolumePath;
use crate::survey::context::Context;
use crate::survey::known::{Change, Known};
use crate::survey::nested;
use crate::survey::tree::Listing;
use chrono::DateTime;
use std::io;
use std::path::PathBuf;

/// Dirty files that are named.
const NAMED: usize = 20;

/// Compares HEAD, index and files, and finds when the newest dirty file was written. `unsaved` is
/// whether a rescue is needed anyway.
pub(super) fn contents(
    of: &Registered<'_>,
    tree: &Worktree,
    unsaved: bool,
) -> io::Result<(Contents, Sign)> {
    let (context, place) = (of.context, &of.place);
    let known = Known::of(context.stop, context.objects, context.repo, tree)?;
    let listing = known.list_outside(place, of.listed)?;
    let mut contents = Contents::default();
    let comparison = Comparison {
        context,
        known: &known,
        place,
        listing: &listing,
    };
    let newest = comparison.note(unsaved, &mut contents)?;
    contents.regenerable = listing
        .regenerable
        .iter()
        .map(|path| place.join(path))
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    (contents.lock_files, contents.unholdable_index) =
        (known.lock_files(&listing), known.unholdable_index());
    Ok((contents, newest))
}

/// Inspects the whole of a tree that is due: somebody's files in regenerable directories count,
/// too.
pub(super) fn look_whole(
    context: &Context<'_>,
    tree: &mut Worktree,
    listed: &Listed,
) -> io::Result<()> {
    let known = Known::of(context.stop, context.objects, context.repo, tree)?;
    let State::Inspected(contents) = &mut tree.state else {
        return Ok(());
    };
    let Some(place) = contents.place.clone() else {
        return Ok(());
    };
    let unsaved = contents.stashed || !contents.unreached.is_empty();
    let comparison = Comparison {
        context,
        known: &known,
        place: &place,
        listing: &known.list(&place)?,
    };
    let newest = comparison.note(unsaved, contents)?;
    look_into_git_dir(context, &tree.admin, listed, contents)?;
    note(tree, newest);
    Ok(())
}

/// Notes what else would be lost with the tree's admin directory, or with a clone's git dir.
pub(super) fn look_into_git_dir(
    context: &Context<'_>,
    admin: &VolumePath,
    listed: &Listed,
    contents: &mut Contents,
) -> io::Result<()> {
    let modules = nested::held(admin, listed, context.stop)?;
    contents.blockers.extend(modules);
    if let Some(clone) = context.clone {
        contents.blockers.extend(clone.blockers(context.repo)?);
        let copied = clone.size(context.repo, &contents.unreached)?;
        let Own { files, bytes } = &mut contents.rescue;
        *files = files.saturating_add(copied.files);
        *bytes = bytes.saturating_add(copied.bytes);
    }
    Ok(())
}

/// What git recorded for a tree, and its files, to be compared.
struct Comparison<'a> {
    context: &'a Context<'a>,
    known: &'a Known,
    place: &'a VolumePath,
    listing: &'a Listing,
}

impl Comparison<'_> {
    /// Notes in `contents` which files of the listing are work, and what can't be rescued. Returns
    /// when the newest of the work was written.
    fn note(&self, unsaved: bool, contents: &mut Contents) -> io::Result<Sign> {
        let Self {
            context,
            known,
            place,
            listing,
        } = *self;
        let mut held = context.stop.hold();
        let mut dirty = known.dirty(context.repo, place, listing, &mut held)?;
        let newest = self.newest(&dirty);
        contents.rescue = if unsaved || !dirty.is_empty() {
            known.own(context.repo, place, listing, &dirty)?
        } else {
            Own::default()
        };
        contents.unreadable.clone_from(&listing.unreadable);
        dirty.dedup_by(|a, b| a.0 == b.0);
        dirty.sort_by(|a, b| natural_paths(&a.0, &b.0));
        contents.blockers = known.blockers(listing);
        contents.dirty = dirty
            .iter()
            .take(NAMED)
            .map(|(path, what)| format!("{} {what}", path.display()))
            .collect();
        contents.dirty_count = dirty.len();
        Ok(newest)
    }

    /// Returns when the newest dirty file was written or any file arrived, whichever is later.
    fn newest(&self, dirty: &[(PathBuf, Change)]) -> Sign {
        let listing = self.listing;
        let newest = dirty
            .iter()
            .filter_map(|(path, _)| listing.files.get_key_value(path))
            .chain(&listing.registration);
        let newest = newest.max_by_key(|(_, stamp)| stamp.mtime);
        let newest = newest.map(|(path, stamp)| (stamp.mtime, ActiveFrom::Written(path.clone())));
        // A file that is unpacked from an archive or moved here may keep its old mtime; only its
        // ctime, which nobody can set, shows when it came. Linking, chmod and restoring move that
        // too, which only makes the tree stay longer; treewarden itself never does.
        let came = listing
            .files
            .iter()
            .max_by_key(|(_, stamp)| stamp.ctime)
            .filter(|_| !self.context.around.touched)
            .map(|(path, stamp)| (stamp.ctime, ActiveFrom::Arrived(path.clone())));
        // A time that is out of range outranks every other file's: then it is unknown how idle the
        // tree is.
        [came, newest]
            .into_iter()
            .flatten()
            .max_by_key(|(at, _)| *at)
            .map_or(
                (DateTime::UNIX_EPOCH, ActiveFrom::Nothing),
                |((seconds, nanos), from)| (moment(seconds, nanos), from),
            )
    }
}
