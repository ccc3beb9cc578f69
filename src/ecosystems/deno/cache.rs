//! Deno's cache: what registries and other servers sent, and the JavaScript that Deno compiled.
//!
//! | path | unit | name |
//! | --- | --- | --- |
//! | `npm/<registry>/<name>/<version>/`, and the same with `_1` or `.build_<hash>` | the directory | `left-pad@1.3.0` |
//! | `npm/<registry>/<name>/registry.json` | the file: what the registry says of a package | `left-pad/registry.json` |
//! | `remote/https/jsr.io/<hash>`, `gen/https/jsr.io/<hash>.js` | all modules of a package at a version, and the list of them | `jsr:@std/path@1.0.8` |
//! | `remote/https/jsr.io/<hash>` | the list of a package's versions | `jsr:@std/path` |
//! | `remote/<scheme>/<host>/<hash>`, `gen/<scheme>/<host>/<hash>.js` | a module | `https/deno.land/2c0a…` |
//! | `gen/file/<path>.js` | what Deno compiled from somebody's file | `gen/file/…` |
//!
//! Observed with Deno 2.9.6: each path may be evicted alone. Deno fetches again what came from a
//! server, and compiles again what it compiled (`gen`), even offline. It doesn't notice that a
//! directory lacks a file, so a directory is removed in one step. Deno fills a `node_modules` with
//! hard links, which moves the change time of every file and reads none. A package that a tree has
//! as hard links is no unit: evicting it would free nothing. Without a `node_modules` Deno reads
//! packages and modules in place, so access times show use. It locks only its databases.
//!
//! A module's name is the hash of its address without the server. Only its last line names the JSR
//! package that it belongs to. The survey reads that line, so the access time of a JSR module
//! doesn't show use, but that of its compiled JavaScript does.
//!
//! Everything else at the top is kept: the databases `*_cache_v2`, `location_data` with
//! `localStorage` and the like (nobody can fetch it again), and the prompt's history. So are
//! modules of schemes without a server, unfinished files (`1.3.2cd1b253.tmp`), and what was
//! compiled from files in hidden directories. `_1` is a copy by hard links: it and its package are
//! kept, too. `.build_<hash>` is what a package's scripts built. Both are known only from Deno's
//! sources.

use super::{of_jsr, of_module, of_npm};
use crate::ecosystems::hex::is_hex;
use crate::ecosystems::last_use::LastUse;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::ecosystems::node;
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The schemes of addresses that have a server.
const SCHEMES: [&str; 2] = ["http", "https"];

/// The address of JSR. With another `JSR_URL`, its modules are like any other.
const JSR: (&str, &str) = ("https", "jsr.io");

/// Hexadecimal digits of SHA-256.
const DIGITS: usize = 64;

/// Digits of it that name a module: 128 bits distinguish any two.
pub(super) const SHOWN: usize = 32;

/// Levels of directories below `npm`: a registry, the rest of its address, a scope and a name.
/// Agents can nest directories without end.
const LEVELS: usize = 10;

/// Bytes of a module's end that are read: its last line has the headers of the response.
const TAIL: u64 = 16 << 10;

/// Hard links move the change time. The survey reads JSR's modules, so reads of them show no use.
pub(super) const LAST_USE: LastUse = LastUse::of(|probe, path| {
    let was_read = path.is_below(JSR.1) && path.place.relative().extension().is_none();
    if was_read {
        return path.seen.times(false);
    }
    node::last_use(probe, path)
});

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let (mut units, top) = (Vec::new(), lister.directories(lister.place));
    for directory in top.iter().filter(|directory| directory.name == "npm") {
        units.extend(registry(lister, "", directory, LEVELS));
    }
    for scheme in SCHEMES {
        let hosts: BTreeSet<String> = ["remote", "gen"]
            .into_iter()
            .filter_map(|top| lister.place.join(format!("{top}/{scheme}")).ok())
            .flat_map(|directory| lister.directories(&directory))
            .map(|host| host.name)
            .collect();
        units.par_extend(
            hosts
                .par_iter()
                .flat_map_iter(|host| modules(lister, scheme, host)),
        );
    }
    if let Ok(files) = lister.place.join("gen/file") {
        made_of_files(lister, files, &mut units);
    }
    units
}

/// Returns whether a file is being written, or its writer was killed.
fn is_unfinished(entry: &Entry) -> bool {
    entry.has_extension("tmp")
}

