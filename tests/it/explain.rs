//! `treewarden explain` says what a run does and when, and nothing else: each verdict is held
//! against the run's own report, and each date against reports just before it and just after.

use super::support::at_work::{AtWork, SLEEP};
use super::support::fleet::Fleet;
use super::support::made::npm;
use super::support::snapshot::snapshot;
use super::support::{Ran, World, age, map, same, write};
use chrono::{DateTime, TimeDelta, Utc};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;
use treewarden::fs::clock::now;
use treewarden::report::{RunReport, TreeOutcome, VerdictName, Worktree};

/// Runs `explain`, which must end with exit code 0, and returns its JSON.
fn explained(world: &World, what: impl AsRef<Path>) -> Value {
    let what = what.as_ref().to_str().unwrap();
    let ran = world.treewarden(&["explain", what, "--format", "json"]);
    assert_eq!(ran.code, 0, "{what}: {ran:?}");
    let explained: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(explained["schema"], "treewarden.explain/1");
    explained
}

/// Returns what a run would do with the clock so many seconds ahead.
fn report_at(world: &World, ahead: i64) -> RunReport {
    let ahead = ahead.to_string();
    let clock = [("TREEWARDEN_TEST_CLOCK_AHEAD", ahead.as_str())];
    let ran = world
        .start_as(&clock, &["report", "--format", "json"])
        .end();
    assert!(ran.code < 2, "{ran:?}");
    ran.report()
}

