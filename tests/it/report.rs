//! How a report looks to a person, and that nothing in it can deceive them.
//!
//! `UPDATE_GOLDEN=1 cargo test` rewrites the golden files; read them before you commit them.

pub(crate) mod nights;

use super::state_files::a_journal;
use super::support::terminal::without_colours;
use chrono::TimeDelta;
use std::fmt::Write as _;
use std::path::Path;
use treewarden::notify::alert::alerts;
use treewarden::report::journal;
use treewarden::report::look::Look;
use treewarden::report::trends::trends;
use treewarden::report::usage::{Part, Used};
use treewarden::report::{
    Asked, Level, Repo, RepoOutcome, RunOutcome, RunReport, Severity, TreeOutcome, VerdictName,
    Worktree, history, html, text,
};

pub(crate) fn golden(name: &str, is: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, is).unwrap();
    }
    let should = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == should, "{} differs; it now is:\n{is}", path.display());
}

pub(crate) fn all() -> Vec<RunReport> {
    vec![
        nights::rich(),
        nights::idle(),
        nights::rehearsal(),
        nights::disaster(),
        nights::refused(),
    ]
}

#[test]
fn a_rich_night() {
    golden("rich.txt", &text::render(&nights::rich(), Look::PLAIN));
}

#[test]
fn a_rich_night_on_a_narrow_terminal() {
    golden(
        "rich-80.txt",
        &text::render(&nights::rich(), Look::terminal(80)),
    );
}

#[test]
fn a_rich_night_on_half_a_terminal() {
    let text = text::render(&nights::rich(), Look::terminal(40));
    golden("rich-40.txt", &text);
}

#[test]
fn an_idle_night_is_told_in_five_lines_and_one_for_a_tree_that_waits() {
    let text = text::render(&nights::idle(), Look::PLAIN);
    assert_eq!(text.lines().count(), 6);
    golden("idle.txt", &text);
}

#[test]
fn a_dry_run() {
    golden(
        "dry-run.txt",
        &text::render(&nights::rehearsal(), Look::PLAIN),
    );
}

#[test]
fn a_disaster() {
    golden(
        "disaster.txt",
        &text::render(&nights::disaster(), Look::PLAIN),
    );
}

#[test]
fn a_refused_run() {
    golden(
        "refused.txt",
        &text::render(&nights::refused(), Look::PLAIN),
    );
}

#[test]
fn the_history_of_some_nights() {
    let mut runs = [
        nights::idle(),
        nights::refused(),
        nights::disaster(),
        nights::rich(),
    ];
    for (run, days) in runs.iter_mut().zip([3, 2, 1, 0]) {
        run.run.started -= TimeDelta::days(days);
        run.run.finished -= TimeDelta::days(days);
    }
    golden(
        "history.txt",
        &history::render(&runs, 1, Look::terminal(80)),
    );
    assert_eq!(history::render(&[], 0, Look::PLAIN), "No runs yet.\n");
}

/// Returns twenty runs on a volume of 200 GiB: `added` GiB a day stay, and 3 more are freed by each
/// run.
fn growing(from: u64, added: u64) -> Vec<RunReport> {
    let night = |n: u64| {
        let mut run = nights::idle();
        run.run.started -= TimeDelta::days(19 - n.cast_signed());
        run.run.finished = run.run.started + TimeDelta::minutes(10);
        let level = |gib: u64| Level {
            used_bytes: gib << 30,
            free_bytes: (200 - gib) << 30,
            used_inodes: 0,
            standing_bytes: None,
        };
        // One outlier: a large clean-up, and the next day all is back.
        let after = if n == 10 { 20 } else { from + n * added };
        (run.volume.before, run.volume.after) = (level(after + 3), level(after));
        run.totals.freed_bytes = 3 << 30;
        for (repo, mib) in run.repos.iter_mut().zip([100, 7, 0, 0, 0, 0, 0]) {
            (repo.outcome, repo.gc.after.bytes) =
                (RepoOutcome::Maintained, (1 << 30) + n * (mib << 20));
        }
        run
    };
    (0..20).map(night).collect()
}

