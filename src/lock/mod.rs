//! The lock that agents and the run share: an exclusive `flock(2)` on a file that is never deleted.
//!
//! `flock FILE CMD` in a shell takes the very same lock
//! (`docs/design/contract.md#the-lock-protocol`). Only the kernel decides who holds it; the text in
//! the file is information for people. Nobody may take a second repo while holding one. Only a
//! [`LockedRepo`] can be changed, and only taking the lock creates one.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use crate::fs::atomic;
use crate::fs::clock;
use crate::fs::denied::{self, Wanted};
use crate::fs::mount::MountTrouble;
use crate::fs::openat::{self, found};
use crate::fs::volume_path::VolumePath;
use ask::{ANSWER, failed, hold_within, look_within, try_flock};
use chrono::{DateTime, Utc};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::{Errno, FdFlags, retry_on_intr};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

mod ask;
mod bare;
mod holder;
mod volume;

use holder::command;
pub use holder::{Holder, Purpose};
pub use volume::{LockedJournal, LockedVolume, shard, shards};

/// The schema of treewarden's text in a lock file.
const SCHEMA: &str = "treewarden.lock/1";

/// The file name of the volume's lock, beside the repos' locks.
const VOLUME: &str = "volume.lock";

/// The meaning of an I/O error on a lock's file.
const GIVEN_UP: &str =
    "the file server gave it up while it could not be reached, and somebody else may have had it";

/// How often at most a lock is proven to the server: a lease lasts 90 s, and a run has a hundred
/// thousand steps.
const PROOF: Duration = Duration::from_secs(1);

/// Why a lock was not taken, or is lost.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it.
    #[error("{}", describe(.0.as_ref()))]
    Busy(Option<Holder>),
    /// The lock file is gone, replaced or names another holder, or the server gave the lock up.
    #[error("lost the lock `{}`: {why}; this repo stops here, the next run goes on", path.display())]
    Lost {
        /// The lock file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file server doesn't answer.
    #[error(
        "no answer for {} s about the lock `{}`; see that the file server is up (after its restart it may take two minutes)",
        .1.as_secs(),
        .0.display()
    )]
    Silent(PathBuf, Duration),
    /// It would exclude nobody on another machine.
    #[error("refused to lock `{}`: {why}", path.display())]
    Local {
        /// The lock file.
        path: PathBuf,
        /// Why it would not.
        why: MountTrouble,
    },
    /// There is no room for the record.
    #[error(
        "failed to lock `{}`: the volume is full, and its reserved space is gone; delete something there by hand (`treewarden report` says what fills it), then run again",
        .0.display()
    )]
    Full(PathBuf),
    /// The file system refused.
    #[error("failed to lock `{}`: {cause}{}", path.display(), remedy(path, cause))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Returns what helps if the file system refused a lock.
fn remedy(path: &Path, cause: &io::Error) -> String {
    let denied = denied::message(path, Wanted::Replace, cause);
    if denied.is_empty() {
        "; check that the volume is mounted with locks and writable".to_owned()
    } else {
        denied
    }
}

impl LockError {
    /// Returns whether a later try may succeed: the lock is held, or the server doesn't answer.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Silent(..))
    }
}

fn describe(holder: Option<&Holder>) -> String {
    holder.map_or_else(
        || "held by somebody who left no name".to_owned(),
        |holder| format!("held by {holder}"),
    )
}

/// A lock that we hold. Dropping it releases it.
#[derive(Debug)]
struct Held {
    file: File,
    place: VolumePath,
    token: String,
    /// When it was last proven to be ours; none once it was lost.
    proven: Mutex<Option<Instant>>,
    /// Whether a command holds it, too: see [`LockedRepo::share`].
    shared: bool,
}

/// A locked repo: the only thing that `apply` changes.
#[derive(Debug)]
pub struct LockedRepo {
    held: Held,
    place: VolumePath,
}

/// A lock that is checked before each destructive step.
pub trait StillHeld {
    /// Checks that the lock file is still the same, with our own token in it.
    ///
    /// # Errors
    /// [`LockError::Lost`] or [`LockError::Io`]: stop at once.
    fn still_held(&self) -> Result<(), LockError>;
}

impl StillHeld for LockedRepo {
    fn still_held(&self) -> Result<(), LockError> {
        self.held.check()
    }
}

