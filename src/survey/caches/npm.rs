//! npm: a file of `_cacache/content-v2` with the index buckets that name it is a unit, the buckets first.
//!
//! A bucket must not outlive its content: npm 11 fetches a missing archive again, but for missing package metadata it trusts the
//! bucket and fails (`ENOENT`, "Invalid response body"). So the index is read, small file by small file; that gives names
//! that people know, too. Contents that share a bucket go together. A content that no bucket names is a unit by itself. A bucket
//! that can't be read may name any content: then nothing goes. It must never touch npm's temporary files.

use super::is_hex;
use super::look::{Entry, Look};
use crate::facts::cache::Unit;
use crate::facts::package::Package;
use crate::inside::Inside;
use index::Bucket;
use rayon::prelude::*;
use std::collections::HashMap;

pub(crate) mod index;

/// Digits of a digest that a name shows: with its two shards, 64 bits tell any two apart.
const SHOWN: usize = "sha512/xx/yy/".len() + 12;

/// A bucket, and the contents that it names, by their numbers.
struct Named {
    place: Inside,
    name: Option<Box<str>>,
    contents: Box<[u32]>,
}

pub(super) fn units(look: &Look<'_>) -> Vec<Unit> {
    // `path` in the config may be npm's cache folder, as npm has it, or the `_cacache` in it.
    let base = if look.place.relative().ends_with("_cacache") { Ok(look.place.clone()) } else { look.place.join("_cacache") };
    let Ok((content, index)) = base.and_then(|base| Ok((base.join("content-v2")?, base.join("index-v5")?))) else { return Vec::new() };
    // Contents first: what npm adds meanwhile has no bucket that we know, and isn't listed either.
    let contents: Vec<Inside> = look.folders(&content).iter().flat_map(|algorithm| sharded(look, &algorithm.place, Some)).collect();
    let problems = look.problems();
    let named = buckets(look, &index, &contents);
    if look.problems() > problems {
        return Vec::new();
    }
    let grouped = Grouped::of(contents.len(), &named);
    grouped.groups().into_par_iter().filter_map(|group| unit(look, &contents, &named, group)).collect()
}

/// All buckets that name a content of these. Those that name none are left alone.
fn buckets(look: &Look<'_>, index: &Inside, contents: &[Inside]) -> Vec<Named> {
    let owner: HashMap<&str, u32> = contents.iter().zip(0..).map(|(place, number)| (digest(place), number)).collect();
    let read = |place: Inside| {
        let Bucket { place, name, digests } = Bucket::read(look.eye, place.clone()).unwrap_or_else(|error| {
            look.problem("read", &place, error);
            None
        })?;
        let contents: Box<[u32]> = digests.iter().filter_map(|digest| owner.get(digest.as_str()).copied()).collect();
        (!contents.is_empty()).then(|| Named { place, name: name.map(Into::into), contents })
    };
    sharded(look, index, read)
}

/// A content's digest, as its path has it: `sha512/xx/yy/rest`.
fn digest(content: &Inside) -> &str {
    let path = content.relative().to_str().unwrap_or_default();
    path.rmatch_indices('/').nth(3).map_or(path, |(slash, _)| &path[slash + 1..])
}

/// What `take` makes of the files at `xx/yy/rest` below `folder`. They may be as many as there are units: none is held that it doesn't keep.
fn sharded<T: Send>(look: &Look<'_>, folder: &Inside, take: impl Fn(Inside) -> Option<T> + Sync) -> Vec<T> {
    let second = |first: &Entry| shards(look, &first.place).into_par_iter();
    let files = |second: Entry| look.entries(&second.place).into_iter().filter_map(|entry| leaf(look, entry)).filter_map(&take);
    shards(look, folder).par_iter().flat_map(second).flat_map_iter(files).collect()
}

fn leaf(look: &Look<'_>, entry: Entry) -> Option<Inside> {
    if entry.is_dir || !is_hex(&entry.name, entry.name.len()) {
        look.odd(&entry);
        return None;
    }
    Some(entry.place)
}

fn shards(look: &Look<'_>, folder: &Inside) -> Vec<Entry> {
    look.folders(folder).into_iter().filter(|entry| is_hex(&entry.name, 2)).collect()
}

/// Contents and the buckets that name them, put together: those that share a bucket are one group.
struct Grouped {
    /// Contents, each with the first of its group, in order of these.
    contents: Vec<(u32, u32)>,
    /// Buckets, in the same way.
    buckets: Vec<(u32, u32)>,
}

