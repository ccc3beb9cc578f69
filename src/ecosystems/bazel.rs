//! Bazel: its disk cache, its repository cache, and output bases that outlived their workspace. A
//! cache of this kind may be any of the three, or the directory of `--output_user_root`, which has
//! the latter two.
//!
//! | path | unit |
//! | --- | --- |
//! | `ac/<xx>/<hash>`, `cas/<xx>/<hash>`, also below `blake3` | the file: an action's result, or an output |
//! | `content_addressable/<algorithm>/<hash>/`, also below `cache/repos/v1` | the directory: a downloaded archive |
//! | `<32 digits>/` with `DO_NOT_BUILD_HERE` | the directory: an output base whose workspace was on this volume, is gone, and has no server |
//! | `tmp`, `gc`, `install`, `contents`, everything else | stays |
//!
//! Bazel allows others to delete the entries of a disk cache, and takes their write time for their
//! last use (`DiskCacheClient.java`). Observed with Bazel 4.2.3: it reads on each hit, and only the
//! archive's write time moves; what is missing is built or fetched again, and an action whose output
//! is gone counts as a miss. Bazel locks none of this. Output bases of workspaces that stand are
//! never touched: `bazel run` leaves programs that go on reading from there.

use super::ecosystem::Ecosystem;
use super::hex::{is_hash, is_hex};
use super::last_use::{LastUse, newer};
use super::lister::{CacheLayout, CacheLister, Entry, Stands};
use super::shards::shards;
use super::usual::Usual;
use crate::facts::cache::{CacheKind, Unit};
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Hexadecimal digits of an output base's name: the MD5 of its workspace's path.
const BASE: usize = 32;

/// The file of an output base that names its workspace.
const WORKSPACE: &str = "DO_NOT_BUILD_HERE";

/// The most bytes of that file that are read: no path is longer.
const LONGEST: u64 = 4096;

pub(super) static BAZEL: Ecosystem = Ecosystem {
    caches: &[CacheLayout {
        kind: CacheKind::new("bazel"),
        unit: "an entry of the disk cache, a downloaded archive, or an output base whose workspace is gone",
        stands: Stands::InDirectory,
        // Only its command line and its `.bazelrc` say where.
        variables: |_| Vec::new(),
        usual: &[&[Usual::CacheOfUser("bazel/_bazel_")]],
        units,
        last_use: LastUse::of(|probe, path| {
            // The survey reads a file of each output base.
            let is_base = is_hex(&name(path.place), BASE);
            let used = probe.entries(path, probe.access_times() && !is_base)?;
            match probe.file_in(path, "command.log")? {
                Some(log) => Ok(newer(used, log.times(false)?)),
                None => Ok(used),
            }
        }),
        locks: |_| Vec::new(),
    }],
    ..Ecosystem::named("Bazel")
};

fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let below = |path: &str| lister.place.join(path).into_iter();
    let stores = ["ac", "cas", "blake3/ac", "blake3/cas"];
    let shards: Vec<Entry> = stores
        .into_iter()
        .flat_map(below)
        .flat_map(|store| shards(lister, &store, 2, 1))
        .collect();
    let entries = shards
        .par_iter()
        .flat_map_iter(|shard| lister.entries(&shard.place));
    let mut units: Vec<Unit> = entries
        .filter_map(|entry| unit(lister, entry, false))
        .collect();
    for downloads in ["content_addressable", "cache/repos/v1/content_addressable"]
        .into_iter()
        .flat_map(below)
    {
        let algorithms = lister.directories(&downloads);
        let archives = algorithms.par_iter();
        let archives = archives.flat_map_iter(|algorithm| lister.entries(&algorithm.place));
        units.par_extend(archives.filter_map(|entry| unit(lister, entry, true)));
    }
    let bases = lister.directories(lister.place);
    let bases = bases
        .into_par_iter()
        .filter(|base| is_hex(&base.name, BASE));
    units.par_extend(bases.filter_map(|base| outlived(lister, base)));
    units
}

fn unit(lister: &CacheLister<'_>, entry: Entry, is_dir: bool) -> Option<Unit> {
    if entry.is_dir != is_dir || !is_hash(&entry.name) {
        lister.odd(&entry);
        return None;
    }
    let path = entry.place.relative();
    let name = path.strip_prefix(lister.place.relative()).unwrap_or(path);
    lister.unit(name.display().to_string(), vec![entry.place])
}

