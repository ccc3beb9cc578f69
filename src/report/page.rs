//! A page of text: paragraphs that wrap, tables with aligned columns, and colour if wanted.
//!
//! A table fits a terminal: first its widest cells lose their middles, then its last columns move
//! to lines of their own. Elsewhere, where a program may read it, nothing is shortened.
//!
//! All text passes through [`words::plain`] here, so nothing from a repo can control a terminal.
//! Nothing here knows what a report is.

use super::look::Look;
use super::words;
use anstyle::{AnsiColor, Color, Style};

/// Ordinary text.
pub(crate) const BODY: Style = Style::new();
/// The subject of a section.
pub(crate) const STRONG: Style = Style::new().bold();
/// Details.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// All is well.
pub(crate) const GOOD: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Green)));
/// A warning.
pub(crate) const NOTE: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Yellow)));
/// A failure.
pub(crate) const BAD: Style = Style::new()
    .bold()
    .fg_color(Some(Color::Ansi(AnsiColor::Red)));

/// A narrower page can't be laid out; a wider one is hard to read.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;
const GAP: usize = 2;
/// Columns. A cell that wraps is not made narrower than this, and one that is shortened not than
/// that.
const LEAST_WRAPPED: usize = 32;
const LEAST_SHORTENED: usize = 12;
/// Columns. A text that wraps beside something else has at least so many.
const LEAST_BESIDE: usize = 20;
/// Columns. A shorter text stays with its label, although that wraps.
const LEAST_BELOW: usize = 8;

/// A piece of text in one style; in a table, a cell.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    text: String,
    style: Style,
    fit: Fit,
}

/// How a cell fits its column's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// At the left, never shortened.
    Left,
    /// At the right, never shortened.
    Right,
    /// On a terminal, its middle may be cut out.
    Shorten,
    /// It may wrap: for the last cell of a row.
    Wrap,
}

impl Span {
    /// Creates a span of the text, escaped.
    pub(crate) fn new(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            text: words::plain(text.as_ref()),
            style,
            fit: Fit::Left,
        }
    }

    /// Creates a span in ordinary style.
    pub(crate) fn body(text: impl AsRef<str>) -> Self {
        Self::new(text, BODY)
    }

    /// Aligns it to the right of its column.
    pub(crate) fn right(self) -> Self {
        Self {
            fit: Fit::Right,
            ..self
        }
    }

    /// Allows its middle to be cut out.
    pub(crate) fn shorten(self) -> Self {
        Self {
            fit: Fit::Shorten,
            ..self
        }
    }

    /// Lets it wrap if it must.
    pub(crate) fn wrap(self) -> Self {
        Self {
            fit: Fit::Wrap,
            ..self
        }
    }

    fn width(&self) -> usize {
        words::width(&self.text)
    }
}

/// A row of a table, and the lines indented below it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Span>,
    pub(crate) notes: Vec<Span>,
}

impl From<Vec<Span>> for Row {
    fn from(cells: Vec<Span>) -> Self {
        Self {
            cells,
            notes: Vec::new(),
        }
    }
}

/// A page under construction.
#[derive(Debug)]
pub(crate) struct Page {
    out: String,
    width: usize,
    colour: bool,
    /// Whether it must fit its width.
    fits: bool,
}

/// Columns of a table that stand on a line together.
struct Columns {
    indent: usize,
    first: usize,
    widths: Vec<usize>,
}

impl Page {
    /// Creates an empty page.
    pub(crate) fn new(look: Look) -> Self {
        Self {
            out: String::new(),
            width: look.width.clamp(*WIDTHS.start(), *WIDTHS.end()),
            colour: look.colour,
            fits: look.terminal,
        }
    }

    /// Creates an empty page for a list. Where no terminal shows it, each row is one line.
    pub(crate) fn list(look: Look) -> Self {
        let page = Self::new(look);
        if page.fits {
            page
        } else {
            Self {
                width: usize::MAX,
                ..page
            }
        }
    }

    /// Returns the page's width in columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Joins names: on a terminal the first few, elsewhere all.
    pub(crate) fn names(&self, names: &[String], at_most: usize) -> String {
        if self.fits {
            words::few(names, at_most)
        } else {
            words::and(names)
        }
    }

