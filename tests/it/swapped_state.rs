//! Agents who can write in the state directory: a run creates, changes or removes nothing outside
//! the volume, never waits, and names what is in a file's place.
//!
//! In the races, the state directory and directories in it are swapped, during runs, for links to a
//! look-alike beside the volume. Each takes some seconds; with `TREEWARDEN_SWEEP=all`, a minute.

use super::enroll::said;
use super::support::snapshot::snapshot;
use super::support::{Ran, World, age, fifo, remove, same, write};
use rustix::fs::{RenameFlags, renameat_with};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The directories in the state directory.
const DIRECTORIES: [&str; 5] = ["locks", "looks", "trash", "at-work", "ballast"];

/// Returns how long each race lasts.
fn long() -> Duration {
    if std::env::var("TREEWARDEN_SWEEP").is_ok_and(|sweep| sweep == "all") {
        Duration::from_mins(1)
    } else {
        Duration::from_secs(5)
    }
}

/// Creates a volume on which runs write all kinds of state, and a directory beside it that looks
/// like its state.
fn stage() -> World {
    let world = World::new();
    world.set("caches", "{kind: npm, path: caches/npm}");
    for name in ["acme/shop", "acme/other"] {
        let repo = world.repo(name);
        write(&repo.path.join("package-lock.json"), "{}");
        repo.tree("landed").age(2.0);
        age(&repo.path, 1.0);
    }
    let ran = world.treewarden(&["run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // A fresh change isn't cached, because another may follow in the same clock tick.
    std::thread::sleep(Duration::from_millis(2100));
    let (state, outside) = (world.at(".treewarden"), world.beside("outside"));
    for name in DIRECTORIES {
        fs::create_dir_all(outside.join(name)).unwrap();
        write(&outside.join(name).join("precious/file"), "precious\n");
    }
    for name in ["volume.json", "journal.jsonl", "ledger.json"] {
        fs::copy(state.join(name), outside.join(name)).unwrap();
    }
    symlink(&outside, world.at("swapped")).unwrap();
    for name in DIRECTORIES {
        let _there_or_not = fs::create_dir(state.join(name));
        symlink(outside.join(name), state.join(format!("{name}-swapped"))).unwrap();
    }
    world
}

/// Swaps two names in a directory atomically, so that neither is ever missing.
fn exchange(directory: impl AsFd, one: &str, other: &str) {
    renameat_with(&directory, one, &directory, other, RenameFlags::EXCHANGE).unwrap();
}

/// Gives the next run work: no cached surveys, and something in the trash.
fn make_work(world: &World, round: usize) {
    forget(world);
    write(
        &world.at(format!(".treewarden/trash/{round}/0/file")),
        "gone",
    );
}

/// Drops the cached surveys, so that each repo is surveyed and cached again.
fn forget(world: &World) {
    let looks = fs::read_dir(world.at(".treewarden/looks"));
    for look in looks.into_iter().flatten() {
        let path = look.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_file() {
            remove(&path);
        }
    }
}

/// Repeats runs for the time of a race, while `swap` swaps to and fro; nothing outside may change
/// by a byte.
fn race(swap: impl Fn(&World, &File) + Sync) {
    let world = stage();
    let state = File::open(world.at(".treewarden")).unwrap();
    let outside = world.beside("outside");
    let before = snapshot(&outside);
    let (began, mut runs, mut codes) = (Instant::now(), 0, [0; 4]);
    while began.elapsed() < long() || runs < 3 {
        make_work(&world, runs);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // A run that is refused at once tests nothing.
                    std::thread::sleep(Duration::from_micros(fastrand::u64(..20_000)));
                    swap(&world, &state);
                    std::thread::sleep(Duration::from_micros(fastrand::u64(..8_000)));
                    swap(&world, &state);
                }
            });
            let ran = world.treewarden(&["run"]);
            assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
            codes[usize::try_from(ran.code).unwrap()] += 1;
            over.store(true, Ordering::Relaxed);
        });
        same("what lies outside", &snapshot(&outside), &before);
        runs += 1;
    }
    println!("{runs} runs, by exit code {codes:?}");
    // Whatever was swapped, the volume still works.
    let ran = world.treewarden(&["run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    same("what lies outside", &snapshot(&outside), &before);
}

#[test]
fn a_state_directory_that_is_swapped_for_a_link_leads_no_run_out() {
    race(|world, _| exchange(File::open(&world.root).unwrap(), ".treewarden", "swapped"));
}

#[test]
fn directories_in_it_that_are_swapped_for_links_lead_no_run_out() {
    // Through its descriptor, which stays valid when it is moved.
    let next = std::sync::atomic::AtomicUsize::new(0);
    race(move |_, state| {
        // Each swap is followed by the one back.
        let name = DIRECTORIES[next.fetch_add(1, Ordering::Relaxed) / 2 % DIRECTORIES.len()];
        exchange(state, name, &format!("{name}-swapped"));
    });
}

/// Something in place of a file or directory of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Put {
    Link,
    LooseLink,
    Fifo,
    Directory,
    File,
}

