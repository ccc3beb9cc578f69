//! Recognises what is regenerable: directories and files that tools create, by their own account
//! (`accounts`), and what the operator adds.
//!
//! A name alone proves nothing: somebody's notes may be in a directory called `target`. The caller
//! must know already that git tracks nothing in it. For a link or on an error the answer is no:
//! then the directory is walked and counts as work.

use super::accounts;
use super::{go_on, size};
use crate::ecosystems::directory::{folder, holds};
use crate::facts::worktree::MadeAgain;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::fd::{AsFd, BorrowedFd};
use std::ffi::{CString, OsStr};
use std::io;
use std::path::PathBuf;

// | directory                 | beside one of                  | contains one of                  |
// | ------------------------- | ------------------------------ | -------------------------------- |
// | node_modules              | package.json                   |                                  |
// | node_modules              |                                | .package-lock.json, .bin, .bun,  |
// |                           |                                | .deno, .modules.yaml,            |
// |                           |                                | .yarn-state.yml, .yarn-integrity |
// | target (Cargo)            | Cargo.toml                     | CACHEDIR.TAG, .rustc_info.json   |
// | any (Cargo)               |                                | both, or one and a profile       |
// | target (Maven)            | pom.xml                        | maven-status, classes, ...       |
// | .venv, venv               |                                | pyvenv.cfg                       |
// | any (Python)              |                                | pyvenv.cfg with bin and lib      |
// | __pycache__               |                                | *.pyc, *.nbi, *.nbc              |
// | *.egg-info                |                                | PKG-INFO                         |
// | .pytest_cache, .tox, .nox |                                | CACHEDIR.TAG                     |
// | .mypy_cache, .ruff_cache  |                                | CACHEDIR.TAG                     |
// | htmlcov                   |                                | status.json                      |
// | .next                     | package.json                   | BUILD_ID, build-manifest.json,   |
// |                           |                                | cache, trace                     |
// | .nuxt                     | package.json                   | nuxt.d.ts                        |
// | .output                   | package.json                   | nitro.json                       |
// | .svelte-kit               | package.json                   | generated                        |
// | .angular                  | angular.json                   | cache                            |
// | .parcel-cache             | package.json                   | data.mdb                         |
// | .turbo                    | package.json, turbo.json       |                                  |
// | .gradle                   | {build,settings}.gradle[.kts]  |                                  |
// | .yarn                     |                                | build-state.yml,                 |
// |                           |                                | install-state.gz                 |
// | cache, unplugged          | either of these files          |                                  |
// | coverage                  | package.json                   | coverage-final.json, lcov.info   |
// |                           |                                | or the like                      |
// | vendor                    | go.mod                         | modules.txt                      |
// | bin                       | go.mod                         | programs                         |
// | build (Gradle)            | as .gradle                     | classes or the like              |
// | build (setuptools)        | pyproject.toml, setup.py       | bdist.*, lib.* or the like       |
// | dist (Python)             | pyproject.toml, setup.py       | archives                         |
// | dist, build (a compiler)  | package.json                   | a file and its source map        |
// | dist, build (Vite)        | package.json and vite.config.* | assets, index.html, .vite        |
// | any (tsc)                 | tsconfig.json: its outDir      |                                  |
//
// The tool's account says which files in such a directory are the tool's; all others are
// somebody's. The operator adds more in the config, as `worktrees.made_again`: that covers the
// directory with all its contents.

/// Returns whether the directory `name` in the directory `parent` is regenerable, by its name and
/// structure or by the operator's rules. False on an error.
pub fn recognise(parent: BorrowedFd<'_>, name: &OsStr, made_again: &[MadeAgain]) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    accounts::is_named(parent, name) || said(parent, name, made_again)
}

/// Returns whether the directory `name` in `parent`, which has the entries `names`, contains a
/// tool's sign, whatever its name.
pub fn is_signed(parent: BorrowedFd<'_>, name: &OsStr, names: &[CString]) -> bool {
    name.to_str().is_some_and(|name| {
        accounts::is_signed(parent, name, names.iter().map(|name| name.to_bytes()))
    })
}

