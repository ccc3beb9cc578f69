//! A line for every repo in which something was done or is wrong: its outcome, how long it took, its
//! trees, its objects. Of many that are in order, only their number.

use crate::report::page::{BAD, BODY, FAINT, GOOD, NOTE, Page, Row, Span};
use crate::report::totals::how_many;
use crate::report::troubles::BUSY_NIGHTS;
use crate::report::{Counts, Gc, GcAction, Repo, RepoOutcome, RunReport, TreeOutcome, words};
use anstyle::Style;

/// Seconds. A longer wait for a lock is mentioned.
const LONG_WAIT: f64 = 60.0;

/// The most repos in order that have a line each.
const NAMED: usize = 5;

/// Writes the section.
pub(super) fn write(page: &mut Page, report: &RunReport) {
    if report.repos.is_empty() {
        return;
    }
    page.heading("Repos:", Span::body(summary(&report.repos)));
    let in_order: Vec<&Repo> = report
        .repos
        .iter()
        .filter(|repo| is_in_order(repo))
        .collect();
    let all = in_order.len() <= NAMED;
    let said = report.repos.iter().filter(|repo| all || !is_in_order(repo));
    let rows: Vec<Row> = said.map(|repo| row(repo, report.run.dry_run)).collect();
    page.table(2, &rows);
    if !all {
        let stay = in_order
            .iter()
            .map(|repo| repo.worktrees.len() as u64)
            .sum();
        let trees = match stay {
            0 => String::new(),
            1 => "; 1 tree stays there".to_owned(),
            many => format!("; {} stay there", words::count(many, "tree")),
        };
        let noun = if rows.is_empty() { "repo" } else { "more repo" };
        let many = words::count(in_order.len() as u64, noun);
        let line = format!("{many} in order, with nothing to repack{trees}");
        page.paragraph(2, Span::new(line, FAINT));
    }
}

/// Returns whether nothing was done in it and nobody needs to know more of it.
fn is_in_order(repo: &Repo) -> bool {
    matches!(repo.outcome, RepoOutcome::Maintained | RepoOutcome::Planned)
        && repo.gc.action == GcAction::None
        && repo.over_cap.is_none()
        && repo.failures.is_empty()
        && repo.lock.waited_seconds < LONG_WAIT
        && repo
            .worktrees
            .iter()
            .all(|tree| tree.outcome == TreeOutcome::Kept)
}

/// `3 maintained, 1 busy, 1 failed`.
pub(in crate::report) fn summary(repos: &[Repo]) -> String {
    use RepoOutcome::{Busy, Failed, Maintained, Planned, Refused};
    let many = |outcome| how_many(repos.iter().filter(|repo| repo.outcome == outcome));
    let said = [Maintained, Planned, Busy, Refused, Failed]
        .into_iter()
        .filter(|&outcome| many(outcome) > 0);
    said.map(|outcome| format!("{} {}", words::number(many(outcome)), name(outcome).0))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(in crate::report) fn name(outcome: RepoOutcome) -> (&'static str, Style) {
    match outcome {
        RepoOutcome::Maintained => ("maintained", GOOD),
        RepoOutcome::Planned => ("planned", GOOD),
        RepoOutcome::Busy => ("busy", NOTE),
        RepoOutcome::Refused => ("refused", BAD),
        RepoOutcome::Failed => ("failed", BAD),
    }
}

fn row(repo: &Repo, dry_run: bool) -> Row {
    let (outcome, style) = name(repo.outcome);
    let at_rest = repo.gc.action == GcAction::None
        && matches!(repo.outcome, RepoOutcome::Maintained | RepoOutcome::Planned);
    vec![
        Span::body(&repo.name).shorten(),
        Span::new(outcome, style),
        Span::new(words::took(repo.seconds), FAINT).right(),
        Span::body(trees(repo, dry_run)),
        Span::new(said(repo, dry_run), if at_rest { FAINT } else { BODY }).wrap(),
    ]
    .into()
}

/// `2 went, 11 stay`.
pub(in crate::report) fn trees(repo: &Repo, dry_run: bool) -> String {
    let going = how_many(repo.worktrees.iter().filter(|tree| tree.goes()));
    let staying = repo.worktrees.len() as u64 - going;
    let verb = if dry_run { "would go" } else { "went" };
    let both = [
        (going, verb),
        (staying, if staying == 1 { "stays" } else { "stay" }),
    ];
    both.iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, verb)| format!("{} {verb}", words::number(*n)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns what else there is to say about a repo.
pub(in crate::report) fn said(repo: &Repo, dry_run: bool) -> String {
    let mut parts = Vec::new();
    match repo.outcome {
        RepoOutcome::Busy if repo.lock.busy_nights >= BUSY_NIGHTS => {
            parts.extend([days_busy(repo.lock.busy_nights), "see below".to_owned()]);
        }
        RepoOutcome::Busy => parts.extend([busy(repo), days_busy(repo.lock.busy_nights)]),
        RepoOutcome::Refused => parts.push("see below".to_owned()),
        RepoOutcome::Failed if repo.gc.action == GcAction::None => {
            parts.push("see below".to_owned());
        }
        _ => parts.push(objects(&repo.gc, dry_run)),
    }
    parts.extend(repo.over_cap.clone());
    // A busy repo's time was spent waiting anyway.
    if repo.lock.waited_seconds >= LONG_WAIT && repo.outcome != RepoOutcome::Busy {
        parts.push(format!(
            "waited {} for its lock",
            words::took(repo.lock.waited_seconds)
        ));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// Returns who holds it and why it counts as busy, without repetition.
fn busy(repo: &Repo) -> String {
    match (&repo.lock.holder, &repo.reason) {
        (Some(holder), Some(reason)) if !reason.contains(holder.as_str()) => {
            format!("held by {holder}; {reason}")
        }
        (Some(holder), None) => format!("held by {holder}"),
        (_, reason) => reason.clone().unwrap_or_default(),
    }
}

/// Says for how many runs in a row it was busy, unless only for this one.
fn days_busy(busy: u64) -> String {
    if busy < 2 {
        String::new()
    } else {
        format!("busy for {} in a row", words::count(busy, "day"))
    }
}

/// `412 loose objects, 9 packs → 1 pack, 34 MiB less`; if nothing was repacked, why.
fn objects(gc: &Gc, dry_run: bool) -> String {
    let full = if gc.action == GcAction::Full {
        " in full"
    } else {
        ""
    };
    match gc.action {
        GcAction::None => gc.reason.clone(),
        _ if dry_run => format!("would repack{full}: {}", gc.reason),
        // Only refs were packed, which the counts don't show.
        _ if gc.before == gc.after => format!("tidied up: {}", gc.reason),
        _ => format!(
            "repacked{full}: {} → {}{}",
            counts(gc.before),
            counts(gc.after),
            change(gc)
        ),
    }
}

fn counts(counts: Counts) -> String {
    let both = [
        (counts.loose_objects, "loose object"),
        (counts.packs, "pack"),
    ];
    let said: Vec<String> = both
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, noun)| words::count(*n, noun))
        .collect();
    if said.is_empty() {
        "no objects".to_owned()
    } else {
        said.join(", ")
    }
}

fn change(gc: &Gc) -> String {
    let (before, after) = (gc.before.bytes, gc.after.bytes);
    match before.abs_diff(after) {
        0 => String::new(),
        bytes if after < before => format!(", {} less", words::size(bytes)),
        bytes => format!(", {} more", words::size(bytes)),
    }
}
