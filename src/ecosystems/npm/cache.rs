//! npm's cache. A unit is a file of `_cacache/content-v2` with the index buckets that name it, the
//! buckets first.
//!
//! A bucket must not outlive its content: npm 11 fetches a missing archive again, but for missing
//! package metadata it trusts the bucket and fails (`ENOENT`, "Invalid response body"). So the
//! index is read, one small file after another, which also yields names that people know. Contents
//! that share a bucket are one unit. A content that no bucket names is a unit by itself. An
//! unreadable bucket may name any content, so then there are no units. npm's temporary files are
//! never touched.

use super::index;
use super::index::Bucket;
use super::lock_file::page as page_package;
use crate::ecosystems::hex::is_hex;
use crate::ecosystems::last_use::LastUse;
use crate::ecosystems::lister::{CacheLister, Entry};
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::fs::volume_path::VolumePath;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;

/// Digits of a digest that a name shows: with its two shards, 64 bits distinguish any two.
const SHOWN: usize = "sha512/xx/yy/".len() + 12;

/// A bucket, and the numbers of the contents that it names.
struct Named {
    bucket: Digits,
    name: Option<Box<str>>,
    contents: Box<[u32]>,
}

/// A content, by its path in `content-v2`.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Content {
    /// The number of the algorithm.
    algorithm: usize,
    digits: Digits,
}

/// The hexadecimal digits of `xx/yy/rest`, two per byte, since those of all contents are in memory.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Digits(Box<[u8]>);

impl Digits {
    /// Parses the digits; none if one isn't hexadecimal, or their number is odd.
    fn of(parts: [&str; 3]) -> Option<Self> {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let digits: Option<Vec<u8>> = parts
            .iter()
            .flat_map(|part| part.bytes())
            .map(digit)
            .collect();
        let (pairs, alone) = digits.as_deref()?.as_chunks();
        alone
            .is_empty()
            .then(|| Self(pairs.iter().map(|[high, low]| high << 4 | low).collect()))
    }

    /// Returns the digits as text.
    fn text(&self) -> String {
        self.0.iter().fold(
            String::with_capacity(self.0.len().saturating_mul(2)),
            |mut text, byte| {
                text.extend(
                    [byte >> 4, byte & 15]
                        .map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()),
                );
                text
            },
        )
    }

    /// Returns `xx/yy/rest`.
    fn path(&self) -> String {
        let text = self.text();
        format!("{}/{}/{}", &text[..2], &text[2..4], &text[4..])
    }
}

/// The places, the algorithms and the contents of a cache.
struct Cache {
    content: VolumePath,
    index: VolumePath,
    algorithms: Vec<String>,
    contents: Vec<Content>,
}

/// For contents, the access time counts too. For the index it doesn't: the survey itself reads it,
/// and npm rewrites it on use.
pub(super) const LAST_USE: LastUse = LastUse::of(|probe, path| {
    probe.entries(path, probe.access_times() && !path.is_below("index-v5"))
});

/// Returns npm's cache directory, as npm calls it: the config may name the `_cacache` in it.
pub(super) fn directory(place: &Path) -> &Path {
    let above = place.parent().filter(|_| place.ends_with("_cacache"));
    above.unwrap_or(place)
}

pub(super) fn units(lister: &CacheLister<'_>) -> Vec<Unit> {
    let base = if lister.place.relative().ends_with("_cacache") {
        Ok(lister.place.clone())
    } else {
        lister.place.join("_cacache")
    };
    let Ok((content, index)) =
        base.and_then(|base| Ok((base.join("content-v2")?, base.join("index-v5")?)))
    else {
        return Vec::new();
    };
    // Contents first: one that npm adds meanwhile isn't listed, so its bucket is left alone.
    let algorithms = lister.directories(&content);
    let of_one = |(algorithm, directory): (usize, &Entry)| {
        sharded(lister, &directory.place, |digits, _| {
            Some(Content { algorithm, digits })
        })
    };
    let contents = algorithms.iter().enumerate().flat_map(of_one).collect();
    let cache = Cache {
        content,
        index,
        algorithms: algorithms
            .into_iter()
            .map(|directory| directory.name)
            .collect(),
        contents,
    };
    let problems = lister.problems();
    let named = buckets(lister, &cache);
    if lister.problems() > problems {
        return Vec::new();
    }
    let grouped = Grouped::of(cache.contents.len(), &named);
    grouped
        .groups()
        .into_par_iter()
        .filter_map(|group| unit(lister, &cache, &named, group))
        .collect()
}

