//! Runs that need more than git: real caches filled from the registries, and a volume that is full
//! to the last byte.

#![expect(
    clippy::disallowed_methods,
    reason = "real tools fill the caches, and mount makes a small volume"
)]

use super::support::fleet::Fleet;
use super::support::{World, age, age_all, same, write};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use treewarden::report::{RunReport, UnitOutcome};

/// Runs a tool, with `variable` set to its cache. It must succeed.
fn tool(directory: &Path, variable: &str, cache: &Path, words: &[&str]) {
    let ran = Command::new(words[0])
        .args(&words[1..])
        .current_dir(directory)
        .env(variable, cache)
        .env_remove("PIP_NO_CACHE_DIR")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Projects beside the volume, one for each tool, that use the volume's caches.
struct Projects {
    directory: PathBuf,
    caches: PathBuf,
}

impl Projects {
    fn npm(&self, words: &[&str]) {
        let words = [
            &["npm", "install", "--no-audit", "--no-fund", "--no-save"],
            words,
        ]
        .concat();
        tool(
            &self.directory,
            "npm_config_cache",
            &self.caches.join("npm"),
            &words,
        );
    }

    fn cargo(&self, words: &[&str]) {
        tool(
            &self.directory,
            "CARGO_HOME",
            &self.caches.join("cargo"),
            &[&["cargo"], words].concat(),
        );
    }

    /// Builds a wheel from the registry's source archive: pip caches what it builds.
    fn pip(&self) {
        let words = [
            "python3",
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "toml",
            "-w",
            "wheels",
            "toml==0.10.2",
        ];
        tool(
            &self.directory,
            "PIP_CACHE_DIR",
            &self.caches.join("pip"),
            &words,
        );
    }

    fn fill(&self) {
        write(
            &self.directory.join("package.json"),
            r#"{"name": "x", "version": "1.0.0"}"#,
        );
        self.npm(&["left-pad@1.3.0"]);
        write(
            &self.directory.join("Cargo.toml"),
            "[package]\nname = \"x\"\nedition = \"2021\"\n[lib]\npath = \"x.rs\"\n[dependencies]\nitoa = \"=1.0.15\"\n",
        );
        write(&self.directory.join("x.rs"), "");
        self.cargo(&["fetch"]);
        self.pip();
    }
}

fn evicted(report: &RunReport, outcome: &UnitOutcome) -> Vec<String> {
    assert!(
        report
            .eviction
            .units
            .iter()
            .all(|unit| unit.outcome == *outcome),
        "{:?}",
        report.eviction.units
    );
    report
        .eviction
        .units
        .iter()
        .map(|unit| format!("{} {}", unit.cache, unit.unit))
        .collect()
}

#[test]
#[ignore = "needs npm, pip and cargo with registries"]
fn a_fleet_and_real_caches_in_one_night() {
    let Fleet { world, fates } = Fleet::new();
    let projects = Projects {
        directory: world.beside("projects"),
        caches: world.at("caches"),
    };
    fs::create_dir_all(&projects.directory).unwrap();
    projects.fill();
    age_all(&projects.caches, 90.0);
    // Used again yesterday, so it is kept.
    projects.npm(&["is-number@7.0.0"]);
    for cache in ["npm", "cargo", "pip"] {
        world.set(
            "caches",
            &format!("{{kind: {cache}, path: caches/{cache}}}"),
        );
    }
    // The budget is far too small: exactly the old units go, and the shortfall is reported.
    world.set("eviction", "budget: 1MiB, min_age: 30d");

    let foreseen = world.pass(1, &["run", "--dry-run"]);
    let report = world.pass(1, &["run"]);

    same("fates", &world.fates(&report), &fates);
    let went = evicted(&report, &UnitOutcome::Evicted);
    assert_eq!(
        evicted(&foreseen, &UnitOutcome::Planned),
        went,
        "the dry run named the same units in the same order"
    );
    let expected = [
        "cargo itoa-1.0.15",
        "npm left-pad (metadata)",
        "npm left-pad-1.3.0.tgz",
    ];
    let (wheels, others): (Vec<_>, Vec<_>) = went
        .iter()
        .map(String::as_str)
        .partition(|unit| unit.starts_with("pip "));
    assert_eq!(BTreeSet::from_iter(others), BTreeSet::from(expected));
    assert!(
        !wheels.is_empty(),
        "pip keeps the wheel that it built: {went:?}"
    );
    assert!(
        report.eviction.freed_bytes > 0 && report.eviction.shortfall_bytes > 0,
        "{:?}",
        report.eviction
    );

    // What was kept works offline; what was evicted can be fetched again.
    projects.npm(&["--offline", "is-number@7.0.0"]);
    projects.npm(&["left-pad@1.3.0"]);
    projects.cargo(&["fetch"]);
    projects.cargo(&["check", "--offline", "--quiet"]);
    projects.pip();
}

/// A file system of its own, until the test ends.
struct Mounted(PathBuf);

impl Mounted {
    fn at(directory: &Path, size: &str) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory)
            .output()
            .unwrap();
        assert!(
            mounted.status.success(),
            "{}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(directory.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_volume_full_to_the_last_byte_gets_its_night() {
    let world = World::unprepared();
    let _mounted = Mounted::at(&world.root, "120m");
    assert_eq!(
        world
            .treewarden(&["init", world.root.to_str().unwrap()])
            .code,
        0
    );
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    for number in 0..20_u8 {
        let path = world.at(format!("caches/models/{number:02}"));
        write(&path, vec![number; 4 << 20]);
        age(&path, f64::from(90 - number));
    }
    let mut filler = fs::File::create(world.at("caches/models/99")).unwrap();
    let full = std::iter::repeat_with(|| filler.write_all(&[0; 4096]))
        .find_map(Result::err)
        .unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(filler);
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    world.set("eviction", "budget: 80MiB");

    let report = world.night();

    assert_eq!(
        (report.totals.reaped, report.eviction.shortfall_bytes),
        (1, 0),
        "{report:?}"
    );
    let went = evicted(&report, &UnitOutcome::Evicted);
    let oldest: Vec<String> = (0..went.len())
        .map(|number| format!("models {number:02}"))
        .collect();
    assert!((5..15).contains(&went.len()) && went == oldest, "{went:?}");
    let nights = fs::read_to_string(world.at(".treewarden/journal.jsonl")).unwrap();
    assert_eq!(nights.lines().count(), 1, "the night is in the journal");
    let ballast = fs::read_dir(world.at(".treewarden/ballast")).unwrap();
    assert_eq!(ballast.count(), 64, "it was given up, and is there again");
    assert_eq!(shop.fsck(), "");
}
