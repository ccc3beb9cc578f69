//! Eviction that knows what the next job needs: what lock files name today is kept, what they named
//! lately counts as recently used, and the rest may go.

#![expect(clippy::disallowed_methods, reason = "it runs real tools")]

use super::support::repo::Tree;
use super::support::snapshot::snapshot;
use super::support::{World, age, remove, same, write};
use std::fs;
use treewarden::facts::cache::UsedFrom;
use treewarden::facts::package::hex_of_base64;
use treewarden::report::{Eviction, RunReport};

const MIB: u64 = 1 << 20;

/// Writes a crate's archive of 1 MiB, downloaded so many days ago and never read since.
fn krate(world: &World, name: &str, days: f64) {
    let path = world.at(format!("caches/cargo/registry/cache/index/{name}.crate"));
    write(&path, vec![b'x'; 1 << 20]);
    age(&path, days);
}

/// Returns a `Cargo.lock` that names these crates.
fn cargo_lock(crates: &[&str]) -> String {
    let entry = |name: &&str| {
        let (name, version) = name.rsplit_once('-').unwrap();
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
        )
    };
    format!(
        "version = 4\n{}",
        crates.iter().map(entry).collect::<Vec<_>>().join("\n")
    )
}

/// Returns the integrity of a file in npm's cache, made from a letter.
fn integrity(letter: char) -> String {
    format!("sha512-{}==", letter.to_string().repeat(86))
}

/// Writes a file of 1 MiB in npm's cache.
fn archive(world: &World, letter: char, days: f64) {
    let hex = hex_of_base64(&integrity(letter)["sha512-".len()..]).unwrap();
    let path = world.at(format!(
        "caches/npm/_cacache/content-v2/sha512/{}/{}/{}",
        &hex[..2],
        &hex[2..4],
        &hex[4..]
    ));
    write(&path, vec![b'x'; 1 << 20]);
    age(&path, days);
}

/// Sets the budget so that so many MiB must be evicted.
fn must_go(world: &World, mebibytes: u64) {
    let budget = (world.standing() - mebibytes * MIB + MIB / 2) * 10 / 9;
    assert!(
        budget < world.standing(),
        "the volume is too small to be over its budget"
    );
    world.set("eviction", &format!("budget: {budget}"));
}

/// Returns the units that were or would be evicted, and where their last use is known from.
fn gone(eviction: &Eviction) -> Vec<String> {
    let known = |from, by: &Option<String>| match (from, by) {
        (UsedFrom::Named, Some(repo)) => format!("named by {repo}"),
        (from, _) => format!("{from:?}"),
    };
    eviction
        .units
        .iter()
        .map(|unit| {
            format!(
                "{}: {}",
                unit.unit,
                known(unit.last_used_from, &unit.named_by)
            )
        })
        .collect()
}

/// Returns the crates that are left.
fn left(world: &World) -> Vec<String> {
    let files = walkdir::WalkDir::new(world.at("caches/cargo"))
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    let names = files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .map(|name| name.trim_end_matches(".crate").to_owned())
        .collect()
}

fn obstacle<'a>(report: &'a RunReport, part: &str) -> &'a str {
    let found = report
        .eviction
        .obstacles
        .iter()
        .find(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("no `{part}` in {:?}", report.eviction.obstacles))
}

fn ledger(world: &World) -> std::path::PathBuf {
    world.at(".treewarden/ledger.json")
}

/// Shifts the ledger's entries so many days into the past.
fn days_pass(world: &World, days: i64) {
    let mut text: serde_json::Value =
        serde_json::from_slice(&fs::read(ledger(world)).unwrap()).unwrap();
    for entry in text["packages"].as_array_mut().unwrap() {
        entry[1] = (entry[1].as_i64().unwrap() - days * 86_400).into();
    }
    fs::write(ledger(world), text.to_string()).unwrap();
}

/// Creates a repo with `serde-1.0.0` in its default branch's lock file, an old archive of it, and a
/// two-day-old `experiment-9.9.9` that nothing names.
fn shop(world: &World) -> super::support::repo::Repo<'_> {
    world.set("caches", "{kind: cargo, path: caches/cargo}");
    let shop = world.repo("acme/shop");
    shop.commit(60.0, "Cargo.lock", &cargo_lock(&["serde-1.0.0"]));
    shop.push();
    krate(world, "serde-1.0.0", 400.0);
    krate(world, "experiment-9.9.9", 2.0);
    shop
}