/// Returns the units in a directory below `npm`, in which a package would have that `name`.
fn registry(lister: &CacheLister<'_>, name: &str, directory: &Entry, levels: usize) -> Vec<Unit> {
    let entries = lister.entries(&directory.place);
    let is_package = entries.iter().any(|entry| entry.name == node::MANIFEST);
    let Some(levels) = levels.checked_sub(1).filter(|_| !is_package) else {
        // An unpacked package under a name that is no version, or a directory that is too deep.
        lister.odd(directory);
        return Vec::new();
    };
    let units = entries.into_par_iter().flat_map_iter(|entry| {
        if is_unfinished(&entry) {
            return Vec::new();
        }
        if entry.is_dir {
            return match version(&entry.name) {
                Some(version) => {
                    let spec = format!("{name}@{version}");
                    package(lister, &spec, name, entry).into_iter().collect()
                }
                None => registry(lister, &name_in(name, &entry.name), &entry, levels),
            };
        }
        if entry.name != "registry.json" {
            lister.odd(&entry);
            return Vec::new();
        }
        let page = lister.unit(format!("{name}/{}", entry.name), vec![entry.place]);
        page.into_iter().collect()
    });
    units.collect()
}

/// Returns the version in `1.0.0`, `1.0.0_1` and `1.0.0.build_0123`.
fn version(directory: &str) -> Option<&str> {
    // No version has an underscore.
    let version = directory.split('_').next()?;
    let version = version.strip_suffix(".build").unwrap_or(version);
    let mut numbers = version.split(['-', '+']).next()?.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let three = [numbers.next()?, numbers.next()?, numbers.next()?];
    (three.into_iter().all(is_number) && numbers.next().is_none()).then_some(version)
}

/// Returns a package's name, given the names of its `directory` and of the one `above` it.
fn name_in(above: &str, directory: &str) -> String {
    let is_scope = above.starts_with('@') && !above.contains('/');
    if is_scope {
        return format!("{above}/{directory}");
    }
    with_capitals(directory).unwrap_or_else(|| directory.to_owned())
}

