//! Room when it is needed: runs that wait for a watermark, and the ladder of what goes when.

use super::dry_run::deeds;
use super::many_nights::Volume;
use super::support::at_work::{AtWork, SLEEP};
use super::support::made::npm;
use super::support::repo::{Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{Ran, World, map, same, write};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use treewarden::fs::clock::now;
use treewarden::plan::ladder::Rung;
use treewarden::report::{RunReport, TreeOutcome, UnitOutcome};

/// Any machine's disk is fuller than this.
const ALWAYS: &str = "high: {bytes: 0.0002%, inodes: 100%}, low: {bytes: 0.0001%, inodes: 99%}";

/// Creates a tree that is due.
fn due(world: &World) -> Tree {
    let tree = world.repo("acme/shop").tree("landed");
    tree.age(2.0);
    tree
}

#[test]
fn a_run_that_waits_for_a_mark_does_nothing_on_a_calm_volume() {
    let world = World::new();
    let tree = due(&world);
    // Another run is at work, so a run that took a lock would be refused.
    let other = world.hold("volume");
    let before = snapshot(&world.root);
    for mark in ["high", "critical"] {
        let ran = world.treewarden(&["run", "--when", mark]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let said = format!("of bytes used, the {mark} mark is 100 %");
        assert!(ran.out.starts_with("nothing to do: "), "{ran:?}");
        assert!(
            ran.out.contains(&said) && ran.out.lines().count() == 1,
            "{ran:?}"
        );
        // A program that reads reports gets none.
        let output = world.beside("report.json");
        let typed = ["--format", "json", "--output", output.to_str().unwrap()];
        let ran = world.treewarden(&[&["run", "--when", mark], &typed[..]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
        assert!(ran.err.contains(&said) && !output.exists(), "{ran:?}");
    }
    same("a calm volume", &snapshot(&world.root), &before);
    drop(other);
    assert_eq!(world.history(), []);
    assert!(tree.path.exists());
}

#[test]
fn above_its_mark_a_run_is_a_run() {
    let world = World::new();
    let tree = due(&world);
    world.set(
        "eviction",
        &format!("{ALWAYS}, critical: {{bytes: 0.0003%, inodes: 100%}}"),
    );
    let other = world.hold("volume");
    for mark in ["high", "critical"] {
        let ran = world.treewarden(&["run", "--when", mark]);
        assert!(ran.code == 3 && ran.out.contains("another run"), "{ran:?}");
    }
    drop(other);
    let dry = world.treewarden(&["run", "--when", "high", "--dry-run"]);
    assert!(dry.code == 1 && tree.path.exists(), "{dry:?}");
    // It falls short of such a mark.
    let report = world.pass(1, &["run", "--when", "critical", "--only", "reap,evict"]);
    assert!(report.eviction.triggered && report.totals.reaped == 1);
    assert!(!tree.path.exists());
    let ran = world.treewarden(&["run", "--when", "high", "--shard", "1/2"]);
    assert!(
        ran.code == 2 && ran.err.contains("--when and --shard"),
        "{ran:?}"
    );
}

/// Two hours, in days: no class goes by then, and no build output.
const TWO_HOURS: f64 = 0.084;
const HALF_AN_HOUR: f64 = 0.021;
const MIB: u64 = 1 << 20;

/// Adds a tree whose work is on its branch, with a MiB of packages that nobody needs to keep.
fn saved(shop: &Repo<'_>, name: &str, days: f64) -> Tree {
    let tree = shop.tree(name);
    tree.commit("work.ts", name);
    with_packages(&tree, days);
    tree
}

fn with_packages(tree: &Tree, days: f64) {
    tree.write("node_modules/.package-lock.json", &npm(&["big"]))
        .write("node_modules/big/package.json", "{}")
        .write("node_modules/big/index.js", &"x".repeat(1 << 20));
    tree.age(days);
}

/// Adds a tree with work that nothing else has.
fn work(shop: &Repo<'_>, name: &str, days: f64) -> Tree {
    let tree = shop.tree(name);
    tree.write("new.ts", "mine\n");
    with_packages(&tree, days);
    tree
}

/// A repo with trees of every kind, and one in which an agent holds the lock.
fn full(world: &World) -> (Repo<'_>, [Tree; 2]) {
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(TWO_HOURS);
    saved(&shop, "saved", TWO_HOURS);
    saved(&shop, "young", HALF_AN_HOUR);
    let pinned = saved(&shop, "pinned", TWO_HOURS);
    let locked = saved(&shop, "locked", TWO_HOURS);
    shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
    let work = work(&shop, "work", TWO_HOURS);
    let built = self::work(&shop, "built", TWO_HOURS);
    // A build that nobody sees a process of.
    write(&built.path.join("node_modules/big/new.js"), "made");
    let fresh = shop.tree("fresh");
    fresh.not_worked_in().age(TWO_HOURS);
    shop.set("worktrees: {keep: [pinned]}");
    saved(&world.repo("acme/busy"), "saved", TWO_HOURS);
    world.set("caches", "{kind: build-output}");
    (shop, [pinned, work])
}

/// Returns what each rung freed, in whole MiB.
fn rungs(report: &RunReport) -> Vec<(Rung, u64)> {
    let rungs = report.eviction.rungs.iter();
    rungs
        .map(|rung| (rung.rung, rung.freed_bytes / MIB))
        .collect()
}

/// Returns what was evicted, or would be.
fn units(report: &RunReport) -> Vec<&str> {
    let units = report.eviction.units.iter();
    let goes =
        units.filter(|unit| matches!(unit.outcome, UnitOutcome::Planned | UnitOutcome::Evicted));
    goes.map(|unit| unit.unit.as_str()).collect()
}

/// Returns the trees that went, or would go, by their directory's name.
fn gone(report: &RunReport) -> BTreeMap<String, String> {
    let goes =
        |outcome: &TreeOutcome| matches!(outcome, TreeOutcome::Planned | TreeOutcome::Reaped);
    let trees = report.worktrees().filter(|tree| goes(&tree.outcome));
    trees
        .map(|tree| {
            let name = tree.path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, tree.reasons.join(" | "))
        })
        .collect()
}

#[test]
fn the_ladder_takes_what_is_idle_and_never_work() {
    let world = World::new();
    let (shop, [pinned, work]) = full(&world);
    let agent = world.hold("acme__busy");
    world.set("eviction", ALWAYS);
    let trees = world.at("worktrees");
    let before = snapshot(&trees);
    let dry = world.pass(1, &["run", "--dry-run"]);
    same("a dry run", &snapshot(&trees), &before);
    for (format, heading) in [("text", "Step by step:"), ("html", "Step by step")] {
        let told = world
            .treewarden(&["run", "--dry-run", "--format", format])
            .out;
        let shown = [
            heading,
            Rung::BuildOutput.message(),
            Rung::Worktrees.message(),
        ];
        assert!(shown.iter().all(|part| told.contains(part)), "{told}");
    }
    let report = world.pass(1, &["run"]);
    let early = "goes before its age: the volume is too full | ";
    assert_eq!(
        gone(&report),
        map(&[
            (
                "landed",
                &format!("{early}merged: HEAD is in the default branch")
            ),
            (
                "saved",
                &format!("{early}clean, and its commits are on a branch that stays")
            ),
        ])
    );
    let in_shop = |name: &str| format!("worktrees/acme__shop/{name}/node_modules");
    assert_eq!(units(&report), [in_shop("saved"), in_shop("work")]);
    for report in [&dry, &report] {
        let [
            (trash, _),
            (caches, 0),
            (artifacts, 0),
            (output, 2),
            (trees, 0),
        ] = rungs(report)[..]
        else {
            panic!("{:?}", report.eviction.rungs);
        };
        let all = [trash, caches, artifacts, output, trees];
        assert_eq!(
            all,
            [
                Rung::Trash,
                Rung::Caches,
                Rung::Artifacts,
                Rung::BuildOutput,
                Rung::Worktrees
            ]
        );
        let trees = report.eviction.rungs[4];
        assert!(trees.freed_bytes > 0 && trees.freed_inodes > 4, "{trees:?}");
    }
    // Everything else stands, and somebody's file in a place that tools make is somebody's.
    let standing = ["young", "pinned", "locked", "work", "built", "fresh"];
    for name in standing {
        assert!(
            world
                .at(format!("worktrees/acme__shop/{name}/.git"))
                .exists(),
            "{name}"
        );
    }
    assert!(pinned.path.join("node_modules").exists());
    assert_eq!(
        std::fs::read_to_string(work.path.join("new.ts")).unwrap(),
        "mine\n"
    );
    assert!(
        world
            .at("worktrees/acme__shop/built/node_modules/big/new.js")
            .exists()
    );
    assert!(world.at("worktrees/acme__busy/saved/node_modules").exists());
    let branch = ["branch", "--list", "saved", "--format=%(refname)"];
    assert_eq!(shop.git(&branch), "refs/heads/saved");
    // What is told to people, and what the dry run foresaw.
    same(
        "the dry run",
        &but_busy(deeds(&dry)),
        &but_busy(deeds(&report)),
    );
    drop(agent);
}

/// Returns a tree's turns as `explain` says them, or `worktree list`: the rung, or why it is on none.
fn turns(row: &serde_json::Value) -> Vec<String> {
    let turns = row["under_pressure"].as_array().unwrap().iter();
    let said = |turn: &serde_json::Value| {
        let text = |key: &str| turn[key].as_str().unwrap_or_default().to_owned();
        let from: Option<DateTime<Utc>> = text("from").parse().ok();
        let is_now = from.map(|from| if from <= now() { " now" } else { " later" });
        let is_now = is_now.unwrap_or_default();
        format!(
            "{}: {}{}{is_now}",
            text("what"),
            text("rung"),
            text("never")
        )
    };
    turns.map(said).collect()
}

/// What `explain` and `worktree list` say beforehand is what the ladder then takes.
#[test]
fn each_thing_knows_its_place_on_the_ladder() {
    let world = World::new();
    let (shop, _) = full(&world);
    work(&shop, "old", 20.0);
    write(&world.at("worktrees/acme__shop/stray/x"), "x");
    let listing = world.treewarden(&["worktree", "list", "--all", "--format", "json"]);
    let listing: serde_json::Value = serde_json::from_str(&listing.out).unwrap();
    let mut found = BTreeMap::new();
    for row in listing["worktrees"].as_array().unwrap() {
        let path = row["path"].as_str().unwrap();
        let explained = world.treewarden(&["explain", path, "--format", "json"]);
        let explained: serde_json::Value = serde_json::from_str(&explained.out).unwrap();
        assert_eq!(turns(row), turns(&explained), "{path}");
        found.insert(
            world.below(Path::new(path)).to_string(),
            turns(row).join(" | "),
        );
    }
    let unsaved = "whole: unsaved work is never on the ladder";
    let fresh = "whole: a fresh worktree is never on the ladder: somebody is to work in it";
    let locked = "with `git worktree lock`, without a reason";
    let kept = "worktrees.keep names it: `pinned`";
    let all = "whole: worktrees now | build_output: build_output now";
    let twice = |why: &str| format!("whole: {why} | build_output: {why}");
    let output = format!("{unsaved} | build_output: build_output now");
    let idle = format!("{unsaved} | build_output: caches now");
    let expected = map(&[
        ("acme__busy/saved", all),
        ("acme__shop/built", &output),
        ("acme__shop/fresh", fresh),
        ("acme__shop/landed", "whole: worktrees now"),
        ("acme__shop/locked", &twice(locked)),
        ("acme__shop/old", &idle),
        ("acme__shop/pinned", &twice(kept)),
        ("acme__shop/saved", all),
        (
            "acme__shop/stray",
            "whole: a directory that no registration names is never removed",
        ),
        ("acme__shop/work", &output),
        (
            "acme__shop/young",
            "whole: worktrees later | build_output: build_output later",
        ),
    ]);
    let found = found.into_iter().map(|(path, turns)| {
        let below = path.strip_prefix("worktrees/").unwrap();
        (below.to_owned(), turns)
    });
    same("turns", &found.collect(), &expected);
    // Its build output is a unit of its own, of which the same is said.
    let unit = world.at("worktrees/acme__shop/old/node_modules");
    let unit = world.treewarden(&["explain", unit.to_str().unwrap(), "--format", "json"]);
    let unit: serde_json::Value = serde_json::from_str(&unit.out).unwrap();
    assert_eq!(
        (&unit["kind"], turns(&unit)),
        (&"unit".into(), vec!["whole: caches now".to_owned()])
    );
    // A run doesn't look into a young tree, so its build output is explained with the tree.
    let young = world.at("worktrees/acme__shop/young/node_modules");
    let young = world.treewarden(&["explain", young.to_str().unwrap()]);
    let said = "its build output goes on the `build_output` step: build output of all idle trees;";
    let words: Vec<&str> = young.out.split_whitespace().collect();
    assert!(words.join(" ").contains(said), "{young:?}");
}

/// Leaves out the row of the busy repo, in which only a run waits.
fn but_busy(mut deeds: BTreeMap<usize, String>) -> BTreeMap<usize, String> {
    deeds.retain(|_, deed| !deed.starts_with("acme/busy"));
    deeds
}

#[test]
fn somebody_at_work_keeps_a_tree_and_what_is_built_in_it() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = saved(&shop, "saved", TWO_HOURS);
    world.set("caches", "{kind: build-output}");
    world.set("eviction", ALWAYS);
    let agent = AtWork::new(&tree.path, None, SLEEP);
    let report = world.pass(1, &["run"]);
    assert_eq!((units(&report), gone(&report)), (vec![], map(&[])));
    assert!(tree.path.join("node_modules/big/index.js").exists());
    drop(agent);
    let report = world.pass(1, &["run"]);
    assert_eq!(gone(&report).len(), 1);
}

#[test]
fn the_ladder_goes_no_further_than_it_is_told() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        saved(&shop, name, TWO_HOURS);
    }
    // A volume that is not too full climbs nothing.
    assert_eq!(world.night().eviction.rungs, []);
    world.set("eviction", ALWAYS);
    // Eviction alone takes no worktree, and without a build-output cache no build output.
    let only = world.pass(1, &["run", "--only", "evict"]);
    assert_eq!((units(&only), gone(&only)), (vec![], map(&[])));
    // Switched off.
    let text = std::fs::read_to_string(world.config()).unwrap();
    let text = text.replace("eviction: {", "eviction: {critical: {min_idle: never}, ");
    let config = world.beside("off.yaml");
    std::fs::write(&config, text).unwrap();
    let off = world.pass(1, &["run", "--config", config.to_str().unwrap()]);
    let lower = [Rung::Trash, Rung::Caches];
    assert_eq!(
        rungs(&off)
            .into_iter()
            .map(|(rung, _)| rung)
            .collect::<Vec<_>>(),
        lower
    );
    assert_eq!(gone(&off), map(&[]));
}

