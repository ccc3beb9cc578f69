//! Amounts as people type them: `30d`, `25GiB`, `85%`, `never`.
//!
//! Each refusal quotes what was typed and says what is accepted. A number without its unit is
//! refused, except plain bytes and counts.

use super::policy::Age;
use crate::fs::humanize;
use bytesize::ByteSize;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const A_TIME: &str = "a time such as 90m, 1d12h, 2 weeks or 36 hours";
const AN_AGE: &str = "a time such as 12h, 1d12h, 2 weeks or 36 hours, or never";
const A_MOMENT: &str = "a time to come such as 36 hours, 2 weeks, 2026-12-24, 2026-12-24 03:00 (UTC) or 2026-12-24T03:00:00+01:00";
const A_SIZE: &str = "a size such as 25GiB, 1.5GiB or 200MiB";
const A_PERCENTAGE: &str = "a percentage such as 85%";
const A_COUNT: &str = "a whole number such as 4";

/// 100 years, longer than anything here is kept: more than this is a typing error.
const LONGEST: Duration = Duration::from_hours(876_600);

/// Larger than any volume. It also catches what `bytesize` silently reduces to the largest number.
const LARGEST: u64 = bytesize::EIB;

/// A typed value that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// It has the wrong form, or an absurd value.
    #[error("`{typed}` {is}; write {form}")]
    Typed {
        /// What was typed.
        typed: String,
        /// What it is instead.
        is: &'static str,
        /// What is accepted.
        form: &'static str,
    },
    /// It is a time before now.
    #[error("that time is past; write {A_MOMENT}")]
    Past,
}

fn bad(typed: &str, is: &'static str, form: &'static str) -> BadValue {
    BadValue::Typed {
        typed: typed.to_owned(),
        is,
        form,
    }
}

/// Reads a time span as people say it: `90m`, `1d12h`, `2 weeks`, `1 day and 12 hours`. `humantime`
/// does, except for commas, an `and` and capitals.
fn span(typed: &str, form: &'static str) -> Result<Duration, BadValue> {
    // A month to `humantime`, a minute to many: one of the two would be far off.
    let units = typed.split(|c: char| !c.is_ascii_alphabetic());
    if units.clone().any(|unit| unit == "M") {
        return Err(bad(
            typed,
            "says M, which may be m (minutes) or months",
            form,
        ));
    }
    let words = typed
        .split([' ', ','])
        .filter(|word| !word.is_empty() && *word != "and");
    let plain = words.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    match humantime::parse_duration(&plain) {
        Ok(span) if span > LONGEST => Err(bad(typed, "is more than 100 years", form)),
        Ok(span) => Ok(span),
        Err(_) => Err(bad(typed, "is no time", form)),
    }
}

/// A time span: `30d`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        span(typed, A_TIME).map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Formats a time span as a config would have it: `30d`, `36h`.
pub fn typed(span: Duration) -> String {
    let seconds = span.as_secs();
    let fits = |(unit, _): &(u64, &str)| seconds >= *unit && seconds.is_multiple_of(*unit);
    [(86_400, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(fits)
        .map_or_else(
            || humantime::format_duration(span).to_string(),
            |(unit, name)| format!("{}{name}", seconds / unit),
        )
}

/// A future moment: `7d` or `2 weeks` from now, `2026-12-24`, `2026-12-24 03:00` in UTC, or
/// `2026-12-24T03:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This long from now.
    In(Duration),
    /// At this time.
    At(DateTime<Utc>),
}

impl FromStr for Moment {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        let day = || {
            NaiveDate::from_str(typed)
                .ok()?
                .and_hms_opt(0, 0, 0)
                .map(|time| Self::At(time.and_utc()))
        };
        let time = || {
            DateTime::parse_from_rfc3339(typed)
                .ok()
                .map(|time| Self::At(time.to_utc()))
        };
        let minute = || {
            let time = NaiveDateTime::parse_from_str(typed, "%Y-%m-%d %H:%M");
            time.ok().map(|time| Self::At(time.and_utc()))
        };
        if let Some(at) = day().or_else(time).or_else(minute) {
            return Ok(at);
        }
        let from_now = typed.strip_prefix("in ").unwrap_or(typed);
        span(from_now, A_MOMENT).map(Self::In)
    }
}

impl Moment {
    /// Returns the time.
    ///
    /// # Errors
    /// It is past, or beyond the calendar.
    pub fn after(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, BadValue> {
        let then = match self {
            Self::At(then) => Some(then),
            Self::In(span) => TimeDelta::from_std(span)
                .ok()
                .and_then(|span| now.checked_add_signed(span)),
        };
        then.filter(|then| *then >= now).ok_or(BadValue::Past)
    }
}

/// The age at which a class of worktrees is removed: a time span above zero, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassAge(pub Age);

impl FromStr for ClassAge {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        if typed == "never" {
            return Ok(Self(Age::Never));
        }
        match span(typed, AN_AGE)? {
            Duration::ZERO => Err(bad(
                typed,
                "would take a worktree the moment it is made",
                AN_AGE,
            )),
            age => Ok(Self(Age::After(age))),
        }
    }
}

