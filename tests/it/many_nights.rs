//! Runs at the high watermark, one after the other, while jobs fetch again what they miss: an
//! eviction must last for several runs, and not evict the same packages each time.

use super::support::{World, age, age_all, is_root, remove, write};
use std::collections::BTreeMap;
use std::fs;
use treewarden::report::RunReport;

const MIB: u64 = 1 << 20;

/// Packages that the jobs need every day.
const HOT: u32 = 6;

/// A fleet with jobs that need the same packages each day, and one new one.
struct Fleet<'a> {
    world: &'a World,
    /// Files in a package.
    files: u32,
    /// Bytes in a file.
    bytes: u64,
    /// The last day on which each package was used.
    used: BTreeMap<u32, u32>,
    /// How often each package was fetched.
    fetched: BTreeMap<u32, u32>,
}

impl<'a> Fleet<'a> {
    fn new(world: &'a World, files: u32, bytes: u64) -> Self {
        world.set(
            "caches",
            "{kind: folder, name: models, path: caches/models}",
        );
        Self {
            world,
            files,
            bytes,
            used: BTreeMap::new(),
            fetched: BTreeMap::new(),
        }
    }

    /// Runs a day's jobs, which fetch what is missing, and then ages all files to what they would
    /// be by the evening.
    fn day(&mut self, day: u32) {
        for package in (0..HOT).chain([HOT + day]) {
            let place = self.world.at(format!("caches/models/{package:03}"));
            if !place.exists() {
                *self.fetched.entry(package).or_default() += 1;
                (0..self.files).for_each(|file| {
                    write(
                        &place.join(file.to_string()),
                        vec![b'x'; usize::try_from(self.bytes).unwrap()],
                    );
                });
            }
            self.used.insert(package, day);
        }
        for (package, used) in &self.used {
            let place = self.world.at(format!("caches/models/{package:03}"));
            if place.exists() {
                age_all(&place, f64::from(day - used) + 0.5);
            }
        }
    }

    /// Lives through so many days, each with a run; returns the evictions by day.
    fn nights(&mut self, from: u32, nights: u32) -> Vec<(u32, RunReport)> {
        let mut evictions = Vec::new();
        for day in from..from + nights {
            self.day(day);
            let report = self.world.night();
            if report.eviction.triggered {
                evictions.push((day, report));
            }
        }
        evictions
    }

    /// Checks that evictions are at least two days apart, exceed the need by less than a unit (in
    /// bytes or inodes), and never hit a package that jobs need.
    fn proves_peace(&self, evictions: &[(u32, RunReport)]) {
        let days: Vec<u32> = evictions.iter().map(|(day, _)| *day).collect();
        assert!(
            days.len() >= 3 && days.windows(2).all(|two| two[1] - two[0] >= 2),
            "evictions on days {days:?}"
        );
        for (day, report) in evictions {
            let eviction = &report.eviction;
            let (unit_bytes, unit_inodes) = (
                u64::from(self.files) * (self.bytes + 4096) + 4096,
                u64::from(self.files) + 1,
            );
            assert!(
                eviction.freed_bytes >= eviction.wanted_bytes
                    && eviction.freed_inodes >= eviction.wanted_inodes,
                "{day}: {eviction:?}"
            );
            let more = (
                eviction.freed_bytes - eviction.wanted_bytes,
                eviction.freed_inodes - eviction.wanted_inodes,
            );
            assert!(
                more.0 < unit_bytes || more.1 < unit_inodes,
                "{day}: more than needed: {eviction:?}"
            );
            assert_eq!(
                (eviction.shortfall_bytes, eviction.units.len() > 1),
                (0, true),
                "{day}: {eviction:?}"
            );
        }
        let twice: Vec<_> = self
            .fetched
            .iter()
            .filter(|(_, times)| **times > 1)
            .collect();
        assert!(twice.is_empty(), "fetched again: {twice:?}");
    }
}

