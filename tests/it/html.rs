//! The HTML report: its content, that nothing in it becomes markup, and that a large fleet's report
//! stays readable.
//!
//! `html/browser.rs` tests what only a browser can show, `html/reader.rs` what a screen reader and
//! a printer get.

mod browser;
mod reader;

use super::report::nights;
use super::support::{World, same};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use treewarden::facts::cache::UsedFrom;
use treewarden::report::look::Look;
use treewarden::report::usage::{Part, Used};
use treewarden::report::{
    Because, Class, Expired, RunReport, TreeOutcome, Unit, UnitOutcome, VerdictName, Worktree,
    html, text, words,
};

const GIB: u64 = 1 << 30;

/// Text that a browser would run if it got through: as markup, out of an attribute, out of the
/// script, out of the style.
const HOSTILE: &str = "<img src=x onerror=pwned()>\" autofocus onfocus='pwned()' </script><script>pwned()</script>\
                       </style></title><!-- &amp;&lt;b&gt; {{ 7*7 }} \u{0}\u{1b}[2J\u{202e}\u{2066}\u{200b}\r\n\u{85}\u{feff}";

fn used(what: Part, name: Option<&str>, path: &str, bytes: u64, shared_bytes: u64) -> Used {
    Used {
        what,
        name: name.map(str::to_owned),
        path: path.into(),
        bytes,
        inodes: 100,
        shared_bytes,
        output_bytes: if what == Part::Worktree { bytes / 2 } else { 0 },
    }
}

/// Returns a rich run with disk usage and an expired rescue.
fn rich() -> RunReport {
    let mut report = nights::rich();
    report.usage = vec![
        used(Part::Cache, Some("npm"), "/data/caches/npm", 41 * GIB, 0),
        used(
            Part::Store,
            Some("acme/shop"),
            "/data/acme__shop/.git",
            9 * GIB,
            0,
        ),
        used(
            Part::Worktree,
            Some("acme/shop"),
            "/data/acme__shop/.worktrees/vat",
            8 * GIB,
            2 * GIB,
        ),
        used(Part::Other, None, "/data/backups", 7 * GIB, 0),
        used(
            Part::Worktree,
            Some("acme/shop"),
            "/data/acme__shop/.worktrees/search",
            6 * GIB,
            0,
        ),
        used(
            Part::Store,
            Some("data/etl"),
            "/data/data__etl/.git",
            5 * GIB,
            0,
        ),
        used(
            Part::Cache,
            Some("models"),
            "/data/caches/models",
            4 * GIB,
            0,
        ),
        used(
            Part::Checkout,
            Some("acme/shop"),
            "/data/acme__shop",
            3 * GIB,
            0,
        ),
        used(Part::State, None, "/data/.treewarden", GIB, 0),
    ];
    report
        .usage
        .sort_by_key(|used| std::cmp::Reverse(used.bytes));
    let recent = report.repos.iter_mut().flat_map(|repo| &mut repo.worktrees);
    let recent = recent.filter(|tree| tree.because.as_str() == "recent");
    for (tree, number) in recent.zip(0..) {
        tree.goes_at = Some(report.run.started + TimeDelta::days(1 + 4 * number));
        tree.class = (number % 2 == 0).then_some(Class::Saved);
    }
    report.repos[0].rescues.expired = vec![Expired {
        rescue_ref: "refs/treewarden/rescue/old-try/20261001T030112Z".to_owned(),
        commit: "c0ffee".to_owned(),
        taken: None,
        bytes: 3 << 20,
        because: Because::Budget,
    }];
    report
}

/// Reports with everything else that may occur in a row or a report.
fn all() -> Vec<RunReport> {
    let mut later = nights::rehearsal();
    later.run.as_of = Some(later.run.started + TimeDelta::days(7));
    vec![
        rich(),
        nights::idle(),
        nights::rehearsal(),
        later,
        nights::disaster(),
        nights::refused(),
    ]
}

/// Creates so many past runs of all sorts, the last one tonight. Use grows between them, a run
/// frees some, and a lot above the high watermark.
fn past(many: u32) -> Vec<RunReport> {
    let mut level = nights::rich().volume.after;
    let mut night = |days: u32| {
        let mut night = match days {
            0 => nights::rich(),
            13 => nights::refused(),
            8 | 21 => nights::disaster(),
            _ => nights::idle(),
        };
        for time in [&mut night.run.started, &mut night.run.finished] {
            *time -= TimeDelta::days(days.into());
        }
        if days > 0 && night.volume.total_bytes > 0 {
            let added = u64::from(3 + days * 7 % 4) * GIB;
            (level.used_bytes, level.free_bytes) =
                (level.used_bytes + added, level.free_bytes - added);
            night.volume.before = level;
            let full = night.volume.share(level).unwrap() > night.volume.high;
            let freed = if full {
                level.used_bytes - 149 * GIB
            } else {
                u64::from(days * 5 % 7) * GIB / 3
            };
            (level.used_bytes, level.free_bytes) =
                (level.used_bytes - freed, level.free_bytes + freed);
            (night.volume.after, night.totals.freed_bytes) = (level, freed);
            night.totals.reaped = u64::from(days * 5 % 7);
        }
        night
    };
    (0..many).rev().map(&mut night).collect()
}