/// Returns all buckets that name one of the contents. Other buckets are left alone.
fn buckets(lister: &CacheLister<'_>, cache: &Cache) -> Vec<Named> {
    let owner: HashMap<&Content, u32> = cache.contents.iter().zip(0..).collect();
    let number = |digest: &String| {
        let (algorithm, digits) = digest.split_once('/')?;
        let algorithm = cache
            .algorithms
            .iter()
            .position(|known| known == algorithm)?;
        let mut parts = digits.splitn(3, '/');
        let digits = Digits::of([parts.next()?, parts.next()?, parts.next()?])?;
        owner.get(&Content { algorithm, digits }).copied()
    };
    let read = |bucket: Digits, place: VolumePath| {
        let Bucket { name, digests } =
            Bucket::read(lister.probe, &place).unwrap_or_else(|error| {
                lister.problem("read", &place, error);
                None
            })?;
        let contents: Box<[u32]> = digests.iter().filter_map(number).collect();
        (!contents.is_empty()).then(|| Named {
            bucket,
            name: name.map(Into::into),
            contents,
        })
    };
    sharded(lister, &cache.index, read)
}

/// Applies `take` to the files at `xx/yy/rest` below `directory`, and returns what it keeps. There
/// may be as many files as units, so the others aren't kept in memory.
fn sharded<T: Send>(
    lister: &CacheLister<'_>,
    directory: &VolumePath,
    take: impl Fn(Digits, VolumePath) -> Option<T> + Sync,
) -> Vec<T> {
    let seconds = |first: &Entry| {
        let shards = shards(lister, &first.place).into_par_iter();
        let name = first.name.clone();
        shards.map(move |second| (name.clone(), second))
    };
    let files = |(first, second): (String, Entry)| {
        let leaf = |entry: Entry| {
            let known = !entry.is_dir && is_hex(&entry.name, entry.name.len());
            let digits = known
                .then(|| Digits::of([&first, &second.name, &entry.name]))
                .flatten();
            if digits.is_none() {
                lister.odd(&entry);
            }
            take(digits?, entry.place)
        };
        lister
            .entries(&second.place)
            .into_iter()
            .filter_map(leaf)
            .collect::<Vec<_>>()
    };
    shards(lister, directory)
        .par_iter()
        .flat_map(seconds)
        .flat_map_iter(files)
        .collect()
}

fn shards(lister: &CacheLister<'_>, directory: &VolumePath) -> Vec<Entry> {
    lister
        .directories(directory)
        .into_iter()
        .filter(|entry| is_hex(&entry.name, 2))
        .collect()
}

/// Contents and buckets in groups: contents that share a bucket are in one group.
struct Grouped {
    /// Contents, each with the first content of its group, sorted by the latter.
    contents: Vec<(u32, u32)>,
    /// Buckets, in the same way.
    buckets: Vec<(u32, u32)>,
}

/// A union-find over numbers: each points to its group's leader, or closer to it.
struct Leaders(Vec<u32>);

impl Leaders {
    fn above(&self, number: u32) -> u32 {
        self.0.get(number as usize).copied().unwrap_or(number)
    }

    fn put(&mut self, number: u32, above: u32) {
        if let Some(place) = self.0.get_mut(number as usize) {
            *place = above;
        }
    }

    /// Finds the leader, and halves the path to it for the next search.
    fn of(&mut self, mut number: u32) -> u32 {
        while self.above(number) != number {
            let above = self.above(self.above(number));
            self.put(number, above);
            number = above;
        }
        number
    }
}

/// The contents and the buckets of a group.
type Group<'a> = (&'a [(u32, u32)], &'a [(u32, u32)]);

impl Grouped {
    fn of(contents: usize, buckets: &[Named]) -> Self {
        let mut leaders = Leaders((0..).take(contents).collect());
        for bucket in buckets {
            let Some((first, others)) = bucket.contents.split_first() else {
                continue;
            };
            let first = leaders.of(*first);
            for other in others {
                let other = leaders.of(*other);
                leaders.put(other, first);
            }
        }
        let mut of: Vec<(u32, u32)> = (0..)
            .take(contents)
            .map(|number| (leaders.of(number), number))
            .collect();
        of.sort_unstable();
        let mut buckets: Vec<(u32, u32)> = buckets
            .iter()
            .zip(0..)
            .filter_map(|(bucket, number)| Some((leaders.of(*bucket.contents.first()?), number)))
            .collect();
        buckets.sort_unstable();
        Self {
            contents: of,
            buckets,
        }
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut rest = &self.buckets[..];
        let groups = self.contents.chunk_by(|(one, _), (other, _)| one == other);
        let with_buckets = groups.map(|group| {
            let of = group.first().map(|(leader, _)| *leader);
            let (mine, others) =
                rest.split_at(rest.partition_point(|(leader, _)| Some(*leader) <= of));
            rest = others;
            (group, mine)
        });
        with_buckets.collect()
    }
}