fn tree(repo: &super::support::repo::Repo<'_>, name: &str, lock: &[&str]) -> Tree {
    let tree = repo.tree(name);
    tree.write("Cargo.lock", &cargo_lock(lock));
    tree
}

/// No `go.sum` names Go's own toolchains, which Go fetches as modules.
#[test]
fn the_toolchains_that_go_mod_files_ask_for_stay() {
    let world = World::new();
    world.set("eviction", "budget: 1, min_age: 0s");
    world.set("caches", "{kind: go-mod, path: caches/go}");
    let toolchains = "caches/go/cache/download/golang.org/toolchain/@v";
    for version in ["1.22.3", "1.21.9", "1.20.1"] {
        let zip = world.at(format!("{toolchains}/v0.0.1-go{version}.linux-amd64.zip"));
        write(&zip, "go");
        age(&zip, 300.0);
    }
    let shop = world.repo("acme/shop");
    let manifest = "module shop\n\ngo 1.21\n\ntoolchain go1.22.3\n";
    shop.commit(60.0, "go.mod", manifest);
    shop.commit(60.0, "tools/go.mod", "module tools\n\ngo 1.21.9\n");
    shop.push();
    let units = world.pass(1, &["run"]).eviction.units;
    let names: Vec<&str> = units.iter().map(|unit| unit.unit.as_str()).collect();
    assert_eq!(names, ["golang.org/toolchain@v0.0.1-go1.20.1.linux-amd64"]);
}

#[test]
fn what_live_trees_name_stays_and_younger_things_that_nobody_names_go() {
    let world = World::new();
    let shop = shop(&world);
    world.set("caches", "{kind: npm, path: caches/npm}");
    // Committed deep in the default branch; only in the checkout; committed in a tree; edited in
    // one, and untracked in another.
    let web = format!(
        r#"{{"lockfileVersion": 3, "packages": {{"node_modules/a": {{"integrity": "{}"}}}}}}"#,
        integrity('B')
    );
    shop.commit(60.0, "apps/web/package-lock.json", &web);
    shop.push();
    tree(&shop, "committed", &["tree-1.0.0"])
        .commit("work.rs", "1\n")
        .age(0.1);
    tree(&shop, "edited", &["edited-1.0.0"]).age(0.1);
    let new = shop.tree("new");
    new.write(
        "yarn.lock",
        &format!(
            "a@^1:\n  version \"1.0.0\"\n  integrity {}\n",
            integrity('C')
        ),
    )
    .age(0.1);
    write(
        &shop.path.join("Cargo.lock"),
        cargo_lock(&["checkout-1.0.0"]),
    );
    // A tree that is reaped in this run needs nothing any more.
    tree(&shop, "landed", &["landed-1.0.0"])
        .commit("more.rs", "1\n")
        .git(&["push", "-q", "origin", "landed:main"]);
    shop.git(&["fetch", "-q"]);
    shop.git(&["update-ref", "refs/remotes/origin/main", "main"]);
    for name in ["tree-1.0.0", "edited-1.0.0", "checkout-1.0.0"] {
        krate(&world, name, 300.0);
    }
    for letter in ['B', 'C'] {
        archive(&world, letter, 300.0);
    }
    archive(&world, 'D', 3.0);
    must_go(&world, 9);
    let before = snapshot(&world.root);
    let dry = world.pass(1, &["report"]);
    same("after a report", &snapshot(&world.root), &before);
    let report = world.pass(1, &["run"]);
    let found = gone(&report.eviction);
    assert_eq!(
        found,
        [
            "sha512/0c/30/c30c30c30c30: WriteTime",
            "experiment-9.9.9: WriteTime"
        ]
    );
    assert_eq!(gone(&dry.eviction), found);
    assert_eq!(
        left(&world),
        [
            "checkout-1.0.0",
            "edited-1.0.0",
            "serde-1.0.0",
            "tree-1.0.0"
        ]
    );
    let why = "in use: lock files or environments of live trees name them (eviction.in_use: keep)";
    assert_eq!(
        obstacle(&report, "of cargo"),
        format!("4 units of cargo: {why}, most of them by acme/shop (4)")
    );
    assert_eq!(
        obstacle(&report, "of npm"),
        format!("2 units of npm: {why}, most of them by acme/shop (2)")
    );
}