impl Put {
    fn put(self, path: &Path, outside: &Path) {
        match self {
            Self::Link => symlink(outside, path).unwrap(),
            Self::LooseLink => symlink(outside.join("nowhere"), path).unwrap(),
            Self::Fifo => fifo(path),
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::File => write(path, "not ours\n"),
        }
    }
}

/// Runs with something else at `place` in the state directory.
fn run_with(world: &World, place: &str, put: Put) -> Ran {
    let (state, outside) = (world.at(".treewarden"), world.beside("outside"));
    let path = if place.is_empty() {
        state
    } else {
        state.join(place)
    };
    let before = snapshot(&outside);
    let kept = world.beside("kept");
    let was_there = fs::rename(&path, &kept).is_ok();
    let like_it = outside.join(place);
    let is_there = like_it.exists();
    put.put(
        &path,
        &if is_there {
            like_it
        } else {
            outside.join("ledger.json")
        },
    );
    // These commands only read, and none may hang.
    let looks = [&["check"][..], &["history"], &["locks"], &["report"]];
    for typed in looks.iter().filter(|_| put == Put::Fifo) {
        let ran = world.treewarden(typed);
        assert!([0, 1, 3].contains(&ran.code), "{place} {put:?}: {ran:?}");
    }
    forget(world);
    let ran = world.treewarden(&["run"]);
    let told = format!("outside, {place} {put:?}");
    same(&told, &snapshot(&outside), &before);
    if path.symlink_metadata().is_ok() {
        remove(&path);
    }
    if was_there {
        fs::rename(&kept, &path).unwrap();
    }
    ran
}

/// Runs with each of these in each place, and checks the exit code and the message.
fn judge(world: &World, puts: &[Put], cases: &[(&str, i32, &str)]) {
    for (place, code, words) in cases {
        for put in puts {
            let ran = run_with(world, place, *put);
            let told = format!("{place} {put:?}: {ran:?}");
            assert_eq!(ran.code, *code, "{told}");
            assert!(ran.out.contains(words) || ran.err.contains(words), "{told}");
        }
    }
}

#[test]
fn what_stands_in_a_state_files_place_is_named_and_neither_followed_nor_waited_for() {
    let world = stage();
    judge(
        &world,
        &[Put::Link, Put::LooseLink, Put::Fifo, Put::Directory],
        &[
            ("volume.json", 3, "volume.json`"),
            ("journal.jsonl", 1, "journal.jsonl`"),
            ("locks/volume.lock", 3, "volume.lock`"),
            ("locks/acme__shop.lock", 1, "acme__shop.lock`"),
            ("at-work/acme__shop", 0, ""),
        ],
    );
    // A new file replaces it, unless it is a directory.
    let replaced = [
        ("ledger.json", 0, "ledger.json`"),
        ("looks/acme__shop.json", 0, ""),
    ];
    judge(&world, &[Put::Link, Put::LooseLink, Put::Fifo], &replaced);
    let stays = [
        ("ledger.json", 1, "ledger.json`"),
        ("looks/acme__shop.json", 0, "looks/acme__shop.json`"),
    ];
    judge(&world, &[Put::Directory], &stays);
    judge(
        &world,
        &[Put::Link, Put::LooseLink, Put::Fifo, Put::File],
        &[
            ("", 3, ".treewarden"),
            ("locks", 3, "locks`"),
            ("trash", 3, "trash`"),
            ("looks", 0, "looks` is no directory"),
            ("ballast", 0, "ballast` is no directory"),
            ("at-work", 0, ""),
        ],
    );
    said(&world.treewarden(&["run"]), 0, &[]);
}
