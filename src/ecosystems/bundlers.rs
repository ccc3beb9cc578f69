//! The output of web bundlers and frameworks. Each directory is recognised by the shapes of its
//! tool's files, and by the project's files beside it.

use super::account::{Opinion, Says, Tool, extensions, files, opinion};
use super::directory::{Directory, beside, ends_with, holds};
use super::ecosystem::Ecosystem;
use super::hex::is_hash;
use super::made_file::{MadeFile, contains, shows};
use rustix::fd::BorrowedFd;

mod caches;

pub(super) static BUNDLERS: Ecosystem = Ecosystem {
    output: &OUTPUT,
    files: &FILES,
    ..Ecosystem::named("bundlers and linters of the web")
};

/// The cache of a linter or a formatter, and the types that Next declares.
static FILES: [MadeFile; 2] = [
    MadeFile {
        may_be: |name| [".eslintcache", ".stylelintcache", ".prettiercache"].contains(&name),
        is_one: |parent, name, _| shows(parent, name, is_flat_cache),
    },
    MadeFile {
        may_be: |name| name == "next-env.d.ts",
        is_one: |parent, name, _| {
            shows(parent, name, |bytes| {
                contains(bytes, "This file should not be edited")
            })
        },
    },
];

static OUTPUT: [Tool; 8] = [
    caches::TURBO,
    caches::ANGULAR,
    caches::PARCEL,
    Tool {
        signs: &[],
        made: |parent, name| {
            name == ".next"
                && made(
                    parent,
                    name,
                    &["BUILD_ID", "build-manifest.json", "cache", "trace"],
                )
        },
        account: |_| next(),
    },
    Tool {
        signs: &[],
        made: |parent, name| name == ".nuxt" && made(parent, name, &["nuxt.d.ts"]),
        account: |_| extensions(&["ts", "mjs", "js", "json", "map", "css", "html"]),
    },
    Tool {
        signs: &[],
        made: |parent, name| name == ".output" && made(parent, name, &["nitro.json"]),
        account: |_| output(),
    },
    Tool {
        signs: &[],
        made: |parent, name| name == ".svelte-kit" && made(parent, name, &["generated"]),
        account: |_| svelte_kit(),
    },
    Tool {
        signs: &[],
        made: is_vites,
        account: |_| vite(),
    },
];

const PARTS: &[&str] = &[
    "css", "js", "json", "map", "mjs", "cjs", "wasm", "woff", "woff2", "ttf", "eot", "otf", "svg",
    "png", "jpg", "jpeg", "gif", "webp", "avif", "ico",
];

fn made(parent: BorrowedFd<'_>, name: &str, inside: &[&str]) -> bool {
    beside(parent, &["package.json"], name, inside)
}

/// Files at the top of `.next`.
const NEXT_TOP: [&str; 9] = [
    "BUILD_ID",
    "trace",
    "trace-build",
    "turbopack",
    "lock",
    "package.json",
    "next-server.js.nft.json",
    "next-minimal-server.js.nft.json",
    "export-marker.json",
];
/// Directories at the top of `.next`.
const NEXT_DIRECTORIES: [&str; 11] = [
    "analyze",
    "build",
    "cache",
    "dev",
    "diagnostics",
    "export",
    "server",
    "standalone",
    "static",
    "types",
    "turbopack",
];
/// Extensions of files in these directories, besides a page's [`PARTS`].
const NEXT_PARTS: [&str; 14] = [
    "body",
    "gz",
    "html",
    "meta",
    "node",
    "old",
    "pack",
    "prefetch",
    "rsc",
    "segment",
    "sst",
    "ts",
    "tsbuildinfo",
    "del",
];
/// Names of files in these directories.
const NEXT_FILES: [&str; 7] = [
    "CURRENT",
    "LOG",
    "trace",
    "lock",
    "BUILD_ID",
    ".rscinfo",
    ".previewinfo",
];

fn next() -> Opinion {
    let within = || {
        files(|name| {
            ends_with(name, PARTS)
                || ends_with(name, &NEXT_PARTS)
                || NEXT_FILES.contains(&name)
                || is_hash(name)
        })
    };
    opinion(move |_, name, kind| {
        if kind.is_dir() {
            return if NEXT_DIRECTORIES.contains(&name) {
                Says::Below(within())
            } else {
                Says::Nothing
            };
        }
        let listed = name.ends_with("manifest.json")
            || name.ends_with("-manifest.js")
            || name.starts_with("required-server-files.js");
        (NEXT_TOP.contains(&name) || listed).into()
    })
}

