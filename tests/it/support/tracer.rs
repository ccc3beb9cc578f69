//! Traces every file-system call that the program and its git children make on a volume, and kills
//! the program or fails the call at a chosen one.
//!
//! It uses ptrace itself: strace counts `when=` for each thread and each system call separately, so
//! it can't hit "the 700th change of the volume", and it can't select directories, so a fault would
//! hit the loading of libraries first. A point is identified by its call and not by a number alone,
//! so that it is the same in every run. Only calls that matter stop, by a seccomp filter that the
//! tracer makes the program load before it starts. It touches only processes that it started.

use super::calls::{Call, Kind, Places, numbers, who};
use super::{Ran, World, read};
use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A run under the tracer takes a second; a run in which every call fails must end as well.
const LIMIT: Duration = Duration::from_mins(1);
/// Waits for a line, so that the tracer sees the program's first call.
const STARTER: &str = "read go && exec \"$@\" </dev/null";

/// The `nth` equal call, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    pub(crate) call: Call,
    pub(crate) nth: usize,
}

/// What to do at a point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// Nothing: only list the calls.
    Watch,
    /// Kill everything before the call is made, as when a pod is removed.
    KillAll(&'a Point),
    /// The same before the n-th call that changes anything, counted from 1.
    KillAllBefore(usize),
    /// Kill the program alone, as the kernel does when memory is short.
    Kill(&'a Point),
    /// Let the call fail.
    Once(&'a Point, Errno),
    /// Let it and all later calls that can meet this error fail.
    Lasting(&'a Point, Errno),
}

impl Act<'_> {
    /// Returns whether a call of this name and kind can be of interest.
    fn listens(&self, name: &str, kind: Kind) -> bool {
        match self {
            Self::Watch => true,
            // A kill comes before a change, so calls that only inspect don't matter.
            Self::KillAll(_) | Self::Kill(_) | Self::KillAllBefore(_) => kind.changes(),
            Self::Once(point, _) => name == point.call.name,
            Self::Lasting(point, errno) => name == point.call.name || kind.can_meet(*errno),
        }
    }
}

/// The result of a traced run.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) ran: Ran,
    /// Every call on the volume, in order.
    pub(crate) calls: Vec<Call>,
    /// How many of them were made before the point; none if it was never reached.
    pub(crate) hit: Option<usize>,
    /// Whether it did not end by itself.
    pub(crate) hung: bool,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call {
            who, name, path, ..
        } = &self.call;
        write!(f, "{who}: {name} {path} #{}", self.nth)
    }
}

/// Returns every call as a point.
pub(crate) fn points(calls: &[Call]) -> Vec<Point> {
    let mut seen: HashMap<&Call, usize> = HashMap::new();
    let point = |call| {
        let nth = seen.entry(call).and_modify(|nth| *nth += 1).or_insert(1);
        Point {
            call: call.clone(),
            nth: *nth,
        }
    };
    calls.iter().map(point).collect()
}

impl World {
    /// Runs the program on this volume under the tracer.
    pub(crate) fn trace(&self, arguments: &[&str], act: Act<'_>) -> Traced {
        let program = ["-c", STARTER, "sh", env!("CARGO_BIN_EXE_treewarden")];
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.command("sh", &[&program, arguments].concat());
        command
            .stdin(std::process::Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap());
        #[expect(
            clippy::zombie_processes,
            reason = "the tracer waits for it, and for all its children"
        )]
        let mut child = command.spawn().unwrap();
        let main = Pid::from_raw(child.id().cast_signed());
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, options).unwrap();
        ptrace::interrupt(main).unwrap();
        filter(main, &numbers(|name, kind| act.listens(name, kind)));
        let mut starter = child.stdin.take().unwrap();
        let (done, watched) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let hung = watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            hung && kill(main, Signal::SIGKILL).is_ok()
        });
        let [root, scratch] =
            [&self.root, &self.beside("scratch")].map(|path| path.canonicalize().unwrap());
        let mut tracer = Tracer {
            places: Places { root, scratch },
            main,
            act,
            options,
            tracees: HashMap::new(),
            calls: Vec::new(),
            seen: 0,
            hit: None,
            held: None,
        };
        starter.write_all(b"\n").unwrap();
        let code = tracer.follow();
        drop(done);
        let hung = watchdog.join().unwrap();
        Traced {
            ran: Ran {
                code,
                out: read(&mut out),
                err: read(&mut err),
            },
            calls: tracer.calls,
            hit: tracer.hit,
            hung,
        }
    }
}

