//! pnpm's store: a package with its contents, and contents that no package names.
//!
//! | store | unit | paths |
//! | --- | --- | --- |
//! | `v10` | `left-pad@1.3.0` | `index/xx/<digest>-left-pad@1.3.0.json`, then the `files/xx/<digest>` that no other index names |
//! | `v10` | `content 0123456789abcdef` | a file that no index names: left by a kill, or by the last package that shared it |
//! | `v11` | the same | any file |
//!
//! The index is removed first: without it pnpm fetches the package again, whatever contents it
//! finds. Shared contents become units when no package names them any more. A package that a tree
//! has as hard links is no unit: it is in use, and evicting it would free nothing.
//!
//! `v11` (pnpm 11 and 12) keeps its index in `index.db`, which is not read here, so each content is
//! a unit. pnpm checks every file before it links it, and fetches a package again if a file is
//! missing (but not with `verify-store-integrity: false`); `pnpm store prune` removes the rows.
//! `index.db`, `projects` and stores of other versions are never touched.

use super::index::{Content, Index, REST};
use crate::ecosystems::hex::is_hex;
use crate::ecosystems::last_use::{LastUse, newer};
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::HashMap;

/// Digits of a digest that a name shows: 64 bits distinguish any two.
const SHOWN: usize = 16;

/// The known layouts.
const KNOWN: [&str; 2] = ["v10", "v11"];

/// The number of packages that name each content.
type Named = HashMap<Content, u32>;

/// Contents keep the times of their writing; adding or removing a link moves the change time. A
/// package's index and its first content show its use.
pub(super) const LAST_USE: LastUse = LastUse {
    of: |probe, path| {
        let access_times = probe.access_times() && !path.is_below("index");
        Ok(newer(
            path.seen.link_time()?,
            path.seen.times(access_times)?,
        ))
    },
    telling: 2,
};

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    // The config's `path` may be the store directory, as pnpm calls it, or the directory of a
    // version in it.
    let version = lister
        .place
        .relative()
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if is_version(version)
        && lister
            .directories(lister.place)
            .iter()
            .any(|directory| directory.name == "files")
    {
        if KNOWN.contains(&version) {
            return store(lister, version, lister.place);
        }
        unknown(lister, lister.place);
        return Vec::new();
    }
    let stores = lister
        .directories(lister.place)
        .into_iter()
        .filter(|directory| is_version(&directory.name));
    let (known, others): (Vec<_>, Vec<_>) =
        stores.partition(|directory| KNOWN.contains(&directory.name.as_str()));
    let units = known
        .into_iter()
        .flat_map(|directory| store(lister, &directory.name, &directory.place))
        .collect();
    for directory in &others {
        unknown(lister, &directory.place);
    }
    units
}