#[test]
fn the_ladder_counts_for_max_reaped_and_takes_the_longest_idle_first() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for (name, days) in [("a", 1.0), ("b", 2.0), ("c", 1.5)] {
        saved(&shop, name, days * TWO_HOURS);
    }
    world.set("eviction", ALWAYS);
    world.set("run", "max_reaped: 2");
    let dry = world.pass(1, &["report"]);
    let report = world.pass(1, &["run"]);
    let names = |report| gone(report).into_keys().collect::<Vec<_>>();
    assert_eq!(
        (names(&dry), names(&report)),
        (vec!["b".to_owned(), "c".into()], names(&report))
    );
    assert_eq!(names(&report), ["b", "c"]);
    let told = "more trees could go, but run.max_reaped is 2";
    assert!(
        report.eviction.obstacles.contains(&told.to_owned()),
        "{:?}",
        report.eviction
    );
}

/// Somebody began to work after the survey, so a second look keeps that tree, and the next one goes.
#[test]
fn if_a_second_look_keeps_a_tree_the_next_one_goes() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let kept = saved(&shop, "kept", 2.0 * TWO_HOURS);
    let next = saved(&world.repo("acme/api"), "next", TWO_HOURS);
    let calls = world.beside("calls");
    // The run asks once for its own pass and once for the ladder's survey.
    let probe = format!("echo >>{0}; test $(wc -l <{0}) -gt 2", calls.display());
    shop.set(&format!("busy_probe: [sh, -c, '{probe}']"));
    world.set("eviction", ALWAYS);
    world.set("run", "max_reaped: 1");
    let report = world.pass(1, &["run"]);
    assert_eq!(gone(&report).into_keys().collect::<Vec<_>>(), ["next"]);
    assert!(kept.path.exists() && !next.path.exists());
    let rows = report.worktrees().filter(|row| row.path == kept.path);
    let why: Vec<_> = rows.map(|row| row.reasons[0].as_str()).collect();
    assert_eq!(why, ["the busy probe says that somebody works here"]);
    let calls = std::fs::read_to_string(calls).unwrap();
    assert_eq!(calls.lines().count(), 3, "the third is the second look");
}

