//! Past runs as a table, the newest last: what was removed, what that freed, what went wrong, and
//! how the volume's usage develops. The shards of a run appear as [one](super::shards).
//!
//! A pure rendering: the caller chooses the runs. It says how many lines of the journal were
//! skipped.

use super::gauge::Gauge;
use super::look::Look;
use super::page::{BAD, BODY, FAINT, GOOD, NOTE, Page, Row, STRONG, Span};
use super::shards::{grouped, merged as merged_shards};
use super::totals::how_many;
use super::trends::{Trends, trends};
use super::troubles::{merged, troubles};
use super::{RunOutcome, RunReport, words};
use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.history/1";

/// Past runs for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History<'a> {
    /// The schema's name and version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// As in the journal, the oldest first; each shard is a run of its own.
    pub runs: &'a [RunReport],
    /// Lines of the journal that could not be read.
    pub skipped: u64,
    /// How the volume's usage develops over these runs; none if there are too few.
    pub trends: Option<Trends>,
}

impl<'a> History<'a> {
    /// Returns the history of these runs.
    pub fn of(runs: &'a [RunReport], skipped: u64) -> Self {
        Self {
            schema: SCHEMA,
            runs,
            skipped,
            trends: trends(&as_whole_runs(runs)),
        }
    }
}

fn as_whole_runs(runs: &[RunReport]) -> Vec<RunReport> {
    grouped(runs.to_vec())
        .iter()
        .filter_map(|shards| merged_shards(shards))
        .collect()
}

/// Renders the table, a line of sums, and how many lines of the journal could not be read.
pub fn render(runs: &[RunReport], skipped: u64, look: Look) -> String {
    let runs = as_whole_runs(runs);
    let mut page = Page::list(look);
    if runs.is_empty() {
        page.line(0, &[Span::body("No runs yet.")]);
    } else {
        // Refused runs measured nothing.
        let measured = runs.iter().rev().find(|run| !level(run).is_empty());
        let gauge = measured.map_or(Gauge::Disk, |run| run.volume.gauge());
        let rows: Vec<Row> = std::iter::once(head(gauge))
            .chain(runs.iter().map(|run| row(run, gauge)))
            .collect();
        page.table(0, &rows);
        page.gap();
        page.paragraph(0, Span::new(sum(&runs), STRONG));
        for message in trends(&runs).iter().flat_map(Trends::sentences) {
            page.paragraph(0, Span::body(message));
        }
    }
    if skipped > 0 {
        page.paragraph(0, Span::new(left_out(skipped), NOTE));
    }
    page.finish()
}

/// Says how many lines of the journal could not be read.
pub(super) fn left_out(skipped: u64) -> String {
    let text = format!(
        "{} of the journal could not be read and were left out.",
        words::count(skipped, "line")
    );
    if skipped == 1 {
        text.replace("were", "was")
    } else {
        text
    }
}

fn head(gauge: Gauge) -> Row {
    let left = |name| Span::new(name, FAINT);
    let right = |name| Span::new(name, FAINT).right();
    vec![
        left("when (UTC)"),
        left("outcome"),
        right("took"),
        right("freed"),
        right("reaped"),
        right("rescued"),
        right("evicted"),
        right(match gauge {
            Gauge::Budget => "of budget",
            Gauge::Disk => "level",
        }),
    ]
    .into()
}

