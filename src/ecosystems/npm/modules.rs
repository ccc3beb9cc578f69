//! npm's account of a `node_modules`: the hidden lock file that it writes at the end of each
//! install. Packages outside a `node_modules` are a workspace's own, and belong to the repo.

use crate::ecosystems::account::Tool;
use crate::ecosystems::directory::Directory;
use crate::ecosystems::keys::Keys;
use crate::ecosystems::node;
use crate::ecosystems::node::{Manager, last_package};
use serde::Deserialize;

/// The packages that it installs.
pub(super) const MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &MANAGER),
    account: |modules| node::account(modules, &MANAGER),
};

const MANAGER: Manager = Manager {
    signs: &[".package-lock.json"],
    notes: &[],
    store: Some(".store"),
    packages,
    tells: is_old,
};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Keys,
}

fn packages(modules: &Directory, _: &Directory) -> Vec<String> {
    let lock = modules
        .note(".package-lock.json")
        .and_then(|note| serde_json::from_slice::<Lock>(&note).ok());
    lock.into_iter()
        .flat_map(|lock| lock.packages.0)
        .filter_map(|path| last_package(&path))
        .collect()
}

/// Returns whether an npm before 7 put the package there, and noted in it what it had resolved.
fn is_old(directory: &Directory, name: &str) -> bool {
    let text = directory
        .text(&format!("{name}/package.json"))
        .unwrap_or_default();
    text.contains("\"_resolved\":") && text.contains("\"_integrity\":")
}