/// The exit code if there is no room.
const NO_ROOM: i32 = 73;

fn exec(world: &World, script: &str) -> Ran {
    world.treewarden(&["exec", "acme/shop", "--no-wait", "--", "sh", "-c", script])
}

#[test]
fn without_room_no_work_begins_and_all_that_may_go_is_gone() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    saved(&shop, "saved", TWO_HOURS);
    work(&shop, "work", TWO_HOURS);
    // No machine has as much.
    world.set("volume", "floor: {bytes: 1000TiB}");
    let mark = world.beside("ran");
    let ran = exec(&world, &format!("touch {}", mark.display()));
    assert_eq!((ran.code, ran.out.as_str()), (NO_ROOM, ""), "{ran:?}");
    let told = [
        "below volume.floor (",
        "; making room",
        "no room could be made: ",
        "lower volume.floor",
    ];
    assert!(told.iter().all(|part| ran.err.contains(part)), "{ran:?}");
    assert!(!mark.exists());
    let left = ["landed", "saved", "work"]
        .map(|name| world.at(format!("worktrees/acme__shop/{name}")).exists());
    assert_eq!(left, [false, false, true]);
    let ran = world.treewarden(&["worktree", "add", "acme/shop", "new"]);
    assert!(ran.code == NO_ROOM && ran.out.is_empty(), "{ran:?}");
    assert!(!world.at("worktrees/acme__shop/new").exists());
    let history = world.history();
    let asked = history
        .iter()
        .map(|run| run.run.asked.as_ref().unwrap().only.join(","));
    assert_eq!(asked.collect::<Vec<_>>(), ["reap,evict", "reap,evict"]);

    // If another run has the volume, it makes the room.
    let other = world.hold("volume");
    let ran = exec(&world, "true");
    assert!(
        ran.code == NO_ROOM && ran.err.contains("another run has the volume"),
        "{ran:?}"
    );
    drop(other);
}

