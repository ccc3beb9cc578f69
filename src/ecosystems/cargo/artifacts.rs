//! Inside a target directory of Cargo: the artifacts that newer builds replaced.
//!
//! | path in a profile | what it is |
//! | --- | --- |
//! | `.fingerprint/PACKAGE-HASH` | what an artifact was built from, and when |
//! | `deps/*-HASH*`, `examples/*-HASH*` | the artifact |
//! | `build/PACKAGE-HASH` | a build script, or what one wrote |
//! | `build/PACKAGE/HASH` | all of these, with `-Zbuild-dir-new-layout` |
//! | `incremental/CRATE-HASH` | what rustc remembers of a crate; another hash |
//!
//! A profile is `TARGET/PROFILE` or `TARGET/TRIPLE/PROFILE`. A unit is all that has one hash, the
//! fingerprint first: without one, Cargo builds the artifact again and writes over the rest. What
//! the newest builds need is no unit ([`in_use`]).
//!
//! Observed with Cargo 1.95 and 1.97 nightly: a build that finds an artifact fresh writes nothing.
//! It reads `dep-*` and the fingerprint, and of a build script its `output`. So access times of
//! these show use, to a day (`relatime`); we read the fingerprint ourselves, so its own doesn't
//! count. A build holds `.cargo-lock` until the last artifact is made (1.97 also
//! `.cargo-build-lock`), but not while tests run. On NFS Cargo doesn't lock.

use super::in_use::{self, Artifact, Found, Key, is_crate};
use crate::ecosystems::last_use::{LastUse, LastUseProbe, UnitPath, Use, newer};
use crate::ecosystems::lister::{CacheLayout, CacheLister, Entry, Stands};
use crate::ecosystems::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::fs::clock;
use crate::fs::volume_path::VolumePath;
use chrono::{DateTime, TimeDelta, Utc};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(super) const LAYOUT: CacheLayout = CacheLayout {
    kind: CacheKind::new("cargo-target"),
    unit: "an artifact that newer builds replaced, with its fingerprint; or what rustc remembers of it",
    stands: Stands::InDirectoryOrOutput,
    variables: |place| vec![("CARGO_TARGET_DIR", place.to_owned())],
    usual: &[&[Usual::Variable("CARGO_TARGET_DIR")]],
    units,
    last_use: LAST_USE,
    // Each unit has those of its profile.
    locks: |_| Vec::new(),
};

/// A unit's first paths show its use: its fingerprint, and its build script's output.
const LAST_USE: LastUse = LastUse {
    of: used,
    telling: 2,
};

/// The locks of a profile.
const LOCKS: [&str; 3] = [".cargo-lock", ".cargo-build-lock", ".cargo-artifact-lock"];

/// The most bytes of a fingerprint, or of the list of an artifact's sources, that are read.
const MOST: u64 = 1 << 20;

/// The most files of a fingerprint's directory: Cargo writes five or so.
const MOST_FILES: usize = 64;

/// The most names in all fingerprints of a target directory. Large workspaces have some 50,000.
const MOST_NEEDS: usize = 1 << 20;

/// A file server may round its times.
const SLACK: TimeDelta = TimeDelta::seconds(2);

/// A directory of artifacts.
struct Profile {
    place: VolumePath,
    locks: Arc<[VolumePath]>,
}

/// What was read of an artifact.
struct Read {
    artifact: Artifact,
    /// When it was last built.
    built: DateTime<Utc>,
    /// The fingerprint, then what was built.
    paths: Vec<VolumePath>,
}

