//! The text of an explanation: the verdict and its date first, then the rule and the facts, then
//! what would change it.

use super::{Change, Explanation, Fate, Kind, Rule, Tree, Unit};
use crate::facts::cache::UsedFrom;
use crate::report::look::Look;
use crate::report::page::{BAD, FAINT, GOOD, NOTE, Page, Row, STRONG, Span};
use crate::report::pressure::{Part, UnderPressure};
use crate::report::rescues;
use crate::report::words;
use chrono::{DateTime, Utc};

/// Digits of a commit's id that are shown.
const SHORT: usize = 10;
/// Commits that are shown.
const COMMITS: usize = 20;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Returns when something goes, for people: `in 3 days`, `with the next run`.
pub fn goes(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match u64::try_from((at - now).num_seconds()).unwrap_or(0) {
        0 => "with the next run".to_owned(),
        seconds if seconds < 2 * DAY => format!("in {}", words::age(seconds)),
        // A tree that was made a minute ago goes in seven days, and not in six.
        seconds => format!("in {}", words::count((seconds + DAY / 2) / DAY, "day")),
    }
}

/// Renders an explanation as a page.
pub fn render(explained: &Explanation, look: Look) -> String {
    let mut page = Page::new(look);
    title(&mut page, explained);
    verdict(&mut page, explained);
    page.gap();
    page.table(2, &facts(explained));
    if let Some(tree) = &explained.worktree {
        work(&mut page, tree);
    }
    changes(&mut page, explained);
    page.finish()
}

fn title(page: &mut Page, explained: &Explanation) {
    let name = match (&explained.rescue, &explained.unit, &explained.path) {
        (Some(rescue), ..) => rescue.id.clone(),
        (_, Some(unit), _) => unit.unit.clone(),
        (_, _, Some(path)) => path.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let kind = match explained.kind {
        Kind::Worktree => "a worktree",
        Kind::Clone => "a loose clone",
        Kind::Directory => "an unregistered directory",
        Kind::Checkout => "the checkout",
        Kind::Rescue => "a rescue",
        Kind::Unit => "a unit",
    };
    let unit = explained.unit.as_ref().map(|unit| &unit.cache);
    let of = unit.or(explained.repo.as_ref());
    let of = of.map_or_else(String::new, |of| format!(" of {of}"));
    page.line(
        0,
        &[
            Span::new(name, STRONG),
            Span::new(format!("  {kind}{of}"), FAINT),
        ],
    );
}

fn verdict(page: &mut Page, explained: &Explanation) {
    let when = |at: DateTime<Utc>| format!("{} ({})", goes(at, explained.at), time(at));
    let (said, style) = match (explained.verdict, explained.goes_at) {
        (fate, _) if fate.goes() && !explained.held.is_empty() => {
            ("is due, but stays for now".to_owned(), NOTE)
        }
        (fate, _) if fate.goes() => ("goes with the next run".to_owned(), NOTE),
        (Fate::Unknown, _) => ("stays: its state is unknown".to_owned(), BAD),
        (_, Some(at)) => (format!("stays for now, and goes {}", when(at)), GOOD),
        _ if matches!(explained.because.as_deref(), Some("recent" | "missing")) => (
            "stays for now; when it goes is not known yet".to_owned(),
            GOOD,
        ),
        _ if explained.unit.is_some() => (unit_stays(explained), GOOD),
        _ => ("stays, and never goes by itself".to_owned(), GOOD),
    };
    page.line(0, &[Span::new(said, style)]);
    for reason in &explained.reasons {
        page.labelled(2, &[Span::body("-")], Span::body(reason));
    }
    for why in &explained.held {
        page.labelled(2, &[Span::body("-")], Span::new(why, NOTE));
    }
}

/// Returns how long a unit stays at least.
fn unit_stays(explained: &Explanation) -> String {
    match explained.unit.as_ref().and_then(|unit| unit.free_from) {
        None => "stays, as long as that holds".to_owned(),
        Some(from) if from > explained.at => format!("stays until {} at least", time(from)),
        Some(_) => "stays, until room is wanted and its turn comes".to_owned(),
    }
}

fn facts(explained: &Explanation) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, rule) in explained.rules.iter().enumerate() {
        rows.push(row(if at == 0 { "rule" } else { "" }, rule_line(rule)));
    }
    if let Some(tree) = &explained.worktree {
        rows.extend(tree_facts(tree));
    }
    if let Some(entry) = &explained.rescue {
        rows.extend(rescues::facts(entry));
    }
    if let Some(unit) = &explained.unit {
        rows.extend(unit_facts(unit, explained.at));
    }
    let turns = explained.under_pressure.iter();
    let turns: Vec<String> = turns.map(|turn| under_pressure(turn, explained)).collect();
    rows.extend(named("if full", &turns));
    rows
}

