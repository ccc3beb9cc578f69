//! Recognises folders that a tool makes again, by what stands in and beside them.
//!
//! A name alone proves nothing: somebody's notes may stand in a folder called `target`. Whoever asks must first know that git tracks
//! nothing in it. It must never say yes on an error or for a link: then the folder is walked and counts as work.

use super::size;
use crate::beneath;
use crate::inside::Inside;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

// | folder                                    | is made again when                                                                  |
// | ----------------------------------------- | ----------------------------------------------------------------------------------- |
// | node_modules                              | beside package.json; or holds .package-lock.json, .modules.yaml, .yarn-state.yml, .bin |
// | target                                    | beside Cargo.toml, and holds CACHEDIR.TAG or .rustc_info.json                       |
// | .venv, venv                               | holds pyvenv.cfg                                                                    |
// | __pycache__                               | holds files named *.pyc and nothing else                                            |
// | .next                                     | beside package.json, and holds BUILD_ID, build-manifest.json, cache or trace        |
// | .turbo                                    | beside package.json or turbo.json                                                   |
// | .gradle                                   | beside build.gradle, settings.gradle, or either with .kts                           |
// | .pytest_cache, .mypy_cache, .ruff_cache   | holds CACHEDIR.TAG                                                                  |
//
// Not here: dist and build, which may hold work.

/// Whether the folder `name` in the directory `parent` is one that a tool makes again. An error is a no.
pub fn recognise(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let beside = |names: &[&str]| holds(parent, names);
    let inside = |names: &[&str]| folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), names));
    match name {
        "node_modules" => inside(&["."]) && (beside(&["package.json"]) || inside(&INSTALLED)),
        "target" => beside(&["Cargo.toml"]) && inside(&["CACHEDIR.TAG", ".rustc_info.json"]),
        ".venv" | "venv" => inside(&["pyvenv.cfg"]),
        "__pycache__" => folder(parent, name).is_some_and(only_bytecode),
        ".next" => beside(&["package.json"]) && inside(&["BUILD_ID", "build-manifest.json", "cache", "trace"]),
        ".turbo" => inside(&["."]) && beside(&["package.json", "turbo.json"]),
        ".gradle" => inside(&["."]) && beside(&GRADLE),
        ".pytest_cache" | ".mypy_cache" | ".ruff_cache" => inside(&["CACHEDIR.TAG"]),
        _ => false,
    }
}

/// What no tool brings back, in folders that tools make again otherwise: a repo (`pip install -e git+https://...` clones into `.venv/src`, and
/// people clone a dependency into `node_modules` to mend it there), or what somebody put beside the tool's own. All of it is walked, so
/// ask only of what is about to go.
///
/// # Errors
/// Something can't be read: nobody knows what stands there.
pub fn work_within(folders: &[Inside]) -> io::Result<Option<String>> {
    let repo = || size::repo_among(folders).map(|repo| repo.map(|repo| format!("`{}` is a nested repo", repo.display())));
    own_among(folders)?.map_or_else(repo, |own| Ok(Some(own)))
}

/// What somebody put beside the tool's own, right in the folder. A file that he changed deeper down is not found: every tool that installs
/// again would undo that, too.
///
/// # Errors
/// As [`work_within`].
pub fn own_among(folders: &[Inside]) -> io::Result<Option<String>> {
    for folder in folders {
        let fd = beneath::dir(folder)?;
        let own = match folder.relative().file_name().and_then(OsStr::to_str) {
            Some("node_modules") => no_package(&fd, true)?,
            Some("target") => other_than(&fd, |name, kind| name == "CACHEDIR.TAG" || kind == FileType::Directory)?,
            Some(".venv" | "venv") => other_than(&fd, |name, _| VENV.contains(&name))?,
            _ => None,
        };
        if let Some(own) = own {
            return Ok(Some(format!("`{folder}/{}` is not what the tool that made `{folder}` would bring back", own.display())));
        }
    }
    Ok(None)
}

