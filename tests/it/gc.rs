//! Repacking: when it is due, what the grace keeps, and that no command of the repo's is run.

use super::support::repo::Repo;
use super::support::snapshot::snapshot;
use super::support::{World, age, age_all, fifo, git, remove, same, try_git, write};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use treewarden::report::{self, GcAction};

/// Runs the program, and returns what it did to the only repo's store.
fn repack(world: &World) -> report::Gc {
    world.night().repos.remove(0).gc
}

/// Adds more loose objects than the limit.
fn many_loose(repo: &Repo<'_>) {
    for n in 0..1100 {
        write(
            &repo.path.join(format!("src/file-{n}.ts")),
            format!("{n}\n"),
        );
    }
    repo.commit(60.0, "last.ts", "1\n");
    repo.push();
}

/// Adds several packs, all written a week ago.
fn old_packs(repo: &Repo<'_>) {
    for n in 0..3 {
        repo.commit(60.0, "packed.ts", &format!("{n}\n"));
        repo.git(&["repack", "-q", "-d"]);
    }
    repo.push();
    age_all(&repo.git_dir("objects/pack"), 7.0);
}

/// Counts the files with this ending in the pack directory.
fn packs(repo: &Repo<'_>, ending: &str) -> usize {
    let files = std::fs::read_dir(repo.git_dir("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .count()
}

fn has(repo: &Repo<'_>, object: &str) -> bool {
    try_git(&repo.path, 0.0, &["cat-file", "-e", object]).0 == Some(0)
}

/// Makes an object look as if it was written so many days ago.
fn age_object(repo: &Repo<'_>, object: &str, days: f64) {
    age(
        &repo.git_dir(format!("objects/{}/{}", &object[..2], &object[2..])),
        days,
    );
}

/// Writes a loose object that nothing reaches.
fn unreachable(repo: &Repo<'_>, text: &str, days: f64) -> String {
    let file = repo.world.beside("blob");
    write(&file, text);
    let object = repo.git(&["hash-object", "-w", "--no-filters", file.to_str().unwrap()]);
    age_object(repo, &object, days);
    object
}

#[test]
fn many_loose_objects_are_gathered() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    many_loose(&shop);
    let refs = shop.refs("refs");
    let gc = repack(&world);
    assert_eq!(
        (gc.action, gc.after.loose_objects, gc.after.packs),
        (GcAction::Incremental, 0, 1),
        "{gc:?}"
    );
    assert!(
        gc.before.loose_objects > 1100 && gc.after.bytes < gc.before.bytes,
        "{gc:?}"
    );
    assert!(!shop.git_dir("objects/pack/multi-pack-index").exists());
    assert!(
        shop.git_dir("objects/info/commit-graphs/commit-graph-chain")
            .exists()
    );
    shop.git(&["commit-graph", "verify"]);
    assert!(
        std::fs::read_to_string(shop.git_dir("packed-refs"))
            .unwrap()
            .contains("refs/heads/main"),
        "refs stand in the real repo"
    );
    same("refs", &shop.refs("refs"), &refs);
    assert_eq!(
        (shop.fsck(), shop.git(&["status", "--porcelain"])),
        (String::new(), String::new())
    );
}

#[test]
fn several_old_packs_become_one_and_the_grace_holds() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    // The repo asks for a shorter grace, which is ignored.
    for setting in [
        "gc.pruneExpire",
        "gc.reflogExpire",
        "gc.reflogExpireUnreachable",
        "gc.cruftPacks",
    ] {
        shop.git(&[
            "config",
            setting,
            if setting == "gc.cruftPacks" {
                "false"
            } else {
                "now"
            },
        ]);
    }
    old_packs(&shop);
    let (young, old) = (
        unreachable(&shop, "young\n", 13.0),
        unreachable(&shop, "old\n", 15.0),
    );
    // An old object in a pack of its own.
    write(&world.beside("ids"), old.clone() + "\n");
    let script = format!(
        "git pack-objects -q {}/pack < {}",
        shop.git_dir("objects/pack").display(),
        world.beside("ids").display()
    );
    let pack = shop.git(&["-c", &format!("alias.pack=!{script}"), "pack"]);
    shop.git(&["prune-packed"]);
    for ending in ["pack", "idx"] {
        age(
            &shop.git_dir(format!("objects/pack/pack-{pack}.{ending}")),
            15.0,
        );
    }
    let loose = unreachable(&shop, "loose\n", 15.0);
    // Each of these is kept alive by one thing alone, however old it is.
    let tree = shop.detached("fresh");
    tree.commit("detached.ts", "1\n");
    tree.write("staged.ts", "only in the tree's index\n")
        .git(&["add", "staged.ts"]);
    write(&shop.path.join("staged.ts"), "only in the main index\n");
    shop.git(&["add", "staged.ts"]);
    shop.commit(80.0, "reset.ts", "1\n");
    let in_reflog = shop.git(&["rev-parse", "HEAD"]);
    git(&shop.path, 80.0, &["reset", "-q", "--soft", "HEAD~1"]);
    let missing = shop.detached("missing");
    missing.commit("of-a-missing-tree.ts", "1\n");
    let of_missing = missing.git(&["rev-parse", "HEAD"]);
    remove(&missing.path);
    let kept_apart = shop.git(&["commit-tree", "-m", "Kept", "HEAD^{tree}"]);
    shop.git(&["update-ref", "refs/t3/kept", &kept_apart]);
    let (detached, blob) = (
        tree.git(&["rev-parse", "HEAD"]),
        tree.git(&["rev-parse", ":staged.ts"]),
    );
    let main_blob = shop.git(&["rev-parse", ":staged.ts"]);
    let alive = [
        &detached,
        &blob,
        &main_blob,
        &in_reflog,
        &of_missing,
        &kept_apart,
    ];
    for object in &alive {
        age_object(&shop, object, 20.0);
    }

    let gc = repack(&world);
    assert_eq!((gc.action, gc.after.packs), (GcAction::Full, 1), "{gc:?}");
    assert_eq!(packs(&shop, "mtimes"), 1, "a cruft pack");
    let found: BTreeMap<&str, bool> = alive
        .iter()
        .map(|object| (object.as_str(), has(&shop, object)))
        .collect();
    assert!(found.values().all(|&found| found), "{found:?}");
    assert_eq!(
        [&young, &old, &loose].map(|object| has(&shop, object)),
        [true, false, false],
        "the grace is 14 days"
    );
    assert_eq!(shop.fsck(), "");
    assert!(
        shop.git(&["reflog"]).contains("reset.ts"),
        "a reflog is kept for 90 days"
    );
    // A second run finds nothing to do.
    let settled = snapshot(&shop.git_dir("objects"));
    assert_eq!(repack(&world).action, GcAction::None);
    same("objects", &snapshot(&shop.git_dir("objects")), &settled);
}