#[test]
fn the_history_tells_where_the_volume_is_going() {
    let told = |from, added| trends(&growing(from, added)).unwrap().sentences().join(" ");
    assert_eq!(
        told(100, 2),
        "Over 20 runs, work added 5 GiB a day and runs freed 3 GiB a day: the level rises by 2 GiB a day. At this pace the high mark is \
         reached in 2 weeks and the volume is full in 4 weeks, but for what evictions free then. The stores that grow fastest: acme/shop by \
         100 MiB a day to 2.9 GiB, acme/api by 7 MiB a day to 1.1 GiB."
    );
    // The same in JSON, in bytes and days.
    let json = serde_json::to_value(history::History::of(&growing(100, 2), 1)).unwrap();
    let trend = |name: &str| json["trends"][name].clone();
    let about = |name: &str, unit: f64| format!("{:.0}", trend(name).as_f64().unwrap() / unit);
    assert_eq!(
        (
            &json["skipped"],
            json["runs"].as_array().unwrap().len(),
            trend("nights")
        ),
        (&1.into(), 20, 20.into())
    );
    let bytes = [
        "added_bytes_per_day",
        "freed_bytes_per_day",
        "growth_bytes_per_day",
    ]
    .map(|name| about(name, f64::from(1 << 30)));
    assert_eq!(
        (
            bytes,
            ["days_until_high", "days_until_full"].map(|name| about(name, 1.0))
        ),
        (
            ["5", "3", "2"].map(str::to_owned),
            ["16", "31"].map(str::to_owned)
        )
    );
    let names: Vec<_> = trend("repos")
        .as_array()
        .unwrap()
        .iter()
        .map(|repo| repo["name"].clone())
        .collect();
    assert_eq!(names, ["acme/shop", "acme/api"]);
    assert_eq!(
        serde_json::to_value(history::History::of(&[], 0)).unwrap()["trends"],
        serde_json::Value::Null
    );
    // There is no trend from two runs, from dry runs, from runs over some repos, or from many runs
    // in a day.
    let mut runs = growing(100, 2);
    assert_eq!(trends(&runs[18..]), None);
    for run in &mut runs[17..] {
        run.run.dry_run = true;
    }
    assert_eq!(trends(&runs[15..]), None);
    let mut runs = growing(100, 2);
    for run in &mut runs[17..] {
        run.run.asked = Some(Asked {
            repos: vec!["acme/shop".to_owned()],
            only: Vec::new(),
        });
    }
    assert_eq!(trends(&runs[15..]), None);
    let mut runs = growing(100, 2);
    for run in &mut runs {
        run.run.finished = nights::idle().run.finished;
    }
    assert_eq!(trends(&runs), None);
}

/// Runs, a day apart, that found and left these GiB, on a disk of 200.
fn levels(found_and_left: &[(u64, u64)], budget: Option<u64>) -> Vec<RunReport> {
    let night = |(number, (found, left)): (usize, &(u64, u64))| {
        let mut run = nights::idle();
        run.run.started += TimeDelta::days(i64::try_from(number).unwrap());
        run.run.finished = run.run.started;
        let level = |gib: u64| Level {
            used_bytes: gib << 30,
            free_bytes: (200 - gib) << 30,
            used_inodes: 0,
            standing_bytes: budget.map(|_| gib << 30),
        };
        run.volume.budget_bytes = budget.map(|gib| gib << 30);
        (run.volume.before, run.volume.after) = (level(*found), level(*left));
        run
    };
    found_and_left.iter().enumerate().map(night).collect()
}

#[test]
fn the_trends_sentence_adds_up_in_every_case() {
    /// GiB found and left by each run, the budget in GiB, and the sentence.
    type Case = (&'static [(u64, u64)], Option<u64>, &'static str);
    let cases: [Case; 9] = [
        // One large clean-up among small ones: two medians would say that 20 a day come and 20 go,
        // while the level falls.
        (
            &[(100, 100), (120, 100), (120, 100), (120, 40), (60, 40)],
            None,
            "work added 20 GiB a day and runs freed 35 GiB a day: the level falls by 15 GiB a day.",
        ),
        (
            &[(150, 150), (152, 150), (152, 150)],
            None,
            "work added 2 GiB a day and runs freed 2 GiB a day: the level stays where it is.",
        ),
        (
            &[(180, 180), (182, 180), (182, 180)],
            None,
            "the level stays where it is. The high mark is passed.",
        ),
        (
            &[(178, 178), (180, 179), (181, 180)],
            None,
            "the level rises by 1 GiB a day. The high mark is passed; at this pace the volume is \
             full in 2 weeks, but for what evictions free then.",
        ),
        (
            &[(160, 160), (150, 140), (130, 120)],
            None,
            "work took away 10 GiB a day and runs freed 10 GiB a day: the level falls by 20 GiB a \
             day.",
        ),
        (
            &[(100, 110), (110, 120), (120, 130)],
            None,
            "work added 0 B a day and 10 GiB a day came while they were at work: the level rises \
             by 10 GiB a day. At this pace the high mark is reached in 4 days and the volume is \
             full in 7 days, but for what evictions free then.",
        ),
        (
            &[(10, 10), (15, 12), (17, 14)],
            Some(25),
            "work added 5 GiB a day and runs freed 3 GiB a day: what counts for the budget rises \
             by 2 GiB a day. At this pace the budget of 25 GiB is reached in 5 days and the volume \
             is full in 3 months, but for what evictions free then.",
        ),
        (
            &[(26, 26), (27, 26), (27, 26)],
            Some(25),
            "what counts for the budget stays where it is. The budget of 25 GiB is passed.",
        ),
        (
            &[(200, 200), (200, 200), (200, 200)],
            None,
            "the level stays where it is. The volume is full.",
        ),
    ];
    for (levels, budget, expected) in cases {
        let trends = trends(&self::levels(levels, budget)).unwrap();
        let told = trends.sentences().join(" ");
        assert!(told.ends_with(expected), "{levels:?}: {told}");
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        let sum = gib(trends.added - trends.freed - trends.pace);
        assert!(sum.abs() < 1e-9, "{levels:?}: {trends:?}");
    }
}

