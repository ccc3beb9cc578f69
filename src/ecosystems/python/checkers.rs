//! The caches of Python's checkers and test runners. Each is tagged and regenerable, and claims
//! only files of the shapes that its tool writes.
//!
//! A tag vouches for the directory, not for a note that somebody put in it.

use crate::ecosystems::account::{Opinion, Says, Tool, files, opinion};
use crate::ecosystems::directory::{Directory, ends_with, folder, holds};
use rustix::fd::{AsFd, BorrowedFd};

pub(super) const PYTEST: Tool = Tool {
    signs: &[],
    made: |parent, name| name == ".pytest_cache" && is_tagged(parent, name),
    account: |_| pytest(),
};
pub(super) const MYPY: Tool = Tool {
    signs: &[],
    made: |parent, name| name == ".mypy_cache" && is_tagged(parent, name),
    account: |_| mypy(),
};
pub(super) const RUFF: Tool = Tool {
    signs: &[],
    made: |parent, name| name == ".ruff_cache" && is_tagged(parent, name),
    account: |_| ruff(),
};

fn is_tagged(parent: BorrowedFd<'_>, name: &str) -> bool {
    folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &["CACHEDIR.TAG"]))
}

fn is_tag(name: &str) -> bool {
    ["CACHEDIR.TAG", ".gitignore"].contains(&name)
}

/// Claims the lists of failed and collected tests, and pytest's own README.
fn pytest() -> Opinion {
    let own = |directory: &Directory| {
        directory
            .text("README.md")
            .is_some_and(|text| text.starts_with("# pytest cache directory #"))
    };
    opinion(move |directory, name, kind| match name {
        "README.md" => own(directory).into(),
        "v" | "d" if kind.is_dir() => Says::Below(files(|name| {
            ["lastfailed", "nodeids", "stepwise", "durations"].contains(&name)
        })),
        _ => (!kind.is_dir() && is_tag(name)).into(),
    })
}

/// Claims a directory for each version of Python, with one or more files for each module.
fn mypy() -> Opinion {
    let of_module = |name: &str| {
        [
            ".data.json",
            ".meta.json",
            ".data.ff",
            ".meta.ff",
            ".err.json",
            ".deps.json",
        ]
        .iter()
        .any(|end| name.ends_with(end))
            || name.starts_with('@')
            || (name.starts_with("cache.") && (ends_with(name, &["db"]) || name.contains(".db-")))
            || name == "missing_stubs"
    };
    opinion(move |_, name, kind| match name {
        _ if !kind.is_dir() => is_tag(name).into(),
        _ if name.starts_with(|first: char| first.is_ascii_digit()) => {
            Says::Below(files(of_module))
        }
        _ => Says::Nothing,
    })
}

/// Claims a directory for each version of ruff, with one file, named by a number, for each package.
fn ruff() -> Opinion {
    let number = |name: &str| name.len() > 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    opinion(move |_, name, kind| match name {
        _ if !kind.is_dir() => is_tag(name).into(),
        _ if name.starts_with(|first: char| first.is_ascii_digit()) => Says::Below(files(number)),
        _ => Says::Nothing,
    })
}
