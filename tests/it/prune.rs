//! Registrations of missing trees: dropped one by one, and not at all if too many are missing.

use super::support::repo::{MISSING, MISSING_AT_ONCE, Repo, Tree};
use super::support::snapshot::{Standing, snapshot};
use super::support::{World, age, git, remove, same, try_git, write};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use treewarden::report::RunReport;

fn dropped(world: &World, report: &RunReport) -> Vec<String> {
    report
        .repos
        .iter()
        .flat_map(|repo| &repo.prune.dropped)
        .map(|path| world.below(path).to_string())
        .collect()
}

fn alerts(report: &RunReport) -> Vec<&str> {
    report
        .alerts
        .iter()
        .map(|alert| alert.name.as_str())
        .collect()
}

/// Returns a snapshot without the marks of trees that went missing at once, and without
/// directories' times, which the marks change.
fn without_marks(path: &Path) -> BTreeMap<PathBuf, Standing> {
    let mut seen = snapshot(path);
    seen.retain(|path, _| !path.ends_with(MISSING_AT_ONCE));
    for standing in seen
        .values_mut()
        .filter(|standing| standing.kind == "folder")
    {
        (standing.mtime, standing.ctime) = (0, 0);
    }
    seen
}

/// Creates a tree that was deleted since the last run.
fn deleted(repo: &Repo<'_>, name: &str) -> Tree {
    let tree = repo.tree(name);
    tree.age_admin(10.0);
    remove(&tree.path);
    tree
}

/// Creates a deleted tree with an admin directory that was untouched for so many days.
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
    let others: BTreeSet<_> = ["a", "b", "c", "gone-2-days"]
        .iter()
        .map(|name| shop.git_dir("worktrees").join(name))
        .collect();
    let before: Vec<_> = others.iter().map(|admin| snapshot(admin)).collect();
    let refs = shop.refs("refs");

    let report = world.night();
    assert_eq!(
        dropped(&world, &report),
        ["worktrees/acme__shop/gone-4-days"]
    );
    assert!(!old.admin.exists() && alerts(&report).is_empty());
    registered.remove("worktrees/acme__shop/gone-4-days");
    same("git worktree list", &shop.registered(), &registered);
    for (admin, before) in others.iter().zip(before) {
        same(&admin.display().to_string(), &snapshot(admin), &before);
    }
    same("refs", &shop.refs("refs"), &refs);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
}

/// The busy probe is asked right after the survey of the trees.
#[test]
fn one_that_returns_after_the_survey_keeps_its_registration() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name);
    }
    let [gone, back] = ["gone", "back"].map(|name| {
        let tree = shop.detached(name);
        tree.commit(&format!("{name}.ts"), "only here\n");
        std::fs::rename(&tree.path, world.beside(name)).unwrap();
        tree.age_admin(10.0);
        tree
    });
    shop.set(&format!(
        "busy_probe: [sh, -c, 'mv {away} {path}; exit 1']",
        away = world.beside("back").display(),
        path = back.path.display(),
    ));
    let mut registered = shop.registered();
    registered.remove("worktrees/acme__shop/gone");

    let report = world.night();
    assert_eq!(dropped(&world, &report), ["worktrees/acme__shop/gone"]);
    assert!(!gone.admin.exists() && back.path.exists());
    let rescued: Vec<String> = shop.refs("refs/treewarden/rescue").into_keys().collect();
    assert!(
        matches!(&rescued[..], [one] if one.starts_with("refs/treewarden/rescue/gone/")),
        "{rescued:?}"
    );
    assert_eq!(back.git(&["status", "--porcelain"]), "");
    registered.insert(
        "worktrees/acme__shop/back".to_owned(),
        shop.registered()["worktrees/acme__shop/back"].clone(),
    );
    same("git worktree list", &shop.registered(), &registered);
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
    let pass_days = |days: f64| {
        [&moved, &back, &touched]
            .iter()
            .filter(|tree| mark(tree).exists())
            .for_each(|tree| age(&mark(tree), days));
    };
    // Idle for weeks, but missing only since today.
    let before = snapshot(&shop.path);
    assert_eq!(dropped(&world, &world.pass(0, &["report"])), [""; 0]);
    same("after a report", &snapshot(&shop.path), &before);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    assert!(
        [&moved, &back, &touched]
            .iter()
            .all(|tree| mark(tree).exists())
    );
    pass_days(2.9);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    // One returns for a single run; in the other's registration, git is still at work.
    std::fs::rename(world.beside("back"), &back.path).unwrap();
    age(&touched.admin.join("HEAD"), 1.0);
    world.set("defaults", "worktrees: {landed: 40d}");
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    assert!(!mark(&back).exists() && mark(&moved).exists());
    std::fs::rename(&back.path, world.beside("back")).unwrap();
    pass_days(3.1);
    assert_eq!(
        dropped(&world, &world.night()),
        ["worktrees/acme__shop/moved"]
    );
    assert!(mark(&back).exists() && mark(&touched).exists());
    pass_days(3.1);
    age(&touched.admin.join("HEAD"), 4.0);
    assert_eq!(
        dropped(&world, &world.night()),
        ["worktrees/acme__shop/back", "worktrees/acme__shop/touched"]
    );
}