/// Returns when something would go if the volume were too full.
fn under_pressure(turn: &UnderPressure, explained: &Explanation) -> String {
    let what = match turn.what {
        Part::Whole => "",
        Part::BuildOutput => "its build output ",
    };
    let (Some(rung), Some(from)) = (turn.rung, turn.from) else {
        let why = turn.never.as_deref().unwrap_or_default();
        return format!("{what}stays all the same: {why}");
    };
    let step = format!(
        "{what}goes on the `{}` step: {}",
        rung.name(),
        rung.message()
    );
    if from <= explained.at {
        return format!("{step}; now, if its turn comes");
    }
    format!("{step}; not before {}", time(from))
}

fn row(name: &str, text: impl AsRef<str>) -> Row {
    vec![Span::new(name, FAINT), Span::body(text).wrap()].into()
}

fn rule_line(rule: &Rule) -> String {
    let Some(key) = &rule.key else {
        return format!("{} (no setting changes that)", rule.says);
    };
    let value = rule.value.as_deref().unwrap_or_default();
    let from = match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("{file}, line {line}"),
        _ => "the default".to_owned(),
    };
    format!("{key}: {value} ({from}): {}", rule.says)
}

fn tree_facts(tree: &Tree) -> Vec<Row> {
    let class = tree.class.map_or_else(
        || "unknown: it could not be inspected".to_owned(),
        |class| format!("{}: {}", class.name(), tree.class_reasons.join("; ")),
    );
    let mut rows = vec![
        row("class", class),
        row("idle", idle(tree)),
        row(
            "branch",
            tree.branch.as_deref().unwrap_or("none: HEAD is detached"),
        ),
        row("HEAD", tree.head.as_deref().unwrap_or("none yet")),
    ];
    rows.extend(tree.bytes.map(|bytes| row("size", words::size(bytes))));
    let lock = match (&tree.locked, tree.dead_process) {
        (None, _) => "not locked".to_owned(),
        (Some(reason), dead) => {
            let reason = if reason.is_empty() {
                "without a reason"
            } else {
                reason
            };
            let dead = dead.map_or_else(String::new, |pid| format!("; process {pid} is dead"));
            format!("locked: {reason}{dead}")
        }
    };
    rows.push(row("lock", lock));
    if !tree.in_progress.is_empty() {
        rows.push(row("under way", words::and(&tree.in_progress)));
    }
    let none = ["none is seen on this machine".to_owned()];
    let processes = if tree.processes.is_empty() {
        &none[..]
    } else {
        &tree.processes
    };
    rows.extend(named("processes", processes));
    rows.extend(named("yours", &tree.callers));
    rows
}

fn named<'a>(name: &'a str, lines: &'a [String]) -> impl Iterator<Item = Row> + 'a {
    let named = |(at, line): (usize, &String)| row(if at == 0 { name } else { "" }, line);
    lines.iter().enumerate().map(named)
}

fn idle(tree: &Tree) -> String {
    let (Some(seconds), Some(active)) = (tree.idle_seconds, tree.active) else {
        return "unknown: nothing shows when it was last active".to_owned();
    };
    let file = tree
        .active_file
        .as_ref()
        .map_or_else(String::new, |file| file.to_string_lossy().into_owned());
    let from = match tree.active_from {
        Some("reflog") => "HEAD last moved then, by its reflog".to_owned(),
        Some("registration") => format!("git last wrote {file} of its registration then"),
        Some("written") => format!("{file} was last written then"),
        _ => format!("{file} came to be there then"),
    };
    format!(
        "{}, since {}: {from}",
        words::age(seconds.max(1)),
        time(active)
    )
}

