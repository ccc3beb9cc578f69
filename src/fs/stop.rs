//! When to stop: at a signal or the deadline, checked between items and while git runs. Also what a
//! repo may cost until then: memory, and bytes that are read.
//!
//! A destructive step that began is finished, unless it reads for too long.

use crate::fs::budget::{Budget, Reservation};
use crate::fs::humanize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How late a sleeper may notice a signal.
const NAP: Duration = Duration::from_millis(50);
/// Bytes that a step may read before it counts as too long: some seconds.
const LONG: u64 = 2 << 30;
/// The most bytes that are read of one repo's files in a pass: some minutes of a processor, and
/// more than any real repo has. A sparse file may have any length.
const READS: u64 = 256 << 30;

/// When to stop, shared by all threads of a run.
#[derive(Clone)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    began: Instant,
    limit: Duration,
    budget: Budget,
    /// Bytes that may still be read.
    reads: Arc<AtomicU64>,
    /// A step that began is finished, unless it reads for too long.
    began_step: bool,
    /// How often any thread asked since it was time to stop.
    heard: Arc<AtomicU64>,
}

impl Stop {
    /// Stops after `limit`, or when `signalled` becomes true.
    pub fn after(limit: Duration, signalled: Arc<AtomicBool>) -> Self {
        Self {
            signalled,
            began: Instant::now(),
            limit,
            budget: Budget::default(),
            reads: Arc::new(AtomicU64::new(u64::MAX)),
            began_step: false,
            heard: Arc::default(),
        }
    }

    /// Returns the same for one repo, with a memory budget and a limit on reading that is larger
    /// than any well-formed repo.
    #[must_use]
    pub fn within(&self, budget: Budget) -> Self {
        Self {
            budget,
            reads: Arc::new(AtomicU64::new(READS)),
            ..self.clone()
        }
    }

    /// Returns the same without the limit on reading, for work that has its own limit.
    #[must_use]
    pub fn freely(&self) -> Self {
        Self {
            reads: Arc::new(AtomicU64::new(u64::MAX)),
            ..self.clone()
        }
    }

    /// Returns a stop for the same signals, with its own time limit.
    #[must_use]
    pub fn anew(&self, limit: Duration) -> Self {
        Self::after(limit, self.signalled.clone())
    }

    /// Returns the same, but after `limit` at the latest.
    #[must_use]
    pub fn at_most(&self, limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit: self.limit.saturating_sub(self.began.elapsed()).min(limit),
            ..self.clone()
        }
    }

    /// Returns one that never stops, for a command with a caller who waits for its end.
    pub fn never() -> Self {
        Self::after(Duration::from_hours(876_600), Arc::default())
    }

    /// Returns the same for a step that is to be finished: it stops only if that reads too long.
    #[must_use]
    pub fn for_a_step(&self) -> Self {
        Self {
            reads: Arc::new(AtomicU64::new(READS)),
            began_step: true,
            ..self.clone()
        }
    }

    /// Listens for SIGTERM and SIGINT. A second Ctrl-C ends the process at once, as people expect.
    /// A second SIGTERM means nothing new: `timeout` and the inits of containers send it to the
    /// process and to its group.
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

    /// Returns why it is time to stop; none if it isn't.
    pub fn reached(&self) -> Option<&'static str> {
        self.asked().filter(|_| !self.began_step)
    }

    /// Returns how often any thread has asked since it was time to stop; none if it isn't. A thread
    /// that works asks again within minutes.
    pub fn heard(&self) -> Option<u64> {
        self.due().map(|_| self.heard.load(Ordering::Relaxed))
    }

    fn asked(&self) -> Option<&'static str> {
        self.due().inspect(|_| {
            self.heard.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Records a sign of life within a step that is to be finished.
    pub fn beat(&self) {
        self.asked();
    }

    /// Returns why it is time to stop, without counting as a thread that asks.
    pub fn due(&self) -> Option<&'static str> {
        if self.signalled.load(Ordering::Relaxed) {
            Some("a signal asked to stop")
        } else if self.began.elapsed() >= self.limit {
            Some("the deadline has passed")
        } else {
            None
        }
    }

    /// Returns an error once it is time to stop.
    ///
    /// # Errors
    /// It is time to stop.
    pub fn go_on(&self) -> io::Result<()> {
        self.reached()
            .map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Counts bytes before they are read or inflated, some megabytes at most.
    ///
    /// # Errors
    /// It is time to stop, or too much was read already.
    pub fn read(&self, bytes: u64) -> io::Result<()> {
        self.go_on()?;
        let read = self
            .reads
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        let Ok(left) = read else {
            let most = humanize::bytes(READS);
            return Err(io::Error::other(format!(
                "there is more to be read here than {most}; look for a file without content"
            )));
        };
        let is_long = self.began_step && READS.saturating_sub(left) > LONG;
        self.asked()
            .filter(|_| is_long)
            .map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Returns the memory budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Starts an account of the memory budget.
    pub fn hold(&self) -> Reservation {
        self.budget.held()
    }

    /// Returns the time limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns whether three quarters of that time are over, so that the last work must begin.
    pub fn is_late(&self) -> bool {
        self.began.elapsed().saturating_mul(4) >= self.limit.saturating_mul(3)
    }

    /// Sleeps for so long, or until it is time to stop.
    pub fn sleep(&self, time: Duration) {
        let began = Instant::now();
        while self.reached().is_none() {
            match time.saturating_sub(began.elapsed()) {
                Duration::ZERO => break,
                left => std::thread::sleep(left.min(NAP)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_finished_unless_it_reads_for_long() {
        let over = Stop::after(Duration::ZERO, Arc::default()).within(Budget::default());
        assert!(over.go_on().is_err() && over.read(1).is_err());
        let step = over.for_a_step();
        assert!(step.go_on().is_ok() && step.read(1 << 30).is_ok() && step.read(1 << 30).is_ok());
        assert!(step.read(1).is_ok() && step.read(1).is_err());
    }

    #[test]
    fn a_part_ends_with_its_whole() {
        let hour = Duration::from_hours(1);
        let signal = Arc::<AtomicBool>::default();
        let whole = Stop::after(hour, signal.clone());
        assert!(whole.at_most(Duration::ZERO).reached().is_some() && whole.reached().is_none());
        assert!(whole.at_most(hour * 2).limit() <= hour);
        let part = whole.at_most(hour);
        signal.store(true, Ordering::Relaxed);
        assert!(part.reached().is_some());
    }

    #[test]
    fn who_asks_is_heard_in_a_step_too() {
        let signal = Arc::<AtomicBool>::default();
        let stop = Stop::after(Duration::from_hours(1), signal.clone());
        assert!(stop.go_on().is_ok() && stop.heard().is_none());
        signal.store(true, Ordering::Relaxed);
        assert_eq!([stop.heard(), stop.heard()], [Some(0), Some(0)]);
        let repo = stop.within(Budget::default());
        assert!(repo.go_on().is_err() && repo.for_a_step().read(1).is_ok());
        assert_eq!(stop.heard(), Some(3));
    }

    #[test]
    fn no_repo_is_read_without_an_end() {
        let stop = Stop::never().within(Budget::default());
        assert!(stop.read(READS).is_ok());
        assert!(
            stop.read(1)
                .unwrap_err()
                .to_string()
                .starts_with("there is more to be read here than 256.0 GiB")
        );
        assert!(stop.freely().read(READS).is_ok());
    }
}
