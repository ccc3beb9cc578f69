//! Races: after it was inspected, and while the run works, a directory is swapped for a link to
//! somebody else's.
//!
//! A thread of the agent's swaps as fast as it can, in rounds with new runs, until the time is
//! over.

use super::super::support::{age_all, same, write};
use super::evil::Evil;
use super::{not_ours, run, stage};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each race lasts.
const LONG: Duration = Duration::from_secs(8);

/// Runs over one repo while `swap` goes on; the rest of the volume must not change by a byte.
fn race(prepare: impl Fn(&Evil<'_>), swap: impl Fn(&Evil<'_>) + Sync) {
    let (began, swaps) = (Instant::now(), AtomicU64::new(0));
    let mut nights = 0;
    while began.elapsed() < LONG || nights < 3 {
        let world = stage();
        world.enrol("acme/racer", "");
        let evil = Evil::copy(&world, "racer");
        prepare(&evil);
        evil.age();
        let others = not_ours(&world);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    swap(&evil);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
            for arguments in [&["report"][..], &["run"], &["run", "--only", "gc"]] {
                let ran = run(&world, arguments);
                assert!(
                    [0, 1].contains(&ran.code),
                    "{}",
                    String::from_utf8_lossy(&ran.err)
                );
            }
            over.store(true, Ordering::Relaxed);
        });
        same("what is none of its business", &not_ours(&world), &others);
        assert!(!world.beside("sung/racer").exists(), "a canary sang");
        nights += 1;
    }
    println!("{nights} nights, {} swaps", swaps.into_inner());
}

/// Swaps two names in a directory atomically, so that neither is ever missing.
fn exchange(directory: impl std::os::fd::AsFd, one: &Path, other: &Path) {
    // If one is missing, or something is in the way, a later round swaps it.
    let _gone = renameat_with(&directory, one, &directory, other, RenameFlags::EXCHANGE);
}

/// Waits until the repo was just found to be well-formed: its config is in the shadow.
fn await_proof(evil: &Evil<'_>) {
    let shadows = || {
        fs::read_dir(evil.repo.world.beside("scratch"))
            .into_iter()
            .flatten()
            .flatten()
    };
    let until = Instant::now() + Duration::from_millis(200);
    while !shadows().any(|shadow| shadow.path().join("theirs").exists()) && Instant::now() < until {
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "needs half a minute"]
fn a_tree_is_swapped_while_it_is_looked_at_rescued_and_deleted() {
    let links = |evil: &Evil<'_>| -> Vec<PathBuf> {
        vec![
            evil.outside(),
            evil.victim(""),
            evil.repo.world.at("caches/models"),
            "/etc".into(),
        ]
    };
    let prepare = |evil: &Evil<'_>| {
        for tree in [&evil.landed.path, &evil.dirty.path] {
            for number in 0..40 {
                let directory = tree.join(format!("d{number}"));
                write(&directory.join("deep/file"), "x\n");
                write(&directory.join("node_modules/.bin/x"), "x\n");
                symlink(&links(evil)[number % 4], tree.join(format!("l{number}"))).unwrap();
                symlink(&links(evil)[number % 4], directory.join("link")).unwrap();
            }
            age_all(tree, 31.0);
        }
    };
    // Through descriptors, which stay with a tree when it is moved.
    let directories = std::sync::Mutex::new((String::new(), Vec::new()));
    race(prepare, |evil| {
        let mut directories = directories.lock().unwrap();
        let world = evil.repo.world.root.display().to_string();
        if directories.0 != world {
            let trees = [&evil.landed.path, &evil.dirty.path]
                .into_iter()
                .filter_map(|tree| File::open(tree).ok());
            *directories = (world, trees.collect());
        }
        for tree in &directories.1 {
            for number in 0..40 {
                exchange(
                    tree,
                    Path::new(&format!("d{number}")),
                    Path::new(&format!("l{number}")),
                );
                if let Ok(directory) = rustix::fs::openat(
                    tree,
                    format!("d{number}"),
                    OFlags::DIRECTORY | OFlags::NOFOLLOW,
                    Mode::empty(),
                ) {
                    exchange(&directory, Path::new("deep"), Path::new("link"));
                }
            }
        }
    });
}

