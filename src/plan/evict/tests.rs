//! Literal tables for the choice, and seeded random queues for which every promise must hold. No
//! disk and no clock: everything is a literal or comes from a fixed seed.

use super::*;
use crate::config::policy;
use crate::facts::cache::{CacheKind, Shared, UsedFrom};
use crate::facts::locks::{Names, Naming};
use crate::facts::package::Package;
use crate::facts::volume::Usage;
use std::time::Duration;

mod sifted;

const NOW: i64 = 1_790_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// A unit last used `idle` hours ago that frees `bytes` and one inode; its minimum age is 24 h.
fn unit(cache: &str, name: &str, idle: i64, bytes: u64) -> Unit {
    Unit {
        cache: cache.into(),
        kind: CacheKind::new("folder"),
        name: name.into(),
        paths: Vec::new(),
        packages: Vec::new(),
        named: None,
        last_used: at(NOW - idle * 3600),
        last_used_from: UsedFrom::WriteTime,
        min_age: Duration::from_hours(24),
        locks: std::sync::Arc::default(),
        tree: None,
        size: Some(Size { bytes, inodes: 1 }),
        shared: Vec::new(),
    }
}

fn cache(name: &str, reserve: u64, units: Vec<Unit>) -> Cache {
    let reserve = Size {
        bytes: reserve,
        inodes: 0,
    };
    Cache {
        name: name.into(),
        kind: CacheKind::new("folder"),
        units,
        reserve,
        budget: None,
        problems: Vec::new(),
    }
}

fn evict(caches: Vec<Cache>, bytes: u64, inodes: u64) -> Eviction {
    let wanted = Wanted {
        bytes,
        inodes,
        ..Wanted::default()
    };
    decide(caches, wanted, InUse::Keep)
}

fn decide(caches: Vec<Cache>, wanted: Wanted, in_use: InUse) -> Eviction {
    let mut queue = order(caches, wanted, in_use, at(NOW));
    while let Some(batch) = queue.next_batch() {
        queue.choose(batch, Vec::new());
    }
    queue.finish()
}

fn names(eviction: &Eviction) -> Vec<&str> {
    eviction
        .units
        .iter()
        .map(|unit| unit.name.as_str())
        .collect()
}

#[test]
fn the_least_recently_used_go_first_across_caches() {
    let build = unit("build-output", "x/target", 80, 10);
    let caches = || {
        vec![
            cache(
                "npm",
                0,
                vec![unit("npm", "old", 90, 10), unit("npm", "new", 30, 10)],
            ),
            cache(
                "pip",
                0,
                vec![unit("pip", "b", 70, 10), unit("pip", "a", 70, 10)],
            ),
            cache("build-output", 0, vec![build.clone()]),
        ]
    };
    // wanted bytes, wanted inodes -> what is evicted
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
    let (a, edge, tomorrow) = (
        unit("npm", "a", 23, 10),
        unit("npm", "edge", 24, 10),
        unit("npm", "tomorrow", -1, 10),
    );
    let units = vec![
        a,
        unit("npm", "now", 0, 10),
        unit("npm", "now too", 0, 10),
        edge,
        tomorrow,
    ];
    let found = evict(vec![cache("npm", 0, units)], 100, 0);
    assert_eq!(names(&found), ["edge"]);
    assert_eq!(
        found.shortfall,
        Size {
            bytes: 90,
            inodes: 0
        }
    );
    assert_eq!(
        found.obstacles,
        [
            "1 unit of npm: last used in the future, by their time stamps",
            "3 units of npm: younger than 24 h"
        ]
    );
}

#[test]
fn a_reserve_holds_what_would_break_it_and_lets_smaller_ones_go() {
    // The cache has 60 bytes, including the young unit. 35 must stay, so 25 may be evicted.
    let units = vec![
        unit("m", "large", 90, 20),
        unit("m", "next", 80, 15),
        unit("m", "small", 70, 5),
        unit("m", "young", 1, 20),
    ];
    let found = evict(vec![cache("m", 35, units)], 60, 0);
    assert_eq!(names(&found), ["large", "small"]);
    assert_eq!(
        found.obstacles,
        [
            "1 unit of m: held by its reserve of 35 B",
            "1 unit of m: younger than 24 h"
        ]
    );
}

