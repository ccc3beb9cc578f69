//! `treewarden init --discover`: looks for repos, worktrees, clones and caches below a directory,
//! and makes a config of them.
//!
//! Looking changes nothing. It asks the disk for directories' names alone, and for the sizes of
//! what it found only after that, for half a minute at most.

use super::{InitError, caches, go_on, pool, prove_alone, repos, text};
use crate::config::{self, policy};
pub use crate::ecosystems::usual::Surroundings;
use crate::facts::discovered::{Discovered, FoundCache, FoundRepo, Kind, LeftOut};
use crate::fs::humanize::plural;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::state::volume::{self, Sentinel, VolumeError};
use crate::survey::discover::{Standing, standing};
use crate::survey::size;
use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Measuring takes as long as there are files, and the first report should come within a minute.
const MEASURING: Duration = Duration::from_secs(30);
/// Deleted files, which may be repos.
const TRASH: &str = ".local/share/Trash";
/// The place of a worktree that is in no runner's own.
const ELSEWHERE: &str = "elsewhere";
/// More of the same in one directory are one line.
const SAME: usize = 3;

/// What to look through, and how.
pub struct Request<'a> {
    /// The volume that is to be.
    pub volume: &'a policy::Volume,
    /// Where tools keep their caches.
    pub surroundings: Surroundings<'a>,
    /// When to stop.
    pub stop: &'a Stop,
    /// Shows how far it is. Its message is the phase.
    pub bar: &'a ProgressBar,
}

/// Looks through the volume's root.
///
/// # Errors
/// [`InitError`]; nothing was changed.
pub fn discover(request: &Request<'_>) -> Result<Discovered, InitError> {
    let Request {
        volume, stop, bar, ..
    } = *request;
    config::parse("the config", &text::draft(&volume.state, &[]))?;
    volume::prove_scratch(&volume.root)?;
    match volume::prove_unprepared(volume) {
        // Another config for the same volume.
        Err(VolumeError::Prepared(_)) => drop(volume::prove(volume)?),
        answer => answer?,
    }
    pool()?.install(|| {
        let root = &volume.root;
        let (caches, no_caches) = caches::caches(root, &request.surroundings);
        bar.set_message("looking for repos");
        let found = look(volume, &caches, stop, bar)?;
        go_on(stop)?;
        prove_alone(volume, &found.states)?;
        bar.set_message("reading repos");
        let mut repos = repos::repos(root, &volume.state, &found, stop)?;
        let mut discovered = Discovered {
            root: root.clone(),
            is_own: root.starts_with(request.surroundings.home),
            directories: found.directories,
            presets: runners(&mut repos.repos),
            repos: repos.repos,
            clones: repos.clones,
            caches,
            left_out: repos.left_out,
            is_measured: true,
        };
        discovered.left_out.extend(no_caches);
        discovered.left_out.extend(unseen(&found));
        part_caches(&mut discovered);
        measure(&mut discovered, &stop.at_most(MEASURING), bar);
        go_on(stop)?;
        sort(&mut discovered);
        prove_config(&mut discovered, &volume.state)?;
        Ok(discovered)
    })
}

/// Returns the config of what was found.
pub fn config(found: &Discovered, state: &VolumePath, now: DateTime<Utc>) -> String {
    text::config(found, state, now)
}

/// Prepares the volume, unless it is.
///
/// # Errors
/// [`VolumeError`].
pub fn prepare(volume: &policy::Volume, now: DateTime<Utc>) -> Result<Sentinel, VolumeError> {
    match super::prepare(volume, now) {
        Err(VolumeError::Prepared(_)) => volume::prove(volume),
        answer => answer,
    }
}

fn look(
    volume: &policy::Volume,
    caches: &[FoundCache],
    stop: &Stop,
    bar: &ProgressBar,
) -> Result<Standing, InitError> {
    let root: &Arc<Path> = &volume.root;
    let trash = VolumePath::new(root, Path::new(TRASH));
    let places = caches.iter().map(|cache| &cache.place);
    let skip: Vec<&VolumePath> = places.chain([&volume.state]).chain(&trash).collect();
    standing(root, &skip, stop, &|| bar.inc(1)).map_err(|cause| InitError::Look {
        root: root.to_path_buf(),
        cause,
    })
}

/// Counts each repo's worktrees by runner, and returns the presets of those runners that have a
/// place of their own here.
fn runners(repos: &mut [FoundRepo]) -> Vec<&'static str> {
    let mut presets = Vec::new();
    for repo in repos {
        let places = config::own_places(&repo.place);
        for tree in &repo.trees.places {
            let runner = places
                .iter()
                .find(|(_, place)| tree.relative().starts_with(place));
            let preset = runner.map_or(ELSEWHERE, |(preset, _)| *preset);
            let count = repo.trees.by_runner.entry(preset).or_default();
            *count = count.saturating_add(1);
        }
        let there = places.into_iter().filter(|(_, place)| {
            let place = repo.place.root().join(place);
            place.symlink_metadata().is_ok_and(|place| place.is_dir())
        });
        presets.extend(there.map(|(preset, _)| preset));
    }
    presets.sort_unstable();
    presets.dedup();
    presets
}

