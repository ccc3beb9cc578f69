//! A shadow git dir: the repo's objects, refs and worktrees behind a config of our own.
//!
//! Agents write `.git`, and git's own security page says that running git in an untrusted `.git` is not safe. So the real config is data,
//! parsed and never obeyed; git and git2 see a folder in scratch space whose entries are links to the real ones (`git.md`, "Hostile
//! repos"). It must never hold `hooks/` or `info/`, and never be made for a repo that isn't what it should be.

use crate::beneath::{self, found};
use crate::git::{Git, GitError};
use crate::inside::Inside;
use crate::stop::Stop;
use rustix::fs::FileType;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;
use tempfile::TempDir;

/// Linked even where they don't exist yet: without the `packed-refs` link, pack-refs would move every ref into the shadow.
const LINKED: [&str; 13] = [
    "objects",
    "refs",
    "logs",
    "worktrees",
    "packed-refs",
    "shallow",
    "index",
    "gc.pid",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REBASE_HEAD",
];

/// libgit2 syncs loose objects and refs by the first key, git by `core.fsync` of `git.rs`. Names that only other systems find
/// dangerous (`git~1`) are fine in a rescue.
const CONFIG: &str = "[core]
\trepositoryformatversion = 0
\tbare = true
\tlogAllRefUpdates = true
\tfsyncObjectFiles = true
\tprotectNTFS = false
\tprotectHFS = false
";

/// Extensions whose repos we know how to treat without obeying them.
const KNOWN_EXTENSIONS: [&str; 3] = ["extensions.worktreeconfig", "extensions.noop", "extensions.relativeworktrees"];

/// HEAD is a line; a config or an alternates file of this size is no honest one.
const SMALL: u64 = 4096;
const CONFIG_CAP: u64 = 1 << 20;

/// A repo's git dir, proven to be one, behind its shadow.
pub struct Shadow {
    scratch: TempDir,
    git_dir: Inside,
}

/// Why a repo is left alone.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It can't be looked at.
    #[error("failed to read `{path}`: {cause}")]
    Unreadable {
        /// What.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// It is not what it should be.
    #[error("{0}")]
    Odd(String),
    /// Git could not look at it.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl Shadow {
    /// Proves that `checkout/.git` is an honest git dir, and lays its shadow in scratch space.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what helps.
    pub fn of(checkout: &Inside, stop: &Stop) -> Result<Self, Refusal> {
        let git_dir = checkout.join(".git").map_err(|error| Refusal::Odd(error.to_string()))?;
        let loose = prove(&git_dir)?;
        let scratch = tempfile::Builder::new().prefix("treewarden-shadow-").tempdir().map_err(unreadable("the scratch folder"))?;
        let shadow = Self { scratch, git_dir };
        shadow.lay().map_err(unreadable("the scratch folder"))?;
        shadow.judge_config(stop)?;
        shadow.read_loose(&loose, stop)?;
        Ok(shadow)
    }

    fn lay(&self) -> io::Result<()> {
        let to = self.scratch.path();
        std::fs::write(to.join("config"), CONFIG)?;
        std::fs::write(to.join("HEAD"), beneath::read(&at(&self.git_dir, "HEAD"), SMALL)?)?;
        for name in LINKED {
            std::os::unix::fs::symlink(self.git_dir.path().join(name), to.join(name))?;
        }
        Ok(())
    }

    /// Reads the repo's config as data: what would change the meaning of its objects is refused.
    fn judge_config(&self, stop: &Stop) -> Result<(), Refusal> {
        let Some(config) = found(beneath::read(&at(&self.git_dir, "config"), CONFIG_CAP)).map_err(unreadable(".git/config"))? else {
            return Ok(());
        };
        let copy = self.scratch.path().join("theirs");
        std::fs::write(&copy, config).map_err(unreadable("the scratch folder"))?;
        let copy = copy.as_os_str();
        let args = ["config".as_ref(), "--file".as_ref(), copy, "--no-includes".as_ref(), "--null".as_ref(), "--list".as_ref()];
        let listed = self.git(stop, Duration::from_secs(10)).run(&args);
        let listed = listed.map_err(|error| self.complaint(error, "config", "makes no sense", "mend it by hand"))?;
        listed.split(|&byte| byte == 0).map(String::from_utf8_lossy).try_for_each(|entry| judge_entry(&entry))
    }

    /// Has git read every loose object: on one that was cut short, as a crash or a full disk leaves it, libgit2 1.9 would turn in a circle
    /// for ever (its issue 7342), and with it the night.
    fn read_loose(&self, loose: &str, stop: &Stop) -> Result<(), Refusal> {
        if loose.is_empty() {
            return Ok(());
        }
        let read = self.git(stop, Duration::from_mins(10)).feed(&["cat-file", "--batch", "--buffer"], loose.as_bytes());
        read.map_err(|error| self.complaint(error, "objects", "is damaged", "see `git fsck`, and bring back what it names"))
    }

    /// What git says of the shadow, as said of the real thing.
    fn complaint(&self, error: GitError, name: &str, what: &str, remedy: &str) -> Refusal {
        let GitError::Failed { message, .. } = error else { return error.into() };
        let scratch = self.scratch.path().display().to_string();
        let message = message.replace(&format!("{scratch}/theirs"), "it").replace(&scratch, &self.git_dir.to_string());
        Refusal::Odd(format!("`{}/{name}` {what}: {message}; {remedy}", self.git_dir))
    }

    /// Git on this repo.
    pub fn git<'a>(&'a self, stop: &'a Stop, limit: Duration) -> Git<'a> {
        Git::new(self.scratch.path(), stop, limit)
    }

    /// git2 on this repo. A handle is for one thread.
    ///
    /// # Errors
    /// libgit2 can't make sense of the repo.
    pub fn open(&self) -> Result<git2::Repository, git2::Error> {
        forget_machine_config();
        #[expect(clippy::disallowed_methods, reason = "this is the shadow")]
        git2::Repository::open(self.scratch.path())
    }

    /// The real git dir.
    pub fn git_dir(&self) -> &Inside {
        &self.git_dir
    }
}

