//! The look of a rendering: how wide, and whether in colour. It depends only on where the text is
//! written, and never changes what a report says.

use rustix::termios::tcgetwinsize;
use std::io::{IsTerminal as _, stdout};

/// The look of a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether colours are written.
    pub colour: bool,
    /// Whether a terminal shows it: tables then fit it. Elsewhere nothing is shortened.
    pub terminal: bool,
}

impl Look {
    /// For a file, a log or a test: 100 columns, no colour.
    pub const PLAIN: Self = Self {
        width: 100,
        colour: false,
        terminal: false,
    };

    /// For a terminal this wide, without colour.
    pub const fn terminal(width: usize) -> Self {
        Self {
            width,
            colour: false,
            terminal: true,
        }
    }

    /// Returns what suits the standard output of this process.
    pub fn of_stdout() -> Self {
        let out = stdout();
        let columns = tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
        Self::suiting(out.is_terminal(), columns, |name| std::env::var(name).ok())
    }

    /// Uses colour on a terminal that isn't dumb, unless `NO_COLOR` is set. `COLUMNS` overrides the
    /// terminal's own width.
    fn suiting(
        terminal: bool,
        columns: Option<usize>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let unwanted = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env("TERM").is_some_and(|value| value == "dumb");
        let asked = env("COLUMNS").and_then(|value| value.parse().ok());
        let width = asked
            .or(columns)
            .filter(|&columns| columns > 0)
            .unwrap_or(Self::PLAIN.width);
        Self {
            width,
            colour: terminal && !unwanted && !dumb,
            terminal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(terminal: bool, columns: Option<usize>, env: &[(&str, &str)]) -> Look {
        Look::suiting(terminal, columns, |name| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        assert_eq!(
            look(true, Some(80), &[]),
            Look {
                colour: true,
                ..Look::terminal(80)
            }
        );
        assert_eq!(
            look(true, Some(80), &[("NO_COLOR", "")]),
            Look {
                colour: true,
                ..Look::terminal(80)
            }
        );
        assert_eq!(
            look(true, Some(80), &[("NO_COLOR", "1")]),
            Look::terminal(80)
        );
        assert_eq!(
            look(true, Some(80), &[("TERM", "dumb")]),
            Look::terminal(80)
        );
        assert_eq!(look(false, None, &[]), Look::PLAIN);
    }

    #[test]
    fn columns_wins_and_nonsense_is_ignored() {
        assert_eq!(look(true, Some(80), &[("COLUMNS", "132")]).width, 132);
        assert_eq!(look(true, Some(80), &[("COLUMNS", "wide")]).width, 80);
        assert_eq!(look(true, Some(0), &[]).width, 100);
    }
}
