//! Yarn's accounts of a `node_modules`: the integrity file of Yarn 1, and the state file of later
//! versions.

use crate::ecosystems::account::Tool;
use crate::ecosystems::directory::Directory;
use crate::ecosystems::keys::Keys;
use crate::ecosystems::node;
use crate::ecosystems::node::{Manager, last_package, name_of};
use serde::Deserialize;

/// The packages that it installs.
pub(super) const CLASSIC_MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &CLASSIC),
    account: |modules| node::account(modules, &CLASSIC),
};

const CLASSIC: Manager = Manager {
    signs: &[".yarn-integrity"],
    notes: &[],
    store: None,
    packages: classic,
    tells: |_, _| false,
};

/// The packages that it installs.
pub(super) const BERRY_MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &BERRY),
    account: |modules| node::account(modules, &BERRY),
};

const BERRY: Manager = Manager {
    signs: &[".yarn-state.yml"],
    notes: &[".package-map.json"],
    store: Some(".store"),
    packages: berry,
    tells: |_, _| false,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Integrity {
    #[serde(default)]
    lockfile_entries: Keys,
}

fn classic(modules: &Directory, _: &Directory) -> Vec<String> {
    let noted = modules
        .note(".yarn-integrity")
        .and_then(|note| serde_json::from_slice::<Integrity>(&note).ok());
    noted
        .into_iter()
        .flat_map(|noted| noted.lockfile_entries.0)
        .filter_map(|pattern| name_of(&pattern))
        .collect()
}

fn berry(modules: &Directory, _: &Directory) -> Vec<String> {
    let state = modules.text(".yarn-state.yml").unwrap_or_default();
    let places = state
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- \"")?.strip_suffix('"'));
    places.filter_map(last_package).collect()
}
