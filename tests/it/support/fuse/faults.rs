//! The server's faults: which calls fail, how, and for how long.

use rustix::io::Errno;
use std::sync::Mutex;

macro_rules! calls {
    ($($name:ident),*) => {
        /// What a client asks of the server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Call { $($name),* }

        impl Call {
            /// Every kind.
            pub(crate) const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];
        }
    };
}

calls!(
    Lookup, Getattr, Setattr, Readlink, Mknod, Mkdir, Unlink, Rmdir, Symlink, Rename, Link, Open,
    Create, Read, Write, Flush, Fsync, Opendir, Readdir, Fsyncdir, Statfs, Fallocate
);

/// Which calls fail, and how.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    error: Errno,
    calls: &'static [Call],
    path: String,
    after: u32,
    times: u32,
    spreads: bool,
}

impl Fault {
    /// Makes every call fail with this error.
    pub(crate) fn of(error: Errno) -> Self {
        Self {
            error,
            calls: &[],
            path: String::new(),
            after: 0,
            times: u32::MAX,
            spreads: false,
        }
    }

    /// Makes the server vanish at the first matching call: from then on every call fails.
    pub(crate) fn outage() -> Self {
        Self {
            spreads: true,
            ..Self::of(Errno::IO)
        }
    }

    /// Limits it to these calls.
    pub(crate) fn on(self, calls: &'static [Call]) -> Self {
        Self { calls, ..self }
    }

    /// Limits it to paths that contain this text. A rename has two, with ` -> ` between; all are
    /// relative to the volume's root, without a leading `/`.
    pub(crate) fn at(self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    /// Lets so many matching calls succeed first.
    pub(crate) fn after(self, calls: u32) -> Self {
        Self {
            after: calls,
            ..self
        }
    }

    /// Lets so many calls fail, and then none any more.
    pub(crate) fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    fn meets(&self, call: Call, path: &str) -> bool {
        (self.calls.is_empty() || self.calls.contains(&call)) && path.contains(&self.path)
    }
}

/// The faults that are set.
#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    set: Vec<Fault>,
    failed: u64,
}

impl Faults {
    pub(super) fn set(&self, fault: Fault) {
        self.0.lock().unwrap().set.push(fault);
    }

    pub(super) fn clear(&self) -> u64 {
        std::mem::take(&mut *self.0.lock().unwrap()).failed
    }

    pub(super) fn failed(&self) -> u64 {
        self.0.lock().unwrap().failed
    }

    /// Returns the error with which this call fails, if it does.
    pub(super) fn check(&self, call: Call, path: impl FnOnce() -> String) -> Result<(), Errno> {
        let mut state = self.0.lock().unwrap();
        if state.set.is_empty() {
            return Ok(());
        }
        let path = path();
        let State { set, failed } = &mut *state;
        for fault in set
            .iter_mut()
            .filter(|fault| fault.times > 0 && fault.meets(call, &path))
        {
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            if fault.spreads {
                (fault.calls, fault.path) = (&[], String::new());
            }
            fault.times -= 1;
            *failed += 1;
            return Err(fault.error);
        }
        Ok(())
    }
}
