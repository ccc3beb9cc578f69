//! The world of a simulation: repos, trees, days that pass, runs at night, and a log of every step.
//!
//! Agents write at the machine's own time. In the evening, whatever was written since is moved to
//! its day in the simulation, and the program's clock is set as far ahead. Everything is drawn from
//! one seed, and the program never learns what is expected.

use super::super::support::tracer::Act;
use super::super::support::{Ran, World, git_at};
use super::oracle::Expected;
use super::record;
use fastrand::Rng;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, utimensat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

pub(super) const DAY: i64 = 86_400;
/// Ages of the classes and of rescues, in days: short, so that everything happens often.
pub(super) const UNSAVED: u32 = 6;
pub(super) const RESCUE_KEEP: u32 = 12;
/// Nothing written within this many days is dropped.
pub(super) const GRACE: u32 = 14;
/// The prefix of files that are written into a tree while it is removed.
pub(super) const LATE_FILE: &str = "late-";
/// The path of a tree's submodule.
pub(super) const SUBMODULE: &str = "sub";
/// Where crates are cached. Unneeded ones are evicted when the volume exceeds its budget, which
/// happens every few days.
pub(super) const CRATES: &str = "caches/cargo/registry/cache/index";
/// Younger lines of reflogs are kept, in days.
pub(super) const REFLOGS: i64 = 89;

/// A repo of the volume.
pub(super) struct Repo {
    /// `owner/name`.
    pub(super) name: String,
    /// The checkout.
    pub(super) path: PathBuf,
    /// A bare repo with every object that ever existed.
    pub(super) vault: PathBuf,
}

impl Repo {
    pub(super) fn git_dir(&self) -> PathBuf {
        self.path.join(".git")
    }
}

/// A worktree that an agent made.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) repo: usize,
    pub(super) path: PathBuf,
    pub(super) admin: PathBuf,
    /// The last day on which anybody did anything here.
    pub(super) active: u32,
    /// Somebody works here until this day.
    pub(super) until: u32,
    /// Tools' files, below the tree.
    pub(super) tools: BTreeSet<PathBuf>,
    /// The day on which it was deleted by hand.
    pub(super) deleted: Option<u32>,
}

impl Tree {
    /// Whether its registration still names it.
    pub(super) fn is_registered(&self) -> bool {
        fs::read_to_string(self.admin.join("gitdir"))
            .is_ok_and(|text| Path::new(text.trim_end()) == self.path.join(".git"))
    }
}

/// Holds directories open by descriptors that don't show in `/proc`, as an agent on another machine
/// does, and writes a file into each as soon as it is moved away.
struct Holder {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(String, Vec<u8>)>>,
}

impl Holder {
    fn start(trees: Vec<(PathBuf, String)>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, (ready, is_ready)) = (over.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            // Gives the thread descriptors of its own; `/proc` shows only the process' descriptors.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            let open =
                |(path, name): (PathBuf, String)| Some((File::open(&path).ok()?, path, name));
            let mut held: Vec<(File, PathBuf, String)> =
                trees.into_iter().filter_map(open).collect();
            ready.send(()).unwrap();
            let mut written = Vec::new();
            while !is_over.load(Ordering::Relaxed) && !held.is_empty() {
                held.retain(|(directory, path, name)| {
                    let stands = path.exists();
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                    if !stands
                        && let Ok(file) =
                            rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
                    {
                        let text = format!("{name} of {}\n", path.display()).into_bytes();
                        File::from(file).write_all(&text).unwrap();
                        written.push((name.clone(), text));
                    }
                    stands
                });
                std::thread::sleep(Duration::from_micros(200));
            }
            written
        });
        is_ready.recv().unwrap();
        Self { over, thread }
    }

    /// Ends the thread; returns what it wrote.
    fn end(self) -> Vec<(String, Vec<u8>)> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// How a night ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It finished.
    Whole,
    /// A kill, a signal or a deadline ended it.
    Early,
}

