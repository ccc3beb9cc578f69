//! Numbers, times and names as people say them.
//!
//! Pure: no clock, no I/O, no colour. Strings from a repo reach a terminal only through [`plain`],
//! which may be applied twice without harm.

use super::Asked;
use bytesize::ByteSize;
use std::path::Path;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// A size: `1.2 GiB`, `34 MiB`, `148 GiB`.
pub fn size(bytes: u64) -> String {
    let exact = format!("{:.1}", ByteSize(bytes).display().iec());
    match exact.split_once('.') {
        // After three digits before the point the one behind it is noise; so is a zero.
        Some((whole, rest)) if whole.len() > 2 || rest.starts_with('0') => {
            format!("{:.0}", ByteSize(bytes).display().iec())
        }
        _ => exact,
    }
}

/// An age, in the one unit that a person would choose: `42 seconds`, `3 days`, `5 weeks`.
///
/// The next larger unit is used from about two of it on, so that rounding down never hides much.
pub fn age(seconds: u64) -> String {
    let (unit, name) = match seconds {
        0 => return "no time".to_owned(),
        s if s < 2 * MINUTE => (1, "second"),
        s if s < 2 * HOUR => (MINUTE, "minute"),
        s if s < 2 * DAY => (HOUR, "hour"),
        s if s < 2 * WEEK => (DAY, "day"),
        s if s < 2 * MONTH => (WEEK, "week"),
        s if s < 2 * YEAR => (MONTH, "month"),
        _ => (YEAR, "year"),
    };
    count(seconds / unit, name)
}

/// A duration: `0.4 s`, `41 s`, `12 min`, `1 h 5 min`; empty for no time.
pub fn took(seconds: f64) -> String {
    match seconds {
        s if s < 0.05 => String::new(),
        s if s < 9.95 => format!("{} s", format!("{s:.1}").trim_end_matches(".0")),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", (s / 60.0).floor()),
        s => format!(
            "{:.0} h {:.0} min",
            (s / 3600.0).floor(),
            (s % 3600.0 / 60.0).floor()
        )
        .replace(" 0 min", ""),
    }
}

/// A fraction: `88 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

/// A number with thousands separators: `1,204`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with its noun: `1 pack`, `9 packs`, `2 entries`.
pub fn count(n: u64, noun: &str) -> String {
    if n == 1 {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{} {stem}ies", number(n)),
        _ => format!("{} {noun}s", number(n)),
    }
}

/// The first few of many: `a, b, c and 11 more`.
pub fn few(names: &[String], at_most: usize) -> String {
    match names.len().saturating_sub(at_most) {
        0 | 1 => and(names),
        more => format!(
            "{} and {} more",
            names[..names.len() - more].join(", "),
            number(more as u64)
        ),
    }
}

/// A list in words: `a`, `a and b`, `a, b and c`.
pub fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The requested part of a run: `gc of acme/shop alone`.
pub fn asked(asked: &Asked) -> String {
    let of = [and(&asked.only), plain(&and(&asked.repos))]
        .into_iter()
        .filter(|part| !part.is_empty());
    format!("{} alone", of.collect::<Vec<_>>().join(" of "))
}

/// A path for people: relative to the volume's root if it is below it, escaped, and lossy if it
/// isn't UTF-8.
pub fn below(root: &Path, path: &Path) -> String {
    let inner = path
        .strip_prefix(root)
        .ok()
        .filter(|rest| !rest.as_os_str().is_empty());
    plain(&inner.unwrap_or(path).to_string_lossy())
}

/// A path's last name, escaped.
pub fn name(path: &Path) -> String {
    plain(
        &path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy(),
    )
}

/// The text with everything that could move a cursor, start a line or turn the reading direction
/// shown as `\u{..}`.
pub fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a character could control a terminal.
pub fn steers(c: char) -> bool {
    c.is_control() || is_treacherous(c)
}

/// Marks that are invisible, or that turn the reading direction: with them one name can pass for
/// another.
fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns`, with `…` for its middle.
///
/// A path loses whole directories if that is enough. Else more of its end stays, by which it is
/// known.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if let Some(path) = without_middle_folders(text, columns) {
        return path;
    }
    let room = columns.saturating_sub(1);
    let head: String = fitting(text.chars(), room / 3).collect();
    let tail: Vec<char> = fitting(text.chars().rev(), room - room / 3).collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}…{tail}")
}

/// `acme__shop/…/fix-cart`, with as many of the last directories as fit.
fn without_middle_folders(path: &str, columns: usize) -> Option<String> {
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

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn sizes_have_two_or_three_digits() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (412, "412 B"),
            (1024, "1 KiB"),
            (1290, "1.3 KiB"),
            (34 << 20, "34 MiB"),
            ((12 << 30) + (410 << 20), "12.4 GiB"),
            ((148 << 30) + (300 << 20), "148 GiB"),
            (3 << 40, "3 TiB"),
        ];
        for (bytes, said) in cases {
            assert_eq!(size(bytes), said);
        }
    }

    #[test]
    fn ages_are_said_in_one_unit() {
        let cases = [
            (0, "no time"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (2 * HOUR - 1, "119 minutes"),
            (30 * HOUR, "30 hours"),
            (3 * DAY + HOUR, "3 days"),
            (13 * DAY, "13 days"),
            (36 * DAY, "5 weeks"),
            (59 * DAY, "8 weeks"),
            (61 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (800 * DAY, "2 years"),
        ];
        for (seconds, said) in cases {
            assert_eq!(age(seconds), said);
        }
    }

    #[test]
    fn times_shares_and_numbers_are_short() {
        let times = [
            0.0, 0.42, 3.99, 9.97, 41.2, 119.4, 125.0, 7199.0, 7800.0, 14_400.0,
        ]
        .map(took);
        assert_eq!(
            times,
            [
                "",
                "0.4 s",
                "4 s",
                "10 s",
                "41 s",
                "119 s",
                "2 min",
                "119 min",
                "2 h 10 min",
                "4 h"
            ]
        );
        assert_eq!([0.0, 0.884, 1.0].map(percent), ["0 %", "88 %", "100 %"]);
        assert_eq!(
            [0, 999, 1000, 1_204_000].map(number),
            ["0", "999", "1,000", "1,204,000"]
        );
    }

    #[test]
    fn one_is_singular_and_the_rest_plural() {
        assert_eq!(count(1, "pack"), "1 pack");
        assert_eq!(count(0, "pack"), "0 packs");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(2, "day"), "2 days");
    }

    #[test]
    fn a_list_is_cut_only_where_that_saves_more_than_one_name() {
        assert_eq!(few(&names(&[]), 2), "");
        assert_eq!(few(&names(&["a"]), 2), "a");
        assert_eq!(few(&names(&["a", "b", "c"]), 2), "a, b and c");
        assert_eq!(few(&names(&["a", "b", "c", "d"]), 2), "a, b and 2 more");
    }

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
