//! One memory budget for everything that is read of a repo, by us and by libgit2, because agents
//! may have written anything.
//!
//! Memory is drawn from the budget before it is used. If the budget is exceeded, the repo or its
//! tree is refused by name. It counts bytes, not files: one name may be as long as a path.

use crate::fs::humanize;
use std::io;
use std::path::Path;
use treewarden_unsafe::{Account, Entered};

/// Bytes drawn at once: each draw is a synchronised operation.
const AT_ONCE: usize = 64 << 10;
/// Bytes that a kept path takes besides its text, for what is kept about it and room to grow.
const A_PATH: usize = 192;

/// A memory budget; unlimited by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget(Option<&'static Account>);

impl Budget {
    /// Returns a budget of so many bytes.
    pub fn of(bytes: u64) -> Self {
        Self(Some(Account::open(
            usize::try_from(bytes).unwrap_or(usize::MAX),
        )))
    }

    /// Returns an empty account of this budget.
    pub fn held(self) -> Reservation {
        Reservation {
            of: self,
            drawn: 0,
            used: 0,
        }
    }

    /// Counts what libgit2 allocates in this thread as well, until the result is dropped.
    pub fn enter(self) -> Entered {
        Account::enter(self.0)
    }

    /// Returns how often more was requested than there was.
    pub fn refusals(self) -> usize {
        self.0.map_or(0, Account::refusals)
    }

    /// Returns its bytes; none if it is unlimited.
    pub fn most(self) -> Option<u64> {
        self.0.map(|account| account.most() as u64)
    }

    /// Returns the message for whoever needs more.
    pub fn exceeded(self) -> String {
        let most = humanize::bytes(self.most().unwrap_or(u64::MAX));
        format!(
            "it takes more than {most} of memory, a repo's share; raise the memory limit, or lower `run.repos_in_parallel`"
        )
    }
}

/// Bytes that are counted, and released when this is dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    of: Budget,
    drawn: usize,
    used: usize,
}

impl Reservation {
    /// Counts so many more.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`]: fewer are left.
    pub fn more(&mut self, bytes: usize) -> io::Result<()> {
        let used = self.used.saturating_add(bytes);
        if let (Some(account), Some(missing @ 1..)) = (self.of.0, used.checked_sub(self.drawn)) {
            let draw = missing.max(AT_ONCE.min(account.most() / 64));
            if !account.take(draw) {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    self.of.exceeded(),
                ));
            }
            self.drawn = self.drawn.saturating_add(draw);
        }
        self.used = used;
        Ok(())
    }

    /// Counts a path, with what is kept about it.
    ///
    /// # Errors
    /// As [`Reservation::more`].
    pub fn path(&mut self, path: &Path) -> io::Result<()> {
        self.more(path.as_os_str().len().saturating_add(A_PATH))
    }

    /// Takes over what was counted for a part.
    pub fn take_over(&mut self, mut other: Self) {
        self.of = if self.of.0.is_none() {
            other.of
        } else {
            self.of
        };
        self.drawn = self.drawn.saturating_add(std::mem::take(&mut other.drawn));
        self.used = self.used.saturating_add(other.used);
    }

    /// Reduces the count to at most so many.
    pub fn only(&mut self, bytes: usize) {
        if let (Some(account), Some(free)) = (self.of.0, self.drawn.checked_sub(bytes)) {
            account.give_back(free);
            self.drawn = bytes;
        }
        self.used = self.used.min(bytes);
    }

    /// Returns the bytes that are counted.
    pub fn bytes(&self) -> usize {
        self.used
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(account) = self.of.0 {
            account.give_back(self.drawn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_there_again() {
        let budget = Budget::of(10 << 20);
        let (mut one, mut other) = (budget.held(), budget.held());
        one.more(6 << 20).unwrap();
        assert_eq!(
            other.more(5 << 20).unwrap_err().kind(),
            io::ErrorKind::OutOfMemory
        );
        other.more(3 << 20).unwrap();
        drop(one);
        other.more(6 << 20).unwrap();
        assert_eq!((other.bytes(), budget.refusals()), (9 << 20, 1));
        let told = other.more(2 << 20).unwrap_err().to_string();
        assert!(
            told.starts_with("it takes more than 10.0 MiB of memory, a repo's share; raise"),
            "{told}"
        );
        Budget::default().held().more(usize::MAX).unwrap();
    }

    #[test]
    fn many_paths_are_no_more_than_there_is_room_for() {
        let mut held = Budget::of(1 << 20).held();
        let path = "d/".repeat(2000);
        let fit = (0..1000)
            .take_while(|_| held.path(Path::new(&path)).is_ok())
            .count();
        assert!((200..280).contains(&fit), "{fit}");
    }
}
