//! uv's cache: unpacked wheels with what points to them, source archives with the wheels built from
//! them, and the pages of an index.
//!
//! | unit | paths, in order |
//! | --- | --- |
//! | `six-1.17.0-py2.py3-none-any` | `wheels-v*/<index>/six/1.17.0-….http` (or `.rev`), then `archive-v*/<id>/` |
//! | `toml-0.10.2 (source)` | `sdists-v*/<index>/toml/0.10.2/`, then the archives of the wheels in it |
//! | `archive 1R3kUCmL-yzpq75z` | a wheel's archive that nothing names: left by an update or a kill |
//! | `six (index page)` | `simple-v*/<index>/six.rkyv` |
//! | `environment 8f1d…` | `environments-v*/<name>/`, of a script; or `archive-v*/<id>/`, of a tool that `uvx` ran |
//!
//! A link beside the pointer, of the same name, names the archive. It is read and never followed,
//! and is kept: uv replaces it. An archive that two pointers name belongs to the unit of neither,
//! and is a unit itself when nothing names it any more. An archive that the environment of a live
//! tree links to is in use (`UV_LINK_MODE=symlink`, see `survey::lockfiles`). uv holds the cache's
//! `.lock` (shared) for as long as it runs, `uv run` and `uvx` for as long as what they started; it
//! is held here (exclusive) while a unit is evicted. A wheel that a tree has as hard links is no
//! unit: evicting it would free nothing. Neither is an archive to which an environment in the cache
//! has symbolic links. Interpreters, builds, git checkouts and lock files are never touched.

use super::links::{archive_package, of_environment};
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::ecosystems::python::lock_file::{page, release_package};
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::fs::openat;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Levels between a bucket and a wheel's pointer or a source archive:
/// `index/<hash>/<name>/<version>`, and one to spare.
const DEEPEST: usize = 5;

/// A pointer, and the archives that it names.
struct Pointer {
    name: String,
    package: Option<Package>,
    place: VolumePath,
    archives: Vec<String>,
}

/// Finds the pointers of a directory.
type Read = fn(&CacheLister<'_>, &Entry) -> Vec<Pointer>;

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let buckets = Buckets {
        lister,
        all: lister.directories(lister.place),
    };
    // Pointers first: an archive that uv adds meanwhile looks as if nothing named it, but is too
    // young to be evicted.
    let mut pointers = buckets.pointers("wheels", wheels);
    pointers.extend(buckets.pointers("sdists", sources));
    let whole = lister.problems() == 0;
    let archives: HashMap<String, VolumePath> = buckets
        .of("archive")
        .flat_map(|bucket| lister.directories(&bucket.place))
        .map(|archive| (archive.name, archive.place))
        .collect();
    let mut named: HashMap<&str, usize> = HashMap::new();
    let of_pointers = pointers.iter().flat_map(|pointer| &pointer.archives);
    count(&mut named, of_pointers);
    let lone = archives
        .iter()
        .filter(|(id, _)| !named.contains_key(id.as_str()));
    let environments = buckets.environments(lone.map(|(_, place)| place));
    let whole = whole && environments.iter().all(|one| one.archives.is_some());
    let of_environments = environments.iter().flat_map(|one| &one.archives).flatten();
    count(&mut named, of_environments);

    // A pointer or a link that can't be read may name any archive, so then every archive stays, and
    // with it what points to it: without its archive a pointer frees next to nothing.
    let mut units: Vec<Unit> = pointers
        .par_iter()
        .filter(|pointer| whole || pointer.archives.is_empty())
        .filter_map(|pointer| package(lister, pointer, &archives, &named))
        .collect();
    let lone = archives
        .par_iter()
        .filter(|(id, _)| whole && !named.contains_key(id.as_str()));
    units.par_extend(lone.filter_map(|(id, place)| orphan(lister, id, place)));
    units.extend(environments.iter().filter_map(|Environment { place, .. }| {
        let name = place.relative().file_name()?.to_string_lossy();
        lister.unit(format!("environment {name}"), vec![place.clone()])
    }));
    let pages = buckets.pointers("simple", pages);
    units.par_extend(pages.into_par_iter().filter_map(|page| {
        let package = page.package.into_iter().collect();
        lister.unit_of(package, page.name, vec![page.place])
    }));
    units
}