fn goes_at(explained: &Value) -> Option<DateTime<Utc>> {
    let at = explained["goes_at"].as_str()?;
    Some(at.parse().unwrap())
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// Checks that an explanation says of a tree what its row says. A run doesn't look into a young
/// tree; an explanation does, and then knows more.
pub(crate) fn agrees(world: &World, row: &Worktree) -> Value {
    let explained = explained(world, &row.path);
    let what = format!("{}: {explained}", row.path.display());
    let verdict = match row.verdict {
        VerdictName::Keep => "keep",
        VerdictName::Reap => "reap",
        VerdictName::Unknown => "unknown",
    };
    assert_eq!(explained["verdict"], verdict, "{what}");
    assert_eq!(explained["path"], row.path.to_str().unwrap(), "{what}");
    assert_eq!(
        goes_at(&explained).is_some_and(|at| at <= now()),
        verdict == "reap",
        "{what}"
    );
    assert!(!explained["rules"].as_array().unwrap().is_empty(), "{what}");
    let young = row.reasons == ["active too recently for any class"];
    if !young {
        assert_eq!(explained["because"], row.because.as_str(), "{what}");
        assert_eq!(texts(&explained["reasons"]), row.reasons, "{what}");
    }
    if let Some(class) = row.class {
        assert_eq!(explained["worktree"]["class"], class.name(), "{what}");
    }
    explained
}

/// Returns what a run would remove, registrations of missing trees among it.
fn planned(report: &RunReport) -> BTreeSet<String> {
    let trees = report
        .worktrees()
        .filter(|tree| tree.outcome == TreeOutcome::Planned);
    let dropped = report.repos.iter().flat_map(|repo| &repo.prune.dropped);
    trees
        .map(|tree| &tree.path)
        .chain(dropped)
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
#[ignore = "needs half a minute"]
fn a_fleet_goes_when_it_is_said_to() {
    let Fleet { world, .. } = Fleet::new();
    world.set("run", "max_reaped: 500");
    // A crashed git's lock is found stale by its age, which no plan knows.
    let writing = world.at("worktrees/acme__held/writing");
    let before = snapshot(&world.root);
    let report = world.pass(0, &["report"]);
    let rows: Vec<&Worktree> = report
        .worktrees()
        .filter(|row| row.path != writing)
        .collect();
    let dates: BTreeMap<String, Option<DateTime<Utc>>> = rows
        .par_iter()
        .map(|row| {
            (
                row.path.display().to_string(),
                goes_at(&agrees(&world, row)),
            )
        })
        .collect();
    same("the volume", &snapshot(&world.root), &before);
    let began = now();
    let later: BTreeSet<i64> = dates
        .values()
        .flatten()
        .map(|at| (*at - began).num_seconds())
        .filter(|ahead| *ahead > 0)
        .collect();
    assert!(later.len() > 3, "{later:?}");
    for ahead in later.iter().flat_map(|ahead| [ahead - 120, ahead + 120]) {
        let then = began + TimeDelta::seconds(ahead);
        let mut found = planned(&report_at(&world, ahead));
        found.remove(writing.to_str().unwrap());
        let due = dates
            .iter()
            .filter(|(_, at)| at.is_some_and(|at| at <= then));
        let mut expected: BTreeSet<String> = due.map(|(path, _)| path.clone()).collect();
        expected.extend(planned(&report));
        expected.remove(writing.to_str().unwrap());
        assert_eq!(found, expected, "{ahead} seconds from now");
    }
}

#[test]
fn what_a_run_does_is_what_was_said_to_the_minute() {
    let world = World::new();
    world.set("defaults", "worktrees: {saved: 3d, unsaved: never}");
    let shop = world.repo("acme/shop");
    let saved = shop.tree("saved");
    saved.commit("a.ts", "x").age(1.0);
    // Nobody accounts for this file, which a run sees only when the tree's time has come.
    let mine = shop.tree("mine");
    mine.write("node_modules/.package-lock.json", &npm(&[]))
        .write("node_modules/a.js", "mine\n");
    mine.age(0.5);
    let ahead = (goes_at(&explained(&world, &saved.path)).unwrap() - now()).num_seconds();
    assert!((2 * 86_400 - 120..=2 * 86_400).contains(&ahead), "{ahead}");
    let mine = explained(&world, &mine.path);
    assert_eq!(
        (goes_at(&mine), &mine["worktree"]["class"]),
        (None, &json!("unsaved")),
        "{mine}"
    );
    let run = |ahead: i64| {
        let ahead = ahead.to_string();
        let clock = [("TREEWARDEN_TEST_CLOCK_AHEAD", ahead.as_str())];
        let ran = world.start_as(&clock, &["run", "--format", "json"]).end();
        assert_eq!(ran.code, 0, "{ran:?}");
        world.fates(&ran.report())
    };
    let kept = |name: &str, fate: &str| {
        (
            format!("acme/shop worktrees/acme__shop/{name}"),
            fate.to_owned(),
        )
    };
    let switched_off = kept("mine", "keep unsaved switched off");
    same(
        "before",
        &run(ahead - 60),
        &[kept("saved", "keep saved recent"), switched_off.clone()].into(),
    );
    same(
        "after",
        &run(ahead + 60),
        &[
            kept("saved", "reap saved saved on its branch"),
            switched_off,
        ]
        .into(),
    );
}

#[test]
fn each_fact_about_a_tree_is_told() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.detached("fix");
    tree.commit("a.ts", "1\n").commit("b.ts", "2\n");
    for number in 0..25 {
        tree.write(&format!("notes/{number}.md"), "mine\n");
    }
    shop.git(&[
        "worktree",
        "lock",
        "--reason",
        "at the fair",
        tree.path.to_str().unwrap(),
    ]);
    tree.age(3.0);
    age(&tree.path.join("notes/7.md"), 2.0);
    let at_work = AtWork::new(&tree.path, None, SLEEP);
    let head = tree.git(&["rev-parse", "HEAD"]);
    let below = tree.git(&["rev-parse", "HEAD~1"]);
    let explained = explained(&world, tree.path.join("notes"));
    let facts = &explained["worktree"];
    assert_eq!(
        (
            &explained["kind"],
            &explained["repo"],
            &explained["verdict"],
            &explained["because"]
        ),
        (
            &json!("worktree"),
            &json!("acme/shop"),
            &json!("keep"),
            &json!("locked")
        ),
        "{explained}"
    );
    assert_eq!(explained["reasons"], json!(["at the fair"]));
    assert_eq!(goes_at(&explained), None);
    let commits = json!([
        {"id": head, "subject": "Work on b.ts"},
        {"id": below, "subject": "Work on a.ts"},
    ]);
    assert_eq!(
        (&facts["commits"], &facts["more_commits"]),
        (&commits, &json!(false)),
        "{facts}"
    );
    assert_eq!(
        (&facts["class"], &facts["locked"]),
        (&json!("unsaved"), &json!("at the fair"))
    );
    assert_eq!(
        (texts(&facts["files"]).len(), &facts["files_count"]),
        (20, &json!(25)),
        "{facts}"
    );
    assert_eq!(texts(&facts["files"])[2], "notes/2.md is untracked");
    assert_eq!(
        (&facts["active_from"], &facts["active_file"]),
        (&json!("written"), &json!("notes/7.md")),
        "{facts}"
    );
    assert_eq!(facts["idle_seconds"].as_u64().unwrap() / 3600, 48);
    assert!(facts["bytes"].as_u64().unwrap() > 25 * 4096, "{facts}");
    let who = format!("sh (pid {})", at_work.id());
    assert!(
        texts(&facts["processes"])
            .iter()
            .any(|told| told.starts_with(&who) || told.starts_with(&who.replace("sh ", "sleep "))),
        "{facts}"
    );
    // What would change it, and what comes then.
    let changes = explained["changes"].as_array().unwrap();
    let unlock = format!("`git worktree unlock {}`", tree.path.display());
    assert_eq!(changes[0]["what"], unlock, "{explained}");
    drop(at_work);
    shop.git(&["worktree", "unlock", tree.path.to_str().unwrap()]);
    let unlocked = self::explained(&world, &tree.path);
    let hours = (goes_at(&unlocked).unwrap() - now()).num_hours();
    assert!((28 * 24 - 1..=28 * 24).contains(&hours), "{unlocked}");
    let text = world.treewarden(&["explain", tree.path.to_str().unwrap()]);
    for line in [
        "stays for now, and goes in 28 days",
        "rule       defaults.worktrees.unsaved: 30d (the default)",
        "notes/7.md was last written then",
        "Files that are work: 25",
        "and 5 more",
        "Commits that nothing else has: 2",
        "Work on b.ts",
    ] {
        assert!(text.out.contains(line), "{line}: {}", text.out);
    }
}

/// The rule is named with its key, its value and its line.
#[test]
fn the_rule_that_decided_is_named_with_its_line() {
    let world = World::new();
    world.set("defaults", "worktrees: {landed: 2d}");
    world.repo("acme/api").tree("landed").age(1.0);
    let shop = world.repo("acme/shop");
    shop.set("worktrees: {saved: 36h, rescue_max: 1KiB}");
    shop.tree("saved").commit("a.ts", "x").age(1.0);
    shop.tree("fresh").not_worked_in().age(1.0);
    shop.tree("dirty").write("new.ts", "x").age(1.0);
    shop.tree("large")
        .write("new.bin", &"x".repeat(9000))
        .age(1.0);
    let config = std::fs::read_to_string(world.config()).unwrap();
    let line = |text: &str| 1 + config.lines().position(|line| line.contains(text)).unwrap();
    let file = world.config();
    let file = file.to_str().unwrap();
    for (tree, key, value, place) in [
        (
            "acme__api/landed",
            "defaults.worktrees.landed",
            "2d",
            Some(line("defaults:")),
        ),
        (
            "acme__shop/saved",
            "repos[1].worktrees.saved",
            "36h",
            Some(line("acme/shop")),
        ),
        (
            "acme__shop/fresh",
            "repos[1].worktrees.saved",
            "36h",
            Some(line("acme/shop")),
        ),
        (
            "acme__shop/dirty",
            "defaults.worktrees.unsaved",
            "30d",
            None,
        ),
        (
            "acme__shop/large",
            "repos[1].worktrees.rescue_max",
            "1 KiB",
            Some(line("acme/shop")),
        ),
    ] {
        let rule = explained(&world, world.at("worktrees").join(tree))["rules"][0].clone();
        assert_eq!(
            (&rule["key"], &rule["value"], &rule["line"], &rule["file"]),
            (
                &json!(key),
                &json!(value),
                &json!(place),
                &json!(place.map(|_| file))
            ),
            "{tree}: {rule}"
        );
    }
}

/// Whoever asks may stand in the tree, by a link, or above it.
#[test]
fn a_path_means_what_it_is_in() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}, {kind: build-output}",
    );
    let shop = world.repo("acme/shop");
    let tree = shop.tree("fix");
    tree.commit("src/a.ts", "x")
        .write("node_modules/.package-lock.json", &npm(&["react"]))
        .write("node_modules/react/index.js", "x");
    tree.age(1.0);
    write(&world.at("caches/models/a/weights"), "x");
    write(&world.at("worktrees/acme__shop/stray/x"), "x");
    symlink(&world.root, world.beside("link")).unwrap();
    let kind = |what: &str| {
        let explained = explained(&world, what);
        let path = explained["path"].as_str().unwrap();
        format!(
            "{} {}",
            explained["kind"].as_str().unwrap(),
            world.below(Path::new(path))
        )
    };
    let at = |path: &str| world.at(path).to_str().unwrap().to_owned();
    let fix = "worktree worktrees/acme__shop/fix";
    for (what, expected) in [
        (at("worktrees/acme__shop/fix"), fix),
        (at("worktrees/acme__shop/fix/src/a.ts"), fix),
        (at("worktrees/acme__shop/fix/not/there"), fix),
        // The tests' programs run beside the volume.
        (
            "volume/worktrees/../worktrees/acme__shop/fix/src".to_owned(),
            fix,
        ),
        ("link/worktrees/acme__shop/fix/src".to_owned(), fix),
        (at("acme__shop/.git/worktrees/fix/HEAD"), fix),
        (
            at("worktrees/acme__shop/stray/x"),
            "directory worktrees/acme__shop/stray",
        ),
        (at("acme__shop/package.json"), "checkout acme__shop"),
        (at("caches/models/a/weights"), "unit caches/models/a"),
        ("models:a".to_owned(), "unit caches/models/a"),
        (
            at("worktrees/acme__shop/fix/node_modules"),
            "unit worktrees/acme__shop/fix/node_modules",
        ),
        (at("worktrees/acme__shop/fix/node_modules/react"), fix),
    ] {
        assert_eq!(kind(&what), expected, "{what}");
    }
    // An agent at work is no obstacle, and is told.
    let held = world.hold("acme__shop");
    let told = explained(&world, &tree.path)["held"].to_string();
    assert!(
        told.contains("a run leaves the whole repo alone for now"),
        "{told}"
    );
    drop(held);
}