/// Returns the last use of a path of a unit.
fn used(probe: &LastUseProbe, path: &UnitPath<'_>) -> io::Result<Use> {
    let mut newest = path.seen.times(false)?;
    let reads = probe.access_times();
    let mut add = |place: &UnitPath<'_>, name: &str, reads: bool| -> io::Result<()> {
        if let Some(seen) = probe.file_in(place, name)? {
            newest = newer(newest, seen.times(reads)?);
        }
        Ok(())
    };
    let is_named = |place: Option<&Path>, name: &str| {
        place.and_then(Path::file_name).is_some_and(|it| it == name)
    };
    let own = path.place.relative();
    if is_named(own.parent(), ".fingerprint") || is_named(Some(own), "fingerprint") {
        let mut names = Vec::new();
        probe.list(path.place, |name, _| names.push(name.to_owned()))?;
        for name in names.iter().filter_map(|name| name.to_str()) {
            add(path, name, reads && name.starts_with("dep-"))?;
        }
    } else if is_script(path.place) {
        for name in ["output", "root-output"] {
            add(path, name, reads)?;
        }
    } else if is_named(own.parent().and_then(Path::parent), "build") {
        newest = newer(newest, probe.entries(path, false)?);
    }
    Ok(newest)
}

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    if !is_target(lister.place) {
        return Vec::new();
    }
    let problems = lister.problems();
    let profiles = profiles(lister);
    let needs = AtomicUsize::new(0);
    let read: Vec<Read> = profiles
        .par_iter()
        .enumerate()
        .flat_map(|(number, profile)| artifacts(lister, (number, profile), &needs))
        .collect();
    // Whatever can't be read may be a build that needs all the rest.
    if lister.problems() > problems {
        return Vec::new();
    }
    let (artifacts, rest): (Vec<Artifact>, Vec<_>) = read
        .into_iter()
        .map(|read| (read.artifact, (read.built, read.paths)))
        .unzip();
    if lister.stop.reached().is_some() {
        return Vec::new();
    }
    let found = match in_use::find(&artifacts, lister.probe.access_times(), clock::now()) {
        Ok(found) => found,
        Err(why) => {
            lister.problem("tell what is in use in", lister.place, why + "; it stays");
            return Vec::new();
        }
    };
    let mut units = Vec::new();
    let mut built: Vec<(&Key, DateTime<Utc>)> = Vec::new();
    let all = artifacts.iter().zip(&found).zip(rest);
    for ((artifact, Found { used, in_use }), (at, paths)) in all {
        if *in_use {
            built.push((&artifact.key, at));
        } else if let Some(profile) = profiles.get(artifact.key.profile) {
            units.extend(unit(lister, profile, *used, paths));
        }
    }
    for (number, profile) in profiles.iter().enumerate() {
        let here = built.iter().filter(|(key, _)| key.profile == number);
        let here: Vec<(&Key, DateTime<Utc>)> = here.copied().collect();
        units.extend(remembered(lister, profile, &here));
    }
    units
}

/// Returns whether it is a target directory, and no other build output.
fn is_target(place: &VolumePath) -> bool {
    let signs = ["CACHEDIR.TAG", ".rustc_info.json"].map(|sign| place.join(sign));
    let is_there = |sign: VolumePath| sign.path().symlink_metadata().is_ok();
    signs.into_iter().flatten().any(is_there)
}

fn unit(
    lister: &CacheLister<'_>,
    profile: &Profile,
    used: Use,
    paths: Vec<VolumePath>,
) -> Option<Unit> {
    let name = paths.first()?.to_string();
    lister.locked_unit(&profile.locks, name, used, paths)
}

/// Returns the profiles of a target directory: those of the host, and of each other platform.
fn profiles(lister: &CacheLister<'_>) -> Vec<Profile> {
    let profile = |entry: &Entry| {
        let is_one = [".fingerprint", ".cargo-lock", ".cargo-build-lock"];
        let is_there = |name: &&str| {
            let place = entry.place.join(name);
            place.is_ok_and(|place| place.path().symlink_metadata().is_ok())
        };
        is_one.iter().any(is_there).then(|| Profile {
            place: entry.place.clone(),
            locks: LOCKS
                .iter()
                .filter_map(|name| entry.place.join(name).ok())
                .collect(),
        })
    };
    let mut profiles = Vec::new();
    for entry in lister.directories(lister.place) {
        match profile(&entry) {
            Some(found) => profiles.push(found),
            None if ["doc", "package", "tmp"].contains(&entry.name.as_str()) => {}
            None => profiles.extend(lister.directories(&entry.place).iter().filter_map(profile)),
        }
    }
    profiles
}

