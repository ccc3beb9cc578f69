//! A file server for tests and benches: a FUSE file system that passes everything through to a
//! backing directory, and fails as NFS fails.
//!
//! A change at the mount point is the work of this client; one in the backing directory is another
//! client's. The server runs in threads of the test, so that its faults can be set while treewarden
//! runs. Only faults that a test set occur.

mod faults;
mod nodes;
mod server;

pub(crate) use faults::{Call, Fault};

use faults::Faults;
use fuser::{BackgroundSession, Config, MountOption};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::Server;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of calls that are served at once: more than the threads of any run.
const THREADS: usize = 40;

/// How the server behaves from the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Whether it behaves like an NFS server and client: an open file is renamed to `.nfs...` when
    /// it is deleted, a file deleted by another client is stale, and a rename takes no flags.
    /// Otherwise it behaves like a local disk.
    pub(crate) nfs: bool,
    /// How long the kernel answers from its cache. With zero every call reaches the server.
    pub(crate) cache: Duration,
    /// The most files that the server itself keeps open, if it may have as many.
    pub(crate) files: usize,
}

impl Manners {
    /// A local disk, uncached.
    pub(crate) const LOCAL: Self = Self {
        nfs: false,
        cache: Duration::ZERO,
        files: usize::MAX,
    };
    /// NFS, uncached.
    pub(crate) const NFS: Self = Self {
        nfs: true,
        ..Self::LOCAL
    };
}

/// What can be changed while it is mounted.
#[derive(Default)]
struct Shared {
    faults: Faults,
    calls: [AtomicU64; Call::ALL.len()],
    /// Microseconds that are added to each call.
    delay: AtomicU64,
    /// The volume's size in bytes, or 0 for that of the disk behind it.
    capacity: AtomicU64,
}

/// A mounted server. Dropping it unmounts it.
pub(crate) struct Mounted {
    /// Where the files really are. A change there is another client's.
    pub(crate) backing: PathBuf,
    mountpoint: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Mounts `backing` at `mountpoint`.
    pub(crate) fn mount(backing: &Path, mountpoint: &Path, manners: Manners) -> Self {
        let shared = Arc::<Shared>::default();
        let files = manners.files.min(many_descriptors() / 2);
        let server = Server::new(backing, manners, files, shared.clone());
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("treewarden-tests".into()),
            MountOption::DefaultPermissions,
        ];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(server, mountpoint, &config);
        let session = session.unwrap_or_else(|error| {
            panic!("no FUSE here: {error}; this test needs /dev/fuse, and to be root or have fusermount3 (Debian: fuse3)")
        });
        Self {
            backing: backing.to_owned(),
            mountpoint: mountpoint.to_owned(),
            shared,
            session: Some(session),
        }
    }

    /// Returns a path in the backing directory, as another client sees it.
    pub(crate) fn behind(&self, path: impl AsRef<Path>) -> PathBuf {
        self.backing.join(path)
    }

    /// Makes calls fail as `fault` says, from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.shared.faults.set(fault);
    }

    /// Clears all faults. Returns how many calls failed.
    pub(crate) fn heal(&self) -> u64 {
        self.shared.faults.clear()
    }

    /// Returns how many calls have failed since the last [`Self::heal`].
    pub(crate) fn failed(&self) -> u64 {
        self.shared.faults.failed()
    }

    /// Makes every call take so much longer, from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared
            .delay
            .store(delay.as_micros().try_into().unwrap(), Ordering::Relaxed);
    }

    /// Makes the volume this large, and as full as its files make it, from now on.
    pub(crate) fn resize(&self, bytes: u64) {
        self.shared.capacity.store(bytes, Ordering::Relaxed);
    }

    /// Returns how many calls of each kind there were so far.
    pub(crate) fn calls(&self) -> BTreeMap<Call, u64> {
        Call::ALL
            .into_iter()
            .map(|call| {
                (
                    call,
                    self.shared.calls[call as usize].load(Ordering::Relaxed),
                )
            })
            .collect()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.heal();
        // Lazily: a test that panics may have files open.
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(&self.mountpoint)
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "failed to unmount"
        );
        drop(self.session.take());
    }
}

/// Raises the descriptor limit: the server has one open for each file that the kernel knows, up to
/// half of that. Returns the limit.
fn many_descriptors() -> usize {
    let (limit, many) = (getrlimit(Resource::Nofile), 1 << 17);
    if limit.current.is_some_and(|current| current < many) {
        let hard = limit.maximum.map(|maximum| maximum.max(many));
        let raised = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(many),
                maximum: hard,
            },
        );
        // Only root may pass the hard limit.
        raised
            .or_else(|_| {
                setrlimit(
                    Resource::Nofile,
                    Rlimit {
                        current: limit.maximum,
                        ..limit
                    },
                )
            })
            .unwrap();
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(many);
    usize::try_from(limit.min(many)).unwrap()
}
