//! Caches that tools tag or name as theirs, and write anew from nothing: each speaks for files of
//! the shapes that it writes.
//!
//! A tag vouches for the directory, not for a note that somebody put in it. It must never speak for
//! a shape that people write, too.

use super::node::is_hash;
use super::{
    Directory, Opinion, Says, Tool, beside, ends_with, extensions, files, folder, holds, opinion,
};
use rustix::fd::{AsFd, BorrowedFd};

pub(super) const TOOLS: [Tool; 6] = [
    Tool {
        signs: &[],
        made: |parent, name| name == ".pytest_cache" && is_tagged(parent, name),
        account: |_| pytest(),
    },
    Tool {
        signs: &[],
        made: |parent, name| name == ".mypy_cache" && is_tagged(parent, name),
        account: |_| mypy(),
    },
    Tool {
        signs: &[],
        made: |parent, name| name == ".ruff_cache" && is_tagged(parent, name),
        account: |_| ruff(),
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == ".turbo" && beside(parent, &["package.json", "turbo.json"], name, &["."])
        },
        account: |_| turbo(),
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == ".angular" && beside(parent, &["angular.json"], name, &["cache"])
        },
        account: |_| {
            opinion(|_, name, kind| {
                if kind.is_dir() && name == "cache" {
                    Says::Below(packed())
                } else {
                    Says::Nothing
                }
            })
        },
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == ".parcel-cache" && beside(parent, &["package.json"], name, &["data.mdb"])
        },
        account: |_| parcel(),
    },
];

fn is_tagged(parent: BorrowedFd<'_>, name: &str) -> bool {
    folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &["CACHEDIR.TAG"]))
}

fn is_tag(name: &str) -> bool {
    ["CACHEDIR.TAG", ".gitignore"].contains(&name)
}

/// What fails and what ran, and its own README.
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

/// A directory for each version of Python, with one file, or several, for each module.
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

/// A directory for each of its versions, with one file, called by a number, for each package.
fn ruff() -> Opinion {
    let number = |name: &str| name.len() > 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    opinion(move |_, name, kind| match name {
        _ if !kind.is_dir() => is_tag(name).into(),
        _ if name.starts_with(|first: char| first.is_ascii_digit()) => Says::Below(files(number)),
        _ => Says::Nothing,
    })
}

/// Logs of tasks, and what they made, packed.
fn turbo() -> Opinion {
    let of_hash = |name: &str| {
        is_hash(name.split(['.', '-']).next().unwrap_or_default())
            && ends_with(name, &["zst", "gz", "json"])
    };
    opinion(move |_, name, kind| match (name, kind.is_dir()) {
        ("cache", true) => Says::Below(files(of_hash)),
        ("runs", true) => Says::Below(extensions(&["json"])),
        ("cookies", true) => Says::Below(extensions(&["cookie"])),
        ("daemon", true) => Says::Below(files(|name| {
            ends_with(name, &["pid", "sock"]) || name.contains("turbo.log")
        })),
        ("preferences", true) => Says::Below(files(|name| name == "tui.json")),
        (_, false) => (name.starts_with("turbo-") && ends_with(name, &["log"])).into(),
        _ => Says::Nothing,
    })
}

/// What bundlers' caches hold.
fn packed() -> Opinion {
    files(|name| {
        ends_with(
            name,
            &[
                "br", "css", "db", "gz", "js", "json", "lmdb", "lock", "map", "mdb", "pack", "wasm",
            ],
        ) || is_hash(name)
    })
}

fn parcel() -> Opinion {
    let named = |name: &str| {
        ["data.mdb", "lock.mdb"].contains(&name)
            || ends_with(name, &["blob"])
            || is_hash(name.split('-').next().unwrap_or_default())
    };
    files(named)
}