#[test]
fn a_path_that_belongs_to_nothing_says_so_and_what_is_near() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    let shop = world.repo("acme/shop");
    for name in ["issue-2", "issue-10"] {
        shop.tree(name).commit("a.ts", "x").age(1.0);
    }
    let gone = shop.tree("gone");
    gone.write("new.ts", "x").age(40.0);
    world.night();
    write(&world.at("caches/models/a/weights"), "x");
    write(&world.at("notes/todo.md"), "x");
    let fails = |what: &str, words: &[&str]| {
        let Ran { code, out, err } = world.treewarden(&["explain", what]);
        assert_eq!((code, out.as_str()), (2, ""), "{what}: {err}");
        for word in words {
            assert!(err.contains(word), "{what}: {word}: {err}");
        }
    };
    let at = |path: &str| world.at(path).to_str().unwrap().to_owned();
    fails(
        &at("worktrees/acme__shop"),
        &[
            "there is a directory",
            "below it: `worktrees/acme__shop/issue-2` (a worktree: acme/shop), `worktrees/acme__shop/issue-10`",
        ],
    );
    fails(
        &at("worktrees/acme__shop/isue-2"),
        &[
            "there is nothing",
            "nearest: `worktrees/acme__shop/issue-2`",
        ],
    );
    fails(
        &at("notes/todo.md"),
        &["belongs to nothing", "there is a file"],
    );
    fails("/", &["belongs to nothing", "there is a directory"]);
    fails(
        &at(".treewarden/locks"),
        &["in treewarden's own state directory"],
    );
    fails(
        &at("caches/models"),
        &["is in the cache models, and no unit of it", "it has a"],
    );
    fails(
        "models:b",
        &["the cache models has no unit `b`; name one", "it has a"],
    );
    fails("acme/shop:none/20200101T000000Z", &["there is no rescue"]);
    fails(
        gone.path.to_str().unwrap(),
        &[
            "there is nothing",
            "removed the worktree that stood there (uncommitted work)",
            "its work was rescued: `treewarden rescue show acme/shop:gone/",
        ],
    );
}

