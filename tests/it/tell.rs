//! Notifications: who gets them, what they say, and what happens if nobody listens. The listeners
//! are real HTTP servers on this machine.
//!
//! `real.rs` tests with the programs that a cluster runs: Prometheus, Pushgateway, node-exporter,
//! Alertmanager.

mod check;
mod dashboard;
mod ping;
mod real;
mod whole;

use crate::report::{golden, nights};
use crate::support::World;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rayon::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tiny_http::{Header, Response, Server};
use treewarden::config;
use treewarden::config::policy::Policy;
use treewarden::fs::stop::Stop;
use treewarden::notify::alert;
use treewarden::notify::{metrics, tell};
use treewarden::report::{Alert, Asked, RepoOutcome, RunOutcome, RunReport, Severity};

/// A server that gives the configured answers, and records its requests.
struct Listener {
    server: Arc<Server>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Heard {
    what: String,
    kind: String,
    body: String,
}

impl Listener {
    /// Answers with these status codes, and then repeats the last one.
    fn answering(codes: &'static [u16]) -> Self {
        Self::with(move |number| Response::empty(codes[number.min(codes.len() - 1)]))
    }

    fn with(answer: impl Fn(usize) -> Response<std::io::Empty> + Send + 'static) -> Self {
        let (server, heard) = (
            Arc::new(Server::http("127.0.0.1:0").unwrap()),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (serving, hearing) = (server.clone(), heard.clone());
        std::thread::spawn(move || {
            for mut request in serving.incoming_requests() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let kind = request
                    .headers()
                    .iter()
                    .find(|header| header.field.equiv("Content-Type"))
                    .map(|header| header.value.to_string());
                let what = format!("{} {}", request.method(), request.url());
                let number = {
                    let mut heard: std::sync::MutexGuard<'_, Vec<Heard>> = hearing.lock().unwrap();
                    heard.push(Heard {
                        what,
                        kind: kind.unwrap_or_default(),
                        body,
                    });
                    heard.len() - 1
                };
                let _gone = request.respond(answer(number));
            }
        });
        Self { server, heard }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.server_addr())
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Returns the body of the only request, as JSON.
    fn json(&self) -> Value {
        let heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        serde_json::from_str(&heard[0].body).unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

/// Returns an address at which nobody listens.
fn nobody() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", socket.local_addr().unwrap())
}

/// Returns the policy of the reports in `nights.rs`, with these `alerts`.
fn policy(alerts: &str) -> Policy {
    let text = format!(
        "volume: {{root: /data}}\n\
         repos: [{{name: acme/shop, path: acme__shop}}, {{name: acme/api, path: acme__api}}, {{name: data/etl, path: data__etl}}]\n\
         caches: [{{kind: npm, path: caches/npm}}, {{kind: cargo, path: caches/cargo}}, {{kind: folder, name: models, path: caches/models}}]\n\
         alerts: {{{alerts}}}\n"
    );
    config::parse("c.yaml", &text).unwrap()
}

fn with_alerts(mut report: RunReport) -> RunReport {
    report.alerts = alert::alerts(&report);
    report
}

/// Sends a report's notifications from this process.
fn told(alerts: &str, report: RunReport) -> Vec<String> {
    tell(&policy(alerts), &with_alerts(report), &Stop::never())
}

/// Creates a volume with a failing run, because a configured repo is missing.
fn failing() -> World {
    let world = World::new();
    world.enrol("acme/gone", "");
    world
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
#[test]
fn a_night_is_told_to_all_who_listen() {
    let (gateway, manager, chat) = (
        Listener::answering(&[200]),
        Listener::answering(&[200]),
        Listener::answering(&[200]),
    );
    let world = failing();
    let (textfile, termination) = (
        world.beside("metrics/treewarden.prom"),
        world.beside("termination-log"),
    );
    fs::create_dir(world.beside("metrics")).unwrap();
    fs::write(
        &termination,
        "older, and longer than what comes".repeat(100),
    )
    .unwrap();
    let (textfile, termination) = (textfile.to_str().unwrap(), termination.to_str().unwrap());
    world.set(
        "alerts",
        &format!(
            "volume: agents, pushgateway: '{}/', alertmanager: '{}'",
            gateway.url(),
            manager.url()
        ),
    );
    world.set(
        "alerts",
        &format!(
            "textfile: {textfile}, termination_log: {termination}, webhook: {{url_env: HOOK}}"
        ),
    );
    let ran = world
        .start_as(
            &[("HOOK", &format!("{}/hook", chat.url()))],
            &["run", "--format", "json"],
        )
        .end();
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.report();
    assert_eq!(
        (report.notes.as_slice(), ran.err.as_str()),
        (&[] as &[String], "")
    );
    let [
        Alert {
            name,
            severity: Severity::Warning,
            summary,
            ..
        },
    ] = &report.alerts[..]
    else {
        panic!("{:?}", report.alerts)
    };
    assert_eq!(name, "RunFailed");

    let metrics = fs::read_to_string(textfile).unwrap();
    let kind = "text/plain; version=0.0.4; charset=utf-8".to_owned();
    // `agents` in base64.
    let what = "PUT /metrics/job/treewarden/volume@base64/YWdlbnRz".to_owned();
    assert_eq!(
        gateway.heard(),
        [Heard {
            what,
            kind,
            body: metrics.clone()
        }]
    );
    assert!(
        metrics.contains("\ntreewarden_run_outcome{volume=\"agents\",outcome=\"failed\"} 1.0\n"),
        "{metrics}"
    );
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(textfile).unwrap().permissions())
            & 0o777,
        0o644
    );
    assert_eq!(
        fs::read_dir(world.beside("metrics")).unwrap().count(),
        1,
        "no draft is left"
    );

