//! The repos that can be maintained, and why the others can't.
//!
//! Whether one can is what [`check`](crate::commands::check::sound) says, of the config that would
//! name it: what that learns to accept is found here, too.

use super::names::{Names, name_of, same_for_all};
use super::{InitError, go_on, text};
use crate::commands::check;
use crate::config::policy::{Address, Policy};
use crate::config::{self, ConfigError};
use crate::facts::cache::Size;
use crate::facts::discovered::{FoundRepo, FoundTrees, Kind, LeftOut, LooseClone};
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::survey::discover::{Leads, Standing};
use crate::survey::{registry, worktree};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a repo in a directory with a hidden name is left out.
const HIDDEN: &str = "it has no worktree and is in a hidden directory, so it may be a tool's own";

/// What became of the repos.
#[derive(Default)]
pub(super) struct Repos {
    pub(super) repos: Vec<FoundRepo>,
    pub(super) clones: Vec<LooseClone>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A repo that may be maintained.
struct Candidate {
    /// Its git dir.
    git_dir: PathBuf,
    /// The places that it may be enrolled by, best first.
    places: Vec<VolumePath>,
    trees: FoundTrees,
}

/// A repo that can be maintained.
struct Sound<'a> {
    place: VolumePath,
    trees: &'a FoundTrees,
    /// Its origin.
    url: Option<String>,
}

/// The answers about places: the origin of a repo that can be maintained, or why it can't.
type Answers = HashMap<VolumePath, Result<Option<String>, String>>;

/// Finds the repos below `root`.
///
/// # Errors
/// [`InitError`].
pub(super) fn repos(
    root: &Arc<Path>,
    state: &VolumePath,
    standing: &Standing,
    stop: &Stop,
) -> Result<Repos, InitError> {
    let mut left_out = Vec::new();
    let mut candidates = candidates(root, standing, &mut left_out);
    lost_trees(root, standing, &candidates, &mut left_out);
    candidates.retain(|candidate| {
        let is_mirror = candidate.is_bare() && candidate.trees.is_empty();
        if is_mirror {
            let why = "it is bare, and has no worktree".to_owned();
            left_out.push(refused(&candidate.places[0], why));
        }
        !is_mirror
    });
    // Of two that overlap, the one with worktrees stays, or else the outer one.
    candidates.sort_by_cached_key(|candidate| {
        let place = candidate.places[0].relative();
        (
            candidate.trees.is_empty(),
            place.components().count(),
            place.to_owned(),
        )
    });
    let mut answers = Answers::new();
    loop {
        let (chosen, refusals) = choose(&candidates, &answers);
        let asked: Vec<&VolumePath> = chosen.iter().map(|(_, place)| *place).collect();
        if asked.iter().all(|place| answers.contains_key(place)) {
            left_out.extend(refusals);
            let sound = chosen.into_iter().map(|(candidate, place)| Sound {
                url: answers[place]
                    .as_ref()
                    .ok()
                    .and_then(|origin| Some(Address::new(origin.as_ref()?).ok()?.plain().into())),
                place: place.clone(),
                trees: &candidate.trees,
            });
            return Ok(grouped(sound.collect(), left_out));
        }
        let new = judge(state, &asked, &answers, stop)?;
        go_on(stop)?;
        answers.extend(new);
    }
}

