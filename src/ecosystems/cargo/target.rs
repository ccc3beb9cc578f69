//! Cargo's target directories, whatever their names: profiles with their fingerprints, and the
//! artifacts that fingerprints and `.d` files account for.
//!
//! Being in a profile doesn't make a file an artifact. What benches and tests leave there
//! (`criterion`, `tmp`) is somebody's: no build recreates it as it was.

use crate::ecosystems::account::{Opinion, Says, Tool, extensions, files, opinion};
use crate::ecosystems::directory::{Directory, ends_with, folder, holds, holds_below};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::FileType;
use std::collections::HashSet;
use std::rc::Rc;

pub(super) const TARGET: Tool = Tool {
    signs: &["CACHEDIR.TAG", ".rustc_info.json"],
    made,
    account: |_| target(),
};

/// The names that Cargo writes at the top.
const TOP: [&str; 8] = [
    "CACHEDIR.TAG",
    ".rustc_info.json",
    ".rustdoc_fingerprint.json",
    ".future-incompat-report.json",
    ".cargo-lock",
    ".cargo-build-lock",
    ".cargo-artifact-lock",
    ".package-cache",
];
/// The extensions of artifacts.
const ARTIFACTS: [&str; 15] = [
    "a",
    "d",
    "dll",
    "dwp",
    "dylib",
    "exe",
    "exp",
    "js",
    "lib",
    "pdb",
    "rlib",
    "rmeta",
    "so",
    "wasm",
    "long-type.txt",
];
/// Digits of the hash in a unit's name.
const HASH: usize = 16;

/// Returns whether it is a target directory. For a `target` beside a manifest one sign is enough.
/// Others (`--target-dir`, `CARGO_TARGET_DIR`) need both, or one and a profile.
fn made(parent: BorrowedFd<'_>, name: &str) -> bool {
    let Some(folder) = folder(parent, name) else {
        return false;
    };
    let [tag, info] =
        ["CACHEDIR.TAG", ".rustc_info.json"].map(|sign| holds(folder.as_fd(), &[sign]));
    let built = || {
        ["debug/.cargo-lock", "release/.cargo-lock"]
            .iter()
            .any(|path| holds_below(&folder, path))
    };
    match name {
        "target" if holds(parent, &["Cargo.toml"]) => tag || info,
        _ => (tag && info) || ((tag || info) && built()),
    }
}

/// Claims the files of a target directory, or of one below it for another platform or tool.
fn target() -> Opinion {
    opinion(|directory, name, kind| match name {
        _ if !kind.is_dir() => {
            (TOP.contains(&name) || ends_with(name, &["profraw", "profdata"])).into()
        }
        "doc" => Says::Below(docs(0)),
        "package" => Says::Below(packages()),
        "nextest" => Says::Below(extensions(&["xml"])),
        _ => within(directory, name),
    })
}

fn within(directory: &Directory, name: &str) -> Says {
    if directory.has(&format!("{name}/.fingerprint"))
        || directory.has(&format!("{name}/.cargo-lock"))
    {
        return directory
            .below(name.as_ref())
            .map_or(Says::Nothing, |profile| {
                Says::Below(self::profile(&profile))
            });
    }
    let nested = || {
        directory
            .names(name)
            .iter()
            .any(|below| directory.has(&format!("{name}/{}/.fingerprint", below.display())))
    };
    (directory.has(&format!("{name}/.rustc_info.json")) || nested())
        .then(target)
        .map_or(Says::Nothing, Says::Below)
}

/// Claims the files of a profile: of units with a fingerprint, and of crates with a `.d` file.
fn profile(profile: &Directory) -> Opinion {
    let text = |name: &std::ffi::OsString| name.to_str().map(str::to_owned);
    let units: HashSet<String> = profile
        .names(".fingerprint")
        .iter()
        .filter_map(text)
        .collect();
    let crates: HashSet<String> = profile
        .names("deps")
        .iter()
        .filter_map(|name| Some(split(name.to_str()?.strip_suffix(".d")?)?.0.to_owned()))
        .collect();
    let (units, crates) = (Rc::new(units), Rc::new(crates));
    opinion(move |directory, name, kind| match name {
        _ if !kind.is_dir() => (TOP.contains(&name)
            || is_artifact(name, |stem| {
                crates.contains(&stem.replace('-', "_")) || has_d(directory, stem)
            }))
        .into(),
        ".fingerprint" => Says::Below(fingerprints()),
        "deps" => Says::Below(deps()),
        "examples" => Says::Below(opinion(|directory, name, kind| {
            (!kind.is_dir() && is_artifact(name, |stem| has_d(directory, stem))).into()
        })),
        "incremental" => Says::Below(incremental(0)),
        "build" => Says::Below(build(units.clone())),
        _ => Says::Nothing,
    })
}

/// Returns whether `name` is an artifact's and its stem is known: `libshop.rlib`, `shop`, `shop.d`,
/// `shop-0123456789abcdef.5c3b.rcgu.o`.
fn is_artifact(name: &str, known: impl Fn(&str) -> bool) -> bool {
    let (stem, rest) = name.split_once('.').unwrap_or((name, ""));
    let shaped = rest.is_empty()
        || ARTIFACTS.contains(&rest)
        || rest.ends_with(".rcgu.o")
        || rest.ends_with(".rcgu.dwo")
        || rest.ends_with(".long-type.txt");
    shaped && (known(stem) || stem.strip_prefix("lib").is_some_and(known))
}

fn has_d(directory: &Directory, stem: &str) -> bool {
    directory.holds(&format!("{stem}.d"))
}

