//! The dashboard over thirty runs, with a real Prometheus: no panel is empty, and the numbers at
//! its top are the last run's.
//!
//! `TREEWARDEN_SCREENS=DIRECTORY` keeps Prometheus' answers as `dashboard.json`, which
//! `docs/picture.sh` draws.

use super::real::{get_json, port, serve};
use super::{policy, with_alerts};
use crate::report::nights;
use crate::support::{World, map, same};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use treewarden::notify::metrics;
use treewarden::report::{
    RepoOutcome, RunOutcome, RunReport, Totals, TreeOutcome, Unit, VerdictName, Worktree,
};

const GIB: u64 = 1 << 30;
const NIGHTS: i64 = 30;
/// Seconds between two scrapes: for Prometheus, a sample is stale after five minutes.
const SCRAPE: usize = 240;

/// Returns some weeks of a team: work fills the volume day by day, runs free some, and above the
/// high watermark they evict.
fn fleet() -> Vec<RunReport> {
    let mut level = nights::rich().volume.after;
    (level.used_bytes, level.free_bytes, level.used_inodes) = (112 * GIB, 88 * GIB, 13_400_000);
    let night = |days: i64| {
        let day = u64::try_from(NIGHTS - days).unwrap();
        let mut night = nights::rich();
        for time in [&mut night.run.started, &mut night.run.finished] {
            *time -= TimeDelta::days(days);
        }
        night.run.finished += TimeDelta::seconds(i64::try_from(day * 97 % 400).unwrap());
        (level.used_bytes, level.free_bytes) = (
            level.used_bytes + (3 + day * 7 % 5) * GIB,
            level.free_bytes - (3 + day * 7 % 5) * GIB,
        );
        level.used_inodes += 200_000 + day * 7 % 5 * 60_000;
        night.volume.before = level;
        let evicts = night.volume.share(level).unwrap() > night.volume.high;
        let evicted = if evicts {
            level.used_bytes - 149 * GIB
        } else {
            0
        };
        let (reaped, repacked) = ((day * 5 % 4) * GIB / 2, day % 3 * GIB / 5);
        let freed = evicted + reaped + repacked;
        (level.used_bytes, level.free_bytes) = (level.used_bytes - freed, level.free_bytes + freed);
        level.used_inodes -= if evicts {
            1_400_000
        } else {
            90_000 + day * 5 % 4 * 30_000
        };
        night.volume.after = level;
        night.run.outcome = match day {
            11 => RunOutcome::Failed,
            19 => RunOutcome::Interrupted,
            _ => RunOutcome::Ok,
        };
        trees(&mut night, day);
        let busy = (12..15).contains(&day) || day > 28;
        night.repos[2].outcome = if busy {
            RepoOutcome::Busy
        } else {
            RepoOutcome::Maintained
        };
        for (repo, waited) in
            night
                .repos
                .iter_mut()
                .zip([0, day * 13 % 50, if busy { 600 } else { 0 }, 0])
        {
            repo.lock.waited_seconds = f64::from(u32::try_from(waited).unwrap());
        }
        night.eviction.triggered = evicts;
        let goes = |(i, _): &(usize, Unit)| evicts && !(*i as u64 + day).is_multiple_of(3);
        night.eviction.units = night
            .eviction
            .units
            .into_iter()
            .enumerate()
            .filter(goes)
            .map(|(_, unit)| unit)
            .collect();
        night.totals = Totals {
            freed_bytes: freed,
            freed_by_reap: reaped,
            freed_by_gc: repacked,
            freed_by_evict: evicted,
            rescued: u64::from(day % 6 == 0),
            failures: u64::from(day == 11) * 2,
            ..night.totals
        };
        with_alerts(night)
    };
    (0..=NIGHTS).rev().map(night).collect()
}

/// Sets as many trees as agents are at work, fewer at the weekend.
fn trees(night: &mut RunReport, day: u64) {
    let like: Worktree = night.repos[1].worktrees[0].clone();
    let busy = if day % 7 > 4 { 3 } else { 8 + day % 5 };
    for (repo, share) in night.repos.iter_mut().zip([2, 1, 1, 1]) {
        let tree = |verdict, outcome: TreeOutcome| Worktree {
            verdict,
            outcome,
            ..like.clone()
        };
        let keep = (0..busy * share).map(|_| tree(VerdictName::Keep, TreeOutcome::Kept));
        let reap = (0..day * 5 % 4).map(|_| tree(VerdictName::Reap, TreeOutcome::Reaped));
        let unknown =
            (0..u64::from(day == 11)).map(|_| tree(VerdictName::Unknown, TreeOutcome::Kept));
        repo.worktrees = keep.chain(reap).chain(unknown).collect();
    }
}

