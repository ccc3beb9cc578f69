//! Recognises folders that a tool makes again, by what stands in and beside them.
//!
//! A name alone proves nothing: somebody's notes may stand in a folder called `target`. Whoever asks must first know that git tracks
//! nothing in it. It must never say yes on an error or for a link: then the folder is walked and counts as work.

use super::size;
use crate::beneath;
use crate::facts::worktree::MadeAgain;
use crate::inside::Inside;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

// | folder                                  | is made again when                                                                    |
// | --------------------------------------- | ------------------------------------------------------------------------------------- |
// | node_modules                            | beside package.json; or holds .package-lock.json, .modules.yaml, .yarn-state.yml, .bin |
// | target                                  | Cargo's: beside Cargo.toml, and holds CACHEDIR.TAG or .rustc_info.json                |
// |                                         | Maven's: beside pom.xml, and holds maven-status or maven-archiver                     |
// | .venv, venv                             | holds pyvenv.cfg                                                                      |
// | __pycache__                             | holds files named *.pyc and nothing else                                              |
// | .pytest_cache, .mypy_cache, .ruff_cache, .tox, .nox | holds CACHEDIR.TAG                                                        |
// | htmlcov                                 | holds status.json, and nothing but reports                                            |
// | .next                                   | beside package.json, and holds BUILD_ID, build-manifest.json, cache or trace          |
// | .nuxt                                   | beside package.json, and holds nuxt.d.ts                                              |
// | .output                                 | beside package.json, and holds nitro.json                                             |
// | .svelte-kit                             | beside package.json, and holds generated                                              |
// | .angular                                | beside angular.json, and holds cache                                                  |
// | .parcel-cache                           | beside package.json, and holds data.mdb                                               |
// | .turbo                                  | beside package.json or turbo.json                                                     |
// | .gradle                                 | beside build.gradle, settings.gradle, or either with .kts                             |
// | coverage                                | beside package.json, holds coverage-final.json or lcov-report, and nothing but reports |
// | build                                   | Gradle's: beside what .gradle is, and holds classes or the like, and no other folders than Gradle's |
// |                                         | setuptools': beside pyproject.toml or setup.py, holds bdist.*, lib, temp.* and nothing else |
// | dist                                    | Python's: beside pyproject.toml or setup.py, and holds archives of one release and nothing else |
// | dist, build                             | a compiler's: beside package.json, every file is a source map or has one              |
//
// What an operator knows besides stands in the config, as `worktrees.made_again`.

/// Whether the folder `name` in the directory `parent` is one that a tool makes again, by the table or by the operator's word in
/// `made_again`. An error is a no.
pub fn recognise(parent: BorrowedFd<'_>, name: &OsStr, made_again: &[MadeAgain]) -> bool {
    let Some(name) = name.to_str() else { return false };
    known(parent, name) || made_again.iter().any(|known| known.name == name && shows(parent, known))
}

fn known(parent: BorrowedFd<'_>, name: &str) -> bool {
    let beside = |names: &[&str]| holds(parent, names);
    let inside = |names: &[&str]| folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), names));
    let only = |sign: &[&str], made: fn(&str, FileType) -> bool| folder(parent, name).is_some_and(|folder| only(&folder, sign, made));
    match name {
        "node_modules" => inside(&["."]) && (beside(&["package.json"]) || inside(&INSTALLED)),
        "target" => {
            (beside(&["Cargo.toml"]) && inside(&["CACHEDIR.TAG", ".rustc_info.json"]))
                || (beside(&["pom.xml"]) && inside(&["maven-status", "maven-archiver"]))
        }
        ".venv" | "venv" => inside(&["pyvenv.cfg"]),
        "__pycache__" => folder(parent, name).is_some_and(|folder| only_bytecode(&folder)),
        ".pytest_cache" | ".mypy_cache" | ".ruff_cache" | ".tox" | ".nox" => inside(&["CACHEDIR.TAG"]),
        "htmlcov" => only(&["status.json"], is_report),
        ".next" => beside(&["package.json"]) && inside(&["BUILD_ID", "build-manifest.json", "cache", "trace"]),
        ".nuxt" => beside(&["package.json"]) && inside(&["nuxt.d.ts"]),
        ".output" => beside(&["package.json"]) && inside(&["nitro.json"]),
        ".svelte-kit" => beside(&["package.json"]) && inside(&["generated"]),
        ".angular" => beside(&["angular.json"]) && inside(&["cache"]),
        ".parcel-cache" => beside(&["package.json"]) && inside(&["data.mdb"]),
        ".turbo" => inside(&["."]) && beside(&["package.json", "turbo.json"]),
        ".gradle" => inside(&["."]) && beside(&GRADLE),
        "coverage" => beside(&["package.json"]) && only(&["coverage-final.json", "lcov-report"], is_report),
        "build" if beside(&GRADLE) && only(&["classes", "intermediates", "kotlin", "tmp"], is_gradles) => true,
        "build" if beside(&PYTHON) && only(&["bdist."], is_setuptools) => true,
        "dist" if beside(&PYTHON) && only(&[""], is_release) => folder(parent, name).is_some_and(|folder| is_one_release(&folder)),
        "build" | "dist" => beside(&["package.json"]) && folder(parent, name).is_some_and(|folder| is_compiled(&folder)),
        _ => false,
    }
}