fn unknown(lister: &CacheLister<'_>, store: &VolumePath) {
    lister.note(format!(
        "`{store}` is not evicted: this version does not know its layout; `pnpm store prune` does"
    ));
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn store(lister: &CacheLister<'_>, version: &str, store: &VolumePath) -> Vec<Unit> {
    let Ok((index, files)) = store
        .join("index")
        .and_then(|index| Ok((index, store.join("files")?)))
    else {
        return Vec::new();
    };
    // Contents first: those that pnpm adds meanwhile are not listed.
    let contents: Vec<(Content, Entry)> = shards(lister, &files)
        .par_iter()
        .flat_map_iter(|shard| contents(lister, shard))
        .collect();
    let indexes = indexes(lister, store, &index);
    // An unreadable index file may name any content. A v11 store has no index files.
    let whole = version == "v11" || lister.problems() == 0;
    let mut named = Named::new();
    for content in indexes.iter().flat_map(|index| &index.contents) {
        let times = named.entry(*content).or_default();
        *times = times.saturating_add(1);
    }

    let (named_ones, lone): (Vec<_>, Vec<_>) = contents
        .into_par_iter()
        .partition(|(content, _)| named.contains_key(content));
    let places: HashMap<Content, VolumePath> = named_ones
        .into_iter()
        .map(|(content, entry)| (content, entry.place))
        .collect();
    let mut units: Vec<Unit> = indexes
        .into_par_iter()
        .filter_map(|index| package(lister, index, &places, &named))
        .collect();
    units.par_extend(
        lone.into_par_iter()
            .filter(|_| whole)
            .filter_map(|(_, entry)| content(lister, entry)),
    );
    units
}

/// Reads the packages of a store that has its index at `index`.
fn indexes(lister: &CacheLister<'_>, store: &VolumePath, index: &VolumePath) -> Vec<Index> {
    let mut indexes: Vec<Index> = shards(lister, index)
        .par_iter()
        .flat_map_iter(|shard| read(lister, shard, &shard.name))
        .collect();
    // A package that isn't from a registry has a directory of its own, with an `integrity.json`.
    let others = lister
        .directories(store)
        .into_iter()
        .filter(|directory| !matches!(directory.name.as_str(), "files" | "index" | "projects"));
    indexes.extend(others.flat_map(|directory| {
        read(lister, &directory, "")
            .into_iter()
            .map(move |index| Index {
                name: directory.name.clone(),
                ..index
            })
    }));
    indexes
}

fn shards(lister: &CacheLister<'_>, directory: &VolumePath) -> Vec<Entry> {
    lister
        .directories(directory)
        .into_iter()
        .filter(|shard| is_hex(&shard.name, 2))
        .collect()
}

fn contents(lister: &CacheLister<'_>, shard: &Entry) -> Vec<(Content, Entry)> {
    let files = lister.entries(&shard.place).into_iter();
    let known = |entry: Entry| {
        let content = Content::of(&shard.name, &entry.name).filter(|_| !entry.is_dir);
        // The names of some of pnpm's temporary files begin with a digest.
        let is_temporary = !entry.is_dir
            && entry
                .name
                .get(..REST)
                .is_some_and(|name| is_hex(name, REST));
        if content.is_none() && !is_temporary {
            lister.odd(&entry);
        }
        Some((content?, entry))
    };
    files.filter_map(known).collect()
}

fn read(lister: &CacheLister<'_>, directory: &Entry, shard: &str) -> Vec<Index> {
    let files = lister
        .entries(&directory.place)
        .into_iter()
        .filter(|entry| !entry.is_dir && entry.has_extension("json"));
    let one = |entry: Entry| {
        Index::read(shard, &entry).unwrap_or_else(|error| {
            lister.problem("read", &entry.place, error);
            None
        })
    };
    files.filter_map(one).collect()
}

/// Creates a unit of a package and the contents that only it names.
fn package(
    lister: &CacheLister<'_>,
    index: Index,
    places: &HashMap<Content, VolumePath>,
    named: &Named,
) -> Option<Unit> {
    // One content is enough: pnpm links a package as a whole.
    if index
        .contents
        .first()
        .and_then(|first| places.get(first))
        .is_some_and(|first| lister.probe.is_linked(first))
    {
        return None;
    }
    let own = index
        .contents
        .iter()
        .filter(|content| named.get(*content) == Some(&1))
        .filter_map(|content| places.get(content));
    let mut paths = vec![index.place];
    paths.extend(own.cloned());
    lister.unit_of(index.package.into_iter().collect(), index.name, paths)
}

fn content(lister: &CacheLister<'_>, entry: Entry) -> Option<Unit> {
    let shard = entry.place.relative().parent()?.file_name()?.to_str()?;
    let digest: String = shard
        .chars()
        .chain(entry.name.chars())
        .take(SHOWN)
        .collect();
    lister.unit(format!("content {digest}"), vec![entry.place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;
    use crate::facts::cache::UsedFrom;
    use crate::facts::package::Package;
    use std::fs;

    /// Creates a content with a digest that repeats `byte`.
    fn content(field: &Field, store: &str, byte: u8) -> VolumePath {
        field.file(
            &format!(
                "pnpm/{store}/files/{byte:02x}/{}",
                format!("{byte:02x}").repeat(63)
            ),
            9,
        )
    }

    /// Creates a package that names those contents.
    fn package(field: &Field, name: &str, contents: &[u8]) -> VolumePath {
        let path = format!("pnpm/v10/index/5c/{}-{name}.json", "8e".repeat(31));
        let encoded = |byte: u8| {
            let symbol = |six: u32| {
                char::from(
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                        [six as usize & 63],
                )
            };
            let three = u32::from(byte) * 0x01_0101;
            let four: String = [18, 12, 6, 0]
                .map(|shift| symbol(three >> shift))
                .iter()
                .collect();
            format!("sha512-{}{}==", four.repeat(21), &four[..2])
        };
        let files: Vec<String> = contents
            .iter()
            .map(|byte| {
                format!(
                    "\"f{byte}\": {{\"integrity\": \"{}\", \"mode\": 420}}",
                    encoded(*byte)
                )
            })
            .collect();
        let place = field.file(&path, 9);
        fs::write(
            place.path(),
            format!("{{\"files\": {{{}}}}}", files.join(", ")),
        )
        .unwrap();
        place
    }

    fn units(field: &Field) -> Vec<Unit> {
        let seen = field.survey(&field.policy("pnpm", "pnpm"));
        assert_eq!(seen.problems, Vec::<String>::new());
        let mut units = seen.units;
        units.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        units
    }

    #[test]
    fn a_package_goes_index_first_with_what_it_alone_names() {
        let field = Field::new();
        let (own, shared, lone) = (
            content(&field, "v10", 1),
            content(&field, "v10", 2),
            content(&field, "v10", 3),
        );
        let (one, other) = (
            package(&field, "left-pad@1.3.0", &[1, 2]),
            package(&field, "@acme+shop@1.0.0", &[2, 4]),
        );
        field.file("pnpm/v10/projects/0a", 9);
        field.file(&format!("pnpm/v10/files/01/{}7312", "01".repeat(63)), 9);
        let units = units(&field);
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "@acme/shop@1.0.0",
                "content 0303030303030303",
                "left-pad@1.3.0"
            ]
        );
        assert_eq!(
            [&units[0].paths, &units[1].paths, &units[2].paths],
            [&vec![other], &vec![lone], &vec![one, own]]
        );
        assert_eq!(
            units[2].packages,
            [Package::digest("sha512", &format!("5c{}", "8e".repeat(31))).unwrap()]
        );
        // The file's times are old, but its change time is not.
        assert_eq!(units[2].last_used_from, UsedFrom::LinkTime);
        assert!(!units.iter().any(|unit| unit.paths.contains(&shared)));
        assert_eq!(field.names(&field.policy("pnpm", "pnpm/v10")), names);
    }

    #[test]
    fn a_package_that_stands_in_a_tree_is_no_unit() {
        let field = Field::new();
        let (linked, _) = (content(&field, "v10", 1), content(&field, "v10", 2));
        package(&field, "linked@1.0.0", &[1, 2]);
        package(&field, "lone@1.0.0", &[3]);
        fs::hard_link(linked.path(), field.at("in-a-tree").path()).unwrap();
        assert_eq!(
            units(&field)
                .iter()
                .map(|unit| unit.name.as_str())
                .collect::<Vec<_>>(),
            ["lone@1.0.0"]
        );
    }

    #[test]
    fn of_a_store_with_a_database_contents_go_one_by_one() {
        let field = Field::new();
        let one = content(&field, "v11", 1);
        field.file("pnpm/v11/index.db", 9);
        field.file("pnpm/v11/index.db-wal", 9);
        let units = units(&field);
        assert_eq!((units.len(), &units[0].paths), (1, &vec![one]));
    }

    #[test]
    fn an_index_that_can_not_be_read_keeps_what_nobody_else_names() {
        let field = Field::new();
        content(&field, "v10", 1);
        content(&field, "v10", 2);
        package(&field, "fine@1.0.0", &[1]);
        let broken = package(&field, "broken@1.0.0", &[]);
        fs::write(broken.path(), "{\"files\": ").unwrap();
        field.file("pnpm/v3/files/00/x", 9);
        let seen = field.survey(&field.policy("pnpm", "pnpm"));
        assert_eq!((seen.units.len(), seen.problems.len()), (1, 2), "{seen:?}");
        assert_eq!(
            (seen.units[0].name.as_str(), seen.units[0].paths.len()),
            ("fine@1.0.0", 2)
        );
    }
}