/// A thread or process that is followed.
struct Tracee {
    who: Arc<str>,
    /// The error that the current call must return once it has been made.
    answer: Option<Errno>,
}

struct Tracer<'a> {
    places: Places,
    main: Pid,
    act: Act<'a>,
    options: Options,
    tracees: HashMap<Pid, Tracee>,
    calls: Vec<Call>,
    /// How many calls like the point's there were.
    seen: usize,
    hit: Option<usize>,
    /// A tracee that stays stopped until the program is gone: would it outlive it?
    held: Option<Pid>,
}

impl Tracer<'_> {
    /// Follows all to their end, and returns the program's exit code.
    fn follow(&mut self) -> i32 {
        let mut code = -1;
        let whose = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(whose)) {
                Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_SECCOMP)) => {
                    self.stopped_at_call(pid);
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => self.call_ended(pid),
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        let who = who(pid);
                        self.tracee(pid).who = who;
                    }
                    // A new one, or one that was asked to stop.
                    self.tracee(pid);
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => resume(pid, Some(signal)),
                Ok(WaitStatus::Exited(pid, status)) => self.ended(pid, status, &mut code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, 128 + signal as i32, &mut code);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return code,
                Err(error) => panic!("failed to wait: {error}"),
            }
        }
    }

    fn ended(&mut self, pid: Pid, with: i32, code: &mut i32) {
        self.tracees.remove(&pid);
        if pid == self.main {
            *code = with;
            self.held
                .take()
                .into_iter()
                .for_each(|held| resume(held, None));
            if !matches!(self.act, Act::Kill(_)) {
                for left in self.tracees.keys() {
                    let _gone = kill(*left, Signal::SIGKILL);
                }
            }
        }
    }

    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        self.tracees.entry(pid).or_insert_with(|| Tracee {
            who: who(pid),
            answer: None,
        })
    }

    fn stopped_at_call(&mut self, pid: Pid) {
        if self.is_done() {
            // The rest of the run needs no tracing, and is faster without it.
            let _gone = ptrace::setoptions(
                pid,
                self.options | Options::from_bits_retain(libc::PTRACE_O_SUSPEND_SECCOMP),
            );
        } else if let Ok(regs) = ptrace::getregs(pid) {
            let who = self.tracee(pid).who.clone();
            let act = self.act;
            if let Some(call) = self
                .places
                .call(pid, &who, &regs, |name, kind| act.listens(name, kind))
            {
                self.made(pid, regs, call);
            }
        }
        if self.held == Some(pid) {
            return;
        }
        if self.tracee(pid).answer.is_some() {
            let _gone = ptrace::syscall(pid, None);
        } else {
            resume(pid, None);
        }
    }

    fn call_ended(&mut self, pid: Pid) {
        if let Some(errno) = self.tracee(pid).answer.take()
            && let Ok(mut regs) = ptrace::getregs(pid)
        {
            regs.rax = answer(errno);
            let _gone = ptrace::setregs(pid, regs);
        }
        resume(pid, None);
    }

    /// Returns whether the only failure has happened.
    fn is_done(&self) -> bool {
        matches!(self.act, Act::Once(..)) && self.hit.is_some()
    }

    fn made(&mut self, pid: Pid, mut regs: user_regs_struct, call: Call) {
        let here = match self.act {
            Act::Watch => false,
            Act::KillAllBefore(number) => {
                self.seen += usize::from(call.kind.changes());
                self.hit.is_none() && self.seen == number
            }
            Act::KillAll(point)
            | Act::Kill(point)
            | Act::Once(point, _)
            | Act::Lasting(point, _) => {
                self.seen += usize::from(call == point.call);
                self.hit.is_none() && call == point.call && self.seen == point.nth
            }
        };
        if here {
            self.hit = Some(self.calls.len());
        }
        let fails = match self.act {
            Act::Once(_, errno) => here.then_some(errno),
            Act::Lasting(_, errno) => {
                (self.hit.is_some() && call.kind.can_meet(errno)).then_some(errno)
            }
            _ => None,
        };
        if let Some(errno) = fails {
            if call.kind == Kind::Close {
                // A close that fails has closed all the same.
                self.tracee(pid).answer = Some(errno);
            } else {
                (regs.orig_rax, regs.rax) = (u64::MAX, answer(errno));
                let _gone = ptrace::setregs(pid, regs);
            }
        }
        match self.act {
            Act::KillAll(_) | Act::KillAllBefore(_) if here => {
                for pid in std::iter::once(self.main).chain(self.tracees.keys().copied()) {
                    let _gone = kill(pid, Signal::SIGKILL);
                }
            }
            Act::Kill(_) if here => {
                kill(self.main, Signal::SIGKILL).unwrap();
                self.held = Some(pid);
            }
            _ => {}
        }
        self.calls.push(call);
    }
}

