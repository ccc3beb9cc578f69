//! The rescue of a loose clone: its objects are first copied into the enrolled checkout's store.
//!
//! No git that obeys the clone's config takes part: objects are read and written as data, and
//! libgit2 computes each id anew. After the rescue is made, the checkout's store alone must have
//! every one of them.

use super::{RescueError, Rescued, Unsaved, failed, make};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::Shadow;
use crate::survey::clones::{Keeper, Opened};
use git2::{Odb, OdbLookupFlags, Oid, Repository};
use std::fmt::Write;
use std::io;

/// Rescues the unsaved work of a clone.
pub(super) fn of_clone(
    shadow: &Shadow,
    unsaved: &Unsaved<'_>,
    stop: &Stop,
) -> Result<Rescued, RescueError> {
    let at = failed(&unsaved.worktree.path);
    let place = unsaved
        .place
        .ok_or_else(|| at(io::Error::other("it is gone")))?;
    let keeper = Keeper::of(shadow, stop).map_err(&at)?;
    let opened = Opened::of(place, &keeper, stop)?;
    let repo = opened.open()?;
    let wanted = wanted(&opened, &repo, unsaved).map_err(&at)?;
    let refs = refs(&opened, &repo).map_err(&at)?;
    let stores = opened.stores();
    let rescued = shadow.confined(|| {
        copy(shadow, &stores, &wanted, stop).map_err(&at)?;
        make(shadow, unsaved, &refs, stop)
    })??;
    prove(shadow, &wanted, stop).map_err(&at)?;
    if opened
        .objects(&repo, &commits(unsaved)?)
        .map_err(&at)?
        .is_empty()
    {
        Ok(rescued)
    } else {
        Err(RescueError::Differs(
            "the checkout lost objects meanwhile".to_owned(),
        ))
    }
}

fn commits(unsaved: &Unsaved<'_>) -> Result<Vec<Oid>, git2::Error> {
    unsaved
        .unreached
        .iter()
        .map(|id| Oid::from_str(id))
        .collect()
}

/// Returns the objects to copy: those of the commits, and those that only the index names.
fn wanted(opened: &Opened<'_>, repo: &Repository, unsaved: &Unsaved<'_>) -> io::Result<Vec<Oid>> {
    let mut wanted = opened.objects(repo, &commits(unsaved).map_err(io::Error::other)?)?;
    wanted.extend(opened.staged(repo)?);
    wanted.sort_unstable();
    wanted.dedup();
    let odb = repo.odb().map_err(io::Error::other)?;
    let mut bytes = 0_u64;
    for &id in &wanted {
        let (size, _) = odb.read_header(id).map_err(io::Error::other)?;
        bytes = bytes.saturating_add(size as u64);
    }
    if bytes > unsaved.most {
        let (bytes, most) = (bytes, unsaved.most);
        return Err(io::Error::other(RescueError::TooLarge { bytes, most }));
    }
    Ok(wanted)
}

/// Returns the refs that only the clone has, a line each: a rescue keeps what they name, and this
/// keeps their names.
fn refs(opened: &Opened<'_>, repo: &Repository) -> io::Result<String> {
    let mut text = String::new();
    for own in opened.refs(repo)? {
        writeln!(text, "{} {}", own.id, own.name).map_err(io::Error::other)?;
    }
    Ok(text)
}

fn copy(shadow: &Shadow, stores: &[VolumePath], wanted: &[Oid], stop: &Stop) -> io::Result<()> {
    let theirs = Odb::new().map_err(io::Error::other)?;
    for store in stores {
        theirs
            .add_disk_alternate(&store.path().to_string_lossy())
            .map_err(io::Error::other)?;
    }
    let own = shadow.open().map_err(io::Error::other)?;
    let own = own.odb().map_err(io::Error::other)?;
    for &id in wanted {
        stop.go_on()?;
        let (size, _) = theirs.read_header(id).map_err(io::Error::other)?;
        let mut held = stop.hold();
        held.more(size.saturating_mul(2))?;
        let object = theirs.read(id).map_err(io::Error::other)?;
        let written = own
            .write(object.kind(), object.data())
            .map_err(io::Error::other)?;
        if written != id {
            return Err(io::Error::other(format!("{id} has another content")));
        }
    }
    Ok(())
}

/// Reads every object back from the checkout's store alone.
fn prove(shadow: &Shadow, wanted: &[Oid], stop: &Stop) -> io::Result<()> {
    let repo = shadow.open().map_err(io::Error::other)?;
    let odb = repo.odb().map_err(io::Error::other)?;
    for &id in wanted {
        stop.go_on()?;
        let lost = || io::Error::other(format!("{id} reads differently"));
        if !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH) {
            return Err(lost());
        }
        let mut held = stop.hold();
        held.more(
            odb.read_header(id)
                .map_err(io::Error::other)?
                .0
                .saturating_mul(2),
        )?;
        let object = odb.read(id).map_err(io::Error::other)?;
        let hash = Oid::hash_object(object.kind(), object.data()).map_err(io::Error::other)?;
        if hash != id {
            return Err(lost());
        }
    }
    Ok(())
}
