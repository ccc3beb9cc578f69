//! Deno: its lock file beside `node_modules`, and a store in it that tells the version of each
//! package.
//!
//! It must never name what only stands there.

use super::super::keys::Keys;
use super::{Directory, Manager, name_of};
use serde::Deserialize;

pub(super) const DENO: Manager = Manager {
    signs: &[".deno"],
    notes: &[],
    store: Some(".deno"),
    packages,
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