#[test]
fn a_rescue_expires_when_it_is_said_to() {
    let world = World::new();
    world.set("defaults", "worktrees: {rescue_keep: 9d}");
    let shop = world.repo("acme/shop");
    shop.tree("fix").write("new.ts", "x").age(40.0);
    world.night();
    let list = world.treewarden(&["rescue", "list", "--format", "json"]);
    let list: Value = serde_json::from_str(&list.out).unwrap();
    let (id, commit) = (&list["rescues"][0]["id"], &list["rescues"][0]["commit"]);
    let explained = explained(&world, id.as_str().unwrap());
    let by_commit = self::explained(&world, &commit.as_str().unwrap()[..12]);
    assert_eq!(explained["rescue"], by_commit["rescue"]);
    assert_eq!(
        (
            &explained["rescue"]["id"],
            &explained["kind"],
            &explained["verdict"]
        ),
        (id, &json!("rescue"), &json!("keep"))
    );
    assert_eq!(
        explained["rules"][0]["key"],
        "defaults.worktrees.rescue_keep"
    );
    assert_eq!(explained["rules"][0]["value"], "9d");
    let ahead = (goes_at(&explained).unwrap() - now()).num_seconds();
    let expired = |ahead| report_at(&world, ahead).repos[0].rescues.expired.len();
    assert_eq!([expired(ahead - 60), expired(ahead + 60)], [0, 1]);
}

