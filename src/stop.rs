//! When to stop: a signal or the deadline, asked between items and while git runs.
//!
//! It must never be asked in the middle of a destructive step: a step that began is finished.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How late a sleeper may notice a signal.
const NAP: Duration = Duration::from_millis(50);

/// Shared by all threads of a run.
#[derive(Clone)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    began: Instant,
    limit: Duration,
}

impl Stop {
    /// Stops after `limit`, or when `signalled` becomes true.
    pub fn after(limit: Duration, signalled: Arc<AtomicBool>) -> Self {
        Self { signalled, began: Instant::now(), limit }
    }

    /// The same signals, but a time of its own.
    #[must_use]
    pub fn anew(&self, limit: Duration) -> Self {
        Self::after(limit, self.signalled.clone())
    }

    /// Never, but for the look of somebody who waits for its end.
    pub fn never() -> Self {
        Self::after(Duration::from_hours(876_600), Arc::default())
    }

    /// Listens for SIGTERM and SIGINT. Ctrl-C a second time ends the process at once, as people expect. A second SIGTERM says nothing new:
    /// `timeout` and the inits of containers send it to the process and to its group.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn listen() -> std::io::Result<Arc<AtomicBool>> {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, flag.clone())?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(flag)
    }

    /// Whether it is time to stop, and why.
    pub fn reached(&self) -> Option<&'static str> {
        if self.signalled.load(Ordering::Relaxed) {
            Some("a signal asked to stop")
        } else if self.began.elapsed() >= self.limit {
            Some("the deadline has passed")
        } else {
            None
        }
    }

    /// The time that a run has.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether three quarters of that time are over: what is to be done last must begin.
    pub fn is_late(&self) -> bool {
        self.began.elapsed() >= self.limit / 4 * 3
    }

    /// Sleeps for so long, or until it is time to stop.
    pub fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.reached().is_none() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left => std::thread::sleep(left.min(NAP)),
            }
        }
    }
}
