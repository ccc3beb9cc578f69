//! Agents who write where `enroll` and `worktree add` work, at the same time: nothing that they
//! write is obeyed, and nothing is written outside the volume.
//!
//! Each race runs against a thread that does nothing else: three rounds by default, fifty in the
//! ignored test.

use super::enroll::{said, script, serve, state_directory, unenrolled};
use super::support::repo::Repo;
use super::support::{Ran, Running, World, git, is_root, remove, write};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Repeats `attack` in another thread until the program ends.
fn against(mut running: Running, attack: impl Fn() + Sync) -> Ran {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                attack();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        while running.runs() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        ended.store(true, Ordering::Relaxed);
    });
    running.end()
}

/// Returns the staging directories in the state directory.
fn workshops(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.at(".treewarden")).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("making-"))
        .map(|entry| entry.path())
        .collect()
}

/// Returns in how many of these rounds an agent got the password that `enroll` clones with.
fn stolen(rounds: usize) -> usize {
    let world = World::new();
    let (shop, origin) = unenrolled(&world, "acme/shop", "file://ORIGIN");
    git(&origin, 0.0, &["update-server-info"]);
    let port = serve(origin, "bWU6U0VDUkVU");
    world.enrol(
        "acme/shop",
        &format!("url: 'http://me:SECRET@127.0.0.1:{port}/shop.git'"),
    );
    let canary = world.beside("canary");
    let evil = script(&world, "evil", &format!("cat >>{}", canary.display()));
    let config = format!(
        "\n[credential]\n\thelper = \"!{0}\"\n[core]\n\tfsmonitor = {0}\n\thooksPath = {1}\n",
        evil.display(),
        world.root.display()
    );
    let mut won = 0;
    for _ in 0..rounds {
        let attack = || {
            for staging in workshops(&world) {
                for git_dir in [staging.join("tree/.git"), staging.join("git"), staging] {
                    if let Ok(mut file) = fs::OpenOptions::new()
                        .append(true)
                        .open(git_dir.join("config"))
                    {
                        let _too_late = file.write_all(config.as_bytes());
                    }
                }
            }
        };
        let ran = against(world.start(&["enroll", "acme/shop"]), attack);
        if canary.exists() {
            won += 1;
            remove(&canary);
        }
        assert!([0, 1].contains(&ran.code), "{ran:?}");
        if shop.path.exists() {
            remove(&shop.path);
        }
    }
    assert_eq!(state_directory(&world), [""; 0]);
    won
}

/// Returns in how many of these rounds a checkout wrote outside the volume while its directories
/// were swapped for links.
fn escaped(rounds: usize, enrolls: bool) -> usize {
    let world = World::new();
    let shop = world.repo("acme/shop");
    for n in 0..1500 {
        write(&shop.path.join(format!("d/{n}")), format!("{n}\n"));
    }
    shop.commit(1.0, "d/authorized_keys", "an agent's key\n");
    shop.push();
    let outside = world.beside("outside");
    let mut won = 0;
    for round in 0..rounds {
        write(&outside.join("authorized_keys"), "the operator's key\n");
        if enrolls && shop.path.exists() {
            remove(&shop.path);
        }
        let attack = || {
            for staging in workshops(&world) {
                let directory = staging.join("tree/d");
                if fs::symlink_metadata(&directory).is_ok_and(|data| data.is_dir())
                    && fs::rename(
                        &directory,
                        staging.join(format!("tree/e{}", fastrand::u32(..))),
                    )
                    .is_ok()
                {
                    let _too_late = std::os::unix::fs::symlink(&outside, &directory);
                }
            }
        };
        let name = format!("tree-{round}");
        let add: &[&str] = &["worktree", "add", "acme/shop", &name];
        let ran = against(
            world.start(if enrolls {
                &["enroll", "acme/shop"]
            } else {
                add
            }),
            attack,
        );
        assert!([0, 1].contains(&ran.code), "{ran:?}");
        won += usize::from(only_authorized_keys(&outside).is_none());
        remove(&outside);
    }
    won
}

fn only_authorized_keys(outside: &Path) -> Option<()> {
    let untouched =
        fs::read_to_string(outside.join("authorized_keys")).ok()? == "the operator's key\n";
    (untouched && fs::read_dir(outside).ok()?.count() == 1).then_some(())
}

#[test]
fn no_config_that_an_agent_writes_gets_the_callers_password() {
    assert_eq!(stolen(3), 0);
}

#[test]
fn no_swapped_directory_leads_a_new_worktree_out() {
    assert_eq!(escaped(3, false), 0);
}

#[test]
fn no_swapped_directory_leads_a_new_checkout_out() {
    assert_eq!(escaped(3, true), 0);
}

#[test]
#[ignore = "slow"]
fn fifty_rounds_of_each_race_are_lost() {
    assert_eq!(
        (stolen(50), escaped(50, false), escaped(50, true)),
        (0, 0, 0)
    );
}

