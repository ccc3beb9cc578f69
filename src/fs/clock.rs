//! The run's clock, and the file server's.
//!
//! Every decision gets its time from here, as an argument. A debug build can be told to live ahead
//! of time, so that tests see a volume age without touching it; a release build must never listen
//! to that.

use crate::fs::openat;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// So many seconds are added to both clocks, in debug builds only.
const AHEAD: &str = "TREEWARDEN_TEST_CLOCK_AHEAD";
/// So many to this machine's alone.
const WRONG: &str = "TREEWARDEN_TEST_CLOCK_WRONG";
/// That it is set says that a test made its volume look old by touching it, in debug builds only.
const TOUCHED: &str = "TREEWARDEN_TEST_TOUCHED";
/// The same of the demo's sample, in any build: nobody outside this process can say so.
static SAMPLE: AtomicBool = AtomicBool::new(false);

/// What this machine's clock says.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> DateTime<Utc> {
    [AHEAD, WRONG].into_iter().fold(Utc::now(), |now, name| {
        now.checked_add_signed(given(name)).unwrap_or(now)
    })
}

/// What the file server's clock said when it wrote `stamp` on a file that was just touched.
pub fn of_server(stamp: SystemTime) -> DateTime<Utc> {
    openat::time(stamp)
        .checked_add_signed(given(AHEAD))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether the volume was made to look old by touching its files. What the kernel wrote down of
/// that, which nobody can set back, is then no sign that somebody was at work.
pub fn is_touched() -> bool {
    SAMPLE.load(Ordering::Relaxed)
        || (cfg!(debug_assertions) && std::env::var_os(TOUCHED).is_some())
}

/// Whether a test goes on touching, between one run and the next: then that tells nothing either of
/// what a run wrote down before.
pub fn is_touched_again() -> bool {
    cfg!(debug_assertions) && std::env::var_os(TOUCHED).is_some_and(|value| value == "again")
}

/// From now on this process looks at nothing but a sample that it made itself.
pub(crate) fn is_a_sample() {
    SAMPLE.store(true, Ordering::Relaxed);
}

/// Whether a volume is to look aged: then runs were not missed, but never were.
pub fn is_moved() -> bool {
    given(AHEAD) != TimeDelta::zero()
}

fn given(name: &str) -> TimeDelta {
    if !cfg!(debug_assertions) {
        return TimeDelta::zero();
    }
    let seconds = std::env::var(name)
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    seconds.and_then(TimeDelta::try_seconds).unwrap_or_default()
}