impl LockedRepo {
    /// Takes the lock of the repo `name`, with its checkout at `place`, or returns the holder.
    /// Doesn't wait for a holder.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take<'a>(
        locks: &VolumePath,
        name: &str,
        place: &VolumePath,
        purpose: impl Into<Purpose<'a>>,
        now: DateTime<Utc>,
    ) -> Result<Self, LockError> {
        let held = Held::take(&inside(locks, &file_name(name)), purpose, now)?;
        Ok(Self {
            held,
            place: place.clone(),
        })
    }

    /// Takes the lock as [`Self::take`] does, but waits up to `limit` in the kernel's queue, which
    /// wakes us as soon as the lock is free. `now` is called after that.
    ///
    /// # Errors
    /// [`LockError`]: `Busy` if the lock wasn't free in time.
    pub fn wait<'a>(
        locks: &VolumePath,
        name: &str,
        place: &VolumePath,
        purpose: impl Into<Purpose<'a>>,
        now: impl FnOnce() -> DateTime<Utc>,
        limit: Duration,
    ) -> Result<Self, LockError> {
        let held = Held::wait(&inside(locks, &file_name(name)), purpose, now, limit)?;
        Ok(Self {
            held,
            place: place.clone(),
        })
    }

    /// Shares the lock with every process started from now on: it stays held until the last of them
    /// has ended too, even if we end first.
    ///
    /// # Errors
    /// Any error of the kernel.
    pub fn share(&mut self) -> io::Result<()> {
        rustix::io::fcntl_setfd(&self.held.file, FdFlags::empty())?;
        self.held.shared = true;
        Ok(())
    }

    /// Renews the record's write time, as a sign of life. On NFS this also shows whether the lock
    /// was lost during a network outage.
    ///
    /// # Errors
    /// As [`StillHeld::still_held`].
    pub fn beat(&self) -> Result<(), LockError> {
        self.held.check()?;
        self.held.prove(Duration::ZERO)
    }

    /// Returns the checkout.
    pub fn place(&self) -> &VolumePath {
        &self.place
    }

    /// Returns a file name that is unique to this repo: the lock file's, without its extension.
    pub fn stem(&self) -> &OsStr {
        self.held.place.relative().file_stem().unwrap_or_default()
    }

    /// Returns the file server's time of the record's last write, to measure ages of files against.
    pub fn server_clock(&self) -> Option<DateTime<Utc>> {
        self.held.server_clock()
    }
}

/// The state of a lock, by the kernel and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether somebody holds it, by the kernel.
    pub held: bool,
    /// The holder named in the file. If the lock is free, that holder died without releasing it.
    pub holder: Option<Holder>,
    /// The holder's last sign of life: when the file was last written.
    pub written: Option<DateTime<Utc>>,
}

/// Checks whether somebody holds the repo's lock, without leaving a trace: for a dry run.
///
/// # Errors
/// As [`look_at`].
pub fn peek(locks: &VolumePath, name: &str) -> Result<Result<(), Option<Holder>>, LockError> {
    let seen = look_at(locks, Some(name))?;
    Ok(if seen.held { Err(seen.holder) } else { Ok(()) })
}

/// Returns the state of the lock of a repo, or of the volume.
///
/// # Errors
/// [`LockError::Io`] if the file exists and can't be inspected, or [`LockError::Silent`].
pub fn look_at(locks: &VolumePath, name: Option<&str>) -> Result<Seen, LockError> {
    look_within(
        &inside(locks, &name.map_or_else(|| VOLUME.to_owned(), file_name)),
        ANSWER,
        look,
    )
}

/// Takes the lock shared, which any number may do at a time, and releases it at once. This disturbs
/// nobody else who inspects it, and delays somebody who takes it only for a moment (see [`ask`]).
fn look(place: &VolumePath) -> Result<Seen, LockError> {
    let failed = failed(place);
    let Some(file) = found(atomic::open(place, OFlags::RDONLY)).map_err(&failed)? else {
        return Ok(Seen {
            held: false,
            holder: None,
            written: None,
        });
    };
    let held = !try_flock(&file, FlockOperation::NonBlockingLockShared).map_err(&failed)?;
    try_flock(&file, FlockOperation::Unlock).map_err(&failed)?;
    let record = read_holder(&file).ok().flatten();
    let written = file
        .metadata()
        .and_then(|data| data.modified())
        .ok()
        .map(openat::time);
    let left_no_name = || held.then(|| bare::holder(&file)).flatten();
    Ok(Seen {
        held,
        holder: record.or_else(left_no_name),
        written,
    })
}

/// The lock file of `owner/name` is `owner__name.lock`.
fn file_name(repo: &str) -> String {
    format!("{}.lock", repo.replace('/', "__"))
}