#[test]
fn with_room_enough_no_run_begins() {
    let world = World::new();
    let tree = saved(&world.repo("acme/shop"), "saved", TWO_HOURS);
    world.set("volume", "floor: {bytes: 1, inodes: 1}");
    let other = world.hold("volume");
    let ran = exec(&world, "echo ran");
    assert_eq!((ran.code, ran.out.as_str()), (0, "ran\n"), "{ran:?}");
    drop(other);
    assert!(tree.path.exists() && world.history().is_empty());
}

/// On a small volume of its own, where every byte is known.
#[test]
#[ignore = "needs root, to mount a file system"]
fn room_is_made_for_the_work_that_begins_and_no_more() {
    let world = World::unprepared();
    let _volume = Volume::mount(&world, "size=64m");
    let shop = world.repo("acme/shop");
    // 1 MiB each of packages, and 4 MiB of files that git has.
    for (name, days) in [("a", 1.0), ("b", 2.0), ("c", 1.5)] {
        let tree = shop.tree(name);
        tree.commit("large.bin", &name.repeat(4 << 20));
        with_packages(&tree, days * TWO_HOURS);
    }
    work(&shop, "unsaved", 40.0 * TWO_HOURS);
    world.set("volume", &format!("floor: {}", room(&world) + 6 * MIB));
    world.set("caches", "{kind: build-output}");
    let ran = exec(&world, "echo ran");
    assert_eq!((ran.code, ran.out.as_str()), (0, "ran\n"), "{ran:?}");
    // Packages of four trees are not enough for the floor and a tenth of it; two trees are.
    let report = world.history().remove(0);
    let freed: Vec<_> = rungs(&report).into_iter().map(|(rung, _)| rung).collect();
    let all = [
        Rung::Trash,
        Rung::Caches,
        Rung::Artifacts,
        Rung::BuildOutput,
        Rung::Worktrees,
    ];
    assert_eq!(freed, all, "{:?}", report.eviction);
    assert_eq!(gone(&report).into_keys().collect::<Vec<_>>(), ["b", "c"]);
    assert!(world.at("worktrees/acme__shop/unsaved/new.ts").exists());
    let ran = exec(&world, "echo again");
    assert_eq!((ran.code, world.history().len()), (0, 1), "{ran:?}");
}

