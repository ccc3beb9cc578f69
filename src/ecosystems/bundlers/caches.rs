//! The caches of web build tools. Each claims only files of the shapes that it writes and that
//! people don't.

use crate::ecosystems::account::{Opinion, Says, Tool, extensions, files, opinion};
use crate::ecosystems::directory::{beside, ends_with};
use crate::ecosystems::hex::is_hash;

pub(super) const TURBO: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        name == ".turbo" && beside(parent, &["package.json", "turbo.json"], name, &["."])
    },
    account: |_| turbo(),
};
pub(super) const ANGULAR: Tool = Tool {
    signs: &[],
    made: |parent, name| name == ".angular" && beside(parent, &["angular.json"], name, &["cache"]),
    account: |_| {
        opinion(|_, name, kind| {
            if kind.is_dir() && name == "cache" {
                Says::Below(packed())
            } else {
                Says::Nothing
            }
        })
    },
};
pub(super) const PARCEL: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        name == ".parcel-cache" && beside(parent, &["package.json"], name, &["data.mdb"])
    },
    account: |_| parcel(),
};

/// Claims the logs of tasks, and their packed results.
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

/// Claims the packed files of bundlers' caches.
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