/// Reads the artifacts of a profile.
fn artifacts(
    lister: &CacheLister<'_>,
    (number, profile): (usize, &Profile),
    needs: &AtomicUsize,
) -> Vec<Read> {
    let below = |name: &str| profile.place.join(name).into_iter();
    let mut parts: BTreeMap<String, Vec<VolumePath>> = BTreeMap::new();
    let mut fingerprints: Vec<(String, String, VolumePath, bool)> = Vec::new();
    for entry in below("build").flat_map(|place| lister.directories(&place)) {
        if let Some((_, hash)) = split(&entry.name) {
            parts.entry(hash.to_owned()).or_default().push(entry.place);
            continue;
        }
        for unit in lister.directories(&entry.place) {
            if is_hash(&unit.name) {
                fingerprints.push((entry.name.clone(), unit.name, unit.place, true));
            }
        }
    }
    for directory in ["deps", "examples"] {
        for entry in below(directory).flat_map(|place| lister.entries(&place)) {
            let stem = entry.name.split('.').next().unwrap_or_default();
            if let Some((_, hash)) = split(stem).filter(|_| !entry.is_dir) {
                parts.entry(hash.to_owned()).or_default().push(entry.place);
            }
        }
    }
    for entry in below(".fingerprint").flat_map(|place| lister.directories(&place)) {
        if let Some((package, hash)) = split(&entry.name) {
            fingerprints.push((package.to_owned(), hash.to_owned(), entry.place, false));
        }
    }
    let mut hashes = HashSet::new();
    if let Some((_, hash, place, _)) = fingerprints
        .iter()
        .find(|(_, hash, ..)| !hashes.insert(hash.clone()))
    {
        let cause = format!("another fingerprint is of {hash}, too");
        lister.problem("tell what belongs to", place, cause);
        return Vec::new();
    }
    let read = |(package, hash, place, is_whole): (String, String, VolumePath, bool)| {
        let parts = parts.get(&hash).cloned().unwrap_or_default();
        let own = Own {
            place,
            is_whole,
            parts,
        };
        own.read(lister, (number, package), needs)
    };
    fingerprints.into_par_iter().filter_map(read).collect()
}

/// The paths of one hash.
struct Own {
    /// Its fingerprint's directory, or that of all it has.
    place: VolumePath,
    is_whole: bool,
    parts: Vec<VolumePath>,
}

/// A fingerprint, as far as it matters.
#[derive(Deserialize)]
struct Fingerprint {
    deps: Vec<(u64, String, bool, u64)>,
}

impl Own {
    /// Reads what matters of it. Counts its needs: all of them are held until it is known what is
    /// in use.
    fn read(
        self,
        lister: &CacheLister<'_>,
        (profile, package): (usize, String),
        counted: &AtomicUsize,
    ) -> Option<Read> {
        let fingerprint = if self.is_whole {
            self.place.join("fingerprint").ok()?
        } else {
            self.place.clone()
        };
        let names = lister.entries(&fingerprint).into_iter();
        let names: Vec<String> = names.map(|entry| entry.name).collect();
        if names.len() > MOST_FILES || lister.stop.reached().is_some() {
            let cause = "it has more files than Cargo writes there";
            lister.problem("read", &fingerprint, cause);
            return None;
        }
        let is_target =
            |name: &&String| names.contains(&format!("{name}.json")) && !name.starts_with("dep-");
        let target = names.iter().find(is_target).cloned().unwrap_or_default();
        let (value, needs) = contents(lister, &fingerprint, &target);
        let own_needs = needs.as_ref().map_or(0, Vec::len);
        if counted
            .fetch_add(own_needs, Relaxed)
            .saturating_add(own_needs)
            > MOST_NEEDS
        {
            let cause = "the fingerprints there name more than those of any build";
            lister.problem("read", &fingerprint, cause);
            return None;
        }
        let files = self.files(lister);
        let mut telling = vec![fingerprint.clone()];
        telling.extend(self.parts.iter().filter(|path| is_script(path)).cloned());
        let used = lister.probe.last_use(LAST_USE, &telling);
        let used = used
            .inspect_err(|error| lister.problem("tell the last use of", &fingerprint, error))
            .ok()?;
        let stamp = [fingerprint.join("invoked.timestamp").ok()?];
        let built = lister.probe.last_use(LAST_USE, &stamp);
        Some(Read {
            artifact: Artifact {
                value,
                needs,
                used,
                may_be_root: may_be_root(lister, &target, &files),
                is_on_top: files.iter().any(|file| is_on_top(lister, file)),
                key: Key {
                    profile,
                    package,
                    target,
                    is_linked: files.iter().any(|file| !is_of_check(file)),
                },
            },
            built: built.map_or(used.at, |built| built.at),
            paths: self.in_order(),
        })
    }

