//! Yarn's own directory in a project: its state, packages as it fetched them, and those that it had
//! to unpack.
//!
//! Patches, plugins, releases and whatever else stands there are the project's: it must never speak
//! for them.

use super::{Opinion, Says, Tool, folder, holds, opinion};
use rustix::fd::AsFd;

const STATE: [&str; 2] = ["install-state.gz", "build-state.yml"];

/// All of it, or, where git tracks a part of it, the two that it fills.
pub(super) const TOOLS: [Tool; 3] = [
    Tool {
        signs: &[],
        made: |parent, name| {
            name == ".yarn"
                && folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &STATE))
        },
        account: |_| state(),
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == "cache" && holds(parent, &STATE) && folder(parent, name).is_some()
        },
        account: |_| cache(),
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == "unplugged" && holds(parent, &STATE) && folder(parent, name).is_some()
        },
        account: |_| unplugged(),
    },
];

fn state() -> Opinion {
    opinion(|_, name, kind| match (name, kind.is_dir()) {
        ("cache", true) => Says::Below(cache()),
        ("unplugged", true) => Says::Below(unplugged()),
        _ => (!kind.is_dir() && STATE.contains(&name)).into(),
    })
}

/// `debug-npm-4.4.3-0105c6123a-d79136ec6c.zip`; what is only for some platforms has a key such as
/// `10c0` for the second hash.
fn cache() -> Opinion {
    let keyed = |name: &str| {
        name.rsplit_once('-')
            .is_some_and(|(rest, key)| key.len() < 8 && key.contains('c') && is_hashed(rest))
    };
    let archive = move |name: &str| {
        name.strip_suffix(".zip")
            .is_some_and(|name| is_hashed(name) || keyed(name))
    };
    opinion(move |_, name, kind| (!kind.is_dir() && (name == ".gitignore" || archive(name))).into())
}

/// `esbuild-npm-0.25.12-3d9c1c5e2f/node_modules/esbuild`
fn unplugged() -> Opinion {
    opinion(|_, name, kind| {
        if kind.is_dir() && is_hashed(name) {
            Says::Below(opinion(|_, name, kind| match name {
                "node_modules" if kind.is_dir() => Says::Mine,
                _ => (name == ".ready").into(),
            }))
        } else {
            Says::Nothing
        }
    })
}

fn is_hashed(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(rest, hash)| {
        hash.len() == 10 && !rest.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}
