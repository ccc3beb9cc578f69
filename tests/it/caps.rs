//! What to spare and what to take: `worktrees.keep`, `max_trees` and `max_bytes`, with real trees;
//! and times as people say them.

use super::dry_run::deeds;
use super::support::made::npm;
use super::support::repo::{Repo, Tree};
use super::support::{World, map, same};
use std::collections::BTreeMap;
use std::path::Path;
use treewarden::report::RunReport;

const MERGED: &str = "reap landed merged";
const OVER_TREES: &str = "reap saved over max_trees";
const RECENT: &str = "keep saved recent";

/// Adds a tree with a commit of its own, idle for so many days: saved, until it is a week old.
fn saved(shop: &Repo<'_>, name: &str, days: f64) -> Tree {
    let tree = shop.tree(name);
    tree.commit("work.ts", name).age(days);
    tree
}

/// Returns the fates of the repo's trees by name.
fn fates(world: &World, report: &RunReport) -> BTreeMap<String, String> {
    let all = world.fates(report);
    let name = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
    all.into_iter()
        .map(|(path, fate)| (name(path), fate))
        .collect()
}

/// Returns what a run does, after checking that `report`, a dry run and `worktree list` say the
/// same.
fn as_foreseen(world: &World) -> RunReport {
    let [report, dry] = [&["report"][..], &["run", "--dry-run"]].map(|typed| world.pass(0, typed));
    let listed = world.treewarden(&["worktree", "list", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let night = world.night();
    same("the report", &deeds(&report), &deeds(&night));
    same("the dry run", &deeds(&dry), &deeds(&night));
    let listed = listed["worktrees"].as_array().unwrap().iter();
    let listed: BTreeMap<String, String> = listed
        .map(|tree| {
            let path = tree["path"].as_str().unwrap();
            (
                path.to_owned(),
                format!("{} {}", tree["verdict"], tree["because"]),
            )
        })
        .collect();
    let ran = night.worktrees().map(|tree| {
        let verdict = serde_json::to_string(&tree.verdict).unwrap();
        let because = serde_json::to_string(&tree.because).unwrap();
        (
            tree.path.display().to_string(),
            format!("{verdict} {because}"),
        )
    });
    same("the list", &listed, &ran.collect());
    night
}

#[test]
fn what_keep_names_stays_and_the_trees_beside_it_go() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["demo-1", "pinned", "old"] {
        shop.tree(name).age(400.0);
    }
    shop.tree_at("worktrees/acme__shop/release", "release/2.x")
        .age(400.0);
    let agents = shop.tree_at("acme__shop/.claude/worktrees/fix", "agents/fix");
    agents.age(400.0);
    shop.set("worktrees: {keep: [demo-*, worktrees/acme__shop/pinned, 'release/*']}");
    let kept = "keep landed kept by config";
    let first = map(&[
        ("demo-1", kept),
        ("pinned", kept),
        ("release", kept),
        ("old", MERGED),
        ("fix", MERGED),
    ]);
    let night = as_foreseen(&world);
    same("fates", &fates(&world, &night), &first);
    let told: BTreeMap<&Path, &str> = night
        .worktrees()
        .map(|tree| (tree.path.as_path(), tree.reasons[0].as_str()))
        .collect();
    assert_eq!(
        told[world.at("worktrees/acme__shop/release").as_path()],
        "worktrees.keep names it: `release/*`"
    );
    // It is somebody's decision, so nobody is told to do something about it.
    assert_eq!(night.alerts, []);
    for name in ["demo-1", "pinned", "release"] {
        assert!(world.at(format!("worktrees/acme__shop/{name}")).exists());
    }
    // A run takes none of them; whoever names one means it.
    let ran = world.treewarden(&["worktree", "remove", "acme/shop", "demo-1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!world.at("worktrees/acme__shop/demo-1").exists());
}

#[test]
fn over_max_trees_the_longest_idle_go_and_no_work_does() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    saved(&shop, "four", 4.0);
    saved(&shop, "three", 3.0);
    saved(&shop, "two", 2.0);
    saved(&shop, "young", 0.9);
    saved(&shop, "locked", 6.0);
    shop.git(&[
        "worktree",
        "lock",
        world.at("worktrees/acme__shop/locked").to_str().unwrap(),
    ]);
    shop.tree("work").write("new.ts", "1\n").age(6.0);
    // Only a look at all of its packages shows the work in this one.
    saved(&shop, "hidden", 6.0)
        .write("node_modules/.package-lock.json", &npm(&["big"]))
        .write("node_modules/big/package.json", "{}")
        .write("node_modules/notes.txt", "mine\n")
        .age(6.0);
    shop.tree("fresh").not_worked_in().age(6.0);
    shop.tree("landed").age(1.0);
    shop.set("worktrees: {landed: 30d, max_trees: 7}");
    let stays = [
        ("two", RECENT),
        ("young", "keep recent"),
        ("locked", "keep locked"),
        ("work", "keep unsaved recent"),
        ("hidden", "keep unsaved recent"),
        ("fresh", "keep fresh recent"),
    ];
    let rest = [
        ("four", OVER_TREES),
        ("three", RECENT),
        ("landed", "reap landed over max_trees"),
    ];
    let night = as_foreseen(&world);
    same(
        "seven stay",
        &fates(&world, &night),
        &map(&[&stays[..], &rest].concat()),
    );
    let four = night.worktrees().find(|tree| tree.path.ends_with("four"));
    assert_eq!(
        four.unwrap().reasons,
        [
            "goes before its age: the repo has 9 trees, more than worktrees.max_trees (7)",
            "clean, and its commits are on a branch that stays"
        ]
    );
    assert_eq!(night.repos[0].over_cap, None);
    same(
        "within the cap",
        &fates(&world, &as_foreseen(&world)),
        &map(&[&stays[..], &[("three", RECENT)]].concat()),
    );
    assert_eq!(
        shop.git(&["branch", "--list", "four", "--format=%(refname)"]),
        "refs/heads/four"
    );

    // However low the cap, the others stay, and the report says so.
    shop.set("worktrees: {landed: 30d, max_trees: 1}");
    let night = as_foreseen(&world);
    let unmet = "5 trees stay, more than worktrees.max_trees (1): none of them may go yet";
    assert_eq!(night.repos[0].over_cap.as_deref(), Some(unmet));
    same(
        "all that may go",
        &fates(&world, &night),
        &map(&[&stays[1..], &[("two", OVER_TREES), ("three", OVER_TREES)]].concat()),
    );
    for typed in [&["report"][..], &["report", "--format", "html"]] {
        // A page says where a long name may break.
        let told = world.treewarden(typed).out.replace("<wbr>", "");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(unmet), "{told}");
    }
}

#[test]
fn a_repo_that_rests_over_its_cap_is_still_told_of() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b"] {
        shop.tree(name).write("new.ts", "1\n").age(6.0);
    }
    shop.set("worktrees: {max_trees: 1}");
    let unmet = "2 trees stay, more than worktrees.max_trees (1): none of them may go yet";
    world.night();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    world.night();
    let rests = world.night().repos.remove(0);
    assert!(rests.unchanged_since.is_some(), "{rests:?}");
    assert_eq!(rests.over_cap.as_deref(), Some(unmet));
}

