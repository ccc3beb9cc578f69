//! Caches outside of the volume: evicted by the same rules as those on it, from a trash of their
//! own, and left alone if they are not what was prepared.

#![expect(clippy::disallowed_methods, reason = "it mounts file systems")]

use super::support::snapshot::snapshot;
use super::support::{Ran, World, age, remove, same, until, write};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use treewarden::report::{Eviction, RunReport};

const MIB: u64 = 1 << 20;
/// Any machine's disk is above these, so that all units must go.
const ALL: &str = "high: {bytes: 0.0002%}, low: {bytes: 0.0001%}";

/// Creates a unit of so many MiB, last used so many days ago.
fn unit(path: &Path, mebibytes: usize, days: f64) {
    write(path, vec![b'x'; mebibytes << 20]);
    age(path, days);
}

/// Configures a plain directory beside the volume as a cache.
fn cache(world: &World, name: &str, path: &Path, settings: &str) {
    let path = path.display();
    world.set(
        "caches",
        &format!("{{kind: folder, name: {name}, path: '{path}', outside: true{settings}}}"),
    );
}

/// Prepares the directories of all caches outside.
fn prepare(world: &World) -> Ran {
    let ran = world.treewarden(&["init", "--outside"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// Creates a cache in `far/models` with units of four ages, over its budget by a little more than
/// two of them, and returns its directory.
fn far(world: &World) -> PathBuf {
    let models = world.beside("far/models");
    for (name, days) in [("a", 50.0), ("b", 10.0), ("c", 30.0), ("d", 40.0)] {
        unit(&models.join(name), 2, days);
    }
    write(&world.beside("far/precious"), "work");
    age(&world.beside("far/precious"), 999.0);
    cache(world, "models", &models, ", budget: 5MiB");
    models
}

fn gone(eviction: &Eviction) -> Vec<String> {
    let units = eviction.units.iter();
    units
        .map(|unit| format!("{} {} {:?}", unit.cache, unit.unit, unit.outcome))
        .collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn state(world: &World) -> PathBuf {
    world.beside("far/.treewarden-outside")
}

/// Runs, and checks that the far cache is as it was, and that a line says why.
fn stays(world: &World, why: &str) -> RunReport {
    let before = snapshot(&world.beside("far/models"));
    let report = world.night();
    same("far", &snapshot(&world.beside("far/models")), &before);
    let told = &report.eviction.obstacles;
    assert!(told.iter().any(|line| line.contains(why)), "{told:?}");
    report
}

#[test]
fn the_least_recently_used_go_first_wherever_they_stand() {
    let world = World::new();
    for (path, days) in [("a", 50.0), ("b", 10.0), ("c", 30.0)] {
        unit(&world.at("caches/data").join(path), 1, days);
        unit(&world.beside("far/models").join(path), 1, days - 5.0);
        unit(&world.beside("far/more").join(path), 1, days - 7.0);
    }
    write(&world.beside("far/other/old"), "mine");
    age(&world.beside("far/other/old"), 999.0);
    world.set("caches", "{kind: folder, name: data, path: caches/data}");
    cache(&world, "models", &world.beside("far/models"), "");
    cache(&world, "more", &world.beside("far/more"), ", reserve: 2MiB");
    world.set("eviction", ALL);
    prepare(&world);
    let before = snapshot(&world.beside("far"));
    let dry = world.pass(1, &["report"]);
    same("after a report", &snapshot(&world.beside("far")), &before);
    let report = world.pass(1, &["run"]);
    let expected = [
        "data a", "models a", "more a", "data c", "models c", "data b", "models b",
    ];
    let all = |outcome| expected.map(|unit| format!("{unit} {outcome}"));
    assert_eq!(gone(&dry.eviction), all("Planned"));
    assert_eq!(gone(&report.eviction), all("Evicted"));
    assert_eq!(names(&world.beside("far/models")), [""; 0]);
    assert_eq!(names(&world.beside("far/more")), ["b", "c"]);
    assert_eq!(names(&world.beside("far/other")), ["old"]);
    assert_eq!(names(&state(&world).join("trash")), [""; 0]);
    assert!(report.eviction.freed_bytes >= 7 * MIB, "{report:?}");
}

#[test]
fn a_cache_outside_has_a_budget_and_the_volumes_is_not_its_own() {
    let world = World::new();
    let models = far(&world);
    unit(&world.at("caches/data/a"), 4, 1.5);
    world.set("caches", "{kind: folder, name: data, path: caches/data}");
    // The volume's budget takes from the volume alone, however young its units are.
    world.set("eviction", "budget: 2MiB");
    prepare(&world);
    let dry = world.pass(1, &["report"]);
    let report = world.pass(1, &["run"]);
    let expected = ["data a", "models a", "models d"];
    assert_eq!(
        gone(&dry.eviction),
        expected.map(|unit| format!("{unit} Planned"))
    );
    assert_eq!(
        gone(&report.eviction),
        expected.map(|unit| format!("{unit} Evicted"))
    );
    assert_eq!(names(&models), ["b", "c"]);
    assert_eq!(fs::read(world.beside("far/precious")).unwrap(), b"work");
}

#[test]
fn what_a_lock_file_names_stays_outside_as_well() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let entry = "[[package]]\nname = \"used\"\nversion = \"1.0.0\"\n\
                 source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    shop.commit(3.0, "Cargo.lock", &format!("version = 4\n{entry}"));
    let crates = world.beside("far/cargo/registry/cache/index");
    for name in ["used-1.0.0", "unused-1.0.0"] {
        unit(&crates.join(format!("{name}.crate")), 1, 60.0);
    }
    let path = world.beside("far/cargo");
    world.set(
        "caches",
        &format!("{{kind: cargo, path: '{}', outside: true}}", path.display()),
    );
    world.set("eviction", ALL);
    prepare(&world);
    // Its tool is at work, and holds the lock in its own directory.
    write(&path.join(".package-cache"), "");
    let held = fs::File::options()
        .write(true)
        .open(path.join(".package-cache"));
    let held = held.unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let report = world.pass(1, &["run"]);
    let told = gone(&report.eviction).concat();
    assert!(
        told.contains("Skipped") && told.contains(&format!("{}/.package-cache", path.display())),
        "{told}"
    );
    drop(held);
    world.pass(1, &["run"]);
    assert_eq!(names(&crates), ["used-1.0.0.crate"]);
    let environment = world.treewarden(&["env", "--format", "json"]);
    assert!(environment.out.contains(path.to_str().unwrap()));
}

#[test]
fn what_was_not_prepared_stays() {
    let world = World::new();
    let models = far(&world);
    stays(
        &world,
        "or was never prepared; mount it, or run `treewarden init --outside`",
    );
    assert!(!state(&world).exists());
    // Nobody looks into JSON for it.
    let told = world
        .treewarden(&["run"])
        .out
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        told.contains("models: `") && told.contains("init --outside`"),
        "{told}"
    );
    let checked = world.treewarden(&["check"]);
    assert!(
        checked.code == 3 && checked.out.contains("init --outside"),
        "{checked:?}"
    );
    let before = snapshot(&models);
    assert!(prepare(&world).out.contains("prepared `"));
    same("models", &snapshot(&models), &before);
    assert!(prepare(&world).out.contains("is prepared already"));
    let mode = fs::metadata(state(&world)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700, "nobody else's business");
    let checked = world.treewarden(&["check"]);
    assert!(
        checked.code == 0 && checked.out.contains(models.to_str().unwrap()),
        "{checked:?}"
    );
    world.night();
    assert_eq!(names(&models), ["b", "c"]);
    // It is no volume's state directory, which would stand in the way of a volume there.
    let ran = world.treewarden(&["init", world.beside("far").to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_unit_outside_is_explained() {
    let world = World::new();
    let models = far(&world);
    let explain = |unit: &str| {
        let path = models.join(unit);
        world.treewarden(&["explain", path.to_str().unwrap()])
    };
    let unprepared = explain("a");
    assert!(
        unprepared.code != 0 && unprepared.err.contains("init --outside"),
        "{unprepared:?}"
    );
    prepare(&world);
    let (a, b) = (explain("a"), explain("b"));
    assert!(a.code == 0 && a.out.contains("goes"), "{a:?}");
    assert!(b.code == 0 && b.out.contains("stays"), "{b:?}");
    assert_eq!(names(&models), ["a", "b", "c", "d"]);
}

#[test]
fn another_place_than_the_prepared_one_is_left_alone() {
    let world = World::new();
    let (models, state) = (far(&world), state(&world));
    prepare(&world);
    let (away, far) = (world.beside("away"), world.beside("far"));
    // As if its disk were not mounted, and another one were.
    fs::rename(&state, &away).unwrap();
    stays(&world, "is missing: the volume is not mounted here");
    fs::rename(&away, &state).unwrap();
    // Others could put something into the trash, or take it out.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o770)).unwrap();
    stays(&world, "others can write in `");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    // A link on the way there.
    fs::rename(&far, &away).unwrap();
    symlink(&away, &far).unwrap();
    stays(&world, "write that path into the config");
    fs::remove_file(&far).unwrap();
    fs::rename(&away, &far).unwrap();
    // Links in place of the cache and of the trash.
    for place in [models.clone(), state.join("trash")] {
        fs::rename(&place, &away).unwrap();
        symlink(&away, &place).unwrap();
        stays(&world, "models: ");
        fs::remove_file(&place).unwrap();
        fs::rename(&away, &place).unwrap();
    }
    // Not there.
    fs::rename(&models, &away).unwrap();
    let told = world.night().eviction.obstacles.join("\n");
    assert!(told.contains("is missing: it is not mounted"), "{told}");
    assert_eq!(names(&far), [".treewarden-outside", "precious"]);
    fs::rename(&away, &models).unwrap();
    // Another run.
    let held = fs::File::options()
        .write(true)
        .open(state.join("locks/volume.lock"))
        .unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    stays(&world, "another run evicts there");
    drop(held);
    world.night();
    assert_eq!(names(&models), ["b", "c"]);
}

#[test]
fn a_killed_run_leaves_nothing_that_the_next_one_does_not_empty() {
    let world = World::new();
    let (models, trash) = (world.beside("far/models"), state(&world).join("trash"));
    for number in 0..3000 {
        unit(&models.join(number.to_string()), 0, 20.0);
    }
    cache(&world, "models", &models, "");
    world.set("eviction", ALL);
    prepare(&world);
    let mut running = world.start(&["run"]);
    until("units are in the trash", || {
        names(&trash)
            .iter()
            .any(|entry| fs::read_dir(trash.join(entry)).is_ok_and(|all| all.count() > 0))
    });
    running.signal(rustix::process::Signal::KILL);
    running.end();
    let left = names(&trash);
    assert!(!left.is_empty() && names(&models).len() < 3000, "{left:?}");
    // Even if nothing has to be evicted any more.
    let calm = "high: {bytes: 100%, inodes: 100%}, low: {bytes: 99%, inodes: 99%}";
    let text = fs::read_to_string(world.config())
        .unwrap()
        .replace(ALL, calm);
    let config = world.beside("calm.yaml");
    fs::write(&config, text).unwrap();
    let calm = ["run", "--config", config.to_str().unwrap()];
    let stayed = names(&models).len();
    assert!(!world.pass(0, &calm).eviction.triggered);
    assert_eq!((names(&trash), names(&models).len()), (vec![], stayed));
}

#[test]
fn what_fills_it_names_caches_outside_by_their_paths() {
    let world = World::new();
    let models = far(&world);
    let report = world.pass(0, &["report"]);
    let used = report
        .usage
        .iter()
        .find(|used| used.path == models)
        .unwrap();
    assert_eq!(used.name.as_deref(), Some("models"));
    assert!((8 * MIB..9 * MIB).contains(&used.bytes), "{used:?}");
    let told = world.treewarden(&["report"]).out;
    assert!(told.contains("models, in /"), "{told}");
    assert!(
        told.contains("What fills it: 4 MiB\n"),
        "the reserved space: {told}"
    );
}

/// A file system in memory, unmounted in the end.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&path)
            .status();
        assert!(mounted.unwrap().success());
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn each_file_system_has_watermarks_of_its_own() {
    let world = World::new();
    unit(&world.at("caches/data/old"), 1, 99.0);
    world.set("caches", "{kind: folder, name: data, path: caches/data}");
    let models = world.beside("far/models");
    cache(&world, "models", &models, "");
    cache(&world, "more", &world.beside("far/more"), "");
    cache(&world, "mount", &world.beside("mount"), "");
    world.set(
        "eviction",
        "high: {bytes: 98%, inodes: 98%}, low: {bytes: 60%, inodes: 60%}",
    );
    let _itself = Mounted::at(world.beside("mount"), "size=1m,mode=755");
    let mounted = Mounted::at(world.beside("far"), "size=120m,mode=755");
    // Space is reserved as long as there is some.
    prepare(&world);
    for (number, days) in [(0, 30.0), (1, 70.0), (2, 50.0)] {
        unit(&models.join(number.to_string()), 12, days);
        unit(
            &world.beside("far/more").join(number.to_string()),
            12,
            days + 1.0,
        );
    }
    let report = world.night();
    assert!(!report.eviction.triggered, "{report:?}");
    let told = report.eviction.obstacles.join("\n");
    assert!(
        told.contains("mount: `") && told.contains("is a mount of its own"),
        "{told}"
    );
    // Full to the last byte.
    let fill = world.beside("far/fill");
    let _full = fs::write(&fill, vec![b'x'; 120 << 20]);
    let dry = world.pass(0, &["report"]);
    let report = world.night();
    let expected = ["more 1", "models 1", "more 2", "models 2"];
    assert_eq!(
        gone(&dry.eviction)[..3],
        expected.map(|unit| format!("{unit} Planned"))[..3]
    );
    assert_eq!(report.eviction.obstacles.len(), 1, "{:?}", report.eviction);
    assert_eq!(
        gone(&report.eviction)[..3],
        expected.map(|unit| format!("{unit} Evicted"))[..3]
    );
    assert!(
        report.eviction.reason.contains("far`: 100 % of bytes used"),
        "{}",
        report.eviction.reason
    );
    assert!(
        world.at("caches/data/old").exists(),
        "its own file system is not full"
    );
    assert_eq!(names(&state(&world).join("trash")), [""; 0]);
    remove(&fill);
    drop(mounted);
    // Unmounted: what a tool makes there meanwhile stays.
    unit(&models.join("new"), 1, 99.0);
    stays(&world, "is missing: the volume is not mounted here");
}