#[test]
#[ignore = "needs half a minute"]
fn a_git_dir_is_swapped_while_it_is_repacked() {
    // What is swapped for the victim's, again and again.
    for names in [
        &["objects"][..],
        &["refs", "logs"],
        &["worktrees", "packed-refs", "index"],
        &["objects/pack", "objects/info", "refs/heads"],
    ] {
        let prepare = |evil: &Evil<'_>| {
            evil.repo.git(&["pack-refs", "--all"]);
            for name in names {
                let other = evil.git_dir(format!("{name}-swapped"));
                symlink(evil.victim(name), other).unwrap();
            }
            evil.fill_with_hooks(&evil.git_dir("hooks"));
        };
        let round = AtomicU64::new(0);
        race(prepare, |evil| {
            await_proof(evil);
            // The swap comes at a different moment after the check in each round.
            std::thread::sleep(Duration::from_millis(
                round.fetch_add(7, Ordering::Relaxed) % 120,
            ));
            for _there_and_back in 0..2 {
                for name in names {
                    exchange(
                        CWD,
                        &evil.git_dir(name),
                        &evil.git_dir(format!("{name}-swapped")),
                    );
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

#[test]
#[ignore = "needs half a minute"]
fn a_checkout_is_swapped_while_it_is_tended() {
    let prepare = |evil: &Evil<'_>| {
        symlink(
            evil.repo.world.at("acme__victim"),
            evil.repo.world.at("worktrees/acme__racer/other"),
        )
        .unwrap();
        let trees = evil.landed.path.parent().unwrap();
        for name in ["landed", "dirty"] {
            symlink(
                evil.repo.world.at("worktrees/acme__victim").join(name),
                trees.join(format!("{name}-swapped")),
            )
            .unwrap();
        }
        symlink(evil.victim(""), evil.repo.path.join("git-swapped")).unwrap();
        fs::create_dir(evil.repo.path.join("empty")).unwrap();
    };
    race(prepare, |evil| {
        let trees = evil.landed.path.parent().unwrap();
        for name in ["landed", "dirty"] {
            exchange(
                CWD,
                &trees.join(name),
                &trees.join(format!("{name}-swapped")),
            );
        }
        exchange(
            CWD,
            &evil.repo.path.join(".git"),
            &evil.repo.path.join("git-swapped"),
        );
        std::thread::sleep(Duration::from_micros(300));
    });
}

#[test]
#[ignore = "needs half a minute"]
fn a_git_file_is_swapped_while_its_git_dir_is_maintained() {
    let named = |evil: &Evil<'_>, number: usize| evil.repo.path.join(format!("git-{number}"));
    let prepare = |evil: &Evil<'_>| {
        let away = evil.repo.path.join("away");
        fs::rename(evil.git_dir(""), &away).unwrap();
        for tree in [&evil.landed, &evil.dirty] {
            let admin = away.join("worktrees").join(tree.path.file_name().unwrap());
            write(
                &tree.path.join(".git"),
                format!("gitdir: {}\n", admin.display()),
            );
        }
        let others = [
            evil.victim(""),
            evil.outside(),
            evil.repo.world.at(".treewarden"),
            evil.repo.world.at("acme__honest/.git"),
        ];
        for (number, other) in others.iter().enumerate() {
            write(
                &named(evil, number),
                format!("gitdir: {}\n", other.display()),
            );
        }
        symlink(evil.victim(""), named(evil, others.len())).unwrap();
        symlink(evil.victim(""), evil.repo.path.join("away-swapped")).unwrap();
        write(&evil.repo.path.join(".git"), "gitdir: ./away\n");
    };
    let round = AtomicU64::new(0);
    race(prepare, |evil| {
        let number = (round.fetch_add(1, Ordering::Relaxed) % 5)
            .try_into()
            .unwrap();
        let away = evil.repo.path.join("away");
        for _there_and_back in 0..2 {
            exchange(CWD, &evil.repo.path.join(".git"), &named(evil, number));
            exchange(CWD, &away, &evil.repo.path.join("away-swapped"));
            std::thread::sleep(Duration::from_micros(300));
        }
    });
}
