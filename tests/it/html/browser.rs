//! The HTML report in a real browser: Debian's headless `chromium`.
//!
//! `TREEWARDEN_SCREENS=DIRECTORY` keeps the screenshots. A page is tested by a script that is added
//! to a copy of it, under the page's own nonce.

use super::{HOSTILE, large, past, rich, supplied};
use crate::report::nights;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use treewarden::report::{RunReport, html};

/// Listens from the beginning; at the end, the body's attribute has what it heard.
const LISTEN: &str = r"
const heard = [];
window.pwned = () => heard.push('something ran that should not');
addEventListener('error', (event) => heard.push('error: ' + event.message), true);
addEventListener('securitypolicyviolation', (event) => heard.push('refused: ' + event.violatedDirective + ' ' + event.blockedURI));
for (const kind of ['log', 'warn', 'error']) { console[kind] = (...said) => heard.push(kind + ': ' + said.join(' ')); }
";

/// Tries what the page's own script offers. It sets no style and requests nothing, so all that is
/// heard comes from the page.
const TRY: &str = r"
const check = (so, what) => { if (!so) heard.push('wrong: ' + what); };
const table = (id) => document.getElementById(id).parentElement.querySelector('table');
const names = (rows) => rows.map((row) => row.cells[0].textContent);
const shown = (table) => [...table.rows].slice(1).filter((row) => row.offsetHeight > 0);
const column = (table, name) => [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === name);
const press = (table, name) => table.tHead.rows[0].cells[column(table, name)].querySelector('button').click();
const unfold = (table) => { const fold = table.parentElement.querySelector('table + .unfold'); if (fold && !fold.hidden) fold.click(); };
const words = (table, name) => shown(table).map((row) => row.cells[column(table, name)].childNodes[0].textContent.trim());
check(performance.getEntriesByType('resource').length === 0, 'something was asked for: ' + performance.getEntriesByType('resource').map((e) => e.name));
check(document.scripts.length === 4, 'scripts: ' + document.scripts.length);
document.querySelectorAll('details').forEach((details) => { details.open = true; });
check(document.documentElement.scrollWidth <= innerWidth, 'wider than its window: ' + document.documentElement.scrollWidth + ' of ' + innerWidth);
const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
check(new Set(ids).size === ids.length, 'an id twice');
for (const link of document.querySelectorAll('a[href]')) check(document.querySelector(link.getAttribute('href')), 'a link to nothing');
for (const cell of document.querySelectorAll('th')) check(cell.scope, 'a head without scope');
check([...document.querySelectorAll('.contents a')].map((link) => link.hash.slice(1)).join() === [...document.querySelectorAll('main > section')].map((section) => section.getAttribute('aria-labelledby')).join(), 'the contents are those of the page');
for (const table of document.querySelectorAll('table')) check(shown(table).length <= 50, 'more than 50 rows: ' + shown(table).length);
const kept = table('kept');
if (!document.body.dataset.hostile) {
  const broken = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = texts.nextNode());) {
    if (!text.parentElement.checkVisibility() || text.parentElement.closest('svg, script, .away')) continue;
    for (const { 0: word, index } of text.data.matchAll(/[\p{L}\p{N}]{1,24}/gu)) {
      const range = new Range();
      range.setStart(text, index);
      range.setEnd(text, index + word.length);
      const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.top)));
      if (lines.size > 1) broken.push(word);
    }
  }
  check(innerWidth < 1280 || broken.length === 0, 'broken words: ' + broken);
  const all = kept.tBodies[1] ? kept.tBodies[0].rows.length + kept.tBodies[1].rows.length : kept.tBodies[0].rows.length;
  unfold(kept);
  check(all > 10 && shown(kept).length === all, 'unfolded: ' + shown(kept).length + ' of ' + all);
  const gone = table('gone');
  const sizes = () => shown(gone).map((row) => Number(row.cells[column(gone, 'Freed')].dataset.v));
  press(gone, 'Freed');
  check(sizes().every((size, i, all) => i === 0 || all[i - 1] >= size), 'the largest first');
  check(gone.tHead.rows[0].cells[column(gone, 'Freed')].getAttribute('aria-sort') === 'descending', 'it says how it is sorted');
  press(gone, 'Freed');
  check(sizes().every((size, i, all) => i === 0 || all[i - 1] <= size), 'the smallest first');
  press(kept, 'Tree');
  const found = names(shown(kept));
  check(found.every((name, i) => i === 0 || new Intl.Collator('en', { numeric: true }).compare(found[i - 1], name) <= 0), 'by name');
  const tools = kept.previousElementSibling, input = tools.querySelector('input'), output = tools.querySelector('output');
  const type = (text) => { input.value = text; input.dispatchEvent(new Event('input')); };
  const wanted = shown(kept)[3].cells[0].textContent;
  type(wanted.toUpperCase());
  check(shown(kept).length >= 1 && names(shown(kept)).every((name) => name.includes(wanted)), 'filtered: ' + names(shown(kept)));
  check(output.value === shown(kept).length.toLocaleString('en') + ' of ' + all.toLocaleString('en'), 'it says how many: ' + output.value);
  type('no such tree');
  check(shown(kept).length === 0, 'nothing is found');
  type('');
  check(shown(kept).length === all, 'all are back');
  const group = [...tools.querySelectorAll('.chips')].find((group) => group.ariaLabel === 'Repo');
  const chips = [...group.querySelectorAll('button')], name = (chip) => chip.firstChild.data;
  chips[0].click();
  check(chips[0].ariaPressed === 'true' && words(kept, 'Repo').every((repo) => repo === name(chips[0])), 'only of ' + name(chips[0]));
  chips[1].click();
  check(shown(kept).length > 0 && words(kept, 'Repo').every((repo) => [name(chips[0]), name(chips[1])].includes(repo)), 'either of two');
  chips[0].click();
  chips[1].click();
  check(shown(kept).length === all && output.value === '', 'all are back again');
  const menu = group.querySelector('select');
  if (menu) {
    const [text] = menu.options[1].textContent.split(' (');
    menu.value = '0';
    menu.dispatchEvent(new Event('change'));
    check(shown(kept).length > 0 && words(kept, 'Repo').every((repo) => repo === text), 'one from the menu');
  }
}
parent.postMessage(heard.length ? heard.join(' | ') : 'nothing', '*');
";

