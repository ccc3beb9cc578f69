//! The system calls that the tracer knows: the path of each, and what it does there.
//!
//! A call is described so that it is the same in every run: without ids, hashes and times. Calls
//! outside of the volume don't count, because libraries have to load.

use nix::errno::Errno;
use nix::libc::{self, user_regs_struct};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A file-system call on the volume, described so that it is the same in every run: without ids,
/// hashes and times.
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

/// What a call does. It determines which errors the call can meet, and whether a kill before it
/// makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Opens what is there.
    Open,
    /// Opens, and creates or truncates.
    Create,
    /// Inspects a name.
    Look,
    /// Inspects an open file.
    Stat,
    /// Reads a file's content.
    Read,
    /// Reads a directory.
    List,
    /// Writes content, or makes it durable.
    Write,
    /// Creates a name, or renames.
    Name,
    /// Removes a name.
    Remove,
    /// Sets modes or times.
    Set,
    /// Takes or releases a lock.
    Lock,
    /// Closes what was written to.
    Close,
}

impl Kind {
    /// Returns whether the call changes the volume.
    pub(crate) fn changes(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Write | Self::Name | Self::Remove | Self::Set | Self::Lock
        )
    }

    /// Returns whether a file server can answer the call with this error.
    pub(crate) fn can_meet(self, errno: Errno) -> bool {
        use Errno::{EACCES, EDQUOT, EINTR, EIO, ENOENT, ENOSPC, ESTALE};
        match self {
            Self::Open => matches!(errno, EIO | ESTALE | EACCES | ENOENT | EINTR),
            Self::Create => matches!(
                errno,
                EIO | ESTALE | EACCES | ENOENT | EINTR | ENOSPC | EDQUOT
            ),
            Self::Look | Self::Remove | Self::Set => {
                matches!(errno, EIO | ESTALE | EACCES | ENOENT)
            }
            Self::Stat | Self::List => matches!(errno, EIO | ESTALE),
            Self::Read | Self::Lock => matches!(errno, EIO | ESTALE | EINTR),
            Self::Write => matches!(errno, EIO | ESTALE | ENOSPC | EDQUOT | EINTR),
            Self::Name => matches!(errno, EIO | ESTALE | EACCES | ENOENT | ENOSPC | EDQUOT),
            Self::Close => matches!(errno, EIO | ENOSPC | EDQUOT),
        }
    }
}

/// Which arguments name what a call is about; for paths, whether a link there is followed.
enum Target {
    Fd(usize),
    Path(usize, bool),
    At(usize, usize, bool),
}

/// The directories that the tracer watches.
pub(super) struct Places {
    /// The volume's root.
    pub(super) root: PathBuf,
    /// The scratch space, where shadows have links into the volume.
    pub(super) scratch: PathBuf,
}

impl Places {
    /// Returns the call that a tracee is about to make, if its name and kind are `wanted` and it is
    /// about the volume.
    pub(super) fn call(
        &self,
        pid: Pid,
        who: &Arc<str>,
        regs: &user_regs_struct,
        wanted: impl Fn(&str, Kind) -> bool,
    ) -> Option<Call> {
        let arguments = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8];
        let (name, kind, target) = known(regs.orig_rax, &arguments)?;
        if !wanted(name, kind) {
            return None;
        }
        let path = match target {
            Target::Fd(number) => open_at(pid, arguments[number])?,
            Target::Path(number, follow) => {
                self.resolve(pid, libc::AT_FDCWD, &text(pid, arguments[number])?, follow)?
            }
            Target::At(dir, number, follow) => self.resolve(
                pid,
                low(arguments[dir]),
                &text(pid, arguments[number]).unwrap_or_default(),
                follow,
            )?,
        };
        let path = path.strip_prefix(&self.root).ok()?;
        if kind == Kind::Close && !written_to(pid, arguments[0]) {
            return None;
        }
        Some(Call {
            who: who.clone(),
            name,
            path: nameless(path),
            kind,
        })
    }

    /// Returns where a path leads, if it is on the volume or in the scratch space, from which a
    /// shadow's links lead to the volume.
    fn resolve(&self, pid: Pid, dir: i32, path: &str, follow: bool) -> Option<PathBuf> {
        if path.is_empty() {
            return open_at(pid, u64::try_from(dir).ok()?);
        }
        if let Some(number) = path
            .strip_prefix("/proc/self/fd/")
            .and_then(|rest| rest.split('/').next())
        {
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
        let mut real = full
            .parent()?
            .canonicalize()
            .ok()?
            .join(full.file_name().unwrap_or_default());
        if follow && let Ok(to) = fs::read_link(&real) {
            real = real.parent()?.join(to);
        }
        Some(real)
    }
}

