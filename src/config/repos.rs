//! `repos`: each with a name, a directory of its own, and its settings over the defaults.
//!
//! Two repos with the same lock file are refused, because they would wait for each other. No
//! message repeats a `url`, which may contain a secret.

use super::policy::{Address, Repo};
use super::problem::{KeyPath, Notes};
use super::raw;
use super::settings::{self, Layers};
use super::values::{Places, is_name};
use std::collections::HashMap;
use std::sync::Arc;

/// Resolves `defaults` and `repos`.
pub(super) fn repos(typed: &raw::Config, places: &mut Places, notes: &mut Notes) -> Vec<Repo> {
    let top = KeyPath::default();
    let defaults: &raw::Settings = &typed.defaults;
    settings::check(defaults, places.root(), &top.key("defaults"), notes);
    Layers {
        repo: defaults,
        defaults,
    }
    .check_rescue(&top.key("defaults"), notes);
    let Some(repos) = &typed.repos else {
        notes.add(
            &top.key("repos"),
            "is missing; list the repos, or write [] to look after caches alone",
        );
        return Vec::new();
    };
    let mut resolver = RepoResolver {
        defaults,
        locks: Locks::default(),
        places,
        notes,
    };
    repos
        .iter()
        .enumerate()
        .filter_map(|(index, repo)| resolver.repo(repo, &top.key("repos").item(index)))
        .collect()
}

/// Resolves one repo after the other.
struct RepoResolver<'a> {
    defaults: &'a raw::Settings,
    locks: Locks<'a>,
    places: &'a mut Places,
    notes: &'a mut Notes,
}

impl<'a> RepoResolver<'a> {
    fn repo(&mut self, repo: &'a raw::Repo, at: &KeyPath) -> Option<Repo> {
        let own = repo.settings();
        let layers = Layers {
            repo: &own,
            defaults: self.defaults,
        };
        settings::check(&own, self.places.root(), at, self.notes);
        layers.check_rescue(at, self.notes);
        let name = name(
            repo.name.as_deref(),
            &at.key("name"),
            &mut self.locks,
            self.notes,
        );
        let place = self.places.take(
            repo.path.as_deref(),
            "acme__shop",
            &at.key("path"),
            self.notes,
        );
        let url = repo.url.as_deref().and_then(|typed| {
            Address::new(typed)
                .map_err(|wrong| self.notes.add(&at.key("url"), wrong))
                .ok()
        });
        let (name, place) = name.zip(place)?;
        let (worktrees, gc) = (layers.worktrees(&place), layers.gc());
        Some(Repo {
            name,
            place,
            url,
            lock_wait: layers.lock_wait(),
            worktrees,
            gc,
            busy_probe: layers.busy_probe(),
            assigned: Arc::default(),
        })
    }
}

/// The lock files taken so far, each with its repo's name.
#[derive(Default)]
struct Locks<'a>(HashMap<String, &'a str>);

fn name<'a>(
    typed: Option<&'a str>,
    at: &KeyPath,
    locks: &mut Locks<'a>,
    notes: &mut Notes,
) -> Option<String> {
    let problem = match typed {
        None => "is missing; write owner/name".to_owned(),
        Some(name) if !is_name(name) => {
            format!(
                "`{name}` is no repo's name; write owner/name, with letters, digits, `.`, `_` and `-` only"
            )
        }
        Some(name)
            if matches!(name, "volume" | "journal")
                || name.starts_with("shard-") && !name.contains('/') =>
        {
            format!("`{name}` would take one of the volume's own lock files; write owner/name")
        }
        Some(name) => match locks.0.insert(name.replace('/', "__"), name) {
            None => return Some(name.to_owned()),
            Some(other) if other == name => {
                format!("`{name}` is named twice; give each repo its own name")
            }
            Some(other) => {
                format!("`{name}` would share a lock file with `{other}`; rename one of them")
            }
        },
    };
    notes.add(at, problem);
    None
}
