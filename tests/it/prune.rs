//! Registrations of trees that are gone: dropped one by one, and not at all when too much is missing.

use super::support::repo::{MISSING, Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{World, age, map, remove, same, try_git, write};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use treewarden::report::RunReport;

fn dropped(world: &World, report: &RunReport) -> Vec<String> {
    report.repos.iter().flat_map(|repo| &repo.prune.dropped).map(|path| world.below(path).to_string()).collect()
}

fn alerts(report: &RunReport) -> Vec<&str> {
    report.alerts.iter().map(|alert| alert.name.as_str()).collect()
}

/// A tree that somebody deleted, and whose admin folder nobody touched for so many days.
fn missing(repo: &Repo<'_>, name: &str, days: f64) -> Tree {
    let tree = repo.tree(name);
    remove(&tree.path);
    tree.age_admin(days);
    tree
}

#[test]
fn one_goes_after_its_grace_and_the_others_stay() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name);
    }
    let old = missing(&shop, "gone-4-days", 4.0);
    missing(&shop, "gone-2-days", 2.0);
    let mut registered = shop.registered();
    let others: BTreeSet<_> = ["a", "b", "c", "gone-2-days"].iter().map(|name| shop.git_dir("worktrees").join(name)).collect();
    let before: Vec<_> = others.iter().map(|admin| snapshot(admin)).collect();
    let refs = shop.refs("refs");

    let report = world.night();
    assert_eq!(dropped(&world, &report), ["worktrees/acme__shop/gone-4-days"]);
    assert!(!old.admin.exists() && alerts(&report).is_empty());
    registered.remove("worktrees/acme__shop/gone-4-days");
    same("git worktree list", &shop.registered(), &registered);
    for (admin, before) in others.iter().zip(before) {
        same(&admin.display().to_string(), &snapshot(admin), &before);
    }
    same("refs", &shop.refs("refs"), &refs);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
}

#[test]
fn a_tree_must_have_been_missing_for_as_long() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name);
    }
    let [moved, back, touched] = ["moved", "back", "touched"].map(|name| {
        let tree = shop.tree(name);
        tree.age(20.0);
        std::fs::rename(&tree.path, world.beside(name)).unwrap();
        tree
    });
    let mark = |tree: &Tree| tree.admin.join(MISSING);
    let pass_days = |days: f64| [&moved, &back, &touched].iter().filter(|tree| mark(tree).exists()).for_each(|tree| age(&mark(tree), days));
    // Idle for weeks, and missing since today.
    let before = snapshot(&shop.path);
    assert_eq!(dropped(&world, &world.pass(0, &["report"])), [""; 0]);
    same("after a report", &snapshot(&shop.path), &before);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    assert!([&moved, &back, &touched].iter().all(|tree| mark(tree).exists()));
    pass_days(2.9);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    // One is there again for a night, one is worked with by its registration alone.
    std::fs::rename(world.beside("back"), &back.path).unwrap();
    age(&touched.admin.join("HEAD"), 1.0);
    world.set("defaults", "worktrees: {landed: 40d}");
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    assert!(!mark(&back).exists() && mark(&moved).exists());
    std::fs::rename(&back.path, world.beside("back")).unwrap();
    pass_days(3.1);
    assert_eq!(dropped(&world, &world.night()), ["worktrees/acme__shop/moved"]);
    assert!(mark(&back).exists() && mark(&touched).exists());
    pass_days(3.1);
    age(&touched.admin.join("HEAD"), 4.0);
    assert_eq!(dropped(&world, &world.night()), ["worktrees/acme__shop/back", "worktrees/acme__shop/touched"]);
}

#[test]
fn a_tree_missing_in_each_of_many_repos_is_refused_and_alerted() {
    // How many repos miss one of their two trees, and whether they go.
    for (repos, goes) in [(12, false), (5, true)] {
        let world = World::new();
        let names: Vec<String> = (0..repos).map(|n| format!("acme/r{n:02}")).collect();
        names.par_iter().for_each(|name| {
            let repo = world.repo(name);
            repo.tree("stands");
            missing(&repo, "gone", 10.0);
            // With nothing missing, there is nothing to refuse.
            if name == "acme/r00" {
                remove(&repo.git_dir("worktrees/gone"));
            }
        });
        let report = world.night();
        let expected: Vec<_> = (1..repos).map(|n| format!("worktrees/acme__r{n:02}/gone")).filter(|_| goes).collect();
        assert_eq!(dropped(&world, &report), expected);
        let refused: Vec<&str> = report.repos.iter().filter(|repo| repo.prune.refused.is_some()).map(|repo| repo.name.as_str()).collect();
        if goes {
            assert_eq!((refused.len(), alerts(&report)), (0, vec![]));
        } else {
            assert_eq!(refused, names[1..].iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(alerts(&report), ["MissingTreesRefused"]);
            let why = report.repos[1].prune.refused.as_ref().unwrap();
            assert!(why.contains("11 trees of 23 on the volume are missing at once"), "{why}");
        }
    }
}

#[test]
fn no_grace_begins_while_too_much_is_missing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let trees = ["a", "b", "c"].map(|name| shop.tree(name));
    for tree in &trees[1..] {
        tree.age(10.0);
        remove(&tree.path);
    }
    let report = world.night();
    assert_eq!(alerts(&report), ["MissingTreesRefused"]);
    assert!(trees.iter().all(|tree| !tree.admin.join(MISSING).exists()));
}