/// Adds a script at the page's beginning and one at its end.
fn trying(report: &RunReport, page: &str, hostile: bool) -> String {
    let nonce = &report.run.id;
    let body = if hostile {
        "<body data-hostile=\"yes\">"
    } else {
        "<body>"
    };
    page.replacen(
        "<meta name=\"viewport\"",
        &format!("<script nonce=\"{nonce}\">{LISTEN}</script><meta name=\"viewport\""),
        1,
    )
    .replacen("<body>", body, 1)
    .replacen(
        "</body>",
        &format!(
            "<script nonce=\"{nonce}\">addEventListener('load', () => {{ {TRY} }});</script></body>"
        ),
        1,
    )
}

#[expect(clippy::disallowed_methods, reason = "the browser is this test's tool")]
fn chromium(directory: &Path, arguments: &[&str], page: &Path) -> Output {
    let profile = format!("--user-data-dir={}", directory.join("profile").display());
    let always = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
    ];
    // The page should request nothing; if it did, it would get no answer.
    let offline = [
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    ];
    let mut command = Command::new("chromium");
    command
        .args(always)
        .args(offline)
        .arg(profile)
        .args(arguments)
        .arg(format!("file://{}", page.display()));
    command
        .output()
        .expect("chromium starts: install Debian's `chromium`")
}

/// Writes a page that shows the file at this width, which may be less than a window's minimum, and
/// keeps the page's message.
fn framed(directory: &Path, file: &str, width: u32) -> PathBuf {
    let frame = directory.join("frame.html");
    let listen = "onmessage = (event) => { document.body.dataset.heard = event.data; }";
    let style = format!(
        "body {{ margin: 0 }} iframe {{ display: block; border: 0; width: {width}px; height: 100vh }}"
    );
    fs::write(&frame, format!("<!doctype html><style>{style}</style><body><script>{listen}</script><iframe src=\"{file}\"></iframe>"))
        .unwrap();
    frame
}

fn heard(report: &RunReport, hostile: bool, width: u32) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("page.html"),
        trying(report, &html::render(report, &past(30), 1), hostile),
    )
    .unwrap();
    let ran = chromium(
        directory.path(),
        &["--window-size=1300,900", "--dump-dom"],
        &framed(directory.path(), "page.html", width),
    );
    let (dom, log) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let console: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    let heard = dom
        .split("data-heard=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    format!(
        "{}{}",
        heard.unwrap_or("the page's script did not run to its end"),
        console.concat()
    )
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_has_nothing_to_complain_of_and_sorts_and_filters() {
    let pages = [
        ("rich", rich(), false),
        ("large", large(), false),
        ("hostile", supplied(rich(), HOSTILE), true),
        ("disaster", nights::disaster(), true),
    ];
    for width in [1280, 1000, 800, 390] {
        for (name, report, hostile) in &pages {
            assert_eq!(
                heard(report, *hostile, width),
                "nothing",
                "{name}, {width} pixels wide"
            );
        }
    }
    assert_ne!(
        heard(&nights::refused(), false, 1280),
        "nothing",
        "a page without what is looked for is seen to be one"
    );
}

#[test]
#[ignore = "needs chromium"]
fn it_can_be_drawn_light_dark_and_narrow() {
    let scratch = tempfile::tempdir().unwrap();
    let directory =
        std::env::var_os("TREEWARDEN_SCREENS").map_or(scratch.path().to_owned(), Into::into);
    let reports = [
        ("rich", rich()),
        ("idle", nights::idle()),
        ("dry-run", nights::rehearsal()),
        ("disaster", nights::disaster()),
        ("refused", nights::refused()),
    ];
    for (name, report) in reports {
        let page = directory.join(format!("{name}.html"));
        fs::write(&page, html::render(&report, &past(30), 0)).unwrap();
        for (look, scheme, width, height) in [
            ("light", 1, 1280, 3800),
            ("dark", 0, 1280, 3800),
            ("narrow-light", 1, 390, 7000),
            ("narrow-dark", 0, 390, 7000),
        ] {
            let picture = directory.join(format!("{name}-{look}.png"));
            let arguments = [
                format!("--blink-settings=preferredColorScheme={scheme}"),
                format!("--window-size={},{height}", width.max(500)),
                format!("--screenshot={}", picture.display()),
            ];
            let ran = chromium(
                scratch.path(),
                &arguments.each_ref().map(String::as_str),
                &framed(&directory, &format!("{name}.html"), width),
            );
            assert!(
                fs::metadata(&picture).is_ok_and(|file| file.len() > 10_000),
                "{name}, {look}: {ran:?}"
            );
        }
    }
}