fn resume(pid: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile: then its end is reported next.
    let _gone = ptrace::cont(pid, signal);
}

/// Returns a register's value for an error.
fn answer(errno: Errno) -> u64 {
    i64::from(-(errno as i32)).cast_unsigned()
}

/// Makes a stopped program load a filter by which it, and all its children, stop at these system
/// calls. The program makes two more calls for that before its next one.
fn filter(pid: Pid, numbers: &[u32]) {
    assert!(matches!(
        waitpid(pid, None),
        Ok(WaitStatus::PtraceEvent(..))
    ));
    let step = || {
        ptrace::syscall(pid, None).unwrap();
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::PtraceSyscall(pid)));
        ptrace::getregs(pid).unwrap()
    };
    let mut at_entry = step();
    while at_entry.rax != answer(Errno::ENOSYS) {
        at_entry = step();
    }
    // Below the program's stack, and the part below it that the program may use.
    let place = (at_entry.rsp - 4096) & !15;
    let instructions = program(numbers);
    let mut memory = u16::try_from(instructions.len() / 8)
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    memory.resize(8, 0);
    memory.extend((place + 16).to_ne_bytes());
    memory.extend(instructions);
    File::options()
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .unwrap()
        .write_all_at(&memory, place)
        .unwrap();
    let with = |number: i64, [rdi, rsi, rdx]: [u64; 3]| user_regs_struct {
        orig_rax: number.cast_unsigned(),
        rax: number.cast_unsigned(),
        rdi,
        rsi,
        rdx,
        r10: 0,
        r8: 0,
        rip: at_entry.rip - 2,
        ..at_entry
    };
    // The current call is replaced, and the instruction pointer is set back for the next one.
    let first = user_regs_struct {
        rip: at_entry.rip,
        ..with(libc::SYS_prctl, [38, 1, 0])
    };
    ptrace::setregs(pid, first).unwrap();
    assert_eq!(step().rax, 0, "no new privileges");
    ptrace::setregs(
        pid,
        with(
            libc::SYS_seccomp,
            [u64::from(libc::SECCOMP_SET_MODE_FILTER), 0, place],
        ),
    )
    .unwrap();
    step();
    assert_eq!(step().rax, 0, "a filter");
    ptrace::setregs(
        pid,
        user_regs_struct {
            rax: at_entry.orig_rax,
            rip: at_entry.rip - 2,
            ..at_entry
        },
    )
    .unwrap();
    resume(pid, None);
}

/// Returns the filter: load the call's number, compare it with each, and stop or continue.
fn program(numbers: &[u32]) -> Vec<u8> {
    let instruction = |code: u32, jump: usize, value: u32| {
        let code = u16::try_from(code).unwrap().to_ne_bytes();
        let value = value.to_ne_bytes();
        [
            code[0],
            code[1],
            u8::try_from(jump).unwrap(),
            0,
            value[0],
            value[1],
            value[2],
            value[3],
        ]
    };
    let compare = |(at, number): (usize, &u32)| {
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            numbers.len() - at,
            *number,
        )
    };
    let load = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    let ends = [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_TRACE]
        .map(|end| instruction(libc::BPF_RET | libc::BPF_K, 0, end));
    [load]
        .into_iter()
        .chain(numbers.iter().enumerate().map(compare))
        .chain(ends)
        .flatten()
        .collect()
}
