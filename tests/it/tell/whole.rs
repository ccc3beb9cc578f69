//! End to end, with the real parts: a run that evicts and falls short, Prometheus with our rules,
//! Alertmanager, and a receiver of its messages.

use super::Listener;
use super::real::{alertmanager, get_json, port, pushgateway, serve};
use crate::rules::spec;
use crate::support::{World, age, until, write};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Returns the volume and newest summary of each alert that was received, by name.
fn arrived(receiver: &Listener) -> BTreeMap<String, (String, String)> {
    let messages = receiver
        .heard()
        .into_iter()
        .map(|heard| serde_json::from_str::<Value>(&heard.body).unwrap());
    let alerts = messages.flat_map(|message| message["alerts"].as_array().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts
        .map(|alert| {
            (
                text(&alert["labels"]["alertname"]),
                (
                    text(&alert["labels"]["volume"]),
                    text(&alert["annotations"]["summary"]),
                ),
            )
        })
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
#[ignore = "needs prometheus, prometheus-pushgateway and prometheus-alertmanager"]
fn a_shortfall_reaches_people_by_every_way() {
    let world = World::new();
    let (receiver, chat) = (Listener::answering(&[200]), Listener::answering(&[200]));
    let (_gateway, gateway_url) = pushgateway(&world);
    let config = format!(
        "route: {{receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: people, webhook_configs: [{{url: '{}'}}]}}]\n",
        receiver.url()
    );
    let (_manager, manager_url) = alertmanager(&world, &config);
    fs::write(
        world.beside("rules.yaml"),
        serde_yaml::to_string(&spec()).unwrap(),
    )
    .unwrap();
    let host = |url: &str| url.trim_start_matches("http://").to_owned();
    let prometheus = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules.yaml]\n\
         scrape_configs: [{{job_name: pushgateway, honor_labels: true, static_configs: [{{targets: ['{}']}}]}}]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        host(&gateway_url),
        host(&manager_url)
    );
    fs::write(world.beside("prometheus.yml"), prometheus).unwrap();
    let url = format!("http://127.0.0.1:{}", port());
    let listen = format!("--web.listen-address={}", host(&url));
    let store = format!("--storage.tsdb.path={}", world.beside("tsdb").display());
    let _prometheus = serve(
        &world,
        "prometheus",
        &format!("{url}/-/ready"),
        &["--config.file=prometheus.yml", &listen, &store],
    );

    for (unit, days) in [("old", 40.0), ("older", 50.0), ("young", 1.0)] {
        write(&world.at("caches/models").join(unit), vec![b'x'; 2 << 20]);
        age(&world.at("caches/models").join(unit), days);
    }
    world.set(
        "caches",
        "{kind: folder, name: models, path: caches/models}",
    );
    // On any disk, more than some millionths are in use.
    world.set("eviction", "high: {bytes: 0.0002%, inodes: 0.0002%}, low: {bytes: 0.0001%, inodes: 0.0001%}, min_age: 8d");
    world.set("alerts", &format!("volume: agents, pushgateway: {gateway_url}, alertmanager: {manager_url}, webhook: {{url_env: HOOK}}"));
    let night = world
        .start_as(&[("HOOK", &chat.url())], &["run", "--format", "json"])
        .end();
    assert_eq!(night.code, 1, "{night:?}");
    let report = night.report();
    assert_eq!(
        (report.notes.len(), report.totals.evicted),
        (0, 2),
        "{:?}",
        report.notes
    );
    let said: BTreeMap<&str, &str> = report
        .alerts
        .iter()
        .map(|alert| (alert.name.as_str(), alert.summary.as_str()))
        .collect();
    assert_eq!(
        said.keys().copied().collect::<Vec<_>>(),
        ["Evicted", "EvictionShortfall", "VolumeStillHigh"]
    );
    assert!(
        said["Evicted"].ends_with(" 4 MiB and 2 inodes freed, from models (2 units)"),
        "{said:?}"
    );

    let details = &report
        .alerts
        .iter()
        .find(|alert| alert.name == "Evicted")
        .unwrap()
        .details;
    assert_eq!(
        details[..],
        [
            "2 MiB went: models, older",
            "2 MiB went: models, old",
            "in the way: 1 unit of models: younger than 8 d"
        ]
    );
    let text = chat.json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains(said["EvictionShortfall"]) && text.contains("2 MiB went: models, older"),
        "{text}"
    );

    // InodesHigh is raised by Prometheus; the run has no such alert.
    until("all alerts reach the receiver", || {
        [
            "Evicted",
            "EvictionShortfall",
            "VolumeStillHigh",
            "InodesHigh",
        ]
        .iter()
        .all(|name| arrived(&receiver).contains_key(*name))
    });
    let told = arrived(&receiver);
    assert!(
        told.values().all(|(volume, _)| volume == "agents"),
        "{told:?}"
    );
    assert_eq!(told["Evicted"].1, said["Evicted"]);
    let inodes = &told["InodesHigh"].1;
    assert!(
        inodes.starts_with("agents has used ")
            && inodes.ends_with(" of its inodes after the run: soon no file can be created"),
        "{inodes}"
    );
    let firing = || -> BTreeMap<String, String> {
        let alerts = get_json(&format!("{url}/api/v1/alerts"))["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let pair = |alert: &Value| {
            (
                alert["labels"]["alertname"].as_str().unwrap().to_owned(),
                alert["annotations"]["summary"].to_string(),
            )
        };
        firing.map(pair).collect()
    };
    let shortfall = firing()["EvictionShortfall"].clone();
    assert!(
        shortfall.starts_with("\"the last eviction on agents is short by "),
        "{shortfall}"
    );
    // An alert that both the run and Prometheus raise is one alert, not two.
    let active = get_json(&format!("{manager_url}/api/v2/alerts"));
    let named = |name: &str| {
        active
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| alert["labels"]["alertname"] == name)
            .count()
    };
    assert_eq!(
        ["Evicted", "EvictionShortfall", "InodesHigh"].map(named),
        [1, 1, 1],
        "{active:#}"
    );

    // A run without problems ends Prometheus' alerts.
    let config = fs::read_to_string(world.config())
        .unwrap()
        .replace("0.0002%", "100%")
        .replace("0.0001%", "99%");
    fs::write(world.beside("calm.yaml"), config).unwrap();
    let calm = world
        .start_as(
            &[("HOOK", &chat.url())],
            &[
                "run",
                "--config",
                world.beside("calm.yaml").to_str().unwrap(),
            ],
        )
        .end();
    assert_eq!(
        (calm.code, calm.err.as_str(), chat.heard().len()),
        (0, "", 1),
        "{calm:?}"
    );
    until("Prometheus is content", || firing().is_empty());
}
