//! The output of `treewarden rescue list` and `show`: the shapes of their JSON, and their text.
//!
//! Agents wrote everything in a rescue, from its paths to its commits' subjects, so all of it is
//! escaped.

use super::look::Look;
use super::lossy;
use super::page::{BAD, BODY, FAINT, NOTE, Page, Row, STRONG, Span};
use super::words;
use crate::plan::rescue::{Because, Fate};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::PathBuf;

/// The schema's name and version.
pub const SCHEMA: &str = "treewarden.rescues/1";
/// Digits of a commit's id that are shown.
const SHORT: usize = 10;
/// The most paths or commits of a kind that the text names.
const NAMED: usize = 200;

/// All rescues of some repos.
#[derive(Debug, Serialize)]
pub struct Rescues {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The newest first.
    pub rescues: Vec<Entry>,
    /// Repos whose rescues could not be listed, and why.
    pub failures: Vec<String>,
}

/// A rescue.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// `owner/name:worktree/time`.
    pub id: String,
    /// The commit, in hex: any unique beginning of it is an id as well.
    pub commit: String,
    /// Its ref.
    pub rescue_ref: String,
    /// `owner/name`.
    pub repo: String,
    /// The worktree's name in the repo's registry.
    pub worktree: String,
    /// Where the tree was; none if the rescue can't be read.
    #[serde(serialize_with = "lossy::maybe")]
    pub path: Option<PathBuf>,
    /// Short branch name; none if HEAD was detached.
    pub branch: Option<String>,
    /// HEAD's commit then, in hex.
    pub head: Option<String>,
    /// When it was made; none if unknown.
    pub taken: Option<DateTime<Utc>>,
    /// Files that only it contains.
    pub files: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// When it expires by its age; none if it is kept for good, or expires in the next run.
    pub expires: Option<DateTime<Utc>>,
    /// Why it is still there, for people.
    pub stands: String,
}

/// One rescue, with its contents.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its entry in the list.
    #[serde(flatten)]
    pub entry: Entry,
    /// What differs from HEAD.
    pub changes: Vec<Change>,
    /// Paths with staged content that is neither in HEAD nor in the file.
    #[serde(serialize_with = "lossy::paths")]
    pub staged: Vec<PathBuf>,
    /// Commits that nothing else reaches by now, the newest first.
    pub commits: Vec<Lonely>,
    /// Whether there are more.
    pub more_commits: bool,
}

/// A file that differs from HEAD.
#[derive(Debug, Serialize)]
pub struct Change {
    /// As in `git status`: `M` modified, `T` another kind, `A` staged as new, `D` deleted, `?`
    /// untracked.
    pub status: char,
    /// The file.
    #[serde(serialize_with = "lossy::path")]
    pub path: PathBuf,
}

/// A commit that only the rescue reaches.
#[derive(Debug, Serialize)]
pub struct Lonely {
    /// Its id, in hex.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
}

/// Returns when a rescue expires and why it is still there, for people.
pub fn stands(fate: Fate, now: DateTime<Utc>) -> (Option<DateTime<Utc>>, String) {
    match fate {
        Fate::Until(until) if until <= now => (None, "made by the run at work".to_owned()),
        Fate::Until(until) => (
            Some(until),
            format!(
                "expires in {}",
                words::age(u64::try_from((until - now).num_seconds()).unwrap_or_default())
            ),
        ),
        Fate::Expired(Because::Age) => (
            None,
            "older than rescue_keep: goes with the next run".to_owned(),
        ),
        Fate::Expired(Because::Budget) => (
            None,
            "over rescue_budget: goes with the next run".to_owned(),
        ),
        Fate::Unrecognised(why) => (None, format!("{why}: stays for good")),
    }
}

/// Renders the list as a table.
pub fn list(rescues: &Rescues, look: Look) -> String {
    let mut page = Page::list(look);
    if rescues.rescues.is_empty() {
        page.line(0, &[Span::body("No rescues.")]);
    } else {
        let head = [
            "id",
            "repo",
            "worktree",
            "branch",
            "when (UTC)",
            "size",
            "files",
            "",
        ];
        let head = head
            .iter()
            .map(|name| Span::new(name, FAINT))
            .collect::<Vec<_>>();
        let rows: Vec<Row> = std::iter::once(head.into())
            .chain(rescues.rescues.iter().map(row))
            .collect();
        page.table(0, &rows);
    }
    for failure in &rescues.failures {
        page.paragraph(0, Span::new(failure, BAD));
    }
    page.finish()
}