#[test]
fn a_budget_is_no_storm() {
    let world = World::new();
    let mut fleet = Fleet::new(&world, 1, MIB);
    (0..10).for_each(|day| fleet.day(day));
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() + 2 * MIB),
    );
    let evictions = fleet.nights(10, 12);
    fleet.proves_peace(&evictions);
}

/// A small file system of its own, until the test ends.
pub(crate) struct Volume<'a>(&'a World);

impl<'a> Volume<'a> {
    pub(crate) fn mount(world: &'a World, options: &str) -> Self {
        assert!(is_root(), "only root may mount");
        let mounted = world.program(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                options,
                "tmpfs",
                world.root.to_str().unwrap(),
            ],
        );
        assert_eq!(mounted.code, 0, "{options}: {mounted:?}");
        assert_eq!(
            world
                .treewarden(&["init", world.root.to_str().unwrap()])
                .code,
            0
        );
        Self(world)
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        let unmounted = self.0.program("umount", &[self.0.root.to_str().unwrap()]);
        assert!(
            unmounted.code == 0 || std::thread::panicking(),
            "{unmounted:?}"
        );
    }
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn marks_of_a_real_volume_are_no_storm() {
    // The first runs out of bytes, the second out of inodes.
    for (options, files, bytes, word) in [
        ("size=24m", 1, MIB, "of bytes used"),
        ("size=400m,nr_inodes=500", 20, 1, "of inodes used"),
    ] {
        let world = World::unprepared();
        let _volume = Volume::mount(&world, options);
        world.set(
            "eviction",
            "high: {bytes: 85%, inodes: 85%}, low: {bytes: 75%, inodes: 75%}",
        );
        let mut fleet = Fleet::new(&world, files, bytes);
        (0..8).for_each(|day| fleet.day(day));
        let evictions = fleet.nights(8, 20);
        fleet.proves_peace(&evictions);
        let reason = &evictions[0].1.eviction.reason;
        assert!(
            reason.contains(word) && !reason.contains("; and"),
            "{options}: {reason}"
        );
        let inodes = evictions[0].1.eviction.wanted_inodes;
        assert_eq!(inodes > 0, word.contains("inodes"), "{options}: {inodes}");
    }
}

/// Whether a mount keeps access times is tested at run time: only then does the unit survive that
/// was read today.
#[test]
#[ignore = "needs root, to mount a file system"]
fn access_times_count_where_the_mount_keeps_them() {
    for (option, kept) in [
        ("noatime", false),
        ("relatime", true),
        ("strictatime", true),
    ] {
        let world = World::unprepared();
        let _volume = Volume::mount(&world, &format!("size=64m,{option}"));
        for (name, days) in [("read", 50.0), ("unread", 40.0)] {
            let unit = world.at(format!("caches/models/{name}"));
            write(&unit, vec![b'x'; 4 << 20]);
            age(&unit, days);
        }
        fs::read(world.at("caches/models/read")).unwrap();
        world.set(
            "caches",
            "{kind: folder, name: models, path: caches/models}",
        );
        world.set(
            "eviction",
            &format!("budget: {}", (world.standing() - 2 * MIB) * 10 / 9),
        );
        let report = world.night();
        let gone: Vec<&str> = report
            .eviction
            .units
            .iter()
            .map(|unit| unit.unit.as_str())
            .collect();
        assert_eq!(gone, [if kept { "unread" } else { "read" }], "{option}");
        let ledger: serde_json::Value =
            serde_json::from_slice(&fs::read(world.at(".treewarden/ledger.json")).unwrap())
                .unwrap();
        assert_eq!(ledger["access_times"], kept, "{option}");
        // Under relatime, another read within the day isn't recorded, so an access time may be up
        // to a day too old.
        if kept {
            let file = world.at("caches/models/read");
            let accessed = || fs::metadata(&file).unwrap().accessed().unwrap();
            let first = accessed();
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::read(&file).unwrap();
            assert_eq!(accessed() > first, option == "strictatime", "{option}");
        }
        remove(&world.at("caches"));
    }
}