    /// Returns the files that the compiler made.
    fn files(&self, lister: &CacheLister<'_>) -> Vec<VolumePath> {
        let directories = if self.is_whole {
            self.place.join("out").into_iter().collect()
        } else {
            let scripts = self.parts.iter().filter(|path| is_script(path));
            scripts.cloned().collect::<Vec<_>>()
        };
        let within = directories.iter().flat_map(|place| lister.entries(place));
        let within = within.filter(|entry| !entry.is_dir && split(stem(&entry.name)).is_some());
        let beside = self.parts.iter().filter(|path| !is_script(path)).cloned();
        beside.chain(within.map(|entry| entry.place)).collect()
    }

    /// Returns the paths in the order in which they go. The list of sources goes last: it shows
    /// whose the other files are.
    fn in_order(mut self) -> Vec<VolumePath> {
        let rank = |path: &VolumePath| (!is_script(path), extension(path) == "d");
        self.parts
            .sort_by(|one, other| rank(one).cmp(&rank(other)).then_with(|| one.cmp(other)));
        std::iter::once(self.place).chain(self.parts).collect()
    }
}

/// Returns a fingerprint, and what it names.
fn contents(
    lister: &CacheLister<'_>,
    place: &VolumePath,
    target: &str,
) -> (Option<u64>, Option<Vec<(String, u64)>>) {
    let read = |name: &str| {
        let file = place.join(name).ok()?;
        let text = lister.probe.tail(&file, MOST).ok()?;
        String::from_utf8(text).ok()
    };
    let value = read(target).and_then(|text| {
        let value = u64::from_str_radix(text.trim(), 16).ok()?;
        Some(value.swap_bytes())
    });
    let json = read(&format!("{target}.json"));
    let found = json.and_then(|json| serde_json::from_str::<Fingerprint>(&json).ok());
    let needs = found.map(|found| {
        let deps = found.deps.into_iter();
        deps.map(|(_, name, _, value)| (name, value)).collect()
    });
    (value, needs)
}

/// Returns whether an artifact may have been built for its own sake. Libraries are built for
/// others, unless their sources are the workspace's: then their paths are relative.
fn may_be_root(lister: &CacheLister<'_>, target: &str, files: &[VolumePath]) -> bool {
    if target.starts_with("run-build-script-") || target.starts_with("build-script-") {
        return false;
    }
    let is_relative = |list: &VolumePath| {
        let text = lister.probe.tail(list, MOST).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let sources = text.lines().find_map(|line| line.split_once(": "))?.1;
        Some(!sources.trim_start().starts_with('/'))
    };
    let mut lists = files.iter().filter(|file| extension(file) == "d");
    // Without a list nobody knows.
    !target.starts_with("lib-") || lists.all(|list| is_relative(list).unwrap_or(true))
}

/// Returns whether Cargo linked the file to the top of the profile.
fn is_on_top(lister: &CacheLister<'_>, file: &VolumePath) -> bool {
    !is_of_check(file) && lister.probe.is_linked(file)
}

/// Returns what rustc remembers of crates for no artifact in use. What it remembers was written
/// after the build of its artifact began.
fn remembered(
    lister: &CacheLister<'_>,
    profile: &Profile,
    in_use: &[(&Key, DateTime<Utc>)],
) -> Vec<Unit> {
    let place = profile.place.join("incremental").into_iter();
    let crates = place.flat_map(|place| lister.directories(&place));
    let one = |entry: Entry| {
        let (name, _) = entry.name.rsplit_once('-')?;
        // Each session is a directory with a lock file beside it. Anything else is somebody's.
        let all = lister.entries(&entry.place);
        let is_session = |entry: &Entry| {
            let is_lock = || entry.name.strip_suffix(".lock").is_some();
            entry.name.starts_with("s-") && (entry.is_dir || is_lock())
        };
        if all.is_empty() || !all.iter().all(is_session) {
            return None;
        }
        let sessions: Vec<Entry> = all.into_iter().filter(|entry| entry.is_dir).collect();
        let of = |place: &VolumePath| {
            lister
                .probe
                .last_use(LAST_USE, std::slice::from_ref(place))
                .ok()
        };
        let times = sessions.iter().map(|session| of(&session.place));
        let used = times.fold(of(&entry.place), |newest, used| Some(newer(newest?, used?)))?;
        let mut same = in_use.iter().filter(|(key, _)| is_crate(&key.target, name));
        let is_needed = same.any(|(_, built)| {
            built
                .checked_sub_signed(SLACK)
                .is_none_or(|built| used.at >= built)
        });
        (!is_needed).then(|| unit(lister, profile, used, vec![entry.place]))?
    };
    crates.filter_map(one).collect()
}

