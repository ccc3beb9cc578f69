//! Go's module cache. A unit is a module at a version: its unpacked directory, its zip, and the
//! zip's hash.
//!
//! | path | removed |
//! | --- | --- |
//! | `<module>@<version>/` | first: Go unpacks it again from the zip, offline |
//! | `cache/download/<module>/@v/<version>.zip`, `.ziphash` | next: Go fetches a missing zip, and treats a directory without `.ziphash` as half unpacked |
//! | `<version>.lock` | never: it is held meanwhile, as Go holds it while it unpacks |
//!
//! Go opens `.ziphash` on every build, so its access time shows use. Go's `.partial` marks are not
//! needed, because a rename is one step. `.info`, `.mod` and `list` are kept: they are small, and
//! nothing resolves offline without them. So are `cache/vcs`, `cache/lock` and `sumdb`.

use super::sums::module_package;
use super::toolchain;
use crate::ecosystems::last_use::LastUse;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The most parts of a module's path; real ones have up to 8 or so.
const DEEPEST: usize = 24;

/// The extensions of a version's files that matter here.
const PARTS: [&str; 3] = ["zip", "ziphash", "lock"];

/// The files of one version, in the order of [`PARTS`].
type Version = [Option<VolumePath>; PARTS.len()];

/// Go opens `.ziphash` on every build. The directory's own files are many and show no more.
pub(super) const LAST_USE: LastUse =
    LastUse::of(|probe, path| path.seen.times(probe.access_times()));

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let Ok(downloads) = lister.place.join("cache/download") else {
        return Vec::new();
    };
    let (mut level, mut units) = (lister.directories(&downloads), Vec::new());
    level.retain(|directory| directory.name != "sumdb");
    for _ in 0..DEEPEST {
        let (fine, odd): (Vec<Entry>, Vec<Entry>) = level
            .into_iter()
            .partition(|directory| !directory.name.contains('@'));
        for directory in &odd {
            lister.odd(directory);
        }
        let below: Vec<Entry> = fine
            .par_iter()
            .flat_map_iter(|directory| lister.directories(&directory.place))
            .collect();
        let (versions, deeper): (Vec<Entry>, Vec<Entry>) = below
            .into_iter()
            .partition(|directory| directory.name == "@v");
        level = deeper;
        units.par_extend(
            versions
                .par_iter()
                .flat_map_iter(|directory| module(lister, &downloads, &directory.place)),
        );
    }
    for directory in &level {
        lister.odd(directory);
    }
    units
}

/// Returns the units of one `@v` directory.
fn module(lister: &CacheLister<'_>, downloads: &VolumePath, directory: &VolumePath) -> Vec<Unit> {
    let path = directory
        .relative()
        .strip_prefix(downloads.relative())
        .ok()
        .and_then(|path| path.parent()?.to_str());
    let Some(module) = path else {
        return Vec::new();
    };
    let mut versions: BTreeMap<String, Version> = BTreeMap::new();
    for entry in lister
        .entries(directory)
        .into_iter()
        .filter(|entry| !entry.is_dir)
    {
        let Some((version, extension)) = entry
            .name
            .rsplit_once('.')
            .filter(|(version, _)| !version.contains('@'))
        else {
            continue;
        };
        let Some(part) = PARTS.iter().position(|part| *part == extension) else {
            continue;
        };
        if let Some(file) = versions
            .entry(version.to_owned())
            .or_default()
            .get_mut(part)
        {
            *file = Some(entry.place);
        }
    }
    versions
        .into_iter()
        .filter_map(|(version, files)| unit(lister, module, &version, files))
        .collect()
}

fn unit(
    lister: &CacheLister<'_>,
    module: &str,
    version: &str,
    [zip, sum, held]: Version,
) -> Option<Unit> {
    let unpacked = lister.place.join(format!("{module}@{version}")).ok()?;
    let unpacked = match lister.probe.is_directory(&unpacked) {
        Ok(is_there) => is_there.then_some(unpacked),
        Err(error) => {
            lister.problem("look at", &unpacked, error);
            return None;
        }
    };
    let paths: Vec<VolumePath> = [unpacked, zip, sum].into_iter().flatten().collect();
    if paths.is_empty() {
        return None;
    }
    let (module, version) = (unescaped(module), unescaped(version));
    let mut packages = vec![module_package(&module, &version)];
    packages.extend(toolchain::of_module(&module, &version));
    let unit = lister.seen(packages, format!("{module}@{version}"), paths)?;
    (lister.gate)(Unit {
        locks: held.into_iter().collect(),
        ..unit
    })
}

