//! The processes of this machine at work in a tree: their working directory is in it, or they have
//! a file of it open, run one or map one.
//!
//! `/proc` is read once for all trees, when the first tree asks. A process found in a tree shows
//! that the tree is in use. Finding none shows the contrary only if `/proc` lists all processes:
//! see [`Processes::see_all`]. An unreadable entry shows nothing. Links are read, not followed,
//! because the file system of a path may hang.
//!
//! A process may have any number of files open. If they are too many to be kept, or it is time to
//! stop, every tree counts as in use.

use crate::facts::repo::LeftoverKind;
use crate::fs::mount;
use crate::fs::openat;
use crate::fs::stop::Stop;
use crate::fs::volume_path::VolumePath;
use rustix::io::Errno;
use rustix::process::Pid;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The inode of the initial process namespace is fixed in the kernel (`PROC_PID_INIT_INO`). In any
/// other, `/proc` shows only a part of the processes.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";
/// What the kernel appends to the path of a deleted file.
const DELETED: &[u8] = b" (deleted)";
/// Processes in one tree that are described.
const TOLD: usize = 20;
/// Ancestors of a process that are followed, at most.
const DEEPEST: usize = 64;
/// Bytes of all paths that are kept, at most: some hundred thousand.
const MOST: usize = 32 << 20;
/// Bytes that a path takes besides its text.
const A_PATH: usize = 128;
/// Bytes of a line of `maps`. The kernel writes no path that is longer than a page.
const A_LINE: u64 = 8 << 10;

/// The processes of this machine, as far as they are visible.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// Whether to ignore this process's ancestors too: they started it, and may well be in the
    /// tree.
    but_callers: bool,
    found: Arc<OnceLock<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    /// Who uses which path, relative to the volume's root.
    used: BTreeMap<PathBuf, Use>,
    /// The number of every visible process, in each of its namespaces. Read when it is needed.
    numbers: OnceLock<HashSet<u32>>,
    /// Whether every process that could be at work on the volume is visible.
    all: bool,
    /// Bytes of the paths in `used`.
    bytes: usize,
    /// Why not everything was read; none if it was.
    unread: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Use {
    pid: u32,
    name: String,
    how: &'static str,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) {}", self.name, self.pid, self.how)
    }
}

impl Processes {
    /// Returns the processes without our own callers, for a command that somebody runs by hand.
    pub fn but_callers() -> Self {
        Self {
            but_callers: true,
            found: Arc::default(),
        }
    }

    /// Returns the same processes, to be read again.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            but_callers: self.but_callers,
            found: Arc::default(),
        }
    }

    /// Describes a process that is at work in the tree, for people, or says why that can't be told;
    /// none if none is seen there.
    pub fn at_work(&self, tree: &VolumePath, stop: &Stop) -> Option<String> {
        let found = self.of(tree, stop);
        let seen = found.in_tree(tree).next().map(ToString::to_string);
        seen.or_else(|| found.unread.map(ToOwned::to_owned))
    }

    /// Describes every process that is seen at work in the tree, up to [`TOLD`] of them, or says
    /// why that can't be told.
    pub fn all_at_work(&self, tree: &VolumePath, stop: &Stop) -> Vec<String> {
        let found = self.of(tree, stop);
        let by_pid: BTreeMap<u32, &Use> =
            found.in_tree(tree).map(|used| (used.pid, used)).collect();
        let seen = by_pid.values().take(TOLD).map(ToString::to_string);
        seen.chain(found.unread.map(ToOwned::to_owned)).collect()
    }

    /// Returns whether nobody can be at work on the volume unseen: it is on a local file system,
    /// and we are in the machine's initial process namespace, which numbers every process.
    pub fn see_all(&self, of: &VolumePath, stop: &Stop) -> bool {
        self.of(of, stop).sees_all()
    }

    /// Returns whether the process with this number is dead; none if this machine can't show it. A
    /// number belongs to a namespace, so one that is in use in any of them counts as alive, even if
    /// the kernel reused it.
    pub fn is_dead(&self, of: &VolumePath, pid: u32, stop: &Stop) -> Option<bool> {
        let found = self.of(of, stop);
        found
            .sees_all()
            .then(|| !found.numbers.get_or_init(numbers).contains(&pid) && is_unknown(pid))
    }

    /// Returns what an `index.lock` may be, by the processes in its tree. `git commit -a` and `git
    /// commit FILE` hold it while their editor is open, possibly for hours, and are in the tree
    /// meanwhile. Every other lock is held only for a write.
    pub fn index_lock(&self, lock: &VolumePath, tree: &Path, stop: &Stop) -> LeftoverKind {
        let found = self.of(lock, stop);
        match VolumePath::new(lock.root(), tree) {
            Ok(tree) if found.in_tree(&tree).next().is_some() => LeftoverKind::HeldLock,
            Ok(_) if found.sees_all() && is_inspectable(lock) => LeftoverKind::Lock,
            _ => LeftoverKind::UnseenLock,
        }
    }

    fn of(&self, place: &VolumePath, stop: &Stop) -> &Found {
        self.found
            .get_or_init(|| Found::look(place.root(), self.but_callers, stop))
    }
}