/// A unit is evicted if the run's own eviction takes it, and its place in the queue is counted.
#[test]
fn a_unit_goes_if_the_eviction_takes_it() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models, min_age: 9d}",
    );
    world.set("eviction", "min_age: 2d");
    for (name, days) in [("a", 30.0), ("b", 20.0), ("c", 10.0), ("young", 8.0)] {
        write(&world.at("caches/models").join(name), vec![b'x'; 2 << 20]);
        age(&world.at("caches/models").join(name), days);
    }
    let calm = explained(&world, world.at("caches/models/b"));
    assert_eq!(
        (
            &calm["verdict"],
            &calm["unit"]["ahead"],
            &calm["reasons"][0]
        ),
        (
            &json!("keep"),
            &json!(1),
            &json!("nothing holds it, but no room is wanted")
        )
    );
    let budget = world.standing() - (3 << 20);
    world.set("eviction", &format!("budget: {}", budget * 10 / 9));
    let report = world.pass(0, &["report"]);
    let taken: Vec<&str> = report
        .eviction
        .units
        .iter()
        .map(|unit| unit.unit.as_str())
        .collect();
    assert_eq!(taken, ["a", "b"]);
    let fates = ["a", "b", "c", "young"].map(|name| {
        let explained = explained(&world, world.at("caches/models").join(name));
        (
            name.to_owned(),
            format!(
                "{} {}",
                explained["verdict"].as_str().unwrap(),
                explained["unit"]["ahead"]
            ),
        )
    });
    let expected = map(&[
        ("a", "evict 0"),
        ("b", "evict 1"),
        ("c", "keep 2"),
        ("young", "keep 3"),
    ]);
    same("fates", &fates.into(), &expected);
    let young = explained(&world, world.at("caches/models/young"));
    assert_eq!(young["reasons"], json!(["younger than 9 d"]));
    assert_eq!(
        (&young["rules"][0]["key"], &young["rules"][0]["value"]),
        (&json!("caches[0].min_age"), &json!("9d"))
    );
    let free_from: DateTime<Utc> = young["unit"]["free_from"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let ahead = (free_from - now()).num_seconds();
    assert!((86_400 - 120..=86_400).contains(&ahead), "{ahead}");
}