/// Returns the bytes that are free.
fn room(world: &World) -> u64 {
    let stat = rustix::fs::statvfs(&world.root).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// What an agent's install writes: 16 MiB, which it reads again.
const INSTALL: &str = "mkdir -p node_modules/big \
    && echo '{\"packages\": {\"node_modules/big\": {}}}' >node_modules/.package-lock.json \
    && echo '{}' >node_modules/big/package.json \
    && head -c 16777216 /dev/zero >node_modules/big/index.js \
    && sleep 0.2 && test $(wc -c <node_modules/big/index.js) = 16777216";

/// One agent: makes worktrees and installs into them, one after the other. Returns how many.
fn writer(world: &World, number: usize, until: Instant) -> usize {
    let repo = format!("acme/{}", number % 4);
    let mut done = 0;
    while Instant::now() < until {
        let name = format!("w{number}-{done}");
        let in_tree = ["--wait", "30s"];
        let add = ["worktree", "add", &repo, &name];
        let exec = ["exec", &repo, "--worktree", &name];
        let install = ["--", "sh", "-c", INSTALL];
        for typed in [
            [&add[..], &in_tree].concat(),
            [&exec[..], &in_tree, &install].concat(),
        ] {
            // No room, or no lock in time: that is an answer, and a full disk is none.
            let ran = loop {
                let ran = world.treewarden(&typed);
                if ![NO_ROOM, 75].contains(&ran.code) || Instant::now() > until {
                    break ran;
                }
            };
            let answered =
                [0, NO_ROOM, 75].contains(&ran.code) || ran.err.contains("failed to lock");
            assert!(
                answered && !ran.err.contains("No space left"),
                "{typed:?}: {ran:?}"
            );
            if ran.code != 0 {
                return done;
            }
        }
        done += 1;
    }
    done
}

/// Agents fill a small volume from all sides, and each makes room for its own work. Nobody meets a
/// full disk, no install loses a file, and no work goes.
#[test]
#[ignore = "needs root, to mount a file system"]
fn twenty_writers_on_a_small_volume_meet_no_full_disk() {
    let world = World::unprepared();
    let _volume = Volume::mount(&world, "size=400m,nr_inodes=60000");
    let precious: Vec<Tree> = (0..4)
        .map(|number| work(&world.repo(&format!("acme/{number}")), "precious", 1.0))
        .collect();
    world.set("volume", "floor: {bytes: 160MiB, inodes: 5000}");
    world.set("caches", "{kind: build-output}");
    let marks = "high: {bytes: 85%, inodes: 85%}, low: {bytes: 75%, inodes: 75%}";
    world.set("eviction", &format!("{marks}, critical: {{min_idle: 1s}}"));
    world.change_times_count();
    let until = Instant::now() + Duration::from_mins(1);
    let done: usize = std::thread::scope(|scope| {
        let world = &world;
        let writers: Vec<_> = (0..20)
            .map(|number| scope.spawn(move || writer(world, number, until)))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum()
    });
    for tree in &precious {
        let text = std::fs::read_to_string(tree.path.join("new.ts")).unwrap();
        assert_eq!(text, "mine\n", "{}", tree.path.display());
    }
    let freed: u64 = world
        .history()
        .iter()
        .flat_map(|run| &run.eviction.rungs)
        .filter(|rung| rung.rung == Rung::BuildOutput)
        .map(|rung| rung.freed_bytes)
        .sum();
    println!("{done} installs, {} MiB freed by the ladder", freed / MIB);
    // More was written than the volume holds.
    assert!(
        done as u64 * 16 * MIB > 400 * MIB && freed > 0,
        "{done} installs, {freed} bytes freed"
    );
}
