//! Whether a run may trust its clock.
//!
//! Every age depends on it. A clock a year ahead makes trees of a minute ago stale, and rescues of
//! yesterday expired; a clock that runs back dates rescues so that the next correct run takes them
//! for old. So it is compared with the file server's clock, which stamped a file just now, and with
//! the last run's. If one of the two is missing, the other still counts.

use chrono::{DateTime, TimeDelta, Utc};

/// How far two clocks may differ: the shortest age that matters is a day.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// A run that is the first for longer than this more likely has a wrong clock. It is less than any
/// age that deletes something: 14 days for unreachable objects, 30 for unsaved trees and for
/// rescues.
const PAUSE: TimeDelta = TimeDelta::days(7);

/// The times that a run compares.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// This machine's clock.
    pub now: DateTime<Utc>,
    /// The file server's clock; none if nothing was written.
    pub server: Option<DateTime<Utc>>,
    /// When the last run of the journal ended.
    pub last: Option<DateTime<Utc>>,
}

/// Why the clock is not to be trusted; none if it is. `after_pause` is the operator's word that
/// runs were missed.
pub fn implausible(clocks: Clocks, after_pause: bool) -> Option<String> {
    let Clocks { now, server, last } = clocks;
    let told = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC");
    let since = |then: DateTime<Utc>| now.signed_duration_since(then);
    if let Some(server) = server.filter(|server| since(*server).abs() > SKEW) {
        let remedy = "everything would be taken for older or younger than it is; set this machine's clock, or the server's";
        return Some(format!(
            "the clock says {}, and the volume's file server {}: {remedy}",
            told(now),
            told(server)
        ));
    }
    let last = last?;
    if since(last) < -SKEW {
        let remedy = "the clock ran back, or was ahead then; set it right, or if it is right now, move `journal.jsonl` out of the state folder";
        return Some(format!(
            "the clock says {}, and the last run ended at {}: {remedy}",
            told(now),
            told(last)
        ));
    }
    (since(last) > PAUSE && !after_pause).then(|| {
        let remedy = "the clock is ahead, or nights were missed; if it is right, `treewarden run --after-pause` goes on (`treewarden report` shows with what)";
        format!("the clock says {}, and the last run ended at {}, more than {} days ago: {remedy}", told(now), told(last), PAUSE.num_days())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_held_against_the_servers_and_the_last_run() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let at = |hours: i64| Some(now + TimeDelta::hours(hours));
        let (far, least) = (
            Some(DateTime::<Utc>::MAX_UTC),
            Some(DateTime::<Utc>::MIN_UTC),
        );
        for (server, last, after_pause, word) in [
            (None, None, false, None),
            (at(0), at(-24), false, None),
            (at(1), at(1), false, None),
            (at(2), at(-24), false, Some("file server")),
            (at(-2), None, true, Some("file server")),
            (far, None, true, Some("file server")),
            (at(0), at(2), true, Some("ran back")),
            (at(0), far, true, Some("ran back")),
            (at(0), at(-7 * 24), false, None),
            (at(0), at(-7 * 24 - 1), false, Some("--after-pause")),
            (None, at(-365 * 24), false, Some("--after-pause")),
            (at(0), least, false, Some("--after-pause")),
            (at(0), at(-365 * 24), true, None),
        ] {
            let why = implausible(Clocks { now, server, last }, after_pause);
            let as_expected = match word {
                None => why.is_none(),
                Some(word) => why.as_ref().is_some_and(|why| why.contains(word)),
            };
            assert!(as_expected, "{server:?} {last:?} {after_pause}: {why:?}");
        }
    }
}