/// A fixed name below a place can't climb.
fn at(place: &Inside, name: &str) -> Inside {
    place.join(name).expect("a fixed name stays inside")
}

fn unreadable(path: &str) -> impl Fn(io::Error) -> Refusal {
    move |cause| Refusal::Unreadable { path: path.to_owned(), cause }
}

/// The shape of an honest git dir: no links where git would follow them, no FIFO where it would wait, nothing that leads elsewhere.
/// Gives the ids of its loose objects, a line each.
fn prove(git_dir: &Inside) -> Result<String, Refusal> {
    let odd =
        |name: &str, what: &str| Refusal::Odd(format!("`{git_dir}/{name}` {what}; mend it by hand or take the repo out of the config"));
    let must_be = |name: &str, wanted: FileType, needed: bool| {
        let place = if name.is_empty() { git_dir.clone() } else { at(git_dir, name) };
        match found(beneath::stat(&place)).map_err(unreadable(&place.to_string()))? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == wanted => Ok(()),
            Some(_) if name.is_empty() => Err(Refusal::Odd(format!("`{git_dir}` is no folder; name the main checkout, not a worktree"))),
            Some(_) => Err(odd(name, if wanted == FileType::Directory { "is no folder" } else { "is no regular file" })),
            None if needed => {
                Err(Refusal::Odd(format!("`{place}` is missing: this is no git checkout; clone it, or take it out of the config")))
            }
            None => Ok(()),
        }
    };
    for (name, needed) in [
        ("", true),
        ("objects", true),
        ("objects/pack", false),
        ("objects/info", false),
        ("refs", true),
        ("logs", false),
        ("worktrees", false),
    ] {
        must_be(name, FileType::Directory, needed)?;
    }
    for (name, needed) in [
        ("HEAD", true),
        ("packed-refs", false),
        ("shallow", false),
        ("config", false),
        ("index", false),
        ("objects/info/alternates", false),
    ] {
        must_be(name, FileType::RegularFile, needed)?;
    }
    if found(beneath::stat(&at(git_dir, "commondir"))).map_err(unreadable("commondir"))?.is_some() {
        return Err(odd("commondir", "leads to another repo"));
    }
    prove_owner(git_dir)?;
    prove_head(git_dir)?;
    prove_alternates(git_dir)?;
    prove_refs(git_dir)?;
    prove_objects(git_dir)
}

/// Root may tend everybody's repos; anybody else only his own.
fn prove_owner(git_dir: &Inside) -> Result<(), Refusal> {
    let owner = beneath::stat(git_dir).map_err(unreadable(".git"))?.st_uid;
    let me = rustix::process::geteuid();
    if me.is_root() || owner == me.as_raw() {
        return Ok(());
    }
    Err(Refusal::Odd(format!("`{git_dir}` belongs to user {owner}, and this is user {}; run as the agents' user", me.as_raw())))
}

/// HEAD names a branch or a commit: git takes a folder with any other HEAD for no repo at all.
fn prove_head(git_dir: &Inside) -> Result<(), Refusal> {
    let text = beneath::read(&at(git_dir, "HEAD"), SMALL).map_err(unreadable(&format!("{git_dir}/HEAD")))?;
    let text = text.trim_ascii();
    if text.starts_with(b"ref: refs/") || (text.len() == 40 && text.iter().all(u8::is_ascii_hexdigit)) {
        return Ok(());
    }
    Err(Refusal::Odd(format!(
        "`{git_dir}/HEAD` names neither a branch nor a commit; mend it with `git symbolic-ref HEAD refs/heads/BRANCH`"
    )))
}