#[test]
fn a_tree_that_is_one_too_many_is_held_back_as_by_the_run() {
    let world = World::new();
    world.set("run", "max_reaped: 1");
    let shop = world.repo("acme/shop");
    for name in ["one", "two"] {
        shop.tree(name).age(9.0);
    }
    world.repo("acme/api").tree("only").age(9.0);
    let report = world.pass(1, &["report"]);
    let listed = world.treewarden(&["worktree", "list"]);
    for row in report.worktrees() {
        let told = agrees(&world, row);
        let held = told["held"].to_string();
        let many = held.contains("more trees are due than one run may remove (run.max_reaped: 1)");
        let stays = row.outcome == TreeOutcome::Kept;
        assert_eq!(many, stays, "{told}");
        let line = listed
            .out
            .lines()
            .find(|line| line.contains(&format!("{} ", row.path.display())));
        let fate = if stays {
            "stays: too many at once"
        } else {
            "goes with the next run: merged"
        };
        assert!(line.unwrap().ends_with(fate), "{}", listed.out);
    }
    let kept = report
        .worktrees()
        .filter(|row| row.outcome == TreeOutcome::Kept);
    assert_eq!(kept.count(), 2);
}

/// A name is listed where people look for it, and a list is never silent.
#[test]
fn names_are_listed_as_people_count() {
    let world = World::new();
    let empty = world.treewarden(&["worktree", "list"]);
    assert_eq!(
        (empty.code, empty.out.as_str()),
        (
            0,
            "0 repos: no worktrees; `treewarden worktree add REPO NAME` makes one\n"
        )
    );
    let shop = world.repo("acme/shop");
    let empty = world.treewarden(&["worktree", "list", "acme/shop"]);
    assert_eq!(
        empty.out,
        "acme/shop: no worktrees; `treewarden worktree add REPO NAME` makes one\n"
    );
    for name in ["issue-10", "issue-9", "issue-2", "issue-100"] {
        shop.tree(name).commit("a.ts", "x").age(4.0);
        write(
            &world.at(format!("worktrees/acme__shop/stray-{name}/x")),
            "x",
        );
    }
    let locked = shop.tree("issue-3");
    locked.age(0.5);
    shop.git(&["worktree", "lock", locked.path.to_str().unwrap()]);
    let names = |text: &str| -> Vec<String> {
        let last = |line: &str| {
            line.split_whitespace()
                .next()?
                .rsplit_once('/')
                .map(|(_, name)| name.to_owned())
        };
        text.lines()
            .filter_map(last)
            .filter(|name| name.contains("issue"))
            .collect()
    };
    let sorted = ["issue-2", "issue-3", "issue-9", "issue-10", "issue-100"];
    let strays = [
        "stray-issue-2",
        "stray-issue-9",
        "stray-issue-10",
        "stray-issue-100",
    ];
    let list = world.treewarden(&["worktree", "list"]);
    assert_eq!(
        names(&list.out),
        [&sorted[..], &strays[..]].concat(),
        "{}",
        list.out
    );
    let line = |name: &str| {
        list.out
            .lines()
            .find(|line| line.contains(&format!("/{name} ")))
            .unwrap()
    };
    assert!(
        line("issue-9").contains("saved") && line("issue-9").ends_with("goes in 3 days"),
        "{}",
        list.out
    );
    assert!(line("issue-9").contains("KiB  4 days"), "{}", list.out);
    assert!(
        line("issue-3").contains("landed") && line("issue-3").ends_with("stays: locked"),
        "{}",
        list.out
    );
    assert!(
        line("stray-issue-2").ends_with("stays: not git"),
        "{}",
        list.out
    );
    let quick = world.treewarden(&["worktree", "list", "--quick"]);
    let quick = quick
        .out
        .lines()
        .find(|line| line.contains("/issue-3 "))
        .unwrap();
    assert!(
        quick
            .split_whitespace()
            .skip(3)
            .eq(["-", "-", "12", "hours", "stays:", "locked"]),
        "{quick}"
    );
    let rows: Vec<String> = world
        .pass(0, &["report"])
        .worktrees()
        .map(|row| world.below(&row.path).to_string())
        .collect();
    assert_eq!(names(&rows.join("\n")), [&sorted[..], &strays[..]].concat());
}

