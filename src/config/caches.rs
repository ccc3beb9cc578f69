//! `caches`: each of a kind, with a name and, except for build output, a directory of its own.
//!
//! A cache whose eviction could take a repo or a worktree along is refused.

use super::policy::{self, Cache, Repo};
use super::problem::{KeyPath, Notes};
use super::raw;
use super::roots::literal_start;
use super::units::{Amount, Count};
use super::values::{Places, is_name, names, one_of};
use crate::ecosystems;
use crate::ecosystems::lister::Stands;
use crate::facts::cache::{CacheKind, Size};
use crate::fs::volume_path::VolumePath;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Deeper than any cache's layout.
const DEEPEST: usize = 16;

/// Resolves `caches`. `min_age` is the eviction's, and no cache may contain worktrees of `repos`.
pub(super) fn caches(
    typed: &raw::Config,
    root: &Arc<Path>,
    min_age: Duration,
    repos: &[Repo],
    places: &mut Places,
    notes: &mut Notes,
) -> Vec<Cache> {
    let mut seen = HashSet::new();
    let mut resolved = Vec::new();
    for (index, cache) in typed.caches.iter().flatten().enumerate() {
        let at = KeyPath::default().key("caches").item(index);
        let kind = kind(cache, &at, notes);
        let name = name(cache, &at, &mut seen, notes);
        let place = match kind {
            Some(kind) if stands(kind) == Some(Stands::InWorktrees) => {
                no_place(cache, kind, &at, &resolved, notes)
            }
            // For an unknown kind it is unknown whether it needs a directory.
            None if cache.path.is_none() => None,
            _ => folder(cache, root, &at, repos, places, notes),
        };
        let depth = depth(cache.depth, kind, &at.key("depth"), notes);
        let Some((kind, name)) = kind.zip(name) else {
            continue;
        };
        let min_age = cache.min_age.map_or(min_age, |time| time.0.max(min_age));
        let (reserve, budget) = (
            amount(cache.reserve, 0),
            cache.budget.map(|budget| amount(Some(budget), u64::MAX)),
        );
        check_budget(reserve, budget, &at, notes);
        resolved.push(Cache {
            name,
            kind,
            place,
            depth,
            min_age,
            reserve,
            budget,
        });
    }
    resolved
}

/// The typed amount, or else `otherwise`.
fn amount(typed: Option<Amount>, otherwise: u64) -> Size {
    let Amount { bytes, inodes } = typed.unwrap_or_default();
    Size {
        bytes: bytes.map_or(otherwise, |bytes| bytes.0),
        inodes: inodes.map_or(otherwise, |count| count.0 as u64),
    }
}

fn check_budget(reserve: Size, budget: Option<Size>, at: &KeyPath, notes: &mut Notes) {
    let Some(budget) = budget else { return };
    if budget.bytes == 0 || budget.inodes == 0 {
        notes.add(&at.key("budget"), "0 would empty the cache; write a size such as 25GiB, or leave the key out for no budget");
    } else if reserve.bytes > budget.bytes || reserve.inodes > budget.inodes {
        notes.add(
            &at.key("reserve"),
            "is more than the cache's budget; lower it, or raise the budget",
        );
    }
}

fn stands(kind: CacheKind) -> Option<Stands> {
    ecosystems::layout(kind).map(|layout| layout.stands)
}

/// Returns every kind by its name, in the order for people.
fn kinds() -> Vec<(&'static str, CacheKind)> {
    ecosystems::layouts()
        .map(|layout| (layout.kind.name(), layout.kind))
        .collect()
}

fn kind(typed: &raw::Cache, at: &KeyPath, notes: &mut Notes) -> Option<CacheKind> {
    let kind = match typed.kind.as_deref() {
        Some(kind) => one_of(&kinds(), kind),
        None => Err(format!("is missing; write one of {}", names(&kinds()))),
    };
    kind.map_err(|problem| notes.add(&at.key("kind"), problem))
        .ok()
}

fn name(
    typed: &raw::Cache,
    at: &KeyPath,
    seen: &mut HashSet<String>,
    notes: &mut Notes,
) -> Option<String> {
    let name = typed.name.as_deref().or(typed.kind.as_deref())?;
    let problem = match typed.name.as_deref() {
        Some(typed) if !is_name(typed) => {
            "is no cache's name; use letters, digits, `.`, `_` and `-` only"
        }
        Some(_) if !seen.insert(name.to_owned()) => "is named twice; give each cache its own name",
        None if !seen.insert(name.to_owned()) => {
            "is the name of another cache already; give this one a name of its own"
        }
        _ => return Some(name.to_owned()),
    };
    notes.add(&at.key("name"), format!("`{name}` {problem}"));
    None
}

/// Refuses a path: build output is in the worktrees, wherever those are, so it has no directory,
/// and there is no second one.
fn no_place(
    typed: &raw::Cache,
    kind: CacheKind,
    at: &KeyPath,
    others: &[Cache],
    notes: &mut Notes,
) -> Option<VolumePath> {
    if typed.path.is_some() {
        notes.add(
            &at.key("path"),
            "build-output stands in the worktrees and has no path; take the key out",
        );
    }
    if others.iter().any(|other| other.kind == kind) {
        notes.add(
            &at.key("kind"),
            "build-output is listed twice; keep one, it covers every worktree",
        );
    }
    None
}

fn folder(
    typed: &raw::Cache,
    root: &Arc<Path>,
    at: &KeyPath,
    repos: &[Repo],
    places: &mut Places,
    notes: &mut Notes,
) -> Option<VolumePath> {
    let at = at.key("path");
    let place = places.take(typed.path.as_deref(), "caches/npm", root, &at, notes)?;
    for repo in repos {
        if let Some(trees) = repo
            .worktrees
            .roots
            .iter()
            .find(|trees| literal_start(trees).starts_with(place.relative()))
        {
            notes.add(&at, format!("`{place}` holds worktrees of {} (`{trees}`); give the cache a folder of its own", repo.name));
            break;
        }
    }
    Some(place)
}

fn depth(typed: Option<Count>, kind: Option<CacheKind>, at: &KeyPath, notes: &mut Notes) -> usize {
    let Some(Count(depth)) = typed else {
        return policy::CACHE_DEPTH;
    };
    if kind.is_some_and(|kind| stands(kind) != Some(Stands::AtDepth)) {
        notes.add(at, "is for the kind folder only; take the key out");
    } else if !(1..=DEEPEST).contains(&depth) {
        notes.add(
            at,
            format!(
                "`{depth}` is not between 1 and {DEEPEST}; 1 makes each entry of the folder a unit"
            ),
        );
    }
    depth
}
