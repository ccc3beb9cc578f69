//! Virtual environments, whoever created them: the files that the wheels' RECORDs name, their
//! bytecode, and the files of `venv`, virtualenv and uv.
//!
//! A RECORD has each file's size and hash, so a file that was edited since the install is
//! somebody's. Names are kept as hashes, so that a large environment takes little memory.

use crate::ecosystems::account::{Opinion, Says, Tool, extensions, opinion};
use crate::ecosystems::directory::{Directory, ends_with, folder, holds};
use crate::fs::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::BufRead;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

pub(super) const VENV: Tool = Tool {
    signs: &["pyvenv.cfg"],
    made: is_venv,
    account,
};
/// Environments by name, each with logs and temporary files.
pub(super) const TOX: Tool = Tool {
    signs: &[],
    made: made_tox,
    account: |_| tox(),
};

/// The most bytes of all RECORDs of an environment.
const RECORDS_CAP: usize = 64 << 20;
/// The files that `venv`, virtualenv and uv put at the top.
const TOP: [&str; 5] = [
    "pyvenv.cfg",
    "CACHEDIR.TAG",
    ".gitignore",
    ".lock",
    "pip-selfcheck.json",
];
/// The files that they, setuptools and coverage put beside the packages.
const SITE: [&str; 7] = [
    "_virtualenv.py",
    "_virtualenv.pth",
    "distutils-precedence.pth",
    "__editable__.pth",
    "easy-install.pth",
    "setuptools.pth",
    "_rich_traceback.pth",
];

fn is_venv(parent: BorrowedFd<'_>, name: &str) -> bool {
    let known = [".venv", "venv"].contains(&name);
    folder(parent, name).is_some_and(|folder| {
        holds(folder.as_fd(), &["pyvenv.cfg"])
            && (known
                || holds(folder.as_fd(), &["bin", "Scripts"])
                    && holds(folder.as_fd(), &["lib", "Lib"]))
    })
}

fn made_tox(parent: BorrowedFd<'_>, name: &str) -> bool {
    [".tox", ".nox"].contains(&name)
        && folder(parent, name).is_some_and(|folder| holds(folder.as_fd(), &["CACHEDIR.TAG"]))
}

fn tox() -> Opinion {
    opinion(|directory, name, kind| match name {
        "CACHEDIR.TAG" | ".gitignore" | ".package.lock" | ".pkg.lock" => (!kind.is_dir()).into(),
        ".pkg" | "log" | ".tmp" | "dist" => {
            Says::Below(extensions(&["gz", "json", "log", "whl", "zip", "lock"]))
        }
        _ if kind.is_dir() && directory.has(&format!("{name}/pyvenv.cfg")) => directory
            .below(name.as_ref())
            .map_or(Says::Nothing, |venv| {
                let venv_says = account(&venv);
                Says::Below(opinion(move |directory, name, kind| match name {
                    ".tox-info.json" | ".tox-config.json" => Says::Mine,
                    "log" | "tmp" if kind.is_dir() => {
                        Says::Below(extensions(&["log", "json", "lock"]))
                    }
                    _ => venv_says(directory, name, kind),
                }))
            }),
        _ => Says::Nothing,
    })
}

fn account(venv: &Directory) -> Opinion {
    let recorded = Rc::new(Recorded::of(venv));
    below(PathBuf::new(), recorded)
}

/// Returns the opinion on `path` in the environment.
fn below(path: PathBuf, recorded: Rc<Recorded>) -> Opinion {
    opinion(move |directory, name, kind| {
        let here = path.join(name);
        if kind.is_dir() {
            return Says::Below(below(here, recorded.clone()));
        }
        let own = match path.to_str() {
            Some("") => TOP.contains(&name),
            Some("bin" | "Scripts") => {
                is_program(name) || (is_activation(name) && recorded.came_with_it(directory, name))
            }
            _ => {
                path.ends_with("site-packages")
                    && (SITE.contains(&name) || ends_with(name, &["virtualenv"]))
            }
        };
        (own || is_bytecode(&path, name) || recorded.holds(directory, &here, name)).into()
    })
}

/// Recognises `python3.11`, `pip-3.11` and the like.
fn is_program(name: &str) -> bool {
    let stem = name.strip_suffix(".exe").unwrap_or(name);
    let version = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b't' | b'w'))
    };
    ["python", "pypy", "pip", "wheel", "easy_install"]
        .iter()
        .any(|program| stem.strip_prefix(program).is_some_and(version))
}

/// Recognises the scripts that activate and deactivate an environment, one for each shell.
fn is_activation(name: &str) -> bool {
    let (stem, shell) = name.split_once('.').unwrap_or((name, ""));
    let known = matches!(
        stem,
        "activate" | "Activate" | "deactivate" | "activate_this" | "pydoc"
    );
    known && ["", "bash", "bat", "csh", "fish", "nu", "ps1", "py", "xsh"].contains(&shell)
}

/// Recognises bytecode, which is nobody's work: its source may be, and is a file of its own.
fn is_bytecode(folder: &Path, name: &str) -> bool {
    folder.ends_with("__pycache__") && ends_with(name, &["pyc", "nbi", "nbc"])
}

/// The files that the RECORDs name, by the hashes of their paths in the environment.
struct Recorded {
    /// When the environment was created, in seconds.
    made: i64,
    /// The name of its directory, between slashes.
    name: String,
    hasher: RandomState,
    files: HashMap<u64, Record>,
}

