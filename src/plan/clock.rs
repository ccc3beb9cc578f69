//! Whether a run may trust its clock.
//!
//! Every age depends on it. A clock a year ahead makes a tree from a minute ago stale and
//! yesterday's rescue expired; a clock that was set back dates rescues so that the next correct run
//! takes them for old. So it is compared with the file server's clock, which just stamped a file,
//! and with the end of the last run. If one of the two is missing, the other still counts.

use chrono::{DateTime, TimeDelta, Utc};

/// How far two clocks may differ: the shortest age that matters is a day.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// If the last run ended longer ago than this, a wrong clock is more likely. It is less than any
/// age after which work is deleted: 14 days for unreachable objects, 30 for unsaved trees and for
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

/// Why the clock can't be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockDoubt {
    /// The file server's clock differs.
    #[error(
        "the clock says {}, and the volume's file server {}: everything would be taken for older or younger than it is; set this machine's clock, or the server's",
        message(*now),
        message(*server)
    )]
    Apart {
        /// What this machine says.
        now: DateTime<Utc>,
        /// What the file server says.
        server: DateTime<Utc>,
    },
    /// The last run ended later than now.
    #[error(
        "the clock says {}, and the last run ended at {}: the clock ran back, or was ahead then; set it right, or if it is right now, move `journal.jsonl` out of the state directory",
        message(*now),
        message(*last)
    )]
    RanBack {
        /// What this machine says.
        now: DateTime<Utc>,
        /// When the last run ended.
        last: DateTime<Utc>,
    },
    /// The last run ended long ago.
    #[error(
        "the clock says {}, and the last run ended at {}, more than {} days ago: the clock is ahead, or runs were missed; if it is right, `treewarden run --after-pause` goes on (`treewarden report` shows with what)",
        message(*now),
        message(*last),
        PAUSE.num_days()
    )]
    Paused {
        /// What this machine says.
        now: DateTime<Utc>,
        /// When the last run ended.
        last: DateTime<Utc>,
    },
}

fn message(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Returns why the clock can't be trusted. `after_pause`: the operator says that runs were missed.
pub fn implausible(clocks: Clocks, after_pause: bool) -> Option<ClockDoubt> {
    let Clocks { now, server, last } = clocks;
    let since = |then: DateTime<Utc>| now.signed_duration_since(then);
    if let Some(server) = server.filter(|server| since(*server).abs() > SKEW) {
        return Some(ClockDoubt::Apart { now, server });
    }
    let last = last?;
    if since(last) < -SKEW {
        return Some(ClockDoubt::RanBack { now, last });
    }
    (since(last) > PAUSE && !after_pause).then_some(ClockDoubt::Paused { now, last })
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
            (at(2), at(-24), false, Some("server")),
            (at(-2), None, true, Some("server")),
            (far, None, true, Some("server")),
            (at(0), at(2), true, Some("back")),
            (at(0), far, true, Some("back")),
            (at(0), at(-7 * 24), false, None),
            (at(0), at(-7 * 24 - 1), false, Some("pause")),
            (None, at(-365 * 24), false, Some("pause")),
            (at(0), least, false, Some("pause")),
            (at(0), at(-365 * 24), true, None),
        ] {
            let why = implausible(Clocks { now, server, last }, after_pause);
            let doubt = why.map(|why| match why {
                ClockDoubt::Apart { .. } => "server",
                ClockDoubt::RanBack { .. } => "back",
                ClockDoubt::Paused { .. } => "pause",
            });
            assert_eq!(doubt, word, "{server:?} {last:?} {after_pause}");
        }
    }
}
