//! Python, whichever tool installs packages: lock files and requirements ([`lock_file`]), virtual
//! environments ([`venv`]), build output ([`output`]), and the caches of checkers and test runners
//! ([`checkers`]).

mod checkers;
pub(super) mod lock_file;
mod output;
mod venv;

use super::account::Tool;
use super::ecosystem::Ecosystem;
use super::lock_file::{LockFile, Parse};
use std::path::Path;

pub(super) static PYTHON: Ecosystem = Ecosystem {
    lock_files: &[
        LockFile {
            format: "python",
            is_one: |name, _| ["uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"].contains(&name),
            parse: Parse::Whole(lock_file::locked),
        },
        LockFile {
            format: "requirements",
            is_one: is_requirements,
            parse: Parse::Lines(|line| {
                lock_file::requirement(line).into_iter().flatten().collect()
            }),
        },
    ],
    output: &OUTPUT,
    ..Ecosystem::named("Python")
};

static OUTPUT: [Tool; 9] = [
    venv::VENV,
    venv::TOX,
    output::BYTECODE,
    output::BUILD,
    output::DIST,
    output::METADATA,
    checkers::PYTEST,
    checkers::MYPY,
    checkers::RUFF,
];

/// `requirements.txt`, `dev-requirements.txt`, `constraints.txt`, and `requirements/base.txt`.
fn is_requirements(name: &str, path: &Path) -> bool {
    let among = path
        .parent()
        .is_some_and(|above| above.ends_with("requirements"));
    let named = name.contains("requirements") || name.contains("constraints");
    (named || among) && path.extension().is_some_and(|end| end == "txt")
}
