//! Tables, as the page's one macro for tables takes them. Nothing here knows what a report is.

/// A table with its heading.
pub(super) struct Table {
    /// Its anchor.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: String,
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
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
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

    /// Returns a path's directories with the last slash, which matter less than its name.
    pub(super) fn directory(&self) -> &str {
        self.text
            .trim_end_matches('/')
            .rfind('/')
            .map_or("", |slash| &self.text[..=slash])
    }

    /// Returns what follows the directories.
    pub(super) fn last(&self) -> &str {
        &self.text[self.directory().len()..]
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
    pub(super) title: &'a str,
    pub(super) rows_are: &'static str,
    pub(super) said: String,
}

impl Table {
    /// Creates a table; none if there are no rows. `more` describes the rows that were left out.
    pub(super) fn new(
        heading: Heading<'_>,
        columns: &[(&'static str, &'static str)],
        rows: Vec<Vec<Cell>>,
        more: Option<String>,
    ) -> Option<Self> {
        let columns = columns
            .iter()
            .map(|&(name, class)| Column { name, class })
            .collect();
        (!rows.is_empty()).then(|| Self {
            id: heading.id,
            title: heading.title.to_owned(),
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
}
