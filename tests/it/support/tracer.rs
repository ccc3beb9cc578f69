//! Watches every file-system call that the program and its git children make on a volume; kills, or lets a call fail, at a chosen one.
//!
//! A tracer of our own, on ptrace: strace counts `when=` for each thread and each system call by itself, so that it can't hit "the 700th
//! change of the volume", and it knows no folders, so that a fault would hit the loading of libraries first. A point is told by what the call
//! is and not by a number alone, so that it is the same in every night. It must never touch a process that it didn't start.

use super::{Ran, World, read};
use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A night under the tracer takes a second; a night in which every call fails must end as well.
const LIMIT: Duration = Duration::from_secs(60);
/// Waits until it is told to go on, so that the tracer sees the program's first call.
const STARTER: &str = "read go && exec \"$@\" </dev/null";

/// A file-system call on the volume, told so that it is the same in every night: without ids, hashes and times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Call {
    /// `treewarden`, `git repack`, ...
    pub(crate) who: Arc<str>,
    /// The system call's name.
    pub(crate) name: &'static str,
    /// What it is about, below the volume's root.
    pub(crate) path: String,
    /// What it does there.
    pub(crate) kind: Kind,
}

/// What a call does: which errors it can meet hangs on that, and whether a kill before it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Opens what is there.
    Open,
    /// Opens and makes or empties.
    Create,
    /// Looks at a name.
    Look,
    /// Looks at what is open.
    Stat,
    /// Reads a file's content.
    Read,
    /// Reads a folder.
    List,
    /// Writes content, or makes it durable.
    Write,
    /// Gives a name, or another one.
    Name,
    /// Takes a name away.
    Remove,
    /// Sets modes or times.
    Set,
    /// Takes a lock, or gives it back.
    Lock,
    /// Closes what was written to.
    Close,
}

/// The `nth` such call, counted from 1.
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
    /// Kill everything before the call is made, as when a pod goes.
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

/// What came of it.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) ran: Ran,
    /// Every call on the volume, in order.
    pub(crate) calls: Vec<Call>,
    /// How many of them were made before the point; none when it never came.
    pub(crate) hit: Option<usize>,
    /// It did not end by itself.
    pub(crate) hung: bool,
}

impl Kind {
    /// Whether the call leaves the volume in another state.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Create | Self::Write | Self::Name | Self::Remove | Self::Set | Self::Lock)
    }

    /// Which of the errors a file server has in store can be its answer.
    pub(crate) fn can_meet(self, errno: Errno) -> bool {
        use Errno::{EACCES, EDQUOT, EINTR, EIO, ENOENT, ENOSPC, ESTALE};
        match self {
            Self::Open => matches!(errno, EIO | ESTALE | EACCES | ENOENT | EINTR),
            Self::Create => matches!(errno, EIO | ESTALE | EACCES | ENOENT | EINTR | ENOSPC | EDQUOT),
            Self::Look | Self::Remove | Self::Set => matches!(errno, EIO | ESTALE | EACCES | ENOENT),
            Self::Stat | Self::List => matches!(errno, EIO | ESTALE),
            Self::Read | Self::Lock => matches!(errno, EIO | ESTALE | EINTR),
            Self::Write => matches!(errno, EIO | ESTALE | ENOSPC | EDQUOT | EINTR),
            Self::Name => matches!(errno, EIO | ESTALE | EACCES | ENOENT | ENOSPC | EDQUOT),
            Self::Close => matches!(errno, EIO | ENOSPC | EDQUOT),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { who, name, path, .. } = &self.call;
        write!(f, "{who}: {name} {path} #{}", self.nth)
    }
}

/// Every call as the point at which it stands.
pub(crate) fn points(calls: &[Call]) -> Vec<Point> {
    let mut seen: HashMap<&Call, usize> = HashMap::new();
    let point = |call| {
        let nth = seen.entry(call).and_modify(|nth| *nth += 1).or_insert(1);
        Point { call: call.clone(), nth: *nth }
    };
    calls.iter().map(point).collect()
}