/// Returns what the walk didn't enter.
fn unseen(found: &Standing) -> Vec<LeftOut> {
    let left_out = |path: &Path, why: String| LeftOut {
        what: Kind::Other,
        path: path.display().to_string(),
        why,
    };
    let mounts = found.mounts.iter().map(|path| {
        let why = "another file system was not entered; it can be a volume of its own";
        left_out(path, why.to_owned())
    });
    let unreadable = found
        .unreadable
        .iter()
        .map(|(path, why)| left_out(path, format!("failed to list it: {why}")));
    mounts.chain(unreadable).collect()
}

/// Leaves out caches that overlap a repo or another cache.
fn part_caches(found: &mut Discovered) {
    let mut parted: Vec<FoundCache> = Vec::new();
    for cache in std::mem::take(&mut found.caches) {
        let repos = found.repos.iter().map(|repo| &repo.place);
        let mut others = repos.chain(parted.iter().map(|cache| &cache.place));
        match others.find_map(|other| repos::overlap(&cache.place, other)) {
            Some(why) => found.left_out.push(no_cache(cache, why)),
            None => parted.push(cache),
        }
    }
    found.caches = parted;
}

fn no_cache(cache: FoundCache, why: String) -> LeftOut {
    LeftOut {
        what: Kind::Cache(cache.kind),
        path: cache.place.to_string(),
        why,
    }
}

/// Leaves out what the config's own parser refuses, so that what is written can be read.
fn prove_config(found: &mut Discovered, state: &VolumePath) -> Result<(), InitError> {
    while let Err(error) = config::parse("the config", &config(found, state, DateTime::UNIX_EPOCH))
    {
        if let Some((index, why)) = repos::blamed(&error, "repos") {
            let repo = found.repos.remove(index);
            found.left_out.push(repos::refused(&repo.place, why));
        } else if let Some((index, why)) = repos::blamed(&error, "caches")
            && index < found.caches.len()
        {
            let cache = found.caches.remove(index);
            found.left_out.push(no_cache(cache, why));
        } else {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Measures what was found, until it is time to stop.
fn measure(found: &mut Discovered, stop: &Stop, bar: &ProgressBar) {
    let size = |paths: &[VolumePath]| size::readable(paths, stop);
    let all = found.repos.len().saturating_add(found.caches.len());
    let mut number = 0_usize;
    let mut begin = |what: &str| {
        number = number.saturating_add(1);
        bar.set_message(format!("measuring {number} of {all}: {what}"));
    };
    for repo in &mut found.repos {
        begin(&repo.name);
        let is_inside = |tree: &VolumePath| tree.relative().starts_with(repo.place.relative());
        let (inside, apart): (Vec<_>, Vec<_>) =
            repo.trees.places.iter().cloned().partition(is_inside);
        repo.trees.size = size(&apart);
        repo.size = repo.trees.size;
        repo.size += size(std::slice::from_ref(&repo.place));
        repo.trees.size += size(&inside);
    }
    for clone in &mut found.clones {
        clone.size = size(std::slice::from_ref(&clone.place));
    }
    for cache in &mut found.caches {
        begin(cache.kind.name());
        cache.size = size(std::slice::from_ref(&cache.place));
    }
    found.is_measured = stop.reached().is_none();
}

/// Puts the biggest first, and what is left out for the same reason on one line.
fn sort(found: &mut Discovered) {
    found
        .repos
        .sort_by(|a, b| (b.size.bytes, &a.name).cmp(&(a.size.bytes, &b.name)));
    found
        .clones
        .sort_by(|a, b| (b.size.bytes, &a.place).cmp(&(a.size.bytes, &b.place)));
    found
        .caches
        .sort_by(|a, b| (b.size.bytes, &a.place).cmp(&(a.size.bytes, &b.place)));
    let mut alike: BTreeMap<(bool, String, String), Vec<LeftOut>> = BTreeMap::new();
    for out in std::mem::take(&mut found.left_out) {
        let above = Path::new(&out.path).parent().unwrap_or(Path::new(""));
        let is_repo = matches!(out.what, Kind::Repo(_));
        let key = (!is_repo, above.display().to_string(), out.why.clone());
        alike.entry(key).or_default().push(out);
    }
    for ((_, above, why), mut same) in alike {
        if same.len() <= SAME {
            same.sort_by(|a, b| a.path.cmp(&b.path));
            found.left_out.append(&mut same);
            continue;
        }
        let many = same.len() as u64;
        let is_repo = same.iter().all(|out| matches!(out.what, Kind::Repo(_)));
        found.left_out.push(LeftOut {
            what: if is_repo {
                Kind::Repos(many)
            } else {
                Kind::Other
            },
            path: Path::new(&above).join("*").display().to_string(),
            why: if is_repo {
                why
            } else {
                format!("{}: {why}", plural(many, "directory"))
            },
        });
    }
}
