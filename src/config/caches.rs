//! `caches`: each of a kind, with a name and, except for build output, a directory of its own.
//!
//! A cache is refused if its eviction could delete a repo or a worktree.

use super::outside;
use super::policy::{self, Cache, Repo, Volume};
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
use std::time::Duration;

/// Deeper than any cache's layout.
const DEEPEST: usize = 16;

/// Resolves `caches`, given the rest of the config.
pub(super) struct CacheResolver<'a> {
    /// The minimum age of `eviction`.
    pub(super) min_age: Duration,
    /// No cache may contain their worktrees.
    pub(super) repos: &'a [Repo],
    pub(super) places: &'a mut Places,
    pub(super) notes: &'a mut Notes,
}

impl CacheResolver<'_> {
    pub(super) fn caches(mut self, typed: &raw::Config) -> Vec<Cache> {
        let mut seen = HashSet::new();
        let mut resolved = Vec::new();
        for (index, cache) in typed.caches.iter().flatten().enumerate() {
            let at = KeyPath::default().key("caches").item(index);
            let kind = kind(cache, &at, self.notes);
            let name = name(cache, &at, &mut seen, self.notes);
            let (place, outside) = match kind {
                Some(kind) if stands(kind) == Some(Stands::InWorktrees) => {
                    self.no_place(cache, kind, &at, &resolved);
                    (None, None)
                }
                // An unknown kind may need a directory or not.
                None if cache.path.is_none() => (None, None),
                _ if cache.outside == Some(true) => self.outside(cache, &at).unzip(),
                _ => (self.directory(cache, &at), None),
            };
            let depth = depth(cache.depth, kind, &at.key("depth"), self.notes);
            let Some((kind, name)) = kind.zip(name) else {
                continue;
            };
            let min_age = cache
                .min_age
                .map_or(self.min_age, |time| time.0.max(self.min_age));
            let (reserve, budget) = (
                amount(cache.reserve, 0),
                cache.budget.map(|budget| amount(Some(budget), u64::MAX)),
            );
            check_budget(reserve, budget, &at, self.notes);
            resolved.push(Cache {
                name,
                kind,
                place,
                outside,
                depth,
                min_age,
                reserve,
                budget,
            });
        }
        resolved
    }

    /// Checks build output. It is in the worktrees, wherever those are, so it has no directory of
    /// its own and may be listed only once.
    fn no_place(&mut self, typed: &raw::Cache, kind: CacheKind, at: &KeyPath, others: &[Cache]) {
        if typed.outside.is_some() {
            self.notes.add(
                &at.key("outside"),
                "build-output is in the worktrees; take the key out",
            );
        }
        if typed.path.is_some() {
            self.notes.add(
                &at.key("path"),
                "build-output is in the worktrees and has no path; take the key out",
            );
        }
        if others.iter().any(|other| other.kind == kind) {
            self.notes.add(
                &at.key("kind"),
                "build-output is listed twice; keep one, it covers every worktree",
            );
        }
    }

    /// Takes a directory that the operator says is outside of the volume.
    fn outside(&mut self, typed: &raw::Cache, at: &KeyPath) -> Option<(VolumePath, Volume)> {
        let at = at.key("path");
        let found = match typed.path.as_deref() {
            None => Err(
                "is missing; write the cache's whole path, for instance /var/cache/ccache"
                    .to_owned(),
            ),
            Some(path) => outside::directory(path, self.places.root()),
        };
        let (place, volume) = found.map_or_else(
            |why| (Err(why), None),
            |(place, volume)| (Ok(place), Some(volume)),
        );
        self.places.reserve(place, &at, self.notes).zip(volume)
    }

    fn directory(&mut self, typed: &raw::Cache, at: &KeyPath) -> Option<VolumePath> {
        let unread = self.notes.is_taken_out(&at.key("outside"));
        let at = at.key("path");
        let elsewhere = |path: &&str| {
            Path::new(path).is_absolute() && !Path::new(path).starts_with(self.places.root())
        };
        if let Some(path) = typed.path.as_deref().filter(elsewhere) {
            if unread {
                return None;
            }
            self.notes.add(&at, format!("`{path}` is no directory below volume.root; write its path from there, without `..`, or add `outside: true` if the cache stands elsewhere"));
            return None;
        }
        let place = self
            .places
            .take(typed.path.as_deref(), "caches/npm", &at, self.notes)?;
        for repo in self.repos {
            if let Some(trees) = repo
                .worktrees
                .roots
                .iter()
                .find(|trees| literal_start(trees).starts_with(place.relative()))
            {
                self.notes.add(&at, format!("`{place}` holds worktrees of {} (`{trees}`); give the cache a directory of its own", repo.name));
                break;
            }
        }
        Some(place)
    }
}

/// Returns the typed amount, or else `otherwise`.
pub(super) fn amount(typed: Option<Amount>, otherwise: u64) -> Size {
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
pub(super) fn kinds() -> Vec<(&'static str, CacheKind)> {
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
                "`{depth}` is not between 1 and {DEEPEST}; 1 makes each entry of the directory a unit"
            ),
        );
    }
    depth
}