#[test]
fn what_was_named_last_week_outlives_yesterdays_experiment() {
    let world = World::new();
    let shop = shop(&world);
    krate(&world, "left-1.0.0", 200.0);
    krate(&world, "older-1.0.0", 8.0);
    assert!(!world.night().eviction.triggered);
    // `serde` leaves the lock file; the ledger knows when it was last named there.
    shop.commit(60.0, "Cargo.lock", &cargo_lock(&["left-1.0.0"]));
    shop.push();
    days_pass(&world, 1);
    world.set("eviction", "min_age: 1h");
    must_go(&world, 3);
    let before = fs::read(ledger(&world)).unwrap();
    let dry = world.pass(0, &["report"]);
    assert_eq!(fs::read(ledger(&world)).unwrap(), before);
    let expected = [
        "older-1.0.0: WriteTime",
        "experiment-9.9.9: WriteTime",
        "serde-1.0.0: named by acme/shop",
    ];
    assert_eq!(gone(&dry.eviction), expected);
    assert_eq!(gone(&world.night().eviction), expected);
    assert_eq!(left(&world), ["left-1.0.0"]);
}

#[test]
fn a_repo_that_could_not_be_looked_at_still_needs_what_it_needed() {
    let world = World::new();
    let shop = shop(&world);
    world.night();
    days_pass(&world, 40);
    must_go(&world, 2);
    // First an agent holds the repo; then its lock file is unreadable, as during a merge.
    let agent = world.hold("acme__shop");
    let report = world.pass(1, &["run"]);
    assert_eq!(
        (gone(&report.eviction), left(&world)),
        (
            vec!["experiment-9.9.9: WriteTime".to_owned()],
            vec!["serde-1.0.0".to_owned()]
        )
    );
    drop(agent);
    krate(&world, "experiment-9.9.9", 2.0);
    world.pass(1, &["run"]);
    krate(&world, "experiment-9.9.9", 2.0);
    shop.commit(60.0, "Cargo.lock", "<<<<<<< HEAD\nversion = 4\n");
    shop.push();
    days_pass(&world, 40);
    let report = world.pass(1, &["run"]);
    assert_eq!(left(&world), ["serde-1.0.0"]);
    let told = obstacle(&report, "default branch");
    assert!(
        told.starts_with("acme/shop: failed to read `Cargo.lock` in (default branch): "),
        "{told}"
    );
    assert!(
        told.ends_with("; what it named last still counts as in use"),
        "{told}"
    );
}

