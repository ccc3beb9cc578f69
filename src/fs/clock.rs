//! The run's clock, and the file server's.
//!
//! Every decision gets its time from here, as an argument. In a debug build variables can move it
//! ahead, so that tests see a volume age without touching it; a release build ignores them.

use crate::fs::openat;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Seconds that are added to both clocks, in debug builds only.
const AHEAD: &str = "TREEWARDEN_TEST_CLOCK_AHEAD";
/// Seconds that are added to this machine's clock alone.
const WRONG: &str = "TREEWARDEN_TEST_CLOCK_WRONG";
/// If set, a test made its volume look old by touching it; in debug builds only.
const TOUCHED: &str = "TREEWARDEN_TEST_TOUCHED";
/// The same for the demo's sample, in any build: nobody outside this process can set it.
static SAMPLE: AtomicBool = AtomicBool::new(false);

/// Returns this machine's time.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> DateTime<Utc> {
    [AHEAD, WRONG].into_iter().fold(Utc::now(), |now, name| {
        now.checked_add_signed(given(name)).unwrap_or(now)
    })
}

/// Returns the file server's time, from its `stamp` on a file that was just touched.
pub fn of_server(stamp: SystemTime) -> DateTime<Utc> {
    openat::time(stamp)
        .checked_add_signed(given(AHEAD))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns whether the volume was made to look old by touching its files. If so, the change times
/// that the kernel records, which nobody can set back, are no sign of work.
pub fn is_touched() -> bool {
    SAMPLE.load(Ordering::Relaxed)
        || (cfg!(debug_assertions) && std::env::var_os(TOUCHED).is_some())
}

/// Returns whether a test also touches files between two runs. If so, change times show nothing
/// about what an earlier run recorded either.
pub fn is_touched_again() -> bool {
    cfg!(debug_assertions) && std::env::var_os(TOUCHED).is_some_and(|value| value == "again")
}

/// Records that this process works only on a sample that it made itself.
pub(crate) fn is_a_sample() {
    SAMPLE.store(true, Ordering::Relaxed);
}

/// Returns whether the clock is moved ahead. If so, no runs were missed.
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