    /// Returns the page's text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Adds an empty line, unless the page is empty.
    pub(crate) fn gap(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// Adds a section's first line, after an empty one: its title in bold, and `rest` after it.
    pub(crate) fn heading(&mut self, title: &str, rest: Span) {
        self.gap();
        self.labelled(0, &[Span::new(title, STRONG)], rest);
    }

    /// Adds a line that doesn't wrap, unless it would not fit: then its last span wraps.
    pub(crate) fn line(&mut self, indent: usize, spans: &[Span]) {
        let wide = indent + spans.iter().map(Span::width).sum::<usize>();
        if let Some((last, label)) = spans.split_last().filter(|_| wide > self.width)
            && self.fits
        {
            let text = last.text.trim_start().to_owned();
            return self.labelled(indent, label, Span { text, ..*last });
        }
        self.pad(indent);
        for span in spans {
            self.paint(&span.text, span.style);
        }
        self.out.push('\n');
    }

    /// Adds a paragraph that wraps.
    pub(crate) fn paragraph(&mut self, indent: usize, text: Span) {
        self.labelled(indent, &[], text);
    }

    /// Adds a label, and after it a text that wraps with a hanging indent; below it, if there is
    /// no room beside it.
    pub(crate) fn labelled(&mut self, indent: usize, label: &[Span], text: Span) {
        let beside = indent + label.iter().map(|span| span.width() + 1).sum::<usize>();
        let needed = text.width().min(LEAST_BESIDE);
        if let [above @ .., last] = label
            && self.fits
            && beside + needed > self.width
        {
            for span in above {
                self.paragraph(indent, span.clone());
            }
            if text.width() <= LEAST_BELOW {
                let text = format!("{} {}", last.text, text.text);
                return self.paragraph(indent, Span { text, ..*last });
            }
            self.paragraph(indent, last.clone());
            return self.paragraph(indent + GAP, text);
        }
        let mut cells = label.to_vec();
        cells.push(text.wrap());
        let widths = cells.iter().map(Span::width).collect::<Vec<_>>();
        self.row(indent, 1, &cells, &widths);
    }

    /// Adds rows with aligned columns.
    pub(crate) fn table(&mut self, indent: usize, rows: &[Row]) {
        let columns = self.columns(indent, rows);
        for row in rows {
            for (line, part) in columns.iter().enumerate() {
                let cells = row.cells.iter().skip(part.first).take(part.widths.len());
                let cells = &cells.cloned().collect::<Vec<_>>();
                if line == 0 || cells.iter().any(|cell| !cell.text.is_empty()) {
                    self.row(part.indent, GAP, cells, &part.widths);
                }
            }
            for note in &row.notes {
                self.paragraph(indent + 4, note.clone());
            }
        }
    }

    /// Returns the columns, on as many lines as they need to fit at their least widths.
    fn columns(&self, indent: usize, rows: &[Row]) -> Vec<Columns> {
        let many = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let column = |i: usize| Column::of(rows.iter().filter_map(|row| row.cells.get(i)));
        let columns: Vec<Column> = (0..many).map(column).collect();
        let mut parts: Vec<Columns> = Vec::new();
        let (mut first, mut used) = (0, indent);
        for (i, column) in columns.iter().enumerate() {
            let room = if i == first { 0 } else { GAP };
            if self.fits && i > first && used + room + column.least > self.width {
                parts.push(self.line_of(&parts, indent, &columns, first..i));
                (first, used) = (i, indent + 4 + column.least);
            } else {
                used += room + column.least;
            }
        }
        parts.push(self.line_of(&parts, indent, &columns, first..many));
        parts
    }

    /// Returns a line's columns: as wide as their widest cells, then narrowed step by step until
    /// they fit.
    fn line_of(
        &self,
        above: &[Columns],
        indent: usize,
        columns: &[Column],
        range: std::ops::Range<usize>,
    ) -> Columns {
        let indent = if above.is_empty() { indent } else { indent + 4 };
        let first = range.start;
        let columns = columns.get(range).unwrap_or_default();
        let mut widths: Vec<usize> = columns.iter().map(|column| column.widest).collect();
        let gaps = GAP * columns.len().saturating_sub(1);
        let room = self.width.saturating_sub(indent + gaps);
        while self.fits && widths.iter().sum::<usize>() > room {
            let gives = (0..widths.len()).filter(|&i| widths[i] > columns[i].least);
            let Some(i) = gives.max_by_key(|&i| (columns[i].wraps, widths[i])) else {
                break;
            };
            widths[i] -= 1;
        }
        Columns {
            indent,
            first,
            widths,
        }
    }

    fn row(&mut self, indent: usize, gap: usize, cells: &[Span], columns: &[usize]) {
        self.pad(indent);
        let (mut at, mut starts) = (indent, indent);
        for (cell, &column) in cells.iter().zip(columns) {
            let text = if self.fits && cell.fit == Fit::Shorten {
                words::shorten(&cell.text, column)
            } else {
                cell.text.clone()
            };
            let lead = if cell.fit == Fit::Right {
                column.saturating_sub(words::width(&text))
            } else {
                0
            };
            if !text.is_empty() {
                // Spaces are written before a cell and never after one, so no line ends with them.
                self.pad((starts + lead).saturating_sub(at));
                at = self.flow(&text, cell, starts + lead);
            }
            starts += column + gap;
        }
        self.out.push('\n');
    }

    /// Writes a cell's text, on several lines if it may wrap, and returns the column after it.
    fn flow(&mut self, text: &str, cell: &Span, starts: usize) -> usize {
        let room = if cell.fit == Fit::Wrap {
            self.width.saturating_sub(starts).max(LEAST_BESIDE)
        } else {
            usize::MAX
        };
        let lines = wrapped(text, room);
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                self.out.push('\n');
                self.pad(starts);
            }
            self.paint(line, cell.style);
        }
        starts + lines.last().map_or(0, |line| words::width(line))
    }

    fn pad(&mut self, blanks: usize) {
        self.out.extend(std::iter::repeat_n(' ', blanks));
    }

    fn paint(&mut self, text: &str, style: Style) {
        if self.colour && style != BODY {
            self.out.extend([
                &style.render().to_string(),
                text,
                &style.render_reset().to_string(),
            ]);
        } else {
            self.out.push_str(text);
        }
    }
}