fn row(run: &RunReport, gauge: Gauge) -> Row {
    let (outcome, style) = outcome(run);
    let totals = &run.totals;
    let unless_none = |n: u64, say: fn(u64) -> String| match n {
        0 => Span::new("–", FAINT).right(),
        n => Span::body(say(n)).right(),
    };
    let many = |n: u64| unless_none(n, words::number);
    let level = level(run);
    let other = match run.volume.gauge() {
        its if its == gauge || level.is_empty() => "",
        Gauge::Budget => " budget",
        Gauge::Disk => " disk",
    };
    let cells = vec![
        Span::body(run.run.started.format("%-d %b %H:%M").to_string()).right(),
        Span::new(outcome, style),
        Span::body(words::took(
            (run.run.finished - run.run.started).as_seconds_f64(),
        ))
        .right(),
        unless_none(totals.freed_bytes, words::size),
        many(totals.reaped),
        many(totals.rescued),
        many(totals.evicted),
        Span::body(level + other).right(),
    ];
    let missing = run
        .run
        .shard
        .as_ref()
        .filter(|shards| shards.contains(" of "));
    let missing =
        missing.map(|shards| Span::new(format!("only {shards} told how they ended"), NOTE));
    let asked = run
        .run
        .asked
        .as_ref()
        .map(|asked| Span::new(words::asked(asked), NOTE));
    Row {
        cells,
        notes: asked
            .into_iter()
            .chain(in_the_way(run).map(|why| Span::new(why, BODY)))
            .chain(missing)
            .collect(),
    }
}

pub(super) fn outcome(run: &RunReport) -> (&'static str, Style) {
    match run.run.outcome {
        RunOutcome::Ok if run.run.dry_run => ("dry run", FAINT),
        RunOutcome::Ok => ("ok", GOOD),
        RunOutcome::Failed => ("failed", BAD),
        RunOutcome::Refused => ("refused", BAD),
        RunOutcome::Interrupted => ("interrupted", NOTE),
    }
}

/// `88 → 74 %`, of the budget if one is set.
pub(super) fn level(run: &RunReport) -> String {
    let gauge = run.volume.gauge();
    let said = |level| gauge.share(&run.volume, level).map(words::percent);
    match (said(run.volume.before), said(run.volume.after)) {
        (Some(before), Some(after)) if before != after => {
            format!("{} → {after}", before.trim_end_matches(" %"))
        }
        (_, Some(after)) => after,
        _ => String::new(),
    }
}

/// Returns the run's own reason, or else its first trouble, and how many more there are.
pub(super) fn in_the_way(run: &RunReport) -> Option<String> {
    let troubles = merged(troubles(run));
    let first = troubles.first().map(|first| match first.about.as_str() {
        "" => first.why.clone(),
        about => format!("{about}: {}", first.why),
    });
    let why = run.run.reason.clone().or(first)?;
    let more = (troubles.len() as u64).saturating_sub(u64::from(run.run.reason.is_none()));
    let why = words::shorten(&words::plain(&why), 200);
    Some(if more > 0 {
        format!("{why} (and {} more)", words::number(more))
    } else {
        why
    })
}

/// `30 runs since 23 Oct 2026 freed 210 GiB: 45 trees reaped, 12 rescued, 1,204 cache units
/// evicted. 27 ok, 3 failed.`
pub(super) fn sum(runs: &[RunReport]) -> String {
    let total = |of: fn(&RunReport) -> u64| runs.iter().map(of).fold(0, u64::saturating_add);
    let mut done = vec![format!(
        "{} reaped",
        words::count(total(|run| run.totals.reaped), "tree")
    )];
    match total(|run| run.totals.rescued) {
        0 => {}
        rescued => done.push(format!("{} rescued", words::number(rescued))),
    }
    done.push(format!(
        "{} evicted",
        words::count(total(|run| run.totals.evicted), "cache unit")
    ));
    let names = ["ok", "failed", "refused", "interrupted", "dry run"];
    let ended = names.map(|name| {
        (
            name,
            how_many(runs.iter().filter(|run| outcome(run).0 == name)),
        )
    });
    let ended: Vec<String> = ended
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{} {name}", words::number(*n)))
        .collect();
    let freed = words::size(total(|run| run.totals.freed_bytes));
    let since = runs
        .first()
        .map(|run| run.run.started.format(" since %-d %b %Y").to_string())
        .unwrap_or_default();
    let many = words::count(runs.len() as u64, "run");
    format!(
        "{many}{since} freed {freed}: {}. {}.",
        done.join(", "),
        ended.join(", ")
    )
}