fn row(entry: &Entry) -> Row {
    let unknown = || "?".to_owned();
    vec![
        Span::new(&entry.commit[..SHORT.min(entry.commit.len())], STRONG),
        Span::body(&entry.repo).shorten(),
        Span::body(&entry.worktree).shorten(),
        branch(entry).shorten(),
        Span::body(
            entry
                .taken
                .map_or_else(unknown, |taken| taken.format("%F %H:%M").to_string()),
        ),
        Span::body(entry.bytes.map_or_else(unknown, words::size)).right(),
        Span::body(entry.files.map_or_else(unknown, words::number)).right(),
        Span::new(&entry.stands, FAINT).wrap(),
    ]
    .into()
}

fn branch(entry: &Entry) -> Span {
    entry
        .branch
        .as_deref()
        .map_or(Span::new("no branch", FAINT), Span::body)
}

/// Renders one rescue as a page.
pub fn show(shown: &Shown, look: Look) -> String {
    let (mut page, entry) = (Page::new(look), &shown.entry);
    page.line(0, &[Span::new(&entry.id, STRONG)]);
    page.table(2, &facts(entry));
    let changes = shown.changes.iter().map(|change| {
        (
            change.status.to_string(),
            change.path.to_string_lossy().into_owned(),
        )
    });
    section(
        &mut page,
        "Changed against HEAD:",
        &changes.collect::<Vec<_>>(),
        false,
    );
    let staged = shown
        .staged
        .iter()
        .map(|path| ("A".to_owned(), path.to_string_lossy().into_owned()));
    section(
        &mut page,
        "Staged, and neither in HEAD nor in the file:",
        &staged.collect::<Vec<_>>(),
        false,
    );
    let commits = shown
        .commits
        .iter()
        .map(|commit| (commit.id[..SHORT].to_owned(), commit.subject.clone()));
    section(
        &mut page,
        "Commits that nothing else reaches:",
        &commits.collect::<Vec<_>>(),
        shown.more_commits,
    );
    page.gap();
    page.paragraph(
        0,
        Span::new(
            format!(
                "`treewarden rescue restore {}` brings it back.",
                &entry.commit[..SHORT]
            ),
            NOTE,
        ),
    );
    page.finish()
}

/// Returns what is known about a rescue, as named rows.
pub(super) fn facts(entry: &Entry) -> Vec<Row> {
    let path = entry
        .path
        .as_ref()
        .map_or("?".into(), |path| path.to_string_lossy().into_owned());
    let head = entry.head.as_deref().unwrap_or("none yet").to_owned();
    let when = entry.taken.map_or("?".to_owned(), |taken| {
        taken.format("%F %H:%M UTC").to_string()
    });
    let facts = [
        ("commit", entry.commit.clone()),
        ("tree", path),
        ("HEAD", head),
        ("made", when),
        ("stands", entry.stands.clone()),
    ];
    let mut rows: Vec<Row> = facts
        .iter()
        .map(|(name, fact)| vec![Span::new(name, FAINT), Span::body(fact)].into())
        .collect();
    rows.insert(2, vec![Span::new("branch", FAINT), branch(entry)].into());
    rows
}

fn section(page: &mut Page, title: &str, all: &[(String, String)], more: bool) {
    if all.is_empty() {
        return;
    }
    let plus = if more { "+" } else { "" };
    page.heading(
        title,
        Span::body(format!("{}{plus}", words::number(all.len() as u64))),
    );
    let rows: Vec<Row> = all
        .iter()
        .take(NAMED)
        .map(|(mark, text)| vec![Span::new(mark, STRONG), Span::new(text, BODY)].into())
        .collect();
    page.table(2, &rows);
    if all.len() > NAMED {
        page.line(
            2,
            &[Span::new(
                format!(
                    "and {} more; --format json names them all",
                    all.len() - NAMED
                ),
                FAINT,
            )],
        );
    }
}