#[test]
fn a_repo_in_order_is_left_alone() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.git(&["repack", "-q", "-a", "-d"]);
    shop.commit(60.0, "loose.ts", "1\n");
    let kept = shop.git_dir("objects/pack");
    let before = snapshot(&shop.git_dir("."));
    let gc = repack(&world);
    assert_eq!((gc.action, gc.before), (GcAction::None, gc.after), "{gc:?}");
    same("the git dir", &snapshot(&shop.git_dir(".")), &before);
    // Nor is a pack with somebody's `.keep` dropped for its age, even if a repack is due.
    let pack = std::fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().unwrap() == "pack");
    write(&pack.as_ref().unwrap().with_extension("keep"), "");
    old_packs(&shop);
    assert_eq!(repack(&world).action, GcAction::Full);
    assert!(pack.as_ref().unwrap().exists() && pack.unwrap().with_extension("keep").exists());
    assert_eq!(shop.fsck(), "");
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn leftovers_go_by_name_and_age() {
    const HOUR: f64 = 1.0 / 24.0;
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("fresh");
    let dead = [
        "index.lock",
        "HEAD.lock",
        "packed-refs.lock",
        "packed-refs.new",
        "config.lock",
        "shallow.lock",
        "gc.pid",
        "objects/maintenance.lock",
        "objects/info/commit-graph.lock",
        "objects/info/commit-graphs/commit-graph-chain.lock",
        "objects/pack/multi-pack-index.lock",
        "refs/heads/main.lock",
        "refs/heads/feature/deep.lock",
        "logs/HEAD.lock",
        "logs/refs/heads/main.lock",
        "worktrees/fresh/HEAD.lock",
        "worktrees/fresh/logs/HEAD.lock",
    ];
    let half_written = [
        "objects/pack/tmp_pack_aB3",
        "objects/pack/tmp_idx_aB3",
        "objects/pack/tmp_rev_aB3",
        "objects/pack/tmp_mtimes_aB3",
        "objects/pack/tmp_bitmap_aB3",
        "objects/pack/.tmp-12-pack-ab",
        "objects/pack/pack-gone.idx",
        "objects/pack/pack-gone.rev",
        "objects/pack/pack-gone.mtimes",
        "objects/pack/pack-gone.bitmap",
        "objects/ab/tmp_obj_xY",
        "objects/tmp_object_git2_xY",
        "objects/streamed_git2_0a1b",
        "objects/bitmap-ref-tips_xY",
        "objects/info/commit-graphs/tmp_graph_xY",
    ];
    let foreign = [
        ".git/my.lock",
        ".git/index.lock.old",
        ".git/hooks/index.lock",
        ".git/objects/pack/foreign.lock",
        ".git/objects/pack/pack-1.keep",
        ".git/objects/pack/other.rev",
        ".git/objects/tmp_mine",
        ".git/worktrees/fresh/other.lock",
        ".git/modules/sub/index.lock",
        "poetry.lock",
        "index.lock",
    ];
    let mut gone: Vec<PathBuf> = Vec::new();
    let mut stay: Vec<PathBuf> = foreign
        .iter()
        .map(|name| shop.path.join(name))
        .chain([tree.path.join("index.lock")])
        .collect();
    for path in &stay {
        write(path, "");
        age(path, 30.0);
    }
    for (names, days) in [(&dead[..], HOUR), (&half_written, 25.0 * HOUR)] {
        for path in names.iter().map(|name| shop.git_dir(name)) {
            write(&path, "");
            age(&path, days);
            gone.push(path);
        }
    }
    // A branch may have such a name.
    shop.git(&["branch", "clock"]);
    stay.push(shop.git_dir("refs/heads/clock"));
    age(&shop.git_dir("refs/heads/clock"), 30.0);
    // The same names, but still young: in another repo, because one path can't be both.
    let busy = world.repo("acme/busy");
    for (names, days) in [(&dead[..15], HOUR / 6.0), (&half_written, 23.0 * HOUR)] {
        for path in names.iter().map(|name| busy.git_dir(name)) {
            write(&path, "");
            age(&path, days);
            stay.push(path);
        }
    }
    // Or no regular file at all.
    let odd = world.repo("acme/odd");
    std::fs::create_dir(odd.git_dir("index.lock")).unwrap();
    symlink("HEAD", odd.git_dir("HEAD.lock")).unwrap();
    fifo(&odd.git_dir("gc.pid"));
    for name in ["index.lock", "HEAD.lock", "gc.pid"] {
        age(&odd.git_dir(name), 30.0);
        stay.push(odd.git_dir(name));
    }
    let before: Vec<_> = stay.iter().map(|path| snapshot(path)).collect();

    let report = world.night();
    for (path, before) in stay.iter().zip(before) {
        assert!(
            path.symlink_metadata().is_ok(),
            "{} is gone",
            path.display()
        );
        same(&path.display().to_string(), &snapshot(path), &before);
    }
    gone.sort();
    assert_eq!(
        report
            .repos
            .iter()
            .flat_map(|repo| repo.gc.stale_locks.clone())
            .collect::<Vec<_>>(),
        gone
    );
    assert_eq!(gone.iter().find(|path| path.exists()), None);
}

