//! Yarn's caches. A unit is a zip of its global cache, its copy of a package's registry metadata,
//! or a directory of Yarn classic.
//!
//! | path | unit | name |
//! | --- | --- | --- |
//! | `cache/<slug>-<hash>-<key>.zip` | the file | `lodash-npm-4.17.21-6382451519-10c0` |
//! | `metadata/npm/<hash>/<registry>/<package>.json` | the file | `lodash (metadata)` |
//! | `v6/npm-<package>-<version>-<hash>-integrity/` | the directory (classic) | the same |
//!
//! The config's `path` may be berry's global directory, its `cache`, or classic's cache directory.
//! Yarn puts files in place by renaming, so a unit is whole or absent, and is fetched again. A
//! project that runs from the global cache (Plug'n'Play) needs a `yarn install` afterwards. `index`
//! (hard links that Yarn shares among trees) and classic's `.tmp` are never touched.

use super::lock_file::zip_package;
use crate::ecosystems::hex::is_hex;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    for entry in lister.entries(lister.place) {
        match entry.name.as_str() {
            _ if !entry.is_dir && entry.has_extension("zip") => units.extend(zip(lister, entry)),
            "cache" if entry.is_dir => {
                units.par_extend(
                    lister
                        .entries(&entry.place)
                        .into_par_iter()
                        .filter_map(|entry| zip(lister, entry)),
                );
            }
            "metadata" if entry.is_dir => units.extend(metadata(lister, &entry.place)),
            "index" => {}
            version if entry.is_dir && is_classic(version) => {
                units.par_extend(
                    lister
                        .entries(&entry.place)
                        .into_par_iter()
                        .filter_map(|entry| directory(lister, entry)),
                );
            }
            _ => lister.odd(&entry),
        }
    }
    units
}

/// Returns whether it is a version of classic's layout, such as `v6`.
fn is_classic(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn zip(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    let Some(name) = entry.name.strip_suffix(".zip").filter(|_| !entry.is_dir) else {
        lister.odd(&entry);
        return None;
    };
    // The slug, ten digits of the locator's hash, and either the cache key or ten digits of the
    // checksum.
    let slug = name
        .rsplit_once('-')
        .and_then(|(rest, _)| rest.rsplit_once('-'))
        .filter(|(_, hash)| is_hex(hash, 10));
    let packages = slug
        .map(|(slug, _)| zip_package(slug))
        .into_iter()
        .collect();
    lister.unit_of(packages, name.to_owned(), vec![entry.place])
}

fn metadata(lister: &CacheLister<'_>, metadata: &VolumePath) -> Vec<Unit> {
    let sorts = lister.directories(metadata).into_iter();
    let registries = sorts
        .flat_map(|sort| lister.directories(&sort.place))
        .flat_map(|salt| lister.directories(&salt.place));
    let mut units = Vec::new();
    for registry in registries {
        for entry in lister.entries(&registry.place) {
            if entry.is_dir {
                let scoped = lister.entries(&entry.place).into_iter();
                units.extend(
                    scoped.filter_map(|inner| page(lister, &format!("{}/", entry.name), inner)),
                );
            } else {
                units.extend(page(lister, "", entry));
            }
        }
    }
    units
}

fn page(lister: &CacheLister<'_>, scope: &str, entry: Entry) -> Option<Unit> {
    let package = entry.name.strip_suffix(".json").filter(|_| !entry.is_dir)?;
    lister.unit(format!("{scope}{package} (metadata)"), vec![entry.place])
}

/// Creates a unit of a Yarn classic package.
fn directory(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    if !entry.is_dir {
        lister.odd(&entry);
        return None;
    }
    // There is no SHA-1 if the lock file's address has none, as with many mirrors.
    let slug = entry.name.strip_suffix("-integrity").unwrap_or(&entry.name);
    let sha1 = slug
        .rsplit_once('-')
        .and_then(|(_, hash)| Package::digest("sha1", hash));
    let packages = vec![sha1.unwrap_or_else(|| zip_package(slug))];
    lister.unit_of(packages, entry.name, vec![entry.place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;

    #[test]
    fn zips_and_metadata_are_units_wherever_the_path_points() {
        let field = Field::new();
        let zip = "@types-node-npm-20.1.0-0123456789-10c0";
        field.file(&format!("berry/cache/{zip}.zip"), 3);
        field.file("berry/cache/odd-8.zip", 3);
        field.file("berry/cache/.gitignore", 3);
        field.file(
            "berry/metadata/npm/a3cd44/registry.yarnpkg.com/semver.json",
            3,
        );
        field.file(
            "berry/metadata/npm/a3cd44/registry.yarnpkg.com/@types/node.json",
            3,
        );
        field.file("berry/index/00/0123.dat", 3);
        let names = field.names(&field.policy("yarn", "berry"));
        assert_eq!(
            names,
            [
                "@types-node-npm-20.1.0-0123456789-10c0",
                "@types/node (metadata)",
                "odd-8",
                "semver (metadata)"
            ]
        );
        assert_eq!(
            field.names(&field.policy("yarn", "berry/cache")),
            [zip, "odd-8"]
        );
        let seen = field.survey(&field.policy("yarn", "berry/cache"));
        let typed = seen.units.iter().find(|unit| unit.name == zip).unwrap();
        assert_eq!(typed.packages, [zip_package("@types-node-npm-20.1.0")]);
    }

    #[test]
    fn classic_keeps_directories() {
        let field = Field::new();
        let name = "npm-left-pad-1.3.0-5b8a3a7765dfe001261dde915589e782f8c94d1e-integrity";
        field.file(&format!("yarn/v6/{name}/node_modules/left-pad/index.js"), 3);
        field.file("yarn/v6/.tmp/abc/x", 3);
        let seen = field.survey(&field.policy("yarn", "yarn"));
        assert_eq!((seen.units.len(), seen.problems.len()), (1, 0));
        let sha1 = Package::digest("sha1", "5b8a3a7765dfe001261dde915589e782f8c94d1e").unwrap();
        assert_eq!(
            (seen.units[0].name.as_str(), &seen.units[0].packages),
            (name, &vec![sha1])
        );
        // As Yarn 1.22 names them for addresses without a SHA-1, and for lock files without an
        // integrity.
        for name in [
            "npm-@sindresorhus-is-4.6.0-integrity",
            "npm-@sindresorhus-is-4.6.0",
        ] {
            let field = Field::new();
            field.file(
                &format!("yarn/v6/{name}/node_modules/@sindresorhus/is/index.js"),
                3,
            );
            let seen = field.survey(&field.policy("yarn", "yarn"));
            assert_eq!(
                seen.units[0].packages,
                [zip_package("npm-@sindresorhus-is-4.6.0")],
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_part_of_the_layout_stays() {
        let field = Field::new();
        for odd in [
            "yarn/precious",
            "yarn/vault/x",
            "yarn/cache/notes.txt",
            "yarn/cache/folder.zip/x",
            "yarn/v6/file",
        ] {
            field.file(odd, 3);
        }
        field.link("yarn/precious", "yarn/cache/link.zip");
        let seen = field.survey(&field.policy("yarn", "yarn"));
        assert_eq!(
            (seen.units.len(), seen.problems.len()),
            (0, 5),
            "{:?}",
            seen.problems
        );
    }
}