impl World {
    /// Runs the program on this volume under the tracer.
    pub(crate) fn trace(&self, arguments: &[&str], act: Act<'_>) -> Traced {
        let program = ["-c", STARTER, "sh", env!("CARGO_BIN_EXE_treewarden")];
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.command("sh", &[&program, arguments].concat());
        command.stdin(std::process::Stdio::piped()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let main = Pid::from_raw(child.id().cast_signed());
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, options).unwrap();
        ptrace::interrupt(main).unwrap();
        let mut starter = child.stdin.take().unwrap();
        let (done, watched) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let hung = watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            hung && kill(main, Signal::SIGKILL).is_ok()
        });
        let root = self.root.canonicalize().unwrap();
        let scratch = self.beside("scratch").canonicalize().unwrap();
        let mut tracer = Tracer { root, scratch, main, act, tracees: HashMap::new(), calls: Vec::new(), seen: 0, hit: None, held: None };
        starter.write_all(b"\n").unwrap();
        let code = tracer.follow();
        drop(done);
        let hung = watchdog.join().unwrap();
        Traced { ran: Ran { code, out: read(&mut out), err: read(&mut err) }, calls: tracer.calls, hit: tracer.hit, hung }
    }
}

/// A thread or process that is followed.
struct Tracee {
    who: Arc<str>,
    /// It is between the entry of a system call and its end.
    inside: bool,
    /// What the call at hand shall answer.
    answer: Option<Errno>,
}

struct Tracer<'a> {
    root: PathBuf,
    scratch: PathBuf,
    main: Pid,
    act: Act<'a>,
    tracees: HashMap<Pid, Tracee>,
    calls: Vec<Call>,
    /// How many calls like the point's there were.
    seen: usize,
    hit: Option<usize>,
    /// Stays where it stands until the program is gone: would it outlive it?
    held: Option<Pid>,
}

