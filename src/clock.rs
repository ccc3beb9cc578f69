//! The run's clock, and the file server's.
//!
//! Every decision gets its time from here, as an argument. A debug build can be told to live ahead of time, so that tests see a volume age
//! without touching it; a release build must never listen to that.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::beneath;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::SystemTime;

/// So many seconds are added to both clocks, in debug builds only.
const AHEAD: &str = "TREEWARDEN_TEST_CLOCK_AHEAD";
/// So many to this machine's alone.
const WRONG: &str = "TREEWARDEN_TEST_CLOCK_WRONG";

/// What this machine's clock says.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> DateTime<Utc> {
    [AHEAD, WRONG].into_iter().fold(Utc::now(), |now, name| now.checked_add_signed(given(name)).unwrap_or(now))
}

/// What the file server's clock said when it wrote `stamp` on a file that was just touched.
pub fn of_server(stamp: SystemTime) -> DateTime<Utc> {
    beneath::time(stamp).checked_add_signed(given(AHEAD)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether a volume is to look aged: then nights were not missed, but never were.
pub fn is_moved() -> bool {
    given(AHEAD) != TimeDelta::zero()
}

fn given(name: &str) -> TimeDelta {
    if !cfg!(debug_assertions) {
        return TimeDelta::zero();
    }
    let seconds = std::env::var(name).ok().and_then(|seconds| seconds.parse().ok());
    seconds.and_then(TimeDelta::try_seconds).unwrap_or_default()
}