fn unit(
    lister: &CacheLister<'_>,
    cache: &Cache,
    named: &[Named],
    (numbers, buckets): Group<'_>,
) -> Option<Unit> {
    let mut buckets: Vec<&Named> = buckets
        .iter()
        .map(|(_, number)| named.get(*number as usize))
        .collect::<Option<_>>()?;
    buckets.sort_unstable_by(|one, other| one.bucket.cmp(&other.bucket));
    let mut contents: Vec<(&String, &Digits)> = numbers
        .iter()
        .map(|(_, number)| cache.contents.get(*number as usize))
        .map(|content| {
            content.and_then(|Content { algorithm, digits }| {
                Some((cache.algorithms.get(*algorithm)?, digits))
            })
        })
        .collect::<Option<_>>()?;
    contents.sort_unstable();
    let pages = buckets
        .iter()
        .filter_map(|bucket| page(bucket.name.as_deref()?));
    let digests = contents
        .iter()
        .filter_map(|(algorithm, digits)| Package::digest(algorithm, &digits.text()));
    let packages = digests.chain(pages).collect();
    let below = |(algorithm, digits): &(&String, &Digits)| format!("{algorithm}/{}", digits.path());
    let digest: String = below(contents.first()?).chars().take(SHOWN).collect();
    let name = buckets
        .iter()
        .filter_map(|bucket| bucket.name.as_deref())
        .min()
        .map_or(digest, str::to_owned);
    let of_buckets = buckets
        .iter()
        .map(|bucket| cache.index.join(bucket.bucket.path()));
    let paths = of_buckets.chain(
        contents
            .iter()
            .map(|content| cache.content.join(below(content))),
    );
    lister.unit_of(packages, name, paths.collect::<Result<_, _>>().ok()?)
}

/// Returns the package of a bucket like `@acme/shop (metadata)`. A mirror's path may precede it.
fn page(bucket: &str) -> Option<Package> {
    let path = bucket.strip_suffix(index::METADATA)?;
    let last_two = path
        .rmatch_indices('/')
        .nth(1)
        .and_then(|(slash, _)| path.get(slash..)?.strip_prefix('/'))
        .unwrap_or(path);
    let name = if last_two.starts_with('@') {
        last_two
    } else {
        path.rsplit('/').next()?
    };
    Some(page_package(name))
}

#[cfg(test)]
mod tests {
    use super::super::index::testing::line;
    use super::*;
    use crate::ecosystems::testing::{Field, ago};
    use std::fs;

    /// Writes a bucket with these lines. `index` is its path below `index-v5`.
    fn bucket(field: &Field, index: &str, lines: &[String], days: u64) -> VolumePath {
        let path = format!("npm/_cacache/index-v5/{index}");
        field.file(&path, days);
        fs::write(field.at(&path).path(), lines.concat()).unwrap();
        field.age(&path, days);
        field.at(&path)
    }

    #[test]
    fn digits_are_held_two_a_byte_and_come_back() {
        for parts in [["00", "01", "aa"], ["ff", "1e", "73ff"]] {
            assert_eq!(Digits::of(parts).unwrap().path(), parts.join("/"));
        }
        assert!(Digits::of(["00", "01", "aaa"]).is_none());
        assert!(Digits::of(["00", "01", "xy"]).is_none());
    }

    #[test]
    fn a_page_is_known_by_its_package() {
        let table = [
            ("left-pad", "left-pad"),
            ("@acme/shop", "@acme/shop"),
            ("api/npm/left-pad", "left-pad"),
            ("npm/@acme/shop", "@acme/shop"),
        ];
        for (path, name) in table {
            assert_eq!(
                page(&format!("{path} (metadata)")),
                Some(page_package(name)),
                "{path}"
            );
        }
        assert_eq!(page("left-pad-1.3.0.tgz"), None);
    }

    fn content(field: &Field, digest: &str, days: u64) -> VolumePath {
        field.file(&format!("npm/_cacache/content-v2/sha512/{digest}"), days)
    }

