//! The HTML report as a screen reader and a printer get it: Debian's `chromium`, asked over its own
//! protocol.

use super::{HOSTILE, all, large, past, rich, supplied};
use crate::report::golden;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;
use treewarden::report::{RunReport, html};

/// A browser with one page, controlled by JSON messages that end with a zero byte: it reads
/// descriptor 3 and answers on 4.
struct Browser {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    asked: u64,
    session: Value,
    directory: TempDir,
}

impl Browser {
    #[expect(clippy::disallowed_methods, reason = "the browser is this test's tool")]
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let profile = format!(
            "--user-data-dir={}",
            directory.path().join("profile").display()
        );
        let script = "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe \"$0\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, &profile])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("sh starts");
        let (ask, answers) = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let mut browser = Self {
            child,
            ask,
            answers,
            asked: 0,
            session: Value::Null,
            directory,
        };
        let target =
            browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        browser.session = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        )["sessionId"]
            .clone();
        browser.call("Page.enable", json!({}));
        browser
    }

    fn hear(&mut self) -> Value {
        let mut said = Vec::new();
        self.answers.read_until(0, &mut said).unwrap();
        assert!(
            !said.is_empty(),
            "chromium has gone: install Debian's `chromium`"
        );
        serde_json::from_slice(&said[..said.len() - 1]).unwrap()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut asked = json!({"id": self.asked, "method": method, "params": parameters});
        if self.session.is_string() {
            asked["sessionId"] = self.session.clone();
        }
        self.ask.write_all(format!("{asked}\0").as_bytes()).unwrap();
        loop {
            let answer = self.hear();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a report in a window of this width.
    fn open(&mut self, report: &RunReport, width: u32) {
        let file = self.directory.path().join("page.html");
        fs::write(&file, html::render(report, &past(30), 1)).unwrap();
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call(
            "Page.navigate",
            json!({"url": format!("file://{}", file.display())}),
        );
        while self.hear()["method"] != "Page.loadEventFired" {}
    }

    fn evaluate(&mut self, script: &str) -> Value {
        self.call(
            "Runtime.evaluate",
            json!({"expression": script, "returnByValue": true}),
        )["result"]["value"]
            .clone()
    }

    /// Returns how long the page has been on the processor.
    fn seconds(&mut self) -> f64 {
        let all = self.call("Performance.getMetrics", json!({}))["metrics"].clone();
        let mut all = all.as_array().unwrap().iter();
        let spent = all.find(|one| one["name"] == "TaskDuration").unwrap();
        spent["value"].as_f64().unwrap()
    }

    /// Returns what a screen reader gets, in order.
    fn told(&mut self) -> Vec<Told> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))["nodes"]
            .as_array()
            .unwrap()
            .clone();
        let nodes: HashMap<&str, &Value> = tree
            .iter()
            .map(|node| (node["nodeId"].as_str().unwrap(), node))
            .collect();
        let mut told = Vec::new();
        tell(&nodes, &tree[0], 0, &mut told);
        told
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[derive(Debug)]
struct Told {
    depth: usize,
    role: String,
    name: String,
    /// A heading's level, from 1.
    level: Option<u64>,
}

fn tell(nodes: &HashMap<&str, &Value>, node: &Value, depth: usize, told: &mut Vec<Told>) {
    let word = |what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
    // Text, and containers without a meaning.
    let silent = [
        "StaticText",
        "InlineTextBox",
        "generic",
        "none",
        "LineBreak",
    ]
    .contains(&word("role").as_str());
    let says = node["ignored"] != true && !silent;
    if says {
        let properties = node["properties"].as_array();
        let level = properties
            .and_then(|all| all.iter().find(|one| one["name"] == "level"))
            .and_then(|level| level["value"]["value"].as_u64());
        told.push(Told {
            depth,
            role: word("role"),
            name: word("name"),
            level: level.filter(|_| word("role") == "heading"),
        });
    }
    for child in node["childIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| nodes.get(id.as_str()?))
    {
        tell(nodes, child, depth + usize::from(says), told);
    }
}

/// Renders the page's outline; rows and list items are only counted.
fn outline(told: &[Told]) -> String {
    let mut text = String::new();
    let below = |i: usize, role: &str| {
        let inside = told[i + 1..]
            .iter()
            .take_while(|other| other.depth > told[i].depth);
        inside
            .filter(|other| other.role == role)
            .map(|other| other.name.as_str())
            .collect::<Vec<_>>()
    };
    let within = [
        "row",
        "rowgroup",
        "columnheader",
        "rowheader",
        "cell",
        "listitem",
        "term",
        "definition",
        "paragraph",
        "button",
        "ListMarker",
    ];
    for (
        i,
        Told {
            depth,
            role,
            name,
            level,
        },
    ) in told
        .iter()
        .enumerate()
        .filter(|(_, one)| !within.contains(&one.role.as_str()))
    {
        let rest = match role.as_str() {
            "table" => format!(
                " of {} rows: {}",
                below(i, "rowheader").len(),
                below(i, "columnheader").join(", ")
            ),
            "list" => format!(" of {}", below(i, "listitem").len()),
            "heading" => format!(" {}", level.unwrap()),
            _ => String::new(),
        };
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" `{name}`")
        };
        writeln!(text, "{}{role}{name}{rest}", "  ".repeat(*depth)).unwrap();
    }
    text
}