/// Borrowed objects must stand inside the volume, or a repack could be led to another tenant's.
fn prove_alternates(git_dir: &Inside) -> Result<(), Refusal> {
    let name = "objects/info/alternates";
    let Some(text) = found(beneath::read(&at(git_dir, name), CONFIG_CAP)).map_err(unreadable(name))? else { return Ok(()) };
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#') {
        let path = Path::new(std::ffi::OsStr::from_bytes(line));
        if !path.is_absolute() || Inside::new(git_dir.root(), path).is_err() {
            return Err(Refusal::Odd(format!(
                "`{git_dir}/{name}` names `{}`, outside the volume; repack it with `git repack -ad`",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Refs, reflogs and registrations are plain files in plain folders: a FIFO among them would hang git and libgit2 alike, a link would lead
/// them astray.
fn prove_refs(git_dir: &Inside) -> Result<(), Refusal> {
    for top in ["refs", "logs", "worktrees"] {
        let entries = walkdir::WalkDir::new(at(git_dir, top).path()).follow_links(false).into_iter();
        // Repos of submodules are nobody's business here: git doesn't go there either, and a tree that has some stays.
        for entry in entries.filter_entry(|entry| !(top == "worktrees" && entry.depth() == 2 && entry.file_name() == "modules")) {
            match entry {
                Ok(entry) => prove_plain(&entry)?,
                Err(error) if error.io_error().is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
                Err(error) => return Err(Refusal::Unreadable { path: format!("{git_dir}/{top}"), cause: error.into() }),
            }
        }
    }
    Ok(())
}

fn prove_plain(entry: &walkdir::DirEntry) -> Result<(), Refusal> {
    use std::os::unix::fs::FileTypeExt;
    let kind = entry.file_type();
    // A socket is git's file system monitor's; opening it fails, and nothing waits.
    if kind.is_file() || kind.is_dir() || kind.is_socket() {
        return Ok(());
    }
    Err(Refusal::Odd(format!("`{}` is neither file nor folder; remove it", entry.path().display())))
}

/// A link in place of a folder of objects would have a repack delete what another repo needs; one in place of an object or a pack, a FIFO
/// as well, is no honest one either. Gives the ids of loose objects.
fn prove_objects(git_dir: &Inside) -> Result<String, Refusal> {
    let mut loose = String::new();
    for entry in walkdir::WalkDir::new(at(git_dir, "objects").path()).follow_links(false) {
        match entry {
            Ok(entry) => {
                prove_plain(&entry)?;
                loose.extend(loose_id(entry.path()));
            }
            Err(error) if error.io_error().is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(Refusal::Unreadable { path: format!("{git_dir}/objects"), cause: error.into() }),
        }
    }
    Ok(loose)
}

/// `ab/cdef...` as a line.
fn loose_id(path: &Path) -> Option<String> {
    let (shard, name) = (path.parent()?.file_name()?.to_str()?, path.file_name()?.to_str()?);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (shard.len() == 2 && name.len() == 38 && hex(shard) && hex(name)).then(|| format!("{shard}{name}\n"))
}

/// One `key\nvalue` of the repo's own config.
fn judge_entry(entry: &str) -> Result<(), Refusal> {
    let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
    let key = key.to_lowercase();
    let refuse = |why: &str| Err(Refusal::Odd(format!("`.git/config` sets {key} = {value}: {why}")));
    match key.as_str() {
        "core.repositoryformatversion" if !matches!(value, "0" | "1") => refuse("this version of the format is unknown to treewarden"),
        "core.worktree" => refuse("the checkout would be elsewhere; unset it"),
        "extensions.objectformat" if value == "sha1" => Ok(()),
        "extensions.refstorage" if value == "files" => Ok(()),
        _ if key.starts_with("filter.git-crypt.") => {
            refuse("encrypted files must not be edited from a worktree; take the repo out of the config")
        }
        _ if key.starts_with("extensions.") && !KNOWN_EXTENSIONS.contains(&key.as_str()) => {
            refuse("treewarden does not know this extension")
        }
        _ => Ok(()),
    }
}

/// libgit2 would read the machine's and the user's git config; they are none of our business, and need not be honest.
#[expect(unsafe_code, reason = "set_search_path writes a global of libgit2: done once, before any repo is opened")]
fn forget_machine_config() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use git2::ConfigLevel::{Global, ProgramData, System, XDG};
        for level in [System, Global, XDG, ProgramData] {
            // SAFETY: `call_once` keeps other threads out until this is done.
            let set = unsafe { git2::opts::set_search_path(level, "/nonexistent") };
            set.expect("libgit2 takes a search path for every level");
        }
    });
}
