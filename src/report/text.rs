//! A report as text, for whoever reads it in the morning: first what was freed and what needs
//! attention, then the reasons.
//!
//! A pure rendering of the report. Empty sections are left out, nothing is said twice, and the last
//! section lists every failure.

pub(super) mod caches;
pub(super) mod level;
pub(super) mod repos;
pub(super) mod trees;
pub(super) mod usage;

use super::look::Look;
use super::page::{BAD, BODY, FAINT, NOTE, Page, Row, STRONG, Span};
use super::totals::how_many;
use super::troubles::{Kind, Trouble, merged, troubles};
use super::{
    Because, Expired, GcAction, Repo, RepoOutcome, RunOutcome, RunReport, VerdictName, words,
};
use crate::facts::rescue::REFS;

/// Renders the whole report.
pub fn render(report: &RunReport, look: Look) -> String {
    let mut page = Page::new(look);
    let troubles = merged(troubles(report));
    opening(&mut page, report, troubles.len() as u64);
    if is_idle(report, &troubles) {
        level::write(&mut page, report, true);
        quiet(&mut page, report);
        usage::write(&mut page, report);
        return page.finish();
    }
    level::write(&mut page, report, false);
    repos::write(&mut page, report);
    trees::gone(&mut page, report);
    trees::kept(&mut page, report);
    leftovers(&mut page, report);
    caches::write(&mut page, report);
    usage::write(&mut page, report);
    to_look_at(&mut page, &troubles);
    page.finish()
}

/// Returns the report in a line: `Freed 12.4 GiB on /data: 88 % → 74 %. 2 things need a look.`
pub fn headline(report: &RunReport) -> String {
    let looks = merged(troubles(report)).len() as u64;
    let tail = need_a_look(looks).map_or(String::new(), |said| format!(" {said}."));
    words::plain(&format!("{}{tail}", freed(report, looks)))
}

/// Writes `Freed 12.4 GiB on /data: 88 % → 74 %. 2 things need a look.`, and below it when and
/// where the run was, and how long it took.
fn opening(page: &mut Page, report: &RunReport, looks: u64) {
    let tail = need_a_look(looks).map_or(String::new(), |said| format!(" {said}."));
    page.line(
        0,
        &[
            Span::new(freed(report, looks), STRONG),
            Span::new(tail, BAD),
        ],
    );
    page.paragraph(0, Span::new(occasion(report), FAINT));
    for remark in remarks(report) {
        page.paragraph(0, Span::new(remark, NOTE));
    }
}

/// `2 things need a look`; none if nothing does.
pub(super) fn need_a_look(looks: u64) -> Option<String> {
    match looks {
        0 => None,
        1 => Some("1 thing needs a look".to_owned()),
        n => Some(format!("{} need a look", words::count(n, "thing"))),
    }
}

/// `Freed 12.4 GiB on /data: 88 % → 74 %.`
pub(super) fn freed(report: &RunReport, looks: u64) -> String {
    let (run, root) = (&report.run, report.volume.root.to_string_lossy());
    if run.outcome == RunOutcome::Refused {
        return format!("Refused: nothing was touched on {root}.");
    }
    let start = match (run.outcome, run.dry_run) {
        (RunOutcome::Interrupted, true) => "Dry run, stopped early. Would free",
        (RunOutcome::Interrupted, false) => "Stopped early. Freed",
        (_, true) => "Dry run. Would free",
        (_, false) => "Freed",
    };
    match report.totals.freed_bytes {
        0 if looks == 0 && run.outcome == RunOutcome::Ok && !run.dry_run => {
            format!("All in order on {root}{}", level::change(report))
        }
        0 => format!("{start} nothing on {root}{}", level::change(report)),
        bytes => format!(
            "{start} {} on {root}{}",
            words::size(bytes),
            level::change(report)
        ),
    }
}

/// Returns the time of a dry run with `--as-of`, and why the run was refused or interrupted.
pub(super) fn remarks(report: &RunReport) -> Vec<String> {
    let as_of = report.run.as_of.map(|time| {
        let time = time.format("%a %-d %b %Y, %H:%M UTC");
        format!("What would go by {time} if nobody works until then and the volume grows no more.")
    });
    as_of.into_iter().chain(report.run.reason.clone()).collect()
}

/// `Sat 21 Nov 2026, 03:00 UTC, 12 min, on treewarden-29121-x7, gc of acme/shop alone`.
pub(super) fn occasion(report: &RunReport) -> String {
    let run = &report.run;
    let seconds = (run.finished - run.started).as_seconds_f64();
    let shard = run
        .shard
        .as_ref()
        .map(|shard| format!(", shard {shard}"))
        .unwrap_or_default();
    let asked = run
        .asked
        .as_ref()
        .map(|asked| format!(", {}", words::asked(asked)))
        .unwrap_or_default();
    let when = run.started.format("%a %-d %b %Y, %H:%M UTC");
    let took = Some(words::took(seconds))
        .filter(|took| !took.is_empty())
        .map(|took| format!(", {took}"))
        .unwrap_or_default();
    format!(
        "{when}{took}, on {}{shard}{asked}, treewarden {}",
        run.host, run.version
    )
}