#[test]
fn what_is_in_use_goes_last_where_the_config_says_so_and_loudly() {
    let world = World::new();
    shop(&world);
    krate(&world, "fresh-1.0.0", 0.1);
    world.set("eviction", "in_use: last");
    must_go(&world, 2);
    let report = world.night();
    let units: Vec<_> = report
        .eviction
        .units
        .iter()
        .map(|unit| (unit.unit.as_str(), unit.in_use))
        .collect();
    assert_eq!(units, [("experiment-9.9.9", false), ("serde-1.0.0", true)]);
    assert_eq!(left(&world), ["fresh-1.0.0"]);
    let alert = report
        .alerts
        .iter()
        .find(|alert| alert.name == "EvictedInUse")
        .unwrap();
    assert!(
        alert
            .summary
            .starts_with("evicted because nothing else was left: 1 unit, 1 MiB, that lock files"),
        "{}",
        alert.summary
    );
    let text = treewarden::report::text::render(&report, treewarden::report::look::Look::PLAIN);
    for part in [
        "IN USE: 1 unit, 1 MiB, that lock files of live trees name",
        "named by acme/shop",
        "Enlarge the volume",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// Damages the ledger.
type Damage<'a> = &'a dyn Fn(&std::path::Path);

#[test]
fn a_ledger_that_makes_no_sense_starts_anew_with_a_word() {
    let world = World::new();
    shop(&world);
    world.night();
    let good = fs::read(ledger(&world)).unwrap();
    let fifo: Damage<'_> = &|path| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
    };
    let damages: [(&str, Damage<'_>); 4] = [
        ("garbage", &|path| fs::write(path, "[[[[").unwrap()),
        ("torn", &|path| {
            fs::write(path, &good[..good.len() / 2]).unwrap();
        }),
        ("a link", &|path| {
            std::os::unix::fs::symlink(world.beside("elsewhere"), path).unwrap();
        }),
        ("a FIFO", fifo),
    ];
    fs::write(world.beside("elsewhere"), "precious").unwrap();
    for (name, damage) in damages {
        remove(&ledger(&world));
        damage(&ledger(&world));
        // On a slow machine the repo counts as unchanged by now, and its lock files are read only
        // if something is to be evicted.
        let looks = world.at(".treewarden/looks");
        looks.exists().then(|| remove(&looks));
        assert!(
            obstacle(&world.night(), "ledger").contains("starts anew"),
            "{name}"
        );
        assert!(world.night().eviction.obstacles.is_empty(), "{name}");
        let again: serde_json::Value =
            serde_json::from_slice(&fs::read(ledger(&world)).unwrap()).unwrap();
        assert_eq!(again["packages"][0][0], "cargo serde-1.0.0", "{name}");
    }
    assert_eq!(
        fs::read_to_string(world.beside("elsewhere")).unwrap(),
        "precious"
    );
}

#[test]
fn hostile_lock_files_neither_hang_nor_lead_astray() {
    let world = World::new();
    let shop = shop(&world);
    write(
        &world.beside("outside.lock"),
        cargo_lock(&["experiment-9.9.9"]),
    );
    let tree = shop.tree("evil");
    tree.age(0.1);
    let at = |name: &str| tree.path.join(name);
    std::os::unix::fs::symlink(world.beside("outside.lock"), at("uv.lock")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("go.sum"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::create_dir(at("poetry.lock")).unwrap();
    fs::File::create(at("yarn.lock"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    write(
        &at("package-lock.json"),
        format!(
            "{}1{}",
            r#"{"dependencies": {"a": "#.repeat(100_000),
            "}}".repeat(100_000)
        ),
    );
    remove(&at("Cargo.lock"));
    std::os::unix::fs::symlink(world.beside("outside.lock"), at("Cargo.lock")).unwrap();
    must_go(&world, 2);
    let report = world.pass(1, &["run"]);
    assert_eq!(left(&world), ["serde-1.0.0"]);
    let told: Vec<&String> = report
        .eviction
        .obstacles
        .iter()
        .filter(|line| line.starts_with("acme/shop: "))
        .collect();
    assert!(
        told.len() == 2 && told[0].contains("package-lock.json") && told[1].contains("yarn.lock"),
        "{told:?}"
    );
}

/// What a lock file names stays, even if it is the whole cache. Then the run falls short, and an
/// alert names the repo.
#[test]
fn a_repo_that_pins_the_whole_cache_is_named() {
    let world = World::new();
    shop(&world);
    let evil = world.repo("acme/evil");
    let names: Vec<String> = (0..5)
        .map(|number| format!("pinned-{number}.0.0"))
        .collect();
    for name in &names {
        krate(&world, name, 99.0);
    }
    let mut all: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(["experiment-9.9.9"])
        .collect();
    // And a hundred thousand that no cache has.
    let more: Vec<String> = (0..100_000)
        .map(|number| format!("nobody{number}-1.0.0"))
        .collect();
    all.extend(more.iter().map(String::as_str));
    evil.tree("tree")
        .write("Cargo.lock", &cargo_lock(&all))
        .age(0.1);
    must_go(&world, 3);
    let report = world.pass(1, &["run"]);
    assert_eq!(gone(&report.eviction), [""; 0]);
    assert!(
        report.eviction.shortfall_bytes > 2 * MIB
            && report
                .alerts
                .iter()
                .any(|alert| alert.name == "EvictionShortfall")
    );
    let told = obstacle(&report, "of cargo");
    assert!(
        told.ends_with("keep), most of them by acme/evil (6), acme/shop (1)"),
        "{told}"
    );
}

#[test]
fn a_cache_over_its_own_budget_is_evicted_on_a_calm_volume() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: cargo, path: caches/cargo, budget: {bytes: 3MiB, inodes: 1000}}",
    );
    world.set("caches", "{kind: npm, path: caches/npm}");
    for (number, days) in [(1, 50.0), (2, 40.0), (3, 30.0), (4, 20.0)] {
        krate(&world, &format!("a-{number}.0.0"), days);
    }
    archive(&world, 'B', 90.0);
    let report = world.night();
    assert_eq!(
        gone(&report.eviction),
        ["a-1.0.0: WriteTime", "a-2.0.0: WriteTime"]
    );
    let why = "cargo holds 4.0 MiB and 4 inodes, over its budget of 3.0 MiB and 1000 inodes; going down to 2.7 MiB and 900 inodes";
    assert_eq!(report.eviction.reason, why);
    assert_eq!(report.eviction.shortfall_bytes, 0);
    assert!(!world.night().eviction.triggered);
}

#[test]
fn two_units_free_the_file_they_share_together() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    let [one, two, other] =
        ["one", "two", "other"].map(|name| world.at("caches/models").join(name));
    write(&one, vec![b'x'; 3 << 20]);
    fs::hard_link(&one, &two).unwrap();
    age(&one, 50.0);
    write(&other, vec![b'x'; 1 << 20]);
    age(&other, 20.0);
    // `standing` counts the file once for each link, the eviction only once.
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() - 5 * MIB),
    );
    let report = world.night();
    let units: Vec<_> = report
        .eviction
        .units
        .iter()
        .map(|unit| (unit.unit.as_str(), unit.bytes >> 20))
        .collect();
    assert_eq!(units, [("one", 0), ("two", 3)]);
    assert_eq!(
        (
            report.eviction.freed_bytes >> 20,
            report.eviction.shortfall_bytes
        ),
        (3, 0)
    );
    assert!(other.exists());
}