#[test]
fn a_reserve_of_inodes_is_kept_to_the_last_one() {
    let mut npm = cache(
        "npm",
        0,
        (0..4)
            .map(|age| unit("npm", &age.to_string(), 90 - age, 10))
            .collect(),
    );
    npm.reserve = Size {
        bytes: 0,
        inodes: 1,
    };
    let found = evict(vec![npm], 1000, 0);
    assert_eq!(names(&found), ["0", "1", "2"]);
    assert_eq!(
        found.obstacles,
        ["1 unit of npm: held by its reserve of 1 inodes"]
    );
}

#[test]
fn what_stands_counts_a_file_once_and_only_with_all_its_links() {
    let units = || {
        vec![
            unit("pnpm", "plain", 90, 10),
            link(unit("pnpm", "old half", 80, 0), 1),
            link(unit("pnpm", "new half", 70, 0), 1),
            link(unit("pnpm", "elsewhere", 60, 0), 2),
        ]
    };
    // The cache has 20 bytes.
    for (reserve, expected) in [
        (11, &[][..]),
        (10, &["plain"]),
        (1, &["plain"]),
        (0, &["plain", "old half", "new half"]),
    ] {
        assert_eq!(
            names(&evict(vec![cache("pnpm", reserve, units())], 1000, 0)),
            expected,
            "{reserve}"
        );
    }
}

#[test]
fn problems_are_told_up_to_a_number() {
    let message = |count: usize| {
        let mut npm = cache("npm", 0, Vec::new());
        npm.problems = (0..count).map(|number| number.to_string()).collect();
        evict(vec![npm], 1, 0).obstacles
    };
    assert_eq!(
        (message(50).len(), message(50)[49].as_str()),
        (50, "npm: 49")
    );
    assert_eq!(
        (message(53).len(), message(53)[50].as_str()),
        (51, "3 more problems like these")
    );
}

#[test]
fn what_frees_nothing_or_could_not_be_measured_stays() {
    let mut linked = unit("npm", "linked", 90, 0);
    linked.size = Some(Size::default());
    let mut unknown = unit("npm", "unknown", 90, 0);
    unknown.size = None;
    let mut npm = cache("npm", 0, vec![linked, unknown, unit("npm", "good", 50, 10)]);
    npm.problems.push("failed to list `npm/x`: no".into());
    let found = evict(vec![npm], 5, 0);
    assert_eq!(names(&found), ["good"]);
    let expected = [
        "1 unit of npm: could not be measured",
        "1 unit of npm: would free nothing: gone, or linked elsewhere",
        "npm: failed to list `npm/x`: no",
    ];
    assert_eq!(found.obstacles, expected);
}

/// The same unit, named by a lock file `ago` hours ago; 0 is in this run, and in use.
fn named(mut unit: Unit, ago: i64) -> Unit {
    unit.named = Some(Box::new(Naming {
        at: at(NOW - ago * 3600),
        by: "acme/shop".into(),
        in_use: ago == 0,
        worked: None,
    }));
    unit
}

/// The same unit, in use by a repo that was worked in so many hours ago.
fn worked(unit: Unit, ago: i64) -> Unit {
    let mut unit = named(unit, 0);
    unit.named.as_mut().unwrap().worked = Some(at(NOW - ago * 3600));
    unit
}

#[test]
fn what_lock_files_named_is_younger_than_it_looks() {
    let caches = || {
        let units = vec![
            unit("npm", "experiment", 30, 10),
            named(unit("npm", "lodash", 9000, 10), 26),
            named(unit("npm", "last-year", 9000, 10), 8000),
            unit("npm", "nobody", 8500, 10),
            named(unit("npm", "yesterday", 9000, 10), 20),
            worked(unit("npm", "busy repo's", 9000, 10), 100),
            worked(unit("npm", "idle repo's", 9000, 10), 600),
            named(unit("npm", "today", 9000, 10), 0),
            named(unit("npm", "today-younger", 500, 10), 0),
            named(unit("npm", "today-fresh", 3, 10), 0),
        ];
        vec![cache("npm", 0, units)]
    };
    let all = Wanted {
        bytes: 1000,
        ..Wanted::default()
    };
    let kept = decide(caches(), all.clone(), InUse::Keep);
    assert_eq!(
        names(&kept),
        ["nobody", "last-year", "experiment", "lodash"]
    );
    let in_use = "5 units of npm: in use: lock files or environments of live trees name them (eviction.in_use: keep), most of them by acme/shop (5)";
    assert_eq!(kept.obstacles, [in_use, "1 unit of npm: younger than 24 h"]);
    let last = decide(caches(), all, InUse::Last);
    assert_eq!(
        names(&last),
        [
            "nobody",
            "last-year",
            "experiment",
            "lodash",
            "today",
            "idle repo's",
            "today-younger",
            "busy repo's"
        ]
    );
    assert_eq!(last.obstacles, ["2 units of npm: younger than 24 h"]);
    let uses: Vec<UsedFrom> = last
        .units
        .iter()
        .take(4)
        .map(|unit| last_use(unit).1)
        .collect();
    assert_eq!(
        uses,
        [
            UsedFrom::WriteTime,
            UsedFrom::Named,
            UsedFrom::WriteTime,
            UsedFrom::Named
        ]
    );
    assert!(
        last.units
            .iter()
            .skip(4)
            .all(|unit| last_use(unit).1 == UsedFrom::Named)
    );
}