    #[test]
    fn a_content_goes_with_its_buckets_and_they_go_first() {
        let field = Field::new();
        let archive = content(&field, "00/01/aa", 9);
        let url = "make-fetch-happen:request-cache:https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz";
        let first = bucket(&field, "1e/73/5d", &[line(url, &[0x00, 0x01, 0xaa])], 5);
        let second = bucket(
            &field,
            "e1/7a/2a",
            &[line("pacote:tarball:left-pad@1.3.0", &[0x00, 0x01, 0xaa])],
            3,
        );
        // The survey reads buckets too, so a bucket's access time shows no use.
        field.read("npm/_cacache/index-v5/1e/73/5d", 1);
        for path in ["npm", "npm/_cacache"] {
            let seen = field.survey(&field.policy("npm", path));
            let [unit] = &seen.units[..] else {
                panic!("{seen:?}")
            };
            assert_eq!(unit.name, "left-pad-1.3.0.tgz");
            assert_eq!(unit.paths, [first.clone(), second.clone(), archive.clone()]);
            assert_eq!(unit.last_used, ago(3));
        }
    }

    #[test]
    fn a_content_answers_to_its_integrity() {
        let field = Field::new();
        let hex = "5c8e4c3f354d0298c0ca1433a615fc06498ab0a5310f82ddc8adb88997901a29c137dc93413ddb165081cbf695c761eb35ca901ac768b7c821ae3cabbcc0a810";
        content(
            &field,
            &format!("{}/{}/{}", &hex[..2], &hex[2..4], &hex[4..]),
            9,
        );
        let integrity = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==";
        assert_eq!(
            field.survey(&field.policy("npm", "npm")).units[0].packages,
            Package::integrity(integrity)
        );
    }

    #[test]
    fn contents_that_share_a_bucket_go_together() {
        let field = Field::new();
        for digest in ["00/01/aa", "00/01/bb", "00/01/cc", "00/01/dd"] {
            content(&field, digest, 9);
        }
        let metadata = |last| {
            line(
                "make-fetch-happen:request-cache:https://registry.npmjs.org/@acme%2fshop",
                &[0x00, 0x01, last],
            )
        };
        bucket(&field, "1e/73/5d", &[metadata(0xaa), metadata(0xbb)], 5);
        bucket(&field, "1e/73/5e", &[metadata(0xbb), metadata(0xcc)], 5);
        assert_eq!(
            field.names(&field.policy("npm", "npm")),
            ["@acme/shop (metadata)", "sha512/00/01/dd"]
        );
        let seen = field.survey(&field.policy("npm", "npm"));
        let sizes: Vec<usize> = seen.units.iter().map(|unit| unit.paths.len()).collect();
        assert!(sizes == [5, 1] || sizes == [1, 5], "{sizes:?}");
    }

    #[test]
    fn a_bucket_without_content_and_all_else_stay() {
        let field = Field::new();
        bucket(
            &field,
            "1e/73/5d",
            &[line("pacote:tarball:gone@1.0.0", &[1, 2, 3])],
            5,
        );
        field.file("npm/_cacache/tmp/12345", 3);
        field.file("npm/_logs/debug-0.log", 3);
        assert!(field.names(&field.policy("npm", "npm")).is_empty());
        field.file("npm/_cacache/content-v2/sha512/42/f1/faed/inner", 3);
        field.file("npm/_cacache/content-v2/sha512/42/f1/NOTES", 3);
        let seen = field.survey(&field.policy("npm", "npm"));
        assert_eq!(
            (seen.units.len(), seen.problems.len()),
            (0, 2),
            "{:?}",
            seen.problems
        );
    }

    #[test]
    fn with_an_unreadable_bucket_every_content_stays() {
        let field = Field::new();
        content(&field, "00/01/aa", 9);
        content(&field, "00/01/bb", 9);
        bucket(
            &field,
            "1e/73/5d",
            &[line("pacote:tarball:known@1.0.0", &[0x00, 0x01, 0xaa])],
            5,
        );
        field.file("npm/_cacache/index-v5/1e/73/5e", 5);
        fs::write(
            field.at("npm/_cacache/index-v5/1e/73/5e").path(),
            vec![b'x'; index::LARGEST + 1],
        )
        .unwrap();
        let seen = field.survey(&field.policy("npm", "npm"));
        let names: Vec<&str> = seen.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!((names, seen.problems.len()), (Vec::<&str>::new(), 1));
    }
}