#[test]
fn over_max_bytes_trees_go_until_the_rest_fits() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for (name, days) in [("four", 4.0), ("three", 3.0), ("two", 2.0)] {
        let tree = shop.tree(name);
        tree.commit("large.bin", &name.repeat(1_000_000)).age(days);
    }
    // Its packages have a size as well, though no tree goes for having them.
    shop.tree("work")
        .write("new.ts", &"x".repeat(2_000_000))
        .age(6.0);
    shop.set("worktrees: {max_bytes: 10MiB}");
    let over = "reap saved over max_bytes";
    let all = map(&[
        ("four", over),
        ("three", RECENT),
        ("two", RECENT),
        ("work", "keep unsaved recent"),
    ]);
    let night = as_foreseen(&world);
    same("ten MiB stay", &fates(&world, &night), &all);
    let four = night.worktrees().find(|tree| tree.path.ends_with("four"));
    let why = &four.unwrap().reasons[0];
    let ends = ", more than worktrees.max_bytes (10.0 MiB)";
    assert!(
        why.starts_with("goes before its age: the repo's trees hold 13.") && why.ends_with(ends),
        "{why}"
    );
    shop.set("worktrees: {max_bytes: 1MiB}");
    let all = map(&[
        ("three", over),
        ("two", over),
        ("work", "keep unsaved recent"),
    ]);
    let night = as_foreseen(&world);
    same("only work stays", &fates(&world, &night), &all);
    let unmet = night.repos[0].over_cap.as_deref().unwrap();
    assert!(
        unmet.starts_with("trees of 1.9 MiB stay, more than worktrees.max_bytes (1.0 MiB)"),
        "{unmet}"
    );
}