#[test]
fn stashes_never_expire() {
    for strategy in ["auto", "git-gc"] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        shop.set(&format!("gc: {{strategy: {strategy}}}"));
        old_packs(&shop);
        for days in [300.0, 200.0, 100.0] {
            write(&shop.path.join("README.md"), format!("{days}\n"));
            git(&shop.path, days, &["stash", "-q"]);
        }
        let stashes = shop.git(&["reflog", "show", "--format=%H", "refs/stash"]);
        assert_eq!(
            (repack(&world).action, stashes.lines().count()),
            (GcAction::Full, 3)
        );
        assert_eq!(
            shop.git(&["reflog", "show", "--format=%H", "refs/stash"]),
            stashes,
            "{strategy}"
        );
        assert_eq!(shop.fsck(), "");
    }
}

#[test]
fn a_stash_that_was_dropped_goes_though_packed_refs_still_name_it() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    old_packs(&shop);
    let stash = |text: &str| {
        write(&shop.path.join("README.md"), text);
        git(&shop.path, 20.0, &["stash", "-q"]);
        let stash = shop.git(&["rev-parse", "stash"]);
        age_object(&shop, &stash, 20.0);
        stash
    };
    let [first, second] = ["first\n", "second\n"].map(stash);
    shop.git(&["pack-refs", "--all"]);
    shop.git(&["stash", "drop", "-q"]);
    let packed = std::fs::read_to_string(shop.git_dir("packed-refs")).unwrap();
    assert!(
        packed.contains(&format!("{second} refs/stash")),
        "git leaves what a loose ref hides"
    );
    assert_eq!(repack(&world).action, GcAction::Full);
    assert_eq!(
        [&first, &second].map(|object| has(&shop, object)),
        [true, false]
    );
    assert_eq!(shop.fsck(), "");
}

