//! How long unreachable objects stay: the grace of `docs/design/git.md#grace`, or longer if the
//! repo's own config says so.
//!
//! An agent may have written the config, so it can only lengthen the grace: a date that isn't
//! understood means never. Git is given points in time, because its own clock may differ.

use super::gc::PRUNED_AFTER;
use chrono::{DateTime, TimeDelta, Utc};

/// How long reflog entries stay (`docs/design/git.md#grace`).
const LOGGED_FOR: TimeDelta = TimeDelta::days(90);

/// Whatever is older is dropped; if none, nothing is.
pub type Cutoff = Option<DateTime<Utc>>;

/// Returns the cutoff for unreachable objects, by when they were last written.
///
/// `settings` are the `gc.*` keys of the repo's config with their values. The keys are in lower
/// case, except a subsection between two dots.
pub fn objects(settings: &[(String, String)], now: DateTime<Utc>) -> Cutoff {
    // The hook is a command that names more objects to keep, and we don't run it. The threshold
    // keeps large packs whole.
    let keeps = |(key, value): &(String, String)| match key.as_str() {
        "gc.recentobjectshook" => !value.is_empty(),
        "gc.bigpackthreshold" => value != "0",
        _ => false,
    };
    if settings.iter().any(keeps) {
        return None;
    }
    let theirs = settings
        .iter()
        .filter(|(key, _)| key == "gc.pruneexpire")
        .map(|(_, value)| date(value, now));
    theirs.fold(before(now, PRUNED_AFTER), earlier)
}

/// Returns the cutoffs for the reflog of `name` (`HEAD`, `refs/heads/main`, ...): for entries that
/// are reachable from the ref, and for those that aren't.
pub fn log(settings: &[(String, String)], name: &str, now: DateTime<Utc>) -> (Cutoff, Cutoff) {
    // Older stashes are only in the reflog.
    if name == "refs/stash" {
        return (None, None);
    }
    let of = |kind: &str| {
        let mine = settings.iter().filter(|(key, _)| {
            match key
                .strip_prefix("gc.")
                .and_then(|key| key.strip_suffix(kind))
            {
                Some("") => true,
                Some(pattern) => pattern
                    .strip_suffix('.')
                    .is_some_and(|pattern| matches(pattern, name)),
                None => false,
            }
        });
        mine.map(|(_, value)| date(value, now))
            .fold(before(now, LOGGED_FOR), earlier)
    };
    (of("reflogexpire"), of("reflogexpireunreachable"))
}

fn before(now: DateTime<Utc>, age: TimeDelta) -> Cutoff {
    now.checked_sub_signed(age)
}

/// Returns the earlier of two cutoffs; never is the earliest.
fn earlier(one: Cutoff, other: Cutoff) -> Cutoff {
    Some(one?.min(other?))
}