/// Claims Nitro's output: a server, and copies of the public files.
fn output() -> Opinion {
    opinion(|_, name, kind| match (name, kind.is_dir()) {
        ("server", true) => Says::Below(opinion(|_, name, kind| match (name, kind.is_dir()) {
            // Packages that the bundler copied.
            ("node_modules", true) => Says::Mine,
            (_, true) => Says::Below(extensions(PARTS)),
            _ => ends_with(name, PARTS).into(),
        })),
        ("public", true) => Says::Below(public(String::new(), true)),
        (_, false) => (name == "nitro.json").into(),
        _ => Says::Nothing,
    })
}

fn svelte_kit() -> Opinion {
    opinion(|_, name, kind| match kind.is_dir() {
        true if [
            "generated",
            "output",
            "types",
            "adapter-node",
            "cloudflare",
            "vercel-tmp",
        ]
        .contains(&name) =>
        {
            Says::Below(files(|name| {
                ends_with(name, PARTS) || ends_with(name, &["ts", "html", "svelte"])
            }))
        }
        true => Says::Nothing,
        false => [
            "ambient.d.ts",
            "env.d.ts",
            "non-ambient.d.ts",
            "tsconfig.json",
        ]
        .contains(&name)
        .into(),
    })
}

const VITE: [&str; 6] = [
    "vite.config.ts",
    "vite.config.js",
    "vite.config.mts",
    "vite.config.mjs",
    "vite.config.cts",
    "vite.config.cjs",
];

fn is_vites(parent: BorrowedFd<'_>, name: &str) -> bool {
    ["dist", "build"].contains(&name)
        && holds(parent, &VITE)
        && beside(
            parent,
            &["package.json"],
            name,
            &["assets", "index.html", ".vite"],
        )
}

/// Claims pages named like the project's, assets named by a hash, and copies of public files.
fn vite() -> Opinion {
    let own = |directory: &Directory, name: &str| {
        ends_with(name, &["html"])
            && directory
                .above()
                .first()
                .is_some_and(|project| project.holds(name))
    };
    opinion(move |directory, name, kind| match (name, kind.is_dir()) {
        ("assets", true) => Says::Below(opinion(|directory, name, kind| {
            (!kind.is_dir() && (is_hashed(name) || is_public(directory, "assets/", name))).into()
        })),
        (".vite", true) => Says::Below(extensions(&["json"])),
        (_, true) => Says::Below(public(format!("{name}/"), false)),
        _ => (own(directory, name) || is_public(directory, "", name)).into(),
    })
}

/// Returns whether a name contains a hash, like `index-D_6Ay_gG.js`.
fn is_hashed(name: &str) -> bool {
    let stem = name
        .strip_suffix(".map")
        .unwrap_or(name)
        .split('.')
        .next()
        .unwrap_or_default();
    let hash = stem
        .len()
        .checked_sub(8)
        .and_then(|at| Some((stem.get(..at)?, stem.get(at..)?)));
    let hashed = hash.is_some_and(|(name, hash)| {
        name.ends_with('-')
            && hash
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    hashed && ends_with(name, PARTS)
}

/// Claims copies of the project's `public`; if `built`, also a bundler's parts below `_*`.
fn public(path: String, built: bool) -> Opinion {
    opinion(move |directory, name, kind| {
        if kind.is_dir() {
            return Says::Below(public(format!("{path}{name}/"), built));
        }
        let part = built && path.starts_with('_') && ends_with(name, PARTS);
        (part || is_public(directory, &path, name)).into()
    })
}

/// Returns whether the file equals, byte for byte, the public file at that path.
fn is_public(directory: &Directory, path: &str, name: &str) -> bool {
    let mut projects = directory
        .above()
        .into_iter()
        .filter(|above| above.holds("public"));
    let source = projects
        .next()
        .and_then(|project| project.note(&format!("public/{path}{name}")));
    source.is_some_and(|source| directory.note(name) == Some(source))
}

/// Returns whether it is a JSON array that begins with an object, as flat-cache writes it.
fn is_flat_cache(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Vec<serde_json::Value>>(bytes)
        .is_ok_and(|values| values.first().is_some_and(serde_json::Value::is_object))
}