#[test]
fn a_pack_without_an_index_gets_one_and_a_shield_that_stayed_goes() {
    let world = World::new();
    let [shop, young] = ["acme/shop", "acme/young"].map(|name| world.repo(name));
    for (repo, days) in [(&shop, 2.0), (&young, 0.5)] {
        repo.git(&["repack", "-q", "-a", "-d"]);
        // As a killed `git repack` leaves it: git deletes an old pack's index first.
        let old = files_of_packs(repo)
            .into_iter()
            .find(|path| path.extension().unwrap() == "pack")
            .unwrap();
        let bytes = std::fs::read(&old).unwrap();
        repo.commit(60.0, "later.ts", "1\n");
        repo.git(&["repack", "-q", "-a", "-d"]);
        write(&old, bytes);
        age_all(&repo.git_dir("objects/pack"), days);
    }
    let shield = shop.git_dir("refs/treewarden/shield/x");
    write(
        &shield,
        std::fs::read(shop.git_dir("refs/heads/main")).unwrap(),
    );
    age(&shield, 1.0);

    world.treewarden(&["run"]);
    assert_eq!(
        (shop.fsck(), packs(&shop, "idx"), packs(&young, "idx")),
        (String::new(), 2, 1)
    );
    assert!(
        !shield.exists()
            && world
                .at("acme__shop/.git/refs/treewarden")
                .read_dir()
                .is_ok()
    );
    // The missing index counted as damage at the beginning of the first run only.
    let again = world.treewarden(&["run", "--repo", "acme/shop"]);
    assert_eq!(again.code, 0, "{again:?}");
}

