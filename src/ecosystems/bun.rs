//! Bun: it notes nothing in `node_modules`, but in the lock file beside it.
//!
//! Lines are enough, for it writes them itself, and the format has commas that JSON has not. It
//! must never name what only stands there.

use super::account::Tool;
use super::directory::Directory;
use super::ecosystem::Ecosystem;
use super::node;
use super::node::{Manager, name_of};

pub(super) static BUN: Ecosystem = Ecosystem {
    output: &[MODULES],
    ..Ecosystem::named("Bun")
};

/// The packages that it installs.
const MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &MANAGER),
    account: |modules| node::account(modules, &MANAGER),
};

const MANAGER: Manager = Manager {
    signs: &[".bun"],
    notes: &[".bun-tag"],
    store: Some(".bun"),
    packages,
    tells: |_, _| false,
};

fn packages(_: &Directory, project: &Directory) -> Vec<String> {
    let lock = project.text("bun.lock").unwrap_or_default();
    // `"nested/@scope/name": ["@scope/name@1.0.0", ...`
    let lines = lock
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\": [\""));
    lines
        .flat_map(|(path, spec)| [Some(last(path)), name_of(spec)])
        .flatten()
        .collect()
}

fn last(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (name, above) = (parts.next().unwrap_or_default(), parts.next());
    above
        .filter(|above| above.starts_with('@'))
        .map_or_else(|| name.to_owned(), |scope| format!("{scope}/{name}"))
}