#[test]
fn left_trash_goes_before_any_cache() {
    let world = World::new();
    shop(&world);
    world.set(
        "eviction",
        &format!("budget: {}", world.standing() + MIB / 2),
    );
    // An earlier run left more in the trash than the volume is over its budget.
    write(
        &world.at(".treewarden/trash/left/0/file"),
        vec![b'x'; 2 << 20],
    );
    for report in [world.pass(0, &["report"]), world.night()] {
        assert!(
            !report.eviction.triggered && report.totals.freed_by_trash >= 2 * MIB,
            "{:?}",
            report.eviction
        );
    }
    assert_eq!(left(&world), ["experiment-9.9.9", "serde-1.0.0"]);
}

/// Runs a tool in `directory`, with its cache on the volume.
fn tool(world: &World, directory: &std::path::Path, command: &[&str]) -> bool {
    let mut tool = std::process::Command::new(command[0]);
    tool.args(&command[1..]).current_dir(directory);
    // Without URLs in its lock file, npm also needs the metadata, and can't work offline at all.
    tool.env("npm_config_omit_lockfile_registry_resolved", "false");
    tool.env("npm_config_cache", world.at("caches/npm"))
        .env("CARGO_HOME", world.at("caches/cargo"));
    tool.output().unwrap().status.success()
}