/// Returns whether the file or link `name` is regenerable by the operator's rules, or a file that a
/// tool writes among the sources.
pub fn recognise_file(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    made_again: &[MadeAgain],
    stop: &Stop,
) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let beside = |said: &MadeAgain| {
        said.name == name
            && said.holds.is_none()
            && said
                .beside
                .as_ref()
                .is_some_and(|sign| holds(parent, &[sign]))
    };
    accounts::is_made_file(parent, name, stop) || made_again.iter().any(beside)
}

/// Returns whether one of the operator's rules covers a directory, and its signs are there.
fn said(parent: BorrowedFd<'_>, name: &str, made_again: &[MadeAgain]) -> bool {
    let shows = |known: &&MadeAgain| {
        let beside = |name: &String| holds(parent, &[name]);
        let inside =
            |sign: &str| folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &[sign]));
        inside(known.holds.as_deref().unwrap_or(".")) && known.beside.as_ref().is_none_or(beside)
    };
    made_again
        .iter()
        .filter(|known| known.name == name)
        .any(|known| shows(&known))
}

/// What is in a regenerable directory but isn't regenerable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files and directories that no account claims, by their path in the directory, sorted.
    pub somebodys: Vec<PathBuf>,
    /// Repos: `pip install -e git+https://...` clones into `.venv/src`, and people clone a
    /// dependency into `node_modules` to fix it there.
    pub repos: Vec<PathBuf>,
}

/// Walks a whole regenerable directory. That costs as much as deleting it, so it is only for what
/// is about to be deleted.
///
/// # Errors
/// Something can't be read: the contents are unknown.
pub fn look_through(
    folder: &VolumePath,
    made_again: &[MadeAgain],
    stop: &Stop,
) -> io::Result<Found> {
    let (parent, name) = openat::parent(folder)?;
    if name
        .to_str()
        .is_some_and(|name| said(parent.as_fd(), name, made_again))
    {
        return Ok(Found {
            somebodys: Vec::new(),
            repos: repos(folder, std::slice::from_ref(folder), stop)?,
        });
    }
    let found = accounts::look_through(folder, false, stop)?;
    let mut within = repos(folder, &found.whole, stop)?;
    within.extend(found.repos);
    Ok(Found {
        somebodys: found.somebodys,
        repos: within,
    })
}

fn repos(folder: &VolumePath, places: &[VolumePath], stop: &Stop) -> io::Result<Vec<PathBuf>> {
    let repo = size::repo_among(places, stop)?;
    go_on(Some(stop))?;
    Ok(repo
        .into_iter()
        .map(|repo| {
            repo.strip_prefix(folder.relative())
                .map_or_else(|_| repo.clone(), ToOwned::to_owned)
        })
        .collect())
}