/// A simulated volume.
pub(super) struct Sim {
    pub(super) world: World,
    pub(super) rng: Rng,
    pub(super) seed: u64,
    pub(super) day: u32,
    pub(super) repos: Vec<Repo>,
    pub(super) trees: Vec<Tree>,
    pub(super) log: Vec<String>,
    /// Unregistered directories that agents left, which must not be touched.
    pub(super) strays: BTreeSet<PathBuf>,
    /// A counter for unused names.
    pub(super) next: u32,
    /// The trees that the last run reaped: somebody may want one at the same place again.
    pub(super) taken: Vec<(usize, PathBuf)>,
    /// Trees as they were before somebody had them removed, with a rescue.
    pub(super) removed: Vec<Expected>,
    /// The repo in which somebody works, under its lock, during the last run.
    pub(super) busy: Option<usize>,
    /// Files that were written into trees while the last run removed these, by name.
    pub(super) written_late: Vec<(String, Vec<u8>)>,
    /// Whether the last run did not finish.
    unfinished: bool,
    began: SystemTime,
    path: String,
}

impl Sim {
    /// Creates a volume with so many repos.
    pub(super) fn new(seed: u64, repos: usize) -> Self {
        let world = World::unprepared();
        let path = std::env::var("PATH").unwrap_or_default();
        // An older git, if this machine has two.
        let path = if seed % 3 == 2 && Path::new("/usr/bin/git").exists() {
            format!("/usr/bin:{path}")
        } else {
            path
        };
        world.set_variable("PATH", path.clone());
        assert_eq!(
            world
                .treewarden(&["init", world.root.to_str().unwrap()])
                .code,
            0
        );
        // Half of the seeds have caps that are always exceeded.
        let caps = if seed.is_multiple_of(2) {
            "saved: 9d, max_trees: 3, max_bytes: 1MiB"
        } else {
            "saved: 3d"
        };
        let worktrees = format!(
            "landed: 1d, {caps}, unsaved: {UNSAVED}d, rescue_keep: {RESCUE_KEEP}d, presets: [afk, codex, claude]"
        );
        world.set("defaults", &format!("worktrees: {{{worktrees}}}"));
        world.set("caches", "{kind: cargo, path: caches/cargo}");
        world.set("eviction", "budget: 48MiB");
        fs::create_dir_all(world.at(CRATES)).unwrap();
        let mut sim = Self {
            world,
            rng: Rng::with_seed(seed),
            seed,
            day: 1,
            repos: Vec::new(),
            trees: Vec::new(),
            log: Vec::new(),
            strays: BTreeSet::new(),
            next: 0,
            taken: Vec::new(),
            removed: Vec::new(),
            busy: None,
            written_late: Vec::new(),
            unfinished: false,
            began: SystemTime::now() - Duration::from_mins(1),
            path,
        };
        (0..repos).for_each(|number| sim.found(number));
        sim.found_submodule();
        sim
    }

    fn found_submodule(&self) {
        let directory = self.submodule();
        self.write(&directory.join("lib.rs"), b"pub fn lib() {}\n");
        for command in [
            &["init", "-q", "--template=", "."][..],
            &["add", "-A"],
            &["commit", "-q", "-m", "First"],
        ] {
            self.git(&directory, command).unwrap();
        }
    }

    /// Returns the origin of every submodule.
    pub(super) fn submodule(&self) -> PathBuf {
        self.world.beside("origins/submodule")
    }

    fn found(&mut self, number: usize) {
        let (name, directory) = (format!("acme/r{number}"), format!("acme__r{number}"));
        self.world.enrol(&name, "");
        let origin = self.world.beside(format!("origins/{directory}.git"));
        let vault = self.world.beside(format!("vaults/{directory}.git"));
        let root = self.world.root.clone();
        for bare in [&origin, &vault] {
            fs::create_dir_all(bare).unwrap();
            self.git(bare, &["init", "-q", "--bare", "--template=", "."])
                .unwrap();
        }
        self.git(
            &root,
            &[
                "clone",
                "-q",
                "--template=",
                origin.to_str().unwrap(),
                &directory,
            ],
        )
        .unwrap();
        let path = root.join(&directory);
        for (file, text) in [
            (
                ".gitignore",
                ".env\n*.log\nnode_modules/\ntarget/\nignored/\n.venv/\n__pycache__/\n.claude/\n",
            ),
            ("package.json", "{}\n"),
            ("Cargo.toml", "[package]\n"),
            ("shared.txt", "first\nsecond\nthird\n"),
            ("src/main.rs", "fn main() {}\n"),
            ("bin/run", "#!/bin/sh\n"),
        ] {
            self.write(&path.join(file), text.as_bytes());
        }
        self.git(&path, &["add", "-A"]).unwrap();
        self.git(&path, &["commit", "-q", "-m", "First"]).unwrap();
        self.git(&path, &["push", "-q", "origin", "main"]).unwrap();
        self.repos.push(Repo { name, path, vault });
    }