#[test]
fn of_all_that_lock_files_say_of_a_unit_the_strongest_word_counts() {
    let said = |at: i64, by: &str, in_use| Naming {
        at: self::at(NOW + at),
        by: by.into(),
        in_use,
        worked: None,
    };
    let packages = ["a-1.0.0", "b-1.0.0", "c-1.0.0"].map(|name| Package::new("cargo", name));
    let strongest = |namings: &[Naming]| {
        let lock_files: Names = packages
            .iter()
            .cloned()
            .zip(namings.iter().cloned())
            .collect();
        let mut caches = [cache(
            "cargo",
            0,
            vec![Unit {
                packages: packages.to_vec(),
                ..unit("cargo", "x", 90, 10)
            }],
        )];
        name(&mut caches, &lock_files);
        caches[0].units[0]
            .named
            .take()
            .map(|named| (named.at.timestamp() - NOW, named.by))
    };
    let table = [
        (&[][..], None),
        (
            &[
                said(-9, "old", false),
                said(-5, "newer", false),
                said(-7, "older", false),
            ],
            Some((-5, "newer")),
        ),
        (
            &[said(-5, "newer", false), said(-9, "in use", true)],
            Some((-9, "in use")),
        ),
        (
            &[
                said(-5, "b", false),
                said(-5, "a", false),
                said(-5, "c", false),
            ],
            Some((-5, "a")),
        ),
    ];
    for (namings, expected) in table {
        assert_eq!(
            strongest(namings),
            expected.map(|(at, by)| (at, by.to_owned())),
            "{namings:?}"
        );
    }
}

#[test]
fn a_name_never_makes_a_unit_older_than_it_looks() {
    for (ago, expected) in [
        (29, (at(NOW - 29 * 3600), UsedFrom::Named)),
        (30, (at(NOW - 30 * 3600), UsedFrom::WriteTime)),
        (31, (at(NOW - 30 * 3600), UsedFrom::WriteTime)),
    ] {
        assert_eq!(
            last_use(&named(unit("npm", "x", 30, 10), ago)),
            expected,
            "{ago}"
        );
    }
}

/// A file of 10 bytes with two links, one of them in the unit.
fn link(mut unit: Unit, file: u64) -> Unit {
    if unit.shared.is_empty() {
        unit.size = Some(Size::default());
    }
    unit.shared.push(Shared {
        file: (1, file),
        here: 1,
        links: 2,
        bytes: 10,
    });
    unit
}

#[test]
fn a_file_counts_when_its_last_link_goes() {
    let units = vec![
        link(unit("pnpm", "old half", 90, 0), 1),
        link(unit("pnpm", "elsewhere", 85, 0), 2),
        unit("pnpm", "plain", 80, 10),
        link(unit("pnpm", "new half", 70, 0), 1),
        link(link(unit("pnpm", "two halves", 60, 0), 3), 4),
        link(unit("pnpm", "third", 50, 0), 3),
        link(unit("pnpm", "fourth", 40, 0), 4),
    ];
    // wanted bytes -> what is evicted, in this order
    let table: [(u64, &[&str]); 5] = [
        (1, &["plain"]),
        (11, &["plain", "old half", "new half"]),
        (
            21,
            &["plain", "old half", "new half", "two halves", "third"],
        ),
        (
            31,
            &[
                "plain",
                "old half",
                "new half",
                "two halves",
                "third",
                "fourth",
            ],
        ),
        (
            99,
            &[
                "plain",
                "old half",
                "new half",
                "two halves",
                "third",
                "fourth",
            ],
        ),
    ];
    for (bytes, expected) in table {
        let found = evict(vec![cache("pnpm", 0, units.clone())], bytes, 0);
        assert_eq!(names(&found), expected, "{bytes}");
        assert_eq!(
            found.foreseen.bytes,
            bytes.next_multiple_of(10).min(40),
            "{bytes}"
        );
        assert_eq!(found.foreseen.inodes, found.foreseen.bytes / 10, "{bytes}");
    }
    let left = evict(vec![cache("pnpm", 0, units)], 99, 0).obstacles;
    assert_eq!(
        left,
        ["1 unit of pnpm: would free nothing: gone, or linked elsewhere"]
    );
}

