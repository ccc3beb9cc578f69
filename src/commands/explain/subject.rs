//! What a person means: by path, as the shell completes it, or by the name that a report shows.

use super::tree::Registered;
use super::{ExplainError, Request};
use crate::commands::rescues::{self, RescuesError};
use crate::config::policy::{self, Policy};
use crate::git::shadow::layout;
use crate::run::inspect;
use crate::survey::context::Explained;
use crate::survey::processes::Processes;
use crate::survey::{registry, worktree};
use globset::GlobBuilder;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// What was named.
pub(super) enum Subject<'a> {
    /// A registered worktree.
    Tree(&'a policy::Repo, Registered),
    /// An unregistered directory in a worktree root.
    Directory {
        repo: &'a policy::Repo,
        path: PathBuf,
    },
    /// A main checkout.
    Checkout(&'a policy::Repo),
    /// A rescue, by its id.
    Rescue(String),
    /// A cache, and the unit of it.
    Unit(&'a policy::Cache, UnitName),
    /// Nothing that treewarden looks after, at any of these paths.
    Nothing(Vec<PathBuf>),
}

/// How a unit is named.
#[derive(Debug, Clone)]
pub(super) enum UnitName {
    /// By a path in it.
    Path(PathBuf),
    /// By its name in a report.
    Name(String),
}

/// Finds what `asked` names. A path counts more than a rescue's id.
pub(super) fn find<'a>(request: &Request<'a>, asked: &OsStr) -> Result<Subject<'a>, ExplainError> {
    let policy = request.policy;
    let paths = meant(Path::new(asked), policy);
    for path in &paths {
        let found = by_path(policy, path);
        if matches!(found, None | Some(Subject::Checkout(_)))
            && let Some(directory) = unregistered(request, path)?
        {
            return Ok(directory);
        }
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let text = asked.to_str().unwrap_or_default();
    let cache = text.split_once(':').and_then(|(cache, unit)| {
        let cache = policy.caches.iter().find(|known| known.name == cache)?;
        Some(Subject::Unit(cache, UnitName::Name(unit.to_owned())))
    });
    if let Some(unit) = cache {
        return Ok(unit);
    }
    match rescues::find(policy, text, request.stop, request.now) {
        Ok(found) => Ok(Subject::Rescue(found.id())),
        Err(error @ RescuesError::Id(_)) if looks_like_a_rescue(text) => Err(error.into()),
        Err(RescuesError::Id(_)) => Ok(Subject::Nothing(paths)),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether it can be nothing but a rescue's id.
fn looks_like_a_rescue(text: &str) -> bool {
    text.starts_with(crate::facts::rescue::REFS)
        || text
            .split_once(':')
            .is_some_and(|(repo, _)| repo.contains('/'))
}

/// Returns the absolute paths that may be meant: as typed, and with links resolved, as seen from
/// the config's root. A shell in a linked directory knows the latter.
fn meant(asked: &Path, policy: &Policy) -> Vec<PathBuf> {
    let Ok(typed) = std::path::absolute(asked) else {
        return Vec::new();
    };
    let mut plain = PathBuf::new();
    for part in typed.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let root = &policy.volume.root;
    let resolved = resolved(&plain).and_then(|path| {
        let real = root.canonicalize().ok()?;
        Some(root.join(path.strip_prefix(real).ok()?))
    });
    let resolved = resolved.filter(|path| *path != plain);
    [plain].into_iter().chain(resolved).collect()
}

/// Resolves the links of the nearest directory above that exists.
fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|above| {
        let real = above.canonicalize().ok()?;
        Some(real.join(path.strip_prefix(above).ok()?))
    })
}

/// Returns the innermost thing that contains the path.
fn by_path<'a>(policy: &'a Policy, path: &Path) -> Option<Subject<'a>> {
    known(policy)
        .into_iter()
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.as_os_str().len())
        .map(|(_, subject)| match subject {
            Subject::Unit(cache, _) => Subject::Unit(cache, UnitName::Path(path.to_owned())),
            Subject::Tree(repo, tree) => {
                let asked = path.to_owned();
                Subject::Tree(repo, Registered { asked, ..tree })
            }
            subject => subject,
        })
}

/// Returns everything with a place of its own, from the config and the registrations.
pub(super) fn known(policy: &Policy) -> Vec<(PathBuf, Subject<'_>)> {
    let mut known = Vec::new();
    for repo in &policy.repos {
        known.push((repo.place.path(), Subject::Checkout(repo)));
        let layout = layout::find(&repo.place, &repo.assigned).ok();
        let admins = layout.and_then(|layout| registry::admins(&layout.git_dir).ok());
        for admin in admins.unwrap_or_default() {
            let path = worktree::place(&admin).unwrap_or_else(|_| admin.path());
            for place in [path.clone(), admin.path()] {
                let tree = Registered {
                    admin: admin.clone(),
                    path: path.clone(),
                    asked: place.clone(),
                };
                known.push((place, Subject::Tree(repo, tree)));
            }
        }
    }
    for cache in &policy.caches {
        if let Some(place) = &cache.place {
            let name = UnitName::Path(place.path());
            known.push((place.path(), Subject::Unit(cache, name)));
        }
    }
    known
}

/// Returns the unregistered directory in a worktree root that contains the path.
fn unregistered<'a>(
    request: &Request<'a>,
    path: &Path,
) -> Result<Option<Subject<'a>>, ExplainError> {
    let policy = request.policy;
    let Ok(below) = path.strip_prefix(&policy.volume.root) else {
        return Ok(None);
    };
    let matches = |glob: &String| {
        let glob = GlobBuilder::new(glob).literal_separator(true).build();
        let glob = glob.map(|glob| glob.compile_matcher());
        glob.is_ok_and(|glob| below.ancestors().any(|above| glob.is_match(above)))
    };
    let may_have = |repo: &&policy::Repo| repo.worktrees.roots.iter().any(matches);
    let wanted = inspect::Wanted {
        repos: policy.repos.iter().filter(may_have).collect(),
        explained: Explained::None,
        measured: false,
        processes: Processes::but_callers(),
    };
    if wanted.repos.is_empty() {
        return Ok(None);
    }
    let inspected = inspect::inspect(policy, &wanted, request.stop, request.now)
        .map_err(ExplainError::Refused)?;
    let found = wanted
        .repos
        .iter()
        .zip(&inspected.repos)
        .find_map(|(repo, inspected)| {
            let facts = &inspected.found.as_ref().ok()?.facts;
            let mut directories = facts.unregistered.iter().map(|found| &found.path);
            let directory = directories.find(|directory| path.starts_with(directory))?;
            Some(Subject::Directory {
                repo,
                path: directory.clone(),
            })
        });
    Ok(found)
}