/// What concerns the whole repo decides about its trees, too, and no secret is shown.
#[test]
fn what_keeps_a_whole_repo_keeps_its_trees() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.set("busy_probe: [sh, -c, 'exit 0 # a-secret']");
    let busy = shop.tree("busy");
    busy.commit("a.ts", "x").age(3.0);
    let api = world.repo("acme/api");
    let crypt = api.tree("crypt");
    crypt.age(9.0);
    api.git(&["config", "filter.git-crypt.smudge", "git-crypt smudge"]);
    let told = explained(&world, &busy.path);
    assert_eq!(
        (&told["verdict"], &told["because"], goes_at(&told)),
        (&json!("keep"), &json!("busy"), None)
    );
    assert_eq!(
        (&told["rules"][0]["key"], &told["rules"][0]["value"]),
        (&json!("repos[1].busy_probe"), &json!("sh"))
    );
    // Once the probe says idle, the tree goes by its age.
    let then: DateTime<Utc> = told["changes"][0]["goes_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let hours = (then - now()).num_hours();
    assert!((4 * 24 - 1..=4 * 24).contains(&hours), "{told}");
    assert!(!told.to_string().contains("a-secret"), "{told}");
    let told = explained(&world, &crypt.path);
    assert_eq!(
        (&told["verdict"], &told["because"]),
        (&json!("unknown"), &json!("unknown"))
    );
    assert!(told["reasons"].to_string().contains("git-crypt"), "{told}");
    let checkout = explained(&world, &api.path);
    assert_eq!(
        (&checkout["kind"], &checkout["verdict"]),
        (&json!("checkout"), &json!("keep"))
    );
    assert!(
        checkout["reasons"].to_string().contains("git-crypt"),
        "{checkout}"
    );
}

/// A tree goes before its age if its repo has too many, and a glob keeps it.
#[test]
fn caps_and_globs_are_explained_as_they_decide() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.set("worktrees: {max_trees: 3, keep: [precious]}");
    let trees = [
        ("oldest", 0.6),
        ("older", 0.5),
        ("young", 0.4),
        ("precious", 9.0),
    ];
    for (name, days) in trees {
        shop.tree(name).commit(name, "x").age(days);
    }
    let told = |name: &str| explained(&world, world.at("worktrees/acme__shop").join(name));
    let ahead = |told: &Value| goes_at(told).map(|at| (at - now()).num_seconds());
    let [oldest, older] = ["oldest", "older"].map(|name| ahead(&told(name)).unwrap());
    // Once the oldest is gone, there are no more than three.
    assert_eq!([oldest / 3600, older / 3600], [9, 6 * 24 + 11]);
    let precious = told("precious");
    assert_eq!(
        (ahead(&precious), &precious["because"]),
        (None, &json!("kept by config"))
    );
    assert_eq!(precious["rules"][0]["key"], "repos[0].worktrees.keep");
    let planned = |ahead| planned(&report_at(&world, ahead)).len();
    assert_eq!([planned(oldest - 60), planned(oldest + 60)], [0, 1]);
    shop.set("worktrees: {max_trees: 3}");
    let due = told("precious");
    assert_eq!(
        due["rules"][0]["key"], "defaults.worktrees.saved",
        "by its age"
    );
    shop.set("worktrees: {max_trees: 3, saved: 30d}");
    let due = agrees(
        &world,
        world.pass(0, &["report"]).worktrees().next().unwrap(),
    );
    assert_eq!(
        due["rules"][0]["key"], "repos[0].worktrees.max_trees",
        "{due}"
    );
}
