//! What Python and its build tools write into a project: bytecode, `build`, `dist`, and the
//! metadata of an editable install.
//!
//! Bytecode is nobody's work, even if its source is gone. An archive of an older release is
//! somebody's: no build recreates it.

use crate::ecosystems::account::{Opinion, Says, Tool, files, opinion};
use crate::ecosystems::directory::{Directory, ends_with, folder, holds, listed};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use std::collections::BTreeSet;

/// Bytecode, wherever Python puts it.
pub(super) const BYTECODE: Tool = Tool {
    signs: &[],
    made: |parent, name| name == "__pycache__" && any(parent, name, is_bytecode),
    account: |_| opinion(|_, name, kind| (!kind.is_dir() && is_bytecode(name)).into()),
};
/// The directory in which `setuptools` builds.
pub(super) const BUILD: Tool = Tool {
    signs: &[],
    made: |parent, name| name == "build" && holds(parent, &PROJECT) && any(parent, name, is_bdist),
    account: |_| build(),
};
/// The archives of a release.
pub(super) const DIST: Tool = Tool {
    signs: &[],
    made: |parent, name| name == "dist" && holds(parent, &PROJECT) && any(parent, name, is_archive),
    account: dist,
};
/// The metadata of an editable install.
pub(super) const METADATA: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        ends_with(name, &["egg-info"]) && any(parent, name, |name| name == "PKG-INFO")
    },
    account: |_| metadata(),
};

const PROJECT: [&str; 2] = ["pyproject.toml", "setup.py"];

/// Returns whether the directory has an entry, other than a link, that `is_one` accepts.
fn any(parent: BorrowedFd<'_>, name: &str, is_one: fn(&str) -> bool) -> bool {
    let entries = folder(parent, name).and_then(|folder| listed(&folder).ok());
    entries.is_some_and(|entries| {
        entries
            .iter()
            .any(|(name, kind)| *kind != FileType::Symlink && name.to_str().is_some_and(is_one))
    })
}

fn is_bytecode(name: &str) -> bool {
    ends_with(name, &["pyc", "nbi", "nbc"])
}

fn is_bdist(name: &str) -> bool {
    ["bdist.", "lib.", "temp.", "scripts-"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn is_archive(name: &str) -> bool {
    ends_with(name, &["whl"]) || name.ends_with(".tar.gz")
}

/// Claims build output. `lib` copies the sources: a file in it without a source is somebody's.
fn build() -> Opinion {
    fn copies(path: String) -> Opinion {
        opinion(move |directory, name, kind| {
            let here = format!("{path}{name}");
            if kind.is_dir() {
                return Says::Below(copies(format!("{here}/")));
            }
            let made = ends_with(name, &["so", "o", "pyc", "pyd"]);
            let source = || {
                directory.above().iter().any(|above| {
                    ["", "src/"]
                        .iter()
                        .any(|root| above.has(&format!("{root}{here}")))
                })
            };
            (made || source()).into()
        })
    }
    opinion(|_, name, kind| match kind {
        FileType::Directory if name == "lib" || name.starts_with("lib.") => {
            Says::Below(copies(String::new()))
        }
        FileType::Directory if is_bdist(name) => {
            Says::Below(files(|name| ends_with(name, &["o", "d", "so", "a", "pyc"])))
        }
        _ => Says::Nothing,
    })
}

/// Claims the archives if all of them are of one release.
fn dist(directory: &Directory) -> Opinion {
    let releases: BTreeSet<_> = directory
        .entries()
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| is_archive(name))
        .map(release)
        .collect();
    let one = releases.len() == 1 && !releases.contains(&None);
    opinion(move |_, name, kind| {
        (!kind.is_dir() && (name == ".gitignore" || (one && is_archive(name)))).into()
    })
}

/// Returns the project and the version in an archive's name; none if there is no version in it. In
/// a source archive's name, the project's may contain hyphens.
fn release(archive: &str) -> Option<(String, String)> {
    let (project, version) = if let Some(stem) = archive.strip_suffix(".tar.gz") {
        stem.rsplit_once('-')?
    } else {
        let (project, rest) = archive.strip_suffix(".whl")?.split_once('-')?;
        (project, rest.split('-').next()?)
    };
    let is_version = version.starts_with(|first: char| first.is_ascii_digit());
    let project = project.replace(['-', '.'], "_").to_lowercase();
    is_version.then(|| (project, version.to_lowercase()))
}

fn metadata() -> Opinion {
    const MADE: [&str; 9] = [
        "PKG-INFO",
        "SOURCES.txt",
        "dependency_links.txt",
        "entry_points.txt",
        "namespace_packages.txt",
        "not-zip-safe",
        "requires.txt",
        "top_level.txt",
        "zip-safe",
    ];
    opinion(|_, name, kind| (!kind.is_dir() && MADE.contains(&name)).into())
}