#[test]
fn a_tree_missing_in_each_of_many_repos_is_refused_and_alerted() {
    // How many repos miss one of their two trees, and whether their registrations are dropped.
    for (repos, goes) in [(12, false), (5, true)] {
        let world = World::new();
        let names: Vec<String> = (0..repos).map(|n| format!("acme/r{n:02}")).collect();
        names.par_iter().for_each(|name| {
            let repo = world.repo(name);
            repo.tree("stands");
            if goes {
                missing(&repo, "gone", 10.0)
            } else {
                deleted(&repo, "gone")
            };
            // In the first repo nothing is missing, so nothing is refused.
            if name == "acme/r00" {
                remove(&repo.git_dir("worktrees/gone"));
            }
        });
        let report = world.night();
        let expected: Vec<_> = (1..repos)
            .map(|n| format!("worktrees/acme__r{n:02}/gone"))
            .filter(|_| goes)
            .collect();
        assert_eq!(dropped(&world, &report), expected);
        let refused: Vec<&str> = report
            .repos
            .iter()
            .filter(|repo| repo.prune.refused.is_some())
            .map(|repo| repo.name.as_str())
            .collect();
        if goes {
            assert_eq!((refused.len(), alerts(&report)), (0, vec![]));
        } else {
            assert_eq!(
                refused,
                names[1..].iter().map(String::as_str).collect::<Vec<_>>()
            );
            assert_eq!(alerts(&report), ["MissingTreesRefused"]);
            let why = report.repos[1].prune.refused.as_ref().unwrap();
            assert!(
                why.contains(
                    "11 trees of 23 on the volume went missing at once, since the last run"
                ),
                "{why}"
            );
        }
    }
}

#[test]
fn what_went_missing_with_many_others_waits_for_somebodys_word() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let trees = ["a", "b", "c"].map(|name| shop.tree(name));
    for tree in &trees[1..] {
        tree.age(10.0);
        remove(&tree.path);
    }
    let refused = |day: f64| {
        for tree in &trees[1..] {
            let marks: Vec<_> = [MISSING, MISSING_AT_ONCE]
                .map(|mark| tree.admin.join(mark).exists())
                .into();
            assert_eq!(marks, [false, day > 0.0], "day {day}");
            if day > 0.0 {
                age(&tree.admin.join(MISSING_AT_ONCE), day);
            }
        }
        let report = world.night();
        assert_eq!(
            (alerts(&report), dropped(&world, &report).len()),
            (vec!["MissingTreesRefused"], 0),
            "day {day}"
        );
        let why = report.repos[0].prune.refused.clone().unwrap();
        assert!(
            why.contains("2 trees") && why.contains("went missing at once"),
            "{why}"
        );
        assert!(
            why.contains("`treewarden worktree remove acme/shop NAME --rescue`"),
            "{why}"
        );
    };
    for day in [0.0, 1.0, 40.0] {
        refused(day);
    }
    // The refused ones don't hold up another tree that goes missing by itself.
    trees[0].age(10.0);
    remove(&trees[0].path);
    assert_eq!(dropped(&world, &world.night()), [""; 0]);
    assert!(trees[0].admin.join(MISSING).exists());
    age(&trees[0].admin.join(MISSING), 3.1);
    assert_eq!(dropped(&world, &world.night()), ["worktrees/acme__shop/a"]);
    // A person's decision, or the tree's return, ends the alert.
    let removed = world.treewarden(&["worktree", "remove", "acme/shop", "b", "--rescue"]);
    assert_eq!(
        (removed.code, trees[1].admin.exists()),
        (0, false),
        "{removed:?}"
    );
    shop.git(&["worktree", "repair"]);
    git(
        &world.root,
        0.0,
        &["clone", "-q", "acme__shop", trees[2].path.to_str().unwrap()],
    );
    remove(&trees[2].path.join(".git"));
    write(
        &trees[2].path.join(".git"),
        format!("gitdir: {}\n", trees[2].admin.display()),
    );
    let report = world.night();
    assert_eq!(
        (
            alerts(&report),
            trees[2].admin.join(MISSING_AT_ONCE).exists()
        ),
        (vec![], false),
        "{report:?}"
    );
}