/// An argument that is an `int`.
fn low(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Returns the numbers of all calls that may turn out to be `wanted`.
pub(super) fn numbers(wanted: impl Fn(&str, Kind) -> bool) -> Vec<u32> {
    let opens = [libc::O_RDONLY, libc::O_CREAT].map(|flags| [u64::from(flags.cast_unsigned()); 5]);
    let can_be = |number: &u32| {
        opens.iter().any(|arguments| {
            known((*number).into(), arguments).is_some_and(|(name, kind, _)| wanted(name, kind))
        })
    };
    (0..512).filter(can_be).collect()
}

/// Returns a system call's name, what it does, and to what, by its number.
#[rustfmt::skip]
fn known(number: u64, arguments: &[u64; 5]) -> Option<(&'static str, Kind, Target)> {
    use Target::{At, Fd, Path};
    let opens = |flags: usize| {
        if low(arguments[flags]) & (libc::O_CREAT | libc::O_TRUNC) == 0 { Kind::Open } else { Kind::Create }
    };
    let follows = |flags: usize| low(arguments[flags]) & libc::AT_SYMLINK_NOFOLLOW == 0;
    Some(match number.cast_signed() {
        libc::SYS_open => ("open", opens(1), Path(0, true)),
        libc::SYS_creat => ("creat", Kind::Create, Path(0, true)),
        libc::SYS_openat => ("openat", opens(2), At(0, 1, low(arguments[2]) & libc::O_NOFOLLOW == 0)),
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
    })
}

fn open_at(pid: Pid, fd: u64) -> Option<PathBuf> {
    let path = fs::read_link(format!(
        "/proc/{pid}/fd/{}",
        i32::try_from(fd & 0xffff_ffff).ok()?
    ))
    .ok()?;
    let text = path.to_str()?;
    text.starts_with('/')
        .then(|| PathBuf::from(text.trim_end_matches(" (deleted)")))
}

fn written_to(pid: Pid, fd: u64) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// A path in a tracee's memory.
fn text(pid: Pid, address: u64) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = [0; 4096];
    // Page by page, because the next one may not be mapped.
    let mut length = 0;
    while length < bytes.len() {
        let at = address + length as u64;
        let end = (4096 - usize::try_from(at % 4096).ok()?).min(bytes.len() - length) + length;
        let read = memory
            .read_at(&mut bytes[length..end], at)
            .ok()
            .filter(|read| *read > 0)?;
        if let Some(zero) = bytes[length..length + read]
            .iter()
            .position(|byte| *byte == 0)
        {
            return String::from_utf8(bytes[..length + zero].to_vec()).ok();
        }
        length += read;
    }
    None
}

/// Returns `treewarden`, or `git` and its command.
pub(super) fn who(pid: Pid) -> Arc<str> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
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

/// Returns a path without what differs from run to run.
fn nameless(path: &Path) -> String {
    let parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |(number, part): (usize, &String)| {
        let (stem, ending) = part
            .split_once('.')
            .filter(|(stem, _)| !stem.is_empty())
            .map_or((part.as_str(), ""), |(stem, end)| (stem, end));
        let dot = if ending.is_empty() { "" } else { "." };
        match () {
            () if number > 0 && parts[number - 1] == "objects" && part.len() == 2 && hex(part) => {
                "xx".to_owned()
            }
            () if stem.len() >= 36
                && stem
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-') =>
            {
                format!("ID{dot}{ending}")
            }
            () if part.starts_with("tmp_") => format!("{}?", &part[..5]),
            () if part.starts_with(".tmp") => ".tmp?".to_owned(),
            () if part.starts_with("streamed_git2_")
                || part.starts_with("packs_")
                || part.starts_with("bitmap-ref-tips_") =>
            {
                "temporary".to_owned()
            }
            () if stem.starts_with("pack-") => format!("pack-ID{dot}{ending}"),
            () if stem.len() == 16 && stem.starts_with("20") && stem.ends_with('Z') => {
                format!("TIME{dot}{ending}")
            }
            () => part.clone(),
        }
    };
    parts
        .iter()
        .enumerate()
        .map(part)
        .collect::<Vec<_>>()
        .join("/")
}
