//! Our notifications in the programs that a cluster runs, in Debian's versions.
//!
//! `.ci/run` unpacks them; nothing is installed, and no process outlives its test.

use super::{Listener, failing, told, with_alerts};
use crate::report::nights;
use crate::support::{Running, World, until};
use serde_json::Value;
use std::fs;
use std::time::Duration;
use treewarden::report::RunReport;

/// Returns a port that is free now.
pub(super) fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Returns the body of a GET, or `None` without an answer.
pub(super) fn get(url: &str) -> Option<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .proxy(None)
        .build()
        .into();
    agent.get(url).call().ok()?.body_mut().read_to_string().ok()
}

pub(super) fn get_json(url: &str) -> Value {
    get(url)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Returns our samples in a scrape, sorted.
fn samples(scrape: &str) -> Vec<String> {
    let mut samples: Vec<String> = scrape
        .lines()
        .filter(|line| line.starts_with("treewarden_"))
        .map(str::to_owned)
        .collect();
    samples.sort();
    samples
}

/// Starts one of Debian's servers, and waits until it answers.
pub(super) fn serve(world: &World, program: &str, ready: &str, arguments: &[&str]) -> Running {
    let running = world.start_program(program, arguments);
    until(&format!("{program} answers"), || get(ready).is_some());
    running
}

pub(super) fn pushgateway(world: &World) -> (Running, String) {
    let url = format!("http://127.0.0.1:{}", port());
    let listen = format!("--web.listen-address={}", url.trim_start_matches("http://"));
    (
        serve(
            world,
            "prometheus-pushgateway",
            &format!("{url}/-/ready"),
            &[&listen],
        ),
        url,
    )
}

pub(super) fn alertmanager(world: &World, config: &str) -> (Running, String) {
    let url = format!("http://127.0.0.1:{}", port());
    fs::write(world.beside("alertmanager.yml"), config).unwrap();
    let listen = format!("--web.listen-address={}", url.trim_start_matches("http://"));
    let store = format!("--storage.path={}", world.beside("alerts").display());
    let arguments = [
        "--config.file=alertmanager.yml",
        "--cluster.listen-address=",
        &listen,
        &store,
    ];
    (
        serve(
            world,
            "prometheus-alertmanager",
            &format!("{url}/-/ready"),
            &arguments,
        ),
        url,
    )
}

#[test]
#[ignore = "needs prometheus and prometheus-node-exporter"]
fn node_exporter_reads_the_textfile_and_promtool_finds_no_fault() {
    let world = World::unprepared();
    let directory = world.beside("metrics");
    fs::create_dir(&directory).unwrap();
    let file = directory.join("treewarden.prom");
    let hostile = r#"volume: 'a"b\c{d="e"} 7 ü', "#;
    assert_eq!(
        told(
            &format!("{hostile}textfile: {}", file.display()),
            nights::rich()
        ),
        [""; 0]
    );
    let text = fs::read_to_string(&file).unwrap();
    let url = format!("http://127.0.0.1:{}/metrics", port());
    let listen = format!(
        "--web.listen-address={}",
        url.trim_start_matches("http://")
            .trim_end_matches("/metrics")
    );
    let from = format!("--collector.textfile.directory={}", directory.display());
    let arguments = [
        "--collector.disable-defaults",
        "--collector.textfile",
        &from,
        &listen,
    ];
    let _exporter = serve(&world, "prometheus-node-exporter", &url, &arguments);
    let scrape = get(&url).unwrap();
    assert!(
        scrape.contains("node_textfile_scrape_error 0\n"),
        "{scrape}"
    );
    let (mut found, mut told) = (values(&scrape), values(&text));
    found.sort();
    told.sort();
    assert_eq!(found, told);
    assert!(
        text.contains(r#"volume="a\"b\\c{d=\"e\"} 7 ü""#) && told.len() > 40,
        "{text}"
    );

    let ran = world.program(
        "sh",
        &["-c", "promtool check metrics <metrics/treewarden.prom"],
    );
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    fs::write(
        directory.join("bad.prom"),
        text.replace(
            "# TYPE treewarden_failures gauge",
            "# TYPE treewarden_failures counter",
        ),
    )
    .unwrap();
    assert_ne!(
        world
            .program("sh", &["-c", "promtool check metrics <metrics/bad.prom"])
            .code,
        0,
        "promtool looks"
    );
}

/// Returns our samples with sorted labels, and values: each program formats them its own way.
fn values(scrape: &str) -> Vec<(String, String)> {
    let value = |line: &String| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap();
        let mut labels: Vec<&str> = labels
            .trim_end_matches('}')
            .split("\",")
            .map(|label| label.trim_end_matches('"'))
            .collect();
        labels.sort_unstable();
        (
            format!("{name} {labels:?}"),
            format!("{:e}", value.parse::<f64>().unwrap()),
        )
    };
    samples(scrape).iter().map(value).collect()
}

#[test]
#[ignore = "needs prometheus-pushgateway"]
fn the_pushgateway_keeps_no_dead_series_and_loses_none_to_a_refused_run() {
    let world = World::unprepared();
    let (_gateway, url) = pushgateway(&world);
    let push = |volume: &str, report: RunReport| {
        assert_eq!(
            told(&format!("volume: '{volume}', pushgateway: {url}"), report),
            [""; 0]
        );
        samples(&get(&format!("{url}/metrics")).unwrap())
    };
    let of = |all: &[String], what: &str| all.iter().filter(|line| line.contains(what)).count();
    let slashes = "/data/ü \"x\"/..";
    let other = push(slashes, nights::idle());
    assert!(
        of(
            &other,
            r#"job="treewarden",repo="acme/api",verdict="keep",volume="/data/ü \"x\"/.."} 1"#
        ) == 1,
        "{other:#?}"
    );

    let first = push("agents", nights::rich());
    assert_eq!(
        (
            of(&first, "volume=\"agents\""),
            of(&first, "marketing-site")
        ),
        (59, 5),
        "{first:#?}"
    );
    let mut without = nights::rich();
    without
        .repos
        .retain(|repo| repo.name != "acme/marketing-site");
    let second = push("agents", without);
    assert_eq!(
        (
            of(&second, "volume=\"agents\""),
            of(&second, "marketing-site")
        ),
        (54, 0),
        "{second:#?}"
    );

    let refused = push("agents", nights::refused());
    let success = |all: &[String]| {
        all.iter()
            .filter(|line| line.contains("last_maintained") && line.contains("agents"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (success(&refused), success(&refused).len()),
        (success(&second), 3)
    );
    assert_eq!(
        of(&refused, r#"outcome="refused",volume="agents"} 1"#),
        1,
        "{refused:#?}"
    );
    assert_eq!(
        of(&refused, "/data/ü"),
        of(&other, "/data/ü"),
        "another volume's are nobody's business"
    );
}

#[test]
#[ignore = "needs prometheus-pushgateway"]
fn the_pushgateway_drops_the_shards_of_older_nights() {
    let world = World::new();
    let (_gateway, url) = pushgateway(&world);
    world.repo("acme/shop");
    world.set("alerts", &format!("volume: '/ü \"x\"', pushgateway: {url}"));
    let shards = |typed: &[&[&str]]| {
        for typed in typed {
            world.pass(0, &[&["run"], *typed].concat());
        }
        let groups = get_json(&format!("{url}/api/v1/metrics"))["data"]
            .as_array()
            .unwrap()
            .clone();
        let mut shards: Vec<String> = groups
            .iter()
            .map(|group| {
                group["labels"]["shard"]
                    .as_str()
                    .unwrap_or("plain")
                    .to_owned()
            })
            .collect();
        shards.sort();
        shards
    };
    assert_eq!(
        shards(&[
            &["--shard", "0/3"],
            &["--shard", "1/3"],
            &["--shard", "2/3"]
        ]),
        ["0/3", "1/3", "2/3"]
    );
    assert_eq!(shards(&[&["--shard", "0/2"]]).len(), 4);
    assert_eq!(shards(&[&["--shard", "1/2"]]), ["0/2", "1/2"]);
    assert_eq!(shards(&[&[]]), ["plain"]);
}

#[test]
#[ignore = "needs prometheus-alertmanager"]
fn alertmanager_has_the_alerts_until_the_next_night_should_have_told() {
    let world = World::unprepared();
    let (_manager, url) = alertmanager(
        &world,
        "{route: {receiver: none}, receivers: [{name: none}]}\n",
    );
    let mut report = nights::rich();
    // Alertmanager drops alerts that have ended.
    report.run.finished = chrono::DateTime::from(std::time::SystemTime::now());
    assert_eq!(
        told(
            &format!("alertmanager: '{url}/', runbook: 'https://git.example/runbook'"),
            report.clone()
        ),
        [""; 0]
    );
    let active = get_json(&format!("{url}/api/v2/alerts?active=true"));
    let mut found: Vec<String> = active
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| alert["labels"].to_string())
        .collect();
    found.sort();
    let mut expected: Vec<String> = with_alerts(report.clone())
        .alerts
        .iter()
        .map(|alert| {
            let severity = serde_json::to_value(alert.severity).unwrap();
            let mut labels = serde_json::json!({"alertname": alert.name, "job": "treewarden", "severity": severity, "volume": "/data"});
            if let Some(repo) = &alert.repo {
                labels["repo"] = repo.clone().into();
            }
            labels.to_string()
        })
        .collect();
    expected.sort();
    assert_eq!((found, expected.len()), (expected.clone(), 5));
    assert!(
        expected
            .iter()
            .any(|labels| labels.contains(r#""repo":"acme/api""#)),
        "{expected:?}"
    );
    let evicted = active
        .as_array()
        .unwrap()
        .iter()
        .find(|alert| alert["labels"]["alertname"] == "Evicted")
        .unwrap();
    assert_eq!(
        evicted["annotations"]["runbook_url"],
        "https://git.example/runbook#evicted"
    );
    assert!(
        evicted["annotations"]["description"]
            .as_str()
            .unwrap()
            .contains("\n412 MiB went: cargo, "),
        "{evicted}"
    );
    let ends: chrono::DateTime<chrono::Utc> = evicted["endsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        (ends - report.run.finished).num_minutes(),
        26 * 60 - 1 + i64::from((ends - report.run.finished).num_seconds() == 26 * 3600)
    );
}

/// Answers each POST with 200, and appends its body to a file.
const SECURE: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        open('heard', 'ab').write(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(200); self.end_headers()
    do_GET = lambda self: (self.send_response(200), self.end_headers())
server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('leaf.pem', 'leaf.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

/// Creates a certificate authority, and a certificate by it for this machine.
const CERTIFICATES: &str = "
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.pem
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=leaf -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -CA ca.pem -CAkey ca.key -keyout leaf.key -out leaf.pem
";

#[test]
#[ignore = "needs openssl and python3"]
fn a_secure_address_is_called_when_its_authority_is_trusted() {
    let world = failing();
    assert_eq!(world.program("sh", &["-euc", CERTIFICATES]).code, 0);
    let port = port();
    let _server = world.start_program("python3", &["-c", SECURE, &port.to_string()]);
    until("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    world.set("alerts", "webhook: {url_env: HOOK}");
    let address = format!("https://127.0.0.1:{port}/SECRET");
    let hook = ("HOOK", address.as_str());
    let stranger = world
        .start_as(&[hook, ("RUST_LOG", "trace")], &["run"])
        .end();
    assert!(
        stranger.err.contains(
            "its certificate is not trusted here; name its authority with SSL_CERT_FILE; "
        ),
        "{stranger:?}"
    );
    assert!(
        !stranger.err.contains("SECRET")
            && !stranger.out.contains("SECRET")
            && !world.beside("heard").exists(),
        "{stranger:?}"
    );
    let trusting = world
        .start_as(&[hook, ("SSL_CERT_FILE", "ca.pem")], &["run"])
        .end();
    assert_eq!(trusting.err, "");
    assert!(
        fs::read_to_string(world.beside("heard"))
            .unwrap()
            .starts_with("{\"text\":\"treewarden on ")
    );
    // Without TLS the secret is not sent.
    let plain = Listener::answering(&[200]);
    let address = format!("https{}/SECRET", plain.url().trim_start_matches("http"));
    let plain_talk = world
        .start_as(&[("HOOK", address.as_str())], &["run"])
        .end();
    assert!(
        plain_talk.err.contains("alerts.webhook") && !plain_talk.err.contains("SECRET"),
        "{plain_talk:?}"
    );
    assert_eq!(plain.heard(), []);
}

#[test]
#[ignore = "needs prometheus-pushgateway and prometheus-alertmanager"]
fn a_probe_is_answered_and_leaves_nothing_behind() {
    let world = World::new();
    world.repo("acme/shop");
    let config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
    let (gateway, manager) = (pushgateway(&world), alertmanager(&world, config));
    let alerts = format!(
        "pushgateway: '{}', alertmanager: '{}'",
        gateway.1, manager.1
    );
    world.set("alerts", &alerts);
    let ran = world.treewarden(&["check", "--probe"]);
    let answers = ran.out.matches("it answers").count();
    assert_eq!((ran.code, answers), (0, 2), "{ran:?}");
    let pushed = get(&format!("{}/metrics", gateway.1)).unwrap();
    assert_eq!(pushed.matches("push_time_seconds{").count(), 0, "{pushed}");
    let alerts = get_json(&format!("{}/api/v2/alerts", manager.1));
    assert_eq!(alerts, serde_json::json!([]));
}