impl Found {
    fn look(root: &Path, but_callers: bool, stop: &Stop) -> Self {
        let own = std::process::id();
        let not_counted = if but_callers {
            callers(own)
        } else {
            HashSet::from([own])
        };
        // The kernel reports paths with links resolved.
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let mut found = Self {
            all: shows_all(&root),
            ..Self::default()
        };
        for pid in visible() {
            // Skips treewarden itself, or its callers too. `process` skips its children.
            if !not_counted.contains(&pid) {
                found.process(pid, &root, own, stop);
            }
        }
        found
    }

    fn in_tree(&self, tree: &VolumePath) -> impl Iterator<Item = &Use> {
        let from = self.used.range(tree.relative().to_owned()..);
        from.take_while(|(path, _)| path.starts_with(tree.relative()))
            .map(|(_, used)| used)
    }

    fn sees_all(&self) -> bool {
        self.all && self.unread.is_none()
    }

    fn process(&mut self, pid: u32, root: &Path, own: u32, stop: &Stop) {
        let process = Path::new("/proc").join(pid.to_string());
        // Known once it is needed: most processes use nothing of the volume. None for a child.
        let mut name = None;
        used_by(&process, |path, how| {
            if stop.reached().is_some() {
                self.unread = Some("it was time to stop before all processes were looked at");
            }
            if let Some(path) = below(root, path) {
                let name = name
                    .get_or_insert_with(|| (parent(pid) != Some(own)).then(|| name_of(&process)));
                let Some(name) = name else {
                    return false;
                };
                self.add(path, || Use {
                    pid,
                    name: name.clone(),
                    how,
                });
            }
            self.unread.is_none()
        });
    }

    fn add(&mut self, path: &Path, used: impl FnOnce() -> Use) {
        if self.unread.is_some() || self.used.contains_key(path) {
            return;
        }
        let used = used();
        let text = path.as_os_str().len().saturating_add(used.name.len());
        self.bytes = self.bytes.saturating_add(text).saturating_add(A_PATH);
        if self.bytes > MOST {
            self.unread = Some("processes have more files of the volume open than can be told");
        } else {
            self.used.insert(path.to_owned(), used);
        }
    }
}

/// Returns the numbers of all visible processes.
fn visible() -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
}

/// Returns the number of every visible process, in each of its namespaces.
fn numbers() -> HashSet<u32> {
    let mut numbers = HashSet::new();
    for pid in visible() {
        numbers.insert(pid);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inner = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .unwrap_or_default();
        numbers.extend(
            inner
                .split_ascii_whitespace()
                .filter_map(|number| number.parse::<u32>().ok()),
        );
    }
    numbers
}

/// Returns a path of the kernel's relative to `root`; none if it isn't below it.
fn below<'a>(root: &Path, path: &'a [u8]) -> Option<&'a Path> {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    Path::new(OsStr::from_bytes(path)).strip_prefix(root).ok()
}

