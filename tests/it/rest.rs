//! Unchanged repos: a run without changes does no survey, and whatever changed is surveyed.

use super::support::repo::{Repo, Tree};
use super::support::{Ran, World, age, git, map, remove, same, write};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use treewarden::report::{RepoOutcome, RunReport};

/// A survey isn't cached if something changed this shortly before it, because the server's clock
/// has ticks.
const RACY: Duration = Duration::from_millis(2100);

/// Runs until nothing is left to be surveyed for the first time.
fn settle(world: &World) {
    world.night();
    std::thread::sleep(RACY);
    world.night();
}

/// Returns which repos were skipped as unchanged, and which were surveyed.
fn rested(report: &RunReport) -> BTreeMap<String, String> {
    let told = |repo: &treewarden::report::Repo| {
        assert!(
            matches!(repo.outcome, RepoOutcome::Maintained | RepoOutcome::Planned),
            "{repo:#?}"
        );
        (
            repo.name.clone(),
            if repo.unchanged_since.is_some() {
                "rested"
            } else {
                "looked at"
            }
            .to_owned(),
        )
    };
    report.repos.iter().map(told).collect()
}

/// Does a run that can't find git, and so fails wherever it needs git.
fn without_git(world: &World) -> Ran {
    world
        .start_as(&[("PATH", "/nowhere")], &["run", "--format", "json"])
        .end()
}

fn saved(repo: &Repo<'_>, name: &str) -> Tree {
    let tree = repo.tree(name);
    tree.commit("work.ts", "1\n").age(3.0);
    tree
}

#[test]
fn an_idle_night_starts_no_git_and_walks_no_tree() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("lost").write("new.ts", "1\n").age(31.0);
    let taken = world.night().run.started;
    let tree = saved(&shop, "saved");
    let dirty = shop.tree("dirty");
    dirty.write("new.ts", "1\n").age(3.0);
    shop.tree("young");
    world
        .at("worktrees/acme__shop/stray")
        .join("x")
        .parent()
        .map(fs::create_dir_all)
        .unwrap()
        .unwrap();
    let first = world.night();
    assert_eq!(
        without_git(&world).code,
        0,
        "a look at a plain repo needs no git"
    );
    let config = shop.git_dir("config");
    fs::write(
        &config,
        fs::read_to_string(&config).unwrap()
            + "# A comment, of which git itself has to be asked.\n",
    )
    .unwrap();
    assert_ne!(without_git(&world).code, 0, "git is needed for a look");
    std::thread::sleep(RACY);
    let second = world.night();
    // A survey would no longer find this tree saved.
    tree.write("work.ts", "edited\n");
    let ran = without_git(&world);
    assert_eq!(ran.code, 0, "{}", ran.troubles());
    let third = ran.report();
    assert_eq!(
        (rested(&second), rested(&third)),
        (
            map(&[("acme/shop", "looked at")]),
            map(&[("acme/shop", "rested")])
        )
    );
    let fates = map(&[
        ("acme/shop worktrees/acme__shop/saved", "keep saved recent"),
        (
            "acme/shop worktrees/acme__shop/dirty",
            "keep unsaved recent",
        ),
        ("acme/shop worktrees/acme__shop/young", "keep recent"),
        ("acme/shop worktrees/acme__shop/stray", "keep empty"),
    ]);
    let expires = (taken + chrono::TimeDelta::days(30)).timestamp();
    for report in [&first, &second, &third] {
        same("fates", &world.fates(report), &fates);
        let rescues = &report.repos[0].rescues;
        let next = rescues.next_expires.map(|next| next.timestamp());
        assert_eq!((rescues.kept, next), (1, Some(expires)));
    }
    let idle = |report: &RunReport| {
        report.repos[0]
            .worktrees
            .iter()
            .map(|tree| tree.idle_seconds)
            .collect::<Vec<_>>()
    };
    let later = (third.run.started - second.run.started).num_seconds();
    for (before, after) in idle(&second).into_iter().zip(idle(&third)) {
        let grown = after.zip(before).map(|(after, before)| after - before);
        assert!(
            grown.is_none_or(|grown| grown.abs_diff(u64::try_from(later).unwrap()) <= 1),
            "{grown:?} of {later} s"
        );
    }
    assert_eq!(second.repos[0].gc.before, third.repos[0].gc.before);

    // When the tree is due it is surveyed, and is no longer what it was.
    let due = world.pass(0, &["report", "--as-of", "10d"]);
    assert_eq!(rested(&due), map(&[("acme/shop", "looked at")]));
    assert_eq!(
        world.fates(&due)["acme/shop worktrees/acme__shop/saved"],
        "keep unsaved recent"
    );
    drop(dirty);
}

