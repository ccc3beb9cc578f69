//! `treewarden check` and the receivers: what it says without asking them, and what they hear when
//! it does.

use super::{Heard, Listener, nobody};
use crate::support::snapshot::snapshot;
use crate::support::{World, same};
use serde_json::Value;
use std::collections::BTreeMap;

/// Returns what is said of each receiver, as `state message`, and the exit code.
fn receivers(world: &World, hook: Option<&str>, typed: &[&str]) -> (i32, BTreeMap<String, String>) {
    let typed = [&["check", "--format", "json"], typed].concat();
    let variables: Vec<(&str, &str)> = hook.map(|hook| ("HOOK", hook)).into_iter().collect();
    let ran = world.start_as(&variables, &typed).end();
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(told["schema"], "treewarden.check/1");
    assert_eq!(told["config"], world.config().to_str().unwrap());
    let check = |check: &Value| {
        let text = |key: &str| check[key].as_str().unwrap().to_owned();
        let what = text("what");
        let said = format!("{} {}", text("state"), text("message"));
        what.starts_with("alerts").then_some((what, said))
    };
    let checks = told["checks"].as_array().unwrap();
    (ran.code, checks.iter().filter_map(check).collect())
}

#[test]
fn check_asks_nobody_unless_told_to() {
    let world = World::new();
    world.repo("acme/shop");
    let (code, told) = receivers(&world, None, &[]);
    assert!(
        code == 0 && told["alerts"].starts_with("ok no receiver is configured"),
        "{told:?}"
    );

    let [gateway, manager, chat] = [(); 3].map(|()| Listener::answering(&[200]));
    let hook = format!("{}/secret-token", chat.url());
    world.set(
        "alerts",
        &format!(
            "volume: agents, pushgateway: '{}', alertmanager: '{}', webhook: {{url_env: HOOK}}, \
             textfile: /nowhere/at/all.prom, termination_log: /nowhere/log",
            gateway.url(),
            manager.url()
        ),
    );
    let before = snapshot(&world.root);
    let (code, told) = receivers(&world, Some(&hook), &[]);
    let starts = |told: &BTreeMap<String, String>, expected: &[(&str, &str)]| {
        for (what, begins) in expected {
            assert!(
                told[&format!("alerts.{what}")].starts_with(begins),
                "{what}: {told:?}"
            );
        }
    };
    let files = [
        (
            "textfile",
            "warning failed to write the metrics to `/nowhere/at/all.prom`: No such",
        ),
        (
            "termination_log",
            "ok /nowhere/log: not there, so nothing is written",
        ),
    ];
    starts(&told, &files);
    let unasked = "ok configured, and not asked";
    let webhook = (
        "webhook",
        "ok its address is known; configured, and not asked",
    );
    starts(
        &told,
        &[("pushgateway", unasked), ("alertmanager", unasked), webhook],
    );
    assert_eq!((code, told.len()), (0, 5));
    let heard = || [&gateway, &manager, &chat].map(Listener::heard);
    assert_eq!(heard(), [vec![], vec![], vec![]]);
    // Without the address no run could send it: nothing fails for it.
    let (code, told) = receivers(&world, None, &[]);
    starts(
        &told,
        &[(
            "webhook",
            "warning the environment variable HOOK is not set",
        )],
    );
    assert_eq!(code, 0);

    let (code, told) = receivers(&world, Some(&hook), &["--probe"]);
    let answers = ["pushgateway", "alertmanager", "webhook"].map(|what| (what, "ok it answers"));
    starts(&told, &answers);
    starts(&told, &files);
    assert_eq!((code, told.len()), (0, 5));
    let [gateway, manager, chat] = heard().map(|heard| {
        assert_eq!(heard.len(), 1, "{heard:?}");
        let Heard { what, body, .. } = heard[0].clone();
        (what, body)
    });
    assert_eq!(gateway, ("GET /-/ready".to_owned(), String::new()));
    assert_eq!(manager, ("POST /api/v2/alerts".to_owned(), "[]".to_owned()));
    assert_eq!(chat.0, "POST /secret-token");
    let text: Value = serde_json::from_str(&chat.1).unwrap();
    let message =
        "treewarden on `agents`: a test message of `treewarden check --probe`. No run took place.";
    assert_eq!(text, serde_json::json!({ "text": message }));
    same("the volume", &snapshot(&world.root), &before);
}

#[test]
fn a_probe_that_nobody_answers_is_told_without_the_address() {
    let world = World::new();
    world.repo("acme/shop");
    let chat = Listener::answering(&[404]);
    world.set(
        "alerts",
        &format!(
            "pushgateway: '{}', webhook: {{url_env: HOOK, format: json}}",
            nobody()
        ),
    );
    let hook = format!("{}/secret-token", chat.url());
    let (code, told) = receivers(&world, Some(&hook), &["--probe"]);
    let expected = [
        (
            "alerts.pushgateway",
            "bad connection refused; see that it is up (tried 3 times)",
        ),
        (
            "alerts.webhook",
            "bad failed to call alerts.webhook: it answered 404; see that the address is right and still good; the alerts stand in the report",
        ),
    ];
    let expected = expected.map(|(what, said)| (what.to_owned(), said.to_owned()));
    assert_eq!((code, told), (3, BTreeMap::from(expected)));
    let message = chat.json();
    assert_eq!(message["schema"], "treewarden.probe/1");
    assert_eq!(message["volume"]["root"], world.root.to_str().unwrap());
}

#[test]
fn a_token_in_an_address_is_told_and_never_shown() {
    let world = World::new();
    world.repo("acme/shop");
    world.enrol("acme/shop", "url: 'https://me:SECRET@host/acme/shop.git'");
    let told = "holds a password, a token or a user name";
    let ran = world.treewarden(&["check"]);
    assert!(
        ran.code == 0 && ran.out.contains(told),
        "a warning: {ran:?}"
    );
    let line = ran.out.lines().find(|line| line.contains(told)).unwrap();
    assert!(line.starts_with("!   repo acme/shop  "), "{line}");
    for typed in [
        &["run"][..],
        &["report"],
        &["enroll", "acme/shop"],
        &["check"],
    ] {
        let ran = world.treewarden(typed);
        let warned = [&ran.out, &ran.err].iter().any(|text| text.contains(told));
        assert!(ran.code == 0 && warned, "{typed:?}: {ran:?}");
        assert!(
            !ran.out.contains("SECRET") && !ran.err.contains("SECRET"),
            "{typed:?}: {ran:?}"
        );
    }
    world.enrol("acme/shop", "url: 'https://host/acme/shop.git'");
    assert!(!world.treewarden(&["check"]).out.contains(told));
}