/// Decodes a module path: Go writes a capital as `!` and the lower-case letter.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('!');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        plain.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        plain.push_str(letters.as_str());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::{Field, ago};
    use crate::facts::cache::UsedFrom;

    #[test]
    fn a_version_goes_directory_first_under_its_lock_and_what_resolves_stays() {
        let field = Field::new();
        let downloads = "go/cache/download/github.com/!burnt!sushi/toml/@v";
        let zip = field.file(&format!("{downloads}/v1.3.2.zip"), 9);
        let hash = field.file(&format!("{downloads}/v1.3.2.ziphash"), 9);
        let lock = field.file(&format!("{downloads}/v1.3.2.lock"), 9);
        field.file("go/github.com/!burnt!sushi/toml@v1.3.2/go.mod", 9);
        field.age("go/github.com/!burnt!sushi/toml@v1.3.2", 9);
        field.read(&format!("{downloads}/v1.3.2.ziphash"), 2);
        for other in [
            "v1.3.2.info",
            "v1.3.2.mod",
            "v1.4.0.info",
            "v1.4.0.mod",
            "v1.4.0.lock",
            "list",
        ] {
            field.file(&format!("{downloads}/{other}"), 9);
        }
        for other in [
            "cache/lock",
            "cache/vcs/0a/HEAD",
            "cache/download/sumdb/sum.golang.org/lookup/a@v1",
            "README",
        ] {
            field.file(&format!("go/{other}"), 9);
        }
        let seen = field.survey(&field.policy("go-mod", "go"));
        assert_eq!((seen.units.len(), seen.problems), (1, vec![]));
        let unit = &seen.units[0];
        let directory = field.at("go/github.com/!burnt!sushi/toml@v1.3.2");
        assert_eq!(
            (unit.name.as_str(), &unit.paths),
            (
                "github.com/BurntSushi/toml@v1.3.2",
                &vec![directory, zip, hash]
            )
        );
        assert_eq!(
            (&*unit.locks, unit.last_used, unit.last_used_from),
            (&[lock][..], ago(2), UsedFrom::AccessTime)
        );
        assert_eq!(
            unit.packages,
            [module_package("github.com/BurntSushi/toml", "v1.3.2")]
        );
    }

    #[test]
    fn any_part_of_a_version_is_a_unit_and_a_module_may_stand_in_another() {
        let field = Field::new();
        field.file("go/cache/download/a.b/@v/v1.zip", 3);
        field.file("go/cache/download/a.b/c/@v/v2.lock", 3);
        field.file("go/a.b/c@v2/x.go", 3);
        field.file("go/cache/download/a.b/c/@v/v3.ziphash", 3);
        assert_eq!(
            field.names(&field.policy("go-mod", "go")),
            ["a.b/c@v2", "a.b/c@v3", "a.b@v1"]
        );
    }

    #[test]
    fn what_is_linked_or_too_deep_stays() {
        let field = Field::new();
        field.file("go/cache/download/a/@v/v1.lock", 3);
        field.file("elsewhere/precious", 3);
        field.link("elsewhere", "go/a@v1");
        field.link("elsewhere", "go/cache/download/a/@v/v2.zip");
        field.file(
            &format!("go/cache/download/{}/@v/v1.zip", "d/".repeat(40)),
            3,
        );
        let seen = field.survey(&field.policy("go-mod", "go"));
        assert_eq!((seen.units.len(), seen.problems.len()), (0, 1), "{seen:?}");
    }

    #[test]
    fn no_directory_is_two_modules() {
        let field = Field::new();
        field.file("go/a@v1/b@v2/go.mod", 3);
        field.file("go/a@v1@v2/go.mod", 3);
        for lock in [
            "a/@v/v1.lock",
            "a@v1/b/@v/v2.lock",
            "a@v1/@v/v2.lock",
            "a/@v/v1@v2.lock",
        ] {
            field.file(&format!("go/cache/download/{lock}"), 3);
        }
        let seen = field.survey(&field.policy("go-mod", "go"));
        let paths: Vec<_> = seen.units.iter().flat_map(|unit| &unit.paths).collect();
        assert_eq!(
            (paths, seen.problems.len()),
            (vec![&field.at("go/a@v1")], 1)
        );
    }

    #[test]
    fn capitals_come_back() {
        for (escaped, plain) in [
            ("github.com/!a!bc/d", "github.com/ABc/d"),
            ("", ""),
            ("!", ""),
            ("a!ä", "aä"),
            ("!!a", "A"),
        ] {
            assert_eq!(unescaped(escaped), plain);
        }
    }
}
