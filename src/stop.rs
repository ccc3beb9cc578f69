//! When to stop: a signal or the deadline, asked between items and while git runs.
//!
//! It must never be asked in the middle of a destructive step: a step that began is finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Shared by all threads of a run.
#[derive(Clone)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    /// Stops after `limit`, or when `signalled` becomes true.
    pub fn after(limit: Duration, signalled: Arc<AtomicBool>) -> Self {
        Self { signalled, deadline: Instant::now() + limit }
    }

    /// Listens for SIGTERM and SIGINT. A second signal ends the process at once, as people expect of Ctrl-C.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn listen() -> std::io::Result<Arc<AtomicBool>> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(flag)
    }

    /// Whether it is time to stop, and why.
    pub fn reached(&self) -> Option<&'static str> {
        if self.signalled.load(Ordering::Relaxed) {
            Some("a signal asked to stop")
        } else if Instant::now() >= self.deadline {
            Some("the deadline has passed")
        } else {
            None
        }
    }

    /// What is left until the deadline.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