    /// Returns the simulation's time, in seconds since the epoch.
    pub(super) fn now(&self) -> i64 {
        let real = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        real.cast_signed() + i64::from(self.day) * DAY
    }

    /// Logs what somebody did.
    pub(super) fn say(&mut self, what: impl AsRef<str>) {
        let line = format!("day {}: {}", self.day, what.as_ref().replace('\n', "\\n"));
        if std::env::var_os("TREEWARDEN_SIMULATION_LOG").is_some() {
            eprintln!("seed {} {line}", self.seed);
        }
        self.log.push(line);
    }

    /// Returns a path as it reads in the log.
    pub(super) fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.world.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// Runs git as an agent does, on this day; returns its output or its error.
    pub(super) fn git(&self, directory: &Path, arguments: &[&str]) -> Result<String, String> {
        let text = self.git_with(directory, arguments, &[]);
        text.map(|text| String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// Does the same with an input, and with output that needn't be text.
    pub(super) fn git_with(
        &self,
        directory: &Path,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, String> {
        use std::io::Seek;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        file.rewind().unwrap();
        let output = git_at(directory, self.now(), self.path.as_ref())
            .stdin(Stdio::from(file))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("{}{}", text(&output.stderr), text(&output.stdout)))
        }
    }

    /// Writes a file and the directories above it, unless something is in the way.
    #[expect(
        clippy::unused_self,
        reason = "so that agents do all they do by way of it"
    )]
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) {
        let _something_else_stands_there =
            fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(path, bytes));
    }

    /// Runs the program at the simulation's time.
    pub(super) fn program(&self, arguments: &[&str]) -> Ran {
        self.tell_time();
        self.world.treewarden(arguments)
    }

    pub(super) fn tell_time(&self) {
        self.world.set_variable(
            "TREEWARDEN_TEST_CLOCK_AHEAD",
            (i64::from(self.day) * DAY).to_string(),
        );
    }

    /// Moves the times of whatever was written since the start into the simulation's time.
    pub(super) fn sweep(&self) {
        let began = self
            .began
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .cast_signed();
        // In the trash only the order counts, by the file server's clock.
        let trash = self.world.at(".treewarden/trash");
        for place in [self.world.root.clone(), self.world.beside("scratch")] {
            for entry in walkdir::WalkDir::new(place)
                .contents_first(true)
                .into_iter()
                .flatten()
            {
                if entry.path().starts_with(&trash) {
                    continue;
                }
                let Ok(data) = entry.path().symlink_metadata() else {
                    continue;
                };
                if data.mtime() < began || data.mtime() > began + DAY / 2 {
                    continue;
                }
                let then = Timespec {
                    tv_sec: data.mtime() + i64::from(self.day) * DAY,
                    tv_nsec: data.mtime_nsec(),
                };
                let times = Timestamps {
                    last_access: then,
                    last_modification: then,
                };
                let _gone = utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW);
            }
        }
    }

    /// Ends the day: all files get its times, and the indexes are refreshed with them, as if
    /// written then.
    pub(super) fn evening(&mut self) {
        self.sweep();
        let touched = self
            .trees
            .iter()
            .filter(|tree| tree.active == self.day && tree.path.exists());
        let places: Vec<PathBuf> = touched
            .map(|tree| tree.path.clone())
            .chain(self.repos.iter().map(|repo| repo.path.clone()))
            .collect();
        for place in places {
            // If this fails, the index matches no file, which is allowed, too.
            let _refused = self.git(&place, &["update-index", "-q", "--refresh"]);
        }
        self.sweep();
    }

    /// Runs a night. Sometimes somebody works in a repo meanwhile, or holds directories of idle
    /// trees open.
    pub(super) fn night(&mut self) -> (Ran, Ended) {
        self.tell_time();
        // After an unfinished run no repo is busy: the next run would report that it couldn't put
        // back what was taken there.
        self.busy = (!self.unfinished && self.rng.u32(..8) == 0)
            .then(|| self.rng.usize(..self.repos.len()));
        // In a busy repo, the grace of a missing tree starts again.
        for tree in self
            .trees
            .iter_mut()
            .filter(|tree| self.busy == Some(tree.repo))
        {
            tree.deleted = tree.deleted.map(|_| self.day);
        }
        let _at_work = self.busy.map(|repo| {
            self.say(format!("{} is busy", self.repos[repo].name));
            self.world.hold(&self.repos[repo].name.replace('/', "__"))
        });
        let idle = self
            .trees
            .iter()
            .filter(|tree| tree.active + 1 < self.day && tree.path.exists());
        let held: Vec<(PathBuf, String)> = idle
            .map(|tree| tree.path.clone())
            .zip((0..).map(|number| format!("{LATE_FILE}{}-{number}", self.day)))
            .collect();
        let held = if self.rng.u32(..3) == 0 {
            held
        } else {
            Vec::new()
        };
        let holder = Holder::start(held);
        let (ran, ended) = self.run();
        self.written_late = holder.end();
        self.unfinished = ended == Ended::Early;
        (ran, ended)
    }

    /// Runs the program; some runs are killed, some get a signal, some have a deadline.
    fn run(&mut self) -> (Ran, Ended) {
        let may = self.day > 4;
        let (ran, ended) = match self.rng.u32(..100) {
            0..8 if may => {
                // Small numbers are as likely as large ones, because a run makes from a hundred to
                // thousands of changes.
                let number = 1usize << self.rng.u32(0..11);
                let number = number + self.rng.usize(..number);
                let traced = self
                    .world
                    .trace(&["run", "--format", "json"], Act::KillAllBefore(number));
                self.say(format!(
                    "NIGHT, killed before change {number}: {}",
                    traced.hit.is_some()
                ));
                (
                    traced.ran,
                    if traced.hit.is_some() {
                        Ended::Early
                    } else {
                        Ended::Whole
                    },
                )
            }
            8..14 if may => {
                let wait = Duration::from_millis(self.rng.u64(5..400));
                let signal = if self.rng.bool() {
                    rustix::process::Signal::TERM
                } else {
                    rustix::process::Signal::KILL
                };
                let mut running = self.world.start(&["run", "--format", "json"]);
                std::thread::sleep(wait);
                running.signal(signal);
                let ran = running.end();
                self.say(format!(
                    "NIGHT, {signal:?} after {wait:?}: exit {}",
                    ran.code
                ));
                let ended = if ran.code >= 128 || ran.code == 4 {
                    Ended::Early
                } else {
                    Ended::Whole
                };
                (ran, ended)
            }
            14..17 if may => {
                let ran =
                    self.world
                        .treewarden(&["run", "--deadline", "300ms", "--format", "json"]);
                self.say(format!("NIGHT, with a deadline: exit {}", ran.code));
                let ended = if ran.code == 4 {
                    Ended::Early
                } else {
                    Ended::Whole
                };
                (ran, ended)
            }
            _ => {
                let ran = self.world.treewarden(&["run", "--format", "json"]);
                self.say(format!("NIGHT: exit {}", ran.code));
                (ran, Ended::Whole)
            }
        };
        (ran, ended)
    }

    /// Returns all registrations, by the tree's path.
    pub(super) fn registered(&self) -> BTreeMap<PathBuf, (usize, PathBuf)> {
        let of = |(number, repo): (usize, &Repo)| {
            record::registered(&repo.git_dir())
                .into_iter()
                .map(move |(admin, tree)| (tree, (number, admin)))
        };
        self.repos.iter().enumerate().flat_map(of).collect()
    }
}
