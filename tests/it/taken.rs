//! Trees that an unfinished run moved to the trash: each goes back only if it provably belongs
//! there, nothing that was written meanwhile is lost, and what can't be deleted is reported once.

use super::support::made::npm;
use super::support::repo::Tree;
use super::support::{World, age, remove, same, write};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Returns the content of every file below a directory, without times.
fn files(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(top)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    all.map(|entry| {
        (
            entry.path().strip_prefix(top).unwrap().to_owned(),
            fs::read(entry.path()).unwrap(),
        )
    })
    .collect()
}

/// Checks that the trash is empty.
#[track_caller]
fn is_empty(world: &World) {
    let left: Vec<_> = walkdir::WalkDir::new(world.at(".treewarden/trash"))
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let kept = fs::read_dir(world.at(".treewarden"))
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("kept-")
        });
    assert_eq!(kept.count(), 0);
}

/// Stops a run after it has taken the tree, during the second look: it still drops the
/// registration, and leaves the tree in the trash.
fn stop_when_taken(world: &World, tree: &Tree) {
    for number in 0..5000 {
        write(
            &tree
                .path
                .join(format!("node_modules/p{}/{number}", number % 50)),
            "x",
        );
    }
    for number in 0..50 {
        write(
            &tree
                .path
                .join(format!("node_modules/p{number}/package.json")),
            "{}",
        );
    }
    for number in 0..1500 {
        tree.write(&format!("src/{number}"), "work\n");
    }
    let packages: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    write(
        &tree.path.join("node_modules/.package-lock.json"),
        npm(&packages),
    );
    tree.age(40.0);
    let mut night = world.start(&["run"]);
    let began = Instant::now();
    while tree.path.exists() {
        assert!(began.elapsed() < Duration::from_secs(50), "the tree stays");
        std::thread::sleep(Duration::from_micros(200));
    }
    for signal in [Signal::STOP, Signal::TERM, Signal::CONT] {
        night.signal(signal);
    }
    let ran = night.end();
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        !tree.path.exists()
            && !tree.admin.exists()
            && fs::read_dir(world.at(".treewarden/trash")).unwrap().count() == 1,
        "nothing is left in the trash"
    );
}

#[test]
fn a_stopped_removal_never_comes_back_as_another_trees_twin() {
    let world = World::new();
    world.set("run", "io_threads: 1");
    world.set("defaults", "worktrees: {presets: [codex]}");
    let shop = world.repo("acme/shop");
    let old = shop.tree_at("worktrees/one/shop", "old");
    old.write("unsaved.ts", "old work\n");
    stop_when_taken(&world, &old);
    // As codex does: a second tree gets the same name in the registry.
    let new = shop.tree_at("worktrees/two/shop", "new");
    assert_eq!(new.admin, old.admin);
    new.write("mine.ts", "new work\n");
    let before = files(&new.path);
    world.night();
    assert!(
        !old.path.exists(),
        "the old tree is back, and git there works on the other's branch"
    );
    same("the new tree", &files(&new.path), &before);
    assert_eq!(new.git(&["status", "--porcelain"]), "?? mine.ts");
    is_empty(&world);
    assert_eq!(shop.refs("refs/treewarden/rescue").len(), 1);
}