/// Describes the first file in these directories that isn't the tool's; none if all are. Doesn't
/// search for repos.
///
/// # Errors
/// As [`look_through`].
pub fn own_among(
    directories: &[VolumePath],
    made_again: &[MadeAgain],
    stop: &Stop,
) -> io::Result<Option<String>> {
    for folder in directories {
        let (parent, name) = openat::parent(folder)?;
        if name
            .to_str()
            .is_some_and(|name| said(parent.as_fd(), name, made_again))
        {
            continue;
        }
        if let Some(own) = accounts::look_through(folder, true, stop)?
            .somebodys
            .first()
        {
            return Ok(Some(format!(
                "`{folder}/{}` is not what the tool that made `{folder}` would bring back",
                own.display()
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;
    use crate::fs::budget::Budget;
    use std::fs::File;

    fn sees(field: &Field, path: &str) -> bool {
        let path = field.at(path).path();
        let parent = File::open(path.parent().unwrap()).unwrap();
        let (parent, name) = (parent.as_fd(), path.file_name().unwrap());
        let names = std::fs::read_dir(&path)
            .into_iter()
            .flatten()
            .map(|entry| CString::new(entry.unwrap().file_name().as_encoded_bytes()).unwrap());
        recognise(parent, name, &[]) || is_signed(parent, name, &names.collect::<Vec<_>>())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn structure_tells() {
        // The files, the directory asked about, and whether it is regenerable.
        let table: [(&[&str], &str, bool); 59] = [
            (
                &["p/package.json", "p/node_modules/left-pad/index.js"],
                "p/node_modules",
                true,
            ),
            (
                &["p/node_modules/.package-lock.json"],
                "p/node_modules",
                true,
            ),
            (&["p/node_modules/.bin/tsc"], "p/node_modules", true),
            (&["p/node_modules/mine.js"], "p/node_modules", false),
            (
                &["p/package.json", "p/node_modules"],
                "p/node_modules",
                false,
            ),
            (&["p/Cargo.toml", "p/target/CACHEDIR.TAG"], "p/target", true),
            (
                &["p/Cargo.toml", "p/target/.rustc_info.json"],
                "p/target",
                true,
            ),
            (&["p/Cargo.toml", "p/target/notes.md"], "p/target", false),
            (&["p/target/CACHEDIR.TAG"], "p/target", false),
            (
                &["p/out/CACHEDIR.TAG", "p/out/.rustc_info.json"],
                "p/out",
                true,
            ),
            (&["p/out/CACHEDIR.TAG"], "p/out", false),
            (
                &["p/env/pyvenv.cfg", "p/env/bin/python", "p/env/lib/x"],
                "p/env",
                true,
            ),
            (&["p/env/pyvenv.cfg", "p/env/main.py"], "p/env", false),
            (&["p/.venv/pyvenv.cfg"], "p/.venv", true),
            (&["p/venv/main.py"], "p/venv", false),
            (&["p/__pycache__/a.cpython-311.pyc"], "p/__pycache__", true),
            (&["p/__pycache__/a.py"], "p/__pycache__", false),
            (&["p/package.json", "p/.next/BUILD_ID"], "p/.next", true),
            (&["p/package.json", "p/.next/page.tsx"], "p/.next", false),
            (&["p/turbo.json", "p/.turbo/log"], "p/.turbo", true),
            (&["p/.turbo/log"], "p/.turbo", false),
            (
                &["p/settings.gradle.kts", "p/.gradle/8.5/x"],
                "p/.gradle",
                true,
            ),
            (&["p/.mypy_cache/CACHEDIR.TAG"], "p/.mypy_cache", true),
            (&["p/.ruff_cache/mine"], "p/.ruff_cache", false),
            (
                &["p/.tox/CACHEDIR.TAG", "p/.tox/py/pyvenv.cfg"],
                "p/.tox",
                true,
            ),
            (&["p/.nox/mine"], "p/.nox", false),
            (
                &[
                    "p/pom.xml",
                    "p/target/maven-status/x",
                    "p/target/shop-1.jar",
                ],
                "p/target",
                true,
            ),
            (&["p/pom.xml", "p/target/notes.md"], "p/target", false),
            (
                &["p/htmlcov/index.html", "p/htmlcov/status.json"],
                "p/htmlcov",
                true,
            ),
            (&["p/htmlcov/index.html"], "p/htmlcov", false),
            (&["p/htmlcov/notes/todo.md"], "p/htmlcov", false),
            (&["p/package.json", "p/.nuxt/nuxt.d.ts"], "p/.nuxt", true),
            (
                &["p/package.json", "p/.output/nitro.json"],
                "p/.output",
                true,
            ),
            (&["p/package.json", "p/.output/mine"], "p/.output", false),
            (
                &["p/package.json", "p/.svelte-kit/generated/root.js"],
                "p/.svelte-kit",
                true,
            ),
            (
                &["p/angular.json", "p/.angular/cache/x"],
                "p/.angular",
                true,
            ),
            (
                &["p/package.json", "p/.parcel-cache/data.mdb"],
                "p/.parcel-cache",
                true,
            ),
            (
                &[
                    "p/package.json",
                    "p/coverage/lcov-report/index.html",
                    "p/coverage/clover.xml",
                ],
                "p/coverage",
                true,
            ),
            (
                &["p/coverage/lcov-report/index.html", "p/coverage/notes.md"],
                "p/coverage",
                false,
            ),
            (
                &["p/package.json", "p/coverage/notes/todo.md"],
                "p/coverage",
                false,
            ),
            (
                &["p/package.json", "p/coverage/table.json"],
                "p/coverage",
                false,
            ),
            (
                &[
                    "p/build.gradle",
                    "p/build/classes/A.class",
                    "p/build/libs/shop.jar",
                ],
                "p/build",
                true,
            ),
            (
                &["p/build.gradle", "p/build/docs/handbook.md"],
                "p/build",
                false,
            ),
            (&["p/build.gradle", "p/build/mine.sh"], "p/build", false),
            (&["p/build/classes/A.class"], "p/build", false),
            (
                &[
                    "p/pyproject.toml",
                    "p/build/bdist.linux-x86_64/x",
                    "p/build/lib/shop.py",
                ],
                "p/build",
                true,
            ),
            (
                &["p/pyproject.toml", "p/build/lib/shop.py"],
                "p/build",
                false,
            ),
            (
                &[
                    "p/pyproject.toml",
                    "p/dist/.gitignore",
                    "p/dist/a-1-py3-none-any.whl",
                    "p/dist/a-1.tar.gz",
                ],
                "p/dist",
                true,
            ),
            (&["p/pyproject.toml", "p/dist/mine.py"], "p/dist", false),
            (&["p/pyproject.toml", "p/dist/.gitignore"], "p/dist", false),
            (&["p/dist/a-1.tar.gz"], "p/dist", false),
            (
                &[
                    "p/package.json",
                    "p/dist/a/x.js",
                    "p/dist/a/x.js.map",
                    "p/dist/a/x.d.ts",
                    "p/dist/s.css",
                    "p/dist/s.css.map",
                ],
                "p/dist",
                true,
            ),
            (
                &["p/package.json", "p/out/x.js", "p/out/x.js.map"],
                "p/out",
                false,
            ),
            (&["p/package.json", "p/dist/x.js.map"], "p/dist", false),
            (
                &["p/package.json", "p/dist/x.js", "p/dist/x.d.ts"],
                "p/dist",
                false,
            ),
            (&["p/dist/x.js", "p/dist/x.js.map"], "p/dist", false),
            (
                &["p/package.json", "p/build/x.js", "p/build/x.js.map"],
                "p/build",
                true,
            ),
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
            MadeAgain {
                name: name.to_owned(),
                beside,
                holds,
            }
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
            assert_eq!(
                recognise(parent.as_fd(), OsStr::new(asked), &said),
                expected,
                "{asked} with {files:?}"
            );
        }
        let field = Field::new();
        field.file("p/package.json", 1);
        field.file("elsewhere/x", 1);
        field.link("elsewhere", "p/dist");
        let parent = File::open(field.at("p").path()).unwrap();
        assert!(!recognise(parent.as_fd(), OsStr::new("dist"), &said));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_a_tool_did_not_make_is_somebodys() {
        // The files, the directory walked, what in it is somebody's, and what is a repo.
        type Row = (
            &'static [&'static str],
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
        );
        let table: [Row; 11] = [
            (
                &[
                    "pyproject.toml",
                    "dist/My.own-pkg-1.0.tar.gz",
                    "dist/my_own_pkg-1.0-py3-none-any.whl",
                ],
                "dist",
                &[],
                &[],
            ),
            (
                &[
                    "pyproject.toml",
                    "dist/my-pkg-1.0.tar.gz",
                    "dist/my-pkg-2.0.tar.gz",
                ],
                "dist",
                &["my-pkg-1.0.tar.gz", "my-pkg-2.0.tar.gz"],
                &[],
            ),
            (
                &["pyproject.toml", "dist/my-data.tar.gz"],
                "dist",
                &["my-data.tar.gz"],
                &[],
            ),
            (
                &[".venv/pyvenv.cfg", ".venv/src/pkg/.git/HEAD"],
                ".venv",
                &[],
                &["src/pkg"],
            ),
            (
                &[
                    ".venv/pyvenv.cfg",
                    ".venv/lib/python3.11/site-packages/pkg/.hg/requires",
                ],
                ".venv",
                &[],
                &["lib/python3.11/site-packages/pkg"],
            ),
            (
                &[
                    ".venv/pyvenv.cfg",
                    ".venv/train.py",
                    ".venv/bin/python",
                    ".venv/bin/python-notes",
                ],
                ".venv",
                &["bin/python-notes", "train.py"],
                &[],
            ),
            (
                &[
                    "node_modules/.bin/x",
                    "node_modules/.mine/a.js",
                    "node_modules/a/package.json",
                    "node_modules/b.js",
                ],
                "node_modules",
                &[".bin/x", ".mine", "a", "b.js"],
                &[],
            ),
            (
                &[
                    "package.json",
                    "node_modules/.cache/x/0123456789abcdef",
                    "node_modules/.cache/x/notes.md",
                ],
                "node_modules",
                &[".cache/x/notes.md"],
                &[],
            ),
            (
                &[
                    "Cargo.toml",
                    "target/CACHEDIR.TAG",
                    "target/debug/x/.GIT/HEAD",
                    "target/notes.md",
                ],
                "target",
                &["debug", "notes.md"],
                &[],
            ),
            (
                &[
                    "Cargo.toml",
                    "target/CACHEDIR.TAG",
                    "target/debug/.cargo-lock",
                    "target/debug/dev.sqlite",
                ],
                "target",
                &["debug/dev.sqlite"],
                &[],
            ),
            (
                &[
                    "pom.xml",
                    "target/classes/A.class",
                    "target/shop-1.0.jar",
                    "target/mine.csv",
                ],
                "target",
                &["mine.csv"],
                &[],
            ),
        ];
        for (files, asked, somebodys, repos) in table {
            let field = Field::new();
            for file in files {
                field.file(&format!("p/{file}"), 1);
            }
            let found =
                look_through(&field.at("p").join(asked).unwrap(), &[], &Stop::never()).unwrap();
            let [expected, repos] =
                [somebodys, repos].map(|paths| paths.iter().map(PathBuf::from).collect::<Vec<_>>());
            assert_eq!(
                found,
                Found {
                    somebodys: expected,
                    repos
                },
                "{files:?}"
            );
        }
    }

    #[test]
    fn what_can_not_be_read_is_unknown() {
        let field = Field::new();
        let site = "p/.venv/lib/python3.11/site-packages";
        let record = format!("{site}/x-1.dist-info/RECORD");
        let hash = "A".repeat(43);
        let lines = format!("x.py,sha256={hash},1\nx-1.dist-info/RECORD,,\n");
        field.file("p/.venv/pyvenv.cfg", 9);
        std::fs::write(field.file(&record, 9).path(), lines).unwrap();
        field.age(&record, 9);
        // Changed after the install, so it has to be read.
        field.file(&format!("{site}/x.py"), 1);
        let venv = field.at("p/.venv");
        let found = look_through(&venv, &[], &Stop::never()).unwrap();
        let edited = PathBuf::from("lib/python3.11/site-packages/x.py");
        assert_eq!(found.somebodys, [edited]);
        // As much as may be read of a repo in a run.
        let spent = Stop::never().within(Budget::default());
        spent.read(256 << 30).unwrap();
        let why = look_through(&venv, &[], &spent).unwrap_err().to_string();
        assert!(why.starts_with("there is more to be read"), "{why}");
    }

    #[test]
    fn what_is_no_note_is_not_read_and_no_error() {
        let field = Field::new();
        field.file("p/package.json", 1);
        let large = field.file("p/node_modules/.package-lock.json", 1).path();
        let large = File::options().write(true).open(large).unwrap();
        large.set_len(17 << 20).unwrap();
        // A directory in place of the manifest.
        field.file("p/node_modules/a/package.json/x", 1);
        let modules = field.at("p/node_modules");
        let found = look_through(&modules, &[], &Stop::never()).unwrap();
        assert_eq!(found.somebodys, [PathBuf::from("a")]);
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
