//! What fills the volume, by parts, in one walk over all of it. Caches outside of it are measured
//! one by one.
//!
//! A repo's parts are its store, its checkout and its registered worktrees, wherever these are. No
//! repo is opened with git, because a busy, refused or broken one takes room as well.

use crate::config::policy::Policy;
use crate::ecosystems;
use crate::facts::cache::Size;
use crate::facts::worktree::MadeAgain;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::shadow::layout;
use crate::report::usage::{Part, Used};
use crate::run::reserved;
use crate::survey::context::VolumeContext;
use crate::survey::{regenerable, registry, size, worktree};
use rayon::prelude::*;
use rustix::fs::{Dir, FileType};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;

/// Entries of a tree that are looked at: somebody may have put millions there.
const LISTED: usize = 10_000;

/// The result of the walk.
#[derive(Debug, Default)]
pub struct Usage {
    /// Everything on the volume, and the caches outside of it, biggest first.
    pub used: Vec<Used>,
    /// The part of it that is in the trash: as much as emptying it would free.
    pub trash: Size,
    /// A line for each directory that could not be read, which counts as nothing.
    pub problems: Vec<String>,
}

/// Walks over everything on the volume.
pub fn usage(policy: &Policy, stop: &Stop) -> Usage {
    measure(policy, stop).unwrap_or_else(|error| {
        let problem = format!("failed to list `{}`: {error}", policy.volume.root.display());
        Usage {
            problems: vec![problem],
            ..Usage::default()
        }
    })
}

/// What a place is, and the name of its repo or cache.
type Owner = (Part, Option<String>);

fn measure(policy: &Policy, stop: &Stop) -> io::Result<Usage> {
    let mut known = known(policy, stop);
    let trash = policy.volume.state.join("trash")?;
    known.insert(trash.clone(), (Part::State, None));
    let outputs = outputs(policy, &known, stop);
    let places: Vec<VolumePath> = known.keys().chain(outputs.keys()).cloned().collect();
    let (parts, shared, mut problems) = size::parts(&policy.volume.root, &places, stop)?;
    let (mut parts, made) = take_outputs(parts, &outputs);
    let waiting = take_trash(&mut parts, &trash, &policy.volume.state);
    for cache in policy.caches.iter().filter(|it| it.outside.is_some()) {
        let Some(place) = &cache.place else { continue };
        let (part, unread) = size::part(place, stop);
        known.insert(place.clone(), (Part::Cache, Some(cache.name.clone())));
        parts.push(part);
        problems.extend(unread);
    }
    let shared = Used {
        what: Part::Shared,
        name: None,
        path: policy.volume.root.to_path_buf(),
        bytes: shared.bytes,
        inodes: shared.inodes,
        shared_bytes: 0,
        output_bytes: 0,
    };
    let mut used: Vec<_> = parts
        .into_iter()
        .map(|part| used(part, &known, &made))
        .chain([shared])
        .filter(|used| used.inodes > 0)
        .collect();
    used.sort_by(|a, b| (b.bytes, &a.path).cmp(&(a.bytes, &b.path)));
    Ok(Usage {
        used,
        trash: waiting,
        problems,
    })
}

/// Returns the directories right below each tree and checkout that tools make again, and what each
/// is in.
fn outputs(
    policy: &Policy,
    known: &HashMap<VolumePath, Owner>,
    stop: &Stop,
) -> HashMap<VolumePath, VolumePath> {
    let below = |(tree, (what, name)): (&VolumePath, &Owner)| {
        if !matches!(what, Part::Worktree | Part::Checkout) || stop.reached().is_some() {
            return None;
        }
        let mut repos = policy.repos.iter();
        let repo = repos.find(|repo| Some(&repo.name) == name.as_ref())?;
        let made = made_in(tree, &repo.worktrees.made_again)?;
        let made = made.into_iter().filter(|place| !known.contains_key(place));
        Some(made.map(|place| (place, tree.clone())).collect::<Vec<_>>())
    };
    let trees: Vec<_> = known.iter().collect();
    trees.into_par_iter().filter_map(below).flatten().collect()
}

/// Returns the directories right below a tree that tools make again; none if it can't be read.
fn made_in(tree: &VolumePath, made_again: &[MadeAgain]) -> Option<Vec<VolumePath>> {
    let directory = openat::dir(tree).ok()?;
    let is_made = |name: &str| {
        let parent = directory.as_fd();
        regenerable::recognise(parent, name.as_ref(), made_again)
            || ecosystems::output().any(|tool| (tool.made)(parent, name))
    };
    let entries = Dir::read_from(&directory).ok()?.take(LISTED).flatten();
    let made = entries.filter_map(|entry| {
        let name = entry.file_name().to_str().ok()?;
        let may_be =
            !openat::is_dots(entry.file_name()) && entry.file_type() != FileType::RegularFile;
        tree.join(name).ok().filter(|_| may_be && is_made(name))
    });
    Some(made.collect())
}