/// Returns the unit of an output base whose workspace is gone.
fn outlived(lister: &CacheLister<'_>, base: Entry) -> Option<Unit> {
    let server = base.place.join("server/server.pid.txt").ok()?;
    let gone = workspace(lister, &base.place).and_then(|workspace| {
        let Some(workspace) = workspace else {
            return Ok(false);
        };
        let has_server = openat::found(lister.probe.file(&server))?.is_some();
        Ok(!has_server && !lister.probe.is_directory(&workspace)?)
    });
    match gone {
        Ok(true) => lister.unit(format!("output base {}", base.name), vec![base.place]),
        Ok(false) => None,
        Err(error) => {
            lister.problem("tell the workspace of", &base.place, error);
            None
        }
    }
}

/// Returns the workspace of an output base; none if it doesn't say, or isn't on the volume.
fn workspace(lister: &CacheLister<'_>, base: &VolumePath) -> io::Result<Option<VolumePath>> {
    let note = base.join(WORKSPACE).map_err(io::Error::other)?;
    let Some(path) = openat::found(lister.probe.tail(&note, LONGEST))? else {
        return Ok(None);
    };
    let path = Path::new(OsStr::from_bytes(&path));
    Ok(base.same_root(path).ok().filter(|_| path.is_absolute()))
}

fn name(place: &VolumePath) -> String {
    let name = place.relative().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use crate::ecosystems::testing::{Field, ago};
    use std::fs;

    #[test]
    fn entries_and_archives_are_units() {
        let field = Field::new();
        let hash = "ab".repeat(32);
        for path in [
            format!("ac/ab/{hash}"),
            format!("cas/ab/{hash}"),
            format!("blake3/cas/ab/{hash}"),
            format!("content_addressable/sha256/{hash}/file"),
            format!("cache/repos/v1/content_addressable/sha256/{hash}/file"),
            "tmp/3f".to_owned(),
            "gc/lock".to_owned(),
            format!("install/{}/A-server.jar", "ab".repeat(16)),
            format!("cache/repos/v1/contents/{hash}/1/BUILD"),
        ] {
            field.file(&format!("bazel/{path}"), 9);
        }
        field.read(&format!("bazel/ac/ab/{hash}"), 2);
        let policy = field.policy("bazel", "bazel");
        let mut expected = [
            format!("ac/ab/{hash}"),
            format!("blake3/cas/ab/{hash}"),
            format!("cache/repos/v1/content_addressable/sha256/{hash}"),
            format!("cas/ab/{hash}"),
            format!("content_addressable/sha256/{hash}"),
        ];
        expected.sort();
        assert_eq!(field.names(&policy), expected);
        let units = field.survey(&policy).units;
        let result = units.iter().find(|unit| unit.name == expected[0]).unwrap();
        assert_eq!(result.last_used, ago(2));
        field.file("bazel/cas/ab/notes", 9);
        assert_eq!(field.survey(&policy).problems.len(), 1);
    }

    #[test]
    fn an_output_base_goes_only_if_its_workspace_on_the_volume_is_gone() {
        let field = Field::new();
        let base = |digit: &str, workspace: &str| {
            let base = format!("bazel/{}", digit.repeat(32));
            field.file(&format!("{base}/command.log"), 5);
            let note = field.file(&format!("{base}/DO_NOT_BUILD_HERE"), 9).path();
            fs::write(note, workspace).unwrap();
            for path in ["/DO_NOT_BUILD_HERE", ""] {
                field.age(&format!("{base}{path}"), 9);
            }
            base
        };
        let on_volume = |path: &str| field.at(path).path().display().to_string();
        field.file("trees/stands/WORKSPACE", 9);
        base("1", &on_volume("trees/stands"));
        base("2", "/elsewhere/gone");
        base("3", "trees/relative");
        let served = base("4", &on_volume("trees/gone"));
        field.file(&format!("{served}/server/server.pid.txt"), 9);
        field.file(&format!("bazel/{}/other", "5".repeat(32)), 9);
        base("6", &on_volume("trees/gone"));
        let policy = field.policy("bazel", "bazel");
        let name = format!("output base {}", "6".repeat(32));
        // What the survey itself reads is no use.
        for _ in 0..2 {
            assert_eq!(field.names(&policy), [name.as_str()]);
            assert_eq!(field.survey(&policy).units[0].last_used, ago(5));
        }
    }
}
