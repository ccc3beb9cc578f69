//! The contents of a tree: its files compared with HEAD and the index, and the time of the newest
//! work in it.

use super::moment;
use crate::facts::rescue::Own;
use crate::facts::worktree::{Contents, State, Worktree};
use crate::fs::openat::Listed;
use crate::fs::volume_path::VolumePath;
use crate::survey::context::Context;
use crate::survey::known::Known;
use crate::survey::tree::Listing;
use chrono::{DateTime, Utc};
use git2::Oid;
use std::io;

/// Dirty files that a row names.
const NAMED: usize = 5;

/// Compares HEAD, index and files, and finds when the newest dirty file was written. `unsaved` is
/// whether a rescue is needed anyway.
pub(super) fn contents(
    context: &Context<'_>,
    tree: &Worktree,
    place: &VolumePath,
    head: Option<Oid>,
    (unsaved, listed): (bool, &Listed),
) -> io::Result<(Contents, DateTime<Utc>)> {
    let known = Known::of(context.stop, context.objects, context.repo, tree, head)?;
    let listing = known.list_outside(place, listed)?;
    let mut contents = Contents::default();
    let newest = compare(context, &known, place, &listing, unsaved, &mut contents)?;
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

/// Inspects all of a tree whose time has come: somebody's files in regenerable directories count,
/// too.
pub(super) fn look_whole(context: &Context<'_>, tree: &mut Worktree) -> io::Result<()> {
    let head = tree
        .head
        .as_deref()
        .map(Oid::from_str)
        .transpose()
        .map_err(io::Error::other)?;
    let known = Known::of(context.stop, context.objects, context.repo, tree, head)?;
    let State::Looked(contents) = &mut tree.state else {
        return Ok(());
    };
    let Some(place) = contents.place.clone() else {
        return Ok(());
    };
    contents.blockers.clear();
    let unsaved = contents.stashed || !contents.unreached.is_empty();
    let newest = compare(
        context,
        &known,
        &place,
        &known.list(&place)?,
        unsaved,
        contents,
    )?;
    tree.active = tree.active.max(newest);
    Ok(())
}

/// Notes in `contents` what of a listing is work, and what can't be rescued.
fn compare(
    context: &Context<'_>,
    known: &Known,
    place: &VolumePath,
    listing: &Listing,
    unsaved: bool,
    contents: &mut Contents,
) -> io::Result<DateTime<Utc>> {
    let mut held = context.stop.hold();
    let mut dirty = known.dirty(context.repo, place, listing, &mut held)?;
    let newest = dirty
        .iter()
        .filter_map(|(path, _)| listing.files.get(path))
        .chain(listing.registration.values());
    let newest = newest.map(|stamp| stamp.mtime).max();
    // An unpacked or moved file may keep its old write time; only the kernel records when it came
    // here. That change time also moves when a file is linked, chmoded or restored, which only
    // makes the tree stay longer. treewarden itself never moves it.
    let came = listing
        .files
        .values()
        .map(|stamp| stamp.ctime)
        .max()
        .filter(|_| !context.around.touched);
    let newest = newest.max(came);
    contents.rescue = if unsaved || !dirty.is_empty() {
        known.own(context.repo, place, listing, &dirty)?
    } else {
        Own::default()
    };
    contents.unreadable.clone_from(&listing.unreadable);
    // A time out of range hides every other file's: then nobody knows how idle the tree is.
    let newest = newest.map_or(DateTime::UNIX_EPOCH, |(seconds, nanos)| {
        moment(seconds, nanos)
    });
    dirty.dedup_by(|a, b| a.0 == b.0);
    contents.blockers = known.blockers(listing);
    contents.dirty = dirty
        .iter()
        .take(NAMED)
        .map(|(path, what)| format!("{} {what}", path.display()))
        .collect();
    contents.dirty_count = dirty.len();
    Ok(newest)
}
