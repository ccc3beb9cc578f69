//! Tables, as the page's one macro for tables takes them. Nothing here knows what a report is.

use super::breaks::pieces;

/// Rows. The others of a table are folded away, until somebody wants them.
const FOLD: usize = 50;
/// Rows of all tables together: more make a page slow to open.
const MOST: usize = 10_000;
/// Rows that a table has at least, whatever the others need.
const LEAST: usize = 500;

/// How many rows the page still has room for.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new() -> Self {
        Self(MOST)
    }

    /// Returns how many of a table's rows are shown.
    pub(super) fn take(&mut self, rows: usize) -> usize {
        let shown = rows.min(self.0.max(LEAST));
        self.0 = self.0.saturating_sub(shown);
        shown
    }
}

/// A table with its heading.
pub(super) struct Table {
    /// Its anchor.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: String,
    /// How many rows there are, with those that are not shown.
    pub(super) many: u64,
    /// What is said about the whole, after the heading.
    pub(super) said: String,
    /// What its rows are: `trees`.
    pub(super) rows_are: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// How many rows are not shown.
    pub(super) more: Option<String>,
    /// Counts by reason, if there are any.
    pub(super) groups: Vec<(String, String)>,
}

/// A column's head.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// Whether each of its texts is a filter.
    pub(super) filters: bool,
    /// Whether its smallest numbers are wanted first.
    pub(super) rises: bool,
}

impl Column {
    const fn new(name: &'static str, class: &'static str) -> Self {
        Self {
            name,
            class,
            filters: false,
            rises: false,
        }
    }

    /// A column of words.
    pub(super) const fn words(name: &'static str) -> Self {
        Self::new(name, "")
    }

    /// A column of numbers, at the right.
    pub(super) const fn numbers(name: &'static str) -> Self {
        Self::new(name, "n")
    }

    /// A column of paths or names.
    pub(super) const fn names(name: &'static str) -> Self {
        Self::new(name, "name")
    }

    /// A column of reasons, which has the most room.
    pub(super) const fn reasons(name: &'static str) -> Self {
        Self::new(name, "why")
    }

    /// Makes each of its texts a filter.
    pub(super) const fn filters(self) -> Self {
        Self {
            filters: true,
            ..self
        }
    }

    /// Sorts it by its smallest numbers first.
    pub(super) const fn rises(self) -> Self {
        Self {
            rises: true,
            ..self
        }
    }
}

/// A cell.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// The number that it is sorted by, if not its text.
    pub(super) value: Option<u64>,
    pub(super) class: &'static str,
    /// Its tone: `good`, `note`, `bad`.
    pub(super) tone: &'static str,
    /// The lines below it.
    pub(super) notes: Vec<String>,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Creates a cell at the right, sorted by its number.
    pub(super) fn number(text: impl Into<String>, value: u64) -> Self {
        Self {
            value: Some(value),
            class: "n",
            ..Self::new(text)
        }
    }

    /// Creates a cell for a reason, which has the most room.
    pub(super) fn why(text: impl Into<String>) -> Self {
        Self {
            class: "why",
            ..Self::new(text)
        }
    }

    /// Creates a cell for a path, a branch or a ref.
    pub(super) fn name(text: impl Into<String>) -> Self {
        Self {
            class: "name",
            ..Self::new(text)
        }
    }

    pub(super) fn toned(self, tone: &'static str) -> Self {
        Self { tone, ..self }
    }

    pub(super) fn noted(self, notes: impl IntoIterator<Item = String>) -> Self {
        Self {
            notes: notes.into_iter().collect(),
            ..self
        }
    }

    /// Returns whether it is empty: a card leaves it out.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.text.as_str(), "" | "–") && self.notes.is_empty()
    }

    /// Returns its attribute's classes.
    pub(super) fn classes(&self) -> String {
        let empty = if self.is_empty() { "empty" } else { "" };
        let all = [self.class, self.tone, empty];
        let all = all.into_iter().filter(|class| !class.is_empty());
        all.collect::<Vec<_>>().join(" ")
    }

    /// Returns a path's directories with the last slash, which matter less than its name.
    fn directory(&self) -> &str {
        self.text
            .trim_end_matches('/')
            .rfind('/')
            .map_or("", |slash| &self.text[..=slash])
    }

    /// Returns the pieces of a path's directories.
    pub(super) fn directories(&self) -> Vec<String> {
        pieces(self.directory())
    }

    /// Returns the pieces of what follows the directories.
    pub(super) fn last(&self) -> Vec<String> {
        pieces(&self.text[self.directory().len()..])
    }

    /// Returns the text's pieces.
    pub(super) fn pieces(&self) -> Vec<String> {
        if self.class == "n" {
            vec![self.text.clone()]
        } else {
            pieces(&self.text)
        }
    }

    pub(super) fn sign(&self) -> &'static str {
        match self.tone {
            "good" => "✓",
            "note" => "!",
            "bad" => "✕",
            _ => "",
        }
    }
}

/// What is above a table: see the fields of [`Table`].
pub(super) struct Heading<'a> {
    pub(super) id: &'static str,
    pub(super) many: usize,
    pub(super) title: &'a str,
    pub(super) rows_are: &'static str,
    pub(super) said: String,
}

impl Table {
    /// Creates a table; none if there are no rows. A column in which nothing stands is left out.
    /// `more` describes the rows that were left out.
    pub(super) fn new(
        heading: Heading<'_>,
        columns: &[Column],
        mut rows: Vec<Vec<Cell>>,
        more: Option<String>,
    ) -> Option<Self> {
        let says = |i: usize| i == 0 || rows.iter().any(|row| !row[i].is_empty());
        let says: Vec<bool> = (0..columns.len()).map(says).collect();
        for row in &mut rows {
            let mut says = says.iter();
            row.retain(|_| says.next() == Some(&true));
        }
        let columns = columns.iter().zip(&says).filter(|(_, says)| **says);
        let columns = columns.map(|(column, _)| *column).collect();
        (!rows.is_empty()).then(|| Self {
            id: heading.id,
            title: heading.title.to_owned(),
            many: heading.many as u64,
            said: heading.said,
            rows_are: heading.rows_are,
            columns,
            rows,
            more,
            groups: Vec::new(),
        })
    }

    /// Returns whether the rows need a search field: a few rows don't.
    pub(super) fn is_long(&self) -> bool {
        self.rows.len() > 8
    }

    /// Returns the rows in two parts: those that always show, and those that are folded away.
    pub(super) fn parts(&self) -> Vec<(&'static str, &[Vec<Cell>])> {
        let (first, rest) = self.rows.split_at(self.rows.len().min(FOLD));
        let rest = Some(("rest", rest)).filter(|(_, rows)| !rows.is_empty());
        std::iter::once(("", first)).chain(rest).collect()
    }
}