/// Splits `CRATE-HASH` into the crate and the hash.
fn split(unit: &str) -> Option<(&str, &str)> {
    unit.rsplit_once('-')
        .filter(|(_, hash)| hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn deps() -> Opinion {
    opinion(|directory, name, kind| {
        // The artifact of a crate that others link to has no hash in its name.
        let unit =
            |stem: &str| has_d(directory, stem) && (split(stem).is_some() || name.contains('.'));
        // A rustc that was interrupted leaves these behind.
        let left = || name.starts_with("rmeta") || name.starts_with("rustc");
        (if kind.is_dir() {
            left()
        } else {
            is_artifact(name, unit)
        })
        .into()
    })
}

fn fingerprints() -> Opinion {
    opinion(|_, name, kind| {
        let kinds = [
            "bin-",
            "bench-",
            "build-script-",
            "dep-",
            "doc-",
            "example-",
            "lib-",
            "output-",
            "run-build-script-",
            "test-",
            "stale-",
        ];
        let mine = files(move |name| {
            name == "invoked.timestamp" || kinds.iter().any(|kind| name.starts_with(kind))
        });
        if kind.is_dir() && split(name).is_some() {
            Says::Below(mine)
        } else {
            Says::Nothing
        }
    })
}

/// Claims `CRATE-HASH/s-SESSION/*.o` and the like.
fn incremental(depth: usize) -> Opinion {
    opinion(move |_, name, kind| match (depth, kind.is_dir()) {
        (0, true) => {
            if name.contains('-') {
                Says::Below(incremental(1))
            } else {
                Says::Nothing
            }
        }
        (1, true) => {
            if name.starts_with("s-") {
                Says::Below(incremental(2))
            } else {
                Says::Nothing
            }
        }
        (1, false) => (name.starts_with("s-") && ends_with(name, &["lock"])).into(),
        (2, false) => ends_with(name, &["bin", "o", "bc", "dwo", "pre-lto", "rmeta", "so"]).into(),
        _ => Says::Nothing,
    })
}

/// Claims build scripts and their output: files in `out` that aren't newer than the script's end.
fn build(units: Rc<HashSet<String>>) -> Opinion {
    opinion(move |directory, name, kind| {
        if !kind.is_dir() || !(units.contains(name) || split(name).is_some()) {
            return Says::Nothing;
        }
        let ended = directory
            .stat(&format!("{name}/output"))
            .map_or(i64::MIN, |stat| stat.st_mtime);
        Says::Below(opinion(move |directory, name, kind| match name {
            "out" if kind.is_dir() => Says::Below(made_before(ended.saturating_add(SLACK))),
            "output" | "stderr" | "root-output" | "invoked.timestamp" => Says::Mine,
            _ if kind.is_dir() => Says::Nothing,
            _ => is_artifact(name, |stem| {
                stem.starts_with("build-script-")
                    || stem.starts_with("build_script_")
                    || has_d(directory, stem)
            })
            .into(),
        }))
    })
}

/// Seconds by which a file server may round its times.
const SLACK: i64 = 2;

fn made_before(end: i64) -> Opinion {
    opinion(move |directory, name, kind| {
        if kind.is_dir() {
            Says::Below(made_before(end))
        } else {
            directory
                .stat(name)
                .is_some_and(|stat| stat.st_mtime <= end)
                .into()
        }
    })
}

/// Claims the output of `cargo package`: archives, each also unpacked for verification.
fn packages() -> Opinion {
    opinion(|directory, name, kind| match kind {
        FileType::Directory => (name == "tmp-crate"
            || name == "tmp-registry"
            || directory.holds(&format!("{name}.crate")))
        .into(),
        _ => (ends_with(name, &["crate"]) || name == ".cargo-ok").into(),
    })
}

/// The files at the top of rustdoc's output.
const DOC_TOP: [&str; 9] = [
    ".lock",
    "crates.js",
    "help.html",
    "index.html",
    "search-index.js",
    "settings.html",
    "source-files.js",
    "src-files.js",
    "scrape-examples-help.html",
];
/// The kinds of items. The name of a page begins with the kind of its item.
const DOC_KINDS: [&str; 17] = [
    "attr",
    "constant",
    "derive",
    "enum",
    "externcrate",
    "fn",
    "keyword",
    "macro",
    "mod",
    "primitive",
    "static",
    "struct",
    "trait",
    "traitalias",
    "type",
    "union",
    "opaque",
];
/// The directories at the top that contain sources and indexes.
const DOC_DIRECTORIES: [&str; 6] = [
    "src",
    "search.index",
    "search.desc",
    "trait.impl",
    "type.impl",
    "implementors",
];

/// Claims the output of rustdoc, by its file names.
fn docs(depth: usize) -> Opinion {
    opinion(move |_, name, kind| {
        let stem = name.split('.').next().unwrap_or_default();
        match (depth, kind.is_dir()) {
            (0, false) => DOC_TOP.contains(&name).into(),
            (0, true) if name == "static.files" => Says::Mine,
            (0, true) if DOC_DIRECTORIES.contains(&name) => Says::Below(files(|name| {
                name.ends_with(".rs.html") || ends_with(name, &["js"])
            })),
            (_, true) => Says::Below(docs(depth.saturating_add(1))),
            (_, false) => {
                let named = name.matches('.').count() > 1 && DOC_KINDS.contains(&stem);
                (["index.html", "all.html", "sidebar-items.js"].contains(&name)
                    || (named && ends_with(name, &["html"])))
                .into()
            }
        }
    })
}