/// The first entry, by name, that is neither hidden nor a tool's.
fn other_than(folder: &OwnedFd, tools: impl Fn(&str, FileType) -> bool) -> io::Result<Option<PathBuf>> {
    let mut entries = seen(folder)?.into_iter();
    Ok(entries.find(|(name, kind)| !name.to_str().is_some_and(|name| tools(name, *kind))).map(|(name, _)| name.into()))
}

/// The first entry of a `node_modules`, or of an `@scope` in it, that no package manager puts there: a file, or a folder with files and without a
/// `package.json`. Links are a workspace's packages.
fn no_package(folder: &OwnedFd, scopes: bool) -> io::Result<Option<PathBuf>> {
    for (name, kind) in seen(folder)? {
        let own = match kind {
            FileType::Symlink => None,
            FileType::Directory => {
                let below = open_folder(folder.as_fd(), &name)?;
                if scopes && name.as_encoded_bytes().starts_with(b"@") {
                    no_package(&below, false)?
                } else if holds(below.as_fd(), &["package.json"]) {
                    None
                } else {
                    other_than(&below, |_, kind| kind == FileType::Directory)?
                }
            }
            _ => Some(PathBuf::new()),
        };
        if let Some(own) = own {
            return Ok(Some(Path::new(&name).join(own)));
        }
    }
    Ok(None)
}

/// What isn't hidden in a folder, by name. Hidden entries are the tools' own notes and caches.
fn seen(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    // By another descriptor: a listing uses its own up.
    let mut entries = beneath::list(open_folder(folder.as_fd(), OsStr::new("."))?)?;
    entries.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
    for (name, kind) in entries.iter_mut().filter(|(_, kind)| *kind == FileType::Unknown) {
        *kind = FileType::from_raw_mode(rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// What Python's venv, virtualenv, uv and the packages' installers make at the top.
const VENV: [&str; 14] = [
    "bin",
    "etc",
    "include",
    "Include",
    "lib",
    "Lib",
    "lib64",
    "local",
    "man",
    "pip-selfcheck.json",
    "pyvenv.cfg",
    "Scripts",
    "share",
    "src",
];

/// What npm, pnpm and Yarn leave in a `node_modules` that they filled.
const INSTALLED: [&str; 4] = [".package-lock.json", ".modules.yaml", ".yarn-state.yml", ".bin"];

const GRADLE: [&str; 4] = ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];

/// The folder itself, not what a link of that name leads to.
fn folder(parent: BorrowedFd<'_>, name: &str) -> Option<OwnedFd> {
    open_folder(parent, OsStr::new(name)).ok()
}

fn open_folder(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Whether `directory` holds a file or directory of any of these names.
fn holds(directory: BorrowedFd<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| {
        let seen = rustix::fs::statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW);
        seen.is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory))
    })
}

fn only_bytecode(folder: OwnedFd) -> bool {
    beneath::list(folder).is_ok_and(|entries| entries.iter().all(|(name, kind)| *kind == FileType::RegularFile && is_bytecode(name)))
}

fn is_bytecode(name: &OsStr) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension == "pyc")
}

#[cfg(test)]
mod tests {
    use super::super::caches::testing::Field;
    use super::*;
    use std::fs::File;

    fn sees(field: &Field, path: &str) -> bool {
        let path = field.at(path).path();
        let parent = File::open(path.parent().unwrap()).unwrap();
        recognise(parent.as_fd(), path.file_name().unwrap())
    }

