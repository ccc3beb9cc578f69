//! `enroll` and `worktree add`, killed before each change that they or their git make: they leave a
//! complete checkout or tree, or none, and the next try succeeds.
//!
//! As in `kills.rs`, a day passes after a kill, and a run clears what a crashed git left. The
//! sample takes a minute; `TREEWARDEN_SWEEP=all` takes three. Only kills that happened are counted.

use super::enroll::state_directory;
use super::support::repo::{Layout, Repo};
use super::support::tracer::Act;
use super::support::{World, age, git, remove, try_git, write};
use std::path::Path;

/// Kills the command at later and later changes until it ends undisturbed, and returns the number
/// of kills. `judge` returns what is wrong with the result of the try with this number, and `there`
/// whether the result exists in spite of the kill.
fn sweep(
    world: &World,
    command: impl Fn(usize) -> Vec<String>,
    judge: impl Fn(usize) -> Option<String>,
    there: impl Fn(usize) -> bool,
) -> usize {
    let all = std::env::var("TREEWARDEN_SWEEP").is_ok_and(|sweep| sweep == "all");
    for (kills, number) in (1..).step_by(if all { 1 } else { 4 }).enumerate() {
        let command = command(number);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let traced = world.trace(&command, Act::KillAllBefore(number));
        assert!(!traced.hung, "{number}");
        let last = || {
            traced
                .calls
                .last()
                .map(|call| format!("{}: {} {}", call.who, call.name, call.path))
        };
        if traced.hit.is_none() {
            assert_eq!(
                (traced.ran.code, judge(number)),
                (0, None),
                "{:?}",
                traced.ran
            );
            return kills;
        }
        assert_eq!(
            (traced.ran.code, judge(number)),
            (137, None),
            "{:?}",
            last()
        );
        for entry in walkdir::WalkDir::new(&world.root)
            .into_iter()
            .map(Result::unwrap)
        {
            if entry
                .path()
                .extension()
                .is_some_and(|ending| ending == "lock")
                && entry
                    .path()
                    .components()
                    .any(|part| part.as_os_str() == ".git")
            {
                age(entry.path(), 1.0);
            }
        }
        let night = world.treewarden(&["run", "--only", "gc"]);
        assert!(
            night.code < 2 && state_directory(world).is_empty(),
            "{night:?}"
        );
        if there(number) {
            continue;
        }
        let again = world.treewarden(&command);
        assert_eq!(
            (again.code, judge(number)),
            (0, None),
            "{:?}: {again:?}",
            last()
        );
    }
    unreachable!("the loop returns")
}

/// Returns what is wrong with a checkout or tree, and nothing if it is missing.
fn odd(path: &Path) -> Option<String> {
    if !path.exists() {
        return None;
    }
    let (code, out, err) = try_git(path, 0.0, &["status", "--porcelain"]);
    (code != Some(0) || !out.is_empty() || !path.join("README.md").exists())
        .then(|| format!("{out}{err}"))
}

#[test]
#[ignore = "slow"]
fn a_killed_enroll_leaves_a_whole_checkout_or_none() {
    let world = World::new();
    let seed = Repo::clone(&world, "acme/seed");
    write(&seed.path.join("deep/down/file"), "x");
    seed.commit(1.0, "x", "x");
    seed.push();
    world.enrol(
        "acme/shop",
        &format!(
            "url: 'file://{}'",
            seed.git(&["remote", "get-url", "origin"])
        ),
    );
    let shop = Repo::there(&world, "acme/shop");
    let command = |_| {
        if shop.path.exists() {
            assert_eq!(shop.fsck(), "");
            remove(&shop.path);
        }
        vec!["enroll".to_owned(), "acme/shop".to_owned()]
    };
    let kills = sweep(&world, command, |_| odd(&shop.path), |_| false);
    println!("enroll: {kills} kills");
    assert!(kills > 15, "{kills}");
}

#[test]
#[ignore = "slow"]
fn a_killed_worktree_add_leaves_a_whole_tree_or_none() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let others = world.beside("others");
    git(
        &world.beside(""),
        0.0,
        &[
            "clone",
            "-q",
            &shop.git(&["remote", "get-url", "origin"]),
            others.to_str().unwrap(),
        ],
    );
    let others = Repo {
        world: &world,
        name: "others".to_owned(),
        path: others,
        layout: Layout::Plain,
    };
    let command = |number: usize| {
        others.commit(0.0, "new", &number.to_string());
        others.push();
        [
            "worktree",
            "add",
            "acme/shop",
            &format!("tree-{number}"),
            "--from",
            "main",
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let place = |number: usize| format!("worktrees/acme__shop/tree-{number}");
    let judge = |number: usize| {
        let path = world.at(place(number));
        let registered = shop.registered();
        // Between the two renames, a registration may lack its tree, but never a tree its
        // registration.
        let lost =
            path.exists() && registered.get(&place(number)) != Some(&format!("tree-{number}"));
        odd(&path).or(lost.then(|| "its registration is missing".to_owned()))
    };
    let kills = sweep(&world, command, judge, |number| {
        world.at(place(number)).exists()
    });
    println!("worktree add: {kills} kills");
    assert!(kills > 15, "{kills}");
    assert_eq!(shop.fsck(), "");
}