#[test]
#[ignore = "needs chromium"]
fn a_screen_reader_is_told_what_everything_is() {
    let mut browser = Browser::start();
    browser.open(&rich(), 1280);
    golden("reader.txt", &outline(&browser.told()));
    let named = [
        "table",
        "image",
        "region",
        "heading",
        "link",
        "button",
        "searchbox",
        "columnheader",
        "rowheader",
        "DisclosureTriangle",
    ];
    for report in all().into_iter().chain([supplied(rich(), HOSTILE)]) {
        // In the narrow layout, which looks like cards, the tables are still tables.
        for width in [1280, 390] {
            browser.open(&report, width);
            let told = browser.told();
            let unnamed: Vec<&Told> = told
                .iter()
                .filter(|one| named.contains(&one.role.as_str()) && one.name.trim().is_empty())
                .collect();
            assert!(unnamed.is_empty(), "{width} wide: {unnamed:?}");
            let levels: Vec<u64> = told.iter().filter_map(|one| one.level).collect();
            assert!(
                levels[0] == 1 && levels[1..].iter().all(|level| *level > 1),
                "{levels:?}"
            );
            assert!(
                levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
                "{levels:?}"
            );
            let counted = |role: &str| {
                u64::try_from(told.iter().filter(|one| one.role == role).count()).unwrap()
            };
            let (tables, rows) = ("table:not(details *)", "tbody tr:not(details *)");
            let there = [tables, rows].map(|what| {
                browser.evaluate(&format!("document.querySelectorAll('{what}').length"))
            });
            assert_eq!(
                [counted("table"), counted("rowheader")].map(Value::from),
                there,
                "{width} wide"
            );
        }
    }
}

/// Checks for paper, on which nothing can be unfolded, pressed or scrolled.
const ON_PAPER: &str = "[
    document.documentElement.scrollWidth > innerWidth && 'wider than the paper',
    [...document.querySelectorAll('details')].some((one) => !one.lastElementChild.checkVisibility()) && 'folded',
    [...document.querySelectorAll('.tools, summary')].some((one) => one.offsetHeight > 0) && 'for a mouse',
    [...document.querySelectorAll('table')].some((one) => getComputedStyle(one).display != 'table') && 'cards',
    getComputedStyle(document.body).backgroundColor != 'rgb(255, 255, 255)' && 'ink all over',
].filter(Boolean).join(', ')";

#[test]
#[ignore = "needs chromium"]
fn a_printer_gets_all_of_it() {
    let mut browser = Browser::start();
    let dark = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    for report in all().into_iter().chain([supplied(rich(), HOSTILE)]) {
        // A4 and Letter without their margins, in pixels.
        for width in [718, 740] {
            browser.call(
                "Emulation.setEmulatedMedia",
                json!({"media": "print", "features": dark}),
            );
            browser.open(&report, width);
            assert_eq!(browser.evaluate(ON_PAPER), "", "{width} wide");
        }
    }
    browser.call(
        "Emulation.setEmulatedMedia",
        json!({"media": "screen", "features": dark}),
    );
    browser.open(&rich(), 718);
    assert_eq!(
        browser.evaluate(ON_PAPER),
        "folded, for a mouse, cards, ink all over",
        "a screen is seen to be one"
    );
}

/// Opens a page of ten thousand rows on a desktop, and on a phone, whose processor is four times as
/// slow, and types a filter there. What counts is the page's own time on the processor: others may
/// be at work on this machine.
#[test]
#[ignore = "needs chromium"]
fn ten_thousand_rows_open_at_once() {
    for (width, slower) in [(1280, 1), (390, 4)] {
        let mut browser = Browser::start();
        browser.call("Performance.enable", json!({"timeDomain": "threadTicks"}));
        browser.call("Emulation.setCPUThrottlingRate", json!({"rate": slower}));
        browser.open(&large(), width);
        let rows = browser.evaluate("document.querySelectorAll('tbody tr').length");
        let opened = browser.seconds();
        browser.evaluate(
            "{ const input = document.querySelector('input'); input.value = 'team-9';
               input.dispatchEvent(new Event('input')); document.body.offsetHeight }",
        );
        let filtered = browser.seconds() - opened;
        println!("{width} wide: {rows} rows in {opened:.2} s, filtered in {filtered:.2} s");
        assert!(rows.as_u64().unwrap() >= 10_000, "{rows}");
        let most = f64::from(slower) * 2.0;
        assert!(opened < most, "{width} wide: opened in {opened} s");
        assert!(
            filtered < most / 4.0,
            "{width} wide: filtered in {filtered} s"
        );
    }
}