/// Returns a candidate for each git dir that was found.
fn candidates(
    root: &Arc<Path>,
    standing: &Standing,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Candidate> {
    let mut places: BTreeMap<PathBuf, Vec<VolumePath>> = BTreeMap::new();
    let mut add = |git_dir: PathBuf, path: &Path| match VolumePath::new(root, path) {
        Ok(place) => places.entry(git_dir).or_default().push(place),
        Err(_) => left_out.push(LeftOut {
            what: Kind::Other,
            path: root.display().to_string(),
            why: "the directory is itself a repo: enroll it from one above it".to_owned(),
        }),
    };
    for path in &standing.checkouts {
        add(root.join(path).join(".git"), path);
    }
    let mut others = Vec::new();
    for (path, leads) in &standing.pointers {
        match leads {
            Leads::GitDir(git_dir) if git_dir.starts_with(root) && git_dir.is_dir() => {
                add(git_dir.clone(), path);
            }
            Leads::GitDir(git_dir) => others.push((path, lost(root, git_dir))),
            Leads::Nowhere(why) => others.push((path, format!("failed to read its `.git`: {why}"))),
            Leads::Registration { .. } | Leads::Submodule => {}
        }
    }
    for path in &standing.bare {
        let around = path.parent().filter(|around| {
            path.file_name().is_some_and(|name| name == ".bare") && *around != Path::new("")
        });
        for place in around.into_iter().chain([path.as_path()]) {
            add(root.join(path), place);
        }
    }
    left_out.extend(others.into_iter().map(|(path, why)| other(path, why)));
    let candidate = |(git_dir, mut places): (PathBuf, Vec<VolumePath>)| {
        let mut seen = HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        Candidate {
            trees: trees(root, &git_dir),
            git_dir,
            places,
        }
    };
    places.into_par_iter().map(candidate).collect()
}

impl Candidate {
    fn is_bare(&self) -> bool {
        self.places.iter().all(|place| place.path() == self.git_dir)
    }
}

/// Returns the worktrees that a git dir has registered.
fn trees(root: &Arc<Path>, git_dir: &Path) -> FoundTrees {
    let mut trees = FoundTrees::default();
    let admins = VolumePath::new(root, git_dir)
        .ok()
        .and_then(|git_dir| registry::admins(&git_dir).ok())
        .unwrap_or_default();
    for admin in admins {
        if let Ok(Some(place)) = worktree::tree_of(&admin) {
            trees.places.push(place);
        } else {
            // Outside, missing, or another tree is there.
            let is_outside =
                worktree::place(&admin).is_ok_and(|path| !path.starts_with(root) && path.is_dir());
            trees.outside = trees.outside.saturating_add(u64::from(is_outside));
        }
    }
    trees
}

/// Notes worktrees that no repo below `root` has registered.
fn lost_trees(
    root: &Arc<Path>,
    standing: &Standing,
    candidates: &[Candidate],
    left_out: &mut Vec<LeftOut>,
) {
    let registered: HashSet<&Path> = candidates
        .iter()
        .flat_map(|candidate| &candidate.trees.places)
        .map(VolumePath::relative)
        .collect();
    let known: HashSet<&Path> = candidates
        .iter()
        .map(|candidate| candidate.git_dir.as_path())
        .collect();
    for (path, leads) in &standing.pointers {
        let Leads::Registration { git_dir, .. } = leads else {
            continue;
        };
        if registered.contains(path.as_path()) {
            continue;
        }
        let why = if known.contains(git_dir.as_path()) {
            format!(
                "`{}` has no registration of this worktree",
                git_dir.display()
            )
        } else {
            lost(root, git_dir)
        };
        left_out.push(other(path, why));
    }
}

/// Returns what is wrong with a git dir that the walk didn't find.
fn lost(root: &Path, git_dir: &Path) -> String {
    let git_dir = git_dir.display();
    match git_dir.to_string() {
        path if Path::new(&path).is_dir() => {
            format!(
                "its git dir `{git_dir}` is not among the repos below `{}`",
                root.display()
            )
        }
        _ => format!("its git dir `{git_dir}` is gone"),
    }
}

/// Returns the place to ask about next for each candidate, without those that overlap, and what is
/// left out.
fn choose<'a>(
    candidates: &'a [Candidate],
    answers: &Answers,
) -> (Vec<(&'a Candidate, &'a VolumePath)>, Vec<LeftOut>) {
    let (mut chosen, mut left_out) = (Vec::<(&Candidate, &VolumePath)>::new(), Vec::new());
    for candidate in candidates {
        let refusal = |place: &VolumePath| answers.get(place)?.as_ref().err();
        let first = &candidate.places[0];
        let open = candidate
            .places
            .iter()
            .find(|place| refusal(place).is_none());
        let Some(place) = open else {
            let why = refusal(first).cloned().unwrap_or_default();
            left_out.push(refused(first, why));
            continue;
        };
        let mut others = chosen.iter().map(|(_, other)| *other);
        match others.find_map(|other| overlap(place, other)) {
            Some(why) => left_out.push(refused(place, why)),
            None => chosen.push((candidate, place)),
        }
    }
    (chosen, left_out)
}

/// Returns how a place overlaps one that is in the config; none if it doesn't.
pub(super) fn overlap(place: &VolumePath, other: &VolumePath) -> Option<String> {
    let [own, theirs] = [place, other].map(VolumePath::relative);
    if own.starts_with(theirs) {
        Some(format!("it lies inside `{other}`, which is maintained"))
    } else {
        theirs
            .starts_with(own)
            .then(|| format!("it contains `{other}`, which is maintained"))
    }
}

