//! Recognises folders that a tool makes again, by what stands in and beside them.
//!
//! A name alone proves nothing: somebody's notes may stand in a folder called `target`. Whoever asks must first know that git tracks
//! nothing in it. It must never say yes on an error or for a link: then the folder is walked and counts as work.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::ffi::OsStr;

use crate::beneath;

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

/// What npm, pnpm and Yarn leave in a `node_modules` that they filled.
const INSTALLED: [&str; 4] = [".package-lock.json", ".modules.yaml", ".yarn-state.yml", ".bin"];

const GRADLE: [&str; 4] = ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];

/// The folder itself, not what a link of that name leads to.
fn folder(parent: BorrowedFd<'_>, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).ok()
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
    fn a_link_is_never_made_again() {
        let field = Field::new();
        field.file("elsewhere/.bin/tsc", 1);
        field.file("p/package.json", 1);
        field.link("elsewhere", "p/node_modules");
        assert!(!sees(&field, "p/node_modules"));
    }
}
