//! Literal tables for the choice, and a seeded storm of random queues that must all keep its promises.
//!
//! They must never need a disk or a clock: everything is a literal or comes from a fixed seed.

use super::*;
use crate::facts::cache::{CacheKind, UsedFrom};

const NOW: i64 = 1_790_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// A unit last used `idle` hours ago that frees `bytes` and one inode; its minimum age is 24 h.
fn unit(cache: &str, name: &str, idle: i64, bytes: u64) -> Unit {
    Unit {
        cache: cache.into(),
        kind: CacheKind::Folder,
        name: name.into(),
        paths: Vec::new(),
        packages: Vec::new(),
        last_used: at(NOW - idle * 3600),
        last_used_from: UsedFrom::WriteTime,
        min_age: Duration::from_hours(24),
        locks: Vec::new(),
        tree: None,
        size: Some(Size { bytes, inodes: 1 }),
    }
}

fn cache(name: &str, reserve: u64, units: Vec<Unit>) -> Cache {
    Cache { name: name.into(), kind: CacheKind::Folder, units, reserve, problems: Vec::new() }
}

fn evict(caches: Vec<Cache>, bytes: u64, inodes: u64) -> Eviction {
    let mut queue = order(caches, Wanted { bytes, inodes, reason: String::new() }, at(NOW));
    while let Some(batch) = queue.next_batch() {
        queue.choose(batch, Vec::new());
    }
    queue.finish()
}

fn names(eviction: &Eviction) -> Vec<&str> {
    eviction.units.iter().map(|unit| unit.name.as_str()).collect()
}

#[test]
fn the_least_recently_used_go_first_across_caches() {
    let build = unit("build-output", "x/target", 80, 10);
    let caches = || {
        vec![
            cache("npm", 0, vec![unit("npm", "old", 90, 10), unit("npm", "new", 30, 10)]),
            cache("pip", 0, vec![unit("pip", "b", 70, 10), unit("pip", "a", 70, 10)]),
            cache("build-output", 0, vec![build.clone()]),
        ]
    };
    // wanted bytes, wanted inodes -> what goes
    let table: [(u64, u64, &[&str]); 6] = [
        (0, 0, &[]),
        (1, 0, &["old"]),
        (10, 0, &["old"]),
        (11, 0, &["old", "x/target"]),
        (0, 3, &["old", "x/target", "a"]),
        (1000, 0, &["old", "x/target", "a", "b", "new"]),
    ];
    for (bytes, inodes, expected) in table {
        let found = evict(caches(), bytes, inodes);
        assert_eq!(names(&found), expected, "{bytes} bytes, {inodes} inodes");
        assert_eq!(found.shortfall.bytes, bytes.saturating_sub(50));
    }
}

#[test]
fn the_young_and_those_of_the_future_stay_and_are_counted() {
    let units = vec![unit("npm", "a", 23, 10), unit("npm", "b", 1, 10), unit("npm", "edge", 24, 10), unit("npm", "tomorrow", -1, 10)];
    let found = evict(vec![cache("npm", 0, units)], 100, 0);
    assert_eq!(names(&found), ["edge"]);
    assert_eq!(found.shortfall, Size { bytes: 90, inodes: 0 });
    assert_eq!(found.obstacles, ["1 unit of npm: last used in the future, by their time stamps", "2 units of npm: younger than 24 h"]);
}

#[test]
fn a_reserve_holds_what_would_break_it_and_lets_smaller_ones_go() {
    // 60 bytes stand, young ones too; 35 must stay, so 25 may go.
    let units = vec![unit("m", "large", 90, 20), unit("m", "next", 80, 15), unit("m", "small", 70, 5), unit("m", "young", 1, 20)];
    let found = evict(vec![cache("m", 35, units)], 60, 0);
    assert_eq!(names(&found), ["large", "small"]);
    assert_eq!(found.obstacles, ["1 unit of m: held by its reserve of 35 B", "1 unit of m: younger than 24 h"]);
}

#[test]
fn what_frees_nothing_or_could_not_be_weighed_stays() {
    let mut linked = unit("npm", "linked", 90, 0);
    linked.size = Some(Size::default());
    let mut unknown = unit("npm", "unknown", 90, 0);
    unknown.size = None;
    let mut npm = cache("npm", 0, vec![linked, unknown, unit("npm", "good", 50, 10)]);
    npm.problems.push("failed to list `npm/x`: no".into());
    let found = evict(vec![npm], 5, 0);
    assert_eq!(names(&found), ["good"]);
    let expected = [
        "1 unit of npm: could not be weighed",
        "1 unit of npm: would free nothing: gone, or linked elsewhere",
        "npm: failed to list `npm/x`: no",
    ];
    assert_eq!(found.obstacles, expected);
}