/// Asks about those places that there is no answer about yet.
fn judge(
    state: &VolumePath,
    asked: &[&VolumePath],
    answers: &Answers,
    stop: &Stop,
) -> Result<Answers, InitError> {
    let mut new = Answers::new();
    let mut drafted: Vec<&VolumePath> = Vec::new();
    for place in asked {
        if place.relative().to_str().is_some() {
            drafted.push(place);
        } else {
            new.insert((*place).clone(), Err("its path is no UTF-8".to_owned()));
        }
    }
    let policy: Policy = loop {
        match config::parse("the config", &text::draft(state, &drafted)) {
            Ok(policy) => break policy,
            Err(error) => {
                let (index, why) = blamed(&error, "repos").ok_or(error)?;
                new.insert(drafted.remove(index).clone(), Err(why));
            }
        }
    };
    let unknown = |place: &VolumePath| !answers.contains_key(place);
    let ask = |repo: &crate::config::policy::Repo| {
        let answer = check::sound(repo, stop)
            .map(|shadow| shadow.setting("remote.origin.url", stop).ok().flatten())
            .map_err(|refusal| refusal.to_string());
        (repo.place.clone(), answer)
    };
    let repos = policy.repos.par_iter();
    new.par_extend(repos.filter(|repo| unknown(&repo.place)).map(ask));
    Ok(new)
}

/// Returns the item of a list that the first problem of a config is about, and the problem; none if
/// it is about something else.
pub(super) fn blamed(error: &ConfigError, list: &str) -> Option<(usize, String)> {
    let ConfigError::Refused { problems, .. } = error else {
        return None;
    };
    problems.iter().find_map(|problem| {
        let rest = problem.key.strip_prefix(list)?.strip_prefix('[')?;
        let index = rest.split(']').next()?.parse().ok()?;
        Some((index, problem.what.clone()))
    })
}

/// Names the repos, and sets apart those that are only other clones of an origin.
fn grouped(sound: Vec<Sound<'_>>, left_out: Vec<LeftOut>) -> Repos {
    let mut groups: BTreeMap<String, Vec<Sound<'_>>> = BTreeMap::new();
    for repo in sound {
        let alone = || repo.place.to_string();
        let origin = repo.url.as_deref().map_or_else(alone, same_for_all);
        groups.entry(origin.to_lowercase()).or_default().push(repo);
    }
    let mut all = Repos {
        left_out,
        ..Repos::default()
    };
    let mut names = Names::default();
    for mut group in groups.into_values() {
        group.sort_by_cached_key(|repo| {
            let place = repo.place.relative();
            (
                Reverse(repo.trees.places.len()),
                is_hidden(place),
                place.components().count(),
                place.to_owned(),
            )
        });
        all.take(group, &mut names);
    }
    all
}

impl Repos {
    /// Takes in all clones of one origin, the one with the most worktrees first.
    fn take(&mut self, group: Vec<Sound<'_>>, names: &mut Names) {
        let mut first: Option<String> = None;
        for Sound { place, trees, url } in group {
            match &first {
                Some(of) if trees.is_empty() => self.clones.push(LooseClone {
                    place,
                    of: of.clone(),
                    size: Size::default(),
                }),
                None if trees.is_empty() && is_hidden(place.relative()) => {
                    self.left_out.push(refused(&place, HIDDEN.to_owned()));
                }
                _ => {
                    let name = names.of(&place, url.as_deref());
                    first.get_or_insert_with(|| name.clone());
                    self.repos.push(FoundRepo {
                        name,
                        place,
                        url,
                        size: Size::default(),
                        trees: trees.clone(),
                    });
                }
            }
        }
    }
}

fn is_hidden(place: &Path) -> bool {
    let is_hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".");
    place.iter().any(is_hidden)
}

pub(super) fn refused(place: &VolumePath, why: String) -> LeftOut {
    LeftOut {
        what: Kind::Repo(name_of(place)),
        path: place.to_string(),
        why,
    }
}

fn other(path: &Path, why: String) -> LeftOut {
    LeftOut {
        what: Kind::Other,
        path: path.display().to_string(),
        why,
    }
}
