//! A tree is kept, however old its files look, if a process of this machine is in it or has one of
//! its files open, or if files with old times arrived today. The lock of a living git is
//! distinguished from a crashed one's, and a dead agent's lock is recognised.

use super::support::at_work::{AtWork, SLEEP};
use super::support::repo::Repo;
use super::support::{World, age, map, remove, same, until, write};
use std::path::Path;

/// Whether `/proc` shows the processes of the whole machine, which it doesn't in a container.
fn sees_all() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new("pid:[4026531836]"))
}

#[test]
fn a_tree_in_which_somebody_is_at_work_stays_until_he_is_gone() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let trees =
        ["stands", "deep", "appends", "maps", "nobody", "nobody-here"].map(|name| shop.tree(name));
    let [stands, deep, appends, maps, _, _] = &trees;
    write(&deep.path.join("target/debug/x"), "x");
    write(
        &deep.path.join("target/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    write(&appends.path.join("run.log"), "1\n");
    write(
        &maps.path.join("target/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    std::fs::copy("/bin/sleep", {
        std::fs::create_dir_all(maps.path.join("target/debug")).unwrap();
        maps.path.join("target/debug/server")
    })
    .unwrap();
    for tree in &trees {
        tree.age(99.0);
    }
    let elsewhere = world.beside(".");
    let server = format!(
        "exec {} 300",
        maps.path.join("target/debug/server").display()
    );
    let at_work = [
        AtWork::new(&stands.path, None, SLEEP),
        AtWork::new(&deep.path.join("target/debug"), None, SLEEP),
        AtWork::new(&elsewhere, Some(&appends.path.join("run.log")), SLEEP),
        AtWork::new(&elsewhere, None, &server),
    ];
    let runs = |at: &AtWork, what: &str| {
        std::fs::read_link(format!("/proc/{}/exe", at.id()))
            .is_ok_and(|exe| exe.to_string_lossy().ends_with(what))
    };
    until("they run", || {
        at_work[..3].iter().all(|at| runs(at, "sleep")) && runs(&at_work[3], "server")
    });
    age(&stands.path, 99.0);

    let expected = map(&[
        ("acme/shop worktrees/acme__shop/stands", "keep in use"),
        ("acme/shop worktrees/acme__shop/deep", "keep in use"),
        ("acme/shop worktrees/acme__shop/appends", "keep in use"),
        ("acme/shop worktrees/acme__shop/maps", "keep in use"),
        (
            "acme/shop worktrees/acme__shop/nobody",
            "reap landed merged",
        ),
        (
            "acme/shop worktrees/acme__shop/nobody-here",
            "reap landed merged",
        ),
    ]);
    same(
        "a dry run",
        &world.fates(&world.pass(0, &["report"])),
        &expected,
    );
    let night = world.night();
    same("fates", &world.fates(&night), &expected);
    let row = night
        .worktrees()
        .find(|row| row.path == stands.path)
        .unwrap();
    assert_eq!(
        row.reasons,
        [format!(
            "sleep (pid {}) has its working directory in it",
            at_work[0].id()
        )]
    );
    // `worktree remove` refuses it too, unless the caller is the process in the tree.
    let removed = world.treewarden(&["worktree", "remove", "acme/shop", "stands"]);
    assert_eq!(removed.code, 1, "{removed:?}");
    assert!(
        removed.err.contains("has its working directory in it") && stands.path.exists(),
        "{removed:?}"
    );
    drop(at_work);

    let expected = map(&[
        (
            "acme/shop worktrees/acme__shop/stands",
            "reap landed merged",
        ),
        (
            "acme/shop worktrees/acme__shop/deep",
            "reap unsaved uncommitted work",
        ),
        (
            "acme/shop worktrees/acme__shop/appends",
            "reap unsaved uncommitted work",
        ),
        (
            "acme/shop worktrees/acme__shop/maps",
            "reap unsaved uncommitted work",
        ),
    ]);
    same("when all are gone", &world.fates(&world.night()), &expected);
}

#[test]
fn whoever_stands_in_a_tree_may_have_it_removed_himself() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("mine");
    let config = world.config();
    let script = format!(
        "cd {} && {} worktree remove acme/shop mine",
        tree.path.display(),
        env!("CARGO_BIN_EXE_treewarden")
    );
    let environment = [("TREEWARDEN_CONFIG", config.to_str().unwrap())];
    let ran = world
        .start_program(
            "env",
            &[
                &format!("{}={}", environment[0].0, environment[0].1),
                "sh",
                "-c",
                &format!("{script}; exit $?"),
            ],
        )
        .end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!tree.path.exists());
}

#[test]
fn what_came_today_with_old_times_is_not_old() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let unpacked = shop.tree("unpacked");
    unpacked.age(99.0);
    let fate = |expected: &str| {
        same(
            "fate",
            &world.fates(&world.pass(0, &["report"])),
            &map(&[("acme/shop worktrees/acme__shop/unpacked", expected)]),
        );
    };
    fate("reap landed merged");
    // tar extracts like this: a new file with an old time.
    write(&unpacked.path.join("notes.md"), "from another machine\n");
    age(&unpacked.path.join("notes.md"), 99.0);
    fate("reap unsaved uncommitted work");
    world.change_times_count();
    fate("keep unsaved recent");
    // An unchanged tracked file counts as recent, too, if its change time is.
    remove(&unpacked.path.join("notes.md"));
    fate("keep landed recent");
    // Two days later it has become idle.
    let later = world
        .start_as(
            &[("TREEWARDEN_TEST_CLOCK_AHEAD", "172800")],
            &["report", "--format", "json"],
        )
        .end()
        .report();
    same(
        "later",
        &world.fates(&later),
        &map(&[(
            "acme/shop worktrees/acme__shop/unpacked",
            "reap landed merged",
        )]),
    );
}

