//! A report as one HTML file, for people: on a phone, in dark mode, on paper.
//!
//! A pure rendering that says what the text says, using the same functions. The file needs no
//! other, and works without its script. The template writes only through [`Plain`], so a string
//! from a repo can't become markup.

mod ahead;
mod breaks;
mod contents;
mod fills;
mod level;
mod past;
mod squares;
mod table;
mod tables;
mod treemap;

use super::page::{BAD, GOOD, NOTE};
use super::text::{freed, need_a_look, occasion, remarks};
use super::troubles::{Kind, Trouble, merged, troubles};
use super::{RunReport, history, words};
use ahead::Ahead;
use anstyle::Style;
use askama::Template;
use askama::filters::{Escaper, Html};
use contents::{Entry, contents};
use fills::Fills;
use level::Levels;
use past::PastRuns;
use std::fmt::{self, Write};
use table::{Room, Table};

/// The most items that a list shows.
const SHOWN: usize = 500;

/// Renders the whole report. `past` are the journal's runs, shards merged, oldest first; `skipped`
/// is the number of its lines that could not be read.
///
/// # Panics
/// Never: writing to a string succeeds.
pub fn render(report: &RunReport, past: &[RunReport], skipped: u64) -> String {
    Page::of(report, past, skipped)
        .render()
        .expect("a string takes all there is")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    style: &'static str,
    script: &'static str,
    /// Allows our style and script, and nothing else. It comes from the run's id, which is created
    /// when the run begins: nobody who wrote to the volume before could know it.
    nonce: String,
    headline: String,
    looks: Option<String>,
    outcome: Badge,
    occasion: String,
    notes: Vec<String>,
    contents: Vec<Entry>,
    troubles: Vec<Look>,
    more_troubles: Option<String>,
    levels: Option<Levels>,
    ahead: Option<Ahead>,
    past: Option<PastRuns>,
    fills: Option<Fills>,
    repos: Option<Table>,
    gone: Option<Table>,
    kept: Option<Table>,
    tidied: Vec<tables::Tidied>,
    caches: Caches,
    id: String,
    schema: String,
}

/// A word with a sign, because colour alone must not carry meaning.
struct Badge {
    text: String,
    tone: &'static str,
}

impl Badge {
    fn sign(&self) -> &'static str {
        match self.tone {
            "good" => "✓",
            "note" => "!",
            "bad" => "✕",
            _ => "·",
        }
    }
}

/// Something that needs attention.
struct Look {
    about: String,
    why: String,
    badge: Badge,
}

/// The outcome of the caches.
struct Caches {
    said: String,
    why: String,
    warnings: Vec<String>,
    by_cache: Option<Table>,
    ladder: Option<Table>,
    units: Option<Table>,
    stays: Vec<String>,
}

impl Page {
    fn of(report: &RunReport, past: &[RunReport], skipped: u64) -> Self {
        let troubles = merged(troubles(report));
        let looks = troubles.len() as u64;
        let (outcome, style) = history::outcome(report);
        let mut room = Room::new();
        let repos = tables::repos(report, &mut room);
        let kept = tables::kept(report, &mut room);
        let gone = tables::gone(report, &mut room);
        let mut page = Self {
            style: include_str!("html/report.css"),
            script: include_str!("html/report.js"),
            nonce: report
                .run
                .id
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect(),
            headline: freed(report, looks),
            looks: need_a_look(looks),
            outcome: Badge {
                text: outcome.to_owned(),
                tone: tone(style),
            },
            occasion: occasion(report),
            notes: remarks(report),
            contents: Vec::new(),
            more_troubles: left_out(troubles.len().saturating_sub(SHOWN), ""),
            troubles: troubles.into_iter().take(SHOWN).map(look).collect(),
            levels: Levels::of(report),
            ahead: Ahead::of(report),
            past: PastRuns::of(past, skipped),
            fills: Fills::of(report),
            repos,
            gone,
            kept,
            tidied: tables::tidied(report),
            caches: tables::caches(report, &mut room),
            id: report.run.id.clone(),
            schema: report.schema.clone(),
        };
        page.contents = contents(&page, looks);
        page
    }

    /// Returns whether there is anything to say about caches: a refused run surveyed none.
    fn has_caches(&self) -> bool {
        !self.caches.said.is_empty() || !self.caches.stays.is_empty()
    }
}

fn look(trouble: Trouble) -> Look {
    let (text, tone) = match trouble.kind {
        Kind::Warning => ("warning", "note"),
        Kind::Failure => ("failed", "bad"),
        Kind::Shortfall => ("shortfall", "bad"),
    };
    Look {
        about: trouble.about,
        why: trouble.why,
        badge: Badge {
            text: text.to_owned(),
            tone,
        },
    }
}

/// `and 4,500 more, 3 GiB`; none if all are shown.
fn left_out(more: usize, rest: &str) -> Option<String> {
    (more > 0).then(|| {
        format!(
            "and {} more{rest}; the JSON report has them all",
            words::number(more as u64)
        )
    })
}

/// Returns the page's name for a colour of the text.
fn tone(style: Style) -> &'static str {
    match style {
        s if s == GOOD => "good",
        s if s == NOTE => "note",
        s if s == BAD => "bad",
        _ => "",
    }
}

/// Formats a fraction as a position in a picture that is as wide as its page.
fn place(share: f64) -> String {
    format!("{:.2}%", share.clamp(0.0, 1.0) * 100.0)
}

/// Escapes everything that is filled in: control characters become `\u{..}`, as in the text, and no
/// character is markup.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Escaper for Plain {
    fn write_escaped_str<W: Write>(&self, dest: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(dest, &words::plain(text))
    }
}