#[test]
fn a_budget_is_the_headline_the_bar_and_the_history() {
    golden(
        "budget.txt",
        &text::render(&nights::budgeted(), Look::PLAIN),
    );
    let mut plain = nights::rich();
    plain.run.started -= TimeDelta::days(1);
    plain.run.finished -= TimeDelta::days(1);
    let told = history::render(&[plain, nights::budgeted()], 0, Look::terminal(80));
    let ends: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("when (UTC)") || line.contains("failed   "))
        .filter_map(|line| line.rsplit("  ").next())
        .collect();
    assert_eq!(
        ends,
        ["of budget", "90 → 74 % disk", "104 → 88 %"],
        "{told}"
    );
    // On a quiet night, too; unmeasured, as after `run --only gc`, the disk counts.
    let mut idle = nights::idle();
    idle.volume.budget_bytes = Some(25 << 30);
    let opening = |idle: &RunReport| {
        text::render(idle, Look::PLAIN)
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(opening(&idle), "All in order on /data, 61 % full.");
    idle.volume.before.standing_bytes = Some(20 << 30);
    idle.volume.after.standing_bytes = Some(20 << 30);
    assert_eq!(
        opening(&idle),
        "All in order on /data, 80 % of its budget of 25 GiB."
    );
}

#[test]
fn what_is_in_order_is_a_count_and_what_waits_for_somebody_says_why() {
    let mut report = nights::rich();
    let quiet = nights::idle().repos[1].clone();
    report.repos.extend((0..1000).map(|number| Repo {
        name: format!("fleet/{number}"),
        ..quiet.clone()
    }));
    let shop = &mut report.repos[0].worktrees;
    let locked = shop
        .iter()
        .find(|tree| tree.because.as_str() == "locked")
        .unwrap();
    let locked = |name: String, why: &str| Worktree {
        path: format!("/data/acme__shop/.worktrees/{name}").into(),
        reasons: vec![why.to_owned()],
        ..locked.clone()
    };
    let mut waiting: Vec<Worktree> = (0..40)
        .map(|number| locked(format!("bot-{number}"), "locked: the bot's own"))
        .collect();
    waiting.push(locked("odd".to_owned(), "locked: for Ada"));
    shop.extend(waiting);
    for look in [Look::PLAIN, Look::terminal(80)] {
        let text = text::render(&report, look)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let count = "1,000 more repos in order, with nothing to repack; 1,000 trees stay there";
        assert!(text.contains(count) && !text.contains("fleet/7"), "{text}");
        for number in 0..40 {
            assert!(
                text.contains(&format!(".worktrees/bot-{number}")),
                "{number}: {text}"
            );
        }
        for said in [
            ".worktrees/bot-39: locked: the bot's own",
            ".worktrees/odd: locked: for Ada",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(text.len() < 12_000, "{}", text.len());
    }
}

#[test]
fn off_a_terminal_no_name_is_shortened_and_none_left_out() {
    let mut report = nights::rich();
    let long = "a/very/long/name".repeat(12);
    let dropped = |number| format!("/data/worktrees/{number}/{long}").into();
    report.repos[0].prune.dropped = (0..60).map(dropped).collect();
    report.repos[0].name = long.clone();
    report.repos[0].worktrees[0].branch = Some(long.clone());
    report.eviction.units[0].unit = format!("unit-{long}");
    report.eviction.units[0].bytes = 90 << 30;
    let text = text::render(&report, Look::PLAIN);
    assert!(!text.contains('…'), "{text}");
    // The repo in three lists, its branch, its unit, and each registration.
    assert_eq!(text.matches(&long).count(), 3 + 1 + 1 + 60, "{text}");
}

#[test]
fn the_sums_of_what_fills_the_volume_add_up() {
    let part = |what, name: &str, path: &str, bytes: u64| Used {
        what,
        name: (!name.is_empty()).then(|| name.to_owned()),
        path: format!("/data/{path}").into(),
        bytes: bytes << 20,
        inodes: 1,
        shared_bytes: 0,
        output_bytes: 0,
    };
    let mut report = nights::idle();
    report.usage = vec![
        part(Part::Store, "acme/shop", "acme__shop/.git", 1000),
        part(Part::Store, "acme/api", "acme__api/.git", 100),
        part(Part::Checkout, "acme/shop", "acme__shop", 50),
        part(Part::Worktree, "acme/shop", "worktrees/vat", 700),
        part(Part::Worktree, "acme/shop", "worktrees/search", 300),
        part(Part::Cache, "npm", "caches/npm", 2000),
        part(Part::State, "", ".treewarden", 5),
        part(Part::Other, "", "backups", 80),
        part(Part::Other, "", "caches", 1),
        part(Part::Shared, "", "", 600),
    ];
    // What a store hasn't, its rescues don't take: git compresses them.
    (
        report.repos[0].rescues.kept,
        report.repos[0].rescues.kept_bytes,
    ) = (3, 400 << 20);
    (
        report.repos[1].rescues.kept,
        report.repos[1].rescues.kept_bytes,
    ) = (2, 900 << 20);
    let text = text::render(&report, Look::PLAIN);
    let at = text.find("What fills it:").unwrap();
    let sums: Vec<&str> = text[at..].lines().take(7).collect();
    assert_eq!(
        sums,
        [
            "What fills it: 4.7 GiB",
            "  repos            2   650 MiB  stores 600 MiB, checkouts 50 MiB",
            "  trees            2  1000 MiB",
            "  caches           1     2 GiB",
            "  rescues          5   500 MiB  at most, in the stores: git compresses them",
            "  shared               600 MiB  by hard links, each file counted once",
            "  everything else       86 MiB  treewarden's own directory 5 MiB, 2 others 81 MiB",
        ]
    );
}

#[test]
fn the_alerts_of_all_nights() {
    let mut said = String::new();
    for (name, report) in ["rich", "idle", "dry run", "disaster", "refused"]
        .iter()
        .zip(all())
    {
        for alert in alerts(&report) {
            writeln!(
                said,
                "{name}: {} ({:?}): {}",
                alert.name, alert.severity, alert.summary
            )
            .unwrap();
        }
    }
    golden("alerts.txt", &said);
}

#[test]
fn a_dry_run_and_a_quiet_night_alert_nobody() {
    assert_eq!(alerts(&nights::rehearsal()), []);
    assert_eq!(alerts(&nights::idle()), []);
    let mut rehearsed_disaster = nights::disaster();
    rehearsed_disaster.run.dry_run = true;
    assert_eq!(alerts(&rehearsed_disaster), []);
}

#[test]
fn the_worst_alert_comes_first() {
    let severities: Vec<Severity> = alerts(&nights::disaster())
        .iter()
        .map(|alert| alert.severity)
        .collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");
}

#[test]
fn no_name_steers_a_terminal() {
    let hostile = |c: char| {
        (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}".contains(c)
    };
    for width in [0, 40, 80, 100, 1000] {
        let plain = Look::terminal(width);
        for report in all() {
            let runs = [report];
            let texts = [
                text::render(&runs[0], plain),
                history::render(&runs, 0, plain),
            ];
            for (text, coloured) in texts.iter().zip([
                text::render(
                    &runs[0],
                    Look {
                        colour: true,
                        ..plain
                    },
                ),
                history::render(
                    &runs,
                    0,
                    Look {
                        colour: true,
                        ..plain
                    },
                ),
            ]) {
                assert!(!text.contains(hostile), "{text:?}");
                assert_eq!(&without_colours(&coloured), text);
            }
            assert!(
                !alerts(&runs[0])
                    .iter()
                    .any(|alert| alert.summary.contains(|c| hostile(c) || c == '\n'))
            );
        }
    }
    assert!(
        !text::render(&nights::disaster(), Look::PLAIN)
            .lines()
            .any(|line| line.starts_with("Freed 9 TiB"))
    );
}

#[test]
fn no_line_ends_in_blanks_and_none_is_wider_than_its_words_need() {
    for report in all() {
        let text = text::render(&report, Look::PLAIN);
        assert!(!text.contains(" \n") && !text.contains("\n\n\n"), "{text}");
    }
    for (report, width) in all()
        .iter()
        .flat_map(|it| [40, 80, 100].map(|width| (it, width)))
    {
        let text = text::render(report, Look::terminal(width));
        let wide = super::terminal::too_wide(&text, width);
        assert_eq!(wide, [""; 0], "{width}: {text}");
    }
}

#[test]
fn nobody_decided_that_a_tree_that_could_not_be_read_should_go() {
    let mut report = nights::rich();
    let tree = report
        .repos
        .iter_mut()
        .flat_map(|repo| &mut repo.worktrees)
        .find(|tree| tree.verdict == VerdictName::Unknown)
        .unwrap();
    tree.outcome = TreeOutcome::Failed(tree.reasons[0].clone());
    let text = text::render(&report, Look::PLAIN);
    assert!(
        text.contains("worktrees/data__etl/parquet: could not be read, see below"),
        "{text}"
    );
    let page = html::render(&report, &[], 0);
    assert!(page.contains("could not be read: failed to stat"), "{page}");
    for told in [text, page] {
        assert_eq!(told.matches("should have gone").count(), 1, "{told}");
    }
}

#[test]
fn the_exit_code_tells_how_a_run_ended() {
    assert_eq!(
        all().iter().map(RunReport::exit_code).collect::<Vec<_>>(),
        [1, 0, 0, 4, 3]
    );
}

#[test]
fn the_sums_are_those_of_the_rows() {
    let report = nights::rich();
    let totals = report.totals;
    assert_eq!(
        (
            totals.reaped,
            totals.rescued,
            totals.evicted,
            totals.failures
        ),
        (3, 1, 44, 1)
    );
    assert_eq!(
        totals.freed_bytes,
        totals.freed_by_reap + totals.freed_by_gc + totals.freed_by_evict + totals.freed_by_trash
    );
    assert_eq!(nights::rehearsal().totals.rescued, 1);
}

#[test]
fn a_shortfall_alone_fails_a_run() {
    let mut report = nights::idle();
    report.eviction.shortfall_inodes = 1;
    report.tally(0, 0);
    assert_eq!(
        (report.run.outcome, report.totals.failures),
        (RunOutcome::Failed, 0)
    );
}

#[test]
fn the_journal_brings_back_what_was_done() {
    let (_directory, file) = a_journal();
    assert_eq!(journal::read(&file).unwrap(), journal::Past::default());
    for (number, mut report) in all().into_iter().enumerate() {
        report.run.id = number.to_string();
        journal::append(&file, &report).unwrap();
    }
    let past = journal::read(&file).unwrap();
    assert_eq!((past.runs.len(), past.skipped), (5, 0));
    let trees: Vec<&str> = past.runs[0]
        .worktrees()
        .map(|tree| tree.because.as_str())
        .collect();
    assert_eq!(trees, ["idle", "idle", "idle", "landed", "unreadable"]);
    assert!(
        past.runs[0]
            .worktrees()
            .any(|tree| matches!(tree.outcome, TreeOutcome::Failed(_)))
    );
    assert_eq!(past.runs[1].totals, nights::idle().totals);
}

#[test]
fn a_torn_line_stays_alone() {
    let (_directory, file) = a_journal();
    journal::append(&file, &nights::idle()).unwrap();
    let whole = std::fs::read(file.path()).unwrap();
    std::fs::write(
        file.path(),
        [&whole[..], &whole[..whole.len() / 2]].concat(),
    )
    .unwrap();
    let mut rich = nights::rich();
    "another".clone_into(&mut rich.run.id);
    journal::append(&file, &rich).unwrap();
    let past = journal::read(&file).unwrap();
    assert_eq!((past.runs.len(), past.skipped), (2, 1));
    assert_eq!(past.runs[1].totals, nights::rich().totals);
}

#[test]
fn a_link_in_the_journal_s_place_is_not_followed() {
    let (_directory, file) = a_journal();
    let elsewhere = file.path().with_file_name("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, file.path()).unwrap();
    let error = journal::append(&file, &nights::idle())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("failed to append to `"), "{error}");
    assert!(!elsewhere.exists());
}
