//! Where a browser may break a long name: after what separates its words. It breaks no word, except
//! one that no column is wide enough for.

use crate::report::words;

/// Columns. A piece that is shorter stays with the next one.
const SHORT: usize = 6;
/// Columns. A word that is longer is broken all the same: it is a hash, or made to be awkward.
const LONG: usize = 24;

/// Splits a text, escaped, into pieces between which a line may break.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut wide = 0;
    for c in words::plain(text).chars() {
        let last = pieces.len() - 1;
        pieces[last].push(c);
        wide = if c == ' ' { 0 } else { wide + 1 };
        let parts = "/-_.:@=,+|&?#%".contains(c) && wide >= SHORT;
        if parts || wide >= LONG {
            pieces.push(String::new());
            wide = 0;
        }
    }
    // Nothing follows the last place to break at.
    if pieces.len() > 1 {
        pieces.pop_if(|piece| piece.is_empty());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_between_its_words() {
        let said = |text| pieces(text).join("|");
        for (text, expected) in [
            ("", ""),
            ("acme/shop", "acme/shop"),
            (
                "no words of prose are split here",
                "no words of prose are split here",
            ),
            (
                "worktrees/data__etl/parquet-v2",
                "worktrees/|data__|etl/parquet-|v2",
            ),
            ("well-known ", "well-known "),
            ("trailing-", "trailing-"),
            (
                "0123456789abcdef0123456789abcdef",
                "0123456789abcdef01234567|89abcdef",
            ),
            ("\u{1b}\u{202e}", r"\u{1b}\u{202e}"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
