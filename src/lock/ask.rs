//! Asks for a lock, without being blocked by a server that doesn't answer.
//!
//! On NFS an open or a lock call may take minutes, with or without `LOCK_NB`: during the server's
//! grace period, while it revokes a delegation from a client that is cut off, or on v3 always. The
//! system call can't be cancelled, so a thread makes it, and is abandoned when nobody waits any
//! more (`docs/design/nfs.md#locks`). A lock granted after that is released again, and a lock that
//! excludes only this machine's processes is not taken.

use super::{Holder, LockError, holder};
use crate::fs::atomic;
use crate::fs::mount;
use crate::fs::volume_path::VolumePath;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::retry_on_intr;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for an answer: a server's grace period, or the lease of a client that is cut
/// off, delays it by up to 105 s (`docs/design/nfs.md#locks`).
pub(super) const ANSWER: Duration = Duration::from_mins(2);

/// How often a lock is tried before it counts as busy, and the pause in between: somebody else's
/// inspection takes some microseconds.
const LOOKS: usize = 5;
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The answer to a request for a lock.
enum Answer {
    /// Somebody holds it.
    Busy(Option<Holder>),
    /// It is ours. If nobody receives this, the file closes and the lock is free again.
    Ours(File),
}

/// The directory of locks that was last found to reach other machines.
struct Trusted {
    directory: PathBuf,
    prompt: bool,
}

static TRUSTED: Mutex<Option<Trusted>> = Mutex::new(None);

/// Takes the lock, or waits for it up to `limit` in the kernel's queue, which wakes us as soon as
/// it is free.
pub(super) fn hold_within(place: &VolumePath, limit: Duration) -> Result<File, LockError> {
    let began = Instant::now();
    let (tell, message) = mpsc::channel();
    let asked = place.clone();
    let asking = move || {
        if let Err(error) = ask(&asked, !limit.is_zero(), &tell) {
            let _nobody_waits = tell.send(Err(error));
        }
    };
    if limit.is_zero() && prompt(place) {
        asking();
    } else {
        thread::Builder::new()
            .spawn(asking)
            .map_err(failed(place))?;
    }
    let Ok(first) = message.recv_timeout(ANSWER.max(limit)) else {
        return Err(LockError::Silent(place.path(), began.elapsed()));
    };
    let holder = match first? {
        Answer::Ours(file) => return Ok(file),
        Answer::Busy(holder) => holder,
    };
    match message.recv_timeout(limit.saturating_sub(began.elapsed())) {
        Ok(Ok(Answer::Ours(file))) => Ok(file),
        Ok(Err(error)) => Err(error),
        _ => Err(LockError::Busy(holder)),
    }
}

/// Takes the lock shared, which any number may do at a time.
pub(super) fn share_within(place: &VolumePath) -> Result<File, LockError> {
    look_within(place, ANSWER, |place| {
        reaches_others(place)?;
        let file = open(place, true).map_err(failed(place))?;
        if try_flock(&file, FlockOperation::NonBlockingLockShared).map_err(failed(place))? {
            return Ok(file);
        }
        Err(LockError::Busy(holder(&file)))
    })
}

/// Inspects the lock with `look`, if that answers within `limit`.
pub(super) fn look_within<T: Send + 'static>(
    place: &VolumePath,
    limit: Duration,
    look: impl FnOnce(&VolumePath) -> Result<T, LockError> + Send + 'static,
) -> Result<T, LockError> {
    let (tell, message) = mpsc::channel();
    let asked = place.clone();
    let asking = move || {
        let _nobody_waits = tell.send(look(&asked));
    };
    thread::Builder::new()
        .spawn(asking)
        .map_err(failed(place))?;
    message
        .recv_timeout(limit)
        .unwrap_or_else(|_| Err(LockError::Silent(place.path(), limit)))
}

fn ask(
    place: &VolumePath,
    queue: bool,
    tell: &Sender<Result<Answer, LockError>>,
) -> Result<(), LockError> {
    let failed = failed(place);
    reaches_others(place)?;
    let file = open(place, true).map_err(&failed)?;
    if !hold(&file).map_err(&failed)? {
        let _nobody_waits = tell.send(Ok(Answer::Busy(holder(&file))));
        if !queue {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| failed(errno.into()))?;
    }
    let _nobody_waits = tell.send(Ok(Answer::Ours(file)));
    Ok(())
}

/// Checks what every destructive step requires: see [`mount::local_locks`]. Not repeated for the
/// directory of locks that was last found good.
fn reaches_others(place: &VolumePath) -> Result<(), LockError> {
    let path = place.path();
    let directory = path.parent().unwrap_or(&path);
    let known = || TRUSTED.lock().expect("nobody panics here");
    if known()
        .as_ref()
        .is_some_and(|trusted| trusted.directory == directory)
    {
        return Ok(());
    }
    let facts = mount::of(directory).map_err(failed(place))?;
    if let Some(why) = mount::local_locks(&facts) {
        return Err(LockError::Local { path, why });
    }
    *known() = Some(Trusted {
        directory: directory.to_owned(),
        prompt: mount::answers_itself(&facts),
    });
    Ok(())
}

/// Returns whether this kernel answers alone: then a thread costs more than the call.
fn prompt(place: &VolumePath) -> bool {
    let trusted = TRUSTED.lock().expect("nobody panics here");
    trusted
        .as_ref()
        .is_some_and(|trusted| trusted.prompt && place.path().parent() == Some(&trusted.directory))
}

/// Opens the lock file for writing, as NFS requires for an exclusive lock.
pub(super) fn open(place: &VolumePath, create: bool) -> io::Result<File> {
    let flags = if create {
        OFlags::RDWR | OFlags::CREATE
    } else {
        OFlags::RDWR
    };
    atomic::open(place, flags)
}

/// Returns the conversion of an I/O error on the lock file.
pub(super) fn failed(place: &VolumePath) -> impl Fn(io::Error) -> LockError {
    |cause| match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LockError::Full(place.path()),
        _ => LockError::Io {
            path: place.path(),
            cause,
        },
    }
}

/// Tries to take the lock a few times: somebody may just be inspecting it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    fn lock(root: &Path) -> VolumePath {
        VolumePath::new(&Arc::from(root), Path::new("a.lock")).unwrap()
    }

    #[test]
    fn who_gives_no_answer_is_given_up_on() {
        let look = |wait| {
            look_within(
                &lock(Path::new("/data")),
                Duration::from_millis(200),
                move |_| {
                    thread::sleep(wait);
                    Ok(())
                },
            )
        };
        assert!(look(Duration::ZERO).is_ok());
        let Err(error) = look(Duration::from_mins(1)) else {
            panic!("waited for")
        };
        assert!(
            error.may_pass() && error.to_string().contains("no answer"),
            "{error}"
        );
    }

    #[test]
    fn a_lock_that_came_too_late_is_free_again() {
        let locks = tempfile::tempdir().unwrap();
        let path = lock(locks.path());
        let first = hold_within(&path, Duration::ZERO).unwrap();
        assert!(matches!(
            hold_within(&path, Duration::from_millis(50)),
            Err(LockError::Busy(_))
        ));
        // The thread that still queues gets it now, finds nobody waiting, and releases it.
        drop(first);
        drop(hold_within(&path, Duration::from_mins(1)).unwrap());
        drop(hold_within(&path, Duration::from_mins(1)).unwrap());
    }
}
