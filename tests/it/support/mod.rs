//! Real volumes for the tests: built with the real git, maintained by the real program.
//!
//! A [`World`] is a volume in a temporary directory; its repos are clones of bare "origins" beside
//! it. Git runs with a fixed environment, so that no user's config matters. The program runs with a
//! time limit, so that a hang is a failure.

#![expect(
    clippy::disallowed_methods,
    reason = "tests build and break volumes with real tools"
)]

pub(crate) mod at_work;
#[cfg(target_arch = "x86_64")]
pub(crate) mod calls;
pub(crate) mod fleet;
pub(crate) mod forge;
pub(crate) mod fuse;
pub(crate) mod group;
pub(crate) mod made;
pub(crate) mod repo;
pub(crate) mod snapshot;
#[cfg(target_arch = "x86_64")]
pub(crate) mod sweep;
mod template;
pub(crate) mod terminal;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tracer;

use chrono::{DateTime, Utc};
use repo::Repo;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use treewarden::report::{Class, RunReport, TreeOutcome, VerdictName};

/// A run on these small volumes takes about a second; a hang takes for ever.
const LIMIT: Duration = Duration::from_mins(1);

/// A volume, and the directory beside it that contains the origins and the config.
pub(crate) struct World {
    top: TempDir,
    /// The volume's root.
    pub(crate) root: PathBuf,
    repos: Mutex<BTreeMap<String, String>>,
    settings: Mutex<BTreeMap<&'static str, String>>,
    /// More environment variables for the programs.
    environment: Mutex<BTreeMap<&'static str, String>>,
    /// Whether the program trusts the times that tests gave to files by touching them.
    touched: AtomicBool,
}

/// What running the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; 128 and the signal's number if it was killed.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