/// A column of a table.
struct Column {
    widest: usize,
    least: usize,
    wraps: bool,
}

impl Column {
    fn of<'a>(cells: impl Iterator<Item = &'a Span>) -> Self {
        let mut column = Self {
            widest: 0,
            least: 0,
            wraps: false,
        };
        for cell in cells {
            let least = match cell.fit {
                Fit::Left | Fit::Right => usize::MAX,
                Fit::Shorten => LEAST_SHORTENED,
                Fit::Wrap => LEAST_WRAPPED,
            };
            column.widest = column.widest.max(cell.width());
            column.least = column.least.max(cell.width().min(least));
            column.wraps |= cell.fit == Fit::Wrap;
        }
        column
    }
}

/// Splits the text into lines of at most `room` columns. A longer word stays whole: it may be a
/// path to copy.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let wide = words::width(word);
        if used > 0 && used + 1 + wide > room {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.len() - 1;
        if used > 0 {
            lines[line].push(' ');
            used += 1;
        }
        lines[line].push_str(word);
        used += wide;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(Look::terminal(width));
        write(&mut page);
        page.finish()
    }

    #[test]
    fn columns_stand_in_line_and_no_line_ends_in_blanks() {
        let rows = [
            vec![Span::body("a"), Span::body("12").right(), Span::body("")].into(),
            vec![Span::body("long"), Span::body("3").right(), Span::body("x")].into(),
        ];
        assert_eq!(
            page(80, |page| page.table(2, &rows)),
            "  a     12\n  long   3  x\n"
        );
    }

    #[test]
    fn a_row_that_is_too_wide_wraps_its_last_cell_then_shortens() {
        let long = "one two three four five six seven eight nine ten";
        let rows = [vec![
            Span::body("a/very/long/path/to/somewhere").shorten(),
            Span::body(long).wrap(),
        ]
        .into()];
        let text = page(50, |page| page.table(0, &rows));
        assert_eq!(
            text,
            "a/…/to/somewhere  one two three four five six\n                  seven eight nine ten\n"
        );
    }

    #[test]
    fn a_heading_hangs_and_escapes() {
        let text = page(40, |page| {
            page.heading(
                "Caches:",
                Span::body("nothing\nwas evicted, and here is the reason for that"),
            );
        });
        assert_eq!(
            text,
            "Caches: nothing\\u{a}was evicted, and\n        here is the reason for that\n"
        );
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        let mut page = Page::new(Look {
            colour: true,
            ..Look::terminal(80)
        });
        page.line(0, &[Span::new("bad", BAD), Span::body(" body")]);
        assert_eq!(page.finish(), "\u{1b}[1m\u{1b}[31mbad\u{1b}[0m body\n");
    }
}
