//! `treewarden locks`: the kernel says who holds what. A name that a holder left behind is shown as
//! such, and asking disturbs nobody.

use super::support::snapshot::snapshot;
use super::support::{World, map, same, until, write};
use rustix::process::Signal;
use std::collections::BTreeMap;

fn told(world: &World) -> BTreeMap<String, String> {
    let ran = world.treewarden(&["locks", "--format", "json"]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(said["schema"], "treewarden.locks/1");
    let locks = said["locks"].as_array().unwrap().iter().map(|lock| {
        let holder = &lock["holder"];
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        let holder = text(&holder["holder"]).map(|name| {
            format!(
                " {name} on {} for {} since {}",
                text(&holder["host"]).unwrap(),
                text(&holder["purpose"]).unwrap(),
                text(&holder["since"]).unwrap()
            )
        });
        // Only the kernel knows who left no name, and such a holder gives no signs.
        let is_bare = text(&lock["holder"]["purpose"]).is_some_and(|purpose| purpose == "flock");
        let holder = if is_bare {
            Some(" by flock".to_owned())
        } else {
            holder
        };
        assert_eq!(
            lock["beat"].is_string(),
            holder.is_some() && !is_bare,
            "{lock}"
        );
        (
            text(&lock["repo"]).unwrap_or("volume".into()),
            text(&lock["state"]).unwrap() + &holder.unwrap_or_default(),
        )
    });
    locks.collect()
}

fn record(holder: &str) -> String {
    format!(
        r#"{{"holder": "{holder}", "pid": 12, "purpose": "exec", "since": "2026-05-01T03:04:05Z", "token": "t"}}"#
    )
}

#[test]
fn the_kernel_s_word_and_what_somebody_left_are_told_apart() {
    let world = World::new();
    for repo in ["never", "free", "held", "nameless", "left", "torn"] {
        world.enrol(&format!("acme/{repo}"), "");
    }
    let lock = |repo: &str| world.at(format!(".treewarden/locks/acme__{repo}.lock"));
    let _held = (
        world.hold("acme__held"),
        world.hold("acme__nameless"),
        world.hold("volume"),
    );
    write(&lock("held"), record("pod-7/node-1"));
    write(&lock("left"), record("pod-8"));
    write(&lock("torn"), "{\"holder");
    write(&lock("free"), "");
    let before = snapshot(&world.root);
    let expected = map(&[
        ("volume", "held by flock"),
        ("acme/never", "free"),
        ("acme/free", "free"),
        (
            "acme/held",
            "held pod-7/node-1 on node-1 for exec since 2026-05-01T03:04:05Z",
        ),
        ("acme/nameless", "held by flock"),
        (
            "acme/left",
            "left pod-8 on pod-8 for exec since 2026-05-01T03:04:05Z",
        ),
        ("acme/torn", "free"),
    ]);
    same("locks", &told(&world), &expected);
    let text = world.treewarden(&["locks"]).out;
    let line = |repo: &str| {
        text.lines()
            .find(|line| line.contains(repo))
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(
        line("acme/held").starts_with("held acme/held pod-7/node-1 12 exec 2026-05-01 03:04 "),
        "{text}"
    );
    assert!(
        line("acme/left").starts_with("free, left by acme/left pod-8 12 exec 2026-05-01 03:04 "),
        "{text}"
    );
    assert!(
        line("acme/nameless").starts_with("held acme/nameless ")
            && line("acme/nameless").contains(&format!(" {} flock ", std::process::id())),
        "{text}"
    );
    assert_eq!(line("acme/free"), "free acme/free", "{text}");
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn a_command_s_lock_is_told_while_it_runs_and_after_it_was_killed() {
    let world = World::new();
    world.repo("acme/shop");
    let lock = world.at(".treewarden/locks/acme__shop.lock");
    let mut running = world.start(&["exec", "acme/shop", "--", "sleep", "60"]);
    until("it runs", || {
        lock.metadata().is_ok_and(|data| data.len() > 0)
    });
    let held = told(&world)["acme/shop"].clone();
    assert!(
        held.starts_with("held ") && held.contains(" for exec since "),
        "{held}"
    );
    running.signal(Signal::KILL);
    running.end();
    until("the lock is free", || {
        world.try_hold("acme__shop").is_some()
    });
    assert_eq!(told(&world)["acme/shop"], held.replace("held ", "left "));
}

#[test]
fn a_holder_s_name_can_not_paint_on_a_terminal() {
    let world = World::new();
    world.enrol("acme/shop", "");
    write(
        &world.at(".treewarden/locks/acme__shop.lock"),
        record("\\u001b[2J\\nheld"),
    );
    for typed in [&["locks"][..], &["locks", "--format", "json"]] {
        let ran = world.treewarden(typed);
        assert!(
            ran.out.chars().all(|c| c == '\n' || !c.is_control()),
            "{ran:?}"
        );
    }
    super::support::remove(&world.at(".treewarden/volume.json"));
    assert_eq!(world.treewarden(&["locks"]).code, 3);
}