/// After an eviction, tools work offline with what a lock file names. The rest is gone, and can be
/// fetched again.
#[test]
#[ignore = "needs npm and cargo with registries"]
fn real_tools_work_offline_with_what_lock_files_name() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: cargo, path: caches/cargo}, {kind: npm, path: caches/npm}",
    );
    let shop = world.repo("acme/shop");
    let experiment = world.beside("experiment");
    let manifest = |crates: &str| {
        format!(
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{crates}\n"
        )
    };
    let projects = [
        (&shop.path, "itoa = \"=1.0.14\"", "left-pad@1.3.0"),
        (&experiment, "ryu = \"=1.0.18\"", "is-number@7.0.0"),
    ];
    for (directory, krate, package) in projects {
        write(&directory.join("Cargo.toml"), manifest(krate));
        write(&directory.join("src/lib.rs"), "");
        write(
            &directory.join("package.json"),
            r#"{"name": "x", "version": "1.0.0"}"#,
        );
        assert!(tool(&world, directory, &["cargo", "fetch"]));
        assert!(tool(
            &world,
            directory,
            &["npm", "install", "--no-audit", "--no-fund", package]
        ));
    }
    shop.commit(60.0, "README.md", "# With lock files\n");
    shop.push();
    // By every time stamp, the experiment was used later.
    super::support::age_all(&world.at("caches"), 3.0);
    for entry in walkdir::WalkDir::new(world.at("caches"))
        .into_iter()
        .map(Result::unwrap)
    {
        if entry.file_name().to_string_lossy().contains("itoa-1.0.14") {
            super::support::age_all(entry.path(), 300.0);
        }
    }
    world.set("eviction", "budget: 1MiB");
    let report = world.pass(1, &["run"]);
    let gone: Vec<&str> = report
        .eviction
        .units
        .iter()
        .map(|unit| unit.unit.as_str())
        .collect();
    for part in ["ryu-1.0.18", "is-number-7.0.0.tgz"] {
        assert!(gone.contains(&part), "{part} in {gone:?}");
    }
    assert!(
        !gone
            .iter()
            .any(|unit| unit.contains("itoa") || unit.contains("left-pad-1.3.0")),
        "{gone:?}"
    );
    let offline: [&[&str]; 2] = [
        &["cargo", "fetch", "--locked", "--offline"],
        &["npm", "ci", "--offline", "--no-audit", "--no-fund"],
    ];
    for (directory, works) in [(&shop.path, true), (&experiment, false)] {
        remove(&directory.join("node_modules"));
        for command in offline {
            assert_eq!(
                tool(&world, directory, command),
                works,
                "{command:?} in {}",
                directory.display()
            );
        }
    }
    assert!(tool(&world, &experiment, &["cargo", "fetch", "--locked"]));
    assert!(tool(
        &world,
        &experiment,
        &["npm", "ci", "--no-audit", "--no-fund"]
    ));
}

/// `UV_LINK_MODE=symlink` fills an environment with links into the cache, the only sign of use.
#[test]
#[ignore = "needs uv and its registry"]
fn what_an_environment_links_to_stays_for_as_long_as_its_tree() {
    let world = World::new();
    world.set("caches", "{kind: uv, path: caches/uv}");
    world.set("eviction", "budget: 1, min_age: 0s");
    let tree = world.repo("acme/shop").tree("issue-1");
    let uv = |words: &[&str]| {
        let mut uv = std::process::Command::new("uv");
        uv.args(words)
            .current_dir(&tree.path)
            .env("UV_CACHE_DIR", world.at("caches/uv"))
            .env("UV_LINK_MODE", "symlink");
        let ran = uv.env("UV_PYTHON_DOWNLOADS", "never").output().unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    uv(&["venv", "--quiet", "env"]);
    uv(&[
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--python",
        "env/bin/python",
        "six==1.17.0",
        "--no-deps",
    ]);
    uv(&[
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--target",
        "elsewhere",
        "idna==3.10",
        "--no-deps",
    ]);
    remove(&tree.path.join("elsewhere"));
    let archives = || {
        fs::read_dir(world.at("caches/uv/archive-v0"))
            .unwrap()
            .count()
    };
    assert_eq!(archives(), 2);
    super::support::age_all(&world.at("caches"), 99.0);
    let report = world.pass(1, &["run"]);
    assert_eq!(archives(), 1, "{:?}", report.eviction);
    let told = "1 unit of uv: in use: lock files or environments of live trees name them (eviction.in_use: keep), most of them by acme/shop (1)";
    assert_eq!(obstacle(&report, "of uv"), told);
    let works = std::process::Command::new(tree.path.join("env/bin/python"))
        .args(["-c", "import six"])
        .status()
        .unwrap();
    assert!(works.success());
    tree.age(40.0);
    world.pass(1, &["run"]);
    world.pass(1, &["run"]);
    assert_eq!((tree.path.exists(), archives()), (false, 0));
}
