//! A night that is killed, anywhere: the next one ends where an undisturbed night would have, and no work is lost on the way.
//!
//! strace kills the real program at the N-th system call that changes anything; N runs over a spread of points. The whole
//! sweep is a matter of a later version.

#![expect(clippy::disallowed_methods, reason = "strace kills the program, and cp brings the volume back as it was")]

use super::support::repo::Repo;
use super::support::{World, age_all, map, same, write};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Every system call with which a night changes a file system.
const CHANGES: &str =
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,write,pwrite64,fsync,ftruncate,link,linkat,symlink,fchmod";
/// Points of the sweep. strace counts for each thread by itself, and none of this night's threads makes many more changes than these.
const POINTS: [u32; 12] = [1, 2, 3, 4, 5, 7, 9, 11, 13, 15, 17, 19];

fn copy(from: &Path, to: &Path) {
    let removed = std::fs::remove_dir_all(to);
    assert!(removed.is_ok() || !to.exists());
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Everything that must be the same after a night, killed before or not. Rescues are told without their time.
fn state(world: &World, shop: &Repo<'_>) -> BTreeMap<String, String> {
    let names = |folder: &str| {
        let mut names: Vec<_> = std::fs::read_dir(world.at(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        format!("{names:?}")
    };
    let mut state: BTreeMap<String, String> = shop.registered().into_iter().map(|(path, what)| (format!("tree {path}"), what)).collect();
    for (name, commit) in shop.refs("refs") {
        let rescue = name.strip_prefix("refs/treewarden/rescue/").and_then(|rescue| rescue.split('/').next());
        match rescue {
            Some(tree) => state.insert(format!("rescue of {tree}"), String::new()),
            None => state.insert(name, commit),
        };
    }
    for folder in ["worktrees/acme__shop", "caches/models", ".treewarden/trash"] {
        state.insert(folder.to_owned(), names(folder));
    }
    state.insert("fsck".into(), shop.fsck());
    state
}

/// The unsaved work is in its tree, or in a rescue.
fn work(world: &World, shop: &Repo<'_>) -> BTreeMap<String, String> {
    let rescues = shop.refs("refs/treewarden/rescue/dirty");
    let read = |file: &str| {
        let stands = std::fs::read_to_string(world.at("worktrees/acme__shop/dirty").join(file));
        stands.unwrap_or_else(|_| rescues.keys().map(|name| shop.git(&["show", &format!("{name}:{file}")])).next().unwrap_or_default())
    };
    [".env", "README.md"].map(|file| (file.to_owned(), read(file).trim().to_owned())).into()
}

#[test]
#[ignore = "needs strace"]
fn a_killed_night_loses_nothing_and_the_next_one_finishes_it() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    shop.tree("saved").commit("saved.ts", "saved\n").age(8.0);
    shop.tree("dirty").write(".env", "only here\n").write("README.md", "half done\n").age(31.0);
    shop.detached("lonely").commit("lonely.ts", "lonely\n").age(31.0);
    for number in 0..1100 {
        write(&shop.path.join(format!("many/{number}")), format!("{number}\n"));
    }
    shop.git(&["add", "."]);
    shop.git(&["commit", "--quiet", "--message", "many"]);
    for number in 0..4_u8 {
        write(&world.at(format!("caches/models/{number}/data")), vec![number; 100 << 10]);
    }
    world.set("run", "io_threads: 1");
    world.set("caches", "{kind: folder, name: models, path: caches/models}");
    world.set("eviction", "budget: 1MiB, min_age: 30d");
    copy(&world.root, &world.beside("before"));
    let bring_back = || {
        copy(&world.beside("before"), &world.root);
        // A copy reads, and reading is use.
        (0..4_u8).for_each(|number| age_all(&world.at(format!("caches/models/{number}")), f64::from(40 * number)));
    };

    bring_back();
    world.pass(1, &["run"]);
    let undisturbed = state(&world, &shop);
    let unsaved = map(&[(".env", "only here"), ("README.md", "half done")]);
    assert!(undisturbed.contains_key("rescue of dirty") && undisturbed.contains_key("rescue of lonely"), "{undisturbed:?}");
    assert_eq!(undisturbed["caches/models"], "[\"0\"]");

    let mut killed = 0;
    for point in POINTS {
        bring_back();
        let inject = format!("inject={CHANGES}:signal=SIGKILL:when={point}");
        let words = ["-f", "-qq", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_treewarden"), "run"];
        killed += u32::from(world.program("strace", &words).code == 137);
        same(&format!("work after the kill at {point}"), &work(&world, &shop), &unsaved);
        world.pass(1, &["run"]);
        same(&format!("state after the kill at {point} and a night"), &state(&world, &shop), &undisturbed);
        same(&format!("work after the kill at {point} and a night"), &work(&world, &shop), &unsaved);
    }
    assert!(killed >= 8, "only {killed} of {} nights were hit: the points lie too far out", POINTS.len());
}
