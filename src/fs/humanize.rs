//! Sizes, ages, counts and lists as people say them.
//!
//! In the lowest room, because every room writes text for people. Text in a report's data is exact
//! ([`bytes`], [`span`], [`plural`]); text on a page is short ([`size`], [`age`], [`count`]). No
//! program reads it back.

use bytesize::ByteSize;
use chrono::TimeDelta;
use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// The units of an age, each with the age from which the next larger unit is used: two of that
/// unit, so that rounding down never hides much.
const UNITS: [(u64, u64, &str); 6] = [
    (2 * MINUTE, 1, "second"),
    (2 * HOUR, MINUTE, "minute"),
    (2 * DAY, HOUR, "hour"),
    (2 * WEEK, DAY, "day"),
    (2 * MONTH, WEEK, "week"),
    (2 * YEAR, MONTH, "month"),
];

/// Formats a size to a tenth of its unit: `3.0 MiB`.
pub fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Formats a size briefly: `1.2 GiB`, `34 MiB`, `148 GiB`.
pub fn size(bytes: u64) -> String {
    let exact = format!("{:.1}", ByteSize(bytes).display().iec());
    match exact.split_once('.') {
        // After three digits the one behind the point is noise; a zero is, too.
        Some((whole, rest)) if whole.len() > 2 || rest.starts_with('0') => {
            format!("{:.0}", ByteSize(bytes).display().iec())
        }
        _ => exact,
    }
}

/// Formats an age in the one unit that a person would choose: `42 seconds`, `3 days`, `5 weeks`.
pub fn age(seconds: u64) -> String {
    if seconds == 0 {
        return "less than a second".to_owned();
    }
    let (unit, name) = UNITS
        .iter()
        .find(|(below, ..)| seconds < *below)
        .map_or((YEAR, "year"), |(_, unit, name)| (*unit, *name));
    count(seconds.checked_div(unit).unwrap_or_default(), name)
}

/// Formats an age in the units of a config, rounded down: `59 minutes`, `23 hours`, `30 days`.
pub fn span(age: TimeDelta) -> String {
    let (number, unit) = match (age.num_days(), age.num_hours()) {
        (0, 0) => (age.num_minutes(), "minute"),
        (0, hours) => (hours, "hour"),
        (days, _) => (days, "day"),
    };
    plural(u64::try_from(number).unwrap_or(0), unit)
}

/// Formats an age of a config exactly: `36 hours`, `7 days`, `90 minutes`.
pub fn exact(age: TimeDelta) -> String {
    let whole = |unit: u64| {
        let seconds = u64::try_from(age.num_seconds()).unwrap_or(0);
        let is_whole = age.subsec_nanos() == 0 && seconds >= unit && seconds.is_multiple_of(unit);
        is_whole.then(|| seconds.checked_div(unit).unwrap_or_default())
    };
    let in_one = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")]
        .into_iter()
        .find_map(|(unit, name)| Some(plural(whole(unit)?, name)));
    in_one
        .unwrap_or_else(|| humantime::format_duration(age.to_std().unwrap_or_default()).to_string())
}

/// Formats it briefly and exactly, in days from the third on: `24 h`, `7 d`.
pub fn short_span(age: Duration) -> String {
    let whole = |unit| age.as_secs().checked_div(unit).unwrap_or_default();
    match age.as_secs() {
        seconds if seconds >= 3 * DAY && seconds.is_multiple_of(DAY) => format!("{} d", whole(DAY)),
        seconds if seconds >= HOUR && seconds.is_multiple_of(HOUR) => format!("{} h", whole(HOUR)),
        _ => humantime::format_duration(age).to_string(),
    }
}

/// Formats how long something took: `0.4 s`, `41 s`, `12 min`, `1 h 5 min`; empty below 0.05 s.
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

/// Formats a fraction: `88 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

/// Formats a number with its thousands set apart: `1,204`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len().saturating_sub(i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a number and what it counts: `1 pack`, `9 packs`, `1,204 entries`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{} {}", number(n), noun_of(n, noun))
}

/// Does the same without setting thousands apart, for a report's data: `1204 commits`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{n} {}", noun_of(n, noun))
}