/// Whether the operator's signs are there.
fn shows(parent: BorrowedFd<'_>, known: &MadeAgain) -> bool {
    let beside = |name: &String| holds(parent, &[name]);
    let inside = |sign: &str| folder(parent, &known.name).is_some_and(|folder| holds(folder.as_fd(), &[sign]));
    inside(known.holds.as_deref().unwrap_or(".")) && known.beside.as_ref().is_none_or(beside)
}

/// Whether all that isn't hidden in a folder is what a tool makes, and one name at least begins with a `sign` of it.
fn only(folder: &OwnedFd, sign: &[&str], made: fn(&str, FileType) -> bool) -> bool {
    let is_made = |(name, kind): &(OsString, FileType)| name.to_str().is_some_and(|name| made(name, *kind));
    let shows = |(name, _): &(OsString, FileType)| sign.iter().any(|sign| name.as_encoded_bytes().starts_with(sign.as_bytes()));
    seen(folder).is_ok_and(|entries| entries.iter().any(shows) && entries.iter().all(is_made))
}

fn is_report(name: &str, kind: FileType) -> bool {
    name == "lcov-report" || (kind == FileType::RegularFile && ends_with(name, &["html", "css", "js", "json", "xml", "info", "png"]))
}

fn is_gradles(name: &str, kind: FileType) -> bool {
    kind == FileType::Directory && GRADLE_MAKES.contains(&name)
}

fn is_setuptools(name: &str, kind: FileType) -> bool {
    let made = name == "lib" || ["bdist.", "lib.", "temp.", "scripts-"].iter().any(|start| name.starts_with(start));
    kind == FileType::Directory && made
}

fn is_release(name: &str, kind: FileType) -> bool {
    kind == FileType::RegularFile && (ends_with(name, &["whl"]) || name.ends_with(".tar.gz"))
}

/// Whether all archives are of one release: no build brings back an older one.
fn is_one_release(folder: &OwnedFd) -> bool {
    let release = |(name, _): &(OsString, FileType)| {
        let name = name.to_string_lossy();
        let stem = name.strip_suffix(".tar.gz").unwrap_or(&name);
        stem.splitn(3, '-').take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    seen(folder).is_ok_and(|entries| entries.iter().map(release).collect::<BTreeSet<_>>().len() == 1)
}

/// Whether a folder holds what a compiler or bundler made and nothing else. Nobody writes a source map by hand: what is one, has one, or
/// declares the types of what has one, was made.
fn is_compiled(folder: &OwnedFd) -> bool {
    let (mut files, mut left) = (BTreeSet::new(), MOST_COMPILED);
    let walked = compiled_files(folder, "", &mut files, &mut left);
    let mapped = |file: &str| files.contains(&format!("{file}.map"));
    let made = |file: &String| match file.strip_suffix(".map") {
        Some(of) => files.contains(of),
        None if mapped(file) || file.ends_with(".tsbuildinfo") => true,
        None => [".d.ts:.js", ".d.mts:.mjs", ".d.cts:.cjs"]
            .iter()
            .filter_map(|pair| pair.split_once(':'))
            .any(|(types, code)| file.strip_suffix(types).is_some_and(|stem| mapped(&format!("{stem}{code}")))),
    };
    walked.is_some() && files.iter().any(|file| mapped(file)) && files.iter().all(made)
}

/// All files below a folder by their path in it, hidden ones too; none where there are more than `left`, or anything else.
fn compiled_files(folder: &OwnedFd, above: &str, files: &mut BTreeSet<String>, left: &mut usize) -> Option<()> {
    for (name, kind) in listed(folder).ok()? {
        *left = left.checked_sub(1)?;
        let path = format!("{above}{}", name.to_str()?);
        match kind {
            FileType::RegularFile => drop(files.insert(path)),
            FileType::Directory if above.split('/').count() < DEEPEST_COMPILED => {
                compiled_files(&open_folder(folder.as_fd(), &name).ok()?, &format!("{path}/"), files, left)?;
            }
            _ => return None,
        }
    }
    Some(())
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
            Some("target") => other_than(&fd, |name, kind| {
                kind == FileType::Directory || name == "CACHEDIR.TAG" || ends_with(name, &["jar", "war", "original"])
            })?,
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
            _ => return Ok(Some(name.into())),
        };
        if let Some(own) = own {
            return Ok(Some(Path::new(&name).join(own).components().collect()));
        }
    }
    Ok(None)
}

