//! Deno: its cache ([`cache`]), its lock file, and the packages that it installs.
//!
//! `deno.lock` names packages from npm and JSR by name and version, and what came from any other
//! server by its address. Versions 3 to 5 are read; Deno 2 converts older ones to these. The lock
//! file is beside the `node_modules`, and the store in it shows each package's version.

mod cache;

use super::account::Tool;
use super::directory::Directory;
use super::ecosystem::Ecosystem;
use super::keys::Keys;
use super::lister::{CacheLayout, Stands};
use super::lock_file::{LockFile, LockFileError, Parse, from_json};
use super::node;
use super::node::{Manager, name_of};
use super::usual::Usual;
use crate::facts::cache::CacheKind;
use crate::facts::package::Package;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(super) static DENO: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("deno"),
        unit: "a package, a module with what Deno made of it, or a page of the registry; nothing that a worktree has as hard links",
        stands: Stands::InDirectory,
        variables: |place| vec![("DENO_DIR", place.to_owned())],
        usual: &[&[Usual::Variable("DENO_DIR"), Usual::Cache("deno")]],
        units: cache::units,
        last_use: cache::LAST_USE,
        locks: |_| Vec::new(),
    }],
    lock_files: &[LockFile {
        format: "deno",
        is_one: |name, _| name == LOCK_FILE,
        parse: Parse::Whole(named),
    }],
    output: &[MODULES],
    ..Ecosystem::named("Deno")
};

const LOCK_FILE: &str = "deno.lock";

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
    #[serde(default)]
    jsr: Keys,
    /// Version 3 has these two here.
    #[serde(default)]
    packages: Registries,
    #[serde(default)]
    remote: Keys,
    #[serde(default)]
    redirects: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Registries {
    #[serde(default)]
    npm: Keys,
    #[serde(default)]
    jsr: Keys,
}

fn packages(_: &Directory, project: &Directory) -> Vec<String> {
    let lock = project
        .note(LOCK_FILE)
        .and_then(|note| serde_json::from_slice::<Lock>(&note).ok());
    lock.into_iter()
        .flat_map(|lock| lock.npm.0)
        .filter_map(|spec| name_of(&spec))
        .collect()
}

/// Returns the packages that a lock file names.
fn named(text: &str) -> Result<Vec<Package>, LockFileError> {
    let lock: Lock = from_json(text)?;
    let npm = lock.npm.0.iter().chain(&lock.packages.npm.0);
    let jsr = lock.jsr.0.iter().chain(&lock.packages.jsr.0);
    let addresses = lock.remote.0.iter().chain(lock.redirects.keys());
    let addresses = addresses.chain(lock.redirects.values());
    let mut packages: Vec<Package> = npm.filter_map(|spec| of_npm(spec)).collect();
    for spec in jsr {
        packages.extend(name_of(spec).map(|name| of_jsr(&name)));
        packages.push(of_jsr(spec));
    }
    packages.extend(addresses.filter_map(|address| of_address(address)));
    Ok(packages)
}

/// Names an npm package for cache and lock file: `@scope/name@1.0.0`, without `_peer@2.0.0`.
fn of_npm(spec: &str) -> Option<Package> {
    let (name, rest) = spec.split_at_checked(name_of(spec)?.len())?;
    // No version has an underscore; a name may.
    let version = rest.split('_').next()?;
    Some(Package::new("deno-npm", &format!("{name}{version}")))
}

/// Names a JSR package for both: `@scope/name@1.0.0`; without a version, the list of its versions,
/// without which Deno doesn't start offline.
fn of_jsr(spec: &str) -> Package {
    Package::new("deno-jsr", spec)
}

/// Names a module for both: its server, and the hash that is its name in the cache.
fn of_module(scheme: &str, host: &str, hash: &str) -> Package {
    let shown = hash.get(..cache::SHOWN).unwrap_or(hash);
    Package::new("deno", &format!("{scheme}://{host}/{shown}"))
}

/// Names a module by the address that a lock file has.
fn of_address(address: &str) -> Option<Package> {
    let (scheme, rest) = address.split_once("://")?;
    let rest = rest.split('#').next()?;
    let (server, path) = rest.split_at_checked(rest.find('/')?)?;
    let host = server.rsplit('@').next()?;
    let mut hash = String::new();
    for byte in ring::digest::digest(&ring::digest::SHA256, path.as_bytes()).as_ref() {
        write!(hash, "{byte:02x}").ok()?;
    }
    Some(of_module(scheme, host, &hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_names_packages_and_addresses() {
        let lock = r#"{
  "version": "5",
  "specifiers": {"jsr:@std/path@1": "1.0.8", "npm:react-dom@18": "18.2.0_react@18.2.0"},
  "jsr": {"@std/path@1.0.8": {"integrity": "00"}},
  "npm": {
    "@acme/ui@2.0.0-rc.1": {"integrity": "sha512-AA==", "dependencies": ["lodash_es"]},
    "lodash_es@4.17.21": {"integrity": "sha512-AA=="},
    "react-dom@18.2.0_react@18.2.0": {"integrity": "sha512-AA=="}
  },
  "redirects": {"https://deno.land/std/path/mod.ts": "https://deno.land/std@0.224.0/path/mod.ts"},
  "remote": {"https://deno.land/x/foo.ts": "00"}
}"#;
        let npm = [
            "@acme/ui@2.0.0-rc.1",
            "lodash_es@4.17.21",
            "react-dom@18.2.0",
        ];
        let expected: Vec<Package> = npm
            .iter()
            .map(|spec| Package::new("deno-npm", spec))
            .chain(["@std/path", "@std/path@1.0.8"].map(of_jsr))
            .chain([
                // As in Deno's own tests.
                Package::new("deno", "https://deno.land/2c0a064891b9e3fbe386f5d4a833bce5"),
                of_address("https://deno.land/std/path/mod.ts").unwrap(),
                of_address("https://deno.land/std@0.224.0/path/mod.ts").unwrap(),
            ])
            .collect();
        assert_eq!(named(lock).unwrap(), expected);
        let older = r#"{"version": "3", "packages": {"jsr": {"@std/path@1.0.8": {}}, "npm": {"a@1.0.0": {}}}, "remote": {}}"#;
        assert_eq!(named(older).unwrap().len(), 3);
        let why = named("{\n\"npm\": \"secret\"}").unwrap_err().to_string();
        assert_eq!(why, "line 2 is no JSON of its form");
    }

    #[test]
    fn an_address_is_hashed_without_its_fragment() {
        let hashed = |address| of_address(address).unwrap().as_str().to_owned();
        assert_eq!(
            hashed("https://deno.land/?asdf=qwer#qwer"),
            "deno https://deno.land/e4edd1f433165141015db6a823094e6b"
        );
        assert_eq!(
            hashed("http://me:secret@localhost:8080/"),
            "deno http://localhost:8080/8a5edab282632443219e051e4ade2d1d"
        );
        for bad in ["", "deno.land/x.ts", "file:x", "https://deno.land"] {
            assert_eq!(of_address(bad), None, "{bad}");
        }
    }
}
