//! `node_modules`, whichever manager filled it: the packages that the manager's notes name, those
//! notes, and the caches of tools that run there.
//!
//! A named package is the manager's as a whole, edits included: the next install replaces it. A
//! `package.json` alone proves nothing, since anybody could have written it.

use super::account::{Opinion, Says, files, opinion};
use super::directory::{Directory, beside, ends_with, folder, holds};
use super::hex::is_hash;
use super::last_use::{LastUseProbe, UnitPath, Use, newer};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;

/// The file that every package has, and the first that managers link.
pub(super) const MANIFEST: &str = "package.json";

/// Returns the last use of a package in the cache of a manager that fills trees with hard links:
/// adding or removing a link moves the change time of its manifest. A file has its usual times.
pub(super) fn last_use(probe: &LastUseProbe, path: &UnitPath<'_>) -> io::Result<Use> {
    let used = path.seen.times(probe.access_times())?;
    let Some(manifest) = probe.file_in(path, MANIFEST)? else {
        return Ok(used);
    };
    let used = newer(used, manifest.times(probe.access_times())?);
    Ok(newer(manifest.link_time()?, used))
}

/// A package manager, and what it leaves in a `node_modules`.
pub(super) struct Manager {
    /// Files that show that it filled the directory.
    pub(super) signs: &'static [&'static str],
    /// Its other files there.
    pub(super) notes: &'static [&'static str],
    /// The directory in which it keeps each version of a package separately.
    pub(super) store: Option<&'static str>,
    /// Returns the packages that it notes, given a `node_modules` and the directory around it.
    pub(super) packages: fn(&Directory, &Directory) -> Vec<String>,
    /// Whether a package itself shows that the manager put it there, if the manager has no notes.
    pub(super) tells: fn(&Directory, &str) -> bool,
}

/// Returns whether `manager` may have filled the directory `name` in `parent`.
pub(super) fn made(parent: BorrowedFd<'_>, name: &str, manager: &Manager) -> bool {
    name == "node_modules"
        && folder(parent, name).is_some_and(|folder| {
            holds(folder.as_fd(), manager.signs)
                || holds(folder.as_fd(), &[".bin"])
                || beside(parent, &["package.json"], name, &["."])
        })
}

/// Returns the opinion of `manager` on a `node_modules`. It claims packages that a note here or
/// above names, because a workspace's notes are at its top.
pub(super) fn account(modules: &Directory, manager: &'static Manager) -> Opinion {
    let mut names = HashSet::new();
    for above in modules.above() {
        if let Ok(noted) = above.below("node_modules".as_ref()) {
            names.extend((manager.packages)(&noted, &above));
        }
    }
    top(&Rc::new(Noted { manager, names }))
}

/// The notes of a manager.
struct Noted {
    manager: &'static Manager,
    /// The names of its packages.
    names: HashSet<String>,
}

fn top(noted: &Rc<Noted>) -> Opinion {
    let noted = noted.clone();
    opinion(move |directory, name, kind| {
        let manager = noted.manager;
        match name {
            _ if !kind.is_dir() => {
                (manager.signs.contains(&name) || manager.notes.contains(&name)).into()
            }
            ".bin" => Says::Below(shims()),
            _ if manager.store == Some(name) => Says::Below(store(&noted)),
            _ if name.starts_with('.') => hidden(directory, name),
            _ if name.starts_with('@') => Says::Below(scope(name.to_owned(), &noted)),
            _ => (noted.names.contains(name) || (manager.tells)(directory, name)).into(),
        }
    })
}

fn scope(scope: String, noted: &Rc<Noted>) -> Opinion {
    let noted = noted.clone();
    opinion(move |directory, name, kind| {
        (kind.is_dir()
            && (noted.names.contains(&format!("{scope}/{name}"))
                || (noted.manager.tells)(directory, name)))
        .into()
    })
}

/// Claims scripts that start a package's program. npm creates links instead.
fn shims() -> Opinion {
    opinion(|directory, name, kind| {
        let text = || {
            directory
                .text(name)
                .is_some_and(|text| text.starts_with("#!") && text.contains("basedir="))
        };
        (!kind.is_dir() && (ends_with(name, &["cmd", "ps1", "exe", "bunx"]) || text())).into()
    })
}