#[test]
fn a_forged_look_holds_for_no_longer_than_an_honest_one() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    saved(&shop, "saved");
    settle(&world);
    assert_eq!(rested(&world.night()), map(&[("acme/shop", "rested")]));
    let path = world.at(".treewarden/looks/acme__shop.json");
    let honest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let forge = |at: f64, mtime: f64| {
        let mut look = honest.clone();
        look["until"] = "2099-01-01T00:00:00Z".into();
        look["at"] = chrono::DateTime::<chrono::Utc>::from(super::support::ago(at))
            .to_rfc3339()
            .into();
        write(&path, serde_json::to_string(&look).unwrap());
        age(&path, mtime);
    };
    for (at, mtime, expected) in [
        (1.0, 1.0, "rested"),
        (7.5, 1.0, "looked at"),
        (1.0, 7.5, "looked at"),
        (1.0, -1.0, "looked at"),
        (-1.0, 0.0, "looked at"),
    ] {
        forge(at, mtime);
        let report = world.pass(0, &["report"]);
        assert_eq!(
            rested(&report),
            map(&[("acme/shop", expected)]),
            "at {at}, written {mtime}"
        );
    }
}

/// A change in a repo with two trees, one of them saved.
type Change = fn(&Repo<'_>, &Tree);

#[test]
fn whatever_git_writes_wakes_a_repo() {
    let changes: [(&str, Change); 17] = [
        ("a-commit", |_, tree| {
            git(
                &tree.path,
                0.0,
                &["commit", "-q", "--allow-empty", "-m", "More"],
            );
        }),
        ("b-stage", |_, tree| {
            tree.write("staged.ts", "1\n").git(&["add", "staged.ts"]);
        }),
        ("c-branch", |repo, _| {
            repo.git(&["branch", "other"]);
        }),
        ("d-tree", |repo, _| {
            repo.tree("another");
        }),
        ("e-lock", |repo, tree| {
            repo.git(&["worktree", "lock", tree.path.to_str().unwrap()]);
        }),
        ("f-gone", |_, tree| remove(&tree.path)),
        ("g-moved-in", |_, tree| {
            fs::rename(&tree.path, tree.path.with_extension("old")).unwrap();
            fs::create_dir(&tree.path).unwrap();
            fs::copy(
                tree.path.with_extension("old").join(".git"),
                tree.path.join(".git"),
            )
            .unwrap();
        }),
        ("h-config", |repo, _| {
            repo.git(&["config", "user.name", "Somebody"]);
        }),
        ("i-stray", |repo, tree| {
            write(&tree.path.with_file_name("stray").join("file"), &repo.name);
        }),
        ("j-landed", |repo, _| {
            repo.git(&["update-ref", "refs/remotes/origin/main", "saved"]);
        }),
        ("k-packed", |repo, _| {
            repo.git(&["repack", "-q", "-a", "-d"]);
        }),
        ("l-object", |repo, _| {
            write(&repo.path.join("object"), "an object of its own\n");
            repo.git(&["hash-object", "-w", "object"]);
        }),
        ("m-lock-file", |repo, _| {
            write(&repo.git_dir("index.lock"), "");
        }),
        ("n-heartbeat", |_, tree| {
            write(&tree.admin.join("treewarden-heartbeat"), "");
        }),
        ("o-policy", |repo, _| repo.set("worktrees: {saved: 20d}")),
        ("p-attributes", |repo, _| {
            write(&repo.git_dir("info/attributes"), "*.ts text\n");
        }),
        ("q-written-back", |_, tree| {
            let head = fs::read(tree.admin.join("HEAD")).unwrap();
            fs::write(tree.admin.join("HEAD"), head).unwrap();
            age(&tree.admin.join("HEAD"), 3.0);
        }),
    ];
    let world = World::new();
    let made: Vec<(Repo<'_>, Tree, Change)> = changes
        .iter()
        .map(|(name, change)| {
            let repo = world.repo(&format!("acme/{name}"));
            let tree = saved(&repo, "saved");
            repo.tree("young");
            (repo, tree, *change)
        })
        .collect();
    let bystander = world.repo("acme/nothing");
    saved(&bystander, "saved");
    settle(&world);
    let all = |what: &str| {
        let names = made
            .iter()
            .map(|(repo, ..)| (repo.name.clone(), what.to_owned()));
        names
            .chain([(bystander.name.clone(), "rested".to_owned())])
            .collect::<BTreeMap<_, _>>()
    };
    same("before", &rested(&world.night()), &all("rested"));
    for (repo, tree, change) in &made {
        change(repo, tree);
    }
    same("after", &rested(&world.night()), &all("looked at"));
}

#[test]
fn nobody_rests_while_somebody_works_or_a_part_is_asked_for() {
    let world = World::new();
    let held = world.repo("acme/held");
    saved(&held, "saved");
    let probed = world.repo("acme/probed");
    let answer = world.beside("answer");
    fs::write(&answer, "exit 1\n").unwrap();
    probed.set(&format!("busy_probe: [sh, {}]", answer.display()));
    settle(&world);
    let both = |held: &str, probed: &str| map(&[("acme/held", held), ("acme/probed", probed)]);
    assert_eq!(rested(&world.night()), both("rested", "rested"));
    assert_eq!(
        rested(&world.pass(0, &["run", "--only", "gc"])),
        both("looked at", "looked at")
    );
    let reasons = |report: &RunReport| {
        report
            .repos
            .iter()
            .map(|repo| repo.gc.reason.clone())
            .collect::<Vec<_>>()
    };
    let before = reasons(&world.night());
    assert_eq!(
        rested(&world.pass(0, &["run", "--only", "reap"])),
        both("looked at", "looked at")
    );
    // A run over one part doesn't overwrite what is cached of the other parts.
    let after = world.pass(0, &["report"]);
    assert_eq!(
        (rested(&after), reasons(&after)),
        (both("rested", "rested"), before)
    );
    let lock = world.hold("acme__held");
    fs::write(&answer, "exit 0\n").unwrap();
    let busy = world.night();
    assert_eq!(
        busy.repos
            .iter()
            .map(|repo| repo.outcome)
            .collect::<Vec<_>>(),
        [RepoOutcome::Busy; 2],
        "{busy:#?}"
    );
    drop(lock);
}

#[test]
fn a_forged_look_can_only_keep() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    saved(&shop, "saved");
    settle(&world);
    assert_eq!(rested(&world.night()), map(&[("acme/shop", "rested")]));
    let file = world.at(".treewarden/looks/acme__shop.json");
    let text = fs::read_to_string(&file).unwrap();
    let forged = text
        .replace("\"outcome\":\"kept\"", "\"outcome\":\"reaped\"")
        .replace("\"verdict\":\"keep\"", "\"verdict\":\"reap\"");
    assert_ne!(text, forged);
    fs::write(&file, forged).unwrap();
    let night = world.night();
    assert_eq!(
        (rested(&night), night.totals.reaped),
        (map(&[("acme/shop", "rested")]), 0)
    );
    same(
        "fates",
        &world.fates(&night),
        &map(&[("acme/shop worktrees/acme__shop/saved", "unknown saved")]),
    );

    let year = text.replace("\"until\":\"20", "\"until\":\"21");
    let other = text.replace("treewarden.look/1", "treewarden.look/2");
    let long_ago = text.replace("\"at\":\"20", "\"at\":\"19");
    for bad in [
        &year[..year.len() - 1],
        &other,
        &long_ago,
        "",
        "[[[[[",
        "{}",
    ] {
        fs::write(&file, bad).unwrap();
        assert_eq!(
            rested(&world.pass(0, &["report"])),
            map(&[("acme/shop", "looked at")]),
            "{bad}"
        );
    }
    // No repo is skipped for more than a week.
    fs::write(&file, year).unwrap();
    assert_eq!(
        rested(&world.pass(0, &["report"])),
        map(&[("acme/shop", "rested")])
    );
    assert_eq!(
        rested(&world.pass(0, &["report", "--as-of", "7d"])),
        map(&[("acme/shop", "looked at")])
    );
    remove(&file);
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert_eq!(rested(&world.night()), map(&[("acme/shop", "looked at")]));
    assert!(
        file.symlink_metadata().unwrap().is_file(),
        "the link is replaced"
    );
}

#[test]
fn a_budget_wakes_repos_only_when_its_cache_is_over_it() {
    let world = World::new();
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models, budget: 3MiB, min_age: 0s}",
    );
    world.set("eviction", "min_age: 0s");
    let shop = world.repo("acme/shop");
    saved(&shop, "saved");
    let model = |name: &str, days: f64| {
        write(&world.at("caches/models").join(name), vec![1; 1 << 20]);
        age(&world.at("caches/models").join(name), days);
    };
    model("a", 3.0);
    model("b", 2.0);
    settle(&world);
    // The ledger has the time at which the repo's lock files were last read.
    let looked_at = || {
        let ledger = fs::read_to_string(world.at(".treewarden/ledger.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&ledger).unwrap()["repos"]["acme/shop"]["at"]
            .clone()
    };
    let night = |command: &str| {
        let before = looked_at();
        let report = world.pass(0, &[command]);
        assert_eq!(rested(&report), map(&[("acme/shop", "rested")]));
        let gone: Vec<String> = report
            .eviction
            .units
            .iter()
            .map(|unit| unit.unit.clone())
            .collect();
        (looked_at() != before, gone)
    };
    assert_eq!(night("run"), (false, vec![]), "two of three MiB");
    model("c", 1.0);
    model("d", 0.5);
    let oldest = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(
        night("report"),
        (false, oldest()),
        "a dry run writes no ledger"
    );
    assert_eq!(night("run"), (true, oldest()), "four of three MiB");
    assert_eq!(night("run"), (false, vec![]), "two again");
    let left: Vec<_> = fs::read_dir(world.at("caches/models"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