/// Parses a page: each tag with its attributes' names and the text before it, and all attributes'
/// values.
fn parsed(page: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut tags, mut values, mut rest) = (Vec::new(), Vec::new(), page);
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        let tag = &rest[at..];
        let end = tag.find('>').expect("a tag ends");
        let (mut names, mut attributes) = (String::new(), &tag[..=end]);
        while let Some((name, after)) = attributes.split_once("=\"") {
            let (value, after) = after.split_once('"').expect("a value ends");
            names += name;
            values.push(value.to_owned());
            attributes = after;
        }
        names += attributes;
        rest = &tag[end + 1..];
        // The content of these two is ours, and not markup.
        for raw in ["style", "script"] {
            if names.starts_with(&format!("<{raw}")) {
                rest = &rest[rest.find(&format!("</{raw}")).expect("its end")..];
            }
        }
        tags.push((names, text.to_owned()));
    }
    (tags, values)
}

/// Returns what a reader sees, or is read out, without the markup.
fn seen(page: &str) -> String {
    let (tags, values) = parsed(page);
    // Inline tags don't separate words; all other tags do.
    let inline = |tag: &str| {
        ["<span", "</span", "<wbr"]
            .iter()
            .any(|inline| tag.starts_with(inline))
    };
    let texts = tags
        .into_iter()
        .map(|(tag, text)| text + if inline(&tag) { "" } else { " " });
    let texts = texts.collect::<String>() + &values.join(" ");
    [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(texts, |text, (entity, character)| {
        text.replace(entity, character)
    })
}

/// Replaces every text that a repo, a tool, the system or an agent supplied.
fn supplied(mut report: RunReport, text: &str) -> RunReport {
    let path = || PathBuf::from(format!("/data/{text}"));
    report.volume.root = "/data".into();
    text.clone_into(&mut report.run.host);
    report.run.shard = Some(text.to_owned());
    report.run.reason = Some(text.to_owned());
    report.failures = vec![text.to_owned(), format!("another {text}")];
    for repo in &mut report.repos {
        text.clone_into(&mut repo.name);
        repo.reason = Some(text.to_owned());
        repo.lock.holder = Some(text.to_owned());
        repo.failures = vec![text.to_owned()];
        text.clone_into(&mut repo.gc.reason);
        repo.gc.stale_locks = vec![path()];
        repo.prune.dropped = vec![path()];
        repo.prune.refused = Some(text.to_owned());
        repo.rescues
            .expired
            .iter_mut()
            .for_each(|rescue| text.clone_into(&mut rescue.rescue_ref));
        for tree in &mut repo.worktrees {
            tree.path = path();
            tree.branch = Some(text.to_owned());
            tree.head = Some(text.to_owned());
            tree.reasons = vec![text.to_owned()];
            tree.because = text.to_owned().into();
            tree.rescue_ref = tree.rescue_ref.as_ref().map(|_| text.to_owned());
            if let TreeOutcome::Failed(why) = &mut tree.outcome {
                text.clone_into(why);
            }
        }
    }
    text.clone_into(&mut report.eviction.reason);
    report.eviction.obstacles = vec![text.to_owned()];
    for unit in &mut report.eviction.units {
        (unit.cache, unit.unit, unit.named_by) =
            (text.to_owned(), text.to_owned(), Some(text.to_owned()));
        if let UnitOutcome::Skipped(why) | UnitOutcome::Failed(why) = &mut unit.outcome {
            text.clone_into(why);
        }
    }
    for used in &mut report.usage {
        (used.name, used.path) = (Some(text.to_owned()), path());
    }
    report
}

#[test]
fn what_others_wrote_is_never_markup() {
    for report in all() {
        let page = |text| {
            html::render(
                &supplied(report.clone(), text),
                &past(9).map_all(|run| supplied(run, text)),
                1,
            )
        };
        // Slashes stay, because they separate directories.
        let harmless: String = HOSTILE
            .chars()
            .map(|c| if c == '/' { c } else { 'x' })
            .collect();
        let (hostile, harmless) = (page(HOSTILE), page(&harmless));
        let skeleton = |page: &str| {
            parsed(page)
                .0
                .into_iter()
                .map(|(tag, _)| tag)
                // Where a long name may break depends on it, and means nothing.
                .filter(|tag| tag != "<wbr>")
                .collect::<Vec<_>>()
        };
        let odd = skeleton(&hostile)
            .into_iter()
            .zip(skeleton(&harmless))
            .find(|(one, other)| one != other);
        assert_eq!(odd, None, "what tags there are is nobody's choice but ours");
        assert_eq!(skeleton(&hostile).len(), skeleton(&harmless).len());
        let steers = |c: char| words::steers(c) && c != '\n';
        assert!(!hostile.contains(steers), "{:?}", hostile.find(steers));
        assert!(
            seen(&hostile).contains(&words::plain(HOSTILE)),
            "it is shown for what it is"
        );
    }
}

trait MapAll {
    fn map_all(self, each: impl Fn(RunReport) -> RunReport) -> Vec<RunReport>;
}

impl MapAll for Vec<RunReport> {
    fn map_all(self, each: impl Fn(RunReport) -> RunReport) -> Vec<RunReport> {
        self.into_iter().map(each).collect()
    }
}

#[test]
fn only_our_own_style_and_script_may_run() {
    let page = html::render(&rich(), &past(30), 0);
    let policy = page
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    let nonce = &rich().run.id;
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'"
        )
    );
    // An id from the journal is as untrusted as any other string.
    let mut forged = rich();
    forged.run.id = "x' 'unsafe-inline'; \"><".to_owned();
    assert!(html::render(&forged, &[], 0).contains("script-src 'nonce-xunsafe-inline';"));
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for asks in [
        "http:",
        "https:",
        "url(",
        "@import",
        "<link rel=\"style",
        " style=\"",
        " onclick",
        "src=",
    ] {
        assert!(!page.contains(asks), "{asks}");
    }
}