/// The contents of a group, and its buckets.
type Group<'a> = (&'a [(u32, u32)], &'a [(u32, u32)]);

impl Grouped {
    fn of(contents: usize, buckets: &[Named]) -> Self {
        let mut leader: Vec<u32> = (0..).take(contents).collect();
        let mut lead = |mut number: u32, to: Option<u32>| {
            while leader[number as usize] != number {
                leader[number as usize] = leader[leader[number as usize] as usize];
                number = leader[number as usize];
            }
            leader[number as usize] = to.unwrap_or(number);
            number
        };
        for bucket in buckets {
            let first = lead(bucket.contents[0], None);
            for other in &bucket.contents[1..] {
                lead(*other, Some(first));
            }
        }
        let mut of: Vec<(u32, u32)> = (0..).take(contents).map(|number| (lead(number, None), number)).collect();
        of.sort_unstable();
        let mut buckets: Vec<(u32, u32)> = buckets.iter().zip(0..).map(|(bucket, number)| (lead(bucket.contents[0], None), number)).collect();
        buckets.sort_unstable();
        Self { contents: of, buckets }
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut rest = &self.buckets[..];
        let groups = self.contents.chunk_by(|(one, _), (other, _)| one == other);
        let with_buckets = groups.map(|group| {
            let (mine, others) = rest.split_at(rest.partition_point(|(leader, _)| *leader <= group[0].0));
            rest = others;
            (group, mine)
        });
        with_buckets.collect()
    }
}

fn unit(look: &Look<'_>, contents: &[Inside], named: &[Named], (numbers, buckets): Group<'_>) -> Option<Unit> {
    let mut buckets: Vec<&Named> = buckets.iter().map(|(_, number)| &named[*number as usize]).collect();
    buckets.sort_unstable_by(|one, other| one.place.cmp(&other.place));
    let mut contents: Vec<&Inside> = numbers.iter().map(|(_, number)| &contents[*number as usize]).collect();
    contents.sort_unstable();
    let pages = buckets.iter().filter_map(|bucket| page(bucket.name.as_deref()?));
    let packages = contents.iter().filter_map(|content| package(digest(content))).chain(pages).collect();
    let digest: String = digest(contents.first()?).chars().take(SHOWN).collect();
    let name = buckets.iter().filter_map(|bucket| bucket.name.as_deref()).min().map_or(digest, str::to_owned);
    let paths = buckets.iter().map(|bucket| &bucket.place).chain(contents);
    look.unit_of(packages, name, paths.cloned().collect())
}

/// What a lock file's `integrity` says of the content at `sha512/xx/yy/rest`.
fn package(digest: &str) -> Option<Package> {
    let (algorithm, hex) = digest.split_once('/')?;
    Package::digest(algorithm, &hex.replace('/', ""))
}