/// Whoever types a cap that is far too low loses no more than by any other mistake.
#[test]
fn what_goes_for_a_cap_counts_for_max_reaped() {
    let world = World::new();
    world.set("run", "max_reaped: 4");
    let other = world.repo("acme/other");
    other.tree("landed").age(2.0);
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c", "d", "e"] {
        saved(&shop, name, 3.0);
    }
    shop.set("worktrees: {max_trees: 1}");
    let night = world.pass(1, &["run"]);
    let held = "spared saved too many at once";
    let all = map(&[
        ("landed", MERGED),
        ("a", held),
        ("b", held),
        ("c", held),
        ("d", held),
        ("e", RECENT),
    ]);
    let told = "5 trees would go, more than max_reaped (4), of acme/shop (4): the others went, none of these did";
    assert!(night.failures[0].starts_with(told), "{:?}", night.failures);
    same("fates", &fates(&world, &night), &all);
    shop.set("worktrees: {max_trees: 2}");
    let night = as_foreseen(&world);
    assert_eq!(night.totals.reaped, 3);
    assert_eq!(shop.registered().len(), 1 + 2);
}

#[test]
fn times_are_understood_as_people_say_them() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    saved(&shop, "saved", 3.0);
    shop.tree("fresh").not_worked_in().age(3.0);
    shop.set("worktrees: {saved: 1 week and 12 hours, fresh: 36 Days}");
    let by = |time: &str| {
        let report = world.pass(0, &["report", "--as-of", time, "--deadline", "90 minutes"]);
        fates(&world, &report)
    };
    let [saved, fresh] = ["saved saved on its branch", "fresh no commit yet"];
    let all = |saved: &str, fresh: &str| map(&[("saved", saved), ("fresh", fresh)]);
    same("now", &by("0 days"), &all(RECENT, "keep fresh recent"));
    same("by then", &by("4d10h"), &all(RECENT, "keep fresh recent"));
    let goes = format!("reap {saved}");
    same(
        "later",
        &by("in 4 days, 13 hours"),
        &all(&goes, "keep fresh recent"),
    );
    same(
        "last",
        &by("5 weeks"),
        &all(&goes, &format!("reap {fresh}")),
    );
    let report = world.pass(0, &["report"]);
    let told = |name: &str| {
        let tree = report.worktrees().find(|tree| tree.path.ends_with(name));
        tree.unwrap().reasons[0].clone()
    };
    assert_eq!(told("saved"), "saved trees go when idle for 180 hours");
    assert_eq!(told("fresh"), "fresh trees go when idle for 36 days");
    let ran = world.treewarden(&["report", "--as-of", "soon"]);
    assert!(
        ran.code == 2
            && ran
                .err
                .contains("a time to come such as 36 hours, 2 weeks, 2026-12-24"),
        "{ran:?}"
    );
}