/// Returns the words that the text report has about this run: numbers, names, reasons, but not what
/// only serves the text's layout.
fn told(report: &RunReport) -> Vec<String> {
    let text = text::render(report, Look::terminal(120));
    // Bars, shortened names and "N more" belong to the text report alone.
    let own = |word: &str| {
        word.contains(['█', '░', '▲', '…']) || ["more", "ten", "largest"].contains(&word)
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let left_out = |i: usize| {
        words
            .get(i + 1)
            .is_some_and(|next| next.starts_with("more"))
    };
    let trimmed = |word: &str| {
        word.trim_matches([',', '.', ';', ':', '(', ')'])
            .to_lowercase()
    };
    let told = words
        .iter()
        .enumerate()
        .filter(|(i, word)| !own(word) && !left_out(*i));
    told.map(|(_, word)| trimmed(word))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn all_that_the_text_tells_is_in_it() {
    for report in all() {
        let page = seen(&html::render(&report, &[], 0)).to_lowercase();
        let mut missing: Vec<String> = told(&report)
            .into_iter()
            .filter(|word| !page.contains(word.as_str()))
            .collect();
        missing.retain(|word| !["are", "below", "see", "by", "name"].contains(&word.as_str()));
        assert!(
            missing.is_empty(),
            "{missing:?} of\n{}",
            text::render(&report, Look::terminal(120))
        );
        for tree in report.worktrees() {
            let path = words::below(&report.volume.root, &tree.path);
            assert!(page.contains(&path.to_lowercase()), "{path}");
            tree.reasons
                .iter()
                .for_each(|why| assert!(page.contains(&words::plain(why).to_lowercase()), "{why}"));
        }
    }
}

#[test]
fn the_past_nights_are_told_and_what_is_left_out() {
    assert!(!html::render(&rich(), &[], 0).contains("Past runs"));
    let page = html::render(&rich(), &past(45), 2);
    let seen = seen(&page);
    assert_eq!(page.matches("class=\"sign ").count(), 30);
    assert!(seen.contains("30 runs since 23 Oct 2026 freed "), "{seen}");
    assert!(seen.contains("2 lines of the journal could not be read and were left out."));
    assert!(
        seen.contains("failed to read the sentinel"),
        "what stood in a refused night's way"
    );
}

#[test]
fn a_budget_is_what_the_bars_and_the_nights_are_measured_against() {
    let run = nights::budgeted();
    let page = html::render(&run, &[nights::budgeted(), run.clone()], 0);
    let told = seen(&page);
    for expected in [
        "26 GiB used, 1 GiB over",
        "22 GiB used, 3 GiB left",
        "budget ▴",
        "disk",
        "high 85 %",
        "budget 100 %",
    ] {
        assert!(told.contains(expected), "`{expected}` is missing: {told}");
    }
}

#[test]
fn what_goes_next_is_told_and_what_can_not_go_stands_first() {
    let seen = seen(&html::render(&rich(), &[], 0));
    assert!(
        seen.contains(
            "8 trees, 6 GiB, may go by 20 Dec, if nobody works in them. 4 will; 4 are too young to be \
             looked into, and may stay for longer."
        ),
        "{seen}"
    );
    for told in [
        "Sun 22 Nov: 1 tree acme__shop/.worktrees/cart-totals",
        "Sun 20 Dec: 1 tree, 6 GiB acme__shop/.worktrees/search",
        "Mon 23 Nov: nothing",
        "worktree acme__shop/.worktrees/vat: 8 GiB",
        "build output: 4 GiB",
    ] {
        assert!(seen.contains(told), "{told}: {seen}");
    }
    let table = seen.split("Why it stays").nth(1).unwrap();
    let at = |name: &str| {
        table
            .find(name)
            .unwrap_or_else(|| panic!("{name}: {table}"))
    };
    let order = [
        "backfill",
        "parquet",
        "release",
        "cart-totals",
        "coupons",
        "schema-v3",
    ]
    .map(at);
    assert!(order.is_sorted(), "{order:?}");
    // Nothing is known of dates in a report of an older version.
    let mut old = rich();
    let trees = old.repos.iter_mut().flat_map(|repo| &mut repo.worktrees);
    trees.for_each(|tree| tree.goes_at = None);
    let page = html::render(&old, &[], 0);
    assert!(!page.contains("The next 30 days") && !page.contains("Goes in"));
}

/// Returns a run over a large fleet.
fn large() -> RunReport {
    let mut report = rich();
    let (tree, repo) = (
        report.repos[0].worktrees[0].clone(),
        report.repos[0].clone(),
    );
    let trees = |repo: u64| {
        let of = |n: u64| Worktree {
            path: format!("/data/worktrees/team-{repo}/issue-{n}").into(),
            bytes: (n < 10).then_some((repo * 20 + n) << 20),
            verdict: if n < 10 {
                VerdictName::Reap
            } else {
                VerdictName::Keep
            },
            outcome: if n < 10 {
                TreeOutcome::Reaped
            } else {
                TreeOutcome::Kept
            },
            ..tree.clone()
        };
        (0..20).map(of).collect()
    };
    report.repos = (0..1000)
        .map(|n| treewarden::report::Repo {
            name: format!("team/{n}"),
            worktrees: trees(n),
            ..repo.clone()
        })
        .collect();
    let unit = |n: u64| Unit {
        cache: "npm".to_owned(),
        kind: "npm".to_owned(),
        unit: format!("content-v2/sha512/{n:05}"),
        bytes: n << 10,
        inodes: 1,
        last_used: report.run.started - TimeDelta::days(90),
        last_used_from: UsedFrom::WriteTime,
        named_by: None,
        in_use: false,
        outcome: UnitOutcome::Evicted,
    };
    report.eviction.units = (0..50_000).map(unit).collect();
    report.tally(0, 0);
    report
}

#[test]
fn a_large_fleet_s_page_is_short_and_says_what_it_leaves_out() {
    let report = large();
    let began = Instant::now();
    let page = html::render(&report, &past(30), 0);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert!(page.len() < 8_000_000, "{}", page.len());
    let seen = seen(&page);
    for told in [
        "and 1,000 more; the JSON report has them all",
        "and 9,500 more, 86 TiB; the JSON report has them all",
        "and 49,500 more, 1.1 TiB; the JSON report has them all",
        "content-v2/sha512/49999",
        "worktrees/team-999/issue-9",
    ] {
        assert!(seen.contains(told), "{told}");
    }
    assert!(
        !seen.contains("content-v2/sha512/49499"),
        "the biggest come first"
    );
}

#[test]
fn run_and_report_write_it_and_nothing_else_does() {
    let world = World::new();
    world.repo("acme/shop").tree("landed").age(2.0);
    let file = world.beside("night.html");
    let path = file.to_str().unwrap();
    let code = |typed: &[&str]| world.treewarden(typed).code;
    let codes = [
        code(&["report", "--format", "html", "--output", path]),
        code(&["history", "--format", "html"]),
        code(&["locks", "--format", "html"]),
    ];
    assert_eq!(codes, [0, 2, 2]);
    let seen_of = |page: &str| seen(page);
    let before = seen_of(&std::fs::read_to_string(&file).unwrap());
    assert!(
        before.contains("Dry run. Would free")
            && before.contains("What fills it")
            && !before.contains("Past runs"),
        "{before}"
    );
    let ran = world.treewarden(&["run", "--format", "html"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = [
        "Trees that went",
        "Past runs",
        "worktrees/acme__shop/landed",
    ]
    .map(|told| (told, seen_of(&ran.out).contains(told)));
    same(
        "the night",
        &BTreeMap::from(found),
        &BTreeMap::from(found.map(|(told, _)| (told, true))),
    );
}
