//! Numbers, times and names as people say them.
//!
//! Pure: no clock, no I/O, no colour. Strings from a repo reach a terminal only through [`plain`],
//! which may be applied twice without harm.

use super::Asked;
pub use crate::fs::humanize::{age, and, count, few, number, percent, plain, size, steers, took};
use std::path::Path;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Describes the requested part of a run: `gc of acme/shop alone`.
pub fn asked(asked: &Asked) -> String {
    let of = [and(&asked.only), plain(&and(&asked.repos))]
        .into_iter()
        .filter(|part| !part.is_empty());
    format!("{} alone", of.collect::<Vec<_>>().join(" of "))
}

/// Returns a path for people: relative to the volume's root if it is below it, escaped, and lossy
/// if it isn't UTF-8.
pub fn below(root: &Path, path: &Path) -> String {
    let inner = path
        .strip_prefix(root)
        .ok()
        .filter(|rest| !rest.as_os_str().is_empty());
    plain(&inner.unwrap_or(path).to_string_lossy())
}

/// Returns a path's last name, escaped.
pub fn name(path: &Path) -> String {
    plain(
        &path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy(),
    )
}

/// Returns the columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Shortens the text to at most `columns`, with `…` for its middle.
///
/// A path loses whole directories if that is enough. Otherwise more of the end stays, which
/// identifies it.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if let Some(path) = without_middle_directories(text, columns) {
        return path;
    }
    let room = columns.saturating_sub(1);
    let head: String = fitting(text.chars(), room / 3).collect();
    let tail: Vec<char> = fitting(text.chars().rev(), room - room / 3).collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}…{tail}")
}

/// Returns `acme__shop/…/fix-cart`, with as many of the last directories as fit.
fn without_middle_directories(path: &str, columns: usize) -> Option<String> {
    let (first, rest) = path.split_once('/')?;
    let tails = rest.match_indices('/').map(|(at, _)| &rest[at..]);
    tails
        .map(|tail| format!("{first}/…{tail}"))
        .find(|short| width(short) <= columns)
}

fn fitting(text: impl Iterator<Item = char>, columns: usize) -> impl Iterator<Item = char> {
    let mut used = 0;
    text.take_while(move |c| {
        used += c.width().unwrap_or(0);
        used <= columns
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_stays() {
        assert_eq!(plain("fix/über-cart ✓"), "fix/über-cart ✓");
        assert_eq!(
            plain("a\nb\tc\u{1b}[31m\u{9b}K"),
            r"a\u{a}b\u{9}c\u{1b}[31m\u{9b}K"
        );
        assert_eq!(
            plain("evil\u{202e}gpj\u{200b}\u{2066}"),
            r"evil\u{202e}gpj\u{200b}\u{2066}"
        );
        assert_eq!(plain(&plain("\u{1b}")), plain("\u{1b}"));
    }

    #[test]
    fn paths_are_read_from_the_root() {
        let root = Path::new("/data");
        assert_eq!(below(root, Path::new("/data/a/b")), "a/b");
        assert_eq!(below(root, root), "/data");
        assert_eq!(below(root, Path::new("/else/b\n")), r"/else/b\u{a}");
        assert_eq!(name(Path::new("/data/a/b")), "b");
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(
            shorten("worktrees/shop/fix-cart", 40),
            "worktrees/shop/fix-cart"
        );
        assert_eq!(
            shorten("worktrees/shop/fix-cart", 22),
            "worktrees/…/fix-cart"
        );
        assert_eq!(shorten("worktrees/shop/fix-cart", 16), "workt…p/fix-cart");
        assert_eq!(shorten("a/bb/cc/dd/e", 10), "a/…/dd/e");
        assert_eq!(width(&shorten("界界界界界界界界", 9)), 9);
        assert_eq!(shorten("abc", 0), "…");
    }
}
