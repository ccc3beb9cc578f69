//! Signs of life to a dead man's switch: a real listener, and what it hears of each sort of run.

use super::{Heard, Listener, failing, nights, nobody, told};
use crate::support::{World, remove};
use std::fs;
use treewarden::report::text::headline;

const SECRET: &str = "4f0c2d9b-secret";
const SWITCH: &str = "ping: {url_env: SWITCH}";

/// Returns what the listener heard: each sign without its secret, and its body.
fn heard(listener: &Listener) -> Vec<(String, String)> {
    let sign = |heard: Heard| {
        let what = heard.what.replace(&format!("/{SECRET}"), "");
        (what.trim_end().to_owned(), heard.body)
    };
    listener.heard().into_iter().map(sign).collect()
}

fn signs(listener: &Listener) -> Vec<String> {
    heard(listener).into_iter().map(|(sign, _)| sign).collect()
}

/// Runs with the switch's address in the environment, and checks that it gets nowhere else.
fn run(world: &World, listener: &Listener, arguments: &[&str], code: i32) -> super::RunReport {
    let url = format!("{}/{SECRET}", listener.url());
    let with_format = [arguments, &["--format", "json"]].concat();
    let ran = world
        .start_as(
            &[("SWITCH", &url), ("RUST_LOG", "treewarden=trace")],
            &with_format,
        )
        .end();
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(
        !ran.out.contains(SECRET) && !ran.err.contains(SECRET),
        "{ran:?}"
    );
    let journal = fs::read_to_string(world.at(".treewarden/journal.jsonl")).unwrap_or_default();
    assert!(!journal.contains(SECRET), "{journal}");
    ran.report()
}

#[test]
fn a_run_gives_a_sign_when_it_begins_and_one_when_it_ends() {
    let listener = Listener::answering(&[200]);
    let world = World::new();
    world.repo("acme/shop");
    world.set("alerts", SWITCH);
    let report = run(&world, &listener, &["run"], 0);
    let expected = [
        ("POST /start".to_owned(), String::new()),
        ("POST".to_owned(), headline(&report)),
    ];
    assert_eq!(heard(&listener), expected);
    assert!(
        expected[1].1.starts_with("All in order on "),
        "{expected:?}"
    );
}

#[test]
fn what_failed_or_was_refused_says_so() {
    let listener = Listener::answering(&[200]);
    let world = failing();
    world.set("alerts", SWITCH);
    let report = run(&world, &listener, &["run"], 1);
    let (sign, body) = heard(&listener).remove(1);
    assert_eq!((sign.as_str(), body), ("POST /fail", headline(&report)));
    remove(&world.at(".treewarden/volume.json"));
    run(&world, &listener, &["run"], 3);
    let (sign, body) = heard(&listener).remove(3);
    assert_eq!(sign, "POST /fail");
    assert!(
        body.starts_with("Refused: nothing was touched on ") && body.contains("volume.json"),
        "{body}"
    );
}

#[test]
fn only_a_whole_night_gives_signs() {
    let listener = Listener::answering(&[200]);
    let world = World::new();
    world.repo("acme/shop");
    world.set("alerts", SWITCH);
    run(&world, &listener, &["run", "--dry-run"], 0);
    run(&world, &listener, &["run", "--only", "gc"], 0);
    run(&world, &listener, &["run", "--repo", "shop"], 0);
    run(&world, &listener, &["report"], 0);
    // The first shard has nothing to say if all went well; the last one speaks for both.
    run(&world, &listener, &["run", "--shard", "0/2"], 0);
    assert_eq!(signs(&listener), [""; 0]);
    run(&world, &listener, &["run", "--shard", "1/2"], 0);
    assert_eq!(signs(&listener), ["POST /start", "POST"]);
    let url = format!("{}/{SECRET}", listener.url());
    let checked = world
        .start_as(&[("SWITCH", &url)], &["check", "--probe"])
        .end();
    assert!(checked.out.contains("alerts.ping") && !checked.out.contains(SECRET));
    assert_eq!(signs(&listener)[2..], ["POST /log"]);
}

#[test]
fn a_switch_that_does_not_answer_is_a_note() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{}/{SECRET}\n", nobody())).unwrap();
    let alerts = format!("ping: {{url_file: {}}}", file.path().display());
    let notes = told(&alerts, nights::idle());
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].starts_with("failed to give a sign to alerts.ping: ")
            && !notes[0].contains(SECRET),
        "{notes:?}"
    );
}