#[test]
fn a_stopped_removal_is_no_obstacle_for_a_new_tree_of_that_name() {
    let world = World::new();
    world.set("run", "io_threads: 1");
    let shop = world.repo("acme/shop");
    let old = shop.tree("fix");
    old.write("unsaved.ts", "old work\n");
    stop_when_taken(&world, &old);
    let ran = world.treewarden(&["worktree", "add", "acme/shop", "fix"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let before = files(&old.path);
    for _ in 0..2 {
        world.night();
        same("the new tree", &files(&old.path), &before);
    }
    is_empty(&world);
}

/// Leaves what a killed run leaves after it has taken a tree, with a note of today's version
/// (`proof`) or an earlier one.
fn taken(world: &World, tree: &Tree, proof: bool) -> PathBuf {
    let bin = world.at(".treewarden/trash/0b5cfd8e-6f3c-4d0c-9d62-0d4b7a1a6f00");
    let gitdir = tree.admin.join("gitdir").metadata().unwrap();
    let mut note =
        serde_json::json!({"schema": "treewarden.taken/1", "from": tree.path, "admin": tree.admin});
    if proof {
        let changed = [gitdir.ctime(), gitdir.ctime_nsec()];
        note["registration"] = serde_json::json!({"folder": tree.admin.metadata().unwrap().ino(), "gitdir": gitdir.ino(), "changed": changed});
    }
    std::thread::sleep(Duration::from_millis(20));
    write(&bin.join("note.json"), note.to_string());
    fs::rename(&tree.path, bin.join("0")).unwrap();
    bin
}

#[test]
fn a_tree_goes_back_where_its_registration_proves_it_and_the_place_is_free() {
    for proof in [false, true] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        let tree = shop.tree("work");
        tree.write("unsaved.ts", "mine\n").age(10.0);
        let before = files(&tree.path);
        let bin = taken(&world, &tree, proof);
        // Something is in its place again: nothing is lost or replaced, and it is reported once.
        write(&tree.path.join("new"), "new\n");
        let report = world.pass(1, &["run"]);
        assert!(
            report
                .failures
                .iter()
                .any(|line| line.contains("was taken by a run that did not finish")),
            "{:?}",
            report.failures
        );
        world.night();
        same("in the trash", &files(&bin.join("0")), &before);
        assert_eq!(fs::read(tree.path.join("new")).unwrap(), b"new\n");
        remove(&tree.path);
        world.night();
        same("back", &files(&tree.path), &before);
        is_empty(&world);
    }
}

#[test]
fn a_tree_whose_registration_is_anothers_stays_in_the_trash() {
    for proof in [false, true] {
        let world = World::new();
        world.set("defaults", "worktrees: {presets: [codex]}");
        let shop = world.repo("acme/shop");
        let old = shop.tree_at("worktrees/one/shop", "old");
        old.write("unsaved.ts", "mine\n").age(10.0);
        let before = files(&old.path);
        let bin = taken(&world, &old, proof);
        std::thread::sleep(Duration::from_millis(20));
        shop.git(&["worktree", "prune", "--expire=now"]);
        // The same name, and the second time the same place: only their age tells them apart.
        for place in ["worktrees/two/shop", "worktrees/one/shop"] {
            let new = shop.tree_at(place, &format!("new-{}", place.replace('/', "-")));
            assert_eq!(new.admin, old.admin);
            let clean = files(&new.path);
            if place == "worktrees/one/shop" {
                // Moved aside, so that the place is free.
                fs::rename(&new.path, world.beside("aside")).unwrap();
            }
            let (ran, stands) = (world.treewarden(&["run"]), old.path.exists());
            fs::rename(world.beside("aside"), &new.path)
                .or_else(|_| fs::metadata(&new.path).map(drop))
                .unwrap();
            assert!(
                !stands || place == "worktrees/two/shop" && !old.path.exists(),
                "{place}: it is back"
            );
            assert_eq!(
                ran.code,
                i32::from(place == "worktrees/two/shop"),
                "told once: {ran:?}"
            );
            same("in the trash", &files(&bin.join("0")), &before);
            same("the new tree", &files(&new.path), &clean);
            shop.git(&["worktree", "remove", "--force", new.path.to_str().unwrap()]);
        }
        // After a month the tree is deleted.
        age(&bin.join("note.json"), 31.0);
        world.night();
        is_empty(&world);
    }
}

#[test]
fn a_forged_note_moves_nothing() {
    let world = World::new();
    let (shop, victim) = (world.repo("acme/shop"), world.repo("acme/victim"));
    let tree = shop.tree("work");
    tree.write("unsaved.ts", "mine\n").age(10.0);
    let config = victim.git_dir("config");
    let before = fs::read(&config).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    // Each has a matching registration, because an agent can write both.
    let forge = |number: usize, from: &Path, fill: &dyn Fn(&Path)| {
        let bin = world.at(format!(".treewarden/trash/forged-{number}"));
        let admin = shop.git_dir(format!("worktrees/forged{number}"));
        write(&admin.join("gitdir"), format!("{}/.git\n", from.display()));
        write(&admin.join("HEAD"), "ref: refs/heads/main\n");
        write(&admin.join("commondir"), "../..\n");
        fs::create_dir_all(&bin).unwrap();
        fill(&bin.join("0"));
        std::thread::sleep(Duration::from_millis(20));
        let note =
            serde_json::json!({"schema": "treewarden.taken/1", "from": from, "admin": admin});
        write(&bin.join("note.json"), note.to_string());
    };
    let directory = |number: usize| {
        let back = format!(
            "gitdir: {}\n",
            shop.git_dir(format!("worktrees/forged{number}")).display()
        );
        move |top: &Path| {
            write(&top.join(".git"), &back);
            write(&top.join("evil"), "#!/bin/sh\n");
        }
    };
    forge(1, &config, &|top| {
        write(top, "[core]\n\tfsmonitor = touch /tmp/owned\n");
    });
    forge(2, &victim.git_dir("hooks"), &directory(2));
    forge(3, &world.at(".treewarden/elsewhere"), &directory(3));
    forge(4, &tree.path, &directory(4));
    forge(5, &victim.path.join("src"), &directory(5));
    let ran = world.treewarden(&["run"]);
    assert_eq!(fs::read(&config).unwrap(), before, "{ran:?}");
    for place in [
        victim.git_dir("hooks"),
        world.at(".treewarden/elsewhere"),
        victim.path.join("src"),
        tree.path.join("evil"),
    ] {
        assert!(!place.exists(), "{}: {ran:?}", place.display());
    }
    assert_eq!(victim.git(&["status", "--porcelain"]), "");
    assert_eq!(
        fs::read_to_string(tree.path.join("unsaved.ts")).unwrap(),
        "mine\n"
    );
    // The other repos were maintained, and this one will be without the forgeries.
    assert!(ran.code == 1 || ran.code == 0, "{ran:?}");
}

/// Writes into a tree through the directories that it holds open, as a running build does, until
/// none is left. Returns the names of the files that could be written.
fn write_on(directories: &[PathBuf], stop: &AtomicBool) -> BTreeSet<String> {
    let open = |path: &PathBuf| {
        rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    };
    let mut held: Vec<_> = directories.iter().map(open).collect();
    let (mut written, mut number) = (BTreeSet::new(), 0);
    // Waits for the move: before that, the tree would simply be kept.
    while directories[0].exists() && !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    std::thread::sleep(Duration::from_micros(fastrand::u64(..8000)));
    while !held.is_empty() && !stop.load(Ordering::Relaxed) {
        held.retain(|directory| {
            number += 1;
            let name = format!("late-{number}");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            let Ok(file) = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)
            else {
                return false;
            };
            if rustix::io::write(&file, name.as_bytes()).is_ok() {
                written.insert(name);
            }
            true
        });
        std::thread::sleep(Duration::from_micros(300));
    }
    written
}