#[test]
fn trees_that_go_a_few_at_a_time_are_dropped_a_few_at_a_time() {
    let world = World::new();
    world.set("defaults", "worktrees: {landed: 40d, saved: 40d}");
    let shop = world.repo("acme/shop");
    let others: Vec<_> = (0..7).map(|n| world.repo(&format!("acme/r{n}"))).collect();
    let trees: Vec<Tree> = (0..20).map(|n| shop.tree(&format!("t{n:02}"))).collect();
    let more: Vec<Tree> = others
        .iter()
        .flat_map(|repo| {
            (0..3)
                .map(|n| repo.tree(&format!("t{n}")))
                .collect::<Vec<_>>()
        })
        .collect();
    for tree in trees.iter().chain(&more) {
        tree.age(10.0);
    }
    // Of 20 trees, three go missing one day and three two days later; in the other repos it is
    // about one a day, until a third of all trees is gone.
    let days: [&[&Tree]; 9] = [
        &[&trees[0], &trees[1], &trees[2], &more[0]],
        &[&more[3]],
        &[&trees[3], &trees[4], &trees[5], &more[6]],
        &[&more[9]],
        &[&more[12], &trees[6]],
        &[&more[15]],
        &[],
        &[],
        &[],
    ];
    let mut gone: Vec<&Tree> = Vec::new();
    for (day, goes) in days.iter().enumerate() {
        for tree in *goes {
            remove(&tree.path);
            gone.push(tree);
        }
        let report = world.night();
        assert_eq!(alerts(&report), [""; 0], "day {day}");
        for tree in &gone {
            let mark = tree.admin.join(MISSING);
            if mark.exists() {
                let since = mark
                    .metadata()
                    .unwrap()
                    .modified()
                    .unwrap()
                    .elapsed()
                    .unwrap();
                age(&mark, since.as_secs_f64() / 86_400.0 + 1.0);
            }
        }
    }
    let left: Vec<_> = gone
        .iter()
        .filter(|tree| tree.admin.exists())
        .map(|tree| world.below(&tree.path).to_string())
        .collect();
    assert_eq!((left, gone.len()), (Vec::<String>::new(), 13));
}

#[test]
fn the_word_for_a_missing_tree_keeps_its_staged_files_and_its_commits() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.detached("gone");
    tree.commit("lonely.ts", "1\n")
        .write("staged.ts", "only staged\n")
        .git(&["add", "staged.ts"]);
    let commit = tree.git(&["rev-parse", "HEAD"]);
    remove(&tree.path);
    let without = world.treewarden(&["worktree", "remove", "acme/shop", "gone"]);
    assert!(
        without.code == 1 && without.err.contains("--rescue") && tree.admin.exists(),
        "{without:?}"
    );
    shop.git(&["worktree", "lock", "gone"]);
    let locked = world.treewarden(&["worktree", "remove", "acme/shop", "gone", "--rescue"]);
    assert!(
        locked.code == 1 && locked.err.contains("git worktree unlock") && tree.admin.exists(),
        "{locked:?}"
    );
    shop.git(&["worktree", "unlock", "gone"]);
    let with = world.treewarden(&["worktree", "remove", "acme/shop", "gone", "--rescue"]);
    assert!(
        with.code == 0 && with.out.contains("its work is rescued") && !tree.admin.exists(),
        "{with:?}"
    );
    shop.git(&["gc", "-q", "--prune=now"]);
    let id = shop
        .refs("refs/treewarden/rescue/gone")
        .into_keys()
        .next()
        .unwrap();
    assert_eq!(
        try_git(
            &shop.path,
            0.0,
            &["merge-base", "--is-ancestor", &commit, &id]
        )
        .0,
        Some(0)
    );
    let restored = world.treewarden(&[
        "rescue",
        "restore",
        id.strip_prefix("refs/treewarden/rescue/").unwrap(),
    ]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(git(&tree.path, 0.0, &["show", ":staged.ts"]), "only staged");
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
    let rescue: Vec<String> = shop
        .refs("refs/treewarden/rescue/gone")
        .into_keys()
        .collect();
    let (code, ..) = try_git(
        &shop.path,
        0.0,
        &["merge-base", "--is-ancestor", &commit, &rescue[0]],
    );
    assert_eq!(code, Some(0));
}