impl Tracer<'_> {
    /// Follows all to their end, and gives the program's exit code.
    fn follow(&mut self) -> i32 {
        let mut code = -1;
        let whose = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(whose)) {
                Ok(WaitStatus::PtraceSyscall(pid)) => self.stopped_at_call(pid),
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        let who = who(pid);
                        self.tracee(pid).who = who;
                    }
                    // A new one, or one that was told to stop.
                    self.tracee(pid);
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => resume(pid, Some(signal)),
                Ok(WaitStatus::Exited(pid, status)) => self.ended(pid, status, &mut code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.ended(pid, 128 + signal as i32, &mut code),
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
            self.held.take().into_iter().for_each(|held| resume(held, None));
            if !matches!(self.act, Act::Kill(_)) {
                for left in self.tracees.keys() {
                    let _gone = kill(*left, Signal::SIGKILL);
                }
            }
        }
    }

    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        self.tracees.entry(pid).or_insert_with(|| Tracee { who: who(pid), inside: false, answer: None })
    }

    fn stopped_at_call(&mut self, pid: Pid) {
        let tracee = self.tracee(pid);
        if tracee.inside {
            tracee.inside = false;
            if let Some(errno) = tracee.answer.take()
                && let Ok(mut regs) = ptrace::getregs(pid)
            {
                regs.rax = i64::from(-(errno as i32)).cast_unsigned();
                let _gone = ptrace::setregs(pid, regs);
            }
        } else if let Ok(regs) = ptrace::getregs(pid) {
            // What a new thread reports first may be the end of the call that made it.
            let entry = regs.rax.cast_signed() == -i64::from(libc::ENOSYS);
            tracee.inside = entry;
            if entry && let Some(call) = self.call(pid, &regs) {
                self.made(pid, regs, call);
            }
        }
        if self.held == Some(pid) {
            return;
        }
        if self.is_done() && !self.tracee(pid).inside {
            let _gone = ptrace::detach(pid, None);
        } else {
            resume(pid, None);
        }
    }

    /// What fails once has failed: the rest of the night is nobody's business, and faster without us.
    fn is_done(&self) -> bool {
        matches!(self.act, Act::Once(..)) && self.hit.is_some() && self.tracees.values().all(|tracee| tracee.answer.is_none())
    }

    fn made(&mut self, pid: Pid, mut regs: user_regs_struct, call: Call) {
        let here = match self.act {
            Act::Watch => false,
            Act::KillAllBefore(number) => {
                self.seen += usize::from(call.kind.changes());
                self.hit.is_none() && self.seen == number
            }
            Act::KillAll(point) | Act::Kill(point) | Act::Once(point, _) | Act::Lasting(point, _) => {
                self.seen += usize::from(call == point.call);
                self.hit.is_none() && call == point.call && self.seen == point.nth
            }
        };
        if here {
            self.hit = Some(self.calls.len());
        }
        let fails = match self.act {
            Act::Once(_, errno) => here.then_some(errno),
            Act::Lasting(_, errno) => (self.hit.is_some() && call.kind.can_meet(errno)).then_some(errno),
            _ => None,
        };
        if let Some(errno) = fails {
            self.tracee(pid).answer = Some(errno);
            // A close that fails has closed all the same.
            if call.kind != Kind::Close {
                regs.orig_rax = u64::MAX;
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

    /// The call at whose entry a tracee stands, when it is about the volume.
    fn call(&mut self, pid: Pid, regs: &user_regs_struct) -> Option<Call> {
        let arguments = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
        let flags = |number: usize| i32::try_from(arguments[number] & 0x7fff_ffff).unwrap_or(0);
        let opens = |flags: i32| if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 { Kind::Open } else { Kind::Create };
        let follows = |number: usize| flags(number) & libc::AT_SYMLINK_NOFOLLOW == 0;
        use Target::{At, Fd, Path};
        #[rustfmt::skip]
        let (name, kind, target) = match regs.orig_rax.cast_signed() {
            libc::SYS_open => ("open", opens(flags(1)), Path(0, true)),
            libc::SYS_creat => ("creat", Kind::Create, Path(0, true)),
            libc::SYS_openat => ("openat", opens(flags(2)), At(0, 1, flags(2) & libc::O_NOFOLLOW == 0)),
            libc::SYS_openat2 => ("openat2", Kind::Open, At(0, 1, true)),
            libc::SYS_stat => ("stat", Kind::Look, Path(0, true)),
            libc::SYS_lstat => ("lstat", Kind::Look, Path(0, false)),
            libc::SYS_newfstatat => ("newfstatat", Kind::Look, At(0, 1, follows(3))),
            libc::SYS_statx => ("statx", Kind::Look, At(0, 1, follows(2))),
            libc::SYS_access => ("access", Kind::Look, Path(0, true)),
            libc::SYS_faccessat | libc::SYS_faccessat2 => ("faccessat", Kind::Look, At(0, 1, true)),
            libc::SYS_readlink => ("readlink", Kind::Look, Path(0, false)),
            libc::SYS_readlinkat => ("readlinkat", Kind::Look, At(0, 1, false)),
            libc::SYS_statfs => ("statfs", Kind::Look, Path(0, true)),
            libc::SYS_chdir => ("chdir", Kind::Look, Path(0, true)),
            libc::SYS_fstatfs => ("fstatfs", Kind::Stat, Fd(0)),
            libc::SYS_fstat => ("fstat", Kind::Stat, Fd(0)),
            libc::SYS_read => ("read", Kind::Read, Fd(0)),
            libc::SYS_pread64 => ("pread64", Kind::Read, Fd(0)),
            libc::SYS_readv => ("readv", Kind::Read, Fd(0)),
            libc::SYS_mmap => ("mmap", Kind::Stat, Fd(4)),
            libc::SYS_getdents64 => ("getdents64", Kind::List, Fd(0)),
            libc::SYS_write => ("write", Kind::Write, Fd(0)),
            libc::SYS_pwrite64 => ("pwrite64", Kind::Write, Fd(0)),
            libc::SYS_writev => ("writev", Kind::Write, Fd(0)),
            libc::SYS_sendfile => ("sendfile", Kind::Write, Fd(0)),
            libc::SYS_copy_file_range => ("copy_file_range", Kind::Write, Fd(2)),
            libc::SYS_ftruncate => ("ftruncate", Kind::Write, Fd(0)),
            libc::SYS_fallocate => ("fallocate", Kind::Write, Fd(0)),
            libc::SYS_truncate => ("truncate", Kind::Write, Path(0, true)),
            libc::SYS_fsync => ("fsync", Kind::Write, Fd(0)),
            libc::SYS_fdatasync => ("fdatasync", Kind::Write, Fd(0)),
            libc::SYS_sync_file_range => ("sync_file_range", Kind::Write, Fd(0)),
            libc::SYS_close => ("close", Kind::Close, Fd(0)),
            libc::SYS_rename => ("rename", Kind::Name, Path(0, false)),
            libc::SYS_renameat => ("renameat", Kind::Name, At(0, 1, false)),
            libc::SYS_renameat2 => ("renameat2", Kind::Name, At(0, 1, false)),
            libc::SYS_link => ("link", Kind::Name, Path(0, false)),
            libc::SYS_linkat => ("linkat", Kind::Name, At(0, 1, false)),
            libc::SYS_symlink => ("symlink", Kind::Name, Path(1, false)),
            libc::SYS_symlinkat => ("symlinkat", Kind::Name, At(1, 2, false)),
            libc::SYS_mkdir => ("mkdir", Kind::Name, Path(0, false)),
            libc::SYS_mkdirat => ("mkdirat", Kind::Name, At(0, 1, false)),
            libc::SYS_mknodat => ("mknodat", Kind::Name, At(0, 1, false)),
            libc::SYS_rmdir => ("rmdir", Kind::Remove, Path(0, false)),
            libc::SYS_unlink => ("unlink", Kind::Remove, Path(0, false)),
            libc::SYS_unlinkat => ("unlinkat", Kind::Remove, At(0, 1, false)),
            libc::SYS_chmod => ("chmod", Kind::Set, Path(0, true)),
            libc::SYS_fchmod => ("fchmod", Kind::Set, Fd(0)),
            libc::SYS_fchmodat => ("fchmodat", Kind::Set, At(0, 1, true)),
            libc::SYS_utime => ("utime", Kind::Set, Path(0, true)),
            libc::SYS_utimes => ("utimes", Kind::Set, Path(0, true)),
            libc::SYS_utimensat => ("utimensat", Kind::Set, At(0, 1, true)),
            libc::SYS_flock => ("flock", Kind::Lock, Fd(0)),
            _ => return None,
        };
        // Those that only look are of no interest to a kill.
        if matches!(self.act, Act::Kill(_) | Act::KillAll(_) | Act::KillAllBefore(_)) && !kind.changes() {
            return None;
        }
        let path = match target {
            Fd(number) => open_at(pid, arguments[number])?,
            Path(number, follow) => self.resolve(pid, libc::AT_FDCWD, &text(pid, arguments[number])?, follow)?,
            At(dir, number, follow) => {
                let dir = i32::try_from(arguments[dir].cast_signed() << 32 >> 32).unwrap_or(-1);
                self.resolve(pid, dir, &text(pid, arguments[number]).unwrap_or_default(), follow)?
            }
        };
        let path = path.strip_prefix(&self.root).ok()?;
        if kind == Kind::Close && !written_to(pid, arguments[0]) {
            return None;
        }
        Some(Call { who: self.tracee(pid).who.clone(), name, path: nameless(path), kind })
    }

    /// Where a path leads, for what lies on the volume or, by a shadow's links, seems to lie in the scratch space.
    fn resolve(&self, pid: Pid, dir: i32, path: &str, follow: bool) -> Option<PathBuf> {
        if path.is_empty() {
            return open_at(pid, u64::try_from(dir).ok()?);
        }
        if let Some(number) = path.strip_prefix("/proc/self/fd/").and_then(|rest| rest.split('/').next()) {
            return open_at(pid, number.parse().ok()?);
        }
        let base = match dir {
            _ if path.starts_with('/') => PathBuf::new(),
            libc::AT_FDCWD => fs::read_link(format!("/proc/{pid}/cwd")).ok()?,
            fd => open_at(pid, u64::try_from(fd).ok()?)?,
        };
        let full = base.join(path);
        let plain = !full.components().any(|part| part == Component::ParentDir);
        if plain && full.starts_with(&self.root) {
            return Some(full.components().collect());
        }
        if plain && !full.starts_with(&self.scratch) {
            return None;
        }
        let mut real = full.parent()?.canonicalize().ok()?.join(full.file_name().unwrap_or_default());
        if follow && let Ok(to) = fs::read_link(&real) {
            real = real.parent()?.join(to);
        }
        Some(real)
    }
}

/// Which arguments name what a call is about; for paths, whether a link there is followed.
enum Target {
    Fd(usize),
    Path(usize, bool),
    At(usize, usize, bool),
}

fn resume(pid: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile: then its end is reported next.
    let _gone = ptrace::syscall(pid, signal);
}

fn open_at(pid: Pid, fd: u64) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/fd/{}", i32::try_from(fd & 0xffff_ffff).ok()?)).ok()?;
    let text = path.to_str()?;
    text.starts_with('/').then(|| PathBuf::from(text.trim_end_matches(" (deleted)")))
}

fn written_to(pid: Pid, fd: u64) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// A path in a tracee's memory.
fn text(pid: Pid, address: u64) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = [0; 4096];
    // A page at a time: the next one need not be there.
    let mut length = 0;
    while length < bytes.len() {
        let at = address + length as u64;
        let end = (4096 - usize::try_from(at % 4096).ok()?).min(bytes.len() - length) + length;
        let read = memory.read_at(&mut bytes[length..end], at).ok().filter(|read| *read > 0)?;
        if let Some(zero) = bytes[length..length + read].iter().position(|byte| *byte == 0) {
            return String::from_utf8(bytes[..length + zero].to_vec()).ok();
        }
        length += read;
    }
    None
}