#[test]
fn only_as_many_batches_are_handed_out_as_are_needed() {
    let units = (0..1000).map(|number| unit("npm", &format!("{number:04}"), 50, 1)).collect();
    let mut queue = order(vec![cache("npm", 0, units)], Wanted { bytes: 300, ..Wanted::default() }, at(NOW));
    let mut batches = 0;
    while let Some(batch) = queue.next_batch() {
        batches += 1;
        queue.choose(batch, Vec::new());
    }
    assert_eq!((batches, queue.finish().units.len()), (2, 300));
}

#[test]
fn ages_in_words() {
    let table = [(86_400, "24 h"), (7 * 86_400, "7 d"), (48 * 3600, "48 h"), (5400, "1h 30m"), (0, "0s")];
    for (seconds, expected) in table {
        assert_eq!(in_words(Duration::from_secs(seconds)), expected);
    }
}

/// A small generator (splitmix64), so that a failure comes back with its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn caches(&mut self) -> Vec<Cache> {
        (0..=self.below(4))
            .map(|number| {
                let name = format!("cache{number}");
                let units = (0..self.below(600)).map(|number| self.unit(&name, number)).collect();
                let reserve = if self.below(2) == 0 { 0 } else { self.below(3000) };
                cache(&name, reserve, units)
            })
            .collect()
    }

    fn unit(&mut self, cache: &str, number: u64) -> Unit {
        let idle = i64::try_from(self.below(200)).unwrap() - 5;
        let mut unit = unit(cache, &format!("{number:03}"), idle, self.below(40));
        if self.below(20) == 0 {
            unit.size = Some(Size::default());
        }
        unit
    }
}

#[test]
fn every_choice_keeps_its_promises() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let caches = dice.caches();
        let (bytes, inodes) = (dice.below(20_000), dice.below(800));
        let found = evict(caches.clone(), bytes, inodes);
        let mut shuffled = caches.clone();
        shuffled.reverse();
        for cache in &mut shuffled {
            cache.units.reverse();
        }
        assert_eq!(found, evict(shuffled, bytes, inodes), "seed {seed}: the order of listing counts");
        check(&caches, &found, seed);
    }
}

fn check(caches: &[Cache], found: &Eviction, seed: u64) {
    let sum = |units: &[Unit]| units.iter().fold((0, 0), |(b, i), unit| (b + unit.size.unwrap().bytes, i + unit.size.unwrap().inodes));
    let enough = |(bytes, inodes): (u64, u64)| bytes >= found.wanted.bytes && inodes >= found.wanted.inodes;
    assert_eq!(sum(&found.units), (found.foreseen.bytes, found.foreseen.inodes), "seed {seed}");
    assert_eq!(
        enough(sum(&found.units)),
        found.shortfall == Size::default(),
        "seed {seed}: covers what is wanted, or says what is missing"
    );
    if let Some((_, shorter)) = found.units.split_last() {
        assert!(!enough(sum(shorter)), "seed {seed}: the last unit was not needed");
    }
    assert!(found.units.is_sorted_by_key(|unit| unit.last_used), "seed {seed}");
    assert!(found.units.iter().all(|unit| too_young(unit, at(NOW)).is_none()), "seed {seed}: a young one goes");
    for cache in caches.iter().filter(|cache| cache.reserve > 0) {
        let gone: u64 = found.units.iter().filter(|unit| unit.cache == cache.name).map(|unit| unit.size.unwrap().bytes).sum();
        let standing = sum(&cache.units).0;
        assert!(gone == 0 || standing - gone >= cache.reserve, "seed {seed}: a reserve is broken");
    }
    prefix(caches, found, seed);
}

/// Whatever is older than the last one chosen goes too, unless something holds it.
fn prefix(caches: &[Cache], found: &Eviction, seed: u64) {
    let Some(last) = found.units.last() else { return };
    for cache in caches.iter().filter(|cache| cache.reserve == 0) {
        for unit in cache.units.iter().filter(|unit| rank(unit) < rank(last)) {
            let held = too_young(unit, at(NOW)).is_some() || unit.size == Some(Size::default());
            assert!(held != found.units.contains(unit), "seed {seed}: {} of {} was passed over", unit.name, unit.cache);
        }
    }
}
