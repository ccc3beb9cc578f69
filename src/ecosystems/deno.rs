//! Deno: its lock file beside `node_modules`, and a store in it that shows each package's version.

use super::account::Tool;
use super::directory::Directory;
use super::ecosystem::Ecosystem;
use super::keys::Keys;
use super::node;
use super::node::{Manager, name_of};
use serde::Deserialize;

pub(super) static DENO: Ecosystem = Ecosystem {
    output: &[MODULES],
    ..Ecosystem::named("Deno")
};

/// The packages that it installs.
const MODULES: Tool = Tool {
    signs: &[],
    made: |parent, name| node::made(parent, name, &MANAGER),
    account: |modules| node::account(modules, &MANAGER),
};

const MANAGER: Manager = Manager {
    signs: &[".deno"],
    notes: &[],
    store: Some(".deno"),
    packages,
    tells: |_, _| false,
};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    npm: Keys,
}

fn packages(_: &Directory, project: &Directory) -> Vec<String> {
    let lock = project
        .note("deno.lock")
        .and_then(|note| serde_json::from_slice::<Lock>(&note).ok());
    lock.into_iter()
        .flat_map(|lock| lock.npm.0)
        .filter_map(|spec| name_of(&spec))
        .collect()
}