fn count<'a>(named: &mut HashMap<&'a str, usize>, archives: impl Iterator<Item = &'a String>) {
    for archive in archives {
        let times = named.entry(archive).or_default();
        *times = times.saturating_add(1);
    }
}

/// The buckets of a cache. Each contains things of one sort.
struct Buckets<'a> {
    lister: &'a CacheLister<'a>,
    all: Vec<Entry>,
}

impl Buckets<'_> {
    /// Returns the buckets of a sort.
    fn of(&self, sort: &'static str) -> impl Iterator<Item = &Entry> {
        self.all
            .iter()
            .filter(move |bucket| is_bucket(&bucket.name, sort))
    }

    /// Returns what `read` finds in the buckets of a sort.
    fn pointers(&self, sort: &'static str, read: Read) -> Vec<Pointer> {
        self.of(sort)
            .flat_map(|bucket| descend(self.lister, bucket, read))
            .collect()
    }

    /// Returns the environments of scripts, and those among the archives that no pointer names.
    fn environments<'b>(&self, lone: impl Iterator<Item = &'b VolumePath>) -> Vec<Environment> {
        self.of("environments")
            .flat_map(|bucket| self.lister.directories(&bucket.place))
            .map(|entry| entry.place)
            .chain(lone.cloned())
            .filter_map(|place| environment(self.lister, place))
            .collect()
    }
}

/// Returns the locks that are held while a unit of the cache at `place` is evicted.
pub(super) fn locks(place: &VolumePath) -> Vec<VolumePath> {
    place.join(".lock").into_iter().collect()
}