/// A RECORD's line about a file.
struct Record {
    /// None for a file that the installer wrote itself.
    size: Option<u64>,
    /// SHA-256.
    hash: Option<[u8; 32]>,
    /// When the RECORD was written, in seconds: writing it is the last step of an install.
    installed: i64,
}

impl Recorded {
    fn of(venv: &Directory) -> Self {
        let made = venv
            .stat("pyvenv.cfg")
            .map_or(i64::MIN, |stat| stat.st_mtime);
        let mut recorded = Self {
            made,
            name: format!(
                "/{}/",
                venv.place()
                    .relative()
                    .file_name()
                    .unwrap_or_default()
                    .display()
            ),
            hasher: RandomState::new(),
            files: HashMap::new(),
        };
        let mut left = RECORDS_CAP;
        for site in sites(venv) {
            for name in venv.names(&site) {
                let Some(name) = name.to_str().filter(|name| ends_with(name, &["dist-info"]))
                else {
                    continue;
                };
                let path = format!("{site}/{name}/RECORD");
                let Some((text, stat)) = venv.text(&path).zip(venv.stat(&path)) else {
                    continue;
                };
                let Some(rest) = left.checked_sub(text.len()) else {
                    return recorded;
                };
                left = rest;
                text.lines()
                    .for_each(|line| recorded.add(&site, line, stat.st_mtime));
            }
        }
        recorded
    }

    /// Adds the line `path,sha256=...,size`. A path with a comma is quoted.
    fn add(&mut self, packages: &str, line: &str, installed: i64) {
        let mut fields = line.rsplitn(3, ',');
        let (bytes, hash, path) = (fields.next(), fields.next(), fields.next());
        let Some(path) = path.map(|path| path.trim_matches('"').replace("\"\"", "\"")) else {
            return;
        };
        // Poetry writes absolute paths. The path in the environment follows the environment's name.
        let path = match path.strip_prefix('/') {
            Some(_) => path
                .rsplit_once(&self.name)
                .and_then(|(_, rest)| inside("", rest)),
            None => inside(packages, &path),
        };
        let Some(path) = path else { return };
        let hash = hash
            .and_then(|hash| hash.strip_prefix("sha256="))
            .and_then(decoded);
        let size = bytes
            .and_then(|bytes| bytes.parse().ok())
            .filter(|_| hash.is_some());
        self.files.insert(
            self.hasher.hash_one(&path),
            Record {
                size,
                hash,
                installed,
            },
        );
    }

    /// Returns whether a file was written when the environment was created: people add to it, too.
    fn came_with_it(&self, directory: &Directory, name: &str) -> bool {
        directory
            .stat(name)
            .is_some_and(|stat| stat.st_mtime <= self.made.saturating_add(MAKING))
    }

    /// Returns whether the file is a wheel's, and unchanged.
    fn holds(&self, directory: &Directory, path: &Path, name: &str) -> bool {
        let Some(record) = self.files.get(&self.hasher.hash_one(path)) else {
            return false;
        };
        let Some(size) = record.size else { return true };
        let Some(stat) = directory.stat(name) else {
            return false;
        };
        u64::try_from(stat.st_size) == Ok(size)
            && (stat.st_mtime <= record.installed.saturating_add(SLACK)
                || record.matches(directory, name))
    }
}

/// Seconds by which a file server's times may put a file after its RECORD.
const SLACK: i64 = 2;
/// Seconds that it takes to create an environment with pip in it, on a slow disk.
const MAKING: i64 = 120;

impl Record {
    /// Returns whether the contents match. This reads the whole file, so it is done only for files
    /// written since the install.
    fn matches(&self, directory: &Directory, name: &str) -> bool {
        let digest = directory
            .file(name)
            .and_then(|file| directory.read(digest(file, directory.stop())));
        digest
            .zip(self.hash)
            .is_some_and(|(digest, hash)| digest.as_ref() == hash)
    }
}

fn digest(file: std::fs::File, stop: &Stop) -> std::io::Result<ring::digest::Digest> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut file = std::io::BufReader::with_capacity(256 << 10, file);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(context.finish());
        }
        stop.read(bytes.len() as u64)?;
        context.update(bytes);
        let count = bytes.len();
        file.consume(count);
    }
}

fn decoded(hash: &str) -> Option<[u8; 32]> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(hash.trim_end_matches('='))
        .ok()?
        .try_into()
        .ok()
}

/// Returns the directories that contain packages.
fn sites(venv: &Directory) -> Vec<String> {
    let pythons = ["lib", "lib64"].iter().flat_map(|lib| {
        let names = venv
            .names(lib)
            .into_iter()
            .filter_map(|name| name.into_string().ok());
        names
            .filter(|name| name.starts_with("python") || name.starts_with("pypy"))
            .map(move |name| format!("{lib}/{name}/site-packages"))
    });
    pythons.chain(["Lib/site-packages".to_owned()]).collect()
}

/// Resolves `path` from `site` lexically; none if it leads out of the environment.
fn inside(site: &str, path: &str) -> Option<PathBuf> {
    let mut to = PathBuf::from(site);
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => to.push(name),
            Component::ParentDir if to.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_leads_nowhere_else() {
        let site = "lib/python3.11/site-packages";
        let path = |path| inside(site, path).map(|path| path.display().to_string());
        assert_eq!(
            path("six.py").as_deref(),
            Some("lib/python3.11/site-packages/six.py")
        );
        assert_eq!(path("../../../bin/black").as_deref(), Some("bin/black"));
        assert_eq!(path("../../../README.md").as_deref(), Some("README.md"));
        assert_eq!(path("../../../../work.py"), None);
        assert_eq!(path("/etc/passwd"), None);
    }
}
