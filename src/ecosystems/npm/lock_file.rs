//! `package-lock.json` and `npm-shrinkwrap.json`: every archive by its digest, which is its address
//! in npm's cache. A package's registry metadata counts as named, too: a lock file without
//! addresses needs it.
//!
//! Version 1 nests `dependencies`, later ones list `packages`; a file of version 2 has both. An
//! entry without `integrity` (a link, a directory, git) is in no cache. `serde_json` limits the
//! depth to 128 levels.

use crate::ecosystems::lock_file::{LockFileError, from_json};
use crate::facts::package::Package;
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: HashMap<String, Entry>,
    #[serde(default)]
    dependencies: HashMap<String, Nested>,
}

/// An entry of `packages`. Its `dependencies` are ranges (`"left-pad": "^1.0.0"`).
#[derive(Deserialize)]
struct Entry {
    /// The real name, for an alias.
    name: Option<String>,
    integrity: Option<String>,
}

/// An entry of version 1. Its `dependencies` are entries again.
#[derive(Deserialize)]
struct Nested {
    integrity: Option<String>,
    #[serde(default)]
    dependencies: HashMap<String, Nested>,
}

/// Names the registry metadata of a package, whatever its version: `@acme/shop`. Caches contain it,
/// too.
pub(super) fn page(name: &str) -> Package {
    Package::new("npm-page", name)
}

pub(super) fn packages(text: &str) -> Result<Vec<Package>, LockFileError> {
    let lock: Lock = from_json(text)?;
    let mut packages = Vec::new();
    for (path, entry) in &lock.packages {
        let name = entry
            .name
            .as_deref()
            .or_else(|| path.rsplit_once("node_modules/").map(|(_, name)| name));
        archive(name, entry.integrity.as_deref(), &mut packages);
    }
    collect(&lock.dependencies, &mut packages);
    Ok(packages)
}

fn collect(entries: &HashMap<String, Nested>, into: &mut Vec<Package>) {
    for (name, entry) in entries {
        archive(Some(name), entry.integrity.as_deref(), into);
        collect(&entry.dependencies, into);
    }
}

fn archive(name: Option<&str>, integrity: Option<&str>, into: &mut Vec<Package>) {
    let Some(integrity) = integrity else { return };
    into.extend(Package::integrity(integrity));
    into.extend(name.map(page));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Returns a digest that depends on `number`, as an `integrity` and as a package.
    fn digest(number: u8) -> (String, Package) {
        let letter = char::from(b'A' + number);
        let integrity = format!("sha512-{}", letter.to_string().repeat(88));
        (integrity.clone(), Package::integrity(&integrity).remove(0))
    }

    #[test]
    fn every_version_of_the_format() {
        let [(one, first), (two, second)] = [digest(1), digest(2)];
        let modern = format!(
            r#"{{"lockfileVersion": 3, "packages": {{"": {{"name": "x", "dependencies": {{"a": "^1"}}}},
                "node_modules/@acme/a": {{"version": "1.0.0", "integrity": "{one}", "dependencies": {{"b": "^2"}}}},
                "node_modules/l": {{"link": true, "resolved": "l"}},
                "node_modules/@acme/a/node_modules/b": {{"integrity": "{two}"}}}}}}"#
        );
        let old = format!(
            r#"{{"lockfileVersion": 1, "dependencies": {{"@acme/a": {{"integrity": "{one}", "requires": {{"b": "2"}},
                "dependencies": {{"b": {{"integrity": "{two}"}}}}}}}}}}"#
        );
        for text in [modern, old] {
            let found: BTreeSet<Package> = packages(&text).unwrap().into_iter().collect();
            let pages = ["@acme/a", "b"].map(page);
            assert_eq!(
                found,
                [first.clone(), second.clone()]
                    .into_iter()
                    .chain(pages)
                    .collect(),
                "{text}"
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(
            "{}{}",
            r#"{"dependencies": {"a": "#.repeat(5000),
            "}}".repeat(5000)
        );
        assert!(packages(&deep).is_err());
        assert!(packages("").is_err());
    }
}