fn unit_facts(unit: &Unit, now: DateTime<Utc>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (at, path) in unit.paths.iter().enumerate() {
        rows.push(row(
            if at == 0 { "path" } else { "" },
            path.to_string_lossy(),
        ));
    }
    rows.extend(unit.bytes.map(|bytes| row("frees", words::size(bytes))));
    let age = u64::try_from((now - unit.last_used).num_seconds()).unwrap_or(0);
    let from = match unit.last_used_from {
        UsedFrom::ToolRecord => "by its tool's own record",
        UsedFrom::AccessTime => "by its access time",
        UsedFrom::LinkTime => "by its links into trees",
        UsedFrom::WriteTime => "by its write time",
        UsedFrom::WorktreeActivity => "by the activity of its worktree",
        UsedFrom::Named => "by a lock file that named it",
    };
    rows.push(row(
        "last used",
        format!(
            "{} ago ({}), {from}",
            words::age(age.max(1)),
            time(unit.last_used)
        ),
    ));
    let named = match (&unit.named_by, unit.in_use) {
        (Some(repo), true) => format!("a lock file of {repo} names it"),
        (Some(repo), false) => format!("no lock file names it any more; the last was of {repo}"),
        (None, _) => "no lock file names it".to_owned(),
    };
    rows.push(row("named", named));
    rows.push(row("volume", &unit.eviction));
    rows.push(row("its turn", turn(unit)));
    rows
}

/// Returns when a unit's turn comes, once room is wanted.
fn turn(unit: &Unit) -> String {
    match unit.ahead {
        0 => "the first of all that may go".to_owned(),
        ahead => format!(
            "after {} of all caches, {} at least",
            words::count(ahead, "unit"),
            words::size(unit.ahead_bytes)
        ),
    }
}

fn work(page: &mut Page, tree: &Tree) {
    if tree.files_count > 0 {
        page.heading(
            "Files that are work:",
            Span::body(words::number(tree.files_count as u64)),
        );
        for file in &tree.files {
            page.line(2, &[Span::body(file)]);
        }
        if tree.files_count > tree.files.len() {
            let more = words::number((tree.files_count - tree.files.len()) as u64);
            page.line(2, &[Span::new(format!("and {more} more"), FAINT)]);
        }
    }
    if !tree.commits.is_empty() {
        let plus = if tree.more_commits { "+" } else { "" };
        let count = format!("{}{plus}", words::number(tree.commits.len() as u64));
        page.heading("Commits that nothing else has:", Span::body(count));
        let rows: Vec<Row> = tree
            .commits
            .iter()
            .take(COMMITS)
            .map(|commit| {
                let id = commit.id.get(..SHORT).unwrap_or(&commit.id);
                vec![Span::new(id, STRONG), Span::body(&commit.subject)].into()
            })
            .collect();
        page.table(2, &rows);
        if tree.commits.len() > COMMITS {
            let more = format!(
                "and {} more; --format json names them",
                tree.commits.len() - COMMITS
            );
            page.line(2, &[Span::new(more, FAINT)]);
        }
    }
    if tree.stashed {
        page.heading(
            "A stash",
            Span::body("was made on its branch: `git stash list`"),
        );
    }
}

fn changes(page: &mut Page, explained: &Explanation) {
    if explained.changes.is_empty() {
        return;
    }
    page.heading("What would change it:", Span::body(""));
    for Change { what, goes_at } in &explained.changes {
        let then = goes_at.map_or_else(String::new, |at| {
            format!("; then it goes {}", goes(at, explained.at))
        });
        page.labelled(2, &[Span::body("-")], Span::body(format!("{what}{then}")));
    }
}