#[test]
fn commits_that_only_a_missing_tree_reached_are_kept() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("a");
    shop.tree("b");
    let gone = shop.detached("gone");
    gone.commit("lonely.ts", "1\n");
    let commit = gone.git(&["rev-parse", "HEAD"]);
    remove(&gone.path);
    gone.age_admin(10.0);
    let report = world.night();
    assert_eq!(dropped(&world, &report), ["worktrees/acme__shop/gone"]);
    shop.git(&["gc", "-q", "--prune=now"]);
    let rescue: Vec<String> = shop.refs("refs/treewarden/rescue/gone").into_keys().collect();
    let (code, ..) = try_git(&shop.path, 0.0, &["merge-base", "--is-ancestor", &commit, &rescue[0]]);
    assert_eq!(code, Some(0));
}

#[test]
fn many_missing_at_once_are_refused_and_alerted() {
    // How many trees there are, how many of them are missing, and whether they go.
    for (all, gone, goes) in [(4, 3, false), (2, 2, false), (13, 6, false), (11, 5, true), (3, 1, true)] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        let elsewhere = world.repo("acme/other");
        // So many that what is missing here is not much of the whole volume.
        for n in 0..12 {
            elsewhere.tree(&format!("a{n}"));
        }
        missing(&elsewhere, "gone", 10.0);
        for n in 0..all {
            if n < gone {
                missing(&shop, &format!("t{n}"), 10.0)
            } else {
                shop.tree(&format!("t{n}"))
            };
        }
        let before = snapshot(&shop.git_dir("worktrees"));
        let report = world.night();
        let mut expected = vec!["worktrees/acme__other/gone".to_owned()];
        if goes {
            expected.extend((0..gone).map(|n| format!("worktrees/acme__shop/t{n}")));
            assert_eq!(alerts(&report), [""; 0]);
        } else {
            same(&format!("{gone} of {all}"), &snapshot(&shop.git_dir("worktrees")), &before);
            assert_eq!(alerts(&report), ["MissingTreesRefused"], "{gone} of {all}");
            assert!(report.alerts[0].summary.contains("acme/shop") && !report.alerts[0].summary.contains("acme/other"));
            let why = report.repos.iter().find(|repo| repo.name == "acme/shop").unwrap().prune.refused.clone().unwrap();
            assert!(why.contains(&format!("{gone} trees of {all} are missing at once")), "{why}");
        }
        assert_eq!(dropped(&world, &report), expected, "{gone} of {all}");
    }
}

#[test]
fn a_folder_of_trees_that_is_not_mounted_drops_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name).age(10.0);
    }
    std::fs::rename(world.at("worktrees"), world.beside("unmounted")).unwrap();
    let before = snapshot(&shop.path);
    let report = world.night();
    assert_eq!((dropped(&world, &report).len(), alerts(&report)), (0, vec!["MissingTreesRefused"]));
    same("the repo", &snapshot(&shop.path), &before);
    // And when it is there again, all is as it was: they go for what they are.
    std::fs::rename(world.beside("unmounted"), world.at("worktrees")).unwrap();
    assert_eq!(world.night().totals.reaped, 3);
}

#[test]
fn a_tree_that_a_killed_night_took_is_dropped_at_once() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // More than half are missing, and this minute's: but they are in our own trash.
    for (n, name) in ["one", "two"].iter().enumerate() {
        let tree = shop.tree(name);
        let bin = world.at(format!(".treewarden/trash/1b4e28ba-2fa1-11d2-883f-0016d3cca42{n}"));
        write(&bin.join("note.json"), format!("{{\"from\":\"{}\"}}", tree.path.display()));
        std::fs::rename(&tree.path, bin.join("0")).unwrap();
    }
    let report = world.night();
    assert_eq!(dropped(&world, &report), ["worktrees/acme__shop/one", "worktrees/acme__shop/two"]);
    assert!(report.totals.freed_by_trash > 0 && alerts(&report).is_empty());
    same("git worktree list", &shop.registered(), &map(&[("acme__shop", "main")]));
    same(
        "the branches",
        &shop.refs("refs/heads").keys().map(|name| (name.clone(), ())).collect(),
        &["main", "one", "two"].iter().map(|name| (format!("refs/heads/{name}"), ())).collect(),
    );
    world.night();
    assert_eq!(std::fs::read_dir(world.at(".treewarden/trash")).unwrap().count(), 0);
}

#[test]
fn a_note_in_the_trash_harms_no_tree_that_stands() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("stands");
    for (n, from) in [tree.path.as_path(), Path::new("/"), Path::new("/etc"), &shop.path].iter().enumerate() {
        let bin = world.at(format!(".treewarden/trash/forged-{n}"));
        write(&bin.join("note.json"), format!("{{\"from\":\"{}\"}}", from.display()));
    }
    write(&world.at(".treewarden/trash/torn/note.json"), "{\"from\":\"/da");
    let before = (snapshot(&tree.path), shop.registered());
    let report = world.night();
    assert_eq!(dropped(&world, &report), [""; 0]);
    same("the tree", &snapshot(&tree.path), &before.0);
    same("git worktree list", &shop.registered(), &before.1);
}