#[test]
fn the_lock_of_a_git_whose_editor_is_open_is_not_a_dead_gits() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let [commits, crashed] = ["commits", "crashed"].map(|name| shop.tree(name));
    write(&commits.path.join("README.md"), "half a thought\n");
    for tree in [&commits, &crashed] {
        tree.age(99.0);
    }
    // `git commit -a` holds the lock while its editor is open.
    let editor = format!(
        "touch {0}; exec sleep 300",
        world.beside("editor-is-open").display()
    );
    let script = format!(
        "GIT_EDITOR='sh -c \"{editor}\"' exec git -c user.name=A -c user.email=a@example.com commit -q -a"
    );
    let git = AtWork::new(&commits.path, None, &script);
    until("the editor is open", || {
        world.beside("editor-is-open").exists()
    });
    let [held, left] = [&commits, &crashed].map(|tree| tree.admin.join("index.lock"));
    assert!(held.exists());
    write(&left, "");
    write(&shop.git_dir("index.lock"), "");
    for lock in [&held, &left, &shop.git_dir("index.lock")] {
        age(lock, 2.0);
    }
    commits.age_admin(99.0);
    let night = world.night();
    let fates = map(&[
        ("acme/shop worktrees/acme__shop/commits", "keep in progress"),
        (
            "acme/shop worktrees/acme__shop/crashed",
            "reap landed merged",
        ),
    ]);
    same("fates", &world.fates(&night), &fates);
    assert!(held.exists() && !shop.git_dir("index.lock").exists());
    // If all processes are visible, a lock is stale after an hour.
    let place = shop.git_dir("index.lock");
    write(&place, "");
    age(&place, 1.0 / 24.0);
    world.night();
    assert_eq!(place.exists(), !sees_all());
    drop(git);
    world.night();
    assert!(!held.exists());
}

fn locked(shop: &Repo<'_>, name: &str, reason: &str) {
    let tree = shop.tree(name);
    shop.git(&[
        "worktree",
        "lock",
        "--reason",
        reason,
        tree.path.to_str().unwrap(),
    ]);
    tree.age(99.0);
    age(&tree.admin.join("locked"), 99.0);
}

#[test]
fn a_lock_of_a_process_that_is_dead_is_told_apart_and_may_end() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let alive = AtWork::new(&world.root, None, SLEEP);
    // No process can have this number: it is above the kernel's largest.
    locked(&shop, "dead", "claude agent dead (pid 4194399)");
    locked(
        &shop,
        "alive",
        &format!("claude agent alive (pid {})", alive.id()),
    );
    locked(&shop, "fair", "shown at the fair until Friday");
    locked(
        &shop,
        "two",
        &format!("claude session pid 4194399 (pid {})", alive.id()),
    );
    locked(
        &shop,
        "far",
        "claude agent far (pid 4194399, host elsewhere)",
    );
    locked(
        &shop,
        "here",
        &format!("codex (pid 4194399@{})", treewarden::lock::host()),
    );
    let dead = if sees_all() {
        "keep locked by a dead process"
    } else {
        "keep locked"
    };
    let fates = map(&[
        ("acme/shop worktrees/acme__shop/dead", dead),
        ("acme/shop worktrees/acme__shop/alive", "keep locked"),
        ("acme/shop worktrees/acme__shop/fair", "keep locked"),
        ("acme/shop worktrees/acme__shop/two", "keep locked"),
        ("acme/shop worktrees/acme__shop/far", "keep locked"),
        ("acme/shop worktrees/acme__shop/here", dead),
    ]);
    let night = world.night();
    same("by default", &world.fates(&night), &fates);
    if !sees_all() {
        return;
    }
    let row = night
        .worktrees()
        .find(|row| row.path.ends_with("dead"))
        .unwrap();
    let told = "claude agent dead (pid 4194399): process 4194399 is dead on this machine, and nothing happened for 99 days; \
                `git worktree unlock` lets it go, or `worktrees.dead_locks` all such";
    assert_eq!(row.reasons, [told]);
    world.set("defaults", "worktrees: {dead_locks: 100d}");
    same("too soon", &world.fates(&world.night()), &fates);
    shop.set("worktrees: {dead_locks: 3d}");
    let fates = map(&[
        ("acme/shop worktrees/acme__shop/dead", "reap landed merged"),
        ("acme/shop worktrees/acme__shop/alive", "keep locked"),
        ("acme/shop worktrees/acme__shop/fair", "keep locked"),
        ("acme/shop worktrees/acme__shop/two", "keep locked"),
        ("acme/shop worktrees/acme__shop/far", "keep locked"),
        ("acme/shop worktrees/acme__shop/here", "reap landed merged"),
    ]);
    let night = world.night();
    same("after three days", &world.fates(&night), &fates);
    let row = night.worktrees().find(|row| row.path.ends_with("dead"));
    let ended = "its lock is over: process 4194399 is dead on this machine, and worktrees.dead_locks is 3 days";
    assert_eq!(row.unwrap().reasons.last().unwrap(), ended);
    assert!(!world.at("worktrees/acme__shop/dead").exists());
}
