//! The few calls that Rust can't prove safe, each behind a safe function that says why it is.
//!
//! treewarden itself forbids unsafe code, so an audit of it reads only this file, `account.rs` and
//! `open.rs`. A call belongs here only if no well-maintained crate has it.

use rustix::process::Signal;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Once;

mod account;
mod open;
pub use account::{Account, Entered, count_libgit2};
pub use open::open_without_waiting;

/// Limits the memory of the child, and of each of its children, to so many bytes: a larger request
/// fails. Files that are mapped for reading are not counted.
pub fn limit_memory(command: &mut Command, bytes: u64) {
    let ask = move || {
        let limit = rustix::process::Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        Ok(rustix::process::setrlimit(
            rustix::process::Resource::Data,
            limit,
        )?)
    };
    // SAFETY: as below.
    unsafe { command.pre_exec(ask) };
}

/// Puts the child into its own process group, and makes the kernel kill it when the thread that
/// starts it ends: a child must not keep working when its parent's lock is gone. That doesn't reach
/// the child's own children, so they inherit a pipe that nobody writes to. When its other end, the
/// result, is dropped, the whole group gets SIGIO, which ends it.
///
/// # Errors
/// There is no descriptor left for the pipe.
pub fn die_with_parent(command: &mut Command) -> io::Result<Lifeline> {
    let (theirs, ours) = io::pipe()?;
    let lifeline = Lifeline {
        _ours: ours,
        theirs: theirs.try_clone()?,
    };
    let ask = move || {
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
        // SAFETY: they take and return plain numbers, and the descriptor is open.
        let asked = unsafe {
            libc::signal(libc::SIGIO, libc::SIG_DFL) != libc::SIG_ERR
                && libc::fcntl(theirs.as_raw_fd(), libc::F_SETOWN, -libc::getpid()) == 0
                && libc::fcntl(theirs.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) == 0
        };
        if asked {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes
    // system calls and allocates nothing: every error in it is a plain number.
    unsafe { command.process_group(0).pre_exec(ask) };
    die_alone_with_parent(command);
    Ok(lifeline)
}

/// Makes the kernel kill the child when the thread that starts it ends. It stays in our process
/// group, as a program at a terminal must, and its own children live on.
pub fn die_alone_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the kernel was asked.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(ask) };
}

/// Keeps the child's own children alive: when it is dropped, they die. See [`die_with_parent`].
#[derive(Debug)]
pub struct Lifeline {
    _ours: PipeWriter,
    theirs: PipeReader,
}

impl Lifeline {
    /// Lets the child's children live on without us.
    ///
    /// # Errors
    /// The kernel refuses; then they die.
    pub fn let_live(self) -> io::Result<()> {
        // This changes the pipe's end itself, which the children share.
        Ok(rustix::fs::fcntl_setfl(
            &self.theirs,
            rustix::fs::OFlags::empty(),
        )?)
    }
}

/// Makes libgit2 read no config but a repository's own: the machine's and the user's don't apply,
/// and need not be well-formed. Must be called before any repository is opened; a second call does
/// nothing.
///
/// # Panics
/// libgit2 has no memory left.
pub fn forget_machine_config() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use git2::ConfigLevel::{Global, ProgramData, System, XDG};
        for level in [System, Global, XDG, ProgramData] {
            // SAFETY: the search path is a global that libgit2 doesn't guard. `call_once` keeps
            // other callers waiting until it is written, and no repository is opened before this
            // has returned.
            let set = unsafe { git2::opts::set_search_path(level, "/nonexistent") };
            set.expect("libgit2 takes a search path for every level");
        }
    });
}

/// Makes mimalloc return unused memory at once: otherwise each of a run's many threads keeps some.
pub fn give_back_at_once() {
    // The bindings don't name `mi_option_purge_delay` of mimalloc 2. It is between two that they
    // name: `eager_commit_delay` and `use_numa_nodes`.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t =
        libmimalloc_sys::mi_option_eager_commit_delay + 1;
    const { assert!(PURGE_DELAY + 1 == libmimalloc_sys::mi_option_use_numa_nodes) }
    // SAFETY: it takes plain numbers, and sets one that mimalloc's threads read one by one.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test of children needs a child"
    )]
    fn start(
        program: &str,
        arguments: &[&str],
        output: std::process::Stdio,
    ) -> (std::process::Child, Lifeline) {
        let mut command = Command::new(program);
        let lifeline = die_with_parent(command.args(arguments).stdout(output)).unwrap();
        (command.spawn().unwrap(), lifeline)
    }

    fn ended_by(mut child: std::process::Child) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap())
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let (child, _lifeline) =
            std::thread::spawn(|| start("sleep", &["60"], std::process::Stdio::null()))
                .join()
                .unwrap();
        assert_eq!(ended_by(child), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn a_childs_children_die_with_the_lifeline() {
        let (mut answer, theirs) = io::pipe().unwrap();
        let (child, lifeline) = start("sh", &["-c", "sleep 60 & wait"], theirs.into());
        drop(lifeline);
        assert_eq!(ended_by(child), Some(libc::SIGIO));
        // Its end closes when the last of them is gone.
        assert_eq!(io::Read::read(&mut answer, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_childs_children_live_on_when_they_may() {
        let (mut answer, theirs) = io::pipe().unwrap();
        let (mut child, lifeline) = start(
            "sh",
            &["-c", "(sleep 0.2; echo lives) & exit 3"],
            theirs.into(),
        );
        assert_eq!(child.wait().unwrap().code(), Some(3));
        lifeline.let_live().unwrap();
        let mut said = String::new();
        io::Read::read_to_string(&mut answer, &mut said).unwrap();
        assert_eq!(said, "lives\n");
    }

    #[test]
    fn the_users_config_is_not_read() {
        forget_machine_config();
        let config = git2::Config::open_default().unwrap();
        assert!(config.entries(None).unwrap().next().is_none());
    }
}