/// Adds what tools made to the trees that contain it. Returns how much that is of each.
fn take_outputs(
    parts: Vec<size::Part>,
    outputs: &HashMap<VolumePath, VolumePath>,
) -> (Vec<size::Part>, HashMap<VolumePath, u64>) {
    let (made, mut parts): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .partition(|part| outputs.contains_key(&part.place));
    let at: HashMap<VolumePath, usize> = (parts.iter().enumerate())
        .map(|(at, part)| (part.place.clone(), at))
        .collect();
    let mut bytes: HashMap<VolumePath, u64> = HashMap::new();
    for part in made {
        let tree = &outputs[&part.place];
        let Some(of) = at.get(tree).and_then(|at| parts.get_mut(*at)) else {
            continue;
        };
        of.size += part.size;
        of.shared_bytes = of.shared_bytes.saturating_add(part.shared_bytes);
        let sum = bytes.entry(tree.clone()).or_default();
        *sum = sum.saturating_add(part.size.bytes);
    }
    (parts, bytes)
}

/// Adds the trash to the state directory, which contains it. Returns what the trash contains.
fn take_trash(parts: &mut Vec<size::Part>, trash: &VolumePath, state: &VolumePath) -> Size {
    let Some(at) = parts.iter().position(|part| part.place == *trash) else {
        return Size::default();
    };
    let trash = parts.remove(at);
    if let Some(state) = parts.iter_mut().find(|part| part.place == *state) {
        state.size += trash.size;
        state.shared_bytes = state.shared_bytes.saturating_add(trash.shared_bytes);
    }
    but_for_itself(trash.size, &trash.place)
}

fn used(
    part: size::Part,
    known: &HashMap<VolumePath, Owner>,
    made: &HashMap<VolumePath, u64>,
) -> Used {
    let size::Part {
        place,
        size,
        shared_bytes,
    } = part;
    let (what, name) = known.get(&place).cloned().unwrap_or((Part::Other, None));
    Used {
        what,
        name,
        output_bytes: made.get(&place).copied().unwrap_or(0),
        path: place.path(),
        bytes: size.bytes,
        inodes: size.inodes,
        shared_bytes,
    }
}

/// Subtracts the trash directory itself, which stays when the trash is emptied.
fn but_for_itself(measured: Size, trash: &VolumePath) -> Size {
    let own = openat::stat(trash).map_or(0, |stat| size::of_one(&stat).bytes);
    Size {
        bytes: measured.bytes.saturating_sub(own),
        inodes: measured.inodes.saturating_sub(1),
    }
}

/// Returns the places that the config, the repos' registrations and their clones name. The config
/// wins, because agents write the others.
fn known(policy: &Policy, stop: &Stop) -> HashMap<VolumePath, Owner> {
    let mut known = HashMap::new();
    let around = VolumeContext {
        reserved: reserved(policy),
        ..VolumeContext::default()
    };
    for repo in &policy.repos {
        let Ok(layout) = layout::find(&repo.place, &repo.assigned) else {
            continue;
        };
        let trees = registry::admins(&layout.git_dir).unwrap_or_default();
        let trees = trees
            .iter()
            .filter_map(|admin| worktree::tree_of(admin).ok().flatten());
        let clones = around.clones(repo, stop).unwrap_or_default();
        let trees = trees.chain(clones);
        known.extend(trees.map(|tree| (tree, (Part::Worktree, Some(repo.name.clone())))));
    }
    for repo in &policy.repos {
        known.insert(
            repo.place.clone(),
            (Part::Checkout, Some(repo.name.clone())),
        );
        known.extend(
            layout::find(&repo.place, &repo.assigned)
                .ok()
                .map(|layout| (layout.git_dir, (Part::Store, Some(repo.name.clone())))),
        );
    }
    let inside = policy.caches.iter().filter(|it| it.outside.is_none());
    let caches = inside.filter_map(|cache| {
        Some((
            cache.place.clone()?,
            (Part::Cache, Some(cache.name.clone())),
        ))
    });
    known.extend(caches);
    known.insert(policy.volume.state.clone(), (Part::State, None));
    known
}