#[test]
fn many_missing_at_once_are_refused_and_alerted() {
    // How many trees there are, how many are missing, and whether they are dropped.
    for (all, gone, goes) in [
        (4, 3, false),
        (2, 2, false),
        (13, 6, false),
        (11, 5, true),
        (3, 1, true),
    ] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        let elsewhere = world.repo("acme/other");
        // So many trees that the missing ones are few on the whole volume.
        for n in 0..12 {
            elsewhere.tree(&format!("a{n}"));
        }
        missing(&elsewhere, "gone", 10.0);
        for n in 0..all {
            if n < gone {
                if goes {
                    missing(&shop, &format!("t{n}"), 10.0)
                } else {
                    deleted(&shop, &format!("t{n}"))
                }
            } else {
                shop.tree(&format!("t{n}"))
            };
        }
        let before = without_marks(&shop.git_dir("worktrees"));
        let report = world.night();
        let mut expected = vec!["worktrees/acme__other/gone".to_owned()];
        if goes {
            expected.extend((0..gone).map(|n| format!("worktrees/acme__shop/t{n}")));
            assert_eq!(alerts(&report), [""; 0]);
        } else {
            same(
                &format!("{gone} of {all}"),
                &without_marks(&shop.git_dir("worktrees")),
                &before,
            );
            assert_eq!(alerts(&report), ["MissingTreesRefused"], "{gone} of {all}");
            assert!(
                report.alerts[0].summary.contains("acme/shop")
                    && !report.alerts[0].summary.contains("acme/other")
            );
            let why = report
                .repos
                .iter()
                .find(|repo| repo.name == "acme/shop")
                .unwrap()
                .prune
                .refused
                .clone()
                .unwrap();
            assert!(
                why.contains(&format!("{gone} trees of {all} went missing at once")),
                "{why}"
            );
        }
        assert_eq!(dropped(&world, &report), expected, "{gone} of {all}");
    }
}

#[test]
fn a_directory_of_trees_that_is_not_mounted_drops_nothing() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for name in ["a", "b", "c"] {
        shop.tree(name).age(10.0);
    }
    std::fs::rename(world.at("worktrees"), world.beside("unmounted")).unwrap();
    let before = without_marks(&shop.path);
    let report = world.night();
    assert_eq!(
        (dropped(&world, &report).len(), alerts(&report)),
        (0, vec!["MissingTreesRefused"])
    );
    same("the repo", &without_marks(&shop.path), &before);
    // When the directory is back, the trees are reaped as usual.
    std::fs::rename(world.beside("unmounted"), world.at("worktrees")).unwrap();
    assert_eq!(world.night().totals.reaped, 3);
}

#[test]
fn a_note_that_proves_nothing_makes_no_missing_tree_ours() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // More than half are missing, and somebody moved them into our trash with a note that has less
    // in it than ours.
    for (n, name) in ["one", "two"].iter().enumerate() {
        let tree = shop.tree(name);
        let bin = world.at(format!(
            ".treewarden/trash/1b4e28ba-2fa1-11d2-883f-0016d3cca42{n}"
        ));
        write(
            &bin.join("note.json"),
            format!(
                "{{\"schema\":\"treewarden.taken/1\",\"from\":\"{}\"}}",
                tree.path.display()
            ),
        );
        std::fs::rename(&tree.path, bin.join("0")).unwrap();
    }
    let before = shop.registered();
    let report = world.night();
    assert_eq!(
        (dropped(&world, &report).len(), alerts(&report)),
        (0, vec!["MissingTreesRefused"])
    );
    same("git worktree list", &shop.registered(), &before);
}

#[test]
fn staged_work_in_a_split_index_stays_until_the_index_is_made_one() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let other = shop.tree("other");
    let tree = shop.tree("split");
    tree.write("work.txt", "mine\n").git(&["add", "work.txt"]);
    tree.git(&["update-index", "--split-index"]);
    tree.age_admin(10.0);
    remove(&tree.path);
    let report = world.night();
    let why = report
        .worktrees()
        .find(|row| row.path == tree.path)
        .unwrap()
        .reasons
        .concat();
    let remedy = format!(
        "git --git-dir='{}' --work-tree=. update-index --no-split-index",
        tree.admin.display()
    );
    assert!(why.contains(&format!("`{remedy}`")), "{why}");
    let words: Vec<&str> = remedy
        .split(' ')
        .skip(1)
        .map(|word| word.trim_start_matches("--git-dir="))
        .collect();
    let admin = format!("--git-dir={}", words[0].trim_matches('\''));
    git(&other.path, 0.0, &[&[admin.as_str()], &words[1..]].concat());
    tree.age_admin(10.0);
    assert_eq!(
        dropped(&world, &world.night()),
        ["worktrees/acme__shop/split"]
    );
    assert!(!shop.refs("refs/treewarden/rescue").is_empty());
}