fn noun_of(n: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if n == 1 => noun.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// Lists the first few of many: `a, b, c and 11 more`. Omitting only one would save nothing.
pub fn few(names: &[String], at_most: usize) -> String {
    match names.split_at_checked(at_most) {
        Some((some, more)) if more.len() > 1 => {
            format!("{} and {} more", some.join(", "), number(more.len() as u64))
        }
        _ => and(names),
    }
}

/// Lists the `named` ones of `all`, for a report's data: `a, b and 3 more`.
pub fn of_all(named: &[String], all: usize) -> String {
    let some = named.join(", ");
    match all.saturating_sub(named.len()) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// Joins a list as in prose: `a`, `a and b`, `a, b and c`.
pub fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Replaces everything that could move a cursor, start a line or turn the reading direction by
/// `\u{..}`.
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

/// Returns whether a character could control a terminal.
pub fn steers(c: char) -> bool {
    c.is_control() || is_treacherous(c)
}

/// Returns whether a character is invisible or turns the reading direction, so that one name can
/// pass for another.
fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Compares names as people count: `issue-2` before `issue-10`.
pub fn natural(a: &[u8], b: &[u8]) -> Ordering {
    counted(a).cmp(counted(b)).then_with(|| a.cmp(b))
}

/// Compares paths like that, name by name.
pub fn natural_paths(a: &Path, b: &Path) -> Ordering {
    for (one, other) in a.iter().zip(b) {
        let order = natural(one.as_encoded_bytes(), other.as_encoded_bytes());
        if order.is_ne() {
            return order;
        }
    }
    a.cmp(b)
}

/// Splits a name into numbers, each with its length and its digits without leading zeros, and all
/// other bytes. Sorting calls this, so the order must be total: a number stands where its first
/// digit would.
fn counted(name: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if let Some((number, behind)) = rest.split_at_checked(digits).filter(|_| digits > 0) {
            rest = behind;
            let zeros = number.iter().take_while(|digit| **digit == b'0').count();
            let number = number.get(zeros..).unwrap_or_default();
            return Some((b'0', number.len(), number));
        }
        let (first, behind) = rest.split_first()?;
        rest = behind;
        Some((*first, 0, &[][..]))
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
        assert_eq!([11, 3 << 20].map(bytes), ["11 B", "3.0 MiB"]);
    }

    #[test]
    fn ages_are_said_in_one_unit() {
        let cases = [
            (0, "less than a second"),
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
            (u64::MAX, "584,942,417,355 years"),
        ];
        for (seconds, said) in cases {
            assert_eq!(age(seconds), said);
        }
    }

    #[test]
    fn spans_are_said_in_the_units_of_a_config() {
        let spans = [0, 90, 3599, 3600, 47 * 3600, 30 * 86_400].map(TimeDelta::seconds);
        assert_eq!(
            spans.map(span),
            [
                "0 minutes",
                "1 minute",
                "59 minutes",
                "1 hour",
                "1 day",
                "30 days"
            ]
        );
        let minutes = [0, 1, 60, 90, 24 * 60, 36 * 60, 37 * 60 + 30, 7 * 24 * 60];
        assert_eq!(
            minutes.map(|age| exact(TimeDelta::minutes(age))),
            [
                "0s",
                "1 minute",
                "1 hour",
                "90 minutes",
                "1 day",
                "36 hours",
                "2250 minutes",
                "7 days"
            ]
        );
        assert_eq!(exact(TimeDelta::seconds(90)), "1m 30s");
        let short = [0, 5400, HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY + HOUR].map(Duration::from_secs);
        assert_eq!(
            short.map(short_span),
            ["0s", "1h 30m", "1 h", "24 h", "48 h", "3 d", "169 h"]
        );
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
        assert_eq!(count(1204, "commit"), "1,204 commits");
        assert_eq!(plural(1204, "commit"), "1204 commits");
        assert_eq!(plural(1, "commit"), "1 commit");
    }

    #[test]
    fn a_list_is_cut_only_where_that_saves_more_than_one_name() {
        assert_eq!(few(&names(&[]), 2), "");
        assert_eq!(few(&names(&["a"]), 2), "a");
        assert_eq!(few(&names(&["a", "b", "c"]), 2), "a, b and c");
        assert_eq!(few(&names(&["a", "b", "c", "d"]), 2), "a, b and 2 more");
    }

    #[test]
    fn names_sort_as_people_count() {
        let sorted = [
            "a",
            "a-b",
            "a1",
            "a2",
            "a10",
            "b",
            "issue-02",
            "issue-2",
            "issue-2b",
            "issue-10",
            "issue-99999999999999999999999",
            "x",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                let order = natural(one.as_bytes(), other.as_bytes());
                assert_eq!(order, at.cmp(&other_at), "{one} {other}");
            }
        }
        let paths = ["w/a/b", "w/a-b", "w/issue-2", "w/issue-2/x", "w/issue-10"].map(Path::new);
        assert!(paths.is_sorted_by(|a, b| natural_paths(a, b).is_lt()));
    }

    #[test]
    fn what_is_not_named_is_counted() {
        assert_eq!(of_all(&names(&["a", "b"]), 2), "a, b");
        assert_eq!(of_all(&names(&["a", "b"]), 5), "a, b and 3 more");
    }
}