/// Tells `add` every path that a process uses, and how, until that returns false. `process` is its
/// directory in `/proc`.
fn used_by(process: &Path, mut add: impl FnMut(&[u8], &'static str) -> bool) {
    let link = |path: &Path| std::fs::read_link(path).ok().map(PathBuf::into_os_string);
    let at = [
        ("cwd", "has its working directory in it"),
        ("root", "has its working directory in it"),
        ("exe", "runs from it"),
    ];
    for (name, how) in at {
        if let Some(to) = link(&process.join(name))
            && !add(to.as_bytes(), how)
        {
            return;
        }
    }
    let open = std::fs::read_dir(process.join("fd"));
    for open in open.into_iter().flatten().flatten() {
        if let Some(to) = link(&open.path())
            && !add(to.as_bytes(), "has a file of it open")
        {
            return;
        }
    }
    let Ok(maps) = File::open(process.join("maps")) else {
        return;
    };
    let (mut lines, mut text) = (BufReader::new(maps), Vec::new());
    while let Ok(1..) = lines.by_ref().take(A_LINE).read_until(b'\n', &mut text) {
        // Address, permissions, offset, device, inode; then the path, the only field with a slash.
        let path = text.strip_suffix(b"\n").unwrap_or(&text);
        let slash = path.iter().position(|&byte| byte == b'/');
        if let Some(path) = slash.and_then(|slash| path.get(slash..))
            && !add(path, "has a file of it mapped")
        {
            return;
        }
        text.clear();
    }
}

/// Returns a process's name without control characters: it may choose any name.
fn name_of(process: &Path) -> String {
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn shows_all(root: &Path) -> bool {
    let first = std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link == Path::new(FIRST_NAMESPACE));
    first && mount::of(root).is_ok_and(|facts| mount::is_local(&facts))
}

/// Checks with the kernel that no process has this number: `/proc` may hide those of other users.
fn is_unknown(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

/// Checks whether the files of the process that made the lock are visible: those of another user's
/// are to root alone.
fn is_inspectable(lock: &VolumePath) -> bool {
    let me = rustix::process::geteuid();
    me.is_root() || openat::stat(lock).is_ok_and(|stat| stat.st_uid == me.as_raw())
}

/// Returns the process and its ancestors.
fn callers(own: u32) -> HashSet<u32> {
    std::iter::successors(Some(own), |&pid| parent(pid).filter(|&parent| parent > 1))
        .take(DEEPEST)
        .collect()
}

/// Returns a process's parent, from `4299 (name) S 1234 ...`. The name may contain anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind = stat.get(stat.iter().rposition(|&byte| byte == b')')?..)?;
    // The bracket, the state, and then the parent.
    String::from_utf8_lossy(behind)
        .split_ascii_whitespace()
        .nth(2)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_proc_hides_is_not_dead() {
        let top = tempfile::tempdir().unwrap();
        let place = VolumePath::new(&top.path().into(), Path::new("tree")).unwrap();
        let hidden = Found {
            all: true,
            ..Found::default()
        };
        let processes = Processes {
            but_callers: false,
            found: Arc::new(OnceLock::from(hidden)),
        };
        #[expect(clippy::disallowed_methods, reason = "somebody has to die")]
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = [std::process::id(), child.id()]
            .map(|pid| processes.is_dead(&place, pid, &Stop::never()));
        assert_eq!(dead, [Some(false), Some(true)]);
    }

    #[test]
    fn a_tree_with_a_process_in_it_is_at_work() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        let at = |path: &str| VolumePath::new(&root, Path::new(path)).unwrap();
        for tree in ["stands/deep", "open", "open-not", "calls"] {
            std::fs::create_dir_all(top.path().join(tree)).unwrap();
        }
        let file = std::fs::File::create(top.path().join("open/log")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "somebody has to be at work")]
        let mut sleeps = std::process::Command::new("sh")
            .args(["-c", "echo; exec sleep 100"])
            .current_dir(top.path().join("stands/deep"))
            .stdin(file)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(sleeps.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        // It is our child, which doesn't count, so another parent is given here.
        let mut found = Found::default();
        for pid in [sleeps.id(), std::process::id()] {
            found.process(pid, &root.canonicalize().unwrap(), 0, &Stop::never());
        }
        let processes = Processes {
            but_callers: false,
            found: Arc::new(OnceLock::from(found)),
        };
        let told = |path: &str| {
            processes
                .at_work(&at(path), &Stop::never())
                .map(|told| told.replace(&sleeps.id().to_string(), "N"))
        };
        let [stands, open, neighbour] = ["stands", "open", "open-not"].map(told);
        sleeps.kill().unwrap();
        sleeps.wait().unwrap();
        assert!(
            stands
                .as_ref()
                .is_some_and(|told| told.ends_with("(pid N) has its working directory in it")),
            "{stands:?}"
        );
        assert!(
            open.as_ref()
                .is_some_and(|told| told.ends_with("(pid N) has a file of it open")),
            "{open:?}"
        );
        assert_eq!(neighbour, None);
        assert!(callers(std::process::id()).len() > 1);
    }

    #[test]
    fn files_that_are_too_many_to_keep_make_every_tree_one_in_use() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        let tree = VolumePath::new(&root, Path::new("tree")).unwrap();
        let used = || Use {
            pid: 7,
            name: "hoards".to_owned(),
            how: "has a file of it open",
        };
        let mut found = Found {
            all: true,
            ..Found::default()
        };
        for number in 0..40_000 {
            let path = format!("elsewhere/{number}/{}", "x".repeat(1000));
            found.add(Path::new(&path), used);
        }
        assert!(found.bytes < MOST + 2000 && found.used.len() < 33_000);
        let processes = Processes {
            but_callers: false,
            found: Arc::new(OnceLock::from(found)),
        };
        let never = &Stop::never();
        assert_eq!(
            processes.at_work(&tree, never).as_deref(),
            Some("processes have more files of the volume open than can be told")
        );
        let dead = processes.is_dead(&tree, 4_194_304, never);
        assert!(!processes.see_all(&tree, never) && dead.is_none());
    }

    #[test]
    fn a_run_that_is_to_stop_does_not_look_at_all_processes() {
        let top = tempfile::tempdir().unwrap();
        let root: Arc<Path> = top.path().into();
        let tree = VolumePath::new(&root, Path::new("tree")).unwrap();
        let stop = Stop::after(std::time::Duration::ZERO, Arc::default());
        let told = Processes::default().at_work(&tree, &stop).unwrap();
        assert!(told.starts_with("it was time to stop"), "{told}");
    }
}