/// Other origins that an agent may write into the repo's config: a repo that only the caller can
/// read, by path and by URL, directly and indirectly.
#[test]
fn an_origin_of_the_repos_own_config_is_never_fetched() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let private = Repo::clone(&world, "acme/private");
    private.commit(1.0, "secret", "SECRET");
    private.push();
    let path = world.beside("origins/acme__private.git");
    let path = path.to_str().unwrap();
    let file = format!("file://{path}");
    let origin = shop.git(&["remote", "get-url", "origin"]);
    let instead = |base: &str| format!("url.{base}.insteadOf");
    let configs: [&[(&str, &str)]; 8] = [
        &[("remote.origin.url", path)],
        &[("remote.origin.url", &file)],
        &[("remote.origin.url", "ext::sh -c touch% canary")],
        &[(&instead(path), &origin)],
        &[(&instead(&file), "/")],
        &[("remote.origin.uploadpack", "touch canary; git-upload-pack")],
        &[
            ("remote.origin.pushurl", path),
            ("remote.pushDefault", path),
            ("branch.main.remote", path),
        ],
        &[
            ("core.sshCommand", "touch canary"),
            ("http.proxy", "http://127.0.0.1:1"),
            ("credential.helper", "!touch canary"),
        ],
    ];
    let config = fs::read(shop.git_dir("config")).unwrap();
    for url in ["", "url: ~"] {
        shop.set(url);
        for (number, entries) in configs.iter().enumerate() {
            fs::write(shop.git_dir("config"), &config).unwrap();
            for (key, value) in *entries {
                shop.git(&["config", "--file", ".git/config", key, value]);
            }
            let name = format!("tree-{}-{number}", url.len());
            let ran = world.treewarden(&["worktree", "add", "acme/shop", &name]);
            if url.is_empty() {
                said(&ran, 0, &[&name]);
            } else {
                said(&ran, 1, &["acme/shop", "`url`"]);
            }
            let found = super::support::try_git(
                &shop.path,
                0.0,
                &["cat-file", "-e", &private.git(&["rev-parse", "HEAD"])],
            );
            assert_ne!(
                found.0,
                Some(0),
                "{entries:?}: the private repo's commit is there"
            );
            assert!(
                !world.beside("canary").exists() && !shop.path.join("canary").exists(),
                "{entries:?}"
            );
        }
    }
}

#[test]
fn root_works_for_nobody_but_root() {
    if !is_root() {
        return;
    }
    let own = |path: &Path, user: u32| {
        for entry in walkdir::WalkDir::new(path) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
        }
    };
    let world = World::new();
    let shop = world.repo("acme/shop");
    world.repo("acme/api");
    own(&shop.path, 1600);
    let report = world.pass(1, &["run"]);
    let reasons: Vec<bool> = report
        .repos
        .iter()
        .map(|row| {
            row.reason
                .as_ref()
                .is_some_and(|why| why.contains("belongs to user 1600"))
        })
        .collect();
    assert_eq!(reasons, [false, true], "{:#?}", report.repos);
    said(
        &world.treewarden(&["worktree", "add", "acme/shop", "x"]),
        1,
        &["belongs to user 1600", "run as user 1600"],
    );
    said(&world.treewarden(&["check"]), 3, &["belongs to user 1600"]);
    own(&world.root, 1600);
    for typed in [
        &["run"][..],
        &["report"],
        &["enroll", "acme/api"],
        &["worktree", "add", "acme/api", "x"],
        &["worktree", "remove", "acme/api", "x"],
    ] {
        said(
            &world.treewarden(typed),
            3,
            &["belongs to user 1600", "runAsUser: 1600"],
        );
    }
    said(&world.treewarden(&["check"]), 3, &["runAsUser: 1600"]);
    let unprepared = World::unprepared();
    own(&unprepared.root, 1600);
    said(
        &unprepared.treewarden(&["init", unprepared.root.to_str().unwrap()]),
        3,
        &["runAsUser: 1600"],
    );
    assert_eq!(fs::read_dir(&unprepared.root).unwrap().count(), 0);
}

#[test]
fn scratch_space_on_the_volume_is_refused() {
    let world = World::new();
    world.repo("acme/shop");
    fs::create_dir(world.at("tmp")).unwrap();
    std::os::unix::fs::symlink(world.at("tmp"), world.beside("tmp")).unwrap();
    for scratch in [world.at("tmp"), world.beside("tmp")] {
        for typed in [
            &["run"][..],
            &["worktree", "add", "acme/shop", "x"],
            &["enroll", "acme/shop"],
        ] {
            let ran = world
                .start_as(&[("TMPDIR", scratch.to_str().unwrap())], typed)
                .end();
            said(&ran, 3, &["lies on the volume", "TMPDIR"]);
        }
    }
}