fn extension(path: &VolumePath) -> &str {
    let extension = path.relative().extension();
    extension.and_then(|it| it.to_str()).unwrap_or_default()
}

/// Returns whether a check makes such a file, too.
fn is_of_check(path: &VolumePath) -> bool {
    ["d", "rmeta"].contains(&extension(path))
}

/// Returns whether it is a directory of `build`.
fn is_script(path: &VolumePath) -> bool {
    let parent = path.relative().parent().and_then(Path::file_name);
    parent.is_some_and(|name| name == "build")
}

fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// Splits `NAME-HASH`.
fn split(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('-').filter(|(_, hash)| is_hash(hash))
}

fn is_hash(name: &str) -> bool {
    crate::ecosystems::hex::is_hex(name, 16)
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::Field;
    use std::fs;

    /// As Cargo 1.97 nightly writes it with `-Zbuild-dir-new-layout`. The usual layout is tested
    /// with the real Cargo.
    #[test]
    fn in_the_new_layout_a_unit_is_a_directory() {
        let field = Field::new();
        field.file("t/CACHEDIR.TAG", 9);
        field.file("t/debug/.cargo-build-lock", 9);
        field.file("t/debug/build/app/README", 9);
        for (hash, days) in [("00000000000000aa", 9), ("00000000000000bb", 8)] {
            let unit = format!("t/debug/build/app/{hash}");
            for (file, text) in [
                ("lib-app", "0100000000000000"),
                ("lib-app.json", r#"{"deps": [], "features": "[]"}"#),
                ("dep-lib-app", ""),
                ("invoked.timestamp", ""),
            ] {
                let path = format!("{unit}/fingerprint/{file}");
                fs::write(field.file(&path, days).path(), text).unwrap();
                field.age(&path, days);
            }
            field.file(&format!("{unit}/out/libapp-{hash}.rlib"), days);
        }
        // What rustc doesn't write is nothing that it remembers.
        field.file("t/debug/incremental/app-1abc/notes.md", 9);
        let seen = field.survey(&field.policy("cargo-target", "t"));
        assert_eq!(seen.problems, [""; 0]);
        let old = "t/debug/build/app/00000000000000aa";
        let [unit] = &seen.units[..] else {
            panic!("{:?}", seen.units)
        };
        assert_eq!(
            (unit.name.as_str(), &unit.paths[..]),
            (old, &[field.at(old)][..])
        );
        let locks = [".cargo-lock", ".cargo-build-lock", ".cargo-artifact-lock"];
        let locks = locks.map(|lock| field.at(&format!("t/debug/{lock}")));
        assert_eq!(unit.locks[..], locks);
        // A fingerprint that Cargo can't have written, or two of one hash: nobody knows what is in use.
        for spoiled in [
            "t/debug/.fingerprint/app-00000000000000bb/lib-app",
            "t/debug/build/app/00000000000000bb/fingerprint/more",
        ] {
            for more in 0..70 {
                field.file(&format!("{spoiled}{more}"), 9);
            }
            let seen = field.survey(&field.policy("cargo-target", "t"));
            assert_eq!((seen.units.len(), seen.problems.len()), (0, 1), "{seen:?}");
            let directory = field.at(spoiled).path();
            let directory = directory.parent().unwrap();
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if name.starts_with("more") || spoiled.contains(".fingerprint") {
                    fs::rename(entry.path(), field.at("t").path().join(name)).unwrap();
                }
            }
            if spoiled.contains(".fingerprint") {
                let top = directory.parent().unwrap();
                fs::rename(top, field.at("t").path().join("elsewhere")).unwrap();
            }
        }
        // What is no target directory has no artifacts.
        let tag = field.at("t/CACHEDIR.TAG").path();
        fs::rename(&tag, tag.with_extension("no")).unwrap();
        assert!(
            field
                .survey(&field.policy("cargo-target", "t"))
                .units
                .is_empty()
        );
    }
}