/// Creates a temporary directory, in memory if there is much room. A disk works too, three times
/// slower: ext4 reuses a deleted file's inode only after seconds, and checks each until then.
pub(crate) fn temporary() -> TempDir {
    const ROOM: u64 = 8 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let directory = if free >= ROOM {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    directory.unwrap()
}

impl World {
    /// Creates an empty volume, prepared by `treewarden init`.
    pub(crate) fn new() -> Self {
        Self::unprepared().prepared()
    }

    /// Does the same on a disk, so that its files take none of the memory that a test measures.
    pub(crate) fn on_disk() -> Self {
        Self::below_top(tempfile::tempdir().unwrap()).prepared()
    }

    fn prepared(self) -> Self {
        let ran = self.treewarden(&["init", self.root.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        self
    }

    /// Creates an empty directory without `treewarden init`.
    pub(crate) fn unprepared() -> Self {
        Self::below_top(temporary())
    }

    fn below_top(top: TempDir) -> Self {
        let root = top.path().join("volume");
        fs::create_dir(&root).unwrap();
        fs::create_dir(top.path().join("scratch")).unwrap();
        Self {
            top,
            root,
            repos: Mutex::default(),
            settings: Mutex::default(),
            environment: Mutex::default(),
            touched: AtomicBool::new(true),
        }
    }

    /// Makes the program trust change times, which nobody can set, from now on.
    pub(crate) fn change_times_count(&self) {
        self.touched.store(false, Ordering::Relaxed);
    }

    /// Returns a path below the volume's root.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Returns a path beside the volume.
    pub(crate) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.top.path().join(path)
    }

    /// Creates a clone of a new origin with one commit on `main`, enrolled in the config.
    pub(crate) fn repo(&self, name: &str) -> Repo<'_> {
        self.enrol(name, "");
        Repo::clone(self, name)
    }

    /// Adds a repo to the config, with its own settings.
    pub(crate) fn enrol(&self, name: &str, settings: &str) {
        self.repos
            .lock()
            .unwrap()
            .insert(name.to_owned(), settings.to_owned());
    }

    /// Takes a repo out of the config.
    pub(crate) fn forget(&self, name: &str) {
        self.repos.lock().unwrap().remove(name);
    }

    /// Adds to a section of the config: `volume`, `eviction`, `run`, `defaults`, `report`, `alerts` (as `key: value`),
    /// or `caches` (as `{kind: ..}`).
    pub(crate) fn set(&self, section: &'static str, text: &str) {
        let mut settings = self.settings.lock().unwrap();
        let all = settings.entry(section).or_default();
        all.push_str(", ");
        all.push_str(text);
    }

    /// Sets a variable for every program that is started on this volume from now on.
    pub(crate) fn set_variable(&self, name: &'static str, value: String) {
        self.environment.lock().unwrap().insert(name, value);
    }

    /// Returns the environment variables that were set.
    pub(crate) fn variables(&self) -> BTreeMap<&'static str, String> {
        self.environment.lock().unwrap().clone()
    }

    /// Writes the current config, and returns its path.
    pub(crate) fn config(&self) -> PathBuf {
        let settings = self.settings.lock().unwrap();
        let of = |section| settings.get(section).map_or("", String::as_str);
        let repos = self.repos.lock().unwrap();
        let repos: Vec<String> = repos
            .iter()
            .map(|(name, settings)| {
                let directory = name.replace('/', "__");
                let origin = self.beside(format!("origins/{directory}.git"));
                let mut settings = vec![format!("name: {name}"), settings.clone()];
                if !settings[1].contains("path:") {
                    settings.push(format!("path: {directory}"));
                }
                if !settings[1].contains("url:") && origin.exists() {
                    settings.push(format!("url: '{}'", origin.display()));
                }
                settings.retain(|settings| !settings.is_empty());
                format!("  - {{{}}}\n", settings.join(", "))
            })
            .collect();
        // The machine's own disk may be full; only a test that asks for it evicts.
        let text = format!(
            "volume: {{root: {}{}}}\n\
             eviction: {{{}}}\n\
             run: {{{}}}\n\
             defaults: {{lock_wait: 0s{}}}\n\
             repos:{}\
             caches: [{}]\n\
             report: {{{}}}\n\
             alerts: {{{}}}\n",
            self.root.display(),
            of("volume"),
            if of("eviction").contains("high:") {
                of("eviction").trim_start_matches(", ").to_owned()
            } else {
                format!(
                    "high: {{bytes: 100%, inodes: 100%}}, low: {{bytes: 99%, inodes: 99%}}{}",
                    of("eviction")
                )
            },
            if of("run").contains("repos_in_parallel") {
                of("run").trim_start_matches(", ").to_owned()
            } else {
                format!("repos_in_parallel: 4{}", of("run"))
            },
            of("defaults"),
            if repos.is_empty() {
                " []\n".to_owned()
            } else {
                format!("\n{}", repos.concat())
            },
            of("caches").trim_start_matches(", "),
            of("report").trim_start_matches(", "),
            of("alerts").trim_start_matches(", "),
        );
        let path = self.beside("treewarden.yaml");
        // Renamed, because a program that was just started may be reading it.
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        path
    }

    /// Returns a program that is ready to be started.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = program_in(program, &path);
        command
            .args(arguments)
            .current_dir(self.top.path())
            .env_clear();
        command
            .env("PATH", path)
            .env("TREEWARDEN_CONFIG", self.config());
        // What a killed run leaves there is removed with the volume.
        command.env("TMPDIR", self.beside("scratch"));
        // Trees are made to look idle by touching them. The change times that the kernel records
        // for that can't be set.
        if self.touched.load(Ordering::Relaxed) {
            command.env("TREEWARDEN_TEST_TOUCHED", "1");
        }
        command.envs(&*self.environment.lock().unwrap());
        command.stdin(Stdio::null());
        command
    }

    /// Runs another program beside this volume.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Ran {
        Running::start(self.command(program, arguments)).end()
    }

    /// Runs the program on this volume.
    pub(crate) fn treewarden(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end()
    }

    /// Starts the program on this volume.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(env!("CARGO_BIN_EXE_treewarden"), arguments))
    }

    /// Starts the program with more environment variables, as a caller may have them.
    pub(crate) fn start_as(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_treewarden"), arguments);
        command.envs(environment.iter().copied());
        Running::start(command)
    }

    /// Starts another program beside this volume.
    pub(crate) fn start_program(&self, program: &str, arguments: &[&str]) -> Running {
        Running::start(self.command(program, arguments))
    }

    /// Does the same with more environment variables.
    pub(crate) fn start_program_as(
        &self,
        environment: &[(&str, &str)],
        program: &str,
        arguments: &[&str],
    ) -> Running {
        let mut command = self.command(program, arguments);
        command.envs(environment.iter().copied());
        Running::start(command)
    }

    /// Runs `treewarden run`, which must end with exit code 0.
    pub(crate) fn night(&self) -> RunReport {
        self.pass(0, &["run"])
    }

    /// Runs a command that writes a report, which must end with this exit code.
    pub(crate) fn pass(&self, code: i32, arguments: &[&str]) -> RunReport {
        let ran = self.treewarden(&[arguments, &["--format", "json"]].concat());
        assert_eq!(
            ran.code,
            code,
            "{arguments:?}: {}\n{}",
            ran.err,
            ran.troubles()
        );
        ran.report()
    }

    /// Returns the runs of the journal.
    pub(crate) fn history(&self) -> Vec<RunReport> {
        let ran = self.treewarden(&["history", "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.history()
    }

    /// Takes the lock `NAME.lock` as an agent would, until the result is dropped.
    pub(crate) fn hold(&self, name: &str) -> fs::File {
        self.try_hold(name).expect("nobody holds it")
    }

    /// Does the same; none if somebody else holds it.
    pub(crate) fn try_hold(&self, name: &str) -> Option<fs::File> {
        let path = self.at(format!(".treewarden/locks/{name}.lock"));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .is_ok()
            .then_some(file)
    }

    /// Returns the bytes on disk below the root.
    pub(crate) fn standing(&self) -> u64 {
        let data = walkdir::WalkDir::new(&self.root)
            .into_iter()
            .map(|entry| entry.unwrap().metadata().unwrap());
        data.map(|data| std::os::unix::fs::MetadataExt::blocks(&data) * 512)
            .sum()
    }

    /// Returns a path of the report relative to the root.
    pub(crate) fn below<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// Returns each tree's fate: `REPO PATH` → `reap landed merged`, `keep recent`, ...
    pub(crate) fn fates(&self, report: &RunReport) -> BTreeMap<String, String> {
        let mut fates = BTreeMap::new();
        for repo in &report.repos {
            for tree in &repo.worktrees {
                let verdict = match (tree.verdict, &tree.outcome) {
                    (VerdictName::Keep, TreeOutcome::Kept) => "keep".to_owned(),
                    (VerdictName::Unknown, TreeOutcome::Kept | TreeOutcome::Failed(_)) => {
                        "unknown".to_owned()
                    }
                    (VerdictName::Reap, TreeOutcome::Planned | TreeOutcome::Reaped) => {
                        "reap".to_owned()
                    }
                    (VerdictName::Reap, TreeOutcome::Kept) => "spared".to_owned(),
                    (VerdictName::Reap, TreeOutcome::Failed(_)) => "failed".to_owned(),
                    odd => format!("{odd:?}"),
                };
                let class = tree.class.map_or("", |class| match class {
                    Class::Landed => "landed ",
                    Class::Saved => "saved ",
                    Class::Unsaved => "unsaved ",
                    Class::Fresh => "fresh ",
                });
                let because = if verdict == "unknown" {
                    ""
                } else {
                    tree.because.as_str()
                };
                let fate = format!("{verdict} {class}{because}").trim_end().to_owned();
                let twice = fates.insert(format!("{} {}", repo.name, self.below(&tree.path)), fate);
                assert_eq!(twice, None, "{} is told of twice", tree.path.display());
            }
        }
        fates
    }
}

impl fuse::Mounted {
    /// Mounts the server over a volume that was built on the local disk.
    pub(crate) fn under(world: &World, manners: fuse::Manners) -> Self {
        let backing = world.beside("backing");
        fs::rename(&world.root, &backing).unwrap();
        fs::create_dir(&world.root).unwrap();
        Self::mount(&backing, &world.root, manners)
    }
}

/// A running program, which is killed if nobody waits for its end.
pub(crate) struct Running {
    child: Child,
    out: fs::File,
    err: fs::File,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = command
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .spawn()
            .unwrap();
        Self { child, out, err }
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends it a signal, unless it has ended already.
    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        if self.child.try_wait().unwrap().is_none() {
            rustix::process::kill_process(self.pid(), signal).unwrap();
        }
    }

    /// Returns whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it hangs: {}", read(&mut self.err));
            std::thread::sleep(Duration::from_millis(2));
        };
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap();
        Ran {
            code,
            out: read(&mut self.out),
            err: read(&mut self.err),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn read(file: &mut fs::File) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ran {
    /// Returns the troubles that its report names, or else its output.
    pub(crate) fn troubles(&self) -> String {
        let Ok(report) = serde_json::from_str::<RunReport>(&self.out) else {
            return self.out.clone();
        };
        format!(
            "{:?}\n{:#?}\n{:#?}",
            report.run,
            treewarden::report::troubles::troubles(&report),
            report.eviction
        )
    }

    /// Returns its standard output as a report.
    pub(crate) fn report(&self) -> RunReport {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the runs of `history --format json`.
    pub(crate) fn history(&self) -> Vec<RunReport> {
        let told: serde_json::Value =
            serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(told["schema"], "treewarden.history/1");
        serde_json::from_value(told["runs"].clone()).unwrap()
    }
}

/// Waits until `so` returns true.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Compares two maps, and reports all differences at once.
pub(crate) fn same<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let keys: std::collections::BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    let odd: Vec<String> = keys
        .into_iter()
        .filter(|key| found.get(key) != expected.get(key))
        .map(|key| {
            format!(
                "  {key:?}\n    expected {:?}\n    found    {:?}\n",
                expected.get(key),
                found.get(key)
            )
        })
        .collect();
    assert!(
        odd.is_empty(),
        "{what}: {} of {} differ:\n{}",
        odd.len(),
        expected.len(),
        odd.concat()
    );
}

/// Turns pairs into a map.
pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Makes a file, link or directory look as if it was last written and read so many days ago.
pub(crate) fn age(path: &Path, days: f64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let then: DateTime<Utc> = ago(days).into();
    let then = Timespec {
        tv_sec: then.timestamp(),
        tv_nsec: i64::from(then.timestamp_subsec_nanos()),
    };
    utimensat(
        CWD,
        path,
        &Timestamps {
            last_access: then,
            last_modification: then,
        },
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Does the same for a directory and everything below it.
pub(crate) fn age_all(path: &Path, days: f64) {
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        age(entry.unwrap().path(), days);
    }
}

/// Returns the time so many days ago, or ahead if the number is negative.
pub(crate) fn ago(days: f64) -> SystemTime {
    let span = Duration::from_secs_f64(days.abs() * 86_400.0);
    if days < 0.0 {
        SystemTime::now() + span
    } else {
        SystemTime::now() - span
    }
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Removes a file, or a directory with everything in it.
pub(crate) fn remove(path: &Path) {
    let is_directory = path.symlink_metadata().unwrap().is_dir();
    if is_directory {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// Creates a FIFO, which makes a careless reader wait for ever.
pub(crate) fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// Returns whether this is root, for whom tests of permissions can't work.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs git in a directory, without any user's config, dated so many days ago; it must succeed.
pub(crate) fn git(directory: &Path, days: f64, arguments: &[&str]) -> String {
    let (code, out, err) = try_git(directory, days, arguments);
    assert_eq!(
        code,
        Some(0),
        "git {arguments:?} in {}: {err}",
        directory.display()
    );
    out
}

/// Does the same for output that isn't text.
pub(crate) fn git_bytes(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = git_output(directory, 0.0, arguments);
    assert!(
        output.status.success(),
        "git {arguments:?} in {}: {}",
        directory.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Does the same; it may fail.
pub(crate) fn try_git(
    directory: &Path,
    days: f64,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let output = git_output(directory, days, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn git_output(directory: &Path, days: f64, arguments: &[&str]) -> Output {
    // One start time for all tests, so that equal work has equal ids.
    static START: OnceLock<SystemTime> = OnceLock::new();
    let start = START
        .get_or_init(SystemTime::now)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let seconds = start
        .checked_sub(Duration::from_secs_f64(days * 86_400.0))
        .unwrap()
        .as_secs();
    git_at(
        directory,
        seconds.cast_signed(),
        &std::env::var_os("PATH").unwrap_or_default(),
    )
    .args(arguments)
    .output()
    .unwrap()
}

/// Returns a program that is looked up in `path`. If a command sets `PATH` and names a bare
/// program, std forks, which copies the page tables of all tests; otherwise it uses `posix_spawn`.
fn program_in(name: &str, path: &OsStr) -> Command {
    let found = std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    let mut command = Command::new(found.as_deref().unwrap_or(Path::new(name)));
    command.arg0(name);
    command
}

/// Returns git in a directory, ready for its arguments, without any user's config, dated so many
/// seconds after the epoch.
pub(crate) fn git_at(directory: &Path, seconds: i64, path: &OsStr) -> Command {
    let date = format!("{seconds} +0000");
    let mut command = program_in("git", path);
    command
        .env_clear()
        .env("PATH", path)
        .current_dir(directory)
        .stdin(Stdio::null());
    for (name, value) in [
        ("HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_EDITOR", "true"),
        ("GIT_AUTHOR_NAME", "An Agent"),
        ("GIT_AUTHOR_EMAIL", "agent@example.com"),
        ("GIT_COMMITTER_NAME", "An Agent"),
        ("GIT_COMMITTER_EMAIL", "agent@example.com"),
        ("GIT_AUTHOR_DATE", &date),
        ("GIT_COMMITTER_DATE", &date),
    ] {
        command.env(name, value);
    }
    for setting in [
        "init.defaultBranch=main",
        "protocol.file.allow=always",
        "gc.auto=0",
        "maintenance.auto=false",
        "advice.detachedHead=false",
    ] {
        command.args(["-c", setting]);
    }
    command
}