/// `treewarden`, or `git` and its command.
fn who(pid: Pid) -> Arc<str> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = words[0].rsplit('/').next().unwrap_or_default();
    let mut words = words[1..].iter();
    loop {
        match words.next() {
            Some(word) if word == "-c" => drop(words.next()),
            Some(word) if program == "git" => return format!("git {word}").into(),
            _ => return program.into(),
        }
    }
}

/// A path without what differs from night to night.
fn nameless(path: &Path) -> String {
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |(number, part): (usize, &String)| {
        let (stem, ending) =
            part.split_once('.').filter(|(stem, _)| !stem.is_empty()).map_or((part.as_str(), ""), |(stem, end)| (stem, end));
        let dot = if ending.is_empty() { "" } else { "." };
        match () {
            () if number > 0 && parts[number - 1] == "objects" && part.len() == 2 && hex(part) => "xx".to_owned(),
            () if stem.len() >= 36 && stem.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => format!("ID{dot}{ending}"),
            () if part.starts_with("tmp_") || part.starts_with(".tmp-") => format!("{}?", &part[..5]),
            () if part.starts_with("streamed_git2_") || part.starts_with("packs_") || part.starts_with("bitmap-ref-tips_") => {
                "temporary".to_owned()
            }
            () if stem.starts_with("pack-") => format!("pack-ID{dot}{ending}"),
            () if stem.len() == 16 && stem.starts_with("20") && stem.ends_with('Z') => format!("TIME{dot}{ending}"),
            () => part.clone(),
        }
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join("/")
}
