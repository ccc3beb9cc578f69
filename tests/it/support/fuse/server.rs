//! The server: each call of the kernel, passed through to the backing directory.

use super::faults::Call;
use super::nodes::{Fd, Nodes, link};
use super::{Manners, Shared};
use fuser::{
    FileAttr, FileHandle, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::{Errno, Result};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nodes stay open until they are forgotten, so no number is used twice.
const GENERATION: Generation = Generation(0);

/// The answer to the kernel.
type Answer<T> = std::result::Result<T, fuser::Errno>;

/// An open file or directory.
struct Open {
    fd: Fd,
    /// A directory's entries as they were when its reading began.
    entries: Mutex<Arc<Vec<Entry>>>,
}

struct Entry {
    name: OsString,
    node: u64,
    kind: FileType,
}

/// The file system.
pub(super) struct Server {
    nodes: Nodes,
    open: Mutex<HashMap<u64, Arc<Open>>>,
    next: AtomicU64,
    manners: Manners,
    shared: Arc<Shared>,
}

impl Server {
    pub(super) fn new(backing: &Path, manners: Manners, files: usize, shared: Arc<Shared>) -> Self {
        Self {
            nodes: Nodes::new(backing, files),
            open: Mutex::default(),
            next: AtomicU64::new(1),
            manners,
            shared,
        }
    }

    /// Does one call on a file, or on a name in a directory. Counts it, delays it, and fails if a
    /// fault says so.
    fn call<T>(
        &self,
        call: Call,
        node: INodeNo,
        name: Option<&OsStr>,
        work: impl FnOnce(u64) -> Result<T>,
    ) -> Answer<T> {
        let path = || {
            name.map_or_else(
                || self.nodes.path(node.0),
                |name| self.nodes.path(node.0).join(name),
            )
            .display()
            .to_string()
        };
        self.call_at(call, path, || {
            if self.manners.nfs && rustix::fs::fstat(self.nodes.fd(node.0)?)?.st_nlink == 0 {
                return Err(Errno::STALE);
            }
            work(node.0)
        })
    }

    fn call_at<T>(
        &self,
        call: Call,
        path: impl FnOnce() -> String,
        work: impl FnOnce() -> Result<T>,
    ) -> Answer<T> {
        self.shared.calls[call as usize].fetch_add(1, Ordering::Relaxed);
        let delay = self.shared.delay.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
        let done = self.shared.faults.check(call, path).and_then(|()| work());
        done.map_err(|error| fuser::Errno::from_i32(error.raw_os_error()))
    }

    fn keep(&self, fd: impl Into<Fd>) -> FileHandle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap().insert(
            handle,
            Arc::new(Open {
                fd: fd.into(),
                entries: Mutex::default(),
            }),
        );
        FileHandle(handle)
    }

    fn handle(&self, handle: FileHandle) -> Result<Arc<Open>> {
        self.open
            .lock()
            .unwrap()
            .get(&handle.0)
            .cloned()
            .ok_or(Errno::BADF)
    }

    /// Creates a name in a directory.
    fn make(
        &self,
        call: Call,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
        make: impl FnOnce(&Fd) -> Result<()>,
    ) {
        let found = self.call(call, parent, Some(name), |directory| {
            make(&self.nodes.fd(directory)?)?;
            self.nodes.find(directory, name)
        });
        self.entry(found, reply);
    }

    fn entry(&self, found: Answer<Stat>, reply: ReplyEntry) {
        match found {
            Ok(stat) => reply.entry(&self.manners.cache, &attr(&stat), GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn change(&self, node: u64, change: &Change, handle: Option<FileHandle>) -> Result<Stat> {
        let fd = self.nodes.fd(node)?;
        if let Some(mode) = change.mode {
            rustix::fs::chmod(link(&fd), Mode::from_raw_mode(mode & 0o7777))?;
        }
        if change.owner != (None, None) {
            let (user, group) = change.owner;
            let (user, group) = (
                user.map(rustix::fs::Uid::from_raw),
                group.map(rustix::fs::Gid::from_raw),
            );
            rustix::fs::chownat(&fd, "", user, group, AtFlags::EMPTY_PATH)?;
        }
        if let Some(size) = change.size {
            match handle {
                Some(handle) => rustix::fs::ftruncate(&self.handle(handle)?.fd, size)?,
                None => rustix::fs::ftruncate(
                    rustix::fs::openat(
                        CWD,
                        link(&fd),
                        OFlags::WRONLY | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?,
                    size,
                )?,
            }
        }
        if change.times != (None, None) {
            let times = Timestamps {
                last_access: timespec(change.times.0),
                last_modification: timespec(change.times.1),
            };
            rustix::fs::utimensat(&fd, "", &times, AtFlags::EMPTY_PATH)?;
        }
        rustix::fs::fstat(&fd)
    }

    /// Returns all entries. Reading from the beginning lists the directory anew.
    fn entries(&self, handle: FileHandle, offset: u64) -> Result<Arc<Vec<Entry>>> {
        let open = self.handle(handle)?;
        let mut entries = open.entries.lock().unwrap();
        if offset == 0 {
            *entries = Arc::new(
                rustix::fs::Dir::read_from(&open.fd)?
                    .map(|entry| Ok(Entry::of(&entry?)))
                    .collect::<Result<_>>()?,
            );
        }
        Ok(entries.clone())
    }
}

impl Entry {
    fn of(entry: &rustix::fs::DirEntry) -> Self {
        Self {
            name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
            node: entry.ino(),
            kind: entry.file_type(),
        }
    }
}

struct Change {
    mode: Option<u32>,
    owner: (Option<u32>, Option<u32>),
    size: Option<u64>,
    times: (Option<TimeOrNow>, Option<TimeOrNow>),
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let special = |nanos| Timespec {
        tv_sec: 0,
        tv_nsec: nanos,
    };
    match time {
        None => special(rustix::fs::UTIME_OMIT),
        Some(TimeOrNow::Now) => special(rustix::fs::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec {
                tv_sec: since.as_secs().cast_signed(),
                tv_nsec: since.subsec_nanos().into(),
            }
        }
    }
}

fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        _ => fuser::FileType::RegularFile,
    }
}

fn attr(stat: &Stat) -> FileAttr {
    let time = |seconds: i64, nanos: u64| {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            UNIX_EPOCH - whole
        } else {
            UNIX_EPOCH + whole
        };
        time + Duration::from_nanos(nanos)
    };
    FileAttr {
        ino: INodeNo(stat.st_ino),
        size: stat.st_size.cast_unsigned(),
        blocks: stat.st_blocks.cast_unsigned(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: u32::try_from(stat.st_nlink).unwrap(),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap(),
        blksize: u32::try_from(stat.st_blksize).unwrap(),
        flags: 0,
    }
}

fn done(done: Answer<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl fuser::Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_AUTO_INVAL_DATA;
        if self.manners.cache > Duration::ZERO {
            wanted |= InitFlags::FUSE_DO_READDIRPLUS;
        }
        config.add_capabilities(wanted).map_err(|lacking| {
            std::io::Error::other(format!("this kernel's FUSE lacks {lacking:?}"))
        })
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(
            self.call(Call::Lookup, parent, Some(name), |directory| {
                self.nodes.find(directory, name)
            }),
            reply,
        );
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.nodes.forget(node.0, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.call(Call::Getattr, node, None, |node| {
            rustix::fs::fstat(self.nodes.fd(node)?)
        }) {
            Ok(stat) => reply.attr(&self.manners.cache, &attr(&stat)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change {
            mode,
            owner: (uid, gid),
            size,
            times: (atime, mtime),
        };
        match self.call(Call::Setattr, node, None, |node| {
            self.change(node, &change, handle)
        }) {
            Ok(stat) => reply.attr(&self.manners.cache, &attr(&stat)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.call(Call::Readlink, node, None, |node| {
            rustix::fs::readlinkat(self.nodes.fd(node)?, "", Vec::new())
        }) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let (kind, mode) = (
            FileType::from_raw_mode(mode),
            Mode::from_raw_mode(mode & 0o7777),
        );
        self.make(Call::Mknod, parent, name, reply, |directory| {
            rustix::fs::mknodat(directory, name, kind, mode, device.into())
        });
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.make(Call::Mkdir, parent, name, reply, |directory| {
            rustix::fs::mkdirat(directory, name, mode)
        });
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.make(Call::Symlink, parent, name, reply, |directory| {
            rustix::fs::symlinkat(target, directory, name)
        });
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.make(Call::Link, parent, name, reply, |directory| {
            rustix::fs::linkat(
                CWD,
                link(&*self.nodes.fd(node.0)?),
                directory,
                name,
                AtFlags::SYMLINK_FOLLOW,
            )
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = self.call(Call::Unlink, parent, Some(name), |directory| {
            let directory = self.nodes.fd(directory)?;
            if self.manners.nfs && self.nodes.make_way(&directory, name)? {
                return Ok(());
            }
            rustix::fs::unlinkat(directory, name, AtFlags::empty())
        });
        done(gone, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = self.call(Call::Rmdir, parent, Some(name), |directory| {
            rustix::fs::unlinkat(self.nodes.fd(directory)?, name, AtFlags::REMOVEDIR)
        });
        done(gone, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let path = |parent: INodeNo, name: &OsStr| {
            self.nodes.path(parent.0).join(name).display().to_string()
        };
        let moved = self.call_at(
            Call::Rename,
            || format!("{} -> {}", path(parent, name), path(new_parent, new_name)),
            || {
                let (from, to) = (self.nodes.fd(parent.0)?, self.nodes.fd(new_parent.0)?);
                if self.manners.nfs {
                    if !flags.is_empty() {
                        return Err(Errno::INVAL);
                    }
                    match self.nodes.make_way(&to, new_name) {
                        Ok(_) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(error),
                    }
                }
                let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
                rustix::fs::renameat_with(from, name, to, new_name, flags)?;
                for (directory, name) in [(parent, name), (new_parent, new_name)] {
                    // Another client may have taken it away by now.
                    self.nodes.renamed(directory.0, name).ok();
                }
                Ok(())
            },
        );
        done(moved, reply);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        // The kernel has already resolved links, and determines where appended data is written.
        let flags =
            OFlags::from_bits_retain(flags.0.cast_unsigned()) & (OFlags::ACCMODE | OFlags::NOATIME);
        let opened = self.call(Call::Open, node, None, |node| {
            let fd = rustix::fs::openat(
                CWD,
                link(&*self.nodes.fd(node)?),
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            self.nodes.opened(node);
            Ok(fd)
        });
        match opened {
            Ok(fd) => reply.opened(self.keep(fd), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let flags = OFlags::from_bits_retain(flags.cast_unsigned())
            & (OFlags::ACCMODE | OFlags::EXCL | OFlags::TRUNC);
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = self.call(Call::Create, parent, Some(name), |directory| {
            let fd = rustix::fs::openat(
                self.nodes.fd(directory)?,
                name,
                flags,
                Mode::from_raw_mode(mode & 0o7777),
            )?;
            let stat = self.nodes.find(directory, name)?;
            self.nodes.opened(stat.st_ino);
            Ok((fd, stat))
        });
        match created {
            Ok((fd, stat)) => reply.created(
                &self.manners.cache,
                &attr(&stat),
                GENERATION,
                self.keep(fd),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.call(Call::Read, node, None, |_| {
            let (open, mut bytes, mut length) = (self.handle(handle)?, vec![0; size as usize], 0);
            while length < bytes.len() {
                match rustix::io::pread(&open.fd, &mut bytes[length..], offset + length as u64)? {
                    0 => break,
                    more => length += more,
                }
            }
            bytes.truncate(length);
            Ok(bytes)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.call(Call::Write, node, None, |_| {
            rustix::io::pwrite(&self.handle(handle)?.fd, data, offset)
        }) {
            Ok(written) => reply.written(u32::try_from(written).unwrap()),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, node: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        done(self.call(Call::Flush, node, None, |_| Ok(())), reply);
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let open = self.open.lock().unwrap().remove(&handle.0);
        drop(open);
        self.nodes.closed(node.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        done(
            self.call(Call::Fsync, node, None, |_| {
                rustix::fs::fsync(&self.handle(handle)?.fd)
            }),
            reply,
        );
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.call(Call::Opendir, node, None, |node| {
            rustix::fs::openat(self.nodes.fd(node)?, ".", flags, Mode::empty())
        }) {
            Ok(fd) => reply.opened(self.keep(fd), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.call(Call::Readdir, node, None, |_| self.entries(handle, offset)) {
            Ok(entries) => {
                for (entry, next) in entries
                    .iter()
                    .zip(1..)
                    .skip(usize::try_from(offset).unwrap())
                {
                    if reply.add(INodeNo(entry.node), next, kind(entry.kind), &entry.name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.call(Call::Readdir, node, None, |_| self.entries(handle, offset)) {
            Ok(entries) => {
                for (entry, next) in entries
                    .iter()
                    .zip(1..)
                    .skip(usize::try_from(offset).unwrap())
                {
                    let itself = entry.name == "." || entry.name == "..";
                    let stat = if itself {
                        self.nodes.fd(node.0).and_then(rustix::fs::fstat)
                    } else {
                        self.nodes.find(node.0, &entry.name)
                    };
                    // It was removed meanwhile.
                    let Ok(stat) = stat else { continue };
                    if reply.add(
                        INodeNo(stat.st_ino),
                        next,
                        &entry.name,
                        &self.manners.cache,
                        &attr(&stat),
                        GENERATION,
                    ) {
                        if !itself {
                            self.nodes.forget(stat.st_ino, 1);
                        }
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let open = self.open.lock().unwrap().remove(&handle.0);
        drop(open);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        done(
            self.call(Call::Fsyncdir, node, None, |_| {
                rustix::fs::fsync(&self.handle(handle)?.fd)
            }),
            reply,
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = rustix::fs::FallocateFlags::from_bits_retain(mode.cast_unsigned());
        done(
            self.call(Call::Fallocate, node, None, |_| {
                rustix::fs::fallocate(&self.handle(handle)?.fd, mode, offset, length)
            }),
            reply,
        );
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        let found = self.call(Call::Statfs, node, None, |_| {
            let disk = rustix::fs::fstatvfs(&*self.nodes.fd(INodeNo::ROOT.0)?)?;
            let capacity = self.shared.capacity.load(Ordering::Relaxed);
            if capacity == 0 {
                return Ok(disk);
            }
            let standing = walkdir::WalkDir::new(self.nodes.top())
                .into_iter()
                .flatten()
                .flat_map(|entry| entry.metadata());
            let used: u64 = standing
                .map(|data| std::os::unix::fs::MetadataExt::blocks(&data) * 512)
                .sum();
            let (blocks, free) = (
                capacity / disk.f_frsize,
                capacity.saturating_sub(used) / disk.f_frsize,
            );
            Ok(rustix::fs::StatVfs {
                f_blocks: blocks,
                f_bfree: free,
                f_bavail: free,
                ..disk
            })
        });
        match found {
            Ok(disk) => reply.statfs(
                disk.f_blocks,
                disk.f_bfree,
                disk.f_bavail,
                disk.f_files,
                disk.f_ffree,
                u32::try_from(disk.f_bsize).unwrap(),
                u32::try_from(disk.f_namemax).unwrap(),
                u32::try_from(disk.f_frsize).unwrap(),
            ),
            Err(error) => reply.error(error),
        }
    }
}