    #[test]
    fn structure_tells() {
        // The files that stand there, the folder asked about, and whether it is one that a tool makes again.
        let table: [(&[&str], &str, bool); 22] = [
            (&["p/package.json", "p/node_modules/left-pad/index.js"], "p/node_modules", true),
            (&["p/node_modules/.package-lock.json"], "p/node_modules", true),
            (&["p/node_modules/.bin/tsc"], "p/node_modules", true),
            (&["p/node_modules/mine.js"], "p/node_modules", false),
            (&["p/package.json", "p/node_modules"], "p/node_modules", false),
            (&["p/Cargo.toml", "p/target/CACHEDIR.TAG"], "p/target", true),
            (&["p/Cargo.toml", "p/target/.rustc_info.json"], "p/target", true),
            (&["p/Cargo.toml", "p/target/notes.md"], "p/target", false),
            (&["p/target/CACHEDIR.TAG"], "p/target", false),
            (&["p/.venv/pyvenv.cfg"], "p/.venv", true),
            (&["p/venv/main.py"], "p/venv", false),
            (&["p/__pycache__/a.cpython-311.pyc"], "p/__pycache__", true),
            (&["p/__pycache__/a.pyc", "p/__pycache__/a.py"], "p/__pycache__", false),
            (&["p/package.json", "p/.next/BUILD_ID"], "p/.next", true),
            (&["p/package.json", "p/.next/page.tsx"], "p/.next", false),
            (&["p/turbo.json", "p/.turbo/log"], "p/.turbo", true),
            (&["p/.turbo/log"], "p/.turbo", false),
            (&["p/settings.gradle.kts", "p/.gradle/8.5/x"], "p/.gradle", true),
            (&["p/.mypy_cache/CACHEDIR.TAG"], "p/.mypy_cache", true),
            (&["p/.ruff_cache/mine"], "p/.ruff_cache", false),
            (&["p/package.json", "p/dist/index.js"], "p/dist", false),
            (&["p/package.json"], "p/node_modules", false),
        ];
        for (files, asked, expected) in table {
            let field = Field::new();
            for file in files {
                field.file(file, 1);
            }
            assert_eq!(sees(&field, asked), expected, "{asked} with {files:?}");
        }
    }

    #[test]
    fn what_a_tool_did_not_make_is_work() {
        let table = [
            (".venv/src/pkg/.git/HEAD", ".venv", Some(".venv/src/pkg` is a nested repo")),
            (".venv/lib/python3.11/site-packages/pkg/.hg/requires", ".venv", Some("site-packages/pkg` is a nested repo")),
            (".venv/train.py", ".venv", Some(".venv/train.py` is not what")),
            (".venv/bin/python", ".venv", None),
            ("node_modules/.cache/left-pad/.git", "node_modules", Some("left-pad` is a nested repo")),
            ("node_modules/.pnpm/a/HEAD", "node_modules", None),
            ("node_modules/mine.js", "node_modules", Some("node_modules/mine.js` is not what")),
            ("node_modules/mine/index.js", "node_modules", Some("node_modules/mine/index.js` is not what")),
            ("node_modules/@acme/mine/index.js", "node_modules", Some("node_modules/@acme/mine/index.js` is not what")),
            ("node_modules/@acme/ui/package.json", "node_modules", None),
            ("node_modules/left-pad/node_modules/pad/package.json", "node_modules", None),
            ("target/debug/x/.GIT/HEAD", "target", Some("target/debug/x` is a nested repo")),
            ("target/notes.md", "target", Some("target/notes.md` is not what")),
            ("target/CACHEDIR.TAG", "target", None),
        ];
        for (file, asked, expected) in table {
            let field = Field::new();
            field.file(&format!("p/{file}"), 1);
            let found = work_within(&[field.at("p").join(asked).unwrap()]).unwrap();
            assert!(expected.map_or(found.is_none(), |words| found.as_ref().unwrap().contains(words)), "{file}: {found:?}");
        }
        let field = Field::new();
        for file in ["HEAD", "objects/pack/x", "refs/heads/main"] {
            field.file(&format!("target/bare/{file}"), 1);
        }
        assert!(work_within(&[field.at("target")]).unwrap().unwrap().contains("target/bare` is a nested repo"));
    }

    #[test]
    fn a_link_is_never_made_again() {
        let field = Field::new();
        field.file("elsewhere/.bin/tsc", 1);
        field.file("p/package.json", 1);
        field.link("elsewhere", "p/node_modules");
        assert!(!sees(&field, "p/node_modules"));
    }
}