/// Parses a date in git's config; any form but the usual ones means never.
fn date(value: &str, now: DateTime<Utc>) -> Cutoff {
    let value = value.trim().to_ascii_lowercase();
    let words: Vec<&str> = value
        .split([' ', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    match words[..] {
        ["now" | "all"] => Some(now),
        [number, unit] | [number, unit, "ago"] => {
            let number: i64 = number
                .parse()
                .ok()
                .filter(|number| (0..=10_000_000).contains(number))?;
            let unit = match unit.strip_suffix('s').unwrap_or(unit) {
                "second" => TimeDelta::seconds(1),
                "minute" => TimeDelta::minutes(1),
                "hour" => TimeDelta::hours(1),
                "day" => TimeDelta::days(1),
                "week" => TimeDelta::weeks(1),
                "month" => TimeDelta::days(31),
                "year" => TimeDelta::days(366),
                _ => return None,
            };
            now.checked_sub_signed(unit.checked_mul(i32::try_from(number).ok()?)?)
        }
        _ => None,
    }
}

/// Checks whether a pattern of git's config could match the ref: `*` and `?` match slashes, too. A
/// pattern with brackets or backslashes counts as a match.
fn matches(pattern: &str, name: &str) -> bool {
    fn from(pattern: &[u8], name: &[u8]) -> bool {
        let (mut pattern, mut name) = (pattern, name);
        // What follows the last star, and the part of the name that the star has not consumed.
        let mut star = None;
        while let [first, rest @ ..] = name {
            match pattern {
                [b'*', behind @ ..] => {
                    star = Some((behind, name));
                    pattern = behind;
                }
                [byte, behind @ ..] if *byte == b'?' || byte == first => {
                    (pattern, name) = (behind, rest);
                }
                _ => match star {
                    Some((behind, [_, left @ ..])) => {
                        star = Some((behind, left));
                        (pattern, name) = (behind, left);
                    }
                    _ => return false,
                },
            }
        }
        pattern.iter().all(|&byte| byte == b'*')
    }
    pattern.contains(['[', '\\']) || from(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(10_000)
    }

    fn ago(days: i64) -> Cutoff {
        now().checked_sub_signed(TimeDelta::days(days))
    }

    fn set(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_config_can_only_make_things_stay_longer() {
        let of = |value| objects(&set(&[("gc.pruneexpire", value)]), now());
        let cases = [
            ("now", ago(14)),
            ("all", ago(14)),
            ("2.weeks.ago", ago(14)),
            ("13 days ago", ago(14)),
            ("15 days", ago(15)),
            ("1296000 seconds", ago(15)),
            ("21600.minutes.ago", ago(15)),
            ("360 hours", ago(15)),
            ("3 weeks", ago(21)),
            ("3.months.ago", ago(93)),
            ("2.Years", ago(732)),
            ("never", None),
            ("false", None),
            ("", None),
            ("2020-01-01", None),
            ("-5 days", None),
            ("99999999999 years", None),
            ("9999999 years", None),
            ("5 fortnights", None),
            ("5 days hence", None),
        ];
        for (value, cutoff) in cases {
            assert_eq!(of(value), cutoff, "{value}");
        }
        assert_eq!(objects(&[], now()), ago(14));
        for (key, value, cutoff) in [
            ("gc.recentobjectshook", "x", None),
            ("gc.recentobjectshook", "", ago(14)),
            ("gc.bigpackthreshold", "1g", None),
            ("gc.bigpackthreshold", "0", ago(14)),
        ] {
            assert_eq!(
                objects(&set(&[(key, value)]), now()),
                cutoff,
                "{key} = {value}"
            );
        }
        assert_eq!(
            objects(
                &set(&[("gc.pruneexpire", "20.days"), ("gc.pruneexpire", "now")]),
                now()
            ),
            ago(20)
        );
    }

    #[test]
    fn a_reflog_has_its_own() {
        let settings = set(&[
            ("gc.reflogexpire", "100.days"),
            ("gc.reflogexpireunreachable", "now"),
            ("gc.refs/remotes/*.reflogexpire", "never"),
            ("gc.refs/heads/ma?n.reflogexpireunreachable", "200 days"),
        ]);
        let of = |name| log(&settings, name, now());
        assert_eq!(of("HEAD"), (ago(100), ago(90)));
        assert_eq!(of("refs/heads/main"), (ago(100), ago(200)));
        assert_eq!(of("refs/remotes/origin/main"), (None, ago(90)));
        assert_eq!(of("refs/stash"), (None, None));
        assert_eq!(log(&[], "refs/stash", now()), (None, None));
        assert_eq!(log(&[], "refs/heads/x", now()), (ago(90), ago(90)));
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (pattern, name, is_meant) in [
            ("refs/heads/*", "refs/heads/a/b", true),
            ("refs/heads/*", "refs/tags/a", false),
            ("*", "HEAD", true),
            ("refs/*/main", "refs/heads/main", true),
            ("refs/*/main", "refs/heads/main2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("**", "", true),
            ("[a]", "b", true),
        ] {
            assert_eq!(matches(pattern, name), is_meant, "{pattern} {name}");
        }
    }
}