#[test]
fn a_link_that_went_with_its_unit_counts_for_those_that_come_later() {
    let with_two_links = |mut unit: Unit| {
        unit.shared.push(Shared {
            file: (1, 3),
            here: 2,
            links: 2,
            bytes: 7,
        });
        unit
    };
    let links_of_three = |mut unit: Unit, here| {
        unit.shared.push(Shared {
            file: (1, 4),
            here,
            links: 3,
            bytes: 10,
        });
        unit
    };
    let own = |name: &str, idle| Unit {
        shared: vec![Shared {
            file: (1, 1),
            here: 1,
            links: 2,
            bytes: 10,
        }],
        ..unit("pnpm", name, idle, 5)
    };
    let units = vec![
        own("first", 90),
        link(unit("pnpm", "second", 80, 0), 1),
        with_two_links(unit("pnpm", "both", 70, 0)),
        links_of_three(link(unit("pnpm", "waits", 60, 0), 5), 1),
        link(unit("pnpm", "frees it", 50, 0), 5),
        links_of_three(unit("pnpm", "too few", 40, 1), 1),
        links_of_three(unit("pnpm", "all", 30, 1), 1),
    ];
    let found = evict(vec![cache("pnpm", 0, units)], 1000, 0);
    let sizes: Vec<(&str, u64)> = found
        .units
        .iter()
        .map(|unit| (unit.name.as_str(), unit.size.unwrap().bytes))
        .collect();
    let expected = [
        ("first", 5),
        ("second", 10),
        ("both", 7),
        ("waits", 0),
        ("frees it", 10),
        ("too few", 1),
        ("all", 11),
    ];
    assert_eq!(sizes, expected);
}

/// Decides what is evicted from caches over their budgets.
fn over_budget(caches: Vec<Cache>, volume: Option<Wanted>) -> Option<Eviction> {
    let wanted = with_budgets(volume, &caches)?;
    Some(decide(caches, wanted, InUse::Keep))
}

#[test]
fn a_cache_over_its_budget_goes_down_to_nine_tenths_of_it() {
    let caches = |bytes, inodes| {
        let mut npm = cache(
            "npm",
            0,
            (0..10)
                .map(|age| unit("npm", &age.to_string(), 100 - age, 10))
                .collect(),
        );
        npm.budget = Some(Size { bytes, inodes });
        vec![npm, cache("pip", 0, vec![unit("pip", "oldest", 900, 10)])]
    };
    assert_eq!(over_budget(caches(100, 10), None), None);
    let found = over_budget(caches(90, u64::MAX), None).unwrap();
    assert_eq!(names(&found), ["0", "1"]);
    assert_eq!(
        found.wanted.reason,
        "npm holds 100 B, over its budget of 90 B; going down to 81 B"
    );
    assert_eq!(
        (found.wanted.total(), found.shortfall),
        (
            Size {
                bytes: 19,
                inodes: 0
            },
            Size::default()
        )
    );
    let found = over_budget(caches(u64::MAX, 6), None).unwrap();
    assert_eq!(names(&found), ["0", "1", "2", "3", "4"]);
    assert_eq!(
        found.wanted.reason,
        "npm holds 10 inodes, over its budget of 6 inodes; going down to 5 inodes"
    );
    // What is evicted for a budget counts for the volume, but is not enough here.
    let volume = Wanted {
        bytes: 35,
        reason: "full".into(),
        ..Wanted::default()
    };
    let found = over_budget(caches(90, u64::MAX), Some(volume)).unwrap();
    assert_eq!(names(&found), ["0", "1", "oldest", "2"]);
    assert!(
        found.wanted.reason.starts_with("full; and npm holds"),
        "{}",
        found.wanted.reason
    );
    // No unit of another cache is evicted for this one.
    let mut in_use = caches(50, u64::MAX);
    in_use[0].units = in_use[0]
        .units
        .drain(..)
        .map(|unit| named(unit, 0))
        .collect();
    let found = over_budget(in_use, None).unwrap();
    assert_eq!((names(&found).len(), found.shortfall.bytes), (0, 55));
}