/// Returns whether all is well and there is nothing else to report.
fn is_idle(report: &RunReport, troubles: &[Trouble]) -> bool {
    let quiet = |repo: &Repo| {
        matches!(repo.outcome, RepoOutcome::Maintained | RepoOutcome::Planned)
            && repo.gc.action == GcAction::None
            && repo.gc.stale_locks.is_empty()
            && repo.prune.dropped.is_empty()
            && repo.rescues.expired.is_empty()
            && repo.over_cap.is_none()
            && repo
                .worktrees
                .iter()
                .all(|tree| tree.verdict == VerdictName::Keep)
    };
    let done = report.run.outcome == RunOutcome::Ok
        && report.totals.freed_bytes == 0
        && !report.eviction.triggered;
    done && troubles.is_empty() && report.repos.iter().all(quiet)
}

/// Writes the rest of an idle run's report, in two lines, and one for each cause that a tree waits for
/// a person.
fn quiet(page: &mut Page, report: &RunReport) {
    let (repos, trees) = (report.repos.len() as u64, how_many(report.worktrees()));
    let order = if repos == 1 {
        "is in good order"
    } else {
        "are in good order"
    };
    let groups: Vec<String> = trees::groups(report)
        .iter()
        .map(|(because, trees)| format!("{} {because}", trees.len()))
        .collect();
    let stay = match trees {
        0 => String::new(),
        1 => format!("; 1 tree stays ({})", words::and(&groups)),
        n => format!(
            "; {} stay ({})",
            words::count(n, "tree"),
            words::and(&groups)
        ),
    };
    page.paragraph(
        0,
        Span::body(format!("{} {order}{stay}.", words::count(repos, "repo"))),
    );
    trees::waiting(page, report);
    caches::untouched(page, report);
    caches::obstacles(page, report);
}

/// Writes what was removed besides trees: registrations, leftovers of a crashed git, rescues.
fn leftovers(page: &mut Page, report: &RunReport) {
    let would = if report.run.dry_run { "to be " } else { "" };
    paths(
        page,
        report,
        &format!("Registrations {would}dropped, their trees were gone already:"),
        |repo| &repo.prune.dropped,
    );
    paths(
        page,
        report,
        &format!("Stale git files {would}removed:"),
        |repo| &repo.gc.stale_locks,
    );
    rescues(page, report, would);
}

/// Writes the expired rescues. The next repacks drop what only they contained.
fn rescues(page: &mut Page, report: &RunReport, would: &str) {
    let rows: Vec<Row> = report
        .repos
        .iter()
        .filter(|repo| !repo.rescues.expired.is_empty())
        .map(|repo| expired(page, repo))
        .collect();
    if !rows.is_empty() {
        let all = || report.repos.iter().flat_map(|repo| &repo.rescues.expired);
        let held = words::size(all().map(|rescue| rescue.bytes).sum());
        page.heading(
            &format!("Old rescues {would}dropped:"),
            Span::body(format!("{} (of {held})", words::number(how_many(all())))),
        );
        page.table(2, &rows);
    }
}

fn expired(page: &Page, repo: &Repo) -> Row {
    let names: Vec<String> = repo.rescues.expired.iter().map(expired_name).collect();
    vec![
        Span::body(&repo.name).shorten(),
        Span::body(page.names(&names, 5)).wrap(),
    ]
    .into()
}

/// Returns a rescue's name without the common prefix, and why it expired if not because of its age.
pub(super) fn expired_name(rescue: &Expired) -> String {
    let name = rescue
        .rescue_ref
        .strip_prefix(REFS)
        .map_or(rescue.rescue_ref.as_str(), |name| {
            name.trim_start_matches('/')
        });
    let why = if rescue.because == Because::Budget {
        " (rescue_budget)"
    } else {
        ""
    };
    format!("{}{why}", words::plain(name))
}

fn paths(
    page: &mut Page,
    report: &RunReport,
    title: &str,
    of: impl Fn(&Repo) -> &Vec<std::path::PathBuf>,
) {
    let rows: Vec<Row> = report
        .repos
        .iter()
        .filter(|repo| !of(repo).is_empty())
        .map(|repo| row(page, report, repo, of(repo)))
        .collect();
    if !rows.is_empty() {
        let many = report.repos.iter().map(|repo| of(repo).len() as u64).sum();
        page.heading(title, Span::body(words::number(many)));
        page.table(2, &rows);
    }
}

fn row(page: &Page, report: &RunReport, repo: &Repo, paths: &[std::path::PathBuf]) -> Row {
    let names: Vec<String> = paths
        .iter()
        .map(|path| words::below(&report.volume.root, path))
        .collect();
    vec![
        Span::body(&repo.name).shorten(),
        Span::body(page.names(&names, 5)).wrap(),
    ]
    .into()
}

/// Writes every trouble with its remedy, numbered so that people can refer to it.
fn to_look_at(page: &mut Page, troubles: &[Trouble]) {
    if troubles.is_empty() {
        return;
    }
    page.heading(
        "Needs a look:",
        Span::body(words::number(troubles.len() as u64)),
    );
    let rows: Vec<Row> = troubles
        .iter()
        .enumerate()
        .map(|(i, trouble)| numbered(i + 1, trouble))
        .collect();
    page.table(2, &rows);
}

fn numbered(number: usize, trouble: &Trouble) -> Row {
    let style = if trouble.kind == Kind::Warning {
        NOTE
    } else {
        BAD
    };
    let text = if trouble.about.is_empty() {
        trouble.why.clone()
    } else {
        format!("{}: {}", trouble.about, trouble.why)
    };
    vec![
        Span::new(number.to_string(), style).right(),
        Span::new(text, BODY).wrap(),
    ]
    .into()
}