/// An amount of bytes: `25GiB`, or a plain whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        let ByteSize(bytes) = typed
            .parse()
            .map_err(|_| bad(typed, "is no size", A_SIZE))?;
        if bytes > LARGEST {
            Err(bad(typed, "is more than any volume holds", A_SIZE))
        } else {
            Ok(Self(bytes))
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&humanize::bytes(self.0))
    }
}

/// A percentage of the volume, stored as a fraction: `85%` is 0.85.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        let number = typed
            .strip_suffix('%')
            .map(str::trim_end)
            .filter(|number| number.chars().all(|c| c.is_ascii_digit() || c == '.'));
        match number.and_then(|number| number.parse::<f64>().ok()) {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent / 100.0)),
            Some(_) => Err(bad(typed, "is not above 0% and up to 100%", A_PERCENTAGE)),
            None => Err(bad(typed, "is no percentage", A_PERCENTAGE)),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.29 * 100 is 28.999999999999996: two decimals are more than anybody types.
        write!(f, "{}%", (self.0 * 10_000.0).round() / 100.0)
    }
}

/// A number of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = BadValue;

    fn from_str(typed: &str) -> Result<Self, BadValue> {
        typed
            .parse()
            .map(Self)
            .map_err(|_| bad(typed, "is no count", A_COUNT))
    }
}

/// An amount of bytes, or of bytes and inodes: `25GiB`, or `{bytes: 25GiB, inodes: 200000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Amount {
    /// Bytes.
    pub bytes: Option<Bytes>,
    /// Files and directories.
    pub inodes: Option<Count>,
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl<'de> Visitor<'de> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A_SIZE)
    }

    fn visit_str<E: Error>(self, typed: &str) -> Result<Amount, E> {
        let bytes = typed.parse().map_err(E::custom)?;
        Ok(Amount {
            bytes: Some(bytes),
            inodes: None,
        })
    }

    fn visit_u64<E: Error>(self, typed: u64) -> Result<Amount, E> {
        self.visit_str(&typed.to_string())
    }

    fn visit_i64<E: Error>(self, typed: i64) -> Result<Amount, E> {
        self.visit_str(&typed.to_string())
    }

    fn visit_f64<E: Error>(self, typed: f64) -> Result<Amount, E> {
        self.visit_str(&format!("{typed:?}"))
    }

    fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<Amount, A::Error> {
        Amount::deserialize(MapAccessDeserializer::new(keys))
    }
}

/// A plain value as text: YAML reads `10` as a number and `10m` as text, which people needn't care
/// about.
struct Plain(&'static str);

impl Visitor<'_> for Plain {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E>(self, typed: &str) -> Result<String, E> {
        Ok(typed.to_owned())
    }

    fn visit_u64<E>(self, typed: u64) -> Result<String, E> {
        Ok(typed.to_string())
    }

    fn visit_i64<E>(self, typed: i64) -> Result<String, E> {
        Ok(typed.to_string())
    }

    /// With its point, so that `1.0` is not read as a whole number.
    fn visit_f64<E>(self, typed: f64) -> Result<String, E> {
        Ok(format!("{typed:?}"))
    }
}