/// Returns a lock's place by its file name, which is one of ours or a repo's: neither has a slash.
fn inside(locks: &VolumePath, name: &str) -> VolumePath {
    locks.join(name).expect("a name alone stays inside")
}

impl Held {
    fn take<'a>(
        place: &VolumePath,
        purpose: impl Into<Purpose<'a>>,
        now: DateTime<Utc>,
    ) -> Result<Self, LockError> {
        Self::wait(place, purpose, || now, Duration::ZERO)
    }

    fn wait<'a>(
        place: &VolumePath,
        purpose: impl Into<Purpose<'a>>,
        now: impl FnOnce() -> DateTime<Utc>,
        limit: Duration,
    ) -> Result<Self, LockError> {
        let file = hold_within(place, limit)?;
        Self::sign(file, place, purpose.into(), now())
    }

    /// Writes our record into the lock file that we hold.
    fn sign(
        file: File,
        place: &VolumePath,
        purpose: Purpose<'_>,
        now: DateTime<Utc>,
    ) -> Result<Self, LockError> {
        let failed = failed(place);
        let holder = Holder {
            schema: SCHEMA.into(),
            holder: host(),
            pid: std::process::id(),
            purpose: purpose.name.to_owned(),
            since: now,
            token: uuid::Uuid::new_v4().to_string().into(),
            command: Some(command(purpose.command))
                .filter(|command| !command.is_empty())
                .map(Into::into),
        };
        let held = Self {
            file,
            place: place.clone(),
            token: holder.token.to_string(),
            proven: Mutex::new(Some(Instant::now())),
            shared: false,
        };
        held.write(&serde_json::to_vec(&holder).map_err(|error| failed(error.into()))?)
            .map_err(&failed)?;
        held.check()?;
        Ok(held)
    }

    /// Replaces the record and syncs it: on NFS only the sync shows that the lock was lost during a
    /// network outage.
    fn write(&self, text: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(text, 0)?;
        self.file.sync_all()
    }

    /// Writes the record's first byte unchanged, so that no reader sees half a record, and syncs
    /// it: if the lock was lost, that is EIO once the network is back. A sync without a write
    /// proves nothing. A lost lock stays lost: if the server grants it again, somebody else may
    /// have held it meanwhile.
    fn prove(&self, every: Duration) -> Result<(), LockError> {
        let mut proven = self.proven.lock().expect("no holder panics here");
        let Some(last) = *proven else {
            return Err(self.lost(GIVEN_UP));
        };
        if last.elapsed() >= every {
            *proven = None;
            let written = self
                .file
                .write_all_at(b"{", 0)
                .and_then(|()| self.file.sync_all());
            match written {
                Err(cause) if cause.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Err(self.lost(GIVEN_UP));
                }
                // A full volume has to be emptied under this lock, so that error doesn't count.
                Err(cause)
                    if !matches!(
                        cause.kind(),
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                    ) =>
                {
                    *proven = Some(last);
                    return Err(failed(&self.place)(cause));
                }
                _ => *proven = Some(Instant::now()),
            }
        }
        Ok(())
    }

    fn server_clock(&self) -> Option<DateTime<Utc>> {
        self.file
            .metadata()
            .ok()?
            .modified()
            .ok()
            .map(clock::of_server)
    }

    fn lost(&self, why: &str) -> LockError {
        LockError::Lost {
            path: self.place.path(),
            why: why.to_owned(),
        }
    }

    fn check(&self) -> Result<(), LockError> {
        let failed = failed(&self.place);
        let lost = |why: &str| Err(self.lost(why));
        let ours = self.file.metadata().map_err(&failed)?;
        let Some(theirs) = found(openat::stat(&self.place)).map_err(&failed)? else {
            return lost("the file is gone");
        };
        if (ours.dev(), ours.ino()) != (theirs.st_dev, theirs.st_ino) {
            return lost("the file was replaced");
        }
        match read_holder(&self.file).map_err(&failed)? {
            Some(holder) if *holder.token == *self.token => self.prove(PROOF),
            _ => lost("it names another holder"),
        }
    }
}

impl Drop for Held {
    /// Removes our record, so that a free lock doesn't look held. The kernel frees the lock when
    /// the file closes.
    fn drop(&mut self) {
        // Our own share is released first: if a command holds the lock, our record stays for it.
        if self.shared && !self.take_alone().unwrap_or(false) {
            return;
        }
        if self.check().is_ok()
            && let Err(error) = self.file.set_len(0)
        {
            tracing::warn!(lock = %self.place, %error, "failed to clear the lock file; the lock itself is free");
        }
    }
}

