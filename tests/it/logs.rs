//! The log alone tells what was deleted and why, for an operator who has no report.

use super::support::{World, age_all, write};
use serde_json::Value;

/// Returns the events of a log, without times.
fn events(log: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"));
    lines.collect()
}

/// Returns the fields of the only event with this message.
#[track_caller]
fn the<'a>(events: &'a [Value], message: &str) -> &'a Value {
    let found: Vec<&Value> = events
        .iter()
        .filter(|event| event["fields"]["message"] == message)
        .collect();
    assert_eq!(found.len(), 1, "`{message}` among {events:#?}");
    found[0]
}

/// Prepares a volume on which a run deletes something of every kind.
fn furnish(world: &World) {
    let shop = world.repo("acme/shop");
    shop.push();
    let tree = shop.tree("dirty");
    tree.write("notes.md", "mine\n").age(40.0);
    for number in 0..3 {
        shop.commit(60.0, "more.ts", &number.to_string());
        shop.git(&["repack", "-q", "-d"]);
    }
    write(&world.at("caches/models/old/data"), vec![b'm'; 1 << 20]);
    age_all(&world.at("caches/models"), 90.0);
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models, depth: 1}",
    );
    world.set("eviction", "budget: 1");
}

#[test]
fn a_run_logs_each_deletion_with_its_fields() {
    let world = World::new();
    furnish(&world);
    let ran = world.start_as(&[], &["run", "--log-format", "json"]).end();
    let events = events(&ran.err);
    let reaped = the(&events, "reaped a worktree");
    let path = world.at("worktrees/acme__shop/dirty");
    assert_eq!(reaped["fields"]["path"], path.to_str().unwrap());
    assert_eq!(reaped["fields"]["class"], "Unsaved");
    let rescue = reaped["fields"]["rescue"].as_str().unwrap();
    assert!(
        rescue.starts_with("refs/treewarden/rescue/dirty/"),
        "{rescue}"
    );
    let spans: Vec<&str> = reaped["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(spans, ["run", "repo"], "{reaped}");
    assert_eq!(reaped["spans"][1]["stage"], "reap");
    assert_eq!(reaped["spans"][1]["repo"], "acme/shop");
    let repacked = the(&events, "repacked");
    assert!(
        repacked["fields"]["reason"]
            .as_str()
            .is_some_and(|why| !why.is_empty()),
        "{repacked}"
    );
    let evicted = the(&events, "evicted");
    assert_eq!(
        (&evicted["fields"]["cache"], &evicted["fields"]["unit"]),
        (&"models".into(), &"old".into())
    );
    assert!(
        evicted["fields"]["bytes"].as_u64().unwrap() >= 1 << 20,
        "{evicted}"
    );
}

#[test]
fn at_debug_the_log_tells_each_verdict_and_each_git() {
    let world = World::new();
    furnish(&world);
    let ran = world
        .start_as(
            &[("RUST_LOG", "treewarden=debug")],
            &["run", "--log-format", "json"],
        )
        .end();
    let events = events(&ran.err);
    // The verdict is logged once in each pass.
    let decided = events
        .iter()
        .filter(|event| event["fields"]["message"] == "decided");
    let verdicts: Vec<&str> = decided
        .map(|event| event["fields"]["verdict"].as_str().unwrap())
        .collect();
    assert!(
        verdicts.len() == 2 && verdicts.iter().all(|verdict| verdict.starts_with("Reap")),
        "{verdicts:?}"
    );
    let gits: Vec<&Value> = events
        .iter()
        .filter(|event| event["fields"]["message"] == "git")
        .collect();
    assert!(
        gits.iter().any(|git| git["fields"]["command"]
            .as_str()
            .unwrap()
            .starts_with("repack")),
        "{gits:?}"
    );
    assert!(
        gits.iter().all(|git| git["fields"]["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)),
        "{gits:?}"
    );
}