    assert_eq!(manager.heard()[0].what, "POST /api/v2/alerts");
    let ends = report.run.finished + chrono::TimeDelta::hours(26);
    let time = |time: chrono::DateTime<chrono::Utc>| {
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let expected = serde_json::json!([{
        "labels": {"alertname": "RunFailed", "job": "treewarden", "severity": "warning", "volume": "agents"},
        "annotations": {"summary": summary},
        "startsAt": time(report.run.finished), "endsAt": time(ends),
    }]);
    assert_eq!(manager.json(), expected);

    assert_eq!(
        (chat.heard()[0].what.as_str(), chat.heard()[0].kind.as_str()),
        ("POST /hook", "application/json")
    );
    let text = format!(
        "treewarden on `agents`: the run failed, 0 B freed.\n```\nwarning RunFailed: {}\n```",
        summary.replace('`', "'")
    );
    assert_eq!(chat.json(), serde_json::json!({ "text": text }));
    assert_eq!(
        fs::read_to_string(termination).unwrap(),
        format!("failed: 0 B freed; RunFailed: {summary}")
    );
}

#[test]
fn a_dry_run_tells_nobody() {
    let all = Listener::answering(&[200]);
    let world = failing();
    let (textfile, termination) = (
        world.beside("treewarden.prom"),
        world.beside("termination-log"),
    );
    fs::write(&termination, "").unwrap();
    let url = all.url();
    world.set(
        "alerts",
        &format!("pushgateway: '{url}', alertmanager: '{url}', webhook: {{url_env: HOOK}}"),
    );
    world.set(
        "alerts",
        &format!(
            "textfile: {}, termination_log: {}",
            textfile.display(),
            termination.display()
        ),
    );
    for command in [&["report"][..], &["run", "--dry-run"]] {
        assert_eq!(world.start_as(&[("HOOK", &url)], command).end().code, 1);
    }
    assert_eq!(
        (
            all.heard(),
            textfile.exists(),
            fs::metadata(&termination).unwrap().len()
        ),
        (vec![], false, 0)
    );
}

#[test]
fn a_refused_run_is_told_and_takes_nothing_away() {
    let (gateway, manager) = (Listener::answering(&[202]), Listener::answering(&[200]));
    let world = World::new();
    world.repo("acme/shop");
    let textfile = world.beside("treewarden.prom");
    let settings = format!(
        "pushgateway: '{}', alertmanager: '{}', textfile: {}",
        gateway.url(),
        manager.url(),
        textfile.display()
    );
    world.set("alerts", &settings);
    world.night();
    assert_eq!(manager.heard(), [], "a good night alerts nobody");
    let good = fs::read_to_string(&textfile).unwrap();
    fs::rename(world.at(".treewarden"), world.beside("away")).unwrap();
    world.pass(3, &["run"]);
    assert_eq!(manager.json()[0]["labels"]["alertname"], "RunRefused");
    // POST keeps the metrics that a refused run doesn't know.
    let methods: Vec<String> = gateway
        .heard()
        .iter()
        .map(|heard| heard.what.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["PUT", "POST"]);
    let after = fs::read_to_string(&textfile).unwrap();
    let lines = |text: &str, name: &str| {
        text.lines()
            .filter(|line| line.contains(name))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for name in [
        "treewarden_last_success_timestamp_seconds",
        "treewarden_repo_last_maintained_timestamp_seconds",
    ] {
        assert_eq!(
            (lines(&good, name), lines(&good, name).len()),
            (lines(&after, name), 3),
            "{after}"
        );
        assert_eq!(lines(&gateway.heard()[1].body, name), [""; 0]);
    }
    assert!(after.contains("outcome=\"refused\"} 1.0"), "{after}");
}

#[test]
fn a_part_of_a_night_speaks_for_nobody_else() {
    let gateway = Listener::answering(&[200]);
    let world = World::new();
    world.repo("acme/shop");
    world.repo("acme/api");
    let textfile = world.beside("treewarden.prom");
    world.set(
        "alerts",
        &format!(
            "pushgateway: '{}', textfile: {}",
            gateway.url(),
            textfile.display()
        ),
    );
    let part = |typed: &[&str]| world.pass(0, &[&["run"], typed].concat()).run.asked;
    let asked = |repos: &[&str], only: &[&str]| {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Some(Asked {
            repos: list(repos),
            only: list(only),
        })
    };
    // Before the first full run nothing is sent, because nothing is known.
    assert_eq!(part(&["--repo", "acme/shop"]), asked(&["acme/shop"], &[]));
    assert_eq!((gateway.heard().len(), textfile.exists()), (0, false));
    world.night();
    let night = fs::read_to_string(&textfile).unwrap();
    assert_eq!(part(&["--only", "gc,prune"]), asked(&[], &["prune", "gc"]));
    assert_eq!(
        part(&["--only", "evict,gc,prune,reap"]),
        None,
        "all of them are the whole night"
    );
    let second = fs::read_to_string(&textfile).unwrap();
    assert_eq!(
        part(&["--repo", "acme/shop", "--only", "gc"]),
        asked(&["acme/shop"], &["gc"])
    );
    assert_eq!(
        (
            gateway.heard().len(),
            fs::read_to_string(&textfile).unwrap() == second,
            night == second
        ),
        (2, true, false)
    );
    let ran = world.treewarden(&[
        "run",
        "--repo",
        "acme/shop",
        "--only",
        "gc",
        "--log-format",
        "json",
    ]);
    assert!(
        ran.err.contains(
            "the metrics stay those of the last whole run: this was gc of acme/shop alone"
        ),
        "{}",
        ran.err
    );
    assert!(
        ran.out.contains(", gc of acme/shop alone, treewarden "),
        "{}",
        ran.out
    );
    let history = world.treewarden(&["history"]).out;
    assert_eq!(
        [
            "acme/shop alone",
            "prune and gc alone",
            "gc of acme/shop alone"
        ]
        .map(|told| history.matches(told).count()),
        [3, 1, 2]
    );
}

#[test]
fn a_message_about_a_part_of_a_night_says_so() {
    let (chat, directory) = (Listener::answering(&[200]), tempfile::tempdir().unwrap());
    let file = directory.path().join("hook");
    fs::write(&file, chat.url()).unwrap();
    let mut report = nights::rich();
    report.run.asked = Some(Asked {
        repos: vec!["acme/`shop`".to_owned()],
        only: vec!["gc".to_owned()],
    });
    assert_eq!(
        told(
            &format!("webhook: {{url_file: {}}}", file.display()),
            report
        ),
        [""; 0]
    );
    let text = chat.json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("treewarden on `/data`: the run (gc of acme/'shop' alone) failed, "),
        "{text}"
    );
}

/// Only a full run counts as a success, and a repo as maintained only if all of the work was done.
#[test]
fn what_a_part_of_a_night_did_well_was_no_good_night() {
    let mut tonight = nights::rich();
    tonight
        .repos
        .iter_mut()
        .for_each(|repo| repo.outcome = RepoOutcome::Busy);
    let past = |repos: &[&str], only: &[&str]| {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut run = nights::rich();
        run.run.finished -= chrono::TimeDelta::days(1);
        (run.run.outcome, run.run.asked) = (
            RunOutcome::Ok,
            Some(Asked {
                repos: list(repos),
                only: list(only),
            }),
        );
        run.repos.retain(|repo| repo.name == "acme/shop");
        run.repos[0].outcome = RepoOutcome::Maintained;
        run
    };
    let lasts = |past: RunReport| {
        let text = metrics::text(&policy(""), &tonight, Some(&[past]));
        let value = |name: &str| {
            text.lines()
                .find(|line| line.starts_with(&format!("treewarden_{name}")))
                .and_then(|line| line.split(' ').nth(1))
                .unwrap()
                .to_owned()
        };
        [
            "last_success_timestamp_seconds",
            "repo_last_maintained_timestamp_seconds{volume=\"/data\",repo=\"acme/shop\"",
        ]
        .map(value)
    };
    let yesterday = format!("{}.0", past(&[], &[]).run.finished.timestamp());
    let none = || "0.0".to_owned();
    assert_eq!(
        lasts(past(&["acme/shop"], &[])),
        [none(), yesterday.clone()]
    );
    assert_eq!(lasts(past(&["acme/shop"], &["gc"])), [none(), none()]);
    assert_eq!(lasts(past(&[], &["evict"])), [none(), none()]);
    let whole = RunReport {
        run: treewarden::report::Run {
            asked: None,
            ..past(&[], &[]).run
        },
        ..past(&[], &[])
    };
    assert_eq!(lasts(whole), [yesterday.clone(), yesterday]);
}

/// Otherwise the Pushgateway would keep their series for ever.
#[test]
fn shards_that_nights_no_longer_have_leave_the_pushgateway() {
    let gateway = Listener::answering(&[202]);
    let world = World::new();
    world.repo("acme/shop");
    world.set(
        "alerts",
        &format!("volume: v, pushgateway: '{}'", gateway.url()),
    );
    let heard = |typed: &[&[&str]]| {
        let before = gateway.heard().len();
        for typed in typed {
            world.pass(0, &[&["run"], *typed].concat());
        }
        let group = |what: String| match what
            .replace("/metrics/job/treewarden/volume@base64/dg", "")
            .split_once("/shard@base64/")
        {
            Some((method, shard)) => format!(
                "{method}{}",
                String::from_utf8(URL_SAFE_NO_PAD.decode(shard).unwrap()).unwrap()
            ),
            None => what.split(' ').next().unwrap().to_owned(),
        };
        gateway.heard()[before..]
            .iter()
            .map(|heard| group(heard.what.clone()))
            .collect::<Vec<_>>()
    };
    let shared = |many: &'static str| ["0/", "1/", "2/"].map(|shard| [shard, many].concat());
    let [a, b, c] = shared("3");
    let three = heard(&[&["--shard", &a], &["--shard", &b], &["--shard", &c]]);
    assert_eq!(three, ["PUT 0/3", "PUT 1/3", "PUT 2/3"]);
    let [a, b, _] = shared("2");
    // Only the shard that ends the run deletes the others' groups.
    let two = heard(&[&["--shard", &a], &["--shard", &b]]);
    assert_eq!(
        two,
        [
            "PUT 0/2",
            "PUT 1/2",
            "DELETE 0/3",
            "DELETE 1/3",
            "DELETE 2/3"
        ]
    );
    assert_eq!(heard(&[&["--only", "gc"]]), [""; 0]);
    let plain = heard(&[&[]]);
    assert_eq!(
        plain,
        [
            "PUT",
            "DELETE 0/2",
            "DELETE 0/3",
            "DELETE 1/2",
            "DELETE 1/3",
            "DELETE 2/3"
        ]
    );
    let again = heard(&[&["--shard", "0/1"]]);
    assert_eq!(again[..2], ["PUT 0/1", "DELETE"]);
}

#[test]
fn a_shard_that_can_not_leave_the_pushgateway_keeps_no_other_there() {
    let gateway = Listener::answering(&[202, 202, 202, 202, 202, 400, 202]);
    let world = World::new();
    world.repo("acme/shop");
    world.set("alerts", &format!("pushgateway: '{}'", gateway.url()));
    let reports =
        ["0/3", "1/3", "2/3", "0/2", "1/2"].map(|shard| world.pass(0, &["run", "--shard", shard]));
    assert_eq!(
        reports[4].notes,
        [
            "failed to drop the metrics of shard 0/3 from alerts.pushgateway: it answered 400, and so took nothing; look into its own log; the next run tries again"
        ]
    );
    let dropped = gateway
        .heard()
        .iter()
        .filter(|heard| heard.what.starts_with("DELETE "))
        .count();
    assert_eq!(dropped, 3);
}

#[test]
fn shards_on_one_machine_share_the_textfile() {
    let world = World::new();
    world.repo("acme/shop");
    world.repo("acme/api");
    let textfile = world.beside("treewarden.prom");
    world.set("alerts", &format!("textfile: {}", textfile.display()));
    let ran = |typed: &[&str]| {
        world.pass(0, &[&["run"], typed].concat());
        let text = fs::read_to_string(&textfile).unwrap();
        let help = |line: &&str| line.starts_with("# HELP treewarden_failures ");
        assert_eq!(text.lines().filter(help).count(), 1, "{text}");
        text.lines()
            .filter(|line| line.starts_with("treewarden_failures{"))
            .map(|line| line.split("shard=").nth(1).unwrap_or("plain").to_owned())
            .collect::<Vec<_>>()
    };
    let [one, two] = ["\"0/2\"} 0.0", "\"1/2\"} 0.0"];
    assert_eq!(ran(&["--shard", "0/2"]), [one]);
    assert_eq!(ran(&["--shard", "1/2"]), [two, one]);
    assert_eq!(ran(&["--shard", "0/2"]), [one, two]);
    assert_eq!(ran(&[]), ["plain"]);
}

#[test]
fn who_is_only_busy_is_asked_again_and_who_refuses_is_not() {
    let gateway = Listener::answering(&[503, 500, 200]);
    assert_eq!(
        told(&format!("pushgateway: '{}'", gateway.url()), nights::idle()),
        [""; 0]
    );
    let heard = gateway.heard();
    assert!(
        heard.len() == 3 && heard.iter().all(|one| *one == heard[0]),
        "{heard:?}"
    );

    let manager = Listener::answering(&[400]);
    let notes = told(
        &format!("alertmanager: '{}'", manager.url()),
        nights::rich(),
    );
    assert_eq!(
        notes,
        [
            "failed to send the alerts to alerts.alertmanager: it answered 400, and so took nothing; look into its own log; they stand in the report"
        ]
    );
    assert_eq!(manager.heard().len(), 1);
}

#[test]
fn nobody_is_followed_elsewhere() {
    let thief = Listener::answering(&[200]);
    let url = thief.url();
    let chat = Listener::with(move |number| {
        let to = Header::from_bytes("Location", format!("{url}/stolen")).unwrap();
        Response::empty([302, 307][number.min(1)]).with_header(to)
    });
    let alerts = format!("alertmanager: '{0}', pushgateway: '{0}'", chat.url());
    let notes = told(&alerts, nights::rich());
    assert_eq!(
        notes
            .iter()
            .filter(|note| note.contains("a redirect, and those are not followed"))
            .count(),
        2,
        "{notes:?}"
    );
    assert_eq!((thief.heard(), chat.heard().len()), (vec![], 2));
}

#[test]
fn a_dead_sink_is_a_note_and_never_a_failed_night() {
    let world = World::new();
    world.repo("acme/shop");
    let report = world.beside("report.json");
    let nobody = nobody();
    world.set(
        "alerts",
        &format!(
            "pushgateway: '{nobody}', textfile: /nowhere/at/all.prom, webhook: {{url_env: HOOK}}"
        ),
    );
    let ran = world.treewarden(&[
        "run",
        "--format",
        "json",
        "--output",
        report.to_str().unwrap(),
    ]);
    let written: RunReport = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let expected = [
        "failed to write the metrics to `/nowhere/at/all.prom`: No such file or directory (os error 2) at path \"/nowhere/at/",
        "failed to push the metrics to alerts.pushgateway: connection refused; see that it is up (tried 3 times); the next run pushes its own",
    ];
    assert_eq!(
        (ran.code, written.notes.len()),
        (0, 2),
        "{ran:?} {:?}",
        written.notes
    );
    for (note, expected) in written.notes.iter().zip(expected) {
        assert!(note.starts_with(expected), "{note}");
        assert!(
            ran.err.contains("WARN") && ran.err.contains(&expected[..40]),
            "{}",
            ran.err
        );
    }
    // The text report says it, too.
    let ran = world.treewarden(&["run"]);
    assert!(
        ran.code == 0
            && ran.out.contains("2 things need a look.")
            && ran.out.contains("alerts.pushgateway"),
        "{}",
        ran.out
    );
}

#[test]
#[ignore = "needs half a minute: three tries, each to its time limit"]
fn who_never_answers_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    let notes = told(
        &format!("pushgateway: '{url}', alertmanager: '{url}'"),
        nights::rich(),
    );
    let took = began.elapsed();
    assert_eq!(
        notes.iter().filter(|note| note.contains("no answer within 10 s; see that it is up (tried 3 times)")).count(),
        2,
        "{notes:?}"
    );
    assert!(
        (Duration::from_secs(32)..Duration::from_secs(36)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn after_a_signal_each_is_tried_once() {
    let gateway = Listener::answering(&[500]);
    let signalled = Stop::after(Duration::from_mins(1), Arc::new(true.into()));
    let began = Instant::now();
    let notes = tell(
        &policy(&format!("pushgateway: '{}'", gateway.url())),
        &nights::idle(),
        &signalled,
    );
    assert_eq!((notes.len(), gateway.heard().len()), (1, 1));
    assert!(began.elapsed() < Duration::from_secs(2));
    // The run's deadline doesn't apply to notifications.
    let late = Stop::after(Duration::ZERO, Arc::default());
    let gateway = Listener::answering(&[500, 200]);
    assert_eq!(
        tell(
            &policy(&format!("pushgateway: '{}'", gateway.url())),
            &nights::idle(),
            &late
        ),
        [""; 0]
    );
}

/// Returns every file below a directory that contains the text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let files = walkdir::WalkDir::new(directory)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file());
    let holding = files
        .filter(|entry| String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(text));
    holding
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[test]
fn a_secret_address_gets_nowhere() {
    let (refusing, failing_at) = (Listener::answering(&[404]), Listener::answering(&[500]));
    let redirecting = Listener::with(|_| {
        Response::empty(302)
            .with_header(Header::from_bytes("Location", "http://SECRET.invalid/SECRET").unwrap())
    });
    let nobody = nobody();
    let addresses = [
        format!("{}/SECRET", refusing.url()),
        format!("{}/SECRET?SECRET=SECRET", failing_at.url()),
        format!("{}/SECRET", redirecting.url()),
        format!("{nobody}/SECRET"),
        format!("https{}/SECRET", nobody.trim_start_matches("http")),
        "http://me:SECRET@SECRET.invalid/SECRET".to_owned(),
        "http://SECRET:SECRET/ SECRET\u{7f}".to_owned(),
        "http:///SECRET".to_owned(),
        "http://SECRET:port/".to_owned(),
        "SECRET".to_owned(),
        "ftp://SECRET".to_owned(),
    ];
    addresses
        .par_iter()
        .enumerate()
        .for_each(|(number, address)| {
            let world = failing();
            fs::write(world.beside("termination-log"), "").unwrap();
            let (textfile, log) = (
                world.beside("treewarden.prom"),
                world.beside("termination-log"),
            );
            world.set(
                "alerts",
                &format!(
                    "webhook: {{url_env: HOOK}}, textfile: {}, termination_log: {}",
                    textfile.display(),
                    log.display()
                ),
            );
            let format = ["text", "json"][number % 2];
            let environment = [
                ("HOOK", address.as_str()),
                ("RUST_LOG", "trace"),
                ("RUST_BACKTRACE", "1"),
            ];
            let ran = world
                .start_as(
                    &environment,
                    &["run", "--format", format, "--log-format", format],
                )
                .end();
            assert_eq!(ran.code, 1, "{address}: {ran:?}");
            assert!(
                ran.out.contains("alerts.webhook: ") && ran.err.contains("alerts.webhook: "),
                "{address}: {ran:?}"
            );
            assert!(
                !ran.out.contains("SECRET") && !ran.err.contains("SECRET"),
                "{address}: {ran:?}"
            );
            assert!(
                !world
                    .treewarden(&["history", "--format", "json"])
                    .out
                    .contains("SECRET")
            );
            assert_eq!(
                holding(world.beside("").as_path(), "SECRET"),
                [""; 0],
                "{address}"
            );
        });
    // From a file as Kubernetes mounts it: a link, and a line end.
    let world = failing();
    fs::write(world.beside("data"), format!("{}/SECRET\n", refusing.url())).unwrap();
    std::os::unix::fs::symlink("data", world.beside("hook")).unwrap();
    world.set(
        "alerts",
        &format!("webhook: {{url_file: {}}}", world.beside("hook").display()),
    );
    let before = refusing.heard().len();
    let ran = world.treewarden(&["run", "--format", "json"]);
    assert_eq!(
        (
            refusing.heard().len(),
            refusing.heard()[before].what.as_str()
        ),
        (before + 1, "POST /SECRET")
    );
    assert!(
        ran.code == 1 && !ran.out.contains("SECRET") && !ran.err.contains("SECRET"),
        "{ran:?}"
    );
    assert_eq!(
        holding(world.beside("").as_path(), "SECRET").len(),
        1,
        "only the file itself"
    );
}

#[test]
fn a_webhook_hears_of_the_nights_it_asked_for() {
    let messages = |when: &str, format: &str, report: RunReport| {
        let (chat, directory) = (Listener::answering(&[200]), tempfile::tempdir().unwrap());
        let file = directory.path().join("hook");
        fs::write(&file, chat.url()).unwrap();
        let notes = told(
            &format!(
                "webhook: {{url_file: {}, format: {format}, when: [{when}]}}",
                file.display()
            ),
            report,
        );
        assert_eq!(notes, [""; 0]);
        chat.heard()
    };
    let all = "failed, shortfall, evicted, refused";
    let calm = |mut report: RunReport| {
        report.repos.clear();
        report.tally(0, 0);
        report
    };
    let nights: [(&str, RunReport, [usize; 5]); 4] = [
        ("idle", nights::idle(), [0, 0, 0, 0, 0]),
        ("refused", nights::refused(), [0, 0, 0, 1, 1]),
        ("disaster", nights::disaster(), [1, 1, 1, 0, 1]),
        (
            "rich, all repos well",
            calm(nights::rich()),
            [0, 0, 1, 0, 1],
        ),
    ];
    for (name, report, expected) in nights {
        let counts = ["failed", "shortfall", "evicted", "refused", all]
            .map(|when| messages(when, "slack", report.clone()).len());
        assert_eq!(counts, expected, "{name}");
    }
    let heard: Value =
        serde_json::from_str(&messages(all, "json", nights::disaster())[0].body).unwrap();
    let disaster = with_alerts(nights::disaster());
    assert_eq!(
        heard["alerts"],
        serde_json::to_value(&disaster.alerts).unwrap()
    );
    assert_eq!(
        (
            &heard["run"]["outcome"],
            &heard["volume"]["name"],
            &heard["repos"]
        ),
        (&"interrupted".into(), &"/data".into(), &Value::Null)
    );
    for (name, report) in [
        ("chat-rich.txt", nights::rich()),
        ("chat-disaster.txt", nights::disaster()),
    ] {
        let body: Value = serde_json::from_str(&messages(all, "slack", report)[0].body).unwrap();
        golden(name, &format!("{}\n", body["text"].as_str().unwrap()));
    }
}

#[test]
fn no_name_escapes_from_a_message() {
    let (chat, directory) = (Listener::answering(&[200]), tempfile::tempdir().unwrap());
    let file = directory.path().join("hook");
    fs::write(&file, chat.url()).unwrap();
    let mut report = nights::rich();
    let evil = "/data/worktrees/```\n<!channel> <http://evil|click> @all & \u{1b}[2K\u{202e}";
    for tree in report.repos.iter_mut().flat_map(|repo| &mut repo.worktrees) {
        tree.path = evil.into();
    }
    report.eviction.units[0].unit = format!("{evil}{}", "x".repeat(5000));
    let termination = directory.path().join("termination-log");
    fs::write(&termination, "").unwrap();
    let notes = told(
        &format!(
            "webhook: {{url_file: {}}}, termination_log: {}",
            file.display(),
            termination.display()
        ),
        report,
    );
    assert_eq!(notes, [""; 0]);
    let raw = chat.heard()[0].body.clone();
    assert!(
        !raw.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{raw}"
    );
    let text = chat.json()["text"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = text.split("```").collect();
    assert_eq!(
        parts.len(),
        3,
        "one block of code, and nothing ends it early: {text}"
    );
    assert!(
        parts[1].contains("&lt;!channel&gt; &lt;http://evil|click&gt; @all &amp; "),
        "{text}"
    );
    assert!(
        !text.contains(['<', '>'])
            && !parts[0].contains("evil")
            && !parts[2].contains("evil")
            && text.len() < 4000,
        "{text}"
    );
    let line = fs::read_to_string(&termination).unwrap();
    assert!(
        line.len() <= 4096 && !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{line}"
    );
}

#[test]
fn what_is_no_file_of_its_own_is_never_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    for link in ["metrics.prom", "termination-log"] {
        std::os::unix::fs::symlink("victim", at(link)).unwrap();
    }
    let notes = told(
        &format!(
            "textfile: {}, termination_log: {}",
            at("metrics.prom").display(),
            at("termination-log").display()
        ),
        nights::disaster(),
    );
    assert!(
        notes.len() == 1 && notes[0].contains("(alerts.termination_log)"),
        "{notes:?}"
    );
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert!(
        fs::read_to_string(at("metrics.prom"))
            .unwrap()
            .ends_with("# EOF\n")
            && !at("metrics.prom").is_symlink()
    );
    // Without a kubelet the file is missing, and isn't created.
    assert_eq!(
        told(
            &format!("termination_log: {}", at("none").display()),
            nights::disaster()
        ),
        [""; 0]
    );
    assert!(!at("none").exists());
}

#[test]
fn the_metrics_are_the_contracts() {
    let rich = with_alerts(nights::rich());
    golden("metrics.txt", &metrics::text(&policy(""), &rich, Some(&[])));
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE treewarden_"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut found = names(&metrics::text(&policy(""), &rich, Some(&[])));
    found.sort();
    let contract = [
        "eviction_freed_bytes",
        "eviction_shortfall_bytes",
        "eviction_triggered",
        "eviction_wanted_bytes",
        "evicted_units",
        "failures",
        "freed_bytes",
        "last_run_timestamp_seconds",
        "last_success_timestamp_seconds",
        "reaped_worktrees",
        "repo_last_maintained_timestamp_seconds",
        "repo_lock_wait_seconds",
        "repos",
        "rescue_next_expiry_timestamp_seconds",
        "rescued_worktrees",
        "rescues",
        "run_duration_seconds",
        "run_outcome",
        "volume_used_ratio",
        "worktrees",
    ];
    // The rules in `cronjobs/` need these, too.
    let more = ["prunes_refused", "volume_high_ratio", "volume_low_ratio"];
    let mut contract: Vec<String> = contract
        .into_iter()
        .chain(more)
        .map(|name| format!("{name} gauge"))
        .collect();
    contract.sort();
    assert_eq!(found, contract);
}

#[test]
fn what_went_well_before_is_remembered_and_who_left_is_not() {
    let (mut first, mut second, tonight) =
        (nights::rich(), nights::rich(), with_alerts(nights::rich()));
    for (run, days) in [(&mut first, 2), (&mut second, 1)] {
        run.run.finished -= chrono::TimeDelta::days(days);
        run.repos
            .iter_mut()
            .for_each(|repo| repo.outcome = RepoOutcome::Busy);
    }
    first.run.outcome = RunOutcome::Ok;
    first.repos[2].outcome = RepoOutcome::Maintained;
    let (name, when) = (first.repos[2].name.clone(), first.run.finished.timestamp());
    let mut rehearsed = second.clone();
    (rehearsed.run.dry_run, rehearsed.run.outcome) = (true, RunOutcome::Ok);
    let text = metrics::text(
        &policy("volume: 'a\"b\\c'"),
        &tonight,
        Some(&[first, second, rehearsed]),
    );
    let sample = |line: String| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    let (volume, when) = (r#"volume="a\"b\\c""#, format!("{when}.0"));
    sample(format!(
        "treewarden_last_success_timestamp_seconds{{{volume}}} {when}"
    ));
    let maintained = |name: &str, when: &str| {
        format!(
            "treewarden_repo_last_maintained_timestamp_seconds{{{volume},repo=\"{name}\"}} {when}"
        )
    };
    let tonights: Vec<&str> = tonight
        .repos
        .iter()
        .filter(|repo| repo.outcome == RepoOutcome::Maintained)
        .map(|repo| repo.name.as_str())
        .collect();
    assert!(!tonights.contains(&name.as_str()), "{tonights:?}");
    sample(maintained(&name, &when));
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("treewarden_repo_last"))
        .collect();
    assert_eq!(
        told.len(),
        3,
        "one for each repo of the config, whoever else the journal names: {told:?}"
    );
    assert!(
        metrics::text(&policy(""), &tonight, None)
            .lines()
            .all(|line| !line.contains("_last_success") && !line.contains("last_maintained"))
    );
}