macro_rules! deserialize_from_text {
    ($($unit:ty: $expected:ident),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Plain($expected))?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

/// What an editor accepts. It is no stricter than the parser, which has the last word.
macro_rules! schemas {
    ($($unit:ty: $schema:tt),* $(,)?) => {$(
        impl JsonSchema for $unit {
            fn schema_name() -> Cow<'static, str> {
                stringify!($unit).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

schemas! {
    Time: {"type": ["string", "integer"], "examples": ["30d", "4h", "10m"]},
    ClassAge: {"type": "string", "examples": ["30d", "12h", "never"]},
    Bytes: {"type": ["string", "number"], "examples": ["25GiB", "200MiB"]},
    Percent: {"type": "string", "pattern": "%$", "examples": ["85%"]},
    Count: {"type": ["integer", "string"], "minimum": 0},
    Amount: {
        "type": ["string", "number", "object"],
        "properties": {
            "bytes": {"type": ["string", "number", "null"]},
            "inodes": {"type": ["integer", "string", "null"], "minimum": 0},
        },
        "additionalProperties": false,
        "examples": ["2GiB"],
    },
}

deserialize_from_text!(Time: A_TIME, ClassAge: AN_AGE, Bytes: A_SIZE, Percent: A_PERCENTAGE, Count: A_COUNT);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn read<T: FromStr>(typed: &str) -> Option<T> {
        typed.parse().ok()
    }

    fn all_refused<T: FromStr<Err = BadValue> + Debug>(typed: &[&str]) {
        for typed in typed {
            let message = typed.parse::<T>().expect_err(typed).to_string();
            assert!(
                message.starts_with(&format!("`{typed}` "))
                    && message.contains("; write a")
                    && message.contains(" such as "),
                "{message}"
            );
        }
    }

    #[test]
    fn times() {
        for (typed, seconds) in [
            ("30d", 2_592_000),
            ("10m", 600),
            ("4h", 14_400),
            ("1h 30m", 5_400),
            ("0", 0),
            ("90m", 5_400),
            ("1d12h", 129_600),
            ("2 weeks", 1_209_600),
            ("36 Hours", 129_600),
            ("1 day and 12 hours", 129_600),
            ("1 Day, 12 h", 129_600),
            ("1.5d", 129_600),
            ("100y", 3_155_760_000),
        ] {
            assert_eq!(
                read(typed).map(|Time(time)| time.as_secs()),
                Some(seconds),
                "{typed}"
            );
        }
        all_refused::<Time>(&[
            "",
            "24",
            "never",
            "-5m",
            "5 potatoes",
            "101y",
            "99999999999999999999d",
            "NaN",
            "3M",
            "1h 3 M",
            "and",
            "a day",
        ]);
        let message = "3M".parse::<Time>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`3M` says M, which may be m (minutes) or months; write a time such as 90m, 1d12h, 2 weeks or 36 hours"
        );
    }

    #[test]
    fn moments() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let now = at("2026-11-21T12:00:00Z");
        for (typed, then) in [
            ("7d", "2026-11-28T12:00:00Z"),
            ("0s", "2026-11-21T12:00:00Z"),
            ("in 2 weeks", "2026-12-05T12:00:00Z"),
            ("1d12h", "2026-11-23T00:00:00Z"),
            ("2026-12-24 03:00", "2026-12-24T03:00:00Z"),
            ("2026-12-24", "2026-12-24T00:00:00Z"),
            ("2026-12-24T03:00:00+01:00", "2026-12-24T02:00:00Z"),
        ] {
            assert_eq!(
                read::<Moment>(typed).unwrap().after(now),
                Ok(at(then)),
                "{typed}"
            );
        }
        all_refused::<Moment>(&["", "tomorrow", "2026-13-01", "2026-12-24 25:00", "24"]);
        assert!(
            read::<Moment>("2026-11-21")
                .unwrap()
                .after(now)
                .unwrap_err()
                .to_string()
                .starts_with("that time is past; write")
        );
    }

    #[test]
    fn class_ages() {
        assert_eq!(
            read("7d"),
            Some(ClassAge(Age::After(Duration::from_hours(168))))
        );
        assert_eq!(
            read("1d12h"),
            Some(ClassAge(Age::After(Duration::from_hours(36))))
        );
        assert_eq!(read("never"), Some(ClassAge(Age::Never)));
        all_refused::<ClassAge>(&["0", "0s", "Never", "always", "7", "101y"]);
    }

    #[test]
    fn sizes() {
        for (typed, bytes) in [
            ("25GiB", 25 << 30),
            ("1.5GiB", 3 << 29),
            ("200 MiB", 200 << 20),
            ("1GB", 1_000_000_000),
            ("4096", 4096),
            ("0", 0),
        ] {
            assert_eq!(read(typed), Some(Bytes(bytes)), "{typed}");
        }
        all_refused::<Bytes>(&[
            "",
            "GiB",
            "-1GiB",
            "1.0",
            "1e3",
            "NaN",
            "inf",
            "1 potato",
            "2EiB",
            "99999999999999999999EiB",
        ]);
    }

    #[test]
    fn percentages() {
        for (typed, fraction) in [("85%", 0.85), ("100 %", 1.0), ("0.5%", 0.005)] {
            let Percent(read) = read(typed).expect(typed);
            assert!((read - fraction).abs() < 1e-9, "{typed}: {read}");
        }
        all_refused::<Percent>(&[
            "", "%", "85", "0.85", "0%", "-1%", "100.1%", "nan%", "inf%", "1e1%",
        ]);
        assert_eq!(
            ["29%", "12.5%"].map(|typed| read(typed).map(|p: Percent| p.to_string())),
            ["29%", "12.5%"].map(|s| Some(s.to_owned()))
        );
    }

    #[test]
    fn counts() {
        assert_eq!([read("0"), read("32")], [Some(Count(0)), Some(Count(32))]);
        all_refused::<Count>(&["", "-1", "1.0", "four", "99999999999999999999"]);
    }
}
