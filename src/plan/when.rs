//! When something will be due: the plan itself is asked, for later times, so that the two can't
//! disagree.

use chrono::{DateTime, TimeDelta, Utc};

/// Hours that are asked one by one: sixty days.
const HOURS: i64 = 60 * 24;
/// Seconds: twice the longest age that a config may have. What is not due by then never is.
const LONGEST: i64 = 200 * 366 * 24 * 3600;

/// Returns the first of the whole seconds from `now` on at which it is due; none if it never is.
/// Whatever is due must stay due.
pub fn first(now: DateTime<Utc>, is_due: impl Fn(DateTime<Utc>) -> bool) -> Option<DateTime<Utc>> {
    let at = |seconds: i64| {
        now.checked_add_signed(TimeDelta::seconds(seconds))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    };
    if !is_due(at(LONGEST)) {
        return None;
    }
    // It is due at `late`, and not before `early`.
    let (mut early, mut late) = (0, LONGEST);
    while early < late {
        let middle = i64::midpoint(early, late);
        if is_due(at(middle)) {
            late = middle;
        } else {
            early = middle.saturating_add(1);
        }
    }
    Some(at(late))
}

/// Returns the first time at which it is due, asked for each hour from `from` until `until`, and
/// then for the seconds of that hour; none if it isn't due within sixty days. For what may be due
/// only for a while: others go meanwhile.
pub fn first_hour(
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    is_due: impl Fn(DateTime<Utc>) -> bool,
) -> Option<DateTime<Utc>> {
    let at = |hours: i64| from.checked_add_signed(TimeDelta::hours(hours));
    let hours = (0..=HOURS).map_while(at);
    let mut hours = hours.take_while(|then| until.is_none_or(|until| *then < until));
    let hour = hours.find(|then| is_due(*then))?;
    let before = hour.checked_sub_signed(TimeDelta::hours(1));
    let before = before.map_or(from, |before| before.max(from));
    first(before, |then| then >= hour || is_due(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_found_to_the_second() {
        let now = DateTime::from_timestamp(1_800_000_000, 7).unwrap();
        for seconds in [0, 1, 2, 59, 86_400, 3_155_760_000] {
            let due = now + TimeDelta::seconds(seconds);
            assert_eq!(first(now, |then| then >= due), Some(due));
        }
        assert_eq!(
            first(now, |then| then >= now - TimeDelta::days(9)),
            Some(now)
        );
        assert_eq!(first(now, |_| false), None);
        let last = DateTime::<Utc>::MAX_UTC;
        assert_eq!(first(last, |_| true), Some(last));
        // Only for a day.
        let day =
            |then| then >= now + TimeDelta::seconds(90_007) && then < now + TimeDelta::days(2);
        let due = Some(now + TimeDelta::seconds(90_007));
        assert_eq!(first_hour(now, None, day), due);
        assert_eq!(first_hour(now, Some(now + TimeDelta::days(1)), day), None);
        assert_eq!(first_hour(now, None, |_| true), Some(now));
    }
}
