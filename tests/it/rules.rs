//! Prometheus' rules, the dashboard, and the runbook that every alert links to, compared with the
//! program. Prometheus' own tool also evaluates the rules over typical runs.

use crate::report::{golden, nights};
use crate::support::World;
use serde_yaml::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use treewarden::config;
use treewarden::config::policy::Policy;
use treewarden::notify::alert;
use treewarden::notify::metrics;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the rules in the object for Prometheus' operator.
pub(crate) fn spec() -> Value {
    let object: Value =
        serde_yaml::from_str(&text("cronjobs/monitoring/prometheusrule.yaml")).unwrap();
    object["spec"].clone()
}

fn rules() -> Vec<Value> {
    let spec = spec();
    let groups = spec["groups"].as_sequence().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_sequence().unwrap().clone())
        .collect()
}

/// For a Prometheus without the operator, which can't read rules from an object. `UPDATE_GOLDEN=1`
/// rewrites the file.
#[test]
fn the_plain_rules_are_those_of_the_operator() {
    let head = "# What stands below `spec` in prometheusrule.yaml, which says why; tests/it/rules.rs makes it: UPDATE_GOLDEN=1.\n";
    golden(
        "../../../cronjobs/monitoring/rules.yaml",
        &format!("{head}{}", serde_yaml::to_string(&spec()).unwrap()),
    );
}

fn policy() -> Policy {
    config::parse(
        "c.yaml",
        "volume: {root: /data}\nrepos: [{name: data/etl, path: a}]\ncaches: [{kind: npm, path: b}]",
    )
    .unwrap()
}

/// Returns the words of a text that begin with `treewarden_`.
fn metrics_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("treewarden_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_rule_asks_for_metrics_that_there_are_and_says_what_to_do() {
    let there = metrics_of(&metrics::text(&policy(), &nights::rich(), Some(&[])));
    let rules = rules();
    assert!(rules.len() > 8, "{rules:?}");
    for rule in rules {
        let unknown: Vec<String> = metrics_of(rule["expr"].as_str().unwrap())
            .difference(&there)
            .cloned()
            .collect();
        assert_eq!(unknown, [""; 0], "{rule:?}");
        let name = rule["alert"].as_str().unwrap();
        let link = format!("cronjobs/README.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"].as_str(), Some(link.as_str()));
        assert!(
            ["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            ["summary", "description"]
                .iter()
                .all(|what| rule["annotations"][*what]
                    .as_str()
                    .is_some_and(|said| said.len() > 30)),
            "{name}"
        );
    }
}

