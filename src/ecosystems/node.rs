//! `node_modules`, whichever manager filled it: packages that its account names, its own notes, and
//! the caches of what runs there.
//!
//! A package that is named is the manager's whole: whoever installs again makes it anew, edits in
//! it and all. It must never take a directory for a package because of a `package.json` that
//! anybody could have written.

use super::account::{Opinion, Says, files, opinion};
use super::directory::{Directory, beside, ends_with, folder, holds};
use super::hex::is_hash;
use super::last_use::{LastUseProbe, UnitPath, Use, newer};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;

/// What every package has, and the first that managers link.
pub(super) const MANIFEST: &str = "package.json";

/// The last use of a package in the cache of a manager that fills trees with hard links: a link
/// made or removed moves the time of change of its manifest. Of a file, as always.
pub(super) fn last_use(probe: &LastUseProbe, path: &UnitPath<'_>) -> io::Result<Use> {
    let used = path.seen.times(probe.access_times())?;
    let Some(manifest) = probe.file_in(path, MANIFEST)? else {
        return Ok(used);
    };
    let used = newer(used, manifest.times(probe.access_times())?);
    Ok(newer(manifest.link_time()?, used))
}

/// A manager of packages, and what it leaves in a `node_modules`.
pub(super) struct Manager {
    /// What shows that it filled it.
    pub(super) signs: &'static [&'static str],
    /// Other files of its own there.
    pub(super) notes: &'static [&'static str],
    /// The directory in which it keeps each version of a package by itself.
    pub(super) store: Option<&'static str>,
    /// The packages that it notes, seen from a `node_modules` and from the directory that holds it.
    pub(super) packages: fn(&Directory, &Directory) -> Vec<String>,
    /// Whether a package tells by itself that the manager put it there, where it notes none.
    pub(super) tells: fn(&Directory, &str) -> bool,
}

/// Whether the directory `name` in `parent` may be one that `manager` filled.
pub(super) fn made(parent: BorrowedFd<'_>, name: &str, manager: &Manager) -> bool {
    name == "node_modules"
        && folder(parent, name).is_some_and(|folder| {
            holds(folder.as_fd(), manager.signs)
                || holds(folder.as_fd(), &[".bin"])
                || beside(parent, &["package.json"], name, &["."])
        })
}

/// What `manager` says of a `node_modules`: the packages that a note of here or above names count as
/// its own, for in a workspace the notes stand at its top.
pub(super) fn account(modules: &Directory, manager: &'static Manager) -> Opinion {
    let mut names = HashSet::new();
    for above in modules.above() {
        if let Ok(noted) = above.below("node_modules".as_ref()) {
            names.extend((manager.packages)(&noted, &above));
        }
    }
    top(&Rc::new(Noted { manager, names }))
}

/// What a manager notes.
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

/// Scripts that start a package's program. npm makes links instead.
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

/// `NAME@VERSION/node_modules/NAME`, and links.
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

fn version(stored: String, noted: &Rc<Noted>) -> Opinion {
    let noted = noted.clone();
    opinion(move |_, name, kind| match (name, package_of(&stored)) {
        (".initialized" | ".scripts-run" | ".scripts-warned", _) => Says::Mine,
        ("node_modules", Some(package)) if kind.is_dir() => {
            Says::Below(alone(stored.clone(), package, &noted))
        }
        _ => Says::Nothing,
    })
}

/// The `node_modules` of a stored package: it, or its scope, and links to what it needs.
fn alone(stored: String, package: String, noted: &Rc<Noted>) -> Opinion {
    let noted = noted.clone();
    opinion(move |directory, name, kind| match name {
        ".bin" if kind.is_dir() => Says::Below(shims()),
        scope if kind.is_dir() && scope.starts_with('@') => {
            let (stored, package, noted, scope) = (
                stored.clone(),
                package.clone(),
                noted.clone(),
                scope.to_owned(),
            );
            let is_it = move |directory: &Directory, name: &str| {
                format!("{scope}/{name}") == package
                    && is_stored(directory, name, &stored, &package, &noted.names)
            };
            Says::Below(opinion(move |directory, name, _| {
                is_it(directory, name).into()
            }))
        }
        _ => {
            (name == package && is_stored(directory, name, &stored, &package, &noted.names)).into()
        }
    })
}

/// Whether a note names it, or it is of the name and version that its place tells: managers leave
/// for a while what no note names any more.
fn is_stored(
    directory: &Directory,
    folder: &str,
    stored: &str,
    package: &str,
    names: &HashSet<String>,
) -> bool {
    #[derive(serde::Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let told = || {
        serde_json::from_slice::<Package>(&directory.note(&format!("{folder}/package.json"))?).ok()
    };
    names.contains(package)
        || told().is_some_and(|told| {
            told.name == package
                && stored.starts_with(&format!("{}@{}", told.name.replace('/', "+"), told.version))
        })
}

/// The package's name in `@scope+name@1.0.0_peers`.
fn package_of(stored: &str) -> Option<String> {
    Some(before_at(stored)?.replacen('+', "/", 1))
}

/// The name in `@scope/name@1.0.0`, and in `@scope/name@npm:1.0.0`.
pub(super) fn name_of(spec: &str) -> Option<String> {
    before_at(spec).map(ToOwned::to_owned)
}

/// What stands before the first `@` that doesn't begin the text.
fn before_at(text: &str) -> Option<&str> {
    let at = text.get(1..)?.find('@')?.checked_add(1)?;
    text.get(..at)
}

/// The package that a path like `packages/a/node_modules/@scope/name` ends in.
pub(super) fn last_package(path: &str) -> Option<String> {
    Some(path.rsplit_once("node_modules/")?.1.to_owned())
}

/// What tools keep beside the packages. Each writes into a directory of its own, in shapes that no
/// person would choose for a note.
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