/// Claims a store: `NAME@VERSION/node_modules/NAME`, and links.
fn store(noted: &Rc<Noted>) -> Opinion {
    let noted = noted.clone();
    opinion(move |_, name, kind| match name {
        "lock.yaml" | ".deno.lock" | ".deno.lock.poll" | ".setup-cache.bin" => {
            (!kind.is_dir()).into()
        }
        "node_modules" => Says::Below(top(&noted)),
        _ if kind.is_dir() => Says::Below(version(name.to_owned(), &noted)),
        _ => Says::Nothing,
    })
}

fn version(directory: String, noted: &Rc<Noted>) -> Opinion {
    let stored = package_of(&directory).map(|package| {
        Rc::new(Stored {
            directory,
            package,
            noted: noted.clone(),
        })
    });
    opinion(move |_, name, kind| match (name, &stored) {
        (".initialized" | ".scripts-run" | ".scripts-warned", _) => Says::Mine,
        ("node_modules", Some(stored)) if kind.is_dir() => Says::Below(alone(stored)),
        _ => Says::Nothing,
    })
}

/// Claims a package in its own `node_modules`, in which its dependencies are links.
fn alone(stored: &Rc<Stored>) -> Opinion {
    let stored = stored.clone();
    opinion(move |directory, name, kind| match name {
        ".bin" if kind.is_dir() => Says::Below(shims()),
        scope if kind.is_dir() && scope.starts_with('@') => {
            let (stored, scope) = (stored.clone(), scope.to_owned());
            Says::Below(opinion(move |directory, name, _| {
                (format!("{scope}/{name}") == stored.package && stored.is_it(directory, name))
                    .into()
            }))
        }
        _ => (name == stored.package && stored.is_it(directory, name)).into(),
    })
}

/// A package that has a directory of its own in a store.
struct Stored {
    /// `@scope+name@1.0.0_peers`.
    directory: String,
    /// Its name.
    package: String,
    noted: Rc<Noted>,
}

impl Stored {
    /// Returns whether a note names it, or the name and version in `folder` match its place:
    /// managers keep packages for a while after the last note that names them.
    fn is_it(&self, directory: &Directory, folder: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Package {
            name: String,
            version: String,
        }
        let package = || {
            let note = directory.note(&format!("{folder}/package.json"))?;
            serde_json::from_slice::<Package>(&note).ok()
        };
        self.noted.names.contains(&self.package)
            || package().is_some_and(|package| {
                let place = format!("{}@{}", package.name.replace('/', "+"), package.version);
                package.name == self.package && self.directory.starts_with(&place)
            })
    }
}

/// Returns the package's name in `@scope+name@1.0.0_peers`.
fn package_of(stored: &str) -> Option<String> {
    Some(before_at(stored)?.replacen('+', "/", 1))
}

/// Returns the name in `@scope/name@1.0.0`, and in `@scope/name@npm:1.0.0`.
pub(super) fn name_of(spec: &str) -> Option<String> {
    before_at(spec).map(ToOwned::to_owned)
}

/// Returns the text before the first `@` after the first character.
fn before_at(text: &str) -> Option<&str> {
    let at = text.get(1..)?.find('@')?.checked_add(1)?;
    text.get(..at)
}

/// Returns the package at the end of a path like `packages/a/node_modules/@scope/name`.
pub(super) fn last_package(path: &str) -> Option<String> {
    Some(path.rsplit_once("node_modules/")?.1.to_owned())
}

/// Claims the caches of tools beside the packages. Each tool writes into a directory of its own, in
/// shapes that nobody would choose for a note.
fn hidden(directory: &Directory, name: &str) -> Says {
    const SHAPES: &[&str] = &[
        "br",
        "bin",
        "cache",
        "cjs",
        "css",
        "gz",
        "js",
        "json",
        "lock",
        "map",
        "mjs",
        "node",
        "pack",
        "tsbuildinfo",
        "wasm",
    ];
    fn shaped(name: &str) -> bool {
        ends_with(name, SHAPES) || is_hash(name) || ["CACHEDIR.TAG", "lock"].contains(&name)
    }
    match name {
        ".vite" | ".vite-temp" | ".vitest" | ".tmp" | ".nitro" | ".astro" => {
            Says::Below(files(shaped))
        }
        ".prisma" => Says::Below(files(|name| {
            shaped(name) || ends_with(name, &["ts", "prisma", "so", "hbs"])
        })),
        ".cache" => Says::Below(opinion(|_, _, kind| {
            if kind.is_dir() {
                Says::Below(files(shaped))
            } else {
                Says::Nothing
            }
        })),
        _ if directory.has(&format!("{name}/CACHEDIR.TAG")) => Says::Below(files(shaped)),
        _ => Says::Nothing,
    }
}