/// Runs thirty times on a volume of 1000 bytes that grows by ten times `growth` a run. Returns the
/// bytes in use before and after each eviction.
fn thirty_nights(growth: u64, keep: usize) -> Vec<(u64, u64)> {
    let marks = |part| policy::Marks {
        bytes: part,
        inodes: part,
    };
    let policy = policy::Eviction {
        high: marks(0.85),
        low: marks(0.75),
        critical: marks(0.95),
        min_idle: policy::Age::After(Duration::from_hours(1)),
        floor: Size::default(),
        budget: None,
        min_age: Duration::ZERO,
        in_use: InUse::Keep,
    };
    let mut units: Vec<Unit> = (0..84)
        .map(|age| unit("npm", &format!("first {age:02}"), 9000 - age, 10))
        .collect();
    units
        .iter_mut()
        .rev()
        .take(keep)
        .for_each(|needed| *needed = named(needed.clone(), 0));
    let mut evictions = Vec::new();
    for night in 0..30 {
        for piece in 0..growth {
            units.push(unit(
                "npm",
                &format!("night {night:02} {piece}"),
                (30 - night) * 24,
                10,
            ));
        }
        let used: u64 = units.iter().map(|unit| unit.size.unwrap().bytes).sum();
        let usage = Usage {
            total_bytes: 1000,
            used_bytes: used,
            free_bytes: 1000_u64.saturating_sub(used),
            ..Usage::default()
        };
        let Some(wanted) = wanted(&usage, &policy) else {
            continue;
        };
        let found = decide(vec![cache("npm", 0, units.clone())], wanted, policy.in_use);
        units.retain(|unit| !found.units.iter().any(|gone| gone.name == unit.name));
        evictions.push((used, used - found.foreseen.bytes));
    }
    evictions
}

#[test]
fn evictions_are_rare_and_go_from_high_to_low() {
    // 1 % a run, and 10 % between the watermarks: every tenth or eleventh run.
    let evictions = thirty_nights(1, 20);
    assert_eq!(evictions, [(860, 750), (860, 750), (860, 750)]);
    let evictions = thirty_nights(3, 20);
    assert_eq!(evictions.len(), 8);
    assert!(
        evictions
            .iter()
            .all(|(before, after)| *before > 850 && *after == 750),
        "{evictions:?}"
    );
}

#[test]
fn only_as_many_batches_are_handed_out_as_are_needed() {
    let units = (0..1000)
        .map(|number| unit("npm", &format!("{number:04}"), 50, 1))
        .collect();
    let mut queue = order(
        vec![cache("npm", 0, units)],
        Wanted {
            bytes: 300,
            ..Wanted::default()
        },
        InUse::Keep,
        at(NOW),
    );
    let mut batches = 0;
    while let Some(batch) = queue.next_batch() {
        batches += 1;
        queue.choose(batch, Vec::new());
    }
    assert_eq!((batches, queue.finish().units.len()), (2, 300));
}