/// Decodes a name with capitals, in base 32 after an underscore: `_jjju6tq` is `JSON`.
fn with_capitals(directory: &str) -> Option<String> {
    const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz234567";
    let (mut name, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for symbol in directory.strip_prefix('_')?.chars() {
        let value = u32::try_from(ALPHABET.find(symbol)?).ok()?;
        bits = ((bits << 5) | value) & 0xfff;
        // Five more bits: with three that are left from before they complete a byte.
        match held.checked_sub(3) {
            Some(left) => {
                name.push(u8::try_from(bits.checked_shr(left)? & 0xff).ok()?);
                held = left;
            }
            None => held = held.saturating_add(5),
        }
    }
    String::from_utf8(name).ok()
}

fn package(lister: &CacheLister<'_>, spec: &str, name: &str, directory: Entry) -> Option<Unit> {
    // A directory without a manifest counts as linked, and is no package.
    if lister
        .probe
        .is_linked(&directory.place.join(node::MANIFEST).ok()?)
    {
        return None;
    }
    lister.unit_of(
        of_npm(spec).into_iter().collect(),
        format!("{name}@{}", directory.name),
        vec![directory.place],
    )
}

/// A downloaded module, and the JavaScript that Deno compiled from it.
#[derive(Default)]
struct Module {
    source: Option<VolumePath>,
    made: Option<VolumePath>,
}

impl Module {
    /// Returns the paths, the compiled file first.
    fn paths(self) -> impl Iterator<Item = VolumePath> {
        self.made.into_iter().chain(self.source)
    }
}

fn modules(lister: &CacheLister<'_>, scheme: &str, host: &str) -> Vec<Unit> {
    let mut modules = BTreeMap::<String, Module>::new();
    let entries = |top: &str| {
        let directory = lister.place.join(format!("{top}/{scheme}/{host}")).ok();
        directory
            .map(|directory| lister.entries(&directory))
            .unwrap_or_default()
    };
    let mut note = |entry: Entry, extension: &str, put: fn(&mut Module, VolumePath)| {
        let hash = entry.name.strip_suffix(extension);
        match hash.filter(|hash| !entry.is_dir && is_hex(hash, DIGITS)) {
            Some(hash) => put(modules.entry(hash.to_owned()).or_default(), entry.place),
            None if is_unfinished(&entry) => {}
            None => lister.odd(&entry),
        }
    };
    for entry in entries("gen") {
        note(entry, ".js", |module, place| module.made = Some(place));
    }
    for entry in entries("remote") {
        note(entry, "", |module, place| module.source = Some(place));
    }
    let known: Vec<(Belongs, Module)> = modules
        .into_par_iter()
        .filter_map(|(hash, module)| {
            Some((belongs(lister, (scheme, host), &hash, &module)?, module))
        })
        .collect();
    let mut units = BTreeMap::<String, (Package, Vec<VolumePath>)>::new();
    for (Belongs { name, package }, module) in known {
        let (_, paths) = units.entry(name).or_insert_with(|| (package, Vec::new()));
        paths.extend(module.paths());
    }
    units
        .into_par_iter()
        .filter_map(|(name, (package, paths))| lister.unit_of(vec![package], name, paths))
        .collect()
}

/// The unit that a module is part of.
struct Belongs {
    name: String,
    package: Package,
}

impl Belongs {
    /// Returns a unit of this module alone.
    fn alone(scheme: &str, host: &str, hash: &str) -> Self {
        // The port follows `_PORT`. In the sources of a later version it follows `_port_`, and
        // `%5f` is an underscore.
        let server = host
            .replace("_port_", ":")
            .replace("_PORT", ":")
            .replace("%5f", "_");
        Self {
            name: format!("{scheme}/{host}/{hash}"),
            package: of_module(scheme, &server, hash),
        }
    }

    /// Returns the unit of a JSR package.
    fn to(spec: &str) -> Self {
        Self {
            name: format!("jsr:{spec}"),
            package: of_jsr(spec),
        }
    }
}

/// Returns the unit of a module; none, and a problem, if a JSR module's address can't be read.
fn belongs(
    lister: &CacheLister<'_>,
    (scheme, host): (&str, &str),
    hash: &str,
    module: &Module,
) -> Option<Belongs> {
    let of_jsr = module.source.as_ref().filter(|_| (scheme, host) == JSR);
    let spec = match of_jsr.map(|source| (source, address(lister, source))) {
        None => None,
        Some((_, Ok(address))) => spec(&address),
        Some((source, Err(error))) => {
            lister.problem("read the address of", source, error);
            return None;
        }
    };
    let alone = || Belongs::alone(scheme, host, hash);
    Some(spec.map_or_else(alone, |spec| Belongs::to(&spec)))
}

/// Returns the address that a module came from. Its last line is
/// `// denoCacheMetadata={"headers":{...},"url":"https://...","time":1795995020}`.
fn address(lister: &CacheLister<'_>, source: &VolumePath) -> io::Result<String> {
    #[derive(Deserialize)]
    struct Note {
        url: String,
    }
    let tail = lister.probe.tail(source, TAIL)?;
    let last = tail.rsplit(|byte| *byte == b'\n').next();
    last.and_then(|last| last.strip_prefix(b"// denoCacheMetadata="))
        .and_then(|note| serde_json::from_slice::<Note>(note).ok())
        .map(|note| note.url)
        .ok_or_else(|| io::Error::other("its last line tells none, so it stays"))
}

/// Returns `@scope/name@1.0.0` for `https://jsr.io/@scope/name/1.0.0/mod.ts` and for
/// `https://jsr.io/@scope/name/1.0.0_meta.json`, and `@scope/name` for
/// `https://jsr.io/@scope/name/meta.json`.
fn spec(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let mut parts = rest.split('/');
    let server = parts.next()?;
    let [scope, name, third] = [parts.next()?, parts.next()?, parts.next()?];
    if (scheme, server) != JSR || !scope.starts_with('@') {
        return None;
    }
    let version = match (third, parts.next()) {
        ("meta.json", None) => return Some(format!("{scope}/{name}")),
        (list, None) => list.strip_suffix("_meta.json")?,
        (version, Some(_)) => version,
    };
    Some(format!("{scope}/{name}@{version}"))
}

/// Adds the files that Deno compiled, level by level: agents can nest directories without end.
fn made_of_files(lister: &CacheLister<'_>, files: VolumePath, units: &mut Vec<Unit>) {
    let mut level = vec![files];
    while !level.is_empty() {
        let (below, found): (Vec<Vec<VolumePath>>, Vec<Vec<Unit>>) = level
            .par_iter()
            .map(|directory| {
                let (directories, files): (Vec<Entry>, Vec<Entry>) = lister
                    .entries(directory)
                    .into_iter()
                    .partition(|entry| entry.is_dir);
                let found = files.into_iter().filter_map(|file| made(lister, file));
                (
                    directories
                        .into_iter()
                        .map(|directory| directory.place)
                        .collect(),
                    found.collect(),
                )
            })
            .unzip();
        units.extend(found.into_iter().flatten());
        level = below.into_iter().flatten().collect();
    }
}

fn made(lister: &CacheLister<'_>, file: Entry) -> Option<Unit> {
    if !file.has_extension("js") {
        if !is_unfinished(&file) {
            lister.odd(&file);
        }
        return None;
    }
    let below = file.place.relative();
    let name = below.strip_prefix(lister.place.relative()).unwrap_or(below);
    lister.unit(name.to_string_lossy().into_owned(), vec![file.place])
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};
    use std::fs;

    const HASHES: [&str; 5] = [
        "2c0a064891b9e3fbe386f5d4a833bce5076543f5404613656042107213a7bbc8",
        "090bf73c3b66a8c22190102cd5b3fd9f3b4a185e9600c530988c5ace7d2919a2",
        "6fec8d99d187a55942eac58c6d110eb9798318dc39e520f3efb335dd26a90a99",
        "7de7b84ea932730c5f38ce60f9c733a44b9ed186fb5efd1162938df8c7f257dc",
        "8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1",
    ];

    /// Creates a file of JSR's, as Deno keeps it.
    fn from_jsr(field: &Field, hash: &str, path: &str, days: u64) {
        let place = format!("deno/remote/https/jsr.io/{hash}");
        field.file(&place, days);
        let note = format!(r#"{{"headers":{{"url":"x"}},"url":"https://jsr.io/{path}","time":1}}"#);
        let text = format!("1;\n\n// denoCacheMetadata={note}");
        fs::write(field.at(&place).path(), text).unwrap();
        field.age(&place, days);
    }

    #[test]
    fn every_sort_of_unit_and_what_stays() {
        let field = Field::new();
        let [module, versions, list, source, alone] = HASHES;
        for path in [
            "deno/npm/registry.npmjs.org/left-pad/registry.json",
            "deno/npm/registry.npmjs.org/left-pad/1.3.0/package.json",
            "deno/npm/registry.npmjs.org/left-pad/1.3.0.build_01ab/package.json",
            "deno/npm/registry.npmjs.org/left-pad/1.3.2cd1b253.tmp/package.json",
            "deno/npm/registry.npmjs.org/left-pad/registry.318df24f.tmp",
            "deno/npm/registry.npmjs.org/_jjju6tstorzgkyln/1.3.5/package.json",
            "deno/npm/npm.acme.example_8080/api/npm/@acme/ui/2.0.0-rc.1/package.json",
            "deno/npm/registry.npmjs.org/linked/1.0.0/package.json",
            "deno/npm/registry.npmjs.org/empty/1.0.0/x.js",
            &format!("deno/remote/http/localhost_PORT8080/{module}"),
            &format!("deno/gen/http/localhost_PORT8080/{module}.js"),
            &format!("deno/gen/https/jsr.io/{source}.js"),
            &format!("deno/gen/https/jsr.io/{alone}.js"),
            &format!("deno/remote/https/jsr.io/{alone}.318df24f.tmp"),
            &format!("deno/remote/data/{alone}"),
            "deno/gen/file/data/shop/main.ts.js",
            "deno/gen/file/data/shop/main.ts.318df24f.tmp",
            "deno/dep_analysis_cache_v2",
            "deno/dep_analysis_cache_v2-wal",
            "deno/location_data/01ab/local_storage",
            "deno/deno_history.txt",
        ] {
            field.file(path, 40);
        }
        from_jsr(&field, versions, "@std/path/meta.json", 40);
        from_jsr(&field, list, "@std/path/1.0.8_meta.json", 40);
        from_jsr(&field, source, "@std/path/1.0.8/posix/mod.ts", 40);
        let manifest = field.at("deno/npm/registry.npmjs.org/linked/1.0.0/package.json");
        fs::hard_link(manifest.path(), field.at("elsewhere").path()).unwrap();
        let policy = field.policy("deno", "deno");
        let expected = [
            "@acme/ui@2.0.0-rc.1".to_owned(),
            "JSONStream@1.3.5".to_owned(),
            "gen/file/data/shop/main.ts.js".to_owned(),
            format!("http/localhost_PORT8080/{module}"),
            format!("https/jsr.io/{alone}"),
            "jsr:@std/path".to_owned(),
            "jsr:@std/path@1.0.8".to_owned(),
            "left-pad/registry.json".to_owned(),
            "left-pad@1.3.0".to_owned(),
            "left-pad@1.3.0.build_01ab".to_owned(),
        ];
        assert_eq!(field.names(&policy), expected);
        let units = field.survey(&policy).units;
        let named = |name: &str| units.iter().find(|unit| unit.name == name).unwrap();
        let paths = |name: &str| -> Vec<String> {
            let all = named(name).paths.iter();
            all.map(ToString::to_string).collect()
        };
        assert_eq!(
            paths("jsr:@std/path@1.0.8"),
            [
                format!("deno/remote/https/jsr.io/{list}"),
                format!("deno/gen/https/jsr.io/{source}.js"),
                format!("deno/remote/https/jsr.io/{source}"),
            ]
        );
        // It was just created, by its change time.
        assert!(named("left-pad@1.3.0").last_used > ago(1));
        assert_eq!(named("left-pad/registry.json").last_used, ago(40));
        // The survey's own reads show no use; reads of the compiled JavaScript do.
        field.read(&format!("deno/remote/https/jsr.io/{list}"), 1);
        field.read(&format!("deno/gen/https/jsr.io/{source}.js"), 3);
        let units = field.survey(&policy).units;
        let used = |name: &str| {
            units
                .iter()
                .find(|unit| unit.name == name)
                .unwrap()
                .last_used
        };
        assert_eq!(used("jsr:@std/path@1.0.8"), ago(3));
        assert_eq!(used("jsr:@std/path"), ago(40));
    }

    #[test]
    fn what_is_unknown_stays_and_is_told() {
        let field = Field::new();
        let hash = HASHES[0];
        for path in [
            "deno/npm/registry.npmjs.org/left-pad/newest/package.json",
            "deno/npm/registry.npmjs.org/left-pad/notes.txt",
            "deno/npm/a/b/c/d/e/f/g/h/i/j/k/1.0.0/package.json",
            "deno/remote/https/deno.land/mod.ts",
            &format!("deno/remote/https/jsr.io/{hash}"),
            "deno/gen/file/data/main.wasm",
        ] {
            field.file(path, 40);
        }
        let seen = field.survey(&field.policy("deno", "deno"));
        assert_eq!(seen.units, []);
        let odd = "not a part of this cache's layout, so it stays";
        assert_eq!(
            seen.problems,
            [
                format!(
                    "failed to read the address of `deno/remote/https/jsr.io/{hash}`: its last line tells none, so it stays"
                ),
                format!("failed to recognise `deno/gen/file/data/main.wasm`: {odd}"),
                format!("failed to recognise `deno/npm/a/b/c/d/e/f/g/h/i/j`: {odd}"),
                format!("failed to recognise `deno/npm/registry.npmjs.org/left-pad/newest`: {odd}"),
                format!(
                    "failed to recognise `deno/npm/registry.npmjs.org/left-pad/notes.txt`: {odd}"
                ),
                format!("failed to recognise `deno/remote/https/deno.land/mod.ts`: {odd}"),
            ]
        );
    }

    #[test]
    fn a_lock_file_names_what_the_cache_has() {
        let field = Field::new();
        let [module, versions, list, ..] = HASHES;
        for path in [
            "deno/npm/registry.npmjs.org/react-dom/18.2.0/package.json",
            "deno/npm/registry.npmjs.org/_jjju6tstorzgkyln/1.3.5/package.json",
            "deno/npm/registry.npmjs.org/react-dom/19.0.0/package.json",
            &format!("deno/remote/https/deno.land_PORT8080/{module}"),
            &format!("deno/remote/https/deno.land/{module}"),
        ] {
            field.file(path, 40);
        }
        from_jsr(&field, versions, "@std/path/meta.json", 40);
        from_jsr(&field, list, "@std/path/1.0.8_meta.json", 40);
        let lock = r#"{
  "jsr": {"@std/path@1.0.8": {}},
  "npm": {"react-dom@18.2.0_react@18.2.0": {}, "JSONStream@1.3.5": {}},
  "remote": {"https://deno.land:8080/x/foo.ts": "00"}
}"#;
        let named = super::super::named(lock).unwrap();
        let units = field.survey(&field.policy("deno", "deno")).units;
        let mut kept: Vec<String> = units
            .into_iter()
            .filter(|unit| unit.packages.iter().any(|package| named.contains(package)))
            .map(|unit| unit.name)
            .collect();
        kept.sort();
        let expected = [
            "JSONStream@1.3.5".to_owned(),
            format!("https/deno.land_PORT8080/{module}"),
            "jsr:@std/path".to_owned(),
            "jsr:@std/path@1.0.8".to_owned(),
            "react-dom@18.2.0".to_owned(),
        ];
        assert_eq!(kept, expected);
    }
}