#[test]
fn the_runbook_has_a_heading_for_every_alert_and_for_none_that_is_not() {
    let mut said: BTreeSet<String> = rules()
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect();
    let nights = [nights::rich(), nights::disaster(), nights::refused()];
    said.extend(
        nights
            .iter()
            .flat_map(alert::alerts)
            .map(|alert| alert.name),
    );
    assert!(said.len() > 12, "{said:?}");
    // Every alert that the program can raise occurs in one of those runs.
    let source = text("src/notify/alert.rs");
    let raised = source
        .split("alert(\"")
        .skip(1)
        .map(|after| after.split('"').next().unwrap().to_owned());
    let missing: Vec<String> = raised.filter(|name| !said.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    let runbook = text("cronjobs/README.md");
    let runbook = runbook
        .split("\n## Runbook\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let headings: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, said);
}

#[test]
#[ignore = "needs prometheus"]
fn the_rules_say_of_nights_what_they_should() {
    let world = World::unprepared();
    fs::write(
        world.beside("rules.yaml"),
        serde_yaml::to_string(&spec()).unwrap(),
    )
    .unwrap();
    let cases = text("cronjobs/monitoring/rules.test.yaml");
    fs::write(world.beside("rules.test.yaml"), &cases).unwrap();
    let checked = world.program("promtool", &["check", "rules", "rules.yaml"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let tested = world.program("promtool", &["test", "rules", "rules.test.yaml"]);
    assert_eq!(tested.code, 0, "{}\n{}", tested.out, tested.err);
    let untested: Vec<String> = rules()
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .filter(|name| !cases.contains(name))
        .collect();
    assert_eq!(untested, [""; 0]);
    // A broken rule is noticed.
    let broken = serde_yaml::to_string(&spec())
        .unwrap()
        .replace("26 * 3600", "46 * 3600");
    fs::write(world.beside("rules.yaml"), broken).unwrap();
    assert_ne!(
        world
            .program("promtool", &["test", "rules", "rules.test.yaml"])
            .code,
        0
    );
}

/// Returns the dashboard's queries to Prometheus, with a volume chosen.
fn queries() -> Vec<String> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("cronjobs/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let marks = dashboard["annotations"]["list"].as_array().unwrap();
    let asked = targets.chain(marks).map(|target| {
        target["expr"]
            .as_str()
            .unwrap()
            .replace("$volume", "agents")
    });
    let of_choice = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|list| list["query"].as_str());
    let of_choice = of_choice.filter_map(|query| {
        Some(
            query
                .strip_prefix("label_values(")?
                .split_once(',')?
                .0
                .to_owned(),
        )
    });
    asked.chain(of_choice).collect()
}

#[test]
fn the_dashboard_shows_what_there_is_and_all_of_it() {
    let there = metrics_of(&metrics::text(&policy(), &nights::rich(), Some(&[])));
    let asked: BTreeSet<String> = queries()
        .iter()
        .flat_map(|query| metrics_of(query))
        .collect();
    let unknown: Vec<_> = asked.difference(&there).collect();
    assert_eq!(unknown, [""; 0]);
    // The dashboard doesn't need these: a run's details, and what only an alert needs.
    let elsewhere = [
        "eviction_freed_bytes",
        "eviction_triggered",
        "eviction_wanted_bytes",
        "prunes_refused",
        "reaped_worktrees",
    ];
    let unseen: Vec<_> = there
        .difference(&asked)
        .map(|name| name.trim_start_matches("treewarden_"))
        .collect();
    assert_eq!(unseen, elsewhere);
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("cronjobs/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    let silent: Vec<_> = panels
        .iter()
        .filter(|panel| panel["description"].as_str().is_none_or(str::is_empty))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

/// Grafana colours series in the order of their names, and `busy` would be the first.
#[test]
fn a_busy_repo_is_not_green() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("cronjobs/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let outcomes = panels
        .iter()
        .find(|panel| panel["title"] == "Repos, by outcome");
    let overrides = outcomes.unwrap()["fieldConfig"]["overrides"].as_array();
    let colours = overrides.unwrap().iter().map(|own| {
        let colour = &own["properties"][0]["value"]["fixedColor"];
        format!("{} {}", own["matcher"]["options"], colour).replace('"', "")
    });
    assert_eq!(
        colours.collect::<Vec<_>>(),
        [
            "maintained green",
            "busy yellow",
            "refused purple",
            "failed red"
        ]
    );
}

#[test]
#[ignore = "needs prometheus"]
fn prometheus_understands_what_the_dashboard_asks() {
    let world = World::unprepared();
    let checked = |queries: &[String]| {
        let rules: Vec<_> = queries
            .iter()
            .enumerate()
            .map(|(n, expr)| serde_json::json!({"record": format!("query_{n}"), "expr": expr}))
            .collect();
        let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
        fs::write(world.beside("queries.yaml"), groups.to_string()).unwrap();
        world.program("promtool", &["check", "rules", "queries.yaml"])
    };
    let fine = checked(&queries());
    assert_eq!(fine.code, 0, "{fine:?}");
    assert_ne!(
        checked(&["sum by (volume) treewarden_failures)".to_owned()]).code,
        0
    );
}