fn files_of_packs(repo: &Repo<'_>) -> Vec<PathBuf> {
    std::fs::read_dir(repo.git_dir("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Makes everything that git would run leave a canary; returns where.
fn booby_trap(repo: &Repo<'_>) -> PathBuf {
    let canaries = repo.world.beside("canaries");
    std::fs::create_dir(&canaries).unwrap();
    let script = |path: &Path, name: &str| {
        write(
            path,
            format!("#!/bin/sh\ntouch {}/{name}\ncat\n", canaries.display()),
        );
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let hooks = "applypatch-msg pre-applypatch post-applypatch pre-commit post-commit pre-rebase post-checkout post-merge pre-push \
                 pre-auto-gc post-rewrite reference-transaction post-index-change pre-receive update post-update fsmonitor-watchman";
    for hook in hooks.split_whitespace() {
        script(&repo.git_dir("hooks").join(hook), hook);
        script(
            &repo.world.beside("more-hooks").join(hook),
            &format!("hookspath-{hook}"),
        );
    }
    let program = |name: &str| {
        let path = repo.world.beside(format!("programs/{name}"));
        script(&path, name);
        path.display().to_string()
    };
    write(
        &repo.git_dir("info/attributes"),
        "* filter=evil diff=evil merge=evil\n",
    );
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "core.alternateRefsCommand",
        "core.gitProxy",
        "gc.recentObjectsHook",
        "credential.helper",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "gpg.program",
        "uploadpack.packObjectsHook",
        "hook.evil.command",
        "sequence.editor",
    ] {
        repo.git(&["config", key, &program(key)]);
    }
    repo.git(&["config", "hook.evil.event", "reference-transaction"]);
    let included = repo.world.beside("included");
    write(
        &included,
        format!(
            "[core]\n\tfsmonitor = {}\n\thooksPath = {}\n",
            program("included"),
            repo.world.beside("more-hooks").display()
        ),
    );
    repo.git(&["config", "include.path", included.to_str().unwrap()]);
    canaries
}

fn sung(canaries: &Path) -> Vec<String> {
    std::fs::read_dir(canaries)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn nothing_that_a_repo_says_is_run() {
    for strategy in ["auto", "git-gc"] {
        let world = World::new();
        let shop = world.repo("acme/shop");
        shop.set(&format!("gc: {{strategy: {strategy}}}"));
        old_packs(&shop);
        shop.tree("landed").age(2.0);
        let dirty = shop.tree("dirty");
        dirty
            .write("new.ts", "new\n")
            .write("README.md", "edited\n");
        let lonely = shop.detached("lonely");
        lonely.commit("lonely.ts", "1\n");
        let gone = shop.tree("gone");
        remove(&gone.path);
        gone.age_admin(10.0);
        let canaries = booby_trap(&shop);
        for tree in [&dirty, &lonely] {
            tree.git(&["config", "extensions.worktreeConfig", "true"]);
            write(
                &tree.admin.join("config.worktree"),
                format!(
                    "[core]\n\tfsmonitor = {}\n",
                    world.beside("programs/core.fsmonitor").display()
                ),
            );
            tree.age(31.0);
        }
        world.pass(0, &["report"]);
        let report = world.night();
        assert_eq!((report.totals.reaped, report.totals.rescued), (3, 2));
        assert_eq!(report.repos[0].gc.action, GcAction::Full);
        assert_eq!(report.repos[0].prune.dropped.len(), 1);
        assert_eq!(sung(&canaries), [""; 0], "{strategy}");
        // The traps do work: an agent's own git triggers them.
        git(&shop.path, 0.0, &["status"]);
        git(&shop.path, 0.0, &["update-ref", "refs/heads/x", "HEAD"]);
        assert!(sung(&canaries).len() > 1, "{:?}", sung(&canaries));
    }
}

#[test]
fn the_strategy_is_the_configs() {
    let world = World::new();
    let [off, git_gc] = ["acme/off", "acme/git-gc"].map(|name| world.repo(name));
    off.set("gc: {strategy: off}");
    git_gc.set("gc: {strategy: git-gc}");
    many_loose(&off);
    old_packs(&git_gc);
    // `git gc` would fail on a missing tree, and use a shorter grace if the repo's config says so.
    git_gc.git(&["config", "gc.pruneExpire", "now"]);
    git_gc.git(&["config", "gc.worktreePruneExpire", "now"]);
    let young = unreachable(&git_gc, "young\n", 13.0);
    let tree = git_gc.tree("missing");
    remove(&tree.path);
    let before = snapshot(&off.git_dir("objects"));
    let report = world.night();
    let of = |name: &str| {
        &report
            .repos
            .iter()
            .find(|repo| repo.name == name)
            .unwrap()
            .gc
    };
    assert_eq!(
        (of("acme/off").action, of("acme/git-gc").action),
        (GcAction::None, GcAction::Full)
    );
    same("switched off", &snapshot(&off.git_dir("objects")), &before);
    assert_eq!(of("acme/git-gc").after.packs, 1, "{:?}", of("acme/git-gc"));
    assert!(has(&git_gc, &young) && tree.admin.join("HEAD").exists());
    assert_eq!(git_gc.fsck(), "");
}

#[test]
fn a_repack_that_did_nothing_is_told() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    many_loose(&shop);
    // Another git is packing refs at this very moment.
    write(&shop.git_dir("packed-refs.lock"), "");
    let report = world.pass(1, &["run"]);
    let repo = &report.repos[0];
    assert!(
        repo.failures.len() == 1 && repo.failures[0].contains("packed-refs.lock"),
        "{:?}",
        repo.failures
    );
    assert_eq!(
        (repo.gc.action, repo.gc.after.loose_objects),
        (GcAction::Incremental, 0),
        "what was done before it is told"
    );
    assert!(report.alerts.iter().any(|alert| alert.name == "RunFailed"));
    assert_eq!(shop.fsck(), "");
}