#[test]
#[ignore = "needs root, for a /proc of its own"]
fn what_is_written_by_a_held_directory_while_its_tree_is_deleted_is_not_lost() {
    let (mut written, mut lost, mut kept) = (0, Vec::new(), 0);
    for round in 0..5 {
        let world = World::new();
        world.set("run", "io_threads: 2");
        let shop = world.repo("acme/shop");
        let tree = shop.tree("work");
        for number in 0..600 {
            tree.write(&format!("src/d{}/f{number}", number % 30), "x\n");
        }
        tree.commit("README.md", "mine\n").age(8.0);
        let directories: Vec<PathBuf> = (0..30)
            .map(|number| tree.path.join(format!("src/d{number}")))
            .collect();
        let over = AtomicBool::new(false);
        let names = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_on(&directories, &over));
            // As if the writer was on another machine: a run that saw it would keep the tree.
            let unseen = [
                "--pid",
                "--fork",
                "--mount-proc",
                env!("CARGO_BIN_EXE_treewarden"),
                "run",
            ];
            let ran = world.start_program("unshare", &unseen).end();
            assert!(ran.code < 2, "{ran:?}");
            over.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        // Later runs don't lose it either.
        world.treewarden(&["run"]);
        world.treewarden(&["run"]);
        let stands = files(&world.root);
        let found: BTreeSet<String> = stands
            .iter()
            .filter(|(path, content)| {
                path.file_name()
                    .is_some_and(|name| name.as_encoded_bytes() == content.as_slice())
            })
            .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        written += names.len();
        kept += stands
            .keys()
            .filter(|path| path.starts_with(".treewarden/trash"))
            .count();
        lost.extend(
            names
                .difference(&found)
                .map(|name| format!("{round}: {name}")),
        );
    }
    println!(
        "{written} written, {} lost, {kept} kept in the trash",
        lost.len()
    );
    assert!(written > 50, "{written} is no race");
    assert!(
        lost.is_empty(),
        "{} of {written} lost: {lost:?}",
        lost.len()
    );
}

#[test]
fn what_can_not_be_deleted_is_told_once_with_all_that_helps() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("landed");
    write(
        &tree.path.join("node_modules/.package-lock.json"),
        npm(&["pkg"]),
    );
    write(&tree.path.join("node_modules/pkg/package.json"), "{}");
    tree.age(2.0);
    for entry in walkdir::WalkDir::new(world.beside(""))
        .into_iter()
        .map(Result::unwrap)
    {
        std::os::unix::fs::lchown(entry.path(), Some(1600), Some(1600)).unwrap();
    }
    std::os::unix::fs::lchown(tree.path.join("node_modules/pkg"), Some(0), Some(0)).unwrap();
    let run = || {
        let program = [
            "--reuid=1600",
            "--regid=1600",
            "--clear-groups",
            env!("CARGO_BIN_EXE_treewarden"),
            "run",
            "--format",
            "json",
        ];
        let ran = world.program("setpriv", &program);
        (ran.code, ran.report())
    };
    let (code, report) = run();
    let told: Vec<&String> = report
        .failures
        .iter()
        .filter(|line| line.contains("in the trash"))
        .collect();
    assert!(code == 1 && told.len() == 1, "{:?}", report.failures);
    for part in [
        world.at(".treewarden/trash").to_str().unwrap(),
        "/0/node_modules/pkg",
        tree.path.to_str().unwrap(),
        "user 0",
        "lsattr",
    ] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    let (code, report) = run();
    assert!(
        code == 0 && report.failures.is_empty(),
        "{:?}",
        report.failures
    );
    for bin in fs::read_dir(world.at(".treewarden/trash")).unwrap() {
        remove(&bin.unwrap().path().join("0"));
    }
    assert_eq!(run().0, 0);
    is_empty(&world);
}
