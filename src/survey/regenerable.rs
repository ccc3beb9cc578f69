//! Recognises folders that a tool makes again, by what stands in and beside them.
//!
//! A name alone proves nothing: somebody's notes may stand in a folder called `target`. Whoever asks must first know that git tracks
//! nothing in it. It must never say yes on an error or for a link: then the folder is walked and counts as work.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

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

/// A repo of somebody's own in a folder that a tool makes again otherwise: `pip install -e git+https://...` clones into `.venv/src`, and
/// people clone a dependency into `node_modules` to mend it there. No tool brings its commits back.
///
/// Only where tools and people put them is looked at, for a whole `node_modules` has 100,000 entries: the folder itself, its folders, and
/// those of its `src` and `@scope` folders.
///
/// # Errors
/// Something can't be read: nobody knows what stands there.
pub fn repo_within(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<PathBuf>> {
    let top = open_folder(parent, name)?;
    repo_among(&top, 2)
}

fn repo_among(folder: &OwnedFd, levels: usize) -> io::Result<Option<PathBuf>> {
    if is_there(folder.as_fd(), ".git")? {
        return Ok(Some(PathBuf::from(".git")));
    }
    for (name, kind) in beneath::list(open_folder(folder.as_fd(), OsStr::new("."))?)? {
        if !matches!(kind, FileType::Directory | FileType::Unknown) || levels == 0 {
            continue;
        }
        let gathers = name == "src" || name.as_encoded_bytes().starts_with(b"@");
        let found = if gathers && let Ok(below) = open_folder(folder.as_fd(), &name) {
            repo_among(&below, levels - 1)?
        } else {
            is_there(folder.as_fd(), Path::new(&name).join(".git"))?.then(|| PathBuf::from(".git"))
        };
        if let Some(repo) = found {
            return Ok(Some(Path::new(&name).join(repo)));
        }
    }
    Ok(None)
}

fn is_there(folder: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<bool> {
    match rustix::fs::statat(folder, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

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
    fn a_repo_within_is_somebodys_own() {
        let table = [
            (".venv/src/pkg/.git/HEAD", ".venv", Some("src/pkg/.git")),
            ("node_modules/left-pad/.git/HEAD", "node_modules", Some("left-pad/.git")),
            ("node_modules/@acme/ui/.git", "node_modules", Some("@acme/ui/.git")),
            ("target/.git/HEAD", "target", Some(".git")),
            ("node_modules/left-pad/index.js", "node_modules", None),
        ];
        for (file, asked, expected) in table {
            let field = Field::new();
            field.file(&format!("p/{file}"), 1);
            let parent = File::open(field.at("p").path()).unwrap();
            assert_eq!(repo_within(parent.as_fd(), asked.as_ref()).unwrap().as_deref(), expected.map(Path::new), "{file}");
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