#[test]
fn what_a_sieve_held_is_handed_out_up_to_its_last_turn_and_then_more_is_wanted() {
    let names = HashMap::new();
    let shortlist = |most, after| LruShortlist::new(&names, InUse::Keep, at(NOW), most, after);
    let units = || {
        [
            unit("npm", "b", 80, 10),
            unit("npm", "a", 90, 10),
            unit("npm", "c", 70, 10),
        ]
    };
    let sifted = |shortlist: LruShortlist| {
        assert!(
            units()
                .into_iter()
                .all(|unit| shortlist.sift(&[], unit).is_none())
        );
        shortlist.sifted()
    };
    let handed_out = |queue: &mut Queue| {
        queue.next_batch().map(|batch| {
            batch
                .iter()
                .map(|unit| unit.name.clone())
                .collect::<Vec<_>>()
        })
    };
    let first = sifted(shortlist(2, None));
    let last = first.until;
    // A unit from another source, which comes after the whole shortlist.
    let mut queue = order(
        vec![cache(
            "m",
            1,
            vec![unit("m", "late", 60, 10), unit("m", "kept", 50, 1)],
        )],
        Wanted {
            bytes: 25,
            inodes: 9,
            ..Wanted::default()
        },
        InUse::Keep,
        at(NOW),
    );
    queue.add(first);
    assert_eq!(handed_out(&mut queue).unwrap(), ["a", "b"]);
    assert_eq!(handed_out(&mut queue), None);
    assert_eq!(
        (queue.wants_after(), last),
        (
            Some(shortlist::turn(&units()[0])),
            Some(shortlist::turn(&units()[0]))
        )
    );
    queue.choose(units()[..2].to_vec(), Vec::new());
    assert_eq!(
        queue.wants(),
        Size {
            bytes: 5,
            inodes: 7
        }
    );
    queue.add(sifted(shortlist(2, last)));
    assert_eq!(handed_out(&mut queue).unwrap(), ["c", "late", "kept"]);
    // If sizes are known, no more units are kept than needed.
    let enough = |bytes, inodes| {
        sifted(shortlist(100, None).enough(Size { bytes, inodes }))
            .turns
            .len()
    };
    assert_eq!(
        [
            enough(0, 0),
            enough(10, 1),
            enough(11, 1),
            enough(10, 2),
            enough(20, 3)
        ],
        [1, 1, 2, 2, 3]
    );
}

/// A small generator (splitmix64), so that a failure can be repeated by its seed.
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
                let units = (0..self.below(600))
                    .map(|number| self.unit(&name, number))
                    .collect();
                let reserve = if self.below(2) == 0 {
                    0
                } else {
                    self.below(3000)
                };
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
        assert_eq!(
            found,
            evict(shuffled, bytes, inodes),
            "seed {seed}: the order of listing counts"
        );
        check(&caches, &found, seed);
    }
}

fn check(caches: &[Cache], found: &Eviction, seed: u64) {
    let sum = |units: &[Unit]| {
        units.iter().fold((0, 0), |(b, i), unit| {
            (b + unit.size.unwrap().bytes, i + unit.size.unwrap().inodes)
        })
    };
    let enough =
        |(bytes, inodes): (u64, u64)| bytes >= found.wanted.bytes && inodes >= found.wanted.inodes;
    assert_eq!(
        sum(&found.units),
        (found.foreseen.bytes, found.foreseen.inodes),
        "seed {seed}"
    );
    assert_eq!(
        enough(sum(&found.units)),
        found.shortfall == Size::default(),
        "seed {seed}: covers what is wanted, or says what is missing"
    );
    if let Some((_, shorter)) = found.units.split_last() {
        assert!(
            !enough(sum(shorter)),
            "seed {seed}: the last unit was not needed"
        );
    }
    assert!(
        found.units.is_sorted_by_key(|unit| unit.last_used),
        "seed {seed}"
    );
    assert!(
        found
            .units
            .iter()
            .all(|unit| held_back(unit, InUse::Keep, at(NOW)).is_none()),
        "seed {seed}: a young one goes"
    );
    for cache in caches
        .iter()
        .filter(|cache| cache.reserve != Size::default())
    {
        let gone: u64 = found
            .units
            .iter()
            .filter(|unit| *unit.cache == *cache.name)
            .map(|unit| unit.size.unwrap().bytes)
            .sum();
        let standing = sum(&cache.units).0;
        assert!(
            gone == 0 || standing - gone >= cache.reserve.bytes,
            "seed {seed}: a reserve is broken"
        );
    }
    prefix(caches, found, seed);
}

/// Checks that every unit older than the last one chosen was chosen, unless something keeps it.
fn prefix(caches: &[Cache], found: &Eviction, seed: u64) {
    let Some(last) = found.units.last() else {
        return;
    };
    for cache in caches
        .iter()
        .filter(|cache| cache.reserve == Size::default())
    {
        for unit in cache.units.iter().filter(|unit| rank(unit) < rank(last)) {
            let held = held_back(unit, InUse::Keep, at(NOW)).is_some()
                || unit.size == Some(Size::default());
            assert!(
                held != found.units.contains(unit),
                "seed {seed}: {} of {} was passed over",
                unit.name,
                unit.cache
            );
        }
    }
}