impl Held {
    fn take_alone(&mut self) -> io::Result<bool> {
        self.file = ask::open(&self.place, false)?;
        try_flock(&self.file, FlockOperation::NonBlockingLockExclusive)
    }
}

/// Returns who holds the lock on this file: by the record, or else by this machine's kernel.
fn holder(file: &File) -> Option<Holder> {
    let left_no_name = || bare::holder(file);
    read_holder(file).ok().flatten().or_else(left_no_name)
}

/// Reads the record; none if it is malformed or missing.
fn read_holder(file: &File) -> io::Result<Option<Holder>> {
    let mut text = [0; 4096];
    let length = retry_on_intr(|| rustix::io::pread(file, &mut text, 0))?;
    Ok(text.get(..length).and_then(Holder::read))
}

/// Returns this machine's or pod's name.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::ask::LOOK;
    use super::*;
    use std::sync::Arc;

    /// Creates a volume with a directory of locks.
    fn volume() -> (tempfile::TempDir, VolumePath) {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("locks")).unwrap();
        let locks = VolumePath::new(&Arc::from(top.path()), Path::new("locks")).unwrap();
        (top, locks)
    }

    fn take(locks: &VolumePath) -> Result<LockedRepo, LockError> {
        let place = VolumePath::new(&Arc::from(Path::new("/data")), Path::new("a")).unwrap();
        LockedRepo::take(locks, "acme/shop", &place, "test", DateTime::UNIX_EPOCH)
    }

    /// Waits until the lock is free: a child that another test is just starting has our open files
    /// until it executes its program.
    #[track_caller]
    fn becomes_free(locks: &VolumePath) {
        let began = Instant::now();
        while !matches!(peek(locks, "acme/shop"), Ok(Ok(()))) {
            assert!(began.elapsed() < Duration::from_secs(5), "it stays held");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_holder_at_a_time_and_the_other_is_named() {
        let (_top, locks) = volume();
        let held = take(&locks).unwrap();
        let Err(LockError::Busy(Some(holder))) = take(&locks) else {
            panic!("taken twice")
        };
        assert_eq!(
            (holder.pid, holder.purpose.as_str()),
            (std::process::id(), "test")
        );
        assert!(matches!(peek(&locks, "acme/shop"), Ok(Err(Some(_)))));
        drop(held);
        becomes_free(&locks);
        assert_eq!(
            std::fs::read(locks.path().join("acme__shop.lock")).unwrap(),
            b""
        );
        drop(take(&locks).unwrap());
    }

    #[test]
    fn who_only_looks_holds_up_nobody() {
        let (_top, locks) = volume();
        drop(take(&locks).unwrap());
        becomes_free(&locks);
        let looking = File::open(locks.path().join("acme__shop.lock")).unwrap();
        assert!(try_flock(&looking, FlockOperation::NonBlockingLockShared).unwrap());
        assert!(
            matches!(peek(&locks, "acme/shop"), Ok(Ok(()))),
            "another look"
        );
        let looker = std::thread::spawn(move || {
            std::thread::sleep(LOOK / 2);
            drop(looking);
        });
        drop(take(&locks).unwrap());
        looker.join().unwrap();
        becomes_free(&locks);
    }

    #[test]
    fn a_replaced_or_rewritten_lock_file_is_lost() {
        let (_top, locks) = volume();
        let path = locks.path().join("acme__shop.lock");
        let held = take(&locks).unwrap();
        held.still_held().unwrap();
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(held.still_held(), Err(LockError::Lost { .. })));
        std::fs::rename(&path, locks.path().join("old")).unwrap();
        assert!(matches!(held.still_held(), Err(LockError::Lost { .. })));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(held.still_held(), Err(LockError::Lost { .. })));
    }

    #[test]
    fn what_a_lock_file_is_linked_to_is_not_written_over() {
        let (_top, locks) = volume();
        let victim = locks.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::fs::hard_link(&victim, locks.path().join("acme__shop.lock")).unwrap();
        assert!(matches!(take(&locks), Err(LockError::Io { .. })));
        assert_eq!(std::fs::read(victim).unwrap(), b"precious");
    }

    #[test]
    fn asking_a_lock_that_nobody_ever_took_leaves_no_trace() {
        let (_top, locks) = volume();
        assert!(matches!(peek(&locks, "acme/shop"), Ok(Ok(()))));
        assert_eq!(std::fs::read_dir(locks.path()).unwrap().count(), 0);
    }
}
