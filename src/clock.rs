//! The run's clock, and the file server's.
//!
//! Every decision gets its time from here, as an argument. A debug build can be told to live ahead of time, so that tests see a volume age
//! without touching it; a release build must never listen to that.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::SystemTime;

/// So many seconds are added to both clocks, in debug builds only.
const AHEAD: &str = "TREEWARDEN_TEST_CLOCK_AHEAD";

/// What this machine's clock says.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> DateTime<Utc> {
    Utc::now() + ahead()
}

/// What the file server's clock said when it wrote `stamp` on a file that was just touched.
pub fn of_server(stamp: SystemTime) -> DateTime<Utc> {
    DateTime::from(stamp) + ahead()
}

fn ahead() -> TimeDelta {
    if !cfg!(debug_assertions) {
        return TimeDelta::zero();
    }
    let seconds = std::env::var(AHEAD).ok().and_then(|seconds| seconds.parse().ok());
    seconds.and_then(TimeDelta::try_seconds).unwrap_or_default()
}