/// The package that a bucket called `@acme/shop (metadata)` is about; before it may stand a mirror's own path.
fn page(bucket: &str) -> Option<Package> {
    let path = bucket.strip_suffix(index::METADATA)?;
    let scope = path.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
    let name = if path[scope..].starts_with('@') { &path[scope..] } else { path.rsplit('/').next()? };
    Some(Package::npm_page(name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Field, ago};
    use super::index::testing::line;
    use super::*;
    use crate::facts::cache::CacheKind;
    use std::fs;

    /// `index` and `content` are paths below `_cacache`; the content's digest is its path.
    fn bucket(field: &Field, index: &str, lines: &[String], days: u64) -> Inside {
        let path = format!("npm/_cacache/index-v5/{index}");
        field.file(&path, days);
        fs::write(field.at(&path).path(), lines.concat()).unwrap();
        field.age(&path, days);
        field.at(&path)
    }

    #[test]
    fn a_page_is_known_by_its_package() {
        let table =
            [("left-pad", "left-pad"), ("@acme/shop", "@acme/shop"), ("api/npm/left-pad", "left-pad"), ("npm/@acme/shop", "@acme/shop")];
        for (path, name) in table {
            assert_eq!(page(&format!("{path} (metadata)")), Some(Package::npm_page(name)), "{path}");
        }
        assert_eq!(page("left-pad-1.3.0.tgz"), None);
    }

    fn content(field: &Field, digest: &str, days: u64) -> Inside {
        field.file(&format!("npm/_cacache/content-v2/sha512/{digest}"), days)
    }

    #[test]
    fn a_content_goes_with_its_buckets_and_they_go_first() {
        let field = Field::new();
        let archive = content(&field, "00/01/aa", 9);
        let url = "make-fetch-happen:request-cache:https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz";
        let first = bucket(&field, "1e/73/5d", &[line(url, &[0x00, 0x01, 0xaa])], 5);
        let second = bucket(&field, "e1/7a/2a", &[line("pacote:tarball:left-pad@1.3.0", &[0x00, 0x01, 0xaa])], 3);
        // Reading a bucket moves its access time, ours too: it tells nothing.
        field.read("npm/_cacache/index-v5/1e/73/5d", 1);
        for path in ["npm", "npm/_cacache"] {
            let seen = field.survey(&field.policy(CacheKind::Npm, path));
            let [unit] = &seen.units[..] else { panic!("{seen:?}") };
            assert_eq!(unit.name, "left-pad-1.3.0.tgz");
            assert_eq!(unit.paths, [first.clone(), second.clone(), archive.clone()]);
            assert_eq!(unit.last_used, ago(3));
        }
    }

    #[test]
    fn a_content_answers_to_its_integrity() {
        let field = Field::new();
        let hex = "5c8e4c3f354d0298c0ca1433a615fc06498ab0a5310f82ddc8adb88997901a29c137dc93413ddb165081cbf695c761eb35ca901ac768b7c821ae3cabbcc0a810";
        content(&field, &format!("{}/{}/{}", &hex[..2], &hex[2..4], &hex[4..]), 9);
        let integrity = "sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==";
        assert_eq!(field.survey(&field.policy(CacheKind::Npm, "npm")).units[0].packages, Package::integrity(integrity));
    }

    #[test]
    fn contents_that_share_a_bucket_go_together() {
        let field = Field::new();
        for digest in ["00/01/aa", "00/01/bb", "00/01/cc", "00/01/dd"] {
            content(&field, digest, 9);
        }
        let metadata = |last| line("make-fetch-happen:request-cache:https://registry.npmjs.org/@acme%2fshop", &[0x00, 0x01, last]);
        bucket(&field, "1e/73/5d", &[metadata(0xaa), metadata(0xbb)], 5);
        bucket(&field, "1e/73/5e", &[metadata(0xbb), metadata(0xcc)], 5);
        assert_eq!(field.names(&field.policy(CacheKind::Npm, "npm")), ["@acme/shop (metadata)", "sha512/00/01/dd"]);
        let seen = field.survey(&field.policy(CacheKind::Npm, "npm"));
        let sizes: Vec<usize> = seen.units.iter().map(|unit| unit.paths.len()).collect();
        assert!(sizes == [5, 1] || sizes == [1, 5], "{sizes:?}");
    }

    #[test]
    fn a_bucket_without_content_and_all_else_stay() {
        let field = Field::new();
        bucket(&field, "1e/73/5d", &[line("pacote:tarball:gone@1.0.0", &[1, 2, 3])], 5);
        field.file("npm/_cacache/tmp/12345", 3);
        field.file("npm/_logs/debug-0.log", 3);
        assert!(field.names(&field.policy(CacheKind::Npm, "npm")).is_empty());
        field.file("npm/_cacache/content-v2/sha512/42/f1/faed/inner", 3);
        field.file("npm/_cacache/content-v2/sha512/42/f1/NOTES", 3);
        let seen = field.survey(&field.policy(CacheKind::Npm, "npm"));
        assert_eq!((seen.units.len(), seen.problems.len()), (0, 2), "{:?}", seen.problems);
    }

    #[test]
    fn with_an_unreadable_bucket_every_content_stays() {
        let field = Field::new();
        content(&field, "00/01/aa", 9);
        content(&field, "00/01/bb", 9);
        bucket(&field, "1e/73/5d", &[line("pacote:tarball:known@1.0.0", &[0x00, 0x01, 0xaa])], 5);
        field.file("npm/_cacache/index-v5/1e/73/5e", 5);
        fs::write(field.at("npm/_cacache/index-v5/1e/73/5e").path(), vec![b'x'; index::LARGEST + 1]).unwrap();
        let seen = field.survey(&field.policy(CacheKind::Npm, "npm"));
        let names: Vec<&str> = seen.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!((names, seen.problems.len()), (Vec::<&str>::new(), 1));
    }
}