/// What isn't hidden in a folder, by name. Hidden entries are the tools' own notes and caches.
fn seen(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut entries = listed(folder)?;
    entries.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// What a folder holds, for file systems whose listings don't tell the kinds, too.
fn listed(folder: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    // By another descriptor: a listing uses its own up.
    let mut entries = beneath::list(open_folder(folder.as_fd(), OsStr::new("."))?)?;
    for (name, kind) in entries.iter_mut().filter(|(_, kind)| *kind == FileType::Unknown) {
        *kind = FileType::from_raw_mode(rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
    }
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

const PYTHON: [&str; 2] = ["pyproject.toml", "setup.py"];

/// Entries of a compiled folder; one that holds more is nobody's wonder, but takes too long to tell.
const MOST_COMPILED: usize = 5000;
const DEEPEST_COMPILED: usize = 32;

/// What Gradle's own plugins make in a `build`.
const GRADLE_MAKES: [&str; 14] = [
    "classes",
    "distributions",
    "docs",
    "generated",
    "install",
    "intermediates",
    "kotlin",
    "libs",
    "outputs",
    "reports",
    "resources",
    "scripts",
    "test-results",
    "tmp",
];

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

fn only_bytecode(folder: &OwnedFd) -> bool {
    listed(folder).is_ok_and(|entries| entries.iter().all(|(name, kind)| *kind == FileType::RegularFile && is_bytecode(name)))
}

fn is_bytecode(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| ends_with(name, &["pyc"]))
}

fn ends_with(name: &str, extensions: &[&str]) -> bool {
    Path::new(name).extension().and_then(OsStr::to_str).is_some_and(|found| extensions.contains(&found))
}

#[cfg(test)]
mod tests {
    use super::super::caches::testing::Field;
    use super::*;
    use std::fs::File;

    fn sees(field: &Field, path: &str) -> bool {
        let path = field.at(path).path();
        let parent = File::open(path.parent().unwrap()).unwrap();
        recognise(parent.as_fd(), path.file_name().unwrap(), &[])
    }

    #[test]
    fn structure_tells() {
        // The files that stand there, the folder asked about, and whether it is one that a tool makes again.
        let table: [(&[&str], &str, bool); 55] = [
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
            (&["p/.tox/CACHEDIR.TAG", "p/.tox/py/pyvenv.cfg"], "p/.tox", true),
            (&["p/.nox/mine"], "p/.nox", false),
            (&["p/pom.xml", "p/target/maven-status/x", "p/target/shop-1.jar"], "p/target", true),
            (&["p/pom.xml", "p/target/notes.md"], "p/target", false),
            (&["p/htmlcov/index.html", "p/htmlcov/status.json"], "p/htmlcov", true),
            (&["p/htmlcov/index.html"], "p/htmlcov", false),
            (&["p/htmlcov/status.json", "p/htmlcov/notes/todo.md"], "p/htmlcov", false),
            (&["p/package.json", "p/.nuxt/nuxt.d.ts"], "p/.nuxt", true),
            (&["p/package.json", "p/.output/nitro.json"], "p/.output", true),
            (&["p/package.json", "p/.output/mine"], "p/.output", false),
            (&["p/package.json", "p/.svelte-kit/generated/root.js"], "p/.svelte-kit", true),
            (&["p/angular.json", "p/.angular/cache/x"], "p/.angular", true),
            (&["p/package.json", "p/.parcel-cache/data.mdb"], "p/.parcel-cache", true),
            (&["p/package.json", "p/coverage/lcov-report/index.html", "p/coverage/clover.xml"], "p/coverage", true),
            (&["p/package.json", "p/coverage/lcov-report/index.html", "p/coverage/notes.md"], "p/coverage", false),
            (&["p/package.json", "p/coverage/lcov-report/index.html", "p/coverage/notes/todo.md"], "p/coverage", false),
            (&["p/package.json", "p/coverage/table.json"], "p/coverage", false),
            (&["p/build.gradle", "p/build/classes/A.class", "p/build/libs/shop.jar"], "p/build", true),
            (&["p/build.gradle", "p/build/docs/handbook.md"], "p/build", false),
            (&["p/build.gradle", "p/build/tmp/x", "p/build/mine.sh"], "p/build", false),
            (&["p/build/classes/A.class"], "p/build", false),
            (&["p/pyproject.toml", "p/build/bdist.linux-x86_64/x", "p/build/lib/shop.py"], "p/build", true),
            (&["p/pyproject.toml", "p/build/lib/shop.py"], "p/build", false),
            (&["p/pyproject.toml", "p/dist/.gitignore", "p/dist/a-1-py3-none-any.whl", "p/dist/a-1.tar.gz"], "p/dist", true),
            (&["p/pyproject.toml", "p/dist/a-1.tar.gz", "p/dist/mine.py"], "p/dist", false),
            (&["p/pyproject.toml", "p/dist/.gitignore"], "p/dist", false),
            (&["p/pyproject.toml", "p/dist/a-1.tar.gz", "p/dist/a-2.tar.gz"], "p/dist", false),
            (
                &["p/package.json", "p/dist/a/x.js", "p/dist/a/x.js.map", "p/dist/a/x.d.ts", "p/dist/s.css", "p/dist/s.css.map"],
                "p/dist",
                true,
            ),
            (&["p/package.json", "p/dist/x.js", "p/dist/x.js.map", "p/dist/mine.js"], "p/dist", false),
            (&["p/package.json", "p/dist/x.js.map"], "p/dist", false),
            (&["p/package.json", "p/dist/x.js", "p/dist/x.d.ts"], "p/dist", false),
            (&["p/dist/x.js", "p/dist/x.js.map"], "p/dist", false),
            (&["p/package.json", "p/build/x.js", "p/build/x.js.map"], "p/build", true),
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
    fn an_operator_says_more_and_signs_must_show_it() {
        let word = |name: &str, beside: Option<&str>, holds: Option<&str>| {
            let [beside, holds] = [beside, holds].map(|sign| sign.map(str::to_owned));
            MadeAgain { name: name.to_owned(), beside, holds }
        };
        let said = [
            word("dist", Some("package.json"), None),
            word("out", None, Some("build.ninja")),
            word("obj", Some("shop.csproj"), Some("project.assets.json")),
        ];
        let table: [(&[&str], &str, bool); 8] = [
            (&["package.json", "dist/index.html"], "dist", true),
            (&["dist/index.html"], "dist", false),
            (&["package.json", "dist"], "dist", false),
            (&["out/build.ninja"], "out", true),
            (&["out/mine"], "out", false),
            (&["shop.csproj", "obj/project.assets.json"], "obj", true),
            (&["shop.csproj", "obj/mine"], "obj", false),
            (&["obj/project.assets.json"], "obj", false),
        ];
        for (files, asked, expected) in table {
            let field = Field::new();
            for file in files {
                field.file(&format!("p/{file}"), 1);
            }
            let parent = File::open(field.at("p").path()).unwrap();
            assert_eq!(recognise(parent.as_fd(), OsStr::new(asked), &said), expected, "{asked} with {files:?}");
        }
        let field = Field::new();
        field.file("p/package.json", 1);
        field.file("elsewhere/x", 1);
        field.link("elsewhere", "p/dist");
        let parent = File::open(field.at("p").path()).unwrap();
        assert!(!recognise(parent.as_fd(), OsStr::new("dist"), &said));
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
            ("target/shop-1.0.jar", "target", None),
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
