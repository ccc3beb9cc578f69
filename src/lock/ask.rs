//! Asking for a lock, without being held up by the one who is asked.
//!
//! On NFS an open or a lock call may take minutes, `LOCK_NB` or not: while the server's grace period lasts, while it takes back what it had
//! delegated to a client that is cut off, or on v3 always. The kernel's call can't be given up, so a thread makes it, and is left alone with it
//! when nobody waits any more. It must never leave a lock taken for which nobody waits, nor take one that keeps out nobody but this machine.

use super::{Holder, LockError, read_holder};
use crate::durable;
use crate::survey::mount;
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer is waited for: a server's grace period, or the lease of a client that is cut off, makes it 105 s.
const ANSWER: Duration = Duration::from_mins(2);

/// How often a lock is asked for before it counts as busy, and how long after: a look takes some microseconds.
const LOOKS: usize = 5;
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// What comes of asking.
enum Answer {
    /// Somebody has it.
    Busy(Option<Holder>),
    /// It is ours. Where nobody takes this, the file closes and the lock is free again.
    Ours(File),
}

/// Takes the lock; or waits for it as long as `limit`, in the kernel's queue: woken as soon as it is free.
pub(super) fn hold_within(path: &Path, limit: Duration) -> Result<File, LockError> {
    let began = Instant::now();
    let (tell, told) = mpsc::channel();
    let asked = path.to_owned();
    let asking = move || {
        if let Err(error) = ask(&asked, !limit.is_zero(), &tell) {
            let _nobody_waits = tell.send(Err(error));
        }
    };
    thread::Builder::new().spawn(asking).map_err(|cause| LockError::Io { path: path.to_owned(), cause })?;
    let Ok(first) = told.recv_timeout(ANSWER.max(limit)) else { return Err(LockError::Silent(path.to_owned(), began.elapsed())) };
    let holder = match first? {
        Answer::Ours(file) => return Ok(file),
        Answer::Busy(holder) => holder,
    };
    match told.recv_timeout(limit.saturating_sub(began.elapsed())) {
        Ok(Ok(Answer::Ours(file))) => Ok(file),
        Ok(Err(error)) => Err(error),
        _ => Err(LockError::Busy(holder)),
    }
}

/// One look at the lock, or none when there is no answer.
pub(super) fn answer<T: Send + 'static>(
    path: &Path,
    ask: impl FnOnce(&Path) -> Result<T, LockError> + Send + 'static,
) -> Result<T, LockError> {
    let began = Instant::now();
    let (tell, told) = mpsc::channel();
    let asked = path.to_owned();
    let asking = move || {
        let _nobody_waits = tell.send(ask(&asked));
    };
    thread::Builder::new().spawn(asking).map_err(|cause| LockError::Io { path: path.to_owned(), cause })?;
    told.recv_timeout(ANSWER).unwrap_or_else(|_| Err(LockError::Silent(path.to_owned(), began.elapsed())))
}

fn ask(path: &Path, queue: bool, tell: &Sender<Result<Answer, LockError>>) -> Result<(), LockError> {
    let failed = |cause| LockError::Io { path: path.to_owned(), cause };
    reaches_others(path)?;
    let file = open(path, true).map_err(failed)?;
    if !hold(&file).map_err(failed)? {
        let _nobody_waits = tell.send(Ok(Answer::Busy(read_holder(&file).ok().flatten())));
        if !queue {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)).map_err(|errno| failed(errno.into()))?;
    }
    let _nobody_waits = tell.send(Ok(Answer::Ours(file)));
    Ok(())
}

/// The door before all that is destructive: see [`mount::local_locks`]. Asked once for each file system.
fn reaches_others(path: &Path) -> Result<(), LockError> {
    static TRUSTED: AtomicU64 = AtomicU64::new(u64::MAX);
    let failed = |cause| LockError::Io { path: path.to_owned(), cause };
    let folder = path.parent().unwrap_or(path);
    let device = folder.metadata().map_err(failed)?.dev();
    if TRUSTED.load(Ordering::Relaxed) == device {
        return Ok(());
    }
    if let Some(why) = mount::local_locks(&mount::of(folder).map_err(failed)?) {
        return Err(LockError::Local { path: path.to_owned(), why });
    }
    TRUSTED.store(device, Ordering::Relaxed);
    Ok(())
}

/// For writing, as NFS wants it for an exclusive lock.
pub(super) fn open(path: &Path, create: bool) -> io::Result<File> {
    durable::open(path, OpenOptions::new().read(true).write(true).create(create).truncate(false))
}

/// Asked a few times: somebody may just be looking.
fn hold(file: &File) -> io::Result<bool> {
    for again in (0..LOOKS).rev() {
        if try_flock(file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(true);
        }
        thread::sleep(if again > 0 { LOOK } else { Duration::ZERO });
    }
    Ok(false)
}

pub(super) fn try_flock(file: &File, kind: FlockOperation) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, kind)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
