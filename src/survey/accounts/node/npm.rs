//! npm: the hidden lock file that it writes at the end of each install.
//!
//! It must never name a package that stands outside a `node_modules`: a workspace's own are the
//! repo's.

use super::super::keys::Keys;
use super::{Directory, Manager, last_package};
use serde::Deserialize;

pub(super) const NPM: Manager = Manager {
    signs: &[".package-lock.json"],
    notes: &[],
    store: Some(".store"),
    packages,
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
