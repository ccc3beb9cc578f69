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
use treewarden::report::{
    Asked, Level, RepoOutcome, RunOutcome, RunReport, Severity, TreeOutcome, VerdictName, history,
    html, text,
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
fn an_idle_night_is_told_in_five_lines() {
    let text = text::render(&nights::idle(), Look::PLAIN);
    assert_eq!(text.lines().count(), 5);
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
    let told = |from, added| trends(&growing(from, added)).unwrap().told().join(" ");
    assert_eq!(
        told(100, 2),
        "Over 20 nights, work added 5 GiB a day and a night freed 3 GiB: the level rises by 2 GiB a day. At this pace the high mark is \
         reached in 2 weeks, the volume is full in 4 weeks, but for what evictions free then. The stores that grow fastest: acme/shop by \
         100 MiB a day to 2.9 GiB, acme/api by 7 MiB a day to 1.1 GiB."
    );
    assert!(
        told(175, 0).contains("the level stays where it is. The stores"),
        "{}",
        told(175, 0)
    );
    assert!(
        told(160, 1).contains("the high mark is passed; the volume is full in 3 weeks"),
        "{}",
        told(160, 1)
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
        "freed_bytes_per_night",
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
