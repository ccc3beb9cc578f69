//! The shadow, a sanitised git dir: the repo's objects, refs and worktrees behind a config of our
//! own.
//!
//! Agents write `.git`, and git's own security page says that running git in an untrusted `.git` is
//! not safe. So the real config is data, parsed and never obeyed. Git and git2 see a directory in
//! scratch space that contains links to the real entries (`docs/design/git.md#hostile-repos`),
//! without `hooks/` and `info/`. A repo that isn't well-formed gets no shadow.

use crate::fs::budget::Budget;
use crate::fs::denied::{self, Wanted};
use crate::fs::openat::{self, found};
use crate::fs::scratch::Scratch;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use crate::git::confine::Reach;
use crate::git::{self, Git, GitError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod blob;
pub(crate) mod config;
pub mod crypt;
mod expiry;
pub mod layout;
mod loose;
mod prove;
pub mod rooted;
use layout::Layout;
use loose::Loose;
use prove::{Proven, at, prove, prove_refs_in_files, unreadable};

/// Linked even if they don't exist yet: without the `packed-refs` link, pack-refs would move every
/// ref into the shadow.
///
/// Each is proven ([`prove()`]), because git and libgit2 open whatever stands there. So `FETCH_HEAD`
/// and the like are not among them: our own reader reads those, by descriptor.
const LINKED: [&str; 7] = [
    "objects",
    "refs",
    "logs",
    "worktrees",
    "packed-refs",
    "shallow",
    "index",
];

/// libgit2 syncs loose objects and refs because of `fsyncObjectFiles`, git because of `core.fsync`.
/// Names that are dangerous only on other systems (`git~1`) are fine in a rescue.
const CONFIG: &str = "[core]
\trepositoryformatversion = 0
\tbare = true
\tlogAllRefUpdates = true
\tfsyncObjectFiles = true
\tprotectNTFS = false
\tprotectHFS = false
";

/// A remote name that no repo uses, with an address that doesn't exist.
const PROMISOR: &str = "[remote \"treewarden-promisor\"]
\tpromisor = true
\turl = /dev/null/nowhere
";

/// Bytes. HEAD is one line, and no well-formed config or alternates file is larger than the cap.
const SMALL: u64 = 4096;
const CONFIG_CAP: u64 = 1 << 20;

/// A repo's git dir, proven to be well-formed, and its shadow.
pub struct Shadow {
    scratch: Scratch,
    git_dir: VolumePath,
    /// Whether it has no checkout of its own.
    is_bare: bool,
    lenders: Vec<VolumePath>,
    theirs: config::Theirs,
    reach: Reach,
    /// Loose objects that may not be whole, and about which git reported no error.
    doubtful: Vec<String>,
    handles: Mutex<Vec<git2::Repository>>,
    /// The repo's memory budget.
    budget: Budget,
}

/// Why a repo is left alone.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It can't be read.
    #[error("failed to read `{path}`: {cause}")]
    Unreadable {
        /// What.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// It is not well-formed.
    #[error("{0}")]
    Malformed(String),
    /// What git wrote there is missing or changed.
    #[error("damaged: {0}; run `git fsck`, restore or re-enroll it")]
    Damaged(String),
    /// Git could not read it.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Refusal {
    /// Returns it for people. Paths in it are below `root`.
    pub fn message(&self, root: &Path) -> String {
        match self {
            Self::Unreadable { path, cause } => {
                let denied = denied::message(&root.join(path), Wanted::Read, cause);
                format!("{self}{denied}")
            }
            _ => self.to_string(),
        }
    }
}

/// Returns whether a store without a shadow has only whole loose objects: libgit2 may read it.
pub fn is_whole(objects: &VolumePath, stop: &Stop) -> bool {
    let loose = prove::prove_objects(objects, stop).ok();
    loose.is_some_and(|loose| {
        loose
            .doubtful(stop)
            .is_ok_and(|doubtful| doubtful.is_empty())
    })
}

impl Shadow {
    /// Proves that the repo's git dir is well-formed and its own, and creates its shadow.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what helps.
    pub fn of(layout: &Layout, stop: &Stop) -> Result<Self, Refusal> {
        let budget = stop.budget();
        let _counted = budget.enter();
        let git_dir = layout.git_dir.clone();
        let Proven {
            head,
            lenders,
            loose,
        } = prove(&git_dir, stop)?;
        let scratch = Scratch::shadow().map_err(unreadable("the scratch directory"))?;
        let mut reach = Reach::of(scratch.path()).map_err(unreadable("the scratch directory"))?;
        reach
            .works_in
            .push(openat::dir(&git_dir).map_err(unreadable(&git_dir.to_string()))?);
        for lender in &lenders {
            reach
                .reads
                .push(openat::dir(lender).map_err(unreadable(&lender.to_string()))?);
        }
        let mut shadow = Self {
            scratch,
            git_dir,
            is_bare: false,
            lenders,
            theirs: config::Theirs::default(),
            reach,
            doubtful: Vec::new(),
            handles: Mutex::default(),
            budget,
        };
        shadow
            .lay(&head)
            .map_err(unreadable("the scratch directory"))?;
        shadow.theirs = shadow.judge_config(stop)?;
        prove_refs_in_files(&shadow.git_dir, &head)?;
        shadow.is_bare = layout.prove_own(&shadow.theirs)?;
        if shadow.theirs.promisor {
            shadow
                .is_partial()
                .map_err(unreadable("the scratch directory"))?;
        }
        shadow.doubtful = shadow.read_loose(&loose, stop)?;
        shadow.judge_crypt(None, stop)?;
        Ok(shadow)
    }

    fn lay(&self, head: &[u8]) -> io::Result<()> {
        let to = self.scratch.path();
        std::fs::write(to.join("config"), CONFIG)?;
        std::fs::write(to.join("HEAD"), head)?;
        for name in LINKED {
            std::os::unix::fs::symlink(self.git_dir.path().join(name), to.join(name))?;
        }
        Ok(())
    }

    /// Refuses a git-crypt repo. `also` is one more commit to check.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge_crypt(&self, also: Option<git2::Oid>, stop: &Stop) -> Result<(), Refusal> {
        crypt::judge(self, also, stop)
    }

    /// Returns a value of the repo's own config, as data; none if it has no such key.
    ///
    /// # Errors
    /// The config can't be read.
    pub fn setting(&self, key: &str, stop: &Stop) -> Result<Option<String>, Refusal> {
        let copy = self.scratch.path().join("theirs");
        if !copy.exists() {
            return Ok(None);
        }
        let args = [
            "config".as_ref(),
            "--file".as_ref(),
            copy.as_os_str(),
            "--no-includes".as_ref(),
            "--get".as_ref(),
            key.as_ref(),
        ];
        match self.git(stop, Duration::from_secs(10)).run(&args) {
            Ok(value) => Ok(Some(
                String::from_utf8_lossy(value.trim_ascii_end()).into_owned(),
            )),
            Err(GitError::Failed { status, .. }) if status.code() == Some(1) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells git that objects may be missing here, because a remote has promised them. The remote
    /// in the shadow's config doesn't exist.
    fn is_partial(&self) -> io::Result<()> {
        std::fs::write(
            self.scratch.path().join("config"),
            format!("{CONFIG}{PROMISOR}"),
        )
    }

    /// Returns whether the repo's own config says that objects may be missing.
    pub fn is_promised(&self) -> bool {
        self.theirs.promisor
    }

    /// Returns the object directories that it borrows from, directly or through others.
    pub fn alternates(&self) -> &[VolumePath] {
        &self.lenders
    }

    /// Refuses a repo whose config would change the meaning of its objects.
    fn judge_config(&self, stop: &Stop) -> Result<config::Theirs, Refusal> {
        let Some(theirs) = found(openat::read(&at(&self.git_dir, "config"), CONFIG_CAP))
            .map_err(unreadable(".git/config"))?
        else {
            return Ok(config::Theirs::default());
        };
        if config::is_endless(&theirs) {
            let what = "names a section at too great length for so many keys, as no well-formed one does; fix it by hand";
            return Err(Refusal::Malformed(format!(
                "`{}/config` {what}",
                self.git_dir
            )));
        }
        let version = || git::version(stop).ok().flatten();
        let copy = self.scratch.path().join("theirs");
        std::fs::write(&copy, &theirs).map_err(unreadable("the scratch directory"))?;
        if let Some(entries) = config::plain(&theirs) {
            return config::judge(entries.iter().map(String::as_str), &version);
        }
        let args = [
            "config".as_ref(),
            "--file".as_ref(),
            copy.as_os_str(),
            "--no-includes".as_ref(),
            "--null".as_ref(),
            "--list".as_ref(),
        ];
        let listed = self.git(stop, Duration::from_secs(10)).run(&args);
        let listed = listed
            .map_err(|error| self.complaint(error, "config", "is malformed", "fix it by hand"))?;
        let listed: Vec<_> = listed
            .split(|&byte| byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        config::judge(listed.iter().map(|entry| &**entry), &version)
    }

    /// Checks that every loose object is whole before libgit2 reads it. Git checks the doubtful
    /// ones, and reports what is wrong.
    fn read_loose(&self, loose: &[Loose], stop: &Stop) -> Result<Vec<String>, Refusal> {
        let mut doubtful = Vec::new();
        for loose in loose.iter().filter(|loose| !loose.ids.is_empty()) {
            doubtful.extend(
                loose
                    .doubtful(stop)
                    .map_err(unreadable(&loose.objects.to_string()))?,
            );
        }
        if doubtful.is_empty() {
            return Ok(Vec::new());
        }
        let doubtful: Vec<String> = doubtful.into_iter().map(ToOwned::to_owned).collect();
        let read = self.git(stop, Duration::from_mins(10)).feed(
            &["cat-file", "--batch", "--buffer"],
            doubtful.join("\n").as_bytes(),
        );
        match read {
            Ok(()) => Ok(doubtful),
            Err(GitError::Failed { message, .. }) => Err(Refusal::Damaged(self.real(&message))),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the first of the repo's own doubtful loose objects that exists as a file but that
    /// git doesn't find.
    ///
    /// # Errors
    /// Git could not be asked.
    pub fn lost(&self, stop: &Stop) -> Result<Option<String>, Refusal> {
        if self.doubtful.is_empty() {
            return Ok(None);
        }
        let git = self.git(stop, Duration::from_mins(10));
        let answer = git.ask(
            &["cat-file", "--batch-check", "--buffer"],
            self.doubtful.join("\n").as_bytes(),
        )?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let missing = answer
            .lines()
            .filter_map(|line| line.strip_suffix(" missing"));
        let there = |id: &&str| {
            let file = self
                .git_dir
                .join(format!("objects/{}/{}", &id[..2], &id[2..]));
            id.len() == 40 && file.is_ok_and(|file| openat::stat(&file).is_ok())
        };
        Ok(missing
            .filter(|id| id.is_ascii())
            .find(there)
            .map(ToOwned::to_owned))
    }

    /// Returns git's message about the shadow, with the real paths.
    fn real(&self, message: &str) -> String {
        message.replace(
            &self.scratch.path().display().to_string(),
            &self.git_dir.to_string(),
        )
    }

    /// Turns git's error about the shadow into a refusal, with the real paths.
    fn complaint(&self, error: GitError, name: &str, what: &str, remedy: &str) -> Refusal {
        let GitError::Failed { message, .. } = error else {
            return error.into();
        };
        let scratch = self.scratch.path().display().to_string();
        let message = message
            .replace(&format!("{scratch}/theirs"), "it")
            .replace(&scratch, &self.git_dir.to_string());
        Refusal::Malformed(format!(
            "`{}/{name}` {what}: {message}; {remedy}",
            self.git_dir
        ))
    }

    /// Returns a git for this repo.
    pub fn git<'a>(&'a self, stop: &'a Stop, limit: Duration) -> Git<'a> {
        Git::new(self.scratch.path(), &self.reach, stop, limit)
    }

    /// Returns descriptors of the object directories that the repo borrows from, as proven.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn lenders(&self) -> io::Result<Vec<OwnedFd>> {
        self.reach.reads.iter().map(OwnedFd::try_clone).collect()
    }

    /// Opens the repo with git2. A handle is for one thread.
    ///
    /// # Errors
    /// libgit2 can't read the repo.
    pub fn open(&self) -> Result<git2::Repository, git2::Error> {
        treewarden_unsafe::forget_machine_config();
        #[expect(clippy::disallowed_methods, reason = "this is the shadow")]
        let repo = git2::Repository::open(self.scratch.path())?;
        // libgit2 ignores relative lines in a lender's own list.
        for lender in &self.lenders {
            repo.odb()?
                .add_disk_alternate(&lender.path().to_string_lossy())?;
        }
        Ok(repo)
    }

    /// Runs `work` with a handle that nobody else uses meanwhile. A handle is for one thread, and
    /// opening one costs more than most uses, so it is kept for the next caller.
    ///
    /// # Errors
    /// As [`Shadow::open`].
    pub fn with<T>(&self, work: impl FnOnce(&git2::Repository) -> T) -> Result<T, git2::Error> {
        let _counted = self.budget.enter();
        let waiting = self.handles().pop();
        let repo = waiting.map_or_else(|| self.open(), Ok)?;
        let done = work(&repo);
        self.handles().push(repo);
        Ok(done)
    }

    /// Closes the kept handles. They keep packs open, and NFS keeps an open file that a repack
    /// deletes.
    pub fn close(&self) {
        self.handles().clear();
    }

    fn handles(&self) -> MutexGuard<'_, Vec<git2::Repository>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work that changes the repo through libgit2, in a thread that can read the volume and
    /// change only this repo: if somebody replaces a directory by a link meanwhile, it leads
    /// nowhere. If the confinement fails, that is the repo's failure.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`]: the kernel refused the confinement, and the work was not begun.
    pub fn confined<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Refusal> {
        let confine = || -> io::Result<()> {
            let works_in = self
                .reach
                .works_in
                .iter()
                .map(OwnedFd::try_clone)
                .collect::<io::Result<_>>()?;
            Reach {
                works_in,
                reads: vec![openat::root(self.git_dir.root())?],
            }
            .enter()
            .map(drop)
            .map_err(io::Error::other)
        };
        let run = || {
            let _counted = self.budget.enter();
            confine()
                .map_err(unreadable(&self.git_dir.to_string()))
                .map(|()| work())
        };
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Returns whether the repo is bare: nobody has checked out its HEAD.
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// Returns the real git dir.
    pub fn git_dir(&self) -> &VolumePath {
        &self.git_dir
    }
}