/// Returns what Prometheus would have scraped from the Pushgateway, in `promtool`'s format: by
/// metric family, each sample with its time.
fn scraped(nights: &[RunReport]) -> String {
    let policy = policy("volume: agents");
    let mut families: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (i, night) in nights.iter().enumerate() {
        let text = metrics::text(&policy, night, Some(&nights[..i]));
        let until = nights
            .get(i + 1)
            .map_or(night.run.finished + TimeDelta::hours(5), |next| {
                next.run.finished
            });
        for line in text.lines().filter(|line| *line != "# EOF") {
            let name = line
                .trim_start_matches("# HELP ")
                .trim_start_matches("# TYPE ")
                .split([' ', '{'])
                .next()
                .unwrap();
            let (head, samples) = families.entry(name.to_owned()).or_default();
            if line.starts_with('#') {
                if i == 0 {
                    writeln!(head, "{line}").unwrap();
                }
                continue;
            }
            for time in (night.run.finished.timestamp()..until.timestamp()).step_by(SCRAPE) {
                writeln!(samples, "{line} {time}").unwrap();
            }
        }
    }
    families
        .into_values()
        .map(|(head, samples)| head + &samples)
        .collect::<String>()
        + "# EOF\n"
}

/// Escapes a query parameter.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[test]
#[ignore = "needs prometheus"]
fn every_panel_of_the_dashboard_has_something_to_show() {
    let world = World::unprepared();
    let nights = fleet();
    fs::write(world.beside("samples"), scraped(&nights)).unwrap();
    let made = world.program(
        "promtool",
        &[
            "tsdb",
            "create-blocks-from",
            "--max-block-duration=1000h",
            "openmetrics",
            "samples",
            "tsdb",
        ],
    );
    assert_eq!(made.code, 0, "{made:?}");
    fs::write(world.beside("prometheus.yml"), "{}").unwrap();
    let url = format!("http://127.0.0.1:{}", port());
    let listen = format!("--web.listen-address={}", url.trim_start_matches("http://"));
    let arguments = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=tsdb",
        "--storage.tsdb.retention.time=100y",
        &listen,
    ];
    let _prometheus = serve(&world, "prometheus", &format!("{url}/-/ready"), &arguments);

    let now = (nights[nights.len() - 1].run.finished + TimeDelta::hours(4)).timestamp();
    let from = (nights[0].run.finished + TimeDelta::hours(12)).timestamp();
    let ask = |target: &Value| {
        let query = escaped(
            &target["expr"]
                .as_str()
                .unwrap()
                .replace("$volume", "agents"),
        );
        let answer = match target["instant"].as_bool() {
            Some(true) => get_json(&format!("{url}/api/v1/query?query={query}&time={now}")),
            _ => get_json(&format!(
                "{url}/api/v1/query_range?query={query}&start={from}&end={now}&step=3600"
            )),
        };
        answer["data"]["result"].clone()
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cronjobs/monitoring/dashboard.json");
    let mut dashboard: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut silent = Vec::new();
    for panel in dashboard["panels"].as_array_mut().unwrap() {
        let title = panel["title"].clone();
        for target in panel["targets"].as_array_mut().unwrap() {
            target["answer"] = ask(target);
            if target["answer"].as_array().is_none_or(Vec::is_empty) {
                silent.push(format!("{title}: {}", target["expr"]));
            }
        }
    }
    assert_eq!(silent, [""; 0]);

    let panels = dashboard["panels"].as_array().unwrap();
    let stats = panels.iter().filter(|panel| panel["type"] == "stat");
    let shown = |panel: &Value| {
        let value: f64 = panel["targets"][0]["answer"][0]["value"][1]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        (
            panel["title"].as_str().unwrap().to_owned(),
            format!("{value:.2}"),
        )
    };
    let last = nights[nights.len() - 1].volume.clone();
    let used = format!("{:.2}", last.share(last.after).unwrap());
    let expected = [
        ("Last success", "14400.00"),
        ("In use after the run", &used),
        ("Short by", "0.00"),
        ("Failures", "0.00"),
        ("Rescued", "1.00"),
    ];
    same(
        "the numbers at the top",
        &stats.map(shown).collect(),
        &map(&expected),
    );

    if let Some(directory) = std::env::var_os("TREEWARDEN_SCREENS").map(PathBuf::from) {
        let told = json!({"from": from, "to": now, "panels": panels});
        fs::write(directory.join("dashboard.json"), told.to_string()).unwrap();
    }
}