fn time(at: DateTime<Utc>) -> String {
    if at == DateTime::<Utc>::MAX_UTC {
        "a time out of range".to_owned()
    } else {
        at.format("%F %H:%M UTC").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ladder::Rung;
    use crate::plan::ladder::turn::Turn;
    use crate::report::Class;
    use crate::report::explain::SCHEMA;
    use crate::report::rescues::Lonely;
    use chrono::TimeDelta;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn a_date_is_said_in_days_that_are_not_cut_off() {
        const HOUR: i64 = 3600;
        for (seconds, said) in [
            (-5, "with the next run"),
            (0, "with the next run"),
            (90, "in 90 seconds"),
            (47 * HOUR, "in 47 hours"),
            (7 * 24 * HOUR - 1, "in 7 days"),
            (30 * 24 * HOUR, "in 30 days"),
            (400 * 24 * HOUR, "in 400 days"),
        ] {
            assert_eq!(goes(now() + TimeDelta::seconds(seconds), now()), said);
        }
    }

    /// Returns an unsaved tree, with names as a hostile agent would choose them.
    fn unsaved() -> Tree {
        Tree {
            branch: Some("fix\u{1b}[2J".to_owned()),
            head: Some("1".repeat(40)),
            class: Some(Class::Unsaved),
            class_reasons: vec!["a is modified".to_owned()],
            idle_seconds: Some(5 * 86_400),
            active: Some(now() - TimeDelta::days(5)),
            active_from: Some("written"),
            active_file: Some("a".into()),
            bytes: Some(3 << 20),
            files: vec!["a is modified".to_owned()],
            files_count: 21,
            commits: vec![Lonely {
                id: "2".repeat(40),
                subject: "Work\non a".to_owned(),
            }],
            more_commits: false,
            stashed: true,
            locked: Some(String::new()),
            dead_process: Some(7),
            in_progress: vec!["merge".to_owned()],
            processes: Vec::new(),
            callers: vec!["sh (pid 7) has its working directory in it".to_owned()],
        }
    }

    #[test]
    fn a_tree_is_told_of_as_a_page() {
        let explained = Explanation {
            schema: SCHEMA,
            at: now(),
            path: Some("/data/w/fix".into()),
            kind: Kind::Worktree,
            repo: Some("acme/shop".to_owned()),
            verdict: Fate::Keep,
            because: Some("locked".to_owned()),
            reasons: vec!["with `git worktree lock`, without a reason".to_owned()],
            goes_at: None,
            under_pressure: vec![
                UnderPressure::new(
                    Part::Whole,
                    Turn::Never("unsaved work is never on the ladder".to_owned()),
                ),
                UnderPressure::new(
                    Part::BuildOutput,
                    Turn::From(Rung::BuildOutput, now() + TimeDelta::minutes(20)),
                ),
            ],
            held: vec!["a run leaves it alone".to_owned()],
            rules: vec![Rule {
                key: Some("defaults.worktrees.unsaved".to_owned()),
                value: Some("30d".to_owned()),
                file: Some("/etc/t.yaml".to_owned()),
                line: Some(3),
                says: "they go then".to_owned(),
            }],
            changes: vec![Change {
                what: "unlock it".to_owned(),
                goes_at: Some(now() + TimeDelta::days(25)),
            }],
            worktree: Some(unsaved()),
            rescue: None,
            unit: None,
        };
        let expected = "\
/data/w/fix  a worktree of acme/shop
stays, and never goes by itself
  - with `git worktree lock`, without a reason
  - a run leaves it alone

  rule       defaults.worktrees.unsaved: 30d (/etc/t.yaml, line 3): they go then
  class      unsaved: a is modified
  idle       5 days, since 2027-01-10 08:00 UTC: a was last written then
  branch     fix\\u{1b}[2J
  HEAD       1111111111111111111111111111111111111111
  size       3 MiB
  lock       locked: without a reason; process 7 is dead
  under way  merge
  processes  none is seen on this machine
  yours      sh (pid 7) has its working directory in it
  if full    stays all the same: unsaved work is never on the ladder
             its build output goes on the `build_output` step: build output of all idle trees; not
             before 2027-01-15 08:20 UTC

Files that are work: 21
  a is modified
  and 20 more

Commits that nothing else has: 1
  2222222222  Work\\u{a}on a

A stash was made on its branch: `git stash list`

What would change it:
  - unlock it; then it goes in 25 days
";
        assert_eq!(render(&explained, Look::PLAIN), expected);
    }
}