/// Returns whether a bucket is of a sort, whatever its version: `wheels-v7` has wheels.
fn is_bucket(name: &str, sort: &str) -> bool {
    let version = name
        .strip_prefix(sort)
        .and_then(|rest| rest.strip_prefix("-v"));
    version.is_some_and(|version| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Returns what `read` finds in the directories below `bucket`. It doesn't descend into a directory
/// in which `read` finds something.
fn descend(lister: &CacheLister<'_>, bucket: &Entry, read: Read) -> Vec<Pointer> {
    let (mut level, mut found) = (lister.directories(&bucket.place), Vec::new());
    // `git` contains whole trees of sources, without a pointer.
    level.retain(|directory| directory.name != "git");
    for _ in 0..DEEPEST {
        let seen: Vec<(Vec<Pointer>, Vec<Entry>)> = level
            .par_iter()
            .map(|directory| {
                let here = read(lister, directory);
                let below = if here.is_empty() {
                    lister.directories(&directory.place)
                } else {
                    Vec::new()
                };
                (here, below)
            })
            .collect();
        level.clear();
        for (here, below) in seen {
            found.extend(here);
            level.extend(below);
        }
    }
    found
}

/// Finds `<version>-<tags>.http`, or `.rev` for a wheel from a file, in a package's directory.
fn wheels(lister: &CacheLister<'_>, directory: &Entry) -> Vec<Pointer> {
    let files = lister
        .entries(&directory.place)
        .into_iter()
        .filter(|entry| !entry.is_dir);
    let pointer = |entry: Entry| {
        let stem = entry
            .name
            .strip_suffix(".http")
            .or_else(|| entry.name.strip_suffix(".rev"))?;
        let version = stem.split('-').next().unwrap_or(stem);
        Some(Pointer {
            name: format!("{}-{stem}", directory.name),
            package: Some(release_package(&directory.name, version)),
            archives: archive(lister, &directory.place, stem)
                .into_iter()
                .collect(),
            place: entry.place,
        })
    };
    files.filter_map(pointer).collect()
}

/// Finds a source archive: its directory has a `revision`, and for each revision a directory with
/// the wheels built from it.
fn sources(lister: &CacheLister<'_>, directory: &Entry) -> Vec<Pointer> {
    let entries = lister.entries(&directory.place);
    if !entries.iter().any(|entry| {
        !entry.is_dir && matches!(entry.name.as_str(), "revision.http" | "revision.rev")
    }) {
        return Vec::new();
    }
    let mut archives = Vec::new();
    for revision in entries.iter().filter(|entry| entry.is_dir) {
        let wheels = lister
            .entries(&revision.place)
            .into_iter()
            .filter(|entry| !entry.is_dir);
        archives.extend(wheels.filter_map(|wheel| {
            archive(lister, &revision.place, wheel.name.strip_suffix(".whl")?)
        }));
    }
    let package = directory
        .place
        .relative()
        .parent()
        .and_then(|parent| parent.file_name()?.to_str());
    let name = format!(
        "{}-{} (source)",
        package.unwrap_or_default(),
        directory.name
    );
    let package = package.map(|package| release_package(package, &directory.name));
    vec![Pointer {
        name,
        package,
        place: directory.place.clone(),
        archives,
    }]
}

/// Finds the pages of an index, each a file.
fn pages(lister: &CacheLister<'_>, directory: &Entry) -> Vec<Pointer> {
    let files = lister
        .entries(&directory.place)
        .into_iter()
        .filter(|entry| !entry.is_dir);
    let page = |entry: Entry| {
        let project = entry.name.strip_suffix(".rkyv")?;
        Some(Pointer {
            name: format!("{project} (index page)"),
            package: Some(page(project)),
            place: entry.place,
            archives: Vec::new(),
        })
    };
    files.filter_map(page).collect()
}

/// Returns the archive that the link `name` in `directory` points to; none if it is no link to an
/// archive.
fn archive(lister: &CacheLister<'_>, directory: &VolumePath, name: &str) -> Option<String> {
    let link = directory.join(name).ok()?;
    let target = openat::parent(&link)
        .and_then(|(parent, name)| Ok(rustix::fs::readlinkat(parent, name, Vec::new())?));
    let target = match openat::found(target) {
        Ok(target) => target?.into_string().ok()?,
        // Not a link.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return None,
        Err(error) => {
            lister.problem("read the link", &link, error);
            return None;
        }
    };
    let target = Path::new(&target);
    let bucket = target.parent()?.file_name()?.to_str()?;
    is_bucket(bucket, "archive").then(|| target.file_name()?.to_str().map(str::to_owned))?
}

/// Creates a unit of a pointer and the archives that only it names.
fn package(
    lister: &CacheLister<'_>,
    pointer: &Pointer,
    archives: &HashMap<String, VolumePath>,
    named: &HashMap<&str, usize>,
) -> Option<Unit> {
    let own: HashSet<&String> = pointer
        .archives
        .iter()
        .filter(|id| named.get(id.as_str()) == Some(&1))
        .collect();
    let mut own: Vec<VolumePath> = own
        .into_iter()
        .filter_map(|id| archives.get(id).cloned())
        .collect();
    own.sort_unstable();
    own.insert(0, pointer.place.clone());
    let used = lister.probe.last_use_unlinked(&own).transpose()?;
    let linked = own.iter().skip(1).filter_map(of_archive);
    lister.used_unit(
        pointer.package.iter().cloned().chain(linked).collect(),
        pointer.name.clone(),
        used,
        own,
    )
}

/// An environment in the cache.
struct Environment {
    place: VolumePath,
    /// The archives that it links to; none if that can't be read.
    archives: Option<Vec<String>>,
}

/// Returns the environment at `place`; none if there is no environment.
fn environment(lister: &CacheLister<'_>, place: VolumePath) -> Option<Environment> {
    let is_config = |entry: &Entry| entry.name == "pyvenv.cfg" && !entry.is_dir;
    lister
        .entries(&place)
        .iter()
        .find(|entry| is_config(entry))?;
    let archives = of_environment(&place, lister.stop)
        .map_err(|error| lister.problem("read the links of", &place, error))
        .ok();
    Some(Environment { place, archives })
}

/// Creates a unit of an archive that nothing names. None if it isn't a wheel's.
fn orphan(lister: &CacheLister<'_>, id: &str, place: &VolumePath) -> Option<Unit> {
    if !lister
        .directories(place)
        .iter()
        .any(|directory| directory.has_extension("dist-info"))
    {
        return None;
    }
    let paths = vec![place.clone()];
    let used = lister.probe.last_use_unlinked(&paths).transpose()?;
    lister.used_unit(
        vec![archive_package(id)],
        format!("archive {id}"),
        used,
        paths,
    )
}

/// Returns an environment's name for the archive at `place`: the archive is in use as long as an
/// environment links to it.
fn of_archive(place: &VolumePath) -> Option<Package> {
    place.relative().file_name()?.to_str().map(archive_package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::lister::{Inspection, Settings};
    use crate::ecosystems::testing::Field;
    use crate::fs::stop::Stop;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// A wheel's archive, and a link to it.
    fn archive(field: &Field, id: &str, link: &str) -> VolumePath {
        field.file(&format!("uv/archive-v0/{id}/x-1.0.dist-info/METADATA"), 9);
        field.file(&format!("uv/archive-v0/{id}/x/__init__.py"), 9);
        let link = field.at(link).path();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(format!("/wherever/archive-v0/{id}"), link).unwrap();
        field.at(&format!("uv/archive-v0/{id}"))
    }

    fn unit(field: &Field, name: &str) -> Unit {
        let seen = field.survey(&field.policy("uv", "uv"));
        assert_eq!(seen.problems, Vec::<String>::new());
        seen.units
            .into_iter()
            .find(|unit| unit.name == name)
            .unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn a_wheel_goes_pointer_first_under_the_caches_lock() {
        let field = Field::new();
        let six = archive(&field, "aa", "uv/wheels-v7/pypi/six/1.17.0-py3-none-any");
        let pointer = field.file("uv/wheels-v7/pypi/six/1.17.0-py3-none-any.http", 9);
        let own = archive(&field, "bb", "uv/wheels-v7/index/0a1b/own/2.0-py3-none-any");
        let own_pointer = field.file("uv/wheels-v7/index/0a1b/own/2.0-py3-none-any.rev", 9);
        for other in [
            ".lock",
            "wheels-v7/pypi/six/1.17.0-py3-none-any.msgpack",
            "wheels-v7/pypi/six/1.17.0-py3-none-any.lock",
        ] {
            field.file(&format!("uv/{other}"), 9);
        }
        for other in [
            "interpreter-v5/a/b.msgpack",
            "git-v0/db/x/HEAD",
            "CACHEDIR.TAG",
            "builds-v0/.tmp/x",
        ] {
            field.file(&format!("uv/{other}"), 9);
        }
        let six_unit = unit(&field, "six-1.17.0-py3-none-any");
        assert_eq!(
            (six_unit.paths, six_unit.locks),
            (vec![pointer, six], [field.at("uv/.lock")].into())
        );
        assert_eq!(
            six_unit.packages,
            [release_package("six", "1.17.0"), archive_package("aa")]
        );
        assert_eq!(
            unit(&field, "own-2.0-py3-none-any").paths,
            [own_pointer, own]
        );
        assert_eq!(field.names(&field.policy("uv", "uv")).len(), 2);
    }

    #[test]
    fn an_environment_goes_alone_and_holds_what_it_links_to() {
        let field = Field::new();
        for (name, id) in [("six", "aa"), ("rich", "bb")] {
            archive(&field, id, &format!("uv/wheels-v7/pypi/{name}/1-any"));
            field.file(&format!("uv/wheels-v7/pypi/{name}/1-any.http"), 9);
        }
        archive(&field, "cc", "nowhere/lone");
        for environment in ["environments-v2/s-1f", "archive-v0/dd"] {
            field.file(&format!("uv/{environment}/pyvenv.cfg"), 9);
        }
        // A tool's environment is an archive, and this link is all that says which.
        let tool = field.at("uv/environments-v2/8b/f4").path();
        fs::create_dir_all(tool.parent().unwrap()).unwrap();
        symlink("../../archive-v0/dd", tool).unwrap();
        for (environment, id) in [("environments-v2/s-1f", "aa"), ("archive-v0/dd", "cc")] {
            let info = format!("uv/{environment}/lib/python3.11/site-packages/x-1.0.dist-info");
            fs::create_dir_all(field.at(&info).path()).unwrap();
            let metadata = format!("/wherever/archive-v0/{id}/x-1.0.dist-info/METADATA");
            symlink(metadata, field.at(&info).path().join("METADATA")).unwrap();
        }
        let names = field.names(&field.policy("uv", "uv"));
        assert_eq!(
            names,
            [
                "environment dd",
                "environment s-1f",
                "rich-1-any",
                "six-1-any"
            ]
        );
        assert_eq!(
            unit(&field, "environment dd").paths,
            [field.at("uv/archive-v0/dd")]
        );
        let pointer = field.at("uv/wheels-v7/pypi/six/1-any.http");
        assert_eq!(unit(&field, "six-1-any").paths, [pointer]);
    }

    #[test]
    fn a_source_goes_with_the_wheels_built_of_it() {
        let field = Field::new();
        let directory = "uv/sdists-v10/pypi/toml/0.10.2";
        let built = archive(
            &field,
            "aa",
            &format!("{directory}/rev1/toml-0.10.2-py3-none-any"),
        );
        for file in [
            "revision.http",
            "rev1/toml-0.10.2-py3-none-any.whl",
            "rev1/src/setup.py",
            "rev1/metadata.msgpack",
        ] {
            field.file(&format!("{directory}/{file}"), 9);
        }
        assert_eq!(
            unit(&field, "toml-0.10.2 (source)").paths,
            [field.at(directory), built]
        );
        field.file("uv/simple-v27/pypi/six.rkyv", 9);
        field.file("uv/simple-v27/index/0a1b/own.rkyv", 9);
        let names = field.names(&field.policy("uv", "uv"));
        assert_eq!(
            names,
            [
                "own (index page)",
                "six (index page)",
                "toml-0.10.2 (source)"
            ]
        );
        assert_eq!(unit(&field, "six (index page)").packages, [page("six")]);
    }

    #[test]
    fn an_archive_goes_with_its_only_pointer_or_alone() {
        let field = Field::new();
        let shared = archive(&field, "aa", "uv/wheels-v7/pypi/six/1-any");
        archive(&field, "aa2", "uv/wheels-v7/pypi/linked/1-any");
        archive(&field, "bb", "nowhere/lone");
        for name in ["six/1-any", "also/1-any", "linked/1-any"] {
            field.file(&format!("uv/wheels-v7/pypi/{name}.http"), 9);
        }
        symlink(
            "../../../archive-v0/aa",
            field.at("uv/wheels-v7/pypi/also/1-any").path(),
        )
        .unwrap();
        fs::hard_link(
            field.at("uv/archive-v0/aa2/x/__init__.py").path(),
            field.at("uv/in-a-tree").path(),
        )
        .unwrap();
        let policy = field.policy("uv", "uv");
        assert_eq!(
            field.names(&policy),
            ["also-1-any", "archive bb", "six-1-any"]
        );
        assert!(
            field
                .survey(&policy)
                .units
                .iter()
                .all(|unit| !unit.paths.contains(&shared))
        );
    }

    #[test]
    fn while_a_pointer_can_not_be_read_no_archive_goes() {
        let field = Field::new();
        archive(&field, "aa", "uv/wheels-v7/pypi/six/1-any");
        for name in ["six/1-any", "bare/1-any"] {
            field.file(&format!("uv/wheels-v7/pypi/{name}.http"), 9);
        }
        let (place, probe, stop) = (field.at("uv"), field.probe(true), Stop::never());
        let kind = crate::ecosystems::kind("uv").unwrap();
        let layout = crate::ecosystems::layout(kind).unwrap();
        let names = |problem: Option<&str>| {
            let settings = Settings {
                name: "uv",
                place: &place,
                depth: 1,
                min_age: Duration::ZERO,
            };
            let inspection = Inspection {
                probe: &probe,
                gate: &Some,
                stop: &stop,
            };
            let lister = CacheLister::new(layout, settings, inspection);
            if let Some(line) = problem {
                lister.note(line.to_owned());
            }
            let mut names: Vec<String> = units(&lister).into_iter().map(|unit| unit.name).collect();
            names.sort();
            names
        };
        assert_eq!(names(None), ["bare-1-any", "six-1-any"]);
        // Nothing on a disk makes root fail to read a link.
        let problem = "failed to read the link `uv/wheels-v7/pypi/also/1-any`: Stale file handle";
        assert_eq!(names(Some(problem)), ["bare-1-any"]);
    }
}
